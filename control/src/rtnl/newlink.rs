//! `ip link add` and `ip link del`.

use skiff_dataplane::net::{IfIndex, MacAddr};

use super::Rtnl;
use super::bond::MAX_NESTING;
use super::effects::Effects;
use super::link::{LinkInit, LinkKind};
use super::vlan::{self, VlanLink};
use crate::ip::{KindSpec, LinkAdd, LinkSet, Refusal, VlanSpec};

/// Largest MTU of devices that no driver bounds (`ETH_MAX_MTU`).
const MAX_MTU: u32 = 65535;
/// MTU of Ethernet.
const ETHERNET_MTU: u32 = 1500;

impl Rtnl {
    /// `link add`. A bond starts with the hardware address `mac`, unless the command gives one.
    ///
    /// # Errors
    /// The kernel's; nothing changed.
    pub fn link_add(&mut self, add: &LinkAdd, mac: MacAddr) -> Result<(IfIndex, Effects), Refusal> {
        if let Some(name) = &add.name {
            self.links.check_name(name)?;
        }
        let lower = add.link.as_deref().map(|name| self.links.find(name)).transpose()?;
        if add.set.address.is_some_and(|mac| !mac.is_valid_unicast()) {
            return Err(Refusal::Invalid("Invalid link address.".to_owned()));
        }
        let init = match &add.set.kind {
            Some(KindSpec::Vlan(spec)) => self.new_vlan(spec, lower, add)?,
            Some(KindSpec::Bond(_)) => self.new_bond(add, mac),
            Some(KindSpec::BondSlave(_)) | None => return Err(unsupported()),
        };
        self.register(init, add)
    }

    fn new_vlan(&self, spec: &VlanSpec, lower: Option<IfIndex>, add: &LinkAdd) -> Result<LinkInit, Refusal> {
        let below = lower.and_then(|dev| self.links.get(dev));
        let below = below.ok_or_else(|| vlan::refused("link not specified"))?;
        let vlan = VlanLink::new(below.ifindex(), spec)?;
        if below.is_loopback() {
            return Err(vlan::refused("VLANs not supported on device"));
        }
        if self.links.by_tag(vlan.real_dev, vlan.proto, vlan.vid).is_some() {
            return Err(vlan::refused("VLAN device already exists"));
        }
        if self.links.depth(below.ifindex()) + 1 > MAX_NESTING {
            return Err(Refusal::Invalid("Too many links".to_owned()));
        }
        if add.set.mtu.is_some_and(|mtu| mtu > below.init.mtu) {
            return Err(Refusal::Invalid("Invalid argument".to_owned()));
        }
        let carrier = below.is_running() || vlan.flags.contains(crate::ip::VlanFlags::BRIDGE_BINDING);
        Ok(LinkInit {
            name: add.name.clone().unwrap_or_else(|| self.links.free_name("vlan")),
            mac: add.set.address.unwrap_or(below.init.mac),
            mtu: add.set.mtu.unwrap_or(below.init.mtu),
            min_mtu: 0,
            max_mtu: MAX_MTU,
            kind: LinkKind::Vlan(Box::new(vlan)),
            carrier,
            rx_queues: 1,
            tx_queues: 1,
        })
    }

    fn new_bond(&self, add: &LinkAdd, mac: MacAddr) -> LinkInit {
        LinkInit {
            name: add.name.clone().unwrap_or_else(|| self.links.free_name("bond")),
            mac: add.set.address.unwrap_or(mac),
            mtu: add.set.mtu.unwrap_or(ETHERNET_MTU),
            min_mtu: 68,
            max_mtu: MAX_MTU,
            kind: LinkKind::Bond(Box::default()),
            carrier: false,
            rx_queues: 16,
            tx_queues: 16,
        }
    }

    /// Adds the device and does to it what else the command says; takes it back if that is refused.
    fn register(&mut self, init: LinkInit, add: &LinkAdd) -> Result<(IfIndex, Effects), Refusal> {
        let name = init.name.clone();
        let dev = self.links.add(init)?;
        if let Some(link) = self.links.get_mut(dev) {
            link.borrowed_mac = add.set.address.is_none();
        }
        let kind = add.set.kind.clone().filter(|kind| matches!(kind, KindSpec::Bond(_)));
        let set = LinkSet { dev: name, name: None, mtu: None, address: None, kind, ..add.set.clone() };
        match self.link_set(&set) {
            Ok(mut effects) => {
                effects.devices.insert(dev);
                Ok((dev, effects))
            }
            Err(refusal) => {
                self.links.remove(dev);
                Err(refusal)
            }
        }
    }

    /// `link del`. VLANs on it go too; members of a bond are set free.
    ///
    /// # Errors
    /// A device that is not there, or that no command made.
    pub fn link_del(&mut self, name: &str) -> Result<Effects, Refusal> {
        let dev = self.links.find(name)?;
        match self.links.get(dev).and_then(|link| link.kind_name()) {
            Some(_) => Ok(self.remove_link(dev)),
            None => Err(unsupported()),
        }
    }
}

/// EOPNOTSUPP.
pub(super) fn unsupported() -> Refusal {
    Refusal::Invalid("Operation not supported".to_owned())
}
