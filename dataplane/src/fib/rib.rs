//! The set of routes: a hash table for each prefix length.
//!
//! Adding needs only the exact prefix, which is one probe. Removing looks for the covering route from the
//! next shorter length upwards, past lengths that have no route.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use super::entry::NextHopId;

/// Prefix lengths of IPv4.
const LENGTHS: usize = 33;

/// Routes by prefix. An address given with a length has its host bits zero.
pub(super) struct Rib {
    by_length: [HashMap<u32, NextHopId, Seed>; LENGTHS],
    routes: usize,
}

impl Rib {
    /// No routes.
    pub fn new() -> Self {
        // Route advertisements come from outside: an unknown seed keeps them from choosing collisions.
        let seed = Seed(RandomState::new().hash_one(0u64));
        Rib { by_length: std::array::from_fn(|_| HashMap::with_hasher(seed)), routes: 0 }
    }

    /// Sets the route of `addr/len`; returns the next hop it had.
    pub fn insert(&mut self, addr: u32, len: u8, next_hop: NextHopId) -> Option<NextHopId> {
        let old = self.by_length[usize::from(len)].insert(addr, next_hop);
        self.routes += usize::from(old.is_none());
        old
    }

    /// Takes out the route of `addr/len`.
    pub fn remove(&mut self, addr: u32, len: u8) -> Option<NextHopId> {
        let old = self.by_length[usize::from(len)].remove(&addr);
        self.routes -= usize::from(old.is_some());
        old
    }

    /// The route of exactly `addr/len`.
    pub fn get(&self, addr: u32, len: u8) -> Option<NextHopId> {
        self.by_length[usize::from(len)].get(&addr).copied()
    }

    /// The longest route shorter than `len` that covers `addr`, with its length.
    pub fn covering(&self, addr: u32, len: u8) -> Option<(u8, NextHopId)> {
        (0..len).rev().zip(self.by_length[..usize::from(len)].iter().rev()).find_map(|(len, routes)| {
            if routes.is_empty() {
                return None;
            }
            routes.get(&network(addr, len)).map(|&next_hop| (len, next_hop))
        })
    }

    /// All routes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u8, NextHopId)> {
        (0u8..)
            .zip(&self.by_length)
            .flat_map(|(len, routes)| routes.iter().map(move |(&addr, &next_hop)| (addr, len, next_hop)))
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.routes
    }

    /// The memory of the hash tables in bytes: a power of two of slots filled to 7/8, a byte of tag each.
    pub fn memory_bytes(&self) -> usize {
        let slots = |capacity: usize| if capacity == 0 { 0 } else { (capacity * 8 / 7).next_power_of_two() };
        let slot_bytes = size_of::<(u32, NextHopId)>() + 1;
        self.by_length.iter().map(|routes| slots(routes.capacity()) * slot_bytes).sum()
    }
}

/// `addr` with the bits beyond `len` cleared.
pub(super) const fn network(addr: u32, len: u8) -> u32 {
    match u32::MAX.checked_shl(32 - len as u32) {
        Some(mask) => addr & mask,
        None => 0,
    }
}

/// Makes hashers for one RIB.
#[derive(Clone, Copy)]
struct Seed(u64);

impl BuildHasher for Seed {
    type Hasher = Fold;

    #[inline]
    fn build_hasher(&self) -> Fold {
        Fold(self.0)
    }
}

/// A hash of integers by folded multiplication: SipHash would cost more than the rest of an update.
struct Fold(u64);

impl Hasher for Fold {
    #[inline]
    fn write_u32(&mut self, value: u32) {
        let product = u128::from(self.0 ^ u64::from(value)) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u32(u32::from(byte)));
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
