//! What disciplines run in: packets that are plain values, a clock that is set by hand, and a list of what was dropped.

use std::sync::Arc;
use std::time::Duration;

use skiff_dataplane::core::drop_reason::DropReason;
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::random::Rng;
use skiff_dataplane::sched::build::build;
use skiff_dataplane::sched::cells::{QdiscCells, RedCells, Special};
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::op::{QdiscOp, apply_at};
use skiff_dataplane::sched::packet::{PktList, SchedPkt};
use skiff_dataplane::sched::params::QdiscSpec;
use skiff_dataplane::sched::qdisc::{Enqueued, Held, Qdisc, SchedCx, Sink};
use skiff_dataplane::sched::queue::{Fifo, PktSlab};
use skiff_dataplane::time::Instant;

/// Not ECN-capable.
pub const NOT_ECT: u8 = 0;
/// ECN-capable.
pub const ECT: u8 = 2;
/// Congestion experienced.
pub const CE: u8 = 3;

pub type Tree = Box<dyn Qdisc<TestPkt>>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestPkt {
    pub id: u64,
    pub len: u32,
    pub priority: u32,
    pub ecn: u8,
}

impl TestPkt {
    pub fn new(id: u64, len: u32) -> Self {
        TestPkt { id, len, ..Self::default() }
    }

    pub fn ecn(self, ecn: u8) -> Self {
        TestPkt { ecn, ..self }
    }

    pub fn priority(self, priority: u32) -> Self {
        TestPkt { priority, ..self }
    }
}

impl SchedPkt for TestPkt {
    fn qdisc_len(&self) -> u32 {
        self.len
    }

    fn priority(&self) -> u32 {
        self.priority
    }

    fn set_ce(&mut self) -> bool {
        if self.ecn == NOT_ECT {
            return false;
        }
        self.ecn = CE;
        true
    }
}

#[derive(Debug, Default)]
pub struct Dropped(pub Vec<(TestPkt, DropReason)>);

impl Sink<TestPkt> for Dropped {
    fn drop(&mut self, pkt: TestPkt, reason: DropReason) {
        self.0.push((pkt, reason));
    }

    fn redirect(&mut self, pkt: TestPkt, _: IfIndex, _: bool) {
        panic!("nothing here redirects {pkt:?}");
    }
}

pub struct World {
    pub now: Instant,
    pub dropped: Dropped,
    /// When to ask again, said by the last call.
    pub wake: Option<Instant>,
    places: usize,
    slab: PktSlab<TestPkt>,
    rng: Rng,
}

impl World {
    pub fn new() -> Self {
        Self::with_places(1 << 16)
    }

    pub fn with_places(places: usize) -> Self {
        let (slab, rng) = (PktSlab::new(places), Rng::new(42));
        World { now: Instant::ZERO, dropped: Dropped::default(), wake: None, places, slab, rng }
    }

    pub fn run<R>(&mut self, work: impl FnOnce(&mut SchedCx<'_, TestPkt>) -> R) -> R {
        let mut cx = SchedCx::new(self.now, &mut self.slab, &mut self.rng, &mut self.dropped);
        let result = work(&mut cx);
        self.wake = cx.wake();
        result
    }

    pub fn send(&mut self, tree: &mut Tree, pkt: TestPkt) -> Enqueued {
        self.run(|cx| tree.enqueue(cx, pkt))
    }

    pub fn send_list(&mut self, tree: &mut Tree, pkts: impl IntoIterator<Item = TestPkt>) {
        let mut list: PktList<TestPkt> = pkts.into_iter().collect();
        self.run(|cx| tree.enqueue_list(cx, &mut list));
        assert!(list.is_empty());
    }

    pub fn take(&mut self, tree: &mut Tree) -> Option<TestPkt> {
        self.run(|cx| tree.dequeue(cx))
    }

    pub fn take_list(&mut self, tree: &mut Tree, most: usize) -> Vec<TestPkt> {
        let mut list = PktList::new();
        self.run(|cx| tree.dequeue_list(cx, most, &mut list));
        list.into_iter().collect()
    }

    pub fn apply(&mut self, tree: &mut Tree, path: &[TcHandle], op: QdiscOp<TestPkt>) -> Held {
        self.run(|cx| apply_at(tree.as_mut(), cx, path, op))
    }

    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// What was dropped since the last time, by number and reason.
    pub fn drops(&mut self) -> Vec<(u64, DropReason)> {
        self.dropped.0.drain(..).map(|(pkt, reason)| (pkt.id, reason)).collect()
    }

    /// Every place of the slab is free: as many packets fit as there are places.
    pub fn assert_no_packet_left(&mut self) {
        let mut all = Fifo::default();
        for id in 0..self.places as u64 {
            assert_eq!(all.push(&mut self.slab, TestPkt::new(id, 1), 1), Ok(()), "a place is lost");
        }
        while all.pop(&mut self.slab).is_some() {}
    }
}

/// A discipline 1: and its statistics.
pub fn made(spec: &QdiscSpec) -> (Tree, Arc<QdiscCells>) {
    let cells = Arc::new(QdiscCells::for_spec(spec));
    (build(TcHandle::new(1, 0), spec, cells.clone()), cells)
}

pub fn red_cells(cells: &QdiscCells) -> &RedCells {
    let Special::Red(cells) = &cells.special else { panic!("not of red") };
    cells
}

pub fn class(minor: u16) -> TcHandle {
    TcHandle::new(1, minor)
}
