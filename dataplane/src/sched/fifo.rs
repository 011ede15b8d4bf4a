//! pfifo, bfifo and pfifo_head_drop: first in, first out, up to a limit.

use std::sync::Arc;

use super::cells::QdiscCells;
use super::op::QdiscOp;
use super::packet::{PktList, SchedPkt};
use super::params::QdiscSpec;
use super::qdisc::{Enqueued, Held, Qdisc, SchedCx, Xmit};
use super::queue::{Fifo, PktSlab};
use crate::core::drop_reason::DropReason;

/// How much waits at most, and who goes if it is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FifoLimit {
    /// Packets; the newcomer goes (pfifo).
    Packets(u32),
    /// Bytes; the newcomer goes (bfifo).
    Bytes(u32),
    /// Packets; the oldest goes (pfifo_head_drop).
    HeadDrop(u32),
}

impl FifoLimit {
    /// That of a discipline, if it is one of these.
    pub const fn of(spec: &QdiscSpec) -> Option<Self> {
        match *spec {
            QdiscSpec::Pfifo { limit } => Some(FifoLimit::Packets(limit)),
            QdiscSpec::Bfifo { limit } => Some(FifoLimit::Bytes(limit)),
            QdiscSpec::PfifoHeadDrop { limit } => Some(FifoLimit::HeadDrop(limit)),
            _ => None,
        }
    }
}

/// One of the three.
#[derive(Debug)]
pub struct FifoQdisc {
    limit: FifoLimit,
    queue: Fifo,
    cells: Arc<QdiscCells>,
}

impl FifoQdisc {
    /// An empty one.
    pub fn new(limit: FifoLimit, cells: Arc<QdiscCells>) -> Self {
        FifoQdisc { limit, queue: Fifo::default(), cells }
    }

    /// Changes the limit. What is beyond it already may stay.
    pub fn set_limit(&mut self, limit: FifoLimit) {
        self.limit = limit;
    }

    /// The packets in it.
    #[inline]
    pub fn queue(&self) -> &Fifo {
        &self.queue
    }

    /// The oldest packet and its length, taken out.
    #[inline]
    pub fn take<P>(&mut self, slab: &mut PktSlab<P>) -> Option<(P, u32)> {
        let (pkt, len) = self.queue.pop(slab)?;
        self.cells.packets.add(1);
        self.cells.bytes.add(len.into());
        self.count_held();
        Some((pkt, len))
    }

    /// Appends the oldest packets to `list`, at most `most` and as far as it has room. How much that was.
    #[inline]
    pub fn take_list<P: SchedPkt>(
        &mut self,
        slab: &mut PktSlab<P>,
        most: usize,
        list: &mut PktList<P>,
    ) -> Held {
        let mut taken = Held::default();
        for _ in 0..most.min(list.remaining_capacity()) {
            let Some((pkt, len)) = self.queue.pop(slab) else { break };
            if let Some(next) = self.queue.front(slab) {
                next.prefetch();
            }
            list.push(pkt);
            taken += Held { packets: 1, bytes: len.into() };
        }
        self.cells.packets.add(taken.packets);
        self.cells.bytes.add(taken.bytes);
        self.count_held();
        taken
    }

    #[inline]
    fn has_room(&self, len: u32) -> bool {
        match self.limit {
            FifoLimit::Packets(limit) | FifoLimit::HeadDrop(limit) => self.queue.len() < limit,
            FifoLimit::Bytes(limit) => u64::from(self.queue.bytes()) + u64::from(len) <= u64::from(limit),
        }
    }

    #[inline]
    fn count_held(&self) {
        self.cells.holds(self.queue.len(), self.queue.bytes());
    }

    #[cold]
    fn enqueue_full<P: SchedPkt>(&mut self, cx: &mut SchedCx<'_, P>, pkt: P, len: u32) -> Enqueued {
        self.cells.drops.add(1);
        if !matches!(self.limit, FifoLimit::HeadDrop(_)) {
            cx.sink.drop(pkt, DropReason::QdiscOverlimit);
            return Enqueued::refused(Xmit::Drop);
        }
        let Some((oldest, oldest_len)) = self.queue.pop(cx.slab) else {
            cx.sink.drop(pkt, DropReason::QdiscOverlimit);
            return Enqueued::refused(Xmit::Drop);
        };
        cx.sink.drop(oldest, DropReason::QdiscOverlimit);
        let (packets, bytes) = match self.queue.push(cx.slab, pkt, len) {
            Ok(()) => (0, i64::from(len) - i64::from(oldest_len)),
            Err(pkt) => {
                self.cells.drops.add(1);
                cx.sink.drop(pkt, DropReason::QdiscOverlimit);
                (-1, -i64::from(oldest_len))
            }
        };
        self.count_held();
        Enqueued { code: Xmit::Cn, packets, bytes: bytes as i32 }
    }
}

impl<P: SchedPkt> Qdisc<P> for FifoQdisc {
    #[inline]
    fn enqueue(&mut self, cx: &mut SchedCx<'_, P>, pkt: P) -> Enqueued {
        let len = pkt.qdisc_len();
        if !self.has_room(len) {
            return self.enqueue_full(cx, pkt, len);
        }
        match self.queue.push(cx.slab, pkt, len) {
            Ok(()) => {
                self.count_held();
                Enqueued::success(len)
            }
            Err(pkt) => self.enqueue_full(cx, pkt, len),
        }
    }

    #[inline]
    fn dequeue(&mut self, cx: &mut SchedCx<'_, P>) -> Option<P> {
        self.take(cx.slab).map(|(pkt, _)| pkt)
    }

    fn dequeue_list(&mut self, cx: &mut SchedCx<'_, P>, most: usize, list: &mut PktList<P>) {
        self.take_list(cx.slab, most, list);
    }

    fn reset(&mut self, cx: &mut SchedCx<'_, P>, reason: DropReason) {
        while let Some((pkt, _)) = self.queue.pop(cx.slab) {
            cx.sink.drop(pkt, reason);
        }
        self.count_held();
    }

    fn apply(&mut self, _: &mut SchedCx<'_, P>, op: QdiscOp<P>) -> Held {
        if let QdiscOp::Change(spec) = op
            && let Some(limit) = FifoLimit::of(&spec)
            && std::mem::discriminant(&limit) == std::mem::discriminant(&self.limit)
        {
            self.limit = limit;
        }
        Held::default()
    }

    fn cells(&self) -> &Arc<QdiscCells> {
        &self.cells
    }
}
