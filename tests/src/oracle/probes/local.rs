//! Packets for the router itself: ports nobody listens on, protocols nobody speaks.

use super::super::packet::{Check, Packet};
use super::super::probe::{Scene, Step};
use super::super::shape::{Addr, Port, R1, R2};

const TARGETS: [(&str, Addr); 5] = [
    ("us", R1),
    ("our far side", R2),
    ("the subnet", [10, 1, 255, 255]),
    ("everybody", [255; 4]),
    ("another subnet", [10, 2, 255, 255]),
];

pub(super) fn scenes() -> Vec<Scene> {
    let mut scene = Scene::new("defaults");
    udp(&mut scene);
    tcp(&mut scene);
    for protocol in [0, 2, 3, 4, 41, 46, 47, 50, 51, 59, 89, 94, 103, 108, 112, 132, 136, 143, 253, 254, 255]
    {
        for (name, dst) in [TARGETS[0], TARGETS[2]] {
            scene.packet(format!("protocol/{protocol} to {name}"), move |h| {
                Packet::new(h.addr(), dst, protocol, vec![0; 32])
            });
        }
    }
    for (name, dst) in [
        ("the network", [10, 1, 0, 0]),
        ("the narrow subnet", [10, 3, 0, 255]),
        ("the second subnet", [172, 16, 1, 255]),
        ("the /31's other end", [10, 9, 0, 1]),
        ("the /31's own", [10, 9, 0, 0]),
        ("an old broadcast", [10, 255, 255, 255]),
    ] {
        scene.packet(format!("broadcast/udp to {name}"), move |h| Packet::udp(h.addr(), dst, 20));
        scene.packet(format!("broadcast/echo to {name}"), move |h| Packet::echo(h.addr(), dst, 20));
        scene.packet(format!("broadcast/udp to {name}, broadcast MAC"), move |h| {
            Packet::udp(h.addr(), dst, 20).to_mac([0xff; 6])
        });
    }
    scene.steps("broadcast/from the /31", |_| {
        let packet = Packet::udp([10, 9, 0, 1], [255; 4], 20).at(Port::P3);
        vec![Step::Send(Port::P3, packet.frame())]
    });
    scene.packet("broadcast/DHCP discover", |_| {
        Packet::udp([0; 4], [255; 4], 240)
            .to_mac([0xff; 6])
            .with_payload(|p| p[..4].copy_from_slice(&[0, 68, 0, 67]))
    });
    vec![scene]
}

fn udp(scene: &mut Scene) {
    for (name, dst) in TARGETS {
        scene.packet(format!("udp/closed port at {name}"), move |h| Packet::udp(h.addr(), dst, 20));
        scene.packet(format!("udp/wrong checksum at {name}"), move |h| {
            Packet::udp(h.addr(), dst, 20).check(Check::Wrong)
        });
        scene.packet(format!("udp/no checksum at {name}"), move |h| {
            Packet::udp(h.addr(), dst, 20).check(Check::Leave)
        });
        for len in [0, 1, 7] {
            scene.packet(format!("udp/{len} bytes at {name}"), move |h| {
                Packet::new(h.addr(), dst, 17, vec![0; len])
            });
        }
    }
    for len in [0u16, 7, 8, 27, 28, 29, 100, 65535] {
        scene.packet(format!("udp/length field {len}"), move |h| {
            let change = |p: &mut Vec<u8>| p[4..6].copy_from_slice(&len.to_be_bytes());
            Packet::udp(h.addr(), R1, 20).with_payload(change).check(Check::Leave)
        });
        scene.packet(format!("udp/length field {len}, wrong checksum"), move |h| {
            let change = |p: &mut Vec<u8>| p[4..8].copy_from_slice(&[len.to_be_bytes(), [1, 1]].concat());
            Packet::udp(h.addr(), R1, 20).with_payload(change).check(Check::Leave)
        });
    }
    for port in [0u16, 1, 53, 67, 161, 65535] {
        scene.packet(format!("udp/to port {port}"), move |h| {
            Packet::udp(h.addr(), R1, 20).with_payload(|p| p[2..4].copy_from_slice(&port.to_be_bytes()))
        });
        scene.packet(format!("udp/from port {port}"), move |h| {
            Packet::udp(h.addr(), R1, 20).with_payload(|p| p[..2].copy_from_slice(&port.to_be_bytes()))
        });
    }
    scene.packet("udp-lite/closed port", |h| {
        Packet::new(h.addr(), R1, 136, vec![0, 1, 0, 2, 0, 0, 0, 0, 1, 2, 3, 4])
    });
}

fn tcp(scene: &mut Scene) {
    for flags in [
        0x00, 0x01, 0x02, 0x03, 0x04, 0x06, 0x08, 0x10, 0x11, 0x12, 0x13, 0x14, 0x18, 0x19, 0x20, 0x29, 0x3f,
        0x42, 0xc2, 0xd2, 0xff,
    ] {
        for len in [0, 11] {
            scene.packet(format!("tcp/flags {flags:02x}, {len} bytes"), move |h| {
                Packet::tcp(h.addr(), R1, flags, len)
            });
        }
    }
    for (name, dst) in TARGETS {
        scene.packet(format!("tcp/syn at {name}"), move |h| Packet::tcp(h.addr(), dst, 2, 0));
        scene.packet(format!("tcp/wrong checksum at {name}"), move |h| {
            Packet::tcp(h.addr(), dst, 2, 0).check(Check::Wrong)
        });
    }
    for len in [0, 1, 4, 12, 19] {
        scene.packet(format!("tcp/{len} bytes"), move |h| Packet::new(h.addr(), R1, 6, vec![0; len]));
    }
    for words in [0u8, 4, 6, 15] {
        scene.packet(format!("tcp/header of {words} words"), move |h| {
            Packet::tcp(h.addr(), R1, 2, 12).with_payload(|p| p[12] = words << 4)
        });
    }
    scene.packet("tcp/checksum zero", |h| Packet::tcp(h.addr(), R1, 2, 0).check(Check::Leave));
    scene.packet("tcp/options", |h| {
        let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
        Packet::tcp(h.addr(), R1, 2, 0).with_payload(|p| {
            p[12] = 0xa0;
            p.extend(options);
        })
    });
    scene.packet("tcp/port 0", |h| Packet::tcp(h.addr(), R1, 2, 0).with_payload(|p| p[..4].fill(0)));
    scene.packet("tcp/sequence wraps", |h| {
        Packet::tcp(h.addr(), R1, 2, 9).with_payload(|p| p[4..8].fill(0xff))
    });
}
