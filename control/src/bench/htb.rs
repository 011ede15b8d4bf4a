//! `skiff bench htb`: what trees of queueing disciplines cost a forwarded packet, beyond sending it at once, and how
//! evenly many classes are served. Costs with and without are measured in turn, many times over, so that what the
//! machine does besides falls on both.
//!
//! Every packet is of a class at random, so that its state is as cold as it is in a router. Filters are left out: the
//! class is computed from the destination.

use std::sync::Arc;
use std::time::{Duration, Instant as WallInstant};

use anyhow::{Context, Result};
use serde::Serialize;
use skiff_dataplane::core::shared::ToLcore;
use skiff_dataplane::core::snapshot::{Snapshot, Sysctl};
use skiff_dataplane::device::{NOQUEUE, NetDevice};
use skiff_dataplane::sched::build::build;
use skiff_dataplane::sched::cells::{ClassCells, QdiscCells};
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::htb::params::{default_burst, default_quantum};
use skiff_dataplane::sched::op::{QdiscOp, TreeOp};
use skiff_dataplane::sched::params::{
    DEFAULT_PRIOMAP, HtbClassParams, HtbParams, LinkLayer, PrioParams, QdiscSpec, RedParams,
};
use skiff_dataplane::sched::qdisc::{Classified, Classify, SchedCx};
use skiff_dataplane::skb::{Skb, SkbExt};
use skiff_pmd::Eal;

use super::forward::{Bench, IN, OUT, port_device, start};
use super::traffic::{ROUTER_MAC, Rng, write_long_pcap};

/// Length of one measurement.
const SLICE: Duration = Duration::from_millis(20);
/// Destinations: this network, as many hosts of it as there are flows.
const NETWORK: u32 = 0x1000_0000;
/// Buffers for at least so many flows.
const FLOWS: usize = 1 << 16;
/// 64 bytes on the wire: 60 and the FCS.
const SHORT: usize = 60;
/// A full Ethernet frame without its FCS.
const LONG: usize = 1514;
/// More than any lcore forwards, bytes a second.
const ENDLESS: u64 = 100_000_000_000 / 8;
const MBIT: u64 = 125_000;
/// Most packets that wait in a leaf.
const LEAF: u32 = 1000;
/// The class 1:1 over all others.
const TOP: u16 = 1;
/// Minor numbers of leaves begin here, below them are inner classes.
const FIRST_LEAF: usize = 0x400;

type Op = TreeOp<Skb>;

/// What one tree costs.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What it is.
    pub tree: &'static str,
    /// Cycles a packet beyond none: half of the rounds were below.
    pub median: f64,
    /// The difference of the best rounds of both.
    pub best: f64,
}

/// What the classes of `--fair` got, Mbit/s.
#[derive(Clone, Debug, Serialize)]
pub struct Fairness {
    /// Classes.
    pub leaves: usize,
    /// How long they were watched.
    pub seconds: f64,
    /// What each was promised.
    pub promised: f64,
    /// The one that got least.
    pub least: f64,
    /// Half of them got less.
    pub median: f64,
    /// The one that got most.
    pub most: f64,
    /// Classes more than 2 % off.
    pub off: usize,
    /// (sum of x)^2 / (n * sum of x^2): 1 if all got the same (Jain, Chiu, Hawe 1984).
    pub jain: f64,
    /// All together, Gbit/s.
    pub total: f64,
}

/// What is measured: its name, and flows of the traffic, some for each class.
const TREES: [(&str, usize); 8] = [
    ("pfifo", 1024),
    ("red", 1024),
    ("htb, 3 levels, 48 leaves within their rates", 1024),
    ("htb, 3 levels, 48 leaves that borrow", 1024),
    ("htb, 3 levels, 48 leaves with pfifo below", 1024),
    ("htb, 3 levels, 48 leaves with red below", 1024),
    ("htb, 3 levels, 10,000 leaves", 1 << 14),
    ("prio over two htb, 100,000 leaves", 1 << 17),
];

/// The tree of this name, or else those with `wanted` in their names.
pub fn trees(wanted: &str) -> Vec<&'static str> {
    let names = TREES.iter().map(|(tree, _)| *tree);
    match names.clone().find(|tree| *tree == wanted) {
        Some(tree) => vec![tree],
        None => names.filter(|tree| tree.contains(wanted)).collect(),
    }
}

fn ops_of(tree: usize) -> Vec<Op> {
    let own = Shape { leaves: 48, inner: 6, rate: ENDLESS / 100, ceil: ENDLESS, limit: LEAF, below: None };
    let pfifo = QdiscSpec::Pfifo { limit: LEAF };
    match tree {
        0 => vec![root(&pfifo)],
        1 => vec![root(&red())],
        2 => htb(1, &own, 0).ops,
        3 => htb(1, &Shape { rate: MBIT / 1000, ..own }, 0).ops,
        4 => htb(1, &Shape { below: Some(pfifo), ..own }, 0).ops,
        5 => htb(1, &Shape { below: Some(red()), ..own }, 0).ops,
        6 => htb(1, &Shape { leaves: 10_000, inner: 100, ..own }, 0).ops,
        _ => two_htb(&Shape { leaves: 50_000, inner: 500, ..own }),
    }
}

/// Measures one tree. EAL starts once in a process, so each has a process of its own.
///
/// # Errors
/// There is no such tree; EAL, the ports or the tables could not be set up.
pub fn run(tree: &str, rounds: u32, cpu: Option<u16>) -> Result<Row> {
    let at = TREES.iter().position(|(name, _)| *name == tree).context("no tree has this name")?;
    let (tree, flows) = TREES[at];
    let (_eal, bench) = forwarding(cpu, flows, SHORT)?;
    let mut lab = Lab { bench };
    lab.bench.forward(Duration::from_millis(50));
    Ok(lab.measure(tree, ops_of(at), rounds))
}

/// Offers far too much to 10,000 classes of 1 Mbit/s on a line of 10 Gbit/s, in frames of 1514 bytes.
///
/// # Errors
/// As [`run`].
pub fn fair(seconds: f64, cpu: Option<u16>) -> Result<Fairness> {
    // All queues full at once must leave the generator packets.
    let shape = Shape { leaves: 10_000, inner: 100, rate: MBIT, ceil: MBIT, limit: 4, below: None };
    let (_eal, bench) = forwarding(cpu, shape.leaves, LONG)?;
    let mut lab = Lab { bench };
    let tree = htb(1, &shape, 0);
    lab.plant(tree.ops);
    lab.shape(true);
    lab.bench.forward(Duration::from_secs(1));
    let bytes = |cells: &[Arc<ClassCells>]| cells.iter().map(|cells| cells.bytes.get()).collect::<Vec<_>>();
    let (before, since) = (bytes(&tree.leaves), WallInstant::now());
    lab.bench.forward(Duration::from_secs_f64(seconds));
    let seconds = since.elapsed().as_secs_f64();
    let got = before.iter().zip(bytes(&tree.leaves)).map(|(before, after)| (after - before) as f64);
    let mut rates: Vec<f64> = got.map(|bytes| bytes * 8e-6 / seconds).collect();
    rates.sort_by(f64::total_cmp);
    let (sum, squares) = rates.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    Ok(Fairness {
        leaves: rates.len(),
        seconds,
        promised: 1.0,
        least: rates[0],
        median: rates[rates.len() / 2],
        most: rates[rates.len() - 1],
        off: rates.iter().filter(|rate| (**rate - 1.0).abs() > 0.02).count(),
        jain: sum * sum / (rates.len() as f64 * squares),
        total: sum / 1e3,
    })
}

/// A router that gets packets of so many flows in random order.
fn forwarding(cpu: Option<u16>, flows: usize, frame: usize) -> Result<(Eal, Bench)> {
    let mut rng = Rng::new(0x5eed_0003);
    let mut destinations: Vec<u32> = (0..flows as u32).map(|i| NETWORK + i).collect();
    for last in (1..flows).rev() {
        destinations.swap(last, rng.below(last + 1));
    }
    let pcap = std::env::temp_dir().join(format!("skiff-bench-{}.pcap", std::process::id()));
    write_long_pcap(&pcap, ROUTER_MAC, &destinations, frame)
        .with_context(|| format!("cannot write {}", pcap.display()))?;
    let started = start(cpu, &pcap, flows.max(FLOWS));
    let _ = std::fs::remove_file(&pcap);
    let (eal, mut bench) = started?;
    bench.load(&["16.0.0.0/8".parse().context("a network")?])?;
    Ok((eal, bench))
}

struct Lab {
    bench: Bench,
}

impl Lab {
    fn measure(&mut self, tree: &'static str, ops: Vec<Op>, rounds: u32) -> Row {
        self.plant(ops);
        let (mut without, mut with, mut more) = (Vec::new(), Vec::new(), Vec::new());
        self.shape(true);
        self.bench.forward(SLICE);
        for _ in 0..rounds {
            self.shape(false);
            let base = self.bench.forward(SLICE);
            self.shape(true);
            let cost = self.bench.forward(SLICE);
            without.push(base);
            with.push(cost);
            more.push(cost - base);
        }
        self.shape(false);
        self.plant(vec![TreeOp::Root(None)]);
        [&mut without, &mut with, &mut more].into_iter().for_each(|v| v.sort_by(f64::total_cmp));
        let best = |v: &[f64]| v.first().copied().unwrap_or(f64::NAN);
        let median = more.get(more.len() / 2).copied().unwrap_or(f64::NAN);
        Row { tree, median, best: best(&with) - best(&without) }
    }

    /// Gives the lcore a tree and lets it build it.
    fn plant(&mut self, ops: Vec<Op>) {
        let _ = self.bench.shared.send_to_lcore(0, ToLcore::ChangeTree(OUT, ops));
        self.bench.forward(Duration::from_millis(1));
    }

    /// Packets go through the tree from now on, or past it.
    fn shape(&self, through: bool) {
        let out = NetDevice {
            qdisc_owner: if through { 0 } else { NOQUEUE },
            ..port_device(OUT, 1, "10.0.1.1/24")
        };
        let devices = [NetDevice::loopback(), port_device(IN, 0, "10.0.0.1/24"), out];
        let next = self.bench.shared.generation() + 1;
        drop(self.bench.shared.publish(Snapshot::new(next, devices, Sysctl::default(), false)));
    }
}

/// An htb: one class over all, so many below it, and the leaves.
#[derive(Clone, Copy)]
struct Shape {
    leaves: usize,
    inner: usize,
    /// Of each leaf, bytes a second.
    rate: u64,
    /// Likewise.
    ceil: u64,
    /// Most packets that wait in a leaf.
    limit: u32,
    /// What leaves have below them; without it their own queues.
    below: Option<QdiscSpec>,
}

struct Planted {
    ops: Vec<Op>,
    /// Statistics of the leaves.
    leaves: Vec<Arc<ClassCells>>,
}

/// The htb of this number for flows from `first` on.
fn htb(major: u16, shape: &Shape, first: usize) -> Planted {
    let spec = QdiscSpec::Htb(HtbParams { default: 0, r2q: 10, direct_qlen: LEAF, hysteresis: false });
    let cells = Arc::new(QdiscCells::for_spec(&spec));
    let qdisc = build::<Skb>(TcHandle::new(major, 0), &spec, cells);
    let mut planted = Planted { ops: vec![TreeOp::Root(Some(qdisc))], leaves: Vec::new() };
    planted.grow(major, shape, first, &[]);
    planted
}

impl Planted {
    /// The classes and the filter of an htb that is there, below these classes.
    fn grow(&mut self, major: u16, shape: &Shape, first: usize, path: &[TcHandle]) {
        let at = |op| TreeOp::At(path.to_vec(), op);
        let class = |minor: usize| TcHandle::new(major, minor as u16);
        let mut add = |minor: usize, parent: usize, rate: u64, ceil: u64| {
            let cells = Arc::new(ClassCells::default());
            let op = QdiscOp::ClassAdd {
                class: class(minor),
                parent: class(parent),
                params: class_params(rate, ceil),
                limit: shape.limit,
                cells: Arc::clone(&cells),
            };
            self.ops.push(at(op));
            cells
        };
        add(TOP.into(), 0, ENDLESS, ENDLESS);
        for inner in 0..shape.inner {
            add(2 + inner, TOP.into(), ENDLESS, ENDLESS);
        }
        for leaf in 0..shape.leaves {
            self.leaves.push(add(FIRST_LEAF + leaf, 2 + leaf % shape.inner, shape.rate, shape.ceil));
        }
        if let Some(spec) = &shape.below {
            for leaf in 0..shape.leaves {
                let name = class(FIRST_LEAF + leaf);
                let cells = Arc::new(QdiscCells::for_spec(spec));
                let below = build::<Skb>(TcHandle::new(0x100 + leaf as u16, 0), spec, cells);
                self.ops.push(at(QdiscOp::Graft(name, Some(below))));
            }
        }
        let filter = ByDestination { first, leaves: shape.leaves, class: class(FIRST_LEAF) };
        self.ops.push(at(QdiscOp::Filters(class(0), Some(Arc::new(filter)))));
    }
}

/// prio with an htb in each of two bands: a class has a number of 16 bits.
fn two_htb(shape: &Shape) -> Vec<Op> {
    let spec = QdiscSpec::Prio(PrioParams {
        bands: 2,
        priomap: DEFAULT_PRIOMAP.map(|band| band.min(1)),
        limit: LEAF,
    });
    let cells = Arc::new(QdiscCells::for_spec(&spec));
    let mut planted = Planted {
        ops: vec![TreeOp::Root(Some(build::<Skb>(TcHandle::new(1, 0), &spec, cells)))],
        leaves: Vec::new(),
    };
    for band in 0..2 {
        let class = TcHandle::new(1, band + 1);
        let spec = QdiscSpec::Htb(HtbParams { default: 0, r2q: 10, direct_qlen: LEAF, hysteresis: false });
        let cells = Arc::new(QdiscCells::for_spec(&spec));
        let below = build::<Skb>(TcHandle::new(band + 2, 0), &spec, cells);
        planted.ops.push(TreeOp::At(vec![], QdiscOp::Graft(class, Some(below))));
        planted.grow(band + 2, shape, usize::from(band) * shape.leaves, &[class]);
    }
    let filter = ByBand { leaves: shape.leaves };
    let op = QdiscOp::Filters(TcHandle::new(1, 0), Some(Arc::new(filter)));
    planted.ops.push(TreeOp::At(vec![], op));
    planted.ops
}

fn class_params(rate: u64, ceil: u64) -> HtbClassParams {
    HtbClassParams {
        rate,
        ceil,
        burst: default_burst(rate, 1600),
        cburst: default_burst(ceil, 1600),
        prio: 0,
        quantum: default_quantum(rate, 10).0.max(LONG as u32),
        rate_layer: LinkLayer::default(),
        ceil_layer: LinkLayer::default(),
    }
}

/// A red whose average stays below its thresholds.
fn red() -> QdiscSpec {
    QdiscSpec::Red(RedParams {
        limit: 10_000_000,
        min: 1_000_000,
        max: 3_000_000,
        wlog: 9,
        avpkt: 60,
        bandwidth: ENDLESS,
        max_p: (0.02 * 4_294_967_296.0) as u64,
        ecn: true,
        harddrop: false,
        nodrop: false,
        adaptive: false,
        gentle: false,
    })
}

fn root(spec: &QdiscSpec) -> Op {
    let cells = Arc::new(QdiscCells::for_spec(spec));
    TreeOp::Root(Some(build::<Skb>(TcHandle::new(1, 0), spec, cells)))
}

/// The flow of a packet, by its destination.
fn flow_of(skb: &Skb) -> usize {
    let destination = skb.network().get(16..20).and_then(|bytes| bytes.first_chunk().copied());
    destination.map_or(0, |bytes| u32::from_be_bytes(bytes).wrapping_sub(NETWORK) as usize)
}

/// Flows to leaves in turn.
#[derive(Debug)]
struct ByDestination {
    first: usize,
    leaves: usize,
    class: TcHandle,
}

impl Classify<Skb> for ByDestination {
    fn classify(&self, _: &mut SchedCx<'_, Skb>, skb: Skb) -> Classified<Skb> {
        let leaf = flow_of(&skb).wrapping_sub(self.first) % self.leaves;
        Classified::Class(skb, TcHandle(self.class.0 + leaf as u32))
    }
}

/// The first flows to the first band.
#[derive(Debug)]
struct ByBand {
    leaves: usize,
}

impl Classify<Skb> for ByBand {
    fn classify(&self, _: &mut SchedCx<'_, Skb>, skb: Skb) -> Classified<Skb> {
        let band = u16::from(flow_of(&skb) >= self.leaves);
        Classified::Class(skb, TcHandle::new(1, band + 1))
    }
}

const _: () = assert!(FIRST_LEAF + 50_000 <= u16::MAX as usize);
