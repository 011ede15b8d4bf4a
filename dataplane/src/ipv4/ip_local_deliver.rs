//! `ip_local_deliver`: packets for the router itself, answered as a host with no sockets answers.
//!
//! Uses:  the IP header, flags, pkt_type.   Sets: nothing.
//! Next:  ip_defrag (fragments), hook LOCAL_IN, icmp_rcv, ip_local_out (reset), icmp_send (port and protocol
//!        unreachable).
//! Drops: udp_csum, tcp_csum, no_socket, ip_noproto, not_specified (PIM).

use super::icmp::{echoed, icmp_send, new_packet_with};
use super::icmp_rcv::icmp_rcv;
use super::ip_frag::{DefragUser, ip_defrag};
use super::ip_options::IpOptions;
use super::ip_output::ip_local_out;
use super::ipmr;
use super::source;
use crate::core::counters::Mib;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::core::trace::{Made, Step};
use crate::device::NetDevice;
use crate::net::IfIndex;
use crate::netfilter::hooks::{Hook, nf_hook_list};
use crate::skb::icmp::{ICMP_DEST_UNREACH, unreach};
use crate::skb::ipv4::{self, Ipv4Fields, Ipv4Header, MIN_HEADER_LEN};
use crate::skb::udp::{self, TCP_ACK, TCP_FIN, TCP_HEADER_LEN, TCP_RST, TCP_SYN, TcpHeader, UdpHeader};
use crate::skb::{Skb, SkbExt, SkbList, checksum, flags, pkt_type};

/// Delivers a burst.
pub fn ip_local_deliver_list(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    let (started, count) = (env.stage_start(), list.len() as u64);
    if list.iter().any(is_fragment) {
        defrag(env, hands, list);
    }
    filter_and_finish(env, hands, dev, list);
    env.stage_end(Node::IpLocalDeliver, count, started);
}

/// Delivers a datagram whose last fragment another lcore received.
pub fn deliver_reassembled(env: &Env<'_>, hands: &mut Hands, skb: Skb) {
    let (started, dev) = (env.stage_start(), env.snap.device(IfIndex(skb.fields().iif)));
    let mut list = SkbList::new();
    let _ = list.push(skb);
    filter_and_finish(env, hands, dev, &mut list);
    env.stage_end(Node::IpLocalDeliver, 1, started);
}

fn is_fragment(skb: &Skb) -> bool {
    Ipv4Header::parse(skb.network()).is_some_and(|header| header.is_fragment())
}

/// Leaves whole datagrams in the list; fragments wait for the others of theirs.
#[cold]
fn defrag(env: &Env<'_>, hands: &mut Hands, list: &mut SkbList) {
    let mut all = std::mem::take(list);
    for skb in all.drain() {
        let whole =
            if is_fragment(&skb) { ip_defrag(env, hands, skb, DefragUser::LocalDeliver) } else { Some(skb) };
        if let Some(skb) = whole {
            // It came out of this burst, so there is room.
            let _ = list.push(skb);
        }
    }
}

fn filter_and_finish(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    if env.snap.hooks.has(Hook::LocalIn) {
        nf_hook_list(env, hands, Hook::LocalIn, list);
    }
    ip_local_deliver_finish(env, hands, dev, list);
}

/// After the hook: each packet to its protocol.
pub fn ip_local_deliver_finish(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    for skb in list.drain() {
        if let Err((skb, reason)) = ip_local_deliver(env, hands, skb) {
            env.cells.device(dev.ifindex).rx_dropped.add(1);
            env.kfree_skb(skb, Node::IpLocalDeliver, reason);
        }
    }
}

/// Consumed, or given back with the reason it was not.
pub(super) type Delivered = Result<(), (Skb, DropReason)>;

/// Delivers one packet: consumed, or given back with the reason it was not.
fn ip_local_deliver(env: &Env<'_>, hands: &mut Hands, mut skb: Skb) -> Delivered {
    let fields = *skb.fields();
    // Enough for any transport header a router answers to, where the packet has that much.
    let wanted = usize::from(fields.network_offset) + usize::from(fields.ip_hdr_len) + TCP_HEADER_LEN;
    let wanted = wanted.min(skb.len());
    skb.pull(wanted);
    let Some(header) = Ipv4Header::parse(skb.network()) else { return Err((skb, DropReason::IpInhdr)) };
    let protocol = header.protocol();
    env.trace(&skb, || Step::LocalDeliver { protocol });
    if matches!(
        protocol,
        ipv4::IPPROTO_ICMP | ipv4::IPPROTO_UDP | ipv4::IPPROTO_TCP | ipv4::IPPROTO_IGMP | ipv4::IPPROTO_PIM
    ) {
        env.cells.mib(Mib::IpInDelivers).add(1);
    }
    match protocol {
        ipv4::IPPROTO_ICMP => icmp_rcv(env, hands, skb),
        ipv4::IPPROTO_UDP => udp_rcv(env, hands, skb),
        ipv4::IPPROTO_TCP => tcp_rcv(env, hands, skb),
        ipv4::IPPROTO_IGMP => {
            ipmr::punt_igmp(env, IfIndex(fields.iif), skb);
            Ok(())
        }
        // Known, so that nobody is told otherwise, but there is no rendezvous point here.
        ipv4::IPPROTO_PIM => Err((skb, DropReason::NotSpecified)),
        _ => {
            env.cells.mib(Mib::IpInUnknownProtos).add(1);
            icmp_send(env, hands, &skb, ICMP_DEST_UNREACH, unreach::PROT, 0);
            Err((skb, DropReason::IpNoproto))
        }
    }
}

/// Sum of `len` bytes behind the IP header, over all segments.
pub(super) fn payload_sum(skb: &Skb, len: usize) -> u16 {
    let mut skip = usize::from(skb.fields().network_offset) + usize::from(skb.fields().ip_hdr_len);
    let mut left = len;
    let pieces = skb.segments().map(move |segment| {
        let from = skip.min(segment.len());
        skip -= from;
        let to = segment.len().min(from + left);
        left -= to - from;
        &segment[from..to]
    });
    checksum::sum_segments(pieces)
}

fn udp_rcv(env: &Env<'_>, hands: &mut Hands, mut skb: Skb) -> Delivered {
    let fields = *skb.fields();
    let header_len = usize::from(fields.ip_hdr_len);
    let payload = skb.network_len().saturating_sub(header_len);
    let network = skb.network();
    let (Some(ip), Some(header)) =
        (Ipv4Header::parse(network), network.get(header_len..).and_then(UdpHeader::parse))
    else {
        env.cells.mib(Mib::UdpInErrors).add(1);
        return Err((skb, DropReason::PktTooSmall));
    };
    if header.is_empty() || header.len() > payload {
        env.cells.mib(Mib::UdpInErrors).add(1);
        return Err((skb, DropReason::PktTooSmall));
    }
    if header.check() != 0 {
        // Bytes behind the datagram are padding that IP carried along.
        let len = header.len();
        let pseudo = checksum::pseudo_header(ip.src(), ip.dst(), ipv4::IPPROTO_UDP, len);
        if checksum::fold(u64::from(pseudo) + u64::from(payload_sum(&skb, len))) != 0xffff {
            env.cells.mib(Mib::UdpInCsumErrors).add(1);
            env.cells.mib(Mib::UdpInErrors).add(1);
            return Err((skb, DropReason::UdpCsum));
        }
    }
    // What is behind the datagram is no part of it, nor of what an error quotes.
    let end = usize::from(fields.network_offset) + header_len + header.len();
    skb.truncate(end);
    if fields.flags & flags::NO_ICMP != 0 {
        env.cells.mib(Mib::UdpIgnoredMulti).add(1);
    } else {
        env.cells.mib(Mib::UdpNoPorts).add(1);
        icmp_send(env, hands, &skb, ICMP_DEST_UNREACH, unreach::PORT, 0);
    }
    Err((skb, DropReason::NoSocket))
}

/// Nobody listens: a reset, as RFC 9293 section 3.10.7.1 builds it.
fn tcp_rcv(env: &Env<'_>, hands: &mut Hands, skb: Skb) -> Delivered {
    let fields = *skb.fields();
    if fields.pkt_type != pkt_type::HOST {
        return Err((skb, DropReason::NotSpecified));
    }
    env.cells.mib(Mib::TcpInSegs).add(1);
    let header_len = usize::from(fields.ip_hdr_len);
    let payload = skb.network_len().saturating_sub(header_len);
    let network = skb.network();
    let (Some(ip), Some(tcp)) =
        (Ipv4Header::parse(network), network.get(header_len..).and_then(TcpHeader::parse))
    else {
        return Err((skb, DropReason::PktTooSmall));
    };
    if tcp.header_len() < TCP_HEADER_LEN {
        // An error of the segment; one that is merely cut short the kernel does not count as such.
        env.cells.mib(Mib::TcpInErrs).add(1);
        return Err((skb, DropReason::PktTooSmall));
    }
    if tcp.header_len() > payload {
        return Err((skb, DropReason::PktTooSmall));
    }
    let pseudo = checksum::pseudo_header(ip.src(), ip.dst(), ipv4::IPPROTO_TCP, payload);
    if checksum::fold(u64::from(pseudo) + u64::from(payload_sum(&skb, payload))) != 0xffff {
        env.cells.mib(Mib::TcpInCsumErrors).add(1);
        env.cells.mib(Mib::TcpInErrs).add(1);
        return Err((skb, DropReason::TcpCsum));
    }
    if tcp.flags() & TCP_RST == 0 && fields.flags & flags::NO_ICMP == 0 {
        send_reset(env, hands, &skb, (&ip, &tcp), payload - tcp.header_len());
    }
    Err((skb, DropReason::NoSocket))
}

fn send_reset(
    env: &Env<'_>,
    hands: &mut Hands,
    skb: &Skb,
    (ip, about): (&Ipv4Header<'_>, &TcpHeader<'_>),
    data: usize,
) {
    let (src, dst) = (ip.src(), ip.dst());
    let plain = skb.fields().ip_hdr_len <= MIN_HEADER_LEN as u8;
    let options = if plain { IpOptions::default() } else { IpOptions::of(skb) };
    let Some(mut options) = echoed(env, skb, &options) else { return };
    let to = options.first_hop().unwrap_or(src);
    // Counted whether or not there is a way for it.
    env.cells.mib(Mib::TcpOutSegs).add(1);
    env.cells.mib(Mib::TcpOutRsts).add(1);
    if !source::has_way(env, to) {
        return;
    }
    let flags = about.flags();
    let taken = data as u32 + u32::from(flags & TCP_SYN != 0) + u32::from(flags & TCP_FIN != 0);
    let (seq, ack, reply_flags) = if flags & TCP_ACK != 0 {
        (about.ack_seq(), 0, TCP_RST)
    } else {
        (0, about.seq().wrapping_add(taken), TCP_RST | TCP_ACK)
    };
    let fields = Ipv4Fields {
        // The class of the segment it answers, but not its congestion bits.
        tos: ip.tos() & !3,
        total_len: (MIN_HEADER_LEN + options.len() + TCP_HEADER_LEN) as u16,
        id: 0,
        frag_off: ipv4::IP_DF,
        ttl: env.snap.sysctl.ip_default_ttl,
        protocol: ipv4::IPPROTO_TCP,
        src: dst,
        dst: to,
    };
    env.trace(skb, || Step::Made { made: Made::Reset, to });
    let (source, dest) = (about.dest(), about.source());
    let built = new_packet_with(hands, &fields, options.build(env, dst, src), |tcp| {
        tcp[0..2].copy_from_slice(&source.to_be_bytes());
        tcp[2..4].copy_from_slice(&dest.to_be_bytes());
        tcp[4..8].copy_from_slice(&seq.to_be_bytes());
        tcp[8..12].copy_from_slice(&ack.to_be_bytes());
        tcp[12] = (TCP_HEADER_LEN as u8 / 4) << 4;
        tcp[13] = reply_flags;
        let pseudo = checksum::pseudo_header(dst, to, ipv4::IPPROTO_TCP, TCP_HEADER_LEN);
        let check = !checksum::add(pseudo, tcp);
        tcp[16..18].copy_from_slice(&check.to_be_bytes());
        true
    });
    if let Some(skb) = built {
        env.cells.created.add(1);
        ip_local_out(env, hands, skb);
    }
}

const _: () = assert!(udp::HEADER_LEN <= TCP_HEADER_LEN);
