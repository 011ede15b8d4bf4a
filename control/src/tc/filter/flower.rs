//! flower: header fields (tc-flower(8)).

use std::net::{IpAddr, Ipv4Addr};

use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::sched::cls::ETH_P_ALL;
use skiff_dataplane::sched::cls::flow::{Flower, word};
use skiff_dataplane::skb::eth::{ETH_P_ARP, ETH_P_IP, ETH_P_IPV6};
use skiff_dataplane::skb::ipv4::{IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP};

use super::numbers;
use super::{Common, Options};
use crate::tc::error::TcError;
use crate::tc::units;
use crate::tc::words::{Words, matches};

const ETH_P_RARP: u16 = 0x8035;
/// Keys of tc that need what is not here: tunnels, MPLS, PPPoE, connection tracking.
const UNSUPPORTED: [&str; 22] = [
    "hw_tc",
    "ct_state",
    "ct_zone",
    "ct_mark",
    "ct_label",
    "mpls",
    "mpls_label",
    "mpls_tc",
    "mpls_bos",
    "mpls_ttl",
    "pppoe_sid",
    "ppp_proto",
    "enc_dst_ip",
    "enc_src_ip",
    "enc_key_id",
    "enc_dst_port",
    "enc_tos",
    "enc_ttl",
    "geneve_opts",
    "vxlan_opts",
    "erspan_opts",
    "gtp_opts",
];

/// The options of flower.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowerOptions {
    /// What all kinds have.
    pub common: Common,
    /// What it compares.
    pub flower: Flower,
    /// `indev`, which is among the keys too once it is found.
    pub indev: Option<String>,
}

struct Draft {
    options: FlowerOptions,
    tc_proto: u16,
    /// The EtherType behind the tags, as far as it is given.
    eth_type: u16,
    vlan_ethtype: u16,
    num_of_vlans: u8,
    ip_proto: Option<u8>,
}

fn illegal(what: &str) -> TcError {
    TcError::words(format!("Illegal \"{what}\""))
}

/// Reads number and options of a filter for `protocol`.
pub fn parse(
    handle: Option<&str>,
    protocol: Option<u16>,
    words: &mut Words<'_>,
) -> Result<(u32, Options), TcError> {
    let number = match handle {
        None => 0,
        Some(text) => units::u32_in(text, 0).ok_or_else(|| illegal("handle"))?,
    };
    let tc_proto = protocol.unwrap_or(0);
    let mut draft = Draft {
        options: FlowerOptions::default(),
        tc_proto,
        eth_type: tc_proto,
        vlan_ethtype: 0,
        num_of_vlans: 0,
        ip_proto: None,
    };
    while let Some(word) = words.peek() {
        draft.option(word, words)?;
    }
    draft.finish();
    Ok((number, Options::Flower(Box::new(draft.options))))
}

impl Draft {
    /// Notes bits of a word that must be these.
    fn set(&mut self, at: usize, shift: u32, val: u32, mask: u32) {
        let flower = &mut self.options.flower;
        flower.key.0[at] |= val << shift;
        flower.mask.0[at] |= mask << shift;
    }

    fn option(&mut self, name: &str, words: &mut Words<'_>) -> Result<(), TcError> {
        if self.options.common.option_with(words, "flowid")? {
            return Ok(());
        }
        if matches(name, "verbose") {
            words.skip();
            return Ok(());
        }
        const KEYS: [&str; 26] = [
            "ip_flags",
            "indev",
            "num_of_vlans",
            "vlan_id",
            "vlan_prio",
            "vlan_ethtype",
            "cvlan_id",
            "cvlan_prio",
            "cvlan_ethtype",
            "dst_mac",
            "src_mac",
            "ip_proto",
            "ip_tos",
            "ip_ttl",
            "dst_ip",
            "src_ip",
            "dst_port",
            "src_port",
            "tcp_flags",
            "type",
            "code",
            "arp_tip",
            "arp_sip",
            "arp_op",
            "arp_tha",
            "arp_sha",
        ];
        let Some(key) = KEYS.into_iter().find(|key| matches(name, key)) else {
            if UNSUPPORTED.iter().any(|key| matches(name, key)) {
                return Err(TcError::words(format!("\"{name}\" is not supported")));
            }
            let first = if name == "help" { String::new() } else { format!("What is \"{name}\"?\n") };
            return Err(TcError::words(format!("{first}{}", super::usage::FLOWER)));
        };
        words.skip();
        let value = words.value()?;
        self.key(key, value)
    }

    fn key(&mut self, key: &str, value: &str) -> Result<(), TcError> {
        let found = match key {
            "indev" => {
                self.options.indev = Some(value.into());
                Some(())
            }
            "ip_flags" => self.ip_flags(value),
            "num_of_vlans" => byte(value, 10).map(|n| {
                self.num_of_vlans = n;
                self.set(word::VLANS, 0, n.into(), 0xff);
            }),
            _ if key.contains("vlan_") => return self.vlan(key, value),
            "dst_mac" => self.mac(value, word::DST_MAC, false),
            "src_mac" => self.mac(value, word::DST_MAC, true),
            "ip_proto" => return self.protocol(value),
            "ip_tos" => masked(value, &[10, 16], 16).map(|(v, m)| self.set(word::TCP_TOS_TTL, 8, v, m)),
            "ip_ttl" => masked(value, &[10, 16], 16).map(|(v, m)| self.set(word::TCP_TOS_TTL, 0, v, m)),
            "dst_ip" => return self.address(value, word::DST, key),
            "src_ip" => return self.address(value, word::SRC, key),
            "dst_port" => return self.port(value, false).map_err(|err| err.then(&illegal(key).text)),
            "src_port" => return self.port(value, true).map_err(|err| err.then(&illegal(key).text)),
            "tcp_flags" => self.tcp_flags(value),
            "type" | "code" => {
                let shift = if key == "type" { 24 } else { 16 };
                let of_icmp = matches!(
                    (self.eth_type, self.ip_proto),
                    (ETH_P_IP, Some(IPPROTO_ICMP)) | (ETH_P_IPV6, Some(IPPROTO_ICMPV6))
                );
                let read = masked(value, &[10], 10).filter(|_| of_icmp);
                let read = read.map(|(v, m)| self.set(word::ICMP_ARP, shift, v, m));
                return read.ok_or_else(|| illegal(&format!("icmp {key}")));
            }
            "arp_tip" => self.arp_address(value, word::ARP_TIP),
            "arp_sip" => self.arp_address(value, word::ARP_SIP),
            "arp_op" => self.arp_op(value),
            "arp_tha" => self.mac(value, word::ARP_MACS, true),
            _ => self.mac(value, word::ARP_MACS, false),
        };
        found.ok_or_else(|| illegal(key))
    }

    fn vlan(&mut self, key: &str, value: &str) -> Result<(), TcError> {
        let inner = key.starts_with('c');
        let at = if inner { word::CVLAN } else { word::VLAN };
        let (outer, enough) = match inner {
            true => (self.vlan_ethtype, self.num_of_vlans > 1),
            false if key == "vlan_ethtype" => (self.eth_type, self.num_of_vlans > 0),
            false => (self.tc_proto, self.num_of_vlans > 0),
        };
        if !matches!(outer, 0x8100 | 0x88a8) && !enough {
            let which = if inner { "inner vlan ethertype" } else { "ethertype" };
            let vlans = match (inner, key.ends_with("type")) {
                (true, true) => " and num_of_vlans less than 2",
                (true, false) => " and num_of_vlans is less than 2",
                (false, _) => " and num_of_vlans is 0",
            };
            let which = if key.ends_with("type") { "ethertype" } else { which };
            return Err(TcError::words(format!(
                "Can't set \"{key}\" if {which} isn't 802.1Q or 802.1AD{vlans}"
            )));
        }
        if key.ends_with("ethtype") {
            let proto =
                numbers::protocol(value).ok_or_else(|| TcError::argument(value, "invalid vlan_ethtype"))?;
            if inner {
                self.eth_type = proto;
            } else {
                self.vlan_ethtype = proto;
                self.eth_type = proto;
            }
            if inner || !matches!(proto, 0x8100 | 0x88a8) {
                self.set(word::PROTO, 16, proto.into(), 0xffff);
            } else {
                self.set(word::CVLAN, 16, proto.into(), 0xffff);
            }
            return Ok(());
        }
        let number = units::u32_in(value, 10).ok_or_else(|| illegal(key))?;
        let (most, shift) = if key.ends_with("id") { (0xfff, 0) } else { (7, 13) };
        if number > most {
            return Err(illegal(key));
        }
        self.set(at, shift, number, most);
        Ok(())
    }

    fn ip_flags(&mut self, value: &str) -> Option<()> {
        for token in value.split('/').filter(|token| !token.is_empty()) {
            let (no, name) = token.strip_prefix("no").map_or((false, token), |name| (true, name));
            let bit = match name {
                "frag" => 1,
                "firstfrag" => 2,
                _ => return None,
            };
            self.set(word::FRAGMENT, 0, if no { 0 } else { bit }, bit);
        }
        Some(())
    }

    /// Twelve bytes hold two addresses, of which this is the first or the second.
    fn mac(&mut self, value: &str, at: usize, second: bool) -> Option<()> {
        let (addr, mask) = mac_and_mask(value)?;
        for (i, (byte, mask)) in addr.0.into_iter().zip(mask.0).enumerate() {
            let place = i + if second { 6 } else { 0 };
            self.set(at + place / 4, 24 - 8 * (place as u32 % 4), byte.into(), mask.into());
        }
        Some(())
    }

    fn protocol(&mut self, value: &str) -> Result<(), TcError> {
        let wrong = || TcError::words("Illegal \"eth_type\" for ip proto\nIllegal \"ip_proto\"");
        let (v4, v6) = (self.eth_type == ETH_P_IP, self.eth_type == ETH_P_IPV6);
        if !v4 && !v6 {
            return Err(wrong());
        }
        let proto = match value {
            _ if matches(value, "tcp") => IPPROTO_TCP,
            _ if matches(value, "udp") => IPPROTO_UDP,
            _ if matches(value, "sctp") => IPPROTO_SCTP,
            _ if matches(value, "icmp") && v4 => IPPROTO_ICMP,
            _ if matches(value, "icmp") => return Err(wrong()),
            _ if matches(value, "icmpv6") && v6 => IPPROTO_ICMPV6,
            _ if matches(value, "icmpv6") => return Err(wrong()),
            _ => byte(value, 16).ok_or_else(|| illegal("ip_proto"))?,
        };
        self.ip_proto = Some(proto);
        self.set(word::PROTO, 8, proto.into(), 0xff);
        Ok(())
    }

    fn address(&mut self, value: &str, at: usize, key: &str) -> Result<(), TcError> {
        let bad = || illegal(key);
        let (addr, len) = value.split_once('/').map_or((value, None), |(addr, len)| (addr, Some(len)));
        let addr: IpAddr = addr.parse().map_err(|_| bad())?;
        let (most, of_type) = if addr.is_ipv4() { (32, ETH_P_IP) } else { (128, ETH_P_IPV6) };
        if of_type != self.eth_type {
            return Err(bad());
        }
        let len = match len {
            None => most,
            Some(len) => prefix_len(len).filter(|len| *len <= most).ok_or_else(bad)?,
        };
        match addr {
            IpAddr::V4(addr) => self.set(at, 0, addr.to_bits(), mask_of(len)),
            IpAddr::V6(addr) => {
                for (i, bytes) in addr.octets().chunks_exact(4).enumerate() {
                    let bits = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                    self.set(at + i, 0, bits, mask_of(len.saturating_sub(32 * i as u32).min(32)));
                }
            }
        }
        Ok(())
    }

    fn port(&mut self, value: &str, source: bool) -> Result<(), TcError> {
        let none = || TcError::words("");
        let number = |text: &str| units::u32_in(text, 10).and_then(|n| u16::try_from(n).ok());
        if !matches!(self.ip_proto, Some(IPPROTO_TCP | IPPROTO_UDP | IPPROTO_SCTP)) {
            return Err(none());
        }
        if let Some((first, last)) = value.split_once('-') {
            let range = (number(first).ok_or_else(none)?, number(last).ok_or_else(none)?);
            if range.0 == 0 || range.1 == 0 {
                return Err(none());
            }
            if range.1 <= range.0 {
                return Err(TcError::words("max value should be greater than min value"));
            }
            let flower = &mut self.options.flower;
            let place = if source { &mut flower.src_ports } else { &mut flower.dst_ports };
            *place = Some(range);
            return Ok(());
        }
        let (port, mask) = match value.split_once('/') {
            Some((port, mask)) => {
                let read = |text: &str| units::u32_in(text, 0).filter(|n| *n <= 0xffff).ok_or_else(none);
                (read(port)?, read(mask)?)
            }
            None => (number(value).filter(|port| *port != 0).ok_or_else(none)?.into(), 0xffff),
        };
        self.set(word::PORTS, if source { 16 } else { 0 }, port, mask);
        Ok(())
    }

    fn tcp_flags(&mut self, value: &str) -> Option<()> {
        let (flags, mask) = value.split_once('/').unwrap_or((value, "fff"));
        let read = |text: &str| units::u32_in(text, 16).filter(|n| *n <= 0xfff);
        let (flags, mask) = (read(flags)?, read(mask)?);
        self.set(word::TCP_TOS_TTL, 16, flags, mask);
        Some(())
    }

    fn is_arp(&self) -> Option<()> {
        matches!(self.eth_type, ETH_P_ARP | ETH_P_RARP).then_some(())
    }

    fn arp_address(&mut self, value: &str, at: usize) -> Option<()> {
        self.is_arp()?;
        let (addr, len) = value.split_once('/').unwrap_or((value, "32"));
        let len = prefix_len(len).filter(|len| *len <= 32)?;
        self.set(at, 0, addr.parse::<Ipv4Addr>().ok()?.to_bits(), mask_of(len));
        Some(())
    }

    fn arp_op(&mut self, value: &str) -> Option<()> {
        self.is_arp()?;
        let (op, mask) = value.split_once('/').map_or((value, None), |(op, mask)| (op, Some(mask)));
        let op = match op {
            "request" => 1,
            "reply" => 2,
            op => byte(op, 10).filter(|op| *op <= 2)?,
        };
        let mask = mask.map_or(Some(0xff), |mask| byte(mask, 10))?;
        self.set(word::ICMP_ARP, 0, op.into(), mask.into());
        Some(())
    }

    /// The protocol is among the keys, behind a tag the tag's.
    fn finish(&mut self) {
        match self.tc_proto {
            0 | ETH_P_ALL => {}
            0x8100 | 0x88a8 => self.set(word::VLAN, 16, self.tc_proto.into(), 0xffff),
            proto => self.set(word::PROTO, 16, proto.into(), 0xffff),
        }
    }
}

impl FlowerOptions {
    /// Puts the device among the keys.
    pub fn indev(&mut self, dev: IfIndex) {
        self.flower.key.0[word::INDEV] = dev.0.into();
        self.flower.mask.0[word::INDEV] = u32::MAX;
    }
}

fn byte(text: &str, base: u32) -> Option<u8> {
    units::u32_in(text, base)?.try_into().ok()
}

/// A byte in one of these bases, and its mask in another.
fn masked(text: &str, bases: &[u32], mask_base: u32) -> Option<(u32, u32)> {
    let (val, mask) = text.split_once('/').map_or((text, None), |(val, mask)| (val, Some(mask)));
    let val = bases.iter().find_map(|base| byte(val, *base))?;
    let mask = mask.map_or(Some(0xff), |mask| byte(mask, mask_base))?;
    Some((val.into(), mask.into()))
}

fn mask_of(len: u32) -> u32 {
    u32::MAX.checked_shl(32 - len.min(32)).unwrap_or(0)
}

/// A length, or a mask of IPv4.
fn prefix_len(text: &str) -> Option<u32> {
    units::u32_in(text, 0).or_else(|| {
        let mask = text.parse::<Ipv4Addr>().ok()?.to_bits();
        (mask.leading_ones() + mask.trailing_zeros() == 32).then_some(mask.leading_ones())
    })
}

/// An address, and its mask: bits, or a mask in the form of an address.
fn mac_and_mask(text: &str) -> Option<(MacAddr, MacAddr)> {
    let (addr, mask) = text.split_once('/').map_or((text, None), |(addr, mask)| (addr, Some(mask)));
    let addr: MacAddr = addr.parse().ok()?;
    let mask = match mask {
        None => MacAddr::BROADCAST,
        Some(mask) => match units::u32_in(mask, 10) {
            Some(bits) if bits <= 48 => {
                let word = u64::MAX.checked_shl(64 - bits).unwrap_or(0).to_be_bytes();
                MacAddr(*word.first_chunk()?)
            }
            Some(_) => return None,
            None => mask.parse().ok()?,
        },
    };
    Some((addr, mask))
}
