//! Multipath routes: shares follow the weights, flows keep their path, ICMP errors follow their flow.

mod common;

use common::{Frame, Ip, R1, R2, R3, Rig, To, ip};
use skiff_dataplane::core::counters::Mib::IpInReceives;
use skiff_dataplane::neigh::nud::Nud;

/// Where `packet` leaves.
fn path(rig: &mut Rig, packet: &Ip) -> usize {
    let out = rig.send(R1, packet.to_port(R1));
    assert_eq!(out.no_drops().sent(), 1);
    (0..common::PORTS).find(|&port| !out.wire[port].is_empty()).unwrap()
}

fn router(policy: u8, weights: (u16, u16)) -> Rig {
    let mut rig = Rig::new();
    rig.route("20.0.0.0/8", To::Paths(&[("10.2.0.2", R2, weights.0), ("10.3.0.2", R3, weights.1)]));
    rig.configure(|_, sysctl| {
        sysctl.fib_multipath_hash_policy = policy;
        sysctl.fib_multipath_hash_seed = 42;
    });
    rig
}

fn shares(rig: &mut Rig, packets: impl Iterator<Item = Ip>) -> (usize, usize) {
    let mut sum = (0, 0);
    let mut packets = packets.peekable();
    while packets.peek().is_some() {
        let out = rig.send_all(R1, packets.by_ref().take(4096).map(|p| p.to_port(R1)));
        assert_eq!(out.no_drops().sent() as u64, out.grew(IpInReceives));
        sum = (sum.0 + out.wire[R2].len(), sum.1 + out.wire[R3].len());
    }
    sum
}

#[track_caller]
fn within_3_percent((a, b): (usize, usize), weights: (u16, u16)) {
    let (found, want) = (a as f64 / b as f64, f64::from(weights.0) / f64::from(weights.1));
    assert!((found / want - 1.0).abs() < 0.03, "{a} : {b} is not {weights:?}");
}

/// Four times 32769 flows: the luck of the hash alone moves the ratio 11:45 by 1.4 % with that few.
fn ratios(weights: (u16, u16)) {
    let mut rig = router(1, weights);
    let flows = 4 * 32_769u32;
    let ports =
        (0..flows).map(|i| Ip::udp("10.1.0.2", "20.0.0.1", (1024 + (i >> 15) as u16, i as u16 & 0x7fff), 8));
    within_3_percent(shares(&mut rig, ports), weights);
    rig.configure(|_, sysctl| sysctl.fib_multipath_hash_policy = 0);
    let same = shares(&mut rig, (0..100).map(|i| Ip::udp("10.1.0.2", "20.0.0.1", (1024, i), 8)));
    assert!(same.0 == 0 || same.1 == 0, "policy 0 does not see ports");
    let hosts = (0..flows).map(|i| Ip {
        dst: ip("20.0.0.0") + i,
        payload: vec![0; 8],
        ..Ip::udp("10.1.0.2", "20.0.0.1", (1, 2), 0)
    });
    within_3_percent(shares(&mut rig, hosts), weights);
}

/// The flows of the kernel's own test, 32769 destination ports, with the seed of these tests.
#[test]
fn ports_of_the_kernels_selftest() {
    let mut rig = router(1, (1, 1));
    for (net, weights) in [(30, (1, 1)), (31, (2, 1)), (32, (11, 45))] {
        let paths = [("10.2.0.2", R2, weights.0), ("10.3.0.2", R3, weights.1)];
        rig.route(&format!("{net}.0.0.0/8"), To::Paths(&paths));
        let server = format!("{net}.0.0.1");
        let found =
            shares(&mut rig, (0..32_769u32).map(|i| Ip::udp("10.1.0.2", &server, (1024, i as u16), 8)));
        println!("{weights:?}: {found:?}");
        within_3_percent(found, weights);
    }
}

#[test]
fn weights_1_to_1() {
    ratios((1, 1));
}

#[test]
fn weights_2_to_1() {
    ratios((2, 1));
}

#[test]
fn weights_11_to_45() {
    ratios((11, 45));
}

#[test]
fn a_flow_keeps_its_path_however_it_comes() {
    let mut rig = router(1, (1, 1));
    for port in 0..64 {
        let packet = Ip::udp("10.1.0.2", "20.0.0.1", (port, 99), 40);
        let usual = path(&mut rig, &packet);
        assert_eq!(path(&mut rig, &packet.clone().options(&[1, 1, 1, 1])), usual);
        for cut in [34, 35, 36, 37, 38] {
            let out = rig.send(R1, Frame::cut(&packet.to_port(R1), &[cut]));
            assert_eq!(out.wire[usual].len(), 1, "cut at {cut}");
        }
    }
}

#[test]
fn fragments_of_a_datagram_take_one_path() {
    let mut rig = router(1, (1, 1));
    for host in 0..32 {
        let mut at = |frag| {
            let dst = format!("20.0.0.{host}");
            path(&mut rig, &Ip::udp("10.1.0.2", &dst, (host, 7), 40).frag(frag))
        };
        assert_eq!(at(0x2000), at(0x0005));
    }
}

#[test]
fn icmp_errors_follow_their_flow() {
    let mut rig = router(0, (1, 1));
    for policy in [0, 1] {
        rig.configure(|_, sysctl| sysctl.fib_multipath_hash_policy = policy);
        let mut used = [0; common::PORTS];
        for host in 0..64u16 {
            let server = format!("20.0.0.{host}");
            let flow = Ip::udp("10.1.0.2", &server, (host, 53), 16);
            let usual = path(&mut rig, &flow);
            used[usual] += 1;
            // The answer 20.0.0.x sent was too long for somebody behind us, who says so to 20.0.0.x.
            let answer = Ip::udp(&server, "10.1.0.2", (53, host), 16);
            let error =
                Ip::icmp("10.1.0.77", &server, 3, 4, &[&[0, 0, 5, 0], &answer.bytes()[..28]].concat());
            assert_eq!(path(&mut rig, &error), usual, "policy {policy}");
            let out = rig.send(R1, Frame::cut(&error.to_port(R1), &[34, 42, 60, 63]));
            assert_eq!(out.wire[usual].len(), 1, "policy {policy}, in segments");
        }
        assert!(used[R2] > 10 && used[R3] > 10, "{used:?}");
    }
}

/// Behind a tunnel policy 1 sees one flow, policy 2 those inside.
#[test]
fn flows_inside_a_tunnel() {
    let tunnelled = |host: u16, port: u16| {
        let inner = Ip::udp(&format!("192.168.0.{host}"), "192.168.9.9", (port, 7), 8).bytes();
        Ip { protocol: 4, payload: inner, ..Ip::udp("10.1.0.2", "20.0.0.1", (0, 0), 0) }
    };
    let mut rig = router(1, (1, 1));
    let hosts = |rig: &mut Rig| shares(rig, (0..200).map(|host| tunnelled(host, 5)));
    let ports = |rig: &mut Rig| shares(rig, (0..200).map(|port| tunnelled(5, port)));
    let one_path = |(a, b): (usize, usize)| a == 0 || b == 0;
    assert!(one_path(hosts(&mut rig)));
    rig.configure(|_, sysctl| sysctl.fib_multipath_hash_policy = 2);
    assert!(!one_path(hosts(&mut rig)) && one_path(ports(&mut rig)));
    for (fields, by_host, by_port) in
        [(0x7, false, false), (0x40, true, false), (0x400, false, true), (0x840, true, false)]
    {
        rig.configure(|_, sysctl| {
            sysctl.fib_multipath_hash_policy = 3;
            sysctl.fib_multipath_hash_fields = fields;
        });
        assert_eq!(
            (!one_path(hosts(&mut rig)), !one_path(ports(&mut rig))),
            (by_host, by_port),
            "{fields:#x}"
        );
    }
}

/// A gateway that is known not to answer takes nothing, if the router is told to look.
#[test]
fn use_neigh_passes_over_gateways_that_do_not_answer() {
    let mut rig = Rig::new();
    let gateways = ["10.2.0.50", "10.3.0.50"];
    for (gateway, port) in gateways.into_iter().zip([R2, R3]) {
        rig.neighbour(port, gateway, Nud::Permanent);
    }
    rig.route("20.0.0.0/8", To::Paths(&[(gateways[0], R2, 1), (gateways[1], R3, 1)]));
    let flows = || (0..64u16).map(|port| Ip::udp("10.1.0.2", "20.0.0.1", (port, 9), 8));
    for (states, use_neigh, expect) in [
        ((Nud::Reachable, Nud::Reachable), true, (true, true)),
        ((Nud::Failed, Nud::Reachable), false, (true, true)),
        ((Nud::Failed, Nud::Reachable), true, (false, true)),
        ((Nud::Reachable, Nud::Incomplete), true, (true, false)),
        // Nobody knows of a fault, so it is tried.
        ((Nud::None, Nud::Reachable), true, (true, true)),
        // Without any good one all take the first.
        ((Nud::Failed, Nud::Failed), true, (true, false)),
    ] {
        rig.configure(|_, sysctl| {
            sysctl.fib_multipath_hash_policy = 1;
            sysctl.fib_multipath_use_neigh = use_neigh;
        });
        rig.neighbour(R2, gateways[0], states.0);
        rig.neighbour(R3, gateways[1], states.1);
        let out = rig.send_all(R1, flows().map(|packet| packet.to_port(R1)));
        let held = |port: usize| rig.held.iter().any(|(on, _, _)| *on == common::dev(port));
        let took = [R2, R3].map(|port| !out.wire[port].is_empty() || held(port));
        assert_eq!((took[0], took[1]), expect, "{states:?}, use_neigh {use_neigh}");
        rig.without_limits();
        rig.give_up_held();
    }
}

/// Our own answer leaves where its source address lives.
#[test]
fn packets_of_our_own_prefer_the_next_hop_of_their_source() {
    let mut rig = router(1, (1, 1));
    for host in 0..16 {
        for (address, port) in [("10.2.0.1", R2), ("10.3.0.1", R3)] {
            let out = rig.send(R1, Ip::echo(&format!("20.0.0.{host}"), address, 8).to_port(R1));
            assert_eq!(out.no_drops().wire[port].len(), 1, "from {address}");
        }
    }
}

#[test]
fn a_group_without_live_members_is_no_route() {
    let mut rig = Rig::new();
    rig.route("20.0.0.0/8", To::Paths(&[("10.2.0.2", R2, 0), ("10.3.0.2", R3, 0)]));
    let out = rig.send(R1, Ip::udp("10.1.0.2", "20.0.0.1", (1, 2), 8).to_port(R1));
    assert_eq!(out.only(R1).icmp(), (3, 0));
}

/// `equalize`: one connection over several devices.
#[test]
fn packets_of_one_flow_take_turns() {
    let mut rig = Rig::new();
    let paths = |a, b| [("10.2.0.2", R2, a), ("10.3.0.2", R3, b)];
    rig.route("20.0.0.0/8", To::Turns(&paths(1, 1)));
    rig.route("30.0.0.0/8", To::Turns(&paths(3, 1)));
    let flow = |dst: &str| Ip::udp("10.1.0.2", dst, (1, 2), 8);
    let ways: Vec<usize> = (0..64).map(|_| path(&mut rig, &flow("20.0.0.1"))).collect();
    assert!(ways.windows(2).all(|two| two[0] != two[1]), "{ways:?}");
    assert_eq!(shares(&mut rig, (0..4096).map(|_| flow("30.0.0.1"))), (3072, 1024));
    let ways: Vec<usize> = (0..64).map(|_| path(&mut rig, &flow("30.0.0.1"))).collect();
    assert!(ways.chunks(4).all(|four| four.iter().filter(|way| **way == R3).count() == 1), "{ways:?}");
}
