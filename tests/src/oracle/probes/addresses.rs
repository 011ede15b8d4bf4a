//! Which sources and destinations may be on the wire, and which way they may come.

use super::super::packet::Packet;
use super::super::probe::{Scene, Step};
use super::super::shape::{Addr, BACK, BEYOND, GW1, HOST2, HOST3, Port, R1, R2, R3};

const SOURCES: [(&str, Addr); 20] = [
    ("0.0.0.0", [0; 4]),
    ("0.1.2.3", [0, 1, 2, 3]),
    ("loopback", [127, 0, 0, 1]),
    ("loopback's end", [127, 255, 255, 255]),
    ("all hosts", [224, 0, 0, 1]),
    ("multicast", [224, 1, 1, 1]),
    ("multicast's end", [239, 255, 255, 255]),
    ("class E", [240, 0, 0, 1]),
    ("almost broadcast", [255, 255, 255, 254]),
    ("broadcast", [255; 4]),
    ("our address there", R1),
    ("our far address", R2),
    ("our second address", [172, 16, 1, 1]),
    ("our /31", [10, 9, 0, 0]),
    ("the subnet's broadcast", [10, 1, 255, 255]),
    ("the network", [10, 1, 0, 0]),
    ("another subnet's broadcast", [10, 2, 255, 255]),
    ("another subnet's host", HOST2),
    ("beyond another port", BEYOND),
    ("nowhere", [9, 9, 9, 9]),
];

const DESTINATIONS: [(&str, Addr); 22] = [
    ("0.0.0.0", [0; 4]),
    ("0.1.2.3", [0, 1, 2, 3]),
    ("loopback", [127, 0, 0, 1]),
    ("loopback's broadcast", [127, 255, 255, 255]),
    ("link-local", [169, 254, 1, 1]),
    ("all hosts", [224, 0, 0, 1]),
    ("all routers", [224, 0, 0, 2]),
    ("a group", [239, 1, 2, 3]),
    ("class E", [240, 0, 0, 1]),
    ("almost broadcast", [255, 255, 255, 254]),
    ("broadcast", [255; 4]),
    ("us", R1),
    ("our far side", R2),
    ("our narrow side", R3),
    ("our network", [10, 1, 0, 0]),
    ("our broadcast", [10, 1, 255, 255]),
    ("another network", [10, 2, 0, 0]),
    ("another broadcast", [10, 2, 255, 255]),
    ("the /31's other end", [10, 9, 0, 1]),
    ("a host", HOST2),
    ("beyond", BEYOND),
    ("nowhere", [8, 8, 8, 8]),
];

pub(super) fn scenes() -> Vec<Scene> {
    let mut scene = Scene::new("defaults");
    for (from, src) in SOURCES {
        for (to, dst) in
            [("a host", HOST2), ("us", R1), ("everybody", [255; 4]), ("all hosts", [224, 0, 0, 1])]
        {
            scene.packet(format!("source/{from}, to {to}"), move |_| Packet::udp(src, dst, 20));
        }
    }
    for (to, dst) in DESTINATIONS {
        scene.packet(format!("destination/{to}"), move |h| Packet::udp(h.addr(), dst, 20));
        scene.packet(format!("destination/{to} from 0.0.0.0"), move |_| Packet::udp([0; 4], dst, 20));
    }
    scene.packet("source/same as destination, a host", |_| Packet::udp(HOST2, HOST2, 20));
    scene.packet("source/same as destination, us", |_| Packet::udp(R1, R1, 20));

    let mut all = vec![scene];
    for (name, mode) in [("strict", 1), ("loose", 2)] {
        let mut filtered = Scene::new("rp_filter");
        filtered.sysctl.push(("conf.r1.rp_filter", mode));
        reverse_path(&mut filtered, name);
        all.push(filtered);
    }
    let mut everywhere = Scene::with("rp_filter for all", &[("conf.all.rp_filter", 1)]);
    reverse_path(&mut everywhere, "for all");
    all.push(everywhere);
    all.extend(others());
    all
}

fn reverse_path(scene: &mut Scene, mode: &str) {
    let more = [
        ("gateway on the link", GW1),
        ("beyond the link's gateway", BACK),
        ("the second subnet", [172, 16, 1, 9]),
        ("behind a blackhole", [198, 51, 100, 140]),
        ("behind a throw", [198, 51, 100, 200]),
        ("the narrow side", HOST3),
        ("a host of the link", [10, 1, 77, 7]),
    ];
    for (from, src) in SOURCES.into_iter().chain(more) {
        for (to, dst) in [("a host", HOST2), ("us", R1), ("everybody", [255; 4])] {
            scene.packet(format!("rp_filter/{mode}: {from}, to {to}"), move |_| Packet::udp(src, dst, 20));
        }
    }
    scene.steps(format!("rp_filter/{mode}: at another port"), |_| {
        vec![Step::Send(Port::P2, Packet::udp([10, 1, 77, 7], HOST3, 20).at(Port::P2).frame())]
    });
}

fn others() -> Vec<Scene> {
    let mut local = Scene::with("accept_local", &[("conf.r1.accept_local", 1)]);
    let mut localnet = Scene::with("route_localnet", &[("conf.r1.route_localnet", 1)]);
    let mut off = Scene::with("forwarding off", &[("conf.r1.forwarding", 0)]);
    let mut directed =
        Scene::with("bc_forwarding", &[("conf.all.bc_forwarding", 1), ("conf.r1.bc_forwarding", 1)]);
    let mut martians = Scene::with("log_martians", &[("conf.all.log_martians", 1)]);
    for (from, src) in SOURCES {
        for (to, dst) in [("a host", HOST2), ("us", R1)] {
            local.packet(format!("accept_local/{from}, to {to}"), move |_| Packet::udp(src, dst, 20));
        }
    }
    for (to, dst) in DESTINATIONS {
        off.packet(format!("forwarding off/{to}"), move |h| Packet::udp(h.addr(), dst, 20));
    }
    off.packet("forwarding off/echo to us", |h| Packet::echo(h.addr(), R1, 20));
    off.packet("forwarding off/ttl 1", |h| Packet::udp(h.addr(), HOST2, 20).ttl(1));
    off.packet("forwarding off/bad options", |h| Packet::udp(h.addr(), HOST2, 20).options(&[7, 2, 4, 0]));
    off.packet("forwarding off/our source", |_| Packet::udp(R2, HOST2, 20));
    off.steps("forwarding off/at another port", |h| {
        vec![Step::Send(Port::P2, Packet::udp(h.peer(), HOST3, 20).at(Port::P2).frame())]
    });
    for (from, src) in [("a host", [10, 1, 9, 9]), ("loopback", [127, 0, 0, 1])] {
        for (to, dst) in [("a host", HOST2), ("loopback", [127, 0, 0, 1]), ("us", R1)] {
            localnet.packet(format!("route_localnet/{from} to {to}"), move |_| Packet::echo(src, dst, 20));
        }
    }
    for (to, dst) in
        [("another subnet", [10, 2, 255, 255]), ("its own", [10, 1, 255, 255]), ("everybody", [255; 4])]
    {
        directed.packet(format!("bc_forwarding/{to}"), move |h| Packet::udp(h.addr(), dst, 20));
        directed.packet(format!("bc_forwarding/{to}, ttl 1"), move |h| Packet::udp(h.addr(), dst, 20).ttl(1));
        directed.packet(format!("bc_forwarding/{to}, broadcast MAC"), move |h| {
            Packet::udp(h.addr(), dst, 20).to_mac([0xff; 6])
        });
    }
    martians.packet("log_martians/our source", |_| Packet::udp(R1, HOST2, 20));
    vec![local, localnet, off, directed, martians]
}
