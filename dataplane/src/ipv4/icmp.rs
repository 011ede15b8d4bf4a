//! ICMP (RFC 792, RFC 1812 section 4.3): errors about packets we cannot handle, redirects, answers to echo.
//!
//! Uses:  the IP header, pkt_type, flags.   Sets: the fields of the packets it makes.
//! Next:  ip_output.
//! Drops: nothing of the packet it writes about; nomem means no message.

use super::icmp_limit::Verdict;
use super::ip_output::ip_local_out;
use crate::core::counters::Mib;
use crate::core::env::{Env, Hands};
use crate::fib::next_hop::Kind;
use crate::net::IfIndex;
use crate::skb::icmp::*;
use crate::skb::ipv4::{self, IP_OFFSET, IPPROTO_ICMP, Ipv4Fields, Ipv4Header, MIN_HEADER_LEN};
use crate::skb::{Skb, SkbExt, SkbFields, checksum, eth, flags, pkt_type};

/// Time exceeded in transit.
pub const EXC_TTL: u8 = 0;
/// Fragment reassembly time exceeded.
pub const EXC_FRAGTIME: u8 = 1;
/// Redirect for a host.
pub const REDIR_HOST: u8 = 1;

/// Largest error message, IP header included (RFC 1812 section 4.3.2.3).
const MAX_ERROR_LEN: usize = 576;
/// Precedence of control messages (RFC 1812 section 5.3.2).
const IPTOS_PREC_INTERNETCONTROL: u8 = 0xc0;

/// Sends an error about `about`, unless the rules forbid one or a limit is reached. `info` is the second word: the
/// next-hop MTU, the gateway, or the pointer in its high byte.
#[cold]
pub fn icmp_send(env: &Env<'_>, hands: &mut Hands, about: &Skb, icmp_type: u8, code: u8, info: u32) {
    let Some(header) = Ipv4Header::parse(about.network()) else { return };
    if !may_report(about, &header) {
        return;
    }
    let (src, dst, tos) = (header.src(), header.dst(), header.tos());
    let now = env.now.as_millis();
    match env.shared.icmp_limit.allow(icmp_type, code, src, now, hands.random()) {
        Verdict::Allowed => {}
        Verdict::LimitedGlobal => return env.cells.mib(Mib::IcmpOutRateLimitGlobal).add(1),
        Verdict::LimitedHost => return env.cells.mib(Mib::IcmpOutRateLimitHost).add(1),
    }
    let Some((saddr, mtu)) = way_back(env, about, src, dst) else {
        return env.cells.mib(Mib::IpOutNoRoutes).add(1);
    };
    let room = MAX_ERROR_LEN.min(usize::from(mtu)).saturating_sub(MIN_HEADER_LEN + HEADER_LEN);
    let quoted = about.network_len().min(room);
    let fields = Ipv4Fields {
        tos: (tos & 0x1e) | IPTOS_PREC_INTERNETCONTROL,
        total_len: (MIN_HEADER_LEN + HEADER_LEN + quoted) as u16,
        id: hands.next_ip_id(),
        frag_off: 0,
        ttl: env.snap.sysctl.ip_default_ttl,
        protocol: IPPROTO_ICMP,
        src: saddr,
        dst: src,
    };
    let from = usize::from(about.fields().network_offset);
    let built = new_packet(hands, &fields, |message| {
        let (head, quote) = message.split_at_mut(HEADER_LEN);
        head[0] = icmp_type;
        head[1] = code;
        head[4..8].copy_from_slice(&info.to_be_bytes());
        if !about.copy_out(from, quote) {
            return false;
        }
        let check = !checksum::sum(message);
        message[2..4].copy_from_slice(&check.to_be_bytes());
        true
    });
    let Some(skb) = built else { return env.cells.mib(Mib::IcmpOutErrors).add(1) };
    env.cells.created.add(1);
    count_out(env, icmp_type);
    ip_local_out(env, hands, skb);
}

/// When silence is the rule (RFC 1812 section 4.3.2.7): link-layer or IP broadcast and multicast, fragments but the
/// first, sources that are no single host, and other errors.
fn may_report(about: &Skb, header: &Ipv4Header<'_>) -> bool {
    let fields = about.fields();
    let (src, dst) = (header.src(), header.dst());
    if fields.pkt_type != pkt_type::HOST || fields.flags & flags::NO_ICMP != 0 {
        return false;
    }
    if ipv4::is_multicast(dst) || dst == ipv4::BROADCAST || header.frag_off() & IP_OFFSET != 0 {
        return false;
    }
    if src == 0 || ipv4::is_loopback(src) || ipv4::is_multicast(src) || src == ipv4::BROADCAST {
        return false;
    }
    if header.protocol() == IPPROTO_ICMP {
        let mut icmp_type = [0u8; 1];
        let at = usize::from(fields.network_offset) + header.header_len();
        // A message too short for a type is not answered either.
        return about.copy_out(at, &mut icmp_type) && icmp_type[0] <= 18 && !is_error(icmp_type[0]);
    }
    true
}

/// Where an error comes from, and the MTU of its way: the address the packet was sent to if it is ours, else the one
/// that faces the sender. `None` if there is no way back.
fn way_back(env: &Env<'_>, about: &Skb, sender: u32, dst: u32) -> Option<(u32, u16)> {
    let back = env.shared.fib.lookup(sender);
    let mut hop = env.shared.next_hops.get(back);
    if hop.kind == Kind::Multipath {
        hop = env.shared.next_hops.members(back).next()?;
    }
    if !matches!(hop.kind, Kind::Gateway | Kind::Link) {
        return None;
    }
    let faces_sender = || match hop.prefsrc {
        0 => {
            env.snap.device(hop.oif).select_addr(if hop.kind == Kind::Gateway { hop.gateway } else { sender })
        }
        prefsrc => Some(prefsrc),
    };
    let addr = if env.snap.local.contains(dst) {
        Some(dst)
    } else if env.snap.sysctl.icmp_errors_use_inbound_ifaddr {
        env.snap.device(IfIndex(about.fields().iif)).select_addr(0).or_else(faces_sender)
    } else {
        faces_sender()
    };
    addr.map(|addr| (addr, hop.mtu))
}

/// A packet of our own: Ethernet header room, IP header, and `total_len` worth of payload that `fill` writes.
pub fn new_packet(hands: &Hands, fields: &Ipv4Fields, fill: impl FnOnce(&mut [u8]) -> bool) -> Option<Skb> {
    let mut skb = hands.pool.alloc()?;
    let bytes = skb.append(eth::HEADER_LEN + usize::from(fields.total_len))?;
    bytes.fill(0);
    let (header, payload) = bytes.get_mut(eth::HEADER_LEN..)?.split_first_chunk_mut::<MIN_HEADER_LEN>()?;
    ipv4::emit(header, fields);
    if !fill(payload) {
        return None;
    }
    *skb.fields_mut() = SkbFields {
        network_offset: eth::HEADER_LEN as u8,
        ip_hdr_len: MIN_HEADER_LEN as u8,
        pkt_type: pkt_type::HOST,
        flags: flags::LOCAL_OUT,
        ..SkbFields::default()
    };
    Some(skb)
}

/// Counts an ICMP message on its way out.
pub fn count_out(env: &Env<'_>, icmp_type: u8) {
    env.cells.mib(Mib::IcmpOutMsgs).add(1);
    env.cells.icmp_out(icmp_type).add(1);
    let mib = match icmp_type {
        ICMP_ECHOREPLY => Mib::IcmpOutEchoReps,
        ICMP_DEST_UNREACH => Mib::IcmpOutDestUnreachs,
        ICMP_REDIRECT => Mib::IcmpOutRedirects,
        ICMP_TIME_EXCEEDED => Mib::IcmpOutTimeExcds,
        ICMP_PARAMETERPROB => Mib::IcmpOutParmProbs,
        _ => return,
    };
    env.cells.mib(mib).add(1);
}

/// Tells a sender on the link of a better first hop: the packet leaves by the device it came in by, and the sender
/// could reach the next hop itself (RFC 1812 section 5.2.7.2, kernel `ip_rt_send_redirect`).
#[cold]
pub fn ip_rt_send_redirect(env: &Env<'_>, hands: &mut Hands, skb: &Skb) {
    let src = Ipv4Header::parse(skb.network()).map_or(0, |h| h.src());
    let back = env.shared.next_hops.get(env.shared.fib.lookup(src));
    if back.kind != Kind::Link || back.oif.0 != skb.fields().iif {
        return;
    }
    if env.shared.redirect_limit.allow(src, env.now.as_millis()) {
        // The better first hop is the next hop itself: for a destination on the link, the destination.
        icmp_send(env, hands, skb, ICMP_REDIRECT, REDIR_HOST, skb.fields().gateway);
    }
}

/// The IP header that an ICMP error quotes, from the ICMP message on.
pub fn quoted_header(message: &[u8]) -> Option<Ipv4Header<'_>> {
    let (head, quote) = message.split_first_chunk::<HEADER_LEN>()?;
    if is_error(head[0]) { Ipv4Header::parse(quote) } else { None }
}
