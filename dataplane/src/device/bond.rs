//! Bond devices: several ports as one.

use crate::net::IfIndex;

/// How members are used, as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BondMode {
    /// Packets in turn.
    BalanceRr = 0,
    /// One member at a time.
    ActiveBackup = 1,
    /// By hash.
    BalanceXor = 2,
    /// Every packet by every member.
    Broadcast = 3,
    /// By hash, over what LACP has agreed on (IEEE 802.1AX).
    Lacp = 4,
    /// By load.
    BalanceTlb = 5,
    /// By load, and receiving is balanced by ARP.
    BalanceAlb = 6,
}

/// What the hash of a flow covers, as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum XmitPolicy {
    /// Hardware addresses and EtherType.
    Layer2 = 0,
    /// Addresses, protocol and ports.
    Layer34 = 1,
    /// Hardware and IP addresses.
    Layer23 = 2,
    /// Layer 2+3 of the innermost headers.
    Encap23 = 3,
    /// Layer 3+4 of the innermost headers.
    Encap34 = 4,
    /// VLAN and source hardware address.
    VlanSrcmac = 5,
}

/// A member of a bond, in the state the machines of the control thread have put it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BondMember {
    /// The device.
    pub dev: IfIndex,
    /// Packets may leave by it.
    pub transmits: bool,
    /// What it receives is taken.
    pub receives: bool,
}

/// What the data plane needs to know of a bond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bond {
    /// How members are used.
    pub mode: BondMode,
    /// What the hash covers.
    pub policy: XmitPolicy,
    /// Packets by one member before the next one's turn; 0 takes one at random each time (balance-rr).
    pub packets_per_slave: u32,
    /// Packets are taken from inactive members too.
    pub all_slaves_active: bool,
    /// Members in the order they joined.
    pub members: Vec<BondMember>,
    /// The active member, in modes that have one.
    pub active: Option<IfIndex>,
}
