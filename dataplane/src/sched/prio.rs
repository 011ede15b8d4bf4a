//! prio: bands, each with a discipline of its own; the first that has a packet sends (tc-prio(8)).

use std::fmt;
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::cells::QdiscCells;
use super::child::Child;
use super::fifo::FifoLimit;
use super::handle::TcHandle;
use super::op::QdiscOp;
use super::packet::{PktList, SchedPkt};
use super::params::{PrioParams, QdiscSpec};
use super::qdisc::{Classified, Classify, Enqueued, Held, Note, Qdisc, SchedCx};
use crate::core::drop_reason::DropReason;
use crate::skb::SkbList;

/// Most bands (kernel `TCQ_PRIO_BANDS`).
pub const MAX_BANDS: usize = 16;

/// The discipline. Band `n` is below the class `n + 1`.
pub struct Prio<P: SchedPkt> {
    handle: TcHandle,
    /// Bands in use. There are always [`MAX_BANDS`], so that more or fewer of them take no memory.
    bands: usize,
    priomap: [u8; 16],
    children: [Child<P>; MAX_BANDS],
    filters: Option<Arc<dyn Classify<P>>>,
    cells: Arc<QdiscCells>,
}

impl<P: SchedPkt> Prio<P> {
    /// An empty one; each band has a pfifo.
    pub fn new(handle: TcHandle, params: &PrioParams, cells: Arc<QdiscCells>) -> Self {
        let children = std::array::from_fn(|_| Child::new(FifoLimit::Packets(params.limit)));
        let mut prio = Prio { handle, bands: 0, priomap: [0; 16], children, filters: None, cells };
        prio.set_params(params);
        prio
    }

    fn set_params(&mut self, params: &PrioParams) {
        self.bands = usize::from(params.bands).clamp(1, MAX_BANDS);
        self.priomap = params.priomap.map(|band| band.min(self.bands as u8 - 1));
    }

    /// As kernel `prio_classify`: a priority that names a class of ours is beyond filters; one that names another's class
    /// counts as none; a class that is not there is the first priority's.
    #[inline]
    fn band(&self, priority: u32, class: Option<TcHandle>) -> usize {
        let priority = TcHandle(priority);
        let class = if priority.qdisc() == self.handle { Some(priority) } else { class };
        let Some(class) = class else {
            let priority = if priority.major() == 0 { priority.minor() } else { 0 };
            return self.priomap[usize::from(priority & 15)].into();
        };
        let band = usize::from(class.minor()).wrapping_sub(1);
        if band < self.bands { band } else { self.priomap[0].into() }
    }

    /// The band of a packet; what became of it if filters took it.
    #[inline]
    fn classify(&self, cx: &mut SchedCx<'_, P>, pkt: P) -> Result<(usize, P), Enqueued> {
        let priority = pkt.priority();
        let (pkt, class) = match &self.filters {
            Some(filters) if TcHandle(priority).qdisc() != self.handle => match filters.classify(cx, pkt) {
                Classified::None(pkt) => (pkt, None),
                Classified::Class(pkt, class) => (pkt, Some(class)),
                Classified::Gone(code) => {
                    let gone = Enqueued::refused(code);
                    self.cells.drops.add(u64::from(gone.is_drop()));
                    return Err(gone);
                }
            },
            _ => (pkt, None),
        };
        Ok((self.band(priority, class), pkt))
    }

    fn at(&mut self, class: TcHandle) -> Option<&mut Child<P>> {
        let band = usize::from(class.minor()).checked_sub(1)?;
        self.children[..self.bands].get_mut(band)
    }

    fn change(&mut self, cx: &mut SchedCx<'_, P>, params: &PrioParams) -> Held {
        let before = self.bands;
        self.set_params(params);
        let mut dropped = Held::default();
        for child in self.children.iter_mut().take(before).skip(self.bands) {
            dropped += child.graft(cx, None);
        }
        for child in &mut self.children[before.min(self.bands)..] {
            child.set_own_limit(FifoLimit::Packets(params.limit));
        }
        dropped
    }
}

impl<P: SchedPkt> Qdisc<P> for Prio<P> {
    fn enqueue(&mut self, cx: &mut SchedCx<'_, P>, pkt: P) -> Enqueued {
        match self.classify(cx, pkt) {
            Ok((band, pkt)) => {
                if cx.watched() {
                    let class = TcHandle::new(self.handle.major(), band as u16 + 1);
                    cx.sink.note(&pkt, Note::Class(class));
                }
                let enqueued = self.children[band].enqueue(cx, pkt);
                self.cells.enqueued(&enqueued);
                enqueued
            }
            Err(gone) => gone,
        }
    }

    /// The disciplines below get their packets as lists too.
    fn enqueue_list(&mut self, cx: &mut SchedCx<'_, P>, list: &mut PktList<P>) {
        let mut left: PktList<P> = PktList::new_const();
        let mut bands: ArrayVec<usize, { SkbList::CAPACITY }> = ArrayVec::new_const();
        for pkt in list.drain(..) {
            if let Ok((band, pkt)) = self.classify(cx, pkt) {
                left.push(pkt);
                bands.push(band);
            }
        }
        while let Some(&band) = bands.first() {
            let mut part = PktList::new_const();
            let (mut others, mut of_others) = (PktList::new_const(), ArrayVec::new_const());
            for (pkt, of) in left.drain(..).zip(bands.drain(..)) {
                if of == band {
                    part.push(pkt);
                } else {
                    others.push(pkt);
                    of_others.push(of);
                }
            }
            (left, bands) = (others, of_others);
            let (more, drops) = self.children[band].enqueue_list(cx, &mut part);
            self.cells.drops.add(drops);
            // Two's complement: what is less is taken away.
            self.cells.qlen.add(more.packets);
            self.cells.backlog.add(more.bytes);
        }
    }

    fn dequeue_list(&mut self, cx: &mut SchedCx<'_, P>, most: usize, list: &mut PktList<P>) {
        let end = list.len() + most.min(list.remaining_capacity());
        for child in &mut self.children[..self.bands] {
            if list.len() == end {
                return;
            }
            let sent = child.dequeue_list(cx, end - list.len(), list);
            self.cells.sent_all(sent.packets, sent.bytes);
        }
    }

    fn dequeue(&mut self, cx: &mut SchedCx<'_, P>) -> Option<P> {
        let (pkt, len) = self.children[..self.bands].iter_mut().find_map(|child| child.dequeue(cx))?;
        self.cells.sent(len);
        Some(pkt)
    }

    fn reset(&mut self, cx: &mut SchedCx<'_, P>, reason: DropReason) {
        for child in &mut self.children {
            child.reset(cx, reason);
        }
        self.cells.holds(0, 0);
    }

    fn apply(&mut self, cx: &mut SchedCx<'_, P>, op: QdiscOp<P>) -> Held {
        let dropped = match op {
            QdiscOp::Change(QdiscSpec::Prio(params)) => self.change(cx, &params),
            QdiscOp::Graft(class, new) => match self.at(class) {
                Some(child) => child.graft(cx, new),
                None => Held::default(),
            },
            QdiscOp::Filters(_, filters) => {
                self.filters = filters;
                Held::default()
            }
            _ => Held::default(),
        };
        self.cells.lost(dropped);
        dropped
    }

    fn child(&mut self, class: TcHandle) -> Option<&mut (dyn Qdisc<P> + 'static)> {
        self.at(class).map(Child::get)
    }

    fn shrunk(&mut self, _: &mut SchedCx<'_, P>, _: TcHandle, dropped: Held) {
        self.cells.lost(dropped);
    }

    fn cells(&self) -> &Arc<QdiscCells> {
        &self.cells
    }

    /// Those of a band that is not in use yet, too: it will have them.
    fn default_child_cells(&self, class: TcHandle) -> Option<Arc<QdiscCells>> {
        let band = usize::from(class.minor()).checked_sub(1)?;
        self.children.get(band).map(Child::own_cells)
    }
}

impl<P: SchedPkt> fmt::Debug for Prio<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prio")
            .field("handle", &self.handle)
            .field("priomap", &self.priomap)
            .field("children", &&self.children[..self.bands])
            .field("filters", &self.filters)
            .finish_non_exhaustive()
    }
}
