//! VLAN devices on the ports of a rig.

use std::sync::Arc;

use skiff_dataplane::device::vlan::{Vlan, VlanProto};
use skiff_dataplane::device::{DeviceKind, InterfaceAddress, NetDevice};
use skiff_dataplane::fib::next_hop::NextHopSpec;
use skiff_dataplane::neigh::cache::SetMode;
use skiff_dataplane::neigh::nud::{NeighParams, Nud};
use skiff_dataplane::net::IfIndex;

use super::{Rig, To, mac};

/// An 802.1Q VLAN that maps no priorities.
pub fn dot1q(real_dev: IfIndex, vid: u16) -> Vlan {
    Vlan { real_dev, proto: VlanProto::Dot1q, vid, reorder_hdr: true, ingress: [0; 8], egress: vec![] }
}

/// Adds a VLAN device with an address and a neighbour that has the next one.
pub fn add(rig: &mut Rig, ifindex: IfIndex, vlan: Vlan, address: &str) {
    let net = address.parse().map(InterfaceAddress::new).unwrap();
    let real = rig.devices.iter().find(|d| d.ifindex == vlan.real_dev).unwrap();
    let device = NetDevice {
        ifindex,
        name: format!("{}.{}", real.name, vlan.vid),
        kind: DeviceKind::Vlan,
        mac: real.mac,
        mtu: 1500,
        up: true,
        carrier: true,
        addresses: vec![net],
        vlan: Some(Arc::new(vlan)),
        ..NetDevice::absent()
    };
    rig.neigh.set_device(ifindex, device.mac, false, NeighParams::default());
    rig.devices.push(device);
    rig.configure(|_, _| {});
    let addr = net.net.addr().to_bits();
    let link = NextHopSpec::Unicast { oif: ifindex, gateway: None, mtu: 1500, prefsrc: addr };
    rig.route(&net.net.trunc().to_string(), To::Spec(link));
    rig.route(
        &format!("{}/32", net.net.addr()),
        To::Spec(NextHopSpec::Local { oif: ifindex, prefsrc: addr }),
    );
    let (host, mut actions) = (addr + 1, Vec::new());
    let (lladdr, now) = (Some(mac::of(host)), rig.now);
    rig.neigh.set(ifindex, host, lladdr, Nud::Permanent, SetMode::Replace, now, &mut actions).unwrap();
}
