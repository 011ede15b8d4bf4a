//! The columns of `iptables -L`.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use skiff_dataplane::netfilter::ip_tables::rule::{
    AddrMatch, IfaceMatch, Policy, Rule, RuleCounters, Target,
};

use super::save::{iface_name, mask};
use super::{list, targets};
use crate::netfilter::draft::DraftChain;
use crate::netfilter::names;
use crate::netfilter::parse::Listing;

/// The two lines over a chain.
pub(in crate::netfilter) fn header(chain: &DraftChain, references: usize, listing: Listing) -> String {
    let mut text = format!("Chain {}", chain.name);
    let policy = chain.policy.map(|policy| if policy == Policy::Accept { "ACCEPT" } else { "DROP" });
    let _ = match (policy, listing.verbose) {
        (Some(policy), true) => {
            let RuleCounters { packets, bytes } = chain.counters;
            let (packets, bytes) = (number(packets, listing, 0), number(bytes, listing, 0));
            writeln!(text, " (policy {policy} {packets} packets, {bytes} bytes)")
        }
        (Some(policy), false) => writeln!(text, " (policy {policy})"),
        (None, _) => writeln!(text, " ({references} references)"),
    };
    if listing.line_numbers {
        text.push_str("num  ");
    }
    if listing.verbose {
        text.push_str(if listing.exact { "    pkts      bytes " } else { " pkts bytes " });
    }
    let _ = write!(text, "{:<9}  prot opt", "target");
    if listing.verbose {
        let _ = write!(text, " {:<6} {:<6} ", "in", "out");
    }
    let _ = writeln!(text, " {:<19}  {:<19} ", "source", "destination");
    text
}

/// One rule.
pub(in crate::netfilter) fn row(at: usize, rule: &Rule, listing: Listing) -> String {
    let mut text = String::new();
    if listing.line_numbers {
        let _ = write!(text, "{at:<4} ");
    }
    if listing.verbose {
        let RuleCounters { packets, bytes } = rule.counters;
        let width = if listing.exact { 8 } else { 5 };
        let _ = write!(text, "{} {} ", number(packets, listing, width), number(bytes, listing, width));
    }
    let proto = match (rule.ip.proto, listing.numeric) {
        (Some(proto), true) => proto.value.to_string(),
        (Some(proto), false) => names::protocol_name(proto.value),
        (None, true) => "0".to_owned(),
        (None, false) => "all".to_owned(),
    };
    let not = |invert: bool| if invert { '!' } else { ' ' };
    let _ = write!(
        text,
        "{:<9} {}{proto:<4} ",
        targets::name(&rule.target),
        not(rule.ip.proto.is_some_and(|p| p.invert))
    );
    text.push_str(match rule.ip.fragment.map(|fragment| fragment.invert) {
        None => "-- ",
        Some(false) => "-f ",
        Some(true) => "!f ",
    });
    if listing.verbose {
        let (iniface, outiface) =
            (interface(rule.ip.iniface.as_ref(), listing), interface(rule.ip.outiface.as_ref(), listing));
        let _ = write!(text, " {iniface:<6} {outiface:<6} ");
    }
    for side in [&rule.ip.src, &rule.ip.dst] {
        let _ = write!(text, "{}{:<19} ", not(side.invert), address(side, listing));
    }
    if matches!(rule.target, Target::Jump { goto: true, .. }) {
        text.push_str("[goto] ");
    }
    list::details(&mut text, rule, listing.numeric);
    text.push('\n');
    text
}

fn interface(iface: Option<&IfaceMatch>, listing: Listing) -> String {
    match iface {
        Some(iface) => format!("{}{}", if iface.invert { "!" } else { "" }, iface_name(iface)),
        None if listing.numeric => "*".to_owned(),
        None => "any".to_owned(),
    }
}

fn address(address: &AddrMatch, listing: Listing) -> String {
    match address.mask {
        0 if !listing.numeric => "anywhere".to_owned(),
        u32::MAX => Ipv4Addr::from_bits(address.addr).to_string(),
        bits => format!("{}/{}", Ipv4Addr::from_bits(address.addr), mask(bits)),
    }
}

/// A counter, in thousands, millions and so on if it has more than five digits, unless all of them are wanted.
fn number(value: u64, listing: Listing, width: usize) -> String {
    if listing.exact || value <= 99_999 {
        return format!("{value:>width$}");
    }
    let mut value = value;
    let mut letter = 'K';
    for next in ['K', 'M', 'G', 'T'] {
        value = value.saturating_add(500) / 1000;
        letter = next;
        if value <= 9999 {
            break;
        }
    }
    format!("{:>width$}", format!("{value}{letter}"))
}
