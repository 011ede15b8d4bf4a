//! Kinds of routes, gateways, redirects.

use super::super::packet::Packet;
use super::super::probe::{Scene, Step};
use super::super::shape::{
    Addr, BACK, BEYOND, BLACKHOLE, GW1, HOST2, HOST3, NO_ROUTE, PROHIBIT, Port, THROW, UNREACHABLE,
};

const KINDS: [(&str, Addr); 9] = [
    ("none", NO_ROUTE),
    ("unreachable", UNREACHABLE),
    ("prohibit", PROHIBIT),
    ("blackhole", BLACKHOLE),
    ("throw", THROW),
    ("link", HOST2),
    ("gateway", BEYOND),
    ("narrow", HOST3),
    ("back", BACK),
];

pub(super) fn scenes() -> Vec<Scene> {
    let mut scene = Scene::new("defaults");
    for (kind, dst) in KINDS {
        scene.packet(format!("route/{kind}, udp"), move |h| Packet::udp(h.addr(), dst, 20));
        scene.packet(format!("route/{kind}, syn"), move |h| Packet::tcp(h.addr(), dst, 2, 0));
        scene.packet(format!("route/{kind}, echo"), move |h| Packet::echo(h.addr(), dst, 20));
        scene.packet(format!("route/{kind}, ttl 1"), move |h| Packet::udp(h.addr(), dst, 20).ttl(1));
        scene.packet(format!("route/{kind}, ttl 0"), move |h| Packet::udp(h.addr(), dst, 20).ttl(0));
        scene.packet(format!("route/{kind}, broadcast MAC"), move |h| {
            Packet::udp(h.addr(), dst, 20).to_mac([0xff; 6])
        });
        scene.packet(format!("route/{kind}, fragment"), move |h| {
            Packet::udp(h.addr(), dst, 20).frag_off(0x2000)
        });
        scene.packet(format!("route/{kind}, big DF"), move |h| Packet::udp(h.addr(), dst, 1400).df());
        scene.packet(format!("route/{kind}, our source"), move |_| Packet::udp([10, 2, 0, 1], dst, 20));
    }
    redirects(&mut scene, "redirect");

    let mut quiet =
        Scene::with("send_redirects off", &[("conf.all.send_redirects", 0), ("conf.r1.send_redirects", 0)]);
    redirects(&mut quiet, "no redirect");
    let mut one = Scene::with(
        "send_redirects of one",
        &[("conf.all.send_redirects", 0), ("conf.r1.send_redirects", 1)],
    );
    one.packet("redirect one/back", |h| Packet::udp(h.addr(), BACK, 20));
    let mut apart =
        Scene::with("shared_media off", &[("conf.all.shared_media", 0), ("conf.r1.shared_media", 0)]);
    redirects(&mut apart, "redirect, media not shared");

    let mut detour = Scene::new("more routes")
        .command("route add 192.0.2.128/25 via 10.1.0.9", "route del 192.0.2.128/25 via 10.1.0.9")
        .command("route add unreachable default metric 4000", "route del unreachable default metric 4000")
        .command("route add 10.2.0.77/32 dev r1", "route del 10.2.0.77/32 dev r1")
        .command("route add prohibit 10.1.200.0/24", "route del prohibit 10.1.200.0/24");
    detour.packet("route/longer prefix", |h| Packet::udp(h.addr(), [192, 0, 2, 200], 20));
    detour.packet("route/unreachable default", |h| Packet::udp(h.addr(), NO_ROUTE, 20));
    detour.packet("route/throw below a default", |h| Packet::udp(h.addr(), THROW, 20));
    detour.packet("route/host of another link here", |h| Packet::udp(h.addr(), [10, 2, 0, 77], 20));
    detour.packet("route/source prohibited, ttl 1", |_| Packet::udp([10, 1, 200, 1], HOST2, 20).ttl(1));
    detour.packet("route/source prohibited, echo", |_| Packet::echo([10, 1, 200, 1], [10, 1, 0, 1], 20));
    vec![scene, quiet, one, apart, detour]
}

fn redirects(scene: &mut Scene, name: &str) {
    let cases: [(&str, Addr); 4] = [
        ("back", BACK),
        ("neighbour", [10, 1, 200, 9]),
        ("gateway itself", GW1),
        ("second subnet", [172, 16, 1, 9]),
    ];
    for (to, dst) in cases {
        scene.packet(format!("{name}/{to}, udp"), move |h| Packet::udp(h.addr(), dst, 20));
        scene.packet(format!("{name}/{to}, echo"), move |h| Packet::echo(h.addr(), dst, 20));
        scene.packet(format!("{name}/{to}, ttl 2"), move |h| Packet::udp(h.addr(), dst, 20).ttl(2));
        scene.packet(format!("{name}/{to}, an error"), move |h| {
            Packet::icmp(h.addr(), dst, (3, 1), 0, &[0x45; 28])
        });
        scene.packet(format!("{name}/{to}, from the second subnet"), move |h| {
            let [.., d] = h.addr();
            Packet::udp([172, 16, 1, 2 + d % 200], dst, 20)
        });
        scene.packet(format!("{name}/{to}, from nowhere"), move |h| {
            let [_, _, c, d] = h.addr();
            Packet::udp([9, 9, c, d], dst, 20)
        });
    }
    scene.packet(format!("{name}/to himself"), |h| Packet::udp(h.addr(), h.addr(), 20));
    scene.steps(format!("{name}/at another port"), |h| {
        vec![Step::Send(Port::P2, Packet::udp(h.peer(), [10, 2, 240, 9], 20).at(Port::P2).frame())]
    });
    scene.steps(format!("{name}/several"), |h| {
        (0..6).map(|n| Packet::udp(h.addr(), BACK, n).into()).collect()
    });
    // The time without doubles from 40 ms on with each redirect: well below it, well above it, and so on.
    scene.steps(format!("{name}/several, apart"), |h| {
        let waits = [10, 70, 20, 130, 60, 220].into_iter().enumerate();
        waits.flat_map(|(n, wait)| [Packet::udp(h.addr(), BACK, n).into(), Step::wait(wait)]).collect()
    });
}
