//! Disciplines below leaves.

use super::*;
use crate::sched::op::apply_at;
use crate::sched::params::QdiscSpec;
use crate::sched::queue::Fifo;

/// A queue that lets nothing out before a time. It holds so many packets; the newest then takes the place of the oldest
/// if it is `early`.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub opens: u64,
    pub limit: u32,
    pub early: bool,
    queue: Fifo,
    cells: Arc<QdiscCells>,
}

impl Gate {
    pub fn boxed(opens: u64, limit: u32) -> Option<Box<dyn Qdisc<Pkt>>> {
        Some(Box::new(Gate { opens, limit, ..Gate::default() }))
    }

    fn shed(&mut self, cx: &mut SchedCx<'_, Pkt>, reason: DropReason) -> Held {
        let Some((pkt, len)) = self.queue.pop(cx.slab) else { return Held::default() };
        cx.sink.drop(pkt, reason);
        self.cells.gone(1, len.into());
        Held { packets: 1, bytes: len.into() }
    }
}

impl Qdisc<Pkt> for Gate {
    fn enqueue(&mut self, cx: &mut SchedCx<'_, Pkt>, pkt: Pkt) -> Enqueued {
        let full = self.queue.len() >= self.limit;
        self.cells.drops.add(full.into());
        if full && !self.early {
            cx.sink.drop(pkt, DropReason::QdiscOverlimit);
            return Enqueued::refused(Xmit::Drop);
        }
        let shed = if full { self.shed(cx, DropReason::QdiscCongested) } else { Held::default() };
        self.queue.push(cx.slab, pkt, pkt.len).expect("a place");
        self.cells.came(pkt.len);
        Enqueued {
            code: if full { Xmit::Cn } else { Xmit::Success },
            packets: 1 - shed.packets as i32,
            bytes: pkt.len as i32 - shed.bytes as i32,
        }
    }

    fn dequeue(&mut self, cx: &mut SchedCx<'_, Pkt>) -> Option<Pkt> {
        let opens = Instant::from_nanos(self.opens);
        if cx.now < opens {
            cx.not_before(opens);
            return None;
        }
        let (pkt, len) = self.queue.pop(cx.slab)?;
        self.cells.sent(len);
        Some(pkt)
    }

    fn reset(&mut self, cx: &mut SchedCx<'_, Pkt>, reason: DropReason) {
        while self.shed(cx, reason) != Held::default() {}
    }

    fn apply(&mut self, cx: &mut SchedCx<'_, Pkt>, op: QdiscOp<Pkt>) -> Held {
        let mut dropped = Held::default();
        if let QdiscOp::Change(QdiscSpec::Pfifo { limit }) = op {
            self.limit = limit;
            while self.queue.len() > limit {
                dropped += self.shed(cx, DropReason::QdiscOverlimit);
            }
        }
        dropped
    }

    fn cells(&self) -> &Arc<QdiscCells> {
        &self.cells
    }
}

impl Sim {
    fn graft(&mut self, class: u16, gate: Gate) -> Held {
        self.apply(QdiscOp::Graft(id(class), Some(Box::new(gate))))
    }
}

fn two_leaves() -> Sim {
    let mut sim = Sim::new().class(0, 1, mbit(100.0)).class(1, 10, mbit(10.0)).class(1, 11, mbit(10.0));
    sim.link = None;
    sim
}

#[test]
fn a_discipline_takes_the_place_of_the_queue() {
    let mut sim = two_leaves();
    sim.fill(10, 100, 3);
    assert_eq!(sim.graft(10, Gate { limit: 2, ..Gate::default() }), Held { packets: 3, bytes: 300 });
    assert_eq!((sim.htb.held(), sim.htb.cells().drops.get()), (Held::default(), 3));
    sim.fill(10, 100, 2);
    assert_eq!(sim.send(id(10), 100), Enqueued::refused(Xmit::Drop));
    assert_eq!((sim.cells(10).drops.get(), sim.htb.cells().drops.get()), (1, 4));
    sim.check_counts();
    assert_eq!(sim.htb.child(id(10)).unwrap().held(), Held { packets: 2, bytes: 200 });
    assert!(sim.htb.child(id(11)).is_none());
    assert_eq!(sim.departures(), [0, 0]);
    sim.fill(10, 100, 2);
    assert_eq!(sim.apply(QdiscOp::Graft(id(10), None)), Held { packets: 2, bytes: 200 });
    sim.check_counts();
    assert!(sim.htb.child(id(10)).is_none());
    sim.fill(10, 100, 3);
    assert_eq!(sim.departures(), [0; 3]);
}

#[test]
fn lists_go_to_disciplines_below_in_order() {
    let mut sim = two_leaves();
    sim.graft(10, Gate { limit: 3, ..Gate::default() });
    sim.send_all([10, 11, 10, 0, 10, 10, 11, 10].into_iter().zip(100..));
    assert_eq!((sim.cells(10).qlen.get(), sim.cells(10).backlog.get()), (3, 100 + 102 + 104));
    assert_eq!((sim.cells(10).drops.get(), sim.htb.cells().drops.get()), (2, 2));
    sim.check_counts();
    let of = |sim: &mut Sim, class| -> Vec<u32> {
        let mut lens = Vec::new();
        while let Some((_, pkt)) = sim.step(u64::MAX, false) {
            lens.extend((pkt.priority == id(class).0).then_some(pkt.len));
        }
        lens
    };
    assert_eq!(of(&mut sim, 10), [100, 102, 104]);
    sim.send_all([11, 10, 10].into_iter().zip(200..));
    assert_eq!(of(&mut sim, 11), [200]);
    sim.check_counts();
}

#[test]
fn what_takes_the_place_of_another_is_a_drop_and_no_more_held() {
    let mut sim = two_leaves();
    sim.graft(10, Gate { limit: 2, early: true, ..Gate::default() });
    sim.fill(10, 100, 2);
    assert_eq!(sim.send(id(10), 150), Enqueued { code: Xmit::Cn, packets: 0, bytes: 50 });
    assert_eq!((sim.cells(10).qlen.get(), sim.cells(10).backlog.get()), (2, 250));
    assert_eq!((sim.cells(10).drops.get(), sim.htb.cells().drops.get()), (1, 1));
    sim.check_counts();
}

#[test]
fn who_holds_back_is_passed_over() {
    let mut sim = two_leaves();
    sim.graft(10, Gate { opens: 5_000, limit: 10, ..Gate::default() });
    sim.fill(10, 100, 2);
    sim.fill(11, 200, 2);
    assert_eq!((sim.take().unwrap().len, sim.take().unwrap().len), (200, 200));
    assert_eq!(sim.take(), Err(Some(5_000)));
    assert_eq!(sim.cells(10).packets.get(), 0, "nothing is charged for it");
    sim.world.now = 5_000;
    assert_eq!((sim.take().unwrap().len, sim.take().unwrap().len), (100, 100));
    assert_eq!(sim.take(), Err(None));
    sim.check_counts();
}

#[test]
fn who_holds_back_on_every_level_is_passed_over() {
    // 10 may send and does not, 11 borrows.
    let mut sim = Sim::new()
        .class(0, 1, mbit(100.0))
        .class(1, 10, mbit(10.0))
        .class(1, 11, mbit(0.001).ceil(100.0).bursts(1, 100_000))
        .class(1, 12, mbit(0.001).ceil(100.0).bursts(1, 100_000));
    sim.link = None;
    sim.graft(10, Gate { opens: SECOND, limit: 10, ..Gate::default() });
    sim.graft(12, Gate { opens: 0, limit: 10, ..Gate::default() });
    sim.fill(12, 100, 2);
    assert_eq!(sim.take().unwrap().len, 100);
    // It is in debt now, and holds back.
    sim.graft(12, Gate { opens: SECOND, limit: 10, ..Gate::default() });
    sim.fill(10, 300, 1);
    sim.fill(12, 100, 1);
    sim.fill(11, 200, 5);
    for _ in 0..5 {
        assert_eq!(sim.take().unwrap().len, 200);
    }
    assert!(sim.take().is_err());
    sim.world.now = SECOND;
    assert_eq!((sim.take().unwrap().len, sim.take().unwrap().len), (300, 100));
    sim.check_counts();
}

#[test]
fn what_a_change_below_drops_is_taken_out_above() {
    let mut sim = two_leaves();
    sim.graft(10, Gate { limit: 10, ..Gate::default() });
    sim.fill(10, 100, 5);
    let shrink = |sim: &mut Sim, limit| {
        let op = QdiscOp::Change(QdiscSpec::Pfifo { limit });
        apply_at(&mut sim.htb, &mut sim.world.cx(), &[id(10)], op)
    };
    assert_eq!(shrink(&mut sim, 3), Held { packets: 2, bytes: 200 });
    assert_eq!((sim.htb.held(), sim.htb.cells().drops.get()), (Held { packets: 3, bytes: 300 }, 2));
    sim.check_counts();
    assert_eq!(shrink(&mut sim, 0), Held { packets: 3, bytes: 300 });
    assert_eq!(sim.take(), Err(None));
    assert_eq!(sim.htb.tree.row_mask.to_le_bytes(), [0; 8]);
    sim.check_counts();
}

#[test]
fn an_htb_below_an_htb() {
    let mut sim = two_leaves();
    let cells = QdiscCells { special: Special::Htb(HtbCells::default()), ..QdiscCells::default() };
    let params = HtbParams { default: 1, r2q: 10, direct_qlen: 1000, hysteresis: false };
    let inner = Htb::new(TcHandle::new(2, 0), params, Arc::new(cells));
    sim.apply(QdiscOp::Graft(id(10), Some(Box::new(inner))));
    let op = QdiscOp::ClassAdd {
        class: TcHandle::new(2, 1),
        parent: TcHandle::new(2, 0),
        params: mbit(1.0).bursts(1514, 1514),
        limit: 100,
        cells: Arc::default(),
    };
    apply_at(&mut sim.htb, &mut sim.world.cx(), &[id(10)], op);
    sim.fill(10, FRAME, 10);
    let at = sim.departures();
    let gaps: Vec<u64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(
        gaps,
        [0, 12_112_000, 12_112_000, 12_112_000, 12_112_000, 12_112_000, 12_112_000, 12_112_000, 12_112_000]
    );
}
