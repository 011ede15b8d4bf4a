//! The forwarding information base: longest-prefix match from destination to next hop.
//!
//! A DIR-24-8 (Gupta, Lin, McKeown: "Routing Lookups in Hardware at Memory Access Speeds", 1998): one table of
//! 2^24 entries indexed by the address's upper 24 bits, and groups of 256 entries for those /24 nets that hold
//! longer prefixes. A lookup is one load, or two. [`Fib`] is what lcores read; the one [`FibWriter`] owns the
//! set of routes and changes the tables in place under running lookups.
//!
//! # Rules of change
//! Every single lookup returns the answer from before a change or from after it, never a third:
//! 1. One entry decides a lookup, and it is overwritten from old to new in one store, with no gap between.
//!    A change to a short prefix is many such stores: lookups of *different* addresses may see it at
//!    different moments.
//! 2. An entry carries the depth (prefix length) of the route it came from, so that a change touches only
//!    entries of its own depth or, adding, of shallower ones.
//! 3. A new group is filled before the entry that leads to it is published (release; lookups acquire).
//! 4. A group left without longer prefixes is replaced by a direct entry and then keeps its contents until
//!    every lcore has passed a quiescent state ([`crate::core::qsbr`]): a lookup between its two loads finds the
//!    answer that was right at its first.
//!
//! The writer's stores release: whoever reads a [`NextHopId`] here sees what was written for that next hop
//! before the route was added. A next hop no route uses any more may still be in lcores' hands until a grace
//! period has passed.

mod entry;
pub mod flow_keys;
mod groups;
pub mod multipath;
pub mod next_hop;
mod rib;
mod table;
#[cfg(test)]
mod tests;
mod writer;

pub use entry::NextHopId;
pub use table::{BULK, Fib};
pub use writer::{FibError, FibStats, FibWriter};
