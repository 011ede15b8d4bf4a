//! Captures: copies of packets where they come in, where they go out and where they end, for whoever wants to see them.
//!
//! A [`Session`] is part of the [`Snapshot`](super::snapshot::Snapshot), so taps that nobody asked for cost the test of a
//! byte that is at hand, once a burst. A tap runs the session's filter over the burst and copies what it wants into
//! buffers that were made with the session: an lcore neither allocates nor waits. When the reader is late and no buffer
//! is free, the packet is missed by the capture and counted as such; the traffic never notices.
//!
//! Where the taps are: `rx` is what the driver gave ([`super::lcore`]), on VLAN devices and bonds what became theirs; `tx`
//! is what the driver took, on VLAN devices and bonds what entered them behind their queueing discipline; `drop` is every
//! packet freed for a [`DropReason`]. A tag beside the data is put back into the copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayVec;
use crossbeam_queue::ArrayQueue;
use skiff_pmd::TxQueue;
use skiff_pmd::bpf::Filter;

use super::drop_reason::{DropReason, Node, named_enum};
use super::env::Env;
use super::snapshot::Snapshot;
use crate::device::{DeviceKind, NetDevice};
use crate::net::IfIndex;
use crate::skb::{Skb, SkbExt, SkbList};

/// Captures there can be at a time.
pub const MAX_SESSIONS: usize = 8;

/// Memory for the packets of one capture that wait to be read, bytes.
const MEMORY: usize = 32 << 20;
/// Fewest buffers of a capture, however long a packet may be.
const FEWEST: usize = 64;
/// Most buffers of a capture, however short.
const MOST: usize = 8192;

named_enum! {
    /// Where a packet was seen.
    pub enum Direction {
        /// Coming in.
        Rx = "rx",
        /// Going out.
        Tx = "tx",
        /// Freed.
        Drop = "drop",
    }
}

/// A set of [`Direction`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directions(u8);

impl Directions {
    /// The same with this one.
    #[must_use]
    pub const fn with(self, direction: Direction) -> Self {
        Directions(self.0 | 1 << direction as u8)
    }

    /// Whether it is there.
    #[inline]
    pub const fn has(self, direction: Direction) -> bool {
        self.0 & 1 << direction as u8 != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Direction> for Directions {
    fn from_iter<I: IntoIterator<Item = Direction>>(directions: I) -> Self {
        directions.into_iter().fold(Directions::default(), Directions::with)
    }
}

/// The captures of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Captures {
    sessions: Vec<Arc<Session>>,
}

impl Captures {
    /// These, as far as there may be so many.
    pub fn new(sessions: impl IntoIterator<Item = Arc<Session>>) -> Self {
        Captures { sessions: sessions.into_iter().take(MAX_SESSIONS).collect() }
    }

    /// The directions any of them wants.
    pub fn taps(&self) -> Directions {
        self.sessions
            .iter()
            .fold(Directions::default(), |taps, session| Directions(taps.0 | session.directions.0))
    }
}

/// A packet as it was.
#[derive(Debug)]
pub struct Record {
    /// When, nanoseconds since 1970-01-01 UTC: on an lcore, when its round began.
    pub unix_nanos: u64,
    /// The device it was seen on. Freed ones are on the one they came in by until they are sent, and then on the one
    /// they would have left by.
    pub dev: IfIndex,
    /// Which way it went.
    pub direction: Direction,
    /// Where and why it was freed.
    pub freed: Option<(Node, DropReason)>,
    /// Length on the wire, bytes.
    pub wire_len: u32,
    len: usize,
    buffer: Box<[u8]>,
}

impl Record {
    /// The bytes from the Ethernet header on, as many as were wanted.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

/// How a capture went so far, packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Wanted by the filter.
    pub matched: u64,
    /// Of those not copied, because no buffer was free.
    pub missed: u64,
}

/// One capture: what it wants, and what it has.
#[derive(Debug)]
pub struct Session {
    filter: Filter,
    /// `None`: all.
    device: Option<IfIndex>,
    directions: Directions,
    free: ArrayQueue<Box<Record>>,
    full: ArrayQueue<Box<Record>>,
    matched: AtomicU64,
    missed: AtomicU64,
}

impl Session {
    /// A capture of the packets `filter` wants that are seen on `device` (`None`: on any), with at most `snaplen` bytes
    /// of each.
    pub fn new(filter: Filter, device: Option<IfIndex>, directions: Directions, snaplen: usize) -> Self {
        let buffers = (MEMORY / snaplen.max(1)).clamp(FEWEST, MOST);
        let free = ArrayQueue::new(buffers);
        for _ in 0..buffers {
            let _ = free.push(Box::new(Record {
                unix_nanos: 0,
                dev: IfIndex::NONE,
                direction: Direction::Rx,
                freed: None,
                wire_len: 0,
                len: 0,
                // Not zeros: they would be pages that the lcores had to fault in.
                buffer: vec![0xff; snaplen].into(),
            }));
        }
        Session {
            filter,
            device,
            directions,
            free,
            full: ArrayQueue::new(buffers),
            matched: AtomicU64::new(0),
            missed: AtomicU64::new(0),
        }
    }

    /// The oldest packet nobody has read; to be given back by [`recycle`](Self::recycle).
    pub fn next(&self) -> Option<Box<Record>> {
        self.full.pop()
    }

    /// Gives the buffer of a packet back that was read.
    pub fn recycle(&self, record: Box<Record>) {
        let _ = self.free.push(record);
    }

    /// Packets that may wait to be read.
    pub fn buffers(&self) -> usize {
        self.full.capacity()
    }

    /// How it went so far.
    pub fn counts(&self) -> Counts {
        // The order makes sure that never more are missed than were wanted.
        let missed = self.missed.load(Ordering::Acquire);
        Counts { matched: self.matched.load(Ordering::Acquire), missed }
    }

    fn wants_device(&self, dev: IfIndex) -> bool {
        self.device.is_none_or(|device| device == dev)
    }

    /// The packets of a burst it wants, counted.
    fn wanted(&self, list: &SkbList) -> u32 {
        let mask = self.filter.matches(list);
        self.matched.fetch_add(mask.count_ones().into(), Ordering::AcqRel);
        mask
    }

    /// A copy of a packet; `None`, and counted, if no buffer is free.
    fn copy(&self, skb: &Skb, seen: &Seen) -> Option<Box<Record>> {
        let Some(mut record) = self.free.pop() else {
            self.missed.fetch_add(1, Ordering::AcqRel);
            return None;
        };
        record.unix_nanos = seen.unix_nanos;
        record.dev = seen.dev;
        record.direction = seen.direction;
        record.freed = seen.freed;
        record.wire_len = skb.wire_len() as u32;
        record.len = skb.copy_wire(0, &mut record.buffer);
        Some(record)
    }

    fn keep(&self, record: Box<Record>) {
        // There are no more records than places.
        let _ = self.full.push(record);
    }
}

/// What the packets of a burst have in common.
struct Seen {
    unix_nanos: u64,
    dev: IfIndex,
    direction: Direction,
    freed: Option<(Node, DropReason)>,
}

/// Shows a burst that is on `dev` to the captures.
#[cold]
pub(crate) fn tap(env: &Env<'_>, direction: Direction, dev: IfIndex, list: &SkbList) {
    let seen = Seen { unix_nanos: env.unix_nanos(), dev, direction, freed: None };
    for session in sessions(env.snap, direction).filter(|session| session.wants_device(dev)) {
        let wanted = session.wanted(list);
        for skb in marked(list, wanted) {
            if let Some(record) = session.copy(skb, &seen) {
                session.keep(record);
            }
        }
    }
}

/// Shows what a driver gave to the captures, with the protocol noted of the tags it took out.
#[cold]
pub(crate) fn tap_rx(env: &Env<'_>, dev: &NetDevice, list: &mut SkbList) {
    if let Some(proto) = dev.vlan_offload.strips {
        for skb in list.iter_mut().filter(|skb| skb.is_vlan_stripped()) {
            skb.set_vlan_tag(proto.tpid(), skb.vlan_tci());
        }
    }
    tap(env, Direction::Rx, dev.ifindex, list);
}

/// Shows a burst to the captures on a VLAN device or a bond; that of a port was seen when the driver gave it.
#[cold]
pub(crate) fn tap_rx_upper(env: &Env<'_>, dev: &NetDevice, list: &SkbList) {
    if matches!(dev.kind, DeviceKind::Vlan | DeviceKind::Bond) {
        tap(env, Direction::Rx, dev.ifindex, list);
    }
}

/// Gives packets to a driver and shows the captures those it took. How many these are.
#[cold]
pub(crate) fn tx_burst(env: &Env<'_>, queue: &mut TxQueue, dev: IfIndex, list: &mut SkbList) -> u64 {
    // A packet is gone once the driver has it: it is copied before, and kept only if it went.
    let seen = Seen { unix_nanos: env.unix_nanos(), dev, direction: Direction::Tx, freed: None };
    let mut copies: ArrayVec<(usize, &Session, Box<Record>), { MAX_SESSIONS * SkbList::CAPACITY }> =
        ArrayVec::new();
    for session in sessions(env.snap, Direction::Tx).filter(|session| session.wants_device(dev)) {
        let wanted = session.filter.matches(list);
        for (at, skb) in list.iter().enumerate().filter(|(at, _)| wanted >> at & 1 == 1) {
            if let Some(record) = session.copy(skb, &seen) {
                copies.push((at, session, record));
            } else {
                session.matched.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
    let sent = queue.tx_burst(list);
    for (at, session, record) in copies {
        if at < sent {
            session.matched.fetch_add(1, Ordering::AcqRel);
            session.keep(record);
        } else {
            session.recycle(record);
        }
    }
    sent as u64
}

/// Shows packets to the captures that are about to be freed for one reason.
#[cold]
pub fn tap_freed(snap: &Snapshot, unix_nanos: u64, packets: &[Skb], node: Node, reason: DropReason) {
    for session in sessions(snap, Direction::Drop) {
        for skb in packets.iter().filter(|skb| session.filter.wants(skb)) {
            let dev = device_of(snap, node, skb);
            if !session.wants_device(dev) && session.device != came_by(snap, skb) {
                continue;
            }
            session.matched.fetch_add(1, Ordering::AcqRel);
            let seen = Seen { unix_nanos, dev, direction: Direction::Drop, freed: Some((node, reason)) };
            if let Some(record) = session.copy(skb, &seen) {
                session.keep(record);
            }
        }
    }
}

/// The device a packet was on when `node` freed it.
fn device_of(snap: &Snapshot, node: Node, skb: &Skb) -> IfIndex {
    let fields = skb.fields();
    match node {
        // Its fields may be an earlier packet's.
        Node::Poll | Node::NetifReceive | Node::BondHandleFrame => {
            came_by(snap, skb).unwrap_or(IfIndex::NONE)
        }
        Node::IpOutput
        | Node::NeighResolve
        | Node::VlanXmit
        | Node::DevQueueXmit
        | Node::QdiscEnqueue
        | Node::QdiscRun
        | Node::BondStartXmit
        | Node::HardStartXmit => IfIndex(fields.oif),
        // Its own packets came in by none.
        _ if fields.iif == 0 => IfIndex(fields.oif),
        _ => IfIndex(fields.iif),
    }
}

/// The device on the port a packet came in by; `None` for packets made here.
fn came_by(snap: &Snapshot, skb: &Skb) -> Option<IfIndex> {
    let dev = Some(skb.port()).filter(|port| *port != u16::MAX).map(|port| snap.by_port(port));
    dev.filter(|dev| *dev != IfIndex::NONE)
}

fn sessions(snap: &Snapshot, direction: Direction) -> impl Iterator<Item = &Session> {
    snap.captures.sessions.iter().map(Arc::as_ref).filter(move |session| session.directions.has(direction))
}

fn marked(list: &SkbList, mask: u32) -> impl Iterator<Item = &Skb> {
    list.iter().enumerate().filter(move |(at, _)| mask >> at & 1 == 1).map(|(_, skb)| skb)
}
