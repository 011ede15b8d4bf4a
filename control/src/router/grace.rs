//! How long lcores take to leave what was in force before.

use std::sync::Arc;

use skiff_dataplane::core::histogram::TimeHistogram;
use skiff_dataplane::core::qsbr::{Deferred, Qsbr};
use skiff_dataplane::time::Instant;

/// Grace periods of snapshots, as the control thread sees them: it looks once a turn.
#[derive(Default)]
pub(super) struct GracePeriods {
    /// Each by the moment it began.
    under_way: Deferred<Instant>,
    times: Arc<TimeHistogram>,
}

impl GracePeriods {
    /// One begins.
    pub fn begin(&mut self, qsbr: &Qsbr, now: Instant) {
        self.under_way.defer(qsbr, now);
    }

    /// Counts those that are over. Whether any is not.
    pub fn end(&mut self, qsbr: &Qsbr, now: Instant) -> bool {
        for began in self.under_way.reclaim(qsbr) {
            self.times.record(now.since(began).as_nanos() as u64);
        }
        !self.under_way.is_empty()
    }

    /// Their lengths.
    pub fn times(&self) -> Arc<TimeHistogram> {
        Arc::clone(&self.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_lasts_until_the_last_lcore_has_reported() {
        let (qsbr, mut grace) = (Qsbr::new(2), GracePeriods::default());
        let at = |micros: u64| Instant::from_nanos(micros * 1000);
        qsbr.online(0);
        qsbr.online(1);
        grace.begin(&qsbr, at(10));
        qsbr.quiescent(0);
        assert!(grace.end(&qsbr, at(20)));
        qsbr.quiescent(1);
        assert!(!grace.end(&qsbr, at(40)));
        let times = grace.times();
        assert_eq!(times.sum().as_micros(), 30);
        assert_eq!(times.buckets().map(|(_, n)| n).sum::<u64>(), 1);
    }
}
