//! The trees an lcore owns, and packets and changes on their way into them.
//!
//! Uses:  oif, priority, network_offset.   Sets: what actions of filters change.
//! Next:  `qdisc_run`.
//! Drops: on their way in, of `qdisc_enqueue`: qdisc_overlimit, qdisc_congested (the disciplines), qdisc_drop (filters; no
//! tree yet; sent on by actions too often), tc_reclassify_loop (filters), and of `dev_queue_xmit` handoff_full (to the
//! owner). For changes, of `qdisc_run`: queue_purge (another root), qdisc_drop (another discipline below a class),
//! qdisc_overlimit (a lower limit), shutdown.

use arrayvec::ArrayVec;
use skiff_pmd::Pool;

use super::cls::hook::send;
use super::op::{TreeOp, apply_at};
use super::packet::{PktList, SkbSched};
use super::qdisc::{Held, Note, SchedCx, Sink, Xmit};
use super::queue::PktSlab;
use super::run::TxLimit;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::core::trace::{self, Step};
use crate::core::xmit::hand_over;
use crate::net::IfIndex;
use crate::random::Rng;
use crate::skb::{Skb, SkbList};
use crate::time::Instant;

/// Packets, copies among them, that actions may send elsewhere out of one burst; those beyond are dropped.
const MOST_REDIRECTED: usize = 2 * SkbList::CAPACITY;

/// A device's tree.
#[derive(Debug)]
pub struct Tree {
    pub(super) dev: IfIndex,
    pub(super) root: Box<SkbSched>,
    /// When there may be something to send.
    pub(super) wake: Option<Instant>,
    /// Packets that have left the root and that the driver did not take.
    pub(super) stash: SkbList,
    pub(super) limit: TxLimit,
}

/// The trees of one lcore.
#[derive(Debug)]
pub struct SchedTable {
    pub(super) trees: Vec<Tree>,
    pub(super) queues: Queues,
    /// The earliest moment a tree may have something to send.
    pub(super) wake: Option<Instant>,
}

/// What all trees of an lcore share.
#[derive(Debug)]
pub(super) struct Queues {
    slab: PktSlab<Skb>,
    rng: Rng,
    redirected: ArrayVec<Redirected, MOST_REDIRECTED>,
    /// Where copies come from. Its packets are as many as the places the slab gets with the first tree.
    pool: Pool,
}

#[derive(Debug)]
struct Redirected {
    skb: Skb,
    dev: IfIndex,
    ingress: bool,
}

impl SchedTable {
    /// Without trees yet; as many packets may wait in all of them as `pool` has, where copies come from.
    pub fn new(pool: Pool, seed: u64) -> Self {
        let queues = Queues { slab: PktSlab::new(0), rng: Rng::new(seed), redirected: ArrayVec::new(), pool };
        SchedTable { trees: Vec::new(), queues, wake: None }
    }

    /// Packets that wait in the trees.
    pub fn held(&self) -> usize {
        self.trees.iter().map(|tree| tree.root.held().packets as usize + tree.stash.len()).sum()
    }

    /// When there may be something to send; `None` without packets.
    #[inline]
    pub fn wake(&self) -> Option<Instant> {
        self.wake
    }

    /// There may be something to send when the first of the trees says so.
    pub(super) fn wake_with_the_first(&mut self) {
        self.wake = self.trees.iter().filter_map(|tree| tree.wake).min();
    }

    fn tree(&mut self, dev: IfIndex) -> Option<(&mut Tree, &mut Queues)> {
        let tree = self.trees.iter_mut().find(|tree| tree.dev == dev)?;
        Some((tree, &mut self.queues))
    }
}

impl Queues {
    /// Runs `work` with a context for the disciplines; what that says of when to come again.
    pub(super) fn with<T>(
        &mut self,
        env: &Env<'_>,
        node: Node,
        work: impl FnOnce(&mut SchedCx<'_, Skb>) -> T,
    ) -> (T, Option<Instant>) {
        let mut sink = EnvSink { env, node, redirected: &mut self.redirected, pool: &self.pool };
        let mut cx = SchedCx::new(env.now, &mut self.slab, &mut self.rng, &mut sink);
        let done = work(&mut cx);
        let wake = cx.wake();
        (done, wake)
    }
}

/// Frees packets for all to see.
struct EnvSink<'a, 'e> {
    env: &'a Env<'e>,
    node: Node,
    redirected: &'a mut ArrayVec<Redirected, MOST_REDIRECTED>,
    pool: &'a Pool,
}

impl Sink<Skb> for EnvSink<'_, '_> {
    fn drop(&mut self, skb: Skb, reason: DropReason) {
        self.env.kfree_skb(skb, self.node, reason);
    }

    fn redirect(&mut self, skb: Skb, dev: IfIndex, ingress: bool) {
        if let Err(full) = self.redirected.try_push(Redirected { skb, dev, ingress }) {
            self.env.kfree_skb(full.element().skb, self.node, DropReason::QdiscDrop);
        }
    }

    fn copy(&mut self, skb: &Skb) -> Option<Skb> {
        let copy = self.pool.copy(skb)?;
        self.env.cells.created.add(1);
        self.env.trace(&copy, || Step::Copied);
        Some(copy)
    }

    fn note(&mut self, skb: &Skb, note: Note) {
        self.env.trace(skb, || match note {
            Note::Filter(pref, protocol, handle, class) => Step::Filter { pref, protocol, handle, class },
            Note::Class(class) => Step::Class { class },
        });
    }
}

/// Packets for a device with a tree, whose owner is `owner`. Leaves the list empty.
#[inline(never)]
pub fn qdisc_enqueue(env: &Env<'_>, hands: &mut Hands, dev: IfIndex, owner: u16, list: &mut SkbList) {
    if usize::from(owner) != hands.lcore() {
        return hand_over(env, hands, owner, list);
    }
    let (started, count) = (env.stage_start(), list.len() as u64);
    let Some((tree, queues)) = hands.sched.tree(dev) else {
        // Its first change is still on the way.
        return env.kfree_skb_list(list, Node::QdiscEnqueue, DropReason::QdiscDrop);
    };
    let mut packets: PktList<Skb> = list.drain().collect();
    let ((), _) = queues.with(env, Node::QdiscEnqueue, |cx| match env.snap.hooks.tracing() {
        true => enqueue_watched(env, cx, dev, &mut *tree.root, &mut packets),
        false => tree.root.enqueue_list(cx, &mut packets),
    });
    tree.wake = Some(env.now);
    hands.sched.wake = Some(env.now);
    if !hands.sched.queues.redirected.is_empty() {
        send_redirected(env, hands);
    }
    env.stage_end(Node::QdiscEnqueue, count, started);
}

/// One packet after the other, and what becomes of those that are traced.
#[cold]
#[inline(never)]
fn enqueue_watched(
    env: &Env<'_>,
    cx: &mut SchedCx<'_, Skb>,
    dev: IfIndex,
    root: &mut SkbSched,
    packets: &mut PktList<Skb>,
) {
    for skb in packets.drain(..) {
        let mark = trace::mark_of(&skb);
        cx.watch(mark.is_some());
        let done = root.enqueue(cx, skb);
        let Held { packets, bytes } = root.held();
        let taken = mark.filter(|_| done.code == Xmit::Success);
        trace::note_gone(env, taken, Step::Enqueued { dev, packets, bytes });
    }
    cx.watch(false);
}

/// Sends what actions have taken out of a tree. They may lead into trees again, but not for ever.
#[cold]
fn send_redirected(env: &Env<'_>, hands: &mut Hands) {
    for Redirected { skb, dev, ingress } in std::mem::take(&mut hands.sched.queues.redirected) {
        send(env, hands, skb, dev, ingress, Node::QdiscEnqueue);
    }
}

/// Carries out changes of a device's tree, in order.
pub fn change_tree(env: &Env<'_>, hands: &mut Hands, dev: IfIndex, ops: Vec<TreeOp<Skb>>) {
    for op in ops {
        match op {
            TreeOp::Root(root) => set_root(env, hands, dev, root),
            TreeOp::At(path, op) => {
                if let Some((tree, queues)) = hands.sched.tree(dev) {
                    let (_, _): (Held, _) =
                        queues.with(env, Node::QdiscRun, |cx| apply_at(&mut *tree.root, cx, &path, op));
                }
            }
        }
    }
    // What may go and when is another question now.
    if let Some((tree, _)) = hands.sched.tree(dev) {
        tree.wake = Some(env.now);
    }
    hands.sched.wake_with_the_first();
}

fn set_root(env: &Env<'_>, hands: &mut Hands, dev: IfIndex, root: Option<Box<SkbSched>>) {
    let sched = &mut hands.sched;
    if let Some(at) = sched.trees.iter().position(|tree| tree.dev == dev) {
        let mut old = sched.trees.swap_remove(at);
        reset(env, &mut sched.queues, &mut old, DropReason::QueuePurge);
    }
    let Some(root) = root else { return };
    if sched.trees.is_empty() && sched.queues.slab.is_full() {
        sched.queues.slab = PktSlab::new(sched.queues.pool.capacity() as usize);
    }
    let limit = TxLimit::default();
    sched.trees.push(Tree { dev, root, wake: None, stash: SkbList::new(), limit });
}

/// Frees what a tree holds.
#[cold]
pub(super) fn reset(env: &Env<'_>, queues: &mut Queues, tree: &mut Tree, reason: DropReason) {
    let ((), _) = queues.with(env, Node::QdiscRun, |cx| tree.root.reset(cx, reason));
    env.kfree_skb_list(&mut tree.stash, Node::QdiscRun, reason);
    tree.wake = None;
}

/// Frees what all trees hold: the router stops.
pub fn purge(env: &Env<'_>, hands: &mut Hands) {
    let SchedTable { trees, queues, .. } = &mut hands.sched;
    for tree in trees {
        reset(env, queues, tree, DropReason::Shutdown);
    }
}
