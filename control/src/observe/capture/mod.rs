//! `skiff capture`: copies of packets, from the lcores' taps ([`skiff_dataplane::core::capture`]) to files that Wireshark
//! and tcpdump read.
//!
//! The command line compiles the filter and asks the daemon; the daemon's answer is the file itself, sent as it grows
//! ([`stream`]). A client that goes away, in whatever way, ends its capture.

mod command;
mod pcap;
mod pcapng;
mod stream;
mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use skiff_dataplane::core::capture::{self, Direction, Directions, Session};
use skiff_dataplane::core::drop_reason::{DropReason, Node};
use skiff_dataplane::core::shared::Shared;
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::skb::Skb;

use super::filter::Program;

pub use command::{Capture, Sides, main};
pub use stream::CaptureBody;

/// The most bytes of a packet that can be asked for: no IPv4 packet is longer.
pub const MAX_SNAPLEN: u32 = 65_549;
/// Bytes of a packet if nothing is said: a jumbo frame with two tags. Fewer leave room for more packets that wait.
pub const DEFAULT_SNAPLEN: u32 = 9234;
/// The header of an answer that names the capture.
pub const ID_HEADER: &str = "skiff-capture";

/// How the packets are written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// With devices, directions, and reasons of drops as comments.
    #[default]
    Pcapng,
    /// As old readers want it: bytes and times only.
    Pcap,
    /// A line for each.
    Text,
}

/// Where packets are to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Coming in.
    Rx,
    /// Going out.
    Tx,
    /// Freed.
    Drop,
}

impl From<Side> for Direction {
    fn from(side: Side) -> Direction {
        match side {
            Side::Rx => Direction::Rx,
            Side::Tx => Direction::Tx,
            Side::Drop => Direction::Drop,
        }
    }
}

/// The body of `POST /v1/capture`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The device; all if there is none.
    #[serde(default)]
    pub device: Option<String>,
    /// Where on it.
    pub sides: Vec<Side>,
    /// Bytes of a packet to keep.
    pub snaplen: u32,
    /// Packets after which it ends by itself.
    #[serde(default)]
    pub count: Option<u64>,
    /// How to write them down.
    #[serde(default)]
    pub format: Format,
    /// Which packets.
    pub filter: Program,
}

impl Request {
    /// The session to run, on `device`.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub fn session(&self, device: Option<IfIndex>) -> Result<Session, String> {
        let directions: Directions = self.sides.iter().map(|side| Direction::from(*side)).collect();
        if directions.is_empty() {
            return Err("no direction to capture".to_owned());
        }
        if !(1..=MAX_SNAPLEN).contains(&self.snaplen) {
            return Err(format!("snapshot length {} is not 1 to {MAX_SNAPLEN}", self.snaplen));
        }
        let filter = self.filter.filter().map_err(|why| format!("filter: {why}"))?;
        Ok(Session::new(filter, device, directions, self.snaplen as usize))
    }
}

/// The body of `POST /v1/capture/end`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Which capture, as [`ID_HEADER`] said.
    pub id: u64,
}

/// How a capture went, packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Written down.
    pub captured: u64,
    /// Wanted by the filter.
    pub matched: u64,
    /// Of those not written down, because the reader was late.
    pub missed: u64,
}

/// A capture that runs.
#[derive(Debug)]
pub struct Live {
    /// Its number.
    pub id: u64,
    /// Its end on the lcores.
    pub session: Arc<Session>,
    captured: AtomicU64,
    over: AtomicBool,
}

impl Live {
    /// A capture of that number.
    pub fn new(id: u64, session: Session) -> Live {
        let (captured, over) = (AtomicU64::new(0), AtomicBool::new(false));
        Live { id, session: Arc::new(session), captured, over }
    }

    /// How it went so far.
    pub fn totals(&self) -> Totals {
        let counts = self.session.counts();
        let captured = self.captured.load(Ordering::Relaxed);
        Totals { captured, matched: counts.matched, missed: counts.missed }
    }

    /// Says that no more packets come: what was copied is still written down.
    pub fn finish(&self) {
        self.over.store(true, Ordering::Release);
    }
}

/// What a running capture needs of the daemon.
pub trait Plane: Send + 'static {
    /// The name of a device.
    fn name(&self, dev: IfIndex) -> String;
    /// All devices, with their names.
    fn devices(&self) -> Vec<(IfIndex, String)>;
    /// The router has stopped.
    fn stopped(&self) -> bool;
    /// Nobody reads the capture any more. May be said twice.
    fn end(&self, live: &Live);
}

/// Shows a packet to the captures that a thread which is no lcore is about to free.
pub fn tap_freed(shared: &Shared, skb: &Skb, node: Node, reason: DropReason) {
    let snap = shared.snapshot();
    if snap.captures.tap(Direction::Drop) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        capture::tap_freed(&snap, now.as_nanos() as u64, std::slice::from_ref(skb), node, reason);
    }
}
