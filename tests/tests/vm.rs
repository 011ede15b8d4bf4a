//! The disk image, booted with each model of NIC that QEMU has: the router comes up by itself from cloud-init's
//! configuration, drives the two NICs with poll-mode drivers, leaves the third to the kernel, and gives all back.
//!
//! `make test-vm` builds the image and runs these; `make test` leaves them out, because a boot takes a minute.

use skiff_tests::{B_ADDR, Hardware, Vm, iperf3, iperf3_udp, ping};

/// Frames of 64 bytes have 18 of UDP payload.
const SMALLEST: u32 = 18;
const UDP_PPS: u32 = 10_000;

#[test]
#[ignore = "boots a virtual machine: make test-vm"]
fn virtio() {
    routes("virtio-net-pci", "net_virtio");
}

#[test]
#[ignore = "boots a virtual machine: make test-vm"]
fn e1000() {
    routes("e1000", "net_e1000_em");
}

#[test]
#[ignore = "boots a virtual machine: make test-vm"]
fn e1000e() {
    routes("e1000e", "net_e1000_em");
}

#[test]
#[ignore = "boots a virtual machine: make test-vm"]
fn vmxnet3() {
    routes("vmxnet3", "net_vmxnet3");
}

#[test]
#[ignore = "boots a virtual machine: make test-vm"]
fn igb() {
    routes("igb", "net_e1000_igb");
}

#[test]
#[ignore = "boots a virtual machine: make test-vm"]
fn e1000e_behind_an_iommu() {
    routes_on(Hardware { nic: "e1000e", iommu: true }, "net_e1000_em", "vfio-pci");
}

/// Debian's kernel cannot do VFIO without an IOMMU, so without one it is UIO.
#[track_caller]
fn routes(nic: &'static str, pmd: &str) {
    routes_on(Hardware { nic, iommu: false }, pmd, "uio_pci_generic");
}

#[track_caller]
fn routes_on(hardware: Hardware, pmd: &str, driver: &str) {
    let vm = Vm::boot(hardware);

    assert_eq!(vm.metrics().sum("skiff_port_info", &[("driver", pmd)]), 2);
    let (ours, management) = vm.nics();
    for nic in &ours {
        assert_eq!((&nic["driver"], &nic["state"]), (&driver.into(), &"bound".into()), "{nic}");
        assert!(nic["process"].is_u64(), "the router has it open: {nic}");
    }
    assert_eq!((&management["driver"], &management["state"]), (&"virtio-pci".into(), &"kept".into()));
    let in_use = vm.try_ssh("sudo skiff bind --restore");
    assert!(in_use.code == 1 && in_use.err.contains("(skiff) drives it"), "{in_use:?}");
    let refused = vm.try_ssh("sudo skiff bind --force 0000:00:03.0");
    assert!(refused.code == 1 && refused.err.contains("default route"), "{refused:?}");

    let pings = ping(&vm.a, &format!("-q -c 1000 -i 0.005 -W 2 {B_ADDR}"));
    assert!(pings.received >= 990 && pings.duplicates == 0, "{}", pings.text);
    let tcp = iperf3(&vm.a, &vm.b, B_ADDR, "-t 5");
    assert!(tcp.bytes > 1_000_000, "{tcp:?}");
    let rate = UDP_PPS * SMALLEST * 8;
    let udp = iperf3_udp(&vm.a, &vm.b, B_ADDR, &format!("-t 5 -b {rate} -l {SMALLEST}"));
    assert!(udp.received() > 0, "{udp:?}");
    let drops = vm.metrics().drops();

    give_back_and_take_again(&vm);
    println!(
        "{nic:14} {pmd:14} {driver:16} boot {boot:3.0} s  ping {lost:4.1} % lost, rtt {rtt} ms  TCP {tcp:4.0} Mbit/s  \
         UDP 64 B at {UDP_PPS} pps {udp:5.2} % lost  drops {drops:?}",
        nic = hardware.nic.split(',').next().unwrap_or_default(),
        boot = vm.boot.as_secs_f64(),
        lost = 100.0 - pings.received as f64 / 10.0,
        rtt = pings.average_rtt_ms(),
        tcp = tcp.bits_per_second / 1e6,
        udp = udp.lost_percent(),
    );
    vm.power_off();
}

/// Stopping the services gives the NICs back to the kernel's drivers; starting them takes them again.
#[track_caller]
fn give_back_and_take_again(vm: &Vm) {
    let (taken, _) = vm.nics();
    vm.ssh("sudo systemctl stop skiff skiff-bind");
    let (given_back, _) = vm.nics();
    for nic in &given_back {
        assert_eq!(nic["state"], "free", "{nic}");
        assert!(nic["netdevs"].as_array().is_some_and(|netdevs| netdevs.len() == 1), "{nic}");
    }
    vm.ssh("sudo systemctl start skiff-bind skiff");
    let (again, _) = vm.nics();
    assert_eq!(again.map(|nic| nic["driver"].clone()), taken.map(|nic| nic["driver"].clone()));
    let pings = ping(&vm.a, &format!("-q -c 10 -W 10 {B_ADDR}"));
    assert!(pings.received > 0, "{}", pings.text);
}
