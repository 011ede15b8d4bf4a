//! The lcore's main loop, in the manner of NAPI: poll the receive queues in turn with a budget of one burst each, run
//! every packet's journey to its end, send what gathered, and sleep when there is nothing to do.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use skiff_pmd::{
    EpollSet, Ring, RxQueue, pin_current_thread, rdtsc, register_thread, set_timer_slack_ns, tsc_hz,
};

use super::capture::{self, Direction};
use super::counters::LcoreCells;
use super::dev::netif_receive_skb_list;
use super::drop_reason::{DropReason, Node};
use super::env::{Env, Hands};
use super::shared::{RunState, Shared, ToLcore};
use super::snapshot::Snapshot;
use super::trace;
use super::xmit;
use crate::ipv4::icmp::ipv4_send_dest_unreach;
use crate::ipv4::ip_frag;
use crate::ipv4::ipmr;
use crate::neigh::table::coarse;
use crate::netfilter::queue::nf_reinject;
use crate::sched::run::qdisc_run_all;
use crate::sched::tree::change_tree;
use crate::skb::SkbList;
use crate::time::Instant;

/// Turns of the main loop of which one is measured, and in which the receive rings are looked into once.
pub const TURNS_A_SAMPLE: u32 = 256;
/// Messages from the control thread an lcore takes in one round.
const MESSAGES_A_ROUND: usize = 32;
/// How long an lcore polls empty queues before it first sleeps.
const SPIN_BEFORE_SLEEP: Duration = Duration::from_micros(100);
/// A sleep lasts this part of the time the lcore has been idle: what comes at intervals waits for a small part of one.
const SLEEP_SHARE: u32 = 64;
/// Shortest sleep worth the switch.
const SHORTEST_SLEEP: Duration = Duration::from_micros(10);
/// Longest sleep where no interrupt ends it: bounds the delay of a first packet after a pause.
const LONGEST_SLEEP: Duration = Duration::from_micros(500);
/// Shortest sleep for which arming interrupts pays.
const SHORTEST_INTERRUPT_SLEEP: Duration = Duration::from_micros(500);
/// Longest sleep where receive interrupts end it.
const LONGEST_INTERRUPT_SLEEP: Duration = Duration::from_millis(10);

/// What an lcore does when its queues are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Poll on.
    Poll,
    /// Poll for a while, then sleep a little longer each time; with receive interrupts where every queue has them.
    Adaptive,
}

/// The TSC as [`Instant`].
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: u64,
    /// Nanoseconds per cycle, times 2^32.
    scale: u64,
}

impl Clock {
    /// A clock that reads zero at TSC value `origin`.
    pub fn new(origin: u64) -> Self {
        let scale = (1_000_000_000u128 << 32) / u128::from(tsc_hz().max(1));
        Clock { origin, scale: scale as u64 }
    }

    /// The instant of a TSC value.
    #[inline]
    pub fn at(&self, tsc: u64) -> Instant {
        let cycles = tsc.saturating_sub(self.origin);
        Instant::from_nanos(((u128::from(cycles) * u128::from(self.scale)) >> 32) as u64)
    }

    /// Now.
    #[inline]
    pub fn now(&self) -> Instant {
        self.at(rdtsc())
    }
}

/// Everything one lcore owns.
#[derive(Debug)]
pub struct Worker {
    /// Number among the workers.
    pub id: usize,
    /// CPU to run on; `None` leaves the thread where the scheduler puts it.
    pub cpu: Option<u16>,
    /// State shared with everybody.
    pub shared: Arc<Shared>,
    /// Receive queues it polls.
    pub rx: Vec<RxQueue>,
    /// Rings by which other lcores hand it packets for the transmit queues it owns.
    pub handoff: Vec<Arc<Ring>>,
    /// Transmit queues and pool.
    pub hands: Hands,
    /// What it does when there is nothing to do.
    pub idle: Idle,
    /// The common clock.
    pub clock: Clock,
}

impl Worker {
    /// Starts the loop on a thread of its own. The thread gives the worker back when the run state becomes
    /// [`RunState::Stopped`].
    ///
    /// # Errors
    /// The thread could not be created, pinned or registered.
    pub fn spawn(self) -> std::io::Result<JoinHandle<Worker>> {
        let (tell, told) = std::sync::mpsc::channel();
        let handle = thread::Builder::new().name(format!("skiff-lcore{}", self.id)).spawn(move || {
            let mut worker = self;
            let ready = worker.cpu.map_or(Ok(()), pin_current_thread).and_then(|()| register_thread());
            match ready {
                Ok(_registration) => {
                    let _ = tell.send(None);
                    worker.run();
                }
                Err(error) => {
                    let _ = tell.send(Some(error.to_string()));
                }
            }
            worker
        })?;
        match told.recv() {
            Ok(Some(error)) => Err(std::io::Error::other(error)),
            _ => Ok(handle),
        }
    }

    /// The loop. Returns when the run state becomes [`RunState::Stopped`].
    pub fn run(&mut self) {
        self.run_while(|_| true);
    }

    /// The loop, for as long as `more` says so of the TSC at the start of a round, or until
    /// [`RunState::Stopped`]. For benchmarks, which are to measure the loop itself.
    pub fn run_while(&mut self, mut more: impl FnMut(u64) -> bool) {
        let shared = Arc::clone(&self.shared);
        let cells = shared.cells(self.id);
        let mut sleeper = Sleeper::new(self.idle, &self.rx);
        shared.qsbr.online(self.id);
        let mut snap = shared.snapshot();
        let mut turn = 0u32;
        loop {
            let mut start = rdtsc();
            shared.qsbr.quiescent(self.id);
            cells.last_quiescent_tsc.set(start);
            if shared.generation() != snap.generation {
                snap = shared.snapshot();
                let picked_up = rdtsc();
                cells.control_cycles.add(picked_up - start);
                start = picked_up;
            }
            let state = shared.run_state();
            if state == RunState::Stopped || !more(start) {
                break;
            }
            turn = turn.wrapping_add(1);
            let sample = turn.is_multiple_of(TURNS_A_SAMPLE);
            if sample {
                self.look_into_rings(cells);
            }
            let moved = self.round(&shared, &snap, cells, start, state);
            let end = rdtsc();
            if sample {
                cells.loops.record(self.clock.at(end).since(self.clock.at(start)).as_nanos() as u64);
            }
            if moved > 0 {
                cells.busy_cycles.add(end - start);
                sleeper.woke();
                continue;
            }
            cells.idle_cycles.add(end - start);
            let due = self.hands.sched.wake().map(|wake| wake.since(self.clock.at(end)));
            if let Some(nap) = sleeper.nap(end, due) {
                shared.qsbr.offline(self.id);
                let interrupted = sleeper.sleep(nap, &mut self.rx);
                shared.qsbr.online(self.id);
                let woke = rdtsc();
                cells.sleep_cycles.add(woke - end);
                cells.interrupt_wakeups.add(u64::from(interrupted));
            }
        }
        if shared.run_state() == RunState::Stopped {
            let now = self.clock.now();
            let env = Env { snap: &snap, shared: &shared, cells, now, now_coarse: coarse(now) };
            ip_frag::purge(&env, &mut self.hands);
            crate::sched::tree::purge(&env, &mut self.hands);
        }
        shared.qsbr.offline(self.id);
    }

    /// Notes how many packets wait to be polled.
    fn look_into_rings(&self, cells: &LcoreCells) {
        for queue in &self.rx {
            if let Some(used) = queue.used_descriptors() {
                cells.rx_queue(queue.port().0, queue.queue()).set_used(used);
            }
        }
    }

    /// One turn over queues and messages. Returns how many packets moved.
    #[inline]
    pub fn round(
        &mut self,
        shared: &Shared,
        snap: &Snapshot,
        cells: &LcoreCells,
        tsc: u64,
        state: RunState,
    ) -> usize {
        let now = self.clock.at(tsc);
        let env = Env { snap, shared, cells, now, now_coarse: coarse(now) };
        let mut moved = 0;
        let mut list = SkbList::new();
        if state == RunState::Running {
            for queue in &mut self.rx {
                moved += poll(&env, &mut self.hands, queue, &mut list);
            }
        }
        moved += serve_control(&env, &mut self.hands, self.id);
        if now >= self.hands.frags.next_deadline() {
            moved += ip_frag::ip_expire(&env, &mut self.hands);
        }
        for ring in &self.handoff {
            moved += ring.dequeue_burst(&mut list);
            xmit::dev_queue_list(&env, &mut self.hands, &mut list);
        }
        if self.hands.sched.wake().is_some_and(|wake| wake <= now) {
            moved += qdisc_run_all(&env, &mut self.hands);
        }
        xmit::flush(&env, &mut self.hands);
        moved
    }
}

/// One burst from one queue, through its whole journey.
#[inline]
fn poll(env: &Env<'_>, hands: &mut Hands, queue: &mut RxQueue, list: &mut SkbList) -> usize {
    let started = env.stage_start();
    let n = queue.rx_burst(list);
    env.cells.polls.add(1);
    if n == 0 {
        env.cells.empty_polls.add(1);
        return 0;
    }
    let port = queue.port().0;
    env.cells.rx.add(n as u64);
    env.cells.count_burst(n);
    env.cells.rx_queue(port, queue.queue()).packets.add(n as u64);
    env.stage_end(Node::Poll, n as u64, started);
    let dev = env.snap.device(env.snap.by_port(port));
    if env.taps(Direction::Rx) {
        capture::tap_rx(env, dev, list);
    }
    if env.snap.hooks.tracing() {
        trace::begin(env, hands.lcore(), (port, queue.queue()), dev, list);
    }
    netif_receive_skb_list(env, hands, dev, list);
    n
}

/// What the control thread asked for.
#[inline]
fn serve_control(env: &Env<'_>, hands: &mut Hands, id: usize) -> usize {
    let mut served = 0;
    while served < MESSAGES_A_ROUND
        && let Some(message) = env.shared.receive_lcore(id)
    {
        match message {
            ToLcore::Xmit(skb) => xmit::dev_queue_xmit(env, hands, skb),
            ToLcore::McLocalOut(skb) => ipmr::ip_mc_local_out(env, hands, skb),
            ToLcore::McResolved(skb) => ipmr::ip_mr_resolved(env, hands, skb),
            ToLcore::NeighFailed(mut skb) => {
                ipv4_send_dest_unreach(env, hands, &mut skb);
                env.kfree_skb(skb, Node::NeighResolve, DropReason::NeighFailed);
            }
            ToLcore::NfReinject(reinject) => nf_reinject(env, hands, reinject),
            ToLcore::ChangeTree(dev, ops) => change_tree(env, hands, dev, ops),
            ToLcore::Fragment(skb, user) => ip_frag::ip_defrag_handed(env, hands, skb, user),
        }
        served += 1;
    }
    served
}

/// Decides when and how long to sleep.
#[derive(Debug)]
struct Sleeper {
    idle: Idle,
    epoll: Option<EpollSet>,
    cycles_per_us: u64,
    spin_cycles: u64,
    idle_since: u64,
}

impl Sleeper {
    fn new(idle: Idle, rx: &[RxQueue]) -> Self {
        if idle == Idle::Adaptive {
            // The kernel rounds sleeps up by the thread's timer slack, 50 us by default.
            set_timer_slack_ns(1_000);
        }
        let interrupts =
            idle == Idle::Adaptive && !rx.is_empty() && rx.iter().all(RxQueue::supports_interrupt);
        let epoll = if interrupts { epoll_over(rx) } else { None };
        let cycles_per_us = (tsc_hz() / 1_000_000).max(1);
        let spin_cycles = cycles_per_us * SPIN_BEFORE_SLEEP.as_micros() as u64;
        Sleeper { idle, epoll, cycles_per_us, spin_cycles, idle_since: 0 }
    }

    #[inline]
    fn woke(&mut self) {
        self.idle_since = 0;
    }

    /// After an empty round that ended at `tsc`: how long to sleep, if at all; no longer than until something is `due`.
    #[inline]
    fn nap(&mut self, tsc: u64, due: Option<Duration>) -> Option<Duration> {
        if self.idle == Idle::Poll {
            return None;
        }
        if self.idle_since == 0 {
            self.idle_since = tsc;
        }
        if tsc - self.idle_since < self.spin_cycles {
            return None;
        }
        let longest = if self.epoll.is_some() { LONGEST_INTERRUPT_SLEEP } else { LONGEST_SLEEP };
        let idle = Duration::from_micros((tsc - self.idle_since) / self.cycles_per_us);
        let nap = (idle / SLEEP_SHARE).clamp(SHORTEST_SLEEP, longest);
        match due {
            Some(due) if due < SHORTEST_SLEEP => None,
            Some(due) => Some(nap.min(due)),
            None => Some(nap),
        }
    }

    /// Sleeps; true if a receive interrupt ended it.
    fn sleep(&mut self, nap: Duration, rx: &mut [RxQueue]) -> bool {
        let Some(epoll) = self.epoll.as_mut().filter(|_| nap >= SHORTEST_INTERRUPT_SLEEP) else {
            thread::sleep(nap);
            return false;
        };
        let armed = rx.iter_mut().all(|queue| queue.enable_interrupt().is_ok());
        // What came after the last poll and before the interrupt was armed raises none.
        let late = rx.iter().any(|queue| queue.used_descriptors().is_some_and(|n| n > 0));
        let woken = if armed && !late { epoll.wait(nap) } else { 0 };
        for queue in rx {
            // A queue that stays armed only wakes us once more than needed.
            let _ = queue.disable_interrupt();
        }
        woken > 0
    }
}

/// An epoll set over all queues; `None` if the driver cannot, and then sleeping stays short.
fn epoll_over(rx: &[RxQueue]) -> Option<EpollSet> {
    let mut epoll = EpollSet::new().ok()?;
    rx.iter().all(|queue| epoll.add(queue).is_ok()).then_some(epoll)
}
