//! What lcores and the control thread share: tables, counters, and the queues between them.
//!
//! Packets for listeners of QUEUE verdicts have a queue of their own, past the control thread: whoever serves the
//! listeners takes them out on a thread of its own ([`Shared::receive_nf_queued`]).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use arc_swap::ArcSwap;
use crossbeam_queue::ArrayQueue;

use super::counters::{LcoreCells, Ledger};
use super::mailbox::{Mailbox, MailboxStats};
use super::punt::PuntBudget;
use super::qsbr::Qsbr;
use super::snapshot::Snapshot;
use super::trace::TraceLog;
use crate::fib::Fib;
use crate::fib::next_hop::NextHopTable;
use crate::ipv4::icmp_limit::IcmpLimiter;
use crate::ipv4::ip_frag::{DefragUser, FragShared, MOST_HANDED};
use crate::ipv4::martian::{LineLimiter, Martian};
use crate::ipv4::redirect_limit::RedirectLimiter;
use crate::neigh::arp::{ArpFrame, ArpOp};
use crate::neigh::arp_rcv::Learn;
use crate::neigh::table::{NeighId, NeighTable};
use crate::net::{IfIndex, MacAddr};
use crate::netfilter::nf_log::{LogMessage, NfLog};
use crate::netfilter::queue::{NfQueue, Queued, Reinject};
use crate::sched::op::TreeOp;
use crate::skb::Skb;

/// Messages that may wait for the control thread. Beyond them packets are dropped as `punt_full`.
const TO_CONTROL: usize = 4096;
/// Multicast packets without an entry of the forwarding cache that may wait among them.
const UNRESOLVED_TO_CONTROL: u32 = 256;
/// IGMP messages that may wait among them.
const IGMP_TO_CONTROL: u32 = 1024;
/// LACP and marker frames that may wait among them.
const SLOW_TO_CONTROL: u32 = 256;
/// Messages that may wait for one lcore.
const TO_LCORE: usize = 4096;
/// Packets that may be on their way to listeners. Beyond them each counts as lost to a full queue of its own.
const TO_LISTENERS: usize = 4096;

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
    /// An IGMP message; the control thread counts it as delivered and gives a place of the budget back.
    Igmp {
        /// Device the packet came in by.
        dev: IfIndex,
        /// The packet, its IP header checked.
        skb: Skb,
    },
    /// A multicast packet without an entry of the forwarding cache (the kernel's NOCACHE upcall).
    McUnresolved {
        /// Device the packet came in by.
        dev: IfIndex,
        /// The packet.
        skb: Skb,
    },
    /// Multicast came in by another interface than its entry's, and that interface is one the entry sends by (the
    /// kernel's WRONGVIF upcall).
    McWrongVif {
        /// Source of the entry, host byte order; 0 is any.
        source: u32,
        /// Its group.
        group: u32,
        /// Number of the interface it came in by.
        vif: u8,
    },
    /// A packet that cannot be, for the log.
    Martian(Martian),
    /// Answer for somebody behind us after a random delay.
    ArpProxy {
        /// Device the request came in by.
        dev: IfIndex,
        /// The answer.
        frame: ArpFrame,
    },
    /// A LACP or marker frame (IEEE 802.1AX) on a member of an 802.3ad bond; the control thread counts it as delivered
    /// and gives a place of the budget back.
    SlowProtocol {
        /// The member.
        dev: IfIndex,
        /// The frame from its Ethernet header on, of any length.
        skb: Skb,
    },
    /// A member of a bond that watches ARP received some. The packet itself goes its way.
    BondArp {
        /// The member.
        dev: IfIndex,
        /// Request or reply.
        op: ArpOp,
        /// Sender address, host byte order.
        sip: u32,
        /// Target address, host byte order.
        tip: u32,
        /// Sender hardware address.
        sha: MacAddr,
    },
}

/// What the control thread, or another lcore, asks of an lcore.
#[derive(Debug)]
pub enum ToLcore {
    /// Send this frame by the device in its `oif` field.
    Xmit(Skb),
    /// The neighbour this packet waited for did not answer.
    NeighFailed(Skb),
    /// A listener has decided about this packet.
    NfReinject(Reinject),
    /// Send this multicast packet of our own by the device in its `oif` field; its IP header is complete.
    McLocalOut(Skb),
    /// Look this multicast packet up again: its entry has come.
    McResolved(Skb),
    /// Change the queueing disciplines of a device, which this lcore owns.
    ChangeTree(IfIndex, Vec<TreeOp<Skb>>),
    /// A fragment of a source that this lcore owns ([`crate::ipv4::ip_frag`]).
    Fragment(Skb, DefragUser),
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
    /// How many multicast packets without an entry may be on their way to the control thread.
    pub unresolved_budget: PuntBudget,
    /// How many IGMP messages may be on their way to the control thread.
    pub igmp_budget: PuntBudget,
    /// How many LACP and marker frames may be on their way to the control thread.
    pub slow_budget: PuntBudget,
    /// What reassembly holds, and where.
    pub frags: FragShared,
    /// How many lines about odd packets the log may get.
    pub martian_lines: LineLimiter,
    /// What traced packets report.
    pub trace: TraceLog,
    /// Which lcores have let go of what.
    pub qsbr: Arc<Qsbr>,
    /// Milliseconds from 1970-01-01 UTC to the origin of [`crate::time::Instant`].
    pub wall_origin_millis: u64,
    snapshot: ArcSwap<Snapshot>,
    generation: AtomicU64,
    cells: Box<[LcoreCells]>,
    to_control: Mailbox<ToControl>,
    to_lcore: Box<[Mailbox<ToLcore>]>,
    control: OnceLock<Thread>,
    control_asleep: AtomicBool,
    run: AtomicU8,
    nf_queues: ArcSwap<BTreeMap<u16, Arc<NfQueue>>>,
    nf_log: NfLog,
    nf_queued: ArrayQueue<Queued>,
    nf_asleep: AtomicBool,
    nf_wake: OnceLock<Wake>,
}

/// How to wake the thread that serves listeners.
struct Wake(Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wake")
    }
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
            unresolved_budget: PuntBudget::new(UNRESOLVED_TO_CONTROL),
            igmp_budget: PuntBudget::new(IGMP_TO_CONTROL),
            slow_budget: PuntBudget::new(SLOW_TO_CONTROL),
            frags: FragShared::default(),
            martian_lines: LineLimiter::default(),
            trace: TraceLog::default(),
            qsbr,
            wall_origin_millis,
            generation: AtomicU64::new(snapshot.generation),
            snapshot: ArcSwap::from_pointee(snapshot),
            // One for each worker, one for the control thread, one for the thread that serves listeners.
            cells: (0..lcores + 2).map(|_| LcoreCells::default()).collect(),
            to_control: Mailbox::new(TO_CONTROL),
            to_lcore: (0..lcores).map(|_| Mailbox::new(TO_LCORE)).collect(),
            control: OnceLock::new(),
            control_asleep: AtomicBool::new(false),
            run: AtomicU8::new(RunState::Running as u8),
            nf_queues: ArcSwap::default(),
            nf_queued: ArrayQueue::new(TO_LISTENERS),
            nf_asleep: AtomicBool::new(false),
            nf_wake: OnceLock::new(),
            nf_log: NfLog::default(),
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

    /// The counters of the thread that serves the listeners of queues.
    pub fn listener_cells(&self) -> &LcoreCells {
        &self.cells[self.lcores() + 1]
    }

    /// The counters of everybody: workers, control thread, the thread that serves listeners.
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
        self.wake_control();
        result
    }

    /// One unpark per sleep of the control thread, however many messages come: the flag is cleared by the first.
    fn wake_control(&self) {
        if self.control_asleep.load(Ordering::SeqCst)
            && self.control_asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.control.get()
        {
            thread.unpark();
        }
    }

    /// Hands a report about a packet to the control thread, which prints it. A full queue loses it.
    pub fn send_log(&self, message: LogMessage) {
        if self.nf_log.push(message) {
            self.wake_control();
        }
    }

    /// Reports about packets that wait to be printed.
    pub fn nf_log(&self) -> &NfLog {
        &self.nf_log
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
        if self.to_control.is_empty() && self.nf_log.is_empty() {
            std::thread::park_timeout(timeout);
        }
        self.control_asleep.store(false, Ordering::SeqCst);
    }

    /// The queue of messages for the control thread.
    pub fn control_mailbox(&self) -> MailboxStats {
        self.to_control.stats()
    }

    /// The queue of messages for worker `lcore`.
    pub fn lcore_mailbox(&self, lcore: usize) -> MailboxStats {
        self.to_lcore[lcore].stats()
    }

    /// Hands a message to worker `lcore`.
    ///
    /// # Errors
    /// The message, if the queue is full.
    pub fn send_to_lcore(&self, lcore: usize, message: ToLcore) -> Result<(), ToLcore> {
        self.to_lcore[lcore].push(message)
    }

    /// True if no worker has a message to take.
    pub fn lcores_have_taken_all(&self) -> bool {
        self.to_lcore.iter().all(Mailbox::is_empty)
    }

    /// Hands a fragment to worker `lcore`, the owner of its source.
    ///
    /// # Errors
    /// The message, if [`MOST_HANDED`] are waiting.
    pub fn hand_fragment(&self, lcore: usize, skb: Skb, user: DefragUser) -> Result<(), ToLcore> {
        let message = ToLcore::Fragment(skb, user);
        if self.to_lcore[lcore].len() < MOST_HANDED {
            self.send_to_lcore(lcore, message)
        } else {
            Err(message)
        }
    }

    /// The next message for worker `lcore`.
    #[inline]
    pub fn receive_lcore(&self, lcore: usize) -> Option<ToLcore> {
        self.to_lcore[lcore].pop()
    }

    /// The queue of that number, if it has a listener.
    pub fn nf_queue(&self, num: u16) -> Option<Arc<NfQueue>> {
        self.nf_queues.load().get(&num).cloned()
    }

    /// All queues that have a listener.
    pub fn nf_queues(&self) -> Arc<BTreeMap<u16, Arc<NfQueue>>> {
        self.nf_queues.load_full()
    }

    /// Makes these the queues that have a listener.
    pub fn set_nf_queues(&self, queues: BTreeMap<u16, Arc<NfQueue>>) {
        self.nf_queues.store(Arc::new(queues));
    }

    /// Hands a packet to the thread that serves listeners and wakes it if it sleeps.
    ///
    /// # Errors
    /// The packet, if too many are on their way.
    pub fn send_to_listeners(&self, queued: Queued) -> Result<(), Queued> {
        let result = self.nf_queued.push(queued);
        // One wake-up per sleep, however many packets come: the flag is cleared by the first.
        if self.nf_asleep.load(Ordering::SeqCst)
            && self.nf_asleep.swap(false, Ordering::SeqCst)
            && let Some(wake) = self.nf_wake.get()
        {
            (wake.0)();
        }
        result
    }

    /// The next packet for a listener.
    pub fn receive_nf_queued(&self) -> Option<Queued> {
        self.nf_queued.pop()
    }

    /// Says how to wake the thread that serves listeners. Only the first call counts.
    pub fn wake_listeners_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.nf_wake.set(Wake(Box::new(wake)));
    }

    /// Called before the thread that serves listeners sleeps. False if a packet is there: it must not sleep. What
    /// comes after `true` wakes it.
    pub fn listeners_may_sleep(&self) -> bool {
        self.nf_asleep.store(true, Ordering::SeqCst);
        // A packet pushed before the flag was up wakes nobody: look once more.
        let idle = self.nf_queued.is_empty();
        if !idle {
            self.nf_asleep.store(false, Ordering::SeqCst);
        }
        idle
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
