//! A histogram of durations with one writer, read by anybody.

use std::time::Duration;

use super::counters::Counter;

/// How long something took, each time. `BOUNDS` upper bounds, inclusive, in nanoseconds: the first is `FIRST`, each
/// further one the one before doubled `DOUBLINGS` times. By default a quarter of a microsecond to 33 ms.
#[derive(Debug)]
pub struct TimeHistogram<const BOUNDS: usize = 18, const FIRST: u64 = 250, const DOUBLINGS: u32 = 1> {
    /// Nanoseconds of all together.
    sum: Counter,
    /// Those not longer than each bound and longer than the one before.
    buckets: [Counter; BOUNDS],
    /// Those longer than the last bound.
    longer: Counter,
}

impl<const BOUNDS: usize, const FIRST: u64, const DOUBLINGS: u32> Default
    for TimeHistogram<BOUNDS, FIRST, DOUBLINGS>
{
    fn default() -> Self {
        let buckets = std::array::from_fn(|_| Counter::default());
        TimeHistogram { sum: Counter::default(), buckets, longer: Counter::default() }
    }
}

impl<const BOUNDS: usize, const FIRST: u64, const DOUBLINGS: u32> TimeHistogram<BOUNDS, FIRST, DOUBLINGS> {
    /// Counts one of `nanos` nanoseconds.
    #[inline]
    pub fn record(&self, nanos: u64) {
        let doublings = u64::BITS - (nanos.saturating_sub(1) / FIRST).leading_zeros();
        self.buckets.get(doublings.div_ceil(DOUBLINGS) as usize).unwrap_or(&self.longer).add(1);
        self.sum.add(nanos);
    }

    /// The time of all together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum.get())
    }

    /// Upper bounds, the last one infinite, and how many lie between each and the one before.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bound = |i: usize| Duration::from_nanos(FIRST << (i as u32 * DOUBLINGS));
        let bounded = self.buckets.iter().enumerate().map(move |(i, n)| (Some(bound(i)), n.get()));
        bounded.chain([(None, self.longer.get())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds_hold<const B: usize, const F: u64, const D: u32>() {
        for i in 0..B {
            let bound = F << (i as u32 * D);
            let histogram = TimeHistogram::<B, F, D>::default();
            histogram.record(bound);
            histogram.record(bound + 1);
            let counts: Vec<u64> = histogram.buckets().map(|(_, n)| n).collect();
            assert_eq!((counts[i], counts[i + 1]), (1, 1), "{bound}: {counts:?}");
            assert_eq!(histogram.sum(), Duration::from_nanos(2 * bound + 1));
            assert_eq!(histogram.buckets().nth(i).unwrap().0, Some(Duration::from_nanos(bound)));
        }
        let histogram = TimeHistogram::<B, F, D>::default();
        histogram.record(0);
        histogram.record(u64::MAX / 2);
        let counts: Vec<u64> = histogram.buckets().map(|(_, n)| n).collect();
        assert_eq!((counts[0], counts[B]), (1, 1));
    }

    #[test]
    fn durations_are_sorted_by_the_bound_they_do_not_pass() {
        bounds_hold::<18, 250, 1>();
        bounds_hold::<7, 1024, 2>();
        bounds_hold::<11, 4096, 2>();
    }
}
