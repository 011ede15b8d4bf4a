//! The router with its ports r2 and r3 as members of bond0, 10.2.0.1/24, behind which are the hosts 10.2.0.2 to
//! 10.2.0.250.

use std::sync::Arc;

use skiff_dataplane::core::shared::ToLcore;
use skiff_dataplane::device::bond::{Bond, BondMember, BondMode};
use skiff_dataplane::device::{DeviceKind, InterfaceAddress, NetDevice};
use skiff_dataplane::fib::next_hop::NextHopSpec;
use skiff_dataplane::neigh::cache::SetMode;
use skiff_dataplane::neigh::nud::{NeighParams, Nud};
use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::skb::SkbExt;

use super::{Frame, Ip, Out, R1, R2, R3, Rig, To, dev, ip, mac};

pub const BOND: IfIndex = IfIndex(10);
pub const BOND_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

/// A member that sends and receives.
pub fn member(port: usize) -> BondMember {
    BondMember { dev: dev(port), transmits: true, receives: true }
}

/// A bond of r2 and r3; r2 is active.
pub fn bond(mode: BondMode) -> Bond {
    Bond { members: vec![member(R2), member(R3)], active: Some(dev(R2)), ..Bond::new(mode) }
}

/// The router with this bond.
pub fn bonded(bond: Bond) -> Rig {
    let mut rig = Rig::with(1, 4095);
    for port in [R2, R3] {
        rig.devices[port + 1].addresses.clear();
        rig.devices[port + 1].mac = BOND_MAC;
    }
    rig.devices.push(NetDevice {
        ifindex: BOND,
        name: "bond0".to_owned(),
        kind: DeviceKind::Bond,
        mac: BOND_MAC,
        mtu: 1500,
        up: true,
        carrier: true,
        addresses: vec![InterfaceAddress::new("10.2.0.1/24".parse().unwrap())],
        bond: Some(Arc::new(bond)),
        ..NetDevice::absent()
    });
    rig.configure(|_, _| {});
    let prefsrc = ip("10.2.0.1");
    let link = NextHopSpec::Unicast { oif: BOND, gateway: None, mtu: 1500, prefsrc };
    rig.route("10.2.0.0/24", To::Spec(link));
    rig.route("10.2.0.1/32", To::Spec(NextHopSpec::Local { oif: BOND, prefsrc }));
    rig.neigh.set_device(BOND, BOND_MAC, false, NeighParams::default());
    for host in 2..=250u32 {
        let (addr, mut actions) = (ip("10.2.0.0") + host, Vec::new());
        let lladdr = Some(mac::of(addr));
        rig.neigh.set(BOND, addr, lladdr, Nud::Permanent, SetMode::Replace, rig.now, &mut actions).unwrap();
    }
    rig
}

/// Changes the bond.
pub fn change(rig: &mut Rig, change: impl FnOnce(&mut Bond)) {
    let device = rig.devices.last_mut().unwrap();
    change(Arc::make_mut(device.bond.as_mut().unwrap()));
    rig.configure(|_, _| {});
}

/// Gives the second member its own address, as balance-tlb and balance-alb leave it: that of r3.
pub fn own_address(rig: &mut Rig) {
    rig.devices[R3 + 1].mac = mac::router(R3);
    rig.configure(|_, _| {});
}

/// A packet to forward by the bond to 10.2.0.`host`.
pub fn transit(host: u32, ports: (u16, u16), id: u16) -> Ip {
    Ip { id, ..Ip::udp("10.1.0.2", &format!("10.2.0.{host}"), ports, 20) }
}

/// Forwards these; the identifications that left by r2 and by r3, in order.
#[track_caller]
pub fn by_member(rig: &mut Rig, packets: impl IntoIterator<Item = Ip>) -> [Vec<u16>; 2] {
    let out = rig.send_all(R1, packets.into_iter().map(|packet| packet.to_port(R1)));
    assert!(out.wire[R1].is_empty());
    out.no_drops();
    [R2, R3].map(|port| out.wire[port].iter().map(|f| u16::from_be_bytes([f[18], f[19]])).collect())
}

/// A frame of the router's own by the bond.
pub fn own(rig: &mut Rig, frame: &[u8]) -> Out {
    rig.acting(|rig| {
        let mut skb = rig.skb(&Frame::from(frame.to_vec()));
        *skb.fields_mut() = Default::default();
        skb.fields_mut().oif = BOND.0;
        rig.shared.control_cells().created.add(1);
        rig.shared.send_to_lcore(0, ToLcore::Xmit(skb)).unwrap();
    })
}

/// What a device counts: packets, bytes and drops, received and sent.
pub fn counters(rig: &Rig, dev: IfIndex) -> [u64; 6] {
    let c = rig.shared.cells(0).device(dev);
    [&c.rx_packets, &c.rx_bytes, &c.rx_dropped, &c.tx_packets, &c.tx_bytes, &c.tx_dropped].map(|c| c.get())
}
