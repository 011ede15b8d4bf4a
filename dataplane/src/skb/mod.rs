//! The skb: an sk_buff laid over a DPDK mbuf.
//!
//! The mbuf carries the bytes; what the kernel keeps in `struct sk_buff` beside them lives in [`SkbFields`], which
//! sits in the mbuf's own dynamic-field area, so it shares the cache lines the driver has just touched. Data starts
//! at the Ethernet header for the whole journey; `network_offset` says where the IP header begins.

pub mod checksum;
pub mod eth;
pub mod head;
pub mod icmp;
pub mod ipv4;
pub mod udp;
pub mod vlan;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use head::FrameHead;

pub use skiff_pmd::{Burst as SkbList, Pkt as Skb};

/// Who the frame was for, by its destination MAC (the kernel's `skb->pkt_type`).
pub mod pkt_type {
    /// For this device.
    pub const HOST: u8 = 0;
    /// For everybody.
    pub const BROADCAST: u8 = 1;
    /// For a group.
    pub const MULTICAST: u8 = 2;
    /// For another station.
    pub const OTHERHOST: u8 = 3;
}

/// Bits of [`SkbFields::flags`].
pub mod flags {
    /// Its journey is reported ([`crate::core::trace`]).
    pub const TRACED: u8 = 1 << 0;
    /// The router made this packet.
    pub const LOCAL_OUT: u8 = 1 << 1;
    /// Arrived as a link-layer broadcast or multicast, or its route is one: ICMP stays silent about it.
    pub const NO_ICMP: u8 = 1 << 2;
    /// Put together from fragments: never of the plain shape, so that the stages look at
    /// [`SkbFields::frag_max_size`](super::SkbFields::frag_max_size).
    pub const REASSEMBLED: u8 = 1 << 4;
    /// A rule marked it: the rules it meets are reported.
    pub const NF_TRACE: u8 = 1 << 3;
    /// The last entry of its record route is ours, to be written again on the way out.
    pub const RR_OURS: u8 = 1 << 5;
    /// The same for its timestamp option.
    pub const TS_OURS: u8 = 1 << 6;
    /// It goes where the next entry of its source route says.
    pub const SRR_HIT: u8 = 1 << 7;
}

/// The hot per-packet fields. 28 bytes: what the mbuf's dynamic-field area has room for beside a driver's timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SkbFields {
    /// Device the packet came in by (0 for our own).
    pub iif: u16,
    /// Device the packet leaves by.
    pub oif: u16,
    /// Next hop, the result of the route lookup (the kernel's `dst`).
    pub next_hop: u32,
    /// Address to resolve on `oif`: the gateway, or the destination itself on a connected network. Host byte order.
    pub gateway: u32,
    /// Firewall mark.
    pub mark: u32,
    /// Queueing priority.
    pub priority: u32,
    /// Where the IP header begins in the packet data.
    pub network_offset: u8,
    /// Length of the IP header.
    pub ip_hdr_len: u8,
    /// See [`pkt_type`].
    pub pkt_type: u8,
    /// See [`flags`].
    pub flags: u8,
    /// MTU of the route.
    pub mtu: u16,
    /// Length of the largest fragment this packet was put together from, header included (kernel `IPCB`); 0 if it
    /// was not.
    pub frag_max_size: u16,
}

impl SkbFields {
    /// True once `ip_rcv` has found a packet of the plain shape: for this device, an IP header without options right
    /// behind an untagged Ethernet header, and nothing noted about it.
    #[inline]
    pub fn is_plain(&self) -> bool {
        // The four bytes are neighbours, so this is one comparison.
        [self.network_offset, self.ip_hdr_len, self.pkt_type, self.flags]
            == [eth::HEADER_LEN as u8, ipv4::MIN_HEADER_LEN as u8, pkt_type::HOST, 0]
    }
}

/// Typed access to what skiff keeps beside the bytes of a packet.
pub trait SkbExt {
    /// The hot fields.
    fn fields(&self) -> &SkbFields;
    /// The hot fields, to change.
    fn fields_mut(&mut self) -> &mut SkbFields;
    /// The bytes of the first segment from the IP header on. Empty if the header offset is past its end.
    fn network(&self) -> &[u8];
    /// The bytes of the first segment from the IP header on, to change.
    fn network_mut(&mut self) -> &mut [u8];
    /// The first bytes of the first segment as an Ethernet and an IPv4 header; `None` if there are fewer. They are what
    /// they seem only in a packet of the plain shape, see [`SkbFields::is_plain`].
    fn head(&self) -> Option<&FrameHead>;
    /// The same, to change.
    fn head_mut(&mut self) -> Option<&mut FrameHead>;
    /// Length of the packet from the IP header to its end, over all segments.
    fn network_len(&self) -> usize;
}

impl SkbExt for Skb {
    #[inline]
    fn fields(&self) -> &SkbFields {
        self.meta::<SkbFields>()
    }

    #[inline]
    fn fields_mut(&mut self) -> &mut SkbFields {
        self.meta_mut::<SkbFields>()
    }

    #[inline]
    fn network(&self) -> &[u8] {
        self.data().get(self.fields().network_offset as usize..).unwrap_or(&[])
    }

    #[inline]
    fn network_mut(&mut self) -> &mut [u8] {
        let offset = self.fields().network_offset as usize;
        self.data_mut().get_mut(offset..).unwrap_or(&mut [])
    }

    #[inline]
    fn head(&self) -> Option<&FrameHead> {
        FrameHead::ref_from_prefix(self.data()).ok().map(|(head, _)| head)
    }

    #[inline]
    fn head_mut(&mut self) -> Option<&mut FrameHead> {
        FrameHead::mut_from_prefix(self.data_mut()).ok().map(|(head, _)| head)
    }

    #[inline]
    fn network_len(&self) -> usize {
        self.len().saturating_sub(self.fields().network_offset as usize)
    }
}
