//! `ip_output`: the Ethernet header towards the neighbour, and fragmentation where the way out is narrower.
//!
//! Uses:  next_hop, oif, gateway, mtu, network_offset.   Sets: the Ethernet header.
//! Next:  hooks LOCAL_OUT and POST_ROUTING, dev_queue_xmit, or the neighbour's queue (in control) until its address is known;
//!        loopback_xmit for what is for ourselves.
//! Drops: punt_full (control thread busy), frag_failed, pkt_too_big (a packet of our own with DF).

use super::icmp::icmp_send;
use super::ip_fragment::ip_fragment;
use super::ipmr::group_mac;
use super::loopback::{dev_loopback_xmit, loopback_xmit};
use super::source;
use crate::core::counters::Mib;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::core::shared::ToControl;
use crate::core::trace::Step;
use crate::core::xmit::{dev_queue_xmit, dev_queue_xmit_list};
use crate::fib::NextHopId;
use crate::fib::next_hop::{Kind, NextHops};
use crate::neigh::table::{NeighEntry, NeighTable};
use crate::net::{IfIndex, MacAddr};
use crate::netfilter::hooks::{Hook, nf_hook, nf_hook_list};
use crate::skb::eth::{self, ETH_P_IP};
use crate::skb::icmp::{ICMP_DEST_UNREACH, unreach};
use crate::skb::ipv4::{self, IP_DF, Ipv4Header};
use crate::skb::{Skb, SkbExt, SkbList, flags};

/// Sends a burst that has its routes.
#[inline]
pub fn ip_output_list(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList) {
    if env.snap.hooks.watched(Hook::PostRouting) {
        return output_watched(env, hands, list);
    }
    ip_finish_output_list(env, hands, list);
}

/// A burst that somebody wants to see, or with packets that are traced.
#[cold]
fn output_watched(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList) {
    nf_hook_list(env, hands, Hook::PostRouting, list);
    finish_output(env, hands, list, list.mask_of(|skb| skb.fields().flags & flags::TRACED != 0));
}

/// After the hook: each packet that fits gets the header of its neighbour.
#[inline]
pub fn ip_finish_output_list(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList) {
    finish_output(env, hands, list, 0);
}

/// The same. Packets of `singles` take the way of those that are not common.
#[inline(always)]
fn finish_output(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList, singles: u32) {
    let (started, count) = (env.stage_start(), list.len() as u64);
    let mut odd = 0u32;
    let mut octets = 0;
    let tables = (env.shared.next_hops.view(), &*env.shared.neigh);
    for (i, skb) in list.iter_mut().enumerate() {
        let plain = if singles >> i & 1 == 0 { output_plain(env, tables, skb) } else { None };
        match plain {
            Some(len) => octets += len as u64,
            None => odd |= 1 << i,
        }
    }
    env.cells.mib(Mib::IpOutTransmits).add(count - u64::from(odd.count_ones()));
    env.cells.mib(Mib::IpExtOutOctets).add(octets);
    env.stage_end(Node::IpOutput, count, started);
    if odd == 0 {
        dev_queue_xmit_list(env, hands, list);
    } else {
        output_mixed(env, hands, list, odd);
    }
}

/// Sends a burst of which the packets of `odd` have no header yet. All leave in the order they came.
#[cold]
fn output_mixed(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList, odd: u32) {
    for (i, skb) in list.drain().enumerate() {
        match odd >> i & 1 {
            0 => dev_queue_xmit(env, hands, skb),
            _ => ip_finish_output(env, hands, skb),
        }
    }
}

/// The common case: it fits, and the neighbour's header is ready and has its room. Returns the length from the IP header
/// on; `None`, and nothing touched, otherwise.
#[inline]
fn output_plain(env: &Env<'_>, (hops, neigh): (NextHops<'_>, &NeighTable), skb: &mut Skb) -> Option<usize> {
    let fields = skb.fields();
    let len = skb.len().wrapping_sub(eth::HEADER_LEN);
    if (usize::from(fields.network_offset) != eth::HEADER_LEN) | (len > usize::from(fields.mtu)) {
        return None;
    }
    let entry = match hops.gateway_neigh(fields.next_hop) {
        Some(id) => neigh.entry(id),
        None => neighbour(env, skb)?,
    };
    let (first, second) = match entry.connected_header() {
        Some(words) => words,
        None => entry.header_words().inspect(|_| note_use(env, skb, entry))?,
    };
    skb.head_mut()?.set_ether(first, second);
    Some(len)
}

/// The neighbour entry of the packet's next hop, if there is one.
#[inline]
fn neighbour<'a>(env: &Env<'a>, skb: &Skb) -> Option<&'a NeighEntry> {
    let fields = skb.fields();
    let hop = env.shared.next_hops.get(NextHopId::new(fields.next_hop)?);
    match hop.kind {
        Kind::Gateway => Some(env.shared.neigh.entry(hop.neigh)),
        Kind::Link => {
            let id = env.shared.neigh.lookup(IfIndex(fields.oif), fields.gateway)?;
            Some(env.shared.neigh.entry(id))
        }
        _ => None,
    }
}

/// A use in a state other than connected: notes it, and tells the control thread of the first of a stale entry.
#[cold]
fn note_use(env: &Env<'_>, skb: &Skb, entry: &NeighEntry) {
    entry.mark_used(env.now_coarse);
    if entry.needs_confirm() {
        report_use(env, skb, entry);
    }
}

fn report_use(env: &Env<'_>, skb: &Skb, entry: &NeighEntry) {
    let fields = skb.fields();
    let id = env.shared.neigh.lookup(IfIndex(fields.oif), fields.gateway);
    let told = id.is_some_and(|id| env.shared.send_to_control(ToControl::NeighUsed(id)).is_ok());
    if !told {
        entry.unreport();
    }
}

/// Puts an Ethernet header in front of the IP header. False if there is no room for one.
#[inline]
pub fn write_header(skb: &mut Skb, header: &[u8; eth::HEADER_LEN]) -> bool {
    let offset = usize::from(skb.fields().network_offset);
    if offset != eth::HEADER_LEN && !make_room(skb, offset) {
        return false;
    }
    match skb.data_mut().first_chunk_mut::<{ eth::HEADER_LEN }>() {
        Some(place) => {
            *place = *header;
            true
        }
        None => false,
    }
}

/// Moves the start of the packet so that exactly an Ethernet header fits before the IP header.
#[cold]
fn make_room(skb: &mut Skb, offset: usize) -> bool {
    let moved = match offset.checked_sub(eth::HEADER_LEN) {
        Some(surplus) => skb.adj(surplus),
        None => skb.prepend(eth::HEADER_LEN - offset).is_some(),
    };
    if moved {
        skb.fields_mut().network_offset = eth::HEADER_LEN as u8;
    }
    moved
}

/// Sends one packet that has its route.
pub fn ip_output(env: &Env<'_>, hands: &mut Hands, skb: Skb) {
    let skb = match env.snap.hooks.has(Hook::PostRouting) {
        true => nf_hook(env, hands, Hook::PostRouting, skb),
        false => Some(skb),
    };
    if let Some(skb) = skb {
        ip_finish_output(env, hands, skb);
    }
}

/// One packet through everything the common case leaves out: fragmentation, broadcast, an unknown neighbour.
pub fn ip_finish_output(env: &Env<'_>, hands: &mut Hands, skb: Skb) {
    let fields = *skb.fields();
    env.trace(&skb, || Step::Output { len: skb.network_len() as u32, mtu: fields.mtu });
    if skb.network_len() > usize::from(fields.mtu) {
        let Some(header) = Ipv4Header::parse(skb.network()) else {
            return env.kfree_skb(skb, Node::IpOutput, DropReason::IpInhdr);
        };
        let fitted = (1..=fields.mtu).contains(&fields.frag_max_size);
        if header.frag_off() & IP_DF != 0 && !fitted {
            env.cells.mib(Mib::IpFragFails).add(1);
            icmp_send(env, hands, &skb, ICMP_DEST_UNREACH, unreach::FRAG_NEEDED, u32::from(fields.mtu));
            return env.kfree_skb(skb, Node::IpOutput, DropReason::PktTooBig);
        }
        let mut pieces = SkbList::new();
        // Each call yields at most a burst; a 64 KiB datagram over a small MTU takes several.
        let mut cut = ip_fragment(env, hands, skb, &mut pieces);
        loop {
            for piece in pieces.drain() {
                ip_finish_output2(env, hands, piece);
            }
            match cut {
                Some(rest) => cut = rest.resume(env, hands, &mut pieces),
                None => return,
            }
        }
    }
    ip_finish_output2(env, hands, skb);
}

/// Hands a packet that fits to its neighbour, or to the control thread until the neighbour is known.
fn ip_finish_output2(env: &Env<'_>, hands: &mut Hands, mut skb: Skb) {
    let fields = *skb.fields();
    // Before anybody knows whether the neighbour will answer, as the kernel counts.
    env.cells.mib(Mib::IpOutTransmits).add(1);
    env.cells.mib(Mib::IpExtOutOctets).add(skb.network_len() as u64);
    let hop = NextHopId::new(fields.next_hop).map(|id| env.shared.next_hops.get(id));
    let header_to = |mac| {
        let mut header = [0; eth::HEADER_LEN];
        eth::emit(&mut header, mac, env.snap.device(IfIndex(fields.oif)).mac, ETH_P_IP);
        Some(header)
    };
    let ready = match hop.map(|h| h.kind) {
        _ if ipv4::is_multicast(fields.gateway) => {
            env.cells.mib(Mib::IpExtOutMcastPkts).add(1);
            env.cells.mib(Mib::IpExtOutMcastOctets).add(skb.network_len() as u64);
            header_to(group_mac(fields.gateway))
        }
        Some(Kind::Broadcast) => {
            env.cells.mib(Mib::IpExtOutBcastPkts).add(1);
            env.cells.mib(Mib::IpExtOutBcastOctets).add(skb.network_len() as u64);
            if fields.flags & flags::LOCAL_OUT != 0 {
                dev_loopback_xmit(env, hands, &skb);
            }
            header_to(MacAddr::BROADCAST)
        }
        Some(Kind::Local) => return loopback_xmit(env, hands, skb),
        _ => neighbour(env, &skb).and_then(|entry| {
            if !entry.state().is_connected() {
                note_use(env, &skb, entry);
            }
            entry.header().inspect(|header| trace_neighbour(env, &skb, entry, header))
        }),
    };
    let Some(header) = ready else { return neigh_resolve_output(env, skb) };
    if !write_header(&mut skb, &header) {
        return env.kfree_skb(skb, Node::IpOutput, DropReason::Nomem);
    }
    dev_queue_xmit(env, hands, skb);
}

fn trace_neighbour(env: &Env<'_>, skb: &Skb, entry: &NeighEntry, header: &[u8; eth::HEADER_LEN]) {
    let [a, b, c, d, e, f, ..] = *header;
    let (dev, addr) = (IfIndex(skb.fields().oif), skb.fields().gateway);
    env.trace(skb, || Step::Neigh { dev, addr, state: entry.state(), mac: MacAddr([a, b, c, d, e, f]) });
}

/// Gives a packet to the control thread, which asks for the neighbour and holds the packet meanwhile.
fn neigh_resolve_output(env: &Env<'_>, skb: Skb) {
    let (dev, addr) = (IfIndex(skb.fields().oif), skb.fields().gateway);
    env.trace(&skb, || Step::NeighWait { dev, addr });
    let node = env.cells.node(Node::NeighResolve);
    node.packets.add(1);
    node.batches.add(1);
    if let Err(ToControl::Resolve { skb, .. }) =
        env.shared.send_to_control(ToControl::Resolve { dev, addr, skb })
    {
        env.kfree_skb(skb, Node::NeighResolve, DropReason::PuntFull);
    }
}

/// Routes a packet of our own (network header complete, Ethernet header room in front) and sends it.
/// The caller has counted it as created.
pub fn ip_local_out(env: &Env<'_>, hands: &mut Hands, mut skb: Skb) {
    let Some(header) = Ipv4Header::parse(skb.network()) else {
        return env.kfree_skb(skb, Node::IpOutput, DropReason::IpInhdr);
    };
    let dst = header.dst();
    let mut id = env.shared.fib.lookup(dst);
    let mut hop = env.shared.next_hops.get(id);
    if hop.kind == Kind::Multipath {
        (id, hop) = super::route::fib_select_local_path(env, &skb, id, header.src());
    }
    if !source::is_way(hop.kind) {
        env.cells.mib(Mib::IpOutNoRoutes).add(1);
        return env.kfree_skb(skb, Node::IpOutput, DropReason::IpInnoroutes);
    }
    env.cells.mib(Mib::IpOutRequests).add(1);
    super::route::set_route(&mut skb, id, &hop, dst);
    if hop.kind == Kind::Local {
        (skb.fields_mut().oif, skb.fields_mut().mtu) = (IfIndex::LOOPBACK.0, u16::MAX);
    }
    let skb = match env.snap.hooks.has(Hook::LocalOut) {
        true => nf_hook(env, hands, Hook::LocalOut, skb),
        false => Some(skb),
    };
    if let Some(skb) = skb {
        ip_output(env, hands, skb);
    }
}
