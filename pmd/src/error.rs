//! The crate's one error type.

use std::ffi::{CStr, CString};

use crate::log;

/// What went wrong, and with what. `why` fields hold the system's text for the error number, followed by
/// the last errors the drivers logged, where there were any.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// DPDK's environment can be set up once in a process's life.
    #[error("EAL was started before in this process")]
    AlreadyInitialised,
    /// EAL refused to start.
    #[error("EAL did not start: {why}")]
    Init {
        /// The reason, with the last lines EAL logged.
        why: String,
    },
    /// Hugepages were required and cannot be had.
    #[error("no hugepages for {memory_mib} MiB of packet memory: {why}")]
    Hugepages {
        /// What was asked for.
        memory_mib: u32,
        /// Why it cannot be had.
        why: String,
    },
    /// A string that DPDK cannot take: a NUL byte in it, a comma in a device argument, or too long.
    #[error("`{text}` cannot be passed to DPDK: {why}")]
    Argument {
        /// The string.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A packet pool was not created.
    #[error("pool {name}: {why}")]
    Pool {
        /// The pool's name.
        name: String,
        /// The reason.
        why: String,
    },
    /// A ring was not created.
    #[error("ring {name}: {why}")]
    Ring {
        /// The ring's name.
        name: String,
        /// The reason.
        why: String,
    },
    /// A device was not attached or not detached.
    #[error("device {devargs}: {why}")]
    Device {
        /// The device as it was asked for.
        devargs: String,
        /// The reason.
        why: String,
    },
    /// No device has this port number.
    #[error("port {name}: there is no device number {id}")]
    NoSuchPort {
        /// The interface.
        name: String,
        /// The port number.
        id: u16,
    },
    /// The port is open already.
    #[error("port {name}: device number {id} is in use")]
    PortInUse {
        /// The interface.
        name: String,
        /// The port number.
        id: u16,
    },
    /// The port cannot be stopped while somebody may poll its queues.
    #[error("port {name}: its queues are still in use")]
    QueuesInUse {
        /// The interface.
        name: String,
    },
    /// A driver refused an operation on a port.
    #[error("port {name}: cannot {what}: {why}")]
    Port {
        /// The interface.
        name: String,
        /// The operation, as in "set the MTU".
        what: &'static str,
        /// The error number, positive.
        errno: i32,
        /// The reason.
        why: String,
    },
    /// A system call about the calling thread failed.
    #[error("cannot {what}: {why}")]
    Thread {
        /// The operation.
        what: String,
        /// The reason.
        why: String,
    },
}

impl Error {
    /// Whether a driver refused because it lacks the operation altogether.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Error::Port { errno: libc::ENOTSUP | libc::ENOSYS, .. })
    }
}

/// The text of a positive error number, with what DPDK logged since [`log::forget`].
pub(crate) fn why(errno: i32) -> String {
    match log::last_errors() {
        log if log.is_empty() => errno_text(errno),
        log => format!("{} ({log})", errno_text(errno)),
    }
}

/// The text of a positive error number.
pub(crate) fn errno_text(errno: i32) -> String {
    // SAFETY: any number will do; the answer is a NUL-terminated string of this thread, or a constant.
    let text = unsafe { dpdk_sys::rte_strerror(errno) };
    // SAFETY: `text` is NUL-terminated, and this thread does not ask again before it is copied.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// The same for the calling thread's `rte_errno`.
pub(crate) fn why_rte_errno() -> String {
    // SAFETY: reads a thread-local.
    why(unsafe { dpdk_sys::skiff_errno() })
}

/// The calling thread's `errno`, as text.
pub(crate) fn why_os() -> String {
    std::io::Error::last_os_error().to_string()
}

pub(crate) fn c_string(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Argument { text: text.into(), why: "it holds a NUL byte" })
}
