//! Elements of sets: `10.0.0.0/8`, `10.0.0.1,tcp:80`, `icmp:echo-request`, `80-90`.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use skiff_dataplane::netfilter::ip_tables::rule::{SetEntry, SetKind};

use crate::config::Fault;
use crate::netfilter::error::quote;
use crate::netfilter::names;
use crate::netfilter::parse::values::{address, number};

const ICMP: u8 = 1;
const TCP: u8 = 6;
/// Protocols whose elements have ports.
const WITH_PORTS: [u8; 4] = [TCP, 17, 132, 136];
/// Most elements one element of a command may stand for.
const MOST: u64 = 1 << 20;

/// The names of the types.
pub(super) const KINDS: [(&str, SetKind); 5] = [
    ("hash:ip", SetKind::HashIp),
    ("hash:net", SetKind::HashNet),
    ("hash:ip,port", SetKind::HashIpPort),
    ("hash:net,port", SetKind::HashNetPort),
    ("bitmap:port", SetKind::BitmapPort),
];

/// Whether elements are networks.
pub(super) fn has_networks(kind: SetKind) -> bool {
    matches!(kind, SetKind::HashNet | SetKind::HashNetPort)
}

/// The elements that one word stands for: ranges and, where elements are single addresses, networks are several.
pub(super) fn parse(kind: SetKind, word: &str) -> Result<Vec<SetEntry>, Fault> {
    let two = matches!(kind, SetKind::HashIpPort | SetKind::HashNetPort);
    let (host, port) = match (kind, word.split_once(',')) {
        (SetKind::BitmapPort, None) => (None, Some(word)),
        (_, Some((host, port))) if two => (Some(host), Some(port)),
        (_, None) if !two => (Some(word), None),
        (_, None) => {
            return Err(format!("{} has no port: it is written ADDRESS,PROTOCOL:PORT", quote(word)).into());
        }
        (_, Some(_)) => return Err(format!("{} has more parts than the set", quote(word)).into()),
    };
    let networks = match host {
        Some(host) if has_networks(kind) => networks(host)?,
        Some(host) => addresses(host)?,
        None => vec![(0, 32)],
    };
    let (proto, first, last) = match port {
        Some(port) => ports(port, kind == SetKind::BitmapPort)?,
        None => (0, 0, 0),
    };
    if networks.len() as u64 * (u64::from(last - first) + 1) > MOST {
        return Err(format!("{} stands for more than {MOST} elements", quote(word)).into());
    }
    let of = |&(addr, prefix): &(u32, u8)| {
        (first..=last).map(move |port| SetEntry { addr, prefix, proto, port, nomatch: false })
    };
    Ok(networks.iter().flat_map(of).collect())
}

/// `a`, `a-b` or `a/len` as its first and last address.
fn span(text: &str) -> Result<(u32, u32), Fault> {
    let bad = || Fault::from(format!("{} is no IPv4 address or network", quote(text)));
    let whole = |text: &str| address(text).filter(|_| text.split('.').count() == 4).ok_or_else(bad);
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (whole(first)?, whole(last)?);
        return if first <= last { Ok((first, last)) } else { Ok((last, first)) };
    }
    let Some((host, length)) = text.split_once('/') else {
        return whole(text).map(|addr| (addr, addr));
    };
    let length = number(length, 32).filter(|&n| n > 0).and_then(|n| u32::try_from(n).ok()).ok_or_else(bad)?;
    let mask = u32::MAX << (32 - length);
    let first = whole(host)? & mask;
    Ok((first, first | !mask))
}

fn addresses(text: &str) -> Result<Vec<(u32, u8)>, Fault> {
    let (first, last) = span(text)?;
    if u64::from(last - first) >= MOST {
        return Err(format!("{} stands for more than {MOST} elements", quote(text)).into());
    }
    if first == 0 {
        return Err("0.0.0.0 cannot be an element of a hash".into());
    }
    Ok((first..=last).map(|addr| (addr, 32)).collect())
}

/// The fewest networks that cover the span.
fn networks(text: &str) -> Result<Vec<(u32, u8)>, Fault> {
    let (first, last) = span(text)?;
    let mut found = Vec::new();
    let (mut at, end) = (u64::from(first), u64::from(last) + 1);
    while at < end {
        // Networks have at least one bit of prefix.
        let aligned = if at == 0 { 31 } else { at.trailing_zeros().min(31) };
        let fits = (end - at).ilog2();
        let bits = aligned.min(fits);
        found.push((u32::try_from(at).unwrap_or(u32::MAX), u8::try_from(32 - bits).unwrap_or(32)));
        at += 1 << bits;
    }
    Ok(found)
}

/// `80`, `tcp:80-90`, `icmp:echo-request`, `gre:0`: the protocol and the ports. A set of ports alone keeps no protocol.
fn ports(text: &str, alone: bool) -> Result<(u8, u16, u16), Fault> {
    let (proto, rest) = match text.split_once(':') {
        Some((name, rest)) => {
            let proto = names::protocol(name).filter(|&n| n > 0);
            (proto.ok_or_else(|| format!("unknown protocol {}", quote(name)))?, rest)
        }
        None => (TCP, text),
    };
    if proto == ICMP {
        let icmp = crate::netfilter::parse::icmp_type(rest)?;
        let code = if icmp.code.min == icmp.code.max { icmp.code.min } else { 0 };
        let port = u16::from(icmp.icmp_type) << 8 | u16::from(code);
        return Ok((proto, port, port));
    }
    if !WITH_PORTS.contains(&proto) {
        return match rest {
            "0" => Ok((proto, 0, 0)),
            _ => Err(format!("{} has no ports: write 0 in their place", names::protocol_name(proto)).into()),
        };
    }
    let service = names::protocol_name(proto);
    let one = |text: &str| crate::netfilter::parse::values::port(text, &service);
    let (first, last) = match one(rest) {
        Ok(port) => (port, port),
        Err(fault) => match rest.split_once('-') {
            Some((first, last)) => (one(first)?, one(last)?),
            None => return Err(fault),
        },
    };
    let (first, last) = (first.min(last), first.max(last));
    Ok((if alone { 0 } else { proto }, first, last))
}

/// An element as ipset prints it.
pub(super) fn print(kind: SetKind, entry: &SetEntry) -> String {
    let mut text = String::new();
    if kind != SetKind::BitmapPort {
        let _ = write!(text, "{}", Ipv4Addr::from_bits(entry.addr));
        if entry.prefix < 32 {
            let _ = write!(text, "/{}", entry.prefix);
        }
    }
    match kind {
        SetKind::BitmapPort => text = entry.port.to_string(),
        SetKind::HashIpPort | SetKind::HashNetPort => {
            let proto = names::protocol_name(entry.proto);
            let _ = write!(text, ",{proto}:{}", port(entry));
        }
        SetKind::HashIp | SetKind::HashNet => {}
    }
    if entry.nomatch {
        text.push_str(" nomatch");
    }
    text
}

/// The port, or the name of the ICMP type.
fn port(entry: &SetEntry) -> String {
    if entry.proto != ICMP {
        return entry.port.to_string();
    }
    let (icmp_type, code) = (entry.port >> 8, entry.port & 0xff);
    crate::netfilter::parse::icmp_of(icmp_type as u8, code as u8)
        .map_or_else(|| format!("{icmp_type}/{code}"), str::to_owned)
}
