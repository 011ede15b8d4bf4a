//! The neighbour table worker lcores read while one control thread changes it in place.
//!
//! Readers take no lock and never wait. The rules that make this sound:
//! 1. There is one [`NeighWriter`]; it is the only code that stores to slots, keys, headers and states.
//! 2. An entry's key is written before its slot points to it (release / acquire), and is not written again
//!    before the id has been reclaimed, so a reader that found a key in an entry stays right about it.
//! 3. A removed id is reused only after the caller says, with [`NeighWriter::reclaim_until`], that every
//!    lcore has finished the burst it might have looked the id up in.
//! 4. A neighbour's new MAC address is one atomic store: it lies whole in the first header word.
//!    Only a change of our own device's address touches both words.
//! 5. Slots are open addressed with tombstones, so removing a key never hides another.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::nud::{Nud, connected_bits, valid_bits};
use crate::net::{IfIndex, MacAddr};
use crate::time::Instant;

/// Unit of [`coarse`] time: how finely lcores note the last use of an entry.
pub const COARSE_TICK: Duration = Duration::from_millis(100);

/// `now` in [`COARSE_TICK`]s, the value for [`NeighEntry::mark_used`]. Computed once a burst, not per packet.
#[inline]
pub const fn coarse(now: Instant) -> u32 {
    (now.as_millis() / COARSE_TICK.as_millis() as u64) as u32
}

/// Names an entry of one [`NeighTable`]; valid while the caller is inside a grace period or holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighId(u32);

impl NeighId {
    /// The id as a plain number, to carry in packet metadata.
    #[inline]
    pub const fn as_u32(self) -> u32 {
        self.0
    }

    /// The id [`NeighId::as_u32`] gave. A number that was never an id names some entry of the table, not memory
    /// outside of it.
    #[inline]
    pub const fn from_u32(raw: u32) -> Self {
        NeighId(raw)
    }

    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One neighbour as lcores see it: a cache line with the Ethernet header to copy in front of a packet.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct NeighEntry {
    /// Device number << 32 | IPv4 address.
    key: AtomicU64,
    /// Bytes 0..8 of the Ethernet header: the neighbour's MAC and the first two bytes of ours.
    header_head: AtomicU64,
    /// Bytes 8..14 of the header: the rest of our MAC and the ethertype; two bytes unused.
    header_tail: AtomicU64,
    /// Coarse time of the last use that was noted.
    used: AtomicU32,
    /// A [`Nud`] value.
    state: AtomicU8,
    /// The use of this stale entry has been reported.
    reported: AtomicBool,
}

const _: () = assert!(size_of::<NeighEntry>() == 64 && align_of::<NeighEntry>() == 64);

impl NeighEntry {
    /// The Ethernet header for an IPv4 packet to this neighbour, if its address may be used (`NUD_VALID`).
    #[inline]
    pub fn header(&self) -> Option<[u8; 14]> {
        let (head, tail) = self.header_words()?;
        let mut header = [0; 14];
        header[..8].copy_from_slice(&head.to_ne_bytes());
        header[8..].copy_from_slice(&tail.to_ne_bytes()[..6]);
        Some(header)
    }

    /// The same header as two words in native byte order: bytes 0..8, and bytes 8..14 with two unused ones behind.
    #[inline]
    pub fn header_words(&self) -> Option<(u64, u64)> {
        // Acquire: a valid state was stored after the header it vouches for.
        if !valid_bits(self.state.load(Ordering::Acquire)) {
            return None;
        }
        Some((self.header_head.load(Ordering::Relaxed), self.header_tail.load(Ordering::Relaxed)))
    }

    /// The same words, but only in a connected state (`NUD_CONNECTED`), where a use needs no noting.
    #[inline]
    pub fn connected_header(&self) -> Option<(u64, u64)> {
        // Acquire: as in `header_words`.
        if !connected_bits(self.state.load(Ordering::Acquire)) {
            return None;
        }
        Some((self.header_head.load(Ordering::Relaxed), self.header_tail.load(Ordering::Relaxed)))
    }

    /// The state now.
    #[inline]
    pub fn state(&self) -> Nud {
        Nud::from_bits(self.state.load(Ordering::Acquire))
    }

    /// The neighbour's MAC address; zero until one is known.
    #[inline]
    pub fn mac(&self) -> MacAddr {
        let [a, b, c, d, e, f, ..] = self.header_head.load(Ordering::Relaxed).to_ne_bytes();
        MacAddr([a, b, c, d, e, f])
    }

    /// The device and address this entry stands for.
    #[inline]
    pub fn key(&self) -> (IfIndex, u32) {
        let key = self.key.load(Ordering::Relaxed);
        (IfIndex((key >> 32) as u16), key as u32)
    }

    /// Notes a use at `now_coarse` (from [`coarse`]); stores only when the value changes, so that the line
    /// stays shared between lcores.
    ///
    /// As in the kernel only a use in a state that is not connected needs noting.
    #[inline]
    pub fn mark_used(&self, now_coarse: u32) {
        if self.used.load(Ordering::Relaxed) != now_coarse {
            self.used.store(now_coarse, Ordering::Relaxed);
        }
    }

    /// The time of the last noted use, in [`COARSE_TICK`]s.
    #[inline]
    pub fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// True exactly once for each time the entry went stale: the caller that gets it tells the cache of the use
    /// (STALE -> DELAY). If it cannot, it must [`unreport`](Self::unreport).
    #[inline]
    pub fn needs_confirm(&self) -> bool {
        self.state.load(Ordering::Acquire) == Nud::Stale as u8
            && !self.reported.load(Ordering::Relaxed)
            && !self.reported.swap(true, Ordering::Relaxed)
    }

    /// Gives back what [`needs_confirm`](Self::needs_confirm) gave: the event found no room, the next use tries again.
    #[inline]
    pub fn unreport(&self) {
        self.reported.store(false, Ordering::Relaxed);
    }
}

/// The readers' side: entries, and slots that find them by key.
#[derive(Debug)]
pub struct NeighTable {
    entries: Box<[NeighEntry]>,
    /// Entry id + 2; [`EMPTY`] or [`TOMBSTONE`].
    slots: Box<[AtomicU32]>,
    seed: u64,
}

const EMPTY: u32 = 0;
const TOMBSTONE: u32 = 1;
const FIRST_ID: u32 = 2;
/// Slots per entry: probes stay short even with as many tombstones as entries.
const SLOTS_PER_ENTRY: usize = 4;
const MAX_CAPACITY: usize = 1 << 24;

impl NeighTable {
    /// A table for at least `capacity` neighbours (rounded up to a power of two, at most 2^24), and its one writer.
    ///
    /// Ids waiting for their grace period take room too: leave some over the collection thresholds.
    pub fn with_writer(capacity: usize) -> (Arc<NeighTable>, NeighWriter) {
        let capacity = capacity.clamp(1, MAX_CAPACITY).next_power_of_two();
        let table = Arc::new(NeighTable {
            entries: (0..capacity).map(|_| NeighEntry::default()).collect(),
            slots: (0..capacity * SLOTS_PER_ENTRY).map(|_| AtomicU32::new(EMPTY)).collect(),
            // Secret, so that nobody on the link can choose addresses that share a slot.
            seed: RandomState::new().hash_one(0u8),
        });
        let writer = NeighWriter {
            table: Arc::clone(&table),
            free: (0..capacity as u32).rev().map(NeighId).collect(),
            retired: VecDeque::new(),
            holds: vec![0; capacity],
            epoch: 0,
        };
        (table, writer)
    }

    /// The entry for `ip` on `dev`.
    #[inline]
    pub fn lookup(&self, dev: IfIndex, ip: u32) -> Option<NeighId> {
        let key = key_of(dev, ip);
        self.probe(key).find_map(|slot| match self.slots[slot].load(Ordering::Acquire) {
            EMPTY => Some(None),
            TOMBSTONE => None,
            value => {
                let id = NeighId(value - FIRST_ID);
                (self.entry(id).key.load(Ordering::Relaxed) == key).then_some(Some(id))
            }
        })?
    }

    /// The entry an id names.
    #[inline]
    pub fn entry(&self, id: NeighId) -> &NeighEntry {
        // The length is a power of two: the mask keeps any number inside, without a branch.
        &self.entries[id.index() & (self.entries.len() - 1)]
    }

    /// Ids the table has.
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// The slots to try for a key, in order, each once.
    #[inline]
    fn probe(&self, key: u64) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len() - 1;
        let mixed = (key ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let first = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32;
        (0..=mask).map(move |i| (first as usize).wrapping_add(i) & mask)
    }
}

#[inline]
const fn key_of(dev: IfIndex, ip: u32) -> u64 {
    (dev.0 as u64) << 32 | ip as u64
}

/// Every id is taken, or waits for its grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the neighbour table is full")]
pub struct TableFull;

/// The one writer of a [`NeighTable`].
#[derive(Debug)]
pub struct NeighWriter {
    table: Arc<NeighTable>,
    free: Vec<NeighId>,
    /// Removed ids and the epoch of their removal, oldest first.
    retired: VecDeque<(u64, NeighId)>,
    /// Next hops that carry each id.
    holds: Vec<u32>,
    epoch: u64,
}

impl NeighWriter {
    /// The table this writes.
    pub fn table(&self) -> &Arc<NeighTable> {
        &self.table
    }

    /// The entry for a key: the one that is there, or a new one in state NONE.
    pub fn insert(&mut self, dev: IfIndex, ip: u32) -> Result<NeighId, TableFull> {
        if let Some(id) = self.table.lookup(dev, ip) {
            return Ok(id);
        }
        let key = key_of(dev, ip);
        let slot = self
            .table
            .probe(key)
            .find(|&slot| self.table.slots[slot].load(Ordering::Relaxed) < FIRST_ID)
            .ok_or(TableFull)?;
        let id = self.free.pop().ok_or(TableFull)?;
        let entry = self.table.entry(id);
        entry.state.store(Nud::None as u8, Ordering::Relaxed);
        entry.header_head.store(0, Ordering::Relaxed);
        entry.header_tail.store(0, Ordering::Relaxed);
        entry.used.store(0, Ordering::Relaxed);
        entry.reported.store(false, Ordering::Relaxed);
        entry.key.store(key, Ordering::Relaxed);
        // Release: whoever finds the id sees the key above.
        self.table.slots[slot].store(id.0 + FIRST_ID, Ordering::Release);
        Ok(id)
    }

    /// Takes an entry out of the table. Lcores that already have the id find it invalid; the id itself
    /// returns with [`reclaim_until`](Self::reclaim_until). Removing an id that is not in the table does nothing.
    pub fn remove(&mut self, id: NeighId) {
        let entry = self.table.entry(id);
        let key = entry.key.load(Ordering::Relaxed);
        let found = self
            .table
            .probe(key)
            .take_while(|&slot| self.table.slots[slot].load(Ordering::Relaxed) != EMPTY)
            .find(|&slot| self.table.slots[slot].load(Ordering::Relaxed) == id.0 + FIRST_ID);
        let Some(slot) = found else { return };
        entry.state.store(Nud::None as u8, Ordering::Release);
        self.table.slots[slot].store(TOMBSTONE, Ordering::Release);
        self.sweep_tombstones(slot);
        self.holds[id.index()] = 0;
        self.retired.push_back((self.epoch, id));
    }

    /// Tombstones in front of an empty slot lead nowhere: empties them, back to front, so that probes stay short.
    fn sweep_tombstones(&self, last: usize) {
        let slots = &self.table.slots;
        let mask = slots.len() - 1;
        if slots[(last + 1) & mask].load(Ordering::Relaxed) != EMPTY {
            return;
        }
        let mut slot = last;
        while slots[slot].load(Ordering::Relaxed) == TOMBSTONE {
            slots[slot].store(EMPTY, Ordering::Release);
            slot = slot.wrapping_sub(1) & mask;
        }
    }

    /// From now on removed ids belong to `epoch`, any number that does not fall.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// Every lcore has finished the bursts of `epoch` and before: ids removed until then may be used again.
    pub fn reclaim_until(&mut self, epoch: u64) {
        while let Some(&(removed, id)) = self.retired.front()
            && removed <= epoch
        {
            self.retired.pop_front();
            self.free.push(id);
        }
    }

    /// Sets the neighbour's MAC address and the source address of its device; the header is ready after this.
    pub fn set_link_addr(&mut self, id: NeighId, mac: MacAddr, src: MacAddr) {
        let MacAddr([a, b, c, d, e, f]) = mac;
        let MacAddr([s, t, u, v, w, x]) = src;
        let head = u64::from_ne_bytes([a, b, c, d, e, f, s, t]);
        let tail = u64::from_ne_bytes([u, v, w, x, 0x08, 0x00, 0, 0]);
        let entry = self.table.entry(id);
        if entry.header_tail.load(Ordering::Relaxed) != tail {
            entry.header_tail.store(tail, Ordering::Release);
        }
        entry.header_head.store(head, Ordering::Release);
    }

    /// Sets the state; a valid one only after [`set_link_addr`](Self::set_link_addr).
    pub fn set_state(&mut self, id: NeighId, state: Nud) {
        let entry = self.table.entry(id);
        if state == Nud::Stale {
            // Before the state: a use that sees the new staleness must be able to report it.
            entry.reported.store(false, Ordering::Relaxed);
        }
        entry.state.store(state as u8, Ordering::Release);
    }

    /// A next hop carries this id from now on.
    pub fn hold(&mut self, id: NeighId) {
        self.holds[id.index()] += 1;
    }

    /// A next hop let the id go.
    pub fn release(&mut self, id: NeighId) {
        self.holds[id.index()] = self.holds[id.index()].saturating_sub(1);
    }

    /// Whether a next hop carries this id.
    pub fn is_held(&self, id: NeighId) -> bool {
        self.holds[id.index()] > 0
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
