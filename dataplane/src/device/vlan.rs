//! VLAN devices: what one is, and which lie on a device (IEEE 802.1Q-2018).

use std::sync::Arc;

use crate::net::IfIndex;

/// Identifiers a tag can carry.
const VIDS: usize = 4096;

/// The protocol of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VlanProto {
    /// Customer tag, 802.1Q.
    Dot1q,
    /// Service tag, 802.1ad.
    Dot1ad,
}

impl VlanProto {
    /// Both.
    pub const ALL: [VlanProto; 2] = [VlanProto::Dot1q, VlanProto::Dot1ad];

    /// The tag protocol identifier, host byte order.
    #[inline]
    pub const fn tpid(self) -> u16 {
        match self {
            VlanProto::Dot1q => 0x8100,
            VlanProto::Dot1ad => 0x88a8,
        }
    }

    /// The protocol of that identifier.
    #[inline]
    pub const fn from_tpid(tpid: u16) -> Option<VlanProto> {
        match tpid {
            0x8100 => Some(VlanProto::Dot1q),
            0x88a8 => Some(VlanProto::Dot1ad),
            _ => None,
        }
    }
}

/// What a device's driver does with tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VlanOffload {
    /// Tags of this protocol may come beside the data of received frames.
    pub strips: Option<VlanProto>,
    /// 802.1Q tags of sent packets can be left to it.
    pub inserts: bool,
}

/// A VLAN device's own settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The device it lies on.
    pub real_dev: IfIndex,
    /// Protocol of its tags.
    pub proto: VlanProto,
    /// VLAN identifier, 0 to 4094.
    pub vid: u16,
    /// Received packets lose their tag (REORDER_HDR).
    pub reorder_hdr: bool,
    /// Priority of received packets, by priority code point.
    pub ingress: [u32; 8],
    /// Priority code point of sent packets, by priority, ascending; what is not there is sent with 0.
    pub egress: Vec<(u32, u8)>,
}

impl Vlan {
    /// Any priority code point is given a priority of its own.
    #[inline]
    pub fn maps_ingress(&self) -> bool {
        self.ingress != [0; 8]
    }

    /// The priority of a packet received with this tag control information.
    #[inline]
    pub fn priority(&self, tci: u16) -> u32 {
        self.ingress[usize::from(tci >> 13)]
    }

    /// The priority code point of a packet of that priority.
    #[inline]
    pub fn pcp(&self, priority: u32) -> u8 {
        if self.egress.is_empty() {
            return 0;
        }
        self.egress.binary_search_by_key(&priority, |(from, _)| *from).map_or(0, |at| self.egress[at].1)
    }
}

/// VLAN devices on VLAN devices, at most (the kernel's nesting limit).
pub const MAX_NESTING: usize = 8;

/// The VLAN devices on one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VlanGroup {
    by_vid: [Option<Box<[IfIndex; VIDS]>>; VlanProto::ALL.len()],
}

impl VlanGroup {
    /// A group of these.
    pub fn new(vlans: impl IntoIterator<Item = (VlanProto, u16, IfIndex)>) -> Arc<VlanGroup> {
        let mut group = VlanGroup { by_vid: [None, None] };
        for (proto, vid, dev) in vlans {
            let table = group.by_vid[proto as usize].get_or_insert_with(|| Box::new([IfIndex::NONE; VIDS]));
            table[usize::from(vid) % VIDS] = dev;
        }
        Arc::new(group)
    }

    /// The device of that tag.
    #[inline]
    pub fn find(&self, proto: VlanProto, vid: u16) -> Option<IfIndex> {
        let dev = self.by_vid[proto as usize].as_ref()?[usize::from(vid) % VIDS];
        (dev != IfIndex::NONE).then_some(dev)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_knows_its_devices_by_protocol_and_identifier() {
        let group = VlanGroup::new([(VlanProto::Dot1q, 10, IfIndex(5)), (VlanProto::Dot1ad, 10, IfIndex(6))]);
        assert_eq!(group.find(VlanProto::Dot1q, 10), Some(IfIndex(5)));
        assert_eq!(group.find(VlanProto::Dot1ad, 10), Some(IfIndex(6)));
        assert_eq!(group.find(VlanProto::Dot1ad, 11), None);
        assert_eq!(VlanGroup::new([]).find(VlanProto::Dot1q, 0), None);
    }

    #[test]
    fn priorities_without_an_entry_are_sent_with_0() {
        let vlan = Vlan {
            real_dev: IfIndex(2),
            proto: VlanProto::Dot1q,
            vid: 10,
            reorder_hdr: true,
            ingress: [0; 8],
            egress: vec![(2, 5), (7, 1)],
        };
        assert_eq!([0, 2, 3, 7].map(|priority| vlan.pcp(priority)), [0, 5, 0, 1]);
    }
}
