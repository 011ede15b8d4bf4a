//! Ports on virtual devices.

mod common;

use std::time::Duration;

use common::{MBUFS, burst, config, eal, ids, open, pkt, pool, pool_of};
use skiff_pmd::{Burst, Eal, EpollSet, Error, Port, PortConfig, PortId, vdev};

#[test]
fn ring_port_loops_packets_back() {
    let eal = eal(&["net_ring0"]);
    let pool = pool(&eal);
    let (port, mut rx, mut tx) = open(&eal, 0, &pool);
    assert_eq!((port.id(), port.name(), rx.port(), tx.queue()), (PortId(0), "eth0", PortId(0), 0));
    let mut out = burst(&pool, 0..32);
    assert_eq!(tx.tx_burst(&mut out), 32);
    assert!(out.is_empty());
    let mut got = burst(&pool, 200..210);
    assert_eq!(rx.rx_burst(&mut got), 22, "the free room");
    assert_eq!(ids(&got)[10..], (0..22).collect::<Vec<_>>());
    got.free_all();
    assert_eq!(rx.rx_burst(&mut got), 10);
    assert_eq!(ids(&got), (22..32).collect::<Vec<_>>());
    let stats = port.stats().unwrap();
    assert_eq!((stats.ipackets, stats.opackets), (32, 32));
    assert_eq!((stats.q_ipackets, stats.q_opackets), (vec![32], vec![32]));
    port.reset_stats().unwrap();
    assert_eq!(port.stats().unwrap().ipackets, 0);
    drop(got);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn unsent_packets_stay_at_the_front() {
    let eal = eal(&["net_ring0"]);
    let pool = pool_of(&eal, "larger than the ring", 4095, 64);
    let (_port, mut rx, mut tx) = open(&eal, 0, &pool);
    let mut sent = 0;
    let (mut out, mut left) = (Burst::new(), 0);
    while left == 0 {
        out = burst(&pool, 0..31);
        let n = tx.tx_burst(&mut out);
        sent += n;
        left = 31 - n;
    }
    assert_eq!(ids(&out), (31 - left as u8..31).collect::<Vec<_>>());
    let mut got = Burst::new();
    let mut received = 0;
    while rx.rx_burst(&mut got) > 0 {
        received += got.len();
        got.free_all();
    }
    assert_eq!(received, sent);
    drop(out);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn null_port_receives_and_swallows() {
    let null = vdev::Null { size: Some(60), ..vdev::Null::new(0) }.devargs().unwrap();
    let eal = eal(&[&null]);
    let pool = pool(&eal);
    let (port, mut rx, mut tx) = open(&eal, 0, &pool);
    let mut burst = Burst::new();
    for _ in 0..100 {
        assert_eq!(rx.rx_burst(&mut burst), 32);
        assert!(burst.iter().all(|pkt| pkt.len() == 60 && pkt.port() == 0));
        assert_eq!(tx.tx_burst(&mut burst), 32);
    }
    let info = port.info();
    assert_eq!((info.driver.as_str(), info.device.as_str()), ("net_null", "net_null0"));
    assert_eq!((info.rx_queues, info.tx_queues, info.rx_interrupts), (1, 1, false));
    assert!(info.max_rx_queues >= 1 && info.max_mtu >= 1500);
    assert!(!rx.supports_interrupt());
    assert!(!port.is_removed());
    drop((port, rx, tx));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn more_queues_than_the_driver_has_are_reduced() {
    let eal = eal(&["net_ring0", "net_null0"]);
    let pool = pool(&eal);
    let cfg = PortConfig { rx_queues: 500, tx_queues: 0, ..PortConfig::default() };
    for (id, name) in eal.port_names() {
        let (port, rx, tx) = Port::open(&eal, PortId(id), &name, &cfg, &pool).unwrap();
        let info = port.info();
        assert_eq!((rx.len(), tx.len()), (usize::from(info.max_rx_queues.min(500)), 1));
        assert!(rx.iter().zip(0..).all(|(queue, at)| queue.queue() == at));
    }
}

#[test]
fn pcap_port_plays_for_ever() {
    let dir = std::env::temp_dir().join(format!("skiff-pmd-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join("in.pcap");
    std::fs::write(&file, capture(&[b"first packet, 30 bytes of it..", b"second packet"])).unwrap();
    let rx = Some(file.to_str().unwrap().to_owned());
    let eal = eal(&[&vdev::Pcap { rx, infinite_rx: true, ..vdev::Pcap::new(0) }.devargs().unwrap()]);
    let pool = pool(&eal);
    let (port, mut rx, tx) = open(&eal, 0, &pool);
    let mut burst = Burst::new();
    let mut seen = 0;
    for _ in 0..200 {
        rx.rx_burst(&mut burst);
        for pkt in burst.drain() {
            let expected: &[u8] =
                if seen % 2 == 0 { b"first packet, 30 bytes of it.." } else { b"second packet" };
            assert_eq!(pkt.data(), expected);
            seen += 1;
        }
    }
    assert!(seen > 200);
    drop((port, rx, tx));
    assert_eq!(pool.in_use(), 0, "the player gave back what it played from");
    std::fs::remove_dir_all(dir).unwrap();
}

/// A capture file: Ethernet, microseconds.
fn capture(frames: &[&[u8]]) -> Vec<u8> {
    let mut file = Vec::new();
    let header = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65535, 1];
    header.iter().for_each(|word| file.extend(word.to_le_bytes()));
    for frame in frames {
        let len = frame.len() as u32;
        [0, 0, len, len].iter().for_each(|word: &u32| file.extend(word.to_le_bytes()));
        file.extend_from_slice(frame);
    }
    file
}

#[test]
fn memif_pair_carries_packets() {
    let socket = format!("skiff-pmd-memif-{}", std::process::id());
    let end = |index, server| {
        let end = vdev::Memif { socket_abstract: true, ..vdev::Memif::new(index, server, &socket) };
        end.devargs().unwrap()
    };
    let eal = eal(&[&end(0, true), &end(1, false)]);
    let pool = pool(&eal);
    let (server, mut rx, tx) = open(&eal, 0, &pool);
    let (client, rx1, mut tx1) = open(&eal, 1, &pool);
    let connected = (0..2000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        server.link().up && client.link().up
    });
    assert!(connected, "{:?} {:?}", server.link(), client.link());
    let mut out = burst(&pool, 0..10);
    assert_eq!(tx1.tx_burst(&mut out), 10);
    let mut got = Burst::new();
    let arrived = (0..2000).any(|_| {
        rx.rx_burst(&mut got);
        got.len() == 10 || {
            std::thread::sleep(Duration::from_millis(1));
            false
        }
    });
    assert!(arrived, "{}", got.len());
    assert_eq!(ids(&got), (0..10).collect::<Vec<_>>());
    drop((server, rx, tx, client, rx1, tx1, got));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn wrong_ports_are_refused_by_name() {
    let eal = eal(&["net_ring0"]);
    let pool = pool(&eal);
    let try_open =
        |id, name: &str, cfg: &PortConfig| Port::open(&eal, PortId(id), name, cfg, &pool).map(drop);
    let plain = PortConfig::default();
    let why = try_open(7, "lan7", &plain).unwrap_err();
    assert_eq!(why.to_string(), "port lan7: there is no device number 7");
    let mac = PortConfig { mac: Some([2, 0, 0, 0, 0, 1]), ..PortConfig::default() };
    let why = try_open(0, "lan0", &mac).unwrap_err();
    assert!(
        why.is_unsupported() && why.to_string().starts_with("port lan0: cannot set the MAC address"),
        "{why}"
    );
}

#[test]
fn a_port_opens_once() {
    let eal = eal(&["net_ring0"]);
    let pool = pool(&eal);
    let (port, rx, tx) = open(&eal, 0, &pool);
    let again = Port::open(&eal, PortId(0), "again", &PortConfig::default(), &pool).unwrap_err();
    assert_eq!(again.to_string(), "port again: device number 0 is in use");
    assert!(matches!(eal.detach_vdev("net_ring0"), Err(Error::PortInUse { id: 0, .. })));
    drop((port, rx));
    assert!(matches!(eal.detach_vdev("net_ring0"), Err(Error::PortInUse { .. })), "a queue is left");
    drop(tx);
}

#[test]
fn stop_wants_the_queues_back() {
    let eal = eal(&["net_null0"]);
    let pool = pool(&eal);
    let (mut port, rx, tx) = open(&eal, 0, &pool);
    assert!(matches!(port.stop(), Err(Error::QueuesInUse { .. })));
    drop((rx, tx));
    port.stop().unwrap();
    let (mut rx, tx) = port.start().unwrap();
    assert_eq!((rx.len(), tx.len()), (1, 1));
    assert_eq!(rx[0].rx_burst(&mut Burst::new()), 32);
    assert!(port.start().is_err());
}

#[test]
fn devices_come_and_go() {
    let eal = eal(&["net_null0"]);
    let pool = pool(&eal);
    let id = eal.attach_vdev("net_ring5").unwrap();
    assert_eq!(eal.port_names(), [(0, "net_null0".to_owned()), (id, "net_ring5".to_owned())]);
    let (port, mut rx, mut tx) = open(&eal, id, &pool);
    let mut burst = burst(&pool, 0..3);
    tx.tx_burst(&mut burst);
    assert_eq!(rx.rx_burst(&mut burst), 3);
    drop((port, rx, tx));
    eal.detach_vdev("net_ring5").unwrap();
    assert_eq!(eal.port_names(), [(0, "net_null0".to_owned())]);
    let why = eal.detach_vdev("net_ring5").unwrap_err();
    assert!(why.to_string().starts_with("device net_ring5: "), "{why}");
    let why = eal.attach_vdev("net_nonsense0").unwrap_err();
    assert!(why.to_string().starts_with("device net_nonsense0: "), "{why}");
    assert!(eal.attach_vdev("net_ring5").is_ok());
}

#[test]
fn mac_mtu_and_promiscuity() {
    let eal = eal(&["net_null0"]);
    let pool = pool(&eal);
    let cfg = PortConfig { mac: Some([2, 0, 0, 0, 0, 9]), promiscuous: true, ..PortConfig::default() };
    let (port, _rx, _tx) = Port::open(&eal, PortId(0), "lan0", &cfg, &pool).unwrap();
    assert_eq!(port.mac(), [2, 0, 0, 0, 0, 9]);
    port.set_mac([2, 0, 0, 0, 0, 10]).unwrap();
    assert_eq!(port.mac(), [2, 0, 0, 0, 0, 10]);
    port.set_promiscuous(true).unwrap();
    assert!(!port.xstats().is_empty());
    assert!(port.mtu() >= 1500);
    assert!(port.link().full_duplex);
}

#[test]
fn queue_without_interrupts_cannot_be_waited_for() {
    let eal = eal(&["net_null0"]);
    let pool = pool(&eal);
    let cfg = PortConfig { rx_interrupts: true, ..PortConfig::default() };
    let (port, mut rx, _tx) = Port::open(&eal, PortId(0), "lan0", &cfg, &pool).unwrap();
    assert!(!rx[0].supports_interrupt());
    let mut set = EpollSet::new().unwrap();
    let why = set.add(&rx[0]).unwrap_err();
    assert!(why.to_string().starts_with("port lan0: cannot wait for receive interrupts"), "{why}");
    assert_eq!(set.wait(Duration::from_millis(1)), 0);
    assert!(rx[0].enable_interrupt().unwrap_err().is_unsupported());
    assert!(port.info().rx_queues == 1);
}

#[test]
fn everything_outlives_the_eal_handle() {
    let eal: Eal = eal(&["net_null0"]);
    let pool = pool(&eal);
    let (port, mut rx, tx) = open(&eal, 0, &pool);
    drop(eal);
    let mut burst = Burst::new();
    assert_eq!(rx.rx_burst(&mut burst), 32);
    drop((port, tx));
    assert_eq!(rx.rx_burst(&mut burst), 0, "no room");
    let survivor = pkt(&pool, b"survivor");
    drop((rx, burst));
    assert_eq!(pool.available(), MBUFS - 1);
    drop(pool);
    // EAL counts as down, but a packet's memory stays.
    assert!(skiff_pmd::register_thread().is_ok(), "the main lcore");
    assert!(std::thread::spawn(|| skiff_pmd::register_thread().is_err()).join().unwrap());
    assert_eq!(survivor.data(), b"survivor");
}

#[test]
fn port_of_missing_interface_is_an_error_that_says_so() {
    let why = Eal::init(config(&["net_af_packet0,iface=no-such-if0"])).unwrap_err().to_string();
    assert!(why.starts_with("device net_af_packet0,iface=no-such-if0: "), "{why}");
}
