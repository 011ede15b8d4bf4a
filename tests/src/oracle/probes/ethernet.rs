//! What is in front of IP: MACs, types, lengths, tags.

use super::super::packet::Packet;
use super::super::probe::{Scene, Step};
use super::super::shape::{Addr, HOST2, Mac, Port, R1};

const BROADCAST: Mac = [0xff; 6];
const MULTICAST: Mac = [1, 0, 0x5e, 0, 0, 1];
const ODD_MULTICAST: Mac = [1, 2, 3, 4, 5, 6];
const STRANGER: Mac = [2, 0, 0, 0, 0, 0x77];

pub(super) fn scenes() -> Vec<Scene> {
    let mut scene = Scene::new("defaults");
    macs(&mut scene);
    for (name, ethertype) in [
        ("length 46", 46),
        ("length 0", 0),
        ("length 1500", 1500),
        ("1501", 1501),
        ("0x0600", 0x600),
        ("IPv6", 0x86dd),
        ("0x0801", 0x801),
        ("LACP", 0x8809),
        ("LLDP", 0x88cc),
        ("PPPoE", 0x8864),
        ("MPLS", 0x8847),
        ("0xffff", 0xffff),
        ("loopback test", 0x9000),
        ("local experiment", 0x88b5),
    ] {
        scene.packet(format!("ethernet/type {name}"), move |h| {
            Packet::udp(h.addr(), HOST2, 30).ethertype(ethertype)
        });
    }
    for (name, tci) in [("0", 0), ("0 with priority", 0xe000), ("1", 1), ("100", 100), ("4095", 4095)] {
        scene.packet(format!("ethernet/tag {name}, in transit"), move |h| {
            Packet::udp(h.addr(), HOST2, 30).tag(tci)
        });
        scene.packet(format!("ethernet/tag {name}, to us"), move |h| Packet::echo(h.addr(), R1, 30).tag(tci));
    }
    scene.frame("ethernet/header alone", |_| {
        [&Port::P1.router_mac()[..], &Port::P1.host_mac(), &[8, 0]].concat()
    });
    scene.frame("ethernet/header alone, ARP", |_| [&BROADCAST[..], &Port::P1.host_mac(), &[8, 6]].concat());
    scene.packet("ethernet/from our own MAC", |h| {
        Packet::udp(h.addr(), HOST2, 30).from_mac(Port::P1.router_mac())
    });
    scene.packet("ethernet/from a multicast MAC", |h| Packet::udp(h.addr(), HOST2, 30).from_mac(MULTICAST));
    scene.packet("ethernet/from MAC zero", |h| Packet::echo(h.addr(), R1, 30).from_mac([0; 6]));
    scene.steps("ethernet/32 packets at once", |h| {
        (0..32).map(|n| Packet::udp(h.addr(), HOST2, 20 + n).id(n as u16).into()).collect()
    });
    scene.steps("ethernet/a burst of every kind", |h| {
        let packets = (0..40u16).map(|n| match n % 5 {
            0 => Packet::udp(h.addr(), HOST2, 20),
            1 => Packet::udp(h.addr(), HOST2, 20).wrong_header_check(),
            2 => Packet::udp(h.addr(), HOST2, 20).to_mac(STRANGER),
            3 => Packet::echo(h.addr(), R1, 20),
            _ => Packet::udp(h.addr(), HOST2, 1400),
        });
        packets.enumerate().map(|(n, p)| Step::from(p.id(n as u16))).collect()
    });

    let mut strict =
        Scene::with("drop_unicast_in_l2_multicast", &[("conf.r1.drop_unicast_in_l2_multicast", 1)]);
    for (name, mac) in [("broadcast", BROADCAST), ("multicast", MULTICAST)] {
        strict.packet(format!("ethernet/strict, {name}, to us"), move |h| {
            Packet::echo(h.addr(), R1, 30).to_mac(mac)
        });
        strict.packet(format!("ethernet/strict, {name}, in transit"), move |h| {
            Packet::udp(h.addr(), HOST2, 30).to_mac(mac)
        });
        strict.packet(format!("ethernet/strict, {name}, broadcast"), move |h| {
            Packet::udp(h.addr(), [255; 4], 30).to_mac(mac)
        });
    }
    vec![scene, strict]
}

fn macs(scene: &mut Scene) {
    let dsts: [(&str, Addr); 5] = [
        ("in transit", HOST2),
        ("to us", R1),
        ("to the subnet's broadcast", [10, 1, 255, 255]),
        ("to everybody", [255; 4]),
        ("nowhere", [8, 8, 8, 8]),
    ];
    for (to, mac) in [
        ("broadcast MAC", BROADCAST),
        ("multicast MAC", MULTICAST),
        ("odd multicast MAC", ODD_MULTICAST),
        ("another MAC", STRANGER),
        ("the MAC of another port of ours", Port::P2.router_mac()),
        ("MAC zero", [0; 6]),
    ] {
        for (what, dst) in dsts {
            scene.packet(format!("ethernet/{to}, udp {what}"), move |h| {
                Packet::udp(h.addr(), dst, 30).to_mac(mac)
            });
        }
        scene.packet(format!("ethernet/{to}, echo to us"), move |h| {
            Packet::echo(h.addr(), R1, 30).to_mac(mac)
        });
        scene.packet(format!("ethernet/{to}, syn to us"), move |h| {
            Packet::tcp(h.addr(), R1, 2, 0).to_mac(mac)
        });
        scene.packet(format!("ethernet/{to}, ttl 1"), move |h| {
            Packet::udp(h.addr(), HOST2, 30).ttl(1).to_mac(mac)
        });
        scene.packet(format!("ethernet/{to}, protocol 99 to us"), move |h| {
            Packet::new(h.addr(), R1, 99, vec![7; 30]).to_mac(mac)
        });
    }
}
