//! `-m hashlimit`: a bucket for every address, port or pair of them (`xt_hashlimit`).
//!
//! The buckets lie in one array of fixed size that lcores share without locks. A bucket is found by open addressing:
//! the search goes over up to [`WINDOW`] places and ends at the first that was never used. To take a place, an lcore
//! swaps its tag for [`BUSY`], writes the key, and publishes the new tag with release; who reads the tag with acquire
//! sees the key. A place that expired is taken over in place, so a search never misses what lies behind it. Two
//! lcores that see a flow's first packets in the same microsecond may both make a bucket; one of them then lies
//! idle and expires, and the flow has had its burst twice.
//!
//! Where the kernel collects expired buckets every `htable-gcinterval`, here the next flow that falls on one does.
//! A flow that finds neither room in its window nor the table below `htable-max` is dropped, as the kernel does.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::limit::passed;
use super::matches::{Held, HotDrop, ports};
use super::rule::{HashlimitMatch, HashlimitRate, hashlimit_mode};
use super::view::PacketView;

/// Places a search looks at.
const WINDOW: usize = 32;
/// Tag of a place that was never used.
const EMPTY: u32 = 0;
/// Tag of a place that somebody is writing.
const BUSY: u32 = 1;
/// Buckets the kernel's default gives on a machine of 1 GiB or more: 8 for each of 8192 heads.
const DEFAULT_MAX: u32 = 65_536;
/// Most buckets a table may have (48 MiB).
const LARGEST: u32 = 1 << 20;
/// Credits a second of a byte bucket: the kernel's `CREDITS_PER_JIFFY_BYTES` (2^22 at 1000 jiffies a second).
const BYTE_CREDITS_PER_MILLI: u64 = 1 << 22;
const BYTE_CREDITS: u64 = BYTE_CREDITS_PER_MILLI * 1000;
/// Where the clock of packet buckets begins.
const EPOCH: u64 = 1 << 62;

/// What tells buckets apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Key {
    addresses: u64,
    ports: u32,
}

#[derive(Debug, Default)]
struct Bucket {
    addresses: AtomicU64,
    /// Packets: the time, in microseconds, until which what has passed is paid for. Bytes: milliseconds and credit.
    state: AtomicU64,
    ports: AtomicU32,
    tag: AtomicU32,
    /// Milliseconds, modulo 2^32.
    expires: AtomicU32,
    /// Byte mode: seconds' worth of credit that the burst may still give.
    refills: AtomicU32,
}

/// A table. Rules of one name share it.
#[derive(Debug)]
pub struct Hashlimit {
    buckets: Box<[Bucket]>,
    used: AtomicU32,
    max: u32,
    expire_millis: u32,
    /// What a packet costs, microseconds; or 16 bytes, credits.
    cost: u64,
    /// Microseconds of credit that can be saved up; or refills.
    burst: u64,
    bytes: bool,
    mode: u8,
    srcmask: u32,
    dstmask: u32,
}

impl Hashlimit {
    /// An empty table. `None` for a rate or burst the kernel refuses.
    pub fn new(m: &HashlimitMatch) -> Option<Hashlimit> {
        let wanted = match (m.htable_max, m.htable_size) {
            (0, 0) => DEFAULT_MAX,
            (0, size) => size.saturating_mul(8),
            (max, size) => max.max(size),
        };
        let max = wanted.clamp(1, LARGEST);
        let (cost, burst, bytes) = match m.rate {
            HashlimitRate::Packets { avg } if m.burst > 0 && avg > 0 => {
                (avg, avg.checked_mul(m.burst)?.min(EPOCH / 2), false)
            }
            HashlimitRate::Bytes { per_second } => {
                // The user's tool gives the kernel the inverse of the rate in units of 16 bytes.
                let units = u64::from(u32::MAX) / ((per_second >> 4) + 1);
                let granted = (u64::from(u32::MAX).checked_div(units).unwrap_or(u32::MAX.into()) - 1) << 4;
                let refills = m.burst.div_ceil(granted.max(1));
                ((units * BYTE_CREDITS) >> 32, refills, true)
            }
            HashlimitRate::Packets { .. } => return None,
        };
        let places = (max as usize * 4 / 3).next_power_of_two().max(WINDOW);
        Some(Hashlimit {
            buckets: (0..places).map(|_| Bucket::default()).collect(),
            used: AtomicU32::new(0),
            max,
            expire_millis: expire(m),
            cost,
            burst,
            bytes,
            mode: m.mode,
            srcmask: mask(m.srcmask),
            dstmask: mask(m.dstmask),
        })
    }

    /// Buckets in use.
    #[cfg(test)]
    fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether the rule matches the packet, which takes its share.
    pub fn matches(&self, above: bool, v: &PacketView<'_>, now_millis: u64) -> Held {
        let key = self.key_of(v)?;
        let bucket = self.find(key, now_millis).ok_or(HotDrop)?;
        bucket.expires.store(self.expiry(now_millis), Ordering::Relaxed);
        let within = match self.bytes {
            true => self.take_bytes(bucket, v.len as u64, now_millis as u32),
            false => self.take_packet(bucket, micros(now_millis)),
        };
        Ok(within ^ above)
    }

    fn key_of(&self, v: &PacketView<'_>) -> Result<Key, HotDrop> {
        let has = |bit: u8| self.mode & bit != 0;
        let ip = v.ip();
        let src = if has(hashlimit_mode::SIP) { ip.src() & self.srcmask } else { 0 };
        let dst = if has(hashlimit_mode::DIP) { ip.dst() & self.dstmask } else { 0 };
        let mut key = Key { addresses: u64::from(src) << 32 | u64::from(dst), ports: 0 };
        if has(hashlimit_mode::SPT) || has(hashlimit_mode::DPT) {
            let (sport, dport) = ports(v)?.unwrap_or((0, 0));
            let sport = if has(hashlimit_mode::SPT) { sport } else { 0 };
            let dport = if has(hashlimit_mode::DPT) { dport } else { 0 };
            key.ports = u32::from(sport) << 16 | u32::from(dport);
        }
        Ok(key)
    }

    fn expiry(&self, now_millis: u64) -> u32 {
        (now_millis as u32).wrapping_add(self.expire_millis)
    }

    /// The bucket of `key`, a new one if there is none; `None` if there is no room.
    fn find(&self, key: Key, now_millis: u64) -> Option<&Bucket> {
        let (start, tag) = hash(key);
        let mask = self.buckets.len() - 1;
        let mut expired = None;
        for i in 0..WINDOW {
            let bucket = self.buckets.get((start + i) & mask)?;
            let found = bucket.tag.load(Ordering::Acquire);
            if found == tag && bucket.holds(key) {
                return Some(bucket);
            }
            if found == EMPTY {
                if self.used.load(Ordering::Relaxed) < self.max
                    && self.claim(bucket, EMPTY, key, tag, now_millis)
                {
                    self.used.fetch_add(1, Ordering::Relaxed);
                    return Some(bucket);
                }
                if bucket.tag.load(Ordering::Relaxed) == EMPTY {
                    break;
                }
            } else if found != BUSY && expired.is_none() && bucket.is_expired(now_millis as u32) {
                expired = Some((bucket, found));
            }
        }
        let (bucket, found) = expired?;
        self.claim(bucket, found, key, tag, now_millis).then_some(bucket)
    }

    fn claim(&self, bucket: &Bucket, old: u32, key: Key, tag: u32, now_millis: u64) -> bool {
        if bucket.tag.compare_exchange(old, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        bucket.addresses.store(key.addresses, Ordering::Relaxed);
        bucket.ports.store(key.ports, Ordering::Relaxed);
        let state = match self.bytes {
            true => pack(now_millis as u32, BYTE_CREDITS as u32),
            false => micros(now_millis) - self.burst,
        };
        bucket.state.store(state, Ordering::Relaxed);
        bucket.refills.store(self.burst.min(u32::MAX.into()) as u32, Ordering::Relaxed);
        bucket.expires.store(self.expiry(now_millis), Ordering::Relaxed);
        bucket.tag.store(tag, Ordering::Release);
        true
    }

    /// The kernel's credits, counted from the other side: what a bucket holds is the time between what is paid for
    /// and now, but no more than the burst is worth.
    fn take_packet(&self, bucket: &Bucket, now_micros: u64) -> bool {
        let pay = |paid: u64| {
            let next = paid.max(now_micros - self.burst) + self.cost;
            (next <= now_micros).then_some(next)
        };
        bucket.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }

    /// 16 bytes cost so many credits; a bucket holds a second's worth and fills up at once as often as the burst says.
    fn take_bytes(&self, bucket: &Bucket, len: u64, now: u32) -> bool {
        let cost = (((len >> 4) + 1) * self.cost).min(BYTE_CREDITS);
        loop {
            let old = bucket.state.load(Ordering::Relaxed);
            let passed = passed(now, (old >> 32) as u32);
            let then = ((old >> 32) as u32).wrapping_add(passed);
            let more = u64::from(passed) * BYTE_CREDITS_PER_MILLI;
            let mut have = (u64::from(old as u32) + more).min(BYTE_CREDITS);
            if have < cost
                && bucket
                    .refills
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                    .is_ok()
            {
                have = BYTE_CREDITS;
            }
            let left = have.checked_sub(cost);
            let new = pack(then, left.unwrap_or(have) as u32);
            if bucket.state.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return left.is_some();
            }
        }
    }
}

impl Bucket {
    fn holds(&self, key: Key) -> bool {
        self.addresses.load(Ordering::Relaxed) == key.addresses
            && self.ports.load(Ordering::Relaxed) == key.ports
    }

    fn is_expired(&self, now: u32) -> bool {
        now.wrapping_sub(self.expires.load(Ordering::Relaxed)) as i32 >= 0
    }
}

/// The clock of packet buckets: it begins where the largest burst may lie before it.
fn micros(millis: u64) -> u64 {
    EPOCH + millis * 1000
}

fn pack(millis: u32, credit: u32) -> u64 {
    u64::from(millis) << 32 | u64::from(credit)
}

/// Without `htable-expire` a bucket lives as long as the unit its rate is printed in; 15 s for bytes.
fn expire(m: &HashlimitMatch) -> u32 {
    match (m.expire, m.rate) {
        (0, HashlimitRate::Bytes { .. }) => 15_000,
        (0, HashlimitRate::Packets { avg }) => match avg {
            0..=1_000_000 => 1000,
            1_000_001..=60_000_000 => 60_000,
            60_000_001..=3_600_000_000 => 3_600_000,
            _ => 86_400_000,
        },
        // Times are compared modulo 2^32: half of that, 24 days, is the most.
        (millis, _) => millis.min(i32::MAX as u32),
    }
}

fn mask(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0)
}

/// Where to begin, and the tag, which is neither [`EMPTY`] nor [`BUSY`].
fn hash(key: Key) -> (usize, u32) {
    let mut h = key.addresses ^ u64::from(key.ports).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    h = (h ^ h >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    h = (h ^ h >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    h ^= h >> 32;
    (h as usize, (h >> 32) as u32 | 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netfilter::ip_tables::tests::Bytes;

    fn spec(rate: HashlimitRate, burst: u64, mode: u8) -> HashlimitMatch {
        HashlimitMatch {
            name: "h".into(),
            above: false,
            mode,
            rate,
            burst,
            srcmask: 32,
            dstmask: 32,
            htable_size: 0,
            htable_max: 0,
            gc_interval: 1000,
            expire: 0,
        }
    }

    #[test]
    fn every_source_has_its_own_bucket() {
        let m = spec(HashlimitRate::Packets { avg: 200_000 }, 3, hashlimit_mode::SIP);
        let table = Hashlimit::new(&m).unwrap();
        let (a, b) = (Bytes::udp("10.0.0.1", "10.9.0.1", 1, 2), Bytes::udp("10.0.0.2", "10.9.0.1", 1, 2));
        let count = |p: &Bytes, times: std::ops::Range<u64>| {
            times.filter(|t| table.matches(false, &p.view(), 1_000_000 + t * 10) == Ok(true)).count()
        };
        assert_eq!((count(&a, 0..10), count(&b, 0..10)), (3, 3));
        // One in 200 ms from now on.
        assert_eq!(count(&a, 10..110), 5);
        assert_eq!(table.matches(true, &a.view(), 1_001_100), Ok(true));
        assert_eq!(table.used(), 2);
    }

    #[test]
    fn masks_and_ports_make_the_key() {
        let m = HashlimitMatch {
            srcmask: 24,
            ..spec(HashlimitRate::Packets { avg: 1_000_000 }, 1, hashlimit_mode::SIP | hashlimit_mode::DPT)
        };
        let table = Hashlimit::new(&m).unwrap();
        let matched =
            |src: &str, dport| table.matches(false, &Bytes::udp(src, "10.9.0.1", 1, dport).view(), 5000);
        assert_eq!(matched("10.0.0.1", 53), Ok(true));
        assert_eq!(matched("10.0.0.77", 53), Ok(false));
        assert_eq!(matched("10.0.0.77", 54), Ok(true));
        assert_eq!(matched("10.0.1.1", 53), Ok(true));
        let mut short = Bytes::udp("10.0.0.1", "10.9.0.1", 1, 2);
        short.cut(22);
        assert_eq!(table.matches(false, &short.view(), 5000), Err(HotDrop));
    }

    #[test]
    fn a_full_table_drops_until_a_bucket_expires() {
        let m = HashlimitMatch {
            htable_max: 4,
            expire: 500,
            ..spec(HashlimitRate::Packets { avg: 1_000_000 }, 1, hashlimit_mode::SIP)
        };
        let table = Hashlimit::new(&m).unwrap();
        let at = |i: u32, now| {
            table.matches(false, &Bytes::udp(&format!("10.0.0.{i}"), "10.9.0.1", 1, 2).view(), now)
        };
        for i in 0..4 {
            assert_eq!(at(i, 1000), Ok(true));
        }
        assert_eq!(at(4, 1000), Err(HotDrop));
        assert!((4..40).any(|i| at(i, 1600) == Ok(true)), "an expired bucket was never taken over");
        assert_eq!(table.used(), 4);
    }

    #[test]
    fn bytes_are_counted_in_sixteens() {
        // 16 kb/s without a burst: a second's worth at once, then the rate.
        let m = spec(HashlimitRate::Bytes { per_second: 16_000 }, 0, hashlimit_mode::SIP);
        let table = Hashlimit::new(&m).unwrap();
        let p = Bytes::udp_of_len("10.0.0.1", "10.9.0.1", 1000);
        let passed =
            (0..1000).filter(|t| table.matches(false, &p.view(), 1_000_000 + t * 10) == Ok(true)).count();
        assert!(
            (170..=180).contains(&passed),
            "{passed} packets of 1000 bytes in 10 s and the first second's worth"
        );
    }

    #[test]
    fn lcores_share_a_bucket() {
        let m = spec(HashlimitRate::Packets { avg: 3_600_000_000 }, 100, hashlimit_mode::SIP);
        let table = Hashlimit::new(&m).unwrap();
        let p = Bytes::udp("10.0.0.1", "10.9.0.1", 1, 2);
        assert_eq!(table.matches(false, &p.view(), 1_000_000_000), Ok(true));
        let taken: usize = std::thread::scope(|s| {
            let run =
                || (0..200).filter(|_| table.matches(false, &p.view(), 1_000_000_000) == Ok(true)).count();
            let threads: Vec<_> = (0..4).map(|_| s.spawn(run)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(taken, 99);
    }
}
