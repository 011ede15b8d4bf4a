//! Which member of a bond packets leave by.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::bonds::{
    BOND, BOND_MAC, bond, bonded, by_member, change, counters, member, own, own_address, transit,
};
use common::frames::{arp, ethernet};
use common::{Frame, Ip, Out, R1, R2, R3, Rig, dev, ip, mac};
use skiff_dataplane::core::bond_hash::hash_frame;
use skiff_dataplane::core::drop_reason::{DropReason::*, Node::*};
use skiff_dataplane::device::bond::{Bond, BondMember, BondMode, BondMode::*, XmitPolicy};
use skiff_dataplane::device::bond_rlb::RlbTable;
use skiff_dataplane::device::bond_tlb::TlbTable;
use skiff_dataplane::net::MacAddr;

const HOST: (MacAddr, &str) = (MacAddr([2, 0xaa, 10, 2, 0, 2]), "10.2.0.2");

fn flow(id: u16) -> Ip {
    transit(2, (1000, 80), id)
}

fn flows(ids: std::ops::Range<u16>) -> impl Iterator<Item = Ip> {
    ids.map(|id| transit(2, (id, 80), id))
}

#[test]
fn packets_take_turns() {
    let mut rig = bonded(bond(BalanceRr));
    let [odd, even] = by_member(&mut rig, (0..100).map(flow));
    // The counter is counted up before it is used, as the kernel does: the second member is first.
    assert_eq!(odd, (1..100).step_by(2).collect::<Vec<_>>());
    assert_eq!(even, (0..100).step_by(2).collect::<Vec<_>>());
    // It goes on where it stopped, whatever the bursts.
    let [second, first] = by_member(&mut rig, (0..3).map(flow));
    assert_eq!((second, first), (vec![1], vec![0, 2]));
    assert_eq!(by_member(&mut rig, [flow(0)]), [vec![0], vec![]]);
}

#[test]
fn several_packets_a_turn_and_turns_at_random() {
    let mut rig = bonded(Bond { packets_per_slave: 8, ..bond(BalanceRr) });
    // The first packet is number 1 of its turn.
    let [first, second] = by_member(&mut rig, (1..161).map(flow));
    assert_eq!(first, (1..161).filter(|id| id / 8 % 2 == 0).collect::<Vec<_>>());
    assert_eq!(second, (1..161).filter(|id| id / 8 % 2 == 1).collect::<Vec<_>>());
    change(&mut rig, |bond| bond.packets_per_slave = 0);
    let shares = by_member(&mut rig, (0..20_000).map(flow)).map(|ids| ids.len());
    assert!(shares.iter().all(|share| (9_600..=10_400).contains(share)), "{shares:?}");
}

#[test]
fn turns_of_a_member_that_is_down_are_the_next_ones() {
    let mut rig = bonded(bond(BalanceRr));
    change(&mut rig, |bond| bond.members[0].transmits = false);
    assert_eq!(by_member(&mut rig, (0..10).map(flow)).map(|ids| ids.len()), [0, 10]);
}

#[test]
fn igmp_goes_by_the_active_member() {
    let mut rig = bonded(bond(BalanceRr));
    let group = MacAddr([1, 0, 0x5e, 0, 0, 22]);
    let report = Ip::new("10.2.0.1", "224.0.0.22", 2, vec![0x22; 16]).bytes();
    let plain = ethernet(group, BOND_MAC, 0x0800, &report);
    let tagged = ethernet(group, BOND_MAC, 0x8100, &[&[0, 7, 8, 0], &report[..]].concat());
    for _ in 0..3 {
        assert_eq!(own(&mut rig, &plain).wire[R2].len(), 1);
        assert_eq!(own(&mut rig, &tagged).wire[R2].len(), 1);
    }
    change(&mut rig, |bond| bond.active = Some(dev(R3)));
    assert_eq!(own(&mut rig, &plain).wire[R3].len(), 1);
    change(&mut rig, |bond| bond.active = None);
    assert_eq!(own(&mut rig, &plain).wire[R2].len(), 1, "the first that can");
}

#[test]
fn the_active_member_carries_all() {
    let mut rig = bonded(bond(ActiveBackup));
    assert_eq!(by_member(&mut rig, flows(0..40)), [(0..40).collect(), vec![]]);
    change(&mut rig, |bond| bond.active = Some(dev(R3)));
    assert_eq!(by_member(&mut rig, flows(0..40)), [vec![], (0..40).collect()]);
    assert_eq!(counters(&rig, dev(R3))[3..], [40, 40 * 62, 0]);
    assert_eq!(counters(&rig, BOND)[3..], [80, 80 * 62, 0], "the sum of its members");
}

#[test]
fn without_a_member_packets_have_no_target() {
    let mut rig = bonded(bond(ActiveBackup));
    for mode in [BalanceRr, ActiveBackup, BalanceXor, Broadcast, Lacp, BalanceTlb, BalanceAlb] {
        change(&mut rig, |bond| {
            bond.mode = mode;
            bond.active = None;
            bond.members.iter_mut().for_each(|member| member.transmits = false);
        });
        let out = rig.send_all(R1, flows(0..3).map(|p| p.to_port(R1)));
        out.dropped(&[(BondStartXmit, NoTxTarget, 3)]).silent();
    }
    assert_eq!(counters(&rig, BOND)[3..], [0, 0, 21]);
    change(&mut rig, |bond| bond.members.clear());
    rig.send(R1, flow(0).to_port(R1)).drop_of(BondStartXmit, NoTxTarget);
    change(&mut rig, |bond| *bond = common::bonds::bond(BalanceXor));
    rig.devices.last_mut().unwrap().carrier = false;
    rig.configure(|_, _| {});
    rig.send(R1, flow(0).to_port(R1)).drop_of(BondStartXmit, NoTxTarget);
    rig.devices.last_mut().unwrap().up = false;
    rig.configure(|_, _| {});
    rig.send(R1, flow(0).to_port(R1)).drop_of(DevQueueXmit, DevReady);
}

/// A member the control thread has not yet taken out, though its port is down.
#[test]
fn a_member_that_cannot_send_drops_what_it_is_given() {
    let mut rig = bonded(bond(ActiveBackup));
    rig.devices[R2 + 1].carrier = false;
    rig.configure(|_, _| {});
    rig.send(R1, flow(0).to_port(R1)).drop_of(DevQueueXmit, DevReady);
    assert_eq!([dev(R2), BOND].map(|dev| counters(&rig, dev)[5]), [1, 1]);
}

#[test]
fn every_member_sends_a_copy_in_broadcast_mode() {
    let mut rig = bonded(Bond { members: vec![member(R2), member(R3), member(R1)], ..bond(Broadcast) });
    let frame = ethernet(HOST.0, BOND_MAC, 0x0800, &flow(1).bytes());
    for _ in 0..1000 {
        let out = own(&mut rig, &frame);
        out.no_drops();
        for port in [R1, R2, R3] {
            assert_eq!(out.wire[port], std::slice::from_ref(&frame));
        }
    }
    assert_eq!(counters(&rig, BOND)[3], 3000);
    change(&mut rig, |bond| bond.members.truncate(2));
    let [first, second] = by_member(&mut rig, flows(0..100));
    assert_eq!((&first, &second), (&(0..100).collect::<Vec<_>>(), &first), "whole bursts, in order");
}

#[test]
fn a_copy_that_finds_no_room_is_a_loss_of_its_own() {
    let mut rig = bonded(bond(Broadcast));
    let taken: Vec<_> = std::iter::from_fn(|| rig.own_pool.alloc()).collect();
    let out = rig.send(R1, flow(1).to_port(R1));
    out.drop_of(BondStartXmit, Nomem);
    assert_eq!((out.wire[R2].len(), out.wire[R3].len()), (0, 1));
    drop(taken);
}

/// The member of each forwarded packet is the one the hash of the frame on the bond names.
#[test]
fn hash_policies_choose_by_the_frame_that_leaves() {
    use XmitPolicy::*;
    let mut rig = bonded(bond(BalanceXor));
    let mut next = numbers(7);
    for (mode, policy) in [Layer2, Layer34, Layer23, Encap23, Encap34, VlanSrcmac]
        .into_iter()
        .flat_map(|policy| [(BalanceXor, policy), (Lacp, policy)])
    {
        change(&mut rig, |bond| (bond.mode, bond.policy) = (mode, policy));
        let mut packet = || {
            let ports = (next() as u16, next() as u16);
            let mut packet = transit(2 + next() % 240, ports, 0);
            packet.src = next() & 0xff_ffff | 0x0b00_0000;
            match next() % 4 {
                0 => packet.frag = 0x2000,
                1 => packet.options = vec![1; 4],
                _ => {}
            }
            packet
        };
        let packets: Vec<_> = (0..320).map(|_| packet().to_port(R1)).collect();
        let out = rig.send_all(R1, packets);
        out.no_drops();
        assert_eq!(out.sent(), 320);
        for (place, port) in [R2, R3].into_iter().enumerate() {
            for frame in &out.wire[port] {
                assert_eq!(hash_frame(policy, frame, None) as usize % 2, place, "{policy:?}");
            }
        }
    }
}

#[test]
fn segments_may_end_anywhere() {
    let mut rig = bonded(Bond { policy: XmitPolicy::Layer34, ..bond(BalanceXor) });
    for sport in 0..32 {
        let frame = ethernet(HOST.0, BOND_MAC, 0x0800, &transit(2, (sport, 80), 0).bytes());
        let want = [R2, R3][hash_frame(XmitPolicy::Layer34, &frame, None) as usize % 2];
        for cut in [12, 14, 20, 33, 36] {
            let out = rig.acting(|rig| {
                let mut skb = rig.skb(&Frame::cut(&frame, &[cut]));
                use skiff_dataplane::skb::SkbExt;
                *skb.fields_mut() = Default::default();
                skb.fields_mut().oif = BOND.0;
                rig.shared.control_cells().created.add(1);
                let message = skiff_dataplane::core::shared::ToLcore::Xmit(skb);
                rig.shared.send_to_lcore(0, message).unwrap();
            });
            assert_eq!(out.wire[want].len(), 1, "{cut}: {out:?}");
        }
    }
}

#[test]
fn a_flow_stays_with_its_member_and_in_order() {
    for_each_policy(|rig, policy| {
        let mut next = numbers(3);
        let packets: Vec<_> =
            (0..2000).map(|id| transit(2 + next() % 4, (next() as u16 % 16, 80), id)).collect();
        let flow_of = |frame: &[u8]| (frame[33], u16::from_be_bytes([frame[34], frame[35]]));
        let out = rig.send_all(R1, packets.iter().map(|packet| packet.to_port(R1)));
        let (mut last, mut place) = (BTreeMap::new(), BTreeMap::new());
        for port in [R2, R3] {
            for frame in &out.wire[port] {
                let id = u16::from_be_bytes([frame[18], frame[19]]);
                assert!(
                    last.insert(flow_of(frame), id).is_none_or(|before| before < id),
                    "{policy:?}: order"
                );
                assert_eq!(*place.entry(flow_of(frame)).or_insert(port), port, "{policy:?}: one member");
            }
        }
        assert_eq!(out.no_drops().sent(), 2000);
    });
}

/// One TCP connection under every policy: one member has all its segments, in order.
#[test]
fn a_million_segments_of_a_connection_stay_in_order() {
    const ACK: u8 = 0x10;
    let segment = Ip::tcp("10.1.0.2", "10.2.0.2", (40_000, 443), 1, 1, ACK, &[]);
    for_each_policy(|rig, policy| {
        let mut home = None;
        for _ in 0..84 {
            let segments = (0..2000).map(|id| Ip { id, ..segment.clone() });
            let ids = by_member(rig, segments);
            let at = usize::from(ids[0].is_empty());
            assert_eq!(*home.get_or_insert(at), at, "{policy:?}: one member");
            assert!(ids[1 - at].is_empty() && ids[at].iter().copied().eq(0..2000), "{policy:?}: order");
        }
    });
}

fn for_each_policy(mut act: impl FnMut(&mut Rig, XmitPolicy)) {
    use XmitPolicy::*;
    let mut rig = bonded(bond(BalanceXor));
    for policy in [Layer2, Layer34, Layer23, Encap23, Encap34, VlanSrcmac] {
        change(&mut rig, |bond| bond.policy = policy);
        act(&mut rig, policy);
    }
}

/// xorshift, so that every run sees the same.
fn numbers(seed: u32) -> impl FnMut() -> u32 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    }
}

/// Every packet has one end, whatever the bond is made of: the rig checks the ledger after each burst.
#[test]
fn nothing_is_lost_uncounted_in_any_configuration() {
    use XmitPolicy::*;
    let mut rig = bonded(bond(BalanceXor));
    let mut next = numbers(99);
    let modes = [BalanceRr, ActiveBackup, BalanceXor, Broadcast, Lacp, BalanceTlb, BalanceAlb];
    for _ in 0..300 {
        let mut pick = |n: u32| next() % n;
        let members: Vec<BondMember> = [R2, R3]
            .into_iter()
            .take(pick(3) as usize)
            .map(|port| BondMember { dev: dev(port), transmits: pick(4) > 0, receives: pick(4) > 0 })
            .collect();
        let tlb = (pick(2) == 0).then(|| {
            let table = TlbTable::new(1);
            table.set_members(&[(dev(R2), 1000), (dev(R3), 1000)]);
            Arc::new(table)
        });
        let rlb = (pick(2) == 0).then(|| {
            let table = RlbTable::default();
            table.set_members(&[dev(R2), dev(R3)]);
            Arc::new(table)
        });
        let bond = Bond {
            policy: [Layer2, Layer34, Layer23, Encap23, Encap34, VlanSrcmac][pick(6) as usize],
            packets_per_slave: pick(4),
            all_slaves_active: pick(4) == 0,
            active: members.get(pick(3) as usize).map(|member| member.dev),
            watch_arp: pick(2) == 0,
            tlb,
            rlb,
            members,
            ..Bond::new(modes[pick(7) as usize])
        };
        let (mode, copies) = (bond.mode, bond.members.iter().filter(|m| m.transmits).count() as u64);
        let before = counters(&rig, BOND);
        change(&mut rig, |old| *old = bond);
        let sent = u64::from(1 + next() % 64);
        let out =
            rig.send_all(R1, (0..sent).map(|i| transit(2 + (i % 40) as u32, (i as u16, 7), 0).to_port(R1)));
        let after = counters(&rig, BOND);
        let want = if mode == Broadcast { sent * copies.max(1) } else { sent };
        let ended = out.sent() as u64 + out.drops.values().sum::<u64>();
        assert_eq!(ended, want, "{mode:?} {out:?}");
        assert_eq!(after[3] + after[5] - before[3] - before[5], want, "{mode:?}: sent or dropped");
        let inward = Ip::udp("10.2.0.2", "10.1.0.2", (1, 2), 20).to_mac(BOND_MAC);
        for port in [R2, R3] {
            let request = arp(MacAddr::BROADCAST, 1, HOST, (MacAddr::ZERO, "10.2.0.1"));
            rig.send_all(port, [inward.clone(), request]);
        }
    }
}

/// The member each host is sent to, and the sender's address in the frames.
fn hosts(rig: &mut Rig, hosts: std::ops::Range<u32>) -> Vec<(u32, usize, MacAddr)> {
    let out = rig.send_all(R1, hosts.map(|host| transit(host, (1, 2), 0).to_port(R1)));
    out.no_drops();
    let of = |port: usize| {
        let seen = out.all(port).into_iter();
        seen.map(move |seen| (seen.dst & 0xff, port, seen.eth_src)).collect::<Vec<_>>()
    };
    let mut all = [of(R2), of(R3)].concat();
    all.sort_unstable();
    all
}

fn tlb(members: &[(usize, u32)]) -> Arc<TlbTable> {
    let table = TlbTable::new(1);
    table.set_members(&members.iter().map(|&(port, mbps)| (dev(port), mbps)).collect::<Vec<_>>());
    Arc::new(table)
}

#[test]
fn load_is_balanced_every_ten_seconds() {
    for_each_balancing(|rig, mode, table| {
        assert!(hosts(rig, 2..20).iter().all(|host| host.1 == R2), "{mode:?}: nothing weighs anything yet");
        for _ in 0..200 {
            hosts(rig, 2..20);
        }
        table.rebalance(Some(dev(R2)));
        let after = hosts(rig, 2..20);
        let by: BTreeSet<_> = after.iter().map(|&(_, port, mac)| (port, mac)).collect();
        // By another than the active member frames carry that one's address.
        assert_eq!(by, [(R2, BOND_MAC), (R3, mac::router(R3))].into(), "{mode:?}");
        let half = after.iter().filter(|host| host.1 == R2).count();
        assert!((8..=10).contains(&half), "{mode:?}: {after:?}");
        assert_eq!(hosts(rig, 2..20), after, "{mode:?}: until the next time");
    });
}

fn for_each_balancing(mut act: impl FnMut(&mut Rig, BondMode, &TlbTable)) {
    let mut rig = bonded(bond(BalanceTlb));
    own_address(&mut rig);
    for mode in [BalanceTlb, BalanceAlb] {
        let table = tlb(&[(R2, 1000), (R3, 1000)]);
        change(&mut rig, |bond| {
            *bond = Bond { tlb: Some(Arc::clone(&table)), ..common::bonds::bond(mode) };
        });
        act(&mut rig, mode, &table);
    }
}

#[test]
fn a_member_that_may_not_send_loses_its_hashes() {
    for_each_balancing(|rig, mode, table| {
        assert!(hosts(rig, 2..20).iter().all(|host| host.1 == R2));
        change(rig, |bond| {
            bond.members[0].transmits = false;
            bond.active = Some(dev(R3));
        });
        // The table has not heard of it yet.
        assert!(hosts(rig, 2..20).iter().all(|host| host.1 == R3), "{mode:?}");
        table.set_members(&[(dev(R3), 1000)]);
        assert!(hosts(rig, 2..20).iter().all(|host| host.1 == R3), "{mode:?}");
    });
}

#[test]
fn without_the_table_balancing_is_by_hash() {
    let mut rig = bonded(bond(BalanceTlb));
    own_address(&mut rig);
    for mode in [BalanceTlb, BalanceAlb] {
        change(&mut rig, |bond| (bond.mode, bond.policy) = (mode, XmitPolicy::Layer34));
        let out = rig.send_all(R1, (2..100).map(|host| transit(host, (7, 53), 0).to_port(R1)));
        for (place, port) in [R2, R3].into_iter().enumerate() {
            assert!(out.wire[port].len() > 30);
            for frame in &out.wire[port] {
                // The hash is that of the frame before it got the member's address.
                let mut before = frame.clone();
                before[6..12].copy_from_slice(&BOND_MAC.0);
                assert_eq!(hash_frame(XmitPolicy::Layer34, &before, None) as usize % 2, place);
            }
        }
    }
}

#[test]
fn what_all_are_to_hear_goes_by_the_active_member() {
    for_each_balancing(|rig, mode, table| {
        // A table that would send everything by r3.
        table.set_members(&[(dev(R3), 1000)]);
        let to = |dst: MacAddr, packet: Ip| ethernet(dst, BOND_MAC, 0x0800, &packet.bytes());
        let all = MacAddr::BROADCAST;
        let unicast = transit(2, (1, 2), 0);
        let mut everyone = unicast.clone();
        everyone.dst = u32::MAX;
        let group = MacAddr([1, 0, 0x5e, 1, 2, 3]);
        let igmp = Ip::new("10.2.0.1", "10.2.0.9", 2, vec![0; 8]);
        let ip6 = |dst: [u8; 6], src: u8, next: u8, kind: u8| {
            let mut p = vec![0x60, 0, 0, 0, 0, 8, next, 255];
            p.extend([src; 16]);
            p.extend([0x20; 16]);
            p.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
            ethernet(MacAddr(dst), BOND_MAC, 0x86dd, &p)
        };
        let alb = mode == BalanceAlb;
        let rows = [
            ("unicast", to(HOST.0, unicast.clone()), true),
            ("link broadcast", to(all, unicast.clone()), false),
            ("group", to(group, unicast), alb),
            ("255.255.255.255", to(HOST.0, everyone), !alb),
            ("IGMP", to(HOST.0, igmp), !alb),
            ("another protocol", ethernet(HOST.0, BOND_MAC, 0x88cc, &[0; 46]), false),
            ("IPv6", ip6(HOST.0.0, 1, 17, 0), true),
            ("IPv6 to all nodes", ip6([0x33, 0x33, 0, 0, 0, 1], 1, 17, 0), false),
            ("neighbour solicitation", ip6(HOST.0.0, 1, 58, 135), !alb),
            ("echo request", ip6(HOST.0.0, 1, 58, 128), true),
            ("duplicate address detection", ip6(HOST.0.0, 0, 17, 0), !alb),
        ];
        for (name, frame, balanced) in rows {
            let out = own(rig, &frame);
            let port = if balanced { R3 } else { R2 };
            assert_eq!((out.sent(), out.wire[port].len()), (1, 1), "{mode:?}: {name}");
        }
    });
}

fn ask(rig: &mut Rig, host: u8) -> Out {
    let addr = format!("10.2.0.{host}");
    let from = (mac::of(ip(&addr)), addr.as_str());
    let mut out = rig.send(R2, arp(MacAddr::BROADCAST, 1, from, (MacAddr::ZERO, "10.2.0.1")));
    out.control.clear();
    out
}

#[test]
fn clients_are_told_of_different_members() {
    let table = Arc::new(RlbTable::default());
    table.set_members(&[dev(R2), dev(R3)]);
    let mut rig = bonded(Bond { rlb: Some(Arc::clone(&table)), ..bond(BalanceAlb) });
    own_address(&mut rig);
    let want = [(R2, BOND_MAC), (R3, mac::router(R3))];
    for round in 0..2 {
        for host in 2..6u8 {
            let out = ask(&mut rig, host);
            let (port, mac) = want[usize::from(host) % 2];
            let [reply] = &out.wire[port][..] else { panic!("{round} {host}: {out:?}") };
            assert_eq!((&reply[6..12], &reply[22..28]), (&mac.0[..], &mac.0[..]), "{host}");
        }
    }
    assert_eq!(table.clients().len(), 4);
    // Not ours: somebody's ARP that is only passed on.
    let stranger = arp(MacAddr::BROADCAST, 2, (mac::of(7), "10.2.0.99"), HOST);
    let out = own(&mut rig, &stranger);
    assert_eq!(out.wire[R2], [stranger]);
    assert_eq!(table.clients().len(), 4);
    // A tagged one of ours: the client is reached with that tag.
    let reply = arp(mac::of(8), 2, (BOND_MAC, "10.2.0.1"), (mac::of(8), "10.9.0.128"));
    let tagged = [&reply[..12], &[0x81, 0, 0, 7], &reply[12..]].concat();
    own(&mut rig, &tagged);
    let client = table.clients().into_iter().find(|client| client.client == ip("10.9.0.128")).unwrap();
    assert_eq!((client.vlan, client.client_mac, client.ours), (Some(7), mac::of(8), ip("10.2.0.1")));
    // A request of ours brings those elsewhere back.
    (0..9).for_each(|_| drop(table.tick()));
    let request = arp(MacAddr::BROADCAST, 1, (BOND_MAC, "10.2.0.1"), (MacAddr::ZERO, "10.2.0.77"));
    own(&mut rig, &request);
    let told: Vec<_> = (0..9).flat_map(|_| table.tick()).map(|client| client.client & 0xff).collect();
    assert_eq!(told, [3, 5]);
}
