//! The target of a rule as `iptables-save` writes it.

use std::fmt::Write as _;

use skiff_dataplane::netfilter::ip_tables::rule::*;

use crate::netfilter::parse::REJECTS;
use crate::netfilter::words::quote_saved;

/// The name of a target; empty if there is none.
pub(super) fn name(target: &Target) -> &str {
    match target {
        Target::None => "",
        Target::Accept => "ACCEPT",
        Target::Drop => "DROP",
        Target::Return => "RETURN",
        Target::Jump { chain, .. } => chain,
        Target::Reject(_) => "REJECT",
        Target::Log(_) => "LOG",
        Target::Nflog(_) => "NFLOG",
        Target::Nfqueue(_) => "NFQUEUE",
        Target::Mark(_) => "MARK",
        Target::Classify(_) => "CLASSIFY",
        Target::Dscp(_) => "DSCP",
        Target::Tos(_) => "TOS",
        Target::Ttl(_) => "TTL",
        Target::Tcpmss(_) => "TCPMSS",
        Target::Ecn(_) => "ECN",
        Target::Trace => "TRACE",
    }
}

/// Writes `-j NAME` and its options.
pub(super) fn target(text: &mut String, target: &Target) {
    let _ = match target {
        Target::None => Ok(()),
        Target::Jump { chain, goto: true } => write!(text, " -g {chain}"),
        target => write!(text, " -j {}", name(target)),
    };
    let _ = match target {
        Target::Reject(with) => write!(text, " --reject-with {}", reject_name(*with)),
        Target::Log(log) => self::log(text, log),
        Target::Nflog(nflog) => self::nflog(text, nflog, " --", quote_saved),
        Target::Nfqueue(queue) => nfqueue(text, queue),
        Target::Mark(mark) => write!(text, " --set-xmark {:#x}/{:#x}", mark.value, mark.mask),
        Target::Classify(class) => write!(text, " --set-class {:04x}:{:04x}", class >> 16, class & 0xffff),
        Target::Dscp(dscp) => write!(text, " --set-dscp 0x{dscp:02x}"),
        Target::Tos(tos) => write!(text, " --set-tos 0x{:02x}/0x{:02x}", tos.value, tos.mask),
        Target::Ttl(TtlTarget::Set(ttl)) => write!(text, " --ttl-set {ttl}"),
        Target::Ttl(TtlTarget::Inc(by)) => write!(text, " --ttl-inc {by}"),
        Target::Ttl(TtlTarget::Dec(by)) => write!(text, " --ttl-dec {by}"),
        Target::Tcpmss(TcpmssTarget::Set(mss)) => write!(text, " --set-mss {mss}"),
        Target::Tcpmss(TcpmssTarget::ClampToPmtu) => write!(text, " --clamp-mss-to-pmtu"),
        Target::Ecn(ecn) => self::ecn(text, ecn),
        _ => Ok(()),
    };
}

/// The answer as `--reject-with` names it.
pub(super) fn reject_name(with: RejectWith) -> &'static str {
    REJECTS.iter().find(|(_, _, known)| *known == with).map_or("", |(name, ..)| name)
}

fn log(text: &mut String, log: &LogTarget) -> std::fmt::Result {
    if !log.prefix.is_empty() {
        write!(text, " --log-prefix {}", quote_saved(&log.prefix))?;
    }
    if log.level != 4 {
        write!(text, " --log-level {}", log.level)?;
    }
    for (bit, flag) in [
        (1, " --log-tcp-sequence"),
        (2, " --log-tcp-options"),
        (4, " --log-ip-options"),
        (8, " --log-uid"),
        (32, " --log-macdecode"),
    ] {
        if log.flags & bit != 0 {
            text.push_str(flag);
        }
    }
    Ok(())
}

/// The options of NFLOG, each after `lead`.
pub(super) fn nflog(
    text: &mut String,
    nflog: &NflogTarget,
    lead: &str,
    quote: impl Fn(&str) -> String,
) -> std::fmt::Result {
    if !nflog.prefix.is_empty() {
        write!(text, "{lead}nflog-prefix {}", quote(&nflog.prefix))?;
    }
    if nflog.group != 0 {
        write!(text, "{lead}nflog-group {}", nflog.group)?;
    }
    if let Some(size) = nflog.size {
        write!(text, "{lead}nflog-size {size}")?;
    }
    if nflog.threshold != 0 {
        write!(text, "{lead}nflog-threshold {}", nflog.threshold)?;
    }
    Ok(())
}

fn nfqueue(text: &mut String, queue: &NfqueueTarget) -> std::fmt::Result {
    match queue.total {
        0 | 1 => write!(text, " --queue-num {}", queue.queue)?,
        total => write!(text, " --queue-balance {}:{}", queue.queue, last_queue(queue.queue, total))?,
    }
    for (on, flag) in [(queue.bypass, " --queue-bypass"), (queue.cpu_fanout, " --queue-cpu-fanout")] {
        if on {
            text.push_str(flag);
        }
    }
    Ok(())
}

/// The last of `total` queues.
pub(super) fn last_queue(first: u16, total: u16) -> u32 {
    u32::from(first) + u32::from(total) - 1
}

fn ecn(text: &mut String, ecn: &EcnTarget) -> std::fmt::Result {
    if ecn.tcp_remove {
        text.push_str(" --ecn-tcp-remove");
    }
    if let Some(ece) = ecn.tcp_ece {
        write!(text, " --ecn-tcp-ece {}", u8::from(ece))?;
    }
    if let Some(cwr) = ecn.tcp_cwr {
        write!(text, " --ecn-tcp-cwr {}", u8::from(cwr))?;
    }
    if let Some(ect) = ecn.ip_ect {
        write!(text, " --ecn-ip-ect {ect}")?;
    }
    Ok(())
}
