//! What iptables knows and this router does not do yet: named, so that the message can say what is missing instead of
//! calling it a mistake.

use skiff_dataplane::netfilter::ip_tables::rule::TableName;

use crate::config::Fault;
use crate::netfilter::error::quote;

/// Matches that ask the connection tracking table.
const TRACKING_MATCHES: &[&str] =
    &["conntrack", "state", "connmark", "connbytes", "connlimit", "connlabel", "helper", "cluster", "socket"];
/// Other matches of iptables.
const MATCHES: &[&str] = &[
    "ah",
    "bpf",
    "cgroup",
    "connsecmark",
    "cpu",
    "dccp",
    "devgroup",
    "esp",
    "ipcomp",
    "ipvs",
    "l2tp",
    "nfacct",
    "osf",
    "owner",
    "physdev",
    "policy",
    "quota",
    "rateest",
    "realm",
    "recent",
    "sctp",
    "string",
    "udplite",
    "unclean",
];
/// Targets that change connection tracking entries.
const TRACKING_TARGETS: &[&str] = &["CT", "NOTRACK", "CONNMARK", "CONNSECMARK", "SYNPROXY"];
/// Targets that translate addresses.
const NAT_TARGETS: &[&str] = &["DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP"];
/// Other targets of iptables.
const TARGETS: &[&str] = &[
    "AUDIT",
    "CHECKSUM",
    "CLUSTERIP",
    "HL",
    "HMARK",
    "IDLETIMER",
    "LED",
    "QUEUE",
    "RATEEST",
    "SECMARK",
    "SET",
    "TCPOPTSTRIP",
    "TEE",
    "TPROXY",
    "ULOG",
];

const TRACKING: &str = "needs connection tracking, which is not supported yet";
const NAT: &str = "needs address translation, which is not supported yet";

/// Why a match of iptables is not there; `None` if iptables has none of that name.
pub(super) fn matching(name: &str) -> Option<Fault> {
    if TRACKING_MATCHES.contains(&name) {
        Some(format!("match \"{name}\" {TRACKING}").into())
    } else if MATCHES.contains(&name) {
        Some(format!("match \"{name}\" is not supported yet").into())
    } else {
        None
    }
}

/// Why a target of iptables is not there; `None` if iptables has none of that name.
pub(super) fn target(name: &str) -> Option<Fault> {
    if TRACKING_TARGETS.contains(&name) {
        Some(format!("target \"{name}\" {TRACKING}").into())
    } else if NAT_TARGETS.contains(&name) {
        Some(format!("target \"{name}\" {NAT}").into())
    } else if name == "QUEUE" {
        Some(Fault::from("target \"QUEUE\" is not supported").help("write -j NFQUEUE --queue-num 0"))
    } else if TARGETS.contains(&name) {
        Some(format!("target \"{name}\" is not supported yet").into())
    } else {
        None
    }
}

/// The table of that name.
///
/// # Errors
/// There is none, or none yet.
pub(in crate::netfilter) fn table(name: &str) -> Result<TableName, Fault> {
    match name {
        "filter" => Ok(TableName::Filter),
        "mangle" => Ok(TableName::Mangle),
        "raw" => Ok(TableName::Raw),
        "nat" => Err(format!("table \"nat\" {NAT}").into()),
        "security" => Err("table \"security\" is not supported: there are no security labels here".into()),
        other => Err(Fault::from(format!("there is no table {}", quote(other)))
            .nearest(other, ["filter", "mangle", "raw", "nat"])),
    }
}
