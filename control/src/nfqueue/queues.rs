//! Queues, their listeners, and the packets that wait in them.
//!
//! A packet takes its place in [`NfQueue`] on the lcore and gives it back here, once: when its verdict comes, when it
//! could not be given to the listener, or when its queue ends.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use nfqueue::frame::MAX_STATS;
use nfqueue::{Action, Batch, Bind, CopyMode, Frame, QueueStats, Settings, Verdict};
use nix::errno::Errno;
use skiff_dataplane::netfilter::queue::NfQueue;

use super::plane::{End, Plane};

/// Longest payload there is, and the kernel's copy range where the listener gave none.
const LONGEST_COPY: u32 = 0xffff;

/// Number of a connection, never used twice.
pub(super) type Owner = u64;

/// Why something was not done: error number, queue, packet, words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub errno: Errno,
    pub queue: u16,
    pub id: u32,
    pub text: String,
}

/// All queues that have a listener.
pub(super) struct Queues<P: Plane> {
    pub plane: P,
    bound: BTreeMap<u16, Bound<P::Held>>,
    /// Packets waiting in all of them.
    held: usize,
}

struct Bound<H> {
    queue: Arc<NfQueue>,
    owner: Owner,
    settings: Settings,
    /// By their numbers, which do not wrap here.
    waiting: BTreeMap<u64, H>,
}

impl<P: Plane> Queues<P> {
    pub fn new(plane: P) -> Self {
        Queues { plane, bound: BTreeMap::new(), held: 0 }
    }

    /// Makes `owner`, a connection of process `peer`, the listener of queues; all or none.
    pub fn bind(&mut self, owner: Owner, peer: u32, bind: &Bind) -> Result<(), Refused> {
        if let Some((&queue, _)) = self.bound.range(bind.first..=bind.last).next() {
            let text = format!("queue {queue} has a listener");
            return Err(Refused { errno: Errno::EBUSY, queue, id: 0, text });
        }
        for num in bind.first..=bind.last {
            let queue = Arc::new(NfQueue::new(num));
            queue.peer.store(peer, Relaxed);
            let mut bound = Bound { queue, owner, settings: Settings::default(), waiting: BTreeMap::new() };
            bound.set(&bind.settings);
            self.bound.insert(num, bound);
        }
        self.publish();
        Ok(())
    }

    /// Changes queues of `owner`; all or none.
    pub fn configure(&mut self, owner: Owner, bind: &Bind) -> Result<(), Refused> {
        let queues = bind.first..=bind.last;
        self.check_owner(owner, queues.clone())?;
        self.bound.range_mut(queues).for_each(|(_, bound)| bound.set(&bind.settings));
        Ok(())
    }

    /// Ends the listening of `owner` to queues; all or none. What waits there is dropped.
    pub fn unbind(&mut self, owner: Owner, queues: RangeInclusive<u16>) -> Result<(), Refused> {
        self.check_owner(owner, queues.clone())?;
        self.remove(End::Dropped, |bound| queues.contains(&bound.queue.num));
        Ok(())
    }

    /// A connection has ended.
    pub fn forget(&mut self, owner: Owner) {
        self.remove(End::Dropped, |bound| bound.owner == owner);
    }

    /// The router stops.
    pub fn shut_down(&mut self) {
        self.remove(End::Shutdown, |_| true);
        while let Some((queue, held)) = self.plane.arrived() {
            queue.leave();
            self.plane.free(held, End::Shutdown);
        }
    }

    /// Gives the next packet that was queued to its listener by `send`, which says whether it took the frame. False if
    /// there was no packet.
    pub fn deliver(&mut self, send: impl FnOnce(Owner, Vec<u8>) -> bool) -> bool {
        let Some((queue, held)) = self.plane.arrived() else { return false };
        let bound = self.bound.get_mut(&queue.num).filter(|bound| Arc::ptr_eq(&bound.queue, &queue));
        let Some(bound) = bound.filter(|bound| bound.settings.copy_mode != CopyMode::None) else {
            // The listener has gone since, or wants nothing.
            queue.leave();
            self.plane.free(held, End::Dropped);
            return true;
        };
        if self.held >= self.plane.capacity() {
            self.lose(&queue, held, &queue.dropped);
            return true;
        }
        let number = queue.queued.fetch_add(1, Relaxed) + 1;
        let mut packet = self.plane.describe(&held, &bound.settings);
        (packet.queue, packet.id) = (queue.num, number as u32);
        if send(bound.owner, Frame::Packet(packet).encode()) {
            bound.waiting.insert(number, held);
            self.held += 1;
        } else {
            self.lose(&queue, held, &queue.user_dropped);
        }
        true
    }

    /// A packet that cannot wait: on it goes where the listener asked for fail-open, else it is dropped and counted.
    fn lose(&mut self, queue: &NfQueue, held: P::Held, counter: &std::sync::atomic::AtomicU64) {
        queue.leave();
        if queue.fail_open.load(Relaxed) {
            queue.failed_open.fetch_add(1, Relaxed);
            self.plane.reinject(held, Action::Accept);
        } else {
            counter.fetch_add(1, Relaxed);
            self.plane.free(held, End::Dropped);
        }
    }

    /// Carries out a verdict of `owner`.
    pub fn verdict(&mut self, owner: Owner, verdict: Verdict) -> Result<(), Refused> {
        let Verdict { queue, id, action, mark, payload } = verdict;
        let bound = self.own(owner, queue)?;
        let number = bound.number(id);
        let Some(mut held) = bound.waiting.remove(&number) else {
            let text = format!("no packet {id} waits in queue {queue}");
            return Err(Refused { errno: Errno::ENOENT, queue, id, text });
        };
        bound.queue.leave();
        self.held -= 1;
        if let Some(payload) = payload
            && action != Action::Drop
            && !self.plane.replace(&mut held, &payload)
        {
            self.plane.free(held, End::Dropped);
            let text =
                format!("packet {id} of queue {queue} was dropped: its new payload is not a sound packet");
            return Err(Refused { errno: Errno::EINVAL, queue, id, text });
        }
        self.decide(held, action, mark);
        Ok(())
    }

    /// Carries out a verdict of `owner` on all packets up to one.
    pub fn batch(&mut self, owner: Owner, batch: &Batch) -> Result<(), Refused> {
        let &Batch { queue, id, action, mark } = batch;
        let bound = self.own(owner, queue)?;
        let later = bound.waiting.split_off(&(bound.number(id) + 1));
        let decided = std::mem::replace(&mut bound.waiting, later);
        if decided.is_empty() {
            let text = format!("no packet up to {id} waits in queue {queue}");
            return Err(Refused { errno: Errno::ENOENT, queue, id, text });
        }
        decided.iter().for_each(|_| bound.queue.leave());
        self.held -= decided.len();
        decided.into_values().for_each(|held| self.decide(held, action, mark));
        Ok(())
    }

    fn decide(&mut self, mut held: P::Held, action: Action, mark: Option<u32>) {
        if let Some(mark) = mark {
            self.plane.set_mark(&mut held, mark);
        }
        match action {
            Action::Drop => self.plane.free(held, End::Dropped),
            action => self.plane.reinject(held, action),
        }
    }

    /// The numbers of queues, at most [`MAX_STATS`].
    pub fn stats(&self, queues: RangeInclusive<u16>) -> Vec<QueueStats> {
        self.bound.range(queues).take(MAX_STATS).map(|(_, bound)| bound.stats()).collect()
    }

    fn own(&mut self, owner: Owner, queue: u16) -> Result<&mut Bound<P::Held>, Refused> {
        let bound = self.bound.get_mut(&queue).filter(|bound| bound.owner == owner);
        bound.ok_or_else(|| not_bound(queue))
    }

    fn check_owner(&self, owner: Owner, queues: RangeInclusive<u16>) -> Result<(), Refused> {
        for num in queues {
            self.bound.get(&num).filter(|bound| bound.owner == owner).ok_or_else(|| not_bound(num))?;
        }
        Ok(())
    }

    fn remove(&mut self, end: End, gone: impl Fn(&Bound<P::Held>) -> bool) {
        let (out, kept): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.bound).into_iter().partition(|(_, bound)| gone(bound));
        self.bound = kept;
        if out.is_empty() {
            return;
        }
        // First no lcore may enter, then what has entered leaves.
        self.publish();
        for bound in out.into_values() {
            self.held -= bound.waiting.len();
            for held in bound.waiting.into_values() {
                bound.queue.leave();
                self.plane.free(held, end);
            }
        }
    }

    fn publish(&mut self) {
        let queues = self.bound.iter().map(|(&num, bound)| (num, Arc::clone(&bound.queue))).collect();
        self.plane.publish(queues);
    }
}

impl<H> Bound<H> {
    fn set(&mut self, settings: &Settings) {
        let wanted = if settings.copy_range == 0 { LONGEST_COPY } else { settings.copy_range };
        self.settings = Settings { copy_range: wanted.min(LONGEST_COPY), ..*settings };
        self.queue.copy_mode.store(self.settings.copy_mode as u8, Relaxed);
        self.queue.copy_range.store(self.settings.copy_range, Relaxed);
        self.queue.maxlen.store(settings.maxlen, Relaxed);
        self.queue.fail_open.store(settings.fail_open, Relaxed);
    }

    /// The number a listener's 32 bits stand for: the one nearest to the last that was given out.
    fn number(&self, id: u32) -> u64 {
        let last = self.queue.queued.load(Relaxed);
        let distance = id.wrapping_sub(last as u32) as i32;
        last.saturating_add_signed(distance.into())
    }

    fn stats(&self) -> QueueStats {
        let queue = &self.queue;
        QueueStats {
            queue: queue.num,
            copy_mode: self.settings.copy_mode,
            fail_open: self.settings.fail_open,
            peer: queue.peer.load(Relaxed),
            waiting: queue.waiting.load(Relaxed),
            copy_range: self.settings.copy_range,
            maxlen: self.settings.maxlen,
            id_sequence: queue.queued.load(Relaxed) as u32,
            dropped: queue.dropped.load(Relaxed),
            user_dropped: queue.user_dropped.load(Relaxed),
        }
    }
}

fn not_bound(queue: u16) -> Refused {
    let text = format!("queue {queue} is not bound by this connection");
    Refused { errno: Errno::ENOENT, queue, id: 0, text }
}
