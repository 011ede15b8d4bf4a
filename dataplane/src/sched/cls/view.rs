//! What filters see of a packet.

use crate::net::IfIndex;
use crate::skb::eth::HEADER_LEN;
use crate::skb::vlan::{self, TAG_OFFSET, Tag, VLAN_HLEN};
use crate::skb::{Skb, SkbExt};

/// How much of a packet in several segments is made contiguous for filters, bytes.
const REACH: usize = 192;

/// A packet before its filters.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The bytes of its first segment, from the Ethernet header on.
    pub data: &'a [u8],
    /// Where the network header begins, behind the first tag.
    pub network: usize,
    /// Length as it is charged: the frame on its way out, from the network header on on its way in, as the kernel does.
    pub len: u32,
    /// Bytes from the network header to the end of the packet.
    pub behind: u32,
    /// The EtherType of its first tag if it has one, otherwise its own (kernel `skb_protocol`).
    pub protocol: u16,
    /// Its first tag.
    pub tag: Option<Tag>,
    /// The tag stands in the data.
    pub tag_in_data: bool,
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
    /// A frame by itself: on its way out, nothing known beside the bytes.
    pub fn of_frame(data: &'a [u8]) -> View<'a> {
        let (tag, protocol) = outer(data);
        let network = HEADER_LEN + if tag.is_some() { VLAN_HLEN } else { 0 };
        View {
            data,
            network,
            len: data.len() as u32,
            behind: data.len().saturating_sub(network) as u32,
            protocol,
            tag,
            tag_in_data: tag.is_some(),
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
        let beside = if ingress {
            vlan::noted(skb)
        } else {
            skb.tx_vlan().map(|tci| Tag { proto: crate::device::vlan::VlanProto::Dot1q, tci })
        };
        let frame = View::of_frame(skb.data());
        let network = frame.network.max(usize::from(fields.network_offset));
        let view = match beside {
            // What is behind a tag beside the data is the packet's own, another tag or not.
            Some(tag) => View {
                tag: Some(tag),
                tag_in_data: false,
                protocol: tag.proto.tpid(),
                network: HEADER_LEN.max(if ingress { 0 } else { fields.network_offset.into() }),
                ..frame
            },
            None => View { network, ..frame },
        };
        let behind = skb.len().saturating_sub(view.network);
        View {
            len: if ingress { behind } else { skb.len() } as u32,
            behind: behind as u32,
            mark: fields.mark,
            priority: fields.priority,
            iif: IfIndex(fields.iif),
            oif: IfIndex(fields.oif),
            ..view
        }
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
        let addresses = at < -2 && self.tag_in_data;
        let at = network.checked_add(at)? - if addresses { VLAN_HLEN as isize } else { 0 };
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

/// The first tag in the data, and the protocol of the frame.
#[inline]
fn outer(data: &[u8]) -> (Option<Tag>, u16) {
    match data.get(TAG_OFFSET..) {
        Some(rest) => {
            let protocol = rest.first_chunk().map_or(0, |b| u16::from_be_bytes(*b));
            let tag = rest.first_chunk().and_then(|b| Tag::from_word(u32::from_be_bytes(*b)));
            (tag, protocol)
        }
        None => (None, 0),
    }
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
