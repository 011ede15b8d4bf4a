//! `skiff trace`: single packets report every step of their journey.
//!
//! A packet that is to be traced is marked as it is received ([`begin`]): the bit [`flags::TRACED`] in its fields, and a
//! [`Mark`] in its private area. With the bit it is never of the plain shape, so it takes the one-by-one paths of each
//! stage, whose outcome is that of the plain ones, and those say what they do with it ([`Env::trace`]). Plain packets
//! beside it in the burst stay plain.
//!
//! Whether anything is traced at all is one bit in the word of the hooks ([`Hooks::tracing`]), which stages test
//! together with the bit of their hook: a router without a trace does what it did before.
//!
//! Steps are plain values. They go through a bounded queue to whoever asked ([`TraceLog`]), who makes words of them; a full
//! queue loses steps and counts them, packets are not held up.
//!
//! [`Hooks::tracing`]: crate::netfilter::hooks::Hooks::tracing

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arrayvec::ArrayVec;
use crossbeam_queue::ArrayQueue;
use skiff_pmd::bpf::Filter;
use skiff_pmd::rdtsc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::dev::received_by;
use super::drop_reason::{DropReason, Node};
use super::env::Env;
use super::shared::Shared;
use crate::device::NetDevice;
use crate::device::vlan::{MAX_NESTING, VlanProto};
use crate::fib::next_hop::Kind;
use crate::neigh::nud::Nud;
use crate::net::{IfIndex, MacAddr};
use crate::netfilter::hooks::{Hook, HookFn, Verdict};
use crate::netfilter::nf_log::TraceKind;
use crate::netfilter::queue::QueueVerdict;
use crate::sched::handle::TcHandle;
use crate::skb::eth::{self, EthHeader};
use crate::skb::ipv4::{IP_OFFSET, IPPROTO_TCP, IPPROTO_UDP, Ipv4Header};
use crate::skb::vlan::{Tag, VLAN_HLEN};
use crate::skb::{Skb, SkbExt, SkbFields, SkbList, flags};

/// Steps that may wait to be read.
const QUEUE: usize = 8192;
/// Packets that may be under way at a time: as many as have room for their steps in the queue.
pub const MOST_AT_ONCE: u32 = 64;

/// What a traced packet carries in its private area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Mark {
    /// TSC when it was received.
    start: u64,
    /// Its number, unique in the life of the router; 0 is no trace.
    packet: u32,
    unused: u32,
}

/// What an IP header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpFacts {
    /// Source, host byte order.
    pub src: u32,
    /// Destination, host byte order.
    pub dst: u32,
    /// Protocol.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// Flags and fragment offset.
    pub frag_off: u16,
    /// Total length.
    pub total_len: u16,
    /// Ports, of TCP and UDP.
    pub ports: Option<(u16, u16)>,
}

impl IpFacts {
    fn of(skb: &Skb) -> Option<IpFacts> {
        let header = Ipv4Header::parse(skb.network())?;
        let first = header.frag_off() & IP_OFFSET == 0;
        let mut bytes = [0; 4];
        let at = usize::from(skb.fields().network_offset) + header.header_len();
        let has =
            first && matches!(header.protocol(), IPPROTO_TCP | IPPROTO_UDP) && skb.copy_out(at, &mut bytes);
        let [a, b, c, d] = bytes;
        Some(IpFacts {
            src: header.src(),
            dst: header.dst(),
            protocol: header.protocol(),
            ttl: header.ttl(),
            tos: header.tos(),
            id: header.id(),
            frag_off: header.frag_off(),
            total_len: header.total_len() as u16,
            ports: has.then(|| (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))),
        })
    }
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTo {
    /// To the router alone.
    Local,
    /// To everybody on a network of ours.
    Broadcast,
    /// To a group.
    Multicast {
        /// We are in it.
        local: bool,
        /// It may have to go on.
        onwards: bool,
    },
    /// On.
    Forward {
        /// By this device.
        oif: IfIndex,
        /// To this gateway; on the link if `None`.
        gateway: Option<u32>,
        /// MTU of the way.
        mtu: u16,
    },
    /// The route is of this kind, which refuses.
    Refuse(Kind),
    /// It would go on if the device it came by let it.
    NotForwarding,
}

/// A packet made on account of a traced one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// An ICMP message.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// A TCP reset.
    Reset,
}

/// A step of a packet's journey.
#[derive(Clone, Debug)]
pub enum Step {
    /// Received from a driver.
    Poll {
        /// By this worker.
        lcore: u16,
        /// From this DPDK port.
        port: u16,
        /// From this queue of it.
        queue: u16,
        /// The device on the port.
        dev: IfIndex,
        /// Length of the frame.
        len: u32,
    },
    /// A device received it.
    NetifReceive {
        /// The device.
        dev: IfIndex,
        /// See [`crate::skb::pkt_type`].
        pkt_type: u8,
        /// EtherType.
        protocol: u16,
    },
    /// A member of a bond received it.
    BondHandleFrame {
        /// The member.
        dev: IfIndex,
        /// The bond.
        master: IfIndex,
    },
    /// It has a tag.
    VlanDoReceive {
        /// The device it came in by.
        dev: IfIndex,
        /// The tag.
        tag: Tag,
        /// The VLAN device, if there is one.
        to: Option<IfIndex>,
    },
    /// Its IP header is in order.
    IpRcv(IpFacts),
    /// A function at a hook has seen it.
    Hook {
        /// The hook.
        hook: Hook,
        /// The function.
        function: Arc<dyn HookFn>,
        /// What it says.
        verdict: Verdict,
    },
    /// A rule matched, or a chain ended.
    Rule {
        /// Table.
        table: &'static str,
        /// Chain.
        chain: Arc<str>,
        /// Which of these.
        kind: TraceKind,
        /// The rule, from 1; one more than there are for the end of a chain.
        rule: u32,
    },
    /// The listener of a queue has decided.
    Reinject {
        /// The hook it was queued at.
        hook: Hook,
        /// The decision.
        verdict: QueueVerdict,
    },
    /// Routed.
    Route(RouteTo),
    /// A fragment waits for the others.
    Defrag,
    /// It is a whole datagram now.
    Reassembled {
        /// Its length.
        len: u32,
        /// Of so many fragments.
        fragments: u32,
    },
    /// It became part of a datagram; the end.
    Merged,
    /// For the router itself.
    LocalDeliver {
        /// Protocol.
        protocol: u8,
    },
    /// On its way through.
    Forward {
        /// TTL it came with.
        ttl: u8,
        /// Its queueing priority.
        priority: u32,
    },
    /// On its way out, past the hooks.
    Output {
        /// Length from the IP header on.
        len: u32,
        /// MTU of the way.
        mtu: u16,
    },
    /// Cut into fragments, which go on in its place; the end of the whole.
    Fragmented,
    /// A copy of a traced packet, or a fragment of one, goes its own way from here.
    Copied,
    /// The neighbour is known.
    Neigh {
        /// Device it is on.
        dev: IfIndex,
        /// Its address.
        addr: u32,
        /// What is known of it.
        state: Nud,
        /// Its hardware address.
        mac: MacAddr,
    },
    /// It waits for the neighbour.
    NeighWait {
        /// Device it is on.
        dev: IfIndex,
        /// Its address.
        addr: u32,
    },
    /// On account of it, a packet was made.
    Made {
        /// What.
        made: Made,
        /// To whom.
        to: u32,
    },
    /// The answer goes out in the same buffer.
    Reply(Made),
    /// To a device.
    Xmit {
        /// The device.
        dev: IfIndex,
        /// Where the frame goes.
        to: MacAddr,
    },
    /// A VLAN device puts its tag in.
    VlanXmit {
        /// The VLAN device.
        dev: IfIndex,
        /// The device under it.
        lower: IfIndex,
    },
    /// A bond chose a member.
    BondXmit {
        /// The bond.
        dev: IfIndex,
        /// The member; [`IfIndex::NONE`] if there is none.
        member: IfIndex,
    },
    /// To the worker that owns the queueing discipline.
    Handed {
        /// The worker.
        lcore: u16,
    },
    /// A filter matched.
    Filter {
        /// Its preference.
        pref: u16,
        /// Its protocol.
        protocol: u16,
        /// Its handle.
        handle: u32,
        /// The class it names.
        class: TcHandle,
    },
    /// Its class.
    Class {
        /// The class; that of the discipline itself for packets that are not shaped.
        class: TcHandle,
    },
    /// A device's queueing discipline took it.
    Enqueued {
        /// The device.
        dev: IfIndex,
        /// Packets the discipline holds, with this one.
        packets: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The discipline let it go.
    Dequeued {
        /// The device.
        dev: IfIndex,
    },
    /// To the worker that owns the transmit queue.
    Ring {
        /// The device.
        dev: IfIndex,
    },
    /// A driver took it; the end.
    Sent {
        /// The device.
        dev: IfIndex,
        /// Its DPDK port.
        port: u16,
        /// The queue.
        queue: u16,
        /// Length of the frame.
        len: u32,
    },
    /// The router itself took it; the end.
    Delivered {
        /// The stage.
        node: Node,
    },
    /// Freed; the end.
    Dropped {
        /// Where.
        node: Node,
        /// Why.
        reason: DropReason,
    },
}

impl Step {
    /// The stage, by the name it has everywhere.
    pub fn name(&self) -> &'static str {
        match self {
            Step::Poll { .. } => Node::Poll.name(),
            Step::NetifReceive { .. } => Node::NetifReceive.name(),
            Step::BondHandleFrame { .. } => Node::BondHandleFrame.name(),
            Step::VlanDoReceive { .. } => Node::VlanDoReceive.name(),
            Step::IpRcv(_) => Node::IpRcv.name(),
            Step::Hook { hook, .. } | Step::Reinject { hook, .. } => hook.name(),
            Step::Rule { .. } => "rule",
            Step::Route(_) => Node::IpRcvFinish.name(),
            Step::Defrag | Step::Reassembled { .. } | Step::Merged => Node::IpDefrag.name(),
            Step::LocalDeliver { .. } => Node::IpLocalDeliver.name(),
            Step::Forward { .. } => Node::IpForward.name(),
            Step::Output { .. } => Node::IpOutput.name(),
            Step::Fragmented => "ip_fragment",
            Step::Copied => "copy",
            Step::Neigh { .. } | Step::NeighWait { .. } => Node::NeighResolve.name(),
            Step::Made { .. } => "made",
            Step::Reply(_) => "reply",
            Step::Xmit { .. } => Node::DevQueueXmit.name(),
            Step::VlanXmit { .. } => Node::VlanXmit.name(),
            Step::BondXmit { .. } => Node::BondStartXmit.name(),
            Step::Handed { .. } | Step::Ring { .. } => "handoff",
            Step::Filter { .. } => "filter",
            Step::Class { .. } => "class",
            Step::Enqueued { .. } => Node::QdiscEnqueue.name(),
            Step::Dequeued { .. } => Node::QdiscRun.name(),
            Step::Sent { .. } => Node::HardStartXmit.name(),
            Step::Delivered { .. } => "delivered",
            Step::Dropped { .. } => "drop",
        }
    }

    /// The journey of this buffer is over.
    pub const fn is_end(&self) -> bool {
        matches!(
            self,
            Step::Merged
                | Step::Fragmented
                | Step::Sent { .. }
                | Step::Delivered { .. }
                | Step::Dropped { .. }
        )
    }
}

/// A step of a numbered packet.
#[derive(Clone, Debug)]
pub struct TraceEvent {
    /// The packet. Its copies and fragments have the same number.
    pub packet: u32,
    /// TSC ticks since it was received.
    pub ticks: u64,
    /// What happened.
    pub step: Step,
}

/// The steps of traced packets, on their way to who asked for them.
#[derive(Debug)]
pub struct TraceLog {
    queue: ArrayQueue<TraceEvent>,
    lost: AtomicU64,
    /// Somebody reads.
    open: AtomicBool,
    /// Packets numbered so far.
    numbered: AtomicU32,
}

impl Default for TraceLog {
    fn default() -> Self {
        TraceLog {
            queue: ArrayQueue::new(QUEUE),
            lost: AtomicU64::new(0),
            open: AtomicBool::new(false),
            numbered: AtomicU32::new(0),
        }
    }
}

impl TraceLog {
    /// Makes the caller the one reader. False if there is one.
    pub fn open(&self) -> bool {
        let ours = !self.open.swap(true, Ordering::AcqRel);
        if ours {
            while self.queue.pop().is_some() {}
            self.lost.store(0, Ordering::Relaxed);
        }
        ours
    }

    /// The reader goes.
    pub fn close(&self) {
        self.open.store(false, Ordering::Release);
        while self.queue.pop().is_some() {}
    }

    /// The next step.
    pub fn pop(&self) -> Option<TraceEvent> {
        self.queue.pop()
    }

    /// Steps lost since the reader came.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Notes a step of a packet, if it is traced.
    #[cold]
    pub fn note(&self, skb: &Skb, step: Step) {
        if skb.fields().flags & flags::TRACED != 0 {
            self.note_mark(*skb.private(), step);
        }
    }

    fn note_mark(&self, mark: Mark, step: Step) {
        // The bit alone may be left over in a buffer whose fields nobody has set.
        if mark.packet == 0 || !self.open.load(Ordering::Acquire) {
            return;
        }
        let event = TraceEvent { packet: mark.packet, ticks: rdtsc().saturating_sub(mark.start), step };
        self.lost.fetch_add(u64::from(self.queue.push(event).is_err()), Ordering::Relaxed);
    }

    fn number(&self) -> u32 {
        // Zero is no number.
        self.numbered.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1)
    }
}

/// Which packets are to be traced.
#[derive(Debug)]
pub struct TraceArm {
    /// Those this device receives; those of any if `None`.
    dev: Option<IfIndex>,
    /// Those it wants; all without one.
    filter: Option<Filter>,
    room: AtomicU32,
}

impl TraceArm {
    /// The next `room` packets that `dev` receives, if one is named, and `filter` wants.
    pub fn new(dev: Option<IfIndex>, filter: Option<Filter>, room: u32) -> TraceArm {
        TraceArm { dev, filter, room: AtomicU32::new(room) }
    }

    /// One more.
    pub fn add_room(&self) {
        self.room.fetch_add(1, Ordering::Relaxed);
    }

    fn wants(&self, env: &Env<'_>, dev: &NetDevice, skb: &Skb) -> bool {
        self.dev.is_none_or(|wanted| is_for(env, dev, wanted, skb))
            && self.filter.as_ref().is_none_or(|filter| filter.wants(skb))
    }

    fn take(&self) -> bool {
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(1)).is_ok()
    }
}

impl Env<'_> {
    /// Notes a step of a packet, if it is traced.
    #[inline]
    pub fn trace(&self, skb: &Skb, step: impl FnOnce() -> Step) {
        if skb.fields().flags & flags::TRACED != 0 {
            self.shared.trace.note(skb, step());
        }
    }

    /// Notes a step of every traced packet of a list.
    #[cold]
    pub fn trace_list(&self, list: &SkbList, step: impl Fn(&Skb) -> Step) {
        list.iter().for_each(|skb| self.trace(skb, || step(skb)));
    }
}

/// Chooses packets of a burst that `dev` has just received, and marks them. Every packet of the burst has fields and a
/// mark from here on.
#[cold]
pub(super) fn begin(
    env: &Env<'_>,
    lcore: usize,
    (port, queue): (u16, u16),
    dev: &NetDevice,
    list: &mut SkbList,
) {
    let Some(arm) = &env.snap.trace else { return };
    for skb in list.iter_mut() {
        let chosen = arm.wants(env, dev, skb) && arm.take();
        let packet = if chosen { env.shared.trace.number() } else { 0 };
        *skb.private_mut() = Mark { start: rdtsc(), packet, unused: 0 };
        let flags = if chosen { flags::TRACED } else { 0 };
        *skb.fields_mut() = SkbFields { flags, ..received_by(dev) };
        let (lcore, len) = (lcore as u16, skb.len() as u32);
        env.trace(skb, || Step::Poll { lcore, port, queue, dev: dev.ifindex, len });
    }
}

/// Whether the device `wanted`, at or above `dev`, would receive the frame.
fn is_for(env: &Env<'_>, dev: &NetDevice, wanted: IfIndex, skb: &Skb) -> bool {
    let (mut at, mut device) = (eth::HEADER_LEN - 2, dev);
    let mut beside = dev.vlan_offload.strips.filter(|_| skb.is_vlan_stripped());
    for _ in 0..=MAX_NESTING {
        if device.ifindex == wanted || device.master == wanted {
            return true;
        }
        if device.master != IfIndex::NONE {
            device = env.snap.device(device.master);
        }
        let (proto, tci) = match beside.take() {
            Some(proto) => (proto, skb.vlan_tci()),
            None => {
                let Some(bytes) = skb.data().get(at..).and_then(|rest| rest.first_chunk::<VLAN_HLEN>())
                else {
                    return false;
                };
                let Some(tag) = Tag::from_word(u32::from_be_bytes(*bytes)) else { return false };
                at += VLAN_HLEN;
                (tag.proto, tag.tci)
            }
        };
        let Some(to) = vlan_of(device, proto, tci) else { return false };
        device = env.snap.device(to);
    }
    false
}

fn vlan_of(device: &NetDevice, proto: VlanProto, tci: u16) -> Option<IfIndex> {
    device.vlans.as_ref()?.find(proto, tci & crate::skb::vlan::VID_MASK)
}

/// Marks the packets again that were marked before their fields were set anew.
#[cold]
pub(super) fn keep(list: &mut SkbList) {
    list.iter_mut().for_each(keep_one);
}

/// The same for one packet. Only where traces are on: without them marks mean nothing.
#[cold]
pub(super) fn keep_one(skb: &mut Skb) {
    if skb.private::<Mark>().packet != 0 {
        skb.fields_mut().flags |= flags::TRACED;
    }
}

/// The IP headers of these are in order.
#[cold]
pub fn ip_rcv(env: &Env<'_>, list: &SkbList) {
    env.trace_list(list, |skb| Step::IpRcv(IpFacts::of(skb).unwrap_or_default()));
}

/// These go to the device of their `oif`.
#[cold]
pub(super) fn xmit(env: &Env<'_>, list: &SkbList) {
    env.trace_list(list, |skb| Step::Xmit {
        dev: IfIndex(skb.fields().oif),
        to: EthHeader::parse(skb.data()).map_or(MacAddr::ZERO, |header| header.dst()),
    });
}

/// The traced packets of a list that is about to be given away, which nobody can ask any more afterwards.
#[derive(Debug, Default)]
pub(crate) struct Leaving(ArrayVec<(usize, Mark, u32), { SkbList::CAPACITY }>);

impl Leaving {
    /// Those of `list`.
    #[cold]
    pub(crate) fn of(list: &SkbList) -> Leaving {
        let traced = list.iter().enumerate().filter(|(_, skb)| skb.fields().flags & flags::TRACED != 0);
        Leaving(traced.map(|(at, skb)| (at, *skb.private(), skb.len() as u32)).collect())
    }

    /// The first `taken` of the list were taken. `step` is given their lengths.
    #[cold]
    pub(crate) fn taken(self, shared: &Shared, taken: usize, step: impl Fn(u32) -> Step) {
        for (_, mark, len) in self.0.into_iter().filter(|(at, ..)| *at < taken) {
            shared.trace.note_mark(mark, step(len));
        }
    }
}

/// The mark of a packet, where it is traced.
#[cold]
pub(crate) fn mark_of(skb: &Skb) -> Option<Mark> {
    (skb.fields().flags & flags::TRACED != 0).then(|| *skb.private())
}

/// Notes a step of a packet that is gone from sight.
#[cold]
pub(crate) fn note_gone(env: &Env<'_>, mark: Option<Mark>, step: Step) {
    if let Some(mark) = mark {
        env.shared.trace.note_mark(mark, step);
    }
}
