//! What the tests share. EAL starts once in a process, so every test needs a process of its own: run them
//! with `cargo nextest run`.

#![allow(dead_code)]

use skiff_pmd::{
    Burst, Eal, EalConfig, Hugepages, Pkt, Pool, PoolConfig, Port, PortConfig, PortId, RxQueue, TxQueue,
};

pub const MBUFS: u32 = 1023;

pub fn config(vdevs: &[&str]) -> EalConfig {
    EalConfig {
        program: "test".into(),
        memory_mib: 64,
        hugepages: Hugepages::Off,
        vdevs: vdevs.iter().map(|vdev| vdev.to_string()).collect(),
        ..EalConfig::default()
    }
}

pub fn eal(vdevs: &[&str]) -> Eal {
    Eal::init(config(vdevs)).unwrap()
}

pub fn pool_of(eal: &Eal, name: &str, mbufs: u32, data_room: u16) -> Pool {
    Pool::create(eal, &PoolConfig { name, mbufs, cache: 64, data_room, socket: None }).unwrap()
}

pub fn pool(eal: &Eal) -> Pool {
    pool_of(eal, "pool", MBUFS, 2048)
}

pub fn open(eal: &Eal, id: u16, pool: &Pool) -> (Port, RxQueue, TxQueue) {
    let (port, mut rx, mut tx) = Port::open(eal, PortId(id), "eth0", &PortConfig::default(), pool).unwrap();
    assert_eq!((rx.len(), tx.len()), (1, 1));
    (port, rx.pop().unwrap(), tx.pop().unwrap())
}

pub fn pkt(pool: &Pool, bytes: &[u8]) -> Pkt {
    let mut pkt = pool.alloc().unwrap();
    pkt.append(bytes.len()).unwrap().copy_from_slice(bytes);
    pkt
}

/// A packet of one segment for each slice.
pub fn chained(pool: &Pool, parts: &[&[u8]]) -> Pkt {
    let mut head = pkt(pool, parts[0]);
    for part in &parts[1..] {
        head.chain(pkt(pool, part)).unwrap();
    }
    head
}

pub fn bytes(pkt: &Pkt) -> Vec<u8> {
    let all = pkt.segments().collect::<Vec<_>>().concat();
    assert_eq!(all.len(), pkt.len(), "pkt_len is the sum of the segments");
    assert_eq!(pkt.segments().count(), usize::from(pkt.nb_segs()), "nb_segs is the number of segments");
    all
}

/// A burst of one-byte packets with these bytes.
pub fn burst(pool: &Pool, ids: impl IntoIterator<Item = u8>) -> Burst {
    let mut burst = Burst::new();
    for id in ids {
        burst.push(pkt(pool, &[id])).unwrap();
    }
    burst
}

pub fn ids(burst: &Burst) -> Vec<u8> {
    burst.iter().map(|pkt| pkt.data()[0]).collect()
}
