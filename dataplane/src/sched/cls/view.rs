//! What filters see of a packet.

use crate::device::vlan::VlanProto;
use crate::net::IfIndex;
use crate::skb::eth::HEADER_LEN;
use crate::skb::vlan::{self, TAG_OFFSET, Tag, VLAN_HLEN};
use crate::skb::{Skb, SkbExt};

/// How much of a packet in several segments is made contiguous for filters, bytes.
const REACH: usize = 192;
/// Most tags that are looked behind (kernel `VLAN_MAX_DEPTH`).
const MOST_TAGS: usize = 8;

/// A packet before its filters.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The bytes of its first segment, from the Ethernet header on.
    pub data: &'a [u8],
    /// Where the network header begins.
    pub network: usize,
    /// Length as it is charged: the frame on its way out, from the network header on on its way in, as the kernel does.
    pub len: u32,
    /// Bytes from the network header to the end of the packet.
    pub behind: u32,
    /// The EtherType of its first tag if it has one, otherwise its own (kernel `skb_protocol`).
    pub protocol: u16,
    /// Its first tag.
    pub tag: Option<Tag>,
    /// Bytes of the tags that stand in the data before the network header.
    pub tag_bytes: usize,
    /// Firewall mark.
    pub mark: u32,
    /// Queueing priority.
    pub priority: u32,
    /// Where it came in.
    pub iif: IfIndex,
    /// Where it leaves.
    pub oif: IfIndex,
    /// A random number, for `meta(random)`.
    pub random: u32,
}

impl<'a> View<'a> {
    /// A frame by itself: on its way out, nothing known beside the bytes. The network header stands behind all tags.
    pub fn of_frame(data: &'a [u8]) -> View<'a> {
        let mut network = HEADER_LEN;
        while network < HEADER_LEN + MOST_TAGS * VLAN_HLEN
            && VlanProto::from_tpid(ethertype(data, network)).is_some()
        {
            network += VLAN_HLEN;
        }
        let behind = data.len().saturating_sub(network) as u32;
        View {
            data,
            network,
            len: data.len() as u32,
            behind,
            protocol: ethertype(data, HEADER_LEN),
            tag: data
                .get(TAG_OFFSET..)
                .and_then(|d| d.first_chunk())
                .and_then(|b| Tag::from_word(u32::from_be_bytes(*b))),
            tag_bytes: network - HEADER_LEN,
            mark: 0,
            priority: 0,
            iif: IfIndex::NONE,
            oif: IfIndex::NONE,
            random: 0,
        }
    }

    /// A packet on its way in or out.
    #[inline]
    pub fn of_skb(skb: &'a Skb, ingress: bool) -> View<'a> {
        let fields = skb.fields();
        let view = if ingress {
            View::received(skb)
        } else {
            let view = View { len: skb.len() as u32, ..View::of_frame(skb.data()) };
            let behind = skb.len().saturating_sub(view.network) as u32;
            match skb.tx_vlan() {
                // The driver will put it in front of all others.
                Some(tci) => {
                    let tag = Tag { proto: VlanProto::Dot1q, tci };
                    View { tag: Some(tag), protocol: tag.proto.tpid(), behind, ..view }
                }
                None => View { behind, ..view },
            }
        };
        View {
            mark: fields.mark,
            priority: fields.priority,
            iif: IfIndex(fields.iif),
            oif: IfIndex(fields.oif),
            ..view
        }
    }

    /// At the hook L2_INPUT: the first tag is beside the data, what stands behind it is the network header.
    fn received(skb: &'a Skb) -> View<'a> {
        let network = usize::from(skb.fields().network_offset).max(HEADER_LEN);
        let behind = skb.len().saturating_sub(network) as u32;
        let tag = vlan::noted(skb);
        let protocol = tag.map_or_else(|| ethertype(skb.data(), network), |tag| tag.proto.tpid());
        let tag_bytes = network - HEADER_LEN;
        View { network, behind, len: behind, tag, protocol, tag_bytes, ..View::of_frame(skb.data()) }
    }

    /// Makes what filters may look at contiguous.
    #[inline]
    pub fn prepare(skb: &mut Skb) {
        if skb.nb_segs() > 1 {
            skb.pull(skb.len().min(REACH));
        }
    }

    /// The four bytes at `at` from the network header, as they stand on the wire. Before the network header are the
    /// addresses and the EtherType, as if the tag were not there; before the frame is nothing.
    #[inline]
    pub fn word(&self, at: isize) -> Option<u32> {
        if at >= 0 {
            let at = self.network.checked_add(at as usize)?;
            return self.data.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        }
        self.word_before(at)
    }

    #[cold]
    fn word_before(&self, at: isize) -> Option<u32> {
        let mut word = 0;
        for i in 0..4 {
            word = word << 8 | u32::from(self.byte(at.checked_add(i)?)?);
        }
        Some(word)
    }

    fn byte(&self, at: isize) -> Option<u8> {
        let network = isize::try_from(self.network).ok()?;
        let tags = if at < -2 { self.tag_bytes as isize } else { 0 };
        let at = network.checked_add(at)? - tags;
        match usize::try_from(at) {
            Ok(at) => self.data.get(at).copied(),
            // The headroom: readable in the kernel, and never compared.
            Err(_) => (at >= -64).then_some(0),
        }
    }

    /// The byte at `at` from the network header.
    pub fn octet(&self, at: isize) -> Option<u8> {
        self.byte(at)
    }
}

/// The EtherType before a network header; 0 if the frame ends before.
#[inline]
fn ethertype(data: &[u8], network: usize) -> u16 {
    let at = network.saturating_sub(2);
    data.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_from_the_network_header_and_pass_over_the_tag() {
        let mut frame: Vec<u8> = (1..=12).collect();
        frame.extend([0x81, 0, 0x20, 7, 8, 0]);
        frame.extend(100..140);
        let view = View::of_frame(&frame);
        assert_eq!((view.protocol, view.tag.map(|t| t.vid()), view.network), (0x8100, Some(7), 18));
        assert_eq!(view.word(0), Some(u32::from_be_bytes([100, 101, 102, 103])));
        assert_eq!(view.word(-16), Some(u32::from_be_bytes([0, 0, 1, 2])));
        assert_eq!(view.word(-4), Some(u32::from_be_bytes([11, 12, 8, 0])));
        assert_eq!((view.word(36).is_some(), view.word(37), view.word(isize::MAX)), (true, None, None));
        assert_eq!(view.word(isize::MIN), None);
    }
}
