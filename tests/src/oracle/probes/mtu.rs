//! Packets larger than their way out.

use super::super::packet::Packet;
use super::super::probe::Scene;
use super::super::shape::{BEYOND_MTU, HOST3, Port, R1};

pub(super) fn scenes() -> Vec<Scene> {
    let mut scene = Scene::new("defaults");
    for (way, dst, mtu) in [("narrow device", HOST3, 1000), ("narrow route", BEYOND_MTU, 1200)] {
        for over in [-1isize, 0, 1, 8, 9, 100] {
            let len = (mtu + over - 28) as usize;
            let name = format!("mtu/{way}, {} bytes", mtu + over);
            scene.packet(name.clone(), move |h| Packet::udp(h.addr(), dst, len));
            scene.packet(format!("{name}, DF"), move |h| Packet::udp(h.addr(), dst, len).df());
        }
        scene.packet(format!("mtu/{way}, largest"), move |h| Packet::udp(h.addr(), dst, 1472));
        scene.packet(format!("mtu/{way}, DF, ttl 1"), move |h| Packet::udp(h.addr(), dst, 1400).df().ttl(1));
        scene.packet(format!("mtu/{way}, DF, an ICMP error"), move |h| {
            Packet::icmp(h.addr(), dst, (3, 3), 0, &vec![0x45; 1400]).df()
        });
        scene.packet(format!("mtu/{way}, DF, syn"), move |h| {
            Packet::tcp(h.addr(), dst, 2, 1400).df().tos(0x28)
        });
        scene.packet(format!("mtu/{way}, reserved flag"), move |h| {
            Packet::udp(h.addr(), dst, 1400).frag_off(0x8000)
        });
        scene.packet(format!("mtu/{way}, expedited"), move |h| Packet::udp(h.addr(), dst, 1400).tos(0xb8));
    }
    // The answer leaves by the narrow port.
    scene.steps("mtu/echo larger than the way back", |_| {
        let echo = Packet::echo([10, 3, 0, 2], R1, 900).at(Port::P3);
        vec![super::super::probe::Step::Send(Port::P3, echo.frame())]
    });
    let mut locked = Scene::new("locked").command(
        "route add 203.0.112.0/24 via 10.2.0.2 mtu lock 1200",
        "route del 203.0.112.0/24 via 10.2.0.2",
    );
    for len in [1172, 1173, 1400] {
        locked.packet(format!("mtu/locked route, {} bytes", len + 28), move |h| {
            Packet::udp(h.addr(), [203, 0, 112, 7], len)
        });
        locked.packet(format!("mtu/locked route, {} bytes, DF", len + 28), move |h| {
            Packet::udp(h.addr(), [203, 0, 112, 7], len).df()
        });
    }
    vec![scene, locked]
}
