//! Machines made of files.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// A machine under construction.
struct Made {
    dir: tempfile::TempDir,
}

impl Made {
    fn new() -> Made {
        Made { dir: tempfile::tempdir().unwrap() }
    }

    fn file(self, path: &str, text: &str) -> Made {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn link(self, path: &str, target: &str) -> Made {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    /// An Ethernet controller with the driver and interface it has.
    fn nic(self, address: &str, driver: &str, interface: &str) -> Made {
        let device = format!("sys/bus/pci/devices/{address}");
        let made = self
            .file(&format!("{device}/class"), "0x020000\n")
            .file(&format!("{device}/vendor"), "0x8086\n")
            .file(&format!("{device}/device"), "0x10d3\n")
            .file(&format!("{device}/numa_node"), "1\n")
            .link(&format!("{device}/driver"), &format!("../../drivers/{driver}"));
        if interface.is_empty() {
            made
        } else {
            made.file(&format!("{device}/net/{interface}/mtu"), "1500\n")
        }
    }

    fn findings(&self) -> Vec<Finding> {
        machine(&Host::new(self.dir.path()))
    }

    /// The findings about `what`: level and the whole line.
    fn said(&self, what: &str) -> Vec<(Level, String)> {
        let about = self.findings().into_iter().filter(|finding| finding.what == what);
        about.map(|finding| (finding.level, text(&[finding]).trim_end().to_owned())).collect()
    }

    fn one(&self, what: &str) -> (Level, String) {
        let said = self.said(what);
        assert_eq!(said.len(), 1, "{said:?}");
        said[0].clone()
    }
}

const GOOD_FLAGS: &str = "model name\t: Some CPU\nflags\t\t: fpu ssse3 sse4_2 constant_tsc nonstop_tsc\n";

#[test]
fn cpu_flags() {
    let line = |text| Made::new().file("proc/cpuinfo", text).one("cpu");
    assert_eq!(line(GOOD_FLAGS), (Level::Ok, "ok    cpu: Some CPU".to_owned()));
    let (level, said) = line("model name\t: QEMU Virtual CPU\nflags\t\t: fpu sse2\n");
    assert_eq!(level, Level::Fail);
    assert!(said.starts_with("fail  cpu: QEMU Virtual CPU without ssse3, sse4_2: "), "{said}");
    assert_eq!(line("flags\t: ssse3 sse4_2\n").0, Level::Warn);
}

#[test]
fn cpus_the_router_may_have() {
    let made = |allowed: &str, isolated: &str| {
        Made::new()
            .file("proc/self/status", &format!("Name:\tskiff\nCpus_allowed_list:\t{allowed}\n"))
            .file("sys/devices/system/cpu/online", "0-7\n")
            .file("sys/devices/system/cpu/isolated", isolated)
            .one("lcores")
    };
    assert_eq!(made("0-7", "\n"), (Level::Ok, "ok    lcores: 8 CPUs, none isolated".to_owned()));
    assert_eq!(
        made("0,2-4", "2-4\n").1,
        "ok    lcores: 4 CPUs of 8 by cpuset or affinity, 3 isolated from other work"
    );
    assert_eq!(made("3", "").0, Level::Warn);
}

#[test]
fn clocks_and_governors() {
    let clock = |source| {
        let path = "sys/devices/system/clocksource/clocksource0/current_clocksource";
        Made::new().file("proc/cpuinfo", GOOD_FLAGS).file(path, source).one("clock").0
    };
    assert_eq!((clock("tsc\n"), clock("kvm-clock\n"), clock("hpet\n")), (Level::Ok, Level::Ok, Level::Warn));
    let governor = |name| Made::new().file("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", name);
    assert_eq!(governor("performance\n").one("governor").0, Level::Ok);
    let (level, said) = governor("powersave\n").one("governor");
    assert!(level == Level::Warn && said.contains("1 CPUs have the governor powersave"), "{said}");
    assert!(Made::new().said("governor").is_empty());
}

#[test]
fn huge_pages_and_who_reserved_them() {
    let made = |nr: &str, free: &str| {
        Made::new()
            .file("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", nr)
            .file("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", free)
            .file("sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0")
            .file("sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "0")
    };
    assert_eq!(made("0", "0").one("hugepages").0, Level::Warn);
    assert_eq!(made("512", "500").one("hugepages").1, "ok    hugepages: 512 of 2 MiB, 500 free");
    assert_eq!(made("512", "0").one("hugepages").0, Level::Warn);
    let by_file = made("512", "1").file("etc/sysctl.d/80-vpp.conf", "# x\nvm.nr_hugepages=512\n");
    assert!(by_file.one("hugepages").1.ends_with("reserved by /etc/sysctl.d/80-vpp.conf"));
    let by_kernel = made("512", "1").file("proc/cmdline", "quiet hugepages=512\n");
    assert!(by_kernel.one("hugepages").1.ends_with("on the kernel's command line"));
}

#[test]
fn locked_memory() {
    let limit = |value: &str| {
        let text =
            format!("Limit   Soft Limit  Hard Limit  Units\nMax locked memory   {value}   {value}  bytes\n");
        Made::new().file("proc/self/limits", &text).one("memlock")
    };
    assert_eq!(limit("8388608").0, Level::Warn);
    assert_eq!(limit("1073741824"), (Level::Ok, "ok    memlock: at most 1024 MiB".to_owned()));
    assert_eq!(limit("unlimited").1, "ok    memlock: unlimited");
}

#[test]
fn iommu_and_drivers() {
    let bare = Made::new().nic("0000:01:00.0", "e1000e", "eth0").file("proc/sys/kernel/osrelease", "6.1.0\n");
    assert_eq!(bare.one("iommu").0, Level::Warn);
    assert_eq!(bare.one("drivers").0, Level::Warn);
    let full = bare
        .file("sys/kernel/iommu_groups/7/type", "DMA")
        .file("sys/bus/pci/drivers/vfio-pci/new_id", "")
        .file(
            "lib/modules/6.1.0/modules.dep",
            "kernel/drivers/uio/uio_pci_generic.ko: kernel/drivers/uio/uio.ko\n",
        );
    assert_eq!(full.one("iommu").1, "ok    iommu: 1 groups");
    assert_eq!(
        full.one("drivers").1,
        "ok    drivers: vfio-pci loaded, uio_pci_generic can be loaded (modprobe uio_pci_generic)"
    );
}

#[test]
fn powers_and_tap_devices() {
    let caps = |hex| Made::new().file("proc/self/status", &format!("CapEff:\t{hex}\n")).one("capabilities");
    assert_eq!(caps("0000000000003000").0, Level::Ok);
    let (level, said) = caps("0000000000002000");
    assert!(level == Level::Warn && said.contains("no CAP_NET_ADMIN:"), "{said}");
    assert_eq!(Made::new().one("tun").0, Level::Warn);
    assert_eq!(Made::new().file("dev/net/tun", "").one("tun").0, Level::Ok);
}

const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
br0\t00000000\t010010AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth2\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";

#[test]
fn nics_somebody_works_through() {
    let made = Made::new()
        .nic("0000:01:00.0", "e1000e", "eth0")
        .nic("0000:02:00.0", "ixgbe", "eth1")
        .nic("0000:03:00.0", "ixgbe", "eth2")
        .nic("0000:04:00.0", "vfio-pci", "")
        .file("sys/bus/pci/devices/0000:05:00.0/class", "0x030000\n")
        .file("proc/net/route", ROUTES)
        .file("sys/class/net/eth2/ifalias", "management\n")
        .link("sys/class/net/br0/lower_eth0", "../eth0");
    let said: Vec<String> = made.said("nic").into_iter().map(|(_, said)| said).collect();
    assert_eq!(
        said,
        [
            "warn  nic: 0000:01:00.0 eth0, e1000e, NUMA node 1: the default route leaves by br0: leave it with the kernel",
            "ok    nic: 0000:02:00.0 eth1, ixgbe, NUMA node 1",
            "warn  nic: 0000:03:00.0 eth2, ixgbe, NUMA node 1: the alias of eth2 says management (--force takes it): leave it with the kernel",
            "ok    nic: 0000:04:00.0, vfio-pci, NUMA node 1, ready for the router",
        ]
    );
}

#[test]
fn a_default_route_of_ipv6_counts_and_a_reject_by_lo_does_not() {
    let zeros = "0".repeat(32);
    let line = |device: &str| {
        format!("{zeros} 00 {zeros} 00 {zeros} 00000400 00000001 00000000 00000003 {device}\n")
    };
    let made = |device| {
        Made::new()
            .nic("0000:01:00.0", "e1000e", "eth0")
            .file("proc/net/ipv6_route", &line(device))
            .one("nic")
            .0
    };
    assert_eq!((made("eth0"), made("lo")), (Level::Warn, Level::Ok));
}

#[test]
fn an_empty_machine_is_described_and_printed() {
    let findings = Made::new().findings();
    assert!(findings.iter().any(|finding| finding.what == "nic"));
    let parsed: serde_json::Value = serde_json::from_str(&json(&findings)).unwrap();
    assert_eq!(parsed.as_array().map(Vec::len), Some(findings.len()));
    assert_eq!(text(&findings).lines().count(), findings.len());
}
