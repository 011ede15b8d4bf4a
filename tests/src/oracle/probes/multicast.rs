//! Multicast: groups nobody joined, the one everybody is in, IGMP.

use super::super::packet::{Packet, checksum};
use super::super::probe::{Host, Scene};
use super::super::shape::Addr;

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
    vec![scene]
}

fn igmp(host: Host, dst: Addr, kind: u8, group: Addr) -> Packet {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(group);
    let check = checksum(&message);
    message[2..4].copy_from_slice(&check.to_be_bytes());
    let mac = if dst[0] >= 224 { [1, 0, 0x5e, dst[1] & 0x7f, dst[2], dst[3]] } else { [2, 0x5e, 0, 0, 0, 1] };
    Packet::new(host.addr(), dst, 2, message).to_mac(mac).ttl(1)
}
