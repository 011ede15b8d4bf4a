//! How many redirects one sender gets (kernel `ip_rt_send_redirect`): nine at most, each after twice the time of the
//! one before, from 20 ms on; after 20.48 s of silence it starts again.

use std::sync::atomic::{AtomicU64, Ordering};

const CELLS: usize = 1024;
const NUMBER: u64 = 9;
const LOAD_MS: u64 = 20;
const SILENCE_MS: u64 = LOAD_MS << (NUMBER + 1);

const TIME_BITS: u32 = 40;
const COUNT_BITS: u32 = 4;

/// Limiter shared by all lcores. Senders that fall into the same of its 1024 cells take it from one another, which at
/// worst sends a redirect too many.
#[derive(Debug)]
pub struct RedirectLimiter {
    /// Tag of the sender (20 bits), redirects sent (4), time of the last in ms (40).
    cells: Box<[AtomicU64; CELLS]>,
}

impl Default for RedirectLimiter {
    fn default() -> Self {
        RedirectLimiter { cells: Box::new([const { AtomicU64::new(0) }; CELLS]) }
    }
}

impl RedirectLimiter {
    /// True if `sender` may be told once more.
    pub fn allow(&self, sender: u32, now_ms: u64) -> bool {
        let mixed = u64::from(sender).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let cell = &self.cells[(mixed >> 54) as usize % CELLS];
        // The tag is never zero, so an untouched cell belongs to nobody.
        let tag = (mixed >> 30 & 0xf_ffff) | 1;
        let now = now_ms & ((1 << TIME_BITS) - 1);
        let mut allowed = false;
        let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let (owner, count, last) = unpack(word);
            let count = if owner != tag || now > last + SILENCE_MS { 0 } else { count };
            allowed = count == 0 || (count < NUMBER && now > last + (LOAD_MS << count));
            let last = if allowed || count >= NUMBER { now } else { last };
            Some(tag << (TIME_BITS + COUNT_BITS) | (count + u64::from(allowed)) << TIME_BITS | last)
        });
        allowed
    }
}

fn unpack(word: u64) -> (u64, u64, u64) {
    (
        word >> (TIME_BITS + COUNT_BITS),
        word >> TIME_BITS & ((1 << COUNT_BITS) - 1),
        word & ((1 << TIME_BITS) - 1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_sender_gets_nine_redirects_and_then_silence_resets() {
        let limiter = RedirectLimiter::default();
        let sent: Vec<u64> = (0..60_000).filter(|&ms| limiter.allow(0x0a00_0001, ms)).collect();
        assert_eq!(sent.len(), 9);
        let gaps: Vec<u64> = sent.windows(2).map(|w| w[1] - w[0]).collect();
        assert_eq!(gaps, (1..9).map(|n| (20 << n) + 1).collect::<Vec<u64>>());
        assert!(!limiter.allow(0x0a00_0001, 60_000 + SILENCE_MS - 1));
        assert!(limiter.allow(0x0a00_0001, 60_000 + 2 * SILENCE_MS + 1));
    }
}
