//! red with senders that react: behind a tbf as in the kernel's `sch_red.sh`, and adaptive red with many flows.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use skiff_dataplane::sched::cells::QdiscCells;
use skiff_dataplane::sched::op::QdiscOp;
use skiff_dataplane::sched::params::{LinkLayer, QdiscSpec, RedParams, TbfParams};
use skiff_dataplane::sched::qdisc::Xmit;
use skiff_dataplane::sched::red::params::RedOptions;
use skiff_dataplane::time::Instant;

use crate::rig::{CE, ECT, NOT_ECT, TestPkt, Tree, World, class, made, red_cells};

const LEN: u32 = 1400;
/// Time that a packet takes at 10 Mbit/s.
const TIME: Duration = Duration::from_micros(1120);

/// A line of 10 Mbit/s with red before it, and a stream that fills it exactly.
struct Line {
    world: World,
    tree: Tree,
    red: Arc<QdiscCells>,
    stream: u8,
}

impl Line {
    fn new(ecn: bool, nodrop: bool, stream: u8) -> Line {
        let options = RedOptions {
            limit: 1 << 20,
            min: 30_000,
            max: 30_001,
            avpkt: LEN,
            burst: 38,
            probability: 1.0,
            ecn,
            nodrop,
            ..RedOptions::default()
        };
        let (rate_layer, peak_layer) = (LinkLayer::default(), LinkLayer::default());
        let (rate, burst, limit) = (1_250_000, LEN.into(), 0);
        let tbf = TbfParams { rate, burst, limit, peak: None, rate_layer, peak_layer };
        let (mut tree, _) = made(&QdiscSpec::Tbf(tbf));
        let (leaf, red) = made(&QdiscSpec::Red(options.derive(&mut |_| ()).unwrap()));
        let mut world = World::new();
        world.apply(&mut tree, &[], QdiscOp::Graft(class(1), Some(leaf)));
        Line { world, tree, red, stream }
    }

    /// Lets the stream run; the share of its packets that left marked.
    fn run(&mut self, time: Duration) -> f64 {
        let (mut left, mut marked) = (0, 0);
        for _ in 0..time.as_nanos() / TIME.as_nanos() {
            self.world.send(&mut self.tree, TestPkt::new(1, LEN).ecn(self.stream));
            let pkt = self.world.take(&mut self.tree);
            left += u32::from(pkt.is_some_and(|pkt| pkt.id == 1));
            marked += u32::from(pkt.is_some_and(|pkt| pkt.id == 1 && pkt.ecn == CE));
            self.world.pass(TIME);
        }
        f64::from(marked) / f64::from(left)
    }

    /// Adds packets one by one among those of the stream until so much waits; false if that does not come.
    fn build_backlog(&mut self, bytes: u64, ecn: u8) -> bool {
        for _ in 0..500 {
            if self.red.backlog.get() >= bytes {
                return true;
            }
            self.world.send(&mut self.tree, TestPkt::new(2, LEN).ecn(ecn));
            self.run(TIME * 10);
        }
        false
    }
}

#[test]
fn ecn_marks_above_the_threshold_and_drops_what_cannot_be_marked() {
    let mut line = Line::new(true, false, ECT);
    assert!(line.build_backlog(20_000, NOT_ECT));
    assert_eq!(line.run(Duration::from_secs(5)), 0.0);
    assert!(line.build_backlog(45_000, ECT));
    let share = line.run(Duration::from_secs(5));
    assert!(share >= 0.95, "{share}");
    assert!(!line.build_backlog(60_000, NOT_ECT));
    assert!(red_cells(&line.red).forced_drop.get() > 400);
}

#[test]
fn nodrop_queues_what_cannot_be_marked() {
    let mut line = Line::new(true, true, ECT);
    assert!(line.build_backlog(20_000, NOT_ECT));
    assert_eq!(line.run(Duration::from_secs(5)), 0.0);
    assert!(line.build_backlog(45_000, ECT));
    assert!(line.run(Duration::from_secs(5)) >= 0.95);
    assert!(line.build_backlog(60_000, NOT_ECT));
    assert_eq!(line.red.drops.get(), 0);
}

#[test]
fn without_ecn_nothing_is_marked_and_nothing_gets_above() {
    let mut line = Line::new(false, false, ECT);
    assert!(line.build_backlog(20_000, ECT));
    assert_eq!(line.run(Duration::from_secs(5)), 0.0);
    assert!(!line.build_backlog(45_000, ECT));
    assert_eq!(line.run(Duration::from_secs(5)), 0.0);
    let cells = red_cells(&line.red);
    assert_eq!((cells.prob_mark.get(), cells.forced_mark.get()), (0, 0));
    assert!(cells.forced_drop.get() > 0);
}

/// A sender that adds a packet to its window in each round trip and halves it when it hears of congestion.
struct Flow {
    window: f64,
    threshold: f64,
    in_flight: u32,
    /// Congestion in packets sent before this number is the same congestion.
    recover: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Start(usize),
    /// The line is free.
    Free,
    /// A sender hears of a packet: its number, and whether it was marked or lost.
    Ack(usize, u64, bool),
}

const MTU: u32 = 1500;
/// Time on a line of 100 Mbit/s.
const ON_LINE: u64 = MTU as u64 * 80;
const ROUND_TRIP: u64 = 40_000_000;

/// Flows through one queue into a line of 100 Mbit/s.
struct Flows {
    world: World,
    tree: Tree,
    flows: Vec<Flow>,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    of: HashMap<u64, usize>,
    next: u64,
    busy: bool,
    ecn: u8,
}

impl Flows {
    fn send_what_may(&mut self, flow: usize) {
        while f64::from(self.flows[flow].in_flight) < self.flows[flow].window.floor() {
            let id = self.next;
            self.next += 1;
            self.flows[flow].in_flight += 1;
            let sent = self.world.send(&mut self.tree, TestPkt::new(id, MTU).ecn(self.ecn));
            if sent.code == Xmit::Success {
                self.of.insert(id, flow);
            } else {
                // The packets behind it tell.
                let behind = self.tree.held().bytes * 80;
                let at = self.world.now.as_nanos() + behind + ROUND_TRIP;
                self.events.push(Reverse((at, Event::Ack(flow, id, true))));
            }
        }
        self.serve();
    }

    fn serve(&mut self) {
        if self.busy {
            return;
        }
        let Some(pkt) = self.world.take(&mut self.tree) else { return };
        let flow = self.of.remove(&pkt.id).unwrap();
        self.busy = true;
        let free = self.world.now.as_nanos() + ON_LINE;
        self.events.push(Reverse((free, Event::Free)));
        self.events.push(Reverse((free + ROUND_TRIP, Event::Ack(flow, pkt.id, pkt.ecn == CE))));
    }

    fn heard(&mut self, flow: usize, id: u64, congestion: bool) {
        let next = self.next;
        let f = &mut self.flows[flow];
        f.in_flight -= 1;
        if congestion {
            if id >= f.recover {
                f.window = (f.window / 2.0).max(1.0);
                (f.threshold, f.recover) = (f.window, next);
            }
        } else if f.window < f.threshold {
            f.window += 1.0;
        } else {
            f.window += 1.0 / f.window;
        }
        self.send_what_may(flow);
    }

    /// Runs until `end` and calls `each` every 10 ms.
    fn run(&mut self, end: Instant, mut each: impl FnMut(u64)) {
        let mut sample = 0;
        while let Some(Reverse((at, event))) = self.events.pop() {
            while sample < at {
                each(sample);
                sample += 10_000_000;
            }
            if at > end.as_nanos() {
                return;
            }
            self.world.now = Instant::from_nanos(at);
            match event {
                Event::Start(flow) => self.send_what_may(flow),
                Event::Free => {
                    self.busy = false;
                    self.serve();
                }
                Event::Ack(flow, id, congestion) => self.heard(flow, id, congestion),
            }
        }
    }
}

#[test]
fn adaptive_red_holds_the_average_between_its_targets() {
    for ecn in [ECT, NOT_ECT] {
        let params = RedOptions {
            limit: 4_000_000,
            min: 100_000,
            max: 500_000,
            avpkt: MTU,
            burst: 400,
            bandwidth: 12_500_000,
            adaptive: true,
            ecn: true,
            ..RedOptions::default()
        };
        let params: RedParams = params.derive(&mut |_| ()).unwrap();
        let (tree, cells) = made(&QdiscSpec::Red(params));
        let flow = || Flow { window: 2.0, threshold: 20.0, in_flight: 0, recover: 0 };
        let mut flows = Flows {
            world: World::new(),
            tree,
            flows: (0..50).map(|_| flow()).collect(),
            events: (0..50).map(|n| Reverse((n as u64 * 37_000_000, Event::Start(n)))).collect(),
            of: HashMap::new(),
            next: 0,
            busy: false,
            ecn,
        };
        let (mut samples, mut inside) = (0u32, 0u32);
        flows.run(Instant::from_secs(50), |at| {
            if (20_000_000_000..50_000_000_000).contains(&at) {
                let average = red_cells(&cells).average.get();
                samples += 1;
                inside += u32::from((260_000..=340_000).contains(&average));
            }
        });
        let share = f64::from(inside) / f64::from(samples);
        assert_eq!(samples, 3000);
        assert!(share > 0.8, "ecn {ecn}: {share}");
        // And the line is never idle.
        assert!(cells.bytes.get() > 12_500_000 * 49);
    }
}
