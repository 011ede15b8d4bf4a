//! The average queue: a weighted mean over arrivals, that falls while the queue is idle as if small packets had come.

use crate::time::Instant;

/// The average, in fixed point.
#[derive(Clone, Debug)]
pub struct Average {
    /// Bytes times 2^wlog.
    scaled: u64,
    wlog: u8,
    /// The queue is empty since then.
    idle: Option<Instant>,
    /// How often the average halves in an idle nanosecond, times 2^64.
    halvings: u64,
}

impl Average {
    /// Zero, of a queue that was always empty. A new value counts 2^-wlog; in an idle queue one packet of `avpkt` bytes
    /// leaves after the other at `bandwidth` bytes a second.
    pub fn new(wlog: u8, avpkt: u32, bandwidth: u64) -> Self {
        let wlog = wlog.clamp(1, 31);
        let per_packet = -(-0.5f64.powi(wlog.into())).ln_1p() / std::f64::consts::LN_2;
        let packets_per_nano = bandwidth as f64 / (f64::from(avpkt.max(1)) * 1e9);
        let halvings = (per_packet * packets_per_nano * 2f64.powi(64)) as u64;
        Average { scaled: 0, wlog, idle: Some(Instant::ZERO), halvings }
    }

    /// A packet arrives and finds `backlog` bytes. The average then, in bytes.
    ///
    /// The packet that ends an idle time finds nothing, and its nothing is not averaged in (kernel `red_calc_qavg`).
    #[inline]
    pub fn arrived(&mut self, now: Instant, backlog: u64) -> u64 {
        match self.idle.take() {
            None => self.scaled = (self.scaled - (self.scaled >> self.wlog)).saturating_add(backlog),
            Some(since) => self.scaled = self.decayed(since, now),
        }
        self.bytes()
    }

    /// The average as of the last packet, in bytes.
    #[inline]
    pub fn bytes(&self) -> u64 {
        self.scaled >> self.wlog
    }

    /// What it is at a time after the last packet, in bytes.
    pub fn at(&self, time: Instant) -> u64 {
        match self.idle {
            Some(since) if time > since => self.decayed(since, time) >> self.wlog,
            _ => self.bytes(),
        }
    }

    /// The queue is empty.
    #[inline]
    pub fn empty(&mut self, now: Instant) {
        self.idle.get_or_insert(now);
    }

    /// Zero again.
    pub fn restart(&mut self, now: Instant) {
        (self.scaled, self.idle) = (0, Some(now));
    }

    #[inline]
    fn decayed(&self, since: Instant, now: Instant) -> u64 {
        if self.scaled == 0 {
            return 0;
        }
        let idle = now.as_nanos().saturating_sub(since.as_nanos());
        let halvings = u128::from(idle) * u128::from(self.halvings);
        let whole = (halvings >> 64) as u64;
        if whole >= 64 {
            return 0;
        }
        let kept = exp2_neg((halvings >> 32) as u32);
        ((u128::from(self.scaled) * u128::from(kept)) >> 32) as u64 >> whole
    }
}

/// 2^-x for x in 0 to 1, both times 2^32: the first terms of the series, good to 2 in 10000.
#[inline]
fn exp2_neg(x: u32) -> u64 {
    const fn term(value: f64) -> u64 {
        (value * 4_294_967_296.0) as u64
    }
    const TERMS: [u64; 4] =
        [term(0.009_618_129), term(0.055_504_108), term(0.240_226_506), term(std::f64::consts::LN_2)];
    let x = u64::from(x);
    let sum = TERMS.iter().fold(term(0.001_333_355), |sum, term| term - ((x * sum) >> 32));
    (1 << 32) - ((x * sum) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    /// The average with `backlog` found by each of `count` packets.
    fn after(wlog: u8, backlog: u64, count: u32) -> Average {
        let mut average = Average::new(wlog, 1000, 1_250_000);
        average.arrived(ms(0), 0);
        for _ in 0..count {
            average.arrived(ms(0), backlog);
        }
        average
    }

    #[test]
    fn follows_a_step_as_the_weight_says() {
        let share = |wlog, count| after(wlog, 1_000_000, count).bytes() as f64 / 1e6;
        for (wlog, to_63, to_90) in [(5, 32, 73), (9, 512, 1178)] {
            let first = |level| (1..5000).find(|&n| share(wlog, n) >= level).unwrap();
            assert!(u32::abs_diff(first(0.632), to_63) <= 1, "{}", first(0.632));
            assert!(u32::abs_diff(first(0.9), to_90) <= 1, "{}", first(0.9));
            for n in [1, 10, 100, 1000] {
                let exact = 1.0 - (1.0 - 0.5f64.powi(wlog.into())).powi(n);
                assert!((share(wlog, n as u32) - exact).abs() < 2e-5, "{wlog} {n}");
            }
        }
    }

    #[test]
    fn is_exact_when_nothing_changes() {
        for wlog in [1, 5, 9, 15] {
            assert_eq!(after(wlog, 30_000, 3_000_000).bytes(), 30_000);
            let mut from_above = after(wlog, 90_000, 3_000_000);
            for _ in 0..3_000_000 {
                from_above.arrived(ms(0), 30_000);
            }
            assert_eq!(from_above.bytes(), 30_000);
        }
    }

    #[test]
    fn falls_while_idle() {
        for (wlog, idle, factor) in [(5, 8, 0.728), (5, 100, 0.0189), (9, 100, 0.783)] {
            let mut average = after(wlog, 1_000_000, 100_000);
            let before = average.bytes() as f64;
            average.empty(ms(50));
            average.empty(ms(51));
            assert_eq!(average.bytes() as f64, before, "nothing until a packet comes");
            let seen = average.at(ms(50 + idle));
            assert_eq!(average.arrived(ms(50 + idle), 0), seen);
            assert!((seen as f64 / before / factor - 1.0).abs() < 0.005, "{wlog}: {}", seen as f64 / before);
            // Not idle any more.
            assert_eq!(average.at(ms(9000)), seen);
        }
        let mut average = after(5, 1_000_000, 1000);
        average.empty(ms(0));
        assert_eq!(average.arrived(Instant::from_secs(1_000_000), 0), 0);
    }

    #[test]
    fn holds_at_the_ends_of_its_range() {
        for (wlog, avpkt, bandwidth) in [(31, 1, u64::MAX), (31, u32::MAX, 1), (1, 1, u64::MAX), (1, 0, 0)] {
            let mut average = Average::new(wlog, avpkt, bandwidth);
            for _ in 0..100 {
                average.arrived(ms(0), u32::MAX.into());
            }
            average.empty(ms(0));
            average.arrived(Instant::from_nanos(u64::MAX), 0);
        }
    }

    #[test]
    fn powers_of_two() {
        for i in 0..=1000u32 {
            let x = (f64::from(i) / 1000.0 * f64::from(u32::MAX)) as u32;
            let exact = (-f64::from(x) / 4_294_967_296.0).exp2();
            assert!((exp2_neg(x) as f64 / 4_294_967_296.0 / exact - 1.0).abs() < 4e-4, "{i}");
        }
        assert_eq!(exp2_neg(0), 1 << 32);
    }
}
