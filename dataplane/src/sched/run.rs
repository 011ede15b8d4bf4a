//! `qdisc_run`: from the trees to the drivers.
//!
//! Uses:  oif.   Sets: nothing.
//! Next:  hook L2_DEQUEUE, `hard_start_xmit`; for devices on devices, the one below.
//! Drops: queue_purge (the device is down).
//!
//! What the driver does not take stays in a stash of one burst and goes first the next time: it is not charged again.
//! Little may sit in the driver's ring, where no discipline can reach it: [`TxLimit`].

use std::time::Duration;

use super::packet::PktList;
use super::tree::{SchedTable, reset};
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::core::trace::Step;
use crate::core::xmit::{TxTable, can_send, xmit_lower};
use crate::device::NetDevice;
use crate::netfilter::hooks::{Hook, nf_hook_device};
use crate::skb::SkbList;
use crate::time::Instant;

/// Packets a tree sends in one round of the lcore.
const QUOTA: usize = 64;
/// Rounds through trees that lead into trees.
const PASSES: usize = 4;

/// How many packets may sit in a driver's ring (in the manner of the kernel's dynamic queue limits): twice as many
/// whenever the ring ran empty though packets waited, a little less each second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxLimit {
    limit: u16,
    since: Instant,
}

impl TxLimit {
    /// Two bursts.
    const LEAST: u16 = 64;
    const SHRINK_AFTER: Duration = Duration::from_secs(1);

    /// The limit now.
    #[inline]
    pub fn limit(&self) -> u16 {
        self.limit
    }

    /// Learns from a visit at which packets waited: whether the ring, of `size` descriptors, had run empty.
    #[inline]
    pub fn visited(&mut self, now: Instant, empty: bool, size: u16) {
        if empty {
            self.limit = self.limit.saturating_mul(2).min(size.max(Self::LEAST));
            self.since = now;
        } else if now.since(self.since) >= Self::SHRINK_AFTER {
            self.limit = (self.limit - self.limit / 8).max(Self::LEAST);
            self.since = now;
        }
    }
}

impl Default for TxLimit {
    fn default() -> Self {
        TxLimit { limit: Self::LEAST, since: Instant::ZERO }
    }
}

/// Sends what may go now. Called in each round in which the time of [`SchedTable::wake`] has come. Returns how many
/// packets moved.
#[inline(never)]
pub fn qdisc_run_all(env: &Env<'_>, hands: &mut Hands) -> usize {
    let started = env.stage_start();
    let mut moved = 0;
    for _ in 0..PASSES {
        hands.sched.wake = None;
        let mut sent = 0;
        for at in 0..hands.sched.trees.len() {
            if hands.sched.trees.get(at).is_some_and(|tree| tree.wake.is_some_and(|wake| wake <= env.now)) {
                sent += qdisc_run(env, hands, at);
            }
        }
        moved += sent;
        // Devices below may have trees of their own, visited before.
        let again = hands.sched.trees.iter().any(|tree| tree.wake.is_some_and(|wake| wake <= env.now));
        if sent == 0 || !again {
            break;
        }
    }
    hands.sched.wake_with_the_first();
    env.stage_end(Node::QdiscRun, moved as u64, started);
    moved
}

/// Sends from one tree. Returns how many packets moved.
fn qdisc_run(env: &Env<'_>, hands: &mut Hands, at: usize) -> usize {
    let Some(oif) = hands.sched.trees.get(at).map(|tree| tree.dev) else { return 0 };
    let dev = env.snap.device(oif);
    let mut moved = 0;
    let wake = loop {
        if !can_send(dev) {
            let SchedTable { trees, queues, .. } = &mut hands.sched;
            reset(env, queues, &mut trees[at], DropReason::QueuePurge);
            break None;
        }
        let (mut list, wake) = next_burst(env, hands, at, dev, QUOTA - moved);
        let offered = list.len();
        if offered == 0 {
            break wake;
        }
        xmit_lower(env, hands, dev, &mut list);
        moved += offered - list.len();
        if !list.is_empty() || moved >= QUOTA {
            let Some(tree) = hands.sched.trees.get_mut(at) else { break None };
            tree.root.cells().requeues.add(list.len() as u64);
            tree.stash = list;
            break Some(env.now);
        }
    };
    if let Some(tree) = hands.sched.trees.get_mut(at) {
        tree.wake = wake;
    }
    moved
}

/// What the driver left the last time, or else what the root lets go now; nothing, and when to come again.
fn next_burst(
    env: &Env<'_>,
    hands: &mut Hands,
    at: usize,
    dev: &NetDevice,
    quota: usize,
) -> (SkbList, Option<Instant>) {
    let SchedTable { trees, queues, .. } = &mut hands.sched;
    let Some(tree) = trees.get_mut(at) else { return (SkbList::new(), None) };
    if !tree.stash.is_empty() {
        return (std::mem::take(&mut tree.stash), None);
    }
    if ring_is_full(env, &mut hands.tx, dev, &mut tree.limit) {
        return (SkbList::new(), Some(env.now));
    }
    let mut packets = PktList::new();
    let ((), wake) = queues.with(env, Node::QdiscRun, |cx| {
        tree.root.dequeue_list(cx, quota.min(SkbList::CAPACITY), &mut packets);
    });
    let mut list = SkbList::new();
    for skb in packets {
        // As many as a burst holds.
        let _ = list.push(skb);
    }
    if env.snap.hooks.watched(Hook::L2Dequeue) {
        env.trace_list(&list, |_| Step::Dequeued { dev: dev.ifindex });
        nf_hook_device(env, hands, Hook::L2Dequeue, dev, &mut list);
    }
    (list, wake)
}

/// The driver's ring has all that may sit in it. Where the driver does not tell, its ring itself is the limit.
#[inline]
fn ring_is_full(env: &Env<'_>, tx: &mut TxTable, dev: &NetDevice, limit: &mut TxLimit) -> bool {
    let Some(queue) = tx.queue_of(dev) else { return false };
    let Some(full) = queue.holds_more_than(limit.limit()) else { return false };
    if full {
        return true;
    }
    let empty = queue.holds_more_than(0) == Some(false);
    limit.visited(env.now, empty, queue.size());
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_runs_empty_gets_more_and_loses_it_again() {
        let mut limit = TxLimit::default();
        let at = |ms| Instant::from_millis(ms);
        limit.visited(at(0), false, 512);
        assert_eq!(limit.limit(), 64);
        for want in [128, 256, 512, 512] {
            limit.visited(at(1), true, 512);
            assert_eq!(limit.limit(), want);
        }
        limit.visited(at(1000), false, 512);
        assert_eq!(limit.limit(), 512);
        limit.visited(at(1001), false, 512);
        assert_eq!(limit.limit(), 448);
        (2..60).for_each(|s| limit.visited(at(s * 1001), false, 512));
        assert_eq!(limit.limit(), 64);
    }
}
