//! What members of a bond receive.

mod common;

use std::sync::{Arc, Mutex};

use common::bonds::{BOND, BOND_MAC, bond, bonded, by_member, change, counters, own_address, transit};
use common::frames::{arp, ethernet};
use common::{Ip, R1, R2, R3, Rig, dev, mac};
use skiff_dataplane::core::drop_reason::{DropReason::*, Node::*};
use skiff_dataplane::device::bond::BondMode::*;
use skiff_dataplane::net::MacAddr;
use skiff_dataplane::netfilter::hooks::{Hook, HookCx, HookFn, Verdicts};
use skiff_dataplane::skb::{SkbExt, SkbList};

const BROADCAST: MacAddr = MacAddr::BROADCAST;
const SLOW: MacAddr = MacAddr([1, 0x80, 0xc2, 0, 0, 2]);
const LLDP: MacAddr = MacAddr([1, 0x80, 0xc2, 0, 0, 0xe]);
/// 10.2.0.2, where it is.
const HOST: (MacAddr, &str) = (MacAddr([2, 0xaa, 10, 2, 0, 2]), "10.2.0.2");

/// A frame of 62 bytes from 10.2.0.2 to be forwarded to r1.
fn inward(dst: MacAddr) -> Vec<u8> {
    Ip::udp("10.2.0.2", "10.1.0.2", (1, 2), 20).to_mac(dst)
}

fn slow(subtype: u8) -> Vec<u8> {
    let mut payload = vec![0; 110];
    payload[0] = subtype;
    ethernet(SLOW, HOST.0, 0x8809, &payload)
}

/// r3 is not to receive.
fn idle_r3(rig: &mut Rig, mode: skiff_dataplane::device::bond::BondMode) {
    change(rig, |bond| {
        bond.mode = mode;
        bond.members[1].receives = false;
        bond.all_slaves_active = false;
    });
}

#[test]
fn members_packets_are_the_bonds() {
    let mut rig = bonded(bond(BalanceXor));
    for port in [R2, R3] {
        rig.send(port, inward(BOND_MAC)).no_drops().only(R1);
    }
    assert_eq!(counters(&rig, dev(R2))[..3], [1, 62, 0]);
    assert_eq!(counters(&rig, dev(R3))[..3], [1, 62, 0]);
    assert_eq!(counters(&rig, BOND)[..3], [2, 124, 0]);
    let echo = Ip::echo("10.2.0.2", "10.2.0.1", 8);
    assert_eq!(rig.send(R3, echo.to_mac(BOND_MAC)).no_drops().sent(), 1, "answered by one of the two");
    rig.send(R3, echo.to_mac(mac::of(1))).drop_of(IpRcv, OtherHost);
    assert_eq!(rig.shared.cells(0).device(BOND).rx_otherhost.get(), 1);
}

#[test]
fn neighbours_are_learnt_on_the_bond_and_answered_by_it() {
    let mut rig = bonded(bond(ActiveBackup));
    change(&mut rig, |bond| bond.active = Some(dev(R3)));
    let out = rig.send(R3, arp(BROADCAST, 1, HOST, (MacAddr::ZERO, "10.2.0.1")));
    let [reply] = &out.wire[R3][..] else { panic!("{out:?}") };
    assert_eq!((&reply[..6], &reply[6..12], reply[21]), (&HOST.0.0[..], &BOND_MAC.0[..], 2));
    assert!(out.control.iter().any(|text| text.contains("IfIndex(10)")), "{out:?}");
}

#[test]
fn a_bond_that_is_down_takes_nothing() {
    let mut rig = bonded(bond(BalanceXor));
    rig.devices.last_mut().unwrap().up = false;
    rig.configure(|_, _| {});
    rig.send(R2, inward(BOND_MAC)).drop_of(NetifReceive, DevReady);
    rig.devices[R3 + 1].up = false;
    rig.devices.last_mut().unwrap().up = true;
    rig.configure(|_, _| {});
    rig.send(R3, inward(BOND_MAC)).drop_of(NetifReceive, DevReady);
    rig.send(R2, inward(BOND_MAC)).no_drops().only(R1);
}

#[test]
fn what_inactive_members_receive_is_dropped() {
    let mut rig = bonded(bond(ActiveBackup));
    for mode in [ActiveBackup, Lacp, BalanceTlb] {
        idle_r3(&mut rig, mode);
        let before = [dev(R3), BOND].map(|dev| counters(&rig, dev));
        rig.send(R2, inward(BOND_MAC)).no_drops().only(R1);
        for dst in [BOND_MAC, BROADCAST, LLDP] {
            rig.send(R3, inward(dst)).drop_of(BondHandleFrame, UnhandledProto).silent();
        }
        let grown = |i: usize, dev| {
            let after = counters(&rig, dev);
            [0, 1, 2].map(|c: usize| after[c] - before[i][c])
        };
        assert_eq!(grown(0, dev(R3)), [3, 186, 3]);
        assert_eq!(grown(1, BOND), [4, 248, 3], "the sum of its members");
        change(&mut rig, |bond| bond.all_slaves_active = true);
        rig.send(R3, inward(BOND_MAC)).no_drops().only(R1);
    }
}

#[test]
fn a_mixed_burst_of_an_inactive_member_keeps_its_unicast_in_balance_alb() {
    let mut rig = bonded(bond(BalanceAlb));
    own_address(&mut rig);
    idle_r3(&mut rig, BalanceAlb);
    let own = mac::router(R3);
    let out = rig.send_all(R3, [inward(own), inward(BROADCAST), inward(LLDP), inward(own)]);
    out.dropped(&[(BondHandleFrame, UnhandledProto, 2)]);
    assert_eq!(out.all(R1).len(), 2);
}

/// Frames to a member's own address are for the bond; those to the bond's, on another member, are a switch's flooding.
#[test]
fn addresses_of_members_are_the_bonds_in_balance_alb() {
    let mut rig = bonded(bond(BalanceAlb));
    own_address(&mut rig);
    rig.send(R3, inward(mac::router(R3))).no_drops().only(R1);
    rig.send(R2, inward(BOND_MAC)).no_drops().only(R1);
    rig.send(R3, inward(BOND_MAC)).drop_of(BondHandleFrame, OtherHost);
    rig.send(R2, inward(mac::router(R3))).drop_of(IpRcv, OtherHost);
    let out = rig.send(R3, arp(mac::router(R3), 1, HOST, (MacAddr::ZERO, "10.2.0.1")));
    assert_eq!(out.no_drops().wire[R2].len(), 1, "without a table of clients ARP goes by the active member");
    assert_eq!(counters(&rig, BOND)[0], counters(&rig, dev(R2))[0] + counters(&rig, dev(R3))[0]);
}

#[test]
fn lacp_and_marker_frames_go_to_the_control_thread() {
    let mut rig = bonded(bond(Lacp));
    idle_r3(&mut rig, Lacp);
    let out = rig.send_all(R3, [slow(1), inward(BOND_MAC), slow(2), slow(10)]);
    assert_eq!(
        out.control,
        ["SlowProtocol on 4: [88, 9, 1]", "SlowProtocol on 4: [88, 9, 2]"],
        "whether or not the member receives"
    );
    out.dropped(&[(BondHandleFrame, UnhandledProto, 2)]);
    assert_eq!(counters(&rig, BOND)[0], 4);
    // From a member that receives, what is of another protocol is a frame like others.
    let out = rig.send_all(R2, [slow(1), slow(3)]);
    out.drop_of(NetifReceive, UnhandledProto);
    assert_eq!(out.control.len(), 1);
    let mut elsewhere = slow(1);
    elsewhere[5] = 3;
    rig.send(R2, elsewhere).drop_of(NetifReceive, UnhandledProto);
    let short = slow(1)[..20].to_vec();
    assert_eq!(rig.send(R2, short).no_drops().control.len(), 1, "the control thread judges what is in it");
    change(&mut rig, |bond| bond.mode = BalanceXor);
    let out = rig.send(R2, slow(1));
    assert!(out.drop_of(NetifReceive, UnhandledProto).control.is_empty());
}

#[test]
fn a_flood_of_lacp_frames_leaves_room_for_others() {
    let mut rig = bonded(bond(Lacp));
    rig.send_raw(R2, vec![slow(1); 300]);
    assert_eq!(rig.shared.cells(0).drops(BondHandleFrame, PuntFull).0, 44);
    assert_eq!(counters(&rig, dev(R2))[2], 44);
    assert_eq!(rig.take_messages().len(), 256);
    assert_eq!(rig.send(R2, slow(1)).no_drops().control.len(), 1, "the places came back");
}

#[test]
fn arp_on_members_is_reported_if_somebody_watches() {
    let mut rig = bonded(bond(ActiveBackup));
    let request = arp(BROADCAST, 1, HOST, (MacAddr::ZERO, "10.2.0.1"));
    let reply = arp(BOND_MAC, 2, HOST, (BOND_MAC, "10.2.0.1"));
    let tagged = [&reply[..12], &[0x81, 0, 0, 7], &reply[12..]].concat();
    let reports = |rig: &mut Rig, port, frame: &Vec<u8>| {
        let out = rig.send(port, frame.clone());
        out.control.into_iter().filter(|text| text.starts_with("BondArp")).collect::<Vec<_>>()
    };
    assert!(reports(&mut rig, R2, &request).is_empty());
    change(&mut rig, |bond| bond.watch_arp = true);
    idle_r3(&mut rig, ActiveBackup);
    let said = |port: usize, op| {
        let (sip, tip) = (common::ip("10.2.0.2"), common::ip("10.2.0.1"));
        format!("BondArp {{ dev: {:?}, op: {op}, sip: {sip}, tip: {tip}, sha: {:?} }}", dev(port), HOST.0)
    };
    assert_eq!(reports(&mut rig, R2, &request), [said(R2, "Request")]);
    assert_eq!(reports(&mut rig, R3, &request), [said(R3, "Request")], "from an inactive member too");
    assert_eq!(reports(&mut rig, R3, &reply), [said(R3, "Reply")]);
    assert_eq!(reports(&mut rig, R3, &tagged), [said(R3, "Reply")]);
    assert!(reports(&mut rig, R2, &inward(BOND_MAC)).is_empty());
}

/// Notes the hooks and devices packets pass.
#[derive(Debug)]
struct Trace(Arc<Mutex<Vec<String>>>);

impl HookFn for Trace {
    fn name(&self) -> &str {
        "trace"
    }

    fn run(&self, cx: &mut HookCx<'_, '_>, list: &mut SkbList, _: &mut Verdicts) {
        for skb in list.iter() {
            self.0.lock().unwrap().push(format!("{} {}>{}", cx.hook, skb.fields().iif, skb.fields().oif));
        }
    }
}

#[test]
fn hooks_see_packets_on_the_member_and_on_the_bond() {
    let mut rig = bonded(bond(ActiveBackup));
    let log = Arc::new(Mutex::new(Vec::new()));
    for hook in [Hook::L2Input, Hook::L2Enqueue, Hook::L2Dequeue] {
        rig.hook(hook, 0, Arc::new(Trace(Arc::clone(&log))));
    }
    rig.send(R2, inward(BOND_MAC)).no_drops().only(R1);
    by_member(&mut rig, [transit(2, (1, 2), 0)]);
    let seen: Vec<String> = std::mem::take(&mut log.lock().unwrap());
    let names = |hook: Hook, way: &str| format!("{hook} {way}");
    assert_eq!(
        seen,
        [
            names(Hook::L2Input, "3>0"),
            names(Hook::L2Input, "10>0"),
            names(Hook::L2Enqueue, "10>2"),
            names(Hook::L2Dequeue, "10>2"),
            names(Hook::L2Input, "2>0"),
            names(Hook::L2Enqueue, "2>10"),
            names(Hook::L2Enqueue, "2>3"),
            names(Hook::L2Dequeue, "2>3"),
        ]
    );
}
