//! DPDK's log: everything goes to `tracing` (target `dpdk`), nothing to the terminal, and the last
//! warnings and errors are kept for the [`Error`](crate::Error) of whatever is being set up.

use std::collections::VecDeque;
use std::ffi::c_char;
use std::slice;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// `RTE_LOG_*` levels, worst first.
const LEVEL_ERR: u32 = 4;
const LEVEL_WARNING: u32 = 5;
const LEVEL_INFO: u32 = 7;

/// Lines kept for an error's text.
const KEPT: usize = 4;

static LAST: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// Takes over DPDK's log. Once in the process's life; before EAL starts, so that it hears everything.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    // Without a stream DPDK logs to stderr: noisy, and no reason to stop.
    ONCE.call_once(|| {
        // SAFETY: `sink` keeps no pointer it is given.
        let ret = unsafe { dpdk_sys::skiff_log_open(Some(sink)) };
        if ret != 0 {
            tracing::warn!("DPDK's log cannot be redirected");
        }
    });
}

/// Forgets the lines kept so far: a new operation begins.
pub(crate) fn forget() {
    last().clear();
}

/// The last warnings and errors since [`forget`], as one line.
pub(crate) fn last_errors() -> String {
    last().make_contiguous().join("; ")
}

fn last() -> MutexGuard<'static, VecDeque<String>> {
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe extern "C" fn sink(level: u32, text: *const c_char, len: usize) {
    // SAFETY: the shim hands over `len` readable bytes that stay in place during this call.
    let bytes = unsafe { slice::from_raw_parts(text.cast::<u8>(), len) };
    for line in String::from_utf8_lossy(bytes).lines().map(str::trim).filter(|line| !line.is_empty()) {
        if level <= LEVEL_WARNING {
            keep(line);
        }
        emit(level, line);
    }
}

fn keep(line: &str) {
    let mut last = last();
    if last.len() == KEPT {
        last.pop_front();
    }
    last.push_back(line.to_owned());
}

fn emit(level: u32, line: &str) {
    if level <= LEVEL_ERR {
        tracing::warn!(target: "dpdk", "{line}");
    } else if level <= LEVEL_INFO {
        tracing::debug!(target: "dpdk", "{line}");
    } else {
        tracing::trace!(target: "dpdk", "{line}");
    }
}
