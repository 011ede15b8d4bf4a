//! `icmp_rcv`: ICMP messages for the router itself (RFC 1122 section 3.2.2, RFC 1812 section 4.3).
//!
//! Uses:  the IP header, flags.   Sets: for echo replies everything an own packet needs.
//! Next:  ip_local_out (replies).
//! Drops: icmp_csum, invalid_proto (a broadcast that is not answered), no_socket (replies), unhandled_proto,
//!        pkt_too_small, ip_inhdr and not_specified (errors that quote no packet).
//!
//! Echo requests, timestamp requests and, if wanted, extended echo requests are answered; address masks are not. Errors
//! find no socket here, so those about UDP and TCP count as errors in turn, as on a kernel whose sockets are gone.

use super::icmp::{count_out, echoed, may_send, new_packet_with, send_message};
use super::icmp_probe;
use super::ip_local_deliver::{Delivered, payload_sum};
use super::ip_options::{IpOptions, inet_current_timestamp};
use super::ip_output::ip_local_out;
use super::martian;
use super::options_echo::ReplyOptions;
use super::source;
use crate::core::counters::Mib;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::core::trace::{Made, Step};
use crate::fib::next_hop::Kind;
use crate::net::IfIndex;
use crate::skb::icmp::*;
use crate::skb::ipv4::{
    self, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, Ipv4Fields, Ipv4Header, MIN_HEADER_LEN,
};
use crate::skb::{Skb, SkbExt, SkbFields, checksum, eth, flags, pkt_type};

/// A timestamp message: header and three times.
const TIMESTAMP_LEN: usize = HEADER_LEN + 12;
/// What every answer is counted as when it is sent: the kernel looks at the type of the flow, which is 0.
const COUNTED_AS: u8 = ICMP_ECHOREPLY;
/// Highest code of destination unreachable.
const NR_ICMP_UNREACH: u8 = 15;

/// Takes one message.
pub fn icmp_rcv(env: &Env<'_>, hands: &mut Hands, skb: Skb) -> Delivered {
    let mib = |mib| env.cells.mib(mib).add(1);
    mib(Mib::IcmpInMsgs);
    let header_len = usize::from(skb.fields().ip_hdr_len);
    if payload_sum(&skb, skb.network_len().saturating_sub(header_len)) != 0xffff {
        mib(Mib::IcmpInCsumErrors);
        mib(Mib::IcmpInErrors);
        return Err((skb, DropReason::IcmpCsum));
    }
    let parsed = skb.network().get(header_len..).and_then(IcmpHeader::parse);
    let Some((icmp_type, code)) = parsed.map(|m| (m.icmp_type(), m.code())) else {
        mib(Mib::IcmpInErrors);
        return Err((skb, DropReason::NotSpecified));
    };
    count_in(env, icmp_type);
    let broadcast = skb.fields().flags & flags::NO_ICMP != 0;
    if !matches!(icmp_type, ICMP_EXT_ECHO | ICMP_EXT_ECHOREPLY)
        && broadcast
        && !takes_broadcast(env, icmp_type)
    {
        mib(Mib::IcmpInErrors);
        return Err((skb, DropReason::InvalidProto));
    }
    let refused = match icmp_type {
        ICMP_ECHO | ICMP_EXT_ECHO => return icmp_echo(env, hands, skb, icmp_type, code),
        // Nobody here asked.
        ICMP_ECHOREPLY | ICMP_EXT_ECHOREPLY => return Err((skb, DropReason::NoSocket)),
        ICMP_TIMESTAMP => icmp_timestamp(env, hands, &skb),
        ICMP_DEST_UNREACH | ICMP_SOURCE_QUENCH | ICMP_TIME_EXCEEDED | ICMP_PARAMETERPROB => {
            icmp_unreach(env, &skb, icmp_type, code)
        }
        ICMP_REDIRECT => icmp_redirect(env, &skb),
        0..=NR_ICMP_TYPES => None,
        _ => Some(DropReason::UnhandledProto),
    };
    match refused {
        Some(reason) => {
            mib(Mib::IcmpInErrors);
            Err((skb, reason))
        }
        None => {
            env.cells.delivered.add(1);
            env.trace(&skb, || Step::Delivered { node: Node::IpLocalDeliver });
            Ok(())
        }
    }
}

/// Messages to a group that are looked at (RFC 1122 sections 3.2.2.6 and 3.2.2.8).
fn takes_broadcast(env: &Env<'_>, icmp_type: u8) -> bool {
    match icmp_type {
        ICMP_ECHO | ICMP_TIMESTAMP => !env.snap.sysctl.icmp_echo_ignore_broadcasts,
        ICMP_ADDRESS | ICMP_ADDRESSREPLY => true,
        _ => false,
    }
}

fn count_in(env: &Env<'_>, icmp_type: u8) {
    env.cells.icmp_in(icmp_type).add(1);
    let mib = match icmp_type {
        ICMP_ECHOREPLY => Mib::IcmpInEchoReps,
        ICMP_DEST_UNREACH => Mib::IcmpInDestUnreachs,
        ICMP_SOURCE_QUENCH => Mib::IcmpInSrcQuenchs,
        ICMP_REDIRECT => Mib::IcmpInRedirects,
        ICMP_ECHO => Mib::IcmpInEchos,
        ICMP_TIME_EXCEEDED => Mib::IcmpInTimeExcds,
        ICMP_PARAMETERPROB => Mib::IcmpInParmProbs,
        ICMP_TIMESTAMP => Mib::IcmpInTimestamps,
        ICMP_TIMESTAMPREPLY => Mib::IcmpInTimestampReps,
        ICMP_ADDRESS => Mib::IcmpInAddrMasks,
        ICMP_ADDRESSREPLY => Mib::IcmpInAddrMaskReps,
        _ => return,
    };
    env.cells.mib(mib).add(1);
}

/// The header of an answer, all but its length, and its options (kernel `icmp_reply`).
struct Reply {
    fields: Ipv4Fields,
    options: ReplyOptions,
    /// The sender of what is answered.
    sender: u32,
}

impl Reply {
    /// The answer of type `icmp_type` to `skb`; `None` if there is none to be sent.
    fn to(env: &Env<'_>, hands: &mut Hands, skb: &Skb, icmp_type: u8) -> Option<Reply> {
        let fields = *skb.fields();
        let header = Ipv4Header::parse(skb.network())?;
        let plain = fields.ip_hdr_len <= MIN_HEADER_LEN as u8;
        let options = if plain { ReplyOptions::default() } else { echoed(env, skb, &IpOptions::of(skb))? };
        let dst = options.first_hop().unwrap_or(header.src());
        let dev = env.snap.device(IfIndex(fields.iif));
        let local = fields.flags & flags::NO_ICMP == 0;
        let src = source::fib_compute_spec_dst(env, dev, header.src(), header.dst(), local);
        if src == 0 || !source::has_way(env, dst) {
            return None;
        }
        let fields = Ipv4Fields {
            tos: header.tos(),
            total_len: 0,
            id: 0,
            frag_off: 0,
            ttl: env.snap.sysctl.ip_default_ttl,
            protocol: IPPROTO_ICMP,
            src,
            dst,
        };
        let sender = header.src();
        may_send(env, hands, icmp_type, 0, dst).then(|| Reply {
            fields: Ipv4Fields { id: hands.next_ip_id(), ..fields },
            options,
            sender,
        })
    }

    fn header_len(&self) -> usize {
        MIN_HEADER_LEN + self.options.len()
    }
}

/// Turns an echo request round in place: same bytes, same TOS, addresses swapped (RFC 1812 section 4.3.3.6).
fn icmp_echo(env: &Env<'_>, hands: &mut Hands, mut skb: Skb, icmp_type: u8, code: u8) -> Delivered {
    let ignored = env.snap.sysctl.icmp_echo_ignore_all;
    let first = match icmp_type {
        _ if ignored => None,
        ICMP_EXT_ECHO => icmp_probe::icmp_build_probe(env, &skb),
        _ => echo_word(&skb).map(|rest| [ICMP_ECHOREPLY, code, rest[0], rest[1], rest[2], rest[3]]),
    };
    let answer = first.and_then(|first| Some((first, Reply::to(env, hands, &skb, first[0])?)));
    let Some((first, mut reply)) = answer else {
        env.cells.delivered.add(1);
        env.trace(&skb, || Step::Delivered { node: Node::IpLocalDeliver });
        return Ok(());
    };
    let fields = *skb.fields();
    // Options only ever get shorter: the reply's header takes the place of the request's.
    let surplus = usize::from(fields.network_offset) + usize::from(fields.ip_hdr_len);
    let len = skb.len().saturating_sub(surplus);
    let header_len = reply.header_len();
    let moved = surplus.checked_sub(eth::HEADER_LEN + header_len).is_some_and(|by| skb.adj(by));
    if !moved {
        return Err((skb, DropReason::Nomem));
    }
    reply.fields.total_len = (header_len + len) as u16;
    *skb.fields_mut() = SkbFields {
        network_offset: eth::HEADER_LEN as u8,
        ip_hdr_len: header_len as u8,
        pkt_type: pkt_type::HOST,
        flags: flags::LOCAL_OUT | fields.flags & flags::TRACED,
        ..SkbFields::default()
    };
    let [kind, code, ..] = first;
    env.trace(&skb, || Step::Reply(Made::Icmp { kind, code }));
    let Some((header, message)) = skb.network_mut().split_at_mut_checked(header_len) else {
        return Err((skb, DropReason::Nomem));
    };
    let options = reply.options.build(env, reply.fields.src, reply.sender);
    ipv4::emit_with(header, &reply.fields, options);
    rewrite(message, first);
    if payload_sum(&skb, len) == 0 {
        // Nothing but zeros: the one sum that a correction gets wrong, for zero has two forms.
        if let Some(check) = skb.network_mut().get_mut(header_len + 2..header_len + 4) {
            check.fill(0xff);
        }
    }
    // The request was consumed and the reply made, though both are the same mbuf.
    env.cells.delivered.add(1);
    env.cells.created.add(1);
    count_out(env, COUNTED_AS);
    ip_local_out(env, hands, skb);
    Ok(())
}

/// Identifier and sequence number of a message.
fn echo_word(skb: &Skb) -> Option<[u8; 4]> {
    let message = skb.network().get(usize::from(skb.fields().ip_hdr_len)..)?;
    message.get(4..8)?.first_chunk().copied()
}

/// Gives a message another type, code and second word, and corrects its checksum.
fn rewrite(message: &mut [u8], [icmp_type, code, rest @ ..]: [u8; 6]) {
    let Some(message) = message.first_chunk_mut::<HEADER_LEN>() else { return };
    let mut check = u16::from_be_bytes([message[2], message[3]]);
    for (at, new) in [(0, [icmp_type, code]), (4, [rest[0], rest[1]]), (6, [rest[2], rest[3]])] {
        let old = u16::from_be_bytes([message[at], message[at + 1]]);
        check = checksum::update16(check, old, u16::from_be_bytes(new));
        message[at..at + 2].copy_from_slice(&new);
    }
    message[2..4].copy_from_slice(&check.to_be_bytes());
}

/// Answers a timestamp request: its own time back, and ours twice (RFC 792, RFC 1122 section 3.2.2.8).
fn icmp_timestamp(env: &Env<'_>, hands: &mut Hands, skb: &Skb) -> Option<DropReason> {
    let at = usize::from(skb.fields().network_offset) + usize::from(skb.fields().ip_hdr_len);
    let mut asked = [0u8; HEADER_LEN + 4];
    if !skb.copy_out(at, &mut asked) {
        return Some(DropReason::PktTooSmall);
    }
    let mut reply = Reply::to(env, hands, skb, ICMP_TIMESTAMPREPLY)?;
    reply.fields.total_len = (reply.header_len() + TIMESTAMP_LEN) as u16;
    let options = reply.options.build(env, reply.fields.src, reply.sender);
    let built = new_packet_with(hands, &reply.fields, options, |message| {
        let now = inet_current_timestamp(env).to_be_bytes();
        message[..12].copy_from_slice(&asked);
        message[..4].copy_from_slice(&[ICMP_TIMESTAMPREPLY, 0, 0, 0]);
        message[12..16].copy_from_slice(&now);
        message[16..20].copy_from_slice(&now);
        let check = !checksum::sum(message);
        message[2..4].copy_from_slice(&check.to_be_bytes());
        true
    });
    send_message(env, hands, built, COUNTED_AS);
    None
}

/// An error about a packet of ours: counted, and reported if it cannot be one.
fn icmp_unreach(env: &Env<'_>, skb: &Skb, icmp_type: u8, code: u8) -> Option<DropReason> {
    let at = usize::from(skb.fields().network_offset) + usize::from(skb.fields().ip_hdr_len) + HEADER_LEN;
    let mut quote = [0u8; MIN_HEADER_LEN];
    if !skb.copy_out(at, &mut quote) {
        return Some(DropReason::NotSpecified);
    }
    let quoted = Ipv4Header::parse(&quote)?;
    if quoted.header_len() < MIN_HEADER_LEN {
        return Some(DropReason::IpInhdr);
    }
    if (icmp_type == ICMP_DEST_UNREACH && code > NR_ICMP_UNREACH)
        || (icmp_type == ICMP_TIME_EXCEEDED && code == super::icmp::EXC_FRAGTIME)
    {
        return None;
    }
    if !env.snap.sysctl.icmp_ignore_bogus_error_responses
        && source::hop_towards(env, quoted.dst()).is_some_and(|hop| hop.kind == Kind::Broadcast)
    {
        martian::bogus_error(env, skb, (icmp_type, code), quoted.dst());
        return None;
    }
    icmp_socket_deliver(env, skb, at, &quoted);
    None
}

/// A redirect for us. A router that forwards goes by its routes alone (RFC 1812 section 5.2.7.2).
fn icmp_redirect(env: &Env<'_>, skb: &Skb) -> Option<DropReason> {
    let at = usize::from(skb.fields().network_offset) + usize::from(skb.fields().ip_hdr_len) + HEADER_LEN;
    let mut quote = [0u8; MIN_HEADER_LEN];
    if !skb.copy_out(at, &mut quote) {
        return Some(DropReason::PktTooSmall);
    }
    icmp_socket_deliver(env, skb, at, &Ipv4Header::parse(&quote)?);
    None
}

/// Looks for who sent the packet that is quoted at `at`: nobody here has sockets.
fn icmp_socket_deliver(env: &Env<'_>, skb: &Skb, at: usize, quoted: &Ipv4Header<'_>) {
    let whole = skb.len() >= at + quoted.header_len() + HEADER_LEN;
    if !whole || matches!(quoted.protocol(), IPPROTO_TCP | IPPROTO_UDP) {
        env.cells.mib(Mib::IcmpInErrors).add(1);
    }
}
