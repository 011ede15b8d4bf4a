//! Devices follow those they lie on: a VLAN its device's state, MTU and hardware address, members their bond's.

use skiff_dataplane::net::{IfIndex, MacAddr};

use super::effects::{DriverOp, Effects};
use super::link::{Link, LinkKind};
use super::sync::Loss;
use super::{Rtnl, announce};
use crate::ip::{RouteFlags, VlanFlags};

impl Rtnl {
    /// Changes the MTU; VLANs that would be larger shrink with it, a bond's members take it too.
    pub(super) fn set_mtu(&mut self, dev: IfIndex, mtu: u32, effects: &mut Effects) {
        let Some(link) = self.links.get_mut(dev).filter(|link| link.init.mtu != mtu) else { return };
        link.init.mtu = mtu;
        if link.is_driven() {
            effects.driver.push(DriverOp::SetMtu(dev, mtu));
        }
        effects.devices.insert(dev);
        for member in self.members(dev) {
            self.set_mtu(member, mtu, effects);
        }
        self.routes.mtu_changed(dev, &self.links, effects);
        for vlan in self.links.vlans_on(dev) {
            if self.links.get(vlan).is_some_and(|link| link.init.mtu > mtu) {
                self.set_mtu(vlan, mtu, effects);
            }
        }
    }

    /// Changes the hardware address, and that of the VLANs that are up and follow, and of a bond's members.
    pub(super) fn set_mac(&mut self, dev: IfIndex, mac: MacAddr, effects: &mut Effects) {
        let Some(link) = self.links.get_mut(dev).filter(|link| link.init.mac != mac) else { return };
        link.init.mac = mac;
        if link.is_driven() {
            effects.driver.push(DriverOp::SetMac(dev, mac));
        }
        effects.flush_neighbours.push(dev);
        if link.up {
            announce(link, effects);
        }
        effects.devices.insert(dev);
        let lends = self.links.get(dev).and_then(Link::bond).is_some_and(|bond| bond.lends_mac());
        for member in self.members(dev).into_iter().filter(|_| lends) {
            self.set_mac(member, mac, effects);
        }
        for vlan in self.links.vlans_on(dev) {
            if self.links.get(vlan).is_some_and(|link| link.up && link.borrowed_mac) {
                self.set_mac(vlan, mac, effects);
            }
        }
    }

    /// Gives a device a hardware address that its bond has chosen: only it.
    pub fn assign_mac(&mut self, dev: IfIndex, mac: MacAddr) -> Effects {
        let mut effects = Effects::default();
        self.set_mac(dev, mac, &mut effects);
        effects
    }

    /// A VLAN that comes up takes the address of the device below, if nobody set its own.
    pub(super) fn borrow_mac(&mut self, dev: IfIndex, effects: &mut Effects) {
        let Some(link) = self.links.get(dev).filter(|link| link.borrowed_mac) else { return };
        let below = link.vlan().and_then(|vlan| self.links.get(vlan.real_dev)).map(|below| below.init.mac);
        if let Some(mac) = below {
            self.set_mac(dev, mac, effects);
        }
    }

    /// A VLAN that is down comes up when the device below does.
    pub fn come_up_later(&mut self, name: &str) {
        let dev = self.links.find(name).ok();
        if let Some(link) = dev.and_then(|dev| self.links.get_mut(dev)).filter(|link| !link.up) {
            link.resume = true;
        }
    }

    /// The ports a device stands on: itself, if it is one.
    pub fn ports_under(&self, dev: IfIndex) -> Vec<IfIndex> {
        match self.links.get(dev).map(Link::kind) {
            Some(LinkKind::Vlan(vlan)) => self.ports_under(vlan.real_dev),
            Some(LinkKind::Bond(bond)) => bond.members.clone(),
            Some(LinkKind::Port) => vec![dev],
            Some(LinkKind::Loopback) | None => Vec::new(),
        }
    }

    fn members(&self, dev: IfIndex) -> Vec<IfIndex> {
        self.links.get(dev).and_then(Link::bond).map_or_else(Vec::new, |bond| bond.members.clone())
    }

    /// A device went down: its VLANs go with it, to come back with it.
    pub(super) fn take_vlans_down(&mut self, dev: IfIndex, effects: &mut Effects) {
        for vlan in self.links.vlans_on(dev) {
            let Some(link) = self.links.get_mut(vlan) else { continue };
            if link.up && !link.vlan().is_some_and(|vlan| vlan.is_loose()) {
                link.resume = true;
                self.set_up(vlan, false, effects);
            }
        }
        self.carry_carrier_up(dev, effects);
    }

    /// A device came up: the VLANs that went down with it come back. (The kernel brings up those that never were up,
    /// too.)
    pub(super) fn bring_vlans_up(&mut self, dev: IfIndex, effects: &mut Effects) {
        self.carry_carrier_up(dev, effects);
        for vlan in self.links.vlans_on(dev) {
            let Some(link) = self.links.get_mut(vlan) else { continue };
            if std::mem::take(&mut link.resume) {
                self.set_up(vlan, true, effects);
            }
        }
    }

    /// VLANs have a carrier while the device below is running.
    pub(super) fn carry_carrier_up(&mut self, dev: IfIndex, effects: &mut Effects) {
        let running = self.links.get(dev).is_some_and(Link::is_running);
        for vlan in self.links.vlans_on(dev) {
            let follows = |link: &&mut Link| {
                link.vlan().is_some_and(|vlan| !vlan.flags.contains(VlanFlags::BRIDGE_BINDING))
            };
            let Some(link) = self.links.get_mut(vlan).filter(follows) else { continue };
            if link.init.carrier != running {
                self.change_carrier(vlan, running, effects);
            }
        }
    }

    /// The carrier of a device changed: its routes know, and what lies on it.
    pub(super) fn change_carrier(&mut self, dev: IfIndex, carrier: bool, effects: &mut Effects) {
        let Some(link) = self.links.get_mut(dev) else { return };
        link.init.carrier = carrier;
        effects.devices.insert(dev);
        if !link.up {
            return;
        }
        if carrier {
            self.routes.sync_up(dev, RouteFlags::LINKDOWN, &self.links, effects);
        } else {
            self.routes.sync_down(dev, Loss::Carrier, &self.links, effects);
            effects.carrier_lost.push(dev);
        }
        self.carry_carrier_up(dev, effects);
    }

    /// Counts anew, from the given devices down, who asked devices to take every frame. Drivers hear of it where ports
    /// are told what stands on them.
    pub(super) fn settle_promiscuity(&mut self, devs: impl IntoIterator<Item = IfIndex>) {
        let mut todo: Vec<IfIndex> = devs.into_iter().collect();
        while let Some(dev) = todo.pop() {
            let Some(count) = self.links.get(dev).map(|link| self.promiscuity(link)) else { continue };
            let Some(link) = self.links.get_mut(dev) else { continue };
            link.promiscuity = count;
            match link.kind() {
                LinkKind::Vlan(vlan) => todo.push(vlan.real_dev),
                LinkKind::Bond(bond) => todo.extend(&bond.members),
                LinkKind::Loopback | LinkKind::Port => {}
            }
        }
    }

    /// How many asked a device to take every frame: its user, VLANs that are up, its bond.
    pub(super) fn promiscuity(&self, link: &Link) -> u32 {
        let vlans = self.links.vlans_on(link.ifindex()).into_iter().filter_map(|vlan| self.links.get(vlan));
        let taken = vlans.filter(|vlan| vlan.up && vlan.promiscuity > 0).count() as u32;
        let master = link.member().and_then(|member| self.links.get(member.master));
        let bonded = master.is_some_and(|bond| bond.promiscuity > 0);
        u32::from(link.promisc) + taken + u32::from(bonded)
    }
}
