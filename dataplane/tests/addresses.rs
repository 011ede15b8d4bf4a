//! Sources, directed broadcasts and redirects, corner by corner. Every expectation was seen on a Linux 6.18 router with
//! these addresses.

mod common;

use common::{Ip, Out, R1, R2, R3, Rig, To, dev, ip};
use skiff_dataplane::core::counters::Mib::{self, *};
use skiff_dataplane::core::drop_reason::{DropReason, DropReason::*, Node::*};
use skiff_dataplane::device::InterfaceAddress;
use skiff_dataplane::fib::next_hop::NextHopSpec;
use skiff_dataplane::neigh::nud::Nud;
use skiff_dataplane::net::MacAddr;

const HOST: &str = "10.1.0.2";

fn router() -> Rig {
    let mut rig = Rig::new();
    rig.without_limits();
    rig.route("20.0.0.0/8", To::Via("10.2.0.2", R2));
    rig.route("21.0.0.0/8", To::Via("10.1.0.3", R1));
    rig.route("22.0.0.0/8", To::Spec(NextHopSpec::Unreachable));
    rig.route("23.0.0.0/8", To::Spec(NextHopSpec::Blackhole));
    rig.route("24.0.0.0/8", To::Spec(NextHopSpec::Prohibit));
    rig.route("25.0.0.0/8", To::Spec(NextHopSpec::Throw));
    rig.route("26.0.0.0/8", To::Paths(&[("10.1.0.2", R1, 1), ("10.2.0.2", R2, 1)]));
    rig.neighbour(R1, "10.1.0.9", Nud::Permanent);
    rig
}

fn udp(src: &str, dst: &str) -> Ip {
    Ip::udp(src, dst, (5, 6), 8)
}

fn from(rig: &mut Rig, src: &str, dst: &str) -> Out {
    rig.send(R1, udp(src, dst).to_port(R1))
}

#[track_caller]
fn refused(out: &Out, reason: DropReason) {
    let filtered = u64::from(reason == IpRpfilter);
    out.drop_of(IpRcvFinish, reason).silent().counted(&[(TcpExtIPReversePathFilter, filtered)]);
}

/// What the three modes of the filter say of a source, to a host on another link and to everybody.
#[test]
fn reverse_path_filter_by_route() {
    let mut rig = router();
    let verdicts = [
        ("10.1.0.9", [None, None, None]),
        ("10.3.0.9", [None, Some(IpRpfilter), None]),
        ("20.0.0.1", [None, Some(IpRpfilter), None]),
        ("21.0.0.1", [None, None, None]),
        ("22.0.0.1", [None, Some(IpRpfilter), Some(IpRpfilter)]),
        ("23.0.0.1", [None, Some(IpRpfilter), Some(IpRpfilter)]),
        ("24.0.0.1", [None, Some(IpRpfilter), Some(IpRpfilter)]),
        ("25.0.0.1", [None, Some(IpRpfilter), Some(IpRpfilter)]),
        ("26.0.0.1", [None, None, None]),
        ("99.0.0.1", [None, Some(IpRpfilter), Some(IpRpfilter)]),
        ("10.1.0.255", [None, Some(IpInvalidSource), Some(IpInvalidSource)]),
        ("10.2.0.255", [None, Some(IpInvalidSource), Some(IpInvalidSource)]),
        ("10.2.0.1", [Some(IpLocalSource); 3]),
    ];
    for mode in 0..3 {
        rig.configure(|devices, _| devices[R1].conf.rp_filter = mode);
        for (src, verdict) in verdicts {
            let transit = from(&mut rig, src, "10.3.0.2");
            let broadcast = from(&mut rig, src, "10.1.0.255");
            match verdict[usize::from(mode)] {
                Some(reason) => [&transit, &broadcast].iter().for_each(|out| refused(out, reason)),
                None => {
                    transit.no_drops().only(R3);
                    broadcast.counted(&[(UdpIgnoredMulti, 1)]);
                }
            }
        }
        // Packets that go nowhere are not asked where they come from.
        from(&mut rig, "99.0.0.1", "98.0.0.1").drop_of(IpError, IpInnoroutes);
    }
    // With a default route any source has a way back, but not those a route refuses.
    rig.route("0.0.0.0/0", To::Via("10.3.0.2", R3));
    from(&mut rig, "99.0.0.1", "10.2.0.2").no_drops().only(R2);
    refused(&from(&mut rig, "23.0.0.1", "10.2.0.2"), IpRpfilter);
}

#[test]
fn reverse_path_filter_and_own_sources() {
    let mut rig = router();
    for (mode, other) in [(0, None), (1, Some(IpRpfilter)), (2, None)] {
        rig.configure(|devices, _| {
            devices[R1].conf.rp_filter = mode;
            devices[R1].conf.accept_local = true;
        });
        from(&mut rig, "10.1.0.1", "10.3.0.2").no_drops().only(R3);
        let out = from(&mut rig, "10.2.0.1", "10.3.0.2");
        match other {
            Some(reason) => refused(&out, reason),
            None => out.no_drops().only(R3).is_forwarded(&udp("10.2.0.1", "10.3.0.2")),
        }
    }
}

/// On a device without an address only what is reached by it may come in.
#[test]
fn reverse_path_filter_without_an_address() {
    let mut rig = router();
    for mode in 0..3 {
        rig.configure(|devices, _| {
            devices[R1].conf.rp_filter = mode;
            devices[R1].addresses.clear();
        });
        from(&mut rig, "10.1.0.9", "10.2.0.2").no_drops().only(R2);
        for src in ["10.3.0.9", "99.0.0.1"] {
            let out = from(&mut rig, src, "10.2.0.2");
            match mode {
                0 => out.no_drops().only(R2).is_forwarded(&udp(src, "10.2.0.2")),
                _ => refused(&out, IpRpfilter),
            }
        }
    }
}

/// A packet that leaves by the device it came by has its source looked up, for the redirect, whatever the filter says.
#[test]
fn sources_of_packets_that_turn_back() {
    let mut rig = router();
    for src in ["10.1.0.255", "10.2.0.255"] {
        for ttl in [64, 1] {
            let out = rig.send(R1, udp(src, "10.1.0.9").ttl(ttl).to_port(R1));
            out.drop_of(IpForward, IpInvalidSource).silent().counted(&[
                (IpForwDatagrams, 0),
                (IpInHdrErrors, 0),
                (TcpExtIPReversePathFilter, 0),
            ]);
        }
        // The slow path sees it before.
        let slow = udp(src, "10.1.0.9").options(&[1, 1, 1, 1]);
        rig.send(R1, slow.to_port(R1)).drop_of(IpRcvFinish, IpInvalidSource).silent();
    }
    refused(&from(&mut rig, "10.2.0.1", "10.1.0.9"), IpLocalSource);
    from(&mut rig, "22.0.0.1", "10.1.0.9").no_drops().only(R1);
    rig.configure(|devices, _| devices[R1].conf.send_redirects = false);
    from(&mut rig, "10.1.0.255", "10.1.0.9").no_drops().only(R1);
}

#[test]
fn redirects_between_the_subnets_of_a_link() {
    let mut rig = router();
    let link = NextHopSpec::Unicast { oif: dev(R1), gateway: None, mtu: 1500, prefsrc: ip("10.1.0.1") };
    rig.route("10.8.0.0/16", To::Spec(link));
    rig.neighbour(R1, "10.8.0.2", Nud::Permanent);
    rig.neighbour(R1, "10.8.0.3", Nud::Permanent);
    let other = "10.8.0.4";
    rig.neighbour(R1, other, Nud::Permanent);
    rig.route("27.0.0.0/8", To::Via("10.8.0.3", R1));
    for (shared, src, dst, told) in [
        (true, "10.1.0.9", "10.1.0.3", Some("10.1.0.3")),
        (true, "10.1.0.9", "21.0.0.1", Some("10.1.0.3")),
        (true, "10.8.0.2", "10.1.0.3", Some("10.1.0.3")),
        (true, "10.1.0.9", "27.0.0.1", Some("10.8.0.3")),
        // A destination on the link is told of to whoever is of our subnet.
        (false, "10.1.0.9", "10.1.0.3", Some("10.1.0.3")),
        (false, "10.1.0.9", "10.8.0.3", Some("10.8.0.3")),
        (false, "10.1.0.9", "21.0.0.1", Some("10.1.0.3")),
        (false, "10.8.0.2", "10.1.0.3", None),
        (false, "10.8.0.2", "21.0.0.1", None),
        // A gateway must be of that subnet as well.
        (false, "10.1.0.9", "27.0.0.1", None),
    ] {
        rig.configure(|devices, _| devices[R1].conf.shared_media = shared);
        rig.after(std::time::Duration::from_secs(30));
        let out = from(&mut rig, src, dst);
        let seen = out.no_drops().all(R1);
        assert_eq!(seen.len(), 1 + usize::from(told.is_some()), "{shared} {src} {dst}: {out:?}");
        if let Some(told) = told {
            assert_eq!((seen[0].icmp(), seen[0].icmp_info()), ((5, 1), ip(told)));
        }
    }
}

fn directed(rig: &mut Rig, packet: &Ip) -> Out {
    rig.send(R1, packet.to_port(R1))
}

#[test]
fn directed_broadcasts_go_on_if_they_may() {
    let mut rig = router();
    let sent = udp(HOST, "10.2.0.255").frag(0x4000);
    let octets = sent.bytes().len() as u64;
    let out = directed(&mut rig, &sent);
    out.drop_of(IpLocalDeliver, NoSocket).silent().counted(&[
        (IpExtInBcastPkts, 1),
        (IpExtInBcastOctets, octets),
        (IpExtOutBcastPkts, 0),
    ]);

    rig.configure(|devices, _| devices[R1].conf.bc_forwarding = true);
    for forwarding in [true, false] {
        rig.configure(|devices, _| devices[R1].conf.forwarding = forwarding);
        let out = directed(&mut rig, &sent);
        let counted: [(Mib, u64); 6] = [
            (IpForwDatagrams, 1),
            (IpExtInBcastPkts, 1),
            (IpExtInBcastOctets, octets),
            (IpExtOutBcastPkts, 1),
            (IpExtOutBcastOctets, octets),
            (IpInDelivers, 0),
        ];
        let seen = out.no_drops().counted(&counted).only(R2);
        seen.is_forwarded(&sent);
        assert_eq!(seen.eth_dst, MacAddr::BROADCAST);
    }
    rig.configure(|devices, _| devices[R1].conf.forwarding = true);
    let recorded = sent.clone().options(&[7, 7, 4, 0, 0, 0, 0]);
    let seen = directed(&mut rig, &recorded).no_drops().only(R2);
    assert_eq!(seen.options, [7, 7, 8, 10, 2, 0, 1, 0]);

    let expired = sent.clone().ttl(1);
    let out = directed(&mut rig, &expired);
    assert_eq!(out.drop_of(IpForward, IpInhdr).counted(&[(IpExtInBcastPkts, 1)]).only(R1).icmp(), (11, 0));
    let out = rig.send(R1, sent.to_mac(MacAddr::BROADCAST));
    out.drop_of(IpForward, NotSpecified).silent().counted(&[(IpExtInBcastPkts, 1)]);
    directed(&mut rig, &udp("0.0.0.0", "10.2.0.255")).drop_of(IpRcvFinish, IpInvalidSource).silent();

    // To everybody on the link it came by: with a redirect, though it leads nowhere.
    let back = directed(&mut rig, &udp(HOST, "10.1.0.255")).no_drops().all(R1);
    assert_eq!((back[0].icmp(), back[0].icmp_info()), ((5, 1), ip("10.1.0.255")));
    assert_eq!((back[1].eth_dst, back[1].ttl), (MacAddr::BROADCAST, 63));
    // To everybody everywhere is for us.
    let out = directed(&mut rig, &udp(HOST, "255.255.255.255"));
    out.silent().counted(&[(UdpIgnoredMulti, 1)]);
}

#[test]
fn zeros() {
    let mut rig = router();
    for (src, dst) in [
        ("0.0.0.0", "255.255.255.255"),
        ("0.0.0.0", "0.0.0.0"),
        (HOST, "255.255.255.255"),
        ("0.1.2.3", "10.1.0.255"),
    ] {
        let out = from(&mut rig, src, dst);
        out.drop_of(IpLocalDeliver, NoSocket).counted(&[(UdpIgnoredMulti, 1), (IpExtInBcastPkts, 1)]);
    }
    refused(&from(&mut rig, "0.0.0.0", "10.1.0.255"), IpInvalidSource);
    refused(&from(&mut rig, "0.0.0.0", "10.2.0.2"), IpInvalidSource);
    from(&mut rig, "0.1.2.3", "10.2.0.2").no_drops().only(R2);
    // Only 0.0.0.0 itself is nobody: other sources of its network are asked for their way back.
    rig.configure(|devices, _| devices[R1].conf.rp_filter = 2);
    refused(&from(&mut rig, "0.1.2.3", "10.1.0.255"), IpRpfilter);
    from(&mut rig, "0.0.0.0", "255.255.255.255").drop_of(IpLocalDeliver, NoSocket);
}

/// Two hosts of a /31 (RFC 3021), and a lone address: no broadcast but the limited one.
#[test]
fn point_to_point_links() {
    let mut rig = router();
    let link = |prefsrc| NextHopSpec::Unicast { oif: dev(R2), gateway: None, mtu: 1500, prefsrc };
    let local = |prefsrc| NextHopSpec::Local { oif: dev(R2), prefsrc };
    rig.route("10.9.0.0/31", To::Spec(link(ip("10.9.0.0"))));
    rig.route("10.9.0.0/32", To::Spec(local(ip("10.9.0.0"))));
    rig.configure(|devices, _| {
        let net = "10.9.0.0/31".parse().unwrap();
        devices[R2].addresses.push(InterfaceAddress::new(net));
    });
    rig.neighbour(R2, "10.9.0.1", Nud::Permanent);
    from(&mut rig, HOST, "10.9.0.1").no_drops().only(R2);
    let reply = rig.send(R1, Ip::echo(HOST, "10.9.0.0", 8).to_port(R1)).no_drops().only(R1);
    assert_eq!((reply.icmp(), reply.src), ((0, 0), ip("10.9.0.0")));
}

#[test]
fn options_come_before_the_refusal_to_forward() {
    let mut rig = router();
    rig.configure(|devices, _| devices[R1].conf.forwarding = false);
    let out = rig.send(R1, udp(HOST, "10.2.0.2").options(&[7, 2, 4, 0]).to_port(R1));
    assert_eq!(out.drop_of(IpRcvFinish, IpInhdr).counted(&[(IpInAddrErrors, 0)]).only(R1).icmp(), (12, 0));
    for dst in ["10.2.0.2", "99.0.0.1", "23.0.0.1"] {
        for src in [HOST, "10.2.0.1"] {
            let out = from(&mut rig, src, dst);
            out.drop_of(IpRcvFinish, IpInaddrErrors).silent().counted(&[(IpInAddrErrors, 1)]);
        }
    }
}

#[test]
fn martians_are_reported_where_wanted() {
    let mut rig = router();
    let odd = [
        ("224.1.1.1", "10.2.0.2", "Source"),
        ("127.0.0.1", "10.2.0.2", "Source"),
        ("10.2.0.1", "10.3.0.2", "Source"),
        (HOST, "127.0.0.1", "Destination"),
        (HOST, "0.0.0.0", "Destination"),
        ("10.1.0.255", "10.1.0.9", "Source"),
    ];
    for (src, dst, _) in odd {
        assert!(from(&mut rig, src, dst).silent().control.is_empty());
    }
    rig.configure(|devices, _| devices[R1].conf.log_martians = true);
    for (src, dst, what) in odd {
        let out = from(&mut rig, src, dst);
        assert!(out.control.len() == 1 && out.control[0].contains(&format!("oddity: {what}")), "{out:?}");
    }
    // Ten lines in five seconds.
    let lines: usize = (0..20).map(|_| from(&mut rig, HOST, "0.0.0.0").control.len()).sum();
    assert_eq!(lines, 10 - odd.len());
    rig.after(std::time::Duration::from_secs(6));
    assert_eq!(from(&mut rig, HOST, "0.0.0.0").control.len(), 1);
}

#[test]
fn congestion_bits_are_counted() {
    let mut rig = router();
    let frame = |tos: u8| udp(HOST, "10.2.0.2").tos(tos).to_port(R1);
    let mut frames: Vec<_> = [0, 0xfc, 1, 2, 3, 0xff, 2].map(frame).into();
    let mut bad_sum = frame(2);
    bad_sum[24] ^= 1;
    let mut version = frame(1);
    version[14] = 0x65;
    frames.extend([bad_sum, version]);
    let out = rig.send_all(R1, frames);
    out.counted(&[
        (IpExtInNoECTPkts, 2),
        (IpExtInECT1Pkts, 1),
        (IpExtInECT0Pkts, 3),
        (IpExtInCEPkts, 2),
        (IpInReceives, 9),
    ]);
    let plain = rig.send_all(R1, (0..40).map(|_| frame(0xb8)));
    plain.counted(&[(IpExtInNoECTPkts, 40), (IpExtInECT0Pkts, 0)]);
}
