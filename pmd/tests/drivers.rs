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

/// What each driver says it does with VLAN tags; the router leans on this.
#[test]
fn vlan_offloads_are_what_drivers_do() {
    let dir = Dir::new();
    let host = vdev::Vhost::new(0, &dir.path("vhost")).devargs().unwrap();
    let memif = vdev::Memif::new(0, true, &dir.path("memif")).devargs().unwrap();
    let eal = eal(&[&host, "net_null0", "net_ring0", &memif]);
    let pool = pool(&eal);
    let mut ports: Vec<_> = (0..4).map(|id| open(&eal, id, &pool)).collect();
    let guest = eal.attach_vdev(&vdev::VirtioUser::new(0, &dir.path("vhost")).devargs().unwrap()).unwrap();
    ports.push(open(&eal, guest, &pool));
    let seen = ports.iter().map(|(port, ..)| {
        let info = port.info();
        // vhost wants to know when it is opened, and does it in software as the router does.
        let switches = info.strips_vlan() && info.driver != "net_vhost";
        assert_eq!(port.set_vlan_strip(true).is_ok(), switches, "{}", info.driver);
        (info.driver.clone(), [info.strips_vlan(), info.inserts_vlan(), info.filters_vlan()])
    });
    let seen: std::collections::BTreeMap<_, _> = seen.collect();
    let names: Vec<_> = seen.keys().map(String::as_str).collect();
    assert_eq!(names, ["net_memif", "net_null", "net_ring", "net_vhost", "net_virtio_user"], "{seen:?}");
    assert_eq!([seen["net_memif"], seen["net_null"], seen["net_ring"]], [[false; 3]; 3]);
    assert_eq!([seen["net_vhost"], seen["net_virtio_user"]], [[true, true, false], [true, false, false]]);
}

/// The kernel takes tags out before the driver sees the frame, and a tag the driver is asked to put in arrives.
fn af_packet_with_tags(vlan_strip: bool) {
    if !private_network() {
        return;
    }
    ip("link add left type veth peer name right");
    ip("link set left up");
    ip("link set right up");
    let [left, right] = ["left", "right"].map(|name| vdev::AfPacket::new(0, name).devargs().unwrap());
    let right = right.replace("net_af_packet0", "net_af_packet1");
    let eal = eal(&[&left, &right]);
    let pool = pool(&eal);
    let cfg = PortConfig { vlan_strip, ..PortConfig::default() };
    let (a, _rx, mut tx) = Port::open(&eal, PortId(0), "a", &cfg, &pool).unwrap();
    let (b, mut rx, _tx) = Port::open(&eal, PortId(1), "b", &cfg, &pool).unwrap();
    assert!(a.info().inserts_vlan());
    assert_eq!(b.info().strips_any_vlan(), vlan_strip);
    let plain: Vec<u8> = [&[2, 0, 0, 0, 0, 7][..], &[2, 0, 0, 0, 0, 9], &[0x12, 0x34], &[5; 50]].concat();
    let tagged = |tpid: u16| [&plain[..12], &tpid.to_be_bytes(), &[0x20, 10], &plain[12..]].concat();
    for (asked, tpid) in [(true, 0x8100), (false, 0x8100), (false, 0x88a8)] {
        let mut pkt = common::pkt(&pool, if asked { &plain } else { &[] });
        match asked {
            true => pkt.set_tx_vlan(0x200a),
            false => pkt.append(plain.len() + 4).unwrap().copy_from_slice(&tagged(tpid)),
        }
        let mut burst = Burst::new();
        burst.push(pkt).unwrap();
        assert_eq!(tx[0].tx_burst(&mut burst), 1);
        let got = receive(&mut rx[0], &plain[..12]);
        assert_eq!((got.is_vlan_stripped(), got.vlan_tci()), (vlan_strip, 0x200a));
        // Without stripping the driver puts the tag back as a customer tag, whatever it was.
        assert_eq!(got.data(), if vlan_strip { plain.clone() } else { tagged(0x8100) });
    }
}

#[test]
fn af_packet_leaves_tags_beside_the_data() {
    af_packet_with_tags(true);
}

#[test]
fn af_packet_puts_tags_back() {
    af_packet_with_tags(false);
}

/// The next frame that begins with these addresses.
fn receive(rx: &mut skiff_pmd::RxQueue, addresses: &[u8]) -> skiff_pmd::Pkt {
    let mut got = Burst::new();
    for _ in 0..2000 {
        rx.rx_burst(&mut got);
        if let Some(pkt) = got.drain().find(|pkt| pkt.data().starts_with(addresses)) {
            return pkt;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("nothing came");
}
