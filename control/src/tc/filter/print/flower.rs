//! flower as tc prints it.

use std::net::{Ipv4Addr, Ipv6Addr};

use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::sched::cls::flow::{Flower, word};
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::skb::eth::{ETH_P_ARP, ETH_P_IP, ETH_P_IPV6};

use super::{Devices, FilterRow, Show};
use crate::tc::filter::numbers::print_protocol;
use crate::tc::filter::out::Out;

/// The keys of a filter.
struct Keys<'a> {
    flower: &'a Flower,
}

impl Keys<'_> {
    /// The bits `mask << shift` of a word and of its mask; `None` if none of them counts.
    fn get(&self, at: usize, shift: u32, bits: u32) -> Option<(u32, u32)> {
        let mask = self.flower.mask.0[at] >> shift & bits;
        (mask != 0).then_some((self.flower.key.0[at] >> shift & bits, mask))
    }

    /// Six bytes of twelve.
    fn mac(&self, at: usize, second: bool) -> Option<(MacAddr, MacAddr)> {
        let bytes = |words: &[u32]| -> [u8; 6] {
            std::array::from_fn(|i| {
                let place = i + if second { 6 } else { 0 };
                words.get(at + place / 4).map_or(0, |w| w.to_be_bytes()[place % 4])
            })
        };
        let mask = bytes(&self.flower.mask.0);
        (mask != [0; 6]).then(|| (MacAddr(bytes(&self.flower.key.0)), MacAddr(mask)))
    }

    fn v6(&self, at: usize) -> Option<(u128, u128)> {
        let join = |words: &[u32]| words[at..at + 4].iter().fold(0u128, |all, w| all << 32 | u128::from(*w));
        let mask = join(&self.flower.mask.0);
        (mask != 0).then(|| (join(&self.flower.key.0), mask))
    }
}

/// A line of its own.
fn line(out: &mut Out, name: &str, value: impl std::fmt::Display) {
    out.str(name, &format!("\n  {name} "), value, "");
}

fn number(out: &mut Out, name: &str, value: u32) {
    out.num(name, &format!("\n  {name} "), value, "");
}

/// A number with its mask, if that is not all bits.
fn masked(out: &mut Out, name: &str, found: Option<(u32, u32)>, all: u32) {
    let Some((value, mask)) = found else { return };
    number(out, name, value);
    if mask != all {
        out.hex(&format!("{name}_mask"), mask, format_args!("/{mask:#x}"));
    }
}

/// The same as one word, the mask in decimal.
fn masked_word(out: &mut Out, name: &str, found: Option<(u32, u32)>, names: &[(u32, &str)]) {
    let Some((value, mask)) = found else { return };
    let named = names.iter().find(|(v, _)| *v == value && mask == 0xff).map(|(_, n)| (*n).to_owned());
    let text = named.unwrap_or_else(|| value.to_string());
    let mask = if mask == 0xff { String::new() } else { format!("/{mask}") };
    line(out, name, format_args!("{text}{mask}"));
}

fn mac(out: &mut Out, name: &str, found: Option<(MacAddr, MacAddr)>) {
    let Some((addr, mask)) = found else { return };
    let [a, b, c, d, e, f] = mask.0;
    let word = u64::from_be_bytes([a, b, c, d, e, f, 0, 0]);
    let bits = word.leading_ones();
    match () {
        () if bits == 48 => line(out, name, addr),
        () if word.checked_shl(bits) == Some(0) => line(out, name, format_args!("{addr}/{bits}")),
        () => line(out, name, format_args!("{addr}/{mask}")),
    }
}

fn v4(out: &mut Out, name: &str, found: Option<(u32, u32)>) {
    let Some((addr, mask)) = found else { return };
    let (addr, bits) = (Ipv4Addr::from_bits(addr), mask.leading_ones());
    match () {
        () if bits == 32 => line(out, name, addr),
        () if bits + mask.trailing_zeros() == 32 => line(out, name, format_args!("{addr}/{bits}")),
        () => line(out, name, format_args!("{addr}/{}", Ipv4Addr::from_bits(mask))),
    }
}

fn v6(out: &mut Out, name: &str, found: Option<(u128, u128)>) {
    let Some((addr, mask)) = found else { return };
    let (addr, bits) = (Ipv6Addr::from_bits(addr), mask.leading_ones());
    match bits {
        128 => line(out, name, addr),
        bits => line(out, name, format_args!("{addr}/{bits}")),
    }
}

/// All of it.
pub(super) fn print(out: &mut Out, row: &FilterRow, flower: &Flower, show: Show, devices: &dyn Devices) {
    let keys = Keys { flower };
    out.shown("handle", row.handle, format_args!("handle {:#x} ", row.handle));
    if row.classid != TcHandle::UNSPEC {
        out.str("classid", "classid ", row.classid, " ");
    }
    if let Some((dev, _)) = keys.get(word::INDEV, 0, u32::MAX) {
        line(out, "indev", devices.name(IfIndex(dev as u16)).unwrap_or_default());
    }
    out.open("keys");
    tags(out, &keys);
    mac(out, "dst_mac", keys.mac(word::DST_MAC, false));
    mac(out, "src_mac", keys.mac(word::DST_MAC, true));
    let eth_type = keys.get(word::PROTO, 16, 0xffff).map(|(proto, _)| proto as u16);
    if let Some(proto) = eth_type {
        match proto {
            ETH_P_IP => line(out, "eth_type", "ipv4"),
            ETH_P_IPV6 => line(out, "eth_type", "ipv6"),
            ETH_P_ARP => line(out, "eth_type", "arp"),
            0x8035 => line(out, "eth_type", "rarp"),
            proto => line(out, "eth_type", format_args!("{proto:04x}")),
        }
    }
    ip(out, &keys, eth_type);
    arp(out, &keys, eth_type);
    fragments(out, &keys);
    out.close();
    super::hardware(out, row, "\n  ", "");
    super::actions(out, row, show, devices);
}

fn tags(out: &mut Out, keys: &Keys<'_>) {
    let numbers = [
        ("num_of_vlans", word::VLANS, 0, 0xff),
        ("vlan_id", word::VLAN, 0, 0xfff),
        ("vlan_prio", word::VLAN, 13, 7),
    ];
    for (name, at, shift, bits) in numbers {
        if let Some((value, _)) = keys.get(at, shift, bits) {
            number(out, name, value);
        }
    }
    let inner = keys.get(word::CVLAN, 16, 0xffff);
    let proto = keys.get(word::PROTO, 16, 0xffff);
    let tagged = keys.get(word::VLAN, 16, 0xffff);
    if let (Some((proto, _)), Some(_)) = (inner.or(proto), tagged) {
        line(out, "vlan_ethtype", print_protocol(proto as u16));
    }
    for (name, shift, bits) in [("cvlan_id", 0, 0xfff), ("cvlan_prio", 13, 7)] {
        if let Some((value, _)) = keys.get(word::CVLAN, shift, bits) {
            number(out, name, value);
        }
    }
    if let (Some((proto, _)), Some(_)) = (proto, inner) {
        line(out, "cvlan_ethtype", print_protocol(proto as u16));
    }
}

fn ip(out: &mut Out, keys: &Keys<'_>, eth_type: Option<u16>) {
    let protocol = keys.get(word::PROTO, 8, 0xff).map(|(proto, _)| proto);
    match protocol {
        None => {}
        Some(6) => line(out, "ip_proto", "tcp"),
        Some(17) => line(out, "ip_proto", "udp"),
        Some(132) => line(out, "ip_proto", "sctp"),
        Some(1) => line(out, "ip_proto", "icmp"),
        Some(58) => line(out, "ip_proto", "icmpv6"),
        Some(other) => line(out, "ip_proto", format_args!("{other:02x}")),
    }
    masked(out, "ip_tos", keys.get(word::TCP_TOS_TTL, 8, 0xff), 0xff);
    masked(out, "ip_ttl", keys.get(word::TCP_TOS_TTL, 0, 0xff), 0xff);
    for (name, at) in [("dst_ip", word::DST), ("src_ip", word::SRC)] {
        match eth_type {
            Some(ETH_P_IP) => v4(out, name, keys.get(at, 0, u32::MAX)),
            Some(ETH_P_IPV6) => v6(out, name, keys.v6(at)),
            _ => {}
        }
    }
    masked(out, "dst_port", keys.get(word::PORTS, 0, 0xffff), 0xffff);
    masked(out, "src_port", keys.get(word::PORTS, 16, 0xffff), 0xffff);
    for (name, range) in [("dst_port", keys.flower.dst_ports), ("src_port", keys.flower.src_ports)] {
        if let Some((first, last)) = range {
            out.raw(format_args!("\n  {name} {first}-{last}"));
            out.open(name);
            out.json_num("start", first);
            out.json_num("end", last);
            out.close();
        }
    }
    if let Some((flags, mask)) = keys.get(word::TCP_TOS_TTL, 16, 0xfff) {
        line(out, "tcp_flags", format_args!("{flags:#x}/{mask:x}"));
    }
    if matches!((eth_type, protocol), (Some(ETH_P_IP), Some(1)) | (Some(ETH_P_IPV6), Some(58))) {
        masked_word(out, "icmp_type", keys.get(word::ICMP_ARP, 24, 0xff), &[]);
        masked_word(out, "icmp_code", keys.get(word::ICMP_ARP, 16, 0xff), &[]);
    }
}

fn arp(out: &mut Out, keys: &Keys<'_>, eth_type: Option<u16>) {
    if !matches!(eth_type, Some(ETH_P_ARP | 0x8035)) {
        return;
    }
    v4(out, "arp_sip", keys.get(word::ARP_SIP, 0, u32::MAX));
    v4(out, "arp_tip", keys.get(word::ARP_TIP, 0, u32::MAX));
    masked_word(out, "arp_op", keys.get(word::ICMP_ARP, 0, 0xff), &[(1, "request"), (2, "reply")]);
    mac(out, "arp_sha", keys.mac(word::ARP_MACS, false));
    mac(out, "arp_tha", keys.mac(word::ARP_MACS, true));
}

fn fragments(out: &mut Out, keys: &Keys<'_>) {
    let Some((flags, mask)) = keys.get(word::FRAGMENT, 0, 3) else { return };
    out.raw("\n  ip_flags ");
    out.open("ip_flags");
    let mut between = "";
    for (name, bit) in [("frag", 1), ("firstfrag", 2)] {
        if mask & bit != 0 {
            let no = if flags & bit == 0 { "no" } else { "" };
            out.shown(name, flags & bit != 0, format_args!("{between}{no}{name}"));
            between = "/";
        }
    }
    out.close();
}
