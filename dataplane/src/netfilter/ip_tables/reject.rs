//! `-j REJECT`: an ICMP error or a TCP reset for the sender (`nf_reject_ipv4`).

use super::rule::RejectWith;
use crate::core::counters::Mib;
use crate::ipv4::icmp::{icmp_send, new_packet};
use crate::ipv4::ip_output::ip_local_out;
use crate::netfilter::hooks::HookCx;
use crate::skb::icmp::ICMP_DEST_UNREACH;
use crate::skb::ipv4::{
    self, IP_DF, IP_OFFSET, IPPROTO_TCP, IPPROTO_UDP, Ipv4Fields, Ipv4Header, MIN_HEADER_LEN,
};
use crate::skb::udp::{TCP_ACK, TCP_FIN, TCP_HEADER_LEN, TCP_RST, TCP_SYN, TcpHeader};
use crate::skb::{Skb, SkbExt, checksum, flags, pkt_type};

/// Answers, where an answer is due: not for later fragments, and not for what did not arrive whole.
pub(super) fn send(cx: &mut HookCx<'_, '_>, skb: &Skb, with: RejectWith) {
    let Some(ip) = Ipv4Header::parse(skb.network()) else { return };
    if ip.frag_off() & IP_OFFSET != 0 {
        return;
    }
    let code = match with {
        RejectWith::IcmpNetUnreachable => 0,
        RejectWith::IcmpHostUnreachable => 1,
        RejectWith::IcmpProtoUnreachable => 2,
        RejectWith::IcmpPortUnreachable => 3,
        RejectWith::IcmpNetProhibited => 9,
        RejectWith::IcmpHostProhibited => 10,
        RejectWith::IcmpAdminProhibited => 13,
        RejectWith::TcpReset => return reset(cx, skb, &ip),
    };
    if !verifies(skb, &ip) || checksum_ok(skb, &ip) {
        icmp_send(cx.env, cx.hands, skb, ICMP_DEST_UNREACH, code, 0);
    }
}

/// Protocols whose checksum covers the whole payload and must be there (`nf_reject_verify_csum`).
fn verifies(skb: &Skb, ip: &Ipv4Header<'_>) -> bool {
    if skb.fields().flags & flags::LOCAL_OUT != 0 {
        return false;
    }
    match ip.protocol() {
        IPPROTO_UDP => skb
            .network()
            .get(ip.header_len()..)
            .and_then(|p| p.first_chunk::<8>())
            .is_none_or(|h| h[6..8] != [0, 0]),
        // GRE without, and AH, ESP, SCTP with sums of another kind; UDP-Lite with a sum over a part.
        47 => skb.network().get(ip.header_len()).is_none_or(|flags| flags & 0x80 != 0),
        51 | 50 | 132 | 136 => false,
        _ => true,
    }
}

fn checksum_ok(skb: &Skb, ip: &Ipv4Header<'_>) -> bool {
    let len = skb.network_len().saturating_sub(ip.header_len());
    let pseudo = match ip.protocol() {
        protocol @ (IPPROTO_TCP | IPPROTO_UDP) => checksum::pseudo_header(ip.src(), ip.dst(), protocol, len),
        _ => 0,
    };
    let mut skip = usize::from(skb.fields().network_offset) + ip.header_len();
    let pieces = skb.segments().map(move |segment| {
        let from = skip.min(segment.len());
        skip -= from;
        segment.get(from..).unwrap_or(&[])
    });
    // The kernel sums up the IP header with it, so that nothing but zeros counts as right too.
    matches!(checksum::fold(u64::from(pseudo) + u64::from(checksum::sum_segments(pieces))), 0 | 0xffff)
}

/// A reset as RFC 9293 section 3.10.7.1 builds it, except for a reset, and never to a group.
fn reset(cx: &mut HookCx<'_, '_>, skb: &Skb, ip: &Ipv4Header<'_>) {
    let fields = skb.fields();
    let segment = skb.network_len().saturating_sub(ip.header_len());
    let Some(tcp) = skb.network().get(ip.header_len()..).and_then(TcpHeader::parse) else { return };
    let own = fields.flags & flags::LOCAL_OUT != 0;
    if ip.protocol() != IPPROTO_TCP
        || tcp.flags() & TCP_RST != 0
        || fields.flags & flags::NO_ICMP != 0
        || fields.pkt_type != pkt_type::HOST
        || ipv4::is_multicast(ip.dst())
        || !(own || checksum_ok(skb, ip))
    {
        return;
    }
    let data = segment.saturating_sub(tcp.header_len()) as u32;
    let taken = data + u32::from(tcp.flags() & TCP_SYN != 0) + u32::from(tcp.flags() & TCP_FIN != 0);
    let (seq, ack, flags) = match tcp.flags() & TCP_ACK != 0 {
        true => (tcp.ack_seq(), 0, TCP_RST),
        false => (0, tcp.seq().wrapping_add(taken), TCP_RST | TCP_ACK),
    };
    let (src, dst) = (ip.dst(), ip.src());
    let header = Ipv4Fields {
        tos: 0,
        total_len: (MIN_HEADER_LEN + TCP_HEADER_LEN) as u16,
        id: 0,
        frag_off: IP_DF,
        ttl: cx.env.snap.sysctl.ip_default_ttl,
        protocol: IPPROTO_TCP,
        src,
        dst,
    };
    let built = new_packet(cx.hands, &header, |bytes| {
        let Some(bytes) = bytes.first_chunk_mut::<TCP_HEADER_LEN>() else { return false };
        bytes[0..2].copy_from_slice(&tcp.dest().to_be_bytes());
        bytes[2..4].copy_from_slice(&tcp.source().to_be_bytes());
        bytes[4..8].copy_from_slice(&seq.to_be_bytes());
        bytes[8..12].copy_from_slice(&ack.to_be_bytes());
        bytes[12] = (TCP_HEADER_LEN as u8 / 4) << 4;
        bytes[13] = flags;
        let pseudo = checksum::pseudo_header(src, dst, IPPROTO_TCP, TCP_HEADER_LEN);
        let check = !checksum::add(pseudo, bytes);
        bytes[16..18].copy_from_slice(&check.to_be_bytes());
        true
    });
    match built {
        Some(answer) => {
            cx.env.cells.created.add(1);
            ip_local_out(cx.env, cx.hands, answer);
        }
        None => cx.env.cells.mib(Mib::IpOutDiscards).add(1),
    }
}
