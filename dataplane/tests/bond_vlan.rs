//! A VLAN device on a bond: the tag is looked at above the bond and put in before a member is chosen.

mod common;

use std::sync::Arc;

use common::bonds::{BOND, BOND_MAC, bond, bonded, counters};
use common::{Ip, Out, R1, R2, R3, Rig, To, dev, ip, mac};
use skiff_dataplane::core::bond_hash::hash_frame;
use skiff_dataplane::core::drop_reason::{DropReason::*, Node::*};
use skiff_dataplane::device::bond::{Bond, BondMode::*, XmitPolicy};
use skiff_dataplane::device::vlan::{Vlan, VlanProto};
use skiff_dataplane::device::{DeviceKind, InterfaceAddress, NetDevice};
use skiff_dataplane::fib::next_hop::NextHopSpec;
use skiff_dataplane::neigh::cache::SetMode;
use skiff_dataplane::neigh::nud::{NeighParams, Nud};
use skiff_dataplane::net::IfIndex;

/// VLAN 7 on the bond, 10.7.0.1/24.
const V7: IfIndex = IfIndex(9);

fn rig(bond: Bond) -> Rig {
    let mut rig = bonded(bond);
    let vlan = Vlan {
        real_dev: BOND,
        proto: VlanProto::Dot1q,
        vid: 7,
        reorder_hdr: true,
        ingress: [0; 8],
        egress: vec![],
    };
    let device = NetDevice {
        ifindex: V7,
        name: "bond0.7".to_owned(),
        kind: DeviceKind::Vlan,
        mac: BOND_MAC,
        mtu: 1500,
        up: true,
        carrier: true,
        addresses: vec![InterfaceAddress::new("10.7.0.1/24".parse().unwrap())],
        vlan: Some(Arc::new(vlan)),
        ..NetDevice::absent()
    };
    rig.neigh.set_device(V7, BOND_MAC, false, NeighParams::default());
    // The bond stays the last.
    let at = rig.devices.len() - 1;
    rig.devices.insert(at, device);
    rig.configure(|_, _| {});
    let link = NextHopSpec::Unicast { oif: V7, gateway: None, mtu: 1500, prefsrc: ip("10.7.0.1") };
    rig.route("10.7.0.0/24", To::Spec(link));
    let (addr, mut actions) = (ip("10.7.0.2"), Vec::new());
    let lladdr = Some(mac::of(addr));
    rig.neigh.set(V7, addr, lladdr, Nud::Permanent, SetMode::Replace, rig.now, &mut actions).unwrap();
    rig
}

fn outward(rig: &mut Rig, ports: impl IntoIterator<Item = u16>) -> Out {
    let packet = |port| Ip::udp("10.1.0.2", "10.7.0.2", (port, 53), 40).to_port(R1);
    rig.send_all(R1, ports.into_iter().map(packet))
}

#[test]
fn tagged_packets_take_the_member_of_their_flow() {
    for_policies(&mut rig(bond(BalanceXor)), |rig, policy| {
        let out = outward(rig, 0..64);
        assert_eq!(out.no_drops().sent(), 64);
        for (place, port) in [R2, R3].into_iter().enumerate() {
            for frame in &out.wire[port] {
                assert_eq!(frame[12..16], [0x81, 0, 0, 7]);
                let untagged = [&frame[..12], &frame[16..]].concat();
                let hash = hash_frame(policy, &untagged, Some(7));
                assert_eq!((hash as usize % 2, hash), (place, hash_frame(policy, frame, None)), "{policy:?}");
            }
        }
        if policy == XmitPolicy::Layer34 {
            assert!(out.wire[R2].len() > 10 && out.wire[R3].len() > 10);
        }
    });
}

fn for_policies(rig: &mut Rig, mut act: impl FnMut(&mut Rig, XmitPolicy)) {
    use XmitPolicy::*;
    for policy in [Layer2, Layer34, Layer23, Encap23, Encap34, VlanSrcmac] {
        common::bonds::change(rig, |bond| bond.policy = policy);
        act(rig, policy);
    }
}

#[test]
fn what_no_member_takes_the_vlan_device_did_not_send() {
    let mut rig = rig(bond(ActiveBackup));
    outward(&mut rig, [1]).no_drops();
    assert_eq!([counters(&rig, V7)[3], counters(&rig, BOND)[3], counters(&rig, dev(R2))[3]], [1; 3]);
    common::bonds::change(&mut rig, |bond| bond.active = None);
    outward(&mut rig, [1, 2]).dropped(&[(BondStartXmit, NoTxTarget, 2)]);
    assert_eq!((counters(&rig, V7)[3..].to_vec(), counters(&rig, BOND)[5]), (vec![1, 82, 2], 2));
}

#[test]
fn tagged_frames_of_members_are_the_vlan_devices() {
    let mut rig = rig(bond(BalanceXor));
    let frame = Ip::udp("10.7.0.2", "10.1.0.2", (1, 2), 40).to_mac(BOND_MAC);
    let tagged = [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat();
    for port in [R2, R3] {
        rig.send_all(port, [tagged.clone(), frame.clone()]).no_drops();
    }
    assert_eq!(counters(&rig, dev(R3))[..2], [2, 82 + 86]);
    assert_eq!(counters(&rig, BOND)[..2], [4, 2 * (82 + 86)], "the sum of its members");
    assert_eq!(counters(&rig, V7)[..2], [2, 2 * 82]);
    common::bonds::change(&mut rig, |bond| bond.members[1].receives = false);
    rig.send(R3, tagged).drop_of(BondHandleFrame, UnhandledProto);
}
