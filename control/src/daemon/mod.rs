//! `skiff run`: from a configuration file to a running router, and back to an empty machine.

mod links;
pub(crate) mod ports;
mod service;
mod watchdog;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as WallInstant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use skiff_dataplane::core::env::Hands;
use skiff_dataplane::core::lcore::{Clock, Idle, Worker};
use skiff_dataplane::core::qsbr::Qsbr;
use skiff_dataplane::core::shared::{RunState, Shared};
use skiff_dataplane::core::snapshot::{Snapshot, Sysctl};
use skiff_dataplane::fib::FibWriter;
use skiff_dataplane::neigh::cache::{GcParams, NeighCache};
use skiff_dataplane::time::Instant;
use skiff_pmd::{Eal, EalConfig, Hugepages, Pool, PoolConfig, allowed_cpus, pin_current_thread, rdtsc};

use crate::api::Server;
use crate::cli::{DEFAULT_SOCKET, Exit, Run, error_line};
use crate::config::{self, Bus, Config, Diagnostic};
use crate::facts::{Facts, LcoreFacts, MemoryFacts};
use crate::metrics::MAX_SERIES_PER_FAMILY;
use crate::nfqueue;
use crate::router::{Parts, Router};
use ports::Share;
use watchdog::Watchdog;

/// Groups of the FIB for prefixes longer than /24: 1 KiB each once touched.
const TBL8_GROUPS: usize = 1 << 16;
/// Neighbours the table has room for, those waiting for reuse included.
const NEIGHBOURS: usize = 8192;
/// Packet buffers an lcore caches.
const POOL_CACHE: u32 = 256;
/// Longest sleep of the control thread: how late it may see a signal.
const LONGEST_TURN: Duration = Duration::from_millis(20);
/// Time lcores get to send what is under way when the router stops.
const DRAIN: Duration = Duration::from_millis(100);

/// Seconds since 1970-01-01 UTC.
pub fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// `skiff run`.
pub fn run(args: &Run, socket: &Path) -> ExitCode {
    let config = match config::load(&args.config)
        .and_then(|c| c.checked_memory_plan().map(|_| c).map_err(|d| vec![d]))
    {
        Ok(config) => config,
        Err(diagnostics) => {
            complain(&diagnostics);
            return Exit::ConfigInvalid.into();
        }
    };
    // From here on a signal ends the start-up in order too: it is looked at as soon as the router is up.
    let signals = match Signals::register() {
        Ok(signals) => signals,
        Err(error) => {
            eprint!("{}", error_line("run", error));
            return Exit::Failed.into();
        }
    };
    match Daemon::start(config, args, socket) {
        Ok(daemon) => daemon.serve(&args.config, &signals),
        Err(StartError::Config(diagnostics)) => {
            complain(&diagnostics);
            Exit::ConfigInvalid.into()
        }
        Err(StartError::Other(error)) => {
            eprint!("{}", error_line("run", format!("{error:#}")));
            Exit::Failed.into()
        }
    }
}

fn complain(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        eprintln!("skiff: {diagnostic}");
    }
}

enum StartError {
    Config(Vec<Diagnostic>),
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for StartError {
    fn from(error: E) -> Self {
        StartError::Other(error.into())
    }
}

/// The router behind a lock: the control thread's turns and the API's commands take it one after the other.
#[derive(Clone)]
struct Handle(Arc<Mutex<Router>>);

impl Handle {
    fn lock(&self) -> MutexGuard<'_, Router> {
        // A panic in one command must not take the router down with it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Daemon {
    router: Handle,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<Worker>>,
    server: Server,
    listeners: nfqueue::Server,
    pool: Pool,
    // Last: everything above holds on to memory of EAL's.
    _eal: Eal,
}

impl Daemon {
    fn start(config: Config, args: &Run, socket: &Path) -> Result<Daemon, StartError> {
        let allowed = allowed_cpus();
        let cpus = config.system.lcores.resolve(&allowed).map_err(|cpu| {
            let text = format!("CPU {cpu} is not one this process may use (allowed: {allowed:?})");
            StartError::Config(vec![config.diagnostic(config.system.lcores.pos, text)])
        })?;
        let eal = Eal::init(eal_config(&config, args))?;
        let main_cpu =
            config.system.main_lcore.as_ref().map(|cpu| cpu.value).or_else(|| allowed.first().copied());
        if let Some(cpu) = main_cpu {
            pin_current_thread(cpu)?;
        }
        let plan = config.memory_plan_for(cpus.len());
        let pool_config = PoolConfig {
            name: "skiff",
            mbufs: plan.mbufs as u32,
            cache: POOL_CACHE,
            data_room: 2048,
            socket: None,
        };
        let pool = Pool::create(&eal, &pool_config)?;
        let adaptive = config.system.idle.value == config::Idle::Adaptive;
        let (opened, shares) = ports::open_all(&eal, &config, &pool, cpus.len(), adaptive)
            .map_err(|diagnostic| StartError::Config(vec![diagnostic]))?;

        let clock = Clock::new(rdtsc());
        let mut router = new_router(cpus.len(), clock, &pool)?;
        for port in opened {
            if let Some(interface) = config.interface(&port.interface) {
                router.add_port(interface, port.handle).map_err(|refusal| {
                    StartError::Config(vec![config.diagnostic(interface.name.pos, refusal.to_string())])
                })?;
            }
        }
        let features = vec![
            ("hugepages", eal.uses_hugepages()),
            ("vfio", uses_vfio(&config)),
            ("rx_interrupt", adaptive && shares.iter().any(Share::wakes_by_interrupt)),
        ];
        let facts = constant_facts(&config, &cpus, features);
        let listen = config.metrics.as_ref().map(|metrics| metrics.listen.value);
        let max_series = config
            .metrics
            .as_ref()
            .map_or(MAX_SERIES_PER_FAMILY, |metrics| metrics.max_series_per_family.value);
        let socket = config
            .api
            .socket
            .as_ref()
            .filter(|_| socket == Path::new(DEFAULT_SOCKET))
            .map_or_else(|| socket.to_owned(), |path| path.value.clone());
        let idle = if adaptive { Idle::Adaptive } else { Idle::Poll };
        router.apply(config).map_err(StartError::Config)?;

        let shared = Arc::clone(&router.shared);
        let router = Handle(Arc::new(Mutex::new(router)));
        let backend = service::Service::new(router.clone(), Arc::clone(&shared), facts, max_series)?;
        let server = Server::start(Arc::new(backend), &socket, listen)?;
        let listeners =
            nfqueue::Server::start(&nfqueue::socket_beside(&socket), Arc::clone(&shared), pool.clone())?;
        let workers = spawn(shares, &cpus, &shared, &pool, clock, idle)?;
        Ok(Daemon { router, shared, workers, server, listeners, pool, _eal: eal })
    }

    /// The control thread's loop, until a signal ends it.
    fn serve(self, file: &Path, signals: &Signals) -> ExitCode {
        self.shared.adopt_control_thread();
        println!("skiff: ready");
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
        let mut watch = links::LinkWatch::default();
        let mut watchdog = Watchdog::of_manager(WallInstant::now());
        while !signals.stop.load(Ordering::Relaxed) {
            if signals.reload.swap(false, Ordering::Relaxed) {
                self.reload(file);
            }
            if let Some(watchdog) = &mut watchdog {
                watchdog.turn(WallInstant::now(), &self.shared);
            }
            let (deadline, more) = {
                let mut router = self.router.lock();
                watch.turn(&mut router, WallInstant::now());
                router.slow_path()
            };
            if !more {
                let now = self.router.lock().clock.now();
                self.shared.park_control(deadline.since(now).min(LONGEST_TURN));
            }
        }
        self.stop(Exit::Ok)
    }

    fn reload(&self, file: &Path) {
        // The time is for Type=notify-reload, which systemd has since 253; Type=notify does without.
        let since = sd_notify::NotifyState::monotonic_usec_now();
        let state: Vec<_> = [sd_notify::NotifyState::Reloading].into_iter().chain(since).collect();
        let _ = sd_notify::notify(false, &state);
        let applied = config::load(file).and_then(|config| self.router.lock().apply(config));
        match applied {
            Ok(()) => println!("skiff: applied {}", file.display()),
            Err(diagnostics) => complain(&diagnostics),
        }
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
    }

    /// Stops receiving, lets the lcores send what is under way, frees everything and says what became of it.
    fn stop(self, exit: Exit) -> ExitCode {
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]);
        self.shared.set_run_state(RunState::Draining);
        let drained = WallInstant::now() + DRAIN;
        while WallInstant::now() < drained {
            self.router.lock().slow_path();
            std::thread::sleep(Duration::from_millis(5));
        }
        self.shared.set_run_state(RunState::Stopped);
        let workers: Vec<Worker> = self.workers.into_iter().filter_map(|handle| handle.join().ok()).collect();
        self.server.stop();
        self.listeners.stop();
        self.router.lock().purge();
        self.router.lock().restore_macs();
        let ledger = self.shared.ledger();
        let held = ledger.held() - workers.iter().map(|w| w.hands.tx.held() as i64).sum::<i64>();
        drop(workers);
        self.router.lock().ports.clear();
        let pools = match self.pool.in_use() {
            0 => "pools full".to_owned(),
            out => format!("{out} of {} mbufs missing", self.pool.capacity()),
        };
        println!(
            "skiff: stopped: rx {} + created {} = tx {} + dropped {} + delivered {} + held {held}; {pools}",
            ledger.rx, ledger.created, ledger.tx, ledger.dropped, ledger.delivered,
        );
        exit.into()
    }
}

fn eal_config(config: &Config, args: &Run) -> EalConfig {
    let devices = config.eal_devices();
    let on = |bus: Bus| {
        devices.iter().filter(move |d| d.bus == bus).map(|d| d.devargs.clone()).collect::<Vec<_>>()
    };
    EalConfig {
        program: "skiff".to_owned(),
        memory_mib: u32::try_from(config.system.memory.value >> 20).unwrap_or(u32::MAX),
        hugepages: match config.system.hugepages.value {
            config::Hugepages::Prefer => Hugepages::Prefer,
            config::Hugepages::Require => Hugepages::Require,
            config::Hugepages::Off => Hugepages::Off,
        },
        main_cpu: None,
        vdevs: on(Bus::Vdev),
        pci_allow: on(Bus::Pci),
        file_prefix: format!("skiff-{}", std::process::id()),
        extra_args: args.eal.clone(),
    }
}

/// A router without ports.
pub(crate) fn new_router(workers: usize, clock: Clock, pool: &Pool) -> Result<Router> {
    let qsbr = Arc::new(Qsbr::new(workers));
    let fib = FibWriter::new(TBL8_GROUPS, Arc::clone(&qsbr))?;
    // The low bits of the TSC are as good a seed as any for spreading timers.
    let neigh = NeighCache::new(NEIGHBOURS, GcParams::default(), rdtsc(), Instant::ZERO);
    let first = Snapshot::new(0, [], Sysctl::default(), false);
    let origin = (unix_now() * 1e3) as u64;
    let (tables, neighbours) = (Arc::clone(fib.fib()), Arc::clone(neigh.table()));
    let shared = Arc::new(Shared::new(workers, first, qsbr, tables, neighbours, origin));
    Ok(Router::new(Parts { shared, fib, neigh, pool: pool.clone(), clock }))
}

/// A port's device is bound to vfio-pci.
fn uses_vfio(config: &Config) -> bool {
    let bound = |address: &str| std::fs::read_link(format!("/sys/bus/pci/devices/{address}/driver"));
    let devices = config.eal_devices();
    let mut pci = devices.iter().filter(|device| device.bus == Bus::Pci);
    pci.any(|device| bound(&device.name).is_ok_and(|driver| driver.ends_with("vfio-pci")))
}

fn constant_facts(config: &Config, cpus: &[u16], features: Vec<(&'static str, bool)>) -> Facts {
    let hugepages = features.contains(&("hugepages", true));
    Facts {
        start_time: unix_now(),
        features,
        lcores: cpus.iter().map(|cpu| LcoreFacts { cpu: Some(*cpu), numa_node: None }).collect(),
        memory: MemoryFacts { eal_bytes: config.system.memory.value, hugepages },
        ..Facts::default()
    }
}

fn spawn(
    shares: Vec<Share>,
    cpus: &[u16],
    shared: &Arc<Shared>,
    pool: &Pool,
    clock: Clock,
    idle: Idle,
) -> Result<Vec<JoinHandle<Worker>>> {
    let mut handles = Vec::new();
    for (id, (share, cpu)) in shares.into_iter().zip(cpus).enumerate() {
        let worker = Worker {
            id,
            cpu: Some(*cpu),
            shared: Arc::clone(shared),
            rx: share.rx,
            handoff: share.handoff,
            hands: Hands::new(id, share.tx, pool.clone(), rdtsc()),
            idle,
            clock,
        };
        let handle = worker.spawn().with_context(|| format!("worker {id} on CPU {cpu}"))?;
        handles.push(handle);
    }
    if handles.is_empty() { Err(anyhow!("no CPU for a worker")) } else { Ok(handles) }
}

/// What signals have asked for.
#[derive(Default)]
struct Signals {
    /// SIGTERM or SIGINT.
    stop: Arc<AtomicBool>,
    /// SIGHUP.
    reload: Arc<AtomicBool>,
}

impl Signals {
    fn register() -> std::io::Result<Signals> {
        let signals = Signals::default();
        signal_hook::flag::register(SIGTERM, Arc::clone(&signals.stop))?;
        signal_hook::flag::register(SIGINT, Arc::clone(&signals.stop))?;
        signal_hook::flag::register(SIGHUP, Arc::clone(&signals.reload))?;
        Ok(signals)
    }
}
