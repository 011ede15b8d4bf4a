//! `ip_rcv_finish`: where a packet goes, and whether its addresses may be on the wire at all.
//!
//! Uses:  the IP header, iif, pkt_type.   Sets: next_hop, oif, gateway, mtu.
//! Next:  ip_local_deliver, ip_forward, ip_mr_input, ip_error.
//! Drops: ip_invalid_source, ip_invalid_dest, ip_localnet, ip_local_source, ip_rpfilter, ip_inaddrerrors,
//!        unicast_in_l2_multicast, not_specified (multicast nobody joined).
//!
//! Lookups are one bulk call per burst. Packets with an address that needs a second look (loopback, multicast,
//! broadcast, zero, a source of our own) or that did not come as plain unicast take the same steps one at a time.

use super::ip_error::ip_error;
use super::ip_forward::ip_forward_list;
use super::ip_local_deliver::ip_local_deliver_list;
use super::ip_options;
use super::ipmr::ip_mr_input;
use super::loopback;
use super::martian;
use super::multipath_hash::{fib_multipath_hash, fib_select_best};
use crate::core::counters::Mib;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::core::trace::{RouteTo, Step};
use crate::device::{DeviceKind, NetDevice};
use crate::fib::NextHopId;
use crate::fib::next_hop::{Kind, NextHop};
use crate::net::IfIndex;
use crate::skb::ipv4::{self, Ipv4Header, MIN_HEADER_LEN};
use crate::skb::{Skb, SkbExt, SkbList, flags, pkt_type};

/// Where one packet goes.
enum Verdict {
    Forward(Skb),
    Local(Skb),
    /// Gone: freed or answered.
    Done,
}

/// Routes a burst and hands its parts on.
#[inline]
pub fn ip_list_rcv_finish(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    let (started, count) = (env.stage_start(), list.len() as u64);
    // Nothing of a burst is plain where every source must be looked up or nothing may be forwarded.
    let strict = dev.conf.rp_filter != 0 || !dev.conf.forwarding;
    let mut dsts = [0u32; SkbList::CAPACITY];
    let plain = destinations(env, list, &mut dsts);
    let special = if plain && !strict { 0 } else { special_mask(env, strict, list) };
    // The others are looked up with the burst all the same: that is cheaper than to take them out first.
    let (to_us, elsewhere) = if strict { (0, 0) } else { route_burst(env, list, &dsts) };
    let mut local = SkbList::new();
    if special | to_us | elsewhere != 0 {
        split(env, hands, dev, list, &mut local, (to_us & !special, special | elsewhere));
    }
    env.stage_end(Node::IpRcvFinish, count, started);

    if !local.is_empty() {
        ip_local_deliver_list(env, hands, dev, &mut local);
    }
    if !list.is_empty() {
        ip_forward_list(env, hands, dev, list);
    }
}

/// Takes the packets of the mask `to_us` out into `local` and routes those of `singles` one by one. Those to be
/// forwarded keep their places.
#[cold]
fn split(
    env: &Env<'_>,
    hands: &mut Hands,
    dev: &NetDevice,
    list: &mut SkbList,
    local: &mut SkbList,
    (to_us, singles): (u32, u32),
) {
    let mut all = std::mem::take(list);
    for (i, skb) in all.drain().enumerate() {
        let verdict = match (to_us >> i & 1, singles >> i & 1) {
            (0, 0) => Verdict::Forward(skb),
            (_, 0) => Verdict::Local(skb),
            _ => ip_rcv_finish(env, hands, dev, skb),
        };
        match verdict {
            Verdict::Forward(skb) => put(env, list, skb),
            Verdict::Local(skb) => put(env, local, skb),
            Verdict::Done => {}
        }
    }
}

fn put(env: &Env<'_>, list: &mut SkbList, skb: Skb) {
    // The packet came out of this burst, so there is room.
    if let Err(skb) = list.push(skb) {
        env.kfree_skb(skb, Node::IpRcvFinish, DropReason::Nomem);
    }
}

/// The packets that need more than a route lookup.
#[cold]
fn special_mask(env: &Env<'_>, strict: bool, list: &SkbList) -> u32 {
    if strict { u32::MAX } else { list.mask_of(|skb| plain_destination(env, skb).is_none()) }
}

/// Fills in the destinations of a burst; true if all its packets need a route lookup and nothing more.
#[inline(always)]
fn destinations(env: &Env<'_>, list: &SkbList, dsts: &mut [u32; SkbList::CAPACITY]) -> bool {
    let mut all_plain = true;
    for (skb, dst) in list.iter().zip(dsts) {
        match plain_destination(env, skb) {
            Some(addr) => *dst = addr,
            None => all_plain = false,
        }
    }
    all_plain
}

/// The destination of a packet whose addresses, options and frame need nothing but a route lookup.
#[inline(always)]
fn plain_destination(env: &Env<'_>, skb: &Skb) -> Option<u32> {
    let head = skb.head()?;
    let (src, dst) = (head.src(), head.dst());
    let special = is_special(src) | is_special(dst) | !skb.fields().is_plain();
    (!special && !env.snap.local.contains(src)).then_some(dst)
}

/// 0.0.0.0/8, 127.0.0.0/8, and everything from 224.0.0.0 up.
#[inline]
fn is_special(addr: u32) -> bool {
    const SPECIAL: [bool; 256] = {
        let mut special = [false; 256];
        let mut top = 0;
        while top < 256 {
            special[top] = top == 0 || top == 127 || top >= 224;
            top += 1;
        }
        special
    };
    SPECIAL[(addr >> 24) as usize]
}

/// Looks up a burst of plain packets. Fills in the next hop of those to forward; returns the masks of those for the
/// router itself and of those that are neither.
#[inline]
fn route_burst(env: &Env<'_>, list: &mut SkbList, dsts: &[u32; SkbList::CAPACITY]) -> (u32, u32) {
    let mut hops = [NextHopId::NONE; SkbList::CAPACITY];
    let n = list.len();
    env.shared.fib.lookup_bulk(&dsts[..n], &mut hops[..n]);
    let next_hops = env.shared.next_hops.view();
    let (mut to_us, mut elsewhere) = (0u32, 0u32);
    for (i, ((skb, &id), &dst)) in list.iter_mut().zip(&hops).zip(dsts).enumerate() {
        let mut id = id;
        let mut hop = next_hops.get(id);
        if hop.kind == Kind::Multipath {
            (id, hop) = fib_select_path(env, skb, id);
        }
        match hop.kind {
            Kind::Gateway | Kind::Link => set_route(skb, id, &hop, dst),
            Kind::Local => to_us |= 1 << i,
            _ => elsewhere |= 1 << i,
        }
    }
    (to_us, elsewhere)
}

/// Notes in the packet how it leaves.
#[inline]
pub fn set_route(skb: &mut Skb, id: NextHopId, hop: &NextHop, dst: u32) {
    let fields = skb.fields_mut();
    fields.next_hop = id.get();
    fields.oif = hop.oif.0;
    fields.gateway = if hop.kind == Kind::Gateway { hop.gateway } else { dst };
    fields.mtu = hop.mtu;
}

/// The member of a multipath route that this packet's flow takes.
#[cold]
pub fn fib_select_path(env: &Env<'_>, skb: &Skb, group: NextHopId) -> (NextHopId, NextHop) {
    let id = fib_select_best(env, group, fib_multipath_hash(env, skb, group), 0);
    (id, env.shared.next_hops.get(id))
}

/// The same for a packet of our own.
#[cold]
pub fn fib_select_local_path(
    env: &Env<'_>,
    skb: &Skb,
    group: NextHopId,
    source: u32,
) -> (NextHopId, NextHop) {
    let id = fib_select_best(env, group, fib_multipath_hash(env, skb, group), source);
    (id, env.shared.next_hops.get(id))
}

/// What is to be done with a packet, before its options have been looked at.
#[derive(Clone, Copy, Debug)]
pub enum Route {
    /// It is for us alone.
    Local,
    /// It is for everybody on a network of ours.
    Broadcast,
    /// It is for a group.
    Multicast {
        /// We are in it.
        local: bool,
        /// It may have to go on to other networks.
        onwards: bool,
    },
    /// It goes on, to this address.
    Forward(NextHopId, NextHop, u32),
    /// It is to be answered as this kind of route says.
    Refuse(Kind),
    /// It would go on if the device it came by let it.
    NotForwarding,
}

/// Routes one packet with every check, and takes what it is not to be any further.
fn ip_rcv_finish(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, mut skb: Skb) -> Verdict {
    let Some(header) = Ipv4Header::parse(skb.network()) else {
        return refuse(env, skb, DropReason::IpInhdr);
    };
    let (src, dst) = (header.src(), header.dst());
    let routed = match dev.kind {
        DeviceKind::Loopback => Ok(loopback::route(env, dst)),
        _ => ip_route_input(env, dev, &skb, src, dst),
    };
    let mut route = match routed {
        Ok(route) => route,
        Err(reason) => {
            martian::refused(env, dev, &skb, reason);
            return refuse(env, skb, reason);
        }
    };
    env.trace(&skb, || Step::Route(shown(route)));
    if matches!(route, Route::Broadcast | Route::Multicast { .. }) {
        skb.fields_mut().flags |= flags::NO_ICMP;
    }
    if skb.fields().ip_hdr_len != MIN_HEADER_LEN as u8 {
        route = match ip_options::ip_rcv_options(env, hands, dev, &mut skb, route) {
            Ok(route) => route,
            Err(reason) => return refuse(env, skb, reason),
        };
    }
    match route {
        Route::Multicast { .. } => count(env, &skb, Mib::IpExtInMcastPkts, Mib::IpExtInMcastOctets),
        Route::Broadcast | Route::Forward(_, NextHop { kind: Kind::Broadcast, .. }, _) => {
            count(env, &skb, Mib::IpExtInBcastPkts, Mib::IpExtInBcastOctets);
        }
        _ if skb.fields().pkt_type != pkt_type::HOST && dev.conf.drop_unicast_in_l2_multicast => {
            return refuse(env, skb, DropReason::UnicastInL2Multicast);
        }
        _ => {}
    }
    match route {
        Route::Multicast { local, onwards: true } => {
            ip_mr_input(env, hands, dev, skb, local).map_or(Verdict::Done, Verdict::Local)
        }
        Route::Local | Route::Broadcast | Route::Multicast { .. } => Verdict::Local(skb),
        Route::Forward(id, hop, dst) => {
            set_route(&mut skb, id, &hop, dst);
            Verdict::Forward(skb)
        }
        Route::Refuse(kind) => {
            ip_error(env, hands, skb, kind);
            Verdict::Done
        }
        Route::NotForwarding => {
            env.cells.mib(Mib::IpInAddrErrors).add(1);
            refuse(env, skb, DropReason::IpInaddrErrors)
        }
    }
}

/// The route, as a trace tells it.
#[cold]
fn shown(route: Route) -> RouteTo {
    match route {
        Route::Local => RouteTo::Local,
        Route::Broadcast => RouteTo::Broadcast,
        Route::Multicast { local, onwards } => RouteTo::Multicast { local, onwards },
        Route::Forward(_, hop, _) => RouteTo::Forward {
            oif: hop.oif,
            gateway: (hop.kind == Kind::Gateway).then_some(hop.gateway),
            mtu: hop.mtu,
        },
        Route::Refuse(kind) => RouteTo::Refuse(kind),
        Route::NotForwarding => RouteTo::NotForwarding,
    }
}

fn count(env: &Env<'_>, skb: &Skb, packets: Mib, octets: Mib) {
    env.cells.mib(packets).add(1);
    env.cells.mib(octets).add(skb.network_len() as u64);
}

/// Routes one packet from `src` to `dst` with every check of the kernel's `ip_route_input_slow`, in its order.
///
/// # Errors
/// Why it must be dropped.
pub fn ip_route_input(
    env: &Env<'_>,
    dev: &NetDevice,
    skb: &Skb,
    src: u32,
    dst: u32,
) -> Result<Route, DropReason> {
    match check_addresses(dev, src, dst)? {
        Input::Broadcast => return broadcast_input(env, dev, src),
        Input::Multicast => return ip_route_input_mc(env, dev, skb, src, dst),
        Input::Lookup => {}
    }
    let mut id = env.shared.fib.lookup(dst);
    let mut hop = env.shared.next_hops.get(id);
    if hop.kind == Kind::Multipath {
        (id, hop) = fib_select_path(env, skb, id);
    }
    match hop.kind {
        // A directed broadcast may go on even where nothing else does.
        Kind::Broadcast if dev.conf.bc_forwarding => {}
        Kind::Broadcast => return broadcast_input(env, dev, src),
        Kind::Local => return fib_validate_source(env, dev, src, None).map(|_| Route::Local),
        _ if !dev.conf.forwarding => return Ok(Route::NotForwarding),
        Kind::Gateway | Kind::Link => {}
        kind => return Ok(Route::Refuse(kind)),
    }
    fib_validate_source(env, dev, src, Some(hop.oif))?;
    Ok(Route::Forward(id, hop, dst))
}

/// How to go on with a destination that looks special.
enum Input {
    Lookup,
    Broadcast,
    Multicast,
}

/// The address checks that come before the route lookup, in the kernel's order.
fn check_addresses(dev: &NetDevice, src: u32, dst: u32) -> Result<Input, DropReason> {
    if ipv4::is_multicast(dst) {
        return Ok(Input::Multicast);
    }
    if ipv4::is_multicast(src) || src == ipv4::BROADCAST {
        return Err(DropReason::IpInvalidSource);
    }
    if dst == ipv4::BROADCAST || (src == 0 && dst == 0) {
        return Ok(Input::Broadcast);
    }
    if src == 0 {
        return Err(DropReason::IpInvalidSource);
    }
    if dst == 0 {
        return Err(DropReason::IpInvalidDest);
    }
    if (ipv4::is_loopback(dst) || ipv4::is_loopback(src)) && !dev.conf.route_localnet {
        return Err(DropReason::IpLocalnet);
    }
    Ok(Input::Lookup)
}

/// The kernel's `fib_validate_source`: not our own address, and with `rp_filter` a way back. `oif` is the device the packet
/// leaves by, if it does: where that is the one it came by, the source is looked up in any case, for a redirect. True if
/// the source was looked up and is on the link.
///
/// # Errors
/// Why the packet must be dropped.
pub fn fib_validate_source(
    env: &Env<'_>,
    dev: &NetDevice,
    src: u32,
    oif: Option<IfIndex>,
) -> Result<bool, DropReason> {
    let (filter, accept_local) = (dev.conf.rp_filter, dev.conf.accept_local);
    if filter == 0 && !(oif == Some(dev.ifindex) && dev.conf.send_redirects) {
        let own = !accept_local && env.snap.local.contains(src);
        return if own { Err(DropReason::IpLocalSource) } else { Ok(false) };
    }
    let id = env.shared.fib.lookup(src);
    let back = env.shared.next_hops.get(id);
    let (uses_dev, on_link) = match back.kind {
        Kind::Local if !accept_local => return Err(DropReason::IpLocalSource),
        Kind::Gateway | Kind::Link | Kind::Local => (back.oif == dev.ifindex, back.kind != Kind::Gateway),
        Kind::Multipath => {
            let mut members = env.shared.next_hops.members(id).peekable();
            let on_link = members.peek().is_some_and(|first| first.kind == Kind::Link);
            (members.any(|m| m.oif == dev.ifindex), on_link)
        }
        // No station has a broadcast address: a martian, whatever the filter's mode.
        Kind::Broadcast => return Err(DropReason::IpInvalidSource),
        _ => return unreachable_source(env, filter),
    };
    if uses_dev {
        return Ok(on_link);
    }
    // Any way back does for the loose filter, but not on a device without an address.
    if filter == 1 || dev.addresses.is_empty() {
        return unreachable_source(env, filter);
    }
    Ok(false)
}

fn unreachable_source(env: &Env<'_>, filter: u8) -> Result<bool, DropReason> {
    if filter == 0 {
        return Ok(false);
    }
    env.cells.mib(Mib::TcpExtIPReversePathFilter).add(1);
    Err(DropReason::IpRpfilter)
}

/// The same for packets to broadcast and multicast addresses, which a host without an address may send (DHCP).
fn validate_group_source(env: &Env<'_>, dev: &NetDevice, src: u32) -> Result<(), DropReason> {
    if src == 0 { Ok(()) } else { fib_validate_source(env, dev, src, None).map(drop) }
}

/// A multicast destination: for the router if it joined the group there, on its way elsewhere if the device takes part
/// in multicast forwarding, neither otherwise (kernel `ip_route_input_mc`).
fn ip_route_input_mc(
    env: &Env<'_>,
    dev: &NetDevice,
    skb: &Skb,
    src: u32,
    dst: u32,
) -> Result<Route, DropReason> {
    let protocol = Ipv4Header::parse(skb.network()).map_or(0, |header| header.protocol());
    let multicast = &env.snap.multicast;
    let local = multicast.is_joined(dev.ifindex, dst);
    // 224.0.0.0/24 stays on its link, whatever its TTL (RFC 5771 section 4).
    let onwards = !ipv4::is_local_multicast(dst) && multicast.vif_of(dev.ifindex).is_some();
    if !local && !onwards {
        return Err(DropReason::NotSpecified);
    }
    ip_mc_validate_source(env, dev, src, dst, protocol)?;
    Ok(Route::Multicast { local, onwards })
}

/// The sources a multicast packet may have: an address of a host on the way it came, or none yet for what stays on the
/// link and for IGMP.
fn ip_mc_validate_source(
    env: &Env<'_>,
    dev: &NetDevice,
    src: u32,
    dst: u32,
    protocol: u8,
) -> Result<(), DropReason> {
    if ipv4::is_multicast(src) || src == ipv4::BROADCAST {
        return Err(DropReason::IpInvalidSource);
    }
    if ipv4::is_loopback(src) && !dev.conf.route_localnet {
        return Err(DropReason::IpLocalnet);
    }
    if src == 0 {
        let may = ipv4::is_local_multicast(dst) || protocol == ipv4::IPPROTO_IGMP;
        return if may { Ok(()) } else { Err(DropReason::IpInvalidSource) };
    }
    fib_validate_source(env, dev, src, None).map(drop)
}

fn broadcast_input(env: &Env<'_>, dev: &NetDevice, src: u32) -> Result<Route, DropReason> {
    validate_group_source(env, dev, src).map(|()| Route::Broadcast)
}

fn refuse(env: &Env<'_>, skb: Skb, reason: DropReason) -> Verdict {
    env.cells.device(IfIndex(skb.fields().iif)).rx_dropped.add(1);
    env.kfree_skb(skb, Node::IpRcvFinish, reason);
    Verdict::Done
}
