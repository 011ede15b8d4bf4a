//! csum: computes checksums anew (tc-csum(8)).

use super::{network, touched};
use crate::skb::eth::ETH_P_IP;
use crate::skb::ipv4::{
    self, IP_OFFSET, IPPROTO_ICMP, IPPROTO_IGMP, IPPROTO_TCP, IPPROTO_UDP, Ipv4Header, MIN_HEADER_LEN,
};
use crate::skb::{Skb, checksum};

/// The IPv4 header (`ip4h`).
pub const IP4H: u32 = 1;
/// ICMP.
pub const ICMP: u32 = 2;
/// IGMP.
pub const IGMP: u32 = 4;
/// TCP.
pub const TCP: u32 = 8;
/// UDP.
pub const UDP: u32 = 16;
/// UDP-Lite; accepted, not computed.
pub const UDPLITE: u32 = 32;
/// SCTP; accepted, not computed.
pub const SCTP: u32 = 64;

/// Computes the checksums of an IPv4 packet that are asked for. `None` if its headers are cut short: it is dropped.
pub fn update(skb: &mut Skb, which: u32, ingress: bool) -> Option<()> {
    let at = network(skb, ingress);
    let ethertype = skb.data().get(at.checked_sub(2)?..)?.first_chunk().map(|b| u16::from_be_bytes(*b))?;
    if ethertype != ETH_P_IP {
        return Some(());
    }
    if !skb.pull(at + MIN_HEADER_LEN) {
        return None;
    }
    let header = Ipv4Header::parse(skb.data().get(at..)?)?;
    let (header_len, total) = (header.header_len(), header.total_len());
    if header_len < MIN_HEADER_LEN || total < header_len || skb.len() < at + total {
        return None;
    }
    let (src, dst, protocol, offset) =
        (header.src(), header.dst(), header.protocol(), header.frag_off() & IP_OFFSET);
    let pseudo = checksum::pseudo_header(src, dst, protocol, total - header_len);
    let place = match protocol {
        _ if offset != 0 => None,
        IPPROTO_TCP => Some((TCP, 16, 20, pseudo)),
        IPPROTO_UDP => Some((UDP, 6, 8, pseudo)),
        IPPROTO_ICMP => Some((ICMP, 2, 8, 0)),
        IPPROTO_IGMP => Some((IGMP, 2, 8, 0)),
        _ => None,
    };
    if let Some((bit, field, least, start)) = place
        && which & bit != 0
    {
        if total - header_len < least || !skb.pull(at + header_len + least) {
            return None;
        }
        segment(skb, at + header_len, total - header_len, field, start, protocol)?;
    }
    if which & IP4H != 0 {
        if !skb.pull(at + header_len) {
            return None;
        }
        ipv4::set_check(skb.data_mut().get_mut(at..at + header_len)?);
    }
    touched(skb);
    Some(())
}

/// The checksum of the `len` bytes from `at` on, whose field is at `field` of them.
fn segment(skb: &mut Skb, at: usize, len: usize, field: usize, start: u16, protocol: u8) -> Option<()> {
    let place = skb.data_mut().get_mut(at + field..at + field + 2)?;
    if protocol == IPPROTO_UDP && *place == [0, 0] {
        // Sent without one.
        return Some(());
    }
    place.fill(0);
    let (mut skip, mut left) = (at, len);
    let pieces = skb.segments().map(|piece| {
        let bytes = piece.get(skip..).unwrap_or(&[]);
        skip -= skip.min(piece.len());
        let bytes = &bytes[..bytes.len().min(left)];
        left -= bytes.len();
        bytes
    });
    let sum = checksum::fold(u64::from(start) + u64::from(checksum::sum_segments(pieces)));
    let check = match !sum {
        0 if protocol == IPPROTO_UDP => 0xffff,
        check => check,
    };
    skb.data_mut().get_mut(at + field..at + field + 2)?.copy_from_slice(&check.to_be_bytes());
    Some(())
}
