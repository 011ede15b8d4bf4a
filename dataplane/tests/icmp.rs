//! `icmp_rcv` and the rules for errors. Every expectation was seen on a Linux 6.18 router with these addresses.

mod common;

use common::frames::checksum;
use common::{Frame, Ip, Out, R1, R2, R3, Rig, ip};
use skiff_dataplane::core::counters::Mib::{self, *};
use skiff_dataplane::core::drop_reason::{DropReason::*, Node::*};
use skiff_dataplane::fib::next_hop::NextHopSpec;
use skiff_dataplane::net::MacAddr;

const HOST: &str = "10.1.0.2";
const US: &str = "10.1.0.1";
const NOW: [u8; 4] = 1_000_000u32.to_be_bytes();

fn received(rig: &mut Rig, kind: u8, code: u8, quote: &[u8]) -> Out {
    let rest = [&[0; 4], quote].concat();
    rig.send(R1, Ip::icmp(HOST, US, kind, code, &rest).to_port(R1))
}

/// A datagram of ours as somebody quotes it.
fn ours() -> Vec<u8> {
    Ip::udp(US, HOST, (5, 6), 8).bytes()
}

#[test]
fn every_type_is_counted() {
    let mut rig = Rig::new();
    let named: [(u8, Mib); 9] = [
        (0, IcmpInEchoReps),
        (3, IcmpInDestUnreachs),
        (4, IcmpInSrcQuenchs),
        (5, IcmpInRedirects),
        (11, IcmpInTimeExcds),
        (12, IcmpInParmProbs),
        (14, IcmpInTimestampReps),
        (17, IcmpInAddrMasks),
        (18, IcmpInAddrMaskReps),
    ];
    for kind in (0..=255).filter(|kind| ![8, 13].contains(kind)) {
        let out = received(&mut rig, kind, 0, &ours());
        out.silent().counted(&[(IcmpInMsgs, 1), (IpInDelivers, 1)]);
        // Errors about UDP and TCP meet nobody; unknown types are dropped.
        let unknown = kind > 18 && ![42, 43].contains(&kind);
        let error = unknown || [3, 4, 5, 11, 12].contains(&kind);
        out.counted(&[(IcmpInErrors, u64::from(error))]);
        assert_eq!(out.drops.contains_key(&(IpLocalDeliver, UnhandledProto)), unknown, "{kind}: {out:?}");
        for (_, mib) in named.iter().filter(|(named, _)| *named == kind) {
            out.counted(&[(*mib, 1)]);
        }
        assert_eq!(rig.shared.cells(0).icmp_in(kind).get(), 1);
    }
}

#[test]
fn errors_about_packets_of_ours() {
    let mut rig = Rig::new();
    let udp = ours();
    let with_protocol = |protocol, len| Ip::new(US, HOST, protocol, vec![0; len]).bytes();
    let mut short_header = udp.clone();
    short_header[0] = 0x44;
    let directed = Ip::udp(US, "10.1.0.255", (5, 6), 8).bytes();
    for (kind, code, quote, errors) in [
        (3, 4, &udp, 1),
        (3, 15, &udp, 1),
        (3, 16, &udp, 0),
        (11, 1, &udp, 0),
        (3, 3, &with_protocol(6, 20), 1),
        (3, 3, &with_protocol(1, 16), 0),
        (3, 3, &with_protocol(253, 8), 0),
        (3, 3, &with_protocol(253, 7), 1),
        (5, 1, &with_protocol(253, 7), 1),
        (5, 1, &with_protocol(1, 8), 0),
        (3, 3, &directed, 1),
    ] {
        let out = received(&mut rig, kind, code, quote);
        out.no_drops().silent().counted(&[(IcmpInErrors, errors), (IcmpInMsgs, 1)]);
    }
    for (kind, quote, reason) in [
        (3, &udp[..19], NotSpecified),
        (12, &[], NotSpecified),
        (5, &udp[..19], PktTooSmall),
        (3, &short_header, IpInhdr),
    ] {
        let out = received(&mut rig, kind, 0, quote);
        out.drop_of(IpLocalDeliver, reason).silent().counted(&[(IcmpInErrors, 1)]);
    }

    rig.configure(|_, sysctl| sysctl.icmp_ignore_bogus_error_responses = false);
    let out = received(&mut rig, 3, 3, &directed);
    out.no_drops().counted(&[(IcmpInErrors, 0), (IcmpInDestUnreachs, 1)]);
    assert!(out.control.len() == 1 && out.control[0].contains("BogusError(3, 3)"), "{out:?}");
}

#[test]
fn timestamps() {
    let mut rig = Rig::new();
    let request = [&[1, 2, 3, 4][..], &[9, 8, 7, 6], &[0; 8]].concat();
    for len in [8, 16, 11] {
        let sent = Ip::icmp(HOST, US, 13, 5, &request[..len]).tos(0x28);
        for cut in [vec![], vec![40], vec![35, 43]] {
            let out = rig.send(R1, Frame::cut(&sent.to_port(R1), &cut));
            out.no_drops().counted(&[(IcmpInTimestamps, 1), (IcmpOutEchoReps, 1), (IcmpOutMsgs, 1)]);
            let reply = out.only(R1);
            assert_eq!((reply.icmp(), reply.src, reply.dst), ((14, 0), ip(US), ip(HOST)));
            assert_eq!((reply.tos, reply.ttl, &reply.options[..]), (0x28, 64, &[][..]));
            assert_eq!(reply.payload[4..], [&request[..8], &NOW, &NOW].concat());
        }
    }
    for len in [4, 7] {
        let out = rig.send(R1, Ip::icmp(HOST, US, 13, 0, &request[..len]).to_port(R1));
        out.drop_of(IpLocalDeliver, PktTooSmall).silent().counted(&[(IcmpInErrors, 1)]);
    }
    let recorded = Ip::icmp(HOST, US, 13, 0, &request).options(&[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
    let reply = rig.send(R1, recorded.to_port(R1)).no_drops().only(R1);
    assert_eq!(reply.options, [7, 11, 12, 10, 1, 0, 1, 10, 1, 0, 1, 0]);
    // Those who ignore echoes still tell the time.
    rig.configure(|_, sysctl| sysctl.icmp_echo_ignore_all = true);
    rig.send(R1, Ip::icmp(HOST, US, 13, 0, &request).to_port(R1)).no_drops().only(R1);
    let out = rig.send(R1, Ip::echo(HOST, US, 8).to_port(R1));
    out.no_drops().silent().counted(&[(IcmpInEchos, 1), (IcmpInErrors, 0)]);
}

#[test]
fn broadcasts() {
    let mut rig = Rig::new();
    let to_all = |kind, dst| Ip::icmp(HOST, dst, kind, 0, &[0; 20]).to_mac(MacAddr::BROADCAST);
    for kind in [0, 3, 5, 8, 13, 14, 15] {
        let out = rig.send(R1, to_all(kind, "10.1.0.255"));
        out.drop_of(IpLocalDeliver, InvalidProto).silent().counted(&[(IcmpInErrors, 1), (IcmpInMsgs, 1)]);
    }
    rig.send(R1, to_all(17, "10.1.0.255")).no_drops().silent();
    rig.configure(|_, sysctl| sysctl.icmp_echo_ignore_broadcasts = false);
    for dst in ["10.1.0.255", "10.2.0.255", "255.255.255.255", "224.0.0.1"] {
        let reply = rig.send(R1, to_all(13, dst)).no_drops().only(R1);
        assert_eq!((reply.icmp(), reply.src), ((14, 0), ip(US)), "{dst}");
        let reply = rig.send(R1, to_all(8, dst)).no_drops().only(R1);
        assert_eq!((reply.icmp(), reply.src), ((0, 0), ip(US)), "{dst}");
    }
    // The answer comes from the address that faces the sender.
    let stray = Ip::echo("10.2.0.2", "255.255.255.255", 8).options(&[7, 7, 4, 0, 0, 0, 0]);
    let reply = rig.send(R1, stray.to_mac(MacAddr::BROADCAST)).no_drops().only(R2);
    assert_eq!((reply.src, &reply.options[..]), (ip("10.2.0.1"), &[7, 7, 8, 10, 2, 0, 1, 0][..]));
    let nowhere = Ip::echo("99.0.0.1", "255.255.255.255", 8).to_mac(MacAddr::BROADCAST);
    rig.send(R1, nowhere).no_drops().silent().counted(&[(IcmpOutMsgs, 0), (IpOutNoRoutes, 0)]);
}

#[test]
fn no_answer_without_a_way_back() {
    let mut rig = Rig::new();
    rig.route("22.0.0.0/8", common::To::Spec(NextHopSpec::Unreachable));
    for src in ["22.0.0.1", "99.0.0.1"] {
        let out = rig.send(R1, Ip::echo(src, US, 8).to_port(R1));
        out.no_drops().silent().counted(&[(IcmpInEchos, 1), (IcmpOutMsgs, 0), (IpOutNoRoutes, 0)]);
        let out = rig.send(R1, Ip::udp(src, US, (5, 6), 8).to_port(R1));
        out.silent().counted(&[(UdpNoPorts, 1), (IcmpOutMsgs, 0), (IpOutNoRoutes, 0)]);
        let out = rig.send(R1, Ip::tcp(src, US, (5, 6), 1, 2, 2, &[]).to_port(R1));
        out.silent().counted(&[(TcpOutRsts, 1), (IpOutRequests, 0), (IpOutNoRoutes, 0)]);
    }
}

#[test]
fn the_limits_hold_for_answers_if_they_are_to() {
    let mut rig = Rig::new();
    rig.shared.icmp_limit.params.ratemask.store(1, std::sync::atomic::Ordering::Relaxed);
    let out = rig.send_all(R1, (0..20).map(|_| Ip::echo(HOST, US, 8).to_port(R1)));
    assert_eq!((out.sent(), out.grew(IcmpOutRateLimitHost), out.grew(IcmpOutEchoReps)), (6, 14, 6));
}

#[test]
fn types_about_which_no_error_is_sent() {
    let mut rig = Rig::new();
    rig.without_limits();
    for kind in 0..=255 {
        let sent = Ip::icmp(HOST, "10.2.0.2", kind, 0, &[0; 12]).ttl(1);
        let out = rig.send(R1, sent.to_port(R1));
        out.drop_of(IpForward, IpInhdr);
        assert_eq!(out.sent(), usize::from([0, 8, 13, 14, 15, 16, 17, 18].contains(&kind)), "{kind}");
    }
}

#[test]
fn an_inbound_address_is_of_the_senders_subnet() {
    let mut rig = Rig::new();
    rig.route("10.8.0.0/16", common::To::Via("10.1.0.2", R1));
    rig.configure(|devices, sysctl| {
        sysctl.icmp_errors_use_inbound_ifaddr = true;
        let net = "10.8.0.1/16".parse().unwrap();
        devices[R1].addresses.push(skiff_dataplane::device::InterfaceAddress::new(net));
    });
    let source = |rig: &mut Rig, src| {
        rig.send(R1, Ip::udp(src, "10.3.0.2", (5, 6), 8).ttl(1).to_port(R1)).only(R1).src
    };
    assert_eq!(source(&mut rig, "10.8.0.2"), ip("10.8.0.1"));
    assert_eq!(source(&mut rig, HOST), ip(US));
}

/// A router without any address on the way back says it is nobody (RFC 7600).
#[test]
fn an_error_without_an_address_of_ours() {
    let mut rig = Rig::new();
    let link = NextHopSpec::Unicast { oif: common::dev(R1), gateway: None, mtu: 1500, prefsrc: 0 };
    rig.route("10.1.0.0/24", common::To::Spec(link));
    rig.configure(|devices, _| devices.iter_mut().for_each(|d| d.addresses.clear()));
    let error = rig.send(R1, Ip::udp(HOST, "10.2.0.2", (5, 6), 8).ttl(1).to_port(R1)).only(R1);
    assert_eq!((error.icmp(), error.src), ((11, 0), ip("192.0.0.8")));
}

/// RFC 8335 requests: identifier, sequence number 5, the L bit, and an object.
fn probe(kind: u8, ident: &[u8]) -> Ip {
    let object = [&((4 + ident.len()) as u16).to_be_bytes()[..], &[3, kind], ident].concat();
    let check = checksum(&[&[0x20, 0, 0, 0], &object[..]].concat()).to_be_bytes();
    let rest = [&[0xbe, 0xef, 5, 1, 0x20, 0][..], &check, &object].concat();
    Ip::icmp(HOST, US, 42, 0, &rest)
}

#[test]
fn probes() {
    let mut rig = Rig::new();
    let by_name = probe(1, b"r2\0\0");
    rig.send(R1, by_name.to_port(R1)).no_drops().silent().counted(&[(IcmpInMsgs, 1), (IcmpInErrors, 0)]);
    rig.configure(|devices, sysctl| {
        sysctl.icmp_echo_enable_probe = true;
        devices[R3].up = false;
    });
    let by_addr = |addr: &[u8]| [&[0, 1, addr.len() as u8, 0][..], addr].concat();
    for (sent, code, status) in [
        (by_name.clone(), 0, 6),
        (probe(1, b"r3\0\0"), 0, 2),
        (probe(1, b"r9\0\0"), 2, 0),
        (probe(2, &[0, 0, 0, 3]), 0, 6),
        (probe(2, &[0, 0, 0, 99]), 2, 0),
        (probe(2, &[0, 0, 3]), 1, 0),
        (probe(3, &by_addr(&[10, 2, 0, 1])), 0, 6),
        (probe(3, &by_addr(&[10, 2, 0, 9])), 2, 0),
        (probe(3, &by_addr(&[10, 2, 0])), 1, 0),
        (probe(3, &[0, 9, 4, 0, 10, 2, 0, 1]), 1, 0),
        (probe(4, b"r2\0\0"), 1, 0),
        (probe(1, &[b'x'; 16]), 1, 0),
        (Ip::icmp(HOST, US, 42, 0, &[0xbe, 0xef, 5, 1]), 1, 0),
    ] {
        let reply = rig.send(R1, sent.to_port(R1)).no_drops().only(R1);
        assert_eq!((reply.icmp(), reply.icmp_info()), ((43, code), 0xbeef_0500 | status), "{sent:x?}");
        assert_eq!(reply.payload[8..], sent.payload[8..]);
    }
    // Without the L bit the interface would be another node's.
    let mut remote = by_name;
    remote.payload[7] = 0;
    remote.payload[2..4].fill(0);
    let check = checksum(&remote.payload);
    remote.payload[2..4].copy_from_slice(&check.to_be_bytes());
    rig.send(R1, remote.to_port(R1)).no_drops().silent();
}
