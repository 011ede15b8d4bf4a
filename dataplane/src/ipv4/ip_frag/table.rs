//! All datagrams on their way together at one lcore: found by key, bounded in memory, given up in time.
//!
//! Plain values and a `now`; what carries a fragment is a parameter, so the tests and the fuzzer use bytes where the
//! router uses mbufs.

use std::collections::{BTreeMap, HashMap, hash_map};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::queue::{Datagram, Discard, Fragment, Placed, Queue};
use crate::time::Instant;

/// What a queue costs beside what it holds, bytes.
pub const QUEUE_COST: usize = 256;

/// Who reassembles. Fragments of one user do not complete another's datagrams (the kernel's `ip_defrag_users`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DefragUser {
    /// Delivery to the router itself.
    LocalDeliver,
}

/// Which fragments belong together (RFC 791 section 3.2, and the kernel's `frag_v4_compare_key`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragKey {
    /// Source, host byte order.
    pub src: u32,
    /// Destination, host byte order.
    pub dst: u32,
    /// Identification.
    pub id: u16,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Who reassembles.
    pub user: DefragUser,
    /// Routing domain of the device it came by; 0 is the only one there is.
    pub vif: u16,
}

/// The bounds of reassembly.
#[derive(Clone, Copy, Debug)]
pub struct FragLimits<'a> {
    /// Memory in use by all lcores.
    pub memory: &'a FragMemory,
    /// Most of it there may be, bytes.
    pub high_thresh: usize,
    /// How long a datagram may take from its first fragment on.
    pub timeout: Duration,
    /// How many other fragments of the same source may come between two of one datagram; 0 for any number.
    pub max_dist: u32,
}

/// What reassembly holds, over all lcores.
#[derive(Debug, Default)]
pub struct FragMemory {
    bytes: AtomicUsize,
    queues: AtomicUsize,
    fragments: AtomicUsize,
}

impl FragMemory {
    /// Memory in use, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Datagrams on their way together.
    pub fn queues(&self) -> usize {
        self.queues.load(Ordering::Relaxed)
    }

    /// Fragments held.
    pub fn fragments(&self) -> usize {
        self.fragments.load(Ordering::Relaxed)
    }

    /// Takes `cost` bytes, if there are no more than `limit` in use then.
    fn reserve(&self, cost: usize, limit: usize) -> bool {
        let sum = |used: usize| used.checked_add(cost).filter(|&sum| sum <= limit);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
    }

    fn release(&self, cost: usize) {
        self.bytes.fetch_sub(cost, Ordering::Relaxed);
    }
}

/// What became of a fragment.
#[derive(Debug)]
pub enum Verdict<T> {
    /// Held; more are missing.
    Queued,
    /// It was the last one missing.
    Complete(Datagram<T>),
    /// All its data was there already.
    Duplicate(T),
    /// The datagram was given up: here are this fragment and those held so far.
    Discarded(Discard, Vec<T>),
    /// The memory is in use.
    NoMemory(T),
}

/// The answer to a fragment.
#[derive(Debug)]
pub struct Inserted<T> {
    /// Fragments that were held under the same key but are too far back to be of the same datagram. Not empty means
    /// that one datagram failed.
    pub too_far: Vec<T>,
    /// What became of the fragment itself.
    pub verdict: Verdict<T>,
}

/// A datagram that did not become whole in time.
#[derive(Debug)]
pub struct Expired<T> {
    /// Whose it was.
    pub key: FragKey,
    /// What there is of it, in order.
    pub carriers: Vec<T>,
    /// The beginning is among it.
    pub has_first: bool,
}

/// The datagrams of one lcore.
#[derive(Debug)]
pub struct FragTable<T> {
    entries: HashMap<FragKey, Entry<T>>,
    timers: BTreeMap<Timer, FragKey>,
    peers: HashMap<(u32, u16), Peer>,
    /// Counts entries, so that two timers of one instant differ.
    serial: u64,
    next_deadline: Instant,
}

/// When an entry ends.
type Timer = (Instant, u64);

#[derive(Debug)]
struct Entry<T> {
    queue: Queue<T>,
    timer: Timer,
    /// What its fragments cost, and itself.
    cost: usize,
    /// The source's count at its last fragment.
    rid: u32,
}

/// A source of which there are fragments (the kernel's `inet_peer`). It need not outlive its last entry: only
/// differences of its count within the life of one entry matter.
#[derive(Debug, Default)]
struct Peer {
    /// Fragments seen.
    rid: u32,
    entries: u32,
}

const NEVER: Instant = Instant::from_nanos(u64::MAX);

impl<T> Default for FragTable<T> {
    fn default() -> Self {
        FragTable {
            entries: HashMap::new(),
            timers: BTreeMap::new(),
            peers: HashMap::new(),
            serial: 0,
            next_deadline: NEVER,
        }
    }
}

impl<T> FragTable<T> {
    /// Takes a fragment that costs `cost` bytes of memory to hold.
    ///
    /// Over the limit every fragment is refused, also of datagrams under way (the kernel's `inet_frag_find`): what is
    /// held may still end by its timer, and the memory is never more than the limit.
    pub fn insert(
        &mut self,
        key: FragKey,
        fragment: Fragment,
        carrier: T,
        cost: usize,
        now: Instant,
        limits: &FragLimits<'_>,
    ) -> Inserted<T> {
        let new = !self.entries.contains_key(&key);
        let cost = if new { cost + QUEUE_COST } else { cost };
        if !limits.memory.reserve(cost, limits.high_thresh) {
            return Inserted { too_far: Vec::new(), verdict: Verdict::NoMemory(carrier) };
        }
        if new {
            self.create(key, now, limits);
        }
        let too_far = self.advance_peer(&key, now, limits);
        let verdict = self.place(key, fragment, carrier, cost, limits);
        self.note_deadline();
        Inserted { too_far, verdict }
    }

    /// The next datagram whose time is over at `now`.
    pub fn expire(&mut self, now: Instant, memory: &FragMemory) -> Option<Expired<T>> {
        let (&(deadline, _), &key) = self.timers.first_key_value()?;
        if now < deadline { None } else { self.give_up(key, memory) }
    }

    /// Any datagram, whatever its time.
    pub fn pop(&mut self, memory: &FragMemory) -> Option<Expired<T>> {
        let (_, &key) = self.timers.first_key_value()?;
        self.give_up(key, memory)
    }

    /// When the next datagram's time is over; the end of time if there is none.
    #[inline]
    pub fn next_deadline(&self) -> Instant {
        self.next_deadline
    }

    /// Datagrams on their way together.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sources of which there are fragments.
    pub fn sources(&self) -> usize {
        self.peers.len()
    }

    /// Fragments held.
    pub fn held(&self) -> usize {
        self.entries.values().map(|entry| entry.queue.held()).sum()
    }

    fn create(&mut self, key: FragKey, now: Instant, limits: &FragLimits<'_>) {
        self.serial += 1;
        let timer = (now + limits.timeout, self.serial);
        self.timers.insert(timer, key);
        self.entries.insert(key, Entry { queue: Queue::default(), timer, cost: 0, rid: 0 });
        self.peers.entry((key.src, key.vif)).or_default().entries += 1;
        limits.memory.queues.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a fragment of its source. Where too many others came since the last one of this datagram, the
    /// identification has come round: what is held is let go, and the datagram begins anew (`ip_frag_too_far`).
    fn advance_peer(&mut self, key: &FragKey, now: Instant, limits: &FragLimits<'_>) -> Vec<T> {
        let (Some(entry), Some(peer)) = (self.entries.get_mut(key), self.peers.get_mut(&(key.src, key.vif)))
        else {
            return Vec::new();
        };
        if limits.max_dist == 0 {
            return Vec::new();
        }
        peer.rid = peer.rid.wrapping_add(1);
        let distance = peer.rid.wrapping_sub(entry.rid);
        entry.rid = peer.rid;
        if entry.queue.is_empty() || distance <= limits.max_dist {
            return Vec::new();
        }
        self.timers.remove(&entry.timer);
        entry.timer.0 = now + limits.timeout;
        self.timers.insert(entry.timer, *key);
        limits.memory.release(entry.cost - QUEUE_COST);
        entry.cost = QUEUE_COST;
        let stale = std::mem::take(&mut entry.queue).into_carriers();
        limits.memory.fragments.fetch_sub(stale.len(), Ordering::Relaxed);
        stale
    }

    fn place(
        &mut self,
        key: FragKey,
        fragment: Fragment,
        carrier: T,
        cost: usize,
        limits: &FragLimits<'_>,
    ) -> Verdict<T> {
        let hash_map::Entry::Occupied(mut occupied) = self.entries.entry(key) else {
            limits.memory.release(cost);
            return Verdict::NoMemory(carrier);
        };
        let entry = occupied.get_mut();
        entry.cost += cost;
        let before = entry.queue.held();
        let placed = entry.queue.insert(fragment, carrier);
        limits.memory.fragments.fetch_add(entry.queue.held() - before, Ordering::Relaxed);
        match placed {
            Placed::Waiting => Verdict::Queued,
            Placed::Complete => {
                let entry = occupied.remove();
                self.forget(&key, &entry, limits.memory);
                Verdict::Complete(entry.queue.into_datagram())
            }
            Placed::Duplicate(carrier) => {
                entry.cost -= cost;
                limits.memory.release(cost);
                Verdict::Duplicate(carrier)
            }
            Placed::Discard(why, carrier) => {
                let entry = occupied.remove();
                self.forget(&key, &entry, limits.memory);
                let mut carriers = entry.queue.into_carriers();
                carriers.extend(carrier);
                Verdict::Discarded(why, carriers)
            }
        }
    }

    fn give_up(&mut self, key: FragKey, memory: &FragMemory) -> Option<Expired<T>> {
        let entry = self.entries.remove(&key)?;
        self.forget(&key, &entry, memory);
        self.note_deadline();
        let has_first = entry.queue.has_first();
        Some(Expired { key, carriers: entry.queue.into_carriers(), has_first })
    }

    /// Gives back what an entry that is no longer in the table took.
    fn forget(&mut self, key: &FragKey, entry: &Entry<T>, memory: &FragMemory) {
        self.timers.remove(&entry.timer);
        memory.release(entry.cost);
        memory.queues.fetch_sub(1, Ordering::Relaxed);
        memory.fragments.fetch_sub(entry.queue.held(), Ordering::Relaxed);
        if let hash_map::Entry::Occupied(mut peer) = self.peers.entry((key.src, key.vif)) {
            peer.get_mut().entries -= 1;
            if peer.get().entries == 0 {
                peer.remove();
            }
        }
    }

    fn note_deadline(&mut self) {
        self.next_deadline = self.timers.first_key_value().map_or(NEVER, |(&(deadline, _), _)| deadline);
    }
}
