//! IP options on their way in, through and back. Every expectation was seen on a Linux 6.18 router with these addresses.

mod common;

use common::{Ip, R1, R2, R3, Rig, To, ip, mac};
use skiff_dataplane::core::counters::Mib::*;
use skiff_dataplane::core::drop_reason::{DropReason::*, Node::*};
use skiff_dataplane::fib::next_hop::NextHopSpec;
use skiff_dataplane::neigh::nud::Nud;
use skiff_dataplane::net::MacAddr;

const HOST: &str = "10.1.0.2";
const US: &str = "10.1.0.1";
const LSRR: u8 = 131;
const SSRR: u8 = 137;
/// Record route with room for two.
const RR: [u8; 11] = [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0];
/// Timestamps with addresses, room for two.
const TS: [u8; 20] = [68, 20, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// The clock stands at 1000 s.
const NOW: [u8; 4] = 1_000_000u32.to_be_bytes();

/// A source route with its pointer.
fn route(kind: u8, pointer: u8, hops: &[&str]) -> Vec<u8> {
    let mut option = vec![kind, 3 + 4 * hops.len() as u8, pointer];
    hops.iter().for_each(|hop| option.extend(ip(hop).to_be_bytes()));
    option
}

fn udp(dst: &str, options: &[u8]) -> Ip {
    Ip::udp(HOST, dst, (5, 6), 8).options(options)
}

/// A packet whose payload does not care where it goes.
fn any(dst: &str, options: &[u8]) -> Ip {
    Ip::new(HOST, dst, 253, vec![7; 8]).options(options)
}

fn echo(dst: &str, options: &[u8]) -> Ip {
    Ip::echo(HOST, dst, 8).options(options)
}

/// A router that follows source routes, with routes of every kind.
fn open() -> Rig {
    let mut rig = Rig::new();
    rig.without_limits();
    rig.route("20.0.0.0/8", To::Via("10.2.0.2", R2));
    rig.route("21.0.0.0/8", To::Via("10.1.0.3", R1));
    rig.route("22.0.0.0/8", To::Spec(NextHopSpec::Unreachable));
    for host in ["10.1.0.3", "10.1.0.9"] {
        rig.neighbour(R1, host, Nud::Permanent);
    }
    rig.neighbour(R2, "10.2.0.9", Nud::Permanent);
    rig.configure(|devices, _| devices.iter_mut().for_each(|d| d.conf.accept_source_route = true));
    rig
}

/// Options padded to whole words.
fn padded(options: &[u8]) -> Vec<u8> {
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    options
}

#[test]
fn source_routes_that_are_followed() {
    let mut rig = open();
    for (kind, port, pointer, hops, dst, after) in [
        (LSRR, R2, 4, &["10.2.0.2"][..], "10.2.0.2", vec![8, 10, 2, 0, 1]),
        (SSRR, R2, 4, &["10.2.0.2"], "10.2.0.2", vec![8, 10, 2, 0, 1]),
        (LSRR, R2, 4, &["20.0.0.1", "30.0.0.1"], "20.0.0.1", vec![8, 10, 2, 0, 1, 30, 0, 0, 1]),
        // An address of our own is passed over at once.
        (LSRR, R3, 4, &["10.2.0.1", "10.3.0.2"], "10.3.0.2", vec![12, 10, 2, 0, 1, 10, 3, 0, 1]),
        // An equal address that was passed before is left alone.
        (LSRR, R2, 8, &["10.2.0.2", "10.2.0.2"], "10.2.0.2", vec![12, 10, 2, 0, 2, 10, 2, 0, 1]),
        // Back to the link it came by: no redirect.
        (LSRR, R1, 4, &["10.1.0.3"], "10.1.0.3", vec![8, 10, 1, 0, 1]),
    ] {
        let sent = any(US, &route(kind, pointer, hops));
        let seen = rig.send(R1, sent.to_port(R1)).no_drops().only(port);
        assert_eq!((seen.src, seen.dst, seen.ttl), (sent.src, ip(dst), 63), "{hops:?}");
        assert_eq!(seen.options, padded(&[&[kind, sent.options[1]], &after[..]].concat()), "{hops:?}");
    }
}

#[test]
fn we_are_not_on_the_source_route() {
    let mut rig = open();
    let loose = udp("10.2.0.2", &route(LSRR, 4, &["10.3.0.2"]));
    rig.send(R1, loose.to_port(R1)).no_drops().only(R2).is_forwarded(&loose);
    let turned_back = udp("10.1.0.3", &route(LSRR, 4, &["10.1.0.9"]));
    rig.send(R1, turned_back.to_port(R1)).no_drops().only(R1).is_forwarded(&turned_back);

    let strict = udp("10.2.0.2", &route(SSRR, 4, &["10.3.0.2"]));
    let out = rig.send(R1, strict.to_port(R1));
    out.drop_of(IpRcvFinish, NotSpecified).counted(&[(IpInHdrErrors, 0), (IcmpOutParmProbs, 1)]);
    let error = out.only(R1);
    assert_eq!((error.icmp(), error.icmp_info(), error.quote()), ((12, 0), 16 << 24, &strict.bytes()[..]));
}

#[test]
fn a_strict_source_route_takes_no_gateway() {
    let mut rig = open();
    let sent = udp(US, &route(SSRR, 4, &["20.0.0.1"]));
    let out = rig.send(R1, sent.to_port(R1));
    out.drop_of(IpForward, NotSpecified).counted(&[(IpForwDatagrams, 0), (IcmpOutDestUnreachs, 1)]);
    assert_eq!((out.only(R1).icmp(), out.only(R1).quote()), ((3, 5), &sent.bytes()[..]));
}

#[test]
fn source_routes_that_lead_nowhere() {
    let mut rig = open();
    for next in ["99.0.0.1", "22.0.0.1", "10.2.0.255", "224.0.0.1", "0.0.0.0", "127.0.0.1"] {
        let out = rig.send(R1, udp(US, &route(LSRR, 4, &[next])).to_port(R1));
        out.drop_of(IpRcvFinish, NotSpecified).silent();
    }
    // To everybody, or in a frame to everybody.
    let option = route(LSRR, 4, &["10.2.0.2"]);
    for frame in [
        udp("10.1.0.255", &option).to_port(R1),
        udp("10.1.0.255", &option).to_mac(MacAddr::BROADCAST),
        udp(US, &option).to_mac(MacAddr::BROADCAST),
        udp("99.0.0.1", &option).to_port(R1),
    ] {
        rig.send(R1, frame).drop_of(IpRcvFinish, NotSpecified).silent();
    }
    // A pointer between addresses finds one that is none, or not a whole one.
    let out = rig.send(R1, udp(US, &route(LSRR, 5, &["10.2.0.2", "10.3.0.2"])).to_port(R1));
    out.drop_of(IpRcvFinish, NotSpecified).silent();
    for option in [route(LSRR, 5, &["10.2.0.2"]), route(LSRR, 7, &["10.2.0.2"]), vec![LSRR, 5, 4, 1, 2]] {
        let out = rig.send(R1, udp(US, &option).to_port(R1));
        out.drop_of(IpRcvFinish, NotSpecified).counted(&[(IpInHdrErrors, 0)]);
        assert_eq!((out.only(R1).icmp(), out.only(R1).icmp_info()), ((12, 0), 22 << 24), "{option:?}");
    }
}

#[test]
fn source_routes_need_consent() {
    let mut rig = open();
    rig.configure(|devices, _| {
        devices[R1].conf.accept_source_route = false;
        devices[R1].conf.log_martians = true;
    });
    for dst in [US, "10.2.0.2"] {
        let out = rig.send(R1, udp(dst, &route(LSRR, 4, &["10.2.0.2"])).to_port(R1));
        out.drop_of(IpRcvFinish, NotSpecified).silent();
        assert!(out.control.len() == 1 && out.control[0].contains("SourceRoute"), "{out:?}");
    }
    let elsewhere = Ip::new("10.2.0.9", "10.2.0.1", 253, vec![7; 8]).options(&route(LSRR, 4, &["10.3.0.2"]));
    rig.send(R2, elsewhere.to_port(R2)).no_drops().only(R3);
}

/// What stands in the options of an answer to an echo request with these.
#[test]
fn echo_replies_carry_options_on() {
    let mut rig = open();
    let prespec = |a: [u8; 4], b: [u8; 4]| [&[68, 20, 5, 3][..], &a, &[0; 4], &b, &[0; 4]].concat();
    let (us, other) = ([10, 1, 0, 1], [10, 1, 0, 2]);
    let stamps = [&[68, 20, 21, 1][..], &us, &NOW, &us, &NOW].concat();
    for (asked, answered) in [
        (RR.to_vec(), vec![7, 11, 12, 10, 1, 0, 1, 10, 1, 0, 1]),
        (vec![7, 7, 4, 0, 0, 0, 0], vec![7, 7, 8, 10, 1, 0, 1]),
        (vec![7, 7, 8, 1, 2, 3, 4], vec![7, 7, 8, 1, 2, 3, 4]),
        (TS.to_vec(), stamps),
        (vec![68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0], [&[68, 12, 13, 0][..], &NOW, &NOW].concat()),
        (vec![68, 8, 9, 0x20, 1, 2, 3, 4], vec![68, 8, 9, 0x30, 1, 2, 3, 4]),
        (vec![68, 12, 5, 7, 0, 0, 0, 0, 0, 0, 0, 0], vec![68, 12, 5, 7, 0, 0, 0, 0, 0, 0, 0, 0]),
        (prespec(us, us), [&[68, 20, 21, 3][..], &us, &NOW, &us, &NOW].concat()),
        (prespec(us, other), [&[68, 20, 13, 3][..], &us, &NOW, &other, &[0; 4]].concat()),
        // Nothing else comes back, and record route comes first.
        (vec![1, 148, 4, 0, 0, 222, 4, 9, 9], vec![]),
        (
            [&[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &RR].concat(),
            [&[7, 11, 12, 10, 1, 0, 1, 10, 1, 0, 1][..], &[68, 12, 13, 0], &NOW, &NOW].concat(),
        ),
    ] {
        let sent = echo(US, &asked);
        let reply = rig.send(R1, sent.to_port(R1)).no_drops().only(R1);
        assert_eq!(reply.options, padded(&answered), "to {asked:?}");
        assert_eq!((reply.icmp(), &reply.payload[4..]), ((0, 0), &sent.payload[4..]));
    }
    // Our address there is the one that was asked.
    let reply = rig.send(R1, echo("10.2.0.1", &RR).to_port(R1)).only(R1);
    assert_eq!(reply.options, padded(&[7, 11, 12, 10, 2, 0, 1, 10, 2, 0, 1]));
    // Room for a part of an entry: the kernel has no answer to that.
    let odd = [68, 16, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rig.send(R1, echo(US, &odd).to_port(R1)).no_drops().silent();
}

#[test]
fn answers_go_back_by_the_source_route() {
    let mut rig = open();
    let done = |kind, hops: &[&str]| route(kind, 4 + 4 * hops.len() as u8, hops);
    for (asked, port, dst, answered) in [
        (done(LSRR, &["10.1.0.9", "10.1.0.3"]), R1, "10.1.0.3", route(LSRR, 4, &["10.1.0.9", HOST])),
        (done(SSRR, &["10.1.0.9", "10.2.0.9"]), R2, "10.2.0.9", route(SSRR, 4, &["10.1.0.9", HOST])),
        (route(LSRR, 255, &["10.1.0.9", "10.2.0.9"]), R2, "10.2.0.9", route(LSRR, 4, &["10.1.0.9", HOST])),
        // A route that begins with its sender is mended.
        (done(LSRR, &[HOST, "10.2.0.9"]), R2, "10.2.0.9", route(LSRR, 4, &[HOST])),
        (done(LSRR, &[HOST]), R1, HOST, vec![]),
        // Nothing lies behind it.
        (vec![LSRR, 3, 4], R1, HOST, vec![]),
    ] {
        let reply = rig.send(R1, echo(US, &asked).to_port(R1)).no_drops().only(port);
        assert_eq!(
            (reply.icmp(), reply.dst, &reply.options),
            ((0, 0), ip(dst), &padded(&answered)),
            "{asked:?}"
        );
        assert_eq!(reply.eth_dst, mac::of(ip(dst)));
        let out = rig.send(R1, udp(US, &asked).to_port(R1));
        let error = out.only(port);
        assert_eq!(
            (error.icmp(), error.dst, &error.options),
            ((3, 3), ip(dst), &padded(&answered)),
            "{asked:?}"
        );
        let tcp = Ip::tcp(HOST, US, (1, 2), 3, 4, 2, &[]).options(&asked);
        let reset = rig.send(R1, tcp.to_port(R1)).only(port);
        assert_eq!(
            (reset.protocol, reset.dst, &reset.options),
            (6, ip(dst), &padded(&answered)),
            "{asked:?}"
        );
    }
    // Our own addresses passed over: the last one is where the packet came to.
    let reply = rig.send(R1, echo(US, &route(LSRR, 4, &["10.2.0.1", "10.3.0.1"])).to_port(R1)).only(R1);
    assert_eq!((reply.src, reply.options.len()), (ip("10.3.0.1"), 0), "nothing lies behind it");
}

/// An error carries the options on and so has less room for the quote; the quote shows the entries made so far.
#[test]
fn errors_carry_options() {
    let mut rig = open();
    let both = [&RR[..], &TS].concat();
    let us = [10, 1, 0, 1];
    let carried = padded(&[&[7, 11, 12][..], &us, &us, &[68, 20, 21, 1], &us, &NOW, &us, &NOW].concat());
    let written = padded(&[&[7, 11, 8][..], &us, &[0; 4], &[68, 20, 13, 1], &us, &NOW, &[0; 8]].concat());
    for (len, quoted) in [(8, 68), (1000, 516)] {
        let sent = Ip::udp(HOST, "10.2.0.2", (5, 6), len).options(&both).ttl(1);
        let error = rig.send(R1, sent.to_port(R1)).drop_of(IpForward, IpInhdr).only(R1);
        assert_eq!((error.icmp(), &error.options, error.quote().len()), ((11, 0), &carried, quoted));
        assert_eq!((&error.quote()[..20], &error.quote()[20..52]), (&sent.bytes()[..20], &written[..]));
    }
    // The option before the bad one counts.
    let twice = [7, 7, 4, 0, 0, 0, 0, 7, 7, 4, 0, 0, 0, 0];
    let error = rig.send(R1, udp("10.2.0.2", &twice).to_port(R1)).only(R1);
    assert_eq!((error.icmp_info() >> 24, error.options), (27, vec![7, 7, 8, 10, 1, 0, 1, 0]));
    assert_eq!(error.payload[28..36], [7, 7, 8, 10, 1, 0, 1, 7]);
}

#[test]
fn an_error_midway_goes_back_by_the_route_so_far() {
    let mut rig = open();
    let sent = udp(US, &route(LSRR, 12, &["10.1.0.9", "10.1.0.3", "10.2.0.2"])).ttl(1);
    let error = rig.send(R1, sent.to_port(R1)).drop_of(IpForward, IpInhdr).only(R1);
    assert_eq!((error.icmp(), error.dst), ((11, 0), ip("10.1.0.3")));
    assert_eq!(error.options, padded(&route(LSRR, 4, &["10.1.0.9", HOST])));
    assert_eq!(error.quote(), sent.bytes(), "not yet anything of ours in it");
}

#[test]
fn a_followed_route_mends_the_address_beside_the_time() {
    let mut rig = open();
    let mut options = route(LSRR, 4, &["10.2.0.2"]);
    options.extend([7, 7, 4, 0, 0, 0, 0, 68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let seen = rig.send(R1, any(US, &options).to_port(R1)).no_drops().only(R2);
    let us = [10, 2, 0, 1];
    let want = [&[LSRR, 7, 8][..], &us, &[7, 7, 8], &us, &[68, 12, 13, 1], &us, &NOW].concat();
    assert_eq!(seen.options, padded(&want));
}

#[test]
fn timestamps_of_addresses_that_are_nobodys() {
    let mut rig = open();
    let mut pointer = |addr: &str| {
        let option = [&[68, 12, 5, 3][..], &ip(addr).to_be_bytes(), &[0; 4]].concat();
        rig.send(R1, udp("10.2.0.2", &option).to_port(R1)).no_drops().only(R2).options[2]
    };
    // The kernel leaves it to others only if the address could be somebody's.
    let found = [US, "10.2.0.1", "10.2.0.255", "224.2.0.255", "10.2.0.2", "99.2.0.2"].map(&mut pointer);
    assert_eq!(found, [13, 13, 13, 13, 5, 5]);
}

/// A packet that waited in vain for its neighbour is judged once more.
#[test]
fn an_unanswered_neighbour_finds_the_options_again() {
    let mut rig = open();
    let sent = udp("10.2.0.77", &[7, 15, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    rig.send(R1, sent.to_port(R1)).no_drops().silent();
    let error = rig.give_up_held().remove(0).only(R1);
    assert_eq!(error.icmp(), (3, 1));
    assert_eq!(error.payload[28..43], [7, 15, 12, 10, 2, 0, 1, 10, 1, 0, 1, 0, 0, 0, 0]);
    assert_eq!(error.options[..15], [7, 15, 16, 10, 2, 0, 1, 10, 1, 0, 1, 10, 1, 0, 1]);
}
