//! `ip_forward`: send a packet on towards its destination.
//!
//! Uses:  pkt_type, next_hop, oif, gateway, mtu, the IP header.   Sets: priority, TTL.
//! Next:  hook FORWARD, ip_output, icmp_send.
//! Drops: not_specified (came as a link-layer broadcast; a strict source route by a gateway), ip_inhdr (TTL),
//!        pkt_too_big; ip_invalid_source and others of ip_rcv_finish for packets that turn back on their link.

use super::icmp::{self, icmp_send};
use super::ip_options::{self, IpOptions};
use super::ip_output::ip_output_list;
use super::martian;
use super::route::fib_validate_source;
use crate::core::counters::Mib;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::core::trace::Step;
use crate::device::NetDevice;
use crate::fib::NextHopId;
use crate::fib::next_hop::{Kind, NextHop};
use crate::netfilter::hooks::{Hook, nf_hook_list};
use crate::skb::eth;
use crate::skb::icmp::{ICMP_DEST_UNREACH, ICMP_TIME_EXCEEDED, unreach};
use crate::skb::ipv4::{self, IP_DF, Ipv4Header, MIN_HEADER_LEN};
use crate::skb::{Skb, SkbExt, SkbFields, SkbList, pkt_type};

/// Forwards a burst that has its route.
#[inline]
pub fn ip_forward_list(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    let (started, count) = (env.stage_start(), list.len() as u64);
    let mut odd = 0u32;
    for (i, skb) in list.iter_mut().enumerate() {
        odd |= u32::from(!forward_plain(env, dev, skb)) << i;
    }
    let plain = count - u64::from(odd.count_ones());
    env.cells.mib(Mib::IpForwDatagrams).add(plain);
    if odd != 0 {
        forward_slowly(env, hands, dev, list, odd);
    }
    env.stage_end(Node::IpForward, count, started);
    if odd != 0 || env.snap.hooks.has(Hook::Forward) {
        return filter_and_finish(env, hands, list);
    }
    ip_output_list(env, hands, list);
}

/// What remains to be done for a burst that is not plain, or that somebody wants to see.
#[cold]
fn filter_and_finish(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList) {
    if env.snap.hooks.has(Hook::Forward) {
        nf_hook_list(env, hands, Hook::Forward, list);
    }
    ip_forward_finish(env, hands, list);
}

/// After the hook: options are filled in as the packet leaves.
pub fn ip_forward_finish(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList) {
    for skb in list.iter_mut().filter(|skb| skb.fields().ip_hdr_len > MIN_HEADER_LEN as u8) {
        ip_options::ip_forward_options(env, skb);
    }
    if !list.is_empty() {
        ip_output_list(env, hands, list);
    }
}

/// The common case: TTL to spare, fits the MTU, another device, no options. False, and nothing touched, otherwise.
#[inline]
fn forward_plain(env: &Env<'_>, dev: &NetDevice, skb: &mut Skb) -> bool {
    let fields = skb.fields();
    let plain = fields.is_plain()
        & (skb.len() <= usize::from(fields.mtu) + eth::HEADER_LEN)
        & (fields.oif != dev.ifindex.0);
    let Some(head) = skb.head_mut() else { return false };
    let plain = plain & (head.ttl() > 1);
    if plain {
        let tos = head.tos();
        head.decrease_ttl();
        if env.snap.sysctl.ip_forward_update_priority {
            skb.fields_mut().priority = rt_tos2priority(tos);
        }
    }
    plain
}

/// The packets of `odd` one by one. Those that go on keep their places.
#[cold]
fn forward_slowly(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList, odd: u32) {
    let mut reasons = [DropReason::NotSpecified; SkbList::CAPACITY];
    let mut gone = 0u32;
    for (i, skb) in list.iter_mut().enumerate().filter(|(i, _)| odd >> i & 1 == 1) {
        if let Err(reason) = ip_forward(env, hands, dev, skb) {
            reasons[i] = reason;
            gone |= 1 << i;
        }
    }
    env.kfree_marked(list, gone, Node::IpForward, &reasons);
}

/// One packet through every check, in the kernel's order.
fn ip_forward(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, skb: &mut Skb) -> Result<(), DropReason> {
    let fields = *skb.fields();
    if fields.pkt_type != pkt_type::HOST {
        return Err(DropReason::NotSpecified);
    }
    let header = Ipv4Header::parse(skb.network()).ok_or(DropReason::IpInhdr)?;
    let (ttl, tos, frag_off, src) = (header.ttl(), header.tos(), header.frag_off(), header.src());
    let turns_back = fields.oif == dev.ifindex.0 && dev.conf.send_redirects;
    // Plain packets come here without a look at their source.
    let on_link = turns_back && validate_source(env, dev, skb, src)?;
    let has_options = fields.ip_hdr_len > MIN_HEADER_LEN as u8;
    let options = if has_options { IpOptions::of(skb) } else { IpOptions::default() };
    if ttl <= 1 {
        env.cells.mib(Mib::IpInHdrErrors).add(1);
        icmp_send(env, hands, skb, ICMP_TIME_EXCEEDED, icmp::EXC_TTL, 0);
        return Err(DropReason::IpInhdr);
    }
    if options.strict && hop_of(env, &fields).kind == Kind::Gateway {
        icmp_send(env, hands, skb, ICMP_DEST_UNREACH, unreach::SR_FAILED, 0);
        return Err(DropReason::NotSpecified);
    }
    env.cells.mib(Mib::IpForwDatagrams).add(1);
    // Fragments with Don't Fragment that fitted go on as they came, whatever the length of the whole.
    let fitted = (1..=fields.mtu).contains(&fields.frag_max_size);
    if skb.network_len() > usize::from(fields.mtu) && frag_off & IP_DF != 0 && !fitted {
        env.cells.mib(Mib::IpFragFails).add(1);
        icmp_send(env, hands, skb, ICMP_DEST_UNREACH, unreach::FRAG_NEEDED, u32::from(fields.mtu));
        return Err(DropReason::PktTooBig);
    }
    if fitted {
        skb.fields_mut().mtu = fields.frag_max_size;
    }
    let header = skb.network_mut().first_chunk_mut::<MIN_HEADER_LEN>().ok_or(DropReason::IpInhdr)?;
    ipv4::decrease_ttl(header);
    if on_link && options.srr.is_none() && may_redirect(env, dev, &fields, src) {
        icmp::ip_rt_send_redirect(env, hands, skb);
    }
    if env.snap.sysctl.ip_forward_update_priority {
        skb.fields_mut().priority = rt_tos2priority(tos);
    }
    env.trace(skb, || Step::Forward { ttl, priority: skb.fields().priority });
    Ok(())
}

/// The source of a packet that leaves by the device it came by; true if it is on the link.
fn validate_source(env: &Env<'_>, dev: &NetDevice, skb: &Skb, src: u32) -> Result<bool, DropReason> {
    fib_validate_source(env, dev, src, Some(dev.ifindex)).inspect_err(|&reason| {
        martian::refused(env, dev, skb, reason);
        env.cells.device(dev.ifindex).rx_dropped.add(1);
    })
}

/// Whether the next hop is of the sender's subnet, or may be told of all the same because the media is shared.
fn may_redirect(env: &Env<'_>, dev: &NetDevice, fields: &SkbFields, src: u32) -> bool {
    let hop = hop_of(env, fields);
    let gateway = if hop.kind == Kind::Gateway { hop.gateway } else { 0 };
    dev.conf.shared_media || dev.has_on_link(src, gateway)
}

fn hop_of(env: &Env<'_>, fields: &SkbFields) -> NextHop {
    env.shared.next_hops.get(NextHopId::new(fields.next_hop).unwrap_or(NextHopId::NONE))
}

/// The kernel's `ip_tos2prio`: the four bits of RFC 1349 TOS to a queueing priority.
#[inline]
pub fn rt_tos2priority(tos: u8) -> u32 {
    const TOS2PRIO: [u8; 16] = [0, 1, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4];
    u32::from(TOS2PRIO[usize::from((tos & 0x1e) >> 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_the_kernels() {
        // IPTOS_LOWDELAY -> TC_PRIO_INTERACTIVE, IPTOS_THROUGHPUT -> TC_PRIO_BULK, none -> TC_PRIO_BESTEFFORT.
        assert_eq!([0x10, 0x08, 0x00, 0x18, 0xb8].map(rt_tos2priority), [6, 2, 0, 4, 4]);
    }
}
