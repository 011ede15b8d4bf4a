//! Which options there are, in which modes they mean something, and when they may change.

use skiff_dataplane::device::bond::BondMode;

use super::words::Named;

/// When an option may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    /// While the bond has no members and is down.
    Empty,
    /// While the bond has no members.
    NoMembers,
    /// While the bond is down.
    Down,
}

struct Rule {
    name: &'static str,
    /// One bit a mode.
    modes: u8,
    when: When,
}

const ALL: u8 = 0x7f;
const ARP: u8 =
    only(&[BondMode::BalanceRr, BondMode::ActiveBackup, BondMode::BalanceXor, BondMode::Broadcast]);
const PRIMARY: u8 = only(&[BondMode::ActiveBackup, BondMode::BalanceTlb, BondMode::BalanceAlb]);
const LACP: u8 = only(&[BondMode::Lacp]);

const fn only(modes: &[BondMode]) -> u8 {
    let (mut bits, mut i) = (0, 0);
    while i < modes.len() {
        bits |= 1 << modes[i] as u8;
        i += 1;
    }
    bits
}

const fn rule(name: &'static str, modes: u8, when: When) -> Rule {
    Rule { name, modes, when }
}

/// In the order in which a command's options are carried out.
const RULES: [Rule; 33] = [
    rule("mode", ALL, When::Empty),
    rule("active_slave", PRIMARY, When::Always),
    rule("clear_active_slave", PRIMARY, When::Always),
    rule("miimon", ALL, When::Always),
    rule("updelay", ALL, When::Always),
    rule("downdelay", ALL, When::Always),
    rule("peer_notify_delay", ALL, When::Always),
    rule("use_carrier", ALL, When::Always),
    rule("arp_interval", ARP, When::Always),
    rule("arp_ip_target", ALL, When::Always),
    rule("ns_ip6_target", ALL, When::Always),
    rule("arp_validate", ARP, When::Always),
    rule("arp_all_targets", ALL, When::Always),
    rule("arp_missed_max", ARP, When::Always),
    rule("primary", PRIMARY, When::Always),
    rule("primary_reselect", ALL, When::Always),
    rule("fail_over_mac", ALL, When::NoMembers),
    rule("xmit_hash_policy", ALL, When::Always),
    rule("resend_igmp", ALL, When::Always),
    rule("num_grat_arp", ALL, When::Always),
    rule("num_unsol_na", ALL, When::Always),
    rule("all_slaves_active", ALL, When::Always),
    rule("min_links", ALL, When::Always),
    rule("lp_interval", ALL, When::Always),
    rule("packets_per_slave", only(&[BondMode::BalanceRr]), When::Always),
    rule("lacp_active", LACP, When::Down),
    rule("lacp_rate", LACP, When::Down),
    rule("coupled_control", LACP, When::Down),
    rule("ad_select", ALL, When::Down),
    rule("ad_actor_sys_prio", LACP, When::Always),
    rule("ad_user_port_key", LACP, When::Down),
    rule("ad_actor_system", LACP, When::Always),
    rule("tlb_dynamic_lb", only(&[BondMode::BalanceTlb, BondMode::BalanceAlb]), When::Down),
];

/// The names of all options, as `ip link help bond` has them.
pub const OPTION_NAMES: [&str; RULES.len()] = {
    let (mut names, mut i) = ([""; RULES.len()], 0);
    while i < names.len() {
        names[i] = RULES[i].name;
        i += 1;
    }
    names
};

/// An option there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionName(usize);

impl OptionName {
    /// The option a user wrote. `ip` takes the first one it is an abbreviation of.
    pub fn resolve(word: &str) -> Option<OptionName> {
        if word.is_empty() {
            return None;
        }
        let exact = RULES.iter().position(|rule| rule.name == word);
        exact.or_else(|| RULES.iter().position(|rule| rule.name.starts_with(word))).map(OptionName)
    }

    /// Its name; two that mean the same have one.
    pub fn name(self) -> &'static str {
        match self.rule().name {
            "num_unsol_na" => "num_grat_arp",
            name => name,
        }
    }

    /// It stands alone on the command line: no value follows.
    pub fn is_flag(self) -> bool {
        self.rule().name == "clear_active_slave"
    }

    /// Where it stands among the options of one command.
    pub(super) fn order(self) -> usize {
        self.0
    }

    pub(super) fn check_mode(self, mode: BondMode) -> Result<(), String> {
        if self.rule().modes & 1 << mode as u8 != 0 {
            return Ok(());
        }
        let (name, word, number) = (self.name(), mode.word(), mode as u8);
        Err(format!("option {name}: mode dependency failed, not supported in mode {word}({number})"))
    }

    pub(super) fn check_state(self, up: bool, has_members: bool) -> Result<(), String> {
        let (empty, down) = match self.rule().when {
            When::Always => (false, false),
            When::Empty => (true, true),
            When::NoMembers => (true, false),
            When::Down => (false, true),
        };
        let name = self.name();
        if empty && has_members {
            return Err(format!("option {name}: unable to set because the bond device has slaves"));
        }
        if down && up {
            return Err(format!("option {name}: unable to set because the bond device is up"));
        }
        Ok(())
    }

    fn rule(self) -> &'static Rule {
        &RULES[self.0]
    }
}

/// A number of `min` to `max`, decimal or after `0x`.
pub(super) fn in_range(name: &str, value: &str, min: u32, max: u32) -> Result<u32, String> {
    let number = match value.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => value.parse(),
    };
    let number = number.map_err(|_| bad_value(name, value))?;
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(format!("option {name}: invalid value ({value}), allowed values {min} - {max}"))
}

pub(super) fn bad_value(name: &str, value: &str) -> String {
    format!("option {name}: invalid value ({value})")
}
