//! When the next frames are due.
//!
//! A generator that shares its CPU is stopped now and then for a millisecond or more. What it owes then must be made
//! good, or the offered rate is not the one asked for, but not at once: a burst of thousands of frames would overrun
//! a ring that the rate itself does not. So arrears are paid at a few per cent above the rate.

/// How much faster than asked arrears are paid.
const CATCH_UP: f64 = 1.05;
/// Frames that may leave back to back.
const DEPTH: f64 = 64.0;

/// A schedule of frames at a constant rate.
#[derive(Clone, Debug)]
pub struct Pacer {
    start: u64,
    per_tick: f64,
    sent: u64,
    tokens: f64,
    filled_at: u64,
}

impl Pacer {
    /// `rate` frames a second from `start` on, on a clock of `hz` ticks a second.
    pub fn new(rate: f64, hz: u64, start: u64) -> Pacer {
        Pacer { start, per_tick: rate / hz as f64, sent: 0, tokens: DEPTH / 2.0, filled_at: start }
    }

    /// Frames to send now, at most `most`. Those not sent are still due: count what was with [`sent`](Self::sent).
    pub fn due(&mut self, now: u64, most: usize) -> usize {
        let passed = now.saturating_sub(self.filled_at) as f64;
        self.filled_at = self.filled_at.max(now);
        self.tokens = (self.tokens + passed * self.per_tick * CATCH_UP).min(DEPTH);
        let owed = now.saturating_sub(self.start) as f64 * self.per_tick - self.sent as f64;
        owed.min(self.tokens).clamp(0.0, most as f64) as usize
    }

    /// Counts frames as sent.
    pub fn sent(&mut self, frames: usize) {
        self.sent += frames as u64;
        self.tokens -= frames as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 1_000_000_000;

    fn run(pacer: &mut Pacer, from: u64, to: u64, step: usize) -> Vec<(u64, usize)> {
        let mut bursts = Vec::new();
        for now in (from..to).step_by(step) {
            let due = pacer.due(now, 32);
            pacer.sent(due);
            bursts.push((now, due));
        }
        bursts
    }

    fn total(bursts: &[(u64, usize)]) -> usize {
        bursts.iter().map(|(_, due)| due).sum()
    }

    #[test]
    fn the_rate_is_kept_to_the_frame() {
        for rate in [1_000.0, 123_456.0, 2_000_000.0] {
            let mut pacer = Pacer::new(rate, HZ, 77);
            let sent = total(&run(&mut pacer, 77, HZ + 77, 700));
            assert!((sent as f64 - rate).abs() <= 2.0, "{sent} of {rate}");
        }
    }

    #[test]
    fn arrears_are_paid_slowly_and_in_full() {
        let rate = 1_000_000.0;
        let mut pacer = Pacer::new(rate, HZ, 0);
        run(&mut pacer, 0, 10_000_000, 1000);
        // Two milliseconds away: 2000 frames owed.
        let after = run(&mut pacer, 12_000_000, 100_000_000, 1000);
        for window in after.chunks(1000) {
            assert!(total(window) as f64 <= 1000.0 * CATCH_UP + DEPTH, "{}", total(window));
        }
        assert_eq!(pacer.sent, 99_999);
    }

    #[test]
    fn no_burst_is_larger_than_asked() {
        let mut pacer = Pacer::new(1e9, HZ, 0);
        assert_eq!(pacer.due(1_000_000, 32), 32);
        assert_eq!(Pacer::new(1e9, HZ, 0).due(0, 32), 0);
    }

    #[test]
    fn what_was_not_sent_stays_due() {
        let mut pacer = Pacer::new(1e6, HZ, 0);
        let due = pacer.due(20_000, 32);
        assert_eq!(due, 20);
        pacer.sent(5);
        assert_eq!(pacer.due(20_000, 32), 15);
    }
}
