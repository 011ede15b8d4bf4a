//! What lcores know of multicast: joined groups, multicast interfaces (VIFs), and the forwarding cache (MFC).
//!
//! One immutable value, part of the snapshot. Counters live beside the entries they belong to, one cell an lcore, and
//! survive a change of the table: the next table takes over the same cells.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::counters::{Counter, MAX_DEVICES};
use crate::net::IfIndex;
use crate::skb::ipv4;

/// Most multicast interfaces (the kernel's MAXVIFS).
pub const MAXVIFS: usize = 32;
/// TTL threshold of an interface that is no way out: no packet's TTL is above it.
pub const NOT_AN_OIF: u8 = 255;
/// Shortest time between two reports of one entry that packets arrive by the wrong interface (MFC_ASSERT_THRESH).
const ASSERT_INTERVAL_MS: u64 = 3000;

/// No multicast interface.
const NO_VIF: u8 = u8::MAX;

/// What one lcore counts, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Cell<T>(T);

/// A set of counters for each lcore, the control thread's last.
#[derive(Debug)]
pub struct PerLcore<T>(Box<[Cell<T>]>);

impl<T: Default> PerLcore<T> {
    /// Cells for `lcores` workers and the control thread.
    pub fn new(lcores: usize) -> Self {
        PerLcore((0..=lcores).map(|_| Cell::default()).collect())
    }

    /// The cell of one lcore.
    #[inline]
    pub fn of(&self, lcore: usize) -> &T {
        &self.0[lcore % self.0.len()].0
    }

    /// Everybody's cells.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|cell| &cell.0)
    }

    /// The sum of one counter over everybody.
    pub fn sum(&self, counter: impl Fn(&T) -> &Counter) -> u64 {
        self.iter().map(|cell| counter(cell).get()).sum()
    }
}

/// What one lcore counts for one multicast interface.
#[derive(Debug, Default)]
pub struct VifCells {
    /// Packets that came in by it and had an entry.
    pub packets_in: Counter,
    /// Their bytes, from the IP header on.
    pub bytes_in: Counter,
    /// Copies sent by it.
    pub packets_out: Counter,
    /// Their bytes, from the IP header on.
    pub bytes_out: Counter,
}

/// What one lcore counts for one entry of the cache.
#[derive(Debug, Default)]
pub struct MfcCells {
    /// Packets that found it.
    pub packets: Counter,
    /// Their bytes, from the IP header on.
    pub bytes: Counter,
    /// Packets that came in by another interface than the entry's.
    pub wrong_if: Counter,
    /// When the last one came, in milliseconds of the router's clock.
    pub last_use_ms: Counter,
}

/// An interface that takes part in multicast forwarding.
#[derive(Clone, Debug)]
pub struct Vif {
    /// The device.
    pub dev: IfIndex,
    /// Its counters.
    pub cells: Arc<PerLcore<VifCells>>,
}

impl Vif {
    /// An interface that has not counted anything yet.
    pub fn new(dev: IfIndex, lcores: usize) -> Self {
        Vif { dev, cells: Arc::new(PerLcore::new(lcores)) }
    }
}

/// What an entry counts, and when it last complained.
#[derive(Debug)]
pub struct MfcStats {
    /// Counters.
    pub cells: PerLcore<MfcCells>,
    /// Before this time, in milliseconds of the router's clock, no further packet by the wrong interface is reported.
    quiet_until_ms: AtomicU64,
}

impl MfcStats {
    /// All zero.
    pub fn new(lcores: usize) -> Self {
        MfcStats { cells: PerLcore::new(lcores), quiet_until_ms: AtomicU64::new(0) }
    }

    /// True at most once in [`ASSERT_INTERVAL_MS`].
    pub(super) fn may_assert(&self, now_ms: u64) -> bool {
        let until = self.quiet_until_ms.load(Ordering::Relaxed);
        now_ms >= until
            && self
                .quiet_until_ms
                .compare_exchange(until, now_ms + ASSERT_INTERVAL_MS, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// An entry of the forwarding cache.
#[derive(Clone, Debug)]
pub struct Mfc {
    /// Source, host byte order; 0 is any.
    pub source: u32,
    /// Group, host byte order; 0 is any.
    pub group: u32,
    /// Number of the interface packets must come in by.
    pub parent: u8,
    /// By interface number: packets leave by it if their TTL is greater; [`NOT_AN_OIF`] for all others.
    pub ttls: [u8; MAXVIFS],
    /// Its counters.
    pub stats: Arc<MfcStats>,
}

impl Mfc {
    /// True if packets may leave by interface `vif`.
    #[inline]
    pub fn is_oif(&self, vif: u8) -> bool {
        self.ttls.get(usize::from(vif)).is_some_and(|&ttl| ttl < NOT_AN_OIF)
    }
}

/// The whole of it.
#[derive(Clone, Debug)]
pub struct Multicast {
    vifs: Vec<Vif>,
    by_dev: Box<[u8; MAX_DEVICES]>,
    /// By group and source; either is 0 for any.
    cache: HashMap<(u32, u32), Mfc>,
    /// (*,*) entries: at most one an interface.
    any: Vec<Mfc>,
    joined: HashSet<(IfIndex, u32)>,
}

impl Default for Multicast {
    fn default() -> Self {
        Multicast::new(Vec::new(), [], [])
    }
}

impl Multicast {
    /// A table of these interfaces, entries and joined groups (host byte order). Interfaces beyond [`MAXVIFS`] are left
    /// out; of two entries for the same source and group (for (*,*): and interface) the later counts.
    pub fn new(
        mut vifs: Vec<Vif>,
        entries: impl IntoIterator<Item = Mfc>,
        joined: impl IntoIterator<Item = (IfIndex, u32)>,
    ) -> Self {
        vifs.truncate(MAXVIFS);
        let mut by_dev = Box::new([NO_VIF; MAX_DEVICES]);
        for (number, vif) in vifs.iter().enumerate() {
            by_dev[vif.dev.index() % MAX_DEVICES] = number as u8;
        }
        let (mut cache, mut any): (HashMap<_, _>, Vec<Mfc>) = (HashMap::new(), Vec::new());
        for entry in entries {
            if (entry.group, entry.source) == (0, 0) {
                any.retain(|old| old.parent != entry.parent);
                any.push(entry);
            } else {
                cache.insert((entry.group, entry.source), entry);
            }
        }
        Multicast { vifs, by_dev, cache, any, joined: joined.into_iter().collect() }
    }

    /// True if the router is a member of `group` on `dev`. Every host is in 224.0.0.1.
    #[inline]
    pub fn is_joined(&self, dev: IfIndex, group: u32) -> bool {
        group == ipv4::ALL_HOSTS || self.joined.contains(&(dev, group))
    }

    /// Number of the interface on `dev`; `None` if multicast that arrives there is not forwarded (the kernel's
    /// `mc_forwarding` of the device).
    #[inline]
    pub fn vif_of(&self, dev: IfIndex) -> Option<u8> {
        let vif = self.by_dev[dev.index() % MAX_DEVICES];
        (vif != NO_VIF).then_some(vif)
    }

    /// The interface of that number.
    #[inline]
    pub fn vif(&self, number: u8) -> Option<&Vif> {
        self.vifs.get(usize::from(number))
    }

    /// All interfaces; their numbers are their places.
    pub fn vifs(&self) -> &[Vif] {
        &self.vifs
    }

    /// All entries, in no order.
    pub fn entries(&self) -> impl Iterator<Item = &Mfc> {
        self.cache.values().chain(&self.any)
    }

    /// The entry for packets from `source` to `group` that arrive by interface `vif`: (S,G), else (*,G) if `vif` is in
    /// its tree, else (*,*) (kernel `ipmr_cache_find`, `mr_mfc_find_any`).
    pub fn find(&self, source: u32, group: u32, vif: u8) -> Option<&Mfc> {
        if let Some(exact) = self.cache.get(&(group, source)) {
            return Some(exact);
        }
        let of_group = self.cache.get(&(group, 0)).filter(|entry| {
            entry.is_oif(vif) || self.any_parent(entry.parent).is_some_and(|proxy| proxy.is_oif(vif))
        });
        of_group.or_else(|| self.any.iter().find(|entry| entry.is_oif(vif)))
    }

    /// The (*,*) entry whose upstream interface is `vif`.
    pub(super) fn any_parent(&self, vif: u8) -> Option<&Mfc> {
        self.any.iter().find(|entry| entry.parent == vif)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: u32 = 0xef01_0101;

    fn entry(source: u32, group: u32, parent: u8, oifs: &[u8]) -> Mfc {
        let mut ttls = [NOT_AN_OIF; MAXVIFS];
        oifs.iter().for_each(|&vif| ttls[usize::from(vif)] = 1);
        Mfc { source, group, parent, ttls, stats: Arc::new(MfcStats::new(1)) }
    }

    fn table(entries: impl IntoIterator<Item = Mfc>) -> Multicast {
        let vifs = (2..6).map(|dev| Vif::new(IfIndex(dev), 1)).collect();
        Multicast::new(vifs, entries, [(IfIndex(2), GROUP)])
    }

    #[test]
    fn the_most_specific_entry_wins() {
        let table = table([entry(7, GROUP, 0, &[1]), entry(0, GROUP, 0, &[0, 1]), entry(0, 0, 2, &[2, 3])]);
        let found = |source, group, vif| table.find(source, group, vif).map(|m| (m.source, m.group));
        assert_eq!(found(7, GROUP, 3), Some((7, GROUP)), "(S,G) whatever the interface");
        assert_eq!(found(8, GROUP, 1), Some((0, GROUP)));
        assert_eq!(found(8, GROUP, 3), Some((0, 0)), "interface 3 is in the tree of (*,*) alone");
        assert_eq!(found(8, GROUP + 1, 2), Some((0, 0)));
        assert_eq!(found(8, GROUP + 1, 1), None);
    }

    #[test]
    fn a_group_entry_takes_in_what_its_proxy_entry_has() {
        let table = table([entry(0, GROUP, 2, &[1]), entry(0, 0, 2, &[2, 3])]);
        let found = table.find(8, GROUP, 3).map(|m| m.group);
        assert_eq!(found, Some(GROUP), "interface 3 belongs to (*,*) with the same parent");
    }

    #[test]
    fn membership_is_by_device() {
        let table = table([]);
        assert!(table.is_joined(IfIndex(2), GROUP) && !table.is_joined(IfIndex(3), GROUP));
        assert!(table.is_joined(IfIndex(3), ipv4::ALL_HOSTS));
        assert_eq!((table.vif_of(IfIndex(3)), table.vif_of(IfIndex(9))), (Some(1), None));
    }

    #[test]
    fn complaints_are_three_seconds_apart() {
        let stats = MfcStats::new(1);
        let told: Vec<u64> = (0..10_000).step_by(100).filter(|&ms| stats.may_assert(ms)).collect();
        assert_eq!(told, [0, 3000, 6000, 9000]);
    }
}
