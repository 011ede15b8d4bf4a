//! Addresses of a link, in the order the kernel keeps them, and the choice of a source address.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use skiff_dataplane::net::IfIndex;

use super::link::{Link, Links, MAX_NAME};
use crate::ip::{AddrSpec, Broadcast, Refusal, Scope};

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addr {
    /// Address and prefix length.
    pub local: Ipv4Net,
    /// Its broadcast address, if it was given one. The subnet's own is used either way.
    pub broadcast: Option<Ipv4Addr>,
    /// Its scope.
    pub scope: Scope,
    /// True if an earlier address of the link is in the same subnet.
    pub secondary: bool,
    /// Its label.
    pub label: String,
}

impl Addr {
    /// The address a command describes.
    pub(super) fn from_spec(spec: &AddrSpec) -> Addr {
        let local = spec.local;
        let default_scope = if local.addr().is_loopback() { Scope::HOST } else { Scope::GLOBAL };
        // Subnets without room for a broadcast address get none from "+" and "-".
        let roomy = local.prefix_len() <= 30;
        let broadcast = match spec.broadcast {
            Some(Broadcast::Address(address)) => Some(address),
            Some(Broadcast::Ones) => roomy.then(|| local.broadcast()),
            Some(Broadcast::Zeros) => roomy.then(|| local.network()),
            None => None,
        };
        Addr {
            local,
            broadcast: broadcast.filter(|address| !address.is_unspecified()),
            scope: spec.scope.unwrap_or(default_scope),
            secondary: false,
            label: spec.label.clone().unwrap_or_else(|| spec.dev.clone()),
        }
    }

    /// 127.0.0.1/8, which the loopback device gets when it comes up without an address.
    pub(super) fn loopback() -> Addr {
        Addr {
            local: Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8),
            broadcast: None,
            scope: Scope::HOST,
            secondary: false,
            label: "lo".to_owned(),
        }
    }

    pub(super) fn same_subnet(&self, other: &Addr) -> bool {
        self.local.trunc() == other.local.trunc()
    }

    /// True if the kernel makes subnet routes for it: neither 0.0.0.0/x nor a lone /32.
    pub(super) fn has_subnet(&self) -> bool {
        !self.local.network().is_unspecified() && self.local.prefix_len() < 32
    }

    /// The broadcast address its subnet has by itself.
    pub(super) fn subnet_broadcast(&self) -> Option<Ipv4Addr> {
        (self.local.prefix_len() < 31 && self.has_subnet()).then(|| self.local.broadcast())
    }

    /// True for the broadcast addresses of its subnet, host bits all ones or all zeros: when another address goes, the
    /// kernel leaves it such routes.
    pub(super) fn claims_broadcast(&self, broadcast: Ipv4Addr) -> bool {
        self.subnet_broadcast().is_some_and(|ones| broadcast == ones || broadcast == self.local.network())
    }
}

impl Link {
    /// Puts an address in its place; says where it stands, or why it cannot. 0.0.0.0 is taken for no address.
    pub(super) fn insert_addr(&mut self, mut addr: Addr) -> Result<Option<usize>, Refusal> {
        if addr.local.addr().is_unspecified() {
            return Ok(None);
        }
        let mut at = 0;
        for (i, there) in self.addrs.iter().enumerate() {
            if !there.secondary && addr.scope.0 <= there.scope.0 {
                at = i + 1;
            }
            if there.same_subnet(&addr) {
                if there.local == addr.local {
                    return Err(Refusal::AddressExists);
                }
                if there.scope != addr.scope {
                    return Err(Refusal::Invalid("ipv4: Invalid scope value.".to_owned()));
                }
                addr.secondary = true;
            }
        }
        if addr.secondary {
            at = self.addrs.len();
        }
        self.addrs.insert(at, addr);
        Ok(Some(at))
    }

    /// The address whose subnet routes `addr` shares: itself, or the primary one of its subnet.
    pub(super) fn primary_of<'a>(&'a self, addr: &'a Addr) -> Option<&'a Addr> {
        if addr.secondary { self.addrs.iter().find(|a| a.same_subnet(addr)) } else { Some(addr) }
    }

    /// Renames labels after the device, as the kernel does: the first becomes the name, others keep what follows
    /// their colon or get a number.
    pub(super) fn relabel(&mut self) {
        let name = self.init.name.as_str();
        for (i, addr) in self.addrs.iter_mut().enumerate() {
            let suffix = match addr.label.find(':') {
                _ if i == 0 => String::new(),
                Some(colon) => addr.label[colon..].to_owned(),
                None => format!(":{}", i + 1),
            };
            let room = MAX_NAME.saturating_sub(suffix.len());
            let kept = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= room);
            addr.label = format!("{}{suffix}", &name[..kept.last().unwrap_or(0)]);
        }
    }
}

/// A source address that was chosen for packets of our own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) addr: Option<Ipv4Addr>,
    /// The device had none; it is another device's, or none at all.
    pub(super) borrowed: bool,
}

impl Links {
    /// The source for packets by `dev`, towards `gateway` if there is one, on a route of this scope: the primary
    /// address whose subnet holds the gateway, else the first primary one, else one of any device
    /// (`inet_select_addr`).
    pub(super) fn select_source(&self, dev: IfIndex, gateway: Option<Ipv4Addr>, scope: Scope) -> Source {
        let mut first = None;
        let usable = |a: &&Addr| !a.secondary && a.scope.0.min(Scope::HOST.0) <= scope.0;
        for addr in self.get(dev).into_iter().flat_map(Link::addresses).filter(usable) {
            if gateway.is_none_or(|gateway| addr.local.contains(&gateway)) {
                return Source { addr: Some(addr.local.addr()), borrowed: false };
            }
            first = first.or(Some(addr.local.addr()));
        }
        if first.is_some() {
            return Source { addr: first, borrowed: false };
        }
        let lent = |a: &&Addr| !a.secondary && a.scope != Scope::LINK && a.scope.0 <= scope.0;
        let addr = self.iter().flat_map(Link::addresses).find(lent).map(|a| a.local.addr());
        Source { addr, borrowed: true }
    }
}
