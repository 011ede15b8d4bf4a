//! Classes come, change and go; packets find theirs.

use super::*;
use crate::sched::params::QdiscSpec;
use crate::sched::qdisc::{Classified, Classify};

fn dropped(packets: u64, bytes: u64) -> Held {
    Held { packets, bytes }
}

#[test]
fn what_has_no_class_is_not_shaped() {
    // No default, and a default that is no leaf.
    for default in [0, 1, 77] {
        let params = HtbParams { default, r2q: 10, direct_qlen: 200, hysteresis: false };
        let mut sim = Sim::with(params).class(0, 1, mbit(1.0)).class(1, 10, mbit(1.0));
        sim.link = None;
        for _ in 0..200 {
            assert_eq!(sim.send(TcHandle(0), FRAME), Enqueued::success(FRAME));
        }
        assert_eq!(sim.send(TcHandle(0), FRAME), Enqueued::refused(Xmit::Drop));
        assert_eq!(sim.world.dropped.0[0].1, DropReason::QdiscOverlimit);
        assert_eq!((sim.direct_packets(), sim.htb.cells().drops.get()), (200, 1));
        sim.check_counts();
        assert_eq!(sim.departures(), [0; 200]);
        assert_eq!(sim.htb.cells().packets.get(), 200);
        assert_eq!(sim.cells(1).packets.get(), 0);
    }
}

#[test]
fn unshaped_packets_go_first() {
    let mut sim = Sim::new().class(0, 10, mbit(1.0));
    sim.fill(10, FRAME, 1);
    sim.send(id(0), 100);
    assert_eq!((sim.take().unwrap().len, sim.take().unwrap().len), (100, FRAME));
}

#[test]
fn the_default_class_takes_the_rest() {
    let params = HtbParams { default: 0x20, r2q: 10, direct_qlen: 10, hysteresis: false };
    let mut sim = Sim::with(params).class(0, 0x10, mbit(1.0)).class(0, 0x20, mbit(1.0));
    sim.send(id(0x10), 100);
    sim.send(TcHandle(6), 100);
    sim.send(TcHandle::new(2, 0x10), 100);
    sim.send(id(0x30), 100);
    assert_eq!((sim.cells(0x10).qlen.get(), sim.cells(0x20).qlen.get()), (1, 3));
    sim.send(id(0), 100);
    assert_eq!(sim.direct_packets(), 1, "that is the discipline itself");
    let direct = HtbParams { default: 0x10, ..params };
    sim.apply(QdiscOp::Change(QdiscSpec::Htb(direct)));
    sim.send(TcHandle(6), 100);
    assert_eq!(sim.cells(0x10).qlen.get(), 2);
    sim.apply(QdiscOp::Change(QdiscSpec::Pfifo { limit: 3 }));
    sim.check_counts();
}

/// Says the same of every packet shorter than 1000 bytes.
#[derive(Debug)]
struct Says(Result<TcHandle, Xmit>);

impl Classify<Pkt> for Says {
    fn classify(&self, cx: &mut SchedCx<'_, Pkt>, pkt: Pkt) -> Classified<Pkt> {
        match self.0 {
            _ if pkt.len >= 1000 => Classified::None(pkt),
            Ok(class) => Classified::Class(pkt, class),
            Err(code) => {
                cx.sink.drop(pkt, DropReason::QdiscDrop);
                Classified::Gone(code)
            }
        }
    }
}

impl Sim {
    fn filter(&mut self, at: u16, says: Result<TcHandle, Xmit>) {
        self.apply(QdiscOp::Filters(id(at), Some(Arc::new(Says(says)))));
    }
}

#[test]
fn filters_choose_classes() {
    let params = HtbParams { default: 0x20, r2q: 10, direct_qlen: 10, hysteresis: false };
    let mut sim = Sim::with(params)
        .class(0, 1, mbit(1.0))
        .class(1, 0x10, mbit(1.0))
        .class(1, 0x11, mbit(1.0))
        .class(0, 0x20, mbit(1.0));
    let waiting = |sim: &Sim| [0x10, 0x11, 0x20].map(|class| sim.cells(class).qlen.get());
    sim.filter(0, Ok(id(0x10)));
    sim.send(TcHandle(0), 100);
    sim.send(TcHandle(0), 1000);
    assert_eq!(waiting(&sim), [1, 0, 1]);
    // An inner class asks its own filters, if it has any.
    sim.filter(0, Ok(id(1)));
    sim.send(TcHandle(0), 100);
    assert_eq!(waiting(&sim), [1, 0, 2]);
    sim.filter(1, Ok(id(0x11)));
    sim.send(TcHandle(0), 100);
    assert_eq!(waiting(&sim), [1, 1, 2]);
    // The priority names it, and the filters of the discipline are not asked.
    sim.filter(0, Ok(id(0x10)));
    sim.send(id(1), 100);
    assert_eq!(waiting(&sim), [1, 2, 2]);
    // Round in circles.
    sim.filter(1, Ok(id(1)));
    sim.send(id(1), 100);
    assert_eq!(waiting(&sim), [1, 2, 3]);
    sim.filter(0, Ok(id(0x99)));
    sim.send(TcHandle(0), 100);
    assert_eq!(waiting(&sim), [1, 2, 4]);
    sim.filter(0, Ok(id(0)));
    sim.send(TcHandle(0), 100);
    assert_eq!(sim.direct_packets(), 1);

    for (code, drops) in [(Xmit::Drop, 1), (Xmit::Stolen, 1)] {
        sim.filter(0, Err(code));
        assert_eq!(sim.send(TcHandle(0), 100), Enqueued::refused(code));
        assert_eq!(sim.htb.cells().drops.get(), drops, "{code:?}");
    }
    sim.apply(QdiscOp::Filters(id(0), None));
    sim.send(TcHandle(0), 100);
    assert_eq!(waiting(&sim), [1, 2, 5]);
    sim.check_counts();
}

#[test]
fn lists_are_as_packets_one_by_one() {
    let mut sim = Sim::new().class(0, 10, mbit(1.0)).class(0, 11, mbit(1.0));
    sim.send_all([10, 0, 11, 10, 99, 11].into_iter().zip(100..));
    assert_eq!((sim.cells(10).backlog.get(), sim.cells(11).backlog.get()), (203, 207));
    assert_eq!(sim.direct_packets(), 2);
    let mut list = PktList::new();
    sim.htb.dequeue_list(&mut sim.world.cx(), 3, &mut list);
    let lens = |list: &PktList| list.iter().map(|pkt| pkt.len).collect::<Vec<_>>();
    assert_eq!(lens(&list), [101, 104, 100]);
    sim.htb.dequeue_list(&mut sim.world.cx(), 32, &mut list);
    assert_eq!(lens(&list), [101, 104, 100, 102, 103, 105]);
    sim.check_counts();
}

#[test]
fn a_full_leaf_drops() {
    let mut sim = Sim::new();
    let cells = Arc::new(ClassCells::default());
    let class = id(10);
    sim.classes.insert(class, cells.clone());
    sim.apply(QdiscOp::ClassAdd { class, parent: id(0), params: mbit(1.0), limit: 3, cells });
    sim.fill(10, 100, 3);
    assert_eq!(sim.send(class, 100), Enqueued::refused(Xmit::Drop));
    assert_eq!((sim.cells(10).drops.get(), sim.htb.cells().drops.get()), (1, 1));
    assert_eq!(sim.world.dropped.0, [(Pkt { len: 100, priority: class.0 }, DropReason::QdiscOverlimit)]);
    sim.check_counts();
}

#[test]
fn without_places_everything_is_dropped() {
    let mut sim = Sim::new().class(0, 10, mbit(1.0));
    sim.world.slab = PktSlab::new(2);
    sim.fill(10, 100, 2);
    assert_eq!(sim.send(id(10), 100), Enqueued::refused(Xmit::Drop));
    assert_eq!(sim.send(id(0), 100), Enqueued::refused(Xmit::Drop));
    sim.check_counts();
    assert_eq!(sim.departures().len(), 2);
}

#[test]
fn a_leaf_becomes_a_parent_and_a_leaf_again() {
    let mut sim = Sim::new().class(0, 1, mbit(100.0)).class(1, 10, mbit(10.0).ceil(100.0));
    sim.fill(10, 1000, 5);
    assert_eq!(sim.add(10, 100, mbit(1.0).ceil(100.0)), dropped(5, 5000));
    assert_eq!(sim.world.dropped.0.len(), 5);
    assert_eq!((sim.htb.cells().drops.get(), sim.htb.held()), (5, Held::default()));
    sim.check_counts();
    assert_eq!(sim.send(id(10), 100).code, Xmit::Success);
    assert_eq!((sim.direct_packets(), sim.cells(10).qlen.get()), (1, 0));
    assert_eq!(sim.take().map(|pkt| pkt.len), Ok(100));
    sim.fill(100, FRAME, 20);
    near(&sim.measure(SECOND, 3 * SECOND, &[100]), &[100.0], 0.5);

    assert_eq!(sim.apply(QdiscOp::ClassDelete(id(10))), Held::default(), "it has a child");
    let held = sim.cells(100).qlen.get();
    assert_eq!(sim.delete(100), dropped(held, held * u64::from(FRAME)));
    sim.check_counts();
    assert_eq!(sim.htb.held(), Held::default());
    sim.fill(10, FRAME, 20);
    let now = sim.world.now;
    near(&sim.measure(now + SECOND, now + 3 * SECOND, &[10]), &[100.0], 0.5);
    assert!(sim.cells(10).qlen.get() > 0);
    sim.delete(10);
    sim.delete(1);
    assert_eq!(sim.htb.held(), Held::default());
    assert_eq!(sim.send(id(10), 100).code, Xmit::Success);
    assert_eq!(sim.direct_packets(), 2);
}

#[test]
fn a_class_whose_debt_is_gone_with_its_children() {
    // It may send at once, though it was over its ceiling as a parent.
    let mut sim = Sim::new().class(0, 1, mbit(1.0)).class(1, 10, mbit(0.001).ceil(100.0));
    sim.link = None;
    sim.fill(10, FRAME, 10);
    while sim.take().is_ok() {}
    sim.delete(10);
    sim.fill(1, 345, 7);
    // Its buckets of 1725 bytes are full.
    let at = sim.departures();
    assert_eq!(at, [0, 0, 0, 0, 0, 0, 2_760_000]);
}

#[test]
fn a_change_keeps_packets_and_tokens() {
    let mut sim = Sim::new().class(0, 10, mbit(1.0).bursts(1514, 1514));
    sim.link = None;
    sim.fill(10, FRAME, 4);
    assert!(sim.take().is_ok() && sim.take().is_ok());
    assert_eq!(sim.take(), Err(Some(12_112_000)));
    sim.apply(QdiscOp::ClassChange(id(10), mbit(10.0).bursts(1514, 1514).prio(3)));
    assert_eq!(sim.cells(10).qlen.get(), 2);
    assert_eq!(sim.take(), Err(Some(12_112_000)), "the debt of before");
    sim.world.now = 12_112_000;
    assert!(sim.take().is_ok());
    assert_eq!(sim.take(), Err(Some(12_112_000 + 1_211_200)));
    sim.check_counts();
    // An inner class, and one that is not there.
    sim.add(10, 11, mbit(1.0));
    sim.apply(QdiscOp::ClassChange(id(10), mbit(5.0)));
    sim.apply(QdiscOp::ClassChange(id(12), mbit(5.0)));
}

#[test]
fn changes_that_do_not_fit_do_nothing() {
    let mut sim = Sim::new().class(0, 1, mbit(1.0)).class(1, 10, mbit(1.0));
    sim.fill(10, 100, 2);
    for (class, parent) in [(10, 0), (10, 1), (0, 0), (20, 99)] {
        let cells = Arc::new(ClassCells::default());
        let op =
            QdiscOp::ClassAdd { class: id(class), parent: id(parent), params: mbit(1.0), limit: 1, cells };
        assert_eq!(sim.apply(op), Held::default());
    }
    let class = TcHandle::new(2, 20);
    let cells = Arc::new(ClassCells::default());
    sim.apply(QdiscOp::ClassAdd { class, parent: id(0), params: mbit(1.0), limit: 1, cells });
    for class in [0, 1, 99] {
        assert_eq!(sim.apply(QdiscOp::ClassDelete(id(class))), Held::default());
        assert_eq!(sim.apply(QdiscOp::Graft(id(class), None)), Held::default());
        assert!(sim.htb.child(id(class)).is_none());
    }
    sim.apply(QdiscOp::Filters(id(99), None));
    sim.htb.shrunk(&mut sim.world.cx(), id(99), dropped(1, 1));
    assert_eq!(sim.htb.tree.classes.len(), 2);
    assert_eq!(sim.departures().len(), 2);
}

#[test]
fn a_reset_frees_everything_and_counts_no_drop() {
    let mut sim = Sim::new().class(0, 1, mbit(1.0)).class(1, 10, mbit(0.1).ceil(1.0)).class(1, 11, mbit(0.1));
    sim.link = None;
    sim.fill(10, 1000, 5);
    sim.fill(11, 1000, 5);
    sim.send(id(0), 10);
    while sim.take().is_ok() {}
    let left = sim.htb.held().packets;
    assert!(left > 0);
    sim.htb.reset(&mut sim.world.cx(), DropReason::DevReady);
    assert_eq!(sim.world.dropped.0.len() as u64, left);
    assert!(sim.world.dropped.0.iter().all(|&(_, reason)| reason == DropReason::DevReady));
    assert_eq!((sim.htb.held(), sim.htb.cells().drops.get()), (Held::default(), 0));
    sim.check_counts();
    assert_eq!(sim.take(), Err(None));
    sim.world.now += SECOND;
    sim.fill(10, 1000, 5);
    assert_eq!(sim.departures().len(), 5);
}
