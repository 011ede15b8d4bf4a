//! Fragments: through us untouched, to us put together.

use super::super::packet::{Check, Packet};
use super::super::probe::{Host, Scene, Step};
use super::super::shape::{HOST2, HOST3, R1};

type Pieces = fn(&Packet) -> Vec<Packet>;

/// Ways to cut an echo request with 80 bytes of payload, 88 in all.
const CUTS: [(&str, Pieces); 24] = [
    ("two", |p| p.fragments(&[40, 88])),
    ("three", |p| p.fragments(&[24, 64, 88])),
    ("eleven", |p| p.fragments(&[8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88])),
    ("last first", |p| p.fragments(&[24, 64, 88]).into_iter().rev().collect()),
    ("middle last", |p| vec![p.fragment(0, 24, true), p.fragment(64, 88, false), p.fragment(24, 64, true)]),
    ("middle twice", |p| {
        vec![
            p.fragment(0, 24, true),
            p.fragment(24, 64, true),
            p.fragment(24, 64, true),
            p.fragment(64, 88, false),
        ]
    }),
    ("first twice", |p| vec![p.fragment(0, 40, true), p.fragment(0, 40, true), p.fragment(40, 88, false)]),
    ("last twice", |p| vec![p.fragment(40, 88, false), p.fragment(40, 88, false), p.fragment(0, 40, true)]),
    ("overlap ahead", |p| vec![p.fragment(0, 40, true), p.fragment(32, 88, false)]),
    ("overlap behind", |p| vec![p.fragment(40, 88, false), p.fragment(0, 48, true)]),
    ("inside another", |p| vec![p.fragment(0, 64, true), p.fragment(8, 32, true), p.fragment(64, 88, false)]),
    ("around another", |p| vec![p.fragment(8, 32, true), p.fragment(0, 64, true), p.fragment(64, 88, false)]),
    ("two ends", |p| vec![p.fragment(64, 88, false), p.fragment(40, 64, false), p.fragment(0, 40, true)]),
    ("beyond the end", |p| {
        vec![p.fragment(40, 64, false), p.fragment(64, 88, true), p.fragment(0, 40, true)]
    }),
    ("empty middle", |p| vec![p.fragment(0, 40, true), p.fragment(40, 40, true), p.fragment(40, 88, false)]),
    ("empty last", |p| vec![p.fragment(0, 88, true), p.fragment(88, 88, false)]),
    ("odd length", |p| vec![p.fragment(0, 43, true), p.fragment(40, 88, false)]),
    ("one byte", |p| vec![p.fragment(0, 1, true), p.fragment(8, 88, false)]),
    ("one alone with more", |p| vec![p.fragment(0, 88, true)]),
    ("DF in one", |p| {
        let last = p.fragment(40, 88, false);
        vec![p.fragment(0, 40, true), last.frag_off(0x4005)]
    }),
    ("DF in all", |p| {
        vec![p.fragment(0, 40, true).frag_off(0x6000), p.fragment(40, 88, false).frag_off(0x4005)]
    }),
    ("other TOS", |p| vec![p.fragment(0, 40, true).tos(8), p.fragment(40, 88, false)]),
    ("other TTL", |p| vec![p.fragment(0, 40, true).ttl(9), p.fragment(40, 88, false).ttl(1)]),
    ("padded", |p| p.fragments(&[40, 88]).into_iter().map(|p| p.padding(7)).collect()),
];

/// Those of them after which a queue waits for more.
const LEAVE_SOMETHING: [&str; 7] = [
    "around another",
    "two ends",
    "beyond the end",
    "empty middle",
    "one byte",
    "odd length",
    "one alone with more",
];

/// The two bits of congestion in the first and in the second fragment (RFC 3168 section 5.3).
const ECN: [(u8, u8); 8] = [(0, 1), (0, 3), (3, 0), (1, 2), (2, 3), (3, 3), (1, 3), (2, 2)];

pub(super) fn scenes() -> Vec<Scene> {
    let mut scene = Scene::new("defaults");
    let mut hasty = Scene::with("ipfrag_time", &[("ipfrag_time", 1)]);
    for (name, cut) in CUTS {
        let all = move |p: Packet| -> Vec<Step> { cut(&p).into_iter().map(Step::from).collect() };
        hasty.steps(format!("reassembly/{name}"), move |h| {
            let mut steps = all(Packet::echo(h.addr(), R1, 80));
            // What is left incomplete must be gone before the next probe.
            if LEAVE_SOMETHING.contains(&name) {
                steps.push(Step::wait(1200));
            }
            steps
        });
        scene.steps(format!("fragments/{name}, in transit"), move |h| all(Packet::echo(h.addr(), HOST2, 80)));
    }
    for (first, second) in ECN {
        scene.steps(format!("reassembly/ECN {first} and {second}"), move |h| {
            let p = Packet::echo(h.addr(), R1, 80);
            vec![p.fragment(0, 40, true).tos(first).into(), p.fragment(40, 88, false).tos(second).into()]
        });
    }
    let mut to_us = |name: &str, make: fn(Host) -> Packet, ends: &'static [usize]| {
        scene.steps(format!("reassembly/{name}"), move |h| {
            make(h).fragments(ends).into_iter().map(Step::from).collect()
        });
    };
    to_us("closed port", |h| Packet::udp(h.addr(), R1, 800), &[400, 808]);
    to_us("closed port, wrong checksum", |h| Packet::udp(h.addr(), R1, 800).check(Check::Wrong), &[400, 808]);
    to_us("syn", |h| Packet::tcp(h.addr(), R1, 2, 0), &[8, 20]);
    to_us("protocol 99", |h| Packet::new(h.addr(), R1, 99, vec![1; 64]), &[32, 64]);
    to_us("broadcast", |h| Packet::udp(h.addr(), [10, 1, 255, 255], 40), &[24, 48]);
    to_us("large echo", |h| Packet::echo(h.addr(), R1, 4000), &[1480, 2960, 4008]);
    to_us("with options", |h| Packet::echo(h.addr(), R1, 80).options(&[7, 7, 4, 0, 0, 0, 0]), &[40, 88]);
    scene.steps("reassembly/two at once", |h| {
        let (a, b) = (Packet::echo(h.addr(), R1, 80).id(1), Packet::echo(h.addr(), R1, 80).id(2));
        let pieces = a.fragments(&[40, 88]).into_iter().zip(b.fragments(&[40, 88]));
        pieces.flat_map(|(a, b)| [a.into(), b.into()]).collect()
    });
    hasty.steps("reassembly/other protocol, same id", |h| {
        let (a, b) = (Packet::echo(h.addr(), R1, 80), Packet::udp(h.addr(), R1, 80));
        let pieces = [a.fragment(0, 40, true), b.fragment(40, 88, false), a.fragment(40, 88, false)];
        pieces.into_iter().map(Step::from).chain([Step::wait(1200)]).collect()
    });
    for (name, offset) in
        [("ends at 65535", 0x1ffb), ("ends beyond 65535", 0x1fff), ("starts at 65528", 0x1fff)]
    {
        let len = if name.starts_with("starts") { 7 } else { 40 };
        let piece = move |h: Host, dst| Packet::new(h.addr(), dst, 17, vec![5; len]).frag_off(offset);
        hasty.steps(format!("reassembly/{name}"), move |h| vec![piece(h, R1).into(), Step::wait(1200)]);
        scene.packet(format!("fragments/{name}, in transit"), move |h| piece(h, HOST2));
    }
    for (name, frag_off) in [("first", 0x2000), ("middle", 0x2064), ("last", 0x0064), ("middle, DF", 0x6064)]
    {
        let piece = move |h: Host, dst, len| Packet::new(h.addr(), dst, 17, vec![5; len]).frag_off(frag_off);
        scene.packet(format!("fragments/{name} of a fragment"), move |h| piece(h, HOST3, 1200));
        scene.packet(format!("fragments/{name}, ttl error"), move |h| piece(h, HOST2, 64).ttl(1));
        scene.packet(format!("fragments/{name}, no route"), move |h| piece(h, [8, 8, 8, 8], 64));
        scene.packet(format!("fragments/{name}, redirected"), move |h| piece(h, [192, 88, 0, 7], 64));
    }

    for (name, from, to, more) in [("without the first", 40, 88, false), ("without the last", 0, 40, true)] {
        hasty.steps(format!("reassembly/timeout {name}"), move |h| {
            vec![Packet::echo(h.addr(), R1, 80).fragment(from, to, more).into(), Step::wait(1300)]
        });
    }
    hasty.steps("reassembly/timeout of a broadcast", |h| {
        let piece = Packet::udp(h.addr(), [10, 1, 255, 255], 80).fragment(0, 40, true);
        vec![piece.into(), Step::wait(1300)]
    });
    vec![scene, hasty]
}
