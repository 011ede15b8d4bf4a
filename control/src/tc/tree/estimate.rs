//! The rate of a discipline, measured by looking at its counters from time to time (kernel `gen_estimator`).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use skiff_dataplane::time::Instant;

use super::super::request::Estimator;

/// A moving average of bytes and packets a second.
#[derive(Debug)]
pub struct Estimate {
    estimator: Estimator,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<(Instant, u64, u64)>,
    bytes: f64,
    packets: f64,
}

impl Estimate {
    /// The shortest time between two looks.
    pub const SHORTEST: Duration = Duration::from_millis(250);

    /// Nothing is known yet.
    pub fn new(estimator: Estimator) -> Estimate {
        Estimate { estimator, state: Mutex::default() }
    }

    /// Bytes and packets a second.
    pub fn rate(&self) -> (u64, u64) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.bytes as u64, state.packets as u64)
    }

    /// Takes the counters' values into account, if it is time.
    pub fn look(&self, bytes: u64, packets: u64, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((then, old_bytes, old_packets)) = state.last else {
            state.last = Some((now, bytes, packets));
            return;
        };
        let passed = now.since(then);
        if passed < Self::SHORTEST * (1 << self.estimator.interval) {
            return;
        }
        let weight = 0.5f64.powi(self.estimator.ewma_log.into());
        let rate = |new: u64, old: u64| new.saturating_sub(old) as f64 / passed.as_secs_f64();
        state.bytes += (rate(bytes, old_bytes) - state.bytes) * weight;
        state.packets += (rate(packets, old_packets) - state.packets) * weight;
        state.last = Some((now, bytes, packets));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approaches_a_steady_rate_by_its_weight() {
        let estimate = Estimate::new(Estimator { interval: 0, ewma_log: 1 });
        let at = |ms: u64| Instant::from_nanos(1_000_000_000 + ms * 1_000_000);
        estimate.look(500, 5, at(0));
        assert_eq!(estimate.rate(), (0, 0));
        estimate.look(700, 7, at(100));
        assert_eq!(estimate.rate(), (0, 0), "too early");
        estimate.look(1500, 15, at(250));
        assert_eq!(estimate.rate(), (2000, 20));
        estimate.look(2500, 25, at(500));
        assert_eq!(estimate.rate(), (3000, 30));
    }
}
