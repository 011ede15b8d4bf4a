//! `dev_queue_xmit` and `hard_start_xmit`: from a device to a driver's transmit ring.
//!
//! Uses:  oif.   Sets: nothing.
//! Next:  hooks L2_ENQUEUE and L2_DEQUEUE, the wire; qdisc_enqueue for devices with a queueing discipline,
//!        vlan_dev_hard_start_xmit for VLAN devices, bond_start_xmit for bonds.
//! Drops: dev_ready (device not running), tx_full (ring full), handoff_full.
//!
//! Packets gather in one buffer a port and go to the driver when 32 are there or the poll round ends, so a driver
//! always sees bursts. A port with fewer transmit queues than lcores has one owner; the others hand it their bursts
//! over a ring.

use std::sync::Arc;

use skiff_pmd::{Ring, TxQueue};

use super::bond_xmit::bond_start_xmit;
use super::capture::{self, Direction};
use super::counters::MAX_PORTS;
use super::drop_reason::{DropReason, Node};
use super::env::{Env, Hands};
use super::trace::{self, Leaving, Step};
use super::vlan_dev::{tag_mixed, vlan_dev_hard_start_xmit};
use crate::device::{DeviceKind, NOQUEUE, NetDevice};
use crate::net::IfIndex;
use crate::netfilter::hooks::{Hook, nf_hook_device};
use crate::sched::tree::qdisc_enqueue;
use crate::skb::vlan::VLAN_HLEN;
use crate::skb::{Skb, SkbExt, SkbList};

/// How this lcore reaches a port.
#[derive(Debug)]
pub enum TxPath {
    /// By a transmit queue of its own.
    Queue(TxQueue),
    /// By the ring of the lcore that owns the only queue.
    Handoff(Arc<Ring>),
}

#[derive(Debug)]
struct PortTx {
    path: TxPath,
    buffer: SkbList,
    dev: IfIndex,
    /// Packets may carry a tag beside the data, for the driver to put in.
    tags_beside: bool,
}

/// Packets a device did not take, all of them freed and counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl std::ops::AddAssign for Refused {
    fn add_assign(&mut self, o: Refused) {
        self.packets += o.packets;
        self.bytes += o.bytes;
    }
}

/// The ways out of an lcore, by port.
#[derive(Debug)]
pub struct TxTable {
    ports: [Option<Box<PortTx>>; MAX_PORTS],
    /// Ports with something in their buffer.
    dirty: u64,
    /// The rings of all lcores, by number.
    lcores: Vec<Arc<Ring>>,
}

impl Default for TxTable {
    fn default() -> Self {
        TxTable { ports: std::array::from_fn(|_| None), dirty: 0, lcores: Vec::new() }
    }
}

impl TxTable {
    /// Makes `path` the way to `port`.
    pub fn set(&mut self, port: u16, path: TxPath) {
        self.ports[usize::from(port) % MAX_PORTS] =
            Some(Box::new(PortTx { path, buffer: SkbList::new(), dev: IfIndex::NONE, tags_beside: false }));
    }

    /// These are the rings by which lcores take packets for the queueing disciplines they own.
    pub fn set_lcores(&mut self, rings: Vec<Arc<Ring>>) {
        self.lcores = rings;
    }

    /// The queue of this lcore under a port.
    #[inline]
    pub(crate) fn queue_of(&mut self, dev: &NetDevice) -> Option<&mut TxQueue> {
        let DeviceKind::Port(port) = dev.kind else { return None };
        match &mut self.ports.get_mut(usize::from(port.0))?.as_deref_mut()?.path {
            TxPath::Queue(queue) => Some(queue),
            TxPath::Handoff(_) => None,
        }
    }

    /// Packets waiting for the end of the round.
    pub fn held(&self) -> usize {
        self.ports.iter().flatten().map(|p| p.buffer.len()).sum()
    }
}

/// Sends every packet of `list` by the device in its `oif` field.
#[inline]
pub fn dev_queue_xmit_list(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList) {
    let (started, count) = (env.stage_start(), list.len() as u64);
    if env.snap.hooks.watched(Hook::L2Enqueue) {
        l2_enqueue(env, hands, list);
    }
    dev_queue_list(env, hands, list);
    env.stage_end(Node::DevQueueXmit, count, started);
}

/// After the hook, or for packets another lcore has taken through it: each to the buffer of its port.
#[inline]
pub fn dev_queue_list(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList) {
    queue_list(env, hands, list);
}

/// Sends what another device has put on its way to the device in its `oif` field. What that did not take.
pub(super) fn dev_queue_again(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList) -> Refused {
    if env.snap.hooks.watched(Hook::L2Enqueue) {
        l2_enqueue(env, hands, list);
    }
    queue_list(env, hands, list)
}

/// The same for packets that all have `oif` in that field.
#[inline]
pub(super) fn dev_queue_again_by(
    env: &Env<'_>,
    hands: &mut Hands,
    oif: IfIndex,
    list: &mut SkbList,
) -> Refused {
    match env.snap.hooks.watched(Hook::L2Enqueue) {
        true => dev_queue_again(env, hands, list),
        false => queue_all(env, hands, oif, list),
    }
}

#[inline]
fn queue_list(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList) -> Refused {
    if let Some(oif) = common_oif(list) {
        return queue_all(env, hands, oif, list);
    }
    queue_mixed(env, hands, list)
}

/// A list of packets that go several ways.
#[inline(never)]
fn queue_mixed(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList) -> Refused {
    if env.snap.has_vlans && !env.snap.hooks.watched(Hook::L2Enqueue) && !env.taps(Direction::Tx) {
        tag_mixed(env, list);
        if let Some(oif) = common_oif(list) {
            return queue_all(env, hands, oif, list);
        }
    }
    let mut refused = Refused::default();
    for skb in list.drain() {
        refused += queue_one(env, hands, skb);
    }
    refused
}

/// The hook L2_ENQUEUE, for each packet that of its own device.
#[cold]
fn l2_enqueue(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList) {
    if env.snap.hooks.tracing() {
        trace::xmit(env, list);
    }
    if !env.snap.hooks.has(Hook::L2Enqueue) {
        return;
    }
    if let Some(oif) = common_oif(list) {
        return nf_hook_device(env, hands, Hook::L2Enqueue, env.snap.device(oif), list);
    }
    let mut all = std::mem::take(list);
    for skb in all.drain() {
        let dev = env.snap.device(IfIndex(skb.fields().oif));
        let mut one = SkbList::new();
        let _ = one.push(skb);
        nf_hook_device(env, hands, Hook::L2Enqueue, dev, &mut one);
        list.append(&mut one);
    }
}

/// Sends one packet by the device in its `oif` field.
pub fn dev_queue_xmit(env: &Env<'_>, hands: &mut Hands, skb: Skb) {
    let started = env.stage_start();
    if env.snap.hooks.watched(Hook::L2Enqueue) {
        let mut one = SkbList::new();
        let _ = one.push(skb);
        l2_enqueue(env, hands, &mut one);
        dev_queue_list(env, hands, &mut one);
    } else {
        let _ = queue_one(env, hands, skb);
    }
    env.stage_end(Node::DevQueueXmit, 1, started);
}

/// The device of all packets of the list, if it is the same.
#[inline]
fn common_oif(list: &SkbList) -> Option<IfIndex> {
    let oif = list.iter().next()?.fields().oif;
    let differences = list.iter().fold(0, |bits, skb| bits | (skb.fields().oif ^ oif));
    (differences == 0).then_some(IfIndex(oif))
}

/// The slot of the port under a device that can send without a queueing discipline; marked as in use.
#[inline]
fn slot_of(env: &Env<'_>, hands: &mut Hands, oif: IfIndex) -> Option<usize> {
    let dev = env.snap.device(oif);
    if dev.qdisc_owner != NOQUEUE { None } else { port_slot(hands, dev) }
}

/// The same past its queueing discipline.
#[inline]
fn port_slot(hands: &mut Hands, dev: &NetDevice) -> Option<usize> {
    let DeviceKind::Port(port) = dev.kind else { return None };
    if !dev.is_running() {
        return None;
    }
    let slot = usize::from(port.0) % MAX_PORTS;
    let tx = hands.tx.ports[slot].as_deref_mut()?;
    tx.dev = dev.ifindex;
    tx.tags_beside = dev.vlan_offload.inserts;
    hands.tx.dirty |= 1 << slot;
    Some(slot)
}

#[inline]
fn buffer(hands: &mut Hands, slot: usize) -> Option<&mut SkbList> {
    hands.tx.ports[slot].as_deref_mut().map(|tx| &mut tx.buffer)
}

/// Moves a whole list to its device at once.
#[inline]
fn queue_all(env: &Env<'_>, hands: &mut Hands, oif: IfIndex, list: &mut SkbList) -> Refused {
    let Some(slot) = slot_of(env, hands, oif) else { return queue_upper(env, hands, oif, list) };
    let Some(room) = buffer(hands, slot) else { return refuse_list(env, list) };
    room.append(list);
    if !list.is_empty() {
        hard_start_xmit(env, hands, slot);
        // The buffer is empty now, so there is room.
        if let Some(room) = buffer(hands, slot) {
            room.append(list);
        }
    }
    Refused::default()
}

#[inline]
fn queue_one(env: &Env<'_>, hands: &mut Hands, skb: Skb) -> Refused {
    let oif = IfIndex(skb.fields().oif);
    let Some(slot) = slot_of(env, hands, oif) else {
        let mut one = SkbList::new();
        let _ = one.push(skb);
        return queue_upper(env, hands, oif, &mut one);
    };
    let Some(room) = buffer(hands, slot) else { return refuse(env, skb) };
    if let Err(skb) = room.push(skb) {
        hard_start_xmit(env, hands, slot);
        // The buffer is empty now, so there is room.
        if let Some(room) = buffer(hands, slot) {
            let _ = room.push(skb);
        }
    }
    Refused::default()
}

/// A list for a device that is no port, has a queueing discipline, or cannot send now.
#[inline(never)]
fn queue_upper(env: &Env<'_>, hands: &mut Hands, oif: IfIndex, list: &mut SkbList) -> Refused {
    let dev = env.snap.device(oif);
    if dev.qdisc_owner == NOQUEUE || !can_send(dev) {
        return xmit_upper(env, hands, dev, list);
    }
    qdisc_enqueue(env, hands, oif, dev.qdisc_owner, list);
    Refused::default()
}

/// Packets can go into its queueing discipline and out of it.
#[inline]
pub(crate) fn can_send(dev: &NetDevice) -> bool {
    match dev.kind {
        DeviceKind::Port(_) | DeviceKind::Vlan => dev.is_running(),
        DeviceKind::Bond => dev.up,
        DeviceKind::Loopback | DeviceKind::Absent => false,
    }
}

fn xmit_upper(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) -> Refused {
    if env.taps(Direction::Tx) && matches!(dev.kind, DeviceKind::Vlan | DeviceKind::Bond) && can_send(dev) {
        capture::tap(env, Direction::Tx, dev.ifindex, list);
    }
    match dev.kind {
        DeviceKind::Vlan if dev.is_running() => vlan_dev_hard_start_xmit(env, hands, dev, list),
        DeviceKind::Bond if dev.up => bond_start_xmit(env, hands, dev, list),
        _ => refuse_list(env, list),
    }
}

/// Gives packets that have left a device's queueing discipline to what is below it. A port leaves in the list what its
/// driver did not take.
pub(crate) fn xmit_lower(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    let Some(slot) = port_slot(hands, dev) else {
        xmit_upper(env, hands, dev, list);
        return;
    };
    let Some(tx) = hands.tx.ports[slot].as_deref_mut() else { return };
    match &mut tx.path {
        TxPath::Queue(queue) if env.snap.hooks.tracing() => {
            give_traced(env, queue, dev.ifindex, list, tx.tags_beside);
        }
        TxPath::Queue(queue) => give(env, queue, dev.ifindex, list, tx.tags_beside),
        // Only the owner of a queue owns the disciplines above it.
        TxPath::Handoff(_) => {
            count_tx_dropped(env, dev.ifindex, list.len() as u64);
            env.kfree_skb_list(list, Node::HardStartXmit, DropReason::HandoffFull);
        }
    }
}

/// Hands packets to another lcore, which owns the queueing discipline of their device.
#[cold]
#[inline(never)]
pub(crate) fn hand_over(env: &Env<'_>, hands: &mut Hands, owner: u16, list: &mut SkbList) {
    if env.snap.hooks.tracing() {
        env.trace_list(list, |_| Step::Handed { lcore: owner });
    }
    if let Some(ring) = hands.tx.lcores.get(usize::from(owner)) {
        ring.enqueue_burst(list);
    }
    if !list.is_empty() {
        for skb in list.iter() {
            count_tx_dropped(env, IfIndex(skb.fields().oif), 1);
        }
        env.kfree_skb_list(list, Node::DevQueueXmit, DropReason::HandoffFull);
    }
}

/// Frees what a device does not take.
#[cold]
pub(super) fn refuse_list(env: &Env<'_>, list: &mut SkbList) -> Refused {
    let mut refused = Refused::default();
    for skb in list.drain() {
        refused += refuse(env, skb);
    }
    refused
}

#[cold]
fn refuse(env: &Env<'_>, skb: Skb) -> Refused {
    let refused = Refused { packets: 1, bytes: skb.len() as u64 };
    count_tx_dropped(env, IfIndex(skb.fields().oif), 1);
    env.kfree_skb(skb, Node::DevQueueXmit, DropReason::DevReady);
    refused
}

/// Counts packets that a device did not send. A bond's counters are the sums of its members'.
fn count_tx_dropped(env: &Env<'_>, dev: IfIndex, packets: u64) {
    env.cells.device(dev).tx_dropped.add(packets);
    let master = env.snap.device(dev).master;
    if master != IfIndex::NONE {
        env.cells.device(master).tx_dropped.add(packets);
    }
}

/// Gives every waiting packet to its driver. Called at the end of each poll round.
#[inline]
pub fn flush(env: &Env<'_>, hands: &mut Hands) {
    while hands.tx.dirty != 0 {
        let slot = hands.tx.dirty.trailing_zeros() as usize;
        hands.tx.dirty &= hands.tx.dirty - 1;
        hard_start_xmit(env, hands, slot);
    }
}

/// Gives one port's buffer to its driver.
#[inline]
fn hard_start_xmit(env: &Env<'_>, hands: &mut Hands, slot: usize) {
    if env.snap.hooks.watched(Hook::L2Dequeue) {
        l2_dequeue(env, hands, slot);
    } else if let Some(PortTx { path, buffer, dev, tags_beside }) = hands.tx.ports[slot].as_deref_mut() {
        transmit(env, path, *dev, buffer, *tags_beside);
    }
}

/// The same with the hook L2_DEQUEUE between, on the lcore that owns the transmit queue. The buffer is empty while
/// the hook runs, so that its functions may send.
#[cold]
fn l2_dequeue(env: &Env<'_>, hands: &mut Hands, slot: usize) {
    let Some(PortTx { path, buffer, dev, .. }) = hands.tx.ports[slot].as_deref_mut() else { return };
    let (mut list, dev) = (std::mem::take(buffer), *dev);
    if matches!(path, TxPath::Queue(_)) && !list.is_empty() {
        nf_hook_device(env, hands, Hook::L2Dequeue, env.snap.device(dev), &mut list);
    }
    if let Some(tx) = hands.tx.ports[slot].as_deref_mut() {
        transmit(env, &mut tx.path, dev, &mut list, tx.tags_beside);
    }
}

/// Gives packets to the driver of their device at once: they have passed the hook L2_DEQUEUE before.
pub fn xmit_now(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList) {
    for skb in list.drain() {
        let oif = IfIndex(skb.fields().oif);
        let mut one = SkbList::new();
        let _ = one.push(skb);
        let dev = env.snap.device(oif);
        let Some(slot) = port_slot(hands, dev) else {
            xmit_upper(env, hands, dev, &mut one);
            continue;
        };
        if let Some(tx) = hands.tx.ports[slot].as_deref_mut() {
            transmit(env, &mut tx.path, tx.dev, &mut one, tx.tags_beside);
        }
    }
}

/// Bytes of these packets on the wire: with the tags the driver puts in.
#[inline]
fn wire_bytes(list: &SkbList, tags_beside: bool) -> u64 {
    let bytes: u64 = list.iter().map(|skb| skb.len() as u64).sum();
    let tagged = if tags_beside { list.iter().filter(|skb| skb.tx_vlan().is_some()).count() } else { 0 };
    bytes + (tagged * VLAN_HLEN) as u64
}

/// Packets to a driver; what its ring does not take is dropped and counted.
fn transmit(env: &Env<'_>, path: &mut TxPath, dev: IfIndex, buffer: &mut SkbList, tags_beside: bool) {
    let offered = buffer.len() as u64;
    if offered == 0 {
        return;
    }
    let started = env.stage_start();
    match path {
        TxPath::Queue(queue) => {
            match env.snap.hooks.tracing() {
                true => give_traced(env, queue, dev, buffer, tags_beside),
                false => give(env, queue, dev, buffer, tags_beside),
            }
            if !buffer.is_empty() {
                env.cells.tx_queue(queue.port().0, queue.queue()).full.add(1);
                count_tx_dropped(env, dev, buffer.len() as u64);
                env.kfree_skb_list(buffer, Node::HardStartXmit, DropReason::TxFull);
            }
        }
        TxPath::Handoff(ring) => {
            if env.snap.hooks.tracing() {
                env.trace_list(buffer, |_| Step::Ring { dev });
            }
            ring.enqueue_burst(buffer);
            if !buffer.is_empty() {
                count_tx_dropped(env, dev, buffer.len() as u64);
                env.kfree_skb_list(buffer, Node::HardStartXmit, DropReason::HandoffFull);
            }
        }
    }
    env.stage_end(Node::HardStartXmit, offered, started);
}

/// The same with packets that are traced among them.
#[cold]
#[inline(never)]
fn give_traced(env: &Env<'_>, queue: &mut TxQueue, dev: IfIndex, buffer: &mut SkbList, tags_beside: bool) {
    let (leaving, offered) = (Leaving::of(buffer), buffer.len());
    let (port, number) = (queue.port().0, queue.queue());
    give(env, queue, dev, buffer, tags_beside);
    leaving.taken(env.shared, offered - buffer.len(), |len| Step::Sent { dev, port, queue: number, len });
}

/// Packets to a driver, counted; what it does not take stays.
#[inline]
fn give(env: &Env<'_>, queue: &mut TxQueue, dev: IfIndex, buffer: &mut SkbList, tags_beside: bool) {
    let bytes = wire_bytes(buffer, tags_beside);
    let sent = match env.taps(Direction::Tx) {
        false => queue.tx_burst(buffer) as u64,
        true => capture::tx_burst(env, queue, dev, buffer),
    };
    let bytes = bytes - wire_bytes(buffer, tags_beside);
    env.cells.tx.add(sent);
    env.cells.tx_queue(queue.port().0, queue.queue()).packets.add(sent);
    let cells = env.cells.device(dev);
    cells.tx_packets.add(sent);
    cells.tx_bytes.add(bytes);
    let master = env.snap.device(dev).master;
    if master != IfIndex::NONE {
        // A bond's counters are the sums of its members'.
        let cells = env.cells.device(master);
        cells.tx_packets.add(sent);
        cells.tx_bytes.add(bytes);
    }
}
