//! Files without mistakes, and what comes out of them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::*;

fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect()
}

#[test]
fn every_shipped_file_is_good_and_fits_its_memory() {
    let files = shipped();
    assert!(!files.is_empty());
    for path in files {
        let config = load(&path).unwrap_or_else(|found| panic!("{found:#?}"));
        config.check_memory(config.memory_plan_for(4)).unwrap();
        assert!(
            std::fs::read_to_string(&path).unwrap().starts_with("# "),
            "{} is not introduced",
            path.display()
        );
    }
}

#[test]
fn values_arrive_in_their_types_and_places() {
    let config = good(
        "[system]\nlcores = '2-3'\nmemory = '1G'\n\
         [interface.wan0]\ndevice = 'netdev:eth1'\naddresses = ['10.0.1.1/24']\nmac = '02:00:00:00:00:01'\n\
         [interface.lan0]\ndevice = 'vdev:net_tap'\naddresses = ['10.0.0.1/24', '10.0.9.1/30']\nmtu = 9000\n\
         [[route]]\nto = 'default'\nnexthops = [{ via = '10.0.0.9' }, { via = '10.0.1.9', weight = 3 }]\n\
         [[route]]\nto = '192.0.2.0/24'\ntype = 'blackhole'\n\
         [[neighbour]]\naddress = '10.0.1.9'\nmac = '02:bb:00:00:00:02'\ndev = 'wan0'\n\
         [sysctl]\nnet.ipv4.ip_forward = true\n'net.ipv4.conf.lan0.rp_filter' = 2\n",
    );
    assert_eq!(*config.system.lcores, Lcores::List(vec![2, 3]));
    assert_eq!(*config.system.memory, 1 << 30);
    assert_eq!(config.metrics, None);

    let names: Vec<&str> = config.interfaces.iter().map(|interface| interface.name.as_str()).collect();
    assert_eq!(names, ["wan0", "lan0"], "in the order of the file, not of the alphabet");
    let lan0 = config.interface("lan0").unwrap();
    assert_eq!(lan0.mtu.map(|mtu| (mtu.value, mtu.pos.to_string())), Some((9000, "11:7".to_owned())));
    assert_eq!(lan0.addresses[1].to_string(), "10.0.9.1/30");
    assert_eq!(lan0.port().map(|port| (*port.rx_queues, *port.rx_desc)), Some((1, 512)));

    let RouteAction::Unicast(nexthops) = &config.routes[0].action else { panic!("{:?}", config.routes[0]) };
    assert_eq!(nexthops.iter().map(|nexthop| *nexthop.weight).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(config.routes[0].to.prefix_len(), 0);
    assert_eq!(config.routes[1].action, RouteAction::Blackhole);
    assert_eq!(config.neighbours[0].mac.to_string(), "02:bb:00:00:00:02");
    assert_eq!(
        (&config.sysctl[0].scope, config.sysctl[0].param, *config.sysctl[0].value),
        (&Scope::Ipv4, "ip_forward", 1)
    );
    assert_eq!(config.sysctl[1].scope, Scope::Conf(Target::Dev("lan0".into())));
}

#[test]
fn settings_of_the_input_path() {
    let params = [
        "icmp_ignore_bogus_error_responses",
        "icmp_echo_enable_probe",
        "conf.all.accept_source_route",
        "conf.default.bc_forwarding",
        "conf.all.shared_media",
        "conf.all.log_martians",
    ];
    let lines: String = params.iter().map(|param| format!("'net.ipv4.{param}' = 1\n")).collect();
    let config = good(&format!("[sysctl]\n{lines}"));
    assert!(config.sysctl.iter().all(|sysctl| *sysctl.value == 1));
    assert_eq!(config.sysctl.len(), params.len());
}

#[test]
fn layout_makes_no_difference() {
    assert_eq!(good("[metrics]"), good("# moved\n\n[metrics]\nlisten = '127.0.0.1:9477'"));
    assert_ne!(good("[metrics]"), good(""));
}

#[test]
fn every_vdev_has_its_own_name() {
    let config = good(
        "[interface.a]\ndevice = 'netdev:eth1'\nrx-queues = 2\n\
         [interface.b]\ndevice = 'vdev:net_af_packet_0,iface=eth2'\n\
         [interface.c]\ndevice = 'vdev:net_af_packet,iface=eth3'\n\
         [interface.d]\ndevice = 'vdev:net_null'\n\
         [interface.e]\ndevice = 'pci:00:04.0'\n",
    );
    let devargs: Vec<String> = config.eal_devices().into_iter().map(|device| device.devargs).collect();
    let expected = [
        "net_af_packet_1,iface=eth1,qpairs=2",
        "net_af_packet_0,iface=eth2",
        "net_af_packet_2,iface=eth3",
        "net_null_0",
        "0000:00:04.0",
    ];
    assert_eq!(devargs, expected);
    assert_eq!(config.eal_devices()[4].bus, Bus::Pci);
}

#[test]
fn workers_are_taken_from_what_the_process_may_use() {
    assert_eq!(Lcores::Auto.resolve(&[0, 1, 4]), Ok(vec![1, 4]));
    assert_eq!(Lcores::Auto.resolve(&[3]), Ok(vec![3]));
    assert_eq!(Lcores::List(vec![1, 4]).resolve(&[0, 1, 4]), Ok(vec![1, 4]));
    assert_eq!(Lcores::List(vec![1, 5]).resolve(&[0, 1, 4]), Err(5));
}

/// [`PORTS`] with more queues on `wan0`, two workers and this much memory.
fn two_workers(memory: &str) -> Config {
    good(&format!("[system]\nlcores = '1-2'\nmemory = '{memory}'\n{PORTS}rx-queues = 2\ntx-desc = 1024\n"))
}

#[test]
fn the_memory_plan_counts_every_descriptor() {
    let config = two_workers("32M");
    let plan = config.memory_plan();
    // lan0: 1 x 512 received, 2 workers x 512 sent; wan0: 2 x 512 received, 2 workers x 1024 sent.
    assert_eq!((plan.ports, plan.queues, plan.descriptors), (2, 7, 512 + 1024 + 1024 + 2048));
    assert_eq!(plan.needed_mbufs, 4608 + 3 * 512 + 2048);
    assert_eq!(plan.needed_bytes, (16 << 20) + 8192 * 2496 + 4608 * 64);
    let refused = config.checked_memory_plan().unwrap_err();
    let expected = "r:3:10: \"memory\" 32M is too small for 8192 mbufs in 7 queues, \"48M\" would do";
    assert_eq!(refused.to_string(), expected);
    assert_eq!(two_workers("48M").checked_memory_plan().map(|plan| plan.mbufs), Ok(8192));
}

#[test]
fn too_few_mbufs_are_refused() {
    let config = good(&format!("[system]\nlcores = '1'\nmbufs = 2048\n{PORTS}"));
    let expected = "r:3:9: \"mbufs\" 2048 is too small for 2048 descriptors and 1 worker, 5120 would do";
    assert_eq!(config.checked_memory_plan().unwrap_err().to_string(), expected);
}

/// What `check` prints about a file, with its exit code; the file's path is shown as `FILE`.
fn checked(name: &str, text: &[u8]) -> (ExitCode, String, String) {
    let path = std::env::temp_dir().join(format!("skiff-config-{}-{name}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = check(&path, &mut out, &mut err);
    std::fs::remove_file(&path).unwrap();
    let shown =
        |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&path.display().to_string(), "FILE");
    (code, shown(out), shown(err))
}

#[test]
fn check_sums_up_a_good_file() {
    let (code, out, err) = checked("good", format!("[system]\nlcores = '1'\n{PORTS}").as_bytes());
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!(err, "");
    let expected = [
        "FILE: ok",
        "  interface lan0: vdev:net_null0, 10.0.0.1/24",
        "  interface wan0: vdev:net_null1, 10.0.1.1/24",
        "  routes 0, neighbours 0, sysctls 0",
        "  memory 5120 mbufs of 2496 bytes for 2048 descriptors in 4 queues and 1 worker: 29M of 256M",
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn check_lists_every_mistake_and_exits_3() {
    let (code, out, err) = checked("bad", b"[system]\nidel = 'poll'\nmemory = 1\n");
    assert_eq!((code, out.as_str()), (ExitCode::from(3), ""));
    let expected = [
        "skiff: FILE:2:1: unknown key \"idel\", did you mean \"idle\"?",
        "skiff: FILE:3:10: \"memory\" must be a string, not an integer",
    ];
    assert_eq!(err.lines().collect::<Vec<_>>(), expected);
    let (code, _, err) = checked("latin1", b"# ok\n# caf\xe9\n");
    assert_eq!((code, err.as_str()), (ExitCode::from(3), "skiff: FILE:2:6: not UTF-8 text\n"));
    let (code, _, err) =
        checked("small", format!("[system]\nlcores = '1'\nmemory = '20M'\n{PORTS}").as_bytes());
    assert_eq!(code, ExitCode::from(3));
    assert_eq!(
        err,
        "skiff: FILE:3:10: \"memory\" 20M is too small for 5120 mbufs in 4 queues, \"32M\" would do\n"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_one_mistake() {
    let found = load(Path::new("/nonexistent/skiff.toml")).unwrap_err();
    assert_eq!(found.len(), 1);
    assert!(found[0].to_string().starts_with("/nonexistent/skiff.toml:1:1: cannot read: "), "{}", found[0]);
}
