//! `ip_local_deliver`: packets for the router itself, answered as a host with no sockets answers.
//!
//! Uses:  the IP header, flags, pkt_type.   Sets: for echo replies everything an own packet needs.
//! Next:  ip_local_out (echo reply, reset), icmp_send (port and protocol unreachable).
//! Drops: frag_reasm_unsupported, icmp_csum, udp_csum, tcp_csum, no_socket, ip_noproto, invalid_proto.

use super::icmp::{count_out, icmp_send, new_packet};
use super::ip_output::ip_local_out;
use crate::core::counters::Mib;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::device::NetDevice;
use crate::net::IfIndex;
use crate::skb::icmp::{self as wire, ICMP_DEST_UNREACH, ICMP_ECHO, ICMP_ECHOREPLY, IcmpHeader, unreach};
use crate::skb::ipv4::{self, Ipv4Fields, Ipv4Header, MIN_HEADER_LEN};
use crate::skb::udp::{self, TCP_ACK, TCP_FIN, TCP_HEADER_LEN, TCP_RST, TCP_SYN, TcpHeader, UdpHeader};
use crate::skb::{Skb, SkbExt, SkbFields, SkbList, checksum, eth, flags, pkt_type};

/// Delivers a burst.
pub fn ip_local_deliver_list(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, list: &mut SkbList) {
    let (started, count) = (env.stage_start(), list.len() as u64);
    for skb in list.drain() {
        if let Err((skb, reason)) = ip_local_deliver(env, hands, skb) {
            env.cells.device(dev.ifindex).rx_dropped.add(1);
            env.kfree_skb(skb, Node::IpLocalDeliver, reason);
        }
    }
    env.stage_end(Node::IpLocalDeliver, count, started);
}

type Delivered = Result<(), (Skb, DropReason)>;

/// Delivers one packet: consumed, or given back with the reason it was not.
fn ip_local_deliver(env: &Env<'_>, hands: &mut Hands, mut skb: Skb) -> Delivered {
    let fields = *skb.fields();
    // Enough for any transport header a router answers to, where the packet has that much.
    let wanted = usize::from(fields.network_offset) + usize::from(fields.ip_hdr_len) + TCP_HEADER_LEN;
    let wanted = wanted.min(skb.len());
    skb.pull(wanted);
    let Some(header) = Ipv4Header::parse(skb.network()) else { return Err((skb, DropReason::IpInhdr)) };
    if header.is_fragment() {
        return Err((skb, DropReason::FragReasm));
    }
    let protocol = header.protocol();
    if matches!(protocol, ipv4::IPPROTO_ICMP | ipv4::IPPROTO_UDP | ipv4::IPPROTO_TCP | ipv4::IPPROTO_IGMP) {
        env.cells.mib(Mib::IpInDelivers).add(1);
    }
    match protocol {
        ipv4::IPPROTO_ICMP => icmp_rcv(env, hands, skb),
        ipv4::IPPROTO_UDP => udp_rcv(env, hands, skb),
        ipv4::IPPROTO_TCP => tcp_rcv(env, hands, skb),
        ipv4::IPPROTO_IGMP => {
            env.cells.delivered.add(1);
            Ok(())
        }
        _ => {
            env.cells.mib(Mib::IpInUnknownProtos).add(1);
            icmp_send(env, hands, &skb, ICMP_DEST_UNREACH, unreach::PROT, 0);
            Err((skb, DropReason::IpNoproto))
        }
    }
}

/// Sum of `len` bytes behind the IP header, over all segments.
fn payload_sum(skb: &Skb, len: usize) -> u16 {
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

fn icmp_rcv(env: &Env<'_>, hands: &mut Hands, skb: Skb) -> Delivered {
    env.cells.mib(Mib::IcmpInMsgs).add(1);
    let header_len = usize::from(skb.fields().ip_hdr_len);
    if payload_sum(&skb, skb.network_len() - header_len) != 0xffff {
        env.cells.mib(Mib::IcmpInCsumErrors).add(1);
        env.cells.mib(Mib::IcmpInErrors).add(1);
        return Err((skb, DropReason::IcmpCsum));
    }
    let Some(message) = skb.network().get(header_len..).and_then(IcmpHeader::parse) else {
        env.cells.mib(Mib::IcmpInErrors).add(1);
        return Err((skb, DropReason::InvalidProto));
    };
    match message.icmp_type() {
        ICMP_ECHO => icmp_echo(env, hands, skb),
        icmp_type => {
            if icmp_type == ICMP_ECHOREPLY {
                env.cells.mib(Mib::IcmpInEchoReps).add(1);
            }
            if icmp_type > 18 {
                env.cells.mib(Mib::IcmpInErrors).add(1);
                return Err((skb, DropReason::InvalidProto));
            }
            env.cells.delivered.add(1);
            Ok(())
        }
    }
}

/// Turns an echo request round in place: same bytes, same TOS, addresses swapped (RFC 1812 section 4.3.3.6).
fn icmp_echo(env: &Env<'_>, hands: &mut Hands, mut skb: Skb) -> Delivered {
    env.cells.mib(Mib::IcmpInEchos).add(1);
    let fields = *skb.fields();
    let broadcast = fields.flags & flags::NO_ICMP != 0;
    let sysctl = &env.snap.sysctl;
    if broadcast && sysctl.icmp_echo_ignore_broadcasts {
        env.cells.mib(Mib::IcmpInErrors).add(1);
        return Err((skb, DropReason::InvalidProto));
    }
    if sysctl.icmp_echo_ignore_all {
        return Err((skb, DropReason::InvalidProto));
    }
    let Some(header) = Ipv4Header::parse(skb.network()) else { return Err((skb, DropReason::IpInhdr)) };
    let (src, dst, tos) = (header.src(), header.dst(), header.tos());
    let from = if broadcast { env.snap.device(IfIndex(fields.iif)).select_addr(src) } else { Some(dst) };
    let Some(from) = from else { return Err((skb, DropReason::InvalidProto)) };
    // Options are not echoed: what is left is a plain header right before the message.
    let surplus = usize::from(fields.network_offset) + usize::from(fields.ip_hdr_len);
    let len = skb.len() - surplus;
    if !skb.adj(surplus - eth::HEADER_LEN - MIN_HEADER_LEN) {
        return Err((skb, DropReason::Nomem));
    }
    let reply = Ipv4Fields {
        tos,
        total_len: (MIN_HEADER_LEN + len) as u16,
        id: hands.next_ip_id(),
        frag_off: 0,
        ttl: sysctl.ip_default_ttl,
        protocol: ipv4::IPPROTO_ICMP,
        src: from,
        dst: src,
    };
    *skb.fields_mut() = own_packet(&fields);
    let rest = skb.network_mut().split_first_chunk_mut::<MIN_HEADER_LEN>();
    let Some((header, message)) = rest else { return Err((skb, DropReason::Nomem)) };
    ipv4::emit(header, &reply);
    if let Some(message) = message.first_chunk_mut::<{ wire::HEADER_LEN }>() {
        let old = u16::from_be_bytes([message[0], message[1]]);
        let check = u16::from_be_bytes([message[2], message[3]]);
        message[0] = ICMP_ECHOREPLY;
        let new = u16::from_be_bytes([message[0], message[1]]);
        message[2..4].copy_from_slice(&checksum::update16(check, old, new).to_be_bytes());
    }
    // The request was consumed and the reply made, though both are the same mbuf.
    env.cells.delivered.add(1);
    env.cells.created.add(1);
    count_out(env, ICMP_ECHOREPLY);
    ip_local_out(env, hands, skb);
    Ok(())
}

fn own_packet(from: &SkbFields) -> SkbFields {
    SkbFields {
        iif: from.iif,
        network_offset: eth::HEADER_LEN as u8,
        ip_hdr_len: MIN_HEADER_LEN as u8,
        pkt_type: pkt_type::HOST,
        flags: flags::LOCAL_OUT,
        ..SkbFields::default()
    }
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
        env.cells.mib(Mib::TcpInErrs).add(1);
        return Err((skb, DropReason::TcpCsum));
    }
    if tcp.flags() & TCP_RST == 0 && fields.flags & flags::NO_ICMP == 0 {
        send_reset(env, hands, &ip, &tcp, payload - tcp.header_len());
    }
    Err((skb, DropReason::NoSocket))
}

fn send_reset(env: &Env<'_>, hands: &mut Hands, ip: &Ipv4Header<'_>, about: &TcpHeader<'_>, data: usize) {
    let (src, dst) = (ip.src(), ip.dst());
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
        total_len: (MIN_HEADER_LEN + TCP_HEADER_LEN) as u16,
        id: 0,
        frag_off: ipv4::IP_DF,
        ttl: env.snap.sysctl.ip_default_ttl,
        protocol: ipv4::IPPROTO_TCP,
        src: dst,
        dst: src,
    };
    let (source, dest) = (about.dest(), about.source());
    let built = new_packet(hands, &fields, |tcp| {
        tcp[0..2].copy_from_slice(&source.to_be_bytes());
        tcp[2..4].copy_from_slice(&dest.to_be_bytes());
        tcp[4..8].copy_from_slice(&seq.to_be_bytes());
        tcp[8..12].copy_from_slice(&ack.to_be_bytes());
        tcp[12] = (TCP_HEADER_LEN as u8 / 4) << 4;
        tcp[13] = reply_flags;
        let pseudo = checksum::pseudo_header(dst, src, ipv4::IPPROTO_TCP, TCP_HEADER_LEN);
        let check = !checksum::add(pseudo, tcp);
        tcp[16..18].copy_from_slice(&check.to_be_bytes());
        true
    });
    if let Some(skb) = built {
        env.cells.created.add(1);
        env.cells.mib(Mib::TcpOutRsts).add(1);
        ip_local_out(env, hands, skb);
    }
}

const _: () = assert!(udp::HEADER_LEN <= TCP_HEADER_LEN);
