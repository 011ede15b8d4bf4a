//! The IP header: every field wrong by itself, TTL, type of service, lengths.

use super::super::packet::Packet;
use super::super::probe::{Host, Scene};
use super::super::shape::{Addr, BEYOND, HOST2, R1, R2};

type Variant = (&'static str, fn(Packet) -> Packet);

const HEADERS: [Variant; 24] = [
    ("plain", |p| p),
    ("version 0", |p| p.version(0)),
    ("version 5", |p| p.version(5)),
    ("version 6", |p| p.version(6)),
    ("version 15", |p| p.version(15)),
    ("header length 0", |p| p.ihl(0)),
    ("header length 4", |p| p.ihl(4)),
    ("header length 15 of 20 bytes", |p| p.ihl(15)),
    ("header length beyond the frame", |p| p.ihl(15).cut(40)),
    ("header checksum", |p| p.wrong_header_check()),
    ("total length 0", |p| p.total_len(0)),
    ("total length 19", |p| p.total_len(19)),
    ("total length 20", |p| p.total_len(20)),
    ("total length 21", |p| p.total_len(21)),
    ("total length beyond the frame", |p| p.total_len(500)),
    ("total length 65535", |p| p.total_len(65535)),
    ("frame cut at 1", |p| p.cut(1)),
    ("frame cut at 10", |p| p.cut(10)),
    ("frame cut at 19", |p| p.cut(19)),
    ("frame cut at 20", |p| p.cut(20)),
    ("frame cut at 27", |p| p.cut(27)),
    ("padding", |p| p.padding(20)),
    ("reserved flag", |p| p.frag_off(0x8000)),
    ("reserved flag and DF", |p| p.frag_off(0xc000)),
];

pub(super) fn scenes() -> Vec<Scene> {
    let mut scene = Scene::new("defaults");
    for (name, change) in HEADERS {
        scene.packet(format!("header/{name}, in transit"), move |h| change(Packet::udp(h.addr(), HOST2, 30)));
        scene.packet(format!("header/{name}, to us"), move |h| change(Packet::echo(h.addr(), R1, 30)));
    }
    for ttl in [0, 1, 2, 3, 255] {
        for (to, dst) in
            [("to a host", HOST2), ("through a gateway", BEYOND), ("to us", R1), ("to us, far side", R2)]
        {
            let make = if dst == R1 || dst == R2 { Packet::echo } else { Packet::udp };
            scene.packet(format!("ttl/{ttl} {to}"), move |h| make(h.addr(), dst, 20).ttl(ttl));
        }
    }
    // Errors have a class of their own; replies that of the request.
    for tos in [0x01, 0x02, 0x03, 0x08, 0x10, 0x1c, 0x28, 0x88, 0xb8, 0xc0, 0xe0, 0xff] {
        scene.packet(format!("tos/{tos:02x} in transit"), move |h| Packet::udp(h.addr(), HOST2, 20).tos(tos));
        scene.packet(format!("tos/{tos:02x} ttl error"), move |h| {
            Packet::udp(h.addr(), HOST2, 20).tos(tos).ttl(1)
        });
        scene.packet(format!("tos/{tos:02x} echo"), move |h| Packet::echo(h.addr(), R1, 20).tos(tos));
        scene.packet(format!("tos/{tos:02x} reset"), move |h| Packet::tcp(h.addr(), R1, 2, 0).tos(tos));
    }
    for len in [0, 1, 2, 17, 18, 19, 100, 519, 520, 521, 547, 548, 549, 1000, 1472] {
        let error = move |h: Host, dst: Addr| Packet::udp(h.addr(), dst, len).ttl(1);
        scene.packet(format!("length/{len} in transit"), move |h| Packet::udp(h.addr(), HOST2, len));
        scene.packet(format!("length/{len} ttl error"), move |h| error(h, HOST2));
        scene.packet(format!("length/{len} echo"), move |h| Packet::echo(h.addr(), R1, len));
    }
    vec![scene]
}
