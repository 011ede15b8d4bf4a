//! The values options of a bond have names for, with the numbers the kernel gives them.

use skiff_dataplane::device::bond::{BondMode, XmitPolicy};

/// A value that is written as a name or as its number.
pub trait Named: Copy + PartialEq + 'static {
    /// Every value with its name, in the order of their numbers.
    const NAMES: &'static [(Self, &'static str)];

    /// The name shows print.
    fn word(self) -> &'static str {
        Self::NAMES.iter().find(|(value, _)| *value == self).map_or("", |(_, word)| word)
    }

    /// The value a user wrote: its name in full or its number.
    fn from_word(word: &str) -> Option<Self> {
        let number = word.parse().ok().and_then(|index: usize| Self::NAMES.get(index));
        number.or_else(|| Self::NAMES.iter().find(|(_, name)| *name == word)).map(|(value, _)| *value)
    }

    /// Its number.
    fn number(self) -> usize {
        Self::NAMES.iter().position(|(value, _)| *value == self).unwrap_or(0)
    }
}

impl Named for bool {
    const NAMES: &'static [(Self, &'static str)] = &[(false, "off"), (true, "on")];
}

impl Named for BondMode {
    const NAMES: &'static [(Self, &'static str)] = &[
        (BondMode::BalanceRr, "balance-rr"),
        (BondMode::ActiveBackup, "active-backup"),
        (BondMode::BalanceXor, "balance-xor"),
        (BondMode::Broadcast, "broadcast"),
        (BondMode::Lacp, "802.3ad"),
        (BondMode::BalanceTlb, "balance-tlb"),
        (BondMode::BalanceAlb, "balance-alb"),
    ];
}

impl Named for XmitPolicy {
    const NAMES: &'static [(Self, &'static str)] = &[
        (XmitPolicy::Layer2, "layer2"),
        (XmitPolicy::Layer34, "layer3+4"),
        (XmitPolicy::Layer23, "layer2+3"),
        (XmitPolicy::Encap23, "encap2+3"),
        (XmitPolicy::Encap34, "encap3+4"),
        (XmitPolicy::VlanSrcmac, "vlan+srcmac"),
    ];
}

/// Which members' ARP traffic must be about the targets to count (`arp_validate`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArpValidate {
    /// Any frame counts.
    #[default]
    None,
    /// Checked on the active member.
    Active,
    /// Checked on the others.
    Backup,
    /// Checked on all.
    All,
    /// Only ARP counts, from anyone.
    Filter,
    /// Only ARP counts, and it is checked on the active member.
    FilterActive,
    /// Only ARP counts, and it is checked on the others.
    FilterBackup,
}

impl ArpValidate {
    /// What a member in this role received is checked.
    pub fn checks(self, active: bool) -> bool {
        match self {
            ArpValidate::None | ArpValidate::Filter => false,
            ArpValidate::All => true,
            ArpValidate::Active | ArpValidate::FilterActive => active,
            ArpValidate::Backup | ArpValidate::FilterBackup => !active,
        }
    }

    /// Nothing but ARP counts as received, on members whose ARP is not checked too.
    pub fn filters(self) -> bool {
        matches!(self, ArpValidate::Filter | ArpValidate::FilterActive | ArpValidate::FilterBackup)
    }
}

impl Named for ArpValidate {
    const NAMES: &'static [(Self, &'static str)] = &[
        (ArpValidate::None, "none"),
        (ArpValidate::Active, "active"),
        (ArpValidate::Backup, "backup"),
        (ArpValidate::All, "all"),
        (ArpValidate::Filter, "filter"),
        (ArpValidate::FilterActive, "filter_active"),
        (ArpValidate::FilterBackup, "filter_backup"),
    ];
}

/// How many targets must be heard of (`arp_all_targets`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArpAllTargets {
    /// One is enough.
    #[default]
    Any,
    /// Every one.
    All,
}

impl Named for ArpAllTargets {
    const NAMES: &'static [(Self, &'static str)] =
        &[(ArpAllTargets::Any, "any"), (ArpAllTargets::All, "all")];
}

/// When a better member takes over from one that works (`primary_reselect`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrimaryReselect {
    /// Whenever it is up.
    #[default]
    Always,
    /// If it is faster, or as fast and full duplex where the other is not.
    Better,
    /// When the one in use fails.
    Failure,
}

impl Named for PrimaryReselect {
    const NAMES: &'static [(Self, &'static str)] = &[
        (PrimaryReselect::Always, "always"),
        (PrimaryReselect::Better, "better"),
        (PrimaryReselect::Failure, "failure"),
    ];
}

/// What becomes of hardware addresses when another member takes over (`fail_over_mac`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailOverMac {
    /// All members have the bond's.
    #[default]
    None,
    /// The bond takes the active member's.
    Active,
    /// Only the active member has the bond's.
    Follow,
}

impl Named for FailOverMac {
    const NAMES: &'static [(Self, &'static str)] =
        &[(FailOverMac::None, "none"), (FailOverMac::Active, "active"), (FailOverMac::Follow, "follow")];
}

/// How often the partner is asked to send LACPDUs (`lacp_rate`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LacpRate {
    /// Every 30 seconds.
    #[default]
    Slow,
    /// Every second.
    Fast,
}

impl Named for LacpRate {
    const NAMES: &'static [(Self, &'static str)] = &[(LacpRate::Slow, "slow"), (LacpRate::Fast, "fast")];
}

/// Which aggregator is used (`ad_select`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdSelect {
    /// The one with most bandwidth, kept until it has no port left.
    #[default]
    Stable,
    /// The one with most bandwidth.
    Bandwidth,
    /// The one with most ports.
    Count,
}

impl Named for AdSelect {
    const NAMES: &'static [(Self, &'static str)] =
        &[(AdSelect::Stable, "stable"), (AdSelect::Bandwidth, "bandwidth"), (AdSelect::Count, "count")];
}
