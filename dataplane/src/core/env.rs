//! What every stage is given: the world as it stands for this burst, and the lcore's own hands.

use skiff_pmd::Pool;
use skiff_pmd::rdtsc;

use super::bond_xmit::BondTurns;
use super::capture::{Direction, tap_freed};
use super::counters::LcoreCells;
use super::drop_reason::{DropReason, Node};
use super::shared::Shared;
use super::snapshot::Snapshot;
use super::trace::Step;
use super::xmit::TxTable;
use crate::ipv4::ip_frag::FragTable;
use crate::random::Rng;
use crate::sched::tree::SchedTable;
use crate::skb::{Skb, SkbList};
use crate::time::Instant;

/// The world for the length of one burst; nothing in it changes under a stage's feet.
#[derive(Clone, Copy, Debug)]
pub struct Env<'a> {
    /// Configuration.
    pub snap: &'a Snapshot,
    /// Tables and queues.
    pub shared: &'a Shared,
    /// This lcore's counters.
    pub cells: &'a LcoreCells,
    /// When the burst was received.
    pub now: Instant,
    /// The same, as neighbour entries note their use ([`crate::neigh::table::coarse`]).
    pub now_coarse: u32,
}

impl Env<'_> {
    /// Milliseconds since 1970-01-01 UTC.
    pub fn wall_millis(&self) -> u64 {
        self.shared.wall_origin_millis + self.now.as_millis()
    }

    /// Nanoseconds since 1970-01-01 UTC.
    pub fn unix_nanos(&self) -> u64 {
        self.shared.wall_origin_millis.saturating_mul(1_000_000).saturating_add(self.now.as_nanos())
    }

    /// Whether a capture wants packets of this direction.
    #[inline]
    pub(crate) fn taps(&self, direction: Direction) -> bool {
        self.snap.taps(direction)
    }

    /// The TSC at the start of a stage, if stages are being timed.
    #[inline]
    pub fn stage_start(&self) -> u64 {
        if self.snap.stage_timing { rdtsc() } else { 0 }
    }

    /// Counts a burst of `packets` through `node`, and its cycles if stages are being timed.
    #[inline]
    pub fn stage_end(&self, node: Node, packets: u64, started: u64) {
        let cells = self.cells.node(node);
        cells.packets.add(packets);
        cells.batches.add(1);
        if started != 0 {
            cells.cycles.add(rdtsc().wrapping_sub(started));
        }
    }

    /// Frees a packet, saying where and why.
    #[cold]
    pub fn kfree_skb(&self, skb: Skb, node: Node, reason: DropReason) {
        self.trace(&skb, || Step::Dropped { node, reason });
        self.count_lost(&skb, node, reason);
    }

    /// Counts a copy of `skb` that there should have been as freed.
    #[cold]
    pub(crate) fn count_lost(&self, skb: &Skb, node: Node, reason: DropReason) {
        self.cells.count_drop(node, reason, 1, skb.len() as u64);
        self.tap_freed(std::slice::from_ref(skb), node, reason);
    }

    /// Shows packets to the captures that are being freed.
    pub(crate) fn tap_freed(&self, packets: &[Skb], node: Node, reason: DropReason) {
        if self.taps(Direction::Drop) {
            tap_freed(self.snap, self.unix_nanos(), packets, node, reason);
        }
    }

    /// Frees all packets of a list for one reason.
    #[cold]
    pub fn kfree_skb_list(&self, list: &mut SkbList, node: Node, reason: DropReason) {
        let bytes = list.iter().map(|skb| skb.len() as u64).sum();
        self.cells.count_drop(node, reason, list.len() as u64, bytes);
        self.trace_list(list, |_| Step::Dropped { node, reason });
        self.tap_freed(list.as_slice(), node, reason);
        list.free_all();
    }

    /// Frees the packets of `list` whose bit in `gone` is set, each for its reason in `reasons`; the others keep their
    /// order.
    #[cold]
    pub fn kfree_marked(
        &self,
        list: &mut SkbList,
        gone: u32,
        node: Node,
        reasons: &[DropReason; SkbList::CAPACITY],
    ) {
        let mut freed = SkbList::new();
        list.extract(gone, &mut freed);
        let marked = reasons.iter().enumerate().filter(|(i, _)| gone >> i & 1 == 1);
        for (skb, (_, reason)) in freed.drain().zip(marked) {
            self.kfree_skb(skb, node, *reason);
        }
    }
}

/// What an lcore owns: transmit queues, a pool for packets of its own, its share of numbers.
#[derive(Debug)]
pub struct Hands {
    /// The ways out.
    pub tx: TxTable,
    /// Where packets of our own come from.
    pub pool: Pool,
    /// Fragments of the sources this lcore owns.
    pub frags: FragTable<Skb>,
    /// Whose turn it is in bonds that send in turn.
    pub bond_turns: BondTurns,
    /// The trees of queueing disciplines this lcore owns.
    pub sched: SchedTable,
    /// How deep it is in packets that actions send from device to device.
    pub(crate) redirects: usize,
    lcore: usize,
    ip_id: u16,
    rng: Rng,
}

impl Hands {
    /// Hands for worker `lcore`.
    pub fn new(lcore: usize, tx: TxTable, pool: Pool, seed: u64) -> Self {
        let seed = (seed ^ (lcore as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1;
        Hands {
            sched: SchedTable::new(pool.clone(), seed),
            redirects: 0,
            tx,
            pool,
            lcore,
            frags: FragTable::default(),
            bond_turns: BondTurns::default(),
            ip_id: seed as u16,
            rng: Rng::from_state(seed),
        }
    }

    /// Number of the worker they belong to.
    #[inline]
    pub fn lcore(&self) -> usize {
        self.lcore
    }

    /// An identification for a packet of our own.
    pub fn next_ip_id(&mut self) -> u16 {
        self.ip_id = self.ip_id.wrapping_add(1);
        self.ip_id
    }

    /// A random word: for spreading, not for secrets.
    pub fn random(&mut self) -> u32 {
        self.rng.word()
    }
}
