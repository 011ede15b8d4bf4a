//! Multicast: groups nobody joined, the one everybody is in, some that were joined or are routed, IGMP.

use super::super::packet::{Check, Packet, checksum};
use super::super::probe::{Host, Multicast, MulticastRoute, Scene, Step};
use super::super::shape::{Addr, Mac, Port};

const GROUPS: [(&str, Addr); 8] = [
    ("all hosts", [224, 0, 0, 1]),
    ("all routers", [224, 0, 0, 2]),
    ("OSPF", [224, 0, 0, 5]),
    ("IGMPv3", [224, 0, 0, 22]),
    ("mDNS", [224, 0, 0, 251]),
    ("224.0.1.1", [224, 0, 1, 1]),
    ("239.1.2.3", [239, 1, 2, 3]),
    ("232.1.1.1", [232, 1, 1, 1]),
];

pub(super) fn scenes() -> Vec<Scene> {
    let mut scene = Scene::new("defaults");
    for (name, group) in GROUPS {
        let mac = [1, 0, 0x5e, group[1] & 0x7f, group[2], group[3]];
        for ttl in [0, 1, 64] {
            scene.packet(format!("multicast/udp to {name}, ttl {ttl}"), move |h| {
                Packet::udp(h.addr(), group, 20).to_mac(mac).ttl(ttl)
            });
        }
        scene.packet(format!("multicast/echo to {name}"), move |h| {
            Packet::echo(h.addr(), group, 20).to_mac(mac)
        });
        scene.packet(format!("multicast/syn to {name}"), move |h| {
            Packet::tcp(h.addr(), group, 2, 0).to_mac(mac)
        });
        scene.packet(format!("multicast/protocol 99 to {name}"), move |h| {
            Packet::new(h.addr(), group, 99, vec![0; 20]).to_mac(mac)
        });
        scene.packet(format!("multicast/to {name}, our own MAC"), move |h| Packet::udp(h.addr(), group, 20));
        scene.packet(format!("multicast/to {name}, broadcast MAC"), move |h| {
            Packet::udp(h.addr(), group, 20).to_mac([0xff; 6])
        });
        scene.packet(format!("multicast/to {name}, bad option"), move |h| {
            Packet::udp(h.addr(), group, 20).to_mac(mac).options(&[7, 2, 4, 0])
        });
        scene.packet(format!("multicast/to {name} from a host of another subnet"), move |_| {
            Packet::udp([10, 2, 0, 9], group, 20).to_mac(mac)
        });
        scene.packet(format!("multicast/to {name} from 0.0.0.0"), move |_| {
            Packet::udp([0; 4], group, 20).to_mac(mac)
        });
        scene.packet(format!("multicast/to {name} from us"), move |_| {
            Packet::udp([10, 1, 0, 1], group, 20).to_mac(mac)
        });
    }
    for (name, kind, group) in [
        ("query", 0x11, [0; 4]),
        ("query of a group", 0x11, [239, 1, 2, 3]),
        ("report", 0x16, [239, 1, 2, 3]),
        ("report v1", 0x12, [239, 1, 2, 3]),
        ("leave", 0x17, [239, 1, 2, 3]),
        ("unknown", 0x99, [0; 4]),
    ] {
        let dst = if group == [0; 4] { [224, 0, 0, 1] } else { group };
        let message = move |h: Host| igmp(h, dst, kind, group);
        scene.packet(format!("igmp/{name}"), message);
        scene.packet(format!("igmp/{name}, router alert"), move |h| message(h).options(&[148, 4, 0, 0]));
        scene.packet(format!("igmp/{name}, to us"), move |h| igmp(h, [10, 1, 0, 1], kind, group));
        scene.packet(format!("igmp/{name}, wrong checksum"), move |h| message(h).with_payload(|p| p[2] ^= 1));
    }
    vec![scene, joined(), answering(), routed()]
}

/// A group the router is in, at port 1.
const JOINED: Addr = [239, 9, 9, 9];
/// One that stays on the link.
const OSPF: Addr = [224, 0, 0, 5];
/// One that is routed, and one that is both.
const ROUTED: Addr = [239, 1, 2, 3];
const BOTH: Addr = [239, 1, 2, 4];
/// Who sends to those.
const SOURCE: Addr = [10, 1, 0, 66];

fn mac_of([_, b, c, d]: Addr) -> Mac {
    [1, 0, 0x5e, b & 0x7f, c, d]
}

fn memberships() -> Multicast {
    Multicast { joins: vec![(Port::P1, JOINED), (Port::P1, OSPF)], routes: Vec::new() }
}

fn joined() -> Scene {
    let mut scene = Scene { multicast: memberships(), ..Scene::new("joined groups") };
    to_group(&mut scene, "joined", |h| h.addr(), JOINED);
    to_group(&mut scene, "joined on the link", |h| h.addr(), OSPF);
    scene.steps("joined/at another port", |h| {
        let packet = Packet::udp(h.peer(), JOINED, 20).at(Port::P2).to_mac(mac_of(JOINED));
        vec![Step::Send(Port::P2, packet.frame())]
    });
    scene.steps("joined/in fragments", |h| {
        let pieces = Packet::udp(h.addr(), JOINED, 80).to_mac(mac_of(JOINED)).fragments(&[40, 88]);
        pieces.into_iter().map(Step::from).collect()
    });
    scene
}

fn answering() -> Scene {
    let mut scene = Scene::with("joined, answer broadcasts", &[("icmp_echo_ignore_broadcasts", 0)]);
    scene.multicast = memberships();
    for (name, group) in [("joined", JOINED), ("joined on the link", OSPF)] {
        for (kind, what) in [(8, "echo"), (13, "timestamp"), (17, "address mask")] {
            scene.packet(format!("{name}/answered, {what}"), move |h| {
                Packet::icmp(h.addr(), group, (kind, 0), 1, &[0; 12]).to_mac(mac_of(group))
            });
        }
    }
    scene
}

fn routed() -> Scene {
    let route = |group| MulticastRoute {
        group,
        source: SOURCE,
        from: Port::P1,
        to: vec![(Port::P2, 1), (Port::P3, 16)],
    };
    let multicast = Multicast { joins: vec![(Port::P1, BOTH)], routes: vec![route(ROUTED), route(BOTH)] };
    let mut scene = Scene { multicast, ..Scene::new("multicast routes") };
    for (name, group) in [("routed", ROUTED), ("routed and joined", BOTH)] {
        to_group(&mut scene, name, |_| SOURCE, group);
        let udp = move |len| Packet::udp(SOURCE, group, len).to_mac(mac_of(group));
        scene.packet(format!("{name}/too big for one"), move |_| udp(1200));
        scene.packet(format!("{name}/too big for one, DF"), move |_| udp(1200).df());
        scene.packet(format!("{name}/fragment"), move |_| udp(200).frag_off(0x2000));
        scene.steps(format!("{name}/wrong port"), move |_| {
            vec![Step::Send(Port::P2, udp(20).at(Port::P2).to_mac(mac_of(group)).frame())]
        });
        scene.steps(format!("{name}/several"), move |_| (0..8).map(|n| udp(n).into()).collect());
    }
    scene.packet("routed/on the link", |h| Packet::udp(h.addr(), OSPF, 20).to_mac(mac_of(OSPF)));
    scene
}

/// One of each kind to a group.
fn to_group(scene: &mut Scene, name: &str, from: fn(Host) -> Addr, group: Addr) {
    let mac = mac_of(group);
    for ttl in [0, 1, 2, 16, 17, 64] {
        scene.packet(format!("{name}/udp, ttl {ttl}"), move |h| {
            Packet::udp(from(h), group, 20).to_mac(mac).ttl(ttl)
        });
    }
    scene.packet(format!("{name}/echo"), move |h| Packet::echo(from(h), group, 20).to_mac(mac));
    scene.packet(format!("{name}/syn"), move |h| Packet::tcp(from(h), group, 2, 0).to_mac(mac));
    scene.packet(format!("{name}/protocol 99"), move |h| {
        Packet::new(from(h), group, 99, vec![0; 20]).to_mac(mac)
    });
    scene.packet(format!("{name}/wrong checksum"), move |h| {
        Packet::udp(from(h), group, 20).to_mac(mac).check(Check::Wrong)
    });
    scene.packet(format!("{name}/our own MAC"), move |h| Packet::udp(from(h), group, 20));
    scene.packet(format!("{name}/broadcast MAC"), move |h| Packet::udp(from(h), group, 20).to_mac([0xff; 6]));
    scene.packet(format!("{name}/record route"), move |h| {
        Packet::udp(from(h), group, 20).to_mac(mac).options(&[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    });
    scene.packet(format!("{name}/bad option"), move |h| {
        Packet::udp(from(h), group, 20).to_mac(mac).options(&[7, 2, 4, 0])
    });
    for (who, src) in [("0.0.0.0", [0; 4]), ("us", [10, 1, 0, 1]), ("loopback", [127, 0, 0, 1])] {
        scene.packet(format!("{name}/from {who}"), move |_| Packet::udp(src, group, 20).to_mac(mac));
    }
}

fn igmp(host: Host, dst: Addr, kind: u8, group: Addr) -> Packet {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(group);
    let check = checksum(&message);
    message[2..4].copy_from_slice(&check.to_be_bytes());
    let mac = if dst[0] >= 224 { [1, 0, 0x5e, dst[1] & 0x7f, dst[2], dst[3]] } else { [2, 0x5e, 0, 0, 0, 1] };
    Packet::new(host.addr(), dst, 2, message).to_mac(mac).ttl(1)
}
