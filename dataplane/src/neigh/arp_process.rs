//! `arp_process`: an ARP packet on an lcore.
//!
//! Uses:  the Ethernet header, pkt_type, iif.   Sets: oif.
//! Next:  dev_queue_xmit (an answer, made in place), the control thread (what was learnt).
//! Drops: arp_ignored.
//!
//! Requests are answered here and now; the neighbour machine, its timers and queues are the control thread's.

use super::arp::ArpView;
use super::arp_rcv::{ArpDevice, ArpRoutes, ArpVerdict, FrameTo, Learn, arp_rcv};
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::core::shared::ToControl;
use crate::core::xmit::dev_queue_xmit;
use crate::device::NetDevice;
use crate::fib::next_hop::Kind;
use crate::neigh::arp::ARP_FRAME_LEN;
use crate::net::IfIndex;
use crate::skb::{Skb, SkbExt, SkbFields, flags, pkt_type};
use crate::skb::{eth, ipv4};
use std::net::Ipv4Addr;

/// Answers, learns from, or ignores an ARP packet that came in by `dev`.
pub fn arp_process(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, mut skb: Skb) {
    let node = env.cells.node(Node::ArpRcv);
    node.packets.add(1);
    node.batches.add(1);
    let wanted = skb.len().min(ARP_FRAME_LEN);
    skb.pull(wanted);
    let Some(Ok(arp)) = skb.data().get(eth::HEADER_LEN..).map(ArpView::parse) else {
        return env.kfree_skb(skb, Node::ArpRcv, DropReason::ArpIgnored);
    };
    let to = match skb.fields().pkt_type {
        pkt_type::HOST => FrameTo::Us,
        pkt_type::OTHERHOST => FrameTo::Other,
        _ => FrameTo::Group,
    };
    let facts = ArpDevice {
        mac: dev.mac,
        ignore: dev.conf.arp_ignore,
        accept: dev.conf.arp_accept,
        drop_gratuitous: dev.conf.drop_gratuitous_arp,
        forwarding: dev.conf.forwarding,
        proxy: dev.conf.proxy_arp,
        proxy_delay: false,
        route_localnet: dev.conf.route_localnet,
    };
    match arp_rcv(&arp, to, &facts, &Routes { env, dev }) {
        ArpVerdict::Ignore(_) => env.kfree_skb(skb, Node::ArpRcv, DropReason::ArpIgnored),
        ArpVerdict::Learn(learn) => {
            tell(env, dev, learn);
            env.cells.delivered.add(1);
        }
        ArpVerdict::Reply { frame, learn, .. } => {
            if let Some(learn) = learn {
                tell(env, dev, learn);
            }
            skb.truncate(ARP_FRAME_LEN);
            if frame.emit(skb.data_mut()).is_none() {
                return env.kfree_skb(skb, Node::ArpRcv, DropReason::Nomem);
            }
            // The request was consumed and the answer made, though both are the same mbuf.
            env.cells.delivered.add(1);
            env.cells.created.add(1);
            *skb.fields_mut() =
                SkbFields { oif: dev.ifindex.0, flags: flags::LOCAL_OUT, ..SkbFields::default() };
            dev_queue_xmit(env, hands, skb);
        }
    }
}

/// Passes on what was learnt. A full queue loses it: the sender will say it again, or be asked.
fn tell(env: &Env<'_>, dev: &NetDevice, learn: Learn) {
    let known = env.shared.neigh.lookup(dev.ifindex, learn.ip).is_some();
    if known || learn.create {
        let _ = env.shared.send_to_control(ToControl::Arp { dev: dev.ifindex, learn });
    }
}

/// The forwarding table and the addresses, as ARP asks about them.
struct Routes<'a> {
    env: &'a Env<'a>,
    dev: &'a NetDevice,
}

impl Routes<'_> {
    fn route(&self, ip: u32) -> (Kind, IfIndex) {
        let hop = self.env.shared.next_hops.get(self.env.shared.fib.lookup(ip));
        (hop.kind, hop.oif)
    }
}

impl ArpRoutes for Routes<'_> {
    fn is_local(&self, ip: u32) -> bool {
        self.env.snap.local.contains(ip)
    }

    fn is_on_device(&self, ip: u32) -> bool {
        self.dev.addresses.iter().any(|a| a.net.addr().to_bits() == ip)
    }

    fn shares_subnet(&self, local: u32, peer: u32) -> bool {
        let (local, peer) = (Ipv4Addr::from_bits(local), Ipv4Addr::from_bits(peer));
        self.dev.addresses.iter().any(|a| a.net.addr() == local && a.net.contains(&peer))
    }

    fn source_is_valid(&self, ip: u32) -> bool {
        let loopback = ipv4::is_loopback(ip) && !self.dev.conf.route_localnet;
        if loopback || ipv4::is_multicast(ip) || ip == ipv4::BROADCAST || ip == 0 {
            return false;
        }
        let (kind, oif) = self.route(ip);
        match (kind, self.dev.conf.rp_filter) {
            (Kind::Local | Kind::Broadcast, _) => false,
            (Kind::Gateway | Kind::Link, 1) => oif == self.dev.ifindex,
            (_, 0) => true,
            (kind, _) => matches!(kind, Kind::Gateway | Kind::Link | Kind::Multipath),
        }
    }

    fn is_unicast(&self, ip: u32) -> bool {
        matches!(self.route(ip).0, Kind::Gateway | Kind::Link | Kind::Multipath)
    }

    fn leaves_elsewhere(&self, ip: u32) -> bool {
        let (kind, oif) = self.route(ip);
        matches!(kind, Kind::Gateway | Kind::Link) && oif != self.dev.ifindex
    }
}
