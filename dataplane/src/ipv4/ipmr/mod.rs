//! `ip_mr_input`: forward multicast, a copy by each interface the forwarding cache names (the kernel's ipmr).
//!
//! Uses:  the IP header, iif.   Sets: oif, gateway (the group), mtu, TTL of the copies.
//! Next:  ip_output for each copy, ip_local_deliver for groups joined here, the control thread for packets without an
//!        entry and for IGMP.
//! Drops: not_specified (no way out, wrong interface, no room for packets that wait for an entry), pkt_too_big, nomem,
//!        punt_full.
//!
//! Nothing here is ever answered with ICMP (RFC 1112 section 7.2, RFC 1812 section 4.3.2.7).

mod table;

pub use table::{MAXVIFS, Mfc, MfcCells, MfcStats, Multicast, NOT_AN_OIF, PerLcore, Vif, VifCells};

use super::ip_forward::ip_forward_finish;
use super::ip_output::ip_output;
use crate::core::counters::Mib;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::core::shared::ToControl;
use crate::core::trace::{self, Step};
use crate::device::NetDevice;
use crate::net::{IfIndex, MacAddr};
use crate::netfilter::hooks::{Hook, nf_hook};
use crate::skb::ipv4::{self, IP_DF, Ipv4Header, MIN_HEADER_LEN};
use crate::skb::{Skb, SkbExt, SkbList, flags};

/// The Ethernet address of a group: 01:00:5e and its low 23 bits (RFC 1112 section 6.4).
pub fn group_mac(group: u32) -> MacAddr {
    let [_, b, c, d] = group.to_be_bytes();
    MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d])
}

/// Forwards a packet whose addresses and options are in order and that came in by an interface of the multicast
/// table. Gives back what the router itself is to receive: the packet, if `local` says that its group is joined on
/// `dev`.
#[cold]
pub fn ip_mr_input(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, skb: Skb, local: bool) -> Option<Skb> {
    let started = env.stage_start();
    let given_back = mr_input(env, hands, dev, skb, local);
    env.stage_end(Node::IpMrInput, 1, started);
    given_back
}

fn mr_input(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, skb: Skb, local: bool) -> Option<Skb> {
    let Some(header) = Ipv4Header::parse(skb.network()) else {
        return drop_it(env, skb, DropReason::IpInhdr);
    };
    let (src, dst) = (header.src(), header.dst());
    if header.protocol() == ipv4::IPPROTO_IGMP {
        // About groups, not for them: never forwarded. Local delivery ends in the control thread too.
        if local {
            return Some(skb);
        }
        punt_igmp(env, dev.ifindex, skb);
        return None;
    }
    let multicast = &*env.snap.multicast;
    let Some(vif) = multicast.vif_of(dev.ifindex) else { return drop_it(env, skb, DropReason::NotSpecified) };
    match multicast.find(src, dst, vif) {
        Some(entry) => ip_mr_forward(env, hands, skb, entry, vif, local),
        None if local => {
            if let Some(copy) = copy(env, hands, &skb) {
                ipmr_cache_unresolved(env, dev.ifindex, copy);
            }
            Some(skb)
        }
        None => {
            ipmr_cache_unresolved(env, dev.ifindex, skb);
            None
        }
    }
}

/// Takes a packet that waited for its entry once more, now that there may be one.
pub fn ip_mr_resolved(env: &Env<'_>, hands: &mut Hands, skb: Skb) {
    let dev = env.snap.device(IfIndex(skb.fields().iif));
    // What the router itself was to receive of it, it received when the packet came in.
    mr_input(env, hands, dev, skb, false);
}

/// Sends a packet the way of its entry (kernel `ip_mr_forward`).
fn ip_mr_forward(
    env: &Env<'_>,
    hands: &mut Hands,
    skb: Skb,
    entry: &Mfc,
    from: u8,
    local: bool,
) -> Option<Skb> {
    let Some(header) = Ipv4Header::parse(skb.network()) else {
        return drop_it(env, skb, DropReason::IpInhdr);
    };
    let (ttl, len) = (header.ttl(), skb.network_len() as u64);
    let cells = entry.stats.cells.of(hands.lcore());
    cells.packets.add(1);
    cells.bytes.add(len);
    cells.last_use_ms.set(env.now.as_millis());
    if !came_the_right_way(env, entry, from) {
        cells.wrong_if.add(1);
        report_wrong_vif(env, entry, from);
        return not_forwarded(env, skb, local);
    }
    if let Some(vif) = env.snap.multicast.vif(entry.parent) {
        let cells = vif.cells.of(hands.lcore());
        cells.packets_in.add(1);
        cells.bytes_in.add(len);
    }
    let ways = ways_out(entry, from, ttl);
    send_copies(env, hands, skb, ways, local)
}

/// Whether a packet that came in by interface `from` may use the entry: by its upstream interface, or, for an entry of
/// any source, from within the tree of the (*,*) entry with the same upstream interface.
fn came_the_right_way(env: &Env<'_>, entry: &Mfc, from: u8) -> bool {
    let in_proxys_tree = || {
        entry.source == 0
            && env.snap.multicast.any_parent(entry.parent).is_some_and(|proxy| proxy.is_oif(from))
    };
    entry.parent == from || in_proxys_tree()
}

/// The interfaces a packet of that TTL leaves by, as a bit set.
fn ways_out(entry: &Mfc, from: u8, ttl: u8) -> u32 {
    let passes = |vif: usize| ttl > entry.ttls[vif];
    if (entry.source, entry.group) == (0, 0) {
        // What any source sends to a group nobody asked for goes upstream alone, where somebody may want it.
        let up = from != entry.parent && entry.ttls.get(usize::from(entry.parent)).is_some_and(|&t| ttl > t);
        return u32::from(up).checked_shl(u32::from(entry.parent)).unwrap_or(0);
    }
    (0..MAXVIFS)
        // An entry of any source has its upstream interface among its ways out: never back where it came from.
        .filter(|&vif| passes(vif) && !(entry.source == 0 && vif == usize::from(from)))
        .fold(0, |ways, vif| ways | 1 << vif)
}

/// Sends a copy by each interface of `ways`, the highest number first as the kernel does. The packet itself is the
/// last, unless the router is to have it.
fn send_copies(env: &Env<'_>, hands: &mut Hands, skb: Skb, mut ways: u32, local: bool) -> Option<Skb> {
    if ways == 0 {
        return not_forwarded(env, skb, local);
    }
    while let Some(vif) = ways.checked_ilog2() {
        ways &= !(1 << vif);
        if ways == 0 && !local {
            ipmr_queue_xmit(env, hands, skb, vif as u8);
            return None;
        }
        if let Some(copy) = copy(env, hands, &skb) {
            ipmr_queue_xmit(env, hands, copy, vif as u8);
        }
    }
    Some(skb)
}

/// Makes one copy ready for its way out: MTU, TTL, route. Fragmentation is the output's business, but Don't Fragment
/// ends in silence here.
fn ipmr_queue_xmit(env: &Env<'_>, hands: &mut Hands, mut skb: Skb, vif: u8) {
    let refuse = |skb, reason| env.kfree_skb(skb, Node::IpMrInput, reason);
    let Some(vif) = env.snap.multicast.vif(vif) else { return refuse(skb, DropReason::NotSpecified) };
    let Some(header) = Ipv4Header::parse(skb.network()) else { return refuse(skb, DropReason::IpInhdr) };
    let (group, ttl) = (header.dst(), header.ttl());
    let (frag_off, len) = (header.frag_off(), skb.network_len());
    let mtu = env.snap.device(vif.dev).mtu;
    if len > usize::from(mtu) && frag_off & IP_DF != 0 {
        env.cells.mib(Mib::IpFragFails).add(1);
        return refuse(skb, DropReason::PktTooBig);
    }
    let Some(header) = skb.network_mut().first_chunk_mut::<MIN_HEADER_LEN>() else {
        return refuse(skb, DropReason::IpInhdr);
    };
    ipv4::decrease_ttl(header);
    env.trace(&skb, || Step::Forward { ttl, priority: skb.fields().priority });
    let cells = vif.cells.of(hands.lcore());
    cells.packets_out.add(1);
    cells.bytes_out.add(len as u64);
    route_to_group(&mut skb, vif.dev, mtu, group);
    ipmr_forward(env, hands, skb);
}

/// The route of a packet that leaves for a group by `dev`: no next hop, the group's own Ethernet address.
fn route_to_group(skb: &mut Skb, dev: IfIndex, mtu: u16, group: u32) {
    let fields = skb.fields_mut();
    fields.oif = dev.0;
    fields.next_hop = 0;
    fields.gateway = group;
    fields.mtu = mtu;
    fields.flags |= flags::NO_ICMP;
}

/// The one way of every copy from here to the output: it stands where a unicast packet stands after its TTL was
/// taken care of. Hook FORWARD, then what `ip_forward_finish` does.
fn ipmr_forward(env: &Env<'_>, hands: &mut Hands, skb: Skb) {
    env.cells.mib(Mib::IpForwDatagrams).add(1);
    let skb = match env.snap.hooks.has(Hook::Forward) {
        true => nf_hook(env, hands, Hook::Forward, skb),
        false => Some(skb),
    };
    let Some(skb) = skb else { return };
    let mut list = SkbList::new();
    let _ = list.push(skb);
    ip_forward_finish(env, hands, &mut list);
}

/// Sends a multicast packet of our own by the device in its `oif` field: a report or a query of IGMP. The caller has
/// counted it as created.
pub fn ip_mc_local_out(env: &Env<'_>, hands: &mut Hands, mut skb: Skb) {
    env.cells.mib(Mib::IpOutRequests).add(1);
    let Some(header) = Ipv4Header::parse(skb.network()) else {
        return env.kfree_skb(skb, Node::IpOutput, DropReason::IpInhdr);
    };
    let (group, dev) = (header.dst(), IfIndex(skb.fields().oif));
    route_to_group(&mut skb, dev, env.snap.device(dev).mtu, group);
    let skb = match env.snap.hooks.has(Hook::LocalOut) {
        true => nf_hook(env, hands, Hook::LocalOut, skb),
        false => Some(skb),
    };
    if let Some(skb) = skb {
        ip_output(env, hands, skb);
    }
}

/// Hands an IGMP message to the control thread, which counts it as delivered.
pub fn punt_igmp(env: &Env<'_>, dev: IfIndex, skb: Skb) {
    if !env.shared.igmp_budget.take() {
        return env.kfree_skb(skb, Node::IpMrInput, DropReason::PuntFull);
    }
    let mark = trace::mark_of(&skb);
    if let Err(ToControl::Igmp { skb, .. }) = env.shared.send_to_control(ToControl::Igmp { dev, skb }) {
        env.shared.igmp_budget.give_back();
        return env.kfree_skb(skb, Node::IpMrInput, DropReason::PuntFull);
    }
    trace::note_gone(env, mark, Step::Delivered { node: Node::IpMrInput });
}

/// Hands a packet without an entry to the control thread, which holds it until there is one.
fn ipmr_cache_unresolved(env: &Env<'_>, dev: IfIndex, skb: Skb) {
    if !env.shared.unresolved_budget.take() {
        return env.kfree_skb(skb, Node::IpMrInput, DropReason::NotSpecified);
    }
    if let Err(ToControl::McUnresolved { skb, .. }) =
        env.shared.send_to_control(ToControl::McUnresolved { dev, skb })
    {
        env.shared.unresolved_budget.give_back();
        env.kfree_skb(skb, Node::IpMrInput, DropReason::PuntFull);
    }
}

/// Tells the control thread of a packet by the wrong interface, if that interface is one the group is sent to: then
/// somebody else sends it there too.
fn report_wrong_vif(env: &Env<'_>, entry: &Mfc, from: u8) {
    if entry.is_oif(from) && entry.stats.may_assert(env.now.as_millis()) {
        let message = ToControl::McWrongVif { source: entry.source, group: entry.group, vif: from };
        // A report the queue has no room for is one of a repeated kind.
        let _ = env.shared.send_to_control(message);
    }
}

/// A writable copy; `None`, and the loss counted as a packet that could not be sent, if memory is short.
fn copy(env: &Env<'_>, hands: &Hands, skb: &Skb) -> Option<Skb> {
    let copy = hands.pool.copy(skb);
    env.cells.created.add(1);
    if let Some(copy) = &copy {
        env.trace(copy, || Step::Copied);
    }
    if copy.is_none() {
        env.count_lost(skb, Node::IpMrInput, DropReason::Nomem);
    }
    copy
}

fn not_forwarded(env: &Env<'_>, skb: Skb, local: bool) -> Option<Skb> {
    if local { Some(skb) } else { drop_it(env, skb, DropReason::NotSpecified) }
}

fn drop_it(env: &Env<'_>, skb: Skb, reason: DropReason) -> Option<Skb> {
    env.kfree_skb(skb, Node::IpMrInput, reason);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_23_bits_make_the_ethernet_address() {
        assert_eq!(group_mac(0xef81_0203), MacAddr([1, 0, 0x5e, 1, 2, 3]));
        assert_eq!(group_mac(0xe000_0001), MacAddr([1, 0, 0x5e, 0, 0, 1]));
    }
}
