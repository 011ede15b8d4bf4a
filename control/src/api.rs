//! The daemon's door: HTTP on a UNIX socket for every command, and `/metrics` and `/healthz` on TCP for scrapers.
//!
//! The server runs on a thread of its own with a single-threaded runtime; what it asks of the daemon goes through
//! [`Backend`]. Answers to commands carry what the command line prints and its exit code, so that every client,
//! `curl` included, sees the same words.

pub(crate) mod listen;
mod routes;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use nix::sys::socket::SockType;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::netfilter::{Call, Program};
use crate::observe::body::Source;
use crate::observe::capture::{CaptureBody, Request as CaptureRequest, Totals};
use crate::observe::trace::TraceRequest;
use crate::tc;
use listen::SocketFile;

/// How long [`Server::stop`] waits for requests that are being answered.
const DRAIN: Duration = Duration::from_secs(2);

/// What the daemon does for its clients. Calls come from the server's thread, one at a time.
pub trait Backend: Send + Sync + 'static {
    /// Runs `skiff ip`; `args` are the words after `ip`.
    fn ip(&self, args: &[String]) -> Reply;
    /// Runs a program of netfilter's: `iptables` and its kin.
    fn netfilter(&self, program: Program, call: &Call) -> Reply;
    /// Runs `skiff tc`.
    fn tc(&self, call: &tc::Call) -> Reply;
    /// Shows a bond, or all of them, as text or as JSON.
    fn bond(&self, name: Option<&str>, json: bool) -> Reply;
    /// Shows state, as text or as JSON.
    fn show(&self, what: Show, json: bool) -> Reply;
    /// Traces packets, until they have come to their end or the answer is dropped.
    ///
    /// # Errors
    /// Why not.
    fn trace(&self, request: &TraceRequest) -> Result<Box<dyn Source>, Reply>;
    /// Begins a capture: its number, and the answer, which is the capture itself.
    ///
    /// # Errors
    /// Why not.
    fn capture(&self, request: &CaptureRequest) -> Result<(u64, CaptureBody), Reply>;
    /// Ends a capture and says how it went, even of one that is over; `None` if there was none of that number.
    fn capture_end(&self, id: u64) -> Option<Totals>;
    /// All metrics in the Prometheus text format.
    fn metrics(&self) -> String;
    /// Says whether packets are being forwarded.
    ///
    /// # Errors
    /// The reason why they are not, in one line.
    fn healthy(&self) -> Result<(), String>;
}

/// State to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Dropped packets by reason.
    Drops,
    /// Worker lcores and how busy they are.
    Lcores,
    /// Memory and packet buffers.
    Mem,
    /// The kernel's MIB counters; those that are zero too if asked for.
    Nstat {
        /// Zeros too.
        zeros: bool,
    },
    /// Functions at the hooks, and what became of packets there.
    Hooks,
    /// Queues that have listeners.
    Nfqueue,
    /// VLAN devices.
    Vlans,
}

/// The outcome of a command: what to print, and the exit code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
    /// The exit code: 0 done, 1 refused, 2 wrong usage.
    pub exit: u8,
}

impl Reply {
    /// Done, and this is the answer.
    pub fn ok(stdout: impl Into<String>) -> Reply {
        Reply { stdout: stdout.into(), ..Reply::default() }
    }

    /// Not done. `line` is the whole message, `skiff: WHAT: WHY` and a newline.
    pub fn failed(exit: u8, line: impl Into<String>) -> Reply {
        Reply { stderr: line.into(), exit, ..Reply::default() }
    }
}

/// The body of `POST /v1/ip`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpCommand {
    /// The words after `ip`.
    pub args: Vec<String>,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody answers on the socket.
    #[error("{}: another skiff is running on this socket (--socket names another)", .0.display())]
    InUse(PathBuf),
    /// The path is taken by something that is no socket.
    #[error("{}: exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The UNIX socket cannot be made.
    #[error("{}: {error}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The metrics listener cannot be made.
    #[error("metrics listener {address}: {error}")]
    Metrics {
        /// Its address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The thread or its runtime cannot be made.
    #[error("API thread: {0}")]
    Thread(io::Error),
}

/// The running server. Dropping it stops it.
pub struct Server {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    metrics: Option<SocketAddr>,
}

impl Server {
    /// Serves every route on the UNIX socket `socket`, and `/metrics` and `/healthz` on `metrics` too.
    ///
    /// Missing parent directories are made. The socket file has mode 0660; one left behind by a daemon that is gone is
    /// replaced.
    ///
    /// # Errors
    /// [`ServeError`]; nothing is left behind then.
    pub fn start(
        backend: Arc<dyn Backend>,
        socket: &Path,
        metrics: Option<SocketAddr>,
    ) -> Result<Server, ServeError> {
        let (file, listener) = SocketFile::bind(socket, SockType::Stream)?;
        let tcp = metrics.map(bind_tcp).transpose()?;
        let metrics = tcp.as_ref().and_then(|tcp| tcp.local_addr().ok());
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(ServeError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("skiff-api".to_owned())
            .spawn(move || runtime.block_on(serve(backend, file, listener, tcp, stopped)))
            .map_err(ServeError::Thread)?;
        Ok(Server { stop, thread: Some(thread), metrics })
    }

    /// Where the metrics listener is; tells the port if 0 was asked for.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Takes no more requests, answers those under way (for at most two seconds), removes the socket file, and returns
    /// when all is done.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the API thread panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shut_down();
    }
}

fn bind_tcp(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let bind = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|error| ServeError::Metrics { address, error })
}

async fn serve(
    backend: Arc<dyn Backend>,
    file: SocketFile,
    unix: UnixListener,
    tcp: Option<TcpListener>,
    mut stopped: watch::Receiver<bool>,
) {
    let unix = match tokio::net::UnixListener::from_std(unix) {
        Ok(listener) => tokio::spawn(serve_on(listener, routes::all(backend.clone()), stopped.clone())),
        Err(error) => return tracing::error!(%error, "the API socket cannot be polled"),
    };
    let tcp = tcp.and_then(|tcp| tokio::net::TcpListener::from_std(tcp).ok());
    let tcp = tcp.map(|tcp| tokio::spawn(serve_on(tcp, routes::scrape(backend), stopped.clone())));
    let _ = stopped.wait_for(|stop| *stop).await;
    // Idle keep-alive connections end at once; one that never finishes its request does not hold the daemon.
    let drained = async {
        let _ = unix.await;
        if let Some(tcp) = tcp {
            let _ = tcp.await;
        }
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("API requests still under way were cut off");
    }
    drop(file);
}

async fn serve_on<L>(listener: L, router: Router, mut stopped: watch::Receiver<bool>)
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    let stop = async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "an API listener failed");
    }
}

#[cfg(test)]
mod tests;
