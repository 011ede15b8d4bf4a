//! How many ICMP messages we send: the kernel's three limiters, shared by all lcores without a lock.
//!
//! * All messages together: a token bucket of `icmp_msgs_per_sec` and `icmp_msgs_burst`. A message costs 0, 1 or 2
//!   tokens by chance, so that a stranger cannot count our messages to others by probing the limit.
//! * Each destination: a message every `icmp_ratelimit`, six of them saved up at most.
//! * `ip_error` (packets without a route): each source one a second (`error_cost`), five saved up (`error_burst`),
//!   before the other two are asked. It draws on the same store of time as the destination limit: ten unroutable
//!   packets at once from a fresh source make five errors when `icmp_ratelimit` is 0, but two with the defaults.
//!
//! Only the types in `icmp_ratemask` are limited by the first two, and fragmentation needed (3/4) never is.
//!
//! The per-destination store is a fixed table. Two destinations that meet in one cell evict each other, and
//! whoever comes back finds a full bucket: the limit then lets more through for these two, never less, and the
//! global limit still holds. Cells are chosen by a secret, so that nobody can aim at a collision.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What the limiters say about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it.
    Allowed,
    /// Too many messages in all: counter `IcmpOutRateLimitGlobal`.
    LimitedGlobal,
    /// Too many to this destination: counter `IcmpOutRateLimitHost`.
    LimitedHost,
}

/// The settings, named as the kernel's sysctls. Any thread may store to them at any time.
#[derive(Debug)]
pub struct IcmpLimitParams {
    /// `net.ipv4.icmp_msgs_per_sec`.
    pub msgs_per_sec: AtomicU32,
    /// `net.ipv4.icmp_msgs_burst`.
    pub msgs_burst: AtomicU32,
    /// `net.ipv4.icmp_ratelimit`, milliseconds; 0 is no limit per destination.
    pub ratelimit_ms: AtomicU32,
    /// `net.ipv4.icmp_ratemask`: a bit for each limited type.
    pub ratemask: AtomicU32,
    /// `net.ipv4.route.error_cost`, milliseconds.
    pub error_cost_ms: AtomicU32,
    /// `net.ipv4.route.error_burst`, milliseconds.
    pub error_burst_ms: AtomicU32,
}

impl Default for IcmpLimitParams {
    fn default() -> Self {
        IcmpLimitParams {
            msgs_per_sec: AtomicU32::new(1000),
            msgs_burst: AtomicU32::new(50),
            ratelimit_ms: AtomicU32::new(1000),
            ratemask: AtomicU32::new(6168),
            error_cost_ms: AtomicU32::new(1000),
            error_burst_ms: AtomicU32::new(5000),
        }
    }
}

/// The limiters.
#[derive(Debug)]
pub struct IcmpLimiter {
    /// The settings.
    pub params: IcmpLimitParams,
    global: AtomicU64,
    cells: Box<[AtomicU64]>,
    seed: u64,
}

const CELL_BITS: u32 = 13;
const TIME_BITS: u32 = 64 - (32 - CELL_BITS);
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// Added to every time in a cell: leaves room for a bucket that began before the origin.
const TIME_BIAS: u64 = 1 << 36;
/// What a destination that was never seen has saved up (kernel: 60 s).
const FRESH_MS: u64 = 60_000;
/// Messages a destination saves up (kernel: `XRLIM_BURST_FACTOR`).
const BURST_FACTOR: u64 = 6;
/// The global bucket is filled no more often than this, and for no more than a second at once.
const REFILL_MS: u32 = 20;
const REFILL_MAX_MS: u32 = 1000;
/// How far the clocks of two lcores' bursts may be apart.
const LCORE_SKEW_MS: u32 = 10_000;

const TYPE_MAX: u8 = 18;
const DEST_UNREACH: u8 = 3;
const FRAG_NEEDED: u8 = 4;

impl Default for IcmpLimiter {
    fn default() -> Self {
        IcmpLimiter::new()
    }
}

impl IcmpLimiter {
    /// Limiters with the kernel's defaults, all buckets full.
    pub fn new() -> Self {
        IcmpLimiter {
            params: IcmpLimitParams::default(),
            // Last filled a second ago: the first message fills it to whatever the burst is then.
            global: AtomicU64::new(pack(0u32.wrapping_sub(REFILL_MAX_MS), 0)),
            cells: (0..1 << CELL_BITS).map(|_| AtomicU64::new(0)).collect(),
            seed: RandomState::new().hash_one(0u8),
        }
    }

    /// May a message of this type and code go to `dst` now? `rnd` is a fresh random number.
    ///
    /// Not to be asked for messages that leave by the loopback device: those are not limited.
    pub fn allow(&self, kind: u8, code: u8, dst: u32, now_ms: u64, rnd: u32) -> Verdict {
        if !self.is_limited(kind, code) {
            return Verdict::Allowed;
        }
        if !self.global_ready(now_ms as u32) {
            return Verdict::LimitedGlobal;
        }
        let cost = u64::from(self.params.ratelimit_ms.load(Ordering::Relaxed));
        if cost > 0 && !self.spend(dst, now_ms, cost, BURST_FACTOR * cost) {
            return Verdict::LimitedHost;
        }
        self.global_consume(rnd % 3);
        Verdict::Allowed
    }

    /// May an unroutable packet from `src` be answered at all? If so, [`allow`](Self::allow) decides as for any message.
    pub fn allow_ip_error(&self, src: u32, now_ms: u64) -> bool {
        let cost = self.params.error_cost_ms.load(Ordering::Relaxed);
        let burst = self.params.error_burst_ms.load(Ordering::Relaxed);
        self.spend(src, now_ms, cost.into(), burst.into())
    }

    fn is_limited(&self, kind: u8, code: u8) -> bool {
        kind <= TYPE_MAX
            && (kind, code) != (DEST_UNREACH, FRAG_NEEDED)
            && self.params.ratemask.load(Ordering::Relaxed) & (1 << kind) != 0
    }

    /// Whether the global bucket has something, after filling it if it is empty and time has passed.
    ///
    /// Tokens are taken later, in [`global_consume`](Self::global_consume), so that a message the destination limit
    /// stops costs the others nothing. Lcores that ask in between may take it below zero; that is paid back.
    fn global_ready(&self, now_ms: u32) -> bool {
        let mut word = self.global.load(Ordering::Relaxed);
        loop {
            let (stamp, credit) = unpack(word);
            if credit > 0 {
                return true;
            }
            let passed = now_ms.wrapping_sub(stamp);
            // Another lcore, whose burst began later, filled it: no time has passed, rather than 49 days.
            let passed = if passed > u32::MAX - LCORE_SKEW_MS { 0 } else { passed.min(REFILL_MAX_MS) };
            let rate = self.params.msgs_per_sec.load(Ordering::Relaxed);
            let gained = u64::from(rate) * u64::from(passed) / 1000;
            if passed < REFILL_MS || gained == 0 {
                return false;
            }
            let burst = self.params.msgs_burst.load(Ordering::Relaxed);
            let filled = (i64::from(credit) + gained as i64).min(burst.into());
            let filled = i32::try_from(filled).unwrap_or(i32::MAX);
            let new = pack(now_ms, filled);
            match self.global.compare_exchange_weak(word, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(seen) => word = seen,
            }
        }
    }

    fn global_consume(&self, tokens: u32) {
        let mut word = self.global.load(Ordering::Relaxed);
        loop {
            let (stamp, credit) = unpack(word);
            let new = pack(stamp, credit.saturating_sub(tokens as i32));
            match self.global.compare_exchange_weak(word, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// Takes `cost` ms out of what `host` has saved up, `burst` ms at most.
    ///
    /// A cell holds the time at which the bucket was (or would have been) empty; what is saved up is the time since.
    /// Time passing needs no store, saving no more than a burst is a lower bound, spending moves it forward.
    fn spend(&self, host: u32, now_ms: u64, cost: u64, burst: u64) -> bool {
        let now = (now_ms + TIME_BIAS) & TIME_MASK;
        let (index, tag) = self.place(host);
        let cell = &self.cells[index];
        let mut word = cell.load(Ordering::Relaxed);
        loop {
            let known = word >> TIME_BITS == tag && word & TIME_MASK != 0;
            let empty_at = if known { word & TIME_MASK } else { now.saturating_sub(FRESH_MS) };
            let empty_at = empty_at.max(now.saturating_sub(burst));
            let allowed = now.saturating_sub(empty_at) >= cost;
            let empty_at = if allowed { empty_at + cost } else { empty_at };
            let new = tag << TIME_BITS | (empty_at & TIME_MASK);
            match cell.compare_exchange_weak(word, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return allowed,
                Err(seen) => word = seen,
            }
        }
    }

    /// The cell of a host, and the tag that tells it from the others there. The mixing is a bijection: cell and
    /// tag together are the whole address, so nobody is ever taken for somebody else.
    fn place(&self, host: u32) -> (usize, u64) {
        let mut x = host ^ self.seed as u32;
        x = x.wrapping_mul((self.seed >> 32) as u32 | 1);
        x ^= x >> 16;
        x = x.wrapping_mul(0x7feb_352d);
        x ^= x >> 15;
        x = x.wrapping_mul(0x846c_a68b);
        x ^= x >> 16;
        ((x & ((1 << CELL_BITS) - 1)) as usize, u64::from(x >> CELL_BITS))
    }
}

/// The global bucket in one word: when it was last filled (ms, wrapping) and its tokens.
const fn pack(stamp: u32, credit: i32) -> u64 {
    (stamp as u64) << 32 | credit as u32 as u64
}

const fn unpack(word: u64) -> (u32, i32) {
    ((word >> 32) as u32, word as u32 as i32)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    const HOST: u32 = 0x0a01_0009;
    const TTL: (u8, u8) = (11, 0);

    fn allowed(limiter: &IcmpLimiter, (kind, code): (u8, u8), dst: u32, n: usize, now_ms: u64) -> usize {
        (0..n).filter(|_| limiter.allow(kind, code, dst, now_ms, 1) == Verdict::Allowed).count()
    }

    fn errors_sent(limiter: &IcmpLimiter, src: u32, n: usize, now_ms: u64) -> usize {
        (0..n)
            .filter(|_| {
                limiter.allow_ip_error(src, now_ms) && limiter.allow(3, 0, src, now_ms, 1) == Verdict::Allowed
            })
            .count()
    }

    #[test]
    fn twenty_ttl_errors_make_six_then_one_a_second() {
        let limiter = IcmpLimiter::new();
        assert_eq!(allowed(&limiter, TTL, HOST, 20, 0), 6);
        assert_eq!(limiter.allow(11, 0, HOST, 0, 1), Verdict::LimitedHost);
        assert_eq!(allowed(&limiter, TTL, HOST, 20, 500), 0);
        assert_eq!(allowed(&limiter, TTL, HOST, 20, 999), 0);
        assert_eq!(allowed(&limiter, TTL, HOST, 20, 1000), 1);
        assert_eq!(allowed(&limiter, TTL, HOST, 20, 3500), 2);
        assert_eq!(allowed(&limiter, TTL, HOST, 20, 4000), 1);
        assert_eq!(allowed(&limiter, TTL, HOST, 20, 1_000_000), 6);
    }

    #[test]
    fn fragmentation_needed_and_echo_replies_are_not_limited() {
        let limiter = IcmpLimiter::new();
        for unlimited in [(3, 4), (0, 0), (5, 1), (8, 0), (40, 0), (255, 0)] {
            assert_eq!(allowed(&limiter, unlimited, HOST, 2000, 0), 2000, "{unlimited:?}");
        }
        for limited in [(3, 0), (3, 1), (4, 0), (12, 0)] {
            assert_eq!(allowed(&IcmpLimiter::new(), limited, HOST, 20, 0), 6, "{limited:?}");
        }
        limiter.params.ratemask.store(0, Ordering::Relaxed);
        assert_eq!(allowed(&limiter, TTL, HOST, 2000, 0), 2000);
    }

    #[test]
    fn ten_unroutable_packets_make_five_errors_or_two() {
        let limiter = IcmpLimiter::new();
        assert_eq!(errors_sent(&limiter, HOST, 10, 0), 2);
        assert_eq!(errors_sent(&limiter, HOST + 1, 10, 7), 2);
        limiter.params.ratelimit_ms.store(0, Ordering::Relaxed);
        assert_eq!(errors_sent(&limiter, HOST + 2, 10, 0), 5);
        assert_eq!(errors_sent(&limiter, HOST + 2, 10, 999), 0);
        assert_eq!(errors_sent(&limiter, HOST + 2, 10, 2000), 2);
        assert_eq!(errors_sent(&limiter, HOST + 2, 10, 60_000), 5);
    }

    #[test]
    fn the_whole_router_sends_a_burst_and_then_its_rate() {
        let limiter = IcmpLimiter::new();
        let spread = |from: u32, n: u32, now_ms| {
            (0..n).filter(|i| limiter.allow(11, 0, from + i, now_ms, 1) == Verdict::Allowed).count()
        };
        assert_eq!(spread(0, 200, 5000), 50);
        assert_eq!(limiter.allow(11, 0, 7, 5000, 1), Verdict::LimitedGlobal);
        assert_eq!(spread(1000, 200, 5019), 0);
        assert_eq!(spread(2000, 200, 5020), 20);
        assert_eq!(spread(2500, 200, 5019), 0, "an lcore whose clock is behind");
        assert_eq!(spread(3000, 200, 5060), 40);
        assert_eq!(spread(4000, 200, 5560), 50);
        limiter.params.msgs_per_sec.store(0, Ordering::Relaxed);
        assert_eq!(spread(5000, 200, 9000), 0);
    }

    #[test]
    fn a_message_costs_zero_to_two_tokens_and_a_stopped_one_nothing() {
        let limiter = IcmpLimiter::new();
        let free = (0..500).filter(|&i| limiter.allow(11, 0, i, 0, 3) == Verdict::Allowed).count();
        assert_eq!(free, 500);
        assert_eq!(allowed(&limiter, TTL, HOST, 200, 0), 6);
        let dear = (1000..1200).filter(|&i| limiter.allow(11, 0, i, 0, 2) == Verdict::Allowed).count();
        assert_eq!(dear, 22);
    }

    #[test]
    fn an_evicted_host_finds_a_full_bucket() {
        let limiter = IcmpLimiter::new();
        let (cell, _) = limiter.place(HOST);
        let rival = (0u32..).find(|&ip| ip != HOST && limiter.place(ip).0 == cell).unwrap();
        assert_eq!(allowed(&limiter, TTL, HOST, 20, 0), 6);
        assert_eq!(allowed(&limiter, TTL, rival, 20, 0), 6);
        assert_eq!(allowed(&limiter, TTL, HOST, 20, 0), 6);
    }

    proptest! {
        #[test]
        fn no_two_hosts_share_cell_and_tag(hosts in proptest::collection::hash_set(any::<u32>(), 0..500)) {
            let limiter = IcmpLimiter::new();
            let places: HashSet<_> = hosts.iter().map(|&h| limiter.place(h)).collect();
            prop_assert_eq!(places.len(), hosts.len());
        }

        /// Against the kernel's way of keeping the store: tokens and the time of the last look.
        #[test]
        fn the_store_counts_as_the_kernel_does(
            steps in proptest::collection::vec((0u64..3000, any::<bool>()), 1..200), start in 0u64..1_000_000,
        ) {
            let limiter = IcmpLimiter::new();
            let (mut tokens, mut last, mut now) = (FRESH_MS, start, start);
            for (wait, ip_error) in steps {
                now += wait;
                let burst = if ip_error { 5000 } else { 6000 };
                tokens = (tokens + now - last).min(burst);
                last = now;
                let expect = tokens >= 1000;
                tokens -= if expect { 1000 } else { 0 };
                let got = if ip_error {
                    limiter.allow_ip_error(HOST, now)
                } else {
                    limiter.allow(11, 0, HOST, now, 0) == Verdict::Allowed
                };
                prop_assert_eq!(got, expect, "at {}", now);
            }
        }
    }

    #[test]
    fn lcores_together_get_no_more_than_one_would() {
        let limiter = IcmpLimiter::new();
        let sent: usize = thread::scope(|scope| {
            let lcores: Vec<_> =
                (0..4).map(|_| scope.spawn(|| allowed(&limiter, TTL, HOST, 1000, 0))).collect();
            lcores.into_iter().map(|lcore| lcore.join().unwrap_or(0)).sum()
        });
        assert_eq!(sent, 6);
    }
}
