//! The packets that wait for one neighbour.

use std::collections::VecDeque;

use super::Action;
use crate::skb::Skb;

/// The memory a packet really takes, buffer and overhead, in bytes (kernel: `skb->truesize`).
pub trait TrueSize {
    /// Bytes counted against `unres_qlen_bytes`.
    fn truesize(&self) -> usize;
}

impl TrueSize for Skb {
    /// What the kernel would count for a packet of this length: data with headroom in whole cache lines, the
    /// `sk_buff` and the shared info. (The mbuf is larger and of one size; the operator's limit is in kernel bytes.)
    fn truesize(&self) -> usize {
        const HEADROOM: usize = 64;
        const SK_BUFF: usize = 256;
        const SHARED_INFO: usize = 320;
        (self.len() + HEADROOM).next_multiple_of(64) + SK_BUFF + SHARED_INFO
    }
}

/// A queue bounded in bytes that gives up its oldest packets first.
#[derive(Debug)]
pub(super) struct Waiting<P> {
    packets: VecDeque<P>,
    bytes: usize,
}

impl<P> Default for Waiting<P> {
    fn default() -> Self {
        Waiting { packets: VecDeque::new(), bytes: 0 }
    }
}

impl<P: TrueSize> Waiting<P> {
    /// Adds a packet, pushing out as many of the oldest as it needs. One that is larger than the limit alone
    /// is kept, alone, as the kernel does. Returns how many were pushed out.
    pub(super) fn push(&mut self, packet: P, limit: usize, out: &mut Vec<Action<P>>) -> u64 {
        let mut pushed_out = 0;
        while self.bytes.saturating_add(packet.truesize()) > limit
            && let Some(oldest) = self.packets.pop_front()
        {
            self.bytes -= oldest.truesize();
            out.push(Action::QueueFull { packet: oldest });
            pushed_out += 1;
        }
        self.bytes += packet.truesize();
        self.packets.push_back(packet);
        pushed_out
    }

    /// Everything, oldest first; the queue is empty afterwards.
    pub(super) fn take(&mut self) -> Vec<P> {
        self.bytes = 0;
        std::mem::take(&mut self.packets).into()
    }
}

impl<P> Waiting<P> {
    /// Packets waiting.
    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }
}
