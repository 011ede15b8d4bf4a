//! The time stamp counter: the packet path's clock.

use std::arch::x86_64::_rdtsc;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use crate::lcore::clock_ns;

/// The time stamp counter now. Assumes what every x86-64 of the last decade has: one constant rate, in
/// step on all CPUs.
#[inline]
pub fn rdtsc() -> u64 {
    // SAFETY: every x86-64 CPU has the instruction.
    unsafe { _rdtsc() }
}

/// Ticks of the counter a second. Measured against the kernel's clock at the first call, which takes
/// 50 ms; good to a few parts in a million. (DPDK's own figure may be rounded to 10 MHz, which is too
/// coarse to shape traffic by.)
pub fn tsc_hz() -> u64 {
    static HZ: OnceLock<u64> = OnceLock::new();
    *HZ.get_or_init(measure)
}

fn measure() -> u64 {
    let (tsc0, ns0) = sample();
    thread::sleep(Duration::from_millis(50));
    let (tsc1, ns1) = sample();
    (u128::from(tsc1 - tsc0) * 1_000_000_000 / u128::from((ns1 - ns0).max(1))) as u64
}

/// Counter and clock (ns) at the same moment: the tightest of several tries, because the thread may be
/// interrupted between the two readings.
fn sample() -> (u64, u64) {
    let attempt = || {
        let before = rdtsc();
        let ns = clock_ns(libc::CLOCK_MONOTONIC_RAW);
        let width = rdtsc() - before;
        (width, before + width / 2, ns)
    };
    let (_, tsc, ns) = (0..32).map(|_| attempt()).min().unwrap_or_else(attempt);
    (tsc, ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_runs_forward_at_a_plausible_rate() {
        let before = rdtsc();
        let hz = tsc_hz();
        assert!(rdtsc() > before);
        assert!((500_000_000..10_000_000_000).contains(&hz), "{hz}");
        assert_eq!(hz, tsc_hz());
    }
}
