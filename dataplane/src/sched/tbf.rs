//! tbf: one queue that leaves no faster than a rate, and its bursts no faster than a peak rate (tc-tbf(8)).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::cells::QdiscCells;
use super::child::Child;
use super::fifo::FifoLimit;
use super::handle::TcHandle;
use super::op::QdiscOp;
use super::packet::SchedPkt;
use super::params::{QdiscSpec, TbfParams};
use super::qdisc::{Enqueued, Held, Qdisc, SchedCx, Xmit};
use super::rate::Bucket;
use crate::core::drop_reason::DropReason;
use crate::time::Instant;

/// The discipline. Its one class is 1.
pub struct Tbf<P: SchedPkt> {
    gate: Gate,
    child: Child<P>,
    /// The next packet of a child that cannot tell its length beforehand. It counts as held here, not there.
    ahead: Option<(P, u32)>,
    /// The next packet may not go before.
    ready: Instant,
    cells: Arc<QdiscCells>,
}

impl<P: SchedPkt> Tbf<P> {
    /// An empty one with full buckets, over a bfifo.
    pub fn new(params: &TbfParams, cells: Arc<QdiscCells>) -> Self {
        let (gate, child) = (Gate::new(params), Child::new(limit(params)));
        Tbf { gate, child, ahead: None, ready: Instant::ZERO, cells }
    }

    /// What waits stays, the buckets are full (kernel `tbf_change`).
    fn change(&mut self, cx: &mut SchedCx<'_, P>, params: &TbfParams) {
        self.gate = Gate::new(params);
        self.restart(cx.now);
        self.child.set_own_limit(limit(params));
        if let FifoLimit::Bytes(limit) = limit(params) {
            self.child.get().apply(cx, QdiscOp::Change(QdiscSpec::Bfifo { limit }));
        }
    }

    fn restart(&mut self, now: Instant) {
        self.ready = Instant::ZERO;
        self.gate.reset(now);
    }

    #[inline]
    fn next_len(&mut self, cx: &mut SchedCx<'_, P>) -> Option<u32> {
        if let Some(own) = self.child.own() {
            return own.queue().front_len(cx.slab);
        }
        if self.ahead.is_none() {
            self.ahead = self.child.dequeue(cx);
        }
        self.ahead.as_ref().map(|&(_, len)| len)
    }

    fn drop_ahead(&mut self, cx: &mut SchedCx<'_, P>, reason: DropReason) -> Held {
        let Some((pkt, len)) = self.ahead.take() else { return Held::default() };
        cx.sink.drop(pkt, reason);
        Held { packets: 1, bytes: len.into() }
    }
}

fn limit(params: &TbfParams) -> FifoLimit {
    FifoLimit::Bytes(u32::try_from(params.limit).unwrap_or(u32::MAX))
}

impl<P: SchedPkt> Qdisc<P> for Tbf<P> {
    fn enqueue(&mut self, cx: &mut SchedCx<'_, P>, pkt: P) -> Enqueued {
        if u64::from(pkt.qdisc_len()) > self.gate.max_size {
            self.cells.drops.add(1);
            cx.sink.drop(pkt, DropReason::QdiscDrop);
            return Enqueued::refused(Xmit::Drop);
        }
        let enqueued = self.child.enqueue(cx, pkt);
        self.cells.enqueued(&enqueued);
        enqueued
    }

    fn dequeue(&mut self, cx: &mut SchedCx<'_, P>) -> Option<P> {
        if cx.now < self.ready {
            cx.not_before(self.ready);
            return None;
        }
        let len = self.next_len(cx)?;
        if let Err(wait) = self.gate.pay(cx.now, len) {
            self.cells.overlimits.add(1);
            self.ready = cx.now + Duration::from_nanos(wait);
            cx.not_before(self.ready);
            return None;
        }
        let (pkt, _) = self.ahead.take().or_else(|| self.child.dequeue(cx))?;
        self.cells.sent(len);
        Some(pkt)
    }

    fn reset(&mut self, cx: &mut SchedCx<'_, P>, reason: DropReason) {
        self.drop_ahead(cx, reason);
        self.child.reset(cx, reason);
        self.cells.holds(0, 0);
        self.restart(cx.now);
    }

    fn apply(&mut self, cx: &mut SchedCx<'_, P>, op: QdiscOp<P>) -> Held {
        match op {
            QdiscOp::Change(QdiscSpec::Tbf(params)) => {
                self.change(cx, &params);
                Held::default()
            }
            QdiscOp::Graft(class, new) if class.minor() == 1 => {
                let mut dropped = self.drop_ahead(cx, DropReason::QdiscDrop);
                dropped += self.child.graft(cx, new);
                self.ready = Instant::ZERO;
                self.cells.lost(dropped);
                dropped
            }
            _ => Held::default(),
        }
    }

    fn child(&mut self, class: TcHandle) -> Option<&mut (dyn Qdisc<P> + 'static)> {
        (class.minor() == 1).then(|| self.child.get())
    }

    fn shrunk(&mut self, _: &mut SchedCx<'_, P>, _: TcHandle, dropped: Held) {
        self.cells.lost(dropped);
        self.ready = Instant::ZERO;
    }

    fn cells(&self) -> &Arc<QdiscCells> {
        &self.cells
    }

    fn default_child_cells(&self, class: TcHandle) -> Option<Arc<QdiscCells>> {
        (class.minor() == 1).then(|| self.child.own_cells())
    }
}

impl<P: SchedPkt> fmt::Debug for Tbf<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tbf").field("gate", &self.gate).field("child", &self.child).finish_non_exhaustive()
    }
}

/// The two buckets: a packet goes when both have the tokens.
#[derive(Debug)]
struct Gate {
    rate: Bucket,
    peak: Option<Bucket>,
    /// Longest packet that ever has the tokens it needs.
    max_size: u64,
}

impl Gate {
    fn new(params: &TbfParams) -> Self {
        Gate {
            rate: Bucket::new(params.rate, params.burst, params.rate_layer),
            peak: params.peak.map(|(rate, burst)| Bucket::new(rate, burst, params.peak_layer)),
            max_size: params.peak.map_or(params.burst, |(_, burst)| burst.min(params.burst)),
        }
    }

    /// Pays for a packet; or nanoseconds until that is possible.
    #[inline]
    fn pay(&mut self, now: Instant, len: u32) -> Result<(), u64> {
        self.rate.refill(now);
        let cost = self.rate.cost(len);
        let mut wait = self.rate.wait(cost);
        if let Some(peak) = &mut self.peak {
            peak.refill(now);
            let peak_cost = peak.cost(len);
            wait = wait.max(peak.wait(peak_cost));
            if wait == 0 {
                peak.take(peak_cost);
            }
        }
        if wait > 0 {
            return Err(wait);
        }
        self.rate.take(cost);
        Ok(())
    }

    fn reset(&mut self, now: Instant) {
        self.rate.reset(now);
        if let Some(peak) = &mut self.peak {
            peak.reset(now);
        }
    }
}
