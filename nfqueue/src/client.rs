//! A listener: blocking, one connection, no threads.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::frame::{
    Batch, Bind, Frame, FrameError, MAX_FRAME, MAX_STATS, Packet, QueueStats, Refusal, Settings, VERSION,
    Verdict, kind,
};

/// Why a call did not do what it was asked.
#[derive(Debug)]
pub enum ClientError {
    /// The socket.
    Io(io::Error),
    /// The router sent something that is no frame, or none that fits here.
    Frame(FrameError),
    /// The router refused.
    Refused(Refusal),
    /// The router closed the connection.
    Closed,
    /// The router answered something else than asked; the type of its frame.
    Unexpected(u8),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Io(error) => error.fmt(f),
            ClientError::Frame(error) => write!(f, "bad frame from the router: {error}"),
            ClientError::Refused(refusal) => refusal.fmt(f),
            ClientError::Closed => f.write_str("the router closed the connection"),
            ClientError::Unexpected(kind) => write!(f, "unexpected frame of type {kind} from the router"),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        ClientError::Io(error)
    }
}

impl From<FrameError> for ClientError {
    fn from(error: FrameError) -> Self {
        ClientError::Frame(error)
    }
}

/// A connection to the router.
#[derive(Debug)]
pub struct Client {
    // A SOCK_SEQPACKET socket: one read is one frame.
    socket: UnixStream,
    buffer: Vec<u8>,
    /// Packets and refusals that came while an answer was awaited.
    waiting: VecDeque<Result<Packet, Refusal>>,
}

impl Client {
    /// Connects to the router's socket and agrees on a version.
    ///
    /// # Errors
    /// Nobody there, or no common version.
    pub fn connect(path: impl AsRef<Path>) -> Result<Client, ClientError> {
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
            .map_err(io::Error::from)?;
        let address = UnixAddr::new(path.as_ref()).map_err(io::Error::from)?;
        connect(fd.as_raw_fd(), &address).map_err(io::Error::from)?;
        let mut client =
            Client { socket: UnixStream::from(fd), buffer: vec![0; MAX_FRAME + 1], waiting: VecDeque::new() };
        client.send(&Frame::Hello(VERSION, VERSION))?;
        match client.read()? {
            Frame::Welcome(VERSION, _) => Ok(client),
            Frame::Welcome(version, _) => Err(FrameError::Version(version).into()),
            Frame::Error(refusal) => Err(ClientError::Refused(refusal)),
            other => Err(ClientError::Unexpected(other.kind())),
        }
    }

    /// Becomes the listener of these queues: of all of them, or of none.
    ///
    /// # Errors
    /// EBUSY if one has a listener.
    pub fn bind(&mut self, queues: RangeInclusive<u16>, settings: &Settings) -> Result<(), ClientError> {
        let bind = Bind { first: *queues.start(), last: *queues.end(), settings: *settings };
        self.ask(&Frame::Bind(bind))
    }

    /// Changes queues of its own.
    ///
    /// # Errors
    /// ENOENT if one is not its own.
    pub fn configure(&mut self, queues: RangeInclusive<u16>, settings: &Settings) -> Result<(), ClientError> {
        let bind = Bind { first: *queues.start(), last: *queues.end(), settings: *settings };
        self.ask(&Frame::Config(bind))
    }

    /// Leaves queues of its own. Packets that wait there are dropped.
    ///
    /// # Errors
    /// ENOENT if one is not its own.
    pub fn unbind(&mut self, queues: RangeInclusive<u16>) -> Result<(), ClientError> {
        self.ask(&Frame::Unbind(*queues.start(), *queues.end()))
    }

    /// The next packet; waits for one.
    ///
    /// # Errors
    /// [`ClientError::Refused`] about an earlier verdict; the connection goes on unless it says fatal.
    /// [`ClientError::Io`] with `WouldBlock` if the read timeout is over.
    pub fn receive(&mut self) -> Result<Packet, ClientError> {
        if let Some(waiting) = self.waiting.pop_front() {
            return waiting.map_err(ClientError::Refused);
        }
        match self.read()? {
            Frame::Packet(packet) => Ok(packet),
            Frame::Error(refusal) => Err(ClientError::Refused(refusal)),
            other => Err(ClientError::Unexpected(other.kind())),
        }
    }

    /// Says what becomes of a packet. There is no answer; a refusal comes with a later [`Client::receive`].
    ///
    /// # Errors
    /// The socket's.
    pub fn verdict(&mut self, verdict: &Verdict) -> Result<(), ClientError> {
        self.send(&Frame::Verdict(verdict.clone()))
    }

    /// Says what becomes of all packets of a queue up to one.
    ///
    /// # Errors
    /// The socket's.
    pub fn batch(&mut self, batch: &Batch) -> Result<(), ClientError> {
        self.send(&Frame::Batch(*batch))
    }

    /// The numbers of all queues that have listeners.
    ///
    /// # Errors
    /// The socket's.
    pub fn stats(&mut self) -> Result<Vec<QueueStats>, ClientError> {
        let (mut all, mut first) = (Vec::new(), 0);
        loop {
            self.send(&Frame::GetStats(first, u16::MAX))?;
            let Frame::Stats(some) = self.answer(kind::GET_STATS)? else {
                return Err(ClientError::Unexpected(kind::STATS));
            };
            let more = some.len() == MAX_STATS;
            let last = some.last().map_or(u16::MAX, |stats| stats.queue);
            all.extend(some);
            match last.checked_add(1) {
                Some(next) if more => first = next,
                _ => return Ok(all),
            }
        }
    }

    /// How long [`Client::receive`] waits; for ever if `None`.
    ///
    /// # Errors
    /// A timeout of zero.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), ClientError> {
        Ok(self.socket.set_read_timeout(timeout)?)
    }

    fn ask(&mut self, frame: &Frame) -> Result<(), ClientError> {
        self.send(frame)?;
        match self.answer(frame.kind())? {
            Frame::Done(kind) if kind == frame.kind() => Ok(()),
            other => Err(ClientError::Unexpected(other.kind())),
        }
    }

    /// The answer to a frame of this type; packets that come before it are kept.
    fn answer(&mut self, kind: u8) -> Result<Frame, ClientError> {
        loop {
            match self.read()? {
                Frame::Packet(packet) => self.waiting.push_back(Ok(packet)),
                Frame::Error(refusal) if refusal.answers == kind || refusal.fatal => {
                    return Err(ClientError::Refused(refusal));
                }
                Frame::Error(refusal) => self.waiting.push_back(Err(refusal)),
                other => return Ok(other),
            }
        }
    }

    fn send(&mut self, frame: &Frame) -> Result<(), ClientError> {
        let bytes = frame.encode();
        // A message goes whole or not at all.
        match self.socket.write(&bytes) {
            Ok(_) => Ok(()),
            // What the router had to say last is more use than that it is gone.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => match self.read() {
                Ok(Frame::Error(refusal)) => Err(ClientError::Refused(refusal)),
                _ => Err(ClientError::Closed),
            },
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self) -> Result<Frame, ClientError> {
        let n = loop {
            match self.socket.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break 0,
                other => break other?,
            }
        };
        if n == 0 {
            return Err(ClientError::Closed);
        }
        Ok(Frame::decode(&self.buffer[..n])?)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
