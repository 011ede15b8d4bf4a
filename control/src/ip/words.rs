//! The named numbers of rtnetlink: scopes, protocols, tables, route types and neighbour states.

use std::fmt;

/// How far an address or a route reaches (`RT_SCOPE_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope(pub u8);

impl Scope {
    /// Valid everywhere.
    pub const GLOBAL: Scope = Scope(0);
    /// Valid on one link.
    pub const LINK: Scope = Scope(253);
    /// Valid inside this host.
    pub const HOST: Scope = Scope(254);

    const NAMES: Names<u8> =
        Names(&[(0, "global"), (200, "site"), (253, "link"), (254, "host"), (255, "nowhere")]);

    /// The scope a user wrote: a name in full or a number.
    pub fn from_word(word: &str) -> Option<Scope> {
        Self::NAMES.number(word).map(Scope)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::NAMES.write(self.0, f)
    }
}

/// Who put a route there (`RTPROT_*`), as iproute2's rt_protos names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// Made by the router itself, with an address.
    pub const KERNEL: Protocol = Protocol(2);
    /// Made by hand: what `ip route add` says without `proto`.
    pub const BOOT: Protocol = Protocol(3);
    /// Made by an administrator's configuration.
    pub const STATIC: Protocol = Protocol(4);

    const NAMES: Names<u8> = Names(&[
        (0, "unspec"),
        (1, "redirect"),
        (2, "kernel"),
        (3, "boot"),
        (4, "static"),
        (8, "gated"),
        (9, "ra"),
        (10, "mrt"),
        (11, "zebra"),
        (12, "bird"),
        (13, "dnrouted"),
        (14, "xorp"),
        (15, "ntk"),
        (16, "dhcp"),
        (18, "keepalived"),
        (42, "babel"),
        (99, "openr"),
        (186, "bgp"),
        (187, "isis"),
        (188, "ospf"),
        (189, "rip"),
        (192, "eigrp"),
    ]);

    /// The protocol a user wrote: a name in full or a number.
    pub fn from_word(word: &str) -> Option<Protocol> {
        Self::NAMES.number(word).map(Protocol)
    }
}

impl Default for Protocol {
    fn default() -> Self {
        Protocol::BOOT
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::NAMES.write(self.0, f)
    }
}

/// A routing table (`RT_TABLE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(pub u32);

impl Table {
    /// The table of ordinary routes.
    pub const MAIN: Table = Table(254);
    /// The table of the router's own and broadcast addresses.
    pub const LOCAL: Table = Table(255);

    const NAMES: Names<u32> = Names(&[(253, "default"), (254, "main"), (255, "local")]);

    /// The table a user wrote: a name in full or a number, where 0 and `unspec` stand for main.
    pub fn from_word(word: &str) -> Option<Table> {
        let number = if word == "unspec" { 0 } else { Self::NAMES.number(word)? };
        Some(if number == 0 { Table::MAIN } else { Table(number) })
    }
}

impl Default for Table {
    fn default() -> Self {
        Table::MAIN
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::NAMES.write(self.0, f)
    }
}

/// What a route does with a packet (`RTN_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RouteType {
    /// Forward it.
    #[default]
    Unicast,
    /// Deliver it here.
    Local,
    /// Deliver it here and send it as a link broadcast.
    Broadcast,
    /// Multicast forwarding.
    Multicast,
    /// Go on with the next table, as if there were no route.
    Throw,
    /// Drop it and answer host unreachable.
    Unreachable,
    /// Drop it and answer administratively prohibited.
    Prohibit,
    /// Drop it silently.
    Blackhole,
}

impl RouteType {
    /// In the order in which iproute2 tries abbreviations; `local` has none.
    const IN_ORDER: [RouteType; 8] = [
        RouteType::Local,
        RouteType::Broadcast,
        RouteType::Multicast,
        RouteType::Prohibit,
        RouteType::Unreachable,
        RouteType::Blackhole,
        RouteType::Unicast,
        RouteType::Throw,
    ];

    /// The type a user wrote, abbreviated or not.
    pub fn from_word(word: &str) -> Option<RouteType> {
        if word.is_empty() {
            return None;
        }
        Self::IN_ORDER.into_iter().find(|kind| match kind {
            RouteType::Local => word == "local",
            RouteType::Broadcast => word == "brd" || "broadcast".starts_with(word),
            other => other.name().starts_with(word),
        })
    }

    /// The kernel's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            RouteType::Unicast => "unicast",
            RouteType::Local => "local",
            RouteType::Broadcast => "broadcast",
            RouteType::Multicast => "multicast",
            RouteType::Throw => "throw",
            RouteType::Unreachable => "unreachable",
            RouteType::Prohibit => "prohibit",
            RouteType::Blackhole => "blackhole",
        }
    }

    /// True for the types that take no next hop.
    pub const fn is_reject(self) -> bool {
        matches!(self, RouteType::Throw | RouteType::Unreachable | RouteType::Prohibit | RouteType::Blackhole)
    }
}

impl fmt::Display for RouteType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The state of a neighbour entry (`NUD_*`); each value is the kernel's bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NudState {
    /// Nothing known, nothing asked.
    None = 0,
    /// Asked, not answered yet.
    Incomplete = 0x01,
    /// Confirmed lately.
    Reachable = 0x02,
    /// Known, but not confirmed lately.
    Stale = 0x04,
    /// Stale and used: waiting for a confirmation before it asks.
    Delay = 0x08,
    /// Asking the known address again.
    Probe = 0x10,
    /// Did not answer.
    Failed = 0x20,
    /// Needs no resolution.
    Noarp = 0x40,
    /// Set by hand; never expires.
    Permanent = 0x80,
}

impl NudState {
    const ALL: [NudState; 9] = [
        NudState::Permanent,
        NudState::Reachable,
        NudState::Noarp,
        NudState::None,
        NudState::Stale,
        NudState::Incomplete,
        NudState::Delay,
        NudState::Probe,
        NudState::Failed,
    ];

    /// The state a user wrote. iproute2 lets only `permanent` and `reachable` be abbreviated, and takes the number.
    pub fn from_word(word: &str) -> Option<NudState> {
        let abbreviated = |s: &NudState| matches!(s, NudState::Permanent | NudState::Reachable);
        Self::ALL
            .into_iter()
            .find(|s| s.word() == word || (!word.is_empty() && abbreviated(s) && s.word().starts_with(word)))
            .or_else(|| {
                let number = parse_number(word)?;
                Self::ALL.into_iter().find(|s| u64::from(*s as u8) == number)
            })
    }

    /// The word shows print.
    pub const fn name(self) -> &'static str {
        match self {
            NudState::None => "NONE",
            NudState::Incomplete => "INCOMPLETE",
            NudState::Reachable => "REACHABLE",
            NudState::Stale => "STALE",
            NudState::Delay => "DELAY",
            NudState::Probe => "PROBE",
            NudState::Failed => "FAILED",
            NudState::Noarp => "NOARP",
            NudState::Permanent => "PERMANENT",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            NudState::None => "none",
            NudState::Incomplete => "incomplete",
            NudState::Reachable => "reachable",
            NudState::Stale => "stale",
            NudState::Delay => "delay",
            NudState::Probe => "probe",
            NudState::Failed => "failed",
            NudState::Noarp => "noarp",
            NudState::Permanent => "permanent",
        }
    }
}

/// A set of neighbour states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NudSet(u16);

impl NudSet {
    /// No state at all.
    pub const EMPTY: NudSet = NudSet(0);
    /// Every state.
    pub const ALL: NudSet = NudSet(0x1ff);
    /// What `ip neigh show` shows unless told otherwise: all but `none` and `noarp`.
    pub const SHOWN: NudSet = NudSet(0xff & !(NudState::Noarp as u16));
    /// `none` has no bit of its own in the kernel.
    const NONE_BIT: u16 = 0x100;

    /// This set and `state`.
    #[must_use]
    pub const fn with(self, state: NudState) -> NudSet {
        NudSet(self.0 | Self::bit(state))
    }

    /// True if `state` is in the set.
    pub const fn contains(self, state: NudState) -> bool {
        self.0 & Self::bit(state) != 0
    }

    const fn bit(state: NudState) -> u16 {
        if matches!(state, NudState::None) { Self::NONE_BIT } else { state as u16 }
    }
}

/// A number as iproute2's users write it: decimal, or hexadecimal after `0x`.
pub(super) fn parse_number(word: &str) -> Option<u64> {
    let (digits, radix) = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (word, 10),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

/// Numbers that have names; a number without one is written as itself.
struct Names<T: 'static>(&'static [(T, &'static str)]);

impl<T: Copy + PartialEq + fmt::Display + TryFrom<u64>> Names<T> {
    fn number(&self, word: &str) -> Option<T> {
        match self.0.iter().find(|(_, name)| *name == word) {
            Some((number, _)) => Some(*number),
            None => parse_number(word)?.try_into().ok(),
        }
    }

    fn write(&self, number: T, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.iter().find(|(n, _)| *n == number) {
            Some((_, name)) => f.write_str(name),
            None => number.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_meet() {
        assert_eq!(Scope::from_word("link"), Some(Scope::LINK));
        assert_eq!(Scope::from_word("254"), Some(Scope::HOST));
        assert_eq!(Scope::from_word("256"), None);
        assert_eq!(Scope(77).to_string(), "77");
        assert_eq!(Protocol::from_word("bgp"), Some(Protocol(186)));
        assert_eq!(Protocol::from_word("0x4"), Some(Protocol::STATIC));
        assert_eq!(Table::from_word("0"), Some(Table::MAIN));
        assert_eq!(Table::from_word("ma"), None);
        assert_eq!(Table(7).to_string(), "7");
    }

    #[test]
    fn abbreviations_resolve_in_iproute2s_order() {
        assert_eq!(RouteType::from_word("b"), Some(RouteType::Broadcast));
        assert_eq!(RouteType::from_word("bl"), Some(RouteType::Blackhole));
        assert_eq!(RouteType::from_word("u"), Some(RouteType::Unreachable));
        assert_eq!(RouteType::from_word("uni"), Some(RouteType::Unicast));
        assert_eq!(RouteType::from_word("loc"), None);
        assert_eq!(RouteType::from_word(""), None);
        assert_eq!(NudState::from_word("p"), Some(NudState::Permanent));
        assert_eq!(NudState::from_word("reach"), Some(NudState::Reachable));
        assert_eq!(NudState::from_word("sta"), None);
        assert_eq!(NudState::from_word("0x80"), Some(NudState::Permanent));
    }

    #[test]
    fn default_show_hides_none_and_noarp() {
        assert!(NudSet::SHOWN.contains(NudState::Failed));
        assert!(!NudSet::SHOWN.contains(NudState::Noarp));
        assert!(!NudSet::SHOWN.contains(NudState::None));
        assert!(NudSet::ALL.contains(NudState::None));
    }
}
