//! `-m limit`: a bucket of credits that all lcores take from, in the kernel's units (`xt_limit`).
//!
//! 32 credits come every millisecond (the kernel's `CREDITS_PER_JIFFY` times its HZ is 32,000 whatever HZ is). Credits and
//! the time of the last look are two halves of one word, changed by compare and swap.

use std::sync::atomic::{AtomicU64, Ordering};

use super::rule::LimitMatch;

const CREDITS_PER_MILLI: u64 = 32;
/// Credits a second.
const CREDITS_PER_SECOND: u32 = 32_000;
/// `XT_LIMIT_SCALE`: units of [`LimitMatch::avg`] in a second.
const SCALE: u32 = 10_000;

/// A bucket.
#[derive(Debug)]
pub struct Limit {
    /// Milliseconds, modulo 2^32, in the high half; credits in the low one.
    state: AtomicU64,
    cap: u32,
    cost: u32,
}

impl Limit {
    /// A full bucket. `None` if burst times period is more than the kernel counts (its ERANGE).
    pub fn new(m: &LimitMatch, now_millis: u64) -> Option<Limit> {
        let cost = credits(m.avg);
        let cap = credits(m.avg.wrapping_mul(m.burst));
        (m.burst != 0 && cap >= cost).then(|| Limit { state: pack(now_millis as u32, cap).into(), cap, cost })
    }

    /// Takes the credits of one packet, if they are there.
    pub fn take(&self, now_millis: u64) -> bool {
        let now = now_millis as u32;
        let mut old = self.state.load(Ordering::Relaxed);
        loop {
            let passed = passed(now, (old >> 32) as u32);
            let then = ((old >> 32) as u32).wrapping_add(passed);
            let more = u64::from(passed) * CREDITS_PER_MILLI;
            let have = (u64::from(old as u32) + more).min(self.cap.into()) as u32;
            let left = have.checked_sub(self.cost);
            let new = pack(then, left.unwrap_or(have));
            if new == old {
                return left.is_some();
            }
            match self.state.compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return left.is_some(),
                Err(other) => old = other,
            }
        }
    }
}

/// Milliseconds between two looks at clocks that count modulo 2^32. Lcores' clocks may differ by a burst: a step back of
/// up to a second is none at all, so that a bucket may lie idle for weeks.
pub(super) fn passed(now: u32, then: u32) -> u32 {
    let forward = now.wrapping_sub(then);
    if forward > u32::MAX - 1000 { 0 } else { forward }
}

fn pack(millis: u32, credit: u32) -> u64 {
    u64::from(millis) << 32 | u64::from(credit)
}

/// The kernel's `user2credits`, which rounds in this order.
fn credits(user: u32) -> u32 {
    if user > u32::MAX / CREDITS_PER_SECOND {
        (user / SCALE).wrapping_mul(CREDITS_PER_SECOND)
    } else {
        user * CREDITS_PER_SECOND / SCALE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_a_second_with_a_burst_of_seven() {
        // 100 packets a second for 10 s: the burst, and 5 a second after it.
        let limit = Limit::new(&LimitMatch { avg: 2000, burst: 7 }, 0).unwrap();
        let taken: Vec<bool> = (0..1000).map(|i| limit.take(i * 10)).collect();
        assert_eq!(taken.iter().take(7).filter(|t| **t).count(), 7);
        assert_eq!(taken.iter().filter(|t| **t).count(), 7 + 49);
    }

    #[test]
    fn slow_rates_round_as_the_kernel_does() {
        // 3/hour: 12,000,000 units; above 2^32 / 32000 whole seconds count.
        assert_eq!(credits(12_000_000), 1200 * 32_000);
        assert_eq!(credits(1428), 4569);
        assert!(Limit::new(&LimitMatch { avg: 12_000_000, burst: 0 }, 0).is_none());
        assert!(Limit::new(&LimitMatch { avg: 864_000_000, burst: 5 }, 0).is_none());
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing() {
        let limit = Limit::new(&LimitMatch { avg: 10_000, burst: 1 }, 5000).unwrap();
        assert!(limit.take(5000));
        assert!(!limit.take(4900) && !limit.take(5999) && limit.take(6000));
        // A month later.
        assert!(limit.take(6000 + 30 * 86_400_000));
    }
}
