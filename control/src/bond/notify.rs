//! What is repeated after another member took over: gratuitous ARPs for hosts, IGMP reports for switches.

use std::time::Duration;

use skiff_dataplane::time::Instant;

/// Time between IGMP reports after a failover.
pub const IGMP_PERIOD: Duration = Duration::from_millis(200);

/// Something that is done a number of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repeats {
    left: u32,
    period: Duration,
    next: Instant,
}

impl Repeats {
    /// `times`, the first one now.
    pub fn new(times: u32, period: Duration, now: Instant) -> Repeats {
        Repeats { left: times, period, next: now }
    }

    /// It is time for one: `allowed` says whether it can be done, and if not it waits for when it can.
    pub fn due(&mut self, allowed: bool, now: Instant) -> bool {
        if self.left == 0 || !allowed || now < self.next {
            return false;
        }
        self.left -= 1;
        self.next = now + self.period;
        true
    }

    /// When the next one is due.
    pub fn deadline(&self) -> Option<Instant> {
        (self.left > 0).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_wanted_at_the_distance_wanted() {
        let mut repeats = Repeats::new(3, Duration::from_secs(1), Instant::ZERO);
        let mut at = Vec::new();
        for ms in (0..5000).step_by(100) {
            if repeats.due(true, Instant::from_millis(ms)) {
                at.push(ms);
            }
        }
        assert_eq!(at, [0, 1000, 2000]);
        assert_eq!(repeats.deadline(), None);
    }

    #[test]
    fn what_cannot_be_done_waits() {
        let mut repeats = Repeats::new(1, Duration::ZERO, Instant::ZERO);
        assert!(!repeats.due(false, Instant::from_secs(1)));
        assert!(repeats.due(true, Instant::from_secs(2)));
        assert!(!Repeats::default().due(true, Instant::from_secs(3)));
    }
}
