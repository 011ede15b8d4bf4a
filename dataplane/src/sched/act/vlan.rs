//! vlan: puts tags in front, takes them away, changes them (tc-vlan(8)).

use crate::device::vlan::VlanProto;
use crate::skb::vlan::{self, TAG_OFFSET, Tag, VID_MASK, VLAN_HLEN};
use crate::skb::{Skb, SkbExt};

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
        settle(skb, ingress)?;
        match self {
            VlanAct::Pop => match in_data(skb) {
                Some(_) => {
                    vlan::pop(skb);
                    shift(skb, ingress, false);
                    Some(())
                }
                None => Some(()),
            },
            VlanAct::Push { proto, id, prio } => {
                let tci = id & VID_MASK | u16::from(prio.unwrap_or(0)) << 13;
                vlan::push(skb, Tag { proto, tci }.word()).then_some(())?;
                shift(skb, ingress, true);
                Some(())
            }
            VlanAct::Modify { proto, id, prio } => {
                let Some(tag) = in_data(skb) else { return Some(()) };
                let prio = prio.map_or(tag.tci & 0xe000, |p| u16::from(p) << 13);
                let tci = tag.tci & 0x1000 | id & VID_MASK | prio;
                let place = skb.data_mut().get_mut(TAG_OFFSET..TAG_OFFSET + VLAN_HLEN)?;
                place.copy_from_slice(&Tag { proto, tci }.word().to_be_bytes());
                Some(())
            }
        }
    }
}

/// Puts a tag that is beside the data into it.
pub(crate) fn settle(skb: &mut Skb, ingress: bool) -> Option<()> {
    let tag = if ingress {
        vlan::noted(skb)
    } else {
        skb.tx_vlan().map(|tci| Tag { proto: VlanProto::Dot1q, tci })
    };
    let Some(tag) = tag else { return Some(()) };
    vlan::push(skb, tag.word()).then_some(())?;
    if ingress {
        skb.clear_vlan_tag();
    } else {
        skb.clear_tx_vlan();
        shift(skb, ingress, true);
    }
    Some(())
}

fn in_data(skb: &Skb) -> Option<Tag> {
    Tag::from_word(vlan::tag_word(skb))
}

/// The network header moves with the tags before it; on the way in it is looked for later.
fn shift(skb: &mut Skb, ingress: bool, longer: bool) {
    let fields = skb.fields_mut();
    if ingress || usize::from(fields.network_offset) < crate::skb::eth::HEADER_LEN {
        return;
    }
    let step = VLAN_HLEN as u8;
    fields.network_offset = match longer {
        true => fields.network_offset.saturating_add(step),
        false => fields.network_offset.saturating_sub(step),
    };
}
