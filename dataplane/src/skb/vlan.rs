//! The VLAN tag (IEEE 802.1Q-2018 clause 9): four bytes before the EtherType, or beside the data.

use super::{Skb, SkbExt, eth};
use crate::device::vlan::VlanProto;

/// Length of a tag.
pub const VLAN_HLEN: usize = 4;
/// Offset of the EtherType, and so of the first tag.
pub const TAG_OFFSET: usize = eth::HEADER_LEN - 2;
/// Bits of the identifier in the control information.
pub const VID_MASK: u16 = 0xfff;

/// A tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its protocol.
    pub proto: VlanProto,
    /// Priority code point, drop eligible indicator and VLAN identifier.
    pub tci: u16,
}

impl Tag {
    /// The VLAN identifier.
    #[inline]
    pub fn vid(self) -> u16 {
        self.tci & VID_MASK
    }

    /// The priority code point.
    #[inline]
    pub fn pcp(self) -> u8 {
        (self.tci >> 13) as u8
    }

    /// The four bytes as a word: protocol above control information.
    #[inline]
    pub const fn from_word(word: u32) -> Option<Tag> {
        match VlanProto::from_tpid((word >> 16) as u16) {
            Some(proto) => Some(Tag { proto, tci: word as u16 }),
            None => None,
        }
    }

    /// The opposite of [`from_word`](Self::from_word).
    #[inline]
    pub const fn word(self) -> u32 {
        (self.proto.tpid() as u32) << 16 | self.tci as u32
    }
}

/// The four bytes where a tag in the data would begin: EtherType and what follows; 0 if the first segment ends before.
#[inline]
pub fn tag_word(skb: &Skb) -> u32 {
    skb.data().first_chunk::<{ TAG_OFFSET + VLAN_HLEN }>().map_or(0, |head| {
        let [.., a, b, c, d] = *head;
        u32::from_be_bytes([a, b, c, d])
    })
}

/// The tag beside the data of a received packet, once its protocol is noted.
#[inline]
pub fn noted(skb: &Skb) -> Option<Tag> {
    if !skb.is_vlan_stripped() {
        return None;
    }
    VlanProto::from_tpid(skb.vlan_tci_outer()).map(|proto| Tag { proto, tci: skb.vlan_tci() })
}

/// The tag before the network header, in the data; `None` if there is none or the packet ends in it.
pub fn in_data(skb: &mut Skb) -> Option<Tag> {
    let at = usize::from(skb.fields().network_offset).checked_sub(2)?;
    // As the kernel does, with the EtherType behind the tag.
    if !skb.pull(at + VLAN_HLEN + 2) {
        return None;
    }
    let bytes = skb.data().get(at..)?.first_chunk::<VLAN_HLEN>()?;
    Tag::from_word(u32::from_be_bytes(*bytes))
}

/// Takes the first tag out of a frame that has one.
#[inline]
pub fn pop(skb: &mut Skb) {
    if let Some(head) = skb.data_mut().first_chunk_mut::<{ TAG_OFFSET + VLAN_HLEN }>() {
        let [addresses @ .., _, _, _, _] = *head;
        head[VLAN_HLEN..].copy_from_slice(&addresses);
        skb.adj(VLAN_HLEN);
    }
}

/// Puts a tag in front of all others. False, and nothing changed, if there is no room or no header.
#[inline]
pub fn push(skb: &mut Skb, word: u32) -> bool {
    if skb.data().len() < TAG_OFFSET || skb.prepend(VLAN_HLEN).is_none() {
        return false;
    }
    if let Some(head) = skb.data_mut().first_chunk_mut::<{ TAG_OFFSET + VLAN_HLEN }>() {
        let [_, _, _, _, addresses @ ..] = *head;
        head[..TAG_OFFSET].copy_from_slice(&addresses);
        head[TAG_OFFSET..].copy_from_slice(&word.to_be_bytes());
    }
    true
}

/// Takes the four bytes at `at` out: a tag behind others that stay.
pub fn pop_at(skb: &mut Skb, at: usize) {
    if skb.data().len() >= at + VLAN_HLEN {
        skb.data_mut().copy_within(..at, VLAN_HLEN);
        skb.adj(VLAN_HLEN);
    }
}

/// Puts a tag in at `at`: behind others. False, and nothing changed, if there is no room or no header.
pub fn push_at(skb: &mut Skb, at: usize, word: u32) -> bool {
    if skb.data().len() < at || skb.prepend(VLAN_HLEN).is_none() {
        return false;
    }
    let data = skb.data_mut();
    data.copy_within(VLAN_HLEN..at + VLAN_HLEN, 0);
    if let Some(place) = data.get_mut(at..at + VLAN_HLEN) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_protocol_and_control_information() {
        let tag = Tag { proto: VlanProto::Dot1ad, tci: 0xb064 };
        assert_eq!((tag.vid(), tag.pcp(), tag.word()), (100, 5, 0x88a8_b064));
        assert_eq!(Tag::from_word(tag.word()), Some(tag));
        assert_eq!(Tag::from_word(0x0800_4500), None);
    }
}
