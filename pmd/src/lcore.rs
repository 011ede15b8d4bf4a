//! Threads as DPDK sees them: a registered thread has an lcore number, and with it a cache of its own in
//! every pool.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, size_of};

use crate::eal;
use crate::error::{Error, why_os, why_rte_errno};

/// DPDK's `LCORE_ID_ANY`.
const NO_LCORE: u32 = u32::MAX;

thread_local! {
    /// The calling thread's lcore number. DPDK has its own copy, in a thread-local Rust cannot read
    /// without a call.
    static LCORE: Cell<u32> = const { Cell::new(NO_LCORE) };
}

/// Makes the calling thread an lcore until the guard is dropped. On the main lcore, and on a thread that
/// is registered already, it changes nothing.
///
/// # Errors
/// [`Error::Thread`] when EAL is not up or has no lcore number left (Debian's DPDK has 128).
pub fn register_thread() -> Result<LcoreGuard, Error> {
    let refuse = |why| Error::Thread { what: "register the thread with DPDK".into(), why };
    let not_send = PhantomData;
    if lcore_id() != NO_LCORE {
        return Ok(LcoreGuard { registered: false, not_send });
    }
    let _control = eal::control();
    if !eal::is_up() {
        return Err(refuse("EAL is not running".into()));
    }
    // SAFETY: EAL is up and this thread has no lcore number.
    if unsafe { dpdk_sys::rte_thread_register() } != 0 {
        return Err(refuse(why_rte_errno()));
    }
    adopt();
    Ok(LcoreGuard { registered: true, not_send })
}

/// Keeps a thread registered.
#[derive(Debug)]
#[must_use = "the thread is an lcore only while the guard lives"]
pub struct LcoreGuard {
    registered: bool,
    not_send: PhantomData<*const ()>,
}

impl Drop for LcoreGuard {
    fn drop(&mut self) {
        let LcoreGuard { registered, not_send: PhantomData } = self;
        if *registered {
            let _control = eal::control();
            // First, so that no buffer goes to a cache that may get another owner.
            LCORE.set(NO_LCORE);
            // SAFETY: this thread registered itself; the guard cannot change threads.
            unsafe { dpdk_sys::rte_thread_unregister() };
        }
    }
}

/// The calling thread's lcore number, `None` if it is not registered.
pub fn current_lcore_id() -> Option<u32> {
    Some(lcore_id()).filter(|&id| id != NO_LCORE)
}

/// Binds the calling thread to one CPU.
///
/// # Errors
/// [`Error::Thread`] if the CPU does not exist or is not allowed.
pub fn pin_current_thread(cpu: u16) -> Result<(), Error> {
    let refuse = |why| Error::Thread { what: format!("move the thread to CPU {cpu}"), why };
    let mut set = empty_cpu_set();
    if usize::from(cpu) >= MAX_CPUS {
        return Err(refuse(format!("CPU numbers end at {}", MAX_CPUS - 1)));
    }
    // SAFETY: the number is within the set.
    unsafe { libc::CPU_SET(usize::from(cpu), &mut set) };
    // SAFETY: 0 is the calling thread; the set is valid and of the size given.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) } {
        0 => Ok(()),
        _ => Err(refuse(why_os())),
    }
}

/// The CPUs the calling thread may use, in order.
pub fn allowed_cpus() -> Vec<u16> {
    let mut set = empty_cpu_set();
    // SAFETY: 0 is the calling thread; the kernel writes at most the size given.
    let ret = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
    if ret != 0 {
        return vec![0];
    }
    // SAFETY: every number asked for is within the set.
    (0..MAX_CPUS).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).map(|cpu| cpu as u16).collect()
}

/// How late the kernel may wake the calling thread from a sleep, ns. The default of 50 000 is longer
/// than the sleeps of an idle worker.
pub fn set_timer_slack_ns(ns: u64) {
    // SAFETY: takes a number and changes only the calling thread's slack. It cannot fail.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, ns, 0, 0, 0) };
}

/// CPU time the calling thread has used, ns.
pub fn thread_cpu_time_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// A clock's reading, ns.
pub(crate) fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid clock and a place for the answer.
    unsafe { libc::clock_gettime(clock, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The calling thread's lcore number, [`NO_LCORE`] if it has none.
#[inline]
pub(crate) fn lcore_id() -> u32 {
    LCORE.get()
}

/// The thread that started EAL is the main lcore for good.
pub(crate) fn adopt_main() {
    adopt();
}

fn adopt() {
    // SAFETY: reads a thread-local.
    LCORE.set(unsafe { dpdk_sys::skiff_lcore_id() });
}

const MAX_CPUS: usize = libc::CPU_SETSIZE as usize;

fn empty_cpu_set() -> libc::cpu_set_t {
    // SAFETY: a CPU set is an array of integers; all zeroes is the empty set.
    unsafe { MaybeUninit::zeroed().assume_init() }
}
