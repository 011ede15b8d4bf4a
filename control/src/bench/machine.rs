//! The daemon's own router between a port that generates and one that swallows, for benches of what control does to an
//! lcore at full load.

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use skiff_dataplane::core::env::Hands;
use skiff_dataplane::core::lcore::{Clock, Idle, Worker};
use skiff_dataplane::net::MacAddr;
use skiff_pmd::{Eal, EalConfig, Hugepages, Pool, PoolConfig, pin_current_thread, rdtsc};

use super::forward::forward;
use super::traffic::{Case, write_pcap};
use crate::config;
use crate::daemon::{new_router, ports};
use crate::router::Router;

/// What `net_pcap` gives its first port for a hardware address.
const PCAP_MAC: MacAddr = MacAddr([2, 0x70, 0x63, 0x61, 0x70, 0]);
/// Length of one measurement of the lcore.
pub(super) const SLICE: Duration = Duration::from_millis(10);
/// Time at rest, and then at work, in turn.
pub(super) const PHASE: Duration = Duration::from_millis(250);

/// What the lcore is to do, and what its measurements are of.
pub(super) mod phase {
    pub const STOP: u8 = 0;
    pub const QUIET: u8 = 1;
    pub const WORKING: u8 = 2;
}

/// Cycles a packet of the slices that lay in one phase.
#[derive(Default)]
pub(super) struct Samples {
    pub quiet: Vec<f64>,
    pub working: Vec<f64>,
}

/// A router between a port that generates and one that swallows.
pub(super) struct Machine {
    pub router: Router,
    pub worker: Worker,
    // Last: the others hold on to its memory.
    _eal: Eal,
}

impl Machine {
    /// One that forwards 1024 flows.
    pub fn start() -> Result<Machine> {
        let destinations = Case::Flows1024.destinations(&Case::Flows1024.routes());
        let pcap = std::env::temp_dir().join(format!("skiff-bench-{}.pcap", std::process::id()));
        write_pcap(&pcap, PCAP_MAC, &destinations)
            .with_context(|| format!("cannot write {}", pcap.display()))?;
        let started = Machine::on(&pcap, destinations.len());
        let _ = std::fs::remove_file(&pcap);
        started
    }

    fn on(pcap: &Path, frames: usize) -> Result<Machine> {
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

    /// Runs the lcore on a thread of its own while `work` goes on on this one.
    pub fn while_forwarding(
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
            if began == phase::QUIET { samples.quiet.push(cost) } else { samples.working.push(cost) }
        }
    }
}

/// The one in the middle; NaN of none.
pub(super) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}
