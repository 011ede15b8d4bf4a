//! Adaptive RED (Floyd, Gummadi and Shenker 2001): the largest probability follows the average queue.

use std::time::Duration;

use super::average::Average;
use crate::sched::params::RedParams;
use crate::time::Instant;

/// Time between two steps.
const INTERVAL: Duration = Duration::from_millis(500);
/// More steps than these at both ends of a long time without packets are not made up for: by then the probability stands
/// where it stays.
const STEPS: u64 = 128;
/// One in a hundred, times 2^32: the lower end of the range, and the largest step.
const PERCENT: u64 = ((1 << 32) + 50) / 100;

/// When the largest probability is adjusted, and to what.
///
/// Nothing ticks: steps that would have been made since the last packet are made when the next one comes, each with the
/// average of its time. That only changes when a packet comes or with the idle time, so it is as good as a timer.
#[derive(Clone, Debug)]
pub(super) struct Adaptive {
    target: (u64, u64),
    /// The next step; the end of time if there is none.
    next: Instant,
}

impl Adaptive {
    /// Begins with the first packet.
    pub fn new(params: &RedParams) -> Self {
        let (min, fifth) = (u64::from(params.min), u64::from(params.max.saturating_sub(params.min) / 5));
        let next = if params.adaptive { Instant::ZERO } else { Instant::from_nanos(u64::MAX) };
        Adaptive { target: (min + 2 * fifth, min + 3 * fifth), next }
    }

    /// True if there are steps to make up for.
    #[inline]
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Makes them; the new probability.
    #[cold]
    pub fn catch_up(&mut self, now: Instant, average: &Average, mut max_p: u64) -> u64 {
        if self.next == Instant::ZERO {
            self.next = now + INTERVAL;
            return max_p;
        }
        let interval = INTERVAL.as_nanos() as u64;
        let steps = 1 + (now.as_nanos() - self.next.as_nanos()) / interval;
        let first = self.next.as_nanos();
        let skipped = STEPS..steps.saturating_sub(STEPS).max(STEPS);
        for step in (0..steps.min(skipped.start)).chain(skipped.end..steps) {
            max_p = self.step(average.at(Instant::from_nanos(first + step * interval)), max_p);
        }
        self.next = Instant::from_nanos(first.saturating_add(steps * interval));
        max_p
    }

    /// Kernel `red_adaptative_algo`.
    fn step(&self, avg: u64, max_p: u64) -> u64 {
        if avg > self.target.1 && max_p <= 50 * PERCENT {
            max_p + PERCENT.min(max_p / 4)
        } else if avg < self.target.0 && max_p >= PERCENT {
            max_p / 10 * 9
        } else {
            max_p
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_made_later_come_to_the_same() {
        let params = RedParams {
            limit: 400_000,
            min: 30_000,
            max: 90_000,
            wlog: 5,
            avpkt: 1000,
            bandwidth: 1000,
            max_p: 85_899_345,
            ecn: true,
            harddrop: false,
            nodrop: false,
            adaptive: true,
            gentle: false,
        };
        // Above, between and below the targets; and from above down through them, the slower the bandwidth the longer.
        for (backlog, idle, bandwidth) in [
            (80_000, false, 1),
            (60_000, false, 1),
            (40_000, false, 1),
            (80_000, true, 1000),
            (80_000, true, 10),
        ] {
            for steps in [1, 2, 5, 100, 300, 100_000] {
                let start = Instant::from_secs(5);
                let mut average = Average::new(1, params.avpkt, bandwidth);
                for _ in 0..1000 {
                    average.arrived(start, backlog);
                }
                if idle {
                    average.empty(Instant::from_millis(5600));
                }
                let time = |step: u64| start + Duration::from_millis(500 * step + 7);
                let (mut often, mut once) = (Adaptive::new(&params), Adaptive::new(&params));
                assert_eq!(once.catch_up(start, &average, params.max_p), params.max_p);
                assert_eq!(often.catch_up(start, &average, params.max_p), params.max_p);
                let eager = (1..=steps).fold(params.max_p, |max_p, step| {
                    assert!(often.is_due(time(step)));
                    often.catch_up(time(step), &average, max_p)
                });
                assert_eq!(once.catch_up(time(steps), &average, params.max_p), eager, "{backlog} {steps}");
                assert_eq!(often.next, once.next);
                assert_eq!(steps > 1 && backlog == 60_000, steps > 1 && eager == params.max_p);
            }
        }
        assert!(!Adaptive::new(&RedParams { adaptive: false, ..params }).is_due(Instant::from_secs(1 << 30)));
    }
}
