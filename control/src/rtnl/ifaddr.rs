//! Addresses and the routes the kernel makes of them.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use skiff_dataplane::net::IfIndex;

use super::Rtnl;
use super::addr::Addr;
use super::check::{Draft, DraftHop};
use super::effects::Effects;
use super::link::Link;
use super::select::Pattern;
use super::sync::Loss;
use crate::ip::{AddrSpec, AddrVerb, Protocol, Refusal, RouteFlags, RouteType, RouteVerb, Scope, Table};

impl Rtnl {
    pub(super) fn add_addr(
        &mut self,
        verb: AddrVerb,
        spec: &AddrSpec,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let dev = self.links.find(&spec.dev)?;
        let Some(link) = self.links.get(dev) else { return Ok(()) };
        if link.addrs.iter().any(|addr| addr.local == spec.local) {
            // What could change of an address that is there (lifetimes, route metric), no command names.
            return if verb == AddrVerb::Add { Err(Refusal::AddressExists) } else { Ok(()) };
        }
        self.insert_addr(dev, Addr::from_spec(spec), effects)
    }

    pub(super) fn insert_addr(
        &mut self,
        dev: IfIndex,
        addr: Addr,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let Some(link) = self.links.get_mut(dev) else { return Ok(()) };
        let Some(at) = link.insert_addr(addr)? else { return Ok(()) };
        let addr = link.addrs[at].clone();
        self.add_addr_routes(dev, &addr, effects);
        self.revive(dev, effects);
        self.routes.addresses_changed(dev, &self.links, effects);
        effects.devices.insert(dev);
        Ok(())
    }

    pub(super) fn del_addr(&mut self, spec: &AddrSpec, effects: &mut Effects) -> Result<(), Refusal> {
        let dev = self.links.find(&spec.dev)?;
        let Some(link) = self.links.get(dev) else { return Ok(()) };
        let meant =
            |addr: &Addr| addr.local == spec.local && spec.label.as_ref().is_none_or(|l| *l == addr.label);
        let at = link.addrs.iter().position(meant).ok_or(Refusal::AddressNotFound)?;
        self.remove_addr(dev, at, effects);
        Ok(())
    }

    /// Takes away an address, and with a primary one every secondary one of its subnet (`promote_secondaries` is off).
    pub(super) fn remove_addr(&mut self, dev: IfIndex, at: usize, effects: &mut Effects) {
        let Some(link) = self.links.get(dev) else { return };
        let addr = link.addrs[at].clone();
        if !addr.secondary {
            while let Some(secondary) = self.take_secondary(dev, &addr) {
                self.del_addr_routes(dev, &secondary, effects);
            }
        }
        if let Some(link) = self.links.get_mut(dev) {
            link.addrs.retain(|a| a.local != addr.local);
        }
        self.del_addr_routes(dev, &addr, effects);
        if self.links.get(dev).is_some_and(|link| link.addrs.is_empty()) {
            self.routes.sync_down(dev, Loss::Addresses, &self.links, effects);
            effects.flush_neighbours.push(dev);
        }
        self.routes.addresses_changed(dev, &self.links, effects);
        effects.devices.insert(dev);
    }

    fn take_secondary(&mut self, dev: IfIndex, primary: &Addr) -> Option<Addr> {
        let link = self.links.get_mut(dev)?;
        let at = link.addrs.iter().position(|a| a.secondary && a.same_subnet(primary))?;
        Some(link.addrs.remove(at))
    }

    /// Next hops on a device live again, if it is up.
    pub(super) fn revive(&mut self, dev: IfIndex, effects: &mut Effects) {
        let Some(link) = self.links.get(dev).filter(|link| link.is_up()) else { return };
        let mask =
            if link.has_carrier() { RouteFlags::DEAD | RouteFlags::LINKDOWN } else { RouteFlags::DEAD };
        self.routes.sync_up(dev, mask, &self.links, effects);
    }

    /// The routes of an address (`fib_add_ifaddr`). Those that are there already stay.
    pub(super) fn add_addr_routes(&mut self, dev: IfIndex, addr: &Addr, effects: &mut Effects) {
        let Some(link) = self.links.get(dev) else { return };
        let Some(src) = link.primary_of(addr).map(|primary| primary.local.addr()) else { return };
        let (up, subnet_kind) = (link.is_up(), subnet_kind(link));
        self.magic_add(dev, RouteType::Local, addr.local.addr().into(), src, effects);
        if !up {
            return;
        }
        if let Some(broadcast) = addr.broadcast.filter(|b| !b.is_broadcast()) {
            self.magic_add(dev, RouteType::Broadcast, broadcast.into(), src, effects);
        }
        if addr.has_subnet() && !addr.secondary {
            self.magic_add(dev, subnet_kind, addr.local.trunc(), src, effects);
            if let Some(broadcast) = addr.subnet_broadcast() {
                self.magic_add(dev, RouteType::Broadcast, broadcast.into(), src, effects);
            }
        }
    }

    /// Takes away the routes of an address that is no longer in its link's list, except those that another address
    /// with the same source keeps (`fib_del_ifaddr`).
    fn del_addr_routes(&mut self, dev: IfIndex, addr: &Addr, effects: &mut Effects) {
        let Some(link) = self.links.get(dev) else { return };
        let Some(src) = link.primary_of(addr).map(|primary| primary.local.addr()) else { return };
        let subnet_kind = subnet_kind(link);
        let local_kept = keepers(link, src).any(|(a, _)| a.local.addr() == addr.local.addr());
        let broadcast_kept = |broadcast: Ipv4Addr| {
            keepers(link, src).any(|(a, primary)| {
                a.broadcast == Some(broadcast) || primary && a.claims_broadcast(broadcast)
            })
        };
        let subnet = addr.has_subnet() && !addr.secondary;
        // The kernel makes no route for the all-zeros broadcast by itself, but takes away one that `brd -` made.
        let own = addr.subnet_broadcast().filter(|_| subnet).map(|ones| [ones, addr.local.network()]);
        let mut lost: Vec<_> = addr.broadcast.into_iter().chain(own.into_iter().flatten()).collect();
        lost.retain(|broadcast| !broadcast_kept(*broadcast));
        if subnet {
            self.magic_del(dev, subnet_kind, addr.local.trunc(), src, effects);
        }
        for broadcast in lost {
            self.magic_del(dev, RouteType::Broadcast, broadcast.into(), src, effects);
        }
        if local_kept {
            return;
        }
        self.magic_del(dev, RouteType::Local, addr.local.addr().into(), src, effects);
        if self.routes.address_type(addr.local.addr()) != RouteType::Local {
            self.routes.source_gone(addr.local.addr(), effects);
        }
    }

    fn magic_add(
        &mut self,
        dev: IfIndex,
        kind: RouteType,
        prefix: Ipv4Net,
        src: Ipv4Addr,
        effects: &mut Effects,
    ) {
        let draft = Draft {
            prefix,
            kind,
            table: magic_table(kind),
            protocol: Protocol::KERNEL,
            scope: magic_scope(kind),
            prefsrc: Some(src),
            priority: 0,
            mtu: None,
            mtu_lock: false,
            equalize: false,
            hops: vec![DraftHop { via: None, dev: Some(dev), weight: 1, onlink: false }],
        };
        // As in the kernel: a route that cannot be made, or is there, does not stop the address.
        let _ = self.add_route(draft, RouteVerb::Append, effects);
    }

    fn magic_del(
        &mut self,
        dev: IfIndex,
        kind: RouteType,
        prefix: Ipv4Net,
        src: Ipv4Addr,
        effects: &mut Effects,
    ) {
        let pattern = Pattern {
            table: magic_table(kind),
            kind: Some(kind),
            scope: Some(magic_scope(kind)),
            protocol: Some(Protocol::KERNEL),
            prefsrc: Some(src),
            priority: None,
            mtu: None,
            mtu_lock: false,
            hops: vec![(None, Some(dev))],
        };
        self.routes.remove(prefix, |slot| pattern.matches(&slot.info), effects);
    }
}

/// The addresses of a link whose routes have this source, and whether they are primary.
fn keepers(link: &Link, src: Ipv4Addr) -> impl Iterator<Item = (&Addr, bool)> {
    let shares = move |a: &&Addr| link.primary_of(a).is_some_and(|primary| primary.local.addr() == src);
    link.addresses().filter(shares).map(|a| (a, !a.secondary))
}

/// On the loopback device all of a subnet is local.
fn subnet_kind(link: &Link) -> RouteType {
    if link.is_loopback() { RouteType::Local } else { RouteType::Unicast }
}

fn magic_table(kind: RouteType) -> Table {
    if kind == RouteType::Unicast { Table::MAIN } else { Table::LOCAL }
}

fn magic_scope(kind: RouteType) -> Scope {
    if kind == RouteType::Local { Scope::HOST } else { Scope::LINK }
}
