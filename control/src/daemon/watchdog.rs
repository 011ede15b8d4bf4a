//! The service manager's watchdog (sd_notify(3), WATCHDOG_USEC): fed only while the control thread turns and every lcore
//! goes round its loop.
//!
//! A router whose lcore is stuck still answers commands and scrapes, so only the lcores can say that packets flow. An
//! idle one is no exception: its longest sleep is a few milliseconds, and feeds are seconds apart.

use std::time::{Duration, Instant};

use skiff_dataplane::core::shared::Shared;

/// Feeds in the time after which the manager takes the service for dead.
const FEEDS: u32 = 4;

/// When to feed.
#[derive(Debug)]
pub(super) struct Watchdog {
    interval: Duration,
    /// The next feed, if all have moved by then.
    due: Instant,
    /// What each lcore showed at the last feed.
    seen: Vec<u64>,
}

impl Watchdog {
    /// The one the manager asked this process to feed, if it did.
    pub(super) fn of_manager(now: Instant) -> Option<Watchdog> {
        let mut timeout_us = 0;
        sd_notify::watchdog_enabled(false, &mut timeout_us)
            .then(|| Watchdog::new(Duration::from_micros(timeout_us), now))
    }

    fn new(timeout: Duration, now: Instant) -> Watchdog {
        Watchdog { interval: timeout / FEEDS, due: now, seen: Vec::new() }
    }

    /// Feeds the manager's watchdog if it is time to and every lcore has moved.
    pub(super) fn turn(&mut self, now: Instant, shared: &Shared) {
        if now < self.due {
            return;
        }
        let rounds = (0..shared.lcores()).map(|lcore| shared.cells(lcore).last_quiescent_tsc.get());
        if self.feeds(now, rounds) {
            let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Watchdog]);
        }
    }

    /// Whether to feed at `now`; `rounds` is when each lcore last began a round, in any unit that grows. An lcore that
    /// has yet to move since the last feed holds the next one up until it does.
    fn feeds(&mut self, now: Instant, rounds: impl Iterator<Item = u64>) -> bool {
        if now < self.due {
            return false;
        }
        let rounds: Vec<u64> = rounds.collect();
        let stuck = rounds.iter().zip(&self.seen).any(|(round, seen)| round == seen);
        if stuck {
            return false;
        }
        self.seen = rounds;
        self.due = now + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(20);

    /// Feeds in `seconds` of turns of 100 ms; `round` says what lcore 0 and 1 show at each tenth of a second.
    fn fed_at(seconds: u64, round: impl Fn(u64) -> [u64; 2]) -> Vec<u64> {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(TIMEOUT, start);
        (0..seconds * 10)
            .filter(|tenth| {
                let now = start + Duration::from_millis(tenth * 100);
                watchdog.feeds(now, round(*tenth).into_iter())
            })
            .collect()
    }

    #[test]
    fn lcores_that_move_are_four_feeds_a_timeout() {
        assert_eq!(fed_at(20, |tenth| [tenth, 7 * tenth]), [0, 50, 100, 150]);
    }

    #[test]
    fn one_stuck_lcore_of_two_ends_the_feeds() {
        // Lcore 1 stops at 7 s: the feed at 10 s still sees that it moved since 5 s, and none follows.
        assert_eq!(fed_at(600, |tenth| [tenth, tenth.min(70)]), [0, 50, 100]);
    }

    #[test]
    fn an_lcore_that_moves_again_is_fed_for_at_once() {
        let stuck_from_3_to_12_s = |tenth: u64| if (30..120).contains(&tenth) { 30 } else { tenth };
        // At 5 s it has moved since the start; at 10 s it has not, and the feed is made up at 12 s.
        assert_eq!(fed_at(18, |tenth| [tenth, stuck_from_3_to_12_s(tenth)]), [0, 50, 120, 170]);
    }
}
