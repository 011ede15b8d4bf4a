//! `ip_error`: destinations we have no way to, or are told to refuse.
//!
//! Uses:  the kind of the route.   Sets: nothing.
//! Next:  icmp_send.
//! Drops: ip_innoroutes, not_specified (blackhole, unreachable, prohibit).

use super::icmp::icmp_send;
use crate::core::counters::Mib;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::fib::next_hop::Kind;
use crate::skb::icmp::{ICMP_DEST_UNREACH, unreach};
use crate::skb::ipv4::Ipv4Header;
use crate::skb::{Skb, SkbExt};

/// Answers as the route says, within this stage's own limit of 5 at once and one a second for each source, and frees
/// the packet. Blackholes are silent.
pub fn ip_error(env: &Env<'_>, hands: &mut Hands, skb: Skb, kind: Kind) {
    let (code, reason) = match kind {
        Kind::Blackhole => (None, DropReason::NotSpecified),
        Kind::Unreachable => (Some(unreach::HOST), DropReason::NotSpecified),
        Kind::Prohibit => (Some(unreach::PKT_FILTERED), DropReason::NotSpecified),
        _ => {
            env.cells.mib(Mib::IpExtInNoRoutes).add(1);
            (Some(unreach::NET), DropReason::IpInnoroutes)
        }
    };
    let src = Ipv4Header::parse(skb.network()).map_or(0, |h| h.src());
    if let Some(code) = code
        && env.shared.icmp_limit.allow_ip_error(src, env.now.as_millis())
    {
        icmp_send(env, hands, &skb, ICMP_DEST_UNREACH, code, 0);
    }
    env.cells.node(Node::IpError).packets.add(1);
    env.cells.node(Node::IpError).batches.add(1);
    env.kfree_skb(skb, Node::IpError, reason);
}
