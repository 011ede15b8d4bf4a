//! `skiff bench rules --swap`: rule sets replaced while one lcore forwards at full load, and not one packet may meet some
//! rules of the old set and some of the new.
//!
//! The router is the daemon's own, and the sets come in by `iptables-restore`. Set A marks packets with 1 before they are
//! routed and lets only mark 1 through; set B does the same with 2. A packet that met the mangle table of the one and the
//! filter table of the other is dropped, and the bench first makes sure that it would see that.

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Serialize;
use skiff_dataplane::core::drop_reason::DropReason;
use skiff_dataplane::core::env::Hands;
use skiff_dataplane::core::lcore::{Clock, Idle, Worker};
use skiff_dataplane::net::MacAddr;
use skiff_pmd::{Eal, EalConfig, Hugepages, Pool, PoolConfig, pin_current_thread, rdtsc};

use super::forward::forward;
use super::traffic::{Case, write_pcap};
use crate::config;
use crate::daemon::{new_router, ports};
use crate::drops;
use crate::netfilter::{Call, Program};
use crate::router::Router;

/// What `net_pcap` gives its first port for a hardware address.
const PCAP_MAC: MacAddr = MacAddr([2, 0x70, 0x63, 0x61, 0x70, 0]);
/// Swaps a second.
const RATE: u32 = 100;
/// Length of one measurement of the lcore.
const SLICE: Duration = Duration::from_millis(10);
/// Packets that show what a rule set does with them, and how long they may take to come.
const SEEN: u64 = 1000;
const PATIENCE: Duration = Duration::from_secs(5);
/// Time without swaps, and then with them, in turn.
const PHASE: Duration = Duration::from_millis(250);

/// What came out for rule sets of one size.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Rules of a set.
    pub rules: usize,
    /// Swaps done.
    pub swaps: u64,
    /// Time of one on the control thread, from text to the old rules let go: milliseconds, median.
    pub milliseconds_per_swap: f64,
    /// Packets forwarded meanwhile.
    pub forwarded: u64,
    /// Packets dropped by rules: each met a mixture.
    pub netfilter_drop: u64,
    /// Packets that came in and are neither sent nor dropped by rules.
    pub lost: i64,
    /// Cycles a packet while nothing is swapped, median.
    pub quiet: f64,
    /// Cycles a packet while sets are swapped, median.
    pub swapping: f64,
}

/// Swaps sets of 2 and of 1000 rules for `seconds` each. The lcore runs on `cpu`.
///
/// # Errors
/// EAL, the ports or the router could not be set up, or a mixture went unseen.
pub fn run(seconds: f64, cpu: Option<u16>) -> Result<Vec<Row>> {
    let destinations = Case::Flows1024.destinations(&Case::Flows1024.routes());
    let pcap = std::env::temp_dir().join(format!("skiff-bench-{}.pcap", std::process::id()));
    write_pcap(&pcap, PCAP_MAC, &destinations).with_context(|| format!("cannot write {}", pcap.display()))?;
    let started = Machine::start(&pcap, destinations.len());
    let _ = std::fs::remove_file(&pcap);
    let mut machine = started?;
    machine.mixture_shows(cpu)?;
    [2, 1000].into_iter().map(|rules| machine.measure(rules, seconds, cpu)).collect()
}

/// The text of a set of `rules` rules around `mark`.
fn restore_text(set: u32, filter: u32, rules: usize) -> String {
    let mut text = format!(
        "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j MARK --set-mark {set}\nCOMMIT\n*filter\n:FORWARD DROP [0:0]\n"
    );
    for i in 2..rules {
        text += &format!("-A FORWARD -s 198.19.{}.{}/32 -j DROP\n", i / 250, i % 250);
    }
    text + &format!("-A FORWARD -m mark --mark {filter} -j ACCEPT\nCOMMIT\n")
}

/// What the lcore is to do, and what its measurements are of.
mod phase {
    pub const STOP: u8 = 0;
    pub const QUIET: u8 = 1;
    pub const SWAPPING: u8 = 2;
}

/// Cycles a packet of the slices that lay in one phase.
#[derive(Default)]
struct Samples {
    quiet: Vec<f64>,
    swapping: Vec<f64>,
}

/// A router between a port that generates and one that swallows.
struct Machine {
    router: Router,
    worker: Worker,
    // Last: the others hold on to its memory.
    _eal: Eal,
}

impl Machine {
    fn start(pcap: &Path, frames: usize) -> Result<Machine> {
        let text = format!(
            r#"[system]
lcores = "0"
[interface.in]
device = "vdev:net_pcap0,rx_pcap={},infinite_rx=1"
addresses = ["10.0.0.1/24"]
[interface.out]
device = "vdev:net_null0,no-rx=1"
addresses = ["10.0.1.1/24"]
[[route]]
to = "0.0.0.0/0"
via = "10.0.1.2"
[[neighbour]]
address = "10.0.1.2"
mac = "02:bb:00:00:00:01"
dev = "out"
"#,
            pcap.display()
        );
        let refused = |faults: Vec<config::Diagnostic>| {
            anyhow!(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        };
        let config = config::parse("bench", &text).map_err(refused)?;
        let mbufs = (frames.next_power_of_two() as u32 * 2).max(16_384);
        let eal = Eal::init(EalConfig {
            program: "skiff-bench".to_owned(),
            memory_mib: 64 + mbufs / 1024 * 3,
            hugepages: Hugepages::Prefer,
            main_cpu: None,
            vdevs: config.eal_devices().iter().map(|d| d.devargs.clone()).collect(),
            pci_allow: Vec::new(),
            file_prefix: format!("skiff-bench-{}", std::process::id()),
            extra_args: Vec::new(),
        })?;
        let wanted =
            PoolConfig { name: "bench", mbufs: mbufs - 1, cache: 256, data_room: 2048, socket: None };
        let pool = Pool::create(&eal, &wanted)?;
        let (opened, mut shares) =
            ports::open_all(&eal, &config, &pool, 1, false).map_err(|fault| refused(vec![fault]))?;
        let clock = Clock::new(rdtsc());
        let mut router = new_router(1, clock, &pool)?;
        for port in opened {
            let interface = config.interface(&port.interface).context("a port of the configuration")?;
            router.add_port(interface, port.handle).map_err(|refusal| anyhow!("{refusal}"))?;
        }
        router.apply(config).map_err(refused)?;
        let share = shares.pop().context("the lcore's share")?;
        let worker = Worker {
            id: 0,
            cpu: None,
            shared: router.shared.clone(),
            rx: share.rx,
            handoff: share.handoff,
            hands: Hands::new(0, share.tx, pool, 1),
            idle: Idle::Poll,
            clock,
        };
        Ok(Machine { router, worker, _eal: eal })
    }

    /// A mixture drops every packet.
    fn mixture_shows(&mut self, cpu: Option<u16>) -> Result<()> {
        for (set, filter, passes) in [(1, 2, false), (2, 1, false), (1, 1, true), (2, 2, true)] {
            restore(&mut self.router, &restore_text(set, filter, 2))?;
            let (before, sent) = (self.netfilter_drops(), self.router.shared.ledger().tx);
            self.while_forwarding(cpu, |router, _| {
                // On a busy machine the lcore may take its time to start.
                let (began, end) = (router.shared.ledger().rx, Instant::now() + PATIENCE);
                while router.shared.ledger().rx < began + SEEN && Instant::now() < end {
                    thread::sleep(SLICE);
                }
                Ok(())
            })?;
            let seen = (self.netfilter_drops() > before, self.router.shared.ledger().tx > sent);
            ensure!(
                seen == (!passes, passes),
                "mark {set} under a filter for {filter}: (dropped, sent) is {seen:?}"
            );
        }
        Ok(())
    }

    fn measure(&mut self, rules: usize, seconds: f64, cpu: Option<u16>) -> Result<Row> {
        let sets = [1, 2].map(|mark| restore_text(mark, mark, rules));
        restore(&mut self.router, &sets[0])?;
        let (before, dropped) = (self.router.shared.ledger(), self.netfilter_drops());
        let mut times = Vec::new();
        let samples = self.while_forwarding(cpu, |router, phase| {
            let end = Instant::now() + Duration::from_secs_f64(seconds);
            while Instant::now() < end {
                phase.store(phase::QUIET, Ordering::Relaxed);
                thread::sleep(PHASE);
                phase.store(phase::SWAPPING, Ordering::Relaxed);
                swap_for(PHASE, router, &sets, &mut times)?;
            }
            Ok(())
        })?;
        let after = self.router.shared.ledger();
        let netfilter_drop = self.netfilter_drops() - dropped;
        let (came, sent) = (after.rx - before.rx, after.tx - before.tx);
        Ok(Row {
            rules,
            swaps: times.len() as u64,
            milliseconds_per_swap: median(times),
            forwarded: sent,
            netfilter_drop,
            lost: came as i64 - sent as i64 - netfilter_drop as i64,
            quiet: median(samples.quiet),
            swapping: median(samples.swapping),
        })
    }

    /// Runs the lcore on a thread of its own while `work` goes on on this one.
    fn while_forwarding(
        &mut self,
        cpu: Option<u16>,
        work: impl FnOnce(&mut Router, &AtomicU8) -> Result<()>,
    ) -> Result<Samples> {
        let now = AtomicU8::new(phase::QUIET);
        let (worker, router) = (&mut self.worker, &mut self.router);
        thread::scope(|scope| {
            let lcore =
                scope.spawn(|| cpu.map_or(Ok(()), pin_current_thread).map(|()| measure_slices(worker, &now)));
            let done = work(router, &now);
            now.store(phase::STOP, Ordering::Relaxed);
            let samples = lcore.join().map_err(|_| anyhow!("the lcore panicked"))??;
            done.map(|()| samples)
        })
    }

    fn netfilter_drops(&self) -> u64 {
        let rows = drops::rows(&self.router.shared);
        rows.iter().filter(|row| row.reason == DropReason::NetfilterDrop).map(|row| row.packets).sum()
    }
}

fn measure_slices(worker: &mut Worker, now: &AtomicU8) -> Samples {
    let mut samples = Samples::default();
    loop {
        let began = now.load(Ordering::Relaxed);
        if began == phase::STOP {
            return samples;
        }
        let cost = forward(worker, SLICE);
        if now.load(Ordering::Relaxed) == began {
            if began == phase::QUIET { samples.quiet.push(cost) } else { samples.swapping.push(cost) }
        }
    }
}

/// Swaps the sets in turn, and notes the milliseconds each swap took.
fn swap_for(time: Duration, router: &mut Router, sets: &[String; 2], times: &mut Vec<f64>) -> Result<()> {
    let end = Instant::now() + time;
    let mut due = Instant::now();
    while Instant::now() < end {
        let began = Instant::now();
        restore(router, &sets[(times.len() + 1) % 2])?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        due += Duration::from_secs(1) / RATE;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// `iptables-restore`, and all that was replaced let go.
fn restore(router: &mut Router, text: &str) -> Result<()> {
    let call = Call { args: Vec::new(), input: text.to_owned(), input_name: "bench".to_owned() };
    let reply = router.netfilter(Program::IptablesRestore, &call);
    ensure!(reply.exit == 0, "iptables-restore: {}", reply.stderr);
    router.reclaim();
    Ok(())
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}
