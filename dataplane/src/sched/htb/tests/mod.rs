//! Whole trees under a virtual clock, behind a link that takes packets at its speed.

mod borrowing;
mod bursts;
mod changes;
mod costs;
mod grafted;
mod property;
mod scale;
mod sojourn;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Htb;
use super::params::{DEFAULT_MTU, default_burst, default_quantum};
use crate::core::drop_reason::DropReason;
use crate::net::IfIndex;
use crate::random::Rng;
use crate::sched::cells::{ClassCells, HtbCells, QdiscCells, Special};
use crate::sched::handle::TcHandle;
use crate::sched::op::QdiscOp;
use crate::sched::packet::SchedPkt;
use crate::sched::params::{HtbClassParams, HtbParams, LinkLayer};
use crate::sched::qdisc::{Enqueued, Held, Qdisc, SchedCx, Sink, Xmit};
use crate::sched::queue::PktSlab;
use crate::time::Instant;

type PktList = crate::sched::packet::PktList<Pkt>;

const MBIT: f64 = 1e6;
const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
/// What most packets are long, bytes.
const FRAME: u32 = 1514;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pkt {
    len: u32,
    priority: u32,
}

impl SchedPkt for Pkt {
    fn qdisc_len(&self) -> u32 {
        self.len
    }

    fn priority(&self) -> u32 {
        self.priority
    }

    fn set_ce(&mut self) -> bool {
        false
    }
}

#[derive(Debug, Default)]
struct Dropped(Vec<(Pkt, DropReason)>);

impl Sink<Pkt> for Dropped {
    fn drop(&mut self, pkt: Pkt, reason: DropReason) {
        self.0.push((pkt, reason));
    }

    fn redirect(&mut self, _: Pkt, _: IfIndex, _: bool) {
        panic!("nobody redirects");
    }
}

/// `1:minor`.
fn id(minor: u16) -> TcHandle {
    TcHandle::new(1, minor)
}

/// A class of so many Mbit/s, with what tc fills in.
fn mbit(rate: f64) -> HtbClassParams {
    let rate = (rate * MBIT / 8.0) as u64;
    HtbClassParams {
        rate,
        ceil: rate,
        burst: default_burst(rate, DEFAULT_MTU),
        cburst: default_burst(rate, DEFAULT_MTU),
        prio: 0,
        quantum: default_quantum(rate, 10).0,
        rate_layer: LinkLayer::default(),
        ceil_layer: LinkLayer::default(),
    }
}

impl HtbClassParams {
    fn ceil(mut self, ceil: f64) -> Self {
        self.ceil = (ceil * MBIT / 8.0) as u64;
        self.cburst = default_burst(self.ceil, DEFAULT_MTU);
        self
    }

    fn prio(self, prio: u8) -> Self {
        HtbClassParams { prio, ..self }
    }

    fn quantum(self, quantum: u32) -> Self {
        HtbClassParams { quantum, ..self }
    }

    fn r2q(self, r2q: u32) -> Self {
        self.quantum(default_quantum(self.rate, r2q).0)
    }

    fn bursts(self, burst: u64, cburst: u64) -> Self {
        HtbClassParams { burst, cburst, ..self }
    }

    fn layer(self, layer: LinkLayer) -> Self {
        HtbClassParams { rate_layer: layer, ceil_layer: layer, ..self }
    }
}

/// What a tree works on, and where its packets go.
struct World {
    now: u64,
    slab: PktSlab<Pkt>,
    rng: Rng,
    dropped: Dropped,
}

impl World {
    fn new(places: usize) -> Self {
        World { now: 0, slab: PktSlab::new(places), rng: Rng::new(1), dropped: Dropped::default() }
    }

    fn cx(&mut self) -> SchedCx<'_, Pkt> {
        SchedCx::new(Instant::from_nanos(self.now), &mut self.slab, &mut self.rng, &mut self.dropped)
    }
}

/// An htb `1:`, its packets and its link.
struct Sim {
    world: World,
    htb: Htb<Pkt>,
    classes: BTreeMap<TcHandle, Arc<ClassCells>>,
    /// Bytes a second; none: as fast as one asks.
    link: Option<u64>,
    /// When the link is free again.
    free_at: u64,
    /// The class whose tokens paid for the last packet.
    last_payer: Option<u16>,
}

impl Sim {
    fn new() -> Self {
        Sim::with(HtbParams { default: 0, r2q: 10, direct_qlen: 1000, hysteresis: false })
    }

    fn with(params: HtbParams) -> Self {
        let cells = QdiscCells { special: Special::Htb(HtbCells::default()), ..QdiscCells::default() };
        Sim {
            world: World::new(1 << 17),
            htb: Htb::new(id(0), params, Arc::new(cells)),
            classes: BTreeMap::new(),
            link: Some(1_250_000_000),
            free_at: 0,
            last_payer: None,
        }
    }

    /// A class below another, or below `1:` if that is 0.
    fn class(mut self, parent: u16, class: u16, params: HtbClassParams) -> Self {
        self.add(parent, class, params);
        self
    }

    fn add(&mut self, parent: u16, class: u16, params: HtbClassParams) -> Held {
        let cells = Arc::new(ClassCells::default());
        let (class, parent) = (id(class), id(parent));
        let before = self.htb.find(class);
        let dropped =
            self.apply(QdiscOp::ClassAdd { class, parent, params, limit: 1000, cells: cells.clone() });
        if before.is_none() && self.htb.find(class).is_some() {
            self.classes.insert(class, cells);
        }
        dropped
    }

    fn delete(&mut self, class: u16) -> Held {
        let held = self.apply(QdiscOp::ClassDelete(id(class)));
        self.classes.remove(&id(class));
        held
    }

    fn apply(&mut self, op: QdiscOp<Pkt>) -> Held {
        self.htb.apply(&mut self.world.cx(), op)
    }

    fn cells(&self, class: u16) -> &ClassCells {
        &self.classes[&id(class)]
    }

    fn direct_packets(&self) -> u64 {
        let Special::Htb(cells) = &self.htb.cells().special else { panic!("cells of another") };
        cells.direct_packets.get()
    }

    fn send(&mut self, priority: TcHandle, len: u32) -> Enqueued {
        self.htb.enqueue(&mut self.world.cx(), Pkt { len, priority: priority.0 })
    }

    /// A list of packets for these classes, of these lengths.
    fn send_all(&mut self, packets: impl Iterator<Item = (u16, u32)>) {
        let mut list: PktList = packets.map(|(class, len)| Pkt { len, priority: id(class).0 }).collect();
        self.htb.enqueue_list(&mut self.world.cx(), &mut list);
        assert!(list.is_empty());
    }

    /// So many packets into a class.
    fn fill(&mut self, class: u16, len: u32, packets: usize) {
        for _ in 0..packets {
            assert_eq!(self.send(id(class), len).code, Xmit::Success);
        }
    }

    /// Takes a packet if one may go now; otherwise says when to ask again.
    fn take(&mut self) -> Result<Pkt, Option<u64>> {
        let mut cx = self.world.cx();
        match self.htb.dequeue(&mut cx) {
            Some(pkt) => Ok(pkt),
            None => Err(cx.wake().map(Instant::as_nanos)),
        }
    }

    /// The next packet before `until`, and when it began to go. Each packet that went is followed by another of its kind
    /// if its sender is `greedy`.
    fn step(&mut self, until: u64, greedy: bool) -> Option<(u64, Pkt)> {
        loop {
            self.world.now = self.world.now.max(self.free_at);
            if self.world.now >= until {
                return None;
            }
            match self.take() {
                Ok(pkt) => {
                    let at = self.world.now;
                    if let Some(link) = self.link {
                        self.free_at = at + u64::from(pkt.len) * SECOND / link;
                    }
                    if greedy {
                        self.send(TcHandle(pkt.priority), pkt.len);
                    }
                    return Some((at, pkt));
                }
                Err(None) => return None,
                Err(Some(wake)) => self.world.now = self.world.now.max(wake).min(until),
            }
        }
    }

    /// Mbit/s of each of these classes, all of them always backlogged with packets of `len` bytes: 2 s to settle,
    /// 8 s of measuring.
    fn rates(mut self, len: u32, classes: &[u16]) -> Vec<f64> {
        classes.iter().for_each(|&class| self.fill(class, len, 20));
        self.measure(2 * SECOND, 10 * SECOND, classes)
    }

    fn measure(&mut self, from: u64, to: u64, classes: &[u16]) -> Vec<f64> {
        let mut bytes = BTreeMap::<u32, u64>::new();
        while let Some((at, pkt)) = self.step(to, true) {
            if at >= from {
                *bytes.entry(pkt.priority).or_default() += u64::from(pkt.len);
            }
        }
        let seconds = (to - from) as f64 / SECOND as f64;
        let rate = |class: &u16| bytes.get(&id(*class).0).copied().unwrap_or(0) as f64 * 8.0 / seconds / MBIT;
        classes.iter().map(rate).collect()
    }

    /// Of one class alone.
    fn rate(self, len: u32, class: u16) -> f64 {
        self.rates(len, &[class])[0]
    }

    /// When packets go that wait in a class, without others after them.
    fn departures(&mut self) -> Vec<u64> {
        let mut at = Vec::new();
        while let Some((now, _)) = self.step(u64::MAX, false) {
            at.push(now);
        }
        at
    }

    /// Cells are what the packets say.
    fn check_counts(&self) {
        let cells = self.htb.cells();
        let sum = |of: fn(&ClassCells) -> u64| self.classes.values().map(|cells| of(cells)).sum::<u64>();
        assert_eq!(cells.qlen.get(), sum(|c| c.qlen.get()) + u64::from(self.htb.direct.len()));
        assert_eq!(cells.backlog.get(), sum(|c| c.backlog.get()) + u64::from(self.htb.direct.bytes()));
    }
}

/// Within so many percent.
#[track_caller]
fn near(got: &[f64], expected: &[f64], percent: f64) {
    let close = |(got, expected): (&f64, &f64)| (got - expected).abs() <= expected * percent / 100.0;
    assert!(got.len() == expected.len() && got.iter().zip(expected).all(close), "{got:?}, not {expected:?}");
}
