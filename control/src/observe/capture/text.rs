//! A line for each packet: time (UTC), device, direction, for drops why and where, and what the packet is.
//!
//! ```text
//! 12:34:56.789012 lan0 rx IP 10.0.0.2 > 10.0.1.2: icmp echo request, length 98
//! 12:34:56.789100 wan0 drop ip_csum at ip_list_rcv: IP 10.0.0.2.4000 > 10.0.1.2.53: udp, length 60
//! ```

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use skiff_dataplane::core::capture::Record;
use skiff_dataplane::net::MacAddr;
use skiff_dataplane::skb::eth::{ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, EthHeader, HEADER_LEN};

/// Adds the line of a packet seen on the device of that name.
pub(super) fn packet(record: &Record, device: &str, out: &mut String) {
    let micros = record.unix_nanos / 1000;
    let second = micros / 1_000_000 % 86_400;
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let _ = write!(out, "{hour:02}:{minute:02}:{:02}.{:06} {device} ", second % 60, micros % 1_000_000);
    let _ = write!(out, "{}", record.direction);
    if let Some((node, reason)) = record.freed {
        let _ = write!(out, " {reason} at {node}:");
    }
    out.push(' ');
    frame(record.bytes(), out);
    let _ = writeln!(out, ", length {}", record.wire_len);
}

fn frame(bytes: &[u8], out: &mut String) {
    let Some(header) = EthHeader::parse(bytes) else { return out.push_str("[cut short]") };
    let (mut kind, mut at) = (header.ethertype(), HEADER_LEN);
    while let (0x8100 | 0x88a8, Some(tag)) = (kind, number(bytes, at)) {
        let _ = write!(out, "vlan {} ", tag & 0xfff);
        let Some(inner) = number(bytes, at + 2) else { break };
        (kind, at) = (inner, at + 4);
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let known = match kind {
        ETH_P_IP => ipv4(rest, out),
        ETH_P_IPV6 => ipv6(rest, out),
        ETH_P_ARP => arp(rest, out),
        _ => None,
    };
    if known.is_none() {
        let _ = write!(out, "{} > {}: ethertype {kind:#06x}", header.src(), header.dst());
    }
}

fn ipv4(bytes: &[u8], out: &mut String) -> Option<()> {
    let header: &[u8; 20] = bytes.first_chunk()?;
    let [.., a, b, c, d, e, f, g, h] = *header;
    let (src, dst) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
    let fragment = number(bytes, 6)? & 0x1fff;
    let rest = bytes.get(usize::from(header[0] & 0xf) * 4..).unwrap_or_default();
    out.push_str("IP ");
    if fragment != 0 {
        let _ = write!(out, "{src} > {dst}: {} fragment at {}", protocol(header[9]), fragment * 8);
        return Some(());
    }
    ends(&src, &dst, header[9], rest, out);
    Some(())
}

fn ipv6(bytes: &[u8], out: &mut String) -> Option<()> {
    let header: &[u8; 40] = bytes.first_chunk()?;
    let address = |at: usize| Some(Ipv6Addr::from(*bytes.get(at..)?.first_chunk::<16>()?));
    out.push_str("IP6 ");
    ends(&address(8)?, &address(24)?, header[6], &bytes[40..], out);
    Some(())
}

fn arp(bytes: &[u8], out: &mut String) -> Option<()> {
    let packet: &[u8; 28] = bytes.first_chunk()?;
    let ip = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
    let (from, asked) = (ip(14)?, ip(24)?);
    let _ = match number(packet, 6)? {
        1 => write!(out, "ARP who-has {asked} tell {from}"),
        2 => write!(out, "ARP {from} is-at {}", MacAddr(*packet.get(8..)?.first_chunk()?)),
        operation => write!(out, "ARP operation {operation} {from} > {asked}"),
    };
    Some(())
}

/// Addresses, with ports where the protocol has them, and the protocol.
fn ends(
    src: &dyn std::fmt::Display,
    dst: &dyn std::fmt::Display,
    number_: u8,
    rest: &[u8],
    out: &mut String,
) {
    let ports = number(rest, 0).zip(number(rest, 2)).filter(|_| matches!(number_, 6 | 17 | 132));
    let _ = match ports {
        Some((from, to)) => write!(out, "{src}.{from} > {dst}.{to}: "),
        None => write!(out, "{src} > {dst}: "),
    };
    out.push_str(&protocol(number_));
    let kind = rest.first().filter(|_| number_ == 1);
    let _ = match kind {
        Some(0) => write!(out, " echo reply"),
        Some(8) => write!(out, " echo request"),
        Some(kind) => write!(out, " type {kind} code {}", rest.get(1).copied().unwrap_or(0)),
        None => Ok(()),
    };
}

fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        2 => "igmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmp6".to_owned(),
        132 => "sctp".to_owned(),
        other => format!("protocol {other}"),
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> String {
        let mut out = String::new();
        frame(bytes, &mut out);
        out
    }

    fn ip(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&[2; 12][..], &[8, 0], &header, payload].concat()
    }

    #[test]
    fn lines_say_who_and_what() {
        assert_eq!(line(&ip(1, &[8, 0, 0, 0])), "IP 10.0.0.1 > 10.0.0.2: icmp echo request");
        assert_eq!(line(&ip(1, &[3, 1, 0, 0])), "IP 10.0.0.1 > 10.0.0.2: icmp type 3 code 1");
        assert_eq!(line(&ip(17, &[0x0f, 0xa0, 0, 53])), "IP 10.0.0.1.4000 > 10.0.0.2.53: udp");
        assert_eq!(line(&ip(89, &[])), "IP 10.0.0.1 > 10.0.0.2: protocol 89");
        let mut fragment = ip(17, &[0; 8]);
        fragment[14 + 7] = 2;
        assert_eq!(line(&fragment), "IP 10.0.0.1 > 10.0.0.2: udp fragment at 16");
        let tagged = [&[2; 12][..], &[0x81, 0, 0x20, 100], &ip(6, &[0, 22, 0, 80])[12..]].concat();
        assert_eq!(line(&tagged), "vlan 100 IP 10.0.0.1.22 > 10.0.0.2.80: tcp");
        let other = [&[2; 12][..], &[0x88, 0xcc], &[0; 8]].concat();
        assert_eq!(line(&other), "02:02:02:02:02:02 > 02:02:02:02:02:02: ethertype 0x88cc");
    }

    #[test]
    fn no_bytes_are_too_odd() {
        let whole = [&ip(1, &[8])[..], &[0x81; 40]].concat();
        for kind in [ETH_P_IP, ETH_P_IPV6, ETH_P_ARP, 0x8100, 0x88a8, 0] {
            let mut bytes = whole.clone();
            bytes[12..14].copy_from_slice(&kind.to_be_bytes());
            for len in 0..bytes.len() {
                assert!(!line(&bytes[..len]).is_empty());
            }
        }
    }
}
