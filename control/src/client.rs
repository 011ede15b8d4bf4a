//! The other end of the [`api`](crate::api): asks the daemon, over its UNIX socket.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::api::{IpCommand, Reply, Show};
use crate::netfilter::{Call, Program};
use crate::observe::capture::{self, Totals};
use crate::tc;

/// No command takes the daemon longer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long [`Client::stream`] waits for something before it asks whether to go on.
const PAUSE: Duration = Duration::from_millis(100);
/// How soon a capture ends that is to.
const LOOK_FOR_STOP: Duration = Duration::from_millis(50);

/// Why the daemon gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there. Exit code 5.
    #[error("{}: {}: is \"skiff run\" running? (--socket names another)", socket.display(), plain(error))]
    Unreachable {
        /// The socket's path.
        socket: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Somebody is there and did not answer as a daemon does. Exit code 1.
    #[error("{}: {why}", socket.display())]
    BadAnswer {
        /// The socket's path.
        socket: PathBuf,
        /// What was wrong.
        why: String,
    },
}

/// Why a capture ended badly.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// No answer, or not to its end.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The daemon did not begin it.
    #[error("{}", .0.stderr)]
    Refused(Reply),
    /// What came could not be written.
    #[error(transparent)]
    Write(io::Error),
}

impl ClientError {
    /// The exit code.
    pub const fn exit(&self) -> u8 {
        match self {
            ClientError::Unreachable { .. } => 5,
            ClientError::BadAnswer { .. } => 1,
        }
    }
}

/// The system's words without the error number.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// A client of the daemon behind one socket. Every call makes a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

impl Client {
    /// A client of the daemon behind `socket`. Nothing is connected yet.
    pub fn new(socket: impl AsRef<Path>) -> Client {
        Client { socket: socket.as_ref().to_owned(), timeout: TIMEOUT }
    }

    /// The same, with less patience than the slowest command may take.
    pub fn within(self, timeout: Duration) -> Client {
        Client { timeout, ..self }
    }

    /// Runs `skiff ip` there; `args` are the words after `ip`.
    ///
    /// # Errors
    /// [`ClientError`] if no answer came; a refusal is an answer.
    pub fn ip(&self, args: &[String]) -> Result<Reply, ClientError> {
        let body = serde_json::to_vec(&IpCommand { args: args.to_vec() }).map_err(|e| self.bad(e))?;
        self.reply(Method::POST, "/v1/ip", body)
    }

    /// Runs a program of netfilter's there.
    ///
    /// # Errors
    /// [`ClientError`] if no answer came; a refusal is an answer.
    pub fn netfilter(&self, program: Program, call: &Call) -> Result<Reply, ClientError> {
        let body = serde_json::to_vec(call).map_err(|e| self.bad(e))?;
        self.reply(Method::POST, &format!("/v1/{}", program.name()), body)
    }

    /// Runs `skiff tc` there.
    ///
    /// # Errors
    /// [`ClientError`] if no answer came; a refusal is an answer.
    pub fn tc(&self, call: &tc::Call) -> Result<Reply, ClientError> {
        let body = serde_json::to_vec(call).map_err(|e| self.bad(e))?;
        self.reply(Method::POST, "/v1/tc", body)
    }

    /// Asks for a bond, or all of them.
    ///
    /// # Errors
    /// [`ClientError`] if no answer came.
    pub fn bond(&self, name: Option<&str>, json: bool) -> Result<Reply, ClientError> {
        let byte = |byte: &u8| format!("%{byte:02x}");
        let encoded = |name: &str| name.as_bytes().iter().map(byte).collect::<String>();
        let name = name.map(|name| format!("&name={}", encoded(name))).unwrap_or_default();
        self.reply(Method::GET, &format!("/v1/bond?json={}{name}", u8::from(json)), Vec::new())
    }

    /// Asks for state.
    ///
    /// # Errors
    /// [`ClientError`] if no answer came.
    pub fn show(&self, what: Show, json: bool) -> Result<Reply, ClientError> {
        let path = match what {
            Show::Drops => "/v1/drops",
            Show::Lcores => "/v1/lcores",
            Show::Mem => "/v1/mem",
            Show::Hooks => "/v1/hooks",
            Show::Nfqueue => "/v1/nfqueue",
            Show::Vlans => "/v1/vlan",
            Show::Nstat { zeros: false } => "/v1/nstat?zeros=0",
            Show::Nstat { zeros: true } => "/v1/nstat?zeros=1",
        };
        let query = match (json, path.contains('?')) {
            (false, _) => "",
            (true, false) => "?json=1",
            (true, true) => "&json=1",
        };
        self.reply(Method::GET, &format!("{path}{query}"), Vec::new())
    }

    /// Asks for all metrics.
    ///
    /// # Errors
    /// [`ClientError`] if no answer came.
    pub fn metrics(&self) -> Result<String, ClientError> {
        let body = self.call(Method::GET, "/metrics", Vec::new())?;
        String::from_utf8(body.into()).map_err(|e| self.bad(e))
    }

    /// Asks whether packets are being forwarded; a router that says why not is a failure.
    ///
    /// # Errors
    /// [`ClientError`] if no answer came, or the answer is no.
    pub fn healthy(&self) -> Result<Reply, ClientError> {
        self.call(Method::GET, "/healthz", Vec::new())
            .map(|answer| Reply::ok(String::from_utf8_lossy(&answer)))
    }

    /// Captures packets until the capture ends or `stop` becomes true. Calls `begun` when the first packet may come, and
    /// gives what comes to `write`. How it went; `None` if the router has stopped.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn capture(
        &self,
        request: &capture::Request,
        begun: impl FnOnce(),
        write: impl FnMut(&[u8]) -> io::Result<()>,
        stop: &AtomicBool,
    ) -> Result<Option<Totals>, CaptureError> {
        let body = serde_json::to_vec(request).map_err(|e| self.bad(e))?;
        let id = self.runtime()?.block_on(self.follow(body, begun, write, stop))?;
        match self.capture_end(id) {
            Ok(totals) => Ok(Some(totals)),
            // It ended the capture in order, and is gone.
            Err(ClientError::Unreachable { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn capture_end(&self, id: u64) -> Result<Totals, ClientError> {
        let body = serde_json::to_vec(&capture::End { id }).map_err(|e| self.bad(e))?;
        let answer = self.call(Method::POST, "/v1/capture/end", body)?;
        serde_json::from_slice(&answer).map_err(|e| self.bad(e))
    }

    async fn follow(
        &self,
        request: Vec<u8>,
        begun: impl FnOnce(),
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
        stop: &AtomicBool,
    ) -> Result<u64, CaptureError> {
        let response = self.send(Method::POST, "/v1/capture", request).await?;
        let status = response.status();
        let id = response.headers().get(capture::ID_HEADER).and_then(|id| id.to_str().ok()?.parse().ok());
        let mut body = response.into_body();
        let Some(id) = id.filter(|_| status == StatusCode::OK) else {
            let answer = body.collect().await.map_err(|e| self.bad(e))?.to_bytes();
            return match serde_json::from_slice(&answer) {
                Ok(reply) => Err(CaptureError::Refused(reply)),
                Err(_) => Err(self.refused(status, &answer).into()),
            };
        };
        begun();
        let mut told = false;
        loop {
            if stop.load(Ordering::Relaxed) && !told {
                told = true;
                let end = serde_json::to_vec(&capture::End { id }).map_err(|e| self.bad(e))?;
                // What was copied before still comes.
                self.exchange(Method::POST, "/v1/capture/end", end).await?;
            }
            match tokio::time::timeout(LOOK_FOR_STOP, body.frame()).await {
                Err(_) => {}
                Ok(None) => return Ok(id),
                Ok(Some(Err(error))) => return Err(self.bad(error).into()),
                Ok(Some(Ok(frame))) => {
                    if let Some(piece) = frame.data_ref() {
                        write(piece).map_err(CaptureError::Write)?;
                    }
                }
            }
        }
    }

    /// Posts a request whose answer goes on for as long as there is something to tell. `take` is given it in pieces and,
    /// now and then, nothing; it says whether to go on.
    ///
    /// # Errors
    /// [`ClientError`] if no answer came. A refusal is an answer: `Some`.
    pub fn stream(
        &self,
        path: &str,
        body: Vec<u8>,
        take: impl FnMut(&[u8]) -> bool,
    ) -> Result<Option<Reply>, ClientError> {
        self.runtime()?.block_on(self.listen(path, body, take))
    }

    async fn listen(
        &self,
        path: &str,
        body: Vec<u8>,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<Option<Reply>, ClientError> {
        let response = match tokio::time::timeout(TIMEOUT, self.send(Method::POST, path, body)).await {
            Ok(response) => response?,
            Err(_) => return Err(self.bad(format!("no answer within {} s", TIMEOUT.as_secs()))),
        };
        let status = response.status();
        let mut body = response.into_body();
        if status == StatusCode::CONFLICT {
            let body = body.collect().await.map_err(|e| self.bad(e))?.to_bytes();
            return serde_json::from_slice(&body).map(Some).map_err(|e| self.bad(e));
        }
        if status != StatusCode::OK {
            let body = body.collect().await.map_err(|e| self.bad(e))?.to_bytes();
            return Err(self.refused(status, &body));
        }
        loop {
            let piece = match tokio::time::timeout(PAUSE, body.frame()).await {
                Err(_) => Bytes::new(),
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => frame.map_err(|e| self.bad(e))?.into_data().unwrap_or_default(),
            };
            if !take(&piece) {
                return Ok(None);
            }
        }
    }

    fn reply(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Reply, ClientError> {
        let answer = self.call(method, path, body)?;
        serde_json::from_slice(&answer).map_err(|e| self.bad(e))
    }

    fn call(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, ClientError> {
        self.runtime()?.block_on(async {
            match tokio::time::timeout(self.timeout, self.exchange(method, path, body)).await {
                Ok(answer) => answer,
                Err(_) => Err(self.bad(format!("no answer within {:?}", self.timeout))),
            }
        })
    }

    async fn exchange(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, ClientError> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| self.bad(e))?.to_bytes();
        if status == StatusCode::OK {
            return Ok(body);
        }
        Err(self.refused(status, &body))
    }

    /// Sends a request on a connection of its own, which lives as long as the runtime.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, ClientError> {
        let unreachable = |error| ClientError::Unreachable { socket: self.socket.clone(), error };
        let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.bad(e))?;
        drop(tokio::spawn(connection));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "skiff")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| self.bad(e))?;
        sender.send_request(request).await.map_err(|e| self.bad(e))
    }

    fn runtime(&self) -> Result<Runtime, ClientError> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_io().enable_time().build().map_err(|e| self.bad(e))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        self.bad(format!("{status}: {}", String::from_utf8_lossy(body).trim_end()))
    }

    fn bad(&self, why: impl ToString) -> ClientError {
        ClientError::BadAnswer { socket: self.socket.clone(), why: why.to_string() }
    }
}
