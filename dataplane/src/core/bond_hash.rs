//! `bond_xmit_hash`: which member of a bond a flow takes, bit for bit as the kernel computes it, so that both ends of a
//! bundle can be reasoned about alike.
//!
//! Addresses and ports are taken as the four bytes on the wire loaded in little-endian order, as x86 kernels do.
//!
//! One tag in front of a frame is no part of what is hashed but for vlan+srcmac: where the kernel gives a bond a tagged
//! frame, the tag stands beside it. A second one is the frame's own.

use crate::device::bond::XmitPolicy;
use crate::device::vlan::VlanProto;
use crate::fib::flow_keys::LOOKED_AT;
use crate::fib::multipath::ports_offset;
use crate::skb::eth::{self, ETH_P_ARP, ETH_P_IP, ETH_P_IPV6};
use crate::skb::icmp;
use crate::skb::ipv4::{
    IPPROTO_GRE, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_TCP, IPPROTO_UDP,
    Ipv4Header,
};
use crate::skb::vlan::VLAN_HLEN;
use crate::skb::{Skb, SkbExt};

const ETH_P_MPLS_UC: u16 = 0x8847;
const ETH_P_MPLS_MC: u16 = 0x8848;
/// Transparent Ethernet bridging, in GRE.
const ETH_P_TEB: u16 = 0x6558;
/// Bytes of a frame that are looked at.
const FRAME_LOOKED_AT: usize = eth::HEADER_LEN + VLAN_HLEN + LOOKED_AT;
/// Headers that are looked into, so that no packet keeps an lcore busy. The kernel's limit is 15 a packet.
const MAX_LAYERS: usize = 15;

/// The hash of a frame as it is on the bond.
#[inline]
pub fn bond_xmit_hash(policy: XmitPolicy, skb: &Skb) -> u32 {
    match policy {
        XmitPolicy::Layer34 => layer34(skb),
        XmitPolicy::Layer2 => layer2(skb),
        _ => of_copy(policy, skb),
    }
}

/// Layer 3+4: at once for TCP and UDP behind a plain IPv4 header.
#[inline]
pub fn layer34(skb: &Skb) -> u32 {
    const PORTS_END: usize = eth::HEADER_LEN + 20 + 4;
    if let Some(frame) = skb.data().first_chunk::<PORTS_END>() {
        let plain = (u16::from_be_bytes([frame[12], frame[13]]) == ETH_P_IP)
            & (frame[14] == 0x45)
            & (u16::from_be_bytes([frame[20], frame[21]]) & 0x3fff == 0)
            & matches!(frame[23], IPPROTO_TCP | IPPROTO_UDP);
        if plain {
            let [.., a, b, c, d, e, f, g, h, i, j, k, l] = *frame;
            let addresses = u32::from_le_bytes([a, b, c, d]) ^ u32::from_le_bytes([e, f, g, h]);
            return fold(addresses ^ u32::from_le_bytes([i, j, k, l])) >> 1;
        }
    }
    of_copy(XmitPolicy::Layer34, skb)
}

/// Layer 2: at once without a tag.
#[inline]
pub fn layer2(skb: &Skb) -> u32 {
    match skb.data().first_chunk::<{ eth::HEADER_LEN }>() {
        Some(header) if VlanProto::from_tpid(ethertype(header)).is_none() => {
            eth_hash(header, ethertype(header))
        }
        _ => of_copy(XmitPolicy::Layer2, skb),
    }
}

/// The segments of a packet may end anywhere: looks at a copy.
#[cold]
fn of_copy(policy: XmitPolicy, skb: &Skb) -> u32 {
    let mut bytes = [0u8; FRAME_LOOKED_AT];
    let len = skb.len().min(bytes.len());
    if !skb.copy_out(0, &mut bytes[..len]) {
        return 0;
    }
    hash_frame(policy, &bytes[..len], skb.tx_vlan())
}

/// The hash of a frame's bytes. `tag` is the control information of the tag beside it.
pub fn hash_frame(policy: XmitPolicy, frame: &[u8], tag: Option<u16>) -> u32 {
    let Some(header) = frame.first_chunk::<{ eth::HEADER_LEN }>() else { return 0 };
    let (tag, protocol, network) = untag(frame, tag);
    let packet = frame.get(network..).unwrap_or(&[]);
    match policy {
        XmitPolicy::Layer2 => eth_hash(header, protocol),
        XmitPolicy::VlanSrcmac => vlan_srcmac(header, tag),
        XmitPolicy::Layer23 => match ip_keys(packet, protocol, false) {
            Some(keys) => fold(eth_hash(header, protocol) ^ keys.addresses),
            None => eth_hash(header, protocol),
        },
        XmitPolicy::Layer34 => match ip_keys(packet, protocol, true) {
            Some(keys) => fold(keys.word() ^ keys.addresses) >> 1,
            None => eth_hash(header, protocol),
        },
        XmitPolicy::Encap23 => match dissect(packet, protocol) {
            Some(keys) => fold(eth_hash(header, protocol) ^ keys.addresses),
            None => eth_hash(header, protocol),
        },
        XmitPolicy::Encap34 => match dissect(packet, protocol) {
            Some(keys) => fold(keys.word() ^ keys.addresses) >> 1,
            None => eth_hash(header, protocol),
        },
    }
}

/// The tag of a frame, beside it or in front, the protocol behind it, and where that begins.
pub fn untag(frame: &[u8], tag: Option<u16>) -> (Option<u16>, u16, usize) {
    let word = |at: usize| frame.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
    let protocol = word(12);
    if tag.is_some() || VlanProto::from_tpid(protocol).is_none() {
        return (tag, protocol, eth::HEADER_LEN);
    }
    (Some(word(14)), word(16), eth::HEADER_LEN + VLAN_HLEN)
}

#[inline]
fn ethertype(header: &[u8; eth::HEADER_LEN]) -> u16 {
    u16::from_be_bytes([header[12], header[13]])
}

#[inline]
fn eth_hash(header: &[u8; eth::HEADER_LEN], protocol: u16) -> u32 {
    u32::from(header[5] ^ header[11]) ^ u32::from(protocol)
}

fn vlan_srcmac(header: &[u8; eth::HEADER_LEN], tag: Option<u16>) -> u32 {
    let half = |at: usize| u32::from_be_bytes([0, header[at], header[at + 1], header[at + 2]]);
    half(6) ^ half(9) ^ u32::from(tag.unwrap_or(0))
}

#[inline]
fn fold(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash ^ (hash >> 8)
}

/// What a hash takes from behind the Ethernet header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Keys {
    /// Source and destination, folded together.
    addresses: u32,
    /// The ports' bytes.
    ports: u32,
    /// Type, code and identifier of ICMP; 0 without an identifier.
    icmp: u32,
}

impl Keys {
    fn word(&self) -> u32 {
        if self.icmp != 0 { self.icmp } else { self.ports }
    }
}

/// One IP header: what it says, the protocol behind it if it has one to look at, and where that begins.
struct IpLayer {
    addresses: u32,
    protocol: Option<u8>,
    payload: usize,
}

fn words(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(4).fold(0, |all, word| all ^ u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

/// The kernel's `bond_flow_ip`: the fixed header only. Behind a fragment nothing is looked at.
fn ip_layer(packet: &[u8], ethertype: u16) -> Option<IpLayer> {
    match ethertype {
        ETH_P_IP => {
            let header = Ipv4Header::parse(packet)?;
            Some(IpLayer {
                addresses: words(packet.get(12..20)?),
                protocol: (!header.is_fragment()).then_some(header.protocol()),
                payload: header.header_len(),
            })
        }
        ETH_P_IPV6 => {
            let addresses = words(packet.get(8..40)?);
            Some(IpLayer { addresses, protocol: packet.get(6).copied(), payload: 40 })
        }
        _ => None,
    }
}

/// Layer 2+3 and 3+4: the packet's own header; for an ICMP error, that of the packet it quotes, so that it goes the way of
/// its flow.
fn ip_keys(packet: &[u8], ethertype: u16, with_ports: bool) -> Option<Keys> {
    let outer = ip_layer(packet, ethertype)?;
    let behind = packet.get(outer.payload..).unwrap_or(&[]);
    let mut keys = Keys { addresses: outer.addresses, ..Keys::default() };
    let Some(protocol) = outer.protocol else { return Some(keys) };
    if !matches!(protocol, IPPROTO_ICMP | IPPROTO_ICMPV6) {
        keys.ports = if with_ports { ports(behind, protocol) } else { 0 };
        return Some(keys);
    }
    let Some(&[kind, ..]) = behind.first_chunk::<{ icmp::HEADER_LEN }>() else { return Some(keys) };
    keys.icmp = icmp_word(behind);
    let is_error = match protocol {
        IPPROTO_ICMP => icmp::is_error(kind),
        // Destination unreachable, packet too big, time exceeded, parameter problem (RFC 4443).
        _ => matches!(kind, 1..=4),
    };
    if !is_error {
        return Some(keys);
    }
    let quoted = behind.get(icmp::HEADER_LEN..)?;
    let inner = ip_layer(quoted, ethertype)?;
    keys.addresses = inner.addresses;
    if let (Some(protocol), true) = (inner.protocol, with_ports) {
        keys.ports = ports(quoted.get(inner.payload..).unwrap_or(&[]), protocol);
    }
    Some(keys)
}

fn ports(segment: &[u8], protocol: u8) -> u32 {
    let at = ports_offset(protocol);
    at.and_then(|at| segment.get(at..)?.first_chunk().copied()).map_or(0, u32::from_le_bytes)
}

/// Type, code and identifier as one word, if the message has an identifier; one of 0 counts as 1. The kernel asks for the
/// type without regard to the version of IP.
fn icmp_word(message: &[u8]) -> u32 {
    const ICMPV6_ECHO_REQUEST: u8 = 128;
    const ICMPV6_ECHO_REPLY: u8 = 129;
    let Some(&[kind, code, _, _, a, b, _, _]) = message.first_chunk::<{ icmp::HEADER_LEN }>() else {
        return 0;
    };
    let has_id = matches!(
        kind,
        icmp::ICMP_ECHO
            | icmp::ICMP_ECHOREPLY
            | icmp::ICMP_TIMESTAMP
            | icmp::ICMP_TIMESTAMPREPLY
            | ICMPV6_ECHO_REQUEST
            | ICMPV6_ECHO_REPLY
    );
    let id = u32::from(u16::from_be_bytes([a, b]).max(1));
    if has_id { u32::from(kind) | u32::from(code) << 8 | id << 16 } else { 0 }
}

/// The innermost headers, as the kernel's flow dissector finds them: through tags, IP in IP and GRE. `None` for what it
/// does not know or what is cut short.
fn dissect(mut bytes: &[u8], mut ethertype: u16) -> Option<Keys> {
    let mut keys = Keys::default();
    for _ in 0..MAX_LAYERS {
        let (protocol, segment) = match ethertype {
            ETH_P_IP => {
                let layer = ip_layer(bytes, ethertype)?;
                keys.addresses = layer.addresses;
                if layer.payload < 20 {
                    return None;
                }
                let Some(protocol) = layer.protocol else { return Some(keys) };
                (protocol, bytes.get(layer.payload..).unwrap_or(&[]))
            }
            ETH_P_IPV6 => {
                keys.addresses = ip_layer(bytes, ethertype)?.addresses;
                match ipv6_payload(bytes)? {
                    Some(found) => found,
                    None => return Some(keys),
                }
            }
            _ if VlanProto::from_tpid(ethertype).is_some() => {
                let [_, _, a, b] = *bytes.first_chunk()?;
                (ethertype, bytes) = (u16::from_be_bytes([a, b]), &bytes[VLAN_HLEN..]);
                continue;
            }
            // Known, but without anything that tells flows apart.
            ETH_P_ARP | ETH_P_MPLS_UC | ETH_P_MPLS_MC => return Some(keys),
            _ => return None,
        };
        (ethertype, bytes) = match protocol {
            IPPROTO_IPIP => (ETH_P_IP, segment),
            IPPROTO_IPV6 => (ETH_P_IPV6, segment),
            IPPROTO_GRE => match inside_gre(segment)? {
                Some(inside) => inside,
                None => return Some(keys),
            },
            _ => {
                keys.ports = ports(segment, protocol);
                if matches!(protocol, IPPROTO_ICMP | IPPROTO_ICMPV6) {
                    keys.icmp = icmp_word(segment);
                }
                return Some(keys);
            }
        };
    }
    Some(keys)
}

/// The protocol behind the extension headers and where it begins; inside, `None` for a fragment.
fn ipv6_payload(packet: &[u8]) -> Option<Option<(u8, &[u8])>> {
    let (mut protocol, mut at) = (*packet.get(6)?, 40);
    for _ in 0..MAX_LAYERS {
        match protocol {
            // Hop-by-hop options, routing, destination options (RFC 8200 section 4).
            0 | 43 | 60 => {
                let [next, words] = *packet.get(at..)?.first_chunk()?;
                (protocol, at) = (next, at + 8 * (usize::from(words) + 1));
            }
            44 => return Some(None),
            _ => break,
        }
    }
    Some(Some((protocol, packet.get(at..).unwrap_or(&[]))))
}

/// What GRE carries (RFC 2784 and 2890); inside, `None` if it is of a kind that is not looked into.
fn inside_gre(bytes: &[u8]) -> Option<Option<(u16, &[u8])>> {
    let [flags, version, a, b] = *bytes.first_chunk()?;
    if flags & 0x40 != 0 || version & 7 != 0 {
        return Some(None);
    }
    let words = [0x80, 0x20, 0x10].into_iter().filter(|bit| flags & bit != 0).count();
    let payload = bytes.get(4 + 4 * words..)?;
    let protocol = u16::from_be_bytes([a, b]);
    if protocol != ETH_P_TEB {
        return Some(Some((protocol, payload)));
    }
    let header = payload.first_chunk::<{ eth::HEADER_LEN }>()?;
    Some(Some((ethertype(header), &payload[eth::HEADER_LEN..])))
}

/// The protocol of a frame behind one tag, and where it begins. Cheap for frames without a tag.
#[inline]
pub fn protocol_of(skb: &Skb) -> (u16, usize) {
    match skb.head() {
        Some(head) if VlanProto::from_tpid(head.ethertype()).is_none() => (head.ethertype(), eth::HEADER_LEN),
        _ => {
            let (_, protocol, network) = untag(skb.data(), skb.tx_vlan());
            (protocol, network)
        }
    }
}
