//! The tables and their readers.

use std::sync::atomic::{AtomicU32, Ordering};

use skiff_pmd::{HugeArray, HugeSlice, prefetch_read};

use super::entry::{Entry, NextHopId};

/// Entries in the upper table.
const UPPER: usize = 1 << 24;

/// Entries in a group.
pub(super) const GROUP: usize = 256;
/// How many addresses [`Fib::lookup_bulk`] looks up side by side.
pub const BULK: usize = 32;

/// The forwarding tables, shared by all lcores; changed only through its [`super::FibWriter`].
///
/// An lcore that looks up is online in the writer's [`crate::core::qsbr::Qsbr`].
pub struct Fib {
    /// By the address's upper 24 bits.
    tbl24: HugeArray<AtomicU32, UPPER>,
    /// Groups of [`GROUP`] entries, by group number and the address's lowest byte.
    tbl8: HugeSlice<AtomicU32>,
}

impl std::fmt::Debug for Fib {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fib").field("groups", &(self.tbl8.len() / GROUP)).finish_non_exhaustive()
    }
}

impl Fib {
    /// Empty tables with room for `groups` groups; `None` if there is no memory for them.
    pub(super) fn new(groups: usize) -> Option<Self> {
        Some(Fib { tbl24: HugeArray::zeroed()?, tbl8: HugeSlice::zeroed(groups * GROUP)? })
    }

    /// The next hop of the longest route that covers `dst` (host order).
    #[inline]
    pub fn lookup(&self, dst: u32) -> NextHopId {
        NextHopId(self.entry(dst).value())
    }

    /// Starts to bring closer what a lookup of `dst` (host order) will read first. Pays when there are a few hundred
    /// cycles of other work before the lookup.
    #[inline(always)]
    pub fn prefetch(&self, dst: u32) {
        prefetch_read(&self.tbl24[(dst >> 8) as usize]);
    }

    /// Looks up each of `dsts` (host order) and writes the next hop to the same place of `out`; of slices of
    /// different length the longer one's rest is left alone.
    #[inline]
    pub fn lookup_bulk(&self, dsts: &[u32], out: &mut [NextHopId]) {
        for (dsts, out) in dsts.chunks(BULK).zip(out.chunks_mut(BULK)) {
            self.lookup_burst(dsts, out);
        }
    }

    /// At most [`BULK`] addresses: the loads of a pass do not wait for each other, so the CPU has a whole burst
    /// of them under way. What is out of the caches was asked for long before, with [`Fib::prefetch`].
    #[inline]
    fn lookup_burst(&self, dsts: &[u32], out: &mut [NextHopId]) {
        // A bit for each address whose group decides, gathered without a branch: which those are is
        // unpredictable.
        let mut extended = 0u32;
        for (i, (&dst, out)) in dsts.iter().zip(out.iter_mut()).enumerate() {
            let entry = load(&self.tbl24[(dst >> 8) as usize]);
            *out = NextHopId(entry.value());
            extended |= u32::from(entry.is_extended()) << i;
        }
        while extended != 0 {
            let i = extended.trailing_zeros() as usize;
            extended &= extended - 1;
            if let Some((&dst, out)) = dsts.get(i).zip(out.get_mut(i)) {
                *out = NextHopId(self.extended_entry(out.0, dst).value());
            }
        }
    }

    /// The entry that decides about `dst`.
    #[inline]
    pub(super) fn entry(&self, dst: u32) -> Entry {
        let entry = load(&self.tbl24[(dst >> 8) as usize]);
        if entry.is_extended() { self.extended_entry(entry.value(), dst) } else { entry }
    }

    #[inline]
    fn extended_entry(&self, group: u32, dst: u32) -> Entry {
        let index = (group as usize) * GROUP + (dst & 0xff) as usize;
        // Only groups that exist are ever published; the check keeps that no matter of trust.
        self.tbl8.get(index).map_or(Entry::EMPTY, load)
    }

    /// The memory of the tables in bytes once `touched` groups have been used: reserved hugepages are there from
    /// the start, other memory comes when it is written.
    pub(super) fn memory_bytes(&self, touched: usize) -> usize {
        let lower = if self.tbl8.is_huge() { self.tbl8.len() } else { touched * GROUP };
        (UPPER + lower) * size_of::<AtomicU32>()
    }

    /// The slots of the upper table that `len` (<= 24) bits of `addr` cover.
    pub(super) fn slots24(&self, addr: u32, len: u8) -> &[AtomicU32] {
        let first = (addr >> 8) as usize;
        &self.tbl24[first..first + (1 << (24 - len))]
    }

    /// The slot of the upper table that leads to `addr`.
    pub(super) fn slot24(&self, addr: u32) -> &AtomicU32 {
        &self.tbl24[(addr >> 8) as usize]
    }

    /// The slots of a group.
    pub(super) fn group(&self, group: u32) -> &[AtomicU32] {
        let first = group as usize * GROUP;
        &self.tbl8[first..first + GROUP]
    }
}

/// Acquires what the writer released with the entry: the group's contents, the next hop's.
#[inline]
pub(super) fn load(slot: &AtomicU32) -> Entry {
    Entry(slot.load(Ordering::Acquire))
}

/// Publishes `entry`.
#[inline]
pub(super) fn store(slot: &AtomicU32, entry: Entry) {
    slot.store(entry.0, Ordering::Release);
}
