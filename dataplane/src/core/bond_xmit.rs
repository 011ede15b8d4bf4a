//! `bond_start_xmit`: which member of a bond a packet leaves by.
//!
//! Uses:  oif, the frame.   Sets: oif; the source address by an inactive member in balance-tlb and balance-alb, the
//!        sender's address in ARP replies of ours in balance-alb.
//! Next:  hook L2_ENQUEUE on the member, its queue.
//! Drops: no_tx_target (no member may send), nomem (a copy, in broadcast mode).
//!
//! A burst is given its members in one pass and then split, each part in the order it came. In balance-rr every lcore
//! counts turns of its own, as every CPU of the kernel does: with several lcores the members' shares are even, the order
//! among the lcores is not fixed.

use super::bond_hash::{bond_xmit_hash, layer2, layer34, protocol_of, untag};
use super::counters::MAX_DEVICES;
use super::drop_reason::{DropReason, Node};
use super::env::{Env, Hands};
use super::trace::Step;
use super::xmit::{Refused, dev_queue_again_by};
use crate::device::NetDevice;
use crate::device::bond::{Bond, BondMode, XmitPolicy};
use crate::device::bond_rlb::OurArp;
use crate::device::vlan::VlanProto;
use crate::neigh::arp::{ARP_LEN, ArpOp, ArpView};
use crate::net::{IfIndex, MacAddr};
use crate::skb::eth::{ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, HEADER_LEN};
use crate::skb::ipv4::{BROADCAST, IPPROTO_ICMPV6, IPPROTO_IGMP, Ipv4Header};
use crate::skb::vlan::VID_MASK;
use crate::skb::{Skb, SkbExt, SkbList};

/// Novell IPX, which balance-tlb takes for something to balance.
const ETH_P_IPX: u16 = 0x8137;
/// Bonds one above the other that a packet goes through (the kernel's `XMIT_RECURSION_LIMIT`): devices may be stacked
/// into a circle.
const RECURSION_LIMIT: u8 = 8;

/// Whose turn it is, by bond, on one lcore.
#[derive(Debug)]
pub struct BondTurns {
    turns: Box<[u32]>,
    depth: u8,
}

impl Default for BondTurns {
    fn default() -> Self {
        BondTurns { turns: vec![0; MAX_DEVICES].into(), depth: 0 }
    }
}

impl BondTurns {
    fn of(&mut self, bond: IfIndex) -> &mut u32 {
        &mut self.turns[bond.index() % MAX_DEVICES]
    }
}

/// Sends a list by the members of the bond `dev`, which is up. What they did not take; in broadcast mode what the last one
/// did not.
#[inline(never)]
pub(super) fn bond_start_xmit(
    env: &Env<'_>,
    hands: &mut Hands,
    dev: &NetDevice,
    list: &mut SkbList,
) -> Refused {
    let Some(bond) = dev.bond.as_deref().filter(|_| dev.carrier && hands.bond_turns.depth < RECURSION_LIMIT)
    else {
        return no_tx_target(env, dev.ifindex, list);
    };
    let (started, count) = (env.stage_start(), list.len() as u64);
    let copied = bond.mode == BondMode::Broadcast;
    if !copied {
        choose(env, hands, dev, bond, list);
        if env.snap.hooks.tracing() {
            trace_members(env, dev, list);
        }
    }
    env.stage_end(Node::BondStartXmit, count, started);
    hands.bond_turns.depth += 1;
    let refused = match copied {
        true => xmit_broadcast(env, hands, dev, bond, list),
        false => split(env, hands, dev, list),
    };
    hands.bond_turns.depth -= 1;
    refused
}

#[cold]
fn trace_members(env: &Env<'_>, dev: &NetDevice, list: &SkbList) {
    env.trace_list(list, |skb| Step::BondXmit { dev: dev.ifindex, member: IfIndex(skb.fields().oif) });
}

/// Writes each packet's member to its `oif`, [`IfIndex::NONE`] if there is none.
fn choose(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, bond: &Bond, list: &mut SkbList) {
    match (bond.mode, bond.policy) {
        (BondMode::ActiveBackup, _) => set_members(list, |_| bond.active),
        (BondMode::BalanceXor | BondMode::Lacp, XmitPolicy::Layer34) => {
            set_members(list, |skb| bond.by_hash(layer34(skb)));
        }
        (BondMode::BalanceXor | BondMode::Lacp, XmitPolicy::Layer2) => {
            set_members(list, |skb| bond.by_hash(layer2(skb)));
        }
        (BondMode::BalanceXor | BondMode::Lacp, policy) => {
            set_members(list, |skb| bond.by_hash(bond_xmit_hash(policy, skb)));
        }
        (BondMode::BalanceRr, _) => choose_by_turn(hands, dev, bond, list),
        (BondMode::BalanceTlb | BondMode::BalanceAlb, _) => {
            set_members(list, |skb| balanced(env, hands.lcore(), dev, bond, skb));
        }
        (BondMode::Broadcast, _) => {}
    }
}

#[inline(always)]
fn set_members(list: &mut SkbList, mut member: impl FnMut(&mut Skb) -> Option<IfIndex>) {
    for skb in list.iter_mut() {
        skb.fields_mut().oif = member(skb).unwrap_or(IfIndex::NONE).0;
    }
}

/// Each part of the list to its member.
#[inline]
fn split(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) -> Refused {
    let mut refused = Refused::default();
    while let Some(oif) = list.iter().next().map(|skb| skb.fields().oif) {
        let same = list.mask_of(|skb| skb.fields().oif == oif);
        let mut part = SkbList::new();
        list.extract(same, &mut part);
        refused += match oif {
            0 => no_tx_target(env, dev.ifindex, &mut part),
            _ => dev_queue_again_by(env, hands, IfIndex(oif), &mut part),
        };
    }
    refused
}

#[cold]
fn no_tx_target(env: &Env<'_>, dev: IfIndex, list: &mut SkbList) -> Refused {
    let bytes = list.iter().map(|skb| skb.len() as u64).sum();
    let refused = Refused { packets: list.len() as u64, bytes };
    env.cells.device(dev).tx_dropped.add(refused.packets);
    env.kfree_skb_list(list, Node::BondStartXmit, DropReason::NoTxTarget);
    refused
}

/// Balance-rr. IGMP goes by the active member, so that switches find the querier and its answers at one port.
fn choose_by_turn(hands: &mut Hands, dev: &NetDevice, bond: &Bond, list: &mut SkbList) {
    let mut turn = *hands.bond_turns.of(dev.ifindex);
    set_members(list, |skb| {
        if is_igmp(skb) {
            return bond.active.or_else(|| bond.by_turn(0));
        }
        match bond.packets_per_slave {
            0 => bond.by_turn(hands.random()),
            1 => {
                turn = turn.wrapping_add(1);
                bond.by_turn(turn)
            }
            packets => {
                turn = turn.wrapping_add(1);
                bond.by_turn(turn / packets)
            }
        }
    });
    *hands.bond_turns.of(dev.ifindex) = turn;
}

#[inline]
fn is_igmp(skb: &Skb) -> bool {
    const PROTOCOL: usize = HEADER_LEN + 9;
    let Some(frame) = skb.data().first_chunk::<{ PROTOCOL + 1 }>() else { return false };
    let ethertype = u16::from_be_bytes([frame[12], frame[13]]);
    match ethertype {
        ETH_P_IP => frame[PROTOCOL] == IPPROTO_IGMP,
        _ => VlanProto::from_tpid(ethertype).is_some() && is_tagged_igmp(skb),
    }
}

#[cold]
fn is_tagged_igmp(skb: &Skb) -> bool {
    let (protocol, network) = protocol_of(skb);
    let header = skb.data().get(network..).and_then(Ipv4Header::parse);
    protocol == ETH_P_IP && header.is_some_and(|header| header.protocol() == IPPROTO_IGMP)
}

/// Broadcast mode: a copy by every member, the packets themselves by the last. What the last did not take.
#[cold]
fn xmit_broadcast(
    env: &Env<'_>,
    hands: &mut Hands,
    dev: &NetDevice,
    bond: &Bond,
    list: &mut SkbList,
) -> Refused {
    let Some((last, others)) = bond.usable().split_last() else {
        return no_tx_target(env, dev.ifindex, list);
    };
    for member in others {
        let mut copies = SkbList::new();
        for skb in list.iter() {
            env.cells.created.add(1);
            match hands.pool.copy(skb) {
                // As many as there are packets, so there is room.
                Some(copy) => {
                    env.trace(&copy, || Step::Copied);
                    let _ = copies.push(copy);
                }
                None => {
                    env.cells.device(dev.ifindex).tx_dropped.add(1);
                    env.count_lost(skb, Node::BondStartXmit, DropReason::Nomem);
                }
            }
        }
        set_members(&mut copies, |_| Some(*member));
        if env.snap.hooks.tracing() {
            trace_members(env, dev, &copies);
        }
        let _ = dev_queue_again_by(env, hands, *member, &mut copies);
    }
    set_members(list, |_| Some(*last));
    if env.snap.hooks.tracing() {
        trace_members(env, dev, list);
    }
    dev_queue_again_by(env, hands, *last, list)
}

/// Balance-tlb and balance-alb: the member of what can be balanced, the active one for the rest. A frame by another
/// member than the active one carries that member's address, so that switches do not see the bond's in two places.
fn balanced(env: &Env<'_>, lcore: usize, dev: &NetDevice, bond: &Bond, skb: &mut Skb) -> Option<IfIndex> {
    let wanted = match bond.mode {
        BondMode::BalanceTlb => tlb_choice(bond, skb),
        _ => alb_choice(env, dev, bond, skb),
    };
    let member = match wanted {
        Choice::Member(member) => Some(member),
        Choice::Bucket(bucket) => by_load(bond, lcore, bucket, skb.len()),
        Choice::Active => None,
    };
    let member = member.filter(|member| bond.may_send(*member)).or_else(|| {
        if let Some(tlb) = &bond.tlb {
            tlb.count_unbalanced(lcore, skb.len());
        }
        bond.active.filter(|active| bond.may_send(*active))
    })?;
    if Some(member) != bond.active
        && let Some(source) = skb.data_mut().get_mut(6..12)
    {
        source.copy_from_slice(&env.snap.device(member).mac.0);
    }
    Some(member)
}

/// How a packet of balance-tlb or balance-alb is to go.
enum Choice {
    /// By the active member.
    Active,
    /// By this one.
    Member(IfIndex),
    /// By the one this hash is assigned to.
    Bucket(u8),
}

impl From<Option<IfIndex>> for Choice {
    fn from(member: Option<IfIndex>) -> Choice {
        member.map_or(Choice::Active, Choice::Member)
    }
}

/// The member a hash is assigned to. One that may not send any more loses all it had.
fn by_load(bond: &Bond, lcore: usize, bucket: u8, bytes: usize) -> Option<IfIndex> {
    let tlb = bond.tlb.as_deref()?;
    let member = tlb.choose(bucket)?;
    if !bond.may_send(member) {
        tlb.clear(member);
        return None;
    }
    tlb.count(lcore, bucket, bytes);
    Some(member)
}

/// What goes to one station is balanced by the bond's hash.
fn tlb_choice(bond: &Bond, skb: &Skb) -> Choice {
    let to_one = skb.data().first().is_some_and(|first| first & 1 == 0);
    if !to_one || !matches!(protocol_of(skb).0, ETH_P_IP | ETH_P_IPV6 | ETH_P_IPX) {
        return Choice::Active;
    }
    let hash = bond_xmit_hash(bond.policy, skb);
    match bond.tlb {
        Some(_) => Choice::Bucket(hash as u8),
        None => bond.by_hash(hash).into(),
    }
}

/// IP is balanced by its destination, unless everybody is to hear it at the bond's own place; ARP of ours goes by the
/// member its client is to send to.
fn alb_choice(env: &Env<'_>, dev: &NetDevice, bond: &Bond, skb: &mut Skb) -> Choice {
    let (protocol, network) = protocol_of(skb);
    let destination = match protocol {
        ETH_P_ARP => return rlb_arp_xmit(env, dev, bond, skb).into(),
        ETH_P_IP => ipv4_destination(skb, network),
        ETH_P_IPV6 => ipv6_destination(skb, network),
        _ => None,
    };
    match (destination, &bond.tlb) {
        (None, _) => Choice::Active,
        (Some(bucket), Some(_)) => Choice::Bucket(bucket),
        (Some(_), None) => bond.by_hash(bond_xmit_hash(bond.policy, skb)).into(),
    }
}

fn is_to_all(skb: &Skb) -> bool {
    skb.data().first_chunk::<6>().is_none_or(|mac| MacAddr(*mac).is_broadcast())
}

/// The bytes of the destination folded into one, if the packet can be balanced.
fn ipv4_destination(skb: &Skb, network: usize) -> Option<u8> {
    let header = Ipv4Header::parse(skb.data().get(network..)?)?;
    let balanced = !is_to_all(skb) && header.dst() != BROADCAST && header.protocol() != IPPROTO_IGMP;
    balanced.then(|| folded(&header.dst().to_be_bytes()))
}

/// The same for IPv6. Neighbour discovery and probes for duplicate addresses say where the bond is; they go by its place.
fn ipv6_destination(skb: &Skb, network: usize) -> Option<u8> {
    const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
    const NEIGHBOUR_SOLICITATION: u8 = 135;
    const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    let packet = skb.data().get(network..)?;
    let header = packet.first_chunk::<40>()?;
    let discovery = header[6] == IPPROTO_ICMPV6
        && matches!(packet.get(40), Some(&(NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT)));
    let unbalanced = is_to_all(skb)
        || skb.data().starts_with(&ALL_NODES_MAC)
        || discovery
        || header[8..24].iter().all(|byte| *byte == 0);
    (!unbalanced).then(|| folded(&header[24..40]))
}

/// The kernel's `_simple_hash`.
fn folded(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |hash, byte| hash ^ byte)
}

/// ARP of the router's own: the client gets a member, whose address replies carry. What others sent is left alone.
#[cold]
fn rlb_arp_xmit(env: &Env<'_>, dev: &NetDevice, bond: &Bond, skb: &mut Skb) -> Option<IfIndex> {
    let rlb = bond.rlb.as_deref()?;
    let (tag, _, network) = untag(skb.data(), skb.tx_vlan());
    if !skb.pull(network + ARP_LEN) {
        return None;
    }
    let arp = ArpView::parse(skb.data().get(network..)?).ok()?;
    let (op, our_mac) = (arp.op(), arp.sender_mac());
    let is_ours = our_mac == dev.mac || bond.members.iter().any(|m| env.snap.device(m.dev).mac == our_mac);
    if !is_ours {
        return None;
    }
    let said = OurArp {
        ours: arp.sender_ip(),
        our_mac,
        client: arp.target_ip(),
        client_mac: arp.target_mac(),
        vlan: tag.map(|tci| tci & VID_MASK),
    };
    let member = rlb.choose(&said, bond.active);
    match (op, member) {
        (ArpOp::Reply, Some(member)) => {
            let sender = network + 8;
            if let Some(place) = skb.data_mut().get_mut(sender..sender + 6) {
                place.copy_from_slice(&env.snap.device(member).mac.0);
            }
        }
        (ArpOp::Reply, None) => {}
        (ArpOp::Request, _) => rlb.asked(said.ours, bond.active),
    }
    member
}
