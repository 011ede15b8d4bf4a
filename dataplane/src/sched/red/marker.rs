//! Which packets are marked: the probability rises with the average queue, and marks come at even distances.

use crate::random::Rng;
use crate::sched::params::RedParams;

/// What shall be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Nothing.
    None,
    /// It was its turn: mark it, or drop it.
    Chance,
    /// The average is too high: mark it, or drop it.
    Forced,
}

/// The thresholds, and how far it is to the next mark.
///
/// With a probability of pb for each packet the distances would vary much. Floyd and Jacobson's method 2 marks the packet
/// at which `count * pb >= U`, `U` uniform in 0 to 1: distances are uniform in 1 to 1/pb. As pb is
/// `max_p * (avg - min) / (max - min)`, that is `count * (avg - min) >= U * (max - min) / max_p`, whose right side is drawn
/// once a mark, and no packet costs a division.
#[derive(Clone, Debug)]
pub struct Marker {
    min: u64,
    max: u64,
    /// Every packet from this average on: `max`, or twice of it if gentle.
    always: u64,
    /// Bits that distances from `min` are shifted left by, for the sake of near thresholds.
    fine: u32,
    /// `(max - min) / max_p`, the range of `gap`, so shifted.
    span: u64,
    /// Gentle: how fast the distance grows with a byte above `max`, times 2^32, so shifted.
    slope: u64,
    /// Packets since the last mark, or since the average came between the thresholds; -1 while it is not.
    count: i64,
    /// `U` of the next mark, times `span`.
    gap: u64,
}

const CERTAIN: u64 = 1 << 32;

impl Marker {
    /// For these thresholds.
    pub fn new(params: &RedParams) -> Self {
        let (min, max) = (u64::from(params.min), u64::from(params.max.max(params.min)));
        let always = if params.gentle { 2 * max } else { max };
        let fine = (max - min).max(1).leading_zeros().saturating_sub(32);
        let mut marker = Marker { min, max, always, fine, span: 0, slope: 0, count: -1, gap: 0 };
        marker.set_max_p(params.max_p);
        marker
    }

    /// Changes the largest probability, which is times 2^32. The distance to the next mark stays.
    pub fn set_max_p(&mut self, max_p: u64) {
        let max_p = u128::from(max_p.clamp(1, CERTAIN));
        let delta = u128::from((self.max - self.min).max(1) << self.fine);
        let span = (delta << 32) / max_p;
        self.span = u64::try_from(span).unwrap_or(u64::MAX);
        let rest = u128::from(CERTAIN) - max_p;
        let slope = (u128::from(self.span) * rest).checked_div(u128::from(self.max)).unwrap_or(0);
        self.slope = u64::try_from(slope).unwrap_or(u64::MAX);
    }

    /// Forgets how far it was to the next mark.
    pub fn restart(&mut self) {
        self.count = -1;
    }

    /// What shall be done with a packet that comes when the average is `avg` bytes.
    #[inline]
    pub fn decide(&mut self, avg: u64, rng: &mut Rng) -> Mark {
        if avg < self.min {
            self.count = -1;
            return Mark::None;
        }
        if avg >= self.always {
            self.count = -1;
            return Mark::Forced;
        }
        self.count += 1;
        if self.count == 0 {
            self.draw(rng);
            return Mark::None;
        }
        if self.distance(avg).saturating_mul(self.count as u64) < self.gap {
            return Mark::None;
        }
        self.count = 0;
        self.draw(rng);
        Mark::Chance
    }

    /// The probability for this average, times `span`.
    #[inline]
    fn distance(&self, avg: u64) -> u64 {
        if avg < self.max {
            return (avg - self.min) << self.fine;
        }
        let above = u128::from(avg - self.max) * u128::from(self.slope);
        ((self.max - self.min).max(1) << self.fine).saturating_add((above >> 32) as u64)
    }

    /// 1 to `span`: at `min` the probability is 0 and not a little more.
    #[inline]
    fn draw(&mut self, rng: &mut Rng) {
        self.gap = 1 + ((u128::from(rng.word()) * u128::from(self.span)) >> 32) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(min: u32, max: u32, p: f64) -> RedParams {
        RedParams {
            limit: u32::MAX,
            min,
            max,
            wlog: 5,
            avpkt: 1000,
            bandwidth: 1_250_000,
            max_p: (p * CERTAIN as f64) as u64,
            ecn: false,
            harddrop: false,
            nodrop: false,
            adaptive: false,
            gentle: false,
        }
    }

    /// Distances between marks, of `count` packets at one average.
    fn gaps(marker: &mut Marker, avg: u64, count: u32) -> Vec<u32> {
        let (mut rng, mut gaps, mut last) = (Rng::new(7), Vec::new(), None);
        for n in 0..count {
            if marker.decide(avg, &mut rng) == Mark::Chance {
                gaps.extend(last.map(|last: u32| n - last));
                last = Some(n);
            }
        }
        gaps
    }

    #[test]
    fn marks_the_fraction_that_even_gaps_make() {
        const N: u32 = 2_000_000;
        let points = [
            (0.002, 0.00399),
            (0.01, 0.0198),
            (0.05, 0.0952),
            (0.1, 0.1818),
            (0.25, 0.400),
            (0.5, 0.6667),
            (1.0, 1.0),
        ];
        for (pb, expected) in points {
            // At the middle, where the probability is half of the largest; and just below the end.
            for (max_p, avg) in [(pb * 2.0, 60_000), (pb, 89_999)] {
                if max_p > 1.0 {
                    continue;
                }
                let marks = gaps(&mut Marker::new(&params(30_000, 90_000, max_p)), avg, N).len() + 1;
                let fraction = marks as f64 / f64::from(N);
                assert!((fraction / expected - 1.0).abs() < 0.02, "{pb}: {fraction}");
            }
        }
    }

    #[test]
    fn draws_once_a_mark() {
        let mut marker = Marker::new(&params(0, 40_000, 0.2));
        let (mut rng, mut drawn) = (Rng::new(9), Rng::new(9));
        let marks = (0..10_000).filter(|_| marker.decide(20_000, &mut rng) == Mark::Chance).count();
        assert!(marks > 1000);
        for _ in 0..=marks {
            drawn.word();
        }
        assert_eq!(rng.word(), drawn.word());
    }

    #[test]
    fn gaps_are_uniform() {
        // A probability of exactly 1/10.
        let mut marker = Marker::new(&params(0, 40_000, 0.2));
        let gaps = gaps(&mut marker, 20_000, 2_000_000);
        let mut seen = [0u32; 10];
        for &gap in &gaps {
            assert!((1..=10).contains(&gap), "{gap}");
            seen[gap as usize - 1] += 1;
        }
        let expected = gaps.len() as f64 / 10.0;
        let chi2: f64 = seen.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
        // 9 degrees of freedom, p = 0.001.
        assert!(chi2 < 27.88, "{chi2} {seen:?}");
    }

    #[test]
    fn thresholds_are_exact() {
        let (mut marker, mut rng) = (Marker::new(&params(30_000, 90_000, 1.0)), Rng::new(1));
        for _ in 0..1_000_000 {
            assert_eq!(marker.decide(30_000, &mut rng), Mark::None, "the probability is 0");
        }
        assert_eq!(marker.decide(90_000, &mut rng), Mark::Forced);
        assert_eq!(marker.count, -1);
        // The first below it is not marked, whatever came before.
        assert_eq!(marker.decide(89_999, &mut rng), Mark::None);
        assert_eq!(marker.decide(89_999, &mut rng), Mark::Chance);
        assert_eq!(marker.decide(29_999, &mut rng), Mark::None);
        assert_eq!(marker.count, -1);
        let mut equal = Marker::new(&params(30_000, 30_000, 0.02));
        assert_eq!(equal.decide(29_999, &mut rng), Mark::None);
        assert_eq!(equal.decide(30_000, &mut rng), Mark::Forced);
    }

    #[test]
    fn gentle_rises_to_certainty_at_twice_the_threshold() {
        for (min, max) in [(30_000, 90_000), (60_000, 60_000), (59_999, 60_000)] {
            let gentle = RedParams { gentle: true, ..params(min, max, 0.02) };
            for (above, pb) in [(0.0, 0.02), (0.25, 0.265), (0.5, 0.51), (0.75, 0.755)] {
                let avg = (f64::from(max) * (1.0 + above)) as u64;
                let marks = gaps(&mut Marker::new(&gentle), avg, 500_000).len() as f64;
                let expected = 2.0 * pb / (1.0 + pb);
                // Gaps end at the whole part of 1/pb: the fraction that they make is near, not equal.
                let fraction = marks / 500_000.0;
                assert!((fraction / expected - 1.0).abs() < 0.12, "{max} {above}: {fraction} not {expected}");
            }
            let mut rng = Rng::new(1);
            let mut marker = Marker::new(&gentle);
            assert_eq!(marker.decide(2 * u64::from(max) - 1, &mut rng), Mark::None);
            assert_eq!(marker.decide(2 * u64::from(max), &mut rng), Mark::Forced);
        }
    }

    #[test]
    fn holds_at_the_ends_of_its_range() {
        let mut rng = Rng::new(3);
        let edges = [0, 1, 2, 30_000, u32::MAX - 1, u32::MAX];
        for (min, max) in edges.iter().flat_map(|&min| edges.map(|max| (min, max))) {
            for (max_p, gentle) in [(0, false), (0, true), (1, true), (CERTAIN, true), (u64::MAX, false)] {
                let mut marker = Marker::new(&RedParams { max_p, gentle, ..params(min, max, 0.0) });
                for avg in edges.map(u64::from).into_iter().chain([1 << 32, 1 << 34, u64::MAX]) {
                    let marks = [(); 4].map(|()| marker.decide(avg, &mut rng));
                    assert_eq!(marks[3] == Mark::Forced, avg >= marker.always && avg >= marker.min);
                }
            }
        }
    }
}
