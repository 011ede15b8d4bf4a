//! `ip route get`: what would happen to a packet.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use skiff_dataplane::net::IfIndex;

use super::Rtnl;
use super::info::Info;
use super::link::Link;
use super::lookup::{Failure, Found, Question};
use crate::ip::{Metrics, Refusal, RouteFlags, RouteGet, RouteGetRow, RouteType, Scope, Table};

/// No route was asked.
const NO_TABLE: Table = Table(0);

impl Rtnl {
    /// The longest prefix with a route that holds `dst`.
    pub fn prefix_of(&self, dst: Ipv4Addr) -> Option<Ipv4Net> {
        self.routes.prefix_of(dst)
    }

    /// Where a packet would go: one of our own, or with `iif` one to forward. Of several next hops the first usable
    /// one answers.
    ///
    /// # Errors
    /// The kernel's: no route, a route that rejects, a source that no packet may have, a device that is not there.
    pub fn route_get(&self, get: &RouteGet) -> Result<RouteGetRow, Refusal> {
        let oif = get.oif.as_deref().map(|name| self.links.find(name)).transpose()?;
        match get.iif.as_deref() {
            Some(name) => {
                self.links.find(name)?;
                self.get_input(get)
            }
            None => self.get_output(get, oif),
        }
    }

    /// `ip_route_input`, with forwarding on and reverse path checks off.
    fn get_input(&self, get: &RouteGet) -> Result<RouteGetRow, Refusal> {
        let from = get.from.unwrap_or(Ipv4Addr::UNSPECIFIED);
        if from.is_multicast() || from.is_broadcast() || from.is_unspecified() || from.is_loopback() {
            return Err(invalid_argument());
        }
        if get.to.is_unspecified() || get.to.is_loopback() {
            return Err(invalid_argument());
        }
        if self.routes.address_type(from) == RouteType::Local {
            return Err(invalid_argument());
        }
        if get.to.is_broadcast() {
            return Ok(self.row(get, RouteType::Broadcast, IfIndex::LOOPBACK));
        }
        let found = self.routes.lookup(Question::about(get.to)).map_err(refusal)?;
        let info = &self.routes.infos.get(found.id).info;
        match info.kind {
            RouteType::Local | RouteType::Broadcast => Ok(self.row(get, info.kind, IfIndex::LOOPBACK)),
            kind => Ok(self.forward_row(get, kind, found)),
        }
    }

    /// `ip_route_output_key`.
    fn get_output(&self, get: &RouteGet, oif: Option<IfIndex>) -> Result<RouteGetRow, Refusal> {
        if let Some(from) = get.from {
            if from.is_multicast() || from.is_broadcast() {
                return Err(invalid_argument());
            }
            if !from.is_unspecified() && self.routes.address_type(from) != RouteType::Local {
                return Err(Refusal::NoRoute);
            }
        }
        if let Some(dev) = oif {
            if !self.links.get(dev).is_some_and(Link::is_up) {
                return Err(Refusal::NoRoute);
            }
            if get.to.is_broadcast() || is_link_local_multicast(get.to) {
                return Ok(self.direct_row(get, dev));
            }
        }
        if get.to.is_unspecified() {
            let mut row = self.row(get, RouteType::Local, IfIndex::LOOPBACK);
            row.table = NO_TABLE;
            row.src = Some(Ipv4Addr::LOCALHOST);
            return Ok(row);
        }
        let question = Question { oif, ..Question::about(get.to) };
        let found = match (self.routes.lookup(question), oif) {
            (Ok(found), _) => found,
            // Told the device, the kernel takes the destination to be on its link.
            (Err(_), Some(dev)) => return Ok(self.direct_row(get, dev)),
            (Err(failure), None) => return Err(refusal(failure)),
        };
        self.output_row(get, found)
    }

    fn output_row(&self, get: &RouteGet, found: Found) -> Result<RouteGetRow, Refusal> {
        let info = &self.routes.infos.get(found.id).info;
        let mut row;
        if info.kind == RouteType::Local {
            row = self.row(get, RouteType::Local, IfIndex::LOOPBACK);
            row.src = Some(info.prefsrc.unwrap_or(get.to));
            row.metrics = info.metrics();
        } else {
            row = self.forward_row(get, info.kind, found);
            row.src = self.source(info, found);
            let loopback_source = get.from.or(row.src).is_some_and(|src| src.is_loopback());
            if loopback_source && self.routes.hop(found).dev != IfIndex::LOOPBACK {
                return Err(invalid_argument());
            }
        }
        if get.from.is_some() {
            row.src = None;
        }
        Ok(row)
    }

    fn source(&self, info: &Info, found: Found) -> Option<Ipv4Addr> {
        let hop = self.routes.hop(found);
        info.prefsrc.or_else(|| self.links.select_source(hop.dev, hop.via, info.scope).addr)
    }

    /// A packet straight onto a link, without a route.
    fn direct_row(&self, get: &RouteGet, dev: IfIndex) -> RouteGetRow {
        let kind = match get.to {
            to if to.is_broadcast() => RouteType::Broadcast,
            to if to.is_multicast() => RouteType::Multicast,
            _ => RouteType::Unicast,
        };
        let mut row = self.row(get, kind, dev);
        row.table = NO_TABLE;
        let lent = self.links.select_source(dev, None, Scope::LINK).addr;
        row.src = if get.from.is_some() { None } else { lent };
        row
    }

    fn forward_row(&self, get: &RouteGet, kind: RouteType, found: Found) -> RouteGetRow {
        let hop = self.routes.hop(found);
        let mut row = self.row(get, kind, hop.dev);
        row.metrics = self.routes.infos.get(found.id).info.metrics();
        // A gateway that is one of our own addresses stands for the link itself.
        row.via = hop.via.filter(|_| hop.scope == Scope::LINK);
        row
    }

    /// A row that knows the answer's type and device only. The kernel looks up both tables as one, and calls it main.
    fn row(&self, get: &RouteGet, kind: RouteType, dev: IfIndex) -> RouteGetRow {
        RouteGetRow {
            kind,
            to: get.to,
            from: get.from,
            via: None,
            dev: self.links.get(dev).map_or_else(String::new, |link| link.name().to_owned()),
            table: Table::MAIN,
            src: None,
            flags: RouteFlags::empty(),
            uid: None,
            iif: get.iif.clone(),
            metrics: Metrics::default(),
        }
    }
}

/// 224.0.0.0/24 (RFC 5771 section 4).
fn is_link_local_multicast(addr: Ipv4Addr) -> bool {
    matches!(addr.octets(), [224, 0, 0, _])
}

fn invalid_argument() -> Refusal {
    Refusal::Invalid("Invalid argument".to_owned())
}

/// The error the kernel gives for each type that rejects (`fib_props`).
fn refusal(failure: Failure) -> Refusal {
    match failure {
        Failure::Reject(RouteType::Unreachable) => Refusal::HostUnreachable,
        Failure::Reject(RouteType::Prohibit) => Refusal::Invalid("Permission denied".to_owned()),
        Failure::Reject(RouteType::Blackhole) => invalid_argument(),
        Failure::Reject(_) | Failure::NoRoute => Refusal::NoRoute,
    }
}
