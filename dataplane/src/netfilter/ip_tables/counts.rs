//! What the rules of a table count: cells of every lcore's own, added up by who asks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::rule::RuleCounters;
use crate::core::counters::Counter;

/// Packets and bytes, by one lcore.
#[derive(Debug, Default)]
pub(super) struct Cell {
    packets: Counter,
    bytes: Counter,
}

impl Cell {
    #[inline]
    pub fn add(&self, packets: u64, bytes: u64) {
        self.packets.add(packets);
        self.bytes.add(bytes);
    }
}

/// What the rules, and behind them the policies of the chains, have counted.
#[derive(Debug)]
pub(super) struct Counts {
    /// A row for each lcore, and one for whoever else runs hooks.
    cells: Box<[Box<[Cell]>]>,
    /// Where counting began, packets and bytes.
    initial: Box<[[AtomicU64; 2]]>,
}

impl Counts {
    pub fn new(lcores: usize, initial: &[RuleCounters]) -> Counts {
        let row = || initial.iter().map(|_| Cell::default()).collect();
        Counts {
            cells: (0..=lcores).map(|_| row()).collect(),
            initial: initial.iter().map(|c| [c.packets.into(), c.bytes.into()]).collect(),
        }
    }

    #[inline]
    pub fn of(&self, lcore: usize) -> &[Cell] {
        self.cells.get(lcore).or(self.cells.last()).map_or(&[], |row| row)
    }

    /// The sum over all lcores and where counting began.
    pub fn read(&self, at: usize) -> RuleCounters {
        let start = |i: usize| self.initial.get(at).map_or(0, |c| c[i].load(Ordering::Relaxed));
        let sum = |start: u64, of: fn(&Cell) -> &Counter| {
            self.cells
                .iter()
                .filter_map(|row| row.get(at))
                .fold(start, |s, cell| s.wrapping_add(of(cell).get()))
        };
        RuleCounters { packets: sum(start(0), |c| &c.packets), bytes: sum(start(1), |c| &c.bytes) }
    }

    /// Adds what was counted elsewhere.
    pub fn add(&self, at: usize, more: RuleCounters) {
        if let Some([packets, bytes]) = self.initial.get(at) {
            packets.fetch_add(more.packets, Ordering::Relaxed);
            bytes.fetch_add(more.bytes, Ordering::Relaxed);
        }
    }
}
