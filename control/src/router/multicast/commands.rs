//! `skiff ip mroute` and `skiff ip maddr` on the running router.

use std::net::Ipv4Addr;

use skiff_dataplane::ipv4::ipmr::Vif;
use skiff_dataplane::net::IfIndex;

use super::state::{Key, Route};
use crate::facts::{MulticastFacts, VifFacts};
use crate::ip::{MaddrRow, MaddrSpec, MrouteKey, MrouteRow, MrouteSpec, Refusal};
use crate::router::{Router, bits};

impl Router {
    /// The rows of `mroute show`, by group and source; those packets wait for come last.
    pub(in crate::router) fn mroute_rows(&self) -> Vec<MrouteRow> {
        let mut routes: Vec<(&Key, &Route)> = self.mc.fixed.iter().chain(&self.mc.learnt).collect();
        routes.sort_by_key(|(key, _)| **key);
        let resolved = routes.into_iter().map(|(key, route)| self.mroute_row(key, route));
        let waiting = self.mc.waiting.iter().map(|entry| MrouteRow {
            source: Ipv4Addr::from_bits(entry.source),
            group: Ipv4Addr::from_bits(entry.group),
            ..MrouteRow::default()
        });
        resolved.chain(waiting).collect()
    }

    fn mroute_row(&self, &(group, source, _): &Key, route: &Route) -> MrouteRow {
        let cells = &route.stats.cells;
        MrouteRow {
            source: Ipv4Addr::from_bits(source),
            group: Ipv4Addr::from_bits(group),
            iif: Some(self.name_of(route.iif)),
            oifs: route.oifs.iter().map(|(&dev, &ttl)| (self.name_of(dev), ttl)).collect(),
            packets: cells.sum(|cell| &cell.packets),
            bytes: cells.sum(|cell| &cell.bytes),
            wrong_if: cells.sum(|cell| &cell.wrong_if),
            age_ms: u64::try_from(route.age(self.clock.now()).as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// What metrics say of multicast.
    pub(in crate::router) fn multicast_facts(&self) -> MulticastFacts {
        let (mc, events) = (&self.mc, self.mc.events);
        let vif = |vif: &Vif| VifFacts {
            interface: self.name_of(vif.dev),
            packets_in: vif.cells.sum(|cell| &cell.packets_in),
            bytes_in: vif.cells.sum(|cell| &cell.bytes_in),
            packets_out: vif.cells.sum(|cell| &cell.packets_out),
            bytes_out: vif.cells.sum(|cell| &cell.bytes_out),
        };
        let queriers = mc.queriers.iter().map(|(&dev, querier)| {
            (self.name_of(dev), querier.memberships().count() as u64, querier.is_querier())
        });
        MulticastFacts {
            entries: vec![
                ("static", mc.fixed.len() as u64),
                ("proxy", mc.learnt.len() as u64),
                ("unresolved", mc.waiting.iter().count() as u64),
            ],
            interfaces: mc.table.vifs().iter().map(vif).collect(),
            upcalls: vec![("no_cache", events.no_cache), ("wrong_interface", events.wrong_vif)],
            queriers: queriers.collect(),
            igmp_in: events.igmp_in,
            igmp_out: events.igmp_out,
            igmp_malformed: events.igmp_malformed,
        }
    }

    fn name_of(&self, dev: IfIndex) -> String {
        self.rtnl.link(dev).map_or_else(|| format!("if{dev}"), |link| link.name().to_owned())
    }

    /// `mroute add`
    pub(in crate::router) fn mroute_add(&mut self, spec: &MrouteSpec) -> Result<(), Refusal> {
        let iif = spec.key.iif.as_deref().ok_or(Refusal::NoNextHop)?;
        let iif = self.rtnl.find(iif)?;
        let mut oifs = Vec::new();
        for (dev, ttl) in &spec.oifs {
            oifs.push((self.rtnl.find(dev)?, *ttl));
        }
        let (group, source) = (bits(spec.key.group), bits(spec.key.source));
        if skiff_dataplane::skb::ipv4::is_local_multicast(group) {
            return Err(Refusal::Invalid("224.0.0.0/24 is never forwarded".to_owned()));
        }
        self.mc.add_route(group, source, iif, oifs, self.clock.now())?;
        self.mc_publish();
        Ok(())
    }

    /// `mroute del`
    pub(in crate::router) fn mroute_del(&mut self, key: &MrouteKey) -> Result<(), Refusal> {
        let (group, source) = (bits(key.group), bits(key.source));
        let iif = match &key.iif {
            Some(dev) => self.rtnl.find(dev)?,
            None if (group, source) == (0, 0) => {
                return Err(Refusal::Invalid("\"iif DEVICE\" says which".to_owned()));
            }
            None => IfIndex::NONE,
        };
        if !self.mc.delete_route(group, source, iif) {
            return Err(Refusal::NoSuchEntry);
        }
        self.mc_publish();
        Ok(())
    }

    /// The rows of `maddr show`, of one device or all that are up.
    pub(in crate::router) fn maddr_rows(&self, dev: Option<&str>) -> Result<Vec<MaddrRow>, Refusal> {
        if let Some(name) = dev
            && self.rtnl.find(name).is_err()
        {
            return Err(Refusal::NoSuchDevice(name.to_owned()));
        }
        let links = self.rtnl.links().filter(|link| dev.is_none_or(|dev| dev == link.name()));
        let row = |link: &crate::rtnl::Link| MaddrRow {
            ifindex: link.ifindex().0.into(),
            ifname: link.name().to_owned(),
            groups: self.mc.groups(link.ifindex()).into_iter().map(Ipv4Addr::from_bits).collect(),
        };
        Ok(links.filter(|link| link.ifindex() != IfIndex::LOOPBACK).map(row).collect())
    }

    /// `maddr add`
    pub(in crate::router) fn maddr_add(&mut self, spec: &MaddrSpec) -> Result<(), Refusal> {
        let (dev, group) = (self.rtnl.find(&spec.dev)?, bits(spec.group));
        if self.mc.groups(dev).contains(&group) {
            return Err(Refusal::Exists);
        }
        if self.mc.joined.iter().filter(|(on, _)| *on == dev).count() >= self.mc.max_memberships {
            return Err(Refusal::Invalid("No buffer space available".to_owned()));
        }
        self.mc.joined.insert((dev, group));
        self.membership_changed(dev, group);
        Ok(())
    }

    /// `maddr del`
    pub(in crate::router) fn maddr_del(&mut self, spec: &MaddrSpec) -> Result<(), Refusal> {
        let (dev, group) = (self.rtnl.find(&spec.dev)?, bits(spec.group));
        if !self.mc.joined.remove(&(dev, group)) {
            return Err(Refusal::NoSuchEntry);
        }
        self.membership_changed(dev, group);
        Ok(())
    }

    fn membership_changed(&mut self, dev: IfIndex, group: u32) {
        self.mc.dirty = true;
        self.report(dev, group, self.clock.now());
        self.mc_publish();
    }
}
