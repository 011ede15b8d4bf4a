//! `dev_queue_xmit` and `hard_start_xmit`: from a device to a driver's transmit ring.
//!
//! Uses:  oif.   Sets: nothing.
//! Next:  hooks L2_ENQUEUE and L2_DEQUEUE, bond_start_xmit (bonds), the wire.
//! Drops: dev_ready (device not running), tx_full (ring full), handoff_full.
//!
//! Packets gather in one buffer a port and go to the driver when 32 are there or the poll round ends, so a driver
//! always sees bursts. A port with fewer transmit queues than lcores has one owner; the others hand it their bursts
//! over a ring.

use std::sync::Arc;

use skiff_pmd::{Ring, TxQueue};

use super::bond_xmit::bond_start_xmit;
use super::counters::MAX_PORTS;
use super::drop_reason::{DropReason, Node};
use super::env::{Env, Hands};
use crate::device::DeviceKind;
use crate::net::IfIndex;
use crate::netfilter::hooks::{Hook, nf_hook_device};
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
}

/// The ways out of an lcore, by port.
#[derive(Debug)]
pub struct TxTable {
    ports: [Option<Box<PortTx>>; MAX_PORTS],
    /// Ports with something in their buffer.
    dirty: u64,
}

impl Default for TxTable {
    fn default() -> Self {
        TxTable { ports: std::array::from_fn(|_| None), dirty: 0 }
    }
}

impl TxTable {
    /// Makes `path` the way to `port`.
    pub fn set(&mut self, port: u16, path: TxPath) {
        self.ports[usize::from(port) % MAX_PORTS] =
            Some(Box::new(PortTx { path, buffer: SkbList::new(), dev: IfIndex::NONE }));
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
    if env.snap.hooks.has(Hook::L2Enqueue) {
        l2_enqueue(env, hands, list);
    }
    dev_queue_list(env, hands, list);
    env.stage_end(Node::DevQueueXmit, count, started);
}

/// After the hook, or for packets another lcore has taken through it: each to the buffer of its port.
#[inline]
pub fn dev_queue_list(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList) {
    if let Some(oif) = common_oif(list) {
        queue_all(env, hands, oif, list);
    }
    // What it left, and all that goes several ways.
    for skb in list.drain() {
        queue_one(env, hands, skb);
    }
}

/// The hook L2_ENQUEUE, for each packet that of its own device.
#[cold]
fn l2_enqueue(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList) {
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
    if env.snap.hooks.has(Hook::L2Enqueue) {
        let mut one = SkbList::new();
        let _ = one.push(skb);
        l2_enqueue(env, hands, &mut one);
        dev_queue_list(env, hands, &mut one);
    } else {
        queue_one(env, hands, skb);
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

/// The slot of the port under a device that can send; marked as in use.
#[inline]
fn slot_of(env: &Env<'_>, hands: &mut Hands, oif: IfIndex) -> Option<usize> {
    let dev = env.snap.device(oif);
    let DeviceKind::Port(port) = dev.kind else { return None };
    if !dev.is_running() {
        return None;
    }
    let slot = usize::from(port.0) % MAX_PORTS;
    hands.tx.ports[slot].as_deref_mut()?.dev = dev.ifindex;
    hands.tx.dirty |= 1 << slot;
    Some(slot)
}

#[inline]
fn buffer(hands: &mut Hands, slot: usize) -> Option<&mut SkbList> {
    hands.tx.ports[slot].as_deref_mut().map(|tx| &mut tx.buffer)
}

/// Moves a whole list to its device at once. What cannot go there stays in the list.
#[inline]
fn queue_all(env: &Env<'_>, hands: &mut Hands, oif: IfIndex, list: &mut SkbList) {
    let Some(slot) = slot_of(env, hands, oif) else { return not_a_port(env, hands, oif, list) };
    let Some(room) = buffer(hands, slot) else { return };
    room.append(list);
    if !list.is_empty() {
        hard_start_xmit(env, hands, slot);
        // The buffer is empty now, so there is room.
        if let Some(room) = buffer(hands, slot) {
            room.append(list);
        }
    }
}

#[inline]
fn queue_one(env: &Env<'_>, hands: &mut Hands, skb: Skb) {
    let oif = IfIndex(skb.fields().oif);
    let Some(slot) = slot_of(env, hands, oif) else { return one_not_to_a_port(env, hands, oif, skb) };
    let Some(room) = buffer(hands, slot) else { return refuse(env, skb) };
    if let Err(skb) = room.push(skb) {
        hard_start_xmit(env, hands, slot);
        // The buffer is empty now, so there is room.
        if let Some(room) = buffer(hands, slot) {
            let _ = room.push(skb);
        }
    }
}

/// A list for a device that is no port, or one that cannot send. What nobody takes stays in the list.
#[inline(never)]
fn not_a_port(env: &Env<'_>, hands: &mut Hands, oif: IfIndex, list: &mut SkbList) {
    let dev = env.snap.device(oif);
    if dev.kind == DeviceKind::Bond && dev.up {
        bond_start_xmit(env, hands, dev, list);
    }
}

#[inline(never)]
fn one_not_to_a_port(env: &Env<'_>, hands: &mut Hands, oif: IfIndex, skb: Skb) {
    let mut one = SkbList::new();
    let _ = one.push(skb);
    not_a_port(env, hands, oif, &mut one);
    one.drain().for_each(|skb| refuse(env, skb));
}

/// Packets that a device above has given to `dev`, all with that in their `oif` field: they pass the hook L2_ENQUEUE
/// there too.
pub(super) fn lower_xmit(env: &Env<'_>, hands: &mut Hands, dev: IfIndex, list: &mut SkbList) {
    if env.snap.hooks.has(Hook::L2Enqueue) {
        l2_enqueue(env, hands, list);
        return dev_queue_list(env, hands, list);
    }
    queue_all(env, hands, dev, list);
    list.drain().for_each(|skb| refuse(env, skb));
}

#[cold]
fn refuse(env: &Env<'_>, skb: Skb) {
    count_tx_dropped(env, IfIndex(skb.fields().oif), 1);
    env.kfree_skb(skb, Node::DevQueueXmit, DropReason::DevReady);
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
    if env.snap.hooks.has(Hook::L2Dequeue) {
        l2_dequeue(env, hands, slot);
    } else if let Some(PortTx { path, buffer, dev }) = hands.tx.ports[slot].as_deref_mut() {
        transmit(env, path, *dev, buffer);
    }
}

/// The same with the hook L2_DEQUEUE between, on the lcore that owns the transmit queue. The buffer is empty while
/// the hook runs, so that its functions may send.
#[cold]
fn l2_dequeue(env: &Env<'_>, hands: &mut Hands, slot: usize) {
    let Some(PortTx { path, buffer, dev }) = hands.tx.ports[slot].as_deref_mut() else { return };
    let (mut list, dev) = (std::mem::take(buffer), *dev);
    if matches!(path, TxPath::Queue(_)) && !list.is_empty() {
        nf_hook_device(env, hands, Hook::L2Dequeue, env.snap.device(dev), &mut list);
    }
    if let Some(tx) = hands.tx.ports[slot].as_deref_mut() {
        transmit(env, &mut tx.path, dev, &mut list);
    }
}

/// Gives packets to the driver of their device at once: they have passed the hook L2_DEQUEUE before.
pub fn xmit_now(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList) {
    for skb in list.drain() {
        let Some(slot) = slot_of(env, hands, IfIndex(skb.fields().oif)) else {
            refuse(env, skb);
            continue;
        };
        let mut one = SkbList::new();
        let _ = one.push(skb);
        if let Some(tx) = hands.tx.ports[slot].as_deref_mut() {
            transmit(env, &mut tx.path, tx.dev, &mut one);
        }
    }
}

/// Packets to a driver; what its ring does not take is dropped and counted.
fn transmit(env: &Env<'_>, path: &mut TxPath, dev: IfIndex, buffer: &mut SkbList) {
    let offered = buffer.len() as u64;
    if offered == 0 {
        return;
    }
    let bytes: u64 = buffer.iter().map(|skb| skb.len() as u64).sum();
    let started = env.stage_start();
    let cells = env.cells.device(dev);
    match path {
        TxPath::Queue(queue) => {
            let sent = queue.tx_burst(buffer) as u64;
            let left: u64 = buffer.iter().map(|skb| skb.len() as u64).sum();
            env.cells.tx.add(sent);
            let queue_cells = env.cells.tx_queue(queue.port().0, queue.queue());
            queue_cells.packets.add(sent);
            cells.tx_packets.add(sent);
            cells.tx_bytes.add(bytes - left);
            let master = env.snap.device(dev).master;
            if master != IfIndex::NONE {
                // A bond's counters are the sums of its members'.
                let cells = env.cells.device(master);
                cells.tx_packets.add(sent);
                cells.tx_bytes.add(bytes - left);
            }
            if sent < offered {
                queue_cells.full.add(1);
                count_tx_dropped(env, dev, offered - sent);
                env.kfree_skb_list(buffer, Node::HardStartXmit, DropReason::TxFull);
            }
        }
        TxPath::Handoff(ring) => {
            ring.enqueue_burst(buffer);
            if !buffer.is_empty() {
                count_tx_dropped(env, dev, buffer.len() as u64);
                env.kfree_skb_list(buffer, Node::HardStartXmit, DropReason::HandoffFull);
            }
        }
    }
    env.stage_end(Node::HardStartXmit, offered, started);
}
