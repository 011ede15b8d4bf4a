//! The hierarchical token bucket (kernel `sch_htb`, tc-htb(8)).
//!
//! Every class has a rate that it is sure of, and a ceiling up to which it may borrow what its ancestors are sure of.
//! Leaves hold the packets. Classes within their rates go first, those that need the tokens of a parent next, then those
//! that need a grandparent's; among those of one level the lowest priority goes first; among those of one level and
//! priority each in turn sends a quantum.
//!
//! What differs from the kernel: tokens are 2^-16 ns, so that small packets at 100 Gbit/s cost what they cost; siblings
//! are served in the order in which they were made, not in that of their names; and the clock is read once a burst.
//!
//! Uses:  priority, length.
//! Drops: qdisc_overlimit (a queue is full), qdisc_drop (a filter says so, or a queue ends).

mod class;
mod dequeue;
mod enqueue;
mod ops;
pub mod params;
mod prefetch;
mod round;
mod shape;
mod sojourn;
mod tree;
mod wheel;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use self::tree::Tree;
use super::cells::{QdiscCells, Special};
use super::handle::TcHandle;
use super::op::QdiscOp;
use super::packet::{PktList, SchedPkt};
use super::params::HtbParams;
use super::qdisc::{Classify, Enqueued, Held, Note, Qdisc, SchedCx};
use super::queue::Fifo;
use crate::core::drop_reason::DropReason;

/// Where packets go that belong to no class.
const DIRECT: u32 = class::NIL;

/// An htb with its classes.
pub struct Htb<P: SchedPkt> {
    handle: TcHandle,
    params: HtbParams,
    cells: Arc<QdiscCells>,
    tree: Tree,
    /// Packets that are not shaped.
    direct: Fifo,
    sojourn: sojourn::Sojourn,
    names: Names,
    filters: Option<Arc<dyn Classify<P>>>,
    /// The filters of inner classes, by class.
    class_filters: Vec<Option<Arc<dyn Classify<P>>>>,
    /// Disciplines below leaves, by class.
    grafts: Vec<Option<Box<dyn Qdisc<P>>>>,
}

impl<P: SchedPkt> Htb<P> {
    /// Without classes: every packet goes unshaped. Its `cells` count [`Special::Htb`] too.
    pub fn new(handle: TcHandle, params: HtbParams, cells: Arc<QdiscCells>) -> Self {
        Htb {
            handle: handle.qdisc(),
            params,
            cells,
            tree: Tree::new(params.hysteresis),
            direct: Fifo::default(),
            sojourn: sojourn::Sojourn::default(),
            names: Names::default(),
            filters: None,
            class_filters: Vec::new(),
            grafts: Vec::new(),
        }
    }

    /// A class by its name.
    #[inline]
    fn find(&self, name: TcHandle) -> Option<Found> {
        if name.qdisc() == self.handle { self.names.find(name.minor()) } else { None }
    }

    /// The name of a leaf; the tree's own of [`DIRECT`].
    fn name_of(&self, leaf: u32) -> TcHandle {
        let minor = self.names.minors.get(leaf as usize).copied().filter(|_| leaf != DIRECT);
        TcHandle::new(self.handle.major(), minor.unwrap_or(0))
    }

    /// Takes packets out of what is held that were dropped for a change.
    fn count_dropped(&self, dropped: Held) {
        self.cells.gone(dropped.packets, dropped.bytes);
        self.cells.drops.add(dropped.packets);
    }

    fn count_direct(&self) {
        if let Special::Htb(cells) = &self.cells.special {
            cells.direct_packets.add(1);
        }
    }
}

impl<P: SchedPkt> Qdisc<P> for Htb<P> {
    fn enqueue(&mut self, cx: &mut SchedCx<'_, P>, pkt: P) -> Enqueued {
        match self.classify(cx, pkt) {
            Ok((pkt, target)) => {
                if cx.watched() {
                    cx.sink.note(&pkt, Note::Class(self.name_of(target)));
                }
                self.push(cx, pkt, target)
            }
            Err(done) => done,
        }
    }

    fn enqueue_list(&mut self, cx: &mut SchedCx<'_, P>, list: &mut PktList<P>) {
        self.enqueue_all(cx, list);
    }

    fn dequeue(&mut self, cx: &mut SchedCx<'_, P>) -> Option<P> {
        let mut list = PktList::new_const();
        self.dequeue_up_to(cx, 1, &mut list);
        list.pop()
    }

    fn dequeue_list(&mut self, cx: &mut SchedCx<'_, P>, most: usize, list: &mut PktList<P>) {
        self.dequeue_up_to(cx, most, list);
    }

    fn reset(&mut self, cx: &mut SchedCx<'_, P>, reason: DropReason) {
        self.sojourn.forget();
        self.clear(cx, reason);
    }

    fn apply(&mut self, cx: &mut SchedCx<'_, P>, op: QdiscOp<P>) -> Held {
        self.sojourn.forget();
        let dropped = self.carry_out(cx, op);
        self.count_dropped(dropped);
        dropped
    }

    fn child(&mut self, class: TcHandle) -> Option<&mut (dyn Qdisc<P> + 'static)> {
        let at = self.find(class)?.leaf()?;
        self.grafts[at as usize].as_deref_mut()
    }

    fn shrunk(&mut self, _: &mut SchedCx<'_, P>, class: TcHandle, dropped: Held) {
        let Some(at) = self.find(class).and_then(Found::leaf) else { return };
        self.sojourn.forget();
        self.tree.shrink(at, dropped);
        self.count_dropped(dropped);
    }

    fn cells(&self) -> &Arc<QdiscCells> {
        &self.cells
    }
}

impl<P: SchedPkt> fmt::Debug for Htb<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Htb { handle, params, cells, tree, .. } = self;
        let classes = tree.classes.len();
        f.debug_struct("Htb")
            .field("handle", handle)
            .field("params", params)
            .field("cells", cells)
            .field("classes", &classes)
            .finish_non_exhaustive()
    }
}

/// A class that has been looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Leaf(u32),
    Inner(u32),
}

impl Found {
    fn class(self) -> u32 {
        match self {
            Found::Leaf(at) | Found::Inner(at) => at,
        }
    }

    fn leaf(self) -> Option<u32> {
        match self {
            Found::Leaf(at) => Some(at),
            Found::Inner(_) => None,
        }
    }
}

/// Classes by minor numbers. It also knows which are leaves, so that classifying does not touch the class.
#[derive(Debug, Default)]
struct Names {
    /// By minor number: the class, with [`INNER`](Self::INNER); `NIL` for none.
    by_minor: Vec<u32>,
    /// By class.
    minors: Vec<u16>,
}

impl Names {
    const INNER: u32 = 1 << 31;

    #[inline]
    fn find(&self, minor: u16) -> Option<Found> {
        match *self.by_minor.get(usize::from(minor))? {
            class::NIL => None,
            at if at & Self::INNER != 0 => Some(Found::Inner(at & !Self::INNER)),
            at => Some(Found::Leaf(at)),
        }
    }

    fn minor(&self, at: u32) -> u16 {
        self.minors.get(at as usize).copied().unwrap_or(0)
    }

    fn set(&mut self, minor: u16, found: Found) {
        let at = found.class();
        if self.by_minor.len() <= usize::from(minor) {
            self.by_minor.resize(usize::from(minor) + 1, class::NIL);
        }
        if self.minors.len() <= at as usize {
            self.minors.resize(at as usize + 1, 0);
        }
        self.minors[at as usize] = minor;
        self.by_minor[usize::from(minor)] = if found.leaf().is_some() { at } else { at | Self::INNER };
    }

    fn remove(&mut self, minor: u16) {
        if let Some(at) = self.by_minor.get_mut(usize::from(minor)) {
            *at = class::NIL;
        }
    }
}
