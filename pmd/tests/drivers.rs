//! The virtual drivers a router needs are there, however DPDK is linked.

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use common::{burst, eal, ids, open, pool};
use skiff_pmd::{Burst, EpollSet, Port, PortConfig, PortId, vdev};

/// A directory that goes when the test ends.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        let dir = std::env::temp_dir().join(format!("skiff-pmd-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Dir(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn unprivileged_drivers_attach() {
    let dir = Dir::new();
    let eal = eal(&[]);
    let tx = Some(dir.path("out.pcap"));
    let devices = [
        vdev::Null::new(0).devargs(),
        vdev::Ring::new(0).devargs(),
        vdev::Pcap { tx, ..vdev::Pcap::new(0) }.devargs(),
        vdev::Memif::new(0, true, &dir.path("memif")).devargs(),
        vdev::Vhost::new(0, &dir.path("vhost")).devargs(),
        Ok("net_bonding0,mode=1".into()),
    ];
    for device in devices.map(Result::unwrap) {
        if let Err(why) = eal.attach_vdev(&device) {
            panic!("{why}");
        }
    }
    assert_eq!(eal.port_names().len(), 6);
}

#[test]
fn sent_packets_are_recorded() {
    let dir = Dir::new();
    let file = dir.path("out.pcap");
    let eal = eal(&[&vdev::Pcap { tx: Some(file.clone()), ..vdev::Pcap::new(0) }.devargs().unwrap()]);
    let pool = pool(&eal);
    let (port, rx, mut tx) = open(&eal, 0, &pool);
    assert_eq!(tx.tx_burst(&mut burst(&pool, [7, 8])), 2);
    drop((port, rx, tx));
    let recorded = fs::read(file).unwrap();
    // File header 24, record header 16 and one byte, twice.
    assert_eq!(recorded.len(), 24 + 2 * 17);
    assert_eq!((recorded[24 + 16], recorded[24 + 33]), (7, 8));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn vhost_and_virtio_user_talk() {
    let dir = Dir::new();
    let socket = dir.path("vhost");
    let host = vdev::Vhost::new(0, &socket).devargs().unwrap();
    let eal = eal(&[&host]);
    let pool = pool(&eal);
    // The host's socket listens from when its port is attached, and answers on a thread of DPDK's.
    let (host, mut rx, tx) = open(&eal, 0, &pool);
    let guest = eal.attach_vdev(&vdev::VirtioUser::new(0, &socket).devargs().unwrap()).unwrap();
    let (guest, guest_rx, mut guest_tx) = open(&eal, guest, &pool);
    let mut got = Burst::new();
    let arrived = (0..2000).any(|_| {
        guest_tx.tx_burst(&mut burst(&pool, [1]));
        rx.rx_burst(&mut got);
        std::thread::sleep(Duration::from_millis(1));
        !got.is_empty()
    });
    assert!(arrived);
    assert_eq!(ids(&got)[0], 1);
    drop((host, rx, tx, guest, guest_rx, guest_tx, got));
    assert_eq!(pool.in_use(), 0);
}

/// Puts the test alone into a network of its own, if it is root.
fn private_network() -> bool {
    // SAFETY: takes flags only; the test runs in a thread of its own, which starts every other.
    unsafe { libc::unshare(libc::CLONE_NEWNET) == 0 }
}

fn ip(args: &str) {
    let status = std::process::Command::new("ip").args(args.split(' ')).status().unwrap();
    assert!(status.success(), "ip {args}");
}

#[test]
fn af_packet_takes_the_kernels_mtu() {
    if !private_network() {
        return;
    }
    ip("link add left type veth peer name right");
    let eal = eal(&[&vdev::AfPacket::new(0, "left").devargs().unwrap()]);
    let pool = pool(&eal);
    let cfg = PortConfig { mtu: Some(9000), ..PortConfig::default() };
    let (port, _rx, _tx) = Port::open(&eal, PortId(0), "lan0", &cfg, &pool).unwrap();
    let info = port.info();
    assert_eq!(info.driver, "net_af_packet");
    assert!(info.if_index.is_some());
    assert_eq!(port.mtu(), 9000);
    port.set_mtu(1500).unwrap();
    assert_eq!(port.mtu(), 1500);
    assert!(port.set_mtu(20).is_err());
}

#[test]
fn tap_packets_wake_a_sleeper() {
    if !private_network() || !std::path::Path::new("/dev/net/tun").exists() {
        return;
    }
    let tap = vdev::Tap { iface: Some("tap0".into()), ..vdev::Tap::new(0) };
    let eal = eal(&[&tap.devargs().unwrap()]);
    let pool = pool(&eal);
    let cfg = PortConfig { rx_interrupts: true, ..PortConfig::default() };
    let (_port, mut rx, _tx) = Port::open(&eal, PortId(0), "lan0", &cfg, &pool).unwrap();
    assert!(rx[0].supports_interrupt());
    let mut set = EpollSet::new().unwrap();
    set.add(&rx[0]).unwrap();
    assert!(set.add(&rx[0]).is_err(), "twice");
    assert!(EpollSet::new().unwrap().add(&rx[0]).is_err(), "in another set");
    drop(set);
    let mut set = EpollSet::new().unwrap();
    set.add(&rx[0]).unwrap();
    let mut burst = Burst::new();
    // Quiet the interface down before the kernel is made to speak.
    while set.wait(Duration::from_millis(100)) > 0 {
        rx[0].rx_burst(&mut burst);
        burst.free_all();
    }
    rx[0].enable_interrupt().unwrap();
    ip("addr add 10.0.0.1/24 dev tap0");
    ip("link set tap0 up");
    ip("neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev tap0");
    let kernel = std::net::UdpSocket::bind("10.0.0.1:0").unwrap();
    kernel.send_to(b"wake up", "10.0.0.2:9").unwrap();
    let woken = set.wait(Duration::from_secs(20));
    rx[0].disable_interrupt().unwrap();
    assert_eq!(woken, 1);
    // The driver looks at its descriptor only after a signal, which may come a moment after the wake-up.
    let arrived = (0..2000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        rx[0].rx_burst(&mut burst) > 0
    });
    assert!(arrived);
}
