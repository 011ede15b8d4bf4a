//! What tells flows apart, taken from a packet and the tunnels in it (kernel: `skb_flow_dissect_flow_keys`).
//!
//! Looked into: IP in IP, IPv6 in IPv4, and GRE version 0 without routing that carries either or Ethernet. Fragments
//! have no ports, the first one neither, so that a datagram stays together.

use super::multipath::{self, FlowHash};
use crate::skb::eth::{ETH_P_IP, ETH_P_IPV6};
use crate::skb::ipv4::{IPPROTO_GRE, IPPROTO_IPIP, IPPROTO_IPV6, Ipv4Header};

/// Bytes of a packet that are looked at, from its IP header on.
pub const LOOKED_AT: usize = 192;

/// Layers that are looked into, so that no packet keeps an lcore busy.
const MAX_LAYERS: usize = 4;

/// What one layer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowKeys {
    /// The addresses are IPv6.
    pub is_v6: bool,
    /// Source address, host order; of IPv4 the lower 32 bits.
    pub src: u128,
    /// Destination address, likewise.
    pub dst: u128,
    /// Protocol; of IPv6 that behind the extension headers.
    pub protocol: u8,
    /// Source port, or the upper half of an IPsec SPI; 0 without ports.
    pub src_port: u16,
    /// Destination port, or the lower half of an IPsec SPI; 0 without ports.
    pub dst_port: u16,
    /// IPv6 flow label.
    pub flow_label: u32,
}

/// The outer layer of a packet and, if it is a tunnel's, the innermost one.
pub fn dissect(packet: &[u8]) -> (FlowKeys, Option<FlowKeys>) {
    let Some((outer, mut inside)) = ipv4_layer(packet) else { return Default::default() };
    let mut inner = None;
    for _ in 0..MAX_LAYERS {
        let layer = match inside {
            Inside::Nothing => break,
            Inside::Ipv4(bytes) => ipv4_layer(bytes),
            Inside::Ipv6(bytes) => ipv6_layer(bytes),
        };
        let Some((keys, next)) = layer else { break };
        inner = Some(keys);
        inside = next;
    }
    (outer, inner)
}

/// What lies inside a layer.
enum Inside<'a> {
    Nothing,
    Ipv4(&'a [u8]),
    Ipv6(&'a [u8]),
}

fn ipv4_layer(bytes: &[u8]) -> Option<(FlowKeys, Inside<'_>)> {
    let header = Ipv4Header::parse(bytes)?;
    let mut keys = FlowKeys {
        src: header.src().into(),
        dst: header.dst().into(),
        protocol: header.protocol(),
        ..FlowKeys::default()
    };
    if header.is_fragment() {
        return Some((keys, Inside::Nothing));
    }
    let payload = bytes.get(header.header_len()..).unwrap_or(&[]);
    let inside = transport(&mut keys, payload);
    Some((keys, inside))
}

fn ipv6_layer(bytes: &[u8]) -> Option<(FlowKeys, Inside<'_>)> {
    let (header, mut payload) = bytes.split_first_chunk::<40>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let address = |at: usize| u128::from_be_bytes(std::array::from_fn(|i| header[at + i]));
    let mut keys = FlowKeys {
        is_v6: true,
        src: address(8),
        dst: address(24),
        protocol: header[6],
        flow_label: u32::from_be_bytes([0, header[1] & 0x0f, header[2], header[3]]),
        ..FlowKeys::default()
    };
    // Hop-by-hop options, routing, destination options (RFC 8200 section 4).
    for _ in 0..MAX_LAYERS {
        let (0 | 43 | 60, [next, words, ..]) = (keys.protocol, payload) else { break };
        keys.protocol = *next;
        payload = payload.get(8 * (usize::from(*words) + 1)..).unwrap_or(&[]);
    }
    if let (44, [next, ..]) = (keys.protocol, payload) {
        keys.protocol = *next;
        return Some((keys, Inside::Nothing));
    }
    let inside = transport(&mut keys, payload);
    Some((keys, inside))
}

/// Ports, or what is in the tunnel.
fn transport<'a>(keys: &mut FlowKeys, payload: &'a [u8]) -> Inside<'a> {
    match keys.protocol {
        IPPROTO_IPIP => Inside::Ipv4(payload),
        IPPROTO_IPV6 => Inside::Ipv6(payload),
        IPPROTO_GRE => inside_gre(payload),
        protocol => {
            let at = multipath::ports_offset(protocol);
            if let Some([a, b, c, d]) = at.and_then(|at| payload.get(at..)?.first_chunk()) {
                keys.src_port = u16::from_be_bytes([*a, *b]);
                keys.dst_port = u16::from_be_bytes([*c, *d]);
            }
            Inside::Nothing
        }
    }
}

/// RFC 2784 and 2890.
fn inside_gre(bytes: &[u8]) -> Inside<'_> {
    const TRANSPARENT_ETHERNET: u16 = 0x6558;
    let [flags, version, p0, p1, ..] = bytes else { return Inside::Nothing };
    let (checksum, routing, key, sequence) =
        (flags & 0x80 != 0, flags & 0x40 != 0, flags & 0x20 != 0, flags & 0x10 != 0);
    if routing || version & 7 != 0 {
        return Inside::Nothing;
    }
    let header_len = 4 + 4 * (usize::from(checksum) + usize::from(key) + usize::from(sequence));
    let mut payload = bytes.get(header_len..).unwrap_or(&[]);
    let mut protocol = u16::from_be_bytes([*p0, *p1]);
    if protocol == TRANSPARENT_ETHERNET {
        let Some((ethernet, rest)) = payload.split_first_chunk::<14>() else { return Inside::Nothing };
        protocol = u16::from_be_bytes([ethernet[12], ethernet[13]]);
        payload = rest;
    }
    match protocol {
        ETH_P_IP => Inside::Ipv4(payload),
        ETH_P_IPV6 => Inside::Ipv6(payload),
        _ => Inside::Nothing,
    }
}

/// `fib_multipath_hash_policy` 2: the addresses inside a tunnel, of IPv6 flow label and protocol too.
pub fn hash_inner(packet: &[u8], seed: u64) -> FlowHash {
    let (outer, inner) = dissect(packet);
    let keys = inner.unwrap_or(outer);
    if !keys.is_v6 {
        return multipath::hash_l3(keys.src as u32, keys.dst as u32, seed);
    }
    multipath::hash_keys(&FlowKeys { src_port: 0, dst_port: 0, ..keys }, seed)
}

/// `fib_multipath_hash_policy` 3: what the bits of `fib_multipath_hash_fields` name.
pub fn hash_custom(packet: &[u8], fields: u32, seed: u64) -> FlowHash {
    let (outer, inner) = dissect(packet);
    let mut hash = FlowHash::new(0);
    if fields & OUTER != 0 {
        hash = multipath::hash_keys(&choose(&outer, fields), seed);
    }
    if let (Some(inner), true) = (inner, fields & INNER != 0) {
        // The outer hash seeds the inner one, so that both count.
        let seed = seed ^ u64::from(hash.get()) << 32;
        hash = multipath::hash_keys(&choose(&inner, fields >> INNER_SHIFT), seed);
    }
    hash
}

const OUTER: u32 = 0x03f;
const INNER: u32 = 0xfc0;
const INNER_SHIFT: u32 = 6;

fn choose(keys: &FlowKeys, fields: u32) -> FlowKeys {
    let bit = |n: u32| fields >> n & 1;
    FlowKeys {
        is_v6: keys.is_v6,
        src: keys.src * u128::from(bit(0)),
        dst: keys.dst * u128::from(bit(1)),
        protocol: keys.protocol * bit(2) as u8,
        flow_label: keys.flow_label * bit(3),
        src_port: keys.src_port * bit(4) as u16,
        dst_port: keys.dst_port * bit(5) as u16,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ipv4(src: u8, dst: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let len = (20 + payload.len()) as u16;
        let mut bytes = vec![0x45, 0, (len >> 8) as u8, len as u8, 0, 0, 0, 0, 64, protocol, 0, 0];
        bytes.extend([10, 0, 0, src, 10, 0, 0, dst]);
        bytes.extend(payload);
        bytes
    }

    fn ipv6(src: u8, dst: u8, next: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0xa, 0xbc, 0xde, 0, payload.len() as u8, next, 64];
        for last in [src, dst] {
            bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        bytes.extend(payload);
        bytes
    }

    const PORTS: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

    #[test]
    fn ports_are_where_the_protocol_has_them() {
        for (protocol, payload, ports) in [
            (6, &PORTS[..], (0x1234, 0x5678)),
            (17, &PORTS, (0x1234, 0x5678)),
            (132, &PORTS, (0x1234, 0x5678)),
            (50, &PORTS, (0x1234, 0x5678)),
            (51, &[0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78], (0x1234, 0x5678)),
            (17, &PORTS[..3], (0, 0)),
            (89, &PORTS, (0, 0)),
            (1, &PORTS, (0, 0)),
        ] {
            let (outer, inner) = dissect(&ipv4(1, 2, protocol, payload));
            assert_eq!((outer.src_port, outer.dst_port, inner), (ports.0, ports.1, None), "{protocol}");
            assert_eq!((outer.src, outer.dst, outer.protocol), (0x0a00_0001, 0x0a00_0002, protocol));
        }
        let mut first = ipv4(1, 2, 17, &PORTS);
        first[6] = 0x20;
        assert_eq!(dissect(&first).0.src_port, 0, "a fragment has no ports");
    }

    #[test]
    fn tunnels_are_looked_into() {
        let four = ipv4(3, 4, 17, &PORTS);
        let six = ipv6(5, 6, 60, &[&[6, 0, 0, 0, 0, 0, 0, 0][..], &PORTS].concat());
        let gre = |flags: u8, words: usize, protocol: u16, inside: &[u8]| {
            let head = [&[flags, 0][..], &protocol.to_be_bytes(), &vec![0; 4 * words]].concat();
            ipv4(1, 2, 47, &[&head, inside].concat())
        };
        let ethernet = [&[0u8; 12][..], &[8, 0], &four].concat();
        for packet in [
            ipv4(1, 2, 4, &four),
            gre(0, 0, 0x0800, &four),
            gre(0xb0, 3, 0x0800, &four),
            gre(0x20, 1, 0x6558, &ethernet),
            ipv4(1, 2, 4, &ipv4(7, 8, 4, &four)),
        ] {
            let (outer, inner) = dissect(&packet);
            let inner = inner.unwrap();
            assert_eq!((outer.src as u8, outer.dst as u8, outer.src_port), (1, 2, 0));
            assert_eq!((inner.src as u8, inner.dst as u8, inner.protocol), (3, 4, 17));
            assert_eq!((inner.src_port, inner.dst_port, inner.is_v6), (0x1234, 0x5678, false));
        }
        for packet in [ipv4(1, 2, 41, &six), gre(0, 0, 0x86dd, &six)] {
            let inner = dissect(&packet).1.unwrap();
            assert!(inner.is_v6);
            assert_eq!((inner.src as u8, inner.dst as u8, inner.protocol), (5, 6, 6));
            assert_eq!((inner.src_port, inner.flow_label), (0x1234, 0xa_bcde));
        }
        assert_eq!(dissect(&gre(0x40, 0, 0x0800, &four)).1, None, "with routing");
        let mut version_1 = gre(0, 0, 0x0800, &four);
        version_1[21] = 1;
        assert_eq!(dissect(&version_1).1, None);
    }

    #[test]
    fn each_field_counts_when_its_bit_is_set_and_only_then() {
        let base = ipv4(1, 2, 4, &ipv4(3, 4, 17, &PORTS));
        let changed = [
            (0, ipv4(9, 2, 4, &ipv4(3, 4, 17, &PORTS))),
            (1, ipv4(1, 9, 4, &ipv4(3, 4, 17, &PORTS))),
            (6, ipv4(1, 2, 4, &ipv4(9, 4, 17, &PORTS))),
            (7, ipv4(1, 2, 4, &ipv4(3, 9, 17, &PORTS))),
            (8, ipv4(1, 2, 4, &ipv4(3, 4, 6, &PORTS))),
            (10, ipv4(1, 2, 4, &ipv4(3, 4, 17, &[9, 9, 0x56, 0x78]))),
            (11, ipv4(1, 2, 4, &ipv4(3, 4, 17, &[0x12, 0x34, 9, 9]))),
        ];
        for field in 0..12 {
            for (bit, packet) in &changed {
                let differs = hash_custom(packet, 1 << field, 1) != hash_custom(&base, 1 << field, 1);
                assert_eq!(differs, field == *bit, "bit {field}, change of {bit}");
            }
        }
        let plain = ipv4(1, 2, 17, &PORTS);
        for (bit, packet) in [
            (2, ipv4(1, 2, 6, &PORTS)),
            (4, ipv4(1, 2, 17, &[9, 9, 0x56, 0x78])),
            (5, ipv4(1, 2, 17, &[0x12, 0x34, 9, 9])),
        ] {
            assert_ne!(hash_custom(&packet, 1 << bit, 1), hash_custom(&plain, 1 << bit, 1));
            assert_eq!(
                hash_custom(&packet, 0x3f & !(1 << bit), 1),
                hash_custom(&plain, 0x3f & !(1 << bit), 1)
            );
        }
    }

    #[test]
    fn policy_2_sees_what_is_inside() {
        let tunnel = |inner: &[u8]| ipv4(1, 2, 4, inner);
        let flow = hash_inner(&tunnel(&ipv4(3, 4, 17, &PORTS)), 5);
        assert_eq!(flow, multipath::hash_l3(0x0a00_0003, 0x0a00_0004, 5));
        assert_eq!(flow, hash_inner(&tunnel(&ipv4(4, 3, 6, &[0; 4])), 5), "back, and no ports");
        assert_eq!(hash_inner(&ipv4(3, 4, 17, &PORTS), 5), flow);
        let six = |dst| hash_inner(&ipv4(1, 2, 41, &ipv6(5, dst, 17, &PORTS)), 5);
        assert_ne!(six(6), six(7));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..LOOKED_AT), fields in 0u32..0x1000) {
            let _ = (hash_inner(&bytes, 1), hash_custom(&bytes, fields, 1));
        }

        #[test]
        fn both_directions_hash_alike(src: u8, dst: u8, a: u16, b: u16) {
            let there = [a.to_be_bytes(), b.to_be_bytes()].concat();
            let back = [b.to_be_bytes(), a.to_be_bytes()].concat();
            let (there, back) = (ipv4(src, dst, 17, &there), ipv4(dst, src, 17, &back));
            prop_assert_eq!(hash_custom(&there, 0x37, 7), hash_custom(&back, 0x37, 7));
        }
    }
}
