//! ICMP types by name (RFC 792, 950, 1256, 1812), as `--icmp-type` takes and `-L` prints them.

use skiff_dataplane::netfilter::ip_tables::rule::{IcmpMatch, Range};

use super::values::number;
use crate::config::Fault;
use crate::netfilter::error::quote;

/// Name, type, and code if the name is of one code.
const TYPES: &[(&str, u8, Option<u8>)] = &[
    ("any", 255, None),
    ("echo-reply", 0, None),
    ("pong", 0, None),
    ("destination-unreachable", 3, None),
    ("network-unreachable", 3, Some(0)),
    ("host-unreachable", 3, Some(1)),
    ("protocol-unreachable", 3, Some(2)),
    ("port-unreachable", 3, Some(3)),
    ("fragmentation-needed", 3, Some(4)),
    ("source-route-failed", 3, Some(5)),
    ("network-unknown", 3, Some(6)),
    ("host-unknown", 3, Some(7)),
    ("network-prohibited", 3, Some(9)),
    ("host-prohibited", 3, Some(10)),
    ("TOS-network-unreachable", 3, Some(11)),
    ("TOS-host-unreachable", 3, Some(12)),
    ("communication-prohibited", 3, Some(13)),
    ("host-precedence-violation", 3, Some(14)),
    ("precedence-cutoff", 3, Some(15)),
    ("source-quench", 4, None),
    ("redirect", 5, None),
    ("network-redirect", 5, Some(0)),
    ("host-redirect", 5, Some(1)),
    ("TOS-network-redirect", 5, Some(2)),
    ("TOS-host-redirect", 5, Some(3)),
    ("echo-request", 8, None),
    ("ping", 8, None),
    ("router-advertisement", 9, None),
    ("router-solicitation", 10, None),
    ("time-exceeded", 11, None),
    ("ttl-exceeded", 11, None),
    ("ttl-zero-during-transit", 11, Some(0)),
    ("ttl-zero-during-reassembly", 11, Some(1)),
    ("parameter-problem", 12, None),
    ("ip-header-bad", 12, Some(0)),
    ("required-option-missing", 12, Some(1)),
    ("timestamp-request", 13, None),
    ("timestamp-reply", 14, None),
    ("address-mask-request", 17, None),
    ("address-mask-reply", 18, None),
];

/// `8`, `3/4`, a name, or enough of one.
pub(in crate::netfilter) fn icmp_type(text: &str) -> Result<IcmpMatch, Fault> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return numeric(text);
    }
    let lower = text.to_ascii_lowercase();
    let named = |whole: bool| {
        TYPES
            .iter()
            .filter(move |(name, ..)| name.eq_ignore_ascii_case(text) || (!whole && begins(name, text)))
    };
    let mut found = named(true).chain(named(false));
    let fault = || Fault::from(format!("unknown ICMP type {}", quote(text)));
    let &(name, icmp_type, code) =
        found.next().ok_or_else(|| fault().nearest(&lower, TYPES.iter().map(|t| t.0)))?;
    if !name.eq_ignore_ascii_case(text)
        && let Some((other, ..)) = found.next()
    {
        return Err(format!("ICMP type {} is {} or {}", quote(text), quote(name), quote(other)).into());
    }
    let code = code.map_or(Range { min: 0, max: 255 }, |code| Range { min: code, max: code });
    Ok(IcmpMatch { icmp_type, code })
}

/// The name of a type and its codes.
pub(in crate::netfilter) fn name(icmp: &IcmpMatch) -> Option<&'static str> {
    let same = |&(_, icmp_type, code): &(&str, u8, Option<u8>)| {
        icmp_type == icmp.icmp_type
            && code.map_or(icmp.code.min == 0 && icmp.code.max == 255, |code| {
                icmp.code.min == code && icmp.code.max == code
            })
    };
    TYPES.iter().find(|entry| same(entry)).map(|(name, ..)| *name)
}

fn begins(name: &str, text: &str) -> bool {
    !text.is_empty() && name.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text))
}

fn numeric(text: &str) -> Result<IcmpMatch, Fault> {
    let byte = |part: &str| {
        number(part, 255)
            .and_then(|n| u8::try_from(n).ok())
            .ok_or_else(|| Fault::from(format!("{} is no ICMP type or type/code", quote(text))))
    };
    let whole = Range { min: 0, max: 255 };
    let found = match text.split_once('/') {
        Some((icmp_type, code)) => {
            let code = byte(code)?;
            IcmpMatch { icmp_type: byte(icmp_type)?, code: Range { min: code, max: code } }
        }
        None => IcmpMatch { icmp_type: byte(text)?, code: whole },
    };
    // Any type has any code.
    Ok(if found.icmp_type == 255 { IcmpMatch { icmp_type: 255, code: whole } } else { found })
}

/// The name of a type with one code; a type whose name covers every code goes by code 0.
pub(in crate::netfilter) fn of(icmp_type: u8, code: u8) -> Option<&'static str> {
    let exact = TYPES.iter().find(|entry| entry.1 == icmp_type && entry.2 == Some(code));
    let whole = || TYPES.iter().find(|entry| entry.1 == icmp_type && entry.2.is_none() && code == 0);
    exact.or_else(whole).map(|entry| entry.0)
}
