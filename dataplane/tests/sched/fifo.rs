//! pfifo, bfifo, pfifo_head_drop, pfifo_fast.

use skiff_dataplane::core::drop_reason::DropReason;
use skiff_dataplane::sched::op::QdiscOp;
use skiff_dataplane::sched::params::QdiscSpec;
use skiff_dataplane::sched::qdisc::{Enqueued, Held, Xmit};

use crate::rig::{TestPkt, World, made};

fn ids(pkts: &[TestPkt]) -> Vec<u64> {
    pkts.iter().map(|pkt| pkt.id).collect()
}

#[test]
fn pfifo_drops_the_newcomer() {
    let mut world = World::new();
    let (mut fifo, cells) = made(&QdiscSpec::Pfifo { limit: 5 });
    for id in 0..5 {
        assert_eq!(world.send(&mut fifo, TestPkt::new(id, 100)), Enqueued::success(100));
    }
    assert_eq!(world.send(&mut fifo, TestPkt::new(5, 100)), Enqueued::refused(Xmit::Drop));
    assert_eq!(world.drops(), [(5, DropReason::QdiscOverlimit)]);
    assert_eq!((cells.qlen.get(), cells.backlog.get(), cells.drops.get()), (5, 500, 1));
    assert_eq!(world.take(&mut fifo).unwrap().id, 0);
    assert_eq!(ids(&world.take_list(&mut fifo, 2)), [1, 2]);
    assert_eq!(ids(&world.take_list(&mut fifo, 9)), [3, 4]);
    assert_eq!((cells.packets.get(), cells.bytes.get()), (5, 500));
    assert_eq!((cells.qlen.get(), cells.backlog.get()), (0, 0));
    assert_eq!((world.take(&mut fifo), world.wake), (None, None));
}

#[test]
fn bfifo_counts_bytes() {
    let mut world = World::new();
    let (mut fifo, cells) = made(&QdiscSpec::Bfifo { limit: 1000 });
    let codes: Vec<_> = [600, 401, 400, 0, 1]
        .into_iter()
        .enumerate()
        .map(|(id, len)| world.send(&mut fifo, TestPkt::new(id as u64, len)).code)
        .collect();
    assert_eq!(codes, [Xmit::Success, Xmit::Drop, Xmit::Success, Xmit::Success, Xmit::Drop]);
    assert_eq!((cells.qlen.get(), cells.backlog.get(), cells.drops.get()), (3, 1000, 2));
}

#[test]
fn head_drop_makes_room_with_the_oldest() {
    let mut world = World::new();
    let (mut fifo, cells) = made(&QdiscSpec::PfifoHeadDrop { limit: 2 });
    world.send_list(&mut fifo, [TestPkt::new(0, 700), TestPkt::new(1, 200)]);
    let newcomer = world.send(&mut fifo, TestPkt::new(2, 100));
    assert_eq!(newcomer, Enqueued { code: Xmit::Cn, packets: 0, bytes: -600 });
    assert_eq!(world.drops(), [(0, DropReason::QdiscOverlimit)]);
    assert_eq!((cells.qlen.get(), cells.backlog.get(), cells.drops.get()), (2, 300, 1));
    assert_eq!(ids(&world.take_list(&mut fifo, 9)), [1, 2]);

    let (mut none, _) = made(&QdiscSpec::PfifoHeadDrop { limit: 0 });
    assert_eq!(world.send(&mut none, TestPkt::new(3, 100)), Enqueued::refused(Xmit::Drop));
}

#[test]
fn a_slab_without_places_is_a_full_queue() {
    let mut world = World::with_places(1);
    for spec in
        [QdiscSpec::Pfifo { limit: 9 }, QdiscSpec::Bfifo { limit: 900 }, QdiscSpec::PfifoFast { limit: 9 }]
    {
        let (mut fifo, _) = made(&spec);
        assert_eq!(world.send(&mut fifo, TestPkt::new(0, 1)).code, Xmit::Success);
        assert_eq!(world.send(&mut fifo, TestPkt::new(1, 1)).code, Xmit::Drop);
        assert_eq!(world.drops(), [(1, DropReason::QdiscOverlimit)]);
        assert_eq!(world.take(&mut fifo).unwrap().id, 0);
    }
    let (mut fifo, cells) = made(&QdiscSpec::PfifoHeadDrop { limit: 9 });
    world.send(&mut fifo, TestPkt::new(0, 5));
    let newcomer = world.send(&mut fifo, TestPkt::new(1, 1));
    assert_eq!(newcomer, Enqueued { code: Xmit::Cn, packets: 0, bytes: -4 });
    assert_eq!((cells.qlen.get(), cells.backlog.get()), (1, 1));
}

#[test]
fn a_lower_limit_keeps_what_waits() {
    let mut world = World::new();
    let (mut fifo, cells) = made(&QdiscSpec::Pfifo { limit: 9 });
    world.send_list(&mut fifo, (0..9).map(|id| TestPkt::new(id, 10)));
    let change = QdiscOp::Change(QdiscSpec::Pfifo { limit: 3 });
    assert_eq!(world.apply(&mut fifo, &[], change), Held::default());
    assert_eq!(cells.qlen.get(), 9);
    assert_eq!(world.send(&mut fifo, TestPkt::new(9, 10)).code, Xmit::Drop);
    world.take_list(&mut fifo, 7);
    assert_eq!(world.send(&mut fifo, TestPkt::new(10, 10)).code, Xmit::Success);
    // Of another kind: without effect.
    world.apply(&mut fifo, &[], QdiscOp::Change(QdiscSpec::Bfifo { limit: 0 }));
    world.take(&mut fifo);
    assert_eq!(world.send(&mut fifo, TestPkt::new(11, 10)).code, Xmit::Success);
}

#[test]
fn pfifo_fast_serves_bands_in_order() {
    let mut world = World::new();
    let (mut fifo, cells) = made(&QdiscSpec::PfifoFast { limit: 8 });
    world.send_list(&mut fifo, (0..16).map(|id| TestPkt::new(id, 10).priority(id as u32)));
    // Band 0 is 6 and 7, band 2 is 1, 2, 3 and 5; what is beyond 8 packets in band 1 is dropped.
    assert_eq!(ids(&world.take_list(&mut fifo, 32)), [6, 7, 0, 4, 8, 9, 10, 11, 12, 13, 1, 2, 3, 5]);
    assert_eq!(world.drops(), [(14, DropReason::QdiscOverlimit), (15, DropReason::QdiscOverlimit)]);
    assert_eq!((cells.packets.get(), cells.drops.get(), cells.qlen.get()), (14, 2, 0));
    // Only the four low bits count.
    world.send_list(&mut fifo, [TestPkt::new(0, 10), TestPkt::new(1, 10).priority(0x1_0016)]);
    assert_eq!(ids(&world.take_list(&mut fifo, 32)), [1, 0]);
}
