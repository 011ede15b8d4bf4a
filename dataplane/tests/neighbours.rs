//! `ip_output` towards neighbours in every state, and `arp_process`.

mod common;

use std::time::Duration;

use common::frames::{arp, ethernet};
use common::{Frame, Ip, R1, R2, Rig, To, dev, ip, mac};
use skiff_dataplane::core::counters::Mib::*;
use skiff_dataplane::core::drop_reason::{DropReason::*, Node::*};
use skiff_dataplane::core::shared::ToLcore;
use skiff_dataplane::ipv4::ip_output::write_header;
use skiff_dataplane::neigh::arp_rcv::{ArpAccept, ArpIgnore};
use skiff_dataplane::neigh::nud::Nud;
use skiff_dataplane::neigh::table::coarse;
use skiff_dataplane::net::MacAddr;

const HOST: &str = "10.1.0.2";
const OURS: &str = "10.1.0.1";

fn to(dst: &str) -> Ip {
    Ip::udp(HOST, dst, (5, 6), 40)
}

fn host_mac() -> MacAddr {
    mac::of(ip(HOST))
}

#[test]
fn an_unknown_neighbour_holds_the_packet() {
    let mut rig = Rig::new();
    let out = rig.send(R1, to("10.2.0.9").to_port(R1));
    out.no_drops().silent().counted(&[(IpForwDatagrams, 1), (IpOutTransmits, 1)]);
    let (on, addr, _) = &rig.held[0];
    assert_eq!((*on, *addr), (dev(R2), ip("10.2.0.9")));

    // What the control thread does once the neighbour has answered.
    let id = rig.neighbour(R2, "10.2.0.9", Nud::Reachable);
    let (_, _, mut skb) = rig.held.pop().unwrap();
    assert!(write_header(&mut skb, &rig.shared.neigh.entry(id).header().unwrap()));
    let seen = rig.tell(ToLcore::Xmit(skb)).only(R2);
    seen.is_forwarded(&to("10.2.0.9"));
    assert_eq!(seen.eth_dst, mac::of(ip("10.2.0.9")));
    rig.send(R1, to("10.2.0.9").to_port(R1)).no_drops().only(R2);
}

/// Nobody answered: the lcore sends the errors.
#[test]
fn a_neighbour_that_does_not_answer() {
    let mut rig = Rig::new();
    let packet = to("10.2.0.9");
    for state in [Nud::None, Nud::Incomplete, Nud::Failed] {
        rig.neighbour(R2, "10.2.0.9", state);
        rig.send(R1, packet.to_port(R1)).no_drops().silent();
        let out = rig.give_up_held().pop().unwrap();
        let error = out.drop_of(NeighResolve, NeighFailed).only(R1);
        assert_eq!((error.icmp(), error.src), ((3, 1), ip(OURS)));
        assert_eq!(error.quote()[12..], packet.bytes()[12..]);
    }
    rig.without_limits();
    rig.send_all(R1, (0..150).map(|_| packet.to_port(R1))).no_drops().silent();
    assert_eq!(rig.held.len(), 150);
    let errors: usize =
        rig.give_up_held().iter().map(|out| out.drop_of(NeighResolve, NeighFailed).sent()).sum();
    assert_eq!(errors, 150);
}

#[test]
fn our_own_packets_to_a_silent_neighbour_cause_an_error_to_ourselves() {
    let mut rig = Rig::new();
    rig.send(R1, Ip::echo("10.1.0.77", OURS, 8).to_port(R1)).no_drops().silent();
    assert_eq!(rig.held.len(), 1);
    for out in rig.give_up_held() {
        out.drop_of(NeighResolve, NeighFailed).silent();
        out.counted(&[(IcmpOutDestUnreachs, 1), (IcmpInDestUnreachs, 1), (IpInDelivers, 1)]);
    }
}

#[test]
fn a_stale_neighbour_is_used_and_reported_once() {
    let mut rig = Rig::new();
    rig.route("20.0.0.0/8", To::Via("10.2.0.2", R2));
    rig.route("30.0.0.0/8", To::Narrow("10.2.0.2", R2, 600));
    for dst in ["10.2.0.2", "20.0.0.1"] {
        rig.neighbour(R2, "10.2.0.2", Nud::Reachable);
        let id = rig.neighbour(R2, "10.2.0.2", Nud::Stale);
        let out = rig.send_all(R1, (0..40).map(|_| to(dst).to_port(R1)));
        assert_eq!((out.no_drops().all(R2).len(), &out.control), (40, &vec![format!("NeighUsed({id:?})")]));
        assert!(rig.send(R1, to(dst).to_port(R1)).control.is_empty());
        // A packet that is cut is a use as well.
        rig.neighbour(R2, "10.2.0.2", Nud::Reachable);
        rig.neighbour(R2, "10.2.0.2", Nud::Stale);
        let out = rig.send(R1, Ip::udp(HOST, "30.0.0.1", (5, 6), 900).to_port(R1));
        assert_eq!((out.no_drops().all(R2).len(), out.control.len()), (2, 1));
    }
    for state in [Nud::Reachable, Nud::Delay, Nud::Probe, Nud::Permanent] {
        rig.neighbour(R2, "10.2.0.2", state);
        let out = rig.send(R1, to("10.2.0.2").to_port(R1));
        assert!(
            out.no_drops().only(R2).eth_dst == mac::of(ip("10.2.0.2")) && out.control.is_empty(),
            "{state}"
        );
    }
}

/// As in the kernel, where a connected neighbour's header is used without a look at the rest of its entry.
#[test]
fn use_is_noted_unless_the_neighbour_is_connected() {
    let mut rig = Rig::new();
    rig.after(Duration::from_secs(7));
    for (state, noted) in
        [(Nud::Reachable, false), (Nud::Permanent, false), (Nud::Delay, true), (Nud::Probe, true)]
    {
        let id = rig.neighbour(R2, "10.2.0.2", state);
        rig.send(R1, to("10.2.0.2").to_port(R1)).only(R2);
        assert_eq!(rig.shared.neigh.entry(id).used() == coarse(rig.now), noted, "{state}");
        rig.after(Duration::from_secs(1));
    }
}

#[test]
fn a_full_queue_to_the_control_thread_is_counted() {
    let mut rig = Rig::with(1, 8191);
    let out = rig.send_all(R1, (0..4100).map(|_| to("10.2.0.9").to_port(R1)));
    out.dropped(&[(NeighResolve, PuntFull, 4)]);
    assert_eq!(rig.held.len(), 4096);
    rig.without_limits();
    rig.give_up_held();
}

#[test]
fn requests_for_our_addresses_are_answered_in_place() {
    let mut rig = Rig::new();
    let none = MacAddr::ZERO;
    for (target, to) in
        [(OURS, MacAddr::BROADCAST), (OURS, mac::router(R1)), ("10.2.0.1", MacAddr::BROADCAST)]
    {
        let request = arp(to, 1, (host_mac(), HOST), (none, target));
        let mut padded = request.clone();
        padded.resize(60, 0xaa);
        for frame in [
            Frame::from(request.clone()),
            Frame::from(padded.clone()),
            Frame::cut(&request, &[7, 14, 20, 41]),
            Frame::cut(&padded, &[13, 43, 50]),
        ] {
            let out = rig.send(R1, frame);
            let want = arp(host_mac(), 2, (mac::router(R1), target), (host_mac(), HOST));
            assert_eq!(out.no_drops().wire[R1], [want]);
            assert_eq!(out.control.len(), 1, "the asker is learnt: {out:?}");
            assert!(out.control[0].contains("Request") && out.control[0].contains("create: true"), "{out:?}");
        }
    }
    assert_eq!(rig.own_pool.in_use(), 0);
}

#[test]
fn address_probes_are_defended_and_teach_nothing() {
    let mut rig = Rig::new();
    let probe = |target| arp(MacAddr::BROADCAST, 1, (host_mac(), "0.0.0.0"), (MacAddr::ZERO, target));
    let out = rig.send(R1, probe(OURS));
    assert_eq!((out.no_drops().wire[R1].len(), out.control.len()), (1, 0));
    rig.send(R1, probe("10.1.0.9")).drop_of(ArpRcv, ArpIgnored).silent();
}

#[test]
fn what_arp_ignores() {
    let mut rig = Rig::new();
    let request = |sender: &str, target: &str| {
        arp(MacAddr::BROADCAST, 1, (host_mac(), sender), (MacAddr::ZERO, target))
    };
    for target in ["224.0.0.1", "127.0.0.1"] {
        rig.send(R1, request(HOST, target)).drop_of(ArpRcv, ArpIgnored).silent();
    }
    for sender in ["224.0.0.9", "127.0.0.9", "255.255.255.255", OURS, "10.2.0.1"] {
        let out = rig.send(R1, request(sender, OURS));
        assert!(
            out.no_drops().silent().control.is_empty(),
            "a martian or our own address is not answered, nor learnt"
        );
    }
    let good = request(HOST, OURS);
    for at in [15, 16, 18, 19, 21] {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        rig.send(R1, bad).drop_of(ArpRcv, ArpIgnored).silent();
    }
    for len in [14, 20, 41] {
        rig.send(R1, good[..len].to_vec()).drop_of(ArpRcv, PktTooSmall).silent();
    }
    let elsewhere = arp(mac::router(R2), 1, (host_mac(), HOST), (MacAddr::ZERO, OURS));
    rig.send(R1, elsewhere).drop_of(ArpRcv, OtherHost).silent();
    rig.configure(|devices, _| devices[R1].conf.arp_ignore = ArpIgnore::OnDevice);
    rig.send(R1, request(HOST, "10.2.0.1")).drop_of(ArpRcv, ArpIgnored).silent();
    rig.send(R1, request(HOST, OURS)).no_drops();
    rig.send(R1, ethernet(MacAddr::BROADCAST, host_mac(), 0x0806, &[])).drop_of(ArpRcv, PktTooSmall);
}

#[test]
fn what_arp_learns() {
    let mut rig = Rig::new();
    let reply = |to, sender: &str, target: &str| arp(to, 2, (host_mac(), sender), (mac::router(R1), target));
    let mut said = |frame| {
        let out = rig.send(R1, frame);
        out.no_drops().silent();
        out.control
    };
    let answer = said(reply(mac::router(R1), HOST, OURS));
    assert!(answer[0].contains("Reply { unicast: true }"), "{answer:?}");
    let gratuitous = said(arp(MacAddr::BROADCAST, 1, (host_mac(), HOST), (MacAddr::ZERO, HOST)));
    assert!(gratuitous[0].contains("Gratuitous"), "{gratuitous:?}");
    let overheard = said(arp(MacAddr::BROADCAST, 1, (host_mac(), HOST), (MacAddr::ZERO, "10.1.0.9")));
    assert!(overheard[0].contains("Overheard"), "{overheard:?}");
    assert!(said(reply(mac::router(R1), "10.1.0.50", OURS)).is_empty(), "strangers are not learnt unasked");
    rig.configure(|devices, _| devices[R1].conf.arp_accept = ArpAccept::Always);
    assert_eq!(rig.send(R1, reply(mac::router(R1), "10.1.0.50", OURS)).control.len(), 1);
}

#[test]
fn proxy_arp() {
    let mut rig = Rig::new();
    let request = |target: &str| arp(MacAddr::BROADCAST, 1, (host_mac(), HOST), (MacAddr::ZERO, target));
    rig.send(R1, request("10.2.0.2")).silent();
    rig.configure(|devices, _| {
        devices[R1].conf.proxy_arp = true;
        devices[R1].conf.proxy_delay = false;
    });
    let want = arp(host_mac(), 2, (mac::router(R1), "10.2.0.2"), (host_mac(), HOST));
    assert_eq!(rig.send(R1, request("10.2.0.2")).no_drops().wire[R1], [want]);
    rig.send(R1, request("10.1.0.9")).silent();
    rig.send(R1, request("99.0.0.1")).silent();
}
