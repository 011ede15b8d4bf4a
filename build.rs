//! Finds DPDK, generates its bindings, compiles the shim and chooses what to link.
//!
//! Debug builds link DPDK's shared libraries, and EAL loads every driver it finds in the system's
//! driver directory. Release builds link a chosen set of drivers statically: that saves a few cycles a
//! packet and half of the start-up time. `SKIFF_DPDK_LINK=static|shared` overrides the choice.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest DPDK this crate is written against.
const MIN_DPDK: &str = "22.11";

/// Drivers linked into a static build, with the DPDK and the system libraries each needs beyond
/// [`CORE`]. One whose archive or system library is missing is left out with a warning.
///
/// The mlx4 and mlx5 drivers are not here: they need every rdma provider library at start-up, even on
/// machines without such a NIC. A shared build has them.
const DRIVERS: &[Driver] = &[
    driver("bus_pci", &[], &[]),
    driver("bus_vdev", &[], &[]),
    driver("bus_auxiliary", &[], &[]),
    driver("mempool_ring", &[], &[]),
    driver("net_virtio", &[], &[]),
    driver("net_e1000", &[], &[]),
    driver("net_igc", &[], &[]),
    driver("net_ixgbe", &["security", "cryptodev", "rcu", "hash"], &[]),
    driver("net_i40e", &["hash", "rcu", "common_iavf"], &[]),
    driver("net_ice", &["hash", "rcu", "common_iavf"], &[]),
    driver("net_iavf", &["security", "cryptodev", "rcu", "common_iavf"], &[]),
    driver("net_vmxnet3", &[], &[]),
    driver("net_ena", &["timer"], &[]),
    driver("net_null", &[], &[]),
    driver("net_ring", &[], &[]),
    driver("net_pcap", &[], &["pcap"]),
    driver("net_af_packet", &[], &[]),
    driver("net_af_xdp", &[], &["xdp", "bpf"]),
    driver("net_tap", &["gso", "hash", "rcu"], &[]),
    driver("net_memif", &["hash", "rcu"], &[]),
    driver("net_vhost", &["vhost", "cryptodev", "dmadev", "hash", "rcu"], &[]),
    driver("net_bond", &["ip_frag", "sched", "hash", "rcu"], &[]),
];

/// DPDK libraries the bindings and every driver use.
const CORE: &[&str] =
    &["ethdev", "meter", "net", "mbuf", "mempool", "ring", "pci", "kvargs", "telemetry", "eal"];

/// Parts of EAL that newer DPDK has in libraries of their own.
const SPLIT_OFF: &[&str] = &["log", "argparse"];

/// System libraries of [`CORE`].
const CORE_SYSTEM: &[&str] = &["numa", "bsd", "m", "dl", "pthread"];

/// The same where this DPDK was built with it: EAL reads packed firmware with it.
const ARCHIVE: &str = "archive";

struct Driver {
    name: &'static str,
    dpdk: &'static [&'static str],
    system: &'static [&'static str],
}

const fn driver(
    name: &'static str,
    dpdk: &'static [&'static str],
    system: &'static [&'static str],
) -> Driver {
    Driver { name, dpdk, system }
}

enum Link {
    Static,
    Shared,
}

fn main() {
    let crate_dir = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    for input in ["wrapper.h", "shim.h", "shim.c"] {
        println!("cargo:rerun-if-changed={}", crate_dir.join(input).display());
    }
    println!("cargo:rerun-if-changed=../../build.rs");
    println!("cargo:rerun-if-env-changed=SKIFF_DPDK_LINK");

    let dpdk = find_dpdk();
    let flags = compiler_flags();
    compile_shim(&crate_dir, &flags);
    generate_bindings(&crate_dir, &out_dir, &flags);
    match link_mode() {
        Link::Static => link_static(&dpdk),
        Link::Shared => link_shared(&dpdk),
    }
}

fn find_dpdk() -> pkg_config::Library {
    pkg_config::Config::new().atleast_version(MIN_DPDK).cargo_metadata(false).probe("libdpdk").unwrap_or_else(
        |why| {
            fail(&format!(
                "DPDK >= {MIN_DPDK} is needed. On Debian and Ubuntu: apt install libdpdk-dev\n{why}"
            ))
        },
    )
}

/// DPDK's compiler flags. The `pkg_config` crate drops `-march` and `-include`, and both matter: the
/// headers refuse to compile without SSE4.2 and without their configuration.
fn compiler_flags() -> Vec<String> {
    pkg_config(&["--cflags", "libdpdk"])
}

fn pkg_config(args: &[&str]) -> Vec<String> {
    let tool = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let output = match Command::new(&tool).args(args).output() {
        Ok(output) if output.status.success() => output,
        Ok(output) => fail(&String::from_utf8_lossy(&output.stderr)),
        Err(why) => fail(&format!("cannot run {tool}: {why}")),
    };
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

fn compile_shim(crate_dir: &Path, flags: &[String]) {
    let mut build = cc::Build::new();
    build.file(crate_dir.join("shim.c")).opt_level(3).warnings(true).flag("-Wno-unused-parameter");
    // DPDK's headers are not ours to warn about.
    for flag in flags {
        match flag.strip_prefix("-I") {
            Some(dir) => build.flag("-isystem").flag(dir),
            None => build.flag(flag),
        };
    }
    build.compile("skiff_dpdk_shim");
}

fn generate_bindings(crate_dir: &Path, out_dir: &Path, flags: &[String]) {
    let bindings = bindgen::Builder::default()
        .header(crate_dir.join("wrapper.h").display().to_string())
        .clang_args(flags)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .use_core()
        .generate_comments(false)
        .derive_default(true)
        .prepend_enum_name(false)
        .wrap_unsafe_ops(true)
        .allowlist_function("skiff_.*")
        .allowlist_var("SKIFF_.*")
        .allowlist_function("rte_(version|strerror)")
        .allowlist_function("rte_eal_(init|hotplug_remove|get_runtime_dir)")
        .allowlist_function("rte_dev_probe")
        .allowlist_function("rte_thread_(register|unregister)")
        .allowlist_function("rte_mbuf_(dynfield_register_offset|dynfield_lookup|dyn_rx_timestamp_register)")
        .allowlist_function("rte_pktmbuf_(pool_create|copy)")
        .allowlist_function("rte_mempool_avail_count")
        .allowlist_function("rte_ring_(create|free)")
        .allowlist_function("rte_epoll_wait")
        .allowlist_function("rte_eth_find_next_owned_by")
        .allowlist_function("rte_eth_dev_get_(name_by_port|port_by_name)")
        .allowlist_function("rte_eth_dev_(info_get|configure|adjust_nb_rx_tx_desc|start|stop|close)")
        .allowlist_function("rte_eth_dev_(is_valid_port|is_removed|socket_id)")
        .allowlist_function("rte_eth_dev_(set_mtu|get_mtu|set_vlan_offload|get_vlan_offload)")
        .allowlist_function("rte_eth_dev_(default_mac_addr_set|set_link_up|set_link_down)")
        .allowlist_function("rte_eth_dev_(mac_addr_add|mac_addr_remove|vlan_filter)")
        .allowlist_function("rte_eth_dev_rx_intr_(enable|disable|ctl_q|ctl_q_get_fd)")
        .allowlist_function("rte_eth_(rx|tx)_queue_setup")
        .allowlist_function("rte_eth_(promiscuous|allmulticast)_(enable|disable)")
        .allowlist_function("rte_eth_(macaddr_get|stats_get|stats_reset|tx_done_cleanup)")
        .allowlist_function("rte_eth_xstats_(get|get_names|reset)")
        .allowlist_type("rte_mempool_cache")
        .allowlist_type("rte_eth_(conf|dev_info|rxconf|txconf|stats|xstat|xstat_name)")
        .allowlist_type("rte_(ether_addr|epoll_event)")
        // Laid out by hand in mbuf.rs, free of unions; the layout is checked against this header.
        .blocklist_type("rte_mbuf(__bindgen.*)?")
        .opaque_type("rte_ring|rte_device|rte_eth_rxseg|rte_eth_rxseg_split|rte_memzone")
        .generate()
        .unwrap_or_else(|why| fail(&format!("bindgen on DPDK's headers: {why}")));
    bindings
        .write_to_file(out_dir.join("bindings.rs"))
        .unwrap_or_else(|why| fail(&format!("cannot write bindings.rs: {why}")));
}

fn link_mode() -> Link {
    match env::var("SKIFF_DPDK_LINK").as_deref() {
        Ok("static") => Link::Static,
        Ok("shared") => Link::Shared,
        Ok(other) => fail(&format!("SKIFF_DPDK_LINK is `{other}`; it must be `static` or `shared`")),
        Err(_) if env::var("PROFILE").as_deref() == Ok("release") => Link::Static,
        Err(_) => Link::Shared,
    }
}

fn link_shared(dpdk: &pkg_config::Library) {
    search_paths(dpdk);
    let split_off = SPLIT_OFF.iter().filter(|name| exists(dpdk, &format!("librte_{name}.so")));
    for library in ["ethdev", "mbuf", "mempool", "ring", "eal"].iter().chain(split_off) {
        println!("cargo:rustc-link-lib=dylib=rte_{library}");
    }
}

/// Whole archives, because drivers are reached only through their constructors; unbundled, so that the
/// final link sees the libraries once and not a copy in every rlib.
fn link_static(dpdk: &pkg_config::Library) {
    search_paths(dpdk);
    let mut libraries: Vec<&str> = Vec::new();
    let mut system: Vec<&str> = CORE_SYSTEM.to_vec();
    let add = |list: &mut Vec<&'static str>, name: &'static str| {
        if !list.contains(&name) {
            list.push(name);
        }
    };
    for driver in DRIVERS {
        let archives = driver.dpdk.iter().chain([&driver.name]);
        let missing = archives
            .map(|name| format!("librte_{name}.a"))
            .chain(driver.system.iter().map(|name| format!("lib{name}.so")))
            .find(|file| !exists(dpdk, file));
        if let Some(file) = missing {
            println!("cargo:warning=the driver {} is left out: {file} is not installed", driver.name);
            continue;
        }
        add(&mut libraries, driver.name);
        driver.dpdk.iter().for_each(|name| add(&mut libraries, name));
        driver.system.iter().for_each(|name| add(&mut system, name));
    }
    CORE.iter().for_each(|name| add(&mut libraries, name));
    let split_off = SPLIT_OFF.iter().filter(|name| exists(dpdk, &format!("librte_{name}.a")));
    split_off.for_each(|name| add(&mut libraries, name));
    if pkg_config(&["--static", "--libs", "libdpdk"]).contains(&format!("-l{ARCHIVE}")) {
        add(&mut system, ARCHIVE);
    }
    for name in libraries {
        println!("cargo:rustc-link-lib=static:+whole-archive,-bundle=rte_{name}");
    }
    for name in system {
        println!("cargo:rustc-link-lib=dylib={name}");
    }
}

fn search_paths(dpdk: &pkg_config::Library) {
    for dir in library_dirs(dpdk) {
        println!("cargo:rustc-link-search=native={}", dir.display());
    }
}

fn exists(dpdk: &pkg_config::Library, file: &str) -> bool {
    library_dirs(dpdk).iter().any(|dir| dir.join(file).exists())
}

/// Where DPDK's libraries are. pkg-config leaves the system's own directory out of its flags, but rustc
/// looks for static libraries only where it is told to.
fn library_dirs(dpdk: &pkg_config::Library) -> Vec<PathBuf> {
    let mut dirs = dpdk.link_paths.clone();
    if let Ok(dir) = pkg_config::get_variable("libdpdk", "libdir") {
        dirs.push(PathBuf::from(dir));
    }
    dirs.sort();
    dirs.dedup();
    dirs
}

fn fail(why: &str) -> ! {
    eprintln!("error: {why}");
    std::process::exit(1);
}
