//! Filters: which class a packet belongs to, and which actions it meets.
//!
//! The filters of an attachment point (a discipline, a class, one side of `clsact`) are a list of [`FilterSpec`]s.
//! [`compile`] turns it into a [`FilterProgram`], which finds the first that matches in a few table lookups however many
//! there are: filters that compare the same bits of a packet share one hash table, whatever preference they have.
//!
//! The order is the kernel's. Chains are walked by ascending preference. Within one preference: u32 by node number, flower
//! by the age of its set of masks, the others by age.

pub mod ematch;
pub mod flow;
pub mod hook;
pub mod program;
pub mod run;
mod tuple;
pub mod u32;
pub mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::act::Action;
use super::handle::TcHandle;
use crate::net::IfIndex;

pub use program::{FilterProgram, compile};
pub use run::{ActHost, Decision};

/// Every protocol (`ETH_P_ALL`).
pub const ETH_P_ALL: u16 = 3;

/// How often filters may send a packet back to a first one, before it is dropped (kernel `max_reclassify_loop`).
pub const MAX_RECLASSIFY: u32 = 16;

/// A filter.
#[derive(Clone, Debug)]
pub struct FilterSpec {
    /// Its chain.
    pub chain: u32,
    /// Its preference, 1 first.
    pub pref: u16,
    /// The EtherType of its packets, [`ETH_P_ALL`] for all; that of the tag for tagged ones.
    pub protocol: u16,
    /// Its number.
    pub handle: u32,
    /// The class it names.
    pub classid: TcHandle,
    /// The device its packets came in by (u32 and fw; flower has it among its keys).
    pub indev: Option<IfIndex>,
    /// What it looks at.
    pub kind: FilterKind,
    /// What it does.
    pub actions: Vec<Arc<Action>>,
    /// What it counts.
    pub cells: Arc<FilterCells>,
}

/// What a filter looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterKind {
    /// Bits of the packet (tc-u32(8)).
    U32(u32::Node),
    /// A table of u32; matches nothing by itself.
    U32Table {
        /// Buckets, a power of two up to 256.
        divisor: u32,
        /// Searches of its preference begin in it.
        root: bool,
    },
    /// The mark: the handle under this mask (tc-fw(8)).
    Fw {
        /// Bits of the mark that count.
        mask: u32,
    },
    /// The mark is the class (fw without handle and options).
    FwClass,
    /// Header fields (tc-flower(8)).
    Flower(Box<flow::Flower>),
    /// Everything (tc-matchall(8)).
    Matchall,
    /// An expression (tc-ematch(8)); everything without one.
    Basic(Option<ematch::Tree>),
}

/// What a filter counts.
#[derive(Debug, Default)]
pub struct FilterCells {
    hits: AtomicU64,
}

impl FilterCells {
    /// Counts a packet that matched.
    #[inline]
    pub fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// Packets that matched.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
}
