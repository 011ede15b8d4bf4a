//! The discipline below a class: a FIFO that the kind puts there, or what an operator put in its place.

use std::fmt;
use std::sync::Arc;

use super::cells::QdiscCells;
use super::fifo::{FifoLimit, FifoQdisc};
use super::packet::{PktList, SchedPkt};
use super::qdisc::{Enqueued, Held, Qdisc, SchedCx};
use crate::core::drop_reason::DropReason;

/// A class of one of the disciplines that are no more than a list of them.
///
/// The kind's own FIFO is kept, empty, while another discipline is in its place: going back to it takes no memory, and
/// its statistics can be named from the beginning.
pub(super) struct Child<P: SchedPkt> {
    own: FifoQdisc,
    grafted: Option<Box<dyn Qdisc<P>>>,
}

impl<P: SchedPkt> Child<P> {
    pub fn new(limit: FifoLimit) -> Self {
        Child { own: FifoQdisc::new(limit, Arc::default()), grafted: None }
    }

    #[inline]
    pub fn enqueue(&mut self, cx: &mut SchedCx<'_, P>, pkt: P) -> Enqueued {
        match &mut self.grafted {
            None => self.own.enqueue(cx, pkt),
            Some(other) => other.enqueue(cx, pkt),
        }
    }

    /// As [`Qdisc::enqueue_list`]; how much more it holds then, in two's complement, and how many packets were dropped.
    pub fn enqueue_list(&mut self, cx: &mut SchedCx<'_, P>, list: &mut PktList<P>) -> (Held, u64) {
        let below = self.get();
        let (held, drops) = (below.held(), below.cells().drops.get());
        below.enqueue_list(cx, list);
        let now = below.held();
        let more = Held {
            packets: now.packets.wrapping_sub(held.packets),
            bytes: now.bytes.wrapping_sub(held.bytes),
        };
        (more, below.cells().drops.get().wrapping_sub(drops))
    }

    /// The next packet and its length.
    #[inline]
    pub fn dequeue(&mut self, cx: &mut SchedCx<'_, P>) -> Option<(P, u32)> {
        match &mut self.grafted {
            None => self.own.take(cx.slab),
            Some(other) => other.dequeue(cx).map(|pkt| {
                let len = pkt.qdisc_len();
                (pkt, len)
            }),
        }
    }

    /// As [`Qdisc::dequeue_list`]; how much that was.
    #[inline]
    pub fn dequeue_list(&mut self, cx: &mut SchedCx<'_, P>, most: usize, list: &mut PktList<P>) -> Held {
        let Some(other) = &mut self.grafted else { return self.own.take_list(cx.slab, most, list) };
        let before = list.len();
        other.dequeue_list(cx, most, list);
        let taken = &list[before..];
        let bytes = taken.iter().map(|pkt| u64::from(pkt.qdisc_len())).sum();
        Held { packets: taken.len() as u64, bytes }
    }

    /// The kind's own FIFO, if nobody put another discipline there.
    #[inline]
    pub fn own(&mut self) -> Option<&mut FifoQdisc> {
        if self.grafted.is_none() { Some(&mut self.own) } else { None }
    }

    pub fn own_cells(&self) -> Arc<QdiscCells> {
        Qdisc::<P>::cells(&self.own).clone()
    }

    pub fn set_own_limit(&mut self, limit: FifoLimit) {
        self.own.set_limit(limit);
    }

    pub fn get(&mut self) -> &mut (dyn Qdisc<P> + 'static) {
        match &mut self.grafted {
            None => &mut self.own,
            Some(other) => other.as_mut(),
        }
    }

    /// Puts `new`, or the kind's own FIFO, in the place of what is there. What that held is dropped.
    pub fn graft(&mut self, cx: &mut SchedCx<'_, P>, new: Option<Box<dyn Qdisc<P>>>) -> Held {
        let old = self.get();
        let dropped = old.held();
        old.reset(cx, DropReason::QdiscDrop);
        if new.is_none() {
            Qdisc::<P>::cells(&self.own).clear();
        }
        self.grafted = new;
        dropped
    }

    pub fn reset(&mut self, cx: &mut SchedCx<'_, P>, reason: DropReason) {
        self.get().reset(cx, reason);
    }
}

impl<P: SchedPkt> fmt::Debug for Child<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.grafted {
            None => self.own.fmt(f),
            Some(other) => other.fmt(f),
        }
    }
}
