//! The listeners of QUEUE verdicts: a SOCK_SEQPACKET socket beside the API's, and the packets that wait for answers.
//!
//! Packets come straight from the lcores that queued them and go straight back there; the control thread and its
//! timers take no part. One thread serves all: it sleeps in `poll` over the sockets and an event counter, which lcores
//! raise when they queue a packet while it sleeps. It never waits for a listener: what a socket does not take is lost
//! and counted, as in the kernel. The protocol is the crate `nfqueue`'s.

mod connection;
mod plane;
mod queues;
mod serve;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::SockType;
use skiff_dataplane::core::shared::Shared;
use skiff_pmd::Pool;

use crate::api::ServeError;
use crate::api::listen::SocketFile;
use plane::{DataPlane, Plane};
use serve::Service;

/// Where the socket for listeners is, given the API's: `nfqueue.sock` beside `skiff.sock`, `NAME.nfqueue.sock` beside
/// any other `NAME.sock`, so that several routers may share a directory.
pub fn socket_beside(api: &Path) -> PathBuf {
    let stem = api.file_stem().unwrap_or_default();
    if stem == "skiff" {
        return api.with_file_name("nfqueue.sock");
    }
    let mut name = stem.to_owned();
    name.push(".nfqueue.sock");
    api.with_file_name(name)
}

/// The running server. Dropping it stops it.
pub struct Server {
    stop: Arc<AtomicBool>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves listeners on `socket`. Replaced payloads take further mbufs from `pool`.
    ///
    /// # Errors
    /// [`ServeError`]; nothing is left behind then.
    pub fn start(socket: &Path, shared: Arc<Shared>, pool: Pool) -> Result<Server, ServeError> {
        Self::over(socket, DataPlane::new(shared, pool))
    }

    fn over<P: Plane>(socket: &Path, plane: P) -> Result<Server, ServeError> {
        let (file, listener) = SocketFile::bind(socket, SockType::SeqPacket)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags)
            .map(Arc::new)
            .map_err(|error| ServeError::Thread(io::Error::from(error)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let raise = Arc::clone(&wake);
        plane.wake_by(Box::new(move || {
            let _ = raise.write(1);
        }));
        let service = Service::new(plane, listener, Arc::clone(&wake), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("skiff-nfqueue".to_owned())
            .spawn(move || {
                service.run();
                drop(file);
            })
            .map_err(ServeError::Thread)?;
        Ok(Server { stop, wake, thread: Some(thread) })
    }

    /// Closes all connections, frees the packets that wait (reason: shutdown), and returns when all is done. No lcore
    /// may run any more.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.wake.write(1);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the nfqueue thread panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shut_down();
    }
}
