//! VLANs and bonds of a configuration: what the file has no more goes, what is new comes, the rest changes in place.

use skiff_dataplane::device::vlan::VlanProto;
use skiff_dataplane::net::IfIndex;

use super::Router;
use super::links::random_mac;
use super::settings::Settings;
use crate::config::{Bond, Config, Diagnostic, Interface, InterfaceKind, Pos, Vlan, VlanProtocol};
use crate::ip::{KindSpec, LinkAdd, LinkSet, Refusal, VlanFlags, VlanSpec};
use crate::rtnl::{Effects, Link};

impl Router {
    /// Takes away what stood in the old file, or in the way of the new one.
    pub(super) fn remove_uppers(&mut self, old: Option<&Config>, new: &Config) {
        let mut effects = Effects::default();
        let gone = |interface: &&Interface| new.interface(&interface.name.value).is_none();
        let uppers = old.into_iter().flat_map(|old| &old.interfaces).filter(|i| i.port().is_none());
        for interface in uppers.filter(gone) {
            effects.extend(self.rtnl.link_del(&interface.name.value).unwrap_or_default());
        }
        for interface in &new.interfaces {
            let fits = match (&interface.kind, self.rtnl.link_by_name(&interface.name.value)) {
                (InterfaceKind::Port(_), _) | (_, None) => continue,
                (InterfaceKind::Vlan(vlan), Some(link)) => self.is_that_vlan(link, vlan),
                (InterfaceKind::Bond(_), Some(link)) => link.bond().is_some(),
            };
            if !fits {
                effects.extend(self.rtnl.link_del(&interface.name.value).unwrap_or_default());
            } else if let InterfaceKind::Bond(bond) = &interface.kind {
                self.release_others(&interface.name, bond, &mut effects);
            }
        }
        let _ = self.drive(&effects);
        self.carry_out(effects);
    }

    /// Sets free the members the file no longer names, in time for what it says of them.
    fn release_others(&mut self, name: &str, bond: &Bond, effects: &mut Effects) {
        let wanted = |member: &String| bond.members.iter().any(|wanted| wanted.value == *member);
        for member in self.members_of(name).into_iter().filter(|member| !wanted(member)) {
            let set = LinkSet { dev: member, master: Some(None), ..LinkSet::default() };
            effects.extend(self.rtnl.link_set(&set).unwrap_or_default());
        }
    }

    fn is_that_vlan(&self, link: &Link, wanted: &Vlan) -> bool {
        link.vlan().is_some_and(|vlan| {
            let parent = self.rtnl.link(vlan.real_dev).map(Link::name);
            parent == Some(wanted.parent.value.as_str())
                && (vlan.vid, vlan.proto) == (wanted.id.value, proto(wanted.protocol.value))
        })
    }

    /// Makes every bond and VLAN what the file says, all in one step as lcores see it.
    pub(super) fn apply_uppers(&mut self, old: Option<&Config>, new: &Config, faults: &mut Vec<Diagnostic>) {
        let settings = Settings::new(&new.sysctl);
        let mut effects = Effects::default();
        let mut complain = |at: Pos, interface: &Interface, refusal: Refusal| {
            let name = &interface.name.value;
            faults.push(new.diagnostic(at, format!("interface \"{name}\": {refusal}")));
        };
        for interface in &new.interfaces {
            let InterfaceKind::Bond(bond) = &interface.kind else { continue };
            if let Err((at, refusal)) = self.apply_bond(interface, bond, &settings, &mut effects) {
                complain(at, interface, refusal);
            }
        }
        for interface in bottom_up(new) {
            let InterfaceKind::Vlan(vlan) = &interface.kind else { continue };
            let before = old.and_then(|old| old.interface(&interface.name.value));
            if let Err(refusal) = self.apply_vlan(interface, vlan, before, &settings, &mut effects) {
                complain(interface.name.pos, interface, refusal);
            }
        }
        self.carry_out(effects);
    }

    fn apply_vlan(
        &mut self,
        interface: &Interface,
        vlan: &Vlan,
        before: Option<&Interface>,
        settings: &Settings,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let name = &interface.name.value;
        let spec = vlan_spec(vlan, before);
        let mut set = properties(interface);
        let below = self.rtnl.link_by_name(&vlan.parent.value);
        // It comes up with the device below, when that does.
        let later = !below.is_some_and(Link::is_up) && !vlan.flags.contains(VlanFlags::LOOSE_BINDING);
        if later {
            set.up = None;
        }
        set.kind = Some(KindSpec::Vlan(spec));
        if self.rtnl.link_by_name(name).is_some() {
            let changed = self.rtnl.link_set(&set)?;
            self.drive_and_keep(changed, effects)?;
        } else {
            let link = Some(vlan.parent.value.clone());
            self.add_upper(LinkAdd { name: Some(name.clone()), link, set }, settings, effects)?;
        }
        if later && interface.enabled.value {
            self.rtnl.come_up_later(name);
        }
        Ok(())
    }

    fn apply_bond(
        &mut self,
        interface: &Interface,
        bond: &Bond,
        settings: &Settings,
        effects: &mut Effects,
    ) -> Result<(), (Pos, Refusal)> {
        let name = &interface.name.value;
        let here = |refusal| (interface.name.pos, refusal);
        let options = bond.options.iter().map(|(name, value)| (*name, value.value.clone()));
        // A member that has not joined yet may be preferred already.
        let kind = KindSpec::Bond(options.collect());
        if self.rtnl.link_by_name(name).is_none() {
            let set = LinkSet { kind: Some(kind), ..LinkSet::default() };
            self.add_upper(LinkAdd { name: Some(name.clone()), link: None, set }, settings, effects)
                .map_err(here)?;
        } else if self.bond_options(name) != Some(&bond.settled) {
            self.rebuild_bond(name, bond, effects).map_err(here)?;
        }
        self.apply_members(interface, bond, effects)?;
        let set = LinkSet { dev: name.clone(), ..properties(interface) };
        let changed = self.rtnl.link_set(&set).map_err(here)?;
        self.drive_and_keep(changed, effects).map_err(here)
    }

    fn bond_options(&self, name: &str) -> Option<&crate::bond::options::BondOptions> {
        self.rtnl.link_by_name(name)?.bond().map(|bond| &bond.options)
    }

    /// Changes options while the bond is in use, if they are of that kind; else without members and down.
    fn rebuild_bond(&mut self, name: &str, bond: &Bond, effects: &mut Effects) -> Result<(), Refusal> {
        if let Ok(changed) = self.rtnl.set_bond_options(name, &bond.settled, false) {
            return self.drive_and_keep(changed, effects);
        }
        for member in self.members_of(name) {
            self.change(LinkSet { dev: member, master: Some(None), ..LinkSet::default() }, effects)?;
        }
        self.change(LinkSet { dev: name.to_owned(), up: Some(false), ..LinkSet::default() }, effects)?;
        let changed = self.rtnl.set_bond_options(name, &bond.settled, true)?;
        self.drive_and_keep(changed, effects)
    }

    fn apply_members(
        &mut self,
        interface: &Interface,
        bond: &Bond,
        effects: &mut Effects,
    ) -> Result<(), (Pos, Refusal)> {
        let name = &interface.name.value;
        let now = self.members_of(name);
        for member in bond.members.iter().filter(|member| !now.contains(&member.value)) {
            let dev = member.value.clone();
            let down = LinkSet { dev: dev.clone(), up: Some(false), ..LinkSet::default() };
            let join = LinkSet { dev, master: Some(Some(name.clone())), ..LinkSet::default() };
            let joined = self.change(down, effects).and_then(|()| self.change(join, effects));
            joined.map_err(|refusal| (member.pos, refusal))?;
        }
        Ok(())
    }

    fn members_of(&self, bond: &str) -> Vec<String> {
        let members = self.rtnl.link_by_name(bond).and_then(Link::bond).map(|bond| bond.members.clone());
        let name = |dev: IfIndex| self.rtnl.link(dev).map(|link| link.name().to_owned());
        members.unwrap_or_default().into_iter().filter_map(name).collect()
    }

    fn change(&mut self, set: LinkSet, effects: &mut Effects) -> Result<(), Refusal> {
        let changed = self.rtnl.link_set(&set)?;
        self.drive_and_keep(changed, effects)
    }

    fn add_upper(&mut self, add: LinkAdd, settings: &Settings, effects: &mut Effects) -> Result<(), Refusal> {
        let (dev, added) = self.rtnl.link_add(&add, random_mac())?;
        let equipped = self.equip(settings, dev);
        effects.extend(equipped);
        self.drive_and_keep(added, effects)
    }

    /// What was done to the model is done to the tables, whatever drivers say.
    fn drive_and_keep(&mut self, changed: Effects, effects: &mut Effects) -> Result<(), Refusal> {
        let driven = self.drive(&changed);
        effects.extend(changed);
        driven
    }
}

/// The interfaces of a file, each behind the one it stands on.
fn bottom_up(config: &Config) -> Vec<&Interface> {
    let depth = |interface: &Interface| {
        let (mut depth, mut at) = (0, interface);
        // A file that goes round was refused.
        while let InterfaceKind::Vlan(vlan) = &at.kind
            && let Some(below) = config.interface(&vlan.parent.value)
            && depth < config.interfaces.len()
        {
            (depth, at) = (depth + 1, below);
        }
        depth
    };
    let mut interfaces: Vec<&Interface> = config.interfaces.iter().collect();
    interfaces.sort_by_cached_key(|interface| depth(interface));
    interfaces
}

/// What a file says of any interface.
pub(super) fn properties(interface: &Interface) -> LinkSet {
    LinkSet {
        dev: interface.name.value.clone(),
        up: Some(interface.enabled.value),
        mtu: interface.mtu.as_ref().map(|mtu| u32::from(mtu.value)),
        address: interface.mac.as_ref().map(|mac| mac.value),
        promisc: Some(interface.promiscuous.value),
        ..LinkSet::default()
    }
}

/// All a file says of a VLAN. Entries of its maps that were in the file before and are no more map to 0.
fn vlan_spec(vlan: &Vlan, before: Option<&Interface>) -> VlanSpec {
    let before = match before.map(|interface| &interface.kind) {
        Some(InterfaceKind::Vlan(vlan)) => Some(&vlan.value),
        _ => None,
    };
    let cleared = |map: fn(&Vlan) -> &Vec<(u32, u32)>| {
        let old = before.into_iter().flat_map(map).map(|(from, _)| (*from, 0));
        old.chain(map(vlan).iter().copied()).collect()
    };
    VlanSpec {
        protocol: Some(proto(vlan.protocol.value)),
        id: Some(vlan.id.value),
        flags: vlan.flags,
        mask: VlanFlags::all(),
        ingress: cleared(|vlan| &vlan.ingress_qos_map),
        egress: cleared(|vlan| &vlan.egress_qos_map),
    }
}

fn proto(protocol: VlanProtocol) -> VlanProto {
    match protocol {
        VlanProtocol::Dot1q => VlanProto::Dot1q,
        VlanProtocol::Dot1ad => VlanProto::Dot1ad,
    }
}
