//! `arp_process` beside what a Linux 6.18 router answered and learnt, packet by packet.

mod common;

use common::frames::arp;
use common::{Out, R1, R2, Rig, To, dev, ip, mac};
use skiff_dataplane::core::counters::Mib::TcpExtArpFilter;
use skiff_dataplane::device::InterfaceAddress;
use skiff_dataplane::fib::next_hop::NextHopSpec;
use skiff_dataplane::neigh::arp_rcv::{ArpAccept, ArpIgnore};
use skiff_dataplane::net::{IfIndex, MacAddr};

const OURS: &str = "10.1.0.1";
const OTHER: &str = "10.2.0.1";
const PEER: &str = "10.1.0.9";
const FAR: &str = "10.99.0.5";
const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x0a]);
const ALL: MacAddr = MacAddr::BROADCAST;

/// What came of one ARP packet: answered or not, and what the control thread was told, if anything.
fn said(
    rig: &mut Rig,
    to: MacAddr,
    op: u16,
    sender: (MacAddr, &str),
    target: (MacAddr, &str),
) -> (bool, String) {
    let out = rig.send(R1, arp(to, op, sender, target));
    if !out.wire[R1].is_empty() {
        let answer = arp(sender.0, 2, (mac::router(R1), target.1), (sender.0, sender.1));
        assert_eq!(out.wire[R1], [answer]);
    }
    (out.sent() == 1, out.control.concat())
}

fn asked(rig: &mut Rig, sender: &str, target: &str) -> (bool, String) {
    said(rig, ALL, 1, (PEER_MAC, sender), (MacAddr::ZERO, target))
}

fn answered(rig: &mut Rig, sender: &str, target: &str) -> bool {
    asked(rig, sender, target).0
}

fn learns(message: &str, what: &str) -> bool {
    message.contains(what) && message.contains("create: true")
}

#[test]
fn requests_by_sender() {
    let mut rig = Rig::new();
    for (sender, reply, learnt) in [
        (PEER, true, true),
        ("0.0.0.0", true, false),
        (OURS, false, false),
        (OTHER, false, false),
        // The kernel makes a NOARP entry of it, which nothing ever uses.
        ("10.1.0.255", true, false),
        ("10.2.0.255", true, false),
        ("255.255.255.255", false, false),
        ("224.0.0.9", false, false),
        ("127.0.0.9", false, false),
        ("0.0.0.5", true, true),
        ("240.0.0.5", true, true),
        (FAR, true, true),
        ("10.2.0.5", true, true),
    ] {
        let (replied, told) = asked(&mut rig, sender, OURS);
        assert_eq!((replied, learns(&told, "Request")), (reply, learnt), "{sender}: {told}");
    }
    for target in ["224.0.0.1", "127.0.0.1", "10.1.0.255", "255.255.255.255", "0.0.0.0", "10.1.0.77"] {
        assert_eq!(asked(&mut rig, PEER, target), (false, String::new()), "{target}");
    }
}

/// However the frame is addressed, and whatever link address the sender claims.
#[test]
fn requests_by_frame_and_claim() {
    let mut rig = Rig::new();
    let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    for to in [ALL, mac::router(R1), group] {
        assert!(said(&mut rig, to, 1, (PEER_MAC, PEER), (MacAddr::ZERO, OURS)).0);
    }
    assert!(!said(&mut rig, MacAddr([2, 0, 0, 0, 0, 0x0b]), 1, (PEER_MAC, PEER), (MacAddr::ZERO, OURS)).0);
    for claimed in [MacAddr::ZERO, ALL, group, mac::router(R1)] {
        let (replied, told) = said(&mut rig, ALL, 1, (claimed, PEER), (MacAddr::ZERO, OURS));
        assert!(replied && learns(&told, &format!("{claimed:?}")), "{claimed}: {told}");
    }
}

#[test]
fn reverse_path_filter_and_accept_local() {
    let mut rig = Rig::new();
    for (filter, expect) in [(1, [true, false, false, false]), (2, [true, true, false, false])] {
        rig.configure(|devices, _| devices[R1].conf.rp_filter = filter);
        let got = [PEER, "10.2.0.5", FAR, "10.1.0.255"].map(|sender| answered(&mut rig, sender, OURS));
        assert_eq!(got, expect, "rp_filter {filter}");
    }
    rig.configure(|devices, _| {
        devices[R1].conf.rp_filter = 0;
        devices[R1].conf.accept_local = true;
    });
    assert!(answered(&mut rig, OTHER, OURS) && answered(&mut rig, OURS, OURS));
}

/// What makes an entry that was not there.
#[test]
fn arp_accept() {
    let mut rig = Rig::new();
    let us = mac::router(R1);
    let me = PEER_MAC;
    type Case = (MacAddr, u16, &'static str, (MacAddr, &'static str), &'static str);
    let cases: [(Case, [bool; 3]); 12] = [
        ((ALL, 1, PEER, (MacAddr::ZERO, PEER), "Gratuitous { reply_to_us: false }"), [false, true, true]),
        ((ALL, 1, FAR, (MacAddr::ZERO, FAR), "Gratuitous"), [false, true, false]),
        ((ALL, 2, PEER, (me, PEER), "Gratuitous { reply_to_us: false }"), [false, true, true]),
        ((us, 2, PEER, (me, PEER), "Gratuitous { reply_to_us: true }"), [false, true, true]),
        ((ALL, 2, PEER, (ALL, PEER), "Reply { unicast: false }"), [false, true, true]),
        ((us, 2, PEER, (us, OURS), "Reply { unicast: true }"), [false, true, true]),
        ((ALL, 2, PEER, (us, OURS), "Reply { unicast: false }"), [false, true, true]),
        ((us, 2, FAR, (us, OURS), "Reply"), [false, true, false]),
        ((ALL, 1, PEER, (MacAddr::ZERO, "10.1.0.77"), "Overheard"), [false; 3]),
        ((us, 2, OTHER, (us, OURS), "Reply"), [false; 3]),
        ((ALL, 1, OURS, (MacAddr::ZERO, OURS), "Gratuitous"), [false; 3]),
        ((ALL, 1, OTHER, (MacAddr::ZERO, OTHER), "Gratuitous"), [false; 3]),
    ];
    for (value, accept) in
        [ArpAccept::Never, ArpAccept::Always, ArpAccept::SameSubnet].into_iter().enumerate()
    {
        rig.configure(|devices, _| devices[R1].conf.arp_accept = accept);
        for ((to, op, sender, target, kind), expect) in cases {
            let (replied, told) = said(&mut rig, to, op, (me, sender), target);
            assert!(!replied);
            assert_eq!(learns(&told, kind), expect[value], "{accept:?}: op {op} of {sender}: {told:?}");
        }
    }
    rig.configure(|devices, _| devices[R1].conf.drop_gratuitous_arp = true);
    assert_eq!(asked(&mut rig, PEER, PEER).1, "");
}

/// 10.77.0.1 on another device, 10.78.0.1 of host scope, 10.80.0.0/16 delivered here without being an address.
#[test]
fn arp_ignore() {
    let mut rig = Rig::new();
    let local = |addr: &str| NextHopSpec::Local { oif: IfIndex::LOOPBACK, prefsrc: ip(addr) };
    for prefix in ["10.77.0.1/32", "10.78.0.1/32", "10.80.0.0/16"] {
        rig.route(prefix, To::Spec(local(OURS)));
    }
    rig.configure(|devices, _| {
        let add = |text: &str| InterfaceAddress::new(text.parse().unwrap());
        devices[R2].addresses.push(add("10.77.0.1/32"));
        devices[R2].addresses.push(InterfaceAddress { scope: 254, ..add("10.78.0.1/32") });
    });
    let asks = [
        (PEER, OURS),
        (FAR, OURS),
        (PEER, OTHER),
        ("0.0.0.0", OURS),
        ("0.0.0.0", OTHER),
        (PEER, "10.77.0.1"),
        (PEER, "10.78.0.1"),
        (PEER, "10.80.3.4"),
    ];
    for (value, expect) in [
        (0, [1, 1, 1, 1, 1, 1, 1, 1]),
        (1, [1, 1, 0, 1, 0, 0, 0, 0]),
        (2, [1, 0, 0, 1, 0, 0, 0, 0]),
        (3, [1, 1, 1, 1, 1, 1, 0, 0]),
        (4, [1; 8]),
        (5, [1; 8]),
        (6, [1; 8]),
        (7, [1; 8]),
        (8, [0; 8]),
    ] {
        rig.configure(|devices, _| devices[R1].conf.arp_ignore = ArpIgnore::from_value(value));
        let got = asks.map(|(sender, target)| i32::from(answered(&mut rig, sender, target)));
        assert_eq!(got, expect, "arp_ignore {value}");
    }
}

#[test]
fn arp_filter() {
    let mut rig = Rig::new();
    rig.configure(|devices, _| devices[R1].conf.arp_filter = true);
    for (sender, target, reply, counted) in [
        (PEER, OURS, true, 0),
        (FAR, OURS, false, 0),
        (PEER, OTHER, true, 0),
        ("10.2.0.5", OTHER, false, 1),
        ("10.2.0.5", OURS, false, 1),
        ("0.0.0.0", OTHER, true, 0),
        ("0.0.0.0", OURS, true, 0),
    ] {
        let out: Out = rig.send(R1, arp(ALL, 1, (PEER_MAC, sender), (MacAddr::ZERO, target)));
        assert_eq!((out.sent() == 1, out.grew(TcpExtArpFilter)), (reply, counted), "{sender} -> {target}");
    }
}

/// An answer to a broadcast waits in the control thread, one to a request for us alone goes at once.
#[test]
fn proxied_answers_wait() {
    let mut rig = Rig::new();
    rig.configure(|devices, _| devices[R1].conf.proxy_arp = true);
    let (replied, told) = asked(&mut rig, PEER, "10.2.0.2");
    assert!(!replied && told.contains("ArpProxy") && told.contains("Request"), "{told}");
    let (replied, told) = said(&mut rig, mac::router(R1), 1, (PEER_MAC, PEER), (MacAddr::ZERO, "10.2.0.2"));
    assert!(replied && !told.contains("ArpProxy"), "{told}");
    rig.configure(|devices, _| devices[R1].conf.proxy_delay = false);
    assert!(answered(&mut rig, PEER, "10.2.0.2"));
    rig.configure(|devices, _| devices[R1].conf.forwarding = false);
    assert!(!answered(&mut rig, PEER, "10.2.0.2"));
}

#[test]
fn proxied_addresses_and_private_vlans() {
    let mut rig = Rig::new();
    rig.configure(|devices, _| devices[R1].conf.proxy_delay = false);
    assert!(!answered(&mut rig, PEER, "10.2.0.100"));
    rig.proxies.insert(dev(R1), ip("10.2.0.100"));
    rig.proxies.insert(dev(R1), ip("10.1.0.100"));
    rig.proxies.insert(dev(R2), ip("10.2.0.101"));
    rig.configure(|_, _| {});
    assert!(answered(&mut rig, PEER, "10.2.0.100"));
    assert!(!answered(&mut rig, PEER, "10.1.0.100"), "it is on the link itself");
    assert!(!answered(&mut rig, PEER, "10.2.0.101"), "named on another device");
    rig.configure(|devices, _| devices[R1].conf.proxy_arp_pvlan = true);
    assert!(answered(&mut rig, PEER, "10.1.0.77") && !answered(&mut rig, PEER, PEER));
}
