//! Changes.

use std::sync::Arc;

use super::class::NIL;
use super::{Found, Htb};
use crate::core::drop_reason::DropReason;
use crate::sched::cells::ClassCells;
use crate::sched::handle::TcHandle;
use crate::sched::op::QdiscOp;
use crate::sched::packet::SchedPkt;
use crate::sched::params::{HtbClassParams, HtbParams, QdiscSpec};
use crate::sched::qdisc::{Classify, Held, Qdisc, SchedCx};
use crate::sched::queue::Fifo;

/// Why packets go whose queue ends.
const PURGED: DropReason = DropReason::QdiscDrop;

impl<P: SchedPkt> Htb<P> {
    /// What was dropped for a change; it still counts as held.
    pub(super) fn carry_out(&mut self, cx: &mut SchedCx<'_, P>, op: QdiscOp<P>) -> Held {
        match op {
            QdiscOp::Change(QdiscSpec::Htb(params)) => self.change(params),
            QdiscOp::Change(_) => {}
            QdiscOp::ClassAdd { class, parent, params, limit, cells } => {
                return self.add_class(cx, class, parent, &params, limit, cells);
            }
            QdiscOp::ClassChange(class, params) => self.change_class(cx, class, &params),
            QdiscOp::ClassDelete(class) => return self.delete_class(cx, class),
            QdiscOp::Graft(class, below) => return self.graft(cx, class, below),
            QdiscOp::Filters(at, filters) => self.set_filters(at, filters),
        }
        Held::default()
    }

    fn change(&mut self, params: HtbParams) {
        self.tree.hysteresis = params.hysteresis;
        self.params = params;
    }

    fn add_class(
        &mut self,
        cx: &mut SchedCx<'_, P>,
        class: TcHandle,
        parent: TcHandle,
        params: &HtbClassParams,
        limit: u32,
        cells: Arc<ClassCells>,
    ) -> Held {
        let mut dropped = Held::default();
        if class.qdisc() != self.handle || class.minor() == 0 || self.find(class).is_some() {
            return dropped;
        }
        let above = match self.find(parent) {
            _ if parent == self.handle => NIL,
            Some(Found::Inner(above)) => above,
            Some(Found::Leaf(above)) if self.tree.level_as_inner(above).is_some() => {
                dropped = self.empty(cx, above);
                self.tree.make_inner(above);
                self.names.set(parent.minor(), Found::Inner(above));
                above
            }
            _ => return dropped,
        };
        let at = self.tree.add(above, params, limit, cells, cx.now.as_nanos());
        let most = self.tree.classes.len();
        self.grafts.resize_with(most, || None);
        self.class_filters.resize(most, None);
        self.names.set(class.minor(), Found::Leaf(at));
        dropped
    }

    fn change_class(&mut self, cx: &SchedCx<'_, P>, class: TcHandle, params: &HtbClassParams) {
        if let Some(found) = self.find(class) {
            self.tree.change(found.class(), params, cx.now.as_nanos(), &self.cells.overlimits);
        }
    }

    fn delete_class(&mut self, cx: &mut SchedCx<'_, P>, class: TcHandle) -> Held {
        let Some(at) = self.find(class).and_then(Found::leaf) else { return Held::default() };
        let dropped = self.empty(cx, at);
        self.class_filters[at as usize] = None;
        self.names.remove(class.minor());
        let parent = self.tree.classes[at as usize].parent;
        self.tree.remove(at, cx.now.as_nanos());
        if parent != NIL && self.tree.is_leaf(parent) {
            self.names.set(self.names.minor(parent), Found::Leaf(parent));
        }
        dropped
    }

    fn graft(&mut self, cx: &mut SchedCx<'_, P>, class: TcHandle, below: Option<Box<dyn Qdisc<P>>>) -> Held {
        let Some(at) = self.find(class).and_then(Found::leaf) else { return Held::default() };
        let dropped = self.empty(cx, at);
        self.tree.classes[at as usize].grafted = below.is_some();
        self.grafts[at as usize] = below;
        dropped
    }

    fn set_filters(&mut self, at: TcHandle, filters: Option<Arc<dyn Classify<P>>>) {
        if at == self.handle {
            self.filters = filters;
        } else if let Some(found) = self.find(at) {
            self.class_filters[found.class() as usize] = filters;
        }
    }

    /// Drops what waits in a leaf, and takes away the discipline below it.
    fn empty(&mut self, cx: &mut SchedCx<'_, P>, at: u32) -> Held {
        let held = self.tree.held(at);
        self.drain(cx, at, PURGED);
        self.grafts[at as usize] = None;
        self.tree.classes[at as usize].grafted = false;
        self.tree.shrink(at, held);
        held
    }

    fn drain(&mut self, cx: &mut SchedCx<'_, P>, at: u32, reason: DropReason) {
        drain(cx, &mut self.tree.leaves[at as usize].fifo, reason);
        if let Some(below) = &mut self.grafts[at as usize] {
            below.reset(cx, reason);
        }
    }

    /// Drops all packets, without counting them as dropped.
    pub(super) fn clear(&mut self, cx: &mut SchedCx<'_, P>, reason: DropReason) {
        drain(cx, &mut self.direct, reason);
        for at in 0..self.grafts.len() as u32 {
            self.drain(cx, at, reason);
            self.tree.leaves[at as usize].cells.qlen.set(0);
            self.tree.leaves[at as usize].cells.backlog.set(0);
        }
        self.cells.qlen.set(0);
        self.cells.backlog.set(0);
        self.tree.reset();
    }
}

fn drain<P: SchedPkt>(cx: &mut SchedCx<'_, P>, queue: &mut Fifo, reason: DropReason) {
    while let Some((pkt, _)) = queue.pop(cx.slab) {
        cx.sink.drop(pkt, reason);
    }
}
