//! Quiescent-state tracking: when may memory that lcores could still be reading be used again?
//!
//! An lcore holds no reference into shared tables between two bursts; there it calls [`Qsbr::quiescent`].
//! Control takes an object out of reach (unpublishes it), calls [`Qsbr::advance`], and may reuse the object
//! once [`Qsbr::passed`] says that every lcore has been between bursts since, or is offline.
//!
//! # Contract
//! - A slot belongs to one thread: only that thread calls `quiescent`, `offline` and `online` with its number.
//! - A slot starts offline. An lcore calls `online` before it first reads a shared table, and `offline` before
//!   it sleeps or ends, so that a sleeping lcore holds nothing up.
//! - Between `online` and `offline` the lcore calls `quiescent` now and then, always holding nothing.
//! - `advance` comes after the object is out of reach, by the same thread or one ordered after it.
//!
//! # Why the orderings suffice
//! Write U for control's unpublishing store, E for the epoch `advance` returned, R for an lcore's read of a
//! shared table, and X for control's reuse of the object after `passed(E)` returned true. To show: no R that
//! follows a point where U is not yet seen can be concurrent with, or see, X.
//!
//! *The slot shows an epoch >= E.* The lcore loaded that epoch from `current` (acquire), which reads from
//! `advance`'s release read-modify-write of E or a later one in its release sequence. So U happens before
//! everything the lcore does afterwards: those reads see U or something newer and cannot reach the object.
//! Reads R *before* that point are sequenced before the slot's release store, which control's acquire load
//! read (or a later store of the slot, all of which are release stores of that same thread, sequenced after
//! R). So R happens before X and cannot see it.
//!
//! *The slot shows OFFLINE.* Reads before `offline` happen before X as above, the store being a release. What
//! is left is an lcore that has meanwhile come `online` and whose store control has not seen. `online` has a
//! sequentially consistent fence F1 between its slot store and its later reads, `passed` a fence F2 between U
//! and its slot loads. Either F1 precedes F2 in the single order of fences, then control's load sees the
//! `online` store or a later one, not the OFFLINE before it; or F2 precedes F1, then the lcore's later reads
//! see U. An x86 store buffer shows why a release store alone would not do: the read could overtake it.
//!
//! *A stale epoch is only slow.* `online` or `quiescent` may load `current` a moment before `advance`; the
//! slot then shows less than E and control waits for the next report.
//!
//! `quiescent` needs no fence: between two bursts an online lcore's slot is never OFFLINE, and a store that
//! control sees late only delays it. It costs one load of a line that changes only when control frees
//! something, and one store to a line of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

/// What a slot shows while its lcore reads nothing. Epochs start above it.
const OFFLINE: u64 = 0;
/// The epoch before the first `advance`.
const FIRST: u64 = 1;

/// A point in the sequence of [`Qsbr::advance`] calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

/// The quiescent states of a fixed set of lcores. See the module's text for the contract.
#[derive(Debug)]
pub struct Qsbr {
    /// The newest epoch; written by control only.
    current: Padded,
    /// One an lcore: the epoch it last reported, or `OFFLINE`.
    slots: Box<[Padded]>,
}

/// A word with its cache line, and the line the spatial prefetcher pairs with it, to itself.
#[derive(Debug)]
#[repr(align(128))]
struct Padded(AtomicU64);

impl Qsbr {
    /// Tracks lcores 0 to `n_lcores - 1`, all offline.
    pub fn new(n_lcores: usize) -> Self {
        Qsbr {
            current: Padded(AtomicU64::new(FIRST)),
            slots: (0..n_lcores).map(|_| Padded(AtomicU64::new(OFFLINE))).collect(),
        }
    }

    /// Says that `lcore` holds no reference into any shared table. For the lcore itself, between bursts.
    ///
    /// # Panics
    /// If `lcore` is not one of those tracked, here and in [`Self::online`] and [`Self::offline`].
    #[inline]
    pub fn quiescent(&self, lcore: usize) {
        let epoch = self.current.0.load(Ordering::Acquire);
        self.slots[lcore].0.store(epoch, Ordering::Release);
    }

    /// Says that `lcore` holds no reference and will take none until [`Self::online`].
    #[inline]
    pub fn offline(&self, lcore: usize) {
        self.slots[lcore].0.store(OFFLINE, Ordering::Release);
    }

    /// Says that `lcore` is about to read shared tables.
    #[inline]
    pub fn online(&self, lcore: usize) {
        self.quiescent(lcore);
        // F1 of the module's text: no later read of a table may overtake the store to the slot.
        fence(Ordering::SeqCst);
    }

    /// Starts a grace period: what was taken out of reach before this call is free once the returned epoch
    /// has passed. For control.
    pub fn advance(&self) -> Epoch {
        Epoch(self.current.0.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// True once every online lcore has reported a quiescent state after `epoch` began. The answer "true" is
    /// final for what was taken out of reach before; an lcore just coming online may yet turn it false for a
    /// moment, which means nothing.
    pub fn passed(&self, epoch: Epoch) -> bool {
        self.oldest() >= epoch
    }

    /// Waits until `epoch` has passed, at most `timeout`; returns whether it has. Yields, then sleeps.
    pub fn wait(&self, epoch: Epoch, timeout: Duration) -> bool {
        const YIELDS: u32 = 64;
        const NAP: Duration = Duration::from_micros(50);
        let start = Instant::now();
        let mut turns = 0;
        while !self.passed(epoch) {
            let Some(left) = timeout.checked_sub(start.elapsed()) else { return false };
            if turns < YIELDS {
                turns += 1;
                thread::yield_now();
            } else {
                thread::sleep(NAP.min(left));
            }
        }
        true
    }

    /// The newest epoch that every online lcore has reported.
    fn oldest(&self) -> Epoch {
        // F2 of the module's text. An epoch begun after this line must not count as passed because all
        // lcores are offline now, hence `current` bounds the answer.
        let current = self.current.0.load(Ordering::Acquire);
        fence(Ordering::SeqCst);
        let reported = self.slots.iter().map(|slot| slot.0.load(Ordering::Acquire));
        Epoch(reported.filter(|&epoch| epoch != OFFLINE).fold(current, u64::min))
    }
}

/// Things out of reach that wait for their grace period, oldest first. Control's own.
#[derive(Debug)]
pub struct Deferred<T> {
    queue: VecDeque<(Epoch, T)>,
}

impl<T> Deferred<T> {
    /// An empty queue.
    pub const fn new() -> Self {
        Deferred { queue: VecDeque::new() }
    }

    /// Begins a grace period for `item`, which must be out of the lcores' reach already.
    pub fn defer(&mut self, qsbr: &Qsbr, item: T) {
        self.queue.push_back((qsbr.advance(), item));
    }

    /// Takes out, oldest first, the items whose grace period has passed. What the caller does not take stays.
    pub fn reclaim(&mut self, qsbr: &Qsbr) -> impl Iterator<Item = T> {
        // Asked once: the answer costs a fence and a line from each lcore.
        let oldest = if self.queue.is_empty() { None } else { Some(qsbr.oldest()) };
        std::iter::from_fn(move || {
            let (epoch, _) = self.queue.front()?;
            if *epoch > oldest? {
                return None;
            }
            self.queue.pop_front().map(|(_, item)| item)
        })
    }

    /// The epoch the oldest item waits for.
    pub fn next_epoch(&self) -> Option<Epoch> {
        self.queue.front().map(|(epoch, _)| *epoch)
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl<T> Default for Deferred<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Shared things out of reach that only control is to free. An lcore has its handle a moment longer than the grace period,
/// until it takes a newer one, and as long as it sleeps; if that were the last, it would free thousands of devices between
/// two bursts.
#[derive(Debug)]
pub struct DeferredArcs<T> {
    waiting: Deferred<Arc<T>>,
    /// Past their grace period. Lcores have one each at most, so these are few.
    lent: Vec<Arc<T>>,
}

impl<T> DeferredArcs<T> {
    /// An empty queue.
    pub const fn new() -> Self {
        DeferredArcs { waiting: Deferred::new(), lent: Vec::new() }
    }

    /// Begins a grace period for `item`, which must be out of the lcores' reach already.
    pub fn defer(&mut self, qsbr: &Qsbr, item: Arc<T>) {
        self.waiting.defer(qsbr, item);
    }

    /// Frees what nobody else has any more.
    pub fn reclaim(&mut self, qsbr: &Qsbr) {
        self.lent.extend(self.waiting.reclaim(qsbr));
        self.lent.retain(|item| Arc::strong_count(item) > 1);
    }
}

impl<T> Default for DeferredArcs<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use super::*;

    #[test]
    fn a_grace_period_ends_when_the_last_online_lcore_reports() {
        let qsbr = Qsbr::new(3);
        qsbr.online(0);
        qsbr.online(2);
        let epoch = qsbr.advance();
        assert!(!qsbr.passed(epoch));
        qsbr.quiescent(0);
        assert!(!qsbr.passed(epoch));
        qsbr.quiescent(2);
        assert!(qsbr.passed(epoch));
    }

    #[test]
    fn an_offline_lcore_holds_nothing_up_and_a_returning_one_only_later_epochs() {
        let qsbr = Qsbr::new(1);
        let first = qsbr.advance();
        assert!(qsbr.passed(first));
        qsbr.online(0);
        assert!(qsbr.passed(first));
        let second = qsbr.advance();
        assert!(!qsbr.passed(second));
        qsbr.offline(0);
        assert!(qsbr.passed(second));
    }

    #[test]
    fn an_epoch_not_begun_when_asked_has_not_passed() {
        let qsbr = Qsbr::new(0);
        let epoch = qsbr.advance();
        assert!(qsbr.passed(epoch));
        assert!(!qsbr.passed(Epoch(epoch.0 + 1)));
    }

    #[test]
    fn waiting_gives_up_at_its_timeout() {
        let qsbr = Qsbr::new(1);
        qsbr.online(0);
        let epoch = qsbr.advance();
        assert!(!qsbr.wait(epoch, Duration::from_millis(2)));
        qsbr.quiescent(0);
        assert!(qsbr.wait(epoch, Duration::ZERO));
    }

    #[test]
    fn deferred_items_come_out_in_order_when_their_epoch_has_passed() {
        let qsbr = Qsbr::new(1);
        qsbr.online(0);
        let mut deferred = Deferred::new();
        deferred.defer(&qsbr, 'a');
        deferred.defer(&qsbr, 'b');
        qsbr.quiescent(0);
        deferred.defer(&qsbr, 'c');
        assert_eq!(deferred.reclaim(&qsbr).collect::<Vec<_>>(), ['a', 'b']);
        assert_eq!(deferred.reclaim(&qsbr).count(), 0);
        qsbr.quiescent(0);
        assert_eq!(deferred.reclaim(&qsbr).collect::<Vec<_>>(), ['c']);
        assert!(deferred.is_empty());
    }

    #[test]
    fn what_a_sleeping_lcore_has_is_not_left_to_it() {
        let qsbr = Qsbr::new(1);
        let mut deferred = DeferredArcs::new();
        let [first, second] = [Arc::new(1), Arc::new(2)];
        let [freed_first, freed_second] = [Arc::downgrade(&first), Arc::downgrade(&second)];
        let lcores = Arc::clone(&first);
        deferred.defer(&qsbr, first);
        deferred.defer(&qsbr, second);
        deferred.reclaim(&qsbr);
        assert_eq!((freed_first.strong_count(), freed_second.strong_count()), (2, 0));
        drop(lcores);
        assert_eq!(freed_first.strong_count(), 1, "control frees it");
        deferred.reclaim(&qsbr);
        assert_eq!(freed_first.strong_count(), 0);
    }

    /// Control moves a pointer between cells, poisoning each cell after its grace period; readers that follow
    /// the pointer must never meet the poison. Readers go offline now and then, which tries the fence pair.
    #[test]
    fn readers_never_meet_a_reclaimed_object() {
        const READERS: usize = 2;
        const CELLS: usize = 4;
        const MOVES: u64 = 20_000;
        const POISON: u64 = 0;
        let qsbr = Qsbr::new(READERS);
        let cells: [AtomicU64; CELLS] = std::array::from_fn(|_| AtomicU64::new(POISON));
        let published = AtomicUsize::new(0);
        let done = AtomicBool::new(false);
        cells[0].store(1, Ordering::Relaxed);

        thread::scope(|scope| {
            for lcore in 0..READERS {
                let (qsbr, cells, published, done) = (&qsbr, &cells, &published, &done);
                scope.spawn(move || {
                    let mut bursts = 0u32;
                    while !done.load(Ordering::Relaxed) {
                        qsbr.online(lcore);
                        for _ in 0..bursts % 5 + 1 {
                            for _ in 0..8 {
                                let at = published.load(Ordering::Acquire);
                                if bursts.is_multiple_of(64) {
                                    thread::yield_now();
                                }
                                assert_ne!(cells[at].load(Ordering::Relaxed), POISON);
                            }
                            qsbr.quiescent(lcore);
                        }
                        qsbr.offline(lcore);
                        bursts = bursts.wrapping_add(1);
                    }
                });
            }
            let mut free: Vec<usize> = (1..CELLS).collect();
            let mut deferred = Deferred::new();
            let mut at = 0;
            for value in 2..MOVES {
                while free.is_empty() {
                    free.extend(deferred.reclaim(&qsbr).inspect(|&cell: &usize| {
                        cells[cell].store(POISON, Ordering::Relaxed);
                    }));
                    thread::yield_now();
                }
                let Some(next) = free.pop() else { continue };
                cells[next].store(value, Ordering::Relaxed);
                published.store(next, Ordering::Release);
                deferred.defer(&qsbr, at);
                at = next;
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    /// The store-buffer race that the two fences are there for: an lcore comes online and reads while control
    /// unpublishes and asks. Never may both the lcore find the object and control think it unread.
    #[test]
    fn coming_online_does_not_race_with_a_grace_period() {
        const ROUNDS: usize = 50_000;
        let stagger = |turns: usize| (0..turns).for_each(|_| std::hint::spin_loop());
        let qsbr = Qsbr::new(1);
        let published = AtomicBool::new(true);
        let found = AtomicBool::new(false);
        let arrived = AtomicUsize::new(0);
        // Both sides leave at the same moment, the last to arrive without having slept.
        let meet = |times: usize| {
            arrived.fetch_add(1, Ordering::AcqRel);
            let mut spins = 0u32;
            while arrived.load(Ordering::Acquire) < 2 * times {
                spins += 1;
                if spins.is_multiple_of(1024) { thread::yield_now() } else { std::hint::spin_loop() }
            }
        };

        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    // A hit, so that the load in the race need not wait and may overtake the store.
                    let _ = published.load(Ordering::Relaxed);
                    meet(3 * round + 1);
                    stagger(round % 7);
                    qsbr.online(0);
                    found.store(published.load(Ordering::Acquire), Ordering::Relaxed);
                    meet(3 * round + 2);
                    qsbr.offline(0);
                    meet(3 * round + 3);
                }
            });
            let mut failures = 0;
            for round in 0..ROUNDS {
                // Brings the slot's line over here, so that the lcore's store to it takes its time.
                qsbr.passed(Epoch(FIRST));
                meet(3 * round + 1);
                stagger(round % 11);
                published.store(false, Ordering::Release);
                let unread = qsbr.passed(qsbr.advance());
                meet(3 * round + 2);
                let found = found.load(Ordering::Relaxed);
                published.store(true, Ordering::Release);
                meet(3 * round + 3);
                failures += usize::from(found && unread);
            }
            assert_eq!(failures, 0);
        });
    }
}
