//! pfifo_fast: three queues by priority, the first first (tc-pfifo_fast(8)).

use std::sync::Arc;

use super::cells::QdiscCells;
use super::op::QdiscOp;
use super::packet::SchedPkt;
use super::params::{DEFAULT_PRIOMAP, QdiscSpec};
use super::qdisc::{Enqueued, Held, Qdisc, SchedCx, Xmit};
use super::queue::Fifo;
use crate::core::drop_reason::DropReason;

const BANDS: usize = 3;

/// The discipline.
#[derive(Debug)]
pub struct PfifoFast {
    limit: u32,
    bands: [Fifo; BANDS],
    cells: Arc<QdiscCells>,
}

impl PfifoFast {
    /// An empty one, of at most `limit` packets a band.
    pub fn new(limit: u32, cells: Arc<QdiscCells>) -> Self {
        PfifoFast { limit, bands: [Fifo::default(); BANDS], cells }
    }
}

impl<P: SchedPkt> Qdisc<P> for PfifoFast {
    fn enqueue(&mut self, cx: &mut SchedCx<'_, P>, pkt: P) -> Enqueued {
        let band = DEFAULT_PRIOMAP[pkt.priority() as usize & 15];
        let queue = &mut self.bands[usize::from(band)];
        let len = pkt.qdisc_len();
        let refused = if queue.len() < self.limit { queue.push(cx.slab, pkt, len).err() } else { Some(pkt) };
        match refused {
            None => {
                self.cells.came(len);
                Enqueued::success(len)
            }
            Some(pkt) => {
                self.cells.drops.add(1);
                cx.sink.drop(pkt, DropReason::QdiscOverlimit);
                Enqueued::refused(Xmit::Drop)
            }
        }
    }

    fn dequeue(&mut self, cx: &mut SchedCx<'_, P>) -> Option<P> {
        let queue = self.bands.iter_mut().find(|queue| !queue.is_empty())?;
        let (pkt, len) = queue.pop(cx.slab)?;
        self.cells.sent(len);
        Some(pkt)
    }

    fn reset(&mut self, cx: &mut SchedCx<'_, P>, reason: DropReason) {
        for queue in &mut self.bands {
            while let Some((pkt, _)) = queue.pop(cx.slab) {
                cx.sink.drop(pkt, reason);
            }
        }
        self.cells.holds(0, 0);
    }

    fn apply(&mut self, _: &mut SchedCx<'_, P>, op: QdiscOp<P>) -> Held {
        if let QdiscOp::Change(QdiscSpec::PfifoFast { limit }) = op {
            self.limit = limit;
        }
        Held::default()
    }

    fn cells(&self) -> &Arc<QdiscCells> {
        &self.cells
    }
}
