//! ICMP (RFC 792, RFC 1812 section 4.3): errors about packets we cannot handle, redirects, answers to echo.
//!
//! Uses:  the IP header, pkt_type, flags.   Sets: the fields of the packets it makes.
//! Next:  ip_output.
//! Drops: nothing of the packet it writes about; nomem means no message.

use super::icmp_limit::Verdict;
use super::ip_options::{self, IpOptions};
use super::ip_output::ip_local_out;
use super::options_echo::{ReplyOptions, ip_options_echo};
use super::source;
use crate::core::counters::Mib;
use crate::core::env::{Env, Hands};
use crate::core::trace::{Made, Step};
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
/// What an error comes from if we have no address at all (RFC 7600 section 4.8).
const INADDR_DUMMY: u32 = 0xc000_0008;
/// Precedence of control messages (RFC 1812 section 5.3.2).
const IPTOS_PREC_INTERNETCONTROL: u8 = 0xc0;

/// Sends an error about `about`, unless the rules forbid one or a limit is reached. `info` is the second word: the
/// next-hop MTU, the gateway, or the pointer in its high byte.
#[cold]
pub fn icmp_send(env: &Env<'_>, hands: &mut Hands, about: &Skb, icmp_type: u8, code: u8, info: u32) {
    let plain = about.fields().ip_hdr_len <= MIN_HEADER_LEN as u8;
    let options = if plain { IpOptions::default() } else { IpOptions::of(about) };
    icmp_send_about(env, hands, about, (icmp_type, code, info), &options);
}

/// The same about a packet whose options were seen so far.
#[cold]
pub fn icmp_send_about(
    env: &Env<'_>,
    hands: &mut Hands,
    about: &Skb,
    (icmp_type, code, info): (u8, u8, u32),
    options: &IpOptions,
) {
    let Some(header) = Ipv4Header::parse(about.network()) else { return };
    if !may_report(about, &header) {
        return;
    }
    let (src, dst, tos) = (header.src(), header.dst(), header.tos());
    let Some(mut options) = echoed(env, about, options) else { return };
    let to = options.first_hop().unwrap_or(src);
    let Some((saddr, mtu)) = way_back(env, about, src, to, dst) else { return };
    if !may_send(env, hands, icmp_type, code, to) {
        return;
    }
    let room = MAX_ERROR_LEN.min(usize::from(mtu));
    let room = room.saturating_sub(MIN_HEADER_LEN + options.len() + HEADER_LEN);
    if room <= MIN_HEADER_LEN {
        // Not even the header of what it is about: nobody could make anything of it.
        return;
    }
    let quoted = about.network_len().min(room);
    let fields = Ipv4Fields {
        tos: (tos & 0x1e) | IPTOS_PREC_INTERNETCONTROL,
        total_len: (MIN_HEADER_LEN + options.len() + HEADER_LEN + quoted) as u16,
        id: hands.next_ip_id(),
        frag_off: 0,
        ttl: env.snap.sysctl.ip_default_ttl,
        protocol: IPPROTO_ICMP,
        src: saddr,
        dst: to,
    };
    let from = usize::from(about.fields().network_offset);
    let built = new_packet_with(hands, &fields, options.build(env, saddr, src), |message| {
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
    if built.is_some() {
        env.trace(about, || Step::Made { made: Made::Icmp { kind: icmp_type, code }, to });
    }
    send_message(env, hands, built, icmp_type);
}

/// Tells the sender of a packet that its next hop did not answer. The packet may have waited with others; its options
/// are judged anew, which writes another entry into those with room, as the kernel does.
#[cold]
pub fn ipv4_send_dest_unreach(env: &Env<'_>, hands: &mut Hands, skb: &mut Skb) {
    let mut options = IpOptions::default();
    if skb.fields().ip_hdr_len > MIN_HEADER_LEN as u8 {
        let dev = env.snap.device(IfIndex(skb.fields().iif));
        if ip_options::recompile(env, skb, dev, false, &mut options).is_err() {
            return;
        }
    }
    icmp_send_about(env, hands, skb, (ICMP_DEST_UNREACH, unreach::HOST, 0), &options);
}

/// The options of an answer to a packet; `None` if they cannot be answered.
pub(super) fn echoed(env: &Env<'_>, about: &Skb, options: &IpOptions) -> Option<ReplyOptions> {
    let header_len = usize::from(about.fields().ip_hdr_len);
    if header_len <= MIN_HEADER_LEN {
        return Some(ReplyOptions::default());
    }
    ip_options_echo(env, about.network().get(..header_len)?, options)
}

/// Asks the limiters, and counts what they withhold. What stays here is not limited.
pub(super) fn may_send(env: &Env<'_>, hands: &mut Hands, icmp_type: u8, code: u8, to: u32) -> bool {
    if env.snap.local.contains(to) {
        return true;
    }
    let verdict = env.shared.icmp_limit.allow(icmp_type, code, to, env.now.as_millis(), hands.random());
    match verdict {
        Verdict::Allowed => return true,
        Verdict::LimitedGlobal => env.cells.mib(Mib::IcmpOutRateLimitGlobal).add(1),
        Verdict::LimitedHost => env.cells.mib(Mib::IcmpOutRateLimitHost).add(1),
    }
    false
}

/// Sends a message that could be built, and counts one that could not.
pub(super) fn send_message(env: &Env<'_>, hands: &mut Hands, built: Option<Skb>, icmp_type: u8) {
    let Some(skb) = built else {
        env.cells.mib(Mib::IpOutDiscards).add(1);
        return env.cells.mib(Mib::IcmpOutErrors).add(1);
    };
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
        return about.copy_out(at, &mut icmp_type) && !is_never_answered(icmp_type[0]);
    }
    true
}

/// Where an error to `to` comes from, and the MTU of its way: the address the packet was sent to if it is ours, else the
/// one that faces where the error goes. `None` if there is no way back.
fn way_back(env: &Env<'_>, about: &Skb, sender: u32, to: u32, dst: u32) -> Option<(u32, u16)> {
    let hop = source::hop_towards(env, to)?;
    if !source::is_way(hop.kind) {
        return None;
    }
    // A packet whose source route goes on was sent to us, but is not for us.
    let for_us = about.fields().flags & flags::SRR_HIT == 0 && env.snap.local.contains(dst);
    let addr = if for_us {
        dst
    } else if env.snap.sysctl.icmp_errors_use_inbound_ifaddr {
        source::inet_select_addr(env, env.snap.device(IfIndex(about.fields().iif)), sender)
    } else {
        source::preferred(env, &hop)
    };
    let mtu = if hop.kind == Kind::Local { u16::MAX } else { hop.mtu };
    Some((if addr == 0 { INADDR_DUMMY } else { addr }, mtu))
}

/// A packet of our own: Ethernet header room, IP header, and `total_len` worth of payload that `fill` writes.
pub fn new_packet(hands: &Hands, fields: &Ipv4Fields, fill: impl FnOnce(&mut [u8]) -> bool) -> Option<Skb> {
    new_packet_with(hands, fields, &[], fill)
}

/// The same with `options`, whole words of them, which `total_len` includes.
pub fn new_packet_with(
    hands: &Hands,
    fields: &Ipv4Fields,
    options: &[u8],
    fill: impl FnOnce(&mut [u8]) -> bool,
) -> Option<Skb> {
    let mut skb = hands.pool.alloc()?;
    let bytes = skb.append(eth::HEADER_LEN + usize::from(fields.total_len))?;
    bytes.fill(0);
    let header_len = MIN_HEADER_LEN + options.len();
    let (header, payload) = bytes.get_mut(eth::HEADER_LEN..)?.split_at_mut_checked(header_len)?;
    ipv4::emit_with(header, fields, options);
    if !fill(payload) {
        return None;
    }
    *skb.fields_mut() = SkbFields {
        network_offset: eth::HEADER_LEN as u8,
        ip_hdr_len: header_len as u8,
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
        ICMP_TIMESTAMPREPLY => Mib::IcmpOutTimestampReps,
        _ => return,
    };
    env.cells.mib(mib).add(1);
}

/// Tells a sender on the link, once its source is validated, of a better first hop: the packet leaves by the device it
/// came in by, and the sender could reach the next hop itself (RFC 1812 section 5.2.7.2, kernel `ip_rt_send_redirect`).
#[cold]
pub fn ip_rt_send_redirect(env: &Env<'_>, hands: &mut Hands, skb: &Skb) {
    let src = Ipv4Header::parse(skb.network()).map_or(0, |h| h.src());
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
