//! Queueing disciplines between `dev_queue_xmit` and the drivers: who owns them, when they send, and what becomes of
//! packets that wait when things change. The disciplines themselves are tested where they are.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Ip, Out, R1, R2, R3, Rig, dev};
use skiff_dataplane::core::drop_reason::{DropReason::*, Node::*};
use skiff_dataplane::core::shared::ToLcore;
use skiff_dataplane::core::xmit::dev_queue_xmit_list;
use skiff_dataplane::device::vlan::{Vlan, VlanProto};
use skiff_dataplane::device::{DeviceKind, InterfaceAddress, NOQUEUE, NetDevice};
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::netfilter::hooks::{Hook, HookCx, HookFn, Verdicts};
use skiff_dataplane::sched::build::build;
use skiff_dataplane::sched::cells::QdiscCells;
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::op::{QdiscOp, TreeOp};
use skiff_dataplane::sched::params::{LinkLayer, QdiscSpec, TbfParams};
use skiff_dataplane::skb::{SkbExt, SkbList};
use skiff_pmd::Ring;

const FRAME: usize = 1000;

/// 1 Mbit/s, two frames at once.
fn tbf(limit: u64) -> QdiscSpec {
    QdiscSpec::Tbf(TbfParams {
        rate: 125_000,
        burst: 2 * FRAME as u64,
        limit,
        peak: None,
        rate_layer: LinkLayer::default(),
        peak_layer: LinkLayer::default(),
    })
}

fn root(spec: QdiscSpec) -> (Arc<QdiscCells>, TreeOp<skiff_dataplane::skb::Skb>) {
    let cells = Arc::new(QdiscCells::for_spec(&spec));
    let tree = build(TcHandle::new(1, 0), &spec, Arc::clone(&cells));
    (cells, TreeOp::Root(Some(tree)))
}

/// A router whose `port` has this discipline.
fn with_root(rig: &mut Rig, at: IfIndex, spec: QdiscSpec) -> Arc<QdiscCells> {
    let (cells, op) = root(spec);
    rig.tell(ToLcore::ChangeTree(at, vec![op])).no_drops();
    rig.configure(|devices, _| {
        devices.iter_mut().filter(|d| d.ifindex == at).for_each(|d| d.qdisc_owner = 0);
    });
    cells
}

fn frame(i: u16) -> Vec<u8> {
    Ip::udp("10.1.0.2", "10.2.0.2", (i, 7), FRAME - 14 - 20 - 8).to_port(R1)
}

fn send(rig: &mut Rig, frames: std::ops::Range<u16>) -> Out {
    rig.send_all(R1, frames.map(frame))
}

fn sport(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[34], frame[35]])
}

fn sports(out: &Out) -> Vec<u16> {
    out.wire[R2].iter().map(|frame| sport(frame)).collect()
}

#[test]
fn a_fifo_that_nothing_slows_lets_packets_through_in_order() {
    let mut rig = Rig::new();
    let cells = with_root(&mut rig, dev(R2), QdiscSpec::Pfifo { limit: 1000 });
    let out = send(&mut rig, 0..100);
    assert_eq!(sports(&out), (0..100).collect::<Vec<_>>());
    assert_eq!((cells.packets.get(), cells.bytes.get()), (100, 100_000));
    assert_eq!((cells.qlen.get(), cells.drops.get(), rig.worker.hands.sched.wake()), (0, 0, None));
    let device = rig.shared.cells(0).device(dev(R2));
    assert_eq!((device.tx_packets.get(), device.tx_bytes.get()), (100, 100_000));
}

#[test]
fn what_must_wait_goes_when_its_time_has_come() {
    let mut rig = Rig::new();
    let cells = with_root(&mut rig, dev(R2), tbf(100_000));
    assert_eq!(sports(&send(&mut rig, 0..10)), [0, 1]);
    // A frame takes 8 ms.
    let due = rig.worker.hands.sched.wake().unwrap().since(rig.now);
    assert!(due > Duration::from_micros(7_990) && due <= Duration::from_micros(8_001), "{due:?}");
    rig.after(due - Duration::from_micros(5));
    assert_eq!(sports(&rig.idle_round()), []);
    for i in 2..10 {
        rig.after(Duration::from_millis(8));
        assert_eq!(sports(&rig.idle_round()), [i]);
    }
    assert_eq!((cells.packets.get(), cells.qlen.get(), cells.backlog.get()), (10, 0, 0));
}

#[test]
fn a_full_queue_drops_and_counts() {
    let mut rig = Rig::new();
    let cells = with_root(&mut rig, dev(R2), tbf(3 * FRAME as u64));
    send(&mut rig, 0..3).no_drops();
    let out = send(&mut rig, 3..9);
    out.dropped(&[(QdiscEnqueue, QdiscOverlimit, 4)]);
    assert_eq!((cells.drops.get(), cells.qlen.get(), cells.backlog.get()), (4, 3, 3000));
    assert_eq!(rig.worker.hands.sched.held(), 3);
}

#[test]
fn packets_of_a_device_that_goes_down_are_freed() {
    let mut rig = Rig::new();
    let cells = with_root(&mut rig, dev(R2), tbf(100_000));
    send(&mut rig, 0..10);
    rig.configure(|devices, _| devices[R2].carrier = false);
    rig.after(Duration::from_millis(9));
    rig.idle_round().silent().dropped(&[(QdiscRun, QueuePurge, 8)]);
    send(&mut rig, 10..12).silent().dropped(&[(DevQueueXmit, DevReady, 2)]);
    assert_eq!((cells.qlen.get(), cells.backlog.get()), (0, 0));
    rig.configure(|devices, _| devices[R2].carrier = true);
    assert_eq!(sports(&send(&mut rig, 20..22)), [20, 21]);
}

#[test]
fn another_root_and_none_free_what_waits() {
    let mut rig = Rig::new();
    with_root(&mut rig, dev(R2), tbf(100_000));
    send(&mut rig, 0..10);
    let (_, op) = root(tbf(100_000));
    rig.tell(ToLcore::ChangeTree(dev(R2), vec![op])).dropped(&[(QdiscRun, QueuePurge, 8)]);
    assert_eq!(sports(&send(&mut rig, 10..20)), [10, 11]);
    rig.configure(|devices, _| devices[R2].qdisc_owner = NOQUEUE);
    assert_eq!(sports(&send(&mut rig, 20..30)), (20..30).collect::<Vec<_>>());
    rig.tell(ToLcore::ChangeTree(dev(R2), vec![TreeOp::Root(None)])).dropped(&[(QdiscRun, QueuePurge, 8)]);
    assert_eq!(rig.worker.hands.sched.wake(), None);
}

#[test]
fn a_change_finds_its_discipline_and_may_let_packets_go() {
    let mut rig = Rig::new();
    with_root(&mut rig, dev(R2), tbf(100_000));
    assert_eq!(sports(&send(&mut rig, 0..10)), [0, 1]);
    let QdiscSpec::Tbf(params) = tbf(100_000) else { unreachable!() };
    let faster = QdiscSpec::Tbf(TbfParams { rate: 125_000_000, ..params });
    let op = TreeOp::At(vec![], QdiscOp::Change(faster));
    let mut rest = sports(&rig.tell(ToLcore::ChangeTree(dev(R2), vec![op])));
    for _ in 0..4 {
        rig.after(Duration::from_micros(20));
        rest.extend(sports(&rig.idle_round()));
    }
    assert_eq!(rest, (2..10).collect::<Vec<_>>());
    // The queue below it has room for one frame of a burst.
    let small = build(TcHandle::UNSPEC, &QdiscSpec::Pfifo { limit: 1 }, Arc::default());
    let graft = QdiscOp::Graft(TcHandle::new(1, 1), Some(small));
    let slow = QdiscOp::Change(tbf(100_000));
    rig.tell(ToLcore::ChangeTree(dev(R2), vec![TreeOp::At(vec![], slow), TreeOp::At(vec![], graft)]));
    let out = send(&mut rig, 10..20);
    out.dropped(&[(QdiscEnqueue, QdiscOverlimit, 9)]);
    assert_eq!(sports(&out), [10]);
}

#[test]
fn what_the_driver_does_not_take_stays_in_order_and_is_not_lost() {
    let mut rig = Rig::with(1, 8191);
    let cells = with_root(&mut rig, dev(R2), QdiscSpec::Pfifo { limit: 8000 });
    let (mut offered, mut sent) = (0u16, Vec::new());
    while cells.requeues.get() == 0 {
        let mut burst = SkbList::new();
        for i in offered..offered + 31 {
            let skb = rig.skb(&frame(i).into());
            burst.push(skb).unwrap();
        }
        rig.feed[R1].tx_burst(&mut burst);
        rig.round();
        offered += 31;
        assert!(offered < 8000);
    }
    assert!(rig.worker.hands.sched.held() > 0);
    assert_eq!(
        rig.worker.hands.sched.wake().map(|wake| wake <= rig.now + Duration::from_micros(2)),
        Some(true)
    );
    while sent.len() < usize::from(offered) {
        let mut wire = Default::default();
        rig.collect(&mut wire);
        assert!(!wire[R2].is_empty());
        sent.extend(wire[R2].iter().map(|frame| sport(frame)));
        rig.after(Duration::from_micros(10));
        rig.round();
    }
    assert_eq!(sent, (0..offered).collect::<Vec<_>>());
    assert_eq!(cells.packets.get(), u64::from(offered), "nothing is charged twice");
    assert_eq!(rig.shared.ledger().dropped, 0);
}

#[test]
fn other_lcores_hand_over_to_the_owner() {
    let mut rig = Rig::with(2, 4095);
    let rings: Vec<_> =
        (0..2).map(|i| Arc::new(Ring::create(&rig.eal, &format!("lcore{i}"), 64).unwrap())).collect();
    rig.worker.hands.tx.set_lcores(rings.clone());
    rig.worker.handoff.push(Arc::clone(&rings[0]));
    let cells = with_root(&mut rig, dev(R2), QdiscSpec::Pfifo { limit: 1000 });
    rig.configure(|devices, _| devices[R2].qdisc_owner = 1);
    rig.send_raw(R1, (0..80).map(frame).collect());
    assert_eq!((rings[1].count(), rig.shared.cells(0).drops(DevQueueXmit, HandoffFull).0), (64, 16));
    assert_eq!(rig.shared.cells(0).device(dev(R2)).tx_dropped.get(), 16);
    // The same lcore as the owner now, with what came by the ring.
    rig.configure(|devices, _| devices[R2].qdisc_owner = 0);
    let mut burst = SkbList::new();
    while rings[1].dequeue_burst(&mut burst) > 0 {
        rings[0].enqueue_burst(&mut burst);
    }
    let mut wire = Default::default();
    (0..3).for_each(|_| rig.round());
    rig.collect(&mut wire);
    assert_eq!(wire[R2].iter().map(|frame| sport(frame)).collect::<Vec<_>>(), (0..64).collect::<Vec<_>>());
    assert_eq!(cells.packets.get(), 64);
}

/// Remembers which packets it saw.
#[derive(Debug, Default)]
struct Saw(Mutex<Vec<(Hook, u16)>>);

impl HookFn for Saw {
    fn name(&self) -> &str {
        "saw"
    }

    fn run(&self, cx: &mut HookCx<'_, '_>, list: &mut SkbList, _: &mut Verdicts) {
        let seen = list.iter().map(|skb| (cx.hook, sport(skb.data())));
        self.0.lock().unwrap().extend(seen);
    }
}

#[test]
fn the_hooks_stand_before_and_behind_the_discipline() {
    let mut rig = Rig::new();
    with_root(&mut rig, dev(R2), tbf(100_000));
    let saw = Arc::new(Saw::default());
    rig.hook(Hook::L2Enqueue, 0, Arc::clone(&saw) as _);
    rig.hook(Hook::L2Dequeue, 0, Arc::clone(&saw) as _);
    rig.configure(|devices, _| devices[R2].qdisc_owner = 0);
    send(&mut rig, 0..3);
    rig.after(Duration::from_millis(9));
    rig.idle_round();
    let (enqueue, dequeue) = (Hook::L2Enqueue, Hook::L2Dequeue);
    let want = [(enqueue, 0), (enqueue, 1), (enqueue, 2), (dequeue, 0), (dequeue, 1), (dequeue, 2)];
    assert_eq!(*saw.0.lock().unwrap(), want);
}

/// Packets of the router's own, sent by a device.
fn send_by(rig: &mut Rig, by: IfIndex, packets: u16) -> Out {
    rig.acting(|rig| {
        let mut list = SkbList::new();
        for i in 0..packets {
            let mut skb = rig.skb(&frame(i).into());
            skb.fields_mut().oif = by.0;
            skb.fields_mut().network_offset = 14;
            list.push(skb).unwrap();
        }
        rig.shared.cells(0).created.add(packets.into());
        rig.env(|env, hands| dev_queue_xmit_list(env, hands, &mut list));
    })
}

#[test]
fn a_vlan_may_have_a_tree_above_that_of_its_port() {
    let mut rig = Rig::new();
    let vlan = IfIndex(7);
    rig.devices.push(NetDevice {
        ifindex: vlan,
        name: "r3.9".into(),
        kind: DeviceKind::Vlan,
        addresses: vec![InterfaceAddress::new("10.9.0.1/24".parse().unwrap())],
        vlan: Some(Arc::new(Vlan {
            real_dev: dev(R3),
            proto: VlanProto::Dot1q,
            vid: 9,
            reorder_hdr: true,
            ingress: [0; 8],
            egress: Vec::new(),
        })),
        qdisc_owner: NOQUEUE,
        ..rig.devices[R3 + 1].clone()
    });
    rig.configure(|_, _| {});
    let above = with_root(&mut rig, vlan, tbf(100_000));
    let below = with_root(&mut rig, dev(R3), QdiscSpec::Pfifo { limit: 100 });
    let out = send_by(&mut rig, vlan, 4);
    assert_eq!(out.wire[R3].len(), 2, "{out:?}");
    assert_eq!(out.wire[R3][0][12..16], [0x81, 0, 0, 9]);
    assert_eq!((above.packets.get(), above.qlen.get()), (2, 2));
    // The tag is in the frame by then, and counts.
    assert_eq!((below.packets.get(), below.bytes.get()), (2, 2 * (FRAME as u64 + 4)));
    // A driver that puts tags in gets them beside the frame: those do not count.
    rig.configure(|devices, _| devices[R3].vlan_offload.inserts = true);
    rig.after(Duration::from_millis(17));
    let out = rig.idle_round();
    assert_eq!((out.wire[R3].len(), &out.wire[R3][1][12..16]), (2, &[0x81, 0, 0, 9][..]));
    assert_eq!((below.packets.get(), below.bytes.get()), (4, 4 * FRAME as u64 + 8));
}
