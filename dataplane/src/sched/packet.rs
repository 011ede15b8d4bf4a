//! What disciplines know of a packet.

use crate::skb::eth::{ETH_P_IP, ETH_P_IPV6};
use crate::skb::{Skb, SkbExt, checksum};

/// A packet as a discipline sees it. Tests use plain values.
pub trait SchedPkt: Send + 'static {
    /// Length in bytes as disciplines count it: the frame from its Ethernet header on, without checksum, preamble and
    /// gap, and without a tag that the driver will put in.
    fn qdisc_len(&self) -> u32;

    /// The priority (kernel `skb->priority`); a class or a discipline if it is the handle of one.
    fn priority(&self) -> u32;

    /// Tells the receiver about congestion (RFC 3168): sets CE in an IPv4 or IPv6 packet whose transport knows ECN, and
    /// mends the IPv4 checksum. False, and nothing changed, if it cannot.
    fn set_ce(&mut self) -> bool;

    /// Starts to bring closer what is read of a packet first.
    #[inline]
    fn prefetch(&self) {}
}

/// Packets on their way into or out of a discipline.
pub type PktList<P> = arrayvec::ArrayVec<P, { crate::skb::SkbList::CAPACITY }>;

/// What the tree of a device works on.
pub type SkbSched = dyn super::qdisc::Qdisc<Skb>;

impl SchedPkt for Skb {
    #[inline]
    fn qdisc_len(&self) -> u32 {
        self.len() as u32
    }

    #[inline]
    fn priority(&self) -> u32 {
        self.fields().priority
    }

    #[inline]
    fn prefetch(&self) {
        Skb::prefetch(self);
    }

    fn set_ce(&mut self) -> bool {
        let at = usize::from(self.fields().network_offset);
        let ethertype = at.checked_sub(2).and_then(|at| self.data().get(at..)).and_then(<[u8]>::first_chunk);
        match ethertype.copied().map(u16::from_be_bytes) {
            Some(ETH_P_IP) => set_ce_ipv4(self.network_mut()),
            Some(ETH_P_IPV6) => set_ce_ipv6(self.network_mut()),
            _ => false,
        }
    }
}

/// RFC 3168 section 5: the two low bits of the traffic class; 00 is not ECN-capable, 11 is CE.
const CE: u8 = 0b11;

fn set_ce_ipv4(packet: &mut [u8]) -> bool {
    let Some(header) = packet.first_chunk_mut::<20>() else { return false };
    if header[1] & CE == 0 {
        return false;
    }
    let old = u16::from_be_bytes([header[0], header[1]]);
    header[1] |= CE;
    let new = u16::from_be_bytes([header[0], header[1]]);
    let sum = checksum::update16(u16::from_be_bytes([header[10], header[11]]), old, new);
    [header[10], header[11]] = sum.to_be_bytes();
    true
}

fn set_ce_ipv6(packet: &mut [u8]) -> bool {
    let Some(header) = packet.first_chunk_mut::<40>() else { return false };
    let ecn = header[1] >> 4 & CE;
    header[1] |= if ecn == 0 { 0 } else { CE << 4 };
    ecn != 0
}
