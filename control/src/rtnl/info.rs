//! What routes have in common: everything but the prefix, kept once for all routes that are alike.
//!
//! A million routes by one gateway share one record, so that the state of a next hop changes in one place, and a change
//! of a device finds the records it concerns by an index. The kernel does the same (`struct fib_info`).

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use skiff_dataplane::net::IfIndex;

use super::effects::{FibHop, FibRoute};
use super::link::{Link, Links};
use crate::ip::{Metrics, Protocol, RouteFlags, RouteType, Scope, Table};

/// Prefixes a record remembers; beyond, they are found by a scan of all.
const FEW: usize = 64;

/// Number of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct InfoId(u32);

/// A route without its prefix. Routes that are equal in this are the same to the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Info {
    pub(super) kind: RouteType,
    pub(super) table: Table,
    pub(super) protocol: Protocol,
    pub(super) scope: Scope,
    pub(super) prefsrc: Option<Ipv4Addr>,
    pub(super) priority: u32,
    /// Bytes; none without one.
    pub(super) mtu: Option<u32>,
    pub(super) mtu_lock: bool,
    /// Packets, not flows, are spread over the next hops.
    pub(super) equalize: bool,
    pub(super) hops: Vec<Hop>,
}

impl Info {
    pub(super) fn metrics(&self) -> Metrics {
        let mtu = self.mtu.or(self.mtu_lock.then_some(0));
        Metrics { mtu, mtu_lock: self.mtu_lock }
    }
}

/// A next hop.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hop {
    pub(super) dev: IfIndex,
    pub(super) via: Option<Ipv4Addr>,
    /// 1 to 256.
    pub(super) weight: u16,
    pub(super) onlink: bool,
    /// The scope of the route that led to the gateway; host without a gateway, nowhere for routes of host scope,
    /// which a device that goes down keeps.
    pub(super) scope: Scope,
}

/// A record and its state.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) info: Arc<Info>,
    /// `DEAD` and `LINKDOWN` of each next hop.
    pub(super) flags: Vec<RouteFlags>,
    /// Every next hop is dead, or its source address is gone: about to be flushed.
    pub(super) dead: bool,
    /// Of each next hop, whether it takes no packets.
    pub(super) passed_over: Vec<bool>,
    /// What it means to the forwarding table while it is usable.
    pub(super) fib: FibRoute,
    users: Users,
}

impl Slot {
    /// Its next hops and their state.
    pub(super) fn hops(&self) -> impl Iterator<Item = (&Hop, RouteFlags)> {
        self.info.hops.iter().zip(self.flags.iter().copied())
    }

    /// True if it takes packets: it has a next hop that does, or needs none.
    pub(super) fn usable(&self) -> bool {
        self.passed_over.is_empty() || self.passed_over.contains(&false)
    }

    /// How many routes share it.
    pub(super) fn routes(&self) -> usize {
        self.users.count
    }
}

/// The prefixes that use a record.
#[derive(Debug, Default)]
struct Users {
    count: usize,
    /// Which they are; meaningless once there were more than [`FEW`].
    few: Vec<Ipv4Net>,
    many: bool,
}

/// Every record.
#[derive(Debug, Default)]
pub(super) struct Infos {
    slots: Vec<Slot>,
    free: Vec<InfoId>,
    by_info: HashMap<Arc<Info>, InfoId>,
    by_dev: HashMap<IfIndex, BTreeSet<InfoId>>,
    by_prefsrc: HashMap<Ipv4Addr, BTreeSet<InfoId>>,
    /// Those whose source depends on addresses of any device.
    borrowers: BTreeSet<InfoId>,
}

impl Infos {
    pub(super) fn get(&self, id: InfoId) -> &Slot {
        &self.slots[id.0 as usize]
    }

    pub(super) fn get_mut(&mut self, id: InfoId) -> &mut Slot {
        &mut self.slots[id.0 as usize]
    }

    /// Every record in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.by_info.values().map(|id| self.get(*id))
    }

    /// Those with a next hop on `dev`.
    pub(super) fn on(&self, dev: IfIndex) -> Vec<InfoId> {
        self.by_dev.get(&dev).into_iter().flatten().copied().collect()
    }

    /// Those of the main table that name this source.
    pub(super) fn with_prefsrc(&self, addr: Ipv4Addr) -> Vec<InfoId> {
        self.by_prefsrc.get(&addr).into_iter().flatten().copied().collect()
    }

    /// Those without a source of their own on any device they use.
    pub(super) fn borrowers(&self) -> Vec<InfoId> {
        self.borrowers.iter().copied().collect()
    }

    /// The record equal to `info`, made if there is none. One nobody [uses](Self::take) is to be
    /// [let go](Self::drop_unused).
    pub(super) fn intern(&mut self, info: Info, links: &Links) -> InfoId {
        if let Some(&id) = self.by_info.get(&info) {
            return id;
        }
        let flags = info.hops.iter().map(|hop| initial_flags(hop, &info, links)).collect();
        let info = Arc::new(info);
        let slot = Slot {
            info: Arc::clone(&info),
            flags,
            dead: false,
            passed_over: Vec::new(),
            fib: FibRoute::Throw,
            users: Users::default(),
        };
        let id = match self.free.pop() {
            Some(id) => {
                *self.get_mut(id) = slot;
                id
            }
            None => {
                self.slots.push(slot);
                InfoId((self.slots.len() - 1) as u32)
            }
        };
        for hop in &info.hops {
            self.by_dev.entry(hop.dev).or_default().insert(id);
        }
        if let Some(addr) = flushable_source(&info) {
            self.by_prefsrc.entry(addr).or_default().insert(id);
        }
        self.by_info.insert(info, id);
        self.refresh(id, links);
        id
    }

    /// A route to `prefix` uses the record.
    pub(super) fn take(&mut self, id: InfoId, prefix: Ipv4Net) {
        let users = &mut self.get_mut(id).users;
        users.count += 1;
        if users.few.len() < FEW && !users.many {
            users.few.push(prefix);
        } else {
            users.many = true;
            users.few = Vec::new();
        }
    }

    /// A route to `prefix` uses it no more; the last one takes the record along.
    pub(super) fn give_back(&mut self, id: InfoId, prefix: Ipv4Net) {
        let users = &mut self.get_mut(id).users;
        users.count -= 1;
        if let Some(at) = users.few.iter().position(|p| *p == prefix) {
            users.few.swap_remove(at);
        }
        self.drop_unused(id);
    }

    /// Lets go of a record that no route uses.
    pub(super) fn drop_unused(&mut self, id: InfoId) {
        if self.get(id).users.count > 0 {
            return;
        }
        let info = Arc::clone(&self.get(id).info);
        self.by_info.remove(&info);
        for hop in &info.hops {
            forget(&mut self.by_dev, hop.dev, id);
        }
        if let Some(addr) = flushable_source(&info) {
            forget(&mut self.by_prefsrc, addr, id);
        }
        self.borrowers.remove(&id);
        self.free.push(id);
    }

    /// The prefixes that use any of these records, sorted; none if only a scan can tell.
    pub(super) fn prefixes(&self, ids: &[InfoId]) -> Option<Vec<Ipv4Net>> {
        let mut prefixes = Vec::new();
        for id in ids {
            let users = &self.get(*id).users;
            if users.many {
                return None;
            }
            prefixes.extend_from_slice(&users.few);
        }
        prefixes.sort_unstable();
        prefixes.dedup();
        Some(prefixes)
    }

    /// Works out anew what the record means to the forwarding table; true if that changed.
    pub(super) fn refresh(&mut self, id: InfoId, links: &Links) -> bool {
        let (fib, borrowed) = forwarding(self.get(id), links);
        let passed_over: Vec<bool> =
            self.get(id).hops().map(|(hop, flags)| passed_over(hop, flags, links)).collect();
        if borrowed {
            self.borrowers.insert(id);
        } else {
            self.borrowers.remove(&id);
        }
        let slot = self.get_mut(id);
        let changed = slot.fib != fib || slot.passed_over != passed_over;
        slot.fib = fib;
        slot.passed_over = passed_over;
        changed
    }
}

/// A next hop that takes no packets: it is dead, or its device has no carrier and such are to be ignored.
pub(super) fn passed_over(hop: &Hop, flags: RouteFlags, links: &Links) -> bool {
    let ignores = || links.get(hop.dev).is_some_and(|link| link.ignore_linkdown);
    flags.contains(RouteFlags::DEAD) || (flags.contains(RouteFlags::LINKDOWN) && ignores())
}

fn initial_flags(hop: &Hop, info: &Info, links: &Links) -> RouteFlags {
    let carrier = links.get(hop.dev).is_some_and(Link::has_carrier);
    // The kernel does not look at the link for routes of host scope.
    if carrier || info.scope == Scope::HOST { RouteFlags::empty() } else { RouteFlags::LINKDOWN }
}

/// The source address whose loss flushes the route: only of routes in the main table.
fn flushable_source(info: &Info) -> Option<Ipv4Addr> {
    info.prefsrc.filter(|_| info.table == Table::MAIN)
}

fn forget<K: std::hash::Hash + Eq>(index: &mut HashMap<K, BTreeSet<InfoId>>, key: K, id: InfoId) {
    if let Some(ids) = index.get_mut(&key) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(&key);
        }
    }
}

/// What a record means to the forwarding table, and whether a source was borrowed from another device.
pub(super) fn forwarding(slot: &Slot, links: &Links) -> (FibRoute, bool) {
    let info = &slot.info;
    let mut borrowed = false;
    let hops: Arc<[FibHop]> = slot
        .hops()
        .filter(|(hop, flags)| !passed_over(hop, *flags, links))
        .map(|(hop, _)| {
            let (hop, lent) = forwarding_hop(hop, info, links);
            borrowed |= lent;
            hop
        })
        .collect();
    let first = hops.first().map(|hop| (hop.dev, hop.mtu, hop.prefsrc.unwrap_or(Ipv4Addr::UNSPECIFIED)));
    let (dev, mtu, src) = first.unwrap_or((IfIndex::NONE, 0, Ipv4Addr::UNSPECIFIED));
    let route = match info.kind {
        RouteType::Unicast if info.equalize => FibRoute::Equalize(hops),
        RouteType::Unicast | RouteType::Multicast => FibRoute::Unicast(hops),
        // Packets to an address of our own have it as their source, too.
        RouteType::Local => FibRoute::Local { dev, src: info.prefsrc.unwrap_or(Ipv4Addr::UNSPECIFIED) },
        RouteType::Broadcast => FibRoute::Broadcast { dev, src, mtu },
        RouteType::Blackhole => FibRoute::Blackhole,
        RouteType::Unreachable => FibRoute::Unreachable,
        RouteType::Prohibit => FibRoute::Prohibit,
        RouteType::Throw => FibRoute::Throw,
    };
    (route, borrowed)
}

fn forwarding_hop(hop: &Hop, info: &Info, links: &Links) -> (FibHop, bool) {
    let source = info.prefsrc.map_or_else(
        || links.select_source(hop.dev, hop.via, info.scope),
        |addr| super::addr::Source { addr: Some(addr), borrowed: false },
    );
    let device_mtu = links.get(hop.dev).map_or(0, Link::mtu);
    let route_mtu = info.mtu.map_or(u16::MAX, |mtu| u16::try_from(mtu).unwrap_or(u16::MAX));
    let fib = FibHop {
        dev: hop.dev,
        gateway: hop.via,
        weight: hop.weight,
        mtu: device_mtu.min(route_mtu),
        prefsrc: source.addr,
    };
    (fib, source.borrowed)
}
