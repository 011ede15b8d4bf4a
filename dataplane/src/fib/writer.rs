//! The one writer: routes in, tables changed in place. The rules it keeps are in the module's parent.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use ipnet::Ipv4Net;

use super::entry::{Entry, MAX_GROUPS, NextHopId};
use super::groups::Groups;
use super::rib::{Rib, network};
use super::table::{Fib, load, store};
use crate::core::qsbr::Qsbr;

/// Why a FIB refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FibError {
    /// The address has bits set beyond the prefix length (the kernel: "Invalid prefix for given prefix length").
    #[error("{0} has host bits set (the network is {net})", net = .0.trunc())]
    HostBits(Ipv4Net),
    /// A route needs a next hop.
    #[error("{0} was given no next hop")]
    NoNextHop(Ipv4Net),
    /// Every group for prefixes longer than /24 is in use. Nothing was changed.
    #[error("no room for {prefix}: all {limit} groups for prefixes longer than /24 are in use")]
    GroupsFull {
        /// The route refused.
        prefix: Ipv4Net,
        /// How many groups there are.
        limit: usize,
    },
    /// More groups asked for than an entry can number.
    #[error("{0} groups for prefixes longer than /24 are too many (at most {MAX_GROUPS})")]
    TooManyGroups(usize),
    /// The system has no memory for the tables.
    #[error("no memory for the tables with {0} groups for prefixes longer than /24")]
    NoMemory(usize),
}

/// How full a FIB is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibStats {
    /// Routes.
    pub routes: usize,
    /// Groups in use: /24 nets that hold longer prefixes.
    pub groups_used: usize,
    /// Groups that lcores may still be reading; in use no more, not free yet.
    pub groups_waiting: usize,
    /// Groups there are.
    pub groups_limit: usize,
    /// Memory of tables and routes in bytes, counting groups once they have been used.
    pub memory_bytes: usize,
}

/// Owns the routes of a [`Fib`] and keeps its tables true to them. Control's.
pub struct FibWriter {
    fib: Arc<Fib>,
    rib: Rib,
    groups: Groups,
}

impl FibWriter {
    /// An empty FIB that has room for longer prefixes than /24 in `groups` nets of /24 (1 KiB each, backed by
    /// memory when first used) and whose readers report to `qsbr`.
    ///
    /// # Errors
    /// [`FibError::TooManyGroups`] beyond 2^24 groups, [`FibError::NoMemory`].
    pub fn new(groups: usize, qsbr: Arc<Qsbr>) -> Result<Self, FibError> {
        let limit = u32::try_from(groups)
            .ok()
            .filter(|_| groups <= MAX_GROUPS)
            .ok_or(FibError::TooManyGroups(groups))?;
        let fib = Arc::new(Fib::new(groups).ok_or(FibError::NoMemory(groups))?);
        Ok(FibWriter { fib, rib: Rib::new(), groups: Groups::new(limit, qsbr) })
    }

    /// The tables, to hand to lcores.
    pub fn fib(&self) -> &Arc<Fib> {
        &self.fib
    }

    /// Sends `prefix` to `next_hop`; returns the next hop it had if it was there already.
    ///
    /// # Errors
    /// As [`FibError`] says; the FIB is then as before.
    pub fn add(&mut self, prefix: Ipv4Net, next_hop: NextHopId) -> Result<Option<NextHopId>, FibError> {
        let (addr, len) = key(prefix).ok_or(FibError::HostBits(prefix))?;
        if next_hop.is_none() {
            return Err(FibError::NoNextHop(prefix));
        }
        let entry = Entry::route(next_hop, len);
        if len <= 24 {
            self.repaint(addr, len, entry, |depth| depth <= len);
            return Ok(self.rib.insert(addr, len, next_hop));
        }
        let group = self.add_long(addr, len, entry);
        let group = group.ok_or(FibError::GroupsFull { prefix, limit: self.groups.limit() })?;
        let old = self.rib.insert(addr, len, next_hop);
        if old.is_none() {
            self.groups.add_route(group);
        }
        Ok(old)
    }

    /// Takes out the route of exactly `prefix`, leaving its addresses to the next shorter one; returns its next
    /// hop, `None` if there is no such route.
    pub fn remove(&mut self, prefix: Ipv4Net) -> Option<NextHopId> {
        let (addr, len) = key(prefix)?;
        let old = self.rib.remove(addr, len)?;
        let heir = self.rib.covering(addr, len).map_or(Entry::EMPTY, |(len, hop)| Entry::route(hop, len));
        if len <= 24 {
            self.repaint(addr, len, heir, |depth| depth == len);
        } else {
            self.remove_long(addr, len, heir);
        }
        Some(old)
    }

    /// The next hop of exactly `prefix`.
    pub fn get(&self, prefix: Ipv4Net) -> Option<NextHopId> {
        let (addr, len) = key(prefix)?;
        self.rib.get(addr, len)
    }

    /// The longest route that covers `prefix` and is shorter.
    pub fn covering(&self, prefix: Ipv4Net) -> Option<(Ipv4Net, NextHopId)> {
        let (len, next_hop) = self.rib.covering(prefix.network().to_bits(), prefix.prefix_len())?;
        Some((net(prefix.network().to_bits(), len), next_hop))
    }

    /// The route that decides about `dst`.
    pub fn longest_match(&self, dst: Ipv4Addr) -> Option<(Ipv4Net, NextHopId)> {
        let entry = self.fib.entry(dst.to_bits());
        (entry != Entry::EMPTY).then(|| (net(dst.to_bits(), entry.depth()), NextHopId(entry.value())))
    }

    /// All routes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Ipv4Net, NextHopId)> {
        self.rib.iter().map(|(addr, len, next_hop)| (net(addr, len), next_hop))
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.rib.len()
    }

    /// True if there is no route.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How full the FIB is.
    pub fn stats(&self) -> FibStats {
        FibStats {
            routes: self.rib.len(),
            groups_used: self.groups.used(),
            groups_waiting: self.groups.waiting(),
            groups_limit: self.groups.limit(),
            memory_bytes: self.fib.memory_bytes(self.groups.touched()) + self.rib.memory_bytes(),
        }
    }

    /// Overwrites those entries below `addr/len` (`len` <= 24) whose depth `replaces` accepts.
    fn repaint(&self, addr: u32, len: u8, new: Entry, replaces: impl Fn(u8) -> bool) {
        for slot in self.fib.slots24(addr, len) {
            let entry = load(slot);
            if entry.is_extended() {
                paint(self.fib.group(entry.value()), new, &replaces);
            } else if replaces(entry.depth()) {
                store(slot, new);
            }
        }
    }

    /// Enters a route longer than /24; returns its group, `None` if it needs a new one and there is none.
    fn add_long(&mut self, addr: u32, len: u8, new: Entry) -> Option<u32> {
        let slot = self.fib.slot24(addr);
        let entry = load(slot);
        let group = if entry.is_extended() { entry.value() } else { self.groups.take()? };
        if !entry.is_extended() {
            self.fib.group(group).iter().for_each(|slot| store(slot, entry));
        }
        paint(long_slots(&self.fib, group, addr, len), new, |depth| depth <= len);
        if !entry.is_extended() {
            store(slot, Entry::group(group));
        }
        Some(group)
    }

    /// Takes out a route longer than /24, and its group if it was the last one there.
    fn remove_long(&mut self, addr: u32, len: u8, heir: Entry) {
        let slot = self.fib.slot24(addr);
        let group = load(slot).value();
        paint(long_slots(&self.fib, group, addr, len), heir, |depth| depth == len);
        if self.groups.remove_route(group) {
            // Without longer prefixes all its entries come from one route, or from none.
            store(slot, load(&self.fib.group(group)[0]));
            self.groups.give_back(group);
        }
    }
}

/// The slots of `group` that `len` (> 24) bits of `addr` cover.
fn long_slots(fib: &Fib, group: u32, addr: u32, len: u8) -> &[AtomicU32] {
    let first = (addr & 0xff) as usize;
    &fib.group(group)[first..first + (1 << (32 - len))]
}

/// Overwrites those of `slots` whose depth `replaces` accepts.
fn paint(slots: &[AtomicU32], new: Entry, replaces: impl Fn(u8) -> bool) {
    slots.iter().filter(|slot| replaces(load(slot).depth())).for_each(|slot| store(slot, new));
}

/// Address and length of a prefix without host bits.
fn key(prefix: Ipv4Net) -> Option<(u32, u8)> {
    let (addr, len) = (prefix.addr().to_bits(), prefix.prefix_len());
    (network(addr, len) == addr).then_some((addr, len))
}

/// The prefix of `len` bits that `addr` is in.
fn net(addr: u32, len: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_bits(network(addr, len)), len)
}
