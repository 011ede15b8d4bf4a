//! What a packet costs in red, beside the FIFOs. `cargo bench -p skiff-dataplane --bench red`
//!
//! Packets come in lists of 32 and leave in lists of 32, as an lcore hands them over; a figure is what one packet costs on
//! both ways together. Cycles are those of the TSC; each figure is the minimum and the median of many short runs: what else
//! runs on the CPU disturbs the median, hardly the minimum. Packets are boxes, as an mbuf is a pointer.

use std::hint::black_box;
use std::sync::Arc;

use skiff_dataplane::core::drop_reason::DropReason;
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::random::Rng;
use skiff_dataplane::sched::build::build;
use skiff_dataplane::sched::cells::QdiscCells;
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::packet::{PktList, SchedPkt};
use skiff_dataplane::sched::params::{
    DEFAULT_PRIOMAP, LinkLayer, PrioParams, QdiscSpec, RedParams, TbfParams,
};
use skiff_dataplane::sched::qdisc::{Qdisc, SchedCx, Sink};
use skiff_dataplane::sched::queue::PktSlab;
use skiff_dataplane::time::Instant;
use skiff_pmd::rdtsc;

const BURST: usize = 32;
const BURSTS: usize = 64;
const RUNS: usize = 2000;

fn main() {
    let red = RedParams {
        limit: 100_000_000,
        min: 10_000_000,
        max: 30_000_000,
        wlog: 9,
        avpkt: 1000,
        bandwidth: 1_250_000_000,
        max_p: 1 << 32,
        ecn: true,
        harddrop: false,
        nodrop: false,
        adaptive: true,
        gentle: false,
    };
    let between = RedParams { min: 200_000, max: 20_000_000, adaptive: false, ..red };
    let rare = RedParams { max_p: 1 << 22, ..between };
    let layer = LinkLayer::default();
    let (rate, burst, limit) = (100_000_000_000, 1 << 20, 1 << 30);
    let tbf = TbfParams { rate, burst, limit, peak: None, rate_layer: layer, peak_layer: layer };
    let prio = PrioParams { bands: 3, priomap: DEFAULT_PRIOMAP, limit: 1000 };
    let cases = [
        ("pfifo", QdiscSpec::Pfifo { limit: 10_000 }, 0),
        ("bfifo", QdiscSpec::Bfifo { limit: 100_000_000 }, 0),
        ("pfifo_fast", QdiscSpec::PfifoFast { limit: 10_000 }, 0),
        ("prio", QdiscSpec::Prio(prio), 0),
        ("tbf", QdiscSpec::Tbf(tbf), 0),
        ("red, below min, always empty in between", QdiscSpec::Red(red), 0),
        ("red, below min", QdiscSpec::Red(red), 1000),
        ("red, between, 1 mark in 2^13", QdiscSpec::Red(rare), 1000),
        ("red, between, 1 ECN mark in 13", QdiscSpec::Red(between), 1000),
        ("red, above max, all ECN marks", QdiscSpec::Red(RedParams { min: 10, max: 100, ..between }), 1000),
    ];
    for (name, spec, waiting) in cases {
        measure(name, &spec, waiting);
    }
}

/// Cycles a packet in and out of a discipline in which `waiting` others are.
fn measure(name: &str, spec: &QdiscSpec, waiting: usize) {
    let cells = Arc::new(QdiscCells::for_spec(spec));
    let mut qdisc = build(TcHandle::new(1, 0), spec, cells.clone());
    let mut lcore = Lcore { slab: PktSlab::new(1 << 14), rng: Rng::new(1), now: 1_000_000_000 };
    let mut list: PktList<Packet> = PktList::new();
    for _ in 0..waiting {
        list.push(packet());
        lcore.enqueue(qdisc.as_mut(), &mut list);
    }
    list.extend((0..BURST).map(|_| packet()));
    let mut cycles: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = rdtsc();
            for _ in 0..BURSTS {
                lcore.enqueue(qdisc.as_mut(), &mut list);
                lcore.dequeue(qdisc.as_mut(), &mut list);
            }
            rdtsc().wrapping_sub(start) as f64 / (BURST * BURSTS) as f64
        })
        .collect();
    assert_eq!((list.len(), cells.drops.get()), (BURST, 0), "{name}");
    cycles.sort_by(f64::total_cmp);
    println!("{name}: {:.1} cycles (median {:.1})", cycles[0], cycles[RUNS / 2]);
}

struct Lcore {
    slab: PktSlab<Packet>,
    rng: Rng,
    now: u64,
}

impl Lcore {
    fn enqueue(&mut self, qdisc: &mut dyn Qdisc<Packet>, list: &mut PktList<Packet>) {
        qdisc.enqueue_list(&mut self.cx(&mut Nowhere), list);
    }

    fn dequeue(&mut self, qdisc: &mut dyn Qdisc<Packet>, list: &mut PktList<Packet>) {
        qdisc.dequeue_list(&mut self.cx(&mut Nowhere), BURST, list);
    }

    fn cx<'a>(&'a mut self, sink: &'a mut Nowhere) -> SchedCx<'a, Packet> {
        self.now += 10_000;
        SchedCx::new(Instant::from_nanos(self.now), &mut self.slab, &mut self.rng, sink)
    }
}

type Packet = Box<Bytes>;

/// A stand-in for an mbuf.
#[derive(Debug)]
struct Bytes {
    len: u32,
    tos: u8,
}

fn packet() -> Packet {
    black_box(Box::new(Bytes { len: 1000, tos: 2 }))
}

impl SchedPkt for Packet {
    fn qdisc_len(&self) -> u32 {
        self.len
    }

    fn priority(&self) -> u32 {
        0
    }

    fn set_ce(&mut self) -> bool {
        self.tos |= 3;
        true
    }
}

struct Nowhere;

impl Sink<Packet> for Nowhere {
    fn drop(&mut self, pkt: Packet, _: DropReason) {
        drop(pkt);
    }

    fn redirect(&mut self, pkt: Packet, _: IfIndex, _: bool) {
        drop(pkt);
    }
}
