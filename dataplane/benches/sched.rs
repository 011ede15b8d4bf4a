//! What a packet costs that goes through an htb: in and out, by the number of classes and by what they do.
//! `cargo bench -p skiff-dataplane --bench sched`
//!
//! Every leaf always has packets: what comes out goes in again. The clock is a virtual one, that passes as fast as
//! packets go at the rate of the tree. Cycles are those of the TSC: the best and the median of many short runs.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;

use skiff_dataplane::core::drop_reason::DropReason;
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::sched::cells::{ClassCells, HtbCells, QdiscCells, Special};
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::htb::Htb;
use skiff_dataplane::sched::htb::params::{DEFAULT_MTU, default_burst};
use skiff_dataplane::sched::op::QdiscOp;
use skiff_dataplane::sched::packet::{PktList, SchedPkt};
use skiff_dataplane::sched::params::{HtbClassParams, HtbParams, LinkLayer};
use skiff_dataplane::sched::qdisc::{Classified, Classify, Qdisc, Rng, SchedCx, Sink};
use skiff_dataplane::sched::queue::PktSlab;
use skiff_dataplane::skb::SkbExt;
use skiff_dataplane::time::Instant;
use skiff_pmd::{Eal, EalConfig, Hugepages, Pool, PoolConfig, rdtsc};

const LEN: u32 = 64;
/// Nanoseconds a packet takes: 10 million a second.
const GAP: u64 = 100;
/// Bytes a second.
const RATE: u64 = LEN as u64 * 1_000_000_000 / GAP;
const BURST: usize = 32;
/// Bursts a run has.
const BURSTS: usize = 50;
const RUNS: usize = 2000;
/// Packets that wait in each leaf.
const BACKLOG: usize = 2;

fn main() {
    println!("Values");
    all(|priority| Pkt { priority, len: LEN });
    let pool = pool();
    println!("Packets in mbufs");
    all(|priority| {
        let mut skb = pool.alloc().expect("enough packets");
        skb.prepend(LEN as usize).expect("headroom");
        skb.fields_mut().priority = priority.get();
        skb
    });
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
        Busy::Borrows => rate,
    };
    add(id(1), id(0), class(total, total));
    for inner in 0..inners {
        add(id(2 + inner), id(1), class(total / u64::from(inners), total));
    }
    let share = total / u64::from(leaves);
    let first = 2 + inners;
    for leaf in 0..leaves {
        let own = if matches!(busy, Busy::Borrows) { share / 100 } else { share };
        let ceil = if matches!(busy, Busy::AtRate) { own } else { total };
        let mut params = class(own.max(1), ceil);
        if matches!(busy, Busy::AtRate) {
            params.burst = u64::from(LEN);
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
    let mut both: Vec<f64> = out.iter().zip(&into).map(|(out, into)| out + into).collect();
    let median = |of: &mut Vec<f64>| {
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    let (out, into, middle) = (median(&mut out), median(&mut into), median(&mut both));
    println!(
        "  {name}: {middle:.0} cycles a packet (in {into:.0}, out {out:.0}; best {:.0}; {} % of bursts not full)",
        both[0],
        idle * 100 / ((warm + RUNS) * BURSTS),
    );
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
