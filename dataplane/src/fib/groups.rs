//! Which groups of the lower table are in use, free, or waiting for lcores to let go of them.

use std::sync::Arc;
use std::time::Duration;

use crate::core::qsbr::{Deferred, Qsbr};

/// How long [`Groups::take`] waits for lcores rather than report that there is no group. A grace period is a
/// burst long unless an lcore's thread is not running.
const GRACE_LIMIT: Duration = Duration::from_millis(20);

/// The writer's book of groups.
pub(super) struct Groups {
    limit: u32,
    /// Groups below this number have been used at least once.
    touched: u32,
    free: Vec<u32>,
    /// Groups out of the tables that lcores may still be reading.
    waiting: Deferred<u32>,
    /// How many routes longer than /24 each touched group holds: 2 + 4 + ... + 256 at most.
    routes: Vec<u16>,
    qsbr: Arc<Qsbr>,
}

impl Groups {
    /// `limit` groups, none in use.
    pub fn new(limit: u32, qsbr: Arc<Qsbr>) -> Self {
        Groups { limit, touched: 0, free: Vec::new(), waiting: Deferred::new(), routes: Vec::new(), qsbr }
    }

    /// A group no lcore can see, without routes; `None` if all are in use.
    pub fn take(&mut self) -> Option<u32> {
        self.free.extend(self.waiting.reclaim(&self.qsbr));
        if let Some(group) = self.free.pop() {
            return Some(group);
        }
        if self.touched < self.limit {
            self.touched += 1;
            self.routes.push(0);
            return Some(self.touched - 1);
        }
        let epoch = self.waiting.next_epoch()?;
        self.qsbr.wait(epoch, GRACE_LIMIT);
        self.free.extend(self.waiting.reclaim(&self.qsbr));
        self.free.pop()
    }

    /// Takes back a group that the tables lead to no longer.
    pub fn give_back(&mut self, group: u32) {
        self.waiting.defer(&self.qsbr, group);
    }

    /// Counts one more route in `group`.
    pub fn add_route(&mut self, group: u32) {
        self.routes[group as usize] += 1;
    }

    /// Counts one route less in `group`; true if none is left.
    pub fn remove_route(&mut self, group: u32) -> bool {
        self.routes[group as usize] -= 1;
        self.routes[group as usize] == 0
    }

    /// How many groups the tables lead to.
    pub fn used(&self) -> usize {
        self.touched as usize - self.free.len() - self.waiting.len()
    }

    /// How many groups wait for lcores.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many groups have ever been written, and so have memory behind them.
    pub fn touched(&self) -> usize {
        self.touched as usize
    }

    /// How many groups there are.
    pub fn limit(&self) -> usize {
        self.limit as usize
    }
}
