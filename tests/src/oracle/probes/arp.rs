//! ARP, as it comes in.

use super::super::packet::Packet;
use super::super::probe::{Host, Scene, Step};
use super::super::shape::{Addr, HOST2, Mac, Port, R1, R2};
use crate::frames::Frame;

const BROADCAST: Mac = [0xff; 6];

/// An ARP packet with every field open.
#[derive(Clone, Copy)]
struct Arp {
    dst: Mac,
    src: Mac,
    hardware: u16,
    protocol: u16,
    lengths: [u8; 2],
    op: u16,
    sender: (Mac, Addr),
    target: (Mac, Addr),
}

impl Arp {
    fn request(sender: Addr, target: Addr) -> Arp {
        Arp {
            dst: BROADCAST,
            src: Port::P1.host_mac(),
            hardware: 1,
            protocol: 0x0800,
            lengths: [6, 4],
            op: 1,
            sender: (Port::P1.host_mac(), sender),
            target: ([0; 6], target),
        }
    }

    fn reply(sender: Addr, target: Addr) -> Arp {
        let to_us = (Port::P1.router_mac(), target);
        Arp { dst: Port::P1.router_mac(), op: 2, target: to_us, ..Arp::request(sender, target) }
    }

    fn frame(self) -> Frame {
        let mut frame = [&self.dst[..], &self.src, &[8, 6]].concat();
        frame.extend(self.hardware.to_be_bytes());
        frame.extend(self.protocol.to_be_bytes());
        frame.extend(self.lengths);
        frame.extend(self.op.to_be_bytes());
        for (mac, addr) in [self.sender, self.target] {
            frame.extend(mac);
            frame.extend(addr);
        }
        frame
    }
}

type Bend = fn(Arp) -> Arp;

const MALFORMED: [(&str, Bend); 16] = [
    ("hardware 0", |a| Arp { hardware: 0, ..a }),
    ("hardware 6", |a| Arp { hardware: 6, ..a }),
    ("protocol 0x0801", |a| Arp { protocol: 0x801, ..a }),
    ("hardware length 5", |a| Arp { lengths: [5, 4], ..a }),
    ("protocol length 16", |a| Arp { lengths: [6, 16], ..a }),
    ("op 0", |a| Arp { op: 0, ..a }),
    ("op 3", |a| Arp { op: 3, ..a }),
    ("op 8", |a| Arp { op: 8, ..a }),
    ("sender broadcast MAC", |a| Arp { sender: (BROADCAST, a.sender.1), ..a }),
    ("sender our MAC", |a| Arp { sender: (Port::P1.router_mac(), a.sender.1), ..a }),
    ("sender multicast MAC", |a| Arp { sender: ([1, 0, 0x5e, 0, 0, 1], a.sender.1), ..a }),
    ("sender MAC other than the frame's", |a| Arp { sender: ([2, 9, 9, 9, 9, 9], a.sender.1), ..a }),
    ("to another MAC", |a| Arp { dst: [2, 0, 0, 0, 0, 9], ..a }),
    ("to our MAC", |a| Arp { dst: Port::P1.router_mac(), ..a }),
    ("to a multicast MAC", |a| Arp { dst: [1, 0, 0x5e, 0, 0, 1], ..a }),
    ("target MAC set", |a| Arp { target: ([7; 6], a.target.1), ..a }),
];

const TARGETS: [(&str, Addr); 12] = [
    ("us", R1),
    ("our far side", R2),
    ("our second address", [172, 16, 1, 1]),
    ("our narrow side", [10, 3, 0, 1]),
    ("a neighbour", [10, 1, 99, 9]),
    ("a host behind us", HOST2),
    ("beyond us", [192, 0, 2, 7]),
    ("nowhere", [8, 8, 8, 8]),
    ("unreachable", [198, 51, 100, 7]),
    ("loopback", [127, 0, 0, 1]),
    ("a group", [224, 0, 0, 1]),
    ("the subnet's broadcast", [10, 1, 255, 255]),
];

const SENDERS: [(&str, Addr); 9] = [
    ("0.0.0.0 (a probe)", [0; 4]),
    ("us", R1),
    ("our far side", R2),
    ("the second subnet", [172, 16, 1, 77]),
    ("another subnet", [10, 2, 77, 7]),
    ("nowhere", [9, 9, 9, 9]),
    ("loopback", [127, 0, 0, 1]),
    ("a group", [224, 0, 0, 1]),
    ("broadcast", [255; 4]),
];

pub(super) fn scenes() -> Vec<Scene> {
    let mut scene = Scene::new("defaults");
    requests(&mut scene, "arp");
    for (name, bend) in MALFORMED {
        scene.frame(format!("arp/request, {name}"), move |h| bend(Arp::request(h.addr(), R1)).frame());
        scene.frame(format!("arp/reply, {name}"), move |h| bend(Arp::reply(h.addr(), R1)).frame());
    }
    for len in [1, 8, 20, 27] {
        scene.frame(format!("arp/cut at {len}"), move |h| {
            let mut frame = Arp::request(h.addr(), R1).frame();
            frame.truncate(14 + len);
            frame
        });
    }
    scene.frame("arp/padded", |h| {
        let mut frame = Arp::request(h.addr(), R1).frame();
        frame.resize(60, 0);
        frame
    });
    // An entry is locked for a second after each change.
    learning(&mut scene, "arp", 1100);

    let mut all = vec![scene];
    for (name, level) in [("arp_ignore 1", 1), ("arp_ignore 2", 2), ("arp_ignore 3", 3), ("arp_ignore 8", 8)]
    {
        let mut ignoring = Scene::new("arp_ignore");
        ignoring.sysctl.push(("conf.r1.arp_ignore", level));
        requests(&mut ignoring, name);
        all.push(ignoring);
    }
    let mut proxy = Scene::with("proxy_arp", &[("conf.r1.proxy_arp", 1), ("neigh.r1.proxy_delay", 0)]);
    requests(&mut proxy, "proxy_arp");
    let mut accept = Scene::with("arp_accept", &[("conf.r1.arp_accept", 1), HASTY]);
    learning(&mut accept, "arp_accept", 300);
    let mut ungrateful = Scene::with("drop_gratuitous_arp", &[("conf.r1.drop_gratuitous_arp", 1), HASTY]);
    learning(&mut ungrateful, "drop_gratuitous_arp", 300);
    let mut filter = Scene::with("arp_filter", &[("conf.r1.arp_filter", 1)]);
    requests(&mut filter, "arp_filter");
    let mut announce =
        Scene::with("arp_announce", &[("conf.r1.arp_announce", 2), ("conf.r2.arp_announce", 2)]);
    announce.packet("arp_announce/2, asks for a host", |h| Packet::udp(h.addr(), h.peer(), 20));
    all.extend([proxy, accept, ungrateful, filter, announce]);
    all
}

fn requests(scene: &mut Scene, family: &str) {
    for (name, target) in TARGETS {
        scene.frame(format!("{family}/request for {name}"), move |h| Arp::request(h.addr(), target).frame());
    }
    for (name, sender) in SENDERS {
        scene.frame(format!("{family}/request from {name}"), move |_| Arp::request(sender, R1).frame());
    }
    scene.frame(format!("{family}/gratuitous request"), |h| Arp::request(h.addr(), h.addr()).frame());
    scene.frame(format!("{family}/gratuitous reply"), |h| {
        Arp { dst: BROADCAST, ..Arp::reply(h.addr(), h.addr()) }.frame()
    });
}

/// Entries are locked for a fifth of a second, not for one.
const HASTY: (&str, i64) = ("neigh.r1.locktime", 20);

type Message = fn(Host) -> Arp;

/// What the router believes is seen in where it sends a reply afterwards, and whether it asks first.
fn learning(scene: &mut Scene, family: &str, later: u64) {
    const NEW: Mac = [2, 0xbb, 0, 0, 0, 7];
    let moved = |arp: Arp| Arp { sender: (NEW, arp.sender.1), src: NEW, ..arp }.frame();
    let messages: [(&str, Message); 7] = [
        ("request for us", |h| Arp::request(h.addr(), R1)),
        ("request for another", |h| Arp::request(h.addr(), [10, 1, 99, 9])),
        ("reply to us", |h| Arp::reply(h.addr(), R1)),
        ("reply to another", |h| Arp::reply(h.addr(), [10, 1, 99, 9])),
        ("broadcast reply", |h| Arp { dst: BROADCAST, ..Arp::reply(h.addr(), R1) }),
        ("gratuitous request", |h| Arp::request(h.addr(), h.addr())),
        ("gratuitous reply", |h| Arp { dst: BROADCAST, ..Arp::reply(h.addr(), h.addr()) }),
    ];
    let send = |frame| Step::Send(Port::P1, frame);
    for (name, make) in messages {
        scene.steps(format!("{family}/learns from a {name}"), move |h| {
            vec![send(moved(make(h))), Step::wait(5), Packet::echo(h.addr(), R1, 20).into()]
        });
        scene.steps(format!("{family}/changes by a {name}"), move |h| {
            let echo = || Step::from(Packet::echo(h.addr(), R1, 20));
            vec![echo(), Step::wait(5), send(moved(make(h))), Step::wait(5), echo()]
        });
        scene.steps(format!("{family}/changes later by a {name}"), move |h| {
            let echo = || Step::from(Packet::echo(h.addr(), R1, 20));
            vec![echo(), Step::wait(later), send(moved(make(h))), Step::wait(5), echo()]
        });
    }
}
