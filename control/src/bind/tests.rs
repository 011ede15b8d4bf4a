//! A machine made up in a directory: what is written to its sysfs has the effects that a kernel's has.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use clap::Parser as _;
use tempfile::TempDir;

use super::kernel::{Kernel, Machine};
use super::*;

const A: &str = "0000:00:03.0";
const B: &str = "0000:00:04.0";
const NO_IOMMU_MODE: &str = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
const TWO_MIB: &str = "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

struct Fake {
    machine: Machine,
    dir: TempDir,
    /// Modules there are.
    modules: RefCell<BTreeSet<&'static str>>,
    /// Drivers that refuse every device.
    broken: RefCell<BTreeSet<&'static str>>,
    addresses: Vec<(String, IpAddr)>,
    ssh: Option<String>,
    /// Writes to go until one fails.
    fails_in: Cell<usize>,
    writes: Cell<usize>,
    /// Most hugepages there is memory for.
    pages: u64,
}

impl Fake {
    /// Two NICs with drivers of the kernel, of which the first has the default route.
    fn new() -> Fake {
        let dir = tempfile::tempdir().unwrap();
        let fake = Fake {
            machine: Machine::new(dir.path()),
            dir,
            modules: RefCell::new(BTreeSet::from(["uio_pci_generic", "vfio-pci"])),
            broken: RefCell::default(),
            addresses: Vec::new(),
            ssh: None,
            fails_in: Cell::new(usize::MAX),
            writes: Cell::new(0),
            pages: u64::MAX,
        };
        for driver in ["e1000e", "virtio-pci"] {
            fake.load(driver);
        }
        fake.nic(A, "0x1af4", "0x1000", "virtio-pci", "eth0");
        fake.nic(B, "0x8086", "0x10d3", "e1000e", "eth1");
        fake.file(&format!("sys/bus/pci/devices/{A}/../0000:00:01.0/class"), "0x010601\n");
        fake.file("sys/bus/pci/drivers_probe", "");
        fake.file(
            "proc/net/route",
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
             eth1\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
             eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
        );
        fake.file("proc/meminfo", "MemTotal:        2097152 kB\nMemFree: 1 kB\n");
        fake.file(TWO_MIB, "0\n");
        fake
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    fn nic(&self, address: &str, vendor: &str, device: &str, driver: &str, netdev: &str) {
        let at = format!("sys/bus/pci/devices/{address}");
        for (name, text) in [
            ("class", "0x020000"),
            ("vendor", vendor),
            ("device", device),
            ("driver_override", "(null)"),
            ("natural", &format!("{driver} {netdev}")),
        ] {
            self.file(&format!("{at}/{name}"), &format!("{text}\n"));
        }
        self.attach(address, driver);
    }

    fn load(&self, driver: &str) {
        self.file(&format!("sys/bus/pci/drivers/{driver}/bind"), "");
        self.file(&format!("sys/bus/pci/drivers/{driver}/unbind"), "");
    }

    fn group(&self, address: &str, group: &str, kind: &str) {
        self.file(&format!("sys/kernel/iommu_groups/{group}/type"), kind);
        fs::create_dir_all(self.path(&format!("sys/kernel/iommu_groups/{group}/devices/{address}"))).unwrap();
        symlink(
            format!("../../../kernel/iommu_groups/{group}"),
            self.path(&format!("sys/bus/pci/devices/{address}/iommu_group")),
        )
        .unwrap();
    }

    fn has_no_iommu_mode(&self) {
        self.file(NO_IOMMU_MODE, "N\n");
    }

    fn driver(&self, address: &str) -> Option<String> {
        nic::driver_of(self, address)
    }

    fn natural(&self, address: &str) -> (String, String) {
        let text = self.text(&format!("sys/bus/pci/devices/{address}/natural"));
        let (driver, netdev) = text.trim().split_once(' ').unwrap();
        (driver.to_owned(), netdev.to_owned())
    }

    /// What a kernel's driver core does when asked to match a device with a driver.
    fn probe(&self, address: &str, driver: &str) -> io::Result<()> {
        let invalid = || io::Error::from_raw_os_error(22);
        let chosen = self.text(&format!("sys/bus/pci/devices/{address}/driver_override"));
        let matches = match chosen.trim() {
            "" | "(null)" => self.natural(address).0 == driver,
            chosen => chosen == driver,
        };
        if self.driver(address).is_some() || !matches || self.broken.borrow().contains(driver) {
            return Err(invalid());
        }
        self.attach(address, driver);
        Ok(())
    }

    fn attach(&self, address: &str, driver: &str) {
        let at = self.path(&format!("sys/bus/pci/devices/{address}"));
        symlink(format!("../../drivers/{driver}"), at.join("driver")).unwrap();
        let (natural, netdev) = self.natural(address);
        if driver == natural {
            let below = if driver == "virtio-pci" { "virtio0/net" } else { "net" };
            fs::create_dir_all(at.join(below).join(&netdev)).unwrap();
            self.file(&format!("sys/class/net/{netdev}/ifalias"), "\n");
        }
    }

    fn detach(&self, address: &str) {
        let at = self.path(&format!("sys/bus/pci/devices/{address}"));
        fs::remove_file(at.join("driver")).unwrap();
        for below in ["net", "virtio0"] {
            let _ = fs::remove_dir_all(at.join(below));
        }
        let _ = fs::remove_dir_all(self.path(&format!("sys/class/net/{}", self.natural(address).1)));
    }

    /// Runs `skiff bind LINE`.
    fn bind(&self, line: &str) -> Reply {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            bind: Bind,
        }
        let words = std::iter::once("bind").chain(line.split_whitespace());
        run(self, &Line::try_parse_from(words).unwrap().bind)
    }
}

impl Kernel for Fake {
    fn read(&self, path: &str) -> io::Result<String> {
        self.machine.read(path)
    }

    fn write(&self, path: &str, text: &str) -> io::Result<()> {
        self.writes.set(self.writes.get() + 1);
        if self.writes.get() == self.fails_in.get() {
            return Err(io::Error::from_raw_os_error(16));
        }
        if path.ends_with("nr_hugepages") {
            let got = text.trim().parse::<u64>().unwrap().min(self.pages);
            return self.machine.write(path, &format!("{got}\n"));
        }
        self.machine.write(path, text)?;
        let parts: Vec<&str> = path.rsplit('/').collect();
        match parts[..] {
            ["unbind", ..] => self.detach(text),
            ["bind", driver, ..] => self.probe(text, driver)?,
            ["drivers_probe", ..] => {
                let drivers = self.list("/sys/bus/pci/drivers");
                let _ = drivers.iter().any(|driver| self.probe(text, driver).is_ok());
            }
            _ => {}
        }
        Ok(())
    }

    fn store(&self, path: &str, text: &str) -> io::Result<()> {
        self.machine.store(path, text)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.machine.remove(path)
    }

    fn link(&self, path: &str) -> Option<PathBuf> {
        self.machine.link(path)
    }

    fn list(&self, path: &str) -> Vec<String> {
        self.machine.list(path)
    }

    fn exists(&self, path: &str) -> bool {
        self.machine.exists(path)
    }

    fn modprobe(&self, module: &str) -> Result<(), String> {
        match self.modules.borrow().get(module) {
            Some(driver) => {
                self.load(driver);
                Ok(())
            }
            None => Err(format!("Module {module} not found")),
        }
    }

    fn addresses(&self) -> Vec<(String, IpAddr)> {
        self.addresses.clone()
    }

    fn ssh_connection(&self) -> Option<String> {
        self.ssh.clone()
    }
}

fn ok(reply: Reply) -> String {
    assert_eq!((reply.exit, reply.stderr.as_str()), (0, ""), "{reply:?}");
    reply.stdout
}

fn refused(reply: Reply) -> String {
    assert_eq!((reply.exit, reply.stdout.as_str()), (1, ""), "{reply:?}");
    reply.stderr
}

#[test]
fn shows_what_may_be_taken() {
    let fake = Fake::new();
    fake.file(
        "usr/share/misc/pci.ids",
        "8086  Intel Corporation\n\t10d2  Other\n\t10d3  82574L\n\t\t8086 a  Sub\n",
    );
    let shown = ok(fake.bind(""));
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(
        lines,
        [
            "address       id         netdev  driver      state                                   name",
            "0000:00:03.0  1af4:1000  eth0    virtio-pci  kept: the default route leaves by eth0",
            "0000:00:04.0  8086:10d3  eth1    e1000e      free                                    82574L",
        ]
    );
    let rows: serde_json::Value = serde_json::from_str(&ok(fake.bind("-j"))).unwrap();
    assert_eq!(rows[0]["state"], "kept");
    assert_eq!((&rows[1]["state"], &rows[1]["netdevs"][0]), (&json!("free"), &json!("eth1")));
}

#[test]
fn an_iommu_means_vfio() {
    let fake = Fake::new();
    fake.group(B, "7", "DMA-FQ\n");
    assert_eq!(ok(fake.bind("eth1")), "0000:00:04.0 (eth1): e1000e -> vfio-pci\n");
    assert_eq!(fake.driver(B).as_deref(), Some("vfio-pci"));
    // A second time there is nothing to do.
    assert_eq!(ok(fake.bind(B)), "0000:00:04.0: is bound to vfio-pci already\n");
    assert_eq!(ok(fake.bind("--restore")), "0000:00:04.0: vfio-pci -> e1000e\n");
    assert_eq!(fake.driver(B).as_deref(), Some("e1000e"));
    assert!(!fake.exists("/run/skiff-bind.json"));
    assert_eq!(ok(fake.bind("--restore")), "nothing was taken that could be given back\n");
}

#[test]
fn a_group_shared_with_the_kernel_is_not_torn_apart() {
    let fake = Fake::new();
    fake.group(B, "7", "DMA\n");
    fake.group(A, "7", "DMA\n");
    let said = refused(fake.bind("00:04.0"));
    assert!(said.contains("group 7 with 0000:00:03.0"), "{said}");
    assert!(said.contains("only vfio-pci can set that up"), "{said}");
    assert_eq!(fake.driver(B).as_deref(), Some("e1000e"));
}

#[test]
fn without_an_iommu_vfio_is_allowed_to_do_without_and_says_so() {
    let fake = Fake::new();
    fake.has_no_iommu_mode();
    let said = ok(fake.bind(B));
    assert!(
        said.starts_with("0000:00:04.0 (eth1): e1000e -> vfio-pci; ") && said.contains("noiommu"),
        "{said}"
    );
    assert_eq!(fake.text(NO_IOMMU_MODE), "Y\n");
    assert_eq!(ok(fake.bind("--restore eth1")), "0000:00:04.0: vfio-pci -> e1000e\n");
    assert_eq!(fake.text(NO_IOMMU_MODE), "N\n");
}

#[test]
fn somewhere_an_iommu_forbids_vfio_without_one() {
    let fake = Fake::new();
    fake.has_no_iommu_mode();
    fake.group(A, "1", "DMA\n");
    let said = ok(fake.bind(B));
    assert!(said.contains("-> uio_pci_generic") && said.contains("does not hold this NIC"), "{said}");
    assert_eq!(fake.text(NO_IOMMU_MODE), "N\n");
}

#[test]
fn a_driver_that_refuses_is_passed_over() {
    let fake = Fake::new();
    fake.has_no_iommu_mode();
    fake.broken.borrow_mut().insert("vfio-pci");
    let said = ok(fake.bind(B));
    assert_eq!(
        said,
        "0000:00:04.0 (eth1): e1000e -> uio_pci_generic \
         (vfio-pci: it does not take the NIC: Invalid argument (EINVAL))\n"
    );
    // What was switched on for nothing is off again.
    assert_eq!(fake.text(NO_IOMMU_MODE), "N\n");
}

#[test]
fn with_no_driver_at_all_the_kernel_keeps_the_nic() {
    let fake = Fake::new();
    fake.modules.borrow_mut().clear();
    assert_eq!(
        refused(fake.bind("eth1")),
        "skiff: bind eth1: vfio-pci: Module vfio-pci not found; uio_pci_generic: Module uio_pci_generic not found; \
         it stays with e1000e, where device = \"netdev:eth1\" works, more slowly\n"
    );
    assert!(!fake.exists("/run/skiff-bind.json"));
}

#[test]
fn whatever_write_fails_the_nic_has_a_driver_and_the_way_back_is_known() {
    for no_iommu_mode in [false, true] {
        let mut failures = 0;
        for nth in 1.. {
            let fake = Fake::new();
            if no_iommu_mode {
                fake.has_no_iommu_mode();
            }
            fake.fails_in.set(nth);
            let reply = fake.bind(B);
            let driver = fake.driver(B).expect("a driver");
            if fake.writes.get() < nth {
                break;
            }
            failures += 1;
            assert_eq!(reply.exit == 0, nic::is_for_programs(&driver), "write {nth}: {reply:?}");
            ok(fake.bind("--restore"));
            assert_eq!(fake.driver(B).as_deref(), Some("e1000e"), "write {nth}");
        }
        assert!(failures >= 3, "{failures}");
    }
}

#[test]
fn whatever_write_fails_on_the_way_back_the_nic_has_a_driver() {
    for nth in 1.. {
        let fake = Fake::new();
        ok(fake.bind(B));
        fake.fails_in.set(fake.writes.get() + nth);
        let reply = fake.bind("--restore");
        let driver = fake.driver(B).expect("a driver");
        if fake.writes.get() < fake.fails_in.get() {
            assert!(nth > 3, "{nth}");
            break;
        }
        assert_eq!(reply.exit == 0, driver == "e1000e", "write {nth}: {reply:?}");
        ok(fake.bind("--restore"));
        assert_eq!(fake.driver(B).as_deref(), Some("e1000e"), "write {nth}");
    }
}

#[test]
fn both_drivers_refuse_and_the_old_one_is_back() {
    let fake = Fake::new();
    fake.has_no_iommu_mode();
    fake.broken.borrow_mut().extend(["vfio-pci", "uio_pci_generic"]);
    let said = refused(fake.bind(B));
    assert!(said.contains("it stays with e1000e"), "{said}");
    assert_eq!(fake.driver(B).as_deref(), Some("e1000e"));
    assert_eq!(nic::scan(&fake)[1].netdevs, ["eth1"]);
}

#[test]
fn the_nic_of_the_default_route_is_never_taken() {
    let fake = Fake::new();
    for line in ["eth0", "eth0 --force", A] {
        let said = refused(fake.bind(line));
        assert!(said.contains("refused: the default route leaves by eth0"), "{said}");
    }
    assert_eq!(fake.driver(A).as_deref(), Some("virtio-pci"));
}

#[test]
fn nor_is_one_below_it() {
    let fake = Fake::new();
    fake.file("proc/net/route", "Iface\nbr0.5 00000000 0202000A 0003 0 0 0 00000000 0 0 0\n");
    fake.file("sys/class/net/br0.5/lower_br0/x", "");
    fake.file("sys/class/net/br0/lower_eth1/x", "");
    assert!(refused(fake.bind("eth1 --force")).contains("leaves by br0.5"));
}

#[test]
fn nor_is_that_of_an_ipv6_default_route() {
    let fake = Fake::new();
    let (zeros, gateway) = ("0".repeat(32), "fe800000000000000000000000000001");
    let route = |netdev: &str, gateway: &str, flags: &str| {
        format!("{zeros} 00 {zeros} 00 {gateway} 00000400 00000001 00000000 {flags} {netdev}\n")
    };
    let text = route("lo", &zeros, "00200200") + &route("eth1", gateway, "00000003");
    fake.file("proc/net/ipv6_route", &text);
    assert!(refused(fake.bind("eth1")).contains("leaves by eth1"));
}

#[test]
fn an_ssh_session_keeps_its_nic_unless_forced() {
    let mut fake = Fake::new();
    fake.addresses = vec![("eth1".to_owned(), "10.0.0.5".parse().unwrap())];
    fake.ssh = Some("10.0.0.9 50000 10.0.0.5 22".to_owned());
    assert!(refused(fake.bind("eth1")).contains("an SSH session came in by eth1"));
    // Without the variable the table of sessions tells.
    fake.ssh = None;
    let local = u32::from_ne_bytes([10, 0, 0, 5]);
    let session = |state: &str, port: u16| {
        format!("  sl  local_address\n   0: {local:08X}:{port:04X} 0900000A:C350 {state} 0 0\n")
    };
    fake.file("proc/net/tcp", &session("01", 22));
    assert!(refused(fake.bind("eth1")).contains("an SSH session"));
    for harmless in [session("0A", 22), session("01", 80)] {
        fake.file("proc/net/tcp", &harmless);
        ok(fake.bind("eth1"));
        ok(fake.bind("--restore"));
    }
    fake.file("proc/net/tcp", &session("01", 22));
    ok(fake.bind("eth1 --force"));
}

#[test]
fn an_ssh_session_over_mapped_addresses_counts() {
    let mut fake = Fake::new();
    fake.addresses = vec![("eth1".to_owned(), "10.0.0.5".parse().unwrap())];
    let words = [0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), u32::from_ne_bytes([10, 0, 0, 5])];
    let address: String = words.iter().map(|word| format!("{word:08X}")).collect();
    fake.file("proc/net/tcp6", &format!("  sl\n 0: {address}:0016 {address}:C350 01 0\n"));
    assert!(refused(fake.bind("eth1")).contains("an SSH session"));
}

#[test]
fn a_marked_nic_stays() {
    let fake = Fake::new();
    fake.file("sys/class/net/eth1/ifalias", "Management\n");
    assert!(refused(fake.bind("eth1")).contains("the alias of eth1 says management"));
    ok(fake.bind("eth1 --force"));
}

#[test]
fn a_nic_in_use_is_not_pulled_away() {
    let fake = Fake::new();
    ok(fake.bind("eth1"));
    fake.file(&format!("sys/bus/pci/devices/{B}/uio/uio0/name"), "x");
    fake.file("proc/77/comm", "skiff\n");
    fs::create_dir_all(fake.path("proc/77/fd")).unwrap();
    symlink("/dev/uio0", fake.path("proc/77/fd/9")).unwrap();
    assert!(ok(fake.bind("")).contains("bound, in use by skiff (77)"));
    for line in ["--restore", "eth1 --driver vfio-pci"] {
        assert!(refused(fake.bind(line)).contains("process 77 (skiff) drives it"));
    }
    fs::remove_file(fake.path("proc/77/fd/9")).unwrap();
    ok(fake.bind("--restore"));
}

#[test]
fn a_configuration_names_what_is_taken() {
    let fake = Fake::new();
    let file = fake.path("skiff.toml");
    let config = |device: &str| {
        format!("[interface.a]\ndevice = \"{device}\"\n[interface.b]\ndevice = \"netdev:eth9\"\n")
    };
    fs::write(&file, config("pci:0000:00:04.0")).unwrap();
    assert_eq!(
        ok(fake.bind(&format!("--hugepages --config {}", file.display()))),
        "hugepages: 256 of 2 MiB (0 before)\n0000:00:04.0 (eth1): e1000e -> uio_pci_generic \
         (vfio-pci: no IOMMU, and this kernel's VFIO cannot do without)\n"
    );
    fs::write(&file, config("netdev:eth1")).unwrap();
    assert_eq!(ok(fake.bind(&format!("--config {}", file.display()))), "no NIC is to be bound\n");
    fs::write(&file, config("eth1")).unwrap();
    assert_eq!(fake.bind(&format!("--config {}", file.display())).exit, 3);
    fs::write(&file, config("pci:0000:00:09.0")).unwrap();
    assert!(refused(fake.bind(&format!("--config {}", file.display()))).contains("there is no such NIC"));
}

#[test]
fn without_a_record_the_kernel_chooses() {
    let fake = Fake::new();
    ok(fake.bind("eth1"));
    fake.remove("/run/skiff-bind.json").unwrap();
    assert_eq!(ok(fake.bind(&format!("--restore {B}"))), "0000:00:04.0: uio_pci_generic -> e1000e\n");
}

#[test]
fn a_nic_that_was_pulled_out_is_forgotten() {
    let fake = Fake::new();
    ok(fake.bind("eth1"));
    fs::remove_dir_all(fake.path(&format!("sys/bus/pci/devices/{B}"))).unwrap();
    assert_eq!(ok(fake.bind("--restore")), "0000:00:04.0: is gone\n");
    assert!(!fake.exists("/run/skiff-bind.json"));
}

#[test]
fn mellanox_keeps_its_driver() {
    let fake = Fake::new();
    fake.load("mlx5_core");
    fake.nic("0000:00:05.0", "0x15b3", "0x1017", "mlx5_core", "eth2");
    assert_eq!(
        ok(fake.bind("eth2")),
        "0000:00:05.0 (eth2): stays with mlx5_core, which DPDK shares it with\n"
    );
}

#[test]
fn hugepages_are_a_quarter_of_the_memory_and_never_fewer_than_before() {
    for (memory_kib, before, limit, pages, said) in [
        (2u64 << 20, 0u64, u64::MAX, 256, "256 of 2 MiB (0 before)"),
        (64 << 20, 0, u64::MAX, 512, "512 of 2 MiB (0 before)"),
        (2 << 20, 300, u64::MAX, 300, "300 of 2 MiB are there already, 256 would do"),
        (2 << 20, 10, u64::MAX, 256, "256 of 2 MiB (10 before)"),
        (2 << 20, 10, 40, 40, "40 of 2 MiB (10 before; 256 were asked for, memory is in pieces)"),
    ] {
        let fake = Fake { pages: limit, ..Fake::new() };
        fake.file("proc/meminfo", &format!("MemTotal:  {memory_kib} kB\n"));
        fake.file(TWO_MIB, &format!("{before}\n"));
        assert_eq!(ok(fake.bind("--hugepages")), format!("hugepages: {said}\n"));
        assert_eq!(fake.text(TWO_MIB), format!("{pages}\n"));
    }
    let fake = Fake { pages: 0, ..Fake::new() };
    assert!(refused(fake.bind("--hugepages")).contains("no memory for any of 256"));
}

#[test]
fn a_small_machine_gets_what_its_configuration_needs() {
    let fake = Fake::new();
    fake.file("proc/meminfo", "MemTotal: 1000000 kB\n");
    let file = fake.path("skiff.toml");
    let system = "[interface.a]\ndevice = \"vdev:net_null0\"\n[system]\n";
    fs::write(&file, format!("{system}memory = \"256M\"\n")).unwrap();
    let line = format!("--hugepages --config {}", file.display());
    assert_eq!(ok(fake.bind(&line)), "hugepages: 128 of 2 MiB (0 before)\n");
    fs::write(&file, format!("{system}hugepages = \"off\"\n")).unwrap();
    assert_eq!(ok(fake.bind(&line)), "hugepages: the configuration wants none\n");
    fs::write(&file, "").unwrap();
    assert_eq!(ok(fake.bind(&line)), "hugepages: the configuration has no interfaces yet\n");
}
