//! vlan: puts tags in front, takes them away, changes them (tc-vlan(8)).

use crate::device::vlan::VlanProto;
use crate::skb::Skb;
use crate::skb::vlan::{self, Tag, VID_MASK};

/// What to do with the first tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VlanAct {
    /// Take it away.
    Pop,
    /// Put one in front.
    Push {
        /// Its protocol.
        proto: VlanProto,
        /// Its identifier.
        id: u16,
        /// Its priority.
        prio: Option<u8>,
    },
    /// Change it.
    Modify {
        /// Its new protocol.
        proto: VlanProto,
        /// Its new identifier.
        id: u16,
        /// Its new priority; the old one if `None`.
        prio: Option<u8>,
    },
}

impl VlanAct {
    /// Changes a packet. `None` if there is no room, or no frame.
    pub fn apply(self, skb: &mut Skb, ingress: bool) -> Option<()> {
        match (self, take(skb, ingress)) {
            (VlanAct::Pop, _) => {
                if ingress {
                    // The next one goes beside the data in its place.
                    let next = take_from_data(skb);
                    next.map_or(Some(()), |tag| put(skb, tag, ingress))?;
                }
                Some(())
            }
            (VlanAct::Push { proto, id, prio }, old) => {
                if let Some(old) = old {
                    vlan::push(skb, old.word()).then_some(())?;
                }
                let tci = id & VID_MASK | u16::from(prio.unwrap_or(0)) << 13;
                put(skb, Tag { proto, tci }, ingress)
            }
            (VlanAct::Modify { proto, id, prio }, Some(tag)) => {
                let prio = prio.map_or(tag.tci & 0xe000, |p| u16::from(p) << 13);
                let tci = tag.tci & 0x1000 | id & VID_MASK | prio;
                put(skb, Tag { proto, tci }, ingress)
            }
            (VlanAct::Modify { .. }, None) => Some(()),
        }
    }
}

/// Takes the first tag away.
fn take(skb: &mut Skb, ingress: bool) -> Option<Tag> {
    if ingress {
        let tag = vlan::noted(skb);
        skb.clear_vlan_tag();
        return tag;
    }
    match skb.tx_vlan() {
        Some(tci) => {
            skb.clear_tx_vlan();
            Some(Tag { proto: VlanProto::Dot1q, tci })
        }
        None => take_from_data(skb),
    }
}

fn take_from_data(skb: &mut Skb) -> Option<Tag> {
    let tag = Tag::from_word(vlan::tag_word(skb))?;
    vlan::pop(skb);
    Some(tag)
}

/// Puts a tag in front of all others: on the way in beside the data, where it is looked for.
fn put(skb: &mut Skb, tag: Tag, ingress: bool) -> Option<()> {
    if ingress {
        skb.set_vlan_tag(tag.proto.tpid(), tag.tci);
        return Some(());
    }
    vlan::push(skb, tag.word()).then_some(())
}

/// Puts a received packet's tag into the data: it is sent.
pub(crate) fn settle(skb: &mut Skb) -> Option<()> {
    let Some(tag) = take(skb, true) else { return Some(()) };
    vlan::push(skb, tag.word()).then_some(())
}
