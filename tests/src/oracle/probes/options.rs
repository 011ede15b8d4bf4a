//! IP options, well-formed and not, in every place a router looks at them.

use super::super::packet::Packet;
use super::super::probe::{Host, Scene};
use super::super::shape::{BACK, BEYOND, HOST2, HOST3, NO_ROUTE, R1, R2};

/// Next addresses in source routes.
const VIA: [u8; 4] = HOST2;
const OURS: [u8; 4] = [10, 2, 0, 1];

fn variants() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("end", vec![0, 0, 0, 0]),
        ("end, then rubbish", vec![0, 7, 3, 9]),
        ("nop", vec![1, 1, 1, 1]),
        ("nop, end, rubbish", vec![1, 0, 9, 9]),
        ("unknown 222", vec![222, 4, 1, 2]),
        ("unknown copied 158", vec![158, 8, 1, 2, 3, 4, 5, 6]),
        ("unknown, length 0", vec![222, 0, 1, 2]),
        ("unknown, length 1", vec![222, 1, 1, 2]),
        ("unknown, length 2", vec![222, 2, 1, 1]),
        ("unknown, too long", vec![222, 5, 1, 2]),
        ("kind as last byte", vec![1, 1, 1, 222]),
        ("record route as last byte", vec![1, 1, 1, 7]),
        ("record route", vec![7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("record route of nine", {
            let mut o = vec![7, 39, 4];
            o.resize(40, 0);
            o
        }),
        ("record route, second slot", vec![7, 11, 8, 1, 2, 3, 4, 0, 0, 0, 0, 0]),
        ("record route full", vec![7, 11, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0]),
        ("record route far beyond", vec![7, 7, 40, 1, 2, 3, 4, 0]),
        ("record route empty", vec![7, 3, 4, 0]),
        ("record route, length 2", vec![7, 2, 4, 0]),
        ("record route, length 6", vec![7, 6, 4, 0, 0, 0, 0, 0]),
        ("record route, pointer 3", vec![7, 7, 3, 0, 0, 0, 0, 0]),
        ("record route, pointer 0", vec![7, 7, 0, 0, 0, 0, 0, 0]),
        ("record route, pointer 5", vec![7, 7, 5, 0, 0, 0, 0, 0]),
        ("record route, pointer 6", vec![7, 11, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("record route twice", vec![7, 7, 4, 0, 0, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0, 0]),
        ("record route after nops", vec![1, 1, 1, 7, 7, 4, 0, 0, 0, 0, 0, 0]),
        ("timestamps", vec![68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("timestamps, second slot", vec![68, 12, 9, 0, 1, 2, 3, 4, 0, 0, 0, 0]),
        ("timestamps full", vec![68, 12, 13, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("timestamps full, overflow 14", vec![68, 8, 9, 0xe0, 1, 2, 3, 4]),
        ("timestamps full, overflow 15", vec![68, 8, 9, 0xf0, 1, 2, 3, 4]),
        ("timestamps, length 3", vec![68, 3, 5, 0]),
        ("timestamps, length 4", vec![68, 4, 5, 0]),
        ("timestamps, length 6", vec![68, 6, 5, 0, 0, 0, 0, 0]),
        ("timestamps, pointer 4", vec![68, 8, 4, 0, 0, 0, 0, 0]),
        ("timestamps, pointer 6", vec![68, 8, 6, 0, 0, 0, 0, 0]),
        ("timestamps twice", vec![68, 8, 5, 0, 0, 0, 0, 0, 68, 8, 5, 0, 0, 0, 0, 0]),
        ("timestamps and addresses", vec![68, 20, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("timestamps and addresses, half a slot", vec![68, 8, 5, 1, 0, 0, 0, 0]),
        ("timestamps and addresses full", vec![68, 12, 13, 1, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("timestamps and addresses, overflow 15", vec![68, 12, 13, 0xf1, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("timestamps flag 2", vec![68, 12, 5, 2, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("timestamps flag 4", vec![68, 12, 5, 4, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("timestamps flag 15 full", vec![68, 8, 9, 15, 0, 0, 0, 0]),
        ("timestamps prespecified, ours", vec![68, 12, 5, 3, 10, 2, 0, 1, 0, 0, 0, 0]),
        ("timestamps prespecified, in address", vec![68, 12, 5, 3, 10, 1, 0, 1, 0, 0, 0, 0]),
        ("timestamps prespecified, not ours", vec![68, 12, 5, 3, 10, 2, 0, 2, 0, 0, 0, 0]),
        ("timestamps prespecified, full", vec![68, 12, 13, 3, 10, 2, 0, 1, 0, 0, 0, 0]),
        ("timestamps prespecified, full, overflow 15", vec![68, 12, 13, 0xf3, 10, 2, 0, 1, 0, 0, 0, 0]),
        ("router alert", vec![148, 4, 0, 0]),
        ("router alert 1", vec![148, 4, 0, 1]),
        ("router alert, length 3", vec![148, 3, 0, 0]),
        ("router alert, length 6", vec![148, 6, 0, 0, 0, 0, 0, 0]),
        ("commercial security", vec![134, 10, 0, 0, 0, 1, 1, 4, 0, 1, 0, 0]),
        ("security", vec![130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("stream id", vec![136, 4, 0, 1]),
        ("record route and timestamps", {
            vec![7, 7, 4, 0, 0, 0, 0, 1, 68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]
        }),
        ("router alert and record route", vec![148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0]),
        ("record route, then a bad one", vec![7, 7, 4, 0, 0, 0, 0, 222, 1, 0, 0, 0]),
        ("forty nops", vec![1; 40]),
    ]
}

fn source_routes() -> Vec<(&'static str, Vec<u8>)> {
    let route = |kind: u8, pointer: u8, hops: &[[u8; 4]]| {
        let mut option = vec![kind, 3 + 4 * hops.len() as u8, pointer];
        option.extend(hops.concat());
        option
    };
    vec![
        ("loose, one hop", route(131, 4, &[VIA])),
        ("loose, two hops", route(131, 4, &[VIA, BEYOND])),
        ("loose, second hop", route(131, 8, &[OURS, VIA])),
        ("loose, through a gateway", route(131, 4, &[BEYOND])),
        ("loose, back the way it came", route(131, 4, &[BACK])),
        ("loose, next hop is us", route(131, 4, &[OURS, VIA])),
        ("loose, next hop is us and last", route(131, 4, &[OURS])),
        ("loose, exhausted", route(131, 8, &[VIA])),
        ("loose, no way", route(131, 4, &[NO_ROUTE])),
        ("loose, narrow", route(131, 4, &[HOST3])),
        ("loose, empty", vec![131, 3, 4]),
        ("loose, length 2", vec![131, 2, 4]),
        ("loose, length 5", vec![131, 5, 4, 1, 2]),
        ("loose, pointer 3", route(131, 3, &[VIA])),
        ("loose, pointer 5", route(131, 5, &[VIA])),
        ("loose, to a broadcast", route(131, 4, &[[255; 4]])),
        ("loose, to a multicast", route(131, 4, &[[224, 0, 0, 1]])),
        ("loose, to zero", route(131, 4, &[[0; 4]])),
        ("strict, one hop", route(137, 4, &[VIA])),
        ("strict, two hops", route(137, 4, &[VIA, BEYOND])),
        ("strict, through a gateway", route(137, 4, &[BEYOND])),
        ("strict, exhausted", route(137, 8, &[VIA])),
        ("strict, back the way it came", route(137, 4, &[BACK])),
        ("strict, length 2", vec![137, 2, 4]),
        ("both", [route(131, 4, &[VIA]), route(137, 4, &[VIA])].concat()),
        ("loose and record route", [route(131, 4, &[VIA]), vec![7, 7, 4, 0, 0, 0, 0]].concat()),
    ]
}

pub(super) fn scenes() -> Vec<Scene> {
    let mut scene = Scene::new("defaults");
    for (name, options) in variants() {
        let add = |scene: &mut Scene, what: &str, make: fn(Host) -> Packet| {
            let options = options.clone();
            scene.packet(format!("options/{name}, {what}"), move |h| make(h).options(&options));
        };
        add(&mut scene, "in transit", |h| Packet::udp(h.addr(), HOST2, 30));
        add(&mut scene, "echo", |h| Packet::echo(h.addr(), R1, 30));
        if name.contains("record") || name.contains("timestamps") || name.contains("alert") {
            add(&mut scene, "ttl error", |h| Packet::udp(h.addr(), HOST2, 30).ttl(1));
            add(&mut scene, "closed port", |h| Packet::udp(h.addr(), R1, 30));
        }
    }
    for (name, options) in [
        ("record route", vec![7, 7, 4, 0, 0, 0, 0]),
        ("router alert", vec![148, 4, 0, 0]),
        ("unknown", vec![222, 4, 1, 2]),
        ("copied and not", vec![148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 158, 4, 1, 2]),
    ] {
        let o = options.clone();
        scene.packet(format!("options/{name}, fragmented"), move |h| {
            Packet::udp(h.addr(), HOST3, 1400).options(&o)
        });
        let o = options.clone();
        scene.packet(format!("options/{name}, too big"), move |h| {
            Packet::udp(h.addr(), HOST3, 1400).df().options(&o)
        });
        let o = options.clone();
        scene.packet(format!("options/{name}, redirected"), move |h| {
            Packet::udp(h.addr(), BACK, 30).options(&o)
        });
        let o = options.clone();
        scene.packet(format!("options/{name}, reset"), move |h| Packet::tcp(h.addr(), R1, 2, 0).options(&o));
    }
    for (name, options) in source_routes() {
        let o = options.clone();
        scene.packet(format!("source route refused/{name}, at us"), move |h| {
            Packet::udp(h.addr(), R1, 30).options(&o)
        });
        scene.packet(format!("source route refused/{name}, in transit"), move |h| {
            Packet::udp(h.addr(), HOST2, 30).options(&options)
        });
    }

    let mut accepted = Scene::with(
        "accept_source_route",
        &[("conf.all.accept_source_route", 1), ("conf.r1.accept_source_route", 1)],
    );
    for (name, options) in source_routes() {
        let o = options.clone();
        accepted.packet(format!("source route/{name}, at us"), move |h| {
            Packet::udp(h.addr(), R1, 30).options(&o)
        });
        let o = options.clone();
        accepted.packet(format!("source route/{name}, at the far side"), move |h| {
            Packet::udp(h.addr(), R2, 30).options(&o)
        });
        let o = options.clone();
        accepted.packet(format!("source route/{name}, in transit"), move |h| {
            Packet::udp(h.addr(), HOST2, 30).options(&o)
        });
        let o = options.clone();
        accepted.packet(format!("source route/{name}, ttl error"), move |h| {
            Packet::udp(h.addr(), R1, 30).ttl(1).options(&o)
        });
        accepted.packet(format!("source route/{name}, echo"), move |h| {
            Packet::echo(h.addr(), R1, 30).options(&options)
        });
    }
    vec![scene, accepted]
}
