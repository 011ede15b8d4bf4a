//! Bond devices: several ports as one.
//!
//! The control thread decides which members send and receive; a [`Bond`] in a snapshot is what it decided. What it and
//! the lcores both write lives beside it, behind an `Arc` that outlives snapshots: [`TlbTable`], [`RlbTable`].

use std::sync::Arc;

use crate::device::bond_rlb::RlbTable;
use crate::device::bond_tlb::TlbTable;
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
    /// ARP packets that members receive are reported to the control thread.
    pub watch_arp: bool,
    /// Balances by load (`tlb_dynamic_lb`; balance-tlb and balance-alb). Without it these modes balance by hash.
    pub tlb: Option<Arc<TlbTable>>,
    /// Balances what clients send us (balance-alb).
    pub rlb: Option<Arc<RlbTable>>,
    /// Worked out of the members by [`prepare`](Self::prepare); leave it at its default.
    pub plan: BondPlan,
}

impl Bond {
    /// A bond without members, with the kernel's defaults.
    pub fn new(mode: BondMode) -> Bond {
        Bond {
            mode,
            policy: XmitPolicy::Layer2,
            packets_per_slave: 1,
            all_slaves_active: false,
            members: Vec::new(),
            active: None,
            watch_arp: false,
            tlb: None,
            rlb: None,
            plan: BondPlan::default(),
        }
    }

    /// Works out the tables that choose a member. The snapshot does this to every bond it is given.
    pub fn prepare(&mut self) {
        self.plan = BondPlan::of(&self.members);
    }

    /// The member a hash chooses, of those that may send.
    #[inline]
    pub fn by_hash(&self, hash: u32) -> Option<IfIndex> {
        self.plan.usable.get(self.plan.usable_mod.rem(hash) as usize).copied()
    }

    /// The member whose turn it is: that at this place among all members, or the next after it that may send (the
    /// kernel's `bond_get_slave_by_id`).
    #[inline]
    pub fn by_turn(&self, turn: u32) -> Option<IfIndex> {
        self.plan.from.get(self.plan.all_mod.rem(turn) as usize).copied()
    }

    /// Members that may send, in order.
    #[inline]
    pub fn usable(&self) -> &[IfIndex] {
        &self.plan.usable
    }

    /// Packets may leave by this member.
    #[inline]
    pub fn may_send(&self, dev: IfIndex) -> bool {
        self.plan.usable.contains(&dev)
    }

    /// What this member receives is taken.
    #[inline]
    pub fn takes_from(&self, dev: IfIndex) -> bool {
        self.all_slaves_active || self.members.iter().any(|member| member.dev == dev && member.receives)
    }
}

/// The members of a bond as the choice of one wants them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BondPlan {
    /// Members that may send.
    usable: Box<[IfIndex]>,
    usable_mod: FastMod,
    /// For each member, it or the first after it that may send; empty if none may.
    from: Box<[IfIndex]>,
    all_mod: FastMod,
}

impl BondPlan {
    fn of(members: &[BondMember]) -> BondPlan {
        let usable: Box<[IfIndex]> = members.iter().filter(|m| m.transmits).map(|m| m.dev).collect();
        let next = |place: usize| {
            let in_turn = members.iter().cycle().skip(place).take(members.len());
            in_turn.filter(|m| m.transmits).map(|m| m.dev).next()
        };
        let from: Box<[IfIndex]> = (0..members.len()).filter_map(next).collect();
        BondPlan {
            usable_mod: FastMod::new(usable.len() as u32),
            all_mod: FastMod::new(from.len() as u32),
            usable,
            from,
        }
    }
}

/// The remainder by a divisor known beforehand, in two multiplications (Lemire, Kaser and Kurz 2019): exact for all
/// 32-bit numbers. By 0 it is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct FastMod {
    divisor: u32,
    /// 2^64 divided by it, rounded up.
    inverse: u64,
}

impl FastMod {
    fn new(divisor: u32) -> FastMod {
        FastMod { divisor, inverse: (u64::MAX / u64::from(divisor.max(1))).wrapping_add(1) }
    }

    #[inline]
    fn rem(self, n: u32) -> u32 {
        let fraction = self.inverse.wrapping_mul(u64::from(n));
        ((u128::from(fraction) * u128::from(self.divisor)) >> 64) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bond(transmits: &[bool]) -> Bond {
        let members = transmits.iter().enumerate().map(|(i, &transmits)| BondMember {
            dev: IfIndex(i as u16 + 10),
            transmits,
            receives: transmits,
        });
        let mut bond = Bond { members: members.collect(), ..Bond::new(BondMode::BalanceXor) };
        bond.prepare();
        bond
    }

    #[test]
    fn turns_of_members_that_may_not_send_fall_to_the_next() {
        let turns = |transmits: &[bool]| {
            let bond = bond(transmits);
            (0..4).map(|turn| bond.by_turn(turn).map_or(0, |dev| dev.0)).collect::<Vec<_>>()
        };
        assert_eq!(turns(&[true, true, true, true]), [10, 11, 12, 13]);
        assert_eq!(turns(&[true, false, true, false]), [10, 12, 12, 10]);
        assert_eq!(turns(&[true, true, false]), [10, 11, 10, 10]);
        assert_eq!(turns(&[false, false]), [0; 4]);
        assert_eq!(turns(&[]), [0; 4]);
    }

    #[test]
    fn hashes_choose_among_those_that_may_send() {
        let bond = bond(&[false, true, true, false, true]);
        let chosen: Vec<_> = (0..6).map(|hash| bond.by_hash(hash).unwrap().0).collect();
        assert_eq!(chosen, [11, 12, 14, 11, 12, 14]);
        assert_eq!(super::tests::bond(&[false]).by_hash(7), None);
    }

    proptest! {
        #[test]
        fn the_remainder_is_exact(n: u32, divisor in prop_oneof![1u32..64, Just(u32::MAX), 1u32..]) {
            prop_assert_eq!(FastMod::new(divisor).rem(n), n % divisor);
        }
    }
}
