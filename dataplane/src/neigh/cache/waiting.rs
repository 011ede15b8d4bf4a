//! The packets that wait for one neighbour.

use std::collections::VecDeque;

use super::Action;
use crate::skb::ipv4::Ipv4Header;
use crate::skb::{Skb, SkbExt};

/// The memory a packet really takes, buffer and overhead, in bytes (kernel: `skb->truesize`).
pub trait TrueSize {
    /// Bytes counted against `unres_qlen_bytes`.
    fn truesize(&self) -> usize;

    /// The IPv4 address it comes from, host byte order, which a request sent for it may carry (`arp_announce`).
    fn source(&self) -> Option<u32> {
        None
    }
}

impl TrueSize for Skb {
    /// What the kernel would count for a packet of this length. (The mbuf is larger and of one size; the operator's
    /// limit is in kernel bytes.)
    fn truesize(&self) -> usize {
        truesize_of(self.len())
    }

    fn source(&self) -> Option<u32> {
        Ipv4Header::parse(self.network()).map(|header| header.src())
    }
}

/// The `sk_buff`, and the allocation that holds headroom, frame and shared info: the small one that the kernel keeps
/// ready, or the next power of two.
fn truesize_of(frame_len: usize) -> usize {
    const SK_BUFF: usize = 256;
    const HEADROOM: usize = 16;
    const SHARED_INFO: usize = 320;
    const SMALL_HEAD: usize = 576;
    let head = (frame_len + HEADROOM).next_multiple_of(64) + SHARED_INFO;
    SK_BUFF + if head <= SMALL_HEAD { SMALL_HEAD } else { head.next_power_of_two() }
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

    /// Where the newest packet comes from.
    pub(super) fn source(&self) -> Option<u32> {
        self.packets.back().and_then(P::source)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames that fit in the default 212992 bytes on a 6.18 kernel: 256 of 60 bytes, 166 of 442, 92 of 1442.
    #[test]
    fn true_sizes_are_the_kernels() {
        for (frame, fit) in [(60, 256), (442, 166), (1442, 92)] {
            assert_eq!(212_992 / truesize_of(frame), fit, "{frame}");
        }
    }
}
