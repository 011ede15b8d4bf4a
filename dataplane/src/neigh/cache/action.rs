//! What comes out of the cache: things to do, and things to show.

use super::super::arp::ArpFrame;
use super::super::machine::ProbeTo;
use super::super::nud::Nud;
use super::super::table::NeighId;
use crate::net::{IfIndex, MacAddr};
use crate::time::Instant;

/// What the owner of a [`NeighCache`](super::NeighCache) has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<P> {
    /// Ask the link who has `target`.
    SendRequest {
        /// Device to send by.
        dev: IfIndex,
        /// IPv4 address asked for.
        target: u32,
        /// Destination of the frame.
        to: ProbeTo,
        /// Source of the newest packet that waits for the answer, if one does.
        source: Option<u32>,
    },
    /// Answer for somebody behind us: the delay is over.
    ProxyReply {
        /// Device to send by.
        dev: IfIndex,
        /// The answer.
        frame: ArpFrame,
    },
    /// These packets may go to the neighbour, in this order.
    Transmit {
        /// The neighbour; its header is in the table.
        id: NeighId,
        /// Oldest first.
        packets: Vec<P>,
    },
    /// Nobody answered: ICMP 3/1 to each sender, drop reason `neigh_failed`.
    Fail {
        /// Device that was asked on.
        dev: IfIndex,
        /// IPv4 address nobody has.
        target: u32,
        /// Oldest first.
        packets: Vec<P>,
    },
    /// This device is not to send any request: drop reason `neigh_failed`, and no ICMP.
    Refuse {
        /// The packet that asked.
        packet: P,
    },
    /// Pushed out of a full queue: drop reason `neigh_queuefull`.
    QueueFull {
        /// The oldest packet of the queue.
        packet: P,
    },
    /// No entry could be made for it (table full, or no such device): drop reason `neigh_createfail`.
    CreateFail {
        /// The packet that asked.
        packet: P,
    },
    /// Their neighbour was flushed: drop reason `queue_purge`.
    Purge {
        /// Oldest first.
        packets: Vec<P>,
    },
    /// State or link address is new, for `ip monitor neigh`.
    Changed(NeighInfo),
    /// The entry is gone, for `ip monitor neigh`.
    Deleted {
        /// Its device.
        dev: IfIndex,
        /// Its address.
        ip: u32,
    },
}

/// One neighbour, as `ip -s neigh show` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighInfo {
    /// Its id in the table.
    pub id: NeighId,
    /// Device it is on.
    pub dev: IfIndex,
    /// IPv4 address.
    pub ip: u32,
    /// Link address, where the state has one.
    pub mac: Option<MacAddr>,
    /// State.
    pub state: Nud,
    /// Last use; in connected states uses are not noted.
    pub used: Instant,
    /// Last proof that it hears us.
    pub confirmed: Option<Instant>,
    /// Last change of state or address.
    pub updated: Instant,
    /// Probes sent.
    pub probes: u32,
    /// Packets waiting.
    pub queued: usize,
    /// A next hop carries it: it is not collected.
    pub held: bool,
}

/// Totals since the start, named as `lnstat -f arp_cache` names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Entries made.
    pub allocs: u64,
    /// Entries destroyed.
    pub destroys: u64,
    /// Resolutions and re-checks nobody answered.
    pub res_failed: u64,
    /// Packets pushed out of full queues.
    pub unres_discards: u64,
    /// Packets and requests refused because the table was full.
    pub table_fulls: u64,
    /// Periodic collections run.
    pub periodic_gc_runs: u64,
    /// Collections forced by a full table.
    pub forced_gc_runs: u64,
}
