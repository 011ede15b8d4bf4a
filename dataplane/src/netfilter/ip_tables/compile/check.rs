//! Where matches and targets may stand.

use super::Problem;
use crate::netfilter::hooks::Hook;
use crate::netfilter::ip_tables::rule::*;
use crate::skb::ipv4::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP};

/// Matches and targets that look into a protocol's header need the rule to be about that protocol.
pub(super) fn check_protocol(rule: &Rule) -> Result<(), Problem> {
    let only = |protocols: &[u8]| rule.ip.proto.is_some_and(|p| !p.invert && protocols.contains(&p.value));
    let need = |what: &'static str, name: &'static str, protocols: &[u8]| match only(protocols) {
        true => Ok(()),
        false => Err(Problem::Protocol(what, name)),
    };
    for m in &rule.matches {
        match m {
            Match::Tcp(_) => need("tcp", "tcp", &[IPPROTO_TCP])?,
            Match::Udp(_) => need("udp", "udp", &[IPPROTO_UDP])?,
            Match::Icmp(_) => need("icmp", "icmp", &[IPPROTO_ICMP])?,
            Match::Tcpmss(_) => need("tcpmss", "tcp", &[IPPROTO_TCP])?,
            Match::Multiport(_) => {
                need(
                    "multiport",
                    "tcp, udp, udplite, sctp or dccp",
                    &[IPPROTO_TCP, IPPROTO_UDP, 136, 132, 33],
                )?;
            }
            Match::Ecn(ecn) if ecn.tcp_ece.is_some() || ecn.tcp_cwr.is_some() => {
                need("ecn", "tcp", &[IPPROTO_TCP])?;
            }
            _ => {}
        }
    }
    match &rule.target {
        Target::Reject(RejectWith::TcpReset) => need("REJECT --reject-with tcp-reset", "tcp", &[IPPROTO_TCP]),
        Target::Tcpmss(_) => need("TCPMSS", "tcp", &[IPPROTO_TCP]),
        Target::Ecn(ecn) if ecn.tcp_remove || ecn.tcp_ece.is_some() || ecn.tcp_cwr.is_some() => {
            need("ECN", "tcp", &[IPPROTO_TCP])
        }
        _ => Ok(()),
    }
}

/// Targets and matches that the kernel takes only in some tables and hooks. `hooks` are those that reach the chain.
pub(super) fn check_place(table: TableName, hooks: u32, rule: &Rule) -> Result<(), Problem> {
    let bit = |hook: Hook| 1u32 << hook as u32;
    let only = |allowed: &[Hook]| hooks & !allowed.iter().fold(0, |all, h| all | bit(*h)) == 0;
    let demand = |ok: bool, what, place| if ok { Ok(()) } else { Err(Problem::Place { what, place }) };
    let leaving = only(&[Hook::Forward, Hook::LocalOut, Hook::PostRouting]);
    let mangle = table == TableName::Mangle;
    match rule.target {
        Target::Reject(_) => demand(table == TableName::Filter, "REJECT", "the filter table")?,
        Target::Ttl(_) => demand(mangle, "TTL", "the mangle table")?,
        Target::Ecn(_) => demand(mangle, "ECN", "the mangle table")?,
        Target::Dscp(_) => demand(mangle, "DSCP", "the mangle table")?,
        Target::Tos(_) => demand(mangle, "TOS", "the mangle table")?,
        Target::Trace => demand(table == TableName::Raw, "TRACE", "the raw table")?,
        Target::Classify(_) => demand(leaving, "CLASSIFY", "FORWARD, OUTPUT and POSTROUTING")?,
        Target::Tcpmss(TcpmssTarget::ClampToPmtu) => {
            demand(leaving, "TCPMSS --clamp-mss-to-pmtu", "FORWARD, OUTPUT and POSTROUTING")?;
        }
        _ => {}
    }
    for m in &rule.matches {
        match m {
            Match::Rpfilter(_) => demand(
                table != TableName::Filter && only(&[Hook::PreRouting]),
                "rpfilter",
                "PREROUTING of raw and mangle",
            )?,
            Match::Mac(_) => demand(
                only(&[Hook::PreRouting, Hook::LocalIn, Hook::Forward]),
                "mac",
                "PREROUTING, INPUT and FORWARD",
            )?,
            _ => {}
        }
    }
    Ok(())
}
