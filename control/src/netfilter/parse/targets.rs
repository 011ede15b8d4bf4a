//! The target extensions: their options, and the values these make.

use skiff_dataplane::netfilter::ip_tables::rule::*;

use super::options::{Given, Spec, flag, value};
use super::values::{bounded, dscp_class, masked32, number, tos};
use crate::config::Fault;
use crate::netfilter::error::quote;

/// A target extension.
pub(super) struct TargetExtension {
    /// `-j NAME`
    pub name: &'static str,
    /// Its options.
    pub options: &'static [Spec],
    /// Makes its value of the options.
    pub build: fn(&Given) -> Result<Target, Fault>,
}

/// The extension of that name.
pub(super) fn find(name: &str) -> Option<&'static TargetExtension> {
    TARGETS.iter().find(|extension| extension.name == name)
}

/// Every name, for suggestions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TARGETS.iter().map(|extension| extension.name)
}

const TARGETS: &[TargetExtension] = &[
    TargetExtension { name: "ACCEPT", options: &[], build: |_| Ok(Target::Accept) },
    TargetExtension { name: "DROP", options: &[], build: |_| Ok(Target::Drop) },
    TargetExtension { name: "RETURN", options: &[], build: |_| Ok(Target::Return) },
    TargetExtension { name: "TRACE", options: &[], build: |_| Ok(Target::Trace) },
    TargetExtension { name: "REJECT", options: &[value(&["reject-with"])], build: reject },
    TargetExtension { name: "LOG", options: LOG, build: log },
    TargetExtension { name: "NFLOG", options: NFLOG, build: nflog },
    TargetExtension { name: "NFQUEUE", options: NFQUEUE, build: nfqueue },
    TargetExtension { name: "MARK", options: MARK, build: mark },
    TargetExtension {
        name: "CLASSIFY",
        options: &[value(&["set-class"])],
        build: |given| class(given.require("set-class")?.arg()).map(Target::Classify),
    },
    TargetExtension {
        name: "DSCP",
        options: &[value(&["set-dscp"]), value(&["set-dscp-class"])],
        build: |given| {
            let option = given.exactly_one_of(&["set-dscp", "set-dscp-class"])?;
            Ok(Target::Dscp(match option.name {
                "set-dscp" => bounded("set-dscp", option.arg(), 0, 63)?,
                _ => dscp_class(option.arg())?,
            }))
        },
    },
    TargetExtension { name: "TOS", options: TOS, build: set_tos },
    TargetExtension {
        name: "TTL",
        options: &[value(&["ttl-set"]), value(&["ttl-inc"]), value(&["ttl-dec"])],
        build: |given| {
            let option = given.exactly_one_of(&["ttl-set", "ttl-inc", "ttl-dec"])?;
            let least = u64::from(option.name != "ttl-set");
            let value = bounded(option.name, option.arg(), least, 255)?;
            Ok(Target::Ttl(match option.name {
                "ttl-set" => TtlTarget::Set(value),
                "ttl-inc" => TtlTarget::Inc(value),
                _ => TtlTarget::Dec(value),
            }))
        },
    },
    TargetExtension {
        name: "TCPMSS",
        options: &[value(&["set-mss"]), flag(&["clamp-mss-to-pmtu"])],
        build: |given| {
            let option = given.exactly_one_of(&["set-mss", "clamp-mss-to-pmtu"])?;
            Ok(Target::Tcpmss(match option.name {
                // The largest IP packet, less the smallest header.
                "set-mss" => TcpmssTarget::Set(bounded("set-mss", option.arg(), 0, 65_515)?),
                _ => TcpmssTarget::ClampToPmtu,
            }))
        },
    },
    TargetExtension { name: "ECN", options: ECN, build: ecn },
];

const LOG: &[Spec] = &[
    value(&["log-level"]),
    value(&["log-prefix"]),
    flag(&["log-tcp-sequence"]),
    flag(&["log-tcp-options"]),
    flag(&["log-ip-options"]),
    flag(&["log-uid"]),
    flag(&["log-macdecode"]),
];
const NFLOG: &[Spec] = &[
    value(&["nflog-group"]),
    value(&["nflog-prefix"]),
    value(&["nflog-size"]),
    value(&["nflog-threshold"]),
    value(&["nflog-range"]),
];
const NFQUEUE: &[Spec] =
    &[value(&["queue-num"]), value(&["queue-balance"]), flag(&["queue-bypass"]), flag(&["queue-cpu-fanout"])];
const MARK: &[Spec] = &[
    value(&["set-xmark"]),
    value(&["set-mark"]),
    value(&["and-mark"]),
    value(&["or-mark"]),
    value(&["xor-mark"]),
];
const TOS: &[Spec] = &[value(&["set-tos"]), value(&["and-tos"]), value(&["or-tos"]), value(&["xor-tos"])];
const ECN: &[Spec] =
    &[flag(&["ecn-tcp-remove"]), value(&["ecn-tcp-cwr"]), value(&["ecn-tcp-ece"]), value(&["ecn-ip-ect"])];

/// What `--reject-with` takes: the name, its short form, and the answer.
pub(in crate::netfilter) const REJECTS: [(&str, &str, RejectWith); 8] = [
    ("icmp-net-unreachable", "net-unreach", RejectWith::IcmpNetUnreachable),
    ("icmp-host-unreachable", "host-unreach", RejectWith::IcmpHostUnreachable),
    ("icmp-proto-unreachable", "proto-unreach", RejectWith::IcmpProtoUnreachable),
    ("icmp-port-unreachable", "port-unreach", RejectWith::IcmpPortUnreachable),
    ("icmp-net-prohibited", "net-prohib", RejectWith::IcmpNetProhibited),
    ("icmp-host-prohibited", "host-prohib", RejectWith::IcmpHostProhibited),
    ("tcp-reset", "tcp-rst", RejectWith::TcpReset),
    ("icmp-admin-prohibited", "admin-prohib", RejectWith::IcmpAdminProhibited),
];

/// A name may be cut short; the first that fits counts.
fn reject(given: &Given) -> Result<Target, Fault> {
    let Some(option) = given.get("reject-with") else {
        return Ok(Target::Reject(RejectWith::IcmpPortUnreachable));
    };
    let lower = option.arg().to_ascii_lowercase();
    let fits = |(name, alias, _): &&(&str, &str, RejectWith)| {
        !lower.is_empty() && (name.starts_with(&lower) || alias.starts_with(&lower))
    };
    REJECTS.iter().find(fits).map(|&(_, _, with)| Target::Reject(with)).ok_or_else(|| {
        Fault::from(format!("{} is no answer of REJECT", quote(option.arg())))
            .nearest(&lower, REJECTS.iter().map(|(name, ..)| *name))
    })
}

/// Log levels by number.
pub(in crate::netfilter) const LOG_LEVELS: [&str; 8] =
    ["emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"];

fn log(given: &Given) -> Result<Target, Fault> {
    let level = match given.get("log-level") {
        None => 4,
        Some(option) => {
            let by_name = || match option.arg() {
                "panic" => Some(0),
                name => {
                    LOG_LEVELS.iter().position(|level| *level == name).and_then(|at| u8::try_from(at).ok())
                }
            };
            let by_number = number(option.arg(), 7).and_then(|n| u8::try_from(n).ok());
            by_number.or_else(by_name).ok_or_else(|| {
                Fault::from(format!("{} is no log level", quote(option.arg())))
                    .nearest(option.arg(), LOG_LEVELS)
            })?
        }
    };
    let bits = [
        ("log-tcp-sequence", 1),
        ("log-tcp-options", 2),
        ("log-ip-options", 4),
        ("log-uid", 8),
        ("log-macdecode", 32),
    ];
    let flags = bits.iter().filter(|(name, _)| given.has(name)).map(|(_, bit)| bit).sum();
    let prefix =
        given.get("log-prefix").map_or(Ok(String::new()), |option| prefix(option.name, option.arg(), 29))?;
    Ok(Target::Log(LogTarget { level, prefix, flags }))
}

/// A prefix; like iptables, this cuts what the kernel has no room for.
fn prefix(option: &str, text: &str, most: usize) -> Result<String, Fault> {
    if text.is_empty() || text.contains(['\n', '\0']) {
        return Err(format!("--{option} wants one line that is not empty").into());
    }
    Ok(super::cut(text, most).to_owned())
}

fn nflog(given: &Given) -> Result<Target, Fault> {
    if given.has("nflog-range") {
        return Err(Fault::from("--nflog-range never had an effect").help("write --nflog-size"));
    }
    let number16 = |name| given.get(name).map_or(Ok(0), |option| bounded(name, option.arg(), 0, 65_535));
    let size = match given.get("nflog-size") {
        Some(option) => Some(bounded("nflog-size", option.arg(), 0, u64::from(u32::MAX))?),
        None => None,
    };
    Ok(Target::Nflog(NflogTarget {
        group: number16("nflog-group")?,
        prefix: given.get("nflog-prefix").map_or(Ok(String::new()), |o| prefix(o.name, o.arg(), 63))?,
        size,
        threshold: number16("nflog-threshold")?,
    }))
}

fn nfqueue(given: &Given) -> Result<Target, Fault> {
    let (queue, total) = match given.one_of(&["queue-num", "queue-balance"])? {
        None => (0, 1),
        Some(option) if option.name == "queue-num" => (bounded("queue-num", option.arg(), 0, 65_535)?, 1),
        Some(option) => balance(option.arg())?,
    };
    if given.has("queue-cpu-fanout") && !given.has("queue-balance") {
        return Err("--queue-cpu-fanout needs --queue-balance".into());
    }
    Ok(Target::Nfqueue(NfqueueTarget {
        queue,
        total,
        bypass: given.has("queue-bypass"),
        cpu_fanout: given.has("queue-cpu-fanout"),
    }))
}

/// `first:last` as the first queue and how many there are.
fn balance(text: &str) -> Result<(u16, u16), Fault> {
    let (first, last) =
        text.split_once(':').ok_or_else(|| format!("{} is no range of queues", quote(text)))?;
    let first: u16 = bounded("queue-balance", first, 0, 65_535)?;
    let last: u16 = if last.is_empty() { 65_535 } else { bounded("queue-balance", last, 0, 65_535)? };
    if first >= last {
        return Err(format!("the range of queues {} does not rise", quote(text)).into());
    }
    let total = (last - first).checked_add(1).ok_or("65535 queues are the most")?;
    Ok((first, total))
}

fn mark(given: &Given) -> Result<Target, Fault> {
    let option = given.exactly_one_of(&["set-xmark", "set-mark", "and-mark", "or-mark", "xor-mark"])?;
    let bits = || bounded(option.name, option.arg(), 0, u64::from(u32::MAX));
    Ok(Target::Mark(match option.name {
        "set-xmark" => masked32("set-xmark", option.arg())?,
        "set-mark" => {
            let Masked32 { value, mask } = masked32("set-mark", option.arg())?;
            Masked32 { value, mask: value | mask }
        }
        "and-mark" => Masked32 { value: 0, mask: !bits()? },
        "or-mark" => {
            let value = bits()?;
            Masked32 { value, mask: value }
        }
        _ => Masked32 { value: bits()?, mask: 0 },
    }))
}

/// `major:minor`, both hexadecimal.
fn class(text: &str) -> Result<u32, Fault> {
    let half = |part: &str| {
        let hex = !part.is_empty() && part.len() <= 4 && part.bytes().all(|b| b.is_ascii_hexdigit());
        u32::from_str_radix(part, 16).ok().filter(|_| hex)
    };
    text.split_once(':').and_then(|(major, minor)| Some(half(major)? << 16 | half(minor)?)).ok_or_else(|| {
        Fault::from(format!("{} is no class", quote(text))).help("try MAJOR:MINOR, hexadecimal")
    })
}

fn set_tos(given: &Given) -> Result<Target, Fault> {
    let option = given.exactly_one_of(&["set-tos", "and-tos", "or-tos", "xor-tos"])?;
    let bits = || bounded::<u8>(option.name, option.arg(), 0, 255);
    Ok(Target::Tos(match option.name {
        "set-tos" => tos("set-tos", option.arg())?,
        "and-tos" => Masked8 { value: 0, mask: !bits()? },
        "or-tos" => {
            let value = bits()?;
            Masked8 { value, mask: value }
        }
        _ => Masked8 { value: bits()?, mask: 0 },
    }))
}

/// Removing ECN from TCP is clearing both flags; alone it is kept as such, as iptables prints it.
fn ecn(given: &Given) -> Result<Target, Fault> {
    for name in ["ecn-tcp-cwr", "ecn-tcp-ece"] {
        given.one_of(&["ecn-tcp-remove", name])?;
    }
    let remove = given.has("ecn-tcp-remove");
    let bit = |name| match given.get(name) {
        Some(option) => bounded::<u8>(name, option.arg(), 0, 1).map(|bit| Some(bit == 1)),
        None => Ok(remove.then_some(false)),
    };
    let ip_ect = match given.get("ecn-ip-ect") {
        Some(option) => Some(bounded("ecn-ip-ect", option.arg(), 0, 3)?),
        None => None,
    };
    let (tcp_cwr, tcp_ece) = (bit("ecn-tcp-cwr")?, bit("ecn-tcp-ece")?);
    match (tcp_cwr, tcp_ece, ip_ect) {
        (None, None, None) => {
            Err("target \"ECN\" needs --ecn-tcp-remove, --ecn-tcp-cwr, --ecn-tcp-ece or --ecn-ip-ect".into())
        }
        (Some(false), Some(false), None) => {
            Ok(Target::Ecn(EcnTarget { tcp_remove: true, ..EcnTarget::default() }))
        }
        _ => Ok(Target::Ecn(EcnTarget { tcp_remove: false, ip_ect, tcp_cwr, tcp_ece })),
    }
}
