//! The model as rows for the printers of `ip`.

use std::cmp::Reverse;

use ipnet::Ipv4Net;
use skiff_dataplane::net::MacAddr;

use super::Rtnl;
use super::info::{InfoId, Slot, passed_over};
use super::link::{Link, Links};
use super::select::Selector;
use crate::bond::options::{BondStatus, MemberStatus};
use crate::ip::{
    AddrFilter, AddrRow, LinkAddrs, LinkDetails, LinkFilter, LinkFlags, LinkRow, LinkStats, LowerLink,
    NextHopRow, OperState, Protocol, Refusal, RouteFilter, RouteFlags, RouteRow, Table,
};

/// Packets a device may queue where nothing says otherwise.
const TX_QUEUE_LEN: u32 = 1000;

/// How many routes one protocol put into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteCount {
    /// The table.
    pub table: Table,
    /// The protocol.
    pub protocol: Protocol,
    /// Routes.
    pub routes: usize,
}

impl Rtnl {
    /// Links for `link show`: the filter's device, or all. Counters are zero and the queueing discipline is
    /// `noqueue`, for the caller to fill in.
    ///
    /// # Errors
    /// [`Refusal::NoSuchDevice`] if the filter names a device that is not there.
    pub fn link_rows(&self, filter: &LinkFilter) -> Result<Vec<LinkRow>, Refusal> {
        Ok(self.selected(filter)?.into_iter().map(|link| link_row(link, &self.links)).collect())
    }

    /// Links and their addresses for `address show`: the filter's device, or all.
    ///
    /// # Errors
    /// As [`link_rows`](Self::link_rows).
    pub fn addr_rows(&self, filter: &AddrFilter) -> Result<Vec<LinkAddrs>, Refusal> {
        let with_addrs =
            |link: &Link| LinkAddrs { link: link_row(link, &self.links), addrs: addr_rows(link) };
        Ok(self.selected(&filter.link)?.into_iter().map(with_addrs).collect())
    }

    fn selected(&self, filter: &LinkFilter) -> Result<Vec<&Link>, Refusal> {
        let links: Vec<&Link> = self
            .links
            .iter()
            .filter(|link| filter.dev.as_ref().is_none_or(|dev| link.name() == dev))
            .collect();
        match &filter.dev {
            Some(dev) if links.is_empty() => Err(Refusal::NoSuchDevice(dev.clone())),
            _ => Ok(links),
        }
    }

    /// The routes a filter lets through, in the kernel's order: table main, then local; by address, longer prefixes
    /// first, then by metric.
    ///
    /// # Errors
    /// [`Refusal::NoDevice`] if the filter names a device that is not there.
    pub fn route_rows(&self, filter: &RouteFilter) -> Result<Vec<RouteRow>, Refusal> {
        let selector = Selector::new(filter, &self.links)?;
        let rows = self.selected_routes(&selector).into_iter();
        Ok(rows.map(|(prefix, id)| self.route_row(prefix, self.routes.infos.get(id))).collect())
    }

    pub(super) fn selected_routes(&self, selector: &Selector<'_>) -> Vec<(Ipv4Net, InfoId)> {
        let passing = |(prefix, chain): (Ipv4Net, &[InfoId])| {
            let ids: Vec<_> = chain
                .iter()
                .copied()
                .filter(|id| selector.passes(&self.routes.infos.get(*id).info))
                .collect();
            ids.into_iter().map(move |id| (prefix, id))
        };
        let mut routes: Vec<_> = match selector.exact() {
            Some(prefix) => passing((prefix, self.routes.chain(prefix))).collect(),
            None => {
                let chains = self.routes.chains().filter(|(prefix, _)| selector.passes_prefix(*prefix));
                chains.flat_map(passing).collect()
            }
        };
        routes.sort_by_key(|(prefix, id)| {
            (self.routes.infos.get(*id).info.table, prefix.addr(), Reverse(prefix.prefix_len()))
        });
        routes
    }

    fn route_row(&self, prefix: Ipv4Net, slot: &Slot) -> RouteRow {
        let info = &slot.info;
        let nexthops = slot.hops().map(|(hop, flags)| NextHopRow {
            via: hop.via,
            dev: self.links.get(hop.dev).map_or_else(String::new, |link| link.name().to_owned()),
            weight: hop.weight,
            flags: {
                let mut flags = flags;
                flags.set(RouteFlags::ONLINK, hop.onlink);
                // What is ignored shows as dead, though it lives when the carrier is back.
                flags.set(RouteFlags::DEAD, passed_over(hop, flags, &self.links));
                flags
            },
        });
        RouteRow {
            kind: info.kind,
            to: prefix,
            nexthops: nexthops.collect(),
            table: info.table,
            protocol: info.protocol,
            scope: info.scope,
            src: info.prefsrc,
            metric: info.priority,
            equalize: info.equalize,
            metrics: info.metrics(),
        }
    }

    /// How many routes there are, by table and protocol.
    pub fn route_count(&self) -> Vec<RouteCount> {
        let mut counts: Vec<RouteCount> = Vec::new();
        for slot in self.routes.infos.iter() {
            let (table, protocol) = (slot.info.table, slot.info.protocol);
            match counts.iter_mut().find(|c| (c.table, c.protocol) == (table, protocol)) {
                Some(count) => count.routes += slot.routes(),
                None => counts.push(RouteCount { table, protocol, routes: slot.routes() }),
            }
        }
        counts.sort_by_key(|count| (count.table, count.protocol.0));
        counts
    }
}

fn link_row(link: &Link, links: &Links) -> LinkRow {
    let below = link.vlan().and_then(|vlan| links.get(vlan.real_dev));
    let master = link.member().and_then(|member| links.get(member.master));
    LinkRow {
        ifindex: u32::from(link.ifindex().0),
        name: link.name().to_owned(),
        lower: below.map(|below| LowerLink { name: below.name().to_owned(), up: below.is_up() }),
        flags: flags(link),
        mtu: link.init.mtu,
        qdisc: "noqueue".to_owned(),
        master: master.map(|master| master.name().to_owned()),
        state: oper_state(link, below),
        qlen: TX_QUEUE_LEN,
        address: link.mac(),
        broadcast: if link.is_loopback() { MacAddr::ZERO } else { MacAddr::BROADCAST },
        details: LinkDetails {
            promiscuity: link.promiscuity,
            min_mtu: link.init.min_mtu,
            max_mtu: link.init.max_mtu,
            tx_queues: link.init.tx_queues,
            rx_queues: link.init.rx_queues,
            kind: link.kind_name(),
            vlan: link.vlan().map(|vlan| vlan.row()),
            bond: link.bond().map(|bond| Box::new((bond.options.clone(), BondStatus::default()))),
            slave: link.member().map(|member| MemberStatus {
                perm_hwaddr: member.perm_mac,
                options: member.options,
                ..MemberStatus::default()
            }),
            ..LinkDetails::default()
        },
        stats: LinkStats::default(),
    }
}

fn flags(link: &Link) -> LinkFlags {
    let mut flags = match link.is_loopback() {
        true => LinkFlags::LOOPBACK,
        false => LinkFlags::BROADCAST | LinkFlags::MULTICAST,
    };
    flags.set(LinkFlags::PROMISC, link.promisc);
    flags.set(LinkFlags::MASTER, link.bond().is_some());
    flags.set(LinkFlags::SLAVE, link.member().is_some());
    flags.set(LinkFlags::UP, link.up);
    flags.set(LinkFlags::RUNNING | LinkFlags::LOWER_UP, link.up && link.has_carrier());
    flags
}

/// As the kernel has it for devices that leave it to their carrier (`default_operstate`).
fn oper_state(link: &Link, below: Option<&Link>) -> OperState {
    match (link.is_running(), link.is_loopback()) {
        (true, true) => OperState::Unknown,
        (true, false) => OperState::Up,
        (false, _) if below.is_some_and(|below| !below.is_running()) => OperState::LowerLayerDown,
        (false, _) => OperState::Down,
    }
}

fn addr_rows(link: &Link) -> Vec<AddrRow> {
    let row = |addr: &super::Addr| AddrRow {
        local: addr.local,
        broadcast: addr.broadcast,
        scope: addr.scope,
        secondary: addr.secondary,
        label: addr.label.clone(),
    };
    link.addresses().map(row).collect()
}
