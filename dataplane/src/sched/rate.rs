//! A token bucket without rounding.

use super::params::LinkLayer;
use crate::time::Instant;

/// Tokens in a byte: what one nanosecond brings at any rate, and what a packet costs, are whole numbers of them.
const TOKENS_PER_BYTE: u64 = 1_000_000_000;

/// Holds tokens up to a size and gets new ones at a rate.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Bytes a second, which is tokens a nanosecond.
    rate: u64,
    size: u64,
    tokens: u64,
    at: Instant,
    /// Nanoseconds that fill it from empty; bounds the products.
    fill: u64,
    layer: LinkLayer,
}

impl Bucket {
    /// A full one, for `burst` bytes and what the link layer adds to them.
    pub fn new(rate: u64, burst: u64, layer: LinkLayer) -> Self {
        let rate = rate.max(1);
        let burst = layer.charged(u32::try_from(burst).unwrap_or(u32::MAX));
        let size = burst.saturating_mul(TOKENS_PER_BYTE);
        Bucket { rate, size, tokens: size, at: Instant::ZERO, fill: size / rate, layer }
    }

    /// Puts in what came since the last time.
    #[inline]
    pub fn refill(&mut self, now: Instant) {
        let passed = now.as_nanos().saturating_sub(self.at.as_nanos());
        self.at = now;
        self.tokens = if passed > self.fill {
            self.size
        } else {
            self.size.min(self.tokens.saturating_add(passed * self.rate))
        };
    }

    /// What a packet of `len` bytes costs. Never more than there can be: one that was let in when the bucket was larger
    /// has to leave sometime.
    #[inline]
    pub fn cost(&self, len: u32) -> u64 {
        self.layer.charged(len).saturating_mul(TOKENS_PER_BYTE).min(self.size)
    }

    /// Nanoseconds until there are so many tokens; 0 if there are.
    #[inline]
    pub fn wait(&self, cost: u64) -> u64 {
        match cost.saturating_sub(self.tokens) {
            0 => 0,
            missing => missing.div_ceil(self.rate),
        }
    }

    /// Takes tokens out. They must be there, see [`wait`](Self::wait).
    #[inline]
    pub fn take(&mut self, cost: u64) {
        self.tokens = self.tokens.saturating_sub(cost);
    }

    /// Fills it.
    pub fn reset(&mut self, now: Instant) {
        (self.tokens, self.at) = (self.size, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_below_a_nanosecond() {
        const FRAMES: u64 = 1_000_000;
        // A frame of 64 bytes takes 5.12 ns at 100 Gbit/s. A bucket of one is full again 0.88 ns before the clock says
        // so: 6 ns a frame.
        assert_eq!(nanos_for(FRAMES, 64), 6 * (FRAMES - 1));
        assert_eq!(nanos_for(FRAMES, 640), ((FRAMES - 10) as f64 * 5.12).ceil() as u64);
    }

    /// When the last of these frames of 64 bytes may go at 100 Gbit/s.
    fn nanos_for(frames: u64, burst: u64) -> u64 {
        let mut bucket = Bucket::new(12_500_000_000, burst, LinkLayer::default());
        let cost = bucket.cost(64);
        let (mut now, mut sent) = (0, 0);
        while sent < frames {
            bucket.refill(Instant::from_nanos(now));
            match bucket.wait(cost) {
                0 => {
                    bucket.take(cost);
                    sent += 1;
                }
                wait => now += wait,
            }
        }
        now
    }

    #[test]
    fn extreme_rates_and_sizes_hold() {
        for (rate, burst) in [(0, 0), (1, u64::MAX), (u64::MAX, u64::MAX), (u64::MAX, 1), (1, 1)] {
            let mut bucket = Bucket::new(rate, burst, LinkLayer::default());
            let cost = bucket.cost(u32::MAX);
            bucket.refill(Instant::from_nanos(u64::MAX / 2));
            assert_eq!(bucket.wait(cost), 0);
            bucket.take(cost);
            let wait = bucket.wait(cost);
            bucket.refill(Instant::from_nanos(u64::MAX / 2 + wait));
            assert_eq!(bucket.wait(cost), 0, "{rate} {burst}");
        }
    }
}
