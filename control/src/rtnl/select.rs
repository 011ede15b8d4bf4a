//! Which routes a command or a show means.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use skiff_dataplane::net::IfIndex;

use super::check::table_of;
use super::info::{Hop, Info};
use super::link::Links;
use crate::ip::{
    PrefixFilter, Protocol, Refusal, RouteFilter, RouteSpec, RouteType, Scope, Table, TableFilter,
};

/// The route a `del` describes; what it leaves out matches anything (`fib_table_delete`).
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub(super) table: Table,
    pub(super) kind: Option<RouteType>,
    pub(super) scope: Option<Scope>,
    pub(super) protocol: Option<Protocol>,
    pub(super) prefsrc: Option<Ipv4Addr>,
    pub(super) priority: Option<u32>,
    pub(super) mtu: Option<u32>,
    pub(super) mtu_lock: bool,
    pub(super) hops: Vec<(Option<Ipv4Addr>, Option<IfIndex>)>,
}

impl Pattern {
    pub(super) fn from_spec(spec: &RouteSpec, links: &Links) -> Result<Pattern, Refusal> {
        let scope = match spec.kind {
            Some(RouteType::Local) => Some(Scope::HOST),
            Some(RouteType::Broadcast | RouteType::Multicast) => Some(Scope::LINK),
            _ => None,
        };
        let hops = spec.nexthops.iter().map(|hop| {
            let dev = hop.dev.as_deref().map(|name| links.find(name)).transpose()?;
            Ok((hop.via.filter(|via| !via.is_unspecified()), dev))
        });
        Ok(Pattern {
            table: table_of(spec)?,
            kind: spec.kind,
            scope: spec.scope.or(scope).filter(|scope| scope.0 != 255),
            protocol: spec.protocol.filter(|protocol| protocol.0 != 0),
            prefsrc: spec.src.filter(|src| !src.is_unspecified()),
            priority: spec.metric.filter(|metric| *metric != 0),
            mtu: spec.metrics.mtu,
            mtu_lock: spec.metrics.mtu_lock,
            hops: hops.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn matches(&self, info: &Info) -> bool {
        info.table == self.table
            && self.kind.is_none_or(|kind| info.kind == kind)
            && self.scope.is_none_or(|scope| info.scope == scope)
            && self.prefsrc.is_none_or(|src| info.prefsrc == Some(src))
            && self.protocol.is_none_or(|protocol| info.protocol == protocol)
            && self.priority.is_none_or(|priority| info.priority == priority)
            && self.mtu.is_none_or(|mtu| info.mtu.unwrap_or(0) == mtu)
            && (!self.mtu_lock || info.mtu_lock)
            && self.matches_hops(&info.hops)
    }

    /// One next hop stands for the first of the route, several for each in order.
    fn matches_hops(&self, hops: &[Hop]) -> bool {
        let same = |(via, dev): &(Option<Ipv4Addr>, Option<IfIndex>), hop: &Hop| {
            via.is_none_or(|via| hop.via == Some(via)) && dev.is_none_or(|dev| hop.dev == dev)
        };
        match self.hops.as_slice() {
            [] | [(None, None)] => true,
            [one] => hops.first().is_some_and(|hop| same(one, hop)),
            _ if hops.is_empty() => false,
            several => {
                several.len() >= hops.len() && hops.iter().zip(several).all(|(hop, one)| same(one, hop))
            }
        }
    }
}

/// The routes a filter lets through, with its device looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selector<'a> {
    filter: &'a RouteFilter,
    dev: Option<IfIndex>,
}

impl<'a> Selector<'a> {
    pub(super) fn new(filter: &'a RouteFilter, links: &Links) -> Result<Selector<'a>, Refusal> {
        let dev = filter.dev.as_deref().map(|name| links.find(name)).transpose()?;
        Ok(Selector { filter, dev })
    }

    /// The one prefix it can let through, if it is so narrow.
    pub(super) fn exact(&self) -> Option<Ipv4Net> {
        match self.filter.prefix {
            Some(PrefixFilter::Exact(prefix)) => Some(prefix.trunc()),
            _ => None,
        }
    }

    pub(super) fn passes_prefix(&self, to: Ipv4Net) -> bool {
        match self.filter.prefix {
            None => true,
            Some(PrefixFilter::Exact(prefix)) => to == prefix.trunc(),
            Some(PrefixFilter::Root(prefix)) => prefix.trunc().contains(&to),
            Some(PrefixFilter::Match(prefix)) => to.contains(&prefix.trunc()),
        }
    }

    /// `dev` and `via` select only routes with a single next hop, as in `ip`.
    pub(super) fn passes(&self, info: &Info) -> bool {
        let filter = self.filter;
        let single = match info.hops.as_slice() {
            [hop] => Some(hop),
            _ => None,
        };
        (match filter.table {
            TableFilter::One(table) => info.table == table,
            TableFilter::All => true,
        }) && self.dev.is_none_or(|dev| single.is_some_and(|hop| hop.dev == dev))
            && filter.via.is_none_or(|via| single.is_some_and(|hop| hop.via == Some(via)))
            && filter.src.is_none_or(|src| info.prefsrc == Some(src))
            && filter.protocol.is_none_or(|protocol| info.protocol == protocol)
            && filter.scope.is_none_or(|scope| info.scope == scope)
            && filter.kind.is_none_or(|kind| info.kind == kind)
    }
}
