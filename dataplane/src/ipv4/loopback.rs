//! `loopback_xmit`: what the router sends to an address of its own, or to everybody, comes back in.
//!
//! Uses:  the IP header, next_hop.   Sets: all fields, as of a packet the loopback received.
//! Next:  hook PRE_ROUTING, ip_local_deliver.
//! Drops: what the options or the hook are against, nomem (no room for the copy of a broadcast).
//!
//! It was routed on the way out, so its addresses are not judged again. Nothing that comes in here is answered: there
//! are only answers and errors among what a router sends.

use super::ip_input::count_ecn;
use super::ip_local_deliver::ip_local_deliver_list;
use super::ip_options::ip_rcv_options;
use super::route::Route;
use crate::core::counters::Mib;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::core::trace::{self, Mark, RouteTo, Step};
use crate::fib::next_hop::Kind;
use crate::net::IfIndex;
use crate::netfilter::hooks::{Hook, nf_hook_list};
use crate::skb::ipv4::{self, Ipv4Header, MIN_HEADER_LEN};
use crate::skb::{Skb, SkbExt, SkbFields, SkbList, flags, pkt_type};

/// Receives a packet that is for the router alone.
#[cold]
pub fn loopback_xmit(env: &Env<'_>, hands: &mut Hands, skb: Skb) {
    receive(env, hands, skb, pkt_type::HOST);
}

/// Receives a copy of a broadcast, which is for the router too.
#[cold]
pub fn dev_loopback_xmit(env: &Env<'_>, hands: &mut Hands, skb: &Skb) {
    env.cells.created.add(1);
    let Some(mut copy) = hands.pool.alloc() else {
        return env.count_lost(skb, Node::IpRcv, DropReason::Nomem);
    };
    let whole = copy.append(skb.len()).is_some_and(|bytes| skb.copy_out(0, bytes));
    if !whole {
        return env.kfree_skb(copy, Node::IpRcv, DropReason::Nomem);
    }
    *copy.fields_mut() = *skb.fields();
    if copy.fields().flags & flags::TRACED != 0 {
        *copy.private_mut() = *skb.private::<Mark>();
        env.trace(&copy, || Step::Copied);
    }
    receive(env, hands, copy, pkt_type::BROADCAST);
}

fn receive(env: &Env<'_>, hands: &mut Hands, mut skb: Skb, pkt_type: u8) {
    let fields = *skb.fields();
    *skb.fields_mut() = SkbFields {
        iif: IfIndex::LOOPBACK.0,
        mark: fields.mark,
        priority: fields.priority,
        network_offset: fields.network_offset,
        ip_hdr_len: fields.ip_hdr_len,
        flags: fields.flags & (flags::NF_TRACE | flags::TRACED),
        pkt_type,
        ..SkbFields::default()
    };
    let device = env.cells.device(IfIndex::LOOPBACK);
    let bytes = skb.len() as u64;
    device.tx_packets.add(1);
    device.tx_bytes.add(bytes);
    device.rx_packets.add(1);
    device.rx_bytes.add(bytes);
    env.cells.mib(Mib::IpInReceives).add(1);
    env.cells.mib(Mib::IpExtInOctets).add(skb.network_len() as u64);
    let mut list = SkbList::new();
    let _ = list.push(skb);
    count_ecn(env, &mut list);
    if env.snap.hooks.watched(Hook::PreRouting) {
        trace::ip_rcv(env, &list);
        nf_hook_list(env, hands, Hook::PreRouting, &mut list);
    }
    for skb in list.drain() {
        ip_rcv_finish(env, hands, skb);
    }
}

/// The route of a packet that came in by the loopback: the one it went out by.
pub fn route(env: &Env<'_>, dst: u32) -> Route {
    let everybody = dst == ipv4::BROADCAST
        || env.shared.next_hops.get(env.shared.fib.lookup(dst)).kind == Kind::Broadcast;
    if everybody { Route::Broadcast } else { Route::Local }
}

fn ip_rcv_finish(env: &Env<'_>, hands: &mut Hands, mut skb: Skb) {
    let dev = env.snap.device(IfIndex::LOOPBACK);
    let Some(dst) = Ipv4Header::parse(skb.network()).map(|h| h.dst()) else {
        return env.kfree_skb(skb, Node::IpRcvFinish, DropReason::IpInhdr);
    };
    let mut routed = Ok(route(env, dst));
    if matches!(routed, Ok(Route::Broadcast)) {
        skb.fields_mut().flags |= flags::NO_ICMP;
        env.cells.mib(Mib::IpExtInBcastPkts).add(1);
        env.cells.mib(Mib::IpExtInBcastOctets).add(skb.network_len() as u64);
    }
    if skb.fields().ip_hdr_len != MIN_HEADER_LEN as u8 {
        routed = routed.and_then(|route| ip_rcv_options(env, hands, dev, &mut skb, route));
    }
    match routed {
        Ok(route) => {
            env.trace(&skb, || {
                Step::Route(if matches!(route, Route::Broadcast) {
                    RouteTo::Broadcast
                } else {
                    RouteTo::Local
                })
            });
            let mut list = SkbList::new();
            let _ = list.push(skb);
            ip_local_deliver_list(env, hands, dev, &mut list);
        }
        Err(reason) => {
            env.cells.device(dev.ifindex).rx_dropped.add(1);
            env.kfree_skb(skb, Node::IpRcvFinish, reason);
        }
    }
}
