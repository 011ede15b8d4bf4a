//! The IPv4 header (RFC 791).

use std::net::Ipv4Addr;

use super::checksum;

/// Length of a header without options.
pub const MIN_HEADER_LEN: usize = 20;

/// ICMP.
pub const IPPROTO_ICMP: u8 = 1;
/// IGMP.
pub const IPPROTO_IGMP: u8 = 2;
/// IPv4 in IP.
pub const IPPROTO_IPIP: u8 = 4;
/// TCP.
pub const IPPROTO_TCP: u8 = 6;
/// UDP.
pub const IPPROTO_UDP: u8 = 17;
/// IPv6 in IP.
pub const IPPROTO_IPV6: u8 = 41;
/// DCCP.
pub const IPPROTO_DCCP: u8 = 33;
/// Generic routing encapsulation.
pub const IPPROTO_GRE: u8 = 47;
/// ICMP of IPv6.
pub const IPPROTO_ICMPV6: u8 = 58;
/// Protocol Independent Multicast.
pub const IPPROTO_PIM: u8 = 103;
/// SCTP.
pub const IPPROTO_SCTP: u8 = 132;
/// UDP-Lite.
pub const IPPROTO_UDPLITE: u8 = 136;

/// Don't Fragment, in the flags-and-offset word.
pub const IP_DF: u16 = 0x4000;
/// More Fragments.
pub const IP_MF: u16 = 0x2000;
/// Fragment offset, in units of 8 bytes.
pub const IP_OFFSET: u16 = 0x1fff;

/// A view of the 20 fixed bytes of a header; the caller has checked that they are there.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4Header<'a>(&'a [u8; MIN_HEADER_LEN]);

impl<'a> Ipv4Header<'a> {
    /// The header at the front of `bytes`; `None` if there are fewer than 20.
    /// Version, lengths and checksum are `ip_rcv`'s business, see [`crate::ipv4::ip_input`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(Ipv4Header)
    }

    /// IP version, 4 for a valid header.
    #[inline]
    pub fn version(&self) -> u8 {
        self.0[0] >> 4
    }

    /// Header length in bytes, options included.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.0[0] & 0xf) * 4
    }

    /// Type of service: DSCP and ECN.
    #[inline]
    pub fn tos(&self) -> u8 {
        self.0[1]
    }

    /// Total length of the datagram in bytes.
    #[inline]
    pub fn total_len(&self) -> usize {
        usize::from(u16::from_be_bytes([self.0[2], self.0[3]]))
    }

    /// Identification.
    #[inline]
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// Flags and fragment offset as they stand in the header.
    #[inline]
    pub fn frag_off(&self) -> u16 {
        u16::from_be_bytes([self.0[6], self.0[7]])
    }

    /// True for any piece of a fragmented datagram.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.frag_off() & (IP_MF | IP_OFFSET) != 0
    }

    /// Time to live.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.0[8]
    }

    /// Protocol of the payload.
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.0[9]
    }

    /// Header checksum.
    #[inline]
    pub fn check(&self) -> u16 {
        u16::from_be_bytes([self.0[10], self.0[11]])
    }

    /// Source address, host byte order.
    #[inline]
    pub fn src(&self) -> u32 {
        u32::from_be_bytes([self.0[12], self.0[13], self.0[14], self.0[15]])
    }

    /// Destination address, host byte order.
    #[inline]
    pub fn dst(&self) -> u32 {
        u32::from_be_bytes([self.0[16], self.0[17], self.0[18], self.0[19]])
    }
}

/// What the router puts in the header of a packet of its own.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4Fields {
    /// Type of service.
    pub tos: u8,
    /// Total length in bytes.
    pub total_len: u16,
    /// Identification.
    pub id: u16,
    /// Flags and fragment offset.
    pub frag_off: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol.
    pub protocol: u8,
    /// Source, host byte order.
    pub src: u32,
    /// Destination, host byte order.
    pub dst: u32,
}

/// Writes a header without options, checksum included.
pub fn emit(header: &mut [u8; MIN_HEADER_LEN], f: &Ipv4Fields) {
    header[0] = 0x45;
    header[1] = f.tos;
    header[2..4].copy_from_slice(&f.total_len.to_be_bytes());
    header[4..6].copy_from_slice(&f.id.to_be_bytes());
    header[6..8].copy_from_slice(&f.frag_off.to_be_bytes());
    header[8] = f.ttl;
    header[9] = f.protocol;
    header[10..12].fill(0);
    header[12..16].copy_from_slice(&f.src.to_be_bytes());
    header[16..20].copy_from_slice(&f.dst.to_be_bytes());
    set_check(header);
}

/// Writes a header with these options, whole words that fill it, checksum included.
pub fn emit_with(header: &mut [u8], f: &Ipv4Fields, options: &[u8]) {
    let Some((fixed, rest)) = header.split_first_chunk_mut::<MIN_HEADER_LEN>() else { return };
    emit(fixed, f);
    if options.is_empty() || rest.len() != options.len() {
        return;
    }
    rest.copy_from_slice(options);
    fixed[0] += (options.len() / 4) as u8;
    set_check(header);
}

/// Computes and stores the checksum of a whole header, options included.
pub fn set_check(header: &mut [u8]) {
    if let Some(field) = header.get_mut(10..12) {
        field.fill(0);
    }
    let check = !checksum::sum(header);
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&check.to_be_bytes());
    }
}

/// Takes one hop off the TTL and corrects the checksum, as `ip_decrease_ttl` does (RFC 1141): the TTL is the high byte
/// of its word, so the checksum grows by 0x0100 with end-around carry.
#[inline]
pub fn decrease_ttl(header: &mut [u8; MIN_HEADER_LEN]) {
    let check = u32::from(u16::from_be_bytes([header[10], header[11]])) + 0x0100;
    let check = (check + u32::from(check >= 0xffff)) as u16;
    header[10..12].copy_from_slice(&check.to_be_bytes());
    header[8] = header[8].wrapping_sub(1);
}

/// The multicast block 224.0.0.0/4.
#[inline]
pub const fn is_multicast(addr: u32) -> bool {
    addr >> 28 == 0xe
}

/// The loopback block 127.0.0.0/8.
#[inline]
pub const fn is_loopback(addr: u32) -> bool {
    addr >> 24 == 127
}

/// "This" network, 0.0.0.0/8: sources of hosts that have no address yet.
#[inline]
pub const fn is_zeronet(addr: u32) -> bool {
    addr >> 24 == 0
}

/// Link-local multicast, 224.0.0.0/24, which no router forwards.
#[inline]
pub const fn is_local_multicast(addr: u32) -> bool {
    addr & 0xffff_ff00 == 0xe000_0000
}

/// 224.0.0.1, the group every host is in (RFC 1112 section 4).
pub const ALL_HOSTS: u32 = 0xe000_0001;

/// 255.255.255.255
pub const BROADCAST: u32 = u32::MAX;

/// An address as people write it.
pub const fn addr(a: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_ttl_step_keeps_the_checksum_right(tos: u8, id: u16, ttl in 1u8.., src: u32, dst: u32, len in 20u16..) {
            let mut h = [0u8; 20];
            emit(&mut h, &Ipv4Fields { tos, total_len: len, id, frag_off: IP_DF, ttl, protocol: 17, src, dst });
            prop_assert!(checksum::ipv4_header_20_ok(&h));
            decrease_ttl(&mut h);
            prop_assert!(checksum::ipv4_header_20_ok(&h));
            let view = Ipv4Header::parse(&h).unwrap();
            prop_assert_eq!((view.ttl(), view.src(), view.dst()), (ttl - 1, src, dst));
            prop_assert_eq!((view.tos(), view.id(), view.total_len()), (tos, id, usize::from(len)));
        }
    }
}
