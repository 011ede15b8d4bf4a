//! Routes to add: completed with the defaults of `ip`, and checked as the kernel checks them.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use skiff_dataplane::net::IfIndex;

use super::info::{Hop, Info};
use super::link::{Link, Links};
use super::lookup::Question;
use super::table::Routes;
use crate::ip::{Protocol, Refusal, RouteSpec, RouteType, Scope, Table};

/// Largest MTU a route may ask for, bytes; more is taken for this (65535 less the kernel's allowance).
const MAX_ROUTE_MTU: u32 = 65_535 - 15;

/// A route to add, before its next hops are resolved.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) prefix: Ipv4Net,
    pub(super) kind: RouteType,
    pub(super) table: Table,
    pub(super) protocol: Protocol,
    pub(super) scope: Scope,
    pub(super) prefsrc: Option<Ipv4Addr>,
    pub(super) priority: u32,
    pub(super) mtu: Option<u32>,
    pub(super) mtu_lock: bool,
    pub(super) equalize: bool,
    pub(super) hops: Vec<DraftHop>,
}

/// A next hop to resolve.
#[derive(Clone, Copy, Debug)]
pub(super) struct DraftHop {
    pub(super) via: Option<Ipv4Addr>,
    pub(super) dev: Option<IfIndex>,
    pub(super) weight: u16,
    pub(super) onlink: bool,
}

impl Draft {
    /// The route of an `ip route` command, with the defaults `ip` fills in.
    pub(super) fn from_spec(spec: &RouteSpec, links: &Links) -> Result<Draft, Refusal> {
        let kind = spec.kind.unwrap_or_default();
        if kind == RouteType::Multicast {
            return Err(Refusal::NotSupported("a multicast route".to_owned()));
        }
        let hops = spec.nexthops.iter().map(|hop| {
            let dev = hop.dev.as_deref().map(|name| links.find(name)).transpose()?;
            let via = hop.via.filter(|via| !via.is_unspecified());
            Ok(DraftHop { via, dev, weight: hop.weight, onlink: hop.onlink })
        });
        let several = spec.nexthops.len() > 1;
        let on_link = !several && spec.nexthops.iter().all(|hop| hop.via.is_none());
        let scope = match kind {
            RouteType::Local => Scope::HOST,
            RouteType::Broadcast => Scope::LINK,
            RouteType::Unicast if on_link => Scope::LINK,
            _ => Scope::GLOBAL,
        };
        Ok(Draft {
            prefix: spec.to,
            kind,
            table: table_of(spec)?,
            protocol: spec.protocol.unwrap_or_default(),
            scope: spec.scope.unwrap_or(scope),
            prefsrc: spec.src.filter(|src| !src.is_unspecified()),
            priority: spec.metric.unwrap_or(0),
            mtu: spec.metrics.mtu.filter(|mtu| *mtu > 0).map(|mtu| mtu.min(MAX_ROUTE_MTU)),
            mtu_lock: spec.metrics.mtu_lock,
            equalize: spec.equalize,
            hops: hops.collect::<Result<_, _>>()?,
        })
    }

    fn into_info(self, hops: Vec<Hop>) -> Info {
        Info {
            kind: self.kind,
            table: self.table,
            protocol: self.protocol,
            scope: self.scope,
            prefsrc: self.prefsrc,
            priority: self.priority,
            mtu: self.mtu,
            mtu_lock: self.mtu_lock,
            equalize: self.equalize,
            hops,
        }
    }
}

/// The table of a command: local for local and broadcast routes, otherwise main, unless it names one.
pub(super) fn table_of(spec: &RouteSpec) -> Result<Table, Refusal> {
    let default = match spec.kind {
        Some(RouteType::Local | RouteType::Broadcast) => Table::LOCAL,
        _ => Table::MAIN,
    };
    match spec.table.unwrap_or(default) {
        table @ (Table::MAIN | Table::LOCAL) => Ok(table),
        table => Err(Refusal::NotSupported(format!("routing table {table}"))),
    }
}

impl Routes {
    /// Resolves and checks a route (`fib_create_info`).
    pub(super) fn resolve(&self, draft: Draft, links: &Links) -> Result<Info, Refusal> {
        if draft.prefix != draft.prefix.trunc() {
            return Err(Refusal::InvalidPrefix);
        }
        let nearest = match draft.kind {
            RouteType::Local => Scope::HOST,
            RouteType::Broadcast => Scope::LINK,
            _ => Scope::GLOBAL,
        };
        if nearest.0 > draft.scope.0 {
            return Err(invalid("Invalid scope."));
        }
        if draft.kind.is_reject() {
            let named = |hop: &DraftHop| hop.via.is_some() || hop.dev.is_some();
            if draft.hops.len() > 1 || draft.hops.iter().any(named) {
                return Err(Refusal::NextHopOnReject);
            }
            return Ok(draft.into_info(Vec::new()));
        }
        if draft.scope.0 > Scope::HOST.0 {
            return Err(invalid("Invalid scope."));
        }
        let hops = if draft.scope == Scope::HOST {
            vec![host_hop(&draft, links)?]
        } else if draft.hops.is_empty() {
            return Err(Refusal::NoNextHop);
        } else {
            let resolved = draft.hops.iter().map(|hop| self.resolve_hop(*hop, draft.scope, links));
            resolved.collect::<Result<_, _>>()?
        };
        self.check_prefsrc(&draft)?;
        Ok(draft.into_info(hops))
    }

    fn resolve_hop(&self, hop: DraftHop, scope: Scope, links: &Links) -> Result<Hop, Refusal> {
        match hop.via {
            None => direct_hop(hop, links),
            Some(via) if hop.onlink => self.onlink_hop(hop, via, scope, links),
            Some(via) => self.gateway_hop(hop, via, scope, links),
        }
    }

    /// A gateway the user vouches for.
    fn onlink_hop(&self, hop: DraftHop, via: Ipv4Addr, scope: Scope, links: &Links) -> Result<Hop, Refusal> {
        if scope.0 >= Scope::LINK.0 {
            return Err(invalid("Nexthop has invalid scope."));
        }
        let Some(link) = hop.dev.and_then(|dev| links.get(dev)) else {
            return Err(invalid("Nexthop device required for onlink."));
        };
        if !link.is_up() {
            return Err(invalid("Nexthop device is not up."));
        }
        if self.address_type(via) != RouteType::Unicast {
            return Err(Refusal::Unreachable);
        }
        Ok(Hop { dev: link.ifindex(), via: Some(via), weight: hop.weight, onlink: true, scope: Scope::LINK })
    }

    /// A gateway that a route of ours must lead to without a further gateway. An address of our own will do.
    fn gateway_hop(&self, hop: DraftHop, via: Ipv4Addr, scope: Scope, links: &Links) -> Result<Hop, Refusal> {
        let near = Scope((scope.0 + 1).max(Scope::LINK.0));
        let found = self
            .lookup(Question { dst: via, oif: hop.dev, scope: near, any_link: true })
            .map_err(|_| Refusal::Unreachable)?;
        let info = &self.infos.get(found.id).info;
        if !matches!(info.kind, RouteType::Unicast | RouteType::Local) {
            return Err(Refusal::Unreachable);
        }
        let dev = self.hop(found).dev;
        if !links.get(dev).is_some_and(Link::is_up) {
            return Err(invalid("Network is down"));
        }
        Ok(Hop { dev, via: Some(via), weight: hop.weight, onlink: false, scope: info.scope })
    }

    /// The preferred source must be an address of ours, or the one the route is to make (`fib_valid_prefsrc`).
    fn check_prefsrc(&self, draft: &Draft) -> Result<(), Refusal> {
        let Some(src) = draft.prefsrc else { return Ok(()) };
        let own = draft.kind == RouteType::Local && src == draft.prefix.addr();
        if own || self.address_type(src) == RouteType::Local {
            Ok(())
        } else {
            Err(invalid("Invalid prefsrc address."))
        }
    }
}

/// The next hop of a route of host scope: a device, up or not.
fn host_hop(draft: &Draft, links: &Links) -> Result<Hop, Refusal> {
    let hop = match draft.hops.as_slice() {
        [] => return Err(Refusal::NoNextHop),
        [hop] => hop,
        _ => return Err(invalid("Route with host scope can not have multiple nexthops.")),
    };
    if hop.via.is_some() {
        return Err(invalid("Route with host scope can not have a gateway."));
    }
    let dev = hop.dev.filter(|dev| links.get(*dev).is_some()).ok_or(Refusal::NoNextHop)?;
    Ok(Hop { dev, via: None, weight: hop.weight, onlink: hop.onlink, scope: Scope(255) })
}

/// A next hop without a gateway.
fn direct_hop(hop: DraftHop, links: &Links) -> Result<Hop, Refusal> {
    if hop.onlink {
        return Err(invalid("Invalid flags for nexthop - PERVASIVE and ONLINK can not be set."));
    }
    let link = hop.dev.and_then(|dev| links.get(dev)).ok_or(Refusal::NoNextHop)?;
    if !link.is_up() {
        return Err(Refusal::DeviceDown);
    }
    Ok(Hop { dev: link.ifindex(), via: None, weight: hop.weight, onlink: false, scope: Scope::HOST })
}

fn invalid(text: &str) -> Refusal {
    Refusal::Invalid(text.to_owned())
}
