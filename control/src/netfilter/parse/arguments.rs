//! Arguments of commands, and what a chain's name says about its rules.

use skiff_dataplane::netfilter::ip_tables::rule::{IfaceMatch, IpMatch, Policy, RuleCounters};

use super::values;
use crate::config::Fault;
use crate::netfilter::error::quote;

/// The position of a rule, from 1.
pub(super) fn rule_number(text: &str) -> Result<usize, Fault> {
    let number = values::number(text, u64::from(i32::MAX as u32)).filter(|&n| n > 0);
    number
        .and_then(|n| usize::try_from(n).ok())
        .ok_or_else(|| format!("{} is no number of a rule", quote(text)).into())
}

/// The policy of a chain.
pub(super) fn policy(text: &str) -> Result<Policy, Fault> {
    match text {
        "ACCEPT" => Ok(Policy::Accept),
        "DROP" => Ok(Policy::Drop),
        other => Err(Fault::from(format!("{} is no policy: ACCEPT or DROP is wanted", quote(other)))
            .nearest(other, ["ACCEPT", "DROP"])),
    }
}

/// Counters as decimal numbers.
pub(in crate::netfilter) fn counters(packets: &str, bytes: &str) -> Result<RuleCounters, Fault> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|_| digits)
            .ok_or_else(|| Fault::from(format!("{} is no counter", quote(text))))
    };
    Ok(RuleCounters { packets: number(packets)?, bytes: number(bytes)? })
}

/// An interface of a rule that this chain's packets never have, as the option that names it.
pub(in crate::netfilter) fn misplaced_interface(chain: &str, ip: &IpMatch) -> Option<&'static str> {
    let given = |iface: &Option<IfaceMatch>| iface.is_some();
    match chain {
        "PREROUTING" | "INPUT" if given(&ip.outiface) => Some("-o"),
        "OUTPUT" | "POSTROUTING" if given(&ip.iniface) => Some("-i"),
        _ => None,
    }
}
