//! `ip_forward`, `ip_output` and `ip_fragment`: packets on their way through, and the errors they cause.

mod common;

use std::time::Duration;

use common::frames::{DF, MF};
use common::{Ip, R1, R2, R3, Rig, Seen, To, ip, mac};
use skiff_dataplane::core::counters::Mib::*;
use skiff_dataplane::core::drop_reason::{DropReason::*, Node::*};
use skiff_dataplane::net::MacAddr;

/// 1428 bytes, as in a UDP datagram of 1400.
fn large() -> Ip {
    Ip::udp("10.1.0.2", "20.0.0.1", (5, 6), 1400)
}

fn narrow(mtu: u16) -> Rig {
    let mut rig = Rig::new();
    rig.route("20.0.0.0/8", To::Narrow("10.2.0.2", R2, mtu));
    rig
}

fn quotes_one_hop_on(error: &Seen, packet: &Ip) {
    let quoted = error.quote();
    let sent = packet.bytes();
    assert_eq!(quoted[..8], sent[..8]);
    assert_eq!(quoted[8], packet.ttl - 1, "the TTL is taken before a redirect is sent");
    assert_eq!(quoted[12..], sent[12..sent.len().min(548)]);
}

#[test]
fn ttl() {
    let mut rig = Rig::new();
    for ttl in [0, 1] {
        let packet = Ip::udp("10.1.0.2", "10.2.0.2", (5, 6), 40).ttl(ttl);
        let out = rig.send(R1, packet.to_port(R1));
        out.drop_of(IpForward, IpInhdr).counted(&[
            (IpInHdrErrors, 1),
            (IpForwDatagrams, 0),
            (IcmpOutTimeExcds, 1),
        ]);
        let error = out.only(R1);
        assert_eq!((error.icmp(), error.src, error.dst), ((11, 0), ip("10.1.0.1"), packet.src));
        assert_eq!((error.quote(), error.icmp_info(), error.ttl), (&packet.bytes()[..], 0, 64));
    }
    let last = Ip::udp("10.1.0.2", "10.2.0.2", (5, 6), 40).ttl(2);
    rig.send(R1, last.to_port(R1)).no_drops().only(R2).is_forwarded(&last);
}

/// The hop of a traceroute is the address of the port towards the sender, wherever the packet would have left.
#[test]
fn traceroute_shows_the_port_towards_the_sender() {
    let mut rig = Rig::new();
    rig.route("20.0.0.0/8", To::Via("10.3.0.2", R3));
    let probe = Ip::udp("20.0.0.9", "10.2.0.2", (33_000, 33_434), 12).ttl(1);
    let error = rig.send(R1, probe.to_port(R1)).only(R3);
    assert_eq!((error.src, error.eth_dst), (ip("10.3.0.1"), mac::of(ip("10.3.0.2"))));
    rig.configure(|_, sysctl| sysctl.icmp_errors_use_inbound_ifaddr = true);
    assert_eq!(rig.send(R1, probe.to_port(R1)).only(R3).src, ip("10.1.0.1"));
    let unknown = Ip::udp("30.0.0.9", "10.2.0.2", (33_000, 33_434), 12).ttl(1);
    rig.send(R1, unknown.to_port(R1)).drop_of(IpForward, IpInhdr).silent();
}

#[test]
fn fragmentation_needed() {
    let mut rig = narrow(1000);
    let packet = large().frag(DF).tos(0x10);
    let out = rig.send(R1, packet.to_port(R1));
    out.drop_of(IpForward, PktTooBig).counted(&[(IpFragFails, 1), (IpForwDatagrams, 1), (IpFragCreates, 0)]);
    let error = out.only(R1);
    assert_eq!((error.icmp(), error.icmp_info(), error.tos), ((3, 4), 1000, 0xd0));
    assert_eq!((error.payload.len() + 20, error.quote()), (576, &packet.bytes()[..548]));
    assert_eq!(rig.send(R1, large().frag(DF).to_port(R1)).only(R1).tos, 0xc0);
    let fits = Ip::udp("10.1.0.2", "20.0.0.1", (5, 6), 972).frag(DF);
    rig.send(R1, fits.to_port(R1)).no_drops().only(R2).is_forwarded(&fits);
    let over = Ip::udp("10.1.0.2", "20.0.0.1", (5, 6), 973).frag(DF);
    rig.send(R1, over.to_port(R1)).drop_of(IpForward, PktTooBig);
}

/// An error is no longer than the way back carries in one piece.
#[test]
fn errors_fit_the_way_back() {
    let mut rig = Rig::new();
    rig.route("20.0.0.0/8", To::Narrow("10.1.0.2", R1, 300));
    let packet = Ip::udp("20.0.0.9", "10.2.0.2", (5, 6), 1000).ttl(1);
    let error = rig.send(R1, packet.to_port(R1)).only(R1);
    assert_eq!((error.icmp(), error.payload.len() + 20), ((11, 0), 300));
    assert_eq!(error.quote(), &packet.bytes()[..272]);
}

#[test]
fn fragmentation_needed_is_not_limited() {
    let mut rig = narrow(1000);
    let out = rig.send_all(R1, (0..20).map(|_| large().frag(DF).to_port(R1)));
    assert_eq!(out.all(R1).len(), 20);
}

#[test]
fn fragments() {
    let mut rig = narrow(1000);
    for cut in [vec![], vec![34], vec![50, 700, 1300]] {
        let out = rig.send(R1, common::Frame::cut(&large().to_port(R1), &cut));
        out.no_drops().counted(&[
            (IpFragOKs, 1),
            (IpFragCreates, 2),
            (IpFragFails, 0),
            (IpForwDatagrams, 1),
            (IpOutTransmits, 2),
        ]);
        let pieces = out.all(R2);
        assert_eq!(pieces.iter().map(|p| p.payload.len() + 20).collect::<Vec<_>>(), [996, 452]);
        assert_eq!(
            pieces.iter().map(|p| (p.frag, p.id, p.ttl)).collect::<Vec<_>>(),
            [(MF, 0x1234, 63), (122, 0x1234, 63)]
        );
        assert_eq!([&pieces[0].payload[..], &pieces[1].payload[..]].concat(), large().payload);
    }
}

#[test]
fn a_fragment_is_cut_again() {
    let mut rig = narrow(1000);
    let mut middle = large().frag(MF | 100);
    middle.payload = (0..1200u32).map(|i| i as u8).collect();
    let pieces = rig.send(R1, middle.to_port(R1)).no_drops().all(R2);
    assert_eq!(
        pieces.iter().map(|p| (p.payload.len() + 20, p.frag)).collect::<Vec<_>>(),
        [(996, MF | 100), (244, MF | 222)]
    );
    let last = Ip { frag: 100, ..middle };
    let pieces = rig.send(R1, last.to_port(R1)).no_drops().all(R2);
    assert_eq!(pieces.iter().map(|p| p.frag).collect::<Vec<_>>(), [MF | 100, 222]);
}

#[test]
fn fragments_carry_the_options_they_must() {
    let mut rig = narrow(700);
    // Record route, room for two; router alert; end. The first is filled in here and not copied.
    let packet = large().options(&[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 148, 4, 0, 0]);
    let pieces = rig.send(R1, packet.to_port(R1)).no_drops().all(R2);
    assert_eq!(pieces.iter().map(|p| p.payload.len()).collect::<Vec<_>>(), [664, 664, 80]);
    assert_eq!(pieces[0].options, [7, 11, 8, 10, 2, 0, 1, 0, 0, 0, 0, 148, 4, 0, 0, 0]);
    for piece in &pieces[1..] {
        assert_eq!(piece.options, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 148, 4, 0, 0, 0]);
    }
}

/// More pieces than a burst holds.
#[test]
fn a_datagram_of_64_kib() {
    let mut rig = narrow(576);
    let mut huge = large();
    huge.payload = (0..65_515u32).map(|i| (i / 7) as u8).collect();
    let frame = huge.to_port(R1);
    let cuts: Vec<usize> = (1..frame.len() / 1400 + 1).map(|i| i * 1400).collect();
    let out = rig.send(R1, common::Frame::cut(&frame, &cuts));
    let pieces = out.no_drops().all(R2);
    assert_eq!(pieces.len(), 65_515usize.div_ceil(552));
    out.counted(&[(IpFragOKs, 1), (IpFragCreates, pieces.len() as u64)]);
    let mut whole: Vec<u8> = Vec::new();
    for piece in &pieces {
        assert_eq!(usize::from(piece.frag & 0x1fff) * 8, whole.len());
        whole.extend(&piece.payload);
    }
    assert_eq!(whole, huge.payload);
    assert_eq!(pieces.iter().filter(|p| p.frag & MF == 0).count(), 1);
}

#[test]
fn fragmentation_without_mbufs_fails_the_datagram() {
    let mut rig = narrow(1000);
    let taken: Vec<_> = std::iter::from_fn(|| rig.own_pool.alloc()).collect();
    let out = rig.send(R1, large().to_port(R1));
    out.drop_of(IpOutput, FragFailed).silent().counted(&[(IpFragFails, 1), (IpFragOKs, 0)]);
    let out = rig.send(R1, large().ttl(1).to_port(R1));
    out.drop_of(IpForward, IpInhdr).silent().counted(&[(IcmpOutErrors, 1), (IcmpOutMsgs, 0)]);
    drop(taken);
    assert_eq!(rig.send(R1, large().to_port(R1)).sent(), 2);
}

#[test]
fn an_mtu_without_room_for_data() {
    let mut rig = narrow(27);
    let out = rig.send(R1, large().to_port(R1));
    out.drop_of(IpOutput, FragFailed).silent().counted(&[(IpFragFails, 1)]);
}

#[test]
fn redirect() {
    let mut rig = Rig::new();
    rig.neighbour(R1, "10.1.0.3", skiff_dataplane::neigh::nud::Nud::Permanent);
    let packet = Ip::udp("10.1.0.2", "10.1.0.3", (5, 6), 40);
    let out = rig.send(R1, packet.to_port(R1));
    out.no_drops().counted(&[(IcmpOutRedirects, 1), (IpForwDatagrams, 1)]);
    let seen = out.all(R1);
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].icmp(), seen[0].icmp_info(), seen[0].src), ((5, 1), ip("10.1.0.3"), ip("10.1.0.1")));
    quotes_one_hop_on(&seen[0], &packet);
    seen[1].is_forwarded(&packet);

    rig.route("20.0.0.0/8", To::Via("10.1.0.3", R1));
    rig.after(Duration::from_secs(30));
    let seen = rig.send(R1, Ip::udp("10.1.0.2", "20.0.0.1", (5, 6), 8).to_port(R1)).no_drops().all(R1);
    assert_eq!((seen[0].icmp(), seen[0].icmp_info()), ((5, 1), ip("10.1.0.3")), "the gateway that is nearer");
}

#[test]
fn no_redirect_where_it_would_not_help() {
    let mut rig = Rig::new();
    rig.route("20.0.0.0/8", To::Via("10.1.0.2", R1));
    rig.route("30.0.0.0/8", To::Via("10.1.0.3", R1));
    let only_forwarded = |rig: &mut Rig, packet: Ip| {
        rig.send(R1, packet.to_port(R1)).no_drops().only(R1).is_forwarded(&packet);
    };
    // The sender is behind a router, or nowhere we know: the gateway is not its neighbour.
    only_forwarded(&mut rig, Ip::udp("20.0.0.1", "30.0.0.1", (5, 6), 8));
    only_forwarded(&mut rig, Ip::udp("99.0.0.1", "30.0.0.1", (5, 6), 8));
    only_forwarded(&mut rig, Ip::udp("10.2.0.9", "30.0.0.1", (5, 6), 8));
    rig.configure(|devices, _| devices[R1].conf.send_redirects = false);
    only_forwarded(&mut rig, Ip::udp("10.1.0.2", "30.0.0.1", (5, 6), 8));
}

#[test]
fn redirects_back_off() {
    let mut rig = Rig::new();
    rig.route("30.0.0.0/8", To::Via("10.1.0.3", R1));
    let mut sent = 0;
    for _ in 0..20_000 {
        let out = rig.send(R1, Ip::udp("10.1.0.2", "30.0.0.1", (5, 6), 8).to_port(R1));
        sent += out.grew(IcmpOutRedirects);
        rig.after(Duration::from_millis(1));
    }
    assert_eq!(sent, 9);
}

/// Six errors saved up a host, then one a second.
#[test]
fn errors_are_limited_by_host() {
    let mut rig = Rig::new();
    let errors = |rig: &mut Rig, src: &str| {
        let frames = (0..20).map(|_| Ip::udp(src, "10.2.0.2", (5, 6), 8).ttl(1).to_port(R1));
        let out = rig.send_all(R1, frames);
        out.dropped(&[(IpForward, IpInhdr, 20)]);
        assert_eq!(out.grew(IcmpOutTimeExcds) + out.grew(IcmpOutRateLimitHost), 20);
        out.sent()
    };
    assert_eq!(errors(&mut rig, "10.1.0.2"), 6);
    rig.after(Duration::from_millis(500));
    assert_eq!(errors(&mut rig, "10.1.0.2"), 0);
    rig.after(Duration::from_millis(500));
    assert_eq!(errors(&mut rig, "10.1.0.2"), 1);
    rig.neighbour(R1, "10.1.0.3", skiff_dataplane::neigh::nud::Nud::Permanent);
    assert_eq!(errors(&mut rig, "10.1.0.3"), 6, "another host has its own store");
    let echoes = (0..100).map(|_| Ip::echo("10.1.0.2", "10.1.0.1", 8).to_port(R1));
    assert_eq!(rig.send_all(R1, echoes).sent(), 100, "answers are not limited");
}

#[test]
fn errors_are_limited_in_all() {
    let mut rig = Rig::new();
    rig.route("20.0.0.0/8", To::Via("10.1.0.2", R1));
    let frames =
        (0..500).map(|i| Ip::udp(&format!("20.0.{}.{}", i / 250, i % 250), "10.2.0.2", (5, 6), 8).ttl(1));
    let out = rig.send_all(R1, frames.map(|p| p.to_port(R1)).collect::<Vec<_>>());
    let sent = out.sent() as u64;
    // A burst of 50 tokens; a message costs none, one or two of them.
    assert!((25..120).contains(&sent), "{sent}");
    assert_eq!(out.grew(IcmpOutRateLimitGlobal), 500 - sent);
}

#[test]
fn errors_about_what_may_not_be_reported() {
    let mut rig = Rig::new();
    rig.without_limits();
    let expired = |packet: Ip| packet.ttl(1);
    let inner = Ip::udp("10.2.0.2", "10.1.0.2", (1, 2), 8).bytes();
    for kind in [3, 4, 5, 11, 12] {
        let packet = expired(Ip::icmp("10.1.0.2", "10.2.0.2", kind, 0, &[&[0; 4], &inner[..]].concat()));
        rig.send(R1, packet.to_port(R1)).drop_of(IpForward, IpInhdr).silent();
    }
    for kind in [19, 40, 255] {
        let packet = expired(Ip::icmp("10.1.0.2", "10.2.0.2", kind, 0, &[0; 4]));
        rig.send(R1, packet.to_port(R1)).drop_of(IpForward, IpInhdr).silent();
    }
    let echo = expired(Ip::echo("10.1.0.2", "10.2.0.2", 8));
    assert_eq!(rig.send(R1, echo.to_port(R1)).only(R1).icmp(), (11, 0), "an echo is no error");

    let first = expired(large()).frag(MF);
    assert_eq!(
        rig.send(R1, Ip { dst: ip("10.2.0.2"), ..first.clone() }.to_port(R1)).only(R1).icmp(),
        (11, 0)
    );
    for frag in [1, MF | 8, 0x1fff] {
        let later = Ip { dst: ip("10.2.0.2"), frag, ..first.clone() };
        rig.send(R1, later.to_port(R1)).drop_of(IpForward, IpInhdr).silent();
    }
    let frame = expired(Ip::udp("10.1.0.2", "10.2.0.2", (5, 6), 8)).to_mac(MacAddr::BROADCAST);
    rig.send(R1, frame).silent();
    let no_route = Ip::udp("10.1.0.2", "99.0.0.1", (5, 6), 8).to_mac(MacAddr::BROADCAST);
    rig.send(R1, no_route).silent();
    let from_broadcast = expired(Ip::udp("10.1.0.255", "10.2.0.2", (5, 6), 8));
    let out = rig.send(R1, from_broadcast.to_port(R1));
    assert_eq!(
        (out.only(R1).eth_dst, out.only(R1).icmp()),
        (MacAddr::BROADCAST, (11, 0)),
        "as the kernel does"
    );
    out.dropped(&[(IpForward, IpInhdr, 1), (IpLocalDeliver, InvalidProto, 1)]);
}

#[test]
fn options_on_the_way_through() {
    let mut rig = Rig::new();
    let via = |options: &[u8]| Ip::udp("10.1.0.2", "10.2.0.2", (5, 6), 24).options(options);
    let mut seen = |options: &[u8]| rig.send(R1, via(options).to_port(R1)).no_drops().only(R2).options;
    // The clock stands at 1000 s.
    let now = 1_000_000u32.to_be_bytes();
    assert_eq!(seen(&[7, 7, 4, 0, 0, 0, 0, 0]), [7, 7, 8, 10, 2, 0, 1, 0], "record route: the port out");
    assert_eq!(seen(&[7, 7, 8, 1, 2, 3, 4, 0]), [7, 7, 8, 1, 2, 3, 4, 0], "a full one passes");
    assert_eq!(seen(&[68, 8, 5, 0, 0, 0, 0, 0])[..4], [68, 8, 9, 0], "timestamp");
    let stamped = seen(&[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    // The kernel writes the address that faces the sender, and mends it only where a source route was followed.
    assert_eq!((&stamped[..8], &stamped[8..]), (&[68, 12, 13, 1, 10, 1, 0, 1][..], &now[..]));
    assert_eq!(seen(&[68, 8, 9, 0x20, 1, 2, 3, 4]), [68, 8, 9, 0x30, 1, 2, 3, 4], "overflow counted");
    assert_eq!(seen(&[68, 8, 5, 7, 0, 0, 0, 0]), [68, 8, 5, 7, 0, 0, 0, 0], "an unknown flag passes");
    assert_eq!(seen(&[68, 12, 5, 3, 10, 2, 0, 1, 0, 0, 0, 0])[..3], [68, 12, 13], "prespecified: ours");
    assert_eq!(seen(&[68, 12, 5, 3, 10, 2, 0, 2, 0, 0, 0, 0])[..3], [68, 12, 5], "prespecified: not ours");
    assert_eq!(seen(&[222, 4, 9, 9]), [222, 4, 9, 9], "unknown");
    assert_eq!(seen(&[148, 4, 0, 0]), [148, 4, 0, 0], "router alert");
    assert_eq!(seen(&[0, 7, 7, 7]), [0, 0, 0, 0], "nothing stands behind the end");
    assert_eq!(seen(&[1; 40]), [1; 40]);
}

/// Options before the bad one that had room for an entry: the quote shows it.
fn entries_written(options: &[u8]) -> usize {
    usize::from(matches!(options, [7, 7, 4, ..] | [68, 8, 5, ..] if options.len() > 8))
}

#[test]
fn bad_options_are_answered() {
    let mut rig = Rig::new();
    rig.without_limits();
    for (options, pointer) in [
        (&[7, 2, 4, 0][..], 21),
        (&[7, 6, 4, 0, 0, 0], 22),
        (&[7, 7, 3, 0, 0, 0, 0], 22),
        (&[68, 8, 9, 0xf0, 1, 2, 3, 4], 23),
        (&[68, 3, 5, 0], 21),
        (&[68, 8, 4, 0, 0, 0, 0, 0], 22),
        (&[7, 1, 0, 0], 20),
        (&[1, 222, 40, 0], 21),
        (&[148, 3, 0, 0], 21),
        (&[7, 7, 4, 0, 0, 0, 0, 7, 7, 4, 0, 0, 0, 0], 27),
        (&[7, 7, 255, 0, 0, 0, 0, 7, 7, 4, 0, 0, 0, 0], 27),
        (&[68, 8, 5, 0, 0, 0, 0, 0, 68, 8, 5, 0, 0, 0, 0, 0], 28),
        (&[131, 2, 4, 0], 21),
        (&[131, 7, 3, 0, 0, 0, 0], 22),
        (&[131, 3, 4, 137, 3, 4, 0], 23),
    ] {
        for dst in ["10.2.0.2", "10.1.0.1"] {
            let packet = Ip::udp("10.1.0.2", dst, (5, 6), 24).options(options);
            let out = rig.send(R1, packet.to_port(R1));
            out.drop_of(IpRcvFinish, IpInhdr).counted(&[(IpInHdrErrors, 1), (IcmpOutParmProbs, 1)]);
            let error = out.only(R1);
            assert_eq!((error.icmp(), error.icmp_info() >> 24), ((12, 0), pointer), "{options:?}");
            if entries_written(options) == 0 {
                assert_eq!(error.quote(), packet.bytes());
            }
        }
    }
    for kind in [131, 137] {
        for dst in ["10.2.0.2", "10.1.0.1"] {
            let packet = Ip::udp("10.1.0.2", dst, (5, 6), 24).options(&[kind, 7, 4, 10, 3, 0, 2]);
            rig.send(R1, packet.to_port(R1)).drop_of(IpRcvFinish, NotSpecified).silent();
        }
    }
}
