//! Longest prefix match over the merged tables, and what kind of address an address is.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use skiff_dataplane::net::IfIndex;

use super::info::{Hop, InfoId};
use super::table::Routes;
use crate::ip::{RouteFlags, RouteType, Scope};

/// What to look up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) dst: Ipv4Addr,
    /// Only next hops on this device.
    pub(super) oif: Option<IfIndex>,
    /// Only routes of this scope or a closer one.
    pub(super) scope: Scope,
    /// Next hops without carrier count though they are to be ignored (`FIB_LOOKUP_IGNORE_LINKSTATE`).
    pub(super) any_link: bool,
}

impl Question {
    pub(super) fn about(dst: Ipv4Addr) -> Question {
        Question { dst, oif: None, scope: Scope::GLOBAL, any_link: false }
    }
}

/// The route that was found, and its first usable next hop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) id: InfoId,
    hop: usize,
}

/// No route, or one that rejects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    NoRoute,
    Reject(RouteType),
}

impl Routes {
    /// `fib_lookup`.
    pub(super) fn lookup(&self, question: Question) -> Result<Found, Failure> {
        for length in self.lengths(question.scope) {
            let Ok(net) = Ipv4Net::new(question.dst, length) else { continue };
            for &id in self.chain(net.trunc()) {
                let slot = self.infos.get(id);
                if slot.info.scope.0 < question.scope.0 {
                    continue;
                }
                if slot.info.kind.is_reject() {
                    return Err(Failure::Reject(slot.info.kind));
                }
                let usable = |((hop, flags), passed_over): ((&Hop, RouteFlags), &bool)| {
                    let lives =
                        if question.any_link { !flags.contains(RouteFlags::DEAD) } else { !passed_over };
                    lives && question.oif.is_none_or(|oif| hop.dev == oif)
                };
                if let Some(hop) = slot.hops().zip(&slot.passed_over).position(usable) {
                    return Ok(Found { id, hop });
                }
            }
        }
        Err(Failure::NoRoute)
    }

    /// The longest prefix with a route that holds `dst`.
    pub(super) fn prefix_of(&self, dst: Ipv4Addr) -> Option<Ipv4Net> {
        let nets = self.lengths(Scope::GLOBAL).filter_map(|length| Ipv4Net::new(dst, length).ok());
        nets.map(|net| net.trunc()).find(|net| !self.chain(*net).is_empty())
    }

    /// The next hop that was found.
    pub(super) fn hop(&self, found: Found) -> &Hop {
        &self.infos.get(found.id).info.hops[found.hop]
    }

    /// What kind of address this is: local, broadcast, multicast or, if nothing else is known, unicast
    /// (`inet_addr_type`).
    pub(super) fn address_type(&self, addr: Ipv4Addr) -> RouteType {
        if addr.is_unspecified() || addr.is_broadcast() {
            return RouteType::Broadcast;
        }
        if addr.is_multicast() {
            return RouteType::Multicast;
        }
        self.lookup(Question::about(addr))
            .map_or(RouteType::Unicast, |found| self.infos.get(found.id).info.kind)
    }
}
