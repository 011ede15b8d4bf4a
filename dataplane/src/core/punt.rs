//! How many messages of one kind may be on their way to the control thread: a flood of multicast, or of LACP
//! frames, must not fill the queue that neighbours wait in.

use std::sync::atomic::{AtomicU32, Ordering};

/// Messages of one kind under way.
#[derive(Debug)]
pub struct PuntBudget {
    under_way: AtomicU32,
    limit: u32,
}

impl PuntBudget {
    /// A budget of `limit` messages.
    pub const fn new(limit: u32) -> Self {
        PuntBudget { under_way: AtomicU32::new(0), limit }
    }

    /// Takes a place; false if there is none.
    pub fn take(&self) -> bool {
        let taken = self.under_way.fetch_add(1, Ordering::Relaxed) < self.limit;
        if !taken {
            self.give_back();
        }
        taken
    }

    /// Gives a place back: the message was served, or not sent.
    pub fn give_back(&self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_come_back() {
        let budget = PuntBudget::new(2);
        assert_eq!([budget.take(), budget.take(), budget.take()], [true, true, false]);
        budget.give_back();
        assert_eq!([budget.take(), budget.take()], [true, false]);
    }
}
