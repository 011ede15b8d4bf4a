//! red: random early detection (Floyd and Jacobson 1993; tc-red(8)). Marks or drops packets before the queue is full, the
//! more the longer its average.

mod adaptive;
pub mod average;
pub mod marker;
pub mod params;

use std::fmt;
use std::sync::Arc;

use adaptive::Adaptive;
use average::Average;
use marker::{Mark, Marker};

use super::cells::{QdiscCells, RedCells, Special};
use super::child::Child;
use super::fifo::FifoLimit;
use super::handle::TcHandle;
use super::op::QdiscOp;
use super::packet::{PktList, SchedPkt};
use super::params::{QdiscSpec, RedParams};
use super::qdisc::{Enqueued, Held, Qdisc, SchedCx, Xmit};
use crate::core::counters::Counter;
use crate::core::drop_reason::DropReason;

/// The discipline. Its one class is 1.
pub struct Red<P: SchedPkt> {
    /// As given, but for the largest probability, which may be adjusted.
    params: RedParams,
    average: Average,
    marker: Marker,
    adaptive: Adaptive,
    child: Child<P>,
    cells: Arc<QdiscCells>,
}

impl<P: SchedPkt> Red<P> {
    /// An empty one over a bfifo.
    pub fn new(params: &RedParams, cells: Arc<QdiscCells>) -> Self {
        let red = Red {
            params: *params,
            average: Average::new(params.wlog, params.avpkt, params.bandwidth),
            marker: Marker::new(params),
            adaptive: Adaptive::new(params),
            child: Child::new(FifoLimit::Bytes(params.limit)),
            cells,
        };
        red.count(|cells| cells.max_p.set(params.max_p));
        red
    }

    #[inline]
    fn count(&self, update: impl FnOnce(&RedCells)) {
        if let Special::Red(cells) = &self.cells.special {
            update(cells);
        }
    }

    #[inline]
    fn count_one(&self, counter: impl FnOnce(&RedCells) -> &Counter) {
        self.count(|cells| counter(cells).add(1));
    }

    /// A packet that was chosen: gives it back if it shall be queued.
    #[inline(never)]
    fn congested(&mut self, cx: &mut SchedCx<'_, P>, mut pkt: P, forced: bool) -> Option<P> {
        self.cells.overlimits.add(1);
        if self.params.ecn && !(forced && self.params.harddrop) {
            if pkt.set_ce() {
                self.count_one(|cells| if forced { &cells.forced_mark } else { &cells.prob_mark });
                return Some(pkt);
            }
            if self.params.nodrop {
                return Some(pkt);
            }
        }
        self.count_one(|cells| if forced { &cells.forced_drop } else { &cells.prob_drop });
        self.cells.drops.add(1);
        cx.sink.drop(pkt, DropReason::QdiscCongested);
        None
    }

    #[inline]
    fn offer(&mut self, cx: &mut SchedCx<'_, P>, pkt: P) -> Enqueued {
        let avg = self.average.arrived(cx.now, self.cells.backlog.get());
        let pkt = match self.marker.decide(avg, cx.rng) {
            Mark::None => pkt,
            mark => match self.congested(cx, pkt, mark == Mark::Forced) {
                Some(pkt) => pkt,
                None => return Enqueued::refused(Xmit::Cn),
            },
        };
        let enqueued = self.child.enqueue(cx, pkt);
        if enqueued.is_drop() {
            self.count_one(|cells| &cells.pdrop);
        }
        self.cells.enqueued(&enqueued);
        enqueued
    }

    #[inline]
    fn adjust(&mut self, cx: &SchedCx<'_, P>) {
        if self.adaptive.is_due(cx.now) {
            self.params.max_p = self.adaptive.catch_up(cx.now, &self.average, self.params.max_p);
            self.marker.set_max_p(self.params.max_p);
            self.count(|cells| cells.max_p.set(self.params.max_p));
        }
    }

    /// The kernel notes it when it asks the empty queue for a packet, which a discipline above that knows better never does:
    /// then the average would not fall.
    #[inline]
    fn note_empty(&mut self, cx: &SchedCx<'_, P>) {
        if self.cells.qlen.get() == 0 {
            self.average.empty(cx.now);
        }
    }

    /// Kernel `red_change`: all begins again, with an empty queue.
    fn change(&mut self, cx: &mut SchedCx<'_, P>, params: &RedParams) -> Held {
        self.params = *params;
        self.average = Average::new(params.wlog, params.avpkt, params.bandwidth);
        self.marker = Marker::new(params);
        self.adaptive = Adaptive::new(params);
        self.count(|cells| cells.max_p.set(params.max_p));
        self.child.set_own_limit(FifoLimit::Bytes(params.limit));
        self.child.graft(cx, None)
    }
}

impl<P: SchedPkt> Qdisc<P> for Red<P> {
    fn enqueue(&mut self, cx: &mut SchedCx<'_, P>, pkt: P) -> Enqueued {
        self.adjust(cx);
        let enqueued = self.offer(cx, pkt);
        self.count(|cells| cells.average.set(self.average.bytes()));
        enqueued
    }

    fn enqueue_list(&mut self, cx: &mut SchedCx<'_, P>, list: &mut PktList<P>) {
        self.adjust(cx);
        for pkt in list.drain(..) {
            self.offer(cx, pkt);
        }
        self.count(|cells| cells.average.set(self.average.bytes()));
    }

    fn dequeue(&mut self, cx: &mut SchedCx<'_, P>) -> Option<P> {
        let next = self.child.dequeue(cx);
        if let Some((_, len)) = next {
            self.cells.sent(len);
        }
        self.note_empty(cx);
        next.map(|(pkt, _)| pkt)
    }

    fn dequeue_list(&mut self, cx: &mut SchedCx<'_, P>, most: usize, list: &mut PktList<P>) {
        let taken = self.child.dequeue_list(cx, most, list);
        self.cells.packets.add(taken.packets);
        self.cells.bytes.add(taken.bytes);
        self.cells.gone(taken.packets, taken.bytes);
        self.note_empty(cx);
    }

    fn reset(&mut self, cx: &mut SchedCx<'_, P>, reason: DropReason) {
        self.child.reset(cx, reason);
        self.cells.holds(0, 0);
        self.average.restart(cx.now);
        self.marker.restart();
        self.count(|cells| cells.average.set(0));
    }

    fn apply(&mut self, cx: &mut SchedCx<'_, P>, op: QdiscOp<P>) -> Held {
        let dropped = match op {
            QdiscOp::Change(QdiscSpec::Red(params)) => self.change(cx, &params),
            QdiscOp::Graft(class, new) if class.minor() == 1 => self.child.graft(cx, new),
            _ => return Held::default(),
        };
        self.cells.lost(dropped);
        self.note_empty(cx);
        dropped
    }

    fn child(&mut self, class: TcHandle) -> Option<&mut (dyn Qdisc<P> + 'static)> {
        (class.minor() == 1).then(|| self.child.get())
    }

    fn shrunk(&mut self, cx: &mut SchedCx<'_, P>, _: TcHandle, dropped: Held) {
        self.cells.lost(dropped);
        self.note_empty(cx);
    }

    fn cells(&self) -> &Arc<QdiscCells> {
        &self.cells
    }

    fn default_child_cells(&self, class: TcHandle) -> Option<Arc<QdiscCells>> {
        (class.minor() == 1).then(|| self.child.own_cells())
    }
}

impl<P: SchedPkt> fmt::Debug for Red<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Red")
            .field("params", &self.params)
            .field("average", &self.average)
            .field("child", &self.child)
            .finish_non_exhaustive()
    }
}
