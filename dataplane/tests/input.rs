//! `netif_receive_skb_list`, `ip_list_rcv`, `ip_rcv_finish`: who gets in, and why the others do not.

mod common;

use std::time::Duration;

use common::frames::{DF, checksum, ethernet};
use common::{Frame, Ip, Out, R1, R2, R3, Rig, To, dev, mac, node_of};
use skiff_dataplane::core::counters::Mib::{self, *};
use skiff_dataplane::core::drop_reason::{DropReason, DropReason::*, Node::*};
use skiff_dataplane::fib::next_hop::NextHopSpec;
use skiff_dataplane::net::MacAddr;

const GROUP_MAC: MacAddr = MacAddr([1, 2, 3, 4, 5, 6]);

fn transit() -> Ip {
    Ip::udp("10.1.0.2", "10.2.0.2", (1000, 2000), 100)
}

/// The frame of `packet` after `change` to its IP header, with a good checksum again.
fn with_header(packet: &Ip, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut frame = packet.to_port(R1);
    change(&mut frame[14..]);
    let header_len = (usize::from(frame[14] & 0xf) * 4).max(20);
    frame[24..26].fill(0);
    let check = checksum(&frame[14..14 + header_len]);
    frame[24..26].copy_from_slice(&check.to_be_bytes());
    frame
}

#[track_caller]
fn refused(out: &Out, reason: DropReason, mibs: &[(Mib, u64)]) {
    out.drop_of(node_of(reason), reason).silent().counted(mibs);
    assert!(out.control.is_empty(), "{out:?}");
}

#[test]
fn plain_packets_are_forwarded() {
    let mut rig = Rig::new();
    let out = rig.send(R1, transit().to_port(R1));
    let seen = out.only(R2);
    seen.is_forwarded(&transit());
    assert_eq!((seen.eth_dst, seen.eth_src), (mac::of(transit().dst), mac::router(R2)));
    out.no_drops().counted(&[
        (IpInReceives, 1),
        (IpForwDatagrams, 1),
        (IpOutTransmits, 1),
        (IpExtInOctets, 128),
    ]);
    let cells = rig.shared.cells(0);
    assert_eq!((cells.device(dev(R1)).rx_packets.get(), cells.device(dev(R1)).rx_bytes.get()), (1, 142));
    assert_eq!((cells.device(dev(R2)).tx_packets.get(), cells.device(dev(R2)).tx_bytes.get()), (1, 142));
}

#[test]
fn other_stations_frames_do_not_reach_ip() {
    let mut rig = Rig::new();
    let out = rig.send(R1, transit().to_mac(mac::router(R2)));
    refused(&out, OtherHost, &[(IpInReceives, 0)]);
    assert_eq!(rig.shared.cells(0).device(dev(R1)).rx_otherhost.get(), 1);
}

#[test]
fn broken_headers() {
    let mut rig = Rig::new();
    for (what, frame) in [
        ("version 6", with_header(&transit(), |h| h[0] = 0x65)),
        ("header length 16", with_header(&transit(), |h| h[0] = 0x44)),
        ("total length 12", with_header(&transit(), |h| h[2..4].copy_from_slice(&[0, 12]))),
        ("header longer than the frame", {
            let mut short = with_header(&transit(), |h| h[0] = 0x4f);
            short.truncate(14 + 40);
            short
        }),
        ("19 bytes", ethernet(mac::router(R1), GROUP_MAC, 0x0800, &[0x45; 19])),
        ("nothing", ethernet(mac::router(R1), GROUP_MAC, 0x0800, &[])),
    ] {
        println!("{what}");
        let out = rig.send(R1, frame);
        out.drop_of(IpRcv, IpInhdr).silent().counted(&[(IpInHdrErrors, 1), (IpInReceives, 1)]);
    }
}

#[test]
fn bad_checksum() {
    let mut rig = Rig::new();
    let mut frame = transit().to_port(R1);
    frame[24] ^= 1;
    let out = rig.send(R1, frame);
    refused(&out, IpCsum, &[(IpInHdrErrors, 1), (IpExtInCsumErrors, 1)]);
}

#[test]
fn truncated_packet() {
    let mut rig = Rig::new();
    let out = rig.send(R1, with_header(&transit(), |h| h[2..4].copy_from_slice(&500u16.to_be_bytes())));
    refused(&out, PktTooSmall, &[(IpExtInTruncatedPkts, 1), (IpInHdrErrors, 0)]);
}

#[test]
fn padding_is_trimmed() {
    let mut rig = Rig::new();
    let small = Ip::udp("10.1.0.2", "10.2.0.2", (1, 2), 4);
    let mut frame = small.to_port(R1);
    frame.resize(60, 0xee);
    rig.send(R1, frame).no_drops().only(R2).is_forwarded(&small);
    let mut split = small.to_port(R1);
    split.resize(60, 0xee);
    rig.send(R1, Frame::cut(&split, &[20, 46, 50])).no_drops().only(R2).is_forwarded(&small);
}

#[test]
fn sources_that_cannot_be() {
    let mut rig = Rig::new();
    for src in ["224.1.1.1", "255.255.255.255", "0.0.0.0"] {
        let out = rig.send(R1, Ip::udp(src, "10.2.0.2", (1, 2), 8).to_port(R1));
        refused(&out, IpInvalidSource, &[(IpInAddrErrors, 0)]);
    }
}

#[test]
fn loopback_and_nowhere() {
    let mut rig = Rig::new();
    let mut reason = |src, dst| {
        let out = rig.send(R1, Ip::udp(src, dst, (1, 2), 8).to_port(R1));
        out.silent();
        *out.drops.keys().next().unwrap()
    };
    assert_eq!(reason("127.0.0.1", "10.2.0.2"), (IpRcvFinish, IpLocalnet));
    assert_eq!(reason("10.1.0.2", "127.0.0.1"), (IpRcvFinish, IpLocalnet));
    assert_eq!(reason("10.1.0.2", "0.0.0.0"), (IpRcvFinish, IpInvalidDest));
}

#[test]
fn our_own_addresses_are_no_sources() {
    let mut rig = Rig::new();
    for dst in ["10.2.0.2", "10.1.0.1", "10.2.0.255", "255.255.255.255"] {
        for src in ["10.1.0.1", "10.2.0.1"] {
            let out = rig.send(R1, Ip::udp(src, dst, (1, 2), 8).to_port(R1));
            refused(&out, IpLocalSource, &[]);
        }
    }
    rig.configure(|devices, _| devices[R1].conf.accept_local = true);
    rig.send(R1, Ip::udp("10.2.0.1", "10.3.0.2", (1, 2), 8).to_port(R1)).no_drops().only(R3);
}

#[test]
fn reverse_path_filter() {
    let mut rig = Rig::new();
    let from = |src| Ip::udp(src, "10.2.0.2", (1, 2), 8).to_port(R1);
    rig.send(R1, from("10.3.0.9")).no_drops().only(R2);
    rig.send(R1, from("192.0.2.9")).no_drops().only(R2);
    rig.send(R1, from("10.1.0.255")).no_drops().only(R2);

    rig.configure(|devices, _| devices[R1].conf.rp_filter = 1);
    rig.send(R1, from("10.1.0.9")).no_drops().only(R2);
    for src in ["10.3.0.9", "192.0.2.9"] {
        refused(&rig.send(R1, from(src)), IpRpfilter, &[(TcpExtIPReversePathFilter, 1)]);
    }
    rig.configure(|devices, _| devices[R1].conf.rp_filter = 2);
    rig.send(R1, from("10.3.0.9")).no_drops().only(R2);
    refused(&rig.send(R1, from("192.0.2.9")), IpRpfilter, &[(TcpExtIPReversePathFilter, 1)]);
    refused(&rig.send(R1, from("10.1.0.255")), IpInvalidSource, &[(TcpExtIPReversePathFilter, 0)]);
}

#[test]
fn strict_filter_takes_any_path_of_a_multipath_route() {
    let mut rig = Rig::new();
    rig.route("20.0.0.0/8", To::Paths(&[("10.1.0.2", R1, 1), ("10.3.0.2", R3, 1)]));
    rig.configure(|devices, _| devices.iter_mut().for_each(|d| d.conf.rp_filter = 1));
    let packet = Ip::udp("20.0.0.1", "10.2.0.2", (1, 2), 8);
    rig.send(R1, packet.to_port(R1)).no_drops().only(R2);
    rig.send(R3, packet.to_port(R3)).no_drops().only(R2);
    let back = Ip::udp("20.0.0.1", "10.3.0.2", (1, 2), 8);
    refused(&rig.send(R2, back.to_port(R2)), IpRpfilter, &[(TcpExtIPReversePathFilter, 1)]);
}

#[test]
fn routes_that_refuse() {
    let mut rig = Rig::new();
    rig.route("20.1.0.0/16", To::Spec(NextHopSpec::Unreachable));
    rig.route("20.2.0.0/16", To::Spec(NextHopSpec::Prohibit));
    rig.route("20.3.0.0/16", To::Spec(NextHopSpec::Blackhole));
    rig.route("20.4.0.0/16", To::Spec(NextHopSpec::Throw));
    for (i, (dst, code, reason, no_routes)) in [
        ("99.0.0.1", Some(0), IpInnoroutes, 1),
        ("20.1.0.1", Some(1), NotSpecified, 0),
        ("20.2.0.1", Some(13), NotSpecified, 0),
        ("20.3.0.1", None, NotSpecified, 0),
        ("20.4.0.1", Some(0), IpInnoroutes, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let src = format!("10.1.0.{}", 100 + i);
        rig.neighbour(R1, &src, skiff_dataplane::neigh::nud::Nud::Permanent);
        let sent = Ip::udp(&src, dst, (1, 2), 40);
        let out = rig.send(R1, sent.to_port(R1));
        out.drop_of(IpError, reason).counted(&[(IpExtInNoRoutes, no_routes)]);
        match code {
            None => assert_eq!(out.sent(), 0),
            Some(code) => {
                let error = out.only(R1);
                assert_eq!(
                    (error.icmp(), error.src, error.dst),
                    ((3, code), common::ip("10.1.0.1"), sent.src)
                );
                assert_eq!(error.quote(), sent.bytes(), "the packet as it came");
                out.counted(&[(IcmpOutMsgs, 1), (IcmpOutDestUnreachs, 1), (IpOutRequests, 1)]);
            }
        }
    }
}

/// `ip_error` and `icmp_ratelimit` draw on one store: five seconds saved up, two spent a message.
#[test]
fn ten_unroutable_packets_at_once() {
    let mut rig = Rig::new();
    let burst =
        |src: &str| (0..10).map(|_| Ip::udp(src, "99.0.0.1", (1, 2), 8).to_port(R1)).collect::<Vec<_>>();
    let out = rig.send_all(R1, burst("10.1.0.2"));
    out.dropped(&[(IpError, IpInnoroutes, 10)]).counted(&[(IpExtInNoRoutes, 10)]);
    assert_eq!(out.wire[R1].len(), 2);
    rig.shared.icmp_limit.params.ratelimit_ms.store(0, std::sync::atomic::Ordering::Relaxed);
    rig.neighbour(R1, "10.1.0.3", skiff_dataplane::neigh::nud::Nud::Permanent);
    let out = rig.send_all(R1, burst("10.1.0.3"));
    assert_eq!(out.wire[R1].len(), 5);
    rig.after(Duration::from_secs(1));
    assert_eq!(rig.send_all(R1, burst("10.1.0.3")).sent(), 1);
}

#[test]
fn options_are_judged_before_a_missing_route() {
    let mut rig = Rig::new();
    let bad = Ip::udp("10.1.0.2", "99.0.0.1", (1, 2), 8).options(&[7, 2, 4]);
    let out = rig.send(R1, bad.to_port(R1));
    out.drop_of(IpRcvFinish, IpInhdr);
    assert_eq!((out.only(R1).icmp(), out.only(R1).icmp_info()), ((12, 0), 21 << 24));
    let source_route = Ip::udp("10.1.0.2", "99.0.0.1", (1, 2), 8).options(&[131, 7, 4, 9, 9, 9, 9]);
    rig.send(R1, source_route.to_port(R1)).drop_of(IpRcvFinish, NotSpecified).silent();
}

#[test]
fn forwarding_off() {
    let mut rig = Rig::new();
    rig.configure(|devices, _| devices[R1].conf.forwarding = false);
    for dst in ["10.2.0.2", "99.0.0.1"] {
        let out = rig.send(R1, Ip::udp("10.1.0.2", dst, (1, 2), 8).to_port(R1));
        refused(&out, IpInaddrErrors, &[(IpInAddrErrors, 1), (IpExtInNoRoutes, 0)]);
    }
    rig.send(R1, Ip::echo("10.1.0.2", "10.1.0.1", 8).to_port(R1)).no_drops().only(R1);
    rig.send(R2, Ip::udp("10.2.0.2", "10.1.0.2", (1, 2), 8).to_port(R2)).no_drops().only(R1);
}

#[test]
fn unicast_in_a_link_layer_broadcast() {
    let mut rig = Rig::new();
    for to in [MacAddr::BROADCAST, GROUP_MAC] {
        for ttl in [64, 1, 0] {
            let out = rig.send(R1, transit().ttl(ttl).to_mac(to));
            out.drop_of(IpForward, NotSpecified).silent().counted(&[(IpForwDatagrams, 0)]);
        }
        let out = rig.send(R1, Ip::udp("10.1.0.2", "99.0.0.1", (1, 2), 8).to_mac(to));
        out.drop_of(IpError, IpInnoroutes).silent();
        let echo = Ip::echo("10.1.0.2", "10.1.0.1", 8).to_mac(to);
        assert_eq!(rig.send(R1, echo).no_drops().only(R1).icmp(), (0, 0));
        let closed = Ip::udp("10.1.0.2", "10.1.0.1", (1, 2), 8).to_mac(to);
        rig.send(R1, closed).drop_of(IpLocalDeliver, NoSocket).silent();
    }
    assert_eq!(rig.shared.cells(0).device(dev(R1)).multicast.get(), 6, "group frames but not broadcasts");
    rig.configure(|devices, _| devices[R1].conf.drop_unicast_in_l2_multicast = true);
    for dst in ["10.1.0.1", "10.2.0.2"] {
        let out = rig.send(R1, Ip::echo("10.1.0.2", dst, 8).to_mac(MacAddr::BROADCAST));
        refused(&out, UnicastInL2Multicast, &[]);
    }
}

#[test]
fn unusual_addresses_are_forwarded() {
    let mut rig = Rig::new();
    rig.route("0.0.0.0/0", To::Via("10.2.0.2", R2));
    for (src, dst) in [
        ("240.0.0.1", "10.2.0.2"),
        ("10.1.0.9", "240.1.2.3"),
        ("10.1.0.9", "0.1.2.3"),
        ("198.51.100.1", "198.51.100.1"),
        ("10.1.0.9", "169.254.1.1"),
    ] {
        for _ in 0..5 {
            let packet = Ip::udp(src, dst, (1, 2), 8);
            rig.send(R1, packet.to_port(R1)).no_drops().only(R2).is_forwarded(&packet);
        }
    }
}

#[test]
fn multicast_without_members() {
    let mut rig = Rig::new();
    let to_group = |src, dst| Ip::udp(src, dst, (1, 2), 8).to_mac(MacAddr([1, 0, 0x5e, 0, 0, 1]));
    rig.send(R1, to_group("10.1.0.2", "239.1.1.1")).drop_of(IpRcvFinish, NotSpecified).silent();
    // The group comes before the source: nobody joined it.
    rig.send(R1, to_group("224.0.0.5", "239.1.1.1")).drop_of(IpRcvFinish, NotSpecified).silent();
    rig.send(R1, to_group("224.0.0.5", "224.0.0.1")).drop_of(IpRcvFinish, IpInvalidSource).silent();
    rig.send(R1, to_group("127.0.0.1", "224.0.0.1")).drop_of(IpRcvFinish, IpLocalnet).silent();
    let out = rig.send(R1, to_group("10.1.0.2", "224.0.0.1"));
    out.drop_of(IpLocalDeliver, NoSocket).silent().counted(&[(IpExtInMcastPkts, 1), (UdpIgnoredMulti, 1)]);
}

#[test]
fn unknown_ethertypes_and_scraps() {
    let mut rig = Rig::new();
    for ethertype in [0x86dd, 0x0026, 0x9000, 0x8847] {
        let out = rig.send(R1, ethernet(mac::router(R1), mac::of(1), ethertype, &[0x55; 46]));
        out.drop_of(NetifReceive, UnhandledProto).silent().counted(&[(IpInReceives, 0)]);
    }
    for len in [1, 6, 13] {
        rig.send(R1, vec![2; len]).drop_of(NetifReceive, UnhandledProto).silent();
    }
}

#[test]
fn priority_tags_are_taken_off_and_vlans_are_not_ours() {
    let mut rig = Rig::new();
    let frame = transit().to_port(R1);
    let tagged = |ethertype: u16, tci: u16| {
        let tag = [ethertype.to_be_bytes(), tci.to_be_bytes()].concat();
        [&frame[..12], &tag, &frame[12..]].concat()
    };
    let plain = rig.send(R1, frame.clone()).no_drops().only(R2);
    for ethertype in [0x8100, 0x88a8] {
        for tci in [0, 0xe000] {
            for cut in [vec![], vec![7], vec![13, 16], vec![18]] {
                let out = rig.send(R1, Frame::cut(&tagged(ethertype, tci), &cut));
                assert_eq!(out.no_drops().only(R2), plain);
            }
        }
        for tci in [1, 0xe064, 0x0fff] {
            rig.send(R1, tagged(ethertype, tci)).drop_of(IpRcv, OtherHost).silent();
        }
    }
    let twice = [&frame[..12], &[0x88, 0xa8, 0, 0, 0x81, 0, 0, 0], &frame[12..]].concat();
    assert_eq!(rig.send(R1, twice).no_drops().only(R2), plain);
    for len in 14..18 {
        rig.send(R1, tagged(0x8100, 0)[..len].to_vec()).dropped(&[(IpRcv, OtherHost, 1)]).silent();
    }
}

#[test]
fn a_device_that_is_down_takes_and_sends_nothing() {
    let mut rig = Rig::new();
    rig.configure(|devices, _| devices[R1].up = false);
    rig.send(R1, transit().to_port(R1)).drop_of(NetifReceive, DevReady).counted(&[(IpInReceives, 0)]);
    rig.configure(|devices, _| {
        devices[R1].up = true;
        devices[R2].carrier = false;
    });
    rig.send(R1, transit().to_port(R1)).drop_of(DevQueueXmit, DevReady).silent();
    let out = rig.send(R2, Ip::udp("10.2.0.2", "10.1.0.2", (1, 2), 8).to_port(R2));
    out.no_drops().only(R1);
}

/// Headers straddle segments at every place; empty segments lie between.
#[test]
fn segments_make_no_difference() {
    let mut rig = Rig::new();
    let options = transit().options(&[1, 7, 7, 4, 0, 0, 0, 0]);
    for packet in [transit(), transit().frag(DF), options] {
        let frame = packet.to_port(R1);
        let whole = rig.send(R1, frame.clone()).no_drops().only(R2);
        for at in 1..60 {
            for cut in [vec![at], vec![at, at + 1], vec![at, at, at + 3, at + 10]] {
                let seen = rig.send(R1, Frame::cut(&frame, &cut)).no_drops().only(R2);
                assert_eq!(seen, whole, "cut at {cut:?}");
            }
        }
        let bytes: Vec<usize> = (1..frame.len().min(60)).collect();
        assert_eq!(rig.send(R1, Frame::cut(&frame, &bytes)).no_drops().only(R2), whole, "a byte a segment");
    }
}

/// What needs a second look keeps its place: packets of one flow leave in the order they came.
#[test]
fn a_burst_keeps_its_order() {
    let mut rig = Rig::new();
    rig.route("20.0.0.0/8", To::Narrow("10.2.0.2", R2, 600));
    let frames = (0..32u16).map(|i| {
        let mut packet = Ip::udp("10.1.0.2", "20.0.0.1", (1, 2), if i % 3 == 0 { 700 } else { 6 });
        packet.id = i;
        if i % 4 == 1 {
            packet = packet.options(&[1, 1, 1, 1]);
        }
        let mut frame = packet.to_port(R1);
        // Padding, and a header in pieces.
        frame.resize(frame.len().max(60), 0);
        if i % 5 == 0 { Frame::cut(&frame, &[3, 30]) } else { Frame::from(frame) }
    });
    let out = rig.send_all(R1, frames);
    let mut ids: Vec<u16> = out.no_drops().all(R2).iter().map(|seen| seen.id).collect();
    ids.dedup();
    assert_eq!(ids, (0..32).collect::<Vec<u16>>());
}

/// Every packet of a burst finds its own way out of a mixture of verdicts.
#[test]
fn a_mixed_burst_is_split_right() {
    let mut rig = Rig::new();
    rig.without_limits();
    let mut frames = Vec::new();
    for i in 0..32u16 {
        let packet = match i % 8 {
            0 => Ip::udp("10.1.0.2", "10.2.0.2", (i, 1), 8),
            1 => Ip::echo("10.1.0.2", "10.1.0.1", 8),
            2 => Ip::udp("10.1.0.2", "99.0.0.1", (i, 1), 8),
            3 => Ip::udp("10.1.0.2", "10.3.0.2", (i, 1), 8).options(&[1, 1, 1, 1]),
            4 => Ip::udp("10.1.0.2", "10.3.0.2", (i, 1), 8),
            5 => Ip::udp("10.1.0.2", "10.2.0.2", (i, 1), 8).ttl(1),
            6 => Ip::echo("10.1.0.2", "10.2.0.255", 8),
            _ => Ip::udp("224.0.0.9", "10.2.0.2", (i, 1), 8),
        };
        frames.push(packet.to_port(R1));
    }
    let out = rig.send_all(R1, frames);
    assert_eq!(out.wire.each_ref().map(Vec::len), [4 + 4 + 4, 4, 8]);
    out.dropped(&[
        (IpError, IpInnoroutes, 4),
        (IpForward, IpInhdr, 4),
        (IpLocalDeliver, InvalidProto, 4),
        (IpRcvFinish, IpInvalidSource, 4),
    ]);
    let kinds: Vec<_> = out.all(R1).iter().map(|seen| seen.icmp()).collect();
    assert_eq!([(0, 0), (3, 0), (11, 0)].map(|k| kinds.iter().filter(|&&x| x == k).count()), [4, 4, 4]);
}
