//! The transmit hash of bonds: known values, an independent second writing of the formula, and how evenly it spreads.

use proptest::prelude::*;
use skiff_dataplane::core::bond_hash::hash_frame;
use skiff_dataplane::device::bond::{Bond, BondMember, BondMode, XmitPolicy, XmitPolicy::*};
use skiff_dataplane::net::IfIndex;

const DST: [u8; 6] = [2, 0, 0, 0, 1, 1];
const SRC: [u8; 6] = [2, 0, 0, 0, 1, 2];
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;

fn frame(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&DST[..], &SRC, &ethertype.to_be_bytes(), payload].concat()
}

fn ipv4(src: [u8; 4], dst: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0, (len >> 8) as u8, len as u8, 0, 0, 0, 0, 64, protocol, 0, 0];
    packet.extend([src, dst].concat());
    packet.extend(payload);
    packet
}

fn ipv6(src: [u8; 16], dst: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 64];
    packet.extend([src, dst].concat());
    packet.extend(payload);
    packet
}

fn ports(src: u16, dst: u16) -> Vec<u8> {
    [&src.to_be_bytes()[..], &dst.to_be_bytes(), &[0, 8, 0, 0]].concat()
}

fn hash(policy: XmitPolicy, frame: &[u8]) -> u32 {
    hash_frame(policy, frame, None)
}

/// 10.0.0.1 to 10.0.0.2.
fn pair(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4([10, 0, 0, 1], [10, 0, 0, 2], protocol, payload)
}

/// 192.0.2.1 to 198.51.100.2.
fn documentation(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4([192, 0, 2, 1], [198, 51, 100, 2], protocol, payload)
}

fn members(n: u16) -> Bond {
    let member = |i| BondMember { dev: IfIndex(i), transmits: true, receives: true };
    let mut bond = Bond { members: (0..n).map(member).collect(), ..Bond::new(BondMode::BalanceXor) };
    bond.prepare();
    bond
}

#[test]
fn known_flows_hash_to_known_values() {
    let mut fragment = pair(UDP, &ports(1000, 80));
    fragment[6] = 0x20;
    let rows = [
        (Layer2, frame(0x0800, &pair(UDP, &[])), 0x803, [1, 2, 3, 3]),
        (Layer2, frame(0x86dd, &ipv6([1; 16], [2; 16], UDP, &[])), 0x86de, [0, 2, 2, 6]),
        (Layer23, frame(0x0800, &pair(UDP, &ports(5, 6))), 0x0303_0b08, [0, 1, 0, 0]),
        (Layer23, frame(0x0800, &documentation(TCP, &ports(5, 6))), 0x0365_5e5b, [1, 1, 3, 3]),
        (Layer34, frame(0x0800, &pair(UDP, &ports(1000, 80))), 0x29a9_dddc, [0, 0, 0, 4]),
        (Layer34, frame(0x0800, &pair(UDP, &ports(1001, 80))), 0x29a9_dd5c, [0, 1, 0, 4]),
        (Layer34, frame(0x0800, &documentation(TCP, &ports(40_000, 443))), 0x5c6f_d61b, [1, 0, 3, 3]),
        (Layer34, frame(0x0800, &fragment), 0x0181_8181, [1, 1, 1, 1]),
        (VlanSrcmac, frame(0x8100, &[0, 100, 8, 0]), 0x2_0166, [0, 0, 2, 6]),
        (VlanSrcmac, frame(0x0800, &[]), 0x2_0102, [0, 2, 2, 2]),
    ];
    for (policy, frame, want, places) in rows {
        assert_eq!(hash(policy, &frame), want, "{policy:?} {frame:x?}");
        for (n, place) in [2, 3, 4, 8].into_iter().zip(places) {
            assert_eq!(members(n).by_hash(want), Some(IfIndex(place)), "{policy:?} of {n}");
        }
    }
}

/// The formula once more, with whole numbers of the other byte order.
fn formula(policy: XmitPolicy, ethertype: u16, src: u32, dst: u32, ports: u32) -> u32 {
    let e = u32::from(DST[5] ^ SRC[5]) ^ u32::from(ethertype);
    let start = match policy {
        Layer2 => return e,
        Layer23 => e,
        _ => ports.swap_bytes(),
    };
    let mixed = start ^ src.swap_bytes() ^ dst.swap_bytes();
    let mixed = mixed ^ (mixed / 65_536);
    let mixed = mixed ^ (mixed / 256);
    if policy == Layer23 { mixed } else { mixed / 2 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn every_flow_hashes_as_the_formula_says(src: u32, dst: u32, sport: u16, dport: u16, tcp: bool) {
        let protocol = if tcp { TCP } else { UDP };
        let packet = ipv4(src.to_be_bytes(), dst.to_be_bytes(), protocol, &ports(sport, dport));
        let frame = frame(0x0800, &packet);
        let both = u32::from(sport) << 16 | u32::from(dport);
        for policy in [Layer2, Layer23, Layer34] {
            prop_assert_eq!(hash(policy, &frame), formula(policy, 0x0800, src, dst, both));
        }
        // Without tunnels the inner headers are the outer ones.
        prop_assert_eq!(hash(Encap23, &frame), hash(Layer23, &frame));
        prop_assert_eq!(hash(Encap34, &frame), hash(Layer34, &frame));
    }
}

proptest! {
    #[test]
    fn ipv6_addresses_are_folded_to_32_bits(src: [u8; 16], dst: [u8; 16], sport: u16, dport: u16) {
        let frame = frame(0x86dd, &ipv6(src, dst, UDP, &ports(sport, dport)));
        let folded = |a: [u8; 16]| a.chunks(4).fold(0, |x, w| x ^ u32::from_be_bytes(w.try_into().unwrap()));
        let both = u32::from(sport) << 16 | u32::from(dport);
        for policy in [Layer2, Layer23, Layer34] {
            prop_assert_eq!(hash(policy, &frame), formula(policy, 0x86dd, folded(src), folded(dst), both));
        }
    }

    #[test]
    fn any_bytes_have_a_hash(bytes in prop::collection::vec(any::<u8>(), 0..200), ethertype in prop_oneof![
        Just(0x0800u16), Just(0x86dd), Just(0x8100), Just(0x0806), any::<u16>()
    ], tag: Option<u16>) {
        for policy in [Layer2, Layer23, Layer34, Encap23, Encap34, VlanSrcmac] {
            hash_frame(policy, &frame(ethertype, &bytes), tag);
            hash_frame(policy, &bytes, tag);
        }
    }
}

#[test]
fn flows_spread_evenly() {
    let share_of = |n: u16, flows: &dyn Fn(u32) -> Vec<u8>, count: u32| {
        let bond = members(n);
        let mut counts = vec![0u32; usize::from(n)];
        for i in 0..count {
            let dev = bond.by_hash(hash(Layer34, &frame(0x0800, &flows(i)))).unwrap();
            counts[dev.index()] += 1;
        }
        counts.into_iter().map(|c| f64::from(c) / f64::from(count)).collect::<Vec<_>>()
    };
    let by_port = |i: u32| pair(UDP, &ports(4000, (32_767 + i % 32_769) as u16));
    let by_host = |i: u32| ipv4((0x0a01_0000 + i).to_be_bytes(), [10, 2, 0, 2], UDP, &ports(7, 53));
    for n in 2..=4 {
        for shares in [share_of(n, &by_port, 32_769), share_of(n, &by_host, 65_536)] {
            for share in &shares {
                assert!((share - 1.0 / f64::from(n)).abs() <= 0.01, "{n}: {shares:?}");
            }
        }
    }
}

#[test]
fn echoes_hash_by_their_identifier() {
    let echo = |kind: u8, id: u16| {
        frame(0x0800, &pair(ICMP, &[&[kind, 0, 0, 0], &id.to_be_bytes()[..], &[0, 1]].concat()))
    };
    let want = |word: u32| formula(Layer34, 0x0800, 0x0a00_0001, 0x0a00_0002, word.swap_bytes());
    assert_eq!(hash(Layer34, &echo(8, 0x1234)), want(0x1234_0008));
    assert_eq!(hash(Layer34, &echo(0, 0x1234)), want(0x1234_0000));
    assert_eq!(hash(Layer34, &echo(8, 0)), want(0x0001_0008), "0 counts as 1");
    assert_eq!(hash(Layer34, &echo(13, 7)), want(0x0007_000d));
    assert_eq!(hash(Layer34, &echo(9, 7)), want(0), "no identifier");
    assert_eq!(hash(Encap34, &echo(8, 0x1234)), want(0x1234_0008));
    assert_eq!(hash(Layer23, &echo(8, 1)), hash(Layer23, &echo(8, 2)));
}

#[test]
fn icmp_errors_go_the_way_of_the_flow_they_are_about() {
    let error = |kind: u8, quoted: &[u8]| {
        let message = [&[kind, 3, 0, 0, 0, 0, 0, 0], quoted].concat();
        frame(0x0800, &documentation(ICMP, &message))
    };
    let quoted = pair(UDP, &ports(1000, 80));
    let flow = frame(0x0800, &quoted);
    for kind in [3, 4, 5, 11, 12] {
        assert_eq!(hash(Layer34, &error(kind, &quoted)), hash(Layer34, &flow));
        assert_eq!(hash(Layer23, &error(kind, &quoted)), hash(Layer23, &flow));
    }
    assert_ne!(hash(Layer34, &error(9, &quoted)), hash(Layer34, &flow));
    // What cannot be read counts as no IP at all.
    assert_eq!(hash(Layer34, &error(3, &quoted[..12])), hash(Layer2, &flow));
    let mut first = quoted.clone();
    first[6] = 0x20;
    assert_eq!(hash(Layer34, &error(3, &first)), hash(Layer34, &frame(0x0800, &first)));

    let six = ipv6([1; 16], [2; 16], UDP, &ports(5, 6));
    let too_big = ipv6([3; 16], [1; 16], 58, &[&[2, 0, 0, 0, 0, 0, 5, 0], &six[..]].concat());
    assert_eq!(hash(Layer34, &frame(0x86dd, &too_big)), hash(Layer34, &frame(0x86dd, &six)));
}

#[test]
fn one_tag_stands_beside_the_frame_and_a_second_in_it() {
    let packet = pair(UDP, &ports(1000, 80));
    let plain = frame(0x0800, &packet);
    let tagged = frame(0x8100, &[&[0x60, 100, 8, 0], &packet[..]].concat());
    let service = frame(0x88a8, &[&[0x60, 100, 8, 0], &packet[..]].concat());
    let twice = frame(0x88a8, &[&[0, 200, 0x81, 0, 0, 100, 8, 0], &packet[..]].concat());
    for policy in [Layer2, Layer23, Layer34, Encap23, Encap34] {
        assert_eq!(hash(policy, &tagged), hash(policy, &plain));
        assert_eq!(hash(policy, &service), hash(policy, &plain));
        assert_eq!(hash_frame(policy, &tagged, Some(200)), hash(policy, &twice));
    }
    assert_eq!(hash(Layer34, &twice), 0x8100 ^ 3, "the kernel does not look behind a second one");
    assert_eq!(hash(Encap34, &twice), hash(Layer34, &plain), "but its flow dissector does");
    // The whole control information, as the kernel takes it.
    assert_eq!(hash(VlanSrcmac, &tagged), 0x2_0102 ^ 0x6064);
    assert_eq!(hash_frame(VlanSrcmac, &plain, Some(100)), 0x2_0166);
}

#[test]
fn encap_policies_look_into_tunnels() {
    let inner = pair(UDP, &ports(1000, 80));
    let flow = hash(Layer34, &frame(0x0800, &inner));
    let gre = |flags: u8, words: usize, protocol: u16, inside: &[u8]| {
        let head = [&[flags, 0][..], &protocol.to_be_bytes(), &vec![0; 4 * words]].concat();
        documentation(47, &[&head, inside].concat())
    };
    let tunnels = [
        documentation(4, &inner),
        gre(0, 0, 0x0800, &inner),
        gre(0xb0, 3, 0x0800, &inner),
        gre(0x20, 1, 0x6558, &frame(0x0800, &inner)),
        gre(0, 0, 0x8100, &[&[0, 7, 8, 0], &inner[..]].concat()),
        documentation(4, &documentation(4, &inner)),
    ];
    for packet in tunnels {
        let frame = frame(0x0800, &packet);
        assert_eq!(hash(Encap34, &frame), flow);
        assert_ne!(hash(Layer34, &frame), flow);
        let e = 0x0800 ^ 3;
        let mixed = e ^ 0x0100_000au32 ^ 0x0200_000a;
        let mixed = mixed ^ mixed >> 16;
        assert_eq!(hash(Encap23, &frame), mixed ^ mixed >> 8);
    }
    // UDP is not looked into: VXLAN has its entropy in the source port.
    let vxlan = frame(0x0800, &documentation(UDP, &[&ports(50_000, 4789)[..], &[0; 8], &inner].concat()));
    assert_eq!(hash(Encap34, &vxlan), hash(Layer34, &vxlan));
    // ARP is known but tells no flows apart; what is unknown, or cut short, hashes as layer 2.
    assert_eq!(hash(Encap34, &frame(0x0806, &[0; 28])), 0);
    assert_eq!(hash(Encap34, &frame(0x9000, &[0; 28])), 0x9000 ^ 3);
    assert_eq!(hash(Encap34, &frame(0x0800, &documentation(4, &inner[..10]))), 0x0800 ^ 3);
    let six = ipv6([1; 16], [2; 16], 60, &[&[UDP, 0, 0, 0, 0, 0, 0, 0], &ports(5, 6)[..]].concat());
    let plain_six = ipv6([1; 16], [2; 16], UDP, &ports(5, 6));
    assert_eq!(hash(Encap34, &frame(0x86dd, &six)), hash(Layer34, &frame(0x86dd, &plain_six)));
    assert_ne!(hash(Layer34, &frame(0x86dd, &six)), hash(Layer34, &frame(0x86dd, &plain_six)));
}
