//! What `ip link add` and `ip link set ... type` say of VLANs and bonds, and what a show says of them.

use bitflags::bitflags;
use skiff_dataplane::device::vlan::VlanProto;

use super::request::LinkSet;

bitflags! {
    /// Flags of a VLAN device, with the kernel's values (`VLAN_FLAG_*`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct VlanFlags: u32 {
        /// Received packets lose their tag.
        const REORDER_HDR = 1;
        /// Announced by GVRP.
        const GVRP = 2;
        /// Its state does not follow that of the device below.
        const LOOSE_BINDING = 4;
        /// Announced by MVRP.
        const MVRP = 8;
        /// Its carrier follows the bridge ports of the VLAN.
        const BRIDGE_BINDING = 16;
    }
}

/// A link to add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkAdd {
    /// Its name; the kind's and a number without one.
    pub name: Option<String>,
    /// The device below.
    pub link: Option<String>,
    /// What it is to be like; `dev` and `name` do not matter.
    pub set: LinkSet,
}

/// `type KIND` and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KindSpec {
    /// `type vlan`
    Vlan(VlanSpec),
    /// `type bond`: full names of options with their values, in order.
    Bond(Vec<(&'static str, String)>),
    /// `type bond_slave`
    BondSlave(SlaveSpec),
}

/// What is said of a VLAN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VlanSpec {
    /// Protocol of its tags.
    pub protocol: Option<VlanProto>,
    /// VLAN identifier.
    pub id: Option<u16>,
    /// Flags that are on.
    pub flags: VlanFlags,
    /// Flags that are named.
    pub mask: VlanFlags,
    /// Priority code point to priority.
    pub ingress: Vec<(u32, u32)>,
    /// Priority to priority code point.
    pub egress: Vec<(u32, u32)>,
}

/// What is said of a bond's member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlaveSpec {
    /// Transmit queue of the bond that is its own.
    pub queue_id: Option<u16>,
    /// Its rank among members; the higher wins.
    pub prio: Option<i32>,
}

/// A VLAN to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VlanRow {
    /// Protocol of its tags.
    pub protocol: VlanProto,
    /// VLAN identifier.
    pub id: u16,
    /// Its flags.
    pub flags: VlanFlags,
    /// Priority code point to priority.
    pub ingress: Vec<(u32, u32)>,
    /// Priority to priority code point.
    pub egress: Vec<(u32, u32)>,
}
