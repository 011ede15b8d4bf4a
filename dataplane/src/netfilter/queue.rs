//! QUEUE: packets wait for the verdict of a listener in user space.
//!
//! An lcore asks whether the queue has a listener and room, and hands the packet straight to the thread that serves
//! the listeners ([`Shared::send_to_listeners`](crate::core::shared::Shared::send_to_listeners)); the verdict brings
//! the packet back to the lcore it left ([`nf_reinject`]), where it goes on at the function after the one that queued
//! it. What a listener may change of a packet is in [`super::mangle`].
//!
//! Without a listener a packet is dropped, or goes on where the rule said bypass. With a full queue it is dropped and
//! counted, or goes on where the listener asked for fail-open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::hooks::{Fate, Hook, Resume, nf_resume, node_of};
use crate::core::counters::LcoreCells;
use crate::core::dev;
use crate::core::drop_reason::DropReason;
use crate::core::env::{Env, Hands};
use crate::core::trace::Step;
use crate::core::xmit;
use crate::ipv4::{ip_forward, ip_local_deliver, ip_output, route};
use crate::net::IfIndex;
use crate::skb::{Skb, SkbExt, SkbList};
use crate::time::Instant;

/// Packets that may wait for a listener unless it says otherwise (the kernel's `NFQNL_QMAX_DEFAULT`).
pub const DEFAULT_MAXLEN: u32 = 1024;

/// A queue with a listener.
#[derive(Debug)]
pub struct NfQueue {
    /// Its number.
    pub num: u16,
    /// Process of the listener (`peer_portid`).
    pub peer: AtomicU32,
    /// How much of each packet the listener gets (`NFQNL_COPY_*`).
    pub copy_mode: AtomicU8,
    /// Bytes of payload it gets at most.
    pub copy_range: AtomicU32,
    /// Packets that may wait.
    pub maxlen: AtomicU32,
    /// Let packets go on when it is full.
    pub fail_open: AtomicBool,
    /// Packets waiting now.
    pub waiting: AtomicU32,
    /// Packets numbered for the listener so far (`id_sequence`).
    pub queued: AtomicU64,
    /// Packets lost because it was full (`queue_dropped`).
    pub dropped: AtomicU64,
    /// Packets the listener could not be given (`user_dropped`).
    pub user_dropped: AtomicU64,
    /// Packets that went on because it was full.
    pub failed_open: AtomicU64,
}

impl NfQueue {
    /// An empty queue.
    pub fn new(num: u16) -> NfQueue {
        NfQueue {
            num,
            peer: AtomicU32::new(0),
            copy_mode: AtomicU8::new(0),
            copy_range: AtomicU32::new(0),
            maxlen: AtomicU32::new(DEFAULT_MAXLEN),
            fail_open: AtomicBool::new(false),
            waiting: AtomicU32::new(0),
            queued: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            user_dropped: AtomicU64::new(0),
            failed_open: AtomicU64::new(0),
        }
    }

    /// Takes a place in the queue; false if there is none.
    fn enter(&self) -> bool {
        let room = |n: u32| (n < self.maxlen.load(Ordering::Relaxed)).then_some(n + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }

    /// Gives the place back: the packet has left the queue, by whatever way.
    pub fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A packet on its way to a listener. Whoever takes it out calls [`NfQueue::leave`].
#[derive(Debug)]
pub struct Queued {
    /// The packet.
    pub skb: Skb,
    /// The queue.
    pub queue: Arc<NfQueue>,
    /// The lcore that has to go on with it.
    pub lcore: usize,
    /// Where.
    pub resume: Resume,
    /// When it was queued.
    pub at: Instant,
}

/// A listener's decision.
#[derive(Debug)]
pub struct Reinject {
    /// The packet, which the listener may have changed.
    pub skb: Skb,
    /// Where it left the journey.
    pub resume: Resume,
    /// What it decided.
    pub verdict: QueueVerdict,
}

/// What a listener may decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueVerdict {
    /// Free it.
    Drop,
    /// On to the next function.
    Accept,
    /// The function that queued it sees it again.
    Repeat,
    /// To another queue.
    Queue(u16),
}

/// What became of a packet for a queue.
pub(super) enum Queueing {
    /// It waits.
    Queued,
    /// It goes on.
    Accept(Skb),
    /// It must be dropped.
    Drop(Skb),
}

/// Hands a packet to the listener of queue `num`.
pub(super) fn nf_queue(
    env: &Env<'_>,
    hands: &Hands,
    resume: Resume,
    num: u16,
    bypass: bool,
    skb: Skb,
) -> Queueing {
    let Some(queue) = env.shared.nf_queue(num) else {
        return if bypass { Queueing::Accept(skb) } else { Queueing::Drop(skb) };
    };
    if !queue.enter() {
        return full(&queue, skb);
    }
    let queued = Queued { skb, queue, lcore: hands.lcore(), resume, at: env.now };
    match env.shared.send_to_listeners(queued) {
        Ok(()) => Queueing::Queued,
        Err(Queued { skb, queue, .. }) => {
            queue.leave();
            full(&queue, skb)
        }
    }
}

fn full(queue: &NfQueue, skb: Skb) -> Queueing {
    if queue.fail_open.load(Ordering::Relaxed) {
        queue.failed_open.fetch_add(1, Ordering::Relaxed);
        Queueing::Accept(skb)
    } else {
        queue.dropped.fetch_add(1, Ordering::Relaxed);
        Queueing::Drop(skb)
    }
}

/// Goes on with a packet a listener has decided about, on the lcore it left.
#[cold]
pub fn nf_reinject(env: &Env<'_>, hands: &mut Hands, reinject: Reinject) {
    let Reinject { skb, resume, verdict } = reinject;
    env.trace(&skb, || Step::Reinject { hook: resume.hook, verdict });
    let skb = match verdict {
        QueueVerdict::Accept => nf_resume(env, hands, resume, false, skb),
        QueueVerdict::Repeat => nf_resume(env, hands, resume, true, skb),
        QueueVerdict::Drop => return drop_packet(env, resume.hook, skb),
        QueueVerdict::Queue(num) => match nf_queue(env, hands, resume, num, false, skb) {
            Queueing::Queued => return env.cells.hook(resume.hook, Fate::Queued).add(1),
            Queueing::Accept(skb) => nf_resume(env, hands, resume, false, skb),
            Queueing::Drop(skb) => return drop_packet(env, resume.hook, skb),
        },
    };
    if let Some(skb) = skb {
        okfn(env, hands, resume.hook, skb);
    }
}

fn drop_packet(env: &Env<'_>, hook: Hook, skb: Skb) {
    env.trace(&skb, || Step::Dropped { node: node_of(hook), reason: DropReason::NetfilterDrop });
    env.tap_freed(std::slice::from_ref(&skb), node_of(hook), DropReason::NetfilterDrop);
    nf_queue_drop(env.cells, hook, skb, DropReason::NetfilterDrop);
}

/// Frees a packet that was queued at `hook`; `cells` are the calling thread's.
pub fn nf_queue_drop(cells: &LcoreCells, hook: Hook, skb: Skb, reason: DropReason) {
    cells.hook(hook, Fate::Dropped).add(1);
    cells.count_drop(node_of(hook), reason, 1, skb.len() as u64);
}

/// The stage after a hook (the kernel's `okfn`).
fn okfn(env: &Env<'_>, hands: &mut Hands, hook: Hook, skb: Skb) {
    let dev = env.snap.device(IfIndex(skb.fields().iif));
    let mut list = SkbList::new();
    let _ = list.push(skb);
    match hook {
        Hook::PreRouting => route::ip_list_rcv_finish(env, hands, dev, &mut list),
        Hook::LocalIn => ip_local_deliver::ip_local_deliver_finish(env, hands, dev, &mut list),
        Hook::Forward => ip_forward::ip_forward_finish(env, hands, &mut list),
        Hook::LocalOut => ip_output::ip_output_list(env, hands, &mut list),
        Hook::PostRouting => ip_output::ip_finish_output_list(env, hands, &mut list),
        Hook::L2Input => dev::netif_receive_finish(env, hands, dev, &mut list),
        Hook::L2Enqueue => xmit::dev_queue_list(env, hands, &mut list),
        Hook::L2Dequeue => xmit::xmit_now(env, hands, &mut list),
    }
}
