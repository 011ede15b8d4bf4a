//! What disciplines know of a packet.

use crate::device::vlan::VlanProto;
use crate::skb::eth::{ETH_P_IP, ETH_P_IPV6};
use crate::skb::vlan::{TAG_OFFSET, VLAN_HLEN};
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
        set_ce(self.data_mut())
    }
}

/// RFC 3168 section 5: the two low bits of the traffic class; 00 is not ECN-capable, 11 is CE.
const CE: u8 = 0b11;
/// Most tags that are looked behind (kernel `VLAN_MAX_DEPTH`).
const MOST_TAGS: usize = 8;

/// Finds the IP header from the front: the packet's own note of where it is dates from before a VLAN device put a tag in.
fn set_ce(frame: &mut [u8]) -> bool {
    for at in (TAG_OFFSET..).step_by(VLAN_HLEN).take(MOST_TAGS + 1) {
        let Some((ethertype, packet)) = frame.get_mut(at..).and_then(<[u8]>::split_first_chunk_mut) else {
            return false;
        };
        match u16::from_be_bytes(*ethertype) {
            ETH_P_IP => return set_ce_ipv4(packet),
            ETH_P_IPV6 => return set_ce_ipv6(packet),
            tpid if VlanProto::from_tpid(tpid).is_some() => {}
            _ => return false,
        }
    }
    false
}

fn set_ce_ipv4(packet: &mut [u8]) -> bool {
    let Some(header) = packet.first_chunk_mut::<20>() else { return false };
    match header[1] & CE {
        0 => return false,
        CE => return true,
        _ => {}
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::skb::ipv4;

    /// A frame with these tags, this EtherType and these bytes.
    fn frame(tags: &[u16], ethertype: u16, packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; TAG_OFFSET];
        for &tpid in tags {
            frame.extend([tpid.to_be_bytes(), [0x20, 0x64]].concat());
        }
        frame.extend(ethertype.to_be_bytes());
        frame.extend(packet);
        frame
    }

    /// An IPv4 header and some payload.
    fn ip(tos: u8, id: u16) -> Vec<u8> {
        let mut packet = vec![0x45, tos, 0, 32, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 1, 0, 2];
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        ipv4::set_check(&mut packet);
        packet.extend([7; 12]);
        packet
    }

    /// What set_ce says, and the bytes after it.
    fn marked(frame: &[u8]) -> (bool, Vec<u8>) {
        let mut marked = frame.to_vec();
        (set_ce(&mut marked), marked)
    }

    proptest! {
        #[test]
        fn ipv4_changes_by_two_bits_and_the_checksum(tos: u8, id: u16, tags in 0usize..3) {
            let tags = &[0x88a8, 0x8100][..tags];
            let before = frame(tags, ETH_P_IP, &ip(tos, id));
            let capable = tos & CE != 0;
            // As if it had been sent like that.
            let expected = frame(tags, ETH_P_IP, &ip(if capable { tos | CE } else { tos }, id));
            let (said, after) = marked(&before);
            prop_assert_eq!(said, capable);
            let header = TAG_OFFSET + 2 + VLAN_HLEN * tags.len();
            prop_assert!(checksum::ipv4_header_20_ok(after[header..].first_chunk().unwrap()));
            prop_assert_eq!(after, expected);
        }

        #[test]
        fn ipv6_changes_by_two_bits(class: u8, flow in 0u32..1 << 20, tags in 0usize..3) {
            let packet = |class: u8| {
                let mut packet = (6u32 << 28 | u32::from(class) << 20 | flow).to_be_bytes().to_vec();
                packet.extend([9; 36]);
                frame(&[0x8100, 0x8100][..tags], ETH_P_IPV6, &packet)
            };
            let capable = class & CE != 0;
            let expected = packet(if capable { class | CE } else { class });
            prop_assert_eq!(marked(&packet(class)), (capable, expected));
        }

        #[test]
        fn what_is_not_ip_or_too_short_stays(bytes in prop::collection::vec(any::<u8>(), 0..64), cut in 0usize..80) {
            let arp = frame(&[0x8100], 0x0806, &bytes);
            prop_assert_eq!(marked(&arp), (false, arp));
            for (ethertype, need) in [(ETH_P_IP, 20), (ETH_P_IPV6, 40)] {
                let whole = frame(&[], ethertype, &[[0x6f; 64].as_slice(), &bytes].concat());
                let short = &whole[..cut.min(TAG_OFFSET + 2 + need - 1)];
                prop_assert_eq!(marked(short), (false, short.to_vec()));
            }
        }
    }

    #[test]
    fn a_mark_that_is_there_changes_nothing() {
        // Also not the form of a checksum whose two zeros mean the same.
        for check in [0, 0xffff] {
            let mut packet = ip(CE, 0);
            packet[10..12].copy_from_slice(&u16::to_be_bytes(check));
            let before = frame(&[], ETH_P_IP, &packet);
            assert_eq!(marked(&before), (true, before));
        }
    }

    #[test]
    fn looks_behind_eight_tags() {
        for (tags, said) in [(8, true), (9, false)] {
            assert_eq!(marked(&frame(&[0x8100; 9][..tags], ETH_P_IP, &ip(1, 1))).0, said);
        }
    }
}
