//! `ip_local_deliver`: how the router answers packets for itself.

mod common;

use common::frames::{MF, checksum};
use common::{Frame, Ip, R1, R2, Rig, ip, mac};
use skiff_dataplane::core::counters::Mib::*;
use skiff_dataplane::core::drop_reason::{DropReason::*, Node::*};
use skiff_dataplane::net::MacAddr;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

#[test]
fn echo_of_every_length_in_every_segmentation() {
    let mut rig = Rig::new();
    for len in (0..70).chain([1000, 1471, 1472]) {
        let echo = Ip::echo("10.1.0.2", "10.1.0.1", len).tos(0x28).ttl(1);
        let frame = echo.to_port(R1);
        for cut in [vec![], vec![14], vec![34], vec![35, 41], vec![38, 43, 44, 57], vec![1, 2, 3, 60]] {
            let out = rig.send(R1, Frame::cut(&frame, &cut));
            let reply = out.no_drops().only(R1);
            assert_eq!((reply.src, reply.dst, reply.tos, reply.ttl), (echo.dst, echo.src, 0x28, 64));
            assert_eq!((reply.eth_dst, reply.frag, reply.icmp()), (mac::of(echo.src), 0, (0, 0)));
            assert_eq!(reply.payload[4..], echo.payload[4..], "{len} bytes cut at {cut:?}");
            out.counted(&[(IcmpInEchos, 1), (IcmpInMsgs, 1), (IcmpOutEchoReps, 1), (IpInDelivers, 1)]);
        }
    }
    rig.send(R1, Ip::echo("10.1.0.2", "10.1.0.1", 8).ttl(0).to_port(R1)).no_drops().only(R1);
}

#[test]
fn echo_replies_differ_in_their_identification() {
    let mut rig = Rig::new();
    let mut id = || rig.send(R1, Ip::echo("10.1.0.2", "10.1.0.1", 8).to_port(R1)).only(R1).id;
    assert_ne!(id(), id());
}

#[test]
fn echo_to_an_address_of_another_port() {
    let mut rig = Rig::new();
    let reply = rig.send(R1, Ip::echo("10.1.0.2", "10.2.0.1", 8).to_port(R1)).no_drops().only(R1);
    assert_eq!(reply.src, ip("10.2.0.1"));
}

#[test]
fn echo_larger_than_the_mtu_is_answered_in_fragments() {
    let mut rig = Rig::new();
    rig.route("20.0.0.0/8", common::To::Narrow("10.2.0.2", R2, 600));
    let out = rig.send(R1, Ip::echo("20.0.0.1", "10.1.0.1", 1000).to_port(R1));
    let pieces = out.no_drops().all(R2);
    assert_eq!(pieces.iter().map(|p| (p.payload.len(), p.frag)).collect::<Vec<_>>(), [(576, MF), (432, 72)]);
    let whole = [&pieces[0].payload[..], &pieces[1].payload[..]].concat();
    assert_eq!((checksum(&whole), whole[0]), (0, 0));
}

#[test]
fn echo_with_options() {
    let mut rig = Rig::new();
    let echo = Ip::echo("10.1.0.2", "10.1.0.1", 33).options(&[1, 1, 148, 4, 0, 0]);
    for cut in [vec![], vec![34], vec![36, 50]] {
        let reply = rig.send(R1, Frame::cut(&echo.to_port(R1), &cut)).no_drops().only(R1);
        assert_eq!(reply.payload[4..], echo.payload[4..]);
    }
}

#[test]
fn broadcast_echo_is_ignored_unless_wanted() {
    let mut rig = Rig::new();
    for dst in ["10.1.0.255", "10.2.0.255", "255.255.255.255", "224.0.0.1"] {
        let frame = Ip::echo("10.1.0.2", dst, 8).to_mac(MacAddr::BROADCAST);
        let out = rig.send(R1, frame);
        out.drop_of(IpLocalDeliver, InvalidProto).silent().counted(&[(IcmpInErrors, 1), (IcmpInMsgs, 1)]);
    }
    rig.configure(|_, sysctl| sysctl.icmp_echo_ignore_broadcasts = false);
    let out = rig.send(R1, Ip::echo("10.1.0.2", "10.1.0.255", 8).to_mac(MacAddr::BROADCAST));
    assert_eq!((out.only(R1).src, out.only(R1).icmp()), (ip("10.1.0.1"), (0, 0)));
    rig.configure(|_, sysctl| sysctl.icmp_echo_ignore_all = true);
    rig.send(R1, Ip::echo("10.1.0.2", "10.1.0.1", 8).to_port(R1)).silent();
}

#[test]
fn bad_icmp() {
    let mut rig = Rig::new();
    let mut corrupt = Ip::echo("10.1.0.2", "10.1.0.1", 9);
    corrupt.payload[12] ^= 0x10;
    let out = rig.send(R1, corrupt.to_port(R1));
    out.drop_of(IpLocalDeliver, IcmpCsum).silent().counted(&[(IcmpInCsumErrors, 1), (IcmpInErrors, 1)]);
    let out = rig.send(R1, Ip::icmp("10.1.0.2", "10.1.0.1", 40, 0, &[0; 4]).to_port(R1));
    out.drop_of(IpLocalDeliver, UnhandledProto).silent().counted(&[(IcmpInErrors, 1)]);
    let out = rig.send(R1, Ip::new("10.1.0.2", "10.1.0.1", 1, vec![0xff, 0xff]).to_port(R1));
    out.silent().counted(&[(IcmpInErrors, 1)]);
    let reply = rig.send(R1, Ip::icmp("10.1.0.2", "10.1.0.1", 0, 0, &[0; 4]).to_port(R1));
    reply.drop_of(IpLocalDeliver, NoSocket).silent().counted(&[(IcmpInEchoReps, 1), (IcmpInErrors, 0)]);
    let out = rig.send(R1, Ip::icmp("10.1.0.2", "10.1.0.255", 43, 0, &[0; 4]).to_port(R1));
    out.drop_of(IpLocalDeliver, NoSocket).silent().counted(&[(IcmpInErrors, 0)]);
}

/// As over the kernel's loopback device: what the router tells itself comes back in, and is not answered again.
#[test]
fn what_is_for_ourselves_comes_back_in() {
    let mut rig = Rig::new();
    let no_route = Ip::udp("10.2.0.1", "99.0.0.1", (5, 6), 8);
    let out = rig.send(R1, no_route.to_port(R1));
    out.dropped(&[(IpError, IpInnoroutes, 1)]).silent().counted(&[
        (IcmpOutDestUnreachs, 1),
        (IcmpInDestUnreachs, 1),
        (IpOutRequests, 1),
        (IpOutTransmits, 1),
        (IpInReceives, 2),
        (IpInDelivers, 1),
    ]);
    rig.configure(|devices, _| devices[R1].conf.accept_local = true);
    let out = rig.send(R1, Ip::echo("10.2.0.1", "10.1.0.1", 8).to_port(R1));
    out.drop_of(IpLocalDeliver, NoSocket).silent().counted(&[(IcmpInEchos, 1), (IcmpInEchoReps, 1)]);
    let syn = Ip::tcp("10.2.0.1", "10.1.0.1", (1, 2), 3, 4, SYN, &[]);
    let out = rig.send(R1, syn.to_port(R1));
    out.dropped(&[(IpLocalDeliver, NoSocket, 2)]).silent().counted(&[(TcpInSegs, 2), (TcpOutSegs, 1)]);
}

#[test]
fn a_broadcast_of_ours_goes_out_and_comes_back_in() {
    let mut rig = Rig::new();
    let out = rig.send(R1, Ip::echo("10.1.0.255", "10.1.0.1", 8).to_port(R1));
    let reply = out.drop_of(IpLocalDeliver, InvalidProto).only(R1);
    assert_eq!((reply.eth_dst, reply.icmp()), (MacAddr::BROADCAST, (0, 0)));
    out.counted(&[(IpOutTransmits, 1), (IpExtOutBcastPkts, 1), (IpExtInBcastPkts, 1), (IcmpInEchoReps, 1)]);
}

#[test]
fn pim_is_nobodys_but_known() {
    let mut rig = Rig::new();
    let out = rig.send(R1, Ip::new("10.1.0.2", "10.1.0.1", 103, vec![0x20; 32]).to_port(R1));
    out.drop_of(IpLocalDeliver, NotSpecified).silent().counted(&[(IpInDelivers, 1), (IpInUnknownProtos, 0)]);
}

#[test]
fn closed_udp_ports() {
    let mut rig = Rig::new();
    let datagram = Ip::udp("10.1.0.2", "10.2.0.1", (5, 6), 31).tos(0x28);
    for cut in [vec![], vec![20], vec![36, 45]] {
        let out = rig.send(R1, Frame::cut(&datagram.to_port(R1), &cut));
        out.drop_of(IpLocalDeliver, NoSocket).counted(&[(UdpNoPorts, 1), (IpInDelivers, 1)]);
        let error = out.only(R1);
        assert_eq!((error.icmp(), error.src, error.tos, error.ttl), ((3, 3), datagram.dst, 0xc8, 64));
        assert_eq!(error.quote(), datagram.bytes());
    }
    let broadcast = Ip::udp("10.1.0.2", "10.1.0.255", (5, 6), 31).to_mac(MacAddr::BROADCAST);
    let out = rig.send(R1, broadcast);
    out.drop_of(IpLocalDeliver, NoSocket).silent().counted(&[(UdpIgnoredMulti, 1), (UdpNoPorts, 0)]);
}

#[test]
fn udp_checksums() {
    let mut rig = Rig::new();
    let corrupt = |packet: &Ip, at: usize| {
        let mut bad = packet.clone();
        bad.payload[at] ^= 1;
        bad
    };
    let good = Ip::udp("10.1.0.2", "10.1.0.1", (5, 6), 31);
    let out = rig.send(R1, corrupt(&good, 20).to_port(R1));
    out.drop_of(IpLocalDeliver, UdpCsum).silent().counted(&[(UdpInCsumErrors, 1), (UdpInErrors, 1)]);
    let mut none = corrupt(&good, 20);
    none.payload[6..8].fill(0);
    assert_eq!(rig.send(R1, none.to_port(R1)).only(R1).icmp(), (3, 3), "no checksum at all is allowed");

    // Bytes behind the datagram belong to nobody.
    let mut trailing = good.clone();
    trailing.payload.extend([1, 2, 3, 4, 5]);
    for cut in [vec![], vec![50], vec![73, 75]] {
        let out = rig.send(R1, Frame::cut(&trailing.to_port(R1), &cut));
        let error = out.drop_of(IpLocalDeliver, NoSocket).only(R1);
        assert_eq!((error.icmp(), error.quote().len()), ((3, 3), 20 + 8 + 31));
        let bad = corrupt(&trailing, 20);
        rig.send(R1, Frame::cut(&bad.to_port(R1), &cut)).drop_of(IpLocalDeliver, UdpCsum).silent();
    }
    for len in [0u16, 7, 40] {
        let mut bad = good.clone();
        bad.payload[4..6].copy_from_slice(&len.to_be_bytes());
        rig.send(R1, bad.to_port(R1))
            .drop_of(IpLocalDeliver, PktTooSmall)
            .silent()
            .counted(&[(UdpInErrors, 1)]);
    }
    let short = Ip::new("10.1.0.2", "10.1.0.1", 17, vec![0; 7]);
    rig.send(R1, short.to_port(R1)).drop_of(IpLocalDeliver, PktTooSmall).silent();
}

#[test]
fn unknown_protocols() {
    let mut rig = Rig::new();
    let out = rig.send(R1, Ip::new("10.1.0.2", "10.1.0.1", 253, vec![1; 20]).to_port(R1));
    out.drop_of(IpLocalDeliver, IpNoproto).counted(&[(IpInUnknownProtos, 1), (IpInDelivers, 0)]);
    assert_eq!(out.only(R1).icmp(), (3, 2));
    let out = rig.send(R1, Ip::new("10.1.0.2", "10.1.0.255", 253, vec![]).to_mac(MacAddr::BROADCAST));
    out.drop_of(IpLocalDeliver, IpNoproto).silent();
    rig.send(R1, Ip::new("10.1.0.2", "10.1.0.1", 2, vec![0x11; 8]).to_port(R1)).no_drops().silent();
}

/// Sequence numbers, acknowledgements and flags of a reset as RFC 9293 section 3.10.7.1 has them.
#[test]
fn tcp_resets() {
    let mut rig = Rig::new();
    let word = |b: &[u8], at: usize| u32::from_be_bytes(b[at..at + 4].try_into().unwrap());
    for (flags, data, seq, ack, reply) in [
        (SYN, 0, 0, 1001, RST | ACK),
        (SYN, 5, 0, 1006, RST | ACK),
        (SYN | FIN, 0, 0, 1002, RST | ACK),
        (FIN, 7, 0, 1008, RST | ACK),
        (0, 0, 0, 1000, RST | ACK),
        (ACK, 0, 77, 0, RST),
        (SYN | ACK, 3, 77, 0, RST),
        (FIN | ACK, 3, 77, 0, RST),
    ] {
        let segment =
            Ip::tcp("10.1.0.2", "10.1.0.1", (40_000, 22), 1000, 77, flags, &vec![9; data]).tos(0xb9);
        for cut in [vec![], vec![40], vec![35, 53]] {
            let out = rig.send(R1, Frame::cut(&segment.to_port(R1), &cut));
            out.drop_of(IpLocalDeliver, NoSocket).counted(&[(TcpInSegs, 1), (TcpOutRsts, 1)]);
            let reset = out.only(R1);
            assert_eq!(
                (reset.src, reset.dst, reset.protocol, reset.frag),
                (segment.dst, segment.src, 6, 0x4000)
            );
            assert_eq!(
                (reset.payload.len(), word(&reset.payload, 0), reset.tos),
                (20, 22 << 16 | 40_000, 0xb8)
            );
            let found = (word(&reset.payload, 4), word(&reset.payload, 8), reset.payload[13]);
            assert_eq!(found, (seq, ack, reply), "to flags {flags:#x} with {data} bytes");
        }
    }
    let segment = |flags| Ip::tcp("10.1.0.2", "10.1.0.1", (40_000, 22), 1, 2, flags, &[]);
    for flags in [RST, RST | ACK, RST | SYN] {
        rig.send(R1, segment(flags).to_port(R1)).drop_of(IpLocalDeliver, NoSocket).silent();
    }
    let wrapped = Ip::tcp("10.1.0.2", "10.1.0.1", (1, 2), u32::MAX, 0, SYN, &[]);
    assert_eq!(word(&rig.send(R1, wrapped.to_port(R1)).only(R1).payload, 8), 0, "sequence numbers wrap");
    let out = rig.send(R1, segment(SYN).to_mac(MacAddr::BROADCAST));
    out.drop_of(IpLocalDeliver, NotSpecified).silent().counted(&[(TcpInSegs, 0)]);
    rig.send(R1, Ip::tcp("10.1.0.2", "10.1.0.255", (1, 2), 1, 2, SYN, &[]).to_port(R1)).silent();
}

#[test]
fn bad_tcp() {
    let mut rig = Rig::new();
    let good = Ip::tcp("10.1.0.2", "10.1.0.1", (40_000, 22), 1, 2, SYN, &[1, 2, 3]);
    let mut bad = good.clone();
    bad.payload[22] ^= 1;
    rig.send(R1, bad.to_port(R1)).drop_of(IpLocalDeliver, TcpCsum).silent().counted(&[(TcpInErrs, 1)]);
    let mut short = good.clone();
    short.payload[12] = 0x40;
    rig.send(R1, short.to_port(R1)).drop_of(IpLocalDeliver, PktTooSmall).silent().counted(&[(TcpInErrs, 1)]);
    let scrap = Ip::new("10.1.0.2", "10.1.0.1", 6, vec![0; 19]);
    rig.send(R1, scrap.to_port(R1)).drop_of(IpLocalDeliver, PktTooSmall).silent().counted(&[(TcpInErrs, 0)]);
}
