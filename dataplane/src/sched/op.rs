//! Changes of a tree, on their way from the control thread to its owner.

use std::sync::Arc;

use super::cells::ClassCells;
use super::handle::TcHandle;
use super::packet::SchedPkt;
use super::params::{HtbClassParams, QdiscSpec};
use super::qdisc::{Classify, Held, Qdisc, SchedCx};

/// A change of a device's tree.
#[derive(Debug)]
pub enum TreeOp<P: SchedPkt> {
    /// This is the root now; without one the tree ends. What the old one held is dropped.
    Root(Option<Box<dyn Qdisc<P>>>),
    /// A change of the discipline at the end of this path: the classes to go down through, from the root's.
    At(Vec<TcHandle>, QdiscOp<P>),
}

/// A change of one discipline.
#[derive(Debug)]
pub enum QdiscOp<P: SchedPkt> {
    /// New parameters, of the same kind.
    Change(QdiscSpec),
    /// Another discipline below a class; without one, the kind's default. What the old one held is dropped.
    Graft(TcHandle, Option<Box<dyn Qdisc<P>>>),
    /// A new class of htb.
    ClassAdd {
        /// Its name.
        class: TcHandle,
        /// The class above, or the discipline.
        parent: TcHandle,
        /// Its parameters.
        params: HtbClassParams,
        /// Most packets in the pfifo it starts with (the device's `txqueuelen`).
        limit: u32,
        /// Its statistics.
        cells: Arc<ClassCells>,
    },
    /// New parameters for a class of htb.
    ClassChange(TcHandle, HtbClassParams),
    /// A class of htb ends. It has no children.
    ClassDelete(TcHandle),
    /// These are the filters of the discipline or of one of its classes now.
    Filters(TcHandle, Option<Arc<dyn Classify<P>>>),
}

/// Carries out a change somewhere below `qdisc` and tells those above what was dropped for it.
pub fn apply_at<P: SchedPkt>(
    qdisc: &mut (dyn Qdisc<P> + 'static),
    cx: &mut SchedCx<'_, P>,
    path: &[TcHandle],
    op: QdiscOp<P>,
) -> Held {
    let Some((&class, rest)) = path.split_first() else { return qdisc.apply(cx, op) };
    let Some(child) = qdisc.child(class) else { return Held::default() };
    let dropped = apply_at(child, cx, rest, op);
    if dropped != Held::default() {
        qdisc.shrunk(cx, class, dropped);
    }
    dropped
}
