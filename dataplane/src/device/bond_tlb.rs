//! Balancing what a bond sends by load: which member each of 256 hashes goes by (the kernel's `tlb_choose_channel`).
//!
//! The lcores count the bytes of each hash, everyone in a lane of its own, and read the member a hash is assigned to
//! with one load. Every ten seconds the control thread takes stock ([`TlbTable::rebalance`]): all hashes lose their
//! members, and the first packet of each gets the member that then has the most bandwidth left, by what the hashes
//! assigned to it weighed in the ten seconds before. That assignment takes a lock; at most 256 happen between two stocks.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::core::counters::Counter;
use crate::net::IfIndex;

/// Hashes told apart.
pub const TLB_BUCKETS: usize = 256;
/// Seconds between two stocks.
pub const TLB_REBALANCE_SECS: u64 = 10;

/// The lane of packets that are not balanced, behind those of the hashes.
const UNBALANCED: usize = TLB_BUCKETS;

/// Assignments and loads of one bond. Two are equal if they are the same one.
#[derive(Debug)]
pub struct TlbTable {
    /// By hash; 0 if no member has it.
    assigned: [AtomicU16; TLB_BUCKETS],
    lanes: Box<[Lane]>,
    books: Mutex<Books>,
}

/// Bytes one lcore has sent, by hash.
#[derive(Debug)]
#[repr(align(128))]
struct Lane([Counter; TLB_BUCKETS + 1]);

/// What assignments go by.
#[derive(Debug)]
struct Books {
    members: Vec<Load>,
    /// Bytes a second of each hash between the last two stocks, and 1.
    history: [u64; TLB_BUCKETS],
    /// What the lanes added up to at the last stock.
    counted: [u64; TLB_BUCKETS + 1],
}

#[derive(Clone, Copy, Debug)]
struct Load {
    dev: IfIndex,
    mbps: u32,
    /// Bytes a second.
    load: u64,
}

impl Load {
    /// Bits a second left.
    fn gap(&self) -> i64 {
        (i64::from(self.mbps) << 20) - (self.load << 3) as i64
    }
}

impl TlbTable {
    /// A table for that many lcores, without members.
    pub fn new(lcores: usize) -> TlbTable {
        let lane = || Lane(std::array::from_fn(|_| Counter::default()));
        TlbTable {
            assigned: [const { AtomicU16::new(0) }; TLB_BUCKETS],
            lanes: (0..lcores.max(1)).map(|_| lane()).collect(),
            books: Mutex::new(Books {
                members: Vec::new(),
                history: [0; TLB_BUCKETS],
                counted: [0; TLB_BUCKETS + 1],
            }),
        }
    }

    /// These members may send, with these speeds in Mbit/s, in the order of the bond. What went by others is free for
    /// them.
    pub fn set_members(&self, members: &[(IfIndex, u32)]) {
        let mut books = self.books();
        let gone: Vec<IfIndex> =
            books.members.iter().map(|m| m.dev).filter(|dev| members.iter().all(|(m, _)| m != dev)).collect();
        let load = |dev| books.members.iter().find(|m| m.dev == dev).map_or(0, |m| m.load);
        books.members = members.iter().map(|&(dev, mbps)| Load { dev, mbps, load: load(dev) }).collect();
        gone.into_iter().for_each(|dev| self.free(dev));
    }

    /// Takes every hash away from a member that cannot send.
    #[cold]
    pub fn clear(&self, dev: IfIndex) {
        let mut books = self.books();
        self.free(dev);
        books.members.iter_mut().filter(|m| m.dev == dev).for_each(|m| m.load = 0);
    }

    /// The member of a hash: the one it has, else that with the most bandwidth left. `None` without members.
    #[inline]
    pub fn choose(&self, bucket: u8) -> Option<IfIndex> {
        match self.assigned[usize::from(bucket)].load(Ordering::Relaxed) {
            0 => self.assign(bucket),
            dev => Some(IfIndex(dev)),
        }
    }

    /// Counts `bytes` of a hash on `lcore`.
    #[inline]
    pub fn count(&self, lcore: usize, bucket: u8, bytes: usize) {
        self.lanes[lcore % self.lanes.len()].0[usize::from(bucket)].add(bytes as u64);
    }

    /// Counts `bytes` on `lcore` that went by the active member unbalanced.
    #[inline]
    pub fn count_unbalanced(&self, lcore: usize, bytes: usize) {
        self.lanes[lcore % self.lanes.len()].0[UNBALANCED].add(bytes as u64);
    }

    /// Takes stock, [`TLB_REBALANCE_SECS`] after the last time. `active` carries what is not balanced.
    pub fn rebalance(&self, active: Option<IfIndex>) {
        let mut books = self.books();
        let sum = |at: usize| self.lanes.iter().map(|lane| lane.0[at].get()).fold(0u64, u64::wrapping_add);
        let rates: [u64; TLB_BUCKETS + 1] = std::array::from_fn(|at| {
            let total = sum(at);
            let grown = total.wrapping_sub(books.counted[at]);
            books.counted[at] = total;
            grown / TLB_REBALANCE_SECS
        });
        for (bucket, assigned) in self.assigned.iter().enumerate() {
            // A hash that nobody used keeps what it weighed.
            if assigned.swap(0, Ordering::Relaxed) != 0 {
                books.history[bucket] = 1 + rates[bucket];
            }
        }
        for member in &mut books.members {
            member.load = if Some(member.dev) == active { rates[UNBALANCED] } else { 0 };
        }
    }

    /// The member each hash goes by; [`IfIndex::NONE`] where none has it.
    pub fn assignments(&self) -> [IfIndex; TLB_BUCKETS] {
        std::array::from_fn(|at| IfIndex(self.assigned[at].load(Ordering::Relaxed)))
    }

    #[cold]
    fn assign(&self, bucket: u8) -> Option<IfIndex> {
        let mut books = self.books();
        let place = &self.assigned[usize::from(bucket)];
        // Another lcore may have been here meanwhile.
        let there = place.load(Ordering::Relaxed);
        if there != 0 {
            return Some(IfIndex(there));
        }
        let history = books.history[usize::from(bucket)];
        // The first of equals, as the kernel takes.
        let best = books.members.iter_mut().reduce(|best, m| if m.gap() > best.gap() { m } else { best })?;
        best.load += history;
        place.store(best.dev.0, Ordering::Relaxed);
        Some(best.dev)
    }

    fn free(&self, dev: IfIndex) {
        for place in &self.assigned {
            let _ = place.compare_exchange(dev.0, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for TlbTable {
    fn eq(&self, other: &TlbTable) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for TlbTable {}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IfIndex = IfIndex(2);
    const B: IfIndex = IfIndex(3);

    #[test]
    fn a_hash_keeps_its_member_until_stock_is_taken() {
        let table = TlbTable::new(1);
        assert_eq!(table.choose(7), None);
        table.set_members(&[(A, 1000), (B, 1000)]);
        // Nothing has weighed anything yet: the first of equals, each time.
        assert_eq!([0, 1, 2, 0].map(|bucket| table.choose(bucket)), [Some(A); 4]);
        for (bucket, bytes) in [(0, 5_000_000), (1, 3_000_000), (2, 1_000_000)] {
            table.count(0, bucket, bytes);
        }
        table.rebalance(None);
        // 500 kB/s on A, then 300 and 100 on B until it has as much.
        assert_eq!([0, 1, 2, 9].map(|bucket| table.choose(bucket)), [Some(A), Some(B), Some(B), Some(B)]);
        assert_eq!(table.choose(0), Some(A));
    }

    #[test]
    fn the_faster_member_takes_more() {
        let table = TlbTable::new(2);
        table.set_members(&[(A, 100), (B, 1000)]);
        for bucket in 0..=255 {
            table.choose(bucket);
            table.count(usize::from(bucket) % 2, bucket, 5_000_000);
        }
        table.rebalance(None);
        (0..=255).for_each(|bucket| assert!(table.choose(bucket).is_some()));
        let on_a = table.assignments().iter().filter(|dev| **dev == A).count();
        // 256 hashes of 4 Mbit/s each: B is full at 262 less what A takes while B's gap is the smaller one.
        assert!((1..=20).contains(&on_a), "{on_a}");
    }

    #[test]
    fn what_is_not_balanced_weighs_on_the_active_member() {
        let table = TlbTable::new(1);
        table.set_members(&[(A, 1000), (B, 1000)]);
        table.count_unbalanced(0, 10);
        table.rebalance(Some(A));
        assert_eq!(table.choose(0), Some(B));
    }

    #[test]
    fn hashes_of_a_member_that_leaves_are_free() {
        let table = TlbTable::new(1);
        table.set_members(&[(A, 1000), (B, 100)]);
        assert_eq!(table.choose(3), Some(A));
        table.set_members(&[(B, 100)]);
        assert_eq!(table.assignments()[3], IfIndex::NONE);
        assert_eq!(table.choose(3), Some(B));
        table.clear(B);
        assert_eq!(table.assignments()[3], IfIndex::NONE);
    }
}
