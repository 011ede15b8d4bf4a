//! The generator of this program: one thread that sends on one port and receives on the other, in turns, so that both ends
//! of a frame's journey are seen by one clock.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use skiff_pmd::{
    BURST, Burst, Pool, RxQueue, TxQueue, pin_current_thread, rdtsc, register_thread, thread_cpu_time_ns,
    tsc_hz,
};

use crate::frame::{Flow, Stamp, Template, stamp_of};
use crate::interrupt;
use crate::latency::Latencies;
use crate::pace::Pacer;
use crate::tally::Tally;
use crate::trial::{Generator, Spec, Trial};

/// How long frames are waited for after the last has been sent, and after the last has come.
const DRAIN: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_millis(200);
/// Bursts received in a row before it is time to send again.
const MOST_BURSTS: usize = 8;

/// What to do with a frame that the link's ring has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It is lost: the ring is the router's receive ring, in memory both share, and on a wire the frame would have been
    /// sent and lost there.
    Lose,
    /// It waits: the ring is the generator's own.
    Wait,
}

/// One direction: where frames go in, and where they come out.
#[derive(Debug)]
pub struct Lane {
    /// The sending port.
    pub tx: TxQueue,
    /// The receiving port.
    pub rx: RxQueue,
    /// The flows, taken in turns.
    pub flows: Vec<Flow>,
}

/// The generator.
#[derive(Debug)]
pub struct Own {
    lanes: Vec<Lane>,
    pool: Pool,
    when_full: WhenFull,
    cpu: Option<u16>,
    trials: u16,
}

impl Own {
    /// One that has the lanes and sends frames of the pool, on the CPU if one is given.
    pub fn new(lanes: Vec<Lane>, pool: Pool, when_full: WhenFull, cpu: Option<u16>) -> Own {
        Own { lanes, pool, when_full, cpu, trials: 0 }
    }
}

impl Generator for Own {
    fn run(&mut self, spec: &Spec) -> Result<Trial> {
        interrupt::check()?;
        self.trials = self.trials.wrapping_add(1);
        let cpu = self.cpu;
        thread::scope(|scope| {
            let worker = thread::Builder::new().name("generator".to_owned());
            let worker = worker.spawn_scoped(scope, || {
                cpu.map_or(Ok(()), pin_current_thread)?;
                let _lcore = register_thread()?;
                self.run_here(spec)
            })?;
            worker.join().map_err(|_| anyhow!("the generator panicked"))?
        })
    }
}

impl Own {
    fn run_here(&mut self, spec: &Spec) -> Result<Trial> {
        let (hz, trial, pool) = (tsc_hz(), self.trials, self.pool.clone());
        // Without a rate no ring is ever found full by mistake: it is the link that sets the pace.
        let when_full = if spec.rate_pps.is_some() { self.when_full } else { WhenFull::Wait };
        let mut run = Run::new(&mut self.lanes, spec, trial)?;
        run.discard_leftovers();

        let (cpu_ns, start) = (thread_cpu_time_ns(), rdtsc());
        let end = start + ticks(Duration::from_secs_f64(spec.seconds), hz);
        for lane in &mut run.lanes {
            lane.pacer = spec.rate_pps.map(|rate| Pacer::new(rate, hz, start));
        }
        let mut now = start;
        while now < end && !interrupt::asked() {
            for lane in &mut run.lanes {
                lane.send(now, trial, &pool, when_full);
                lane.receive();
            }
            let then = std::mem::replace(&mut now, rdtsc());
            run.longest_gap = run.longest_gap.max(now - then);
        }
        let seconds = (now - start) as f64 / hz as f64;
        let share = (thread_cpu_time_ns() - cpu_ns) as f64 / 1e9 / seconds;
        interrupt::check()?;
        run.drain(hz);
        Ok(Trial { seconds, generator_cpu: Some(share.min(1.0)), ..run.trial(spec, hz) })
    }
}

/// A trial while it runs.
struct Run<'a> {
    lanes: Vec<Busy<'a>>,
    longest_gap: u64,
}

/// A lane while it runs.
struct Busy<'a> {
    tx: &'a mut TxQueue,
    rx: &'a mut RxQueue,
    templates: Vec<Template>,
    /// The template of the next frame.
    next: usize,
    pacer: Option<Pacer>,
    /// Frames made and not sent yet.
    out: Burst,
    seq: u64,
    offered: u64,
    refused: u64,
    tally: Tally,
    latencies: Option<Latencies>,
}

impl<'a> Run<'a> {
    fn new(lanes: &'a mut [Lane], spec: &Spec, trial: u16) -> Result<Run<'a>> {
        let lanes = lanes.iter_mut().map(|lane| Busy::new(lane, spec, trial)).collect::<Result<_>>()?;
        Ok(Run { lanes, longest_gap: 0 })
    }

    /// What is still in the rings is none of this trial.
    fn discard_leftovers(&mut self) {
        let mut left = Burst::new();
        for lane in &mut self.lanes {
            for _ in 0..MOST_BURSTS {
                lane.rx.rx_burst(&mut left);
                left.free_all();
            }
        }
    }

    /// Receives what is still on its way.
    fn drain(&mut self, hz: u64) {
        for lane in &mut self.lanes {
            lane.out.free_all();
        }
        let start = rdtsc();
        let mut heard = start;
        loop {
            let now = rdtsc();
            let is_missing = self.lanes.iter().any(Busy::misses_frames);
            let is_late = now - heard > ticks(QUIET, hz) || now - start > ticks(DRAIN, hz);
            if !is_missing || is_late || interrupt::asked() {
                return;
            }
            if self.lanes.iter_mut().fold(0, |sum, lane| sum + lane.receive()) > 0 {
                heard = now;
            }
        }
    }

    fn trial(self, spec: &Spec, hz: u64) -> Trial {
        let sum = |of: fn(&Busy) -> u64| self.lanes.iter().map(of).sum::<u64>();
        let mut latencies: Option<Latencies> = None;
        for lane in &self.lanes {
            match (&mut latencies, &lane.latencies) {
                (Some(all), Some(one)) => all.add(one),
                (all, one) => *all = one.clone(),
            }
        }
        Trial {
            size: spec.size,
            directions: self.lanes.len(),
            target_pps: spec.rate_pps,
            seconds: spec.seconds,
            offered: sum(|lane| lane.offered),
            refused: sum(|lane| lane.refused),
            received: sum(|lane| lane.tally.received),
            reordered: Some(sum(|lane| lane.tally.reordered)),
            duplicates: Some(sum(|lane| lane.tally.duplicates)),
            stray: Some(sum(|lane| lane.tally.stray)),
            longest_gap_us: Some(self.longest_gap as f64 * 1e6 / hz as f64),
            latency: latencies.and_then(|latencies| latencies.summary(hz)),
            ..Trial::default()
        }
    }
}

impl<'a> Busy<'a> {
    fn new(lane: &'a mut Lane, spec: &Spec, trial: u16) -> Result<Busy<'a>> {
        Ok(Busy {
            templates: lane.flows.iter().map(|flow| Template::new(flow, spec.size)).collect(),
            tx: &mut lane.tx,
            rx: &mut lane.rx,
            next: 0,
            pacer: None,
            out: Burst::new(),
            seq: 0,
            offered: 0,
            refused: 0,
            tally: Tally::new(trial),
            latencies: spec.latency.then(Latencies::new).transpose()?,
        })
    }

    fn send(&mut self, now: u64, trial: u16, pool: &Pool, when_full: WhenFull) {
        let due = self.pacer.as_mut().map_or(BURST, |pacer| pacer.due(now, BURST));
        // Frames that wait are the first of those due.
        let more = due.saturating_sub(self.out.len());
        if more > 0 {
            self.make(more, trial, pool);
        }
        if self.out.is_empty() {
            return;
        }
        let mut offered = self.tx.tx_burst(&mut self.out);
        if when_full == WhenFull::Lose {
            self.refused += self.out.len() as u64;
            offered += self.out.len();
            self.out.free_all();
        }
        self.offered += offered as u64;
        if let Some(pacer) = &mut self.pacer {
            pacer.sent(offered);
        }
    }

    fn make(&mut self, frames: usize, trial: u16, pool: &Pool) {
        let first = self.out.len();
        // With the pool empty, too little is offered, and the trial says so.
        if !pool.alloc_bulk(frames, &mut self.out) {
            return;
        }
        let tsc = rdtsc();
        for pkt in self.out.iter_mut().skip(first) {
            let Some(template) = self.templates.get(self.next) else { return };
            if let Some(data) = pkt.append(template.len()) {
                template.write(Stamp { trial, seq: self.seq, tsc }, data);
            }
            self.seq += 1;
            self.next = if self.next + 1 < self.templates.len() { self.next + 1 } else { 0 };
        }
    }

    fn receive(&mut self) -> usize {
        let mut burst = Burst::new();
        let mut received = 0;
        for _ in 0..MOST_BURSTS {
            let got = self.rx.rx_burst(&mut burst);
            if got == 0 {
                break;
            }
            self.count(&burst);
            burst.free_all();
            received += got;
            if got < BURST {
                break;
            }
        }
        received
    }

    fn count(&mut self, burst: &Burst) {
        for at in 0..4 {
            burst.prefetch_data(at);
        }
        let now = rdtsc();
        for (at, pkt) in burst.iter().enumerate() {
            burst.prefetch_data(at + 4);
            let stamp = stamp_of(pkt.data());
            let is_ours = self.tally.count(stamp);
            if let (true, Some(latencies), Some(stamp)) = (is_ours, &mut self.latencies, stamp) {
                latencies.record(now.saturating_sub(stamp.tsc));
            }
        }
    }

    fn misses_frames(&self) -> bool {
        self.tally.received < self.offered - self.refused
    }
}

fn ticks(duration: Duration, hz: u64) -> u64 {
    (duration.as_secs_f64() * hz as f64) as u64
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use skiff_pmd::{Eal, EalConfig, Hugepages, PoolConfig, Port, PortConfig, PortId, vdev};

    use super::*;

    fn flows() -> Vec<Flow> {
        let flow = |n: u8| Flow {
            src_mac: [2, 0, 0, 0, 0, 1],
            dst_mac: [2, 0, 0, 0, 0, 2],
            vlan: None,
            src: Ipv4Addr::new(198, 18, 0, 2),
            dst: Ipv4Addr::new(10, 0, n, 1),
            src_port: 1024,
        };
        (0..3).map(flow).collect()
    }

    /// A ring port gives back what is sent on it: a router that loses nothing until its ring is full.
    fn loops(n: u32, when_full: WhenFull) -> (Vec<Port>, Own) {
        let names: Vec<_> = (0..n).map(|index| vdev::Ring::new(index).devargs().unwrap()).collect();
        let config = EalConfig {
            program: "rfc2544-test".into(),
            memory_mib: 64,
            hugepages: Hugepages::Off,
            vdevs: names,
            ..EalConfig::default()
        };
        let eal = Eal::init(config).unwrap();
        let wanted = PoolConfig { name: "pool", mbufs: 8191, cache: 256, data_room: 2048, socket: None };
        let pool = Pool::create(&eal, &wanted).unwrap();
        let mut ports = Vec::new();
        let mut lanes = Vec::new();
        for id in 0..n {
            let (port, mut rx, mut tx) =
                Port::open(&eal, PortId(id as u16), "loop", &PortConfig::default(), &pool).unwrap();
            ports.push(port);
            lanes.push(Lane { tx: tx.pop().unwrap(), rx: rx.pop().unwrap(), flows: flows() });
        }
        (ports, Own::new(lanes, pool, when_full, None))
    }

    /// The numbers of the frames are counted, not how fast they went: the machine may be busy.
    fn check(trial: &Trial, offered_to_ports: u64) {
        assert!(trial.offered > 0);
        assert_eq!(trial.received, trial.offered - trial.refused);
        assert_eq!(offered_to_ports, trial.offered - trial.refused);
        assert_eq!((trial.reordered, trial.duplicates, trial.stray), (Some(0), Some(0), Some(0)));
    }

    fn sent(ports: &[Port]) -> u64 {
        ports.iter().map(|port| port.stats().unwrap().opackets).sum()
    }

    #[test]
    fn a_loop_gives_back_every_frame() {
        let (ports, mut own) = loops(2, WhenFull::Wait);
        let mut before = 0;
        for size in [64, 1518] {
            for rate_pps in [Some(20_000.0), None] {
                let spec = Spec { rate_pps, size, seconds: 0.1, latency: true };
                let trial = own.run(&spec).unwrap();
                let after = sent(&ports);
                check(&trial, after - std::mem::replace(&mut before, after));
                assert_eq!((trial.lost(), trial.refused), (0, 0));
                assert_eq!(trial.directions, 2);
                assert_eq!(trial.latency.unwrap().frames, trial.received);
                // Never more than asked for, however late.
                assert!(rate_pps.is_none_or(|rate| trial.offered_pps() <= rate + 100.0), "{trial:?}");
            }
        }
        assert_eq!(own.pool.in_use(), 0);
    }

    /// Frames of an earlier trial that turn up late are not taken for new ones.
    #[test]
    fn frames_of_an_earlier_trial_are_strays() {
        let (_ports, mut own) = loops(1, WhenFull::Lose);
        let spec = Spec { rate_pps: Some(50_000.0), size: 64, seconds: 0.02, latency: false };
        let late = {
            let mut run = Run::new(&mut own.lanes, &spec, 9).unwrap();
            run.lanes[0].make(4, 9, &own.pool);
            std::mem::take(&mut run.lanes[0].out)
        };
        let mut run = Run::new(&mut own.lanes, &spec, 10).unwrap();
        run.lanes[0].out = late;
        run.lanes[0].make(6, 10, &own.pool);
        run.lanes[0].send(0, 10, &own.pool, WhenFull::Lose);
        assert_eq!(run.lanes[0].receive(), BURST);
        let lane = &run.lanes[0];
        assert_eq!((lane.tally.received, lane.tally.stray), (BURST as u64 - 4, 4));
    }
}
