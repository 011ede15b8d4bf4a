//! prio.

use std::sync::Arc;
use std::time::Duration;

use skiff_dataplane::core::drop_reason::DropReason;
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::op::QdiscOp;
use skiff_dataplane::sched::params::{DEFAULT_PRIOMAP, PrioParams, QdiscSpec};
use skiff_dataplane::sched::qdisc::{Classified, Classify, Enqueued, Held, SchedCx, Xmit};

use crate::rig::{TestPkt, Tree, World, class, made};

fn prio(bands: u8, limit: u32) -> QdiscSpec {
    QdiscSpec::Prio(PrioParams { bands, priomap: DEFAULT_PRIOMAP, limit })
}

/// The band that a packet comes to.
fn band_of(world: &mut World, tree: &mut Tree, priority: u32) -> u16 {
    assert_eq!(world.send(tree, TestPkt::new(0, 1).priority(priority)).code, Xmit::Success);
    let band = (1..=16).find(|&n| tree.child(class(n)).is_some_and(|child| child.held().packets == 1));
    world.take(tree).unwrap();
    band.unwrap() - 1
}

#[derive(Debug)]
struct ByLength;

impl Classify<TestPkt> for ByLength {
    fn classify(&self, cx: &mut SchedCx<'_, TestPkt>, pkt: TestPkt) -> Classified<TestPkt> {
        match pkt.len {
            100.. => Classified::None(pkt),
            99 => Classified::Gone(Xmit::Stolen),
            98 => {
                cx.sink.drop(pkt, DropReason::QdiscDrop);
                Classified::Gone(Xmit::Drop)
            }
            len => Classified::Class(pkt, class(len as u16)),
        }
    }
}

#[test]
fn priorities_name_bands() {
    let mut world = World::new();
    let (mut tree, _) = made(&prio(3, 10));
    for (priority, band) in (0..).zip(DEFAULT_PRIOMAP) {
        assert_eq!(band_of(&mut world, &mut tree, priority), band.into());
        assert_eq!(band_of(&mut world, &mut tree, priority + 0x10), band.into());
    }
    for (priority, band) in [
        (class(1), 0),
        (class(2), 1),
        (class(3), 2),
        // No such class, another's class: as the first priority.
        (class(4), 1),
        (class(0), 1),
        (TcHandle::new(2, 6), 1),
    ] {
        assert_eq!(band_of(&mut world, &mut tree, priority.0), band, "{priority}");
    }
}

#[test]
fn filters_come_before_the_map() {
    let mut world = World::new();
    let (mut tree, cells) = made(&prio(3, 10));
    world.apply(&mut tree, &[], QdiscOp::Filters(class(0), Some(Arc::new(ByLength))));
    let mut send = |id, len, priority| {
        let sent = world.send(&mut tree, TestPkt::new(id, len).priority(priority));
        let held = (1..=3).map(|n| tree.child(class(n)).unwrap().held().packets).collect::<Vec<_>>();
        (sent, held)
    };
    assert_eq!(send(0, 3, 6), (Enqueued::success(3), vec![0, 0, 1]));
    assert_eq!(send(1, 100, 6), (Enqueued::success(100), vec![1, 0, 1]));
    // A class that is not there is the first priority's.
    assert_eq!(send(2, 9, 6), (Enqueued::success(9), vec![1, 1, 1]));
    // A priority that names a class is beyond filters.
    assert_eq!(send(3, 3, class(1).0), (Enqueued::success(3), vec![2, 1, 1]));
    assert_eq!(send(4, 99, 0), (Enqueued::refused(Xmit::Stolen), vec![2, 1, 1]));
    assert_eq!(cells.drops.get(), 0);
    assert_eq!(send(5, 98, 0), (Enqueued::refused(Xmit::Drop), vec![2, 1, 1]));
    assert_eq!((cells.drops.get(), cells.qlen.get()), (1, 4));
    world.apply(&mut tree, &[], QdiscOp::Filters(class(0), None));
    assert_eq!(world.send(&mut tree, TestPkt::new(6, 99)).code, Xmit::Success);
}

#[test]
fn fewer_bands_lose_only_their_own() {
    let mut world = World::new();
    let (mut tree, cells) = made(&prio(5, 2));
    for n in 1..=5 {
        for _ in 0..3 {
            world.send(&mut tree, TestPkt::new(n.into(), 10 * u32::from(n)).priority(class(n).0));
        }
    }
    assert_eq!((cells.qlen.get(), cells.drops.get()), (10, 5));
    world.drops();
    let dropped = world.apply(&mut tree, &[], QdiscOp::Change(prio(3, 2)));
    assert_eq!(dropped, Held { packets: 4, bytes: 180 });
    assert_eq!(world.drops(), [4, 4, 5, 5].map(|id| (id, DropReason::QdiscDrop)));
    assert_eq!((cells.qlen.get(), cells.backlog.get(), cells.drops.get()), (6, 120, 9));
    assert!(tree.child(class(4)).is_none());
    // What comes for the bands that are gone is the first priority's, band 1, which is full.
    assert_eq!(world.send(&mut tree, TestPkt::new(9, 1).priority(class(4).0)).code, Xmit::Drop);

    assert_eq!(world.apply(&mut tree, &[], QdiscOp::Change(prio(16, 7))), Held::default());
    let cells_4 = tree.default_child_cells(class(4)).unwrap();
    assert!(Arc::ptr_eq(&cells_4, tree.child(class(4)).unwrap().cells()));
    assert_eq!((cells_4.drops.get(), cells_4.packets.get()), (0, 0), "a new discipline");
    for id in 0..8 {
        world.send(&mut tree, TestPkt::new(id, 1).priority(class(16).0));
    }
    assert_eq!((tree.child(class(16)).unwrap().held().packets, tree.held().packets), (7, 13));
    assert_eq!(tree.child(class(1)).unwrap().held().packets, 2);
}

#[test]
fn another_discipline_takes_a_bands_place() {
    let mut world = World::new();
    let (mut tree, cells) = made(&prio(3, 5));
    world.send_list(&mut tree, (0..3).map(|id| TestPkt::new(id, 10).priority(class(1).0)));
    let (leaf, leaf_cells) = made(&QdiscSpec::PfifoHeadDrop { limit: 1 });
    let dropped = world.apply(&mut tree, &[], QdiscOp::Graft(class(1), Some(leaf)));
    assert_eq!((dropped, cells.drops.get()), (Held { packets: 3, bytes: 30 }, 3));
    world.drops();
    world.send(&mut tree, TestPkt::new(7, 50).priority(class(1).0));
    let enqueued = world.send(&mut tree, TestPkt::new(8, 20).priority(class(1).0));
    assert_eq!(enqueued, Enqueued { code: Xmit::Cn, packets: 0, bytes: -30 });
    assert_eq!((cells.qlen.get(), cells.backlog.get(), cells.drops.get()), (1, 20, 4));
    assert_eq!(leaf_cells.drops.get(), 1);
    world.apply(&mut tree, &[], QdiscOp::Graft(class(1), None));
    assert_eq!(world.drops(), [(7, DropReason::QdiscOverlimit), (8, DropReason::QdiscDrop)]);
    assert_eq!((cells.qlen.get(), cells.backlog.get()), (0, 0));
    // Beyond the bands: without effect.
    let (leaf, _) = made(&QdiscSpec::Pfifo { limit: 1 });
    assert_eq!(world.apply(&mut tree, &[], QdiscOp::Graft(class(4), Some(leaf))), Held::default());
    world.assert_no_packet_left();
}

/// Three bands that each could fill the line.
#[test]
fn the_first_band_takes_the_line() {
    let mut world = World::new();
    let (mut tree, _) = made(&prio(3, 100));
    let mut sent = [0u32; 3];
    for id in 0..100_000 {
        for band in 1..=3 {
            world.send(&mut tree, TestPkt::new(id, 1000).priority(class(band).0));
        }
        let pkt = world.take(&mut tree).unwrap();
        sent[usize::from(TcHandle(pkt.priority).minor()) - 1] += 1;
        world.pass(Duration::from_micros(100));
    }
    assert_eq!(sent, [100_000, 0, 0]);
}
