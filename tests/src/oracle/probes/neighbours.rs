//! Resolving neighbours: what waits, what is asked, what happens if nobody answers.

use super::super::packet::Packet;
use super::super::probe::{Scene, Step};
use super::super::shape::{HOST3, Port, R2};

pub(super) fn scenes() -> Vec<Scene> {
    let mut scene = Scene::new("defaults");
    scene.packet("neighbour/one packet waits", |h| Packet::udp(h.addr(), h.peer(), 20));
    scene.steps("neighbour/ten packets wait, in order", |h| {
        (0..10).map(|n| Packet::udp(h.addr(), h.peer(), 20).id(n).into()).collect()
    });
    scene.packet("neighbour/fragments wait", |h| {
        let [_, _, _, d] = h.addr();
        Packet::udp(h.addr(), [10, 3, 0, 10 + d % 200], 1400)
    });
    scene.packet("neighbour/the sender is asked for", |h| Packet::udp(h.addr(), HOST3, 20).ttl(1));
    scene.steps("neighbour/on the /31", |h| vec![Packet::udp(h.addr(), [10, 9, 0, 1], 20).into()]);
    scene.steps("neighbour/found, then lost, then found", |h| {
        let udp = |n| Step::from(Packet::udp(h.addr(), h.peer(), 20).id(n));
        vec![udp(1), Step::wait(5), udp(2), udp(3)]
    });

    // A second is a tenth here, so that failing takes 0.3 s.
    let mut hasty = Scene::with(
        "hasty",
        &[
            ("neigh.r1.retrans_time_ms", 100),
            ("neigh.r2.retrans_time_ms", 100),
            ("neigh.r3.retrans_time_ms", 100),
        ],
    );
    let dead = Step::wait(700);
    for (name, count) in [("one packet", 1), ("five packets", 5), ("twenty packets", 20)] {
        let dead = dead.clone();
        hasty.steps(format!("neighbour/silent, {name}"), move |h| {
            let packets = (0..count).map(|n| Step::from(Packet::udp(h.addr(), h.silent(), 20).id(n)));
            packets.chain([dead.clone()]).collect()
        });
    }
    let failing = [
        ("an error", (|s, d| Packet::icmp(s, d, (3, 1), 0, &[0x45; 28])) as fn(_, _) -> Packet),
        ("a fragment", |s, d| Packet::udp(s, d, 20).frag_off(0x0010)),
        ("echo", |s, d| Packet::echo(s, d, 20)),
        ("syn", |s, d| Packet::tcp(s, d, 2, 0)),
        ("options", |s, d| Packet::udp(s, d, 20).options(&[7, 7, 4, 0, 0, 0, 0])),
        ("tos", |s, d| Packet::udp(s, d, 20).tos(0xb8)),
        ("ttl 2", |s, d| Packet::udp(s, d, 20).ttl(2)),
    ];
    for (name, make) in failing {
        hasty.steps(format!("neighbour/silent, {name}"), move |h| {
            vec![make(h.addr(), h.silent()).into(), Step::wait(700)]
        });
    }
    hasty.steps("neighbour/silent, then again", |h| {
        let udp = |n| Step::from(Packet::udp(h.addr(), h.silent(), 20).id(n));
        vec![udp(1), Step::wait(600), udp(2), udp(3), Step::wait(600)]
    });
    hasty.steps("neighbour/silent sender", |_| {
        vec![Packet::echo([10, 1, 240, 251], R2, 20).into(), Step::wait(600)]
    });
    hasty.steps("neighbour/answers late", |h| {
        let mac = Port::P2.host_mac();
        let mut late = [&Port::P2.router_mac()[..], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &mac].concat();
        late.extend(h.silent());
        late.extend(Port::P2.router_mac());
        late.extend(R2);
        let udp = |n| Step::from(Packet::udp(h.addr(), h.silent(), 20).id(n));
        vec![udp(1), udp(2), Step::wait(150), Step::Send(Port::P2, late), Step::wait(5), udp(3)]
    });
    vec![scene, hasty]
}
