//! Classic BPF over real packets: against libpcap's own words and a naive reading of the instructions.

mod common;

use common::{chained, eal, pkt, pool};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use skiff_pmd::bpf::{Filter, Insn};
use skiff_pmd::{Burst, Pkt};

/// `icmp`, as `tcpdump -dd` prints it.
const ICMP: [(u16, u8, u8, u32); 6] = [
    (0x28, 0, 0, 12),
    (0x15, 0, 3, 0x800),
    (0x30, 0, 0, 23),
    (0x15, 0, 1, 1),
    (0x6, 0, 0, 262144),
    (0x6, 0, 0, 0),
];

/// `vlan 100 and icmp`.
const VLAN_100_ICMP: [(u16, u8, u8, u32); 12] = [
    (0x28, 0, 0, 12),
    (0x15, 2, 0, 0x8100),
    (0x15, 1, 0, 0x88a8),
    (0x15, 0, 7, 0x9100),
    (0x28, 0, 0, 14),
    (0x54, 0, 0, 0xfff),
    (0x15, 0, 4, 100),
    (0x28, 0, 0, 16),
    (0x15, 0, 2, 0x800),
    (0x30, 0, 0, 27),
    (0x15, 1, 0, 1),
    (0x6, 0, 0, 0),
];

fn program(insns: &[(u16, u8, u8, u32)]) -> Vec<Insn> {
    insns.iter().map(|&(code, jt, jf, k)| Insn { code, jt, jf, k }).collect()
}

fn filter(insns: &[(u16, u8, u8, u32)]) -> Filter {
    Filter::new(&program(insns)).unwrap()
}

fn frame(protocol: u8) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0; 8]);
    frame
}

#[test]
fn a_burst_gives_a_mask() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let icmp = filter(&ICMP);
    let mut burst = Burst::new();
    assert_eq!(icmp.matches(&burst), 0);
    for protocol in [1, 17, 1, 6, 1] {
        burst.push(pkt(&pool, &frame(protocol))).unwrap();
    }
    // Too short to say what it is.
    burst.push(pkt(&pool, &frame(1)[..20])).unwrap();
    assert_eq!(icmp.matches(&burst), 0b010101);
}

#[test]
fn segments_make_no_difference() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let icmp = filter(&ICMP);
    let bytes = frame(1);
    for cut in 1..bytes.len() {
        let split = chained(&pool, &[&bytes[..cut], &bytes[cut..]]);
        assert!(icmp.wants(&split), "{cut}");
    }
}

#[test]
fn a_tag_beside_the_data_is_part_of_the_frame() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let mut insns = VLAN_100_ICMP.to_vec();
    insns.push((0x6, 0, 0, 1));
    let (tagged, plain) = (filter(&insns), filter(&ICMP));
    let bytes = frame(1);
    let wire = [&bytes[..12], &[0x81, 0, 0xa0, 100], &bytes[12..]].concat();
    let inside = pkt(&pool, &wire);
    let mut received = pkt(&pool, &bytes);
    received.set_vlan_tag(0x8100, 0xa000 | 100);
    let mut sent = chained(&pool, &[&bytes[..5], &bytes[5..]]);
    sent.set_tx_vlan(0xa000 | 100);
    for packet in [&inside, &received] {
        assert!(tagged.wants(packet) && !plain.wants(packet), "{packet:?}");
        assert_eq!(copied(packet), wire);
        assert_eq!(packet.wire_len(), wire.len());
    }
    received.set_vlan_tag(0x88a8, 100);
    assert_eq!(copied(&received)[12..16], [0x88, 0xa8, 0, 100]);
    received.clear_vlan_tag();
    assert_eq!(copied(&received), bytes);
    assert!(plain.wants(&received) && !tagged.wants(&received));
    // Drivers that insert tags get their addresses in the first segment; nothing is lost where they are not.
    assert_eq!(copied(&sent).len(), wire.len());
}

fn copied(packet: &Pkt) -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    let n = packet.copy_wire(0, &mut bytes);
    bytes.truncate(n);
    bytes
}

/// Offsets that wrap around 32 bits are beyond every packet: `ether[0 - (ether[0] | 1)] = 1`.
#[test]
fn an_offset_that_wraps_is_beyond_the_packet() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let wraps = filter(&[
        (0x30, 0, 0, 0),
        (0x44, 0, 0, 1),
        (0x07, 0, 0, 3),
        (0x00, 0, 0, 0),
        (0x1c, 0, 0, 0),
        (0x07, 0, 0, 3),
        (0x50, 0, 0, 0),
        (0x15, 0, 1, 1),
        (0x6, 0, 0, 65535),
        (0x6, 0, 0, 0),
    ]);
    assert!(!wraps.wants(&pkt(&pool, &[0; 64])));
    let far = filter(&[(0x01, 0, 0, u32::MAX), (0x40, 0, 0, 3), (0x6, 0, 0, 1)]);
    assert!(!far.wants(&pkt(&pool, &[0; 64])));
}

/// The instructions as bpf(4) lists them, one by one.
fn naive(program: &[Insn], bytes: &[u8]) -> u32 {
    let (mut a, mut x, mut m, mut pc) = (0u32, 0u32, [0u32; 16], 0usize);
    let load = |at: u64, n: u64| -> Option<u32> {
        (at + n <= bytes.len() as u64)
            .then(|| (0..n).fold(0, |v, i| v << 8 | u32::from(bytes[(at + i) as usize])))
    };
    loop {
        let Insn { code, jt, jf, k } = program[pc];
        pc += 1;
        let size = match code & 0x18 {
            0 => 4,
            8 => 2,
            _ => 1,
        };
        let operand = if code & 8 != 0 { x } else { k };
        match (code & 7, code & 0xe0) {
            (0, 0x00) => a = k,
            (0, 0x20) => match load(k.into(), size) {
                Some(v) => a = v,
                None => return 0,
            },
            (0, 0x40) => match load(u64::from(x) + u64::from(k), size) {
                Some(v) => a = v,
                None => return 0,
            },
            (0, 0x60) => a = m[k as usize],
            (0, 0x80) => a = bytes.len() as u32,
            (1, 0x00) => x = k,
            (1, 0x60) => x = m[k as usize],
            (1, 0x80) => x = bytes.len() as u32,
            (1, 0xa0) => match load(k.into(), 1) {
                Some(v) => x = (v & 15) * 4,
                None => return 0,
            },
            (2, _) => m[k as usize] = a,
            (3, _) => m[k as usize] = x,
            (4, _) => {
                let wide = u64::from(a);
                a = match code & 0xf0 {
                    0x00 => a.wrapping_add(operand),
                    0x10 => a.wrapping_sub(operand),
                    0x20 => a.wrapping_mul(operand),
                    0x30 | 0x90 if operand == 0 => return 0,
                    0x30 => a / operand,
                    0x90 => a % operand,
                    0x40 => a | operand,
                    0x50 => a & operand,
                    0x60 => (wide << operand.min(32)) as u32,
                    0x70 => (wide >> operand.min(32)) as u32,
                    0x80 => (!a).wrapping_add(1),
                    _ => a ^ operand,
                }
            }
            (5, _) => {
                let holds = match code & 0xf0 {
                    0x00 => {
                        pc += k as usize;
                        continue;
                    }
                    0x10 => a == operand,
                    0x20 => a > operand,
                    0x30 => a >= operand,
                    _ => a & operand != 0,
                };
                pc += usize::from(if holds { jt } else { jf });
            }
            (6, _) => return if code & 0x10 != 0 { a } else { k },
            _ if code == 0x07 => x = a,
            _ => a = x,
        }
    }
}

/// Every instruction there is.
const CODES: [u16; 45] = [
    0x00, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x80, 0x01, 0x61, 0x81, 0xb1, 0x02, 0x03, 0x04, 0x14,
    0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0x84, 0x94, 0xa4, 0x0c, 0x1c, 0x2c, 0x3c, 0x4c, 0x5c, 0x6c, 0x7c,
    0x9c, 0xac, 0x05, 0x15, 0x1d, 0x25, 0x35, 0x45, 0x16, 0x07, 0x87,
];

fn insns() -> impl Strategy<Value = Vec<Insn>> {
    let k = prop_oneof![0u32..40, any::<u32>(), u32::MAX - 8..=u32::MAX];
    let insn = (proptest::sample::select(&CODES[..]), 0u8..4, 0u8..4, k).prop_map(|(code, jt, jf, k)| Insn {
        code,
        jt,
        jf,
        k,
    });
    (vec(insn, 0..24), any::<u32>()).prop_map(|(mut insns, k)| {
        insns.push(Insn { code: 0x16, jt: 0, jf: 0, k: 0 });
        insns.push(Insn { code: 0x06, jt: 0, jf: 0, k });
        let len = insns.len();
        // Mostly sound, so that most of them run.
        for (at, insn) in insns.iter_mut().enumerate() {
            let behind = (len - at - 1) as u32;
            match insn.code {
                0x02 | 0x03 | 0x60 | 0x61 => insn.k %= 16,
                0x05 => insn.k %= behind.max(1),
                0x64 | 0x74 => insn.k %= 32,
                code if code & 7 == 5 => {
                    insn.jt = insn.jt.min(behind.saturating_sub(1) as u8);
                    insn.jf = insn.jf.min(behind.saturating_sub(1) as u8);
                }
                _ => {}
            }
        }
        insns
    })
}

#[test]
fn programs_do_what_their_instructions_say() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 20_000, failure_persistence: None, ..Default::default() });
    let ran = std::cell::Cell::new(0);
    let packets = (vec(any::<u8>(), 1..80), 0usize..80);
    runner
        .run(&(insns(), packets), |(insns, (bytes, cut))| {
            let Ok(filter) = Filter::new(&insns) else { return Ok(()) };
            ran.set(ran.get() + 1);
            let cut = cut.min(bytes.len() - 1);
            let packet = chained(&pool, &[&bytes[..cut], &bytes[cut..]]);
            prop_assert_eq!(filter.wants(&packet), naive(&insns, &bytes) != 0);
            Ok(())
        })
        .unwrap();
    assert!(ran.get() > 10_000, "only {} programs were sound", ran.get());
}
