//! police: token buckets that all lcores take from (tc-police(8)).
//!
//! A bucket of tokens is kept as the time at which it will be full: a packet conforms if its own time, added to that,
//! lies no farther ahead than the whole bucket lasts. That is one word, changed by compare and swap. It counts 1/1024 ns,
//! modulo 2^64 (208 days): a value farther ahead than the bucket lasts is one from before the clock went round.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Control;
use crate::sched::params::LinkLayer;
use crate::time::Instant;

/// Binary digits of a nanosecond.
const FRACTION: u32 = 10;
const SECOND: u128 = 1_000_000_000 << FRACTION;

/// A policer. Rates in bytes a second, the rest in bytes, unless said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Police {
    /// The rate; 0 for none.
    pub rate: u64,
    /// What may come at once.
    pub burst: u32,
    /// Larger packets exceed; 0 stands for the largest that tc's rate table has, or none without a rate.
    pub mtu: u32,
    /// A second bucket of one `mtu`; 0 for none.
    pub peakrate: u64,
    /// Accepted and shown; there is no estimator.
    pub avrate: u64,
    /// Packets a second; 0 for none.
    pub pkts_rate: u64,
    /// Packets that may come at once.
    pub pkts_burst: u64,
    /// How packets are charged.
    pub layer: LinkLayer,
    /// What follows for packets that conform. For those that exceed it is the action's own word.
    pub conform: Control,
}

impl Default for Police {
    fn default() -> Self {
        Police {
            rate: 0,
            burst: 0,
            mtu: 0,
            peakrate: 0,
            avrate: 0,
            pkts_rate: 0,
            pkts_burst: 0,
            layer: LinkLayer::default(),
            conform: Control::Ok,
        }
    }
}

impl Police {
    /// The largest packet that can conform: with a rate, the kernel's 255 cells of tc's rate table unless it was given.
    pub fn largest(&self) -> u32 {
        match (self.mtu, self.rate) {
            (0, 0) => u32::MAX,
            (0, _) => 255 << 3,
            (mtu, _) => mtu,
        }
    }
}

/// The state of a policer.
#[derive(Debug, Default)]
pub struct Buckets {
    /// When the bucket of the rate, or of the packet rate, is full.
    rate: AtomicU64,
    /// When that of the peak rate is.
    peak: AtomicU64,
}

/// A policer's parameters in the units of its buckets.
#[derive(Debug)]
pub struct Meter {
    largest: u32,
    rate: Option<Cost>,
    peak: Option<Cost>,
    packets: bool,
    layer: LinkLayer,
}

/// What a unit costs, as a fraction, and how long the bucket lasts.
#[derive(Debug)]
struct Cost {
    /// Time of a unit, times 2^32.
    unit: u128,
    lasts: u64,
}

impl Cost {
    fn new(rate: u64, units: u64) -> Option<Cost> {
        let unit = (SECOND << 32).checked_div(rate.into())?;
        let lasts = (SECOND * u128::from(units) / u128::from(rate)).min(u128::from(u64::MAX >> 2));
        Some(Cost { unit, lasts: lasts as u64 })
    }

    #[inline]
    fn of(&self, units: u64) -> u64 {
        // Rounded up by less than a thousandth of a nanosecond: never more than the rate.
        let cost = (u128::from(units) * self.unit).div_ceil(1 << 32);
        cost.min(u128::from(u64::MAX >> 2)) as u64
    }

    /// Takes `cost` at `now` if the bucket has it.
    #[inline]
    fn take(&self, full: &AtomicU64, now: u64, cost: u64) -> bool {
        let mut old = full.load(Ordering::Relaxed);
        loop {
            let ahead = old.wrapping_sub(now);
            let ahead = if ahead > self.lasts { 0 } else { ahead };
            let after = ahead.saturating_add(cost);
            if after > self.lasts {
                return false;
            }
            let new = now.wrapping_add(after);
            match full.compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => old = other,
            }
        }
    }
}

impl Meter {
    /// The units of a policer.
    pub fn new(police: &Police) -> Meter {
        let packets = police.rate == 0 && police.pkts_rate != 0;
        let rate = match packets {
            true => Cost::new(police.pkts_rate, police.pkts_burst),
            false => Cost::new(police.rate, police.burst.into()),
        };
        let peak = Cost::new(police.peakrate, police.layer.charged(police.largest()));
        Meter { largest: police.largest(), rate, peak, packets, layer: police.layer }
    }

    /// Takes what a packet of `len` bytes costs. Whether it conforms; if not, nothing is taken.
    #[inline]
    pub fn take(&self, buckets: &Buckets, now: Instant, len: u32) -> bool {
        if len > self.largest {
            return false;
        }
        let Some(rate) = &self.rate else { return true };
        let now = now.as_nanos() << FRACTION;
        let cost = rate.of(if self.packets { 1 } else { self.layer.charged(len) });
        if !rate.take(&buckets.rate, now, cost) {
            return false;
        }
        let Some(peak) = &self.peak else { return true };
        if peak.take(&buckets.peak, now, peak.of(self.layer.charged(len))) {
            return true;
        }
        buckets.rate.fetch_sub(cost, Ordering::Relaxed);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conforming(police: Police, len: u32, gap: u64, packets: u64) -> u64 {
        let (meter, buckets) = (Meter::new(&police), Buckets::default());
        let at = |i| Instant::from_nanos(1_000_000_000 + i * gap);
        (0..packets).filter(|i| meter.take(&buckets, at(*i), len)).count() as u64
    }

    #[test]
    fn a_rate_is_kept_to_the_byte() {
        // 80 Mbit/s, 16 KiB: 10 s of packets of 1000 bytes at 160 Mbit/s.
        let police = Police { rate: 10_000_000, burst: 16 << 10, ..Police::default() };
        assert_eq!(conforming(police, 1000, 50_000, 200_000), 100_000 + 15);
        // 100 Gbit/s in packets of 64 bytes, 5.12 ns each, of which one comes every 2 ns.
        let police = Police { rate: 12_500_000_000, burst: 64 * 100, ..Police::default() };
        let got = conforming(police, 64, 2, 1_000_000);
        assert!((390_625 + 80..=390_625 + 100).contains(&got), "{got}");
    }

    #[test]
    fn packets_can_be_counted_instead() {
        let police = Police { pkts_rate: 2000, pkts_burst: 400, ..Police::default() };
        assert_eq!(conforming(police, 64, 100_000, 50_000), 5 * 2000 + 399);
    }

    #[test]
    fn a_packet_longer_than_the_mtu_exceeds() {
        let police = Police { mtu: 1042, ..Police::default() };
        assert_eq!((conforming(police, 1043, 1, 10), conforming(police, 1042, 1, 3)), (0, 3));
        let rated = Police { rate: 1 << 40, burst: 1 << 20, ..Police::default() };
        assert_eq!((conforming(rated, 2041, 1, 10), conforming(rated, 2040, 1, 3)), (0, 3));
    }

    #[test]
    fn a_peak_rate_spreads_a_burst_and_what_it_refuses_is_not_charged() {
        // 8 Mbit/s with room for 100 packets, at most 16 Mbit/s.
        let police =
            Police { rate: 1_000_000, burst: 100_000, peakrate: 2_000_000, mtu: 1000, ..Police::default() };
        // At 4 Mbyte/s the peak lets every second packet through while the burst lasts: 50 ms for 200 packets.
        assert_eq!(conforming(police, 1000, 250_000, 200), 100);
        // In the long run it is the rate.
        assert_eq!(conforming(police, 1000, 250_000, 40_000), 10_000 + 99);
    }

    #[test]
    fn idle_time_of_any_length_fills_the_bucket_once() {
        let (meter, buckets) =
            (Meter::new(&Police { rate: 1000, burst: 3000, ..Police::default() }), Buckets::default());
        let burst = |at: Instant| (0..10).filter(|_| meter.take(&buckets, at, 1000)).count();
        for days in [0, 1, 100, 150, 208, 300, 1000] {
            assert_eq!(burst(Instant::from_secs(days * 86_400 + 5)), 3, "{days}");
        }
    }
}
