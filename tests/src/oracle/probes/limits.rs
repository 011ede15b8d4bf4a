//! How many errors a sender gets.

use super::super::packet::Packet;
use super::super::probe::{Host, Scene, Step};
use super::super::shape::{Addr, HOST2, HOST3, NO_ROUTE, PROHIBIT, R1, UNREACHABLE};

type Make = fn(Host) -> Packet;

const KINDS: [(&str, Make); 9] = [
    ("ttl", |h| Packet::udp(h.addr(), HOST2, 20).ttl(1)),
    ("no route", |h| Packet::udp(h.addr(), NO_ROUTE, 20)),
    ("unreachable", |h| Packet::udp(h.addr(), UNREACHABLE, 20)),
    ("prohibit", |h| Packet::udp(h.addr(), PROHIBIT, 20)),
    ("too big", |h| Packet::udp(h.addr(), HOST3, 1400).df()),
    ("closed port", |h| Packet::udp(h.addr(), R1, 20)),
    ("protocol 99", |h| Packet::new(h.addr(), R1, 99, vec![0; 20])),
    ("bad option", |h| Packet::udp(h.addr(), HOST2, 20).options(&[7, 2, 4, 0])),
    ("echo", |h| Packet::echo(h.addr(), R1, 20)),
];

pub(super) fn scenes() -> Vec<Scene> {
    let mut scene = Scene::new("defaults");
    for (name, make) in KINDS {
        scene.steps(format!("limit/20 x {name}"), move |h| burst(h, make, 20));
        scene.steps(format!("limit/10 x {name}, then 3 after half a second"), move |h| {
            let mut steps = burst(h, make, 10);
            steps.push(Step::wait(500));
            steps.extend(burst(h, make, 3));
            steps
        });
    }
    scene.steps("limit/ttl, then no route", |h| {
        // Not in one burst: errors of different stages overtake each other there.
        let parts = [burst(h, KINDS[0].1, 4), burst(h, KINDS[1].1, 4), burst(h, KINDS[0].1, 4)];
        parts.join(&Step::wait(1))
    });
    scene.steps("limit/no route, then ttl", |h| {
        [burst(h, KINDS[1].1, 8), burst(h, KINDS[0].1, 8)].join(&Step::wait(1))
    });
    scene.steps("limit/resets are not limited", |h| {
        (0..20).map(|_| Packet::tcp(h.addr(), R1, 2, 0).into()).collect()
    });

    let mut off = Scene::with("icmp_ratelimit off", &[("icmp_ratelimit", 0)]);
    let mut mask = Scene::with("icmp_ratemask", &[("icmp_ratemask", 1)]);
    let mut fast = Scene::with("icmp_ratelimit 100", &[("icmp_ratelimit", 100)]);
    for (name, make) in KINDS {
        off.steps(format!("limit off/20 x {name}"), move |h| burst(h, make, 20));
        mask.steps(format!("limit of echo replies alone/20 x {name}"), move |h| burst(h, make, 20));
    }
    fast.steps("limit 100 ms/20 x ttl", |h| burst(h, KINDS[0].1, 20));
    // The sender's limit is one for all its addresses of destination, but each sender has its own.
    let other: fn(Addr) -> Packet = |src| Packet::udp(src, HOST2, 20).ttl(1);
    scene.steps("limit/two senders", move |h| {
        let [a, b, c, d] = h.addr();
        (0..16).map(|n| other([a, b, c + 100 * (n % 2), d]).into()).collect()
    });
    vec![scene, off, mask, fast]
}

fn burst(host: Host, make: Make, count: usize) -> Vec<Step> {
    (0..count).map(|_| make(host).into()).collect()
}
