//! What lcores and the control thread share: tables, counters, and the two queues between them.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use arc_swap::ArcSwap;
use crossbeam_queue::ArrayQueue;

use super::counters::{LcoreCells, Ledger};
use super::qsbr::Qsbr;
use super::snapshot::Snapshot;
use crate::fib::Fib;
use crate::fib::next_hop::NextHopTable;
use crate::ipv4::icmp_limit::IcmpLimiter;
use crate::ipv4::redirect_limit::RedirectLimiter;
use crate::neigh::arp::ArpFrame;
use crate::neigh::arp_rcv::Learn;
use crate::neigh::table::{NeighId, NeighTable};
use crate::net::IfIndex;
use crate::skb::Skb;

/// Messages that may wait for the control thread. Beyond them packets are dropped as `punt_full`.
const TO_CONTROL: usize = 4096;
/// Messages that may wait for one lcore.
const TO_LCORE: usize = 4096;

/// What an lcore asks of the control thread.
#[derive(Debug)]
pub enum ToControl {
    /// Find the neighbour and send the packet to it; the packet's Ethernet header is still unwritten.
    Resolve {
        /// Device the neighbour is on.
        dev: IfIndex,
        /// Its address, host byte order.
        addr: u32,
        /// The packet that waits.
        skb: Skb,
    },
    /// A stale neighbour entry was used.
    NeighUsed(NeighId),
    /// Somebody said where they are.
    Arp {
        /// Device the packet came in by.
        dev: IfIndex,
        /// Who, and how it was said.
        learn: Learn,
    },
    /// Answer for somebody behind us after a random delay.
    ArpProxy {
        /// Device the request came in by.
        dev: IfIndex,
        /// The answer.
        frame: ArpFrame,
    },
}

/// What the control thread asks of an lcore.
#[derive(Debug)]
pub enum ToLcore {
    /// Send this frame by the device in its `oif` field.
    Xmit(Skb),
    /// The neighbour this packet waited for did not answer.
    NeighFailed(Skb),
}

/// Whether lcores poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RunState {
    /// Receive, process, send.
    Running = 0,
    /// Take nothing more from the ports; send what is under way.
    Draining = 1,
    /// Leave the loop.
    Stopped = 2,
}

/// The state every thread of the router holds on to.
#[derive(Debug)]
pub struct Shared {
    /// The forwarding table.
    pub fib: Arc<Fib>,
    /// What its numbers mean.
    pub next_hops: Arc<NextHopTable>,
    /// Who is where.
    pub neigh: Arc<NeighTable>,
    /// How many errors we may send.
    pub icmp_limit: IcmpLimiter,
    /// How many redirects we may send.
    pub redirect_limit: RedirectLimiter,
    /// Which lcores have let go of what.
    pub qsbr: Arc<Qsbr>,
    /// Milliseconds from 1970-01-01 UTC to the origin of [`crate::time::Instant`].
    pub wall_origin_millis: u64,
    snapshot: ArcSwap<Snapshot>,
    generation: AtomicU64,
    cells: Box<[LcoreCells]>,
    to_control: ArrayQueue<ToControl>,
    to_lcore: Box<[ArrayQueue<ToLcore>]>,
    control: OnceLock<Thread>,
    control_asleep: AtomicBool,
    run: AtomicU8,
    control_queue_failures: AtomicU64,
}

impl Shared {
    /// State for `lcores` workers and one control thread, starting from `snapshot`.
    pub fn new(
        lcores: usize,
        snapshot: Snapshot,
        qsbr: Arc<Qsbr>,
        fib: Arc<Fib>,
        neigh: Arc<NeighTable>,
        wall_origin_millis: u64,
    ) -> Self {
        Shared {
            fib,
            next_hops: Arc::default(),
            neigh,
            icmp_limit: IcmpLimiter::new(),
            redirect_limit: RedirectLimiter::default(),
            qsbr,
            wall_origin_millis,
            generation: AtomicU64::new(snapshot.generation),
            snapshot: ArcSwap::from_pointee(snapshot),
            cells: (0..=lcores).map(|_| LcoreCells::default()).collect(),
            to_control: ArrayQueue::new(TO_CONTROL),
            to_lcore: (0..lcores).map(|_| ArrayQueue::new(TO_LCORE)).collect(),
            control: OnceLock::new(),
            control_asleep: AtomicBool::new(false),
            run: AtomicU8::new(RunState::Running as u8),
            control_queue_failures: AtomicU64::new(0),
        }
    }

    /// Number of worker lcores.
    pub fn lcores(&self) -> usize {
        self.to_lcore.len()
    }

    /// The counters of worker `lcore`.
    pub fn cells(&self, lcore: usize) -> &LcoreCells {
        &self.cells[lcore]
    }

    /// The counters of the control thread.
    pub fn control_cells(&self) -> &LcoreCells {
        &self.cells[self.lcores()]
    }

    /// The counters of everybody, the control thread last.
    pub fn all_cells(&self) -> &[LcoreCells] {
        &self.cells
    }

    /// The conservation law summed over all threads.
    pub fn ledger(&self) -> Ledger {
        let mut sum = Ledger::default();
        self.cells.iter().for_each(|c| sum += c.ledger());
        sum
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Number of the newest snapshot: what an lcore compares between bursts.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Makes `snapshot` the newest one and returns the one before. The caller keeps that until every lcore has been
    /// quiescent, so that no lcore ever frees it.
    pub fn publish(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let generation = snapshot.generation;
        let old = self.snapshot.swap(Arc::new(snapshot));
        self.generation.store(generation, Ordering::Release);
        old
    }

    /// Hands a message to the control thread and wakes it if it sleeps.
    ///
    /// # Errors
    /// The message, if the queue is full.
    pub fn send_to_control(&self, message: ToControl) -> Result<(), ToControl> {
        let result = self.to_control.push(message);
        if result.is_err() {
            self.control_queue_failures.fetch_add(1, Ordering::Relaxed);
        }
        // One unpark per sleep of the control thread, however many messages come: the flag is cleared by the first.
        if self.control_asleep.load(Ordering::SeqCst)
            && self.control_asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.control.get()
        {
            thread.unpark();
        }
        result
    }

    /// The next message for the control thread.
    pub fn receive_control(&self) -> Option<ToControl> {
        self.to_control.pop()
    }

    /// Makes the calling thread the control thread. Only the first call counts.
    pub fn adopt_control_thread(&self) {
        let _ = self.control.set(std::thread::current());
    }

    /// Sleeps on the control thread until a message comes or `timeout` is over.
    pub fn park_control(&self, timeout: std::time::Duration) {
        self.control_asleep.store(true, Ordering::SeqCst);
        // A message pushed before the flag was up did not wake us: look once more.
        if self.to_control.is_empty() {
            std::thread::park_timeout(timeout);
        }
        self.control_asleep.store(false, Ordering::SeqCst);
    }

    /// Messages waiting for the control thread, the room for them, and how many were refused.
    pub fn control_queue(&self) -> (usize, usize, u64) {
        (self.to_control.len(), TO_CONTROL, self.control_queue_failures.load(Ordering::Relaxed))
    }

    /// Hands a message to worker `lcore`.
    ///
    /// # Errors
    /// The message, if the queue is full.
    pub fn send_to_lcore(&self, lcore: usize, message: ToLcore) -> Result<(), ToLcore> {
        self.to_lcore[lcore].push(message)
    }

    /// The next message for worker `lcore`.
    #[inline]
    pub fn receive_lcore(&self, lcore: usize) -> Option<ToLcore> {
        let queue = &self.to_lcore[lcore];
        if queue.is_empty() { None } else { queue.pop() }
    }

    /// What the lcores are to do.
    #[inline]
    pub fn run_state(&self) -> RunState {
        match self.run.load(Ordering::Relaxed) {
            0 => RunState::Running,
            1 => RunState::Draining,
            _ => RunState::Stopped,
        }
    }

    /// Tells the lcores what to do.
    pub fn set_run_state(&self, state: RunState) {
        self.run.store(state as u8, Ordering::Relaxed);
    }
}
