//! `bond_handle_frame`: what members of a bond receive becomes the bond's.
//!
//! Uses:  the Ethernet header.   Sets: nothing of what goes on; the destination address in balance-alb.
//! Next:  hook L2_INPUT on the member, netif_receive_skb_list as the bond's, the control thread (LACP and marker frames;
//!        reports of ARP).
//! Drops: unhandled_proto (a member whose packets are not taken), otherhost (balance-alb), punt_full (control thread
//!        busy).
//!
//! The bond counts what its members count, so its counters are the sums of theirs from the moment they joined. What the
//! kernel counts as `rx_nohandler` of a member is in its `rx_dropped`.

use super::bond_hash::protocol_of;
use super::capture::{self, Direction};
use super::dev::{netif_receive_skb_list, received_by};
use super::drop_reason::{DropReason, Node};
use super::env::{Env, Hands};
use super::shared::ToControl;
use super::trace::{self, Step};
use crate::device::NetDevice;
use crate::device::bond::{Bond, BondMode};
use crate::neigh::arp::{ARP_LEN, ArpView};
use crate::net::{IfIndex, MacAddr};
use crate::netfilter::hooks::{Hook, nf_hook_device};
use crate::skb::eth::{ETH_P_ARP, EthHeader, HEADER_LEN};
use crate::skb::vlan::VLAN_HLEN;
use crate::skb::{Skb, SkbExt, SkbList};

/// Slow protocols (IEEE 802.3 annex 57A).
const ETH_P_SLOW: u16 = 0x8809;
/// Where they are sent to.
const SLOW_MULTICAST: MacAddr = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x02]);
const SUBTYPE_LACP: u8 = 1;
const SUBTYPE_MARKER: u8 = 2;
/// Longest frame of the two, without FCS.
const SLOW_FRAME_LEN: usize = 124;

/// Takes a burst that a member of a bond received.
#[inline(never)]
pub fn bond_handle_frame(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    let count = list.len() as u64;
    let started = env.stage_start();
    let cells = env.cells.device(dev.ifindex);
    cells.rx_packets.add(count);
    cells.rx_bytes.add(wire_bytes(dev, list));
    if env.snap.hooks.tracing() {
        env.trace_list(list, |_| Step::BondHandleFrame { dev: dev.ifindex, master: dev.master });
    }
    if env.snap.hooks.has(Hook::L2Input) {
        let fields = received_by(dev);
        list.iter_mut().for_each(|skb| *skb.fields_mut() = fields);
        if env.snap.hooks.tracing() {
            trace::keep(list);
        }
        nf_hook_device(env, hands, Hook::L2Input, dev, list);
    }
    env.stage_end(Node::BondHandleFrame, count, started);
    bond_handle_finish(env, hands, dev, list);
}

/// What comes after the hook L2_INPUT on the member.
pub fn bond_handle_finish(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    let master = env.snap.device(dev.master);
    let Some(bond) = master.bond.as_deref() else {
        return env.kfree_skb_list(list, Node::BondHandleFrame, DropReason::DevReady);
    };
    if bond.mode == BondMode::Lacp {
        let slow = list.mask_of(|skb| {
            EthHeader::parse(skb.data()).is_some_and(|header| header.ethertype() == ETH_P_SLOW)
        });
        if slow != 0 {
            punt_slow_protocols(env, dev, list, slow);
        }
    }
    if bond.watch_arp {
        list.iter_mut().for_each(|skb| report_arp(env, dev.ifindex, skb));
    }
    if !bond.takes_from(dev.ifindex) {
        suppress(env, bond, dev, list);
    }
    if bond.mode == BondMode::BalanceAlb && dev.mac != master.mac {
        take_over_addresses(env, dev, master, list);
    }
    if !list.is_empty() {
        if env.taps(Direction::Rx) {
            capture::tap_rx_upper(env, master, list);
        }
        netif_receive_skb_list(env, hands, master, list);
    }
}

/// Takes these packets out of the list, which the bond counts though they go no further.
fn aside(env: &Env<'_>, dev: &NetDevice, list: &mut SkbList, which: u32) -> SkbList {
    let mut out = SkbList::new();
    list.extract(which, &mut out);
    let cells = env.cells.device(dev.master);
    cells.rx_packets.add(out.len() as u64);
    cells.rx_bytes.add(wire_bytes(dev, &out));
    out
}

/// Bytes of these packets as they came in: with the tags the driver took out.
#[inline]
fn wire_bytes(dev: &NetDevice, list: &SkbList) -> u64 {
    let bytes: usize = list.iter().map(|skb| skb.len()).sum();
    let stripped = match dev.vlan_offload.strips {
        Some(_) => list.iter().filter(|skb| skb.is_vlan_stripped()).count(),
        None => 0,
    };
    (bytes + stripped * VLAN_HLEN) as u64
}

/// LACP and marker frames among those of `candidates` go to the control thread, whatever the member's state.
#[cold]
fn punt_slow_protocols(env: &Env<'_>, dev: &NetDevice, list: &mut SkbList, candidates: u32) {
    let slow = candidates & list.mask_of(is_slow_protocol);
    for mut skb in aside(env, dev, list, slow).drain() {
        let wanted = skb.len().min(SLOW_FRAME_LEN);
        skb.pull(wanted);
        let mark = trace::mark_of(&skb);
        *skb.fields_mut() = received_by(dev);
        trace::note_gone(env, mark, Step::Delivered { node: Node::BondHandleFrame });
        punt_slow(env, dev.ifindex, skb);
    }
}

fn is_slow_protocol(skb: &Skb) -> bool {
    let subtype = skb.data().get(HEADER_LEN).copied();
    EthHeader::parse(skb.data()).is_some_and(|header| header.dst() == SLOW_MULTICAST)
        && matches!(subtype, Some(SUBTYPE_LACP | SUBTYPE_MARKER))
}

fn punt_slow(env: &Env<'_>, dev: IfIndex, skb: Skb) {
    if !env.shared.slow_budget.take() {
        env.cells.device(dev).rx_dropped.add(1);
        return env.kfree_skb(skb, Node::BondHandleFrame, DropReason::PuntFull);
    }
    if let Err(ToControl::SlowProtocol { skb, .. }) =
        env.shared.send_to_control(ToControl::SlowProtocol { dev, skb })
    {
        env.shared.slow_budget.give_back();
        env.cells.device(dev).rx_dropped.add(1);
        env.kfree_skb(skb, Node::BondHandleFrame, DropReason::PuntFull);
    }
}

/// Tells the control thread of an ARP packet, behind a tag too. A full queue loses the report: monitors ask again.
fn report_arp(env: &Env<'_>, dev: IfIndex, skb: &mut Skb) {
    let (protocol, network) = protocol_of(skb);
    if protocol != ETH_P_ARP || !skb.pull(network + ARP_LEN) {
        return;
    }
    if let Some(Ok(arp)) = skb.data().get(network..).map(ArpView::parse) {
        let (op, sip, tip, sha) = (arp.op(), arp.sender_ip(), arp.target_ip(), arp.sender_mac());
        let _ = env.shared.send_to_control(ToControl::BondArp { dev, op, sip, tip, sha });
    }
}

/// What an inactive member receives ends here: it is a copy of what the active one gets. In balance-alb that holds for
/// broadcast and multicast only, since each client sends to a member of its own.
#[cold]
fn suppress(env: &Env<'_>, bond: &Bond, dev: &NetDevice, list: &mut SkbList) {
    let unicast_too = bond.mode != BondMode::BalanceAlb;
    let which = list.mask_of(|skb| {
        unicast_too || EthHeader::parse(skb.data()).is_none_or(|header| header.dst().is_multicast())
    });
    let mut out = aside(env, dev, list, which);
    for device in [dev.ifindex, dev.master] {
        env.cells.device(device).rx_dropped.add(out.len() as u64);
    }
    env.kfree_skb_list(&mut out, Node::BondHandleFrame, DropReason::UnhandledProto);
}

/// In balance-alb each member has an address of its own. A frame to it is one to the bond; a frame to the bond's address,
/// which is another member's, came here only because a switch floods it.
fn take_over_addresses(env: &Env<'_>, dev: &NetDevice, master: &NetDevice, list: &mut SkbList) {
    let (own, bonds) = (dev.mac_word(), master.mac_word());
    let flooded = list.mask_of(|skb| skb.head().is_some_and(|head| head.dst_mac_word() == bonds));
    if flooded != 0 {
        let mut out = aside(env, dev, list, flooded);
        env.cells.device(master.ifindex).rx_otherhost.add(out.len() as u64);
        env.kfree_skb_list(&mut out, Node::BondHandleFrame, DropReason::OtherHost);
    }
    for skb in list.iter_mut() {
        if skb.head().is_some_and(|head| head.dst_mac_word() == own)
            && let Some(dst) = skb.data_mut().first_chunk_mut()
        {
            *dst = master.mac.0;
        }
    }
}
