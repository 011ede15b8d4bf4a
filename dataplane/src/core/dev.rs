//! `netif_receive_skb_list`: from a device's receive queue to the protocol handlers.
//!
//! Uses:  the Ethernet header, and where IPv4 has its destination, to bring the route closer.
//! Sets:  every field (a received mbuf's are not cleared), pkt_type, network_offset.
//! Next:  ip_list_rcv, arp_process, bond_handle_frame (members of a bond).
//! Drops: dev_ready (device down), otherhost, unhandled_proto.

use super::bond_rcv::{bond_handle_finish, bond_handle_frame};
use super::drop_reason::{DropReason, Node};
use super::env::{Env, Hands};
use crate::device::NetDevice;
use crate::ipv4::ip_input::ip_list_rcv;
use crate::neigh::arp_process::arp_process;
use crate::net::IfIndex;
use crate::netfilter::hooks::{Hook, nf_hook_device};
use crate::skb::eth::{self, ETH_P_ARP, ETH_P_IP, EthHeader};
use crate::skb::{Skb, SkbExt, SkbFields, SkbList, pkt_type};

/// Takes a burst that came in by `dev` and sends each packet to its protocol.
#[inline]
pub fn netif_receive_skb_list(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    let count = list.len() as u64;
    let started = env.stage_start();
    if !dev.up {
        env.cells.device(dev.ifindex).rx_dropped.add(count);
        return env.kfree_skb_list(list, Node::NetifReceive, DropReason::DevReady);
    }
    if dev.master != IfIndex::NONE {
        return bond_handle_frame(env, hands, dev, list);
    }

    let mac = dev.mac_word();
    let mut bytes = 0;
    let mut all_plain = true;
    let fields = received_by(dev);
    let fib = &*env.shared.fib;
    for skb in list.iter_mut() {
        bytes += skb.len() as u64;
        *skb.fields_mut() = fields;
        all_plain &= is_ip_for_host(skb, mac);
        if let Some(head) = skb.head() {
            fib.prefetch(head.dst());
        }
    }
    let cells = env.cells.device(dev.ifindex);
    cells.rx_packets.add(count);
    cells.rx_bytes.add(bytes);

    if env.snap.hooks.has(Hook::L2Input) {
        // A hook may change frames: nothing that was seen before holds.
        nf_hook_device(env, hands, Hook::L2Input, dev, list);
        all_plain = false;
    }
    if !all_plain {
        let others = list.mask_of(|skb| !is_ip_for_host(skb, mac));
        demux(env, hands, dev, list, others);
    }
    env.stage_end(Node::NetifReceive, count, started);
    if !list.is_empty() {
        ip_list_rcv(env, hands, dev, list);
    }
}

/// What comes after the hook L2_INPUT.
pub fn netif_receive_finish(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    if dev.master != IfIndex::NONE {
        return bond_handle_finish(env, hands, dev, list);
    }
    let mac = dev.mac_word();
    let others = list.mask_of(|skb| !is_ip_for_host(skb, mac));
    demux(env, hands, dev, list, others);
    if !list.is_empty() {
        ip_list_rcv(env, hands, dev, list);
    }
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
        skb.pull(eth::HEADER_LEN);
        let Some(header) = EthHeader::parse(skb.data()) else {
            elsewhere |= 1 << i;
            continue;
        };
        let (ethertype, to) = (header.ethertype(), eth_type_trans(&header, dev));
        skb.fields_mut().pkt_type = to;
        if to == pkt_type::MULTICAST {
            env.cells.device(dev.ifindex).multicast.add(1);
        }
        elsewhere |= u32::from(ethertype != ETH_P_IP || to == pkt_type::OTHERHOST) << i;
    }
    let mut rest = SkbList::new();
    list.extract(elsewhere, &mut rest);
    for skb in rest.drain() {
        deliver_other(env, hands, dev, skb);
    }
}

/// A packet that is not IPv4 for us.
fn deliver_other(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, skb: Skb) {
    let other_host = skb.fields().pkt_type == pkt_type::OTHERHOST;
    match EthHeader::parse(skb.data()).map(|header| header.ethertype()) {
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

/// Who the frame is for (the kernel's `eth_type_trans`).
fn eth_type_trans(header: &EthHeader<'_>, dev: &NetDevice) -> u8 {
    let dst = header.dst();
    if dst == dev.mac {
        pkt_type::HOST
    } else if dst.is_broadcast() {
        pkt_type::BROADCAST
    } else if dst.is_multicast() {
        pkt_type::MULTICAST
    } else {
        pkt_type::OTHERHOST
    }
}
