//! DPDK's environment abstraction layer: memory, devices and the main lcore.

use std::ffi::{CStr, CString, OsStr, c_char};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, c_string, why, why_rte_errno};
use crate::{lcore, log, pkt, port};

mod hugepages;
mod pci;

/// Whether packet memory comes from hugepages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Hugepages {
    /// Use 2 MiB hugepages if enough are free, ordinary pages otherwise.
    #[default]
    Prefer,
    /// Refuse to start without.
    Require,
    /// Ordinary pages. Slower, and devices that need bus addresses do not work; needs no privilege.
    Off,
}

/// How to start EAL.
#[derive(Clone, Debug, Default)]
pub struct EalConfig {
    /// `argv[0]`: the name in EAL's messages.
    pub program: String,
    /// Packet memory, MiB; 0 leaves it to EAL.
    pub memory_mib: u32,
    /// Hugepages or not.
    pub hugepages: Hugepages,
    /// The CPU of the calling thread, which becomes the main lcore; `None` leaves it free to move between
    /// the CPUs it is allowed now.
    pub main_cpu: Option<u16>,
    /// Virtual devices, as in `net_null0`; see [`vdev`](crate::vdev).
    pub vdevs: Vec<String>,
    /// PCI devices to take, as in `0000:00:04.0`. With none the PCI bus is not looked at.
    pub pci_allow: Vec<String>,
    /// Keeps the runtime files of several DPDK processes apart; empty for DPDK's own choice.
    pub file_prefix: String,
    /// More EAL arguments, handed on as they are.
    pub extra_args: Vec<String>,
}

/// Proof that EAL is up. When the last of this and the pools, ports and rings is dropped, every device is
/// closed and EAL counts as down.
///
/// DPDK's memory stays mapped until the process ends, so a packet that is still out there does no harm.
/// (`rte_eal_cleanup` would unmap it, and leave running an interrupt thread that looks at handles in it:
/// with net_memif that ends in a segmentation fault more often than not. It has nothing else to do here:
/// the devices are closed, and neither kind of memory leaves files behind.)
pub struct Eal(Arc<EalToken>);

impl Eal {
    /// Starts EAL; the calling thread becomes the main lcore. Once in a process's life.
    ///
    /// # Errors
    /// [`Error::AlreadyInitialised`]; [`Error::Hugepages`] if they are required and missing;
    /// [`Error::Argument`]; [`Error::Init`] with EAL's own last words; [`Error::Device`] for the first
    /// virtual device that no driver takes.
    pub fn init(cfg: EalConfig) -> Result<Eal, Error> {
        static STARTED: AtomicBool = AtomicBool::new(false);

        let hugepages = choose_memory(&cfg)?;
        let argv = arguments(&cfg, hugepages)?;
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(Error::AlreadyInitialised);
        }
        start(argv)?;
        let eal = Eal(Arc::new(EalToken { hugepages }));
        lcore::adopt_main();
        pkt::claim_metadata()?;
        // Not on EAL's command line: drivers claim parts of the mbuf when they are probed.
        // A NIC that no driver takes has no port; whoever wants that finds out.
        cfg.pci_allow.iter().for_each(|devargs| drop(eal.attach_vdev(devargs)));
        cfg.vdevs.iter().try_for_each(|devargs| eal.attach_vdev(devargs).map(drop))?;
        Ok(eal)
    }

    /// Whether packet memory is in hugepages.
    pub fn uses_hugepages(&self) -> bool {
        self.0.hugepages
    }

    /// DPDK's version, as in `DPDK 22.11.11`.
    pub fn dpdk_version() -> &'static str {
        // SAFETY: needs nothing.
        let version = unsafe { dpdk_sys::rte_version() };
        // SAFETY: DPDK writes the text once, in static memory.
        let version: &'static CStr = unsafe { CStr::from_ptr(version) };
        version.to_str().unwrap_or("DPDK")
    }

    /// Number and device name of every port that exists now: `net_null0`, `0000:00:04.0`.
    pub fn port_names(&self) -> Vec<(u16, String)> {
        let _control = control();
        port::existing().filter_map(|id| Some((id, port::device_name(id)?))).collect()
    }

    /// Attaches a device, as in `net_null1,size=60`, and returns its port number.
    ///
    /// # Errors
    /// [`Error::Device`] when no driver takes it.
    pub fn attach_vdev(&self, devargs: &str) -> Result<u16, Error> {
        let refuse = |why| Error::Device { devargs: devargs.into(), why };
        let c_devargs = c_string(devargs)?;
        let c_name = c_string(device_of(devargs))?;
        let _control = control();
        log::forget();
        // SAFETY: a NUL-terminated string, copied by DPDK; device changes are serialised by `control`.
        let ret = unsafe { dpdk_sys::rte_dev_probe(c_devargs.as_ptr()) };
        if ret != 0 {
            return Err(refuse(why(-ret)));
        }
        let mut id = 0;
        // SAFETY: a NUL-terminated name and a place for the answer.
        let ret = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &mut id) };
        if ret == 0 { Ok(id) } else { Err(refuse("it is no network device".into())) }
    }

    /// Removes a virtual device by its name, as in `net_null1`. Its port must be closed.
    ///
    /// # Errors
    /// [`Error::PortInUse`] while its port is open; [`Error::Device`] if there is no such device.
    pub fn detach_vdev(&self, device: &str) -> Result<(), Error> {
        let name = c_string(device)?;
        let _control = control();
        let mut id = 0;
        // SAFETY: a NUL-terminated name and a place for the answer.
        let known = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) } == 0;
        if known && port::is_open(id) {
            return Err(Error::PortInUse { name: device.into(), id });
        }
        log::forget();
        // SAFETY: NUL-terminated names; no Port holds the device, so nothing polls its queues.
        let ret = unsafe { dpdk_sys::rte_eal_hotplug_remove(c"vdev".as_ptr(), name.as_ptr()) };
        if ret == 0 { Ok(()) } else { Err(Error::Device { devargs: device.into(), why: why(-ret) }) }
    }

    /// What keeps EAL up.
    pub(crate) fn token(&self) -> Arc<EalToken> {
        self.0.clone()
    }
}

impl fmt::Debug for Eal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eal").field("hugepages", &self.0.hugepages).finish()
    }
}

/// Held by everything that needs EAL up.
#[derive(Debug)]
pub(crate) struct EalToken {
    hugepages: bool,
}

impl Drop for EalToken {
    fn drop(&mut self) {
        let _control = control();
        UP.store(false, Ordering::Release);
        port::close_all();
        // EAL makes it at every start and leaves it behind. One that is not empty is shared, and stays.
        let _ = std::fs::remove_dir(runtime_directory());
    }
}

/// Where EAL keeps this process's runtime files.
fn runtime_directory() -> PathBuf {
    // SAFETY: needs nothing.
    let path = unsafe { dpdk_sys::rte_eal_get_runtime_dir() };
    // SAFETY: a NUL-terminated text in static memory, written when EAL started.
    let path = unsafe { CStr::from_ptr(path) };
    PathBuf::from(OsStr::from_bytes(path.to_bytes()))
}

static UP: AtomicBool = AtomicBool::new(false);

/// Whether EAL is up. Ask while holding [`control`].
pub(crate) fn is_up() -> bool {
    UP.load(Ordering::Acquire)
}

/// Serialises what DPDK does not: device, port and thread set-up.
pub(crate) fn control() -> MutexGuard<'static, ()> {
    static CONTROL: Mutex<()> = Mutex::new(());
    CONTROL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The device name that begins devargs.
pub(crate) fn device_of(devargs: &str) -> &str {
    devargs.split_once(',').map_or(devargs, |(device, _)| device)
}

fn choose_memory(cfg: &EalConfig) -> Result<bool, Error> {
    match cfg.hugepages {
        Hugepages::Off => Ok(false),
        Hugepages::Prefer => Ok(hugepages::usable(cfg.memory_mib).is_ok()),
        Hugepages::Require => match hugepages::usable(cfg.memory_mib) {
            Ok(()) => Ok(true),
            Err(why) => Err(Error::Hugepages { memory_mib: cfg.memory_mib, why }),
        },
    }
}

/// EAL's command line. Always one process and one EAL lcore: workers are our own registered threads.
fn arguments(cfg: &EalConfig, hugepages: bool) -> Result<Vec<CString>, Error> {
    let program = if cfg.program.is_empty() { "skiff" } else { &cfg.program };
    let mut args = vec![program.to_owned(), "--no-telemetry".into()];
    if hugepages {
        // One file for the segments, or vhost-user peers cannot map them.
        args.extend(["--in-memory".into(), "--single-file-segments".into()]);
    } else {
        // DPDK refuses --in-memory together with --no-huge.
        args.extend(["--no-huge".into(), "--no-shconf".into()]);
    }
    if cfg.memory_mib != 0 {
        args.extend(["-m".into(), cfg.memory_mib.to_string()]);
    }
    args.extend(["--lcores".into(), main_lcore(cfg.main_cpu)]);
    if !cfg.file_prefix.is_empty() {
        args.extend(["--file-prefix".into(), cfg.file_prefix.clone()]);
    }
    args.extend(pci::arguments(&cfg.pci_allow, hugepages));
    args.extend(cfg.extra_args.iter().cloned());
    args.iter().map(|arg| c_string(arg)).collect()
}

/// Lcore 0, on one CPU or on every CPU this thread may use.
fn main_lcore(cpu: Option<u16>) -> String {
    match cpu {
        Some(cpu) => format!("0@{cpu}"),
        None => {
            let cpus: Vec<String> = lcore::allowed_cpus().iter().map(u16::to_string).collect();
            format!("0@({})", cpus.join(","))
        }
    }
}

/// EAL permutes and keeps its argument vector, so it is leaked: once, a few hundred bytes.
fn start(args: Vec<CString>) -> Result<(), Error> {
    let count = args.len() as i32;
    let mut argv: Vec<*mut c_char> = args.into_iter().map(CString::into_raw).collect();
    argv.push(ptr::null_mut());
    let argv = Vec::leak(argv);
    let _control = control();
    log::install();
    log::forget();
    // SAFETY: `argv` holds `count` writable strings and a null, all of which live for ever.
    if unsafe { dpdk_sys::rte_eal_init(count, argv.as_mut_ptr()) } < 0 {
        return Err(Error::Init { why: why_rte_errno() });
    }
    UP.store(true, Ordering::Release);
    Ok(())
}
