//! The state rtnetlink speaks of, for IPv4: links, addresses and routes, with the kernel's semantics.
//!
//! A pure model: it does no I/O and knows no time. A command changes it or is refused, and what the change asks of the
//! data plane and of drivers comes back as [`Effects`]. Applied in order to an empty map, [`FibChange`]s are at any time
//! the tables local and main merged: for each prefix its winning route, the local table before main, smaller metrics
//! before larger.
//!
//! ```text
//! ip command -> link, ifaddr -+-> check (next hops resolved) -> table -> Effects
//!                             +-> sync  (next hops die, live)  ->
//! ```
//!
//! There are no policy rules, so a lookup sees both tables as one and the longest prefix wins, whatever its table.

mod addr;
mod bond;
mod chain;
mod check;
mod effects;
mod follow;
mod get;
mod ifaddr;
mod info;
mod link;
mod lookup;
mod newlink;
mod rows;
mod select;
mod sync;
mod table;
#[cfg(test)]
mod tests;
mod vlan;

use skiff_dataplane::net::IfIndex;

pub use addr::Addr;
pub use bond::{BondLink, Member};
pub use effects::{DriverOp, Effects, FibChange, FibHop, FibRoute};
pub use link::{Link, LinkInit, LinkKind};
pub use rows::RouteCount;
pub use vlan::VlanLink;

use crate::bond::options::BondOptions;
use crate::ip::{
    AddrFilter, AddrSpec, AddrVerb, KindSpec, LinkSet, Refusal, RouteFilter, RouteSpec, RouteVerb, VlanFlags,
};
use check::Draft;
use link::Links;
use select::{Pattern, Selector};
use sync::Loss;
use table::Routes;

/// Links, addresses and routes.
#[derive(Debug)]
pub struct Rtnl {
    links: Links,
    routes: Routes,
}

impl Rtnl {
    /// A router with its loopback device, up and with 127.0.0.1/8.
    pub fn new() -> (Rtnl, Effects) {
        let mut rtnl = Rtnl { links: Links::default(), routes: Routes::new() };
        let mut effects = Effects::default();
        // The first name and number cannot be taken.
        if let Ok(lo) = rtnl.links.add(LinkInit::loopback()) {
            rtnl.set_up(lo, true, &mut effects);
        }
        // Nothing drives the loopback device.
        effects.driver.clear();
        (rtnl, effects)
    }

    /// Adds a link, down, under the next number that is free.
    ///
    /// # Errors
    /// [`Refusal::Exists`] for a name that is taken; `Invalid` for a bad name or MTU.
    pub fn add_link(&mut self, init: LinkInit) -> Result<(IfIndex, Effects), Refusal> {
        let dev = self.links.add(init)?;
        Ok((dev, Effects { devices: [dev].into(), ..Effects::default() }))
    }

    /// Removes a link with its addresses, every route that uses it and the VLANs on it; a bond lets go of its members.
    /// Of a device that is not there, nothing.
    pub fn remove_link(&mut self, dev: IfIndex) -> Effects {
        let mut effects = Effects::default();
        let Some(link) = self.links.get(dev) else { return effects };
        let below: Vec<IfIndex> = link.vlan().map(|vlan| vlan.real_dev).into_iter().collect();
        let members = link.bond().map_or_else(Vec::new, |bond| bond.members.clone());
        for vlan in self.links.vlans_on(dev) {
            effects.extend(self.remove_link(vlan));
        }
        for member in &members {
            self.release(*member, &mut effects);
        }
        self.release(dev, &mut effects);
        self.set_up(dev, false, &mut effects);
        while self.links.get(dev).is_some_and(|link| !link.addrs.is_empty()) {
            self.remove_addr(dev, 0, &mut effects);
        }
        self.routes.sync_down(dev, Loss::Device, &self.links, &mut effects);
        self.links.remove(dev);
        effects.devices.insert(dev);
        effects.flush_neighbours.push(dev);
        self.settle_promiscuity(below.into_iter().chain(members));
        effects
    }

    /// A link by its number.
    pub fn link(&self, dev: IfIndex) -> Option<&Link> {
        self.links.get(dev)
    }

    /// A link by its name.
    pub fn link_by_name(&self, name: &str) -> Option<&Link> {
        self.links.find(name).ok().and_then(|dev| self.links.get(dev))
    }

    /// Every link, by number.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.iter()
    }

    /// The number of the device a command names.
    ///
    /// # Errors
    /// [`Refusal::NoDevice`] if it is not there.
    pub fn find(&self, name: &str) -> Result<IfIndex, Refusal> {
        self.links.find(name)
    }

    /// `link set`. All of it or, if any is refused, nothing. A device may be renamed while it is up.
    ///
    /// # Errors
    /// A device that is not there, or a value it does not take.
    pub fn link_set(&mut self, set: &LinkSet) -> Result<Effects, Refusal> {
        let dev = self.links.find(&set.dev)?;
        let options = self.check_set(dev, set)?;
        let mut effects = Effects::default();
        self.change_kind(dev, set, &mut effects);
        if let Some(options) = options {
            self.change_options(dev, options, set, &mut effects);
        }
        self.change_link(dev, set, &mut effects);
        if let Some(master) = &set.master {
            let master = master.as_deref().and_then(|name| self.links.find(name).ok());
            self.set_master(dev, master, &mut effects);
        }
        if let Some(up) = set.up {
            if let Some(link) = self.links.get_mut(dev) {
                link.resume = false;
            }
            self.set_up(dev, up, &mut effects);
        }
        let touched: Vec<IfIndex> = effects.devices.iter().rev().copied().collect();
        self.settle_promiscuity(touched);
        Ok(effects)
    }

    /// Refuses what cannot be; gives what the options of a bond come to.
    fn check_set(&self, dev: IfIndex, set: &LinkSet) -> Result<Option<BondOptions>, Refusal> {
        let Some(link) = self.links.get(dev) else { return Ok(None) };
        match (&set.kind, link.kind()) {
            (None, _) | (Some(KindSpec::Vlan(_)), LinkKind::Vlan(_)) => {}
            (Some(KindSpec::Bond(_)), LinkKind::Bond(_)) => {}
            (Some(KindSpec::BondSlave(_)), _) if link.member().is_some() => {}
            (Some(_), _) => return Err(newlink::unsupported()),
        }
        if set.address.is_some_and(|mac| !mac.is_valid_unicast()) {
            return Err(Refusal::Invalid("Cannot assign requested address".to_owned()));
        }
        if let Some(mtu) = set.mtu {
            self.check_mtu(link, mtu)?;
        }
        match set.name.as_deref() {
            Some(name) if name != link.name() => self.links.check_name(name)?,
            _ => {}
        }
        self.check_master(dev, set)?;
        self.check_up(link, set)?;
        self.changed_options(link, set)
    }

    /// What the device takes, and what those it stands on or has for members take.
    fn check_mtu(&self, link: &Link, mtu: u32) -> Result<(), Refusal> {
        link.check_mtu(mtu)?;
        if let Some(below) = link.vlan().and_then(|vlan| self.links.get(vlan.real_dev))
            && mtu > below.init.mtu
        {
            return Err(Refusal::Invalid("Numerical result out of range".to_owned()));
        }
        let members = link.bond().map_or(&[][..], |bond| &bond.members);
        members
            .iter()
            .filter_map(|member| self.links.get(*member))
            .try_for_each(|member| member.check_mtu(mtu))
    }

    /// A VLAN cannot be up on a device that is down, unless it is bound loosely.
    fn check_up(&self, link: &Link, set: &LinkSet) -> Result<(), Refusal> {
        let Some(vlan) = link.vlan().filter(|_| set.up == Some(true) && !link.is_up()) else { return Ok(()) };
        let loose = match &set.kind {
            Some(KindSpec::Vlan(spec)) if spec.mask.contains(VlanFlags::LOOSE_BINDING) => {
                spec.flags.contains(VlanFlags::LOOSE_BINDING)
            }
            _ => vlan.is_loose(),
        };
        let below_up = self.links.get(vlan.real_dev).is_some_and(Link::is_up);
        if loose || below_up { Ok(()) } else { Err(Refusal::Invalid("Network is down".to_owned())) }
    }

    fn change_kind(&mut self, dev: IfIndex, set: &LinkSet, effects: &mut Effects) {
        let Some(link) = self.links.get_mut(dev) else { return };
        match &set.kind {
            Some(KindSpec::Vlan(spec)) => {
                let Some(vlan) = link.vlan_mut() else { return };
                vlan.change(spec);
                let real_dev = vlan.real_dev;
                self.carry_carrier_up(real_dev, effects);
            }
            Some(KindSpec::BondSlave(spec)) => {
                let Some(member) = &mut link.member else { return };
                member.change(spec);
            }
            Some(KindSpec::Bond(_)) | None => return,
        }
        effects.devices.insert(dev);
    }

    fn change_link(&mut self, dev: IfIndex, set: &LinkSet, effects: &mut Effects) {
        let Some(link) = self.links.get_mut(dev) else { return };
        if let Some(mac) = set.address {
            link.borrowed_mac = false;
            self.set_mac(dev, mac, effects);
        }
        let Some(link) = self.links.get_mut(dev) else { return };
        if let Some(promisc) = set.promisc.filter(|promisc| *promisc != link.promisc) {
            link.promisc = promisc;
            effects.devices.insert(dev);
            // Where others still want every frame, it goes on.
            if link.is_driven() && (promisc || link.promiscuity <= 1) {
                effects.driver.push(DriverOp::SetPromisc(dev, promisc));
            }
        }
        if let Some(mtu) = set.mtu {
            self.set_mtu(dev, mtu, effects);
        }
        let Some(link) = self.links.get(dev) else { return };
        if let Some(name) = set.name.as_deref().filter(|name| *name != link.init.name) {
            self.links.rename(dev, name);
            if let Some(link) = self.links.get_mut(dev) {
                link.relabel();
            }
            effects.devices.insert(dev);
        }
    }

    fn set_up(&mut self, dev: IfIndex, up: bool, effects: &mut Effects) {
        let Some(link) = self.links.get_mut(dev).filter(|link| link.up != up) else { return };
        link.up = up;
        if link.is_driven() {
            effects.driver.push(DriverOp::SetUp(dev, up));
        }
        effects.devices.insert(dev);
        if !up {
            self.routes.sync_down(dev, Loss::Down, &self.links, effects);
            effects.flush_neighbours.push(dev);
            self.take_vlans_down(dev, effects);
            return;
        }
        self.borrow_mac(dev, effects);
        let Some(link) = self.links.get(dev) else { return };
        let addrs = link.addrs.clone();
        announce(link, effects);
        if addrs.is_empty() && link.is_loopback() {
            // A loopback device without any address takes this one always.
            let _ = self.insert_addr(dev, Addr::loopback(), effects);
        }
        for addr in &addrs {
            self.add_addr_routes(dev, addr, effects);
        }
        self.revive(dev, effects);
        self.bring_vlans_up(dev, effects);
    }

    /// The physical link came or went. Routes stay, marked; neighbours are forgotten.
    pub fn set_carrier(&mut self, dev: IfIndex, carrier: bool) -> Effects {
        let mut effects = Effects::default();
        if self.links.get(dev).is_some_and(|link| link.init.carrier != carrier) {
            self.change_carrier(dev, carrier, &mut effects);
        }
        effects
    }

    /// `ignore_routes_with_linkdown` of a device. Unlike the kernel, which waits for the next event, multipath routes
    /// are weighed anew at once.
    pub fn set_ignore_linkdown(&mut self, dev: IfIndex, ignore: bool) -> Effects {
        let mut effects = Effects::default();
        if let Some(link) = self.links.get_mut(dev).filter(|link| link.ignore_linkdown != ignore) {
            link.ignore_linkdown = ignore;
            self.routes.linkdown_rule_changed(dev, &self.links, &mut effects);
        }
        effects
    }

    /// `address add`, `del`, `change`, `replace`. As in the kernel, `change` adds an address that is not there, and
    /// 0.0.0.0 is taken for no address.
    ///
    /// # Errors
    /// The kernel's; nothing changed.
    pub fn addr_modify(&mut self, verb: AddrVerb, spec: &AddrSpec) -> Result<Effects, Refusal> {
        let mut effects = Effects::default();
        match verb {
            AddrVerb::Del => self.del_addr(spec, &mut effects)?,
            _ => self.add_addr(verb, spec, &mut effects)?,
        }
        Ok(effects)
    }

    /// `address flush`: takes away what the filter lets through.
    ///
    /// # Errors
    /// A device that is not there.
    pub fn addr_flush(&mut self, filter: &AddrFilter) -> Result<Effects, Refusal> {
        let only = filter.link.dev.as_deref().map(|name| self.links.find(name)).transpose()?;
        let fits = |link: &&Link| {
            only.is_none_or(|dev| link.ifindex() == dev)
                && (link.up || !filter.link.up)
                && filter.link.kind.as_deref().is_none_or(|kind| link.kind_name() == Some(kind))
        };
        let devs: Vec<IfIndex> = self.links.iter().filter(fits).map(Link::ifindex).collect();
        let passes = |addr: &Addr| {
            filter.to.is_none_or(|to| {
                to.prefix_len() <= addr.local.prefix_len() && to.contains(&addr.local.addr())
            }) && filter.scope.is_none_or(|scope| addr.scope == scope)
        };
        let mut effects = Effects::default();
        for dev in devs {
            while let Some(at) = self.links.get(dev).and_then(|link| link.addrs.iter().position(passes)) {
                self.remove_addr(dev, at, &mut effects);
            }
        }
        Ok(effects)
    }

    /// `route add`, `del`, `change`, `replace`, `append`, with what the kernel takes for equal.
    ///
    /// # Errors
    /// The kernel's; nothing changed.
    pub fn route_modify(&mut self, verb: RouteVerb, spec: &RouteSpec) -> Result<Effects, Refusal> {
        let mut effects = Effects::default();
        if verb == RouteVerb::Del {
            let pattern = Pattern::from_spec(spec, &self.links)?;
            if spec.to != spec.to.trunc() {
                return Err(Refusal::InvalidPrefix);
            }
            if !self.routes.remove(spec.to, |slot| pattern.matches(&slot.info), &mut effects) {
                return Err(Refusal::NoSuchProcess);
            }
        } else {
            self.add_route(Draft::from_spec(spec, &self.links)?, verb, &mut effects)?;
        }
        Ok(effects)
    }

    fn add_route(&mut self, draft: Draft, verb: RouteVerb, effects: &mut Effects) -> Result<(), Refusal> {
        let prefix = draft.prefix;
        let info = self.routes.resolve(draft, &self.links)?;
        let id = self.routes.infos.intern(info, &self.links);
        self.routes.insert(prefix, id, verb, effects)
    }

    /// `route flush`: takes away what the filter lets through.
    ///
    /// # Errors
    /// A device that is not there.
    pub fn route_flush(&mut self, filter: &RouteFilter) -> Result<Effects, Refusal> {
        let selector = Selector::new(filter, &self.links)?;
        let mut effects = Effects::default();
        for (prefix, _) in self.selected_routes(&selector) {
            self.routes.remove(prefix, |slot| selector.passes(&slot.info), &mut effects);
        }
        Ok(effects)
    }
}

/// Every address of a device that came up or has a new hardware address.
fn announce(link: &Link, effects: &mut Effects) {
    if !link.is_loopback() {
        effects.announce.extend(link.addresses().map(|addr| (link.ifindex, addr.local.addr())));
    }
}
