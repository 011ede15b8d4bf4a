//! What a VLAN device is, and what may be asked of one.

use skiff_dataplane::device::vlan::{Vlan, VlanProto};
use skiff_dataplane::net::IfIndex;

use crate::ip::{Refusal, VlanFlags, VlanRow, VlanSpec};

/// Largest VLAN identifier; 4095 is reserved (IEEE 802.1Q-2018 section 9.6).
pub(super) const MAX_VID: u16 = 4094;

/// Egress entries are listed by this many low bits of the priority, as the kernel hashes them.
const EGRESS_BUCKETS: u32 = 16;

/// A VLAN device's own settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VlanLink {
    /// The device it lies on.
    pub real_dev: IfIndex,
    /// Protocol of its tags.
    pub proto: VlanProto,
    /// VLAN identifier.
    pub vid: u16,
    /// Its flags.
    pub flags: VlanFlags,
    /// Priority of received packets, by priority code point.
    pub ingress: [u32; 8],
    /// Priority to priority code point, in the order they were first named.
    egress: Vec<(u32, u8)>,
}

impl VlanLink {
    /// The device a command describes, on `real_dev`.
    pub(super) fn new(real_dev: IfIndex, spec: &VlanSpec) -> Result<VlanLink, Refusal> {
        let vid = spec.id.ok_or_else(|| refused("VLAN id not specified"))?;
        if vid > MAX_VID {
            return Err(refused("Invalid VLAN id"));
        }
        let mut vlan = VlanLink {
            real_dev,
            proto: spec.protocol.unwrap_or(VlanProto::Dot1q),
            vid,
            flags: VlanFlags::REORDER_HDR,
            ingress: [0; 8],
            egress: Vec::new(),
        };
        vlan.change(spec);
        Ok(vlan)
    }

    /// What may change of a device that is there: flags and maps. The rest of `spec` is left aside, as the kernel does.
    pub(super) fn change(&mut self, spec: &VlanSpec) {
        self.flags = (self.flags & !spec.mask) | (spec.flags & spec.mask);
        for (pcp, priority) in &spec.ingress {
            self.ingress[(pcp & 7) as usize] = *priority;
        }
        for (priority, pcp) in &spec.egress {
            let pcp = (pcp & 7) as u8;
            match self.egress.iter_mut().find(|(from, _)| from == priority) {
                Some((_, to)) => *to = pcp,
                None => self.egress.push((*priority, pcp)),
            }
        }
    }

    /// It may be up where the device below is down.
    pub(super) fn is_loose(&self) -> bool {
        self.flags.contains(VlanFlags::LOOSE_BINDING)
    }

    /// The same for the data plane.
    pub fn data_plane(&self) -> Vlan {
        let mut egress = self.egress.clone();
        egress.sort_unstable();
        Vlan {
            real_dev: self.real_dev,
            proto: self.proto,
            vid: self.vid,
            reorder_hdr: self.flags.contains(VlanFlags::REORDER_HDR),
            ingress: self.ingress,
            egress,
        }
    }

    /// What `ip -d` says of it: entries that map to 0 are not listed, and the newest of a bucket comes first.
    pub(super) fn row(&self) -> VlanRow {
        let mut egress: Vec<(u32, u32)> = self
            .egress
            .iter()
            .rev()
            .filter(|(_, to)| *to != 0)
            .map(|(from, to)| (*from, (*to).into()))
            .collect();
        egress.sort_by_key(|(from, _)| from % EGRESS_BUCKETS);
        let ingress = (0..).zip(self.ingress).filter(|(_, to)| *to != 0).collect();
        VlanRow { protocol: self.proto, id: self.vid, flags: self.flags, ingress, egress }
    }
}

/// A refusal in the name of the kernel's VLAN module.
pub(super) fn refused(why: &str) -> Refusal {
    Refusal::Invalid(format!("8021q: {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(ingress: &[(u32, u32)], egress: &[(u32, u32)]) -> VlanSpec {
        VlanSpec { id: Some(10), ingress: ingress.to_vec(), egress: egress.to_vec(), ..VlanSpec::default() }
    }

    #[test]
    fn maps_are_listed_as_the_kernel_keeps_them() {
        let mut vlan =
            VlanLink::new(IfIndex(2), &spec(&[(1, 5), (9, 6), (3, 0)], &[(1, 2), (17, 3), (0, 4)])).unwrap();
        assert_eq!(vlan.row().ingress, [(1, 6)], "9 & 7 is 1; a map to 0 is none");
        assert_eq!(vlan.row().egress, [(0, 4), (17, 3), (1, 2)]);
        vlan.change(&spec(&[(1, 0)], &[(1, 15), (0, 0)]));
        assert_eq!((vlan.row().ingress, vlan.row().egress), (vec![], vec![(17, 3), (1, 7)]));
        assert_eq!(vlan.data_plane().egress, [(0, 0), (1, 7), (17, 3)]);
    }

    #[test]
    fn identifiers_and_flags() {
        assert_eq!(
            VlanLink::new(IfIndex(2), &VlanSpec::default()),
            Err(Refusal::Invalid("8021q: VLAN id not specified.".into()))
        );
        for (id, good) in [(0, true), (4094, true), (4095, false)] {
            let spec = VlanSpec { id: Some(id), ..VlanSpec::default() };
            assert_eq!(VlanLink::new(IfIndex(2), &spec).is_ok(), good, "{id}");
        }
        let off = VlanSpec { id: Some(1), mask: VlanFlags::REORDER_HDR, ..VlanSpec::default() };
        let vlan = VlanLink::new(IfIndex(2), &off).unwrap();
        assert_eq!(vlan.flags, VlanFlags::empty());
        assert!(!vlan.data_plane().reorder_hdr);
    }
}
