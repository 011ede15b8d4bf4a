//! skbedit: what is known of a packet (tc-skbedit(8)).

use crate::skb::{Skb, SkbExt};

/// What to change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skbedit {
    /// The queueing priority.
    pub priority: Option<u32>,
    /// The firewall mark and its bits that change.
    pub mark: Option<(u32, u32)>,
    /// Who the frame was for, see [`crate::skb::pkt_type`].
    pub ptype: Option<u8>,
    /// The transmit queue; shown, and without effect: an lcore has a queue of its own.
    pub queue_mapping: Option<u16>,
    /// The priority is the DS field.
    pub inherit_dsfield: bool,
}

impl Skbedit {
    /// Changes a packet.
    #[inline]
    pub fn apply(&self, skb: &mut Skb) {
        let dsfield = if self.inherit_dsfield { dsfield(skb) } else { None };
        let fields = skb.fields_mut();
        if let Some(priority) = self.priority.or(dsfield) {
            fields.priority = priority;
        }
        if let Some((mark, mask)) = self.mark {
            fields.mark = fields.mark & !mask | mark & mask;
        }
        if let Some(ptype) = self.ptype {
            fields.pkt_type = ptype;
        }
    }
}

fn dsfield(skb: &Skb) -> Option<u32> {
    let [first, second, ..] = *skb.network().first_chunk::<20>()?;
    match first >> 4 {
        4 => Some(u32::from(second >> 2)),
        6 => Some((u32::from(first) << 8 | u32::from(second)) >> 6 & 0x3f),
        _ => None,
    }
}
