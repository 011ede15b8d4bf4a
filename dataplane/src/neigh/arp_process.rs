//! `arp_process`: an ARP packet on an lcore.
//!
//! Uses:  the Ethernet header, pkt_type, iif.   Sets: oif.
//! Next:  dev_queue_xmit (an answer, made in place), the control thread (what was learnt, answers that wait).
//! Drops: pkt_too_small, arp_ignored, punt_full (control thread busy).
//!
//! Requests are answered here and now; the neighbour machine, its timers and queues are the control thread's.

use super::arp::{ArpError, ArpView};
use super::arp_rcv::{ArpDevice, ArpRoutes, ArpVerdict, FrameTo, Ignored, Learn, Way, arp_rcv};
use crate::core::counters::Mib;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::core::shared::ToControl;
use crate::core::trace::Step;
use crate::core::xmit::dev_queue_xmit;
use crate::device::NetDevice;
use crate::fib::multipath;
use crate::fib::next_hop::{Kind, NextHop};
use crate::ipv4::multipath_hash::fib_select_best;
use crate::neigh::arp::ARP_FRAME_LEN;
use crate::skb::{Skb, SkbExt, SkbFields, flags, pkt_type};
use crate::skb::{eth, ipv4};
use std::net::Ipv4Addr;

/// Answers, learns from, or ignores an ARP packet that came in by `dev`.
pub fn arp_process(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, mut skb: Skb) {
    let node = env.cells.node(Node::ArpRcv);
    node.packets.add(1);
    node.batches.add(1);
    let behind = usize::from(skb.fields().network_offset).saturating_sub(eth::HEADER_LEN);
    let wanted = skb.len().min(ARP_FRAME_LEN + behind);
    skb.pull(wanted);
    let arp = match ArpView::parse(skb.network()) {
        Ok(arp) => arp,
        Err(ArpError::Truncated) => return env.kfree_skb(skb, Node::ArpRcv, DropReason::PktTooSmall),
        Err(_) => return env.kfree_skb(skb, Node::ArpRcv, DropReason::ArpIgnored),
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
        filter: dev.conf.arp_filter,
        drop_gratuitous: dev.conf.drop_gratuitous_arp,
        forwarding: dev.conf.forwarding,
        proxy: dev.conf.proxy_arp,
        pvlan: dev.conf.proxy_arp_pvlan,
        medium: dev.conf.medium_id,
        proxy_delay: dev.conf.proxy_delay,
        route_localnet: dev.conf.route_localnet,
    };
    match arp_rcv(&arp, to, &facts, &Routes { env, dev }) {
        ArpVerdict::Ignore(why) => {
            env.cells.mib(Mib::TcpExtArpFilter).add(u64::from(why == Ignored::ArpFilter));
            env.kfree_skb(skb, Node::ArpRcv, DropReason::ArpIgnored);
        }
        ArpVerdict::Learn(learn) => {
            tell(env, dev, learn);
            env.trace(&skb, || Step::Delivered { node: Node::ArpRcv });
            env.cells.delivered.add(1);
        }
        ArpVerdict::Reply { frame, delayed, learn } => {
            if let Some(learn) = learn {
                tell(env, dev, learn);
            }
            env.trace(&skb, || Step::Delivered { node: Node::ArpRcv });
            if delayed {
                let message = ToControl::ArpProxy { dev: dev.ifindex, frame };
                return match env.shared.send_to_control(message) {
                    Ok(()) => env.cells.delivered.add(1),
                    Err(_) => env.kfree_skb(skb, Node::ArpRcv, DropReason::PuntFull),
                };
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
    fn route(&self, ip: u32) -> NextHop {
        self.env.shared.next_hops.get(self.env.shared.fib.lookup(ip))
    }

    /// The next hop from `src` to `dst`; `local`: `src` is ours.
    fn path(&self, src: u32, dst: u32, local: bool) -> NextHop {
        let group = self.env.shared.fib.lookup(dst);
        let hop = self.env.shared.next_hops.get(group);
        if hop.kind != Kind::Multipath {
            return hop;
        }
        let hash = multipath::hash_l3(src, dst, self.env.snap.sysctl.fib_multipath_hash_seed);
        let id = fib_select_best(self.env, group, hash, if local { src } else { 0 });
        self.env.shared.next_hops.get(id)
    }

    fn way_of(&self, hop: NextHop) -> Way {
        match hop.kind {
            Kind::Gateway | Kind::Link if hop.oif == self.dev.ifindex => Way::Back,
            Kind::Gateway | Kind::Link => {
                Way::Elsewhere { medium: self.env.snap.device(hop.oif).conf.medium_id }
            }
            _ => Way::None,
        }
    }
}

impl ArpRoutes for Routes<'_> {
    fn is_local(&self, ip: u32) -> bool {
        self.route(ip).kind == Kind::Local
    }

    fn is_on_device(&self, ip: u32) -> bool {
        self.dev.addresses.iter().any(|a| a.net.addr().to_bits() == ip)
    }

    fn is_public(&self, ip: u32) -> bool {
        let mut addresses = self.env.snap.devices().flat_map(|dev| &dev.addresses);
        addresses.any(|a| a.is_public() && a.net.addr().to_bits() == ip)
    }

    fn shares_subnet(&self, local: u32, peer: u32) -> bool {
        let (local, peer) = (Ipv4Addr::from_bits(local), Ipv4Addr::from_bits(peer));
        self.dev.addresses.iter().any(|a| a.net.addr() == local && a.net.contains(&peer))
    }

    fn is_on_link(&self, peer: u32) -> bool {
        let peer = Ipv4Addr::from_bits(peer);
        self.dev.addresses.iter().any(|a| a.is_public() && a.net.contains(&peer))
    }

    fn source_is_valid(&self, ip: u32) -> bool {
        let loopback = ipv4::is_loopback(ip) && !self.dev.conf.route_localnet;
        if loopback || ipv4::is_multicast(ip) || ip == ipv4::BROADCAST || ip == 0 {
            return false;
        }
        let hop = self.route(ip);
        match (hop.kind, self.dev.conf.rp_filter) {
            (Kind::Local, _) => self.dev.conf.accept_local,
            (_, 0) => true,
            (Kind::Gateway | Kind::Link, 1) => hop.oif == self.dev.ifindex,
            (Kind::Multipath, 1) => {
                let id = self.env.shared.fib.lookup(ip);
                self.env.shared.next_hops.members(id).any(|m| m.oif == self.dev.ifindex)
            }
            (kind, _) => matches!(kind, Kind::Gateway | Kind::Link | Kind::Multipath),
        }
    }

    fn is_unicast(&self, ip: u32) -> bool {
        let odd = ipv4::is_multicast(ip) || ip == ipv4::BROADCAST || ip == 0;
        !odd && !matches!(self.route(ip).kind, Kind::Local | Kind::Broadcast)
    }

    fn way(&self, sender: u32, target: u32) -> Way {
        self.way_of(self.path(sender, target, false))
    }

    fn way_back(&self, local: u32, peer: u32) -> Way {
        let hop = self.path(local, peer, true);
        match hop.kind {
            // A sender whose address is the link's broadcast is answered by the link that has it.
            Kind::Broadcast if hop.oif == self.dev.ifindex => Way::Back,
            // One of our own: the answer would never leave.
            Kind::Local | Kind::Broadcast => Way::Elsewhere { medium: 0 },
            _ => self.way_of(hop),
        }
    }

    fn is_proxied(&self, ip: u32) -> bool {
        self.env.snap.proxies.contains(self.dev.ifindex, ip)
    }
}
