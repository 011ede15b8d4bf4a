//! The frames between router and listener. One frame is one message of a SOCK_SEQPACKET socket; all numbers are
//! little-endian; reserved fields are sent as 0 and must be 0.
//!
//! ```text
//! header, 12 bytes     magic u32 "SKNQ" | version u8 | type u8 | reserved u16 | length u32, of the whole frame
//!
//!  1 HELLO     c>s     lowest u8 | highest u8 | reserved u16            versions the listener speaks
//!  2 WELCOME   s>c     version u8 | reserved u8[3] | longest u32        the one chosen; the longest frame
//!  3 BIND      c>s     first u16 | last u16 | copy_mode u8 | flags u8 | reserved u16 | copy_range u32 | maxlen u32
//!  4 CONFIG    c>s     as BIND, for queues that are bound
//!  5 UNBIND    c>s     first u16 | last u16
//!  6 DONE      s>c     type u8 | reserved u8[3]                         BIND, CONFIG or UNBIND was carried out
//!  7 ERROR     s>c     errno u32 | type u8 | fatal u8 | queue u16 | id u32 | text UTF-8
//!  8 PACKET    s>c     queue u16 | hook u8 | flags u8 | id u32 | hw_protocol u16 | mac u8[6] | iif u16 | oif u16 |
//!                      mark u32 | priority u32 | length u32 | timestamp u64, ns since 1970 |
//!                      iif_name_len u8 | oif_name_len u8 | reserved u16 | names | payload
//!  9 VERDICT   c>s     queue u16 | verdict u8 | flags u8 | id u32 | mark u32 | to_queue u16 | reserved u16 | payload
//! 10 BATCH     c>s     the same without payload: all packets up to id
//! 11 GET_STATS c>s     first u16 | last u16
//! 12 STATS     s>c     40 bytes a queue: queue u16 | copy_mode u8 | flags u8 | peer u32 | waiting u32 |
//!                      copy_range u32 | maxlen u32 | id_sequence u32 | dropped u64 | user_dropped u64
//! ```
//!
//! The listener speaks first, with HELLO. HELLO, WELCOME and an ERROR before WELCOME have version 1 in their headers
//! for ever; all other frames have the version that WELCOME says.

mod decode;
mod encode;

use std::fmt;

use crate::wire::{Reader, Writer};

/// "SKNQ".
pub const MAGIC: u32 = u32::from_le_bytes(*b"SKNQ");
/// The one version there is.
pub const VERSION: u8 = 1;
/// Length of the header.
pub const HEADER_LEN: usize = 12;
/// No frame is longer: the largest IP packet, and what stands around it.
pub const MAX_FRAME: usize = 0x1_0400;
/// Most entries of a [`Frame::Stats`]: as many as that come if there are more.
pub const MAX_STATS: usize = 1000;
/// The hooks by their numbers in [`Packet::hook`]. The first five are the kernel's.
pub const HOOKS: [&str; 8] = [
    "PRE_ROUTING",
    "LOCAL_IN",
    "FORWARD",
    "LOCAL_OUT",
    "POST_ROUTING",
    "L2_INPUT",
    "L2_ENQUEUE",
    "L2_DEQUEUE",
];

const STATS_LEN: usize = 40;
/// Longest name of a device in a frame.
const MAX_NAME: usize = u8::MAX as usize;

/// How much of a packet a listener gets (`NFQNL_COPY_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum CopyMode {
    /// Nothing at all: packets for the queue are dropped. The kernel's queues begin so, too.
    None = 0,
    /// All but the payload.
    #[default]
    Meta = 1,
    /// The payload too, up to the copy range.
    Packet = 2,
}

/// What can be set of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much of each packet is copied.
    pub copy_mode: CopyMode,
    /// Bytes of payload that are copied; 0 stands for 0xffff.
    pub copy_range: u32,
    /// Packets that may wait for verdicts.
    pub maxlen: u32,
    /// A full queue lets packets go on instead of dropping them.
    pub fail_open: bool,
    /// Packets carry the names of their devices.
    pub names: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let copy_mode = CopyMode::default();
        Settings { copy_mode, copy_range: 0xffff, maxlen: 1024, fail_open: false, names: false }
    }
}

/// Queues and what is to be set of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The first queue.
    pub first: u16,
    /// The last queue, not below the first.
    pub last: u16,
    /// For each.
    pub settings: Settings,
}

/// A packet that waits for a verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// The queue it waits in.
    pub queue: u16,
    /// Its number there; numbers rise by one from 1.
    pub id: u32,
    /// Where it was queued, see [`HOOKS`].
    pub hook: u8,
    /// EtherType.
    pub hw_protocol: u16,
    /// Source MAC address, where the packet still has the header it came with.
    pub mac: Option<[u8; 6]>,
    /// Device it came in by; 0 if the router made it.
    pub iif: u16,
    /// Device it leaves by; 0 where that is not known yet.
    pub oif: u16,
    /// Firewall mark.
    pub mark: u32,
    /// Queueing priority.
    pub priority: u32,
    /// Bytes of payload the packet has, copied or not.
    pub length: u32,
    /// When it was queued, nanoseconds since 1970-01-01 UTC.
    pub timestamp: u64,
    /// Name of `iif`, if names were asked for.
    pub iif_name: String,
    /// Name of `oif`, if names were asked for.
    pub oif_name: String,
    /// The packet from its IP header on, as far as it was copied.
    pub payload: Vec<u8>,
}

/// What a listener decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Free the packet.
    Drop,
    /// On to the function after the one that queued it.
    Accept,
    /// The function that queued it sees it again.
    Repeat,
    /// To another queue.
    Queue(u16),
}

impl Action {
    /// The kernel's numbers.
    const fn number(self) -> (u8, u16) {
        match self {
            Action::Drop => (0, 0),
            Action::Accept => (1, 0),
            Action::Queue(num) => (3, num),
            Action::Repeat => (4, 0),
        }
    }

    fn from_number(number: u8, to: u16) -> Option<Action> {
        match number {
            0 => Some(Action::Drop),
            1 => Some(Action::Accept),
            3 => Some(Action::Queue(to)),
            4 => Some(Action::Repeat),
            _ => None,
        }
    }
}

/// The verdict on one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The queue.
    pub queue: u16,
    /// The packet.
    pub id: u32,
    /// What becomes of it.
    pub action: Action,
    /// A new mark.
    pub mark: Option<u32>,
    /// What is to stand in the place of the packet's payload. Its checksums are the listener's business; a packet whose
    /// IP header is not sound is dropped.
    pub payload: Option<Vec<u8>>,
}

impl Verdict {
    /// Let it go on.
    pub fn accept(queue: u16, id: u32) -> Verdict {
        Verdict { queue, id, action: Action::Accept, mark: None, payload: None }
    }

    /// Drop it.
    pub fn drop(queue: u16, id: u32) -> Verdict {
        Verdict { action: Action::Drop, ..Verdict::accept(queue, id) }
    }
}

/// The verdict on all packets of a queue up to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The queue.
    pub queue: u16,
    /// The last packet.
    pub id: u32,
    /// What becomes of them.
    pub action: Action,
    /// A new mark for each.
    pub mark: Option<u32>,
}

/// Something the router did not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, as an error number of Linux: EBUSY for a queue that has a listener, ENOENT for a packet or queue that is
    /// not there, EPROTO for a frame that is wrong.
    pub errno: u32,
    /// Type of the frame it answers, 0 if it had none.
    pub answers: u8,
    /// The router closes the connection.
    pub fatal: bool,
    /// The queue it is about.
    pub queue: u16,
    /// The packet it is about.
    pub id: u32,
    /// Why, in words.
    pub text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Numbers of one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Its number.
    pub queue: u16,
    /// See [`CopyMode`].
    pub copy_mode: CopyMode,
    /// A full queue lets packets go on.
    pub fail_open: bool,
    /// Process of the listener.
    pub peer: u32,
    /// Packets that wait (`queue_total`).
    pub waiting: u32,
    /// Bytes of payload that are copied.
    pub copy_range: u32,
    /// Packets that may wait.
    pub maxlen: u32,
    /// Number of the newest packet.
    pub id_sequence: u32,
    /// Packets lost because the queue was full.
    pub dropped: u64,
    /// Packets the listener could not be given.
    pub user_dropped: u64,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The versions a listener speaks, lowest and highest.
    Hello(u8, u8),
    /// The version chosen, and the longest frame.
    Welcome(u8, u32),
    /// Become the listener of queues.
    Bind(Bind),
    /// Change queues.
    Config(Bind),
    /// No longer listen to the queues from the first to the last.
    Unbind(u16, u16),
    /// The frame of this type was carried out.
    Done(u8),
    /// It was not.
    Error(Refusal),
    /// A packet.
    Packet(Packet),
    /// A verdict.
    Verdict(Verdict),
    /// A verdict on many.
    Batch(Batch),
    /// Ask for the numbers of the queues from the first to the last that have listeners.
    GetStats(u16, u16),
    /// The numbers, of at most [`MAX_STATS`] queues.
    Stats(Vec<QueueStats>),
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME`].
    TooLong,
    /// Shorter than its type needs.
    Short(&'static str),
    /// Longer than its type allows.
    Trailing(&'static str),
    /// The first four bytes.
    Magic(u32),
    /// A version that was not agreed on.
    Version(u8),
    /// A type that does not exist.
    Type(u8),
    /// The length in the header is not that of the message.
    Length {
        /// What it says.
        said: u32,
        /// What came.
        came: usize,
    },
    /// A text that is not UTF-8.
    Text(&'static str),
    /// A field with a value it cannot have.
    Value {
        /// Frame and field.
        field: &'static str,
        /// The value.
        value: u64,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            FrameError::TooLong => write!(f, "frame longer than {MAX_FRAME} bytes"),
            FrameError::Short(what) => write!(f, "{what} is cut short"),
            FrameError::Trailing(what) => write!(f, "{what} has bytes behind its end"),
            FrameError::Magic(magic) => write!(f, "magic {magic:#010x} is not {MAGIC:#010x}"),
            FrameError::Version(version) => write!(f, "version {version} is not {VERSION}"),
            FrameError::Type(kind) => write!(f, "there is no frame of type {kind}"),
            FrameError::Length { said, came } => write!(f, "length {said} in a frame of {came} bytes"),
            FrameError::Text(field) => write!(f, "{field} is not UTF-8"),
            FrameError::Value { field, value } => write!(f, "{field} cannot be {value}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Numbers of the frame types.
pub mod kind {
    /// [`Frame::Hello`](super::Frame::Hello)
    pub const HELLO: u8 = 1;
    /// [`Frame::Welcome`](super::Frame::Welcome)
    pub const WELCOME: u8 = 2;
    /// [`Frame::Bind`](super::Frame::Bind)
    pub const BIND: u8 = 3;
    /// [`Frame::Config`](super::Frame::Config)
    pub const CONFIG: u8 = 4;
    /// [`Frame::Unbind`](super::Frame::Unbind)
    pub const UNBIND: u8 = 5;
    /// [`Frame::Done`](super::Frame::Done)
    pub const DONE: u8 = 6;
    /// [`Frame::Error`](super::Frame::Error)
    pub const ERROR: u8 = 7;
    /// [`Frame::Packet`](super::Frame::Packet)
    pub const PACKET: u8 = 8;
    /// [`Frame::Verdict`](super::Frame::Verdict)
    pub const VERDICT: u8 = 9;
    /// [`Frame::Batch`](super::Frame::Batch)
    pub const BATCH: u8 = 10;
    /// [`Frame::GetStats`](super::Frame::GetStats)
    pub const GET_STATS: u8 = 11;
    /// [`Frame::Stats`](super::Frame::Stats)
    pub const STATS: u8 = 12;
}

/// BIND flags.
const FAIL_OPEN: u8 = 1;
const NAMES: u8 = 2;
/// PACKET flag.
const HAS_MAC: u8 = 1;
/// VERDICT flags.
const HAS_MARK: u8 = 1;
const HAS_PAYLOAD: u8 = 2;

impl Frame {
    /// The number of its type.
    pub const fn kind(&self) -> u8 {
        match self {
            Frame::Hello(..) => kind::HELLO,
            Frame::Welcome(..) => kind::WELCOME,
            Frame::Bind(_) => kind::BIND,
            Frame::Config(_) => kind::CONFIG,
            Frame::Unbind(..) => kind::UNBIND,
            Frame::Done(_) => kind::DONE,
            Frame::Error(_) => kind::ERROR,
            Frame::Packet(_) => kind::PACKET,
            Frame::Verdict(_) => kind::VERDICT,
            Frame::Batch(_) => kind::BATCH,
            Frame::GetStats(..) => kind::GET_STATS,
            Frame::Stats(_) => kind::STATS,
        }
    }

    /// The bytes of the frame. Names longer than 255 bytes and payloads that would make it too long are cut.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        Writer(&mut out).u32(MAGIC).u8(VERSION).u8(self.kind()).u16(0).u32(0);
        encode::body(self, &mut Writer(&mut out));
        out.truncate(MAX_FRAME);
        let length = out.len() as u32;
        if let Some(field) = out.get_mut(8..HEADER_LEN) {
            field.copy_from_slice(&length.to_le_bytes());
        }
        out
    }

    /// Reads one message of the socket.
    ///
    /// # Errors
    /// [`FrameError`], the first thing that is wrong.
    pub fn decode(message: &[u8]) -> Result<Frame, FrameError> {
        if message.len() > MAX_FRAME {
            return Err(FrameError::TooLong);
        }
        let mut r = Reader(message);
        let header = FrameError::Short("header");
        let magic = r.u32().ok_or(header)?;
        if magic != MAGIC {
            return Err(FrameError::Magic(magic));
        }
        let (version, kind) = (r.u8().ok_or(header)?, r.u8().ok_or(header)?);
        let (reserved, said) = (r.u16().ok_or(header)?, r.u32().ok_or(header)?);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        decode::zero("header reserved", reserved)?;
        if said as usize != message.len() {
            return Err(FrameError::Length { said, came: message.len() });
        }
        decode::body(kind, r)
    }
}

/// The type a message says it has, for answers to frames that cannot be read.
pub fn kind_of(message: &[u8]) -> u8 {
    message.get(5).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
