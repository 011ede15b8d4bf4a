//! `netif_receive_skb_list`: from a device's receive queue to the protocol handlers.
//!
//! Uses:  the Ethernet header, and where IPv4 has its destination, to bring the route closer.
//! Sets:  every field (a received mbuf's are not cleared), pkt_type, network_offset.
//! Next:  bond_handle_frame (members of a bond), vlan_do_receive, hook L2_INPUT, ip_list_rcv, arp_process.
//! Drops: dev_ready (device down), otherhost, unhandled_proto.

use super::bond_rcv::{bond_handle_finish, bond_handle_frame};
use super::capture::{self, Direction};
use super::drop_reason::{DropReason, Node};
use super::env::{Env, Hands};
use super::trace::{self, Step};
use super::vlan_rcv::{is_tagged, l2_input, vlan_do_receive, vlan_do_receive_list};
use crate::device::NetDevice;
use crate::device::vlan::MAX_NESTING;
use crate::ipv4::ip_input::ip_list_rcv;
use crate::neigh::arp_process::arp_process;
use crate::net::IfIndex;
use crate::netfilter::hooks::Hook;
use crate::skb::eth::{self, ETH_P_ARP, ETH_P_IP, EthHeader};
use crate::skb::{Skb, SkbExt, SkbFields, SkbList, pkt_type};

/// Takes a burst that came in by `dev` and sends each packet to its protocol.
#[inline]
pub fn netif_receive_skb_list(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    if !dev.up {
        env.cells.device(dev.ifindex).rx_dropped.add(list.len() as u64);
        return env.kfree_skb_list(list, Node::NetifReceive, DropReason::DevReady);
    }
    if dev.master != IfIndex::NONE {
        return bond_handle_frame(env, hands, dev, list);
    }
    if dev.untags {
        return vlan_do_receive_list(env, hands, dev, list);
    }
    let started = env.stage_start();
    let fields = received_by(dev);
    let all_plain = accept(env, dev, list, |_| fields);
    demux_and_finish(env, hands, dev, list, all_plain, started);
}

/// The same for a device that is up, and frames whose tags have been looked at. `prepare` makes a packet ready and has its
/// fields.
#[inline]
pub(super) fn netif_receive_untagged(
    env: &Env<'_>,
    hands: &mut Hands,
    dev: &NetDevice,
    list: &mut SkbList,
    prepare: impl FnMut(&mut Skb) -> SkbFields,
) {
    let started = env.stage_start();
    let all_plain = accept(env, dev, list, prepare);
    if env.taps(Direction::Rx) && !dev.untags {
        capture::tap_rx_upper(env, dev, list);
    }
    demux_and_finish_vlan(env, hands, dev, list, all_plain, started);
}

/// Counts a burst and sets its fields. Whether all of it is plain IPv4 for this device.
#[inline(always)]
fn accept(
    env: &Env<'_>,
    dev: &NetDevice,
    list: &mut SkbList,
    mut prepare: impl FnMut(&mut Skb) -> SkbFields,
) -> bool {
    let mac = dev.mac_word();
    let mut bytes = 0;
    let mut all_plain = true;
    let fib = &*env.shared.fib;
    for skb in list.iter_mut() {
        let fields = prepare(skb);
        bytes += skb.len() as u64;
        *skb.fields_mut() = fields;
        all_plain &= is_ip_for_host(skb, mac);
        if let Some(head) = skb.head() {
            fib.prefetch(head.dst());
        }
    }
    let cells = env.cells.device(dev.ifindex);
    cells.rx_packets.add(list.len() as u64);
    cells.rx_bytes.add(bytes);
    all_plain
}

/// From the hook L2_INPUT on.
#[inline(always)]
fn demux_and_finish(
    env: &Env<'_>,
    hands: &mut Hands,
    dev: &NetDevice,
    list: &mut SkbList,
    all_plain: bool,
    started: u64,
) {
    let count = list.len() as u64;
    if env.snap.hooks.watched(Hook::L2Input) && show(env, dev, list) {
        env.stage_end(Node::NetifReceive, count, started);
        return l2_input(env, hands, dev, list);
    }
    if !all_plain {
        let mac = dev.mac_word();
        let others = list.mask_of(|skb| !is_ip_for_host(skb, mac));
        demux(env, hands, dev, list, others);
    }
    env.stage_end(Node::NetifReceive, count, started);
    if !list.is_empty() {
        ip_list_rcv(env, hands, dev, list);
    }
}

/// Reports traced packets, whose fields have been set anew. Whether somebody listens at L2_INPUT.
#[cold]
fn show(env: &Env<'_>, dev: &NetDevice, list: &mut SkbList) -> bool {
    if env.snap.hooks.tracing() {
        trace::keep(list);
        trace_received(env, dev, list);
    }
    env.snap.hooks.has(Hook::L2Input)
}

#[cold]
pub(super) fn trace_received(env: &Env<'_>, dev: &NetDevice, list: &SkbList) {
    env.trace_list(list, |skb| Step::NetifReceive {
        dev: dev.ifindex,
        pkt_type: EthHeader::parse(skb.data()).map_or(0, |header| eth_type_trans(env, &header, dev)),
        protocol: ethertype(skb).unwrap_or(0),
    });
}

/// The same, once for all ways a tag can go.
#[inline(never)]
fn demux_and_finish_vlan(
    env: &Env<'_>,
    hands: &mut Hands,
    dev: &NetDevice,
    list: &mut SkbList,
    all_plain: bool,
    started: u64,
) {
    demux_and_finish(env, hands, dev, list, all_plain, started);
}

/// What comes after the hook L2_INPUT, which may have changed frames: nothing that was seen before holds.
pub fn netif_receive_finish(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    if dev.master != IfIndex::NONE {
        return bond_handle_finish(env, hands, dev, list);
    }
    let mac = dev.mac_word();
    let odd = list.mask_of(|skb| skb.is_vlan_stripped() || has_kept_tag(skb));
    let mut tagged = SkbList::new();
    list.extract(odd, &mut tagged);
    for skb in tagged.drain() {
        vlan_do_receive(env, hands, dev, skb);
    }
    let others = list.mask_of(|skb| !is_ip_for_host(skb, mac));
    demux(env, hands, dev, list, others);
    if !list.is_empty() {
        ip_list_rcv(env, hands, dev, list);
    }
}

/// A tag stands before the network header: of a VLAN device that leaves it there.
fn has_kept_tag(skb: &Skb) -> bool {
    usize::from(skb.fields().network_offset) != eth::HEADER_LEN
}

/// The fields of a packet `dev` received. Not inlined, so that the compiler copies them in two wide stores instead of
/// setting them one by one in every packet.
#[inline(never)]
pub(super) fn received_by(dev: &NetDevice) -> SkbFields {
    SkbFields { iif: dev.ifindex.0, network_offset: eth::HEADER_LEN as u8, ..SkbFields::default() }
}

/// The common case in two loads: our MAC, EtherType IPv4, and room for an IP header behind it.
#[inline]
fn is_ip_for_host(skb: &Skb, mac: u64) -> bool {
    skb.head().is_some_and(|head| (head.dst_mac_word() == mac) & (head.ethertype() == ETH_P_IP))
}

/// Sorts out what is not plain unicast IPv4: takes the packets of `others` out of the list, but leaves those in their
/// places that are IPv4 for us all the same (broadcast, multicast, chained or short ones).
#[cold]
fn demux(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList, others: u32) {
    let mut elsewhere = 0u32;
    for (i, skb) in list.iter_mut().enumerate().filter(|(i, _)| others >> i & 1 == 1) {
        elsewhere |= u32::from(is_tagged(skb) || !is_ip_for_us(env, dev, skb)) << i;
    }
    let mut rest = SkbList::new();
    list.extract(elsewhere, &mut rest);
    for skb in rest.drain() {
        match is_tagged(&skb) {
            true => vlan_do_receive(env, hands, dev, skb),
            false => deliver_other(env, hands, dev, skb),
        }
    }
}

/// Sets the type of a packet, and counts it if it is a multicast one. Whether it is IPv4, and not for another station.
fn is_ip_for_us(env: &Env<'_>, dev: &NetDevice, skb: &mut Skb) -> bool {
    skb.pull(usize::from(skb.fields().network_offset));
    let Some(header) = EthHeader::parse(skb.data()) else { return false };
    let to = eth_type_trans(env, &header, dev);
    skb.fields_mut().pkt_type = to;
    if to == pkt_type::MULTICAST {
        count_multicast(env, dev);
    }
    ethertype(skb) == Some(ETH_P_IP) && to != pkt_type::OTHERHOST
}

/// The EtherType before the network header.
fn ethertype(skb: &Skb) -> Option<u16> {
    let at = usize::from(skb.fields().network_offset).checked_sub(2)?;
    skb.data().get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// One packet without a tag that anybody has to look at, to its protocol.
#[cold]
pub(super) fn deliver_here(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, mut skb: Skb) {
    if !is_ip_for_us(env, dev, &mut skb) {
        return deliver_other(env, hands, dev, skb);
    }
    let mut one = SkbList::new();
    let _ = one.push(skb);
    if env.snap.hooks.tracing() {
        trace_received(env, dev, &one);
    }
    ip_list_rcv(env, hands, dev, &mut one);
}

/// A packet that is not IPv4 for us.
pub(super) fn deliver_other(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, skb: Skb) {
    let other_host = skb.fields().pkt_type == pkt_type::OTHERHOST;
    match ethertype(&skb) {
        Some(ETH_P_IP) => {
            env.cells.device(dev.ifindex).rx_otherhost.add(1);
            env.kfree_skb(skb, Node::IpRcv, DropReason::OtherHost);
        }
        Some(ETH_P_ARP) if other_host => env.kfree_skb(skb, Node::ArpRcv, DropReason::OtherHost),
        Some(ETH_P_ARP) => arp_process(env, hands, dev, skb),
        _ => {
            env.cells.device(dev.ifindex).rx_dropped.add(1);
            env.kfree_skb(skb, Node::NetifReceive, DropReason::UnhandledProto);
        }
    }
}

/// A multicast frame was received by the device, and by those it lies on.
fn count_multicast(env: &Env<'_>, dev: &NetDevice) {
    for dev in with_lower(env, dev) {
        env.cells.device(dev.ifindex).multicast.add(1);
    }
}

/// The device and, if it is a VLAN, those under it.
fn with_lower<'a>(env: &Env<'a>, dev: &'a NetDevice) -> impl Iterator<Item = &'a NetDevice> {
    let below = move |dev: &&NetDevice| dev.vlan.as_ref().map(|vlan| env.snap.device(vlan.real_dev));
    std::iter::successors(Some(dev), below).take(MAX_NESTING + 1)
}

/// Who the frame is for (the kernel's `eth_type_trans`). A VLAN device takes what is for the one it lies on.
fn eth_type_trans(env: &Env<'_>, header: &EthHeader<'_>, dev: &NetDevice) -> u8 {
    let dst = header.dst();
    if with_lower(env, dev).any(|dev| dst == dev.mac) {
        pkt_type::HOST
    } else if dst.is_broadcast() {
        pkt_type::BROADCAST
    } else if dst.is_multicast() {
        pkt_type::MULTICAST
    } else {
        pkt_type::OTHERHOST
    }
}
