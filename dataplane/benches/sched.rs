//! What a packet costs that goes through an htb: in and out, by the number of classes and by what they do.
//! `cargo bench -p skiff-dataplane --bench sched [-- none-waits]`
//!
//! Either every leaf always has packets, and what comes out goes in again; or none waits longer than its burst, and each
//! finds its leaf empty. The clock is a virtual one, that passes as fast as packets go at the rate of the tree. Cycles are
//! those of the TSC: the best and the median of many short runs.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;

use skiff_dataplane::core::drop_reason::DropReason;
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::random::Rng;
use skiff_dataplane::sched::cells::{ClassCells, HtbCells, QdiscCells, Special};
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::htb::Htb;
use skiff_dataplane::sched::htb::params::{DEFAULT_MTU, default_burst};
use skiff_dataplane::sched::op::QdiscOp;
use skiff_dataplane::sched::packet::{PktList, SchedPkt};
use skiff_dataplane::sched::params::{DEFAULT_PRIOMAP, HtbClassParams, HtbParams, LinkLayer, PrioParams};
use skiff_dataplane::sched::prio::Prio;
use skiff_dataplane::sched::qdisc::{Classified, Classify, Qdisc, SchedCx, Sink};
use skiff_dataplane::sched::queue::PktSlab;
use skiff_dataplane::skb::{Skb, SkbExt};
use skiff_dataplane::time::Instant;
use skiff_pmd::{Eal, EalConfig, Hugepages, Pool, PoolConfig, rdtsc};

const LEN: u32 = 64;
/// Nanoseconds a packet takes: 10 million a second.
const GAP: u64 = 100;
/// Bytes a second.
const RATE: u64 = LEN as u64 * 1_000_000_000 / GAP;
/// So much that no class comes near it.
const AMPLE: u64 = RATE * 100;
const BURST: usize = 32;
/// Bursts a run has.
const BURSTS: usize = 50;
const RUNS: usize = 2000;
/// Packets that wait in each leaf.
const BACKLOG: usize = 2;

fn main() {
    let pool = pool();
    let waits = std::env::args().all(|arg| arg != "none-waits");
    if waits {
        with_backlog(&pool);
    }
    println!("Packets in mbufs, none waits");
    let pkts = || std::iter::repeat_with(|| packet(&pool)).take(BURST).collect();
    none_waits("48 leaves, within their rates", &mut sized(1, 48, 6, Busy::Own, AMPLE), pkts());
    none_waits("48 leaves, that borrow", &mut sized(1, 48, 6, Busy::Debt, AMPLE), pkts());
    none_waits("10,000 leaves", &mut sized(1, 10_000, 100, Busy::Own, AMPLE), pkts());
    none_waits("100,000 leaves, prio over two", &mut two_bands(50_000, 500), pkts());
}

fn with_backlog(pool: &Pool) {
    println!("Values");
    all(|priority| Pkt { priority, len: LEN });
    println!("Packets in mbufs");
    all(|priority| {
        let mut skb = packet(pool);
        skb.fields_mut().priority = priority.get();
        skb
    });
}

fn packet(pool: &Pool) -> Skb {
    let mut skb = pool.alloc().expect("enough packets");
    skb.prepend(LEN as usize).expect("headroom");
    skb
}

fn all<P: SchedPkt>(make: impl Fn(NonZeroU32) -> P) {
    for busy in [Busy::Own, Busy::AtRate, Busy::Borrows] {
        println!(" {busy:?}");
        measure("48 leaves, 3 levels", &mut htb(1, 48, 8, busy), &make);
        measure("10,000 leaves, 3 levels", &mut htb(1, 10_000, 100, busy), &make);
        measure("100,000 leaves, two below one", &mut pair(50_000, 100, busy), &make);
    }
}

/// Of the packets that the largest tree holds.
fn pool() -> Pool {
    let eal = Eal::init(EalConfig {
        program: "sched".into(),
        memory_mib: 256,
        hugepages: Hugepages::Off,
        ..EalConfig::default()
    });
    let eal = eal.expect("memory");
    let mbufs = 100_000 * BACKLOG as u32 + 1000;
    let config = PoolConfig { name: "sched", mbufs, cache: 32, data_room: 64, socket: None };
    Pool::create(&eal, &config).expect("memory")
}

/// What the leaves do.
#[derive(Clone, Copy, Debug)]
enum Busy {
    /// Each has more than it gets of the link: only turns.
    Own,
    /// The link has a little more than all of them together: each waits for its tokens.
    AtRate,
    /// Each has a hundredth of that, and borrows the rest.
    Borrows,
    /// Each has next to nothing, and borrows all.
    Debt,
}

fn class(rate: u64, ceil: u64) -> HtbClassParams {
    HtbClassParams {
        rate,
        ceil,
        burst: default_burst(rate, DEFAULT_MTU),
        cburst: default_burst(ceil, DEFAULT_MTU),
        prio: 0,
        quantum: LEN,
        rate_layer: LinkLayer::default(),
        ceil_layer: LinkLayer::default(),
    }
}

struct Tree<P: SchedPkt> {
    qdisc: Box<dyn Qdisc<P>>,
    /// The priorities that name the leaves.
    leaves: Vec<NonZeroU32>,
}

fn bare<P: SchedPkt>(major: u16) -> Htb<P> {
    let cells = QdiscCells { special: Special::Htb(HtbCells::default()), ..QdiscCells::default() };
    let params = HtbParams { default: 0, r2q: 10, direct_qlen: 1000, hysteresis: false };
    Htb::new(TcHandle::new(major, 0), params, Arc::new(cells))
}

fn htb<P: SchedPkt>(major: u16, leaves: u16, inners: u16, busy: Busy) -> Tree<P> {
    sized(major, leaves, inners, busy, RATE)
}

/// A root, inner classes, leaves.
fn sized<P: SchedPkt>(major: u16, leaves: u16, inners: u16, busy: Busy, rate: u64) -> Tree<P> {
    let mut htb = bare(major);
    let id = |minor| TcHandle::new(major, minor);
    let mut add = |class, parent, params| {
        let op =
            QdiscOp::ClassAdd { class, parent, params, limit: 1000, cells: Arc::new(ClassCells::default()) };
        with_cx(|cx| htb.apply(cx, op));
    };
    // The rates of classes with children do not matter to leaves that have their own.
    let total = match busy {
        Busy::Own => rate * 2,
        Busy::AtRate => rate * 95 / 100,
        Busy::Borrows | Busy::Debt => rate,
    };
    add(id(1), id(0), class(total, total));
    for inner in 0..inners {
        add(id(2 + inner), id(1), class(total / u64::from(inners), total));
    }
    let share = total / u64::from(leaves);
    let first = 2 + inners;
    for leaf in 0..leaves {
        let own = match busy {
            Busy::Own | Busy::AtRate => share,
            Busy::Borrows => share / 100,
            Busy::Debt => 1,
        };
        let ceil = if matches!(busy, Busy::AtRate) { own } else { total };
        let mut params = class(own.max(1), ceil);
        if matches!(busy, Busy::AtRate) {
            params.burst = u64::from(LEN);
        }
        if rate == AMPLE {
            params.quantum = 1514;
        }
        add(id(first + leaf), id(2 + leaf % inners), params);
    }
    let leaves = (first..first + leaves).filter_map(|leaf| NonZeroU32::new(id(leaf).0)).collect();
    Tree { qdisc: Box::new(htb), leaves }
}

/// Two trees of so many leaves below one with two classes, and a filter that tells them by the major number.
fn pair<P: SchedPkt>(leaves: u16, inners: u16, busy: Busy) -> Tree<P> {
    let mut top = bare(1);
    let mut all = Vec::new();
    for major in [2, 3] {
        let name = TcHandle::new(1, major);
        let below = sized(major, leaves, inners, busy, RATE / 2);
        let cells = Arc::new(ClassCells::default());
        let op = QdiscOp::ClassAdd {
            class: name,
            parent: TcHandle::new(1, 0),
            params: class(RATE, RATE),
            limit: 1000,
            cells,
        };
        with_cx(|cx| top.apply(cx, op));
        with_cx(|cx| top.apply(cx, QdiscOp::Graft(name, Some(below.qdisc))));
        all.extend(below.leaves);
    }
    with_cx(|cx| top.apply(cx, QdiscOp::Filters(TcHandle::new(1, 0), Some(Arc::new(ByMajor)))));
    Tree { qdisc: Box::new(top), leaves: all }
}

/// A prio with a tree in each of two bands.
fn two_bands(leaves: u16, inners: u16) -> Tree<Skb> {
    let params = PrioParams { bands: 2, priomap: DEFAULT_PRIOMAP.map(|band| band.min(1)), limit: 1000 };
    let mut top = Prio::new(TcHandle::new(1, 0), &params, Arc::default());
    let mut all = Vec::new();
    for band in [1, 2] {
        let below = sized(band + 1, leaves, inners, Busy::Own, AMPLE);
        with_cx(|cx| top.apply(cx, QdiscOp::Graft(TcHandle::new(1, band), Some(below.qdisc))));
        all.extend(below.leaves);
    }
    Tree { qdisc: Box::new(top), leaves: all }
}

/// The class, or the band before the tree, of a packet whose priority is that of no class but says which is meant.
#[derive(Debug)]
struct Named {
    band: bool,
}

/// What makes the name of a class one of none.
const VEIL: u32 = 1 << 31;

impl Classify<Skb> for Named {
    fn classify(&self, _: &mut SchedCx<'_, Skb>, pkt: Skb) -> Classified<Skb> {
        let class = TcHandle(pkt.priority() ^ VEIL);
        let class = if self.band { TcHandle::new(1, class.major() - 1) } else { class };
        Classified::Class(pkt, class)
    }
}

/// Bursts of packets for leaves by chance; all leave before the next come.
fn none_waits(name: &str, tree: &mut Tree<Skb>, pkts: Vec<Skb>) {
    let (mut slab, mut rng, mut sink) = (PktSlab::new(300_000), Rng::new(7), Nobody);
    let mut list: PktList<Skb> = pkts.into_iter().collect();
    let majors = [1, 2, 3].map(|major| TcHandle::new(major, 0));
    let bands = tree.leaves.iter().any(|leaf| TcHandle(leaf.get()).major() > 1);
    for at in majors {
        let named = Arc::new(Named { band: bands && at.major() == 1 });
        let op = QdiscOp::Filters(at, Some(named));
        match tree
            .qdisc
            .child(TcHandle::new(1, at.major().wrapping_sub(1)))
            .filter(|_| bands && at.major() > 1)
        {
            Some(below) => with_cx(|cx| below.apply(cx, op)),
            None => with_cx(|cx| tree.qdisc.apply(cx, op)),
        };
    }
    let (mut out, mut into, mut now) = (Vec::new(), Vec::new(), 1_000_000_000);
    for run in 0..RUNS + RUNS / 5 {
        let (mut cycles_out, mut cycles_in) = (0, 0);
        for _ in 0..BURSTS {
            for pkt in &mut list {
                let leaf = tree.leaves[rng.word() as usize % tree.leaves.len()];
                pkt.fields_mut().priority = leaf.get() ^ VEIL;
            }
            let mut cx = SchedCx::new(Instant::from_nanos(now), &mut slab, &mut rng, &mut sink);
            let start = rdtsc();
            tree.qdisc.enqueue_list(&mut cx, &mut list);
            let queued = rdtsc();
            tree.qdisc.dequeue_list(&mut cx, BURST, &mut list);
            (cycles_in, cycles_out) = (cycles_in + queued - start, cycles_out + rdtsc() - queued);
            assert_eq!(list.len(), BURST);
            now += BURST as u64 * GAP;
        }
        if run >= RUNS / 5 {
            out.push(cycles_out as f64 / (BURST * BURSTS) as f64);
            into.push(cycles_in as f64 / (BURST * BURSTS) as f64);
        }
    }
    print_costs(name, out, into);
}

#[derive(Debug)]
struct ByMajor;

impl<P: SchedPkt> Classify<P> for ByMajor {
    fn classify(&self, _: &mut SchedCx<'_, P>, pkt: P) -> Classified<P> {
        let class = TcHandle::new(1, TcHandle(pkt.priority()).major());
        Classified::Class(pkt, class)
    }
}

fn measure<P: SchedPkt>(name: &str, tree: &mut Tree<P>, make: impl Fn(NonZeroU32) -> P) {
    let mut slab = PktSlab::new(tree.leaves.len() * BACKLOG + 1000);
    let (mut rng, mut sink) = (Rng::new(7), Nobody);
    let mut now = 1_000_000_000;
    let mut order: Vec<NonZeroU32> = (0..BACKLOG).flat_map(|_| tree.leaves.iter().copied()).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, rng.word() as usize % (i + 1));
    }
    let mut list = PktList::new();
    for burst in order.chunks(BURST) {
        list.extend(burst.iter().map(|&leaf| make(leaf)));
        let mut cx = SchedCx::new(Instant::from_nanos(now), &mut slab, &mut rng, &mut sink);
        tree.qdisc.enqueue_list(&mut cx, &mut list);
    }
    let (mut out, mut into, mut idle) = (Vec::new(), Vec::new(), 0);
    let warm = order.len() / BURST / BURSTS + 2;
    for run in 0..warm + RUNS {
        let (mut cycles_out, mut cycles_in, mut packets) = (0, 0, 0);
        for _ in 0..BURSTS {
            let mut cx = SchedCx::new(Instant::from_nanos(now), &mut slab, &mut rng, &mut sink);
            let start = rdtsc();
            tree.qdisc.dequeue_list(&mut cx, BURST, &mut list);
            cycles_out += rdtsc() - start;
            packets += list.len() as u64;
            idle += usize::from(list.len() < BURST);
            // Whoever brings packets has looked at them.
            list.iter().for_each(|pkt| {
                black_box(pkt.priority());
            });
            let start = rdtsc();
            tree.qdisc.enqueue_list(&mut cx, &mut list);
            cycles_in += rdtsc() - start;
            now += BURST as u64 * GAP;
        }
        if run >= warm {
            out.push(cycles_out as f64 / packets as f64);
            into.push(cycles_in as f64 / packets as f64);
        }
    }
    assert_eq!(tree.qdisc.held().packets, order.len() as u64);
    let idle = idle * 100 / ((warm + RUNS) * BURSTS);
    println!("  {name}: {idle} % of bursts not full");
    print_costs(name, out, into);
}

fn print_costs(name: &str, mut out: Vec<f64>, mut into: Vec<f64>) {
    let mut both: Vec<f64> = out.iter().zip(&into).map(|(out, into)| out + into).collect();
    let median = |of: &mut Vec<f64>| {
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    let (out, into, middle) = (median(&mut out), median(&mut into), median(&mut both));
    let best = both[0];
    println!("  {name}: {middle:.0} cycles a packet (in {into:.0}, out {out:.0}; best {best:.0})");
}

/// As large as a packet's pointer, and its place in a queue as large as that.
#[derive(Clone, Copy, Debug)]
struct Pkt {
    priority: NonZeroU32,
    len: u32,
}

impl SchedPkt for Pkt {
    fn qdisc_len(&self) -> u32 {
        self.len
    }

    fn priority(&self) -> u32 {
        self.priority.get()
    }

    fn set_ce(&mut self) -> bool {
        false
    }
}

struct Nobody;

impl<P: SchedPkt> Sink<P> for Nobody {
    fn drop(&mut self, _: P, reason: DropReason) {
        panic!("dropped for {reason:?}");
    }

    fn redirect(&mut self, _: P, _: IfIndex, _: bool) {}
}

fn with_cx<P: SchedPkt, R>(work: impl FnOnce(&mut SchedCx<'_, P>) -> R) -> R {
    let (mut slab, mut rng) = (PktSlab::new(0), Rng::new(1));
    work(&mut SchedCx::new(Instant::from_secs(1), &mut slab, &mut rng, &mut Nobody))
}
