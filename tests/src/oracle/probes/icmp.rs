//! ICMP: errors about every kind of packet, and every message to the router itself.

use super::super::packet::{Check, Packet};
use super::super::probe::{Host, Scene};
use super::super::shape::{Addr, HOST2, HOST3, NO_ROUTE, PROHIBIT, R1, R2, UNREACHABLE};

type Make = fn(Addr, Addr) -> Packet;

/// What errors may be about.
const ABOUT: [(&str, Make); 17] = [
    ("udp", |s, d| Packet::udp(s, d, 40)),
    ("tcp", |s, d| Packet::tcp(s, d, 0x10, 40)),
    ("echo", |s, d| Packet::echo(s, d, 40)),
    ("echo reply", |s, d| Packet::icmp(s, d, (0, 0), 1, &[1; 40])),
    ("unreachable", |s, d| Packet::icmp(s, d, (3, 1), 0, &[0x45; 40])),
    ("source quench", |s, d| Packet::icmp(s, d, (4, 0), 0, &[0x45; 40])),
    ("redirect", |s, d| Packet::icmp(s, d, (5, 1), 0, &[0x45; 40])),
    ("time exceeded", |s, d| Packet::icmp(s, d, (11, 0), 0, &[0x45; 40])),
    ("parameter problem", |s, d| Packet::icmp(s, d, (12, 0), 0, &[0x45; 40])),
    ("timestamp request", |s, d| Packet::icmp(s, d, (13, 0), 1, &[0; 12])),
    ("unknown type 19", |s, d| Packet::icmp(s, d, (19, 0), 1, &[0; 12])),
    ("unknown type 255", |s, d| Packet::icmp(s, d, (255, 0), 1, &[0; 12])),
    ("extended echo", |s, d| Packet::icmp(s, d, (42, 0), 1, &[0; 12])),
    ("icmp without a byte", |s, d| Packet::new(s, d, 1, vec![])),
    ("icmp of one byte", |s, d| Packet::new(s, d, 1, vec![3])),
    ("protocol 99", |s, d| Packet::new(s, d, 99, vec![9; 40])),
    ("no payload", |s, d| Packet::new(s, d, 59, vec![])),
];

type Bend = fn(Packet) -> Packet;

/// Where errors come from.
const CAUSES: [(&str, Addr, Bend); 5] = [
    ("ttl", HOST2, |p| p.ttl(1)),
    ("no route", NO_ROUTE, |p| p),
    ("unreachable", UNREACHABLE, |p| p),
    ("prohibited", PROHIBIT, |p| p),
    ("too big", HOST3, |p| p.with_payload(|b| b.resize(1200, 7)).df()),
];

pub(super) fn scenes() -> Vec<Scene> {
    let mut scene = Scene::new("defaults");
    for (cause, dst, bend) in CAUSES {
        for (name, make) in ABOUT {
            scene.packet(format!("error/{cause} about {name}"), move |h| bend(make(h.addr(), dst)));
        }
    }
    bad_sources(&mut scene);
    to_us(&mut scene);

    let mut silent = Scene::with("icmp_echo_ignore_all", &[("icmp_echo_ignore_all", 1)]);
    silent.packet("icmp/ignore all, echo", |h| Packet::echo(h.addr(), R1, 20));
    silent
        .packet("icmp/ignore all, echo to the broadcast", |h| Packet::echo(h.addr(), [10, 1, 255, 255], 20));
    silent.packet("icmp/ignore all, ttl error", |h| Packet::udp(h.addr(), HOST2, 20).ttl(1));

    let mut open = Scene::with("answer broadcasts", &[("icmp_echo_ignore_broadcasts", 0)]);
    for (name, dst) in BROADCASTS {
        open.packet(format!("icmp/answer broadcasts, echo to {name}"), move |h| {
            Packet::echo(h.addr(), dst, 20)
        });
        open.packet(format!("icmp/answer broadcasts, timestamp to {name}"), move |h| {
            Packet::icmp(h.addr(), dst, (13, 0), 1, &[0; 12])
        });
    }

    let mut inbound =
        Scene::with("errors from the inbound address", &[("icmp_errors_use_inbound_ifaddr", 1)]);
    for (cause, dst, bend) in CAUSES {
        inbound
            .packet(format!("error/inbound address, {cause}"), move |h| bend(Packet::udp(h.addr(), dst, 40)));
    }
    inbound.packet("error/inbound address, closed port", |h| Packet::udp(h.addr(), R2, 40));

    let mut ttl = Scene::with("ip_default_ttl", &[("ip_default_ttl", 200)]);
    ttl.packet("ttl/default 200, echo", |h| Packet::echo(h.addr(), R1, 20));
    ttl.packet("ttl/default 200, error", |h| Packet::udp(h.addr(), HOST2, 20).ttl(1));
    ttl.packet("ttl/default 200, reset", |h| Packet::tcp(h.addr(), R1, 2, 0));
    vec![scene, silent, open, inbound, ttl]
}

const BROADCASTS: [(&str, Addr); 3] =
    [("the subnet", [10, 1, 255, 255]), ("everybody", [255; 4]), ("another subnet", [10, 2, 255, 255])];

/// Senders that must not be told.
fn bad_sources(scene: &mut Scene) {
    for (name, src) in [
        ("class E", [240, 0, 0, 1]),
        ("a broadcast", [10, 1, 255, 255]),
        ("another broadcast", [10, 2, 255, 255]),
        ("nowhere", [9, 9, 9, 9]),
        ("behind a blackhole", [198, 51, 100, 140]),
        ("behind a prohibition", [198, 51, 100, 70]),
        ("the network", [10, 1, 0, 0]),
        ("beyond another port", [192, 0, 2, 99]),
        ("net 0", [0, 1, 2, 3]),
    ] {
        for (cause, dst, bend) in CAUSES {
            scene.packet(format!("error/{cause}, told to {name}"), move |_| bend(Packet::udp(src, dst, 40)));
        }
        scene.packet(format!("icmp/echo from {name}"), move |_| Packet::echo(src, R1, 40));
        scene.packet(format!("udp/closed port, from {name}"), move |_| Packet::udp(src, R1, 40));
        scene.packet(format!("tcp/syn from {name}"), move |_| Packet::tcp(src, R1, 2, 0));
    }
}

fn to_us(scene: &mut Scene) {
    for kind in (0..=20).chain([30, 37, 40, 41, 42, 43, 44, 160, 253, 255]) {
        for code in [0, 1] {
            scene.packet(format!("icmp/type {kind} code {code}"), move |h| {
                Packet::icmp(h.addr(), R1, (kind, code), 0x0001_0002, &[0; 40])
            });
        }
    }
    // Errors about something we could have sent.
    let quote = |h: Host, protocol: u8| {
        Packet::new(R1, h.addr(), protocol, vec![0, 9, 0x0f, 0xa0, 0, 8, 0, 0]).ip_bytes()
    };
    for (kind, codes) in [(3u8, 0..=16u8), (5, 0..=4), (11, 0..=2), (12, 0..=3), (4, 0..=1)] {
        for code in codes {
            scene.packet(format!("icmp/error {kind} code {code} about our udp"), move |h| {
                Packet::icmp(h.addr(), R1, (kind, code), 0x0500, &quote(h, 17))
            });
        }
    }
    for (name, protocol) in [("tcp", 6), ("icmp", 1), ("protocol 99", 99)] {
        scene.packet(format!("icmp/error 3 code 3 about our {name}"), move |h| {
            Packet::icmp(h.addr(), R1, (3, 3), 0, &quote(h, protocol))
        });
    }
    for (name, src) in [("another's packet", [1, 2, 3, 4]), ("a broadcast", [10, 1, 255, 255])] {
        scene.packet(format!("icmp/error 3 code 1 about {name}"), move |h| {
            Packet::icmp(h.addr(), R1, (3, 1), 0, &Packet::udp(src, h.addr(), 8).ip_bytes())
        });
    }
    for len in [0, 4, 12, 19, 20, 24, 27] {
        scene.packet(format!("icmp/error 3 code 1 with {len} bytes quoted"), move |h| {
            Packet::icmp(h.addr(), R1, (3, 1), 0, &quote(h, 17)[..len])
        });
    }
    for kind in [0, 3, 8, 13, 17] {
        for len in [0, 1, 3, 4, 7, 8, 12, 20] {
            scene.packet(format!("icmp/type {kind} of {len} bytes"), move |h| {
                let message = [kind, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                Packet::new(h.addr(), R1, 1, message[..len].to_vec())
            });
        }
        scene.packet(format!("icmp/type {kind} with a wrong checksum"), move |h| {
            Packet::icmp(h.addr(), R1, (kind, 0), 1, &[0; 12]).check(Check::Wrong)
        });
        for (name, dst) in BROADCASTS {
            scene.packet(format!("icmp/type {kind} to {name}"), move |h| {
                Packet::icmp(h.addr(), dst, (kind, 0), 1, &[0; 12])
            });
        }
    }
    for (name, dst) in [("far side", R2), ("second subnet", [172, 16, 1, 1]), ("narrow side", [10, 3, 0, 1])]
    {
        scene.packet(format!("icmp/echo to our {name}"), move |h| Packet::echo(h.addr(), dst, 40));
        scene.packet(format!("icmp/timestamp to our {name}"), move |h| {
            Packet::icmp(h.addr(), dst, (13, 0), 1, &[0; 12])
        });
    }
    scene.packet("icmp/echo with DF", |h| Packet::echo(h.addr(), R1, 40).df());
    scene.packet("icmp/echo with id 0", |h| Packet::echo(h.addr(), R1, 40).id(0));
    scene.packet("icmp/echo with an odd length", |h| Packet::echo(h.addr(), R1, 41));
    scene.packet("icmp/echo with padding", |h| Packet::echo(h.addr(), R1, 3).padding(15));
}
