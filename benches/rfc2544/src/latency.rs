//! Latency: a histogram of clock ticks, and the figures taken from it.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Ticks beyond which all frames are alike: more than 20 s at 3 GHz.
const MOST_TICKS: u64 = 1 << 36;
/// Values are kept to three digits.
const DIGITS: u8 = 3;

/// Percentiles, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Frames measured.
    pub frames: u64,
    /// The fastest.
    pub min_us: f64,
    /// The mean.
    pub mean_us: f64,
    /// Half of the frames were not slower.
    pub p50_us: f64,
    /// 99 % were not slower.
    pub p99_us: f64,
    /// 99.9 % were not slower.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
}

/// Collects latencies in ticks.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    ///
    /// # Errors
    /// Never: the bounds are constants that the histogram takes.
    pub fn new() -> anyhow::Result<Latencies> {
        Ok(Latencies(Histogram::new_with_bounds(1, MOST_TICKS, DIGITS)?))
    }

    /// Adds a frame's.
    #[inline]
    pub fn record(&mut self, ticks: u64) {
        self.0.saturating_record(ticks.max(1));
    }

    /// Adds all of another's.
    pub fn add(&mut self, other: &Latencies) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// The figures, on a clock of `hz` ticks a second; `None` of no frames.
    pub fn summary(&self, hz: u64) -> Option<Latency> {
        let us = |ticks: f64| ticks * 1e6 / hz as f64;
        let at = |quantile: f64| us(self.0.value_at_quantile(quantile) as f64);
        (!self.0.is_empty()).then(|| Latency {
            frames: self.0.len(),
            min_us: us(self.0.min() as f64),
            mean_us: us(self.0.mean()),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(self.0.max() as f64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_three_digits() {
        let mut latencies = Latencies::new().unwrap();
        // 1 to 1000 us at 2.5 GHz.
        (1..=1000).for_each(|us| latencies.record(us * 2500));
        let latency = latencies.summary(2_500_000_000).unwrap();
        assert_eq!(latency.frames, 1000);
        for (found, expected) in [
            (latency.min_us, 1.0),
            (latency.mean_us, 500.5),
            (latency.p50_us, 500.0),
            (latency.p99_us, 990.0),
            (latency.p999_us, 999.0),
            (latency.max_us, 1000.0),
        ] {
            assert!((found / expected - 1.0).abs() < 2e-3, "{found} for {expected}");
        }
    }

    #[test]
    fn extremes_do_no_harm() {
        let mut latencies = Latencies::new().unwrap();
        assert_eq!(latencies.summary(1), None);
        latencies.record(0);
        latencies.record(u64::MAX);
        assert_eq!(latencies.summary(1).unwrap().frames, 2);
    }
}
