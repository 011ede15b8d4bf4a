//! The lcore's loop, `dev_queue_xmit` and `hard_start_xmit`: full rings, hand-over between lcores, snapshots.

mod common;

use std::sync::Arc;

use common::{Ip, R1, R2, R3, Rig, dev, tsc_at};
use skiff_dataplane::core::counters::Mib::*;
use skiff_dataplane::core::drop_reason::{DropReason::*, Node::*};
use skiff_dataplane::core::env::Hands;
use skiff_dataplane::core::lcore::{Clock, Idle, Worker};
use skiff_dataplane::core::shared::RunState;
use skiff_dataplane::core::snapshot::Snapshot;
use skiff_dataplane::core::xmit::{TxPath, TxTable};
use skiff_dataplane::skb::SkbList;
use skiff_pmd::Ring;

fn transit(i: u16) -> Vec<u8> {
    Ip::udp("10.1.0.2", "10.2.0.2", (i, 7), 40).to_port(R1)
}

fn offer(rig: &mut Rig, packets: u16) {
    let mut burst = SkbList::new();
    for i in 0..packets {
        let skb = rig.skb(&transit(i).into());
        burst.push(skb).unwrap();
    }
    assert_eq!(rig.feed[R1].tx_burst(&mut burst), usize::from(packets));
}

#[test]
fn a_full_transmit_ring_is_counted() {
    let mut rig = Rig::with(1, 4095);
    let mut offered = 0;
    while rig.shared.ledger().dropped == 0 {
        offer(&mut rig, 31);
        rig.round();
        offered += 31;
    }
    let ledger = rig.shared.ledger();
    assert_eq!((ledger.rx, ledger.tx + ledger.dropped, ledger.held()), (offered, offered, 0));
    let cells = rig.shared.cells(0);
    assert_eq!(cells.drops(HardStartXmit, TxFull), (ledger.dropped, ledger.dropped * 82));
    let device = cells.device(dev(R2));
    assert_eq!((device.tx_packets.get(), device.tx_bytes.get()), (ledger.tx, ledger.tx * 82));
    assert_eq!(device.tx_dropped.get(), ledger.dropped);
    assert_eq!(cells.tx_queue(4, 0).full.get(), 1);
    let mut wire = Default::default();
    rig.collect(&mut wire);
    assert_eq!(wire[R2].len() as u64, ledger.tx);
    offer(&mut rig, 31);
    rig.round();
    assert_eq!(rig.shared.ledger().dropped, ledger.dropped, "the ring has room again");
}

#[test]
fn more_than_a_burst_leaves_in_one_round() {
    let mut rig = Rig::new();
    offer(&mut rig, 32);
    let mut burst = SkbList::new();
    for i in 32..64 {
        let skb = rig.skb(&Ip::udp("10.3.0.2", "10.2.0.2", (i, 7), 40).to_port(R3).into());
        burst.push(skb).unwrap();
    }
    rig.feed[R3].tx_burst(&mut burst);
    rig.round();
    let mut wire = Default::default();
    rig.collect(&mut wire);
    let sources: Vec<u16> = wire[R2].iter().map(|f| u16::from_be_bytes([f[34], f[35]])).collect();
    assert_eq!(sources, (0..64).collect::<Vec<_>>());
    assert_eq!(rig.worker.hands.tx.held(), 0);
}

/// Lcore 1 has no transmit queue of its own: what it forwards goes out by lcore 0.
#[test]
fn packets_are_handed_to_the_lcore_that_owns_the_queue() {
    let mut rig = Rig::with(2, 2047);
    let ring = Arc::new(Ring::create(&rig.eal, "handoff", 64).unwrap());
    rig.worker.handoff.push(Arc::clone(&ring));
    let mut table = TxTable::default();
    table.set(R2 as u16, TxPath::Handoff(Arc::clone(&ring)));
    let mut second = Worker {
        id: 1,
        cpu: None,
        shared: Arc::clone(&rig.shared),
        rx: std::mem::take(&mut rig.worker.rx),
        handoff: Vec::new(),
        hands: Hands::new(1, table, rig.own_pool.clone(), 1),
        idle: Idle::Poll,
        clock: Clock::new(0),
    };
    let (shared, snap) = (Arc::clone(&rig.shared), Arc::clone(&rig.snap));
    let tsc = tsc_at(rig.now);
    for _ in 0..3 {
        offer(&mut rig, 32);
        second.round(&shared, &snap, shared.cells(1), tsc, RunState::Running);
    }
    assert_eq!(ring.count(), 64);
    assert_eq!(shared.cells(1).drops(HardStartXmit, HandoffFull), (32, 32 * 82));
    assert_eq!((shared.cells(1).ledger().tx, shared.ledger().held()), (0, 64), "handed over is not sent");

    // The owner sends what it was handed even when it takes nothing new.
    for _ in 0..2 {
        rig.worker.round(&shared, &snap, shared.cells(0), tsc, RunState::Draining);
    }
    let mut wire = Default::default();
    rig.collect(&mut wire);
    assert_eq!((wire[R2].len(), shared.cells(0).ledger().tx), (64, 64));
    let sources: Vec<u16> = wire[R2].iter().map(|f| u16::from_be_bytes([f[34], f[35]])).collect();
    assert_eq!(sources, (0..32).chain(0..32).collect::<Vec<_>>(), "in order");
    drop(second);
}

#[test]
fn a_port_without_a_way_out_refuses() {
    let mut rig = Rig::new();
    rig.worker.hands.tx = TxTable::default();
    rig.send(R1, transit(0)).drop_of(DevQueueXmit, DevReady).silent();
    assert_eq!(rig.shared.cells(0).device(dev(R2)).tx_dropped.get(), 1);
}

#[test]
fn a_port_without_a_device_takes_nothing() {
    let mut rig = Rig::new();
    rig.devices.remove(1);
    let devices = rig.devices.clone();
    drop(rig.shared.publish(Snapshot::new(2, devices, rig.sysctl, false)));
    rig.snap = rig.shared.snapshot();
    rig.send(R1, transit(0)).drop_of(NetifReceive, DevReady).silent();
}

#[test]
fn draining_takes_nothing_new() {
    let mut rig = Rig::new();
    offer(&mut rig, 5);
    let (shared, snap) = (Arc::clone(&rig.shared), Arc::clone(&rig.snap));
    rig.worker.round(&shared, &snap, shared.cells(0), tsc_at(rig.now), RunState::Draining);
    assert_eq!(shared.ledger().rx, 0);
    rig.round();
    assert_eq!(shared.ledger().tx, 5);
}

/// A published snapshot holds from the next round on, and no packet is lost between the two.
#[test]
fn a_snapshot_is_picked_up_between_bursts() {
    let mut rig = Rig::new();
    let shared = Arc::clone(&rig.shared);
    let mut devices = rig.devices.clone();
    devices[1].conf.forwarding = false;
    let mut next = Some(Snapshot::new(2, devices, rig.sysctl, true));
    let (mut round, mut old) = (0, None);
    let frames: Vec<_> = (0..96).map(|i| rig.skb(&transit(i).into())).collect();
    let mut burst = SkbList::new();
    frames.into_iter().for_each(|skb| {
        burst.push(skb).unwrap();
        if burst.is_full() {
            rig.feed[R1].tx_burst(&mut burst);
        }
    });
    rig.worker.run_while(|_| {
        round += 1;
        if round == 2 {
            // This round has its snapshot already.
            old = next.take().map(|snapshot| shared.publish(snapshot));
        }
        round <= 4
    });
    assert_eq!(shared.ledger().tx, 64);
    assert_eq!(shared.cells(0).drops(IpRcvFinish, IpInaddrErrors).0, 32);
    assert_eq!(shared.cells(0).mib(IpInAddrErrors).get(), 32);
    assert_eq!(Arc::strong_count(&old.unwrap()), 2, "the rig has one, the lcore let its own go");
    assert!(shared.cells(0).node(IpRcvFinish).cycles.get() > 0, "the new snapshot times the stages");
}

#[test]
fn the_worker_thread_gives_everything_back() {
    let mut rig = Rig::new();
    offer(&mut rig, 32);
    let hands = Hands::new(0, TxTable::default(), rig.own_pool.clone(), 1);
    let clock = Clock::new(0);
    let idle = Worker {
        id: 0,
        cpu: None,
        shared: Arc::clone(&rig.shared),
        rx: vec![],
        handoff: vec![],
        hands,
        idle: Idle::Adaptive,
        clock,
    };
    let mut worker = std::mem::replace(&mut rig.worker, idle);
    worker.idle = Idle::Adaptive;
    let thread = worker.spawn().unwrap();
    while rig.shared.ledger().tx < 32 {
        std::thread::yield_now();
    }
    rig.shared.set_run_state(RunState::Stopped);
    rig.worker = thread.join().unwrap();
    assert_eq!((rig.worker.rx.len(), rig.shared.ledger().held()), (3, 0));
}
