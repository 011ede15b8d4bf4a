//! The words of the languages, as their help texts list them.

/// Objects of `tc`.
pub(super) const TC_OBJECTS: [&str; 5] = ["qdisc", "class", "filter", "actions", "help"];
/// What can be done to them.
pub(super) const TC_VERBS: [&str; 6] = ["show", "add", "change", "replace", "del", "help"];
/// Options of `tc`.
pub(super) const TC_OPTIONS: [&str; 8] =
    ["-batch", "-statistics", "-details", "-raw", "-json", "-pretty", "-oneline", "-iec"];
/// Kinds of disciplines.
pub(super) const QDISCS: [&str; 8] =
    ["htb", "red", "tbf", "prio", "pfifo", "bfifo", "pfifo_head_drop", "noqueue"];
/// Places of disciplines and classes.
pub(super) const QDISC_PLACES: [&str; 6] = ["dev", "root", "parent", "handle", "ingress", "clsact"];
/// Places of classes.
pub(super) const CLASS_PLACES: [&str; 4] = ["dev", "root", "parent", "classid"];
/// Places of filters.
pub(super) const FILTER_WORDS: [&str; 18] = [
    "dev", "root", "parent", "ingress", "egress", "protocol", "prio", "handle", "u32", "flower", "fw",
    "basic", "matchall", "match", "flowid", "classid", "action", "chain",
];
/// Parameters of `htb`, for the discipline.
pub(super) const HTB: [&str; 3] = ["default", "r2q", "direct_qlen"];
/// Parameters of a class of `htb`.
pub(super) const HTB_CLASS: [&str; 10] =
    ["rate", "ceil", "burst", "cburst", "prio", "quantum", "mtu", "mpu", "overhead", "linklayer"];
/// Parameters of `tbf`.
pub(super) const TBF: [&str; 8] = ["rate", "burst", "limit", "latency", "peakrate", "mtu", "mpu", "overhead"];
/// Parameters of `red`.
pub(super) const RED: [&str; 12] = [
    "limit",
    "min",
    "max",
    "avpkt",
    "burst",
    "bandwidth",
    "probability",
    "adaptive",
    "ecn",
    "harddrop",
    "nodrop",
    "gentle",
];
/// Parameters of `prio`.
pub(super) const PRIO: [&str; 2] = ["bands", "priomap"];
/// Parameters without a value.
pub(super) const FLAGS: [&str; 11] =
    ["root", "ingress", "egress", "clsact", "ecn", "harddrop", "nodrop", "gentle", "adaptive", "up", "down"];

/// Objects of `ip`.
pub(super) const IP_OBJECTS: [&str; 7] =
    ["link", "address", "route", "neighbour", "mroute", "maddress", "help"];
/// Options of `ip`.
pub(super) const IP_OPTIONS: [&str; 5] = ["-statistics", "-details", "-json", "-brief", "-oneline"];
/// What can be done to links.
pub(super) const LINK_VERBS: [&str; 4] = ["show", "set", "add", "del"];
/// What can be done to the rest.
pub(super) const IP_VERBS: [&str; 6] = ["show", "add", "change", "replace", "del", "flush"];
/// What narrows a show of links.
pub(super) const LINK_SHOW: [&str; 4] = ["dev", "up", "type", "master"];
/// What can be set of a link.
pub(super) const LINK_SET: [&str; 8] = ["dev", "up", "down", "mtu", "address", "master", "nomaster", "type"];
/// How a link is made.
pub(super) const LINK_ADD: [&str; 8] = ["link", "name", "type", "vlan", "bond", "id", "protocol", "mode"];
/// Parts of a route.
pub(super) const ROUTE: [&str; 12] = [
    "default",
    "blackhole",
    "unreachable",
    "prohibit",
    "via",
    "dev",
    "metric",
    "src",
    "mtu",
    "scope",
    "nexthop",
    "weight",
];
/// Parts of an address.
pub(super) const ADDRESS: [&str; 5] = ["dev", "broadcast", "peer", "scope", "label"];
/// Parts of a neighbour.
pub(super) const NEIGHBOUR: [&str; 4] = ["dev", "lladdr", "nud", "proxy"];

/// Tables of rules.
pub(super) const TABLES: [&str; 4] = ["filter", "nat", "mangle", "raw"];
/// Options of `iptables`.
pub(super) const IPTABLES: [&str; 32] = [
    "--table",
    "--append",
    "--insert",
    "--delete",
    "--check",
    "--replace",
    "--list",
    "--list-rules",
    "--flush",
    "--zero",
    "--new-chain",
    "--delete-chain",
    "--policy",
    "--rename-chain",
    "--source",
    "--destination",
    "--protocol",
    "--in-interface",
    "--out-interface",
    "--match",
    "--jump",
    "--goto",
    "--numeric",
    "--verbose",
    "--line-numbers",
    "-t",
    "-A",
    "-I",
    "-D",
    "-L",
    "-S",
    "-F",
];
/// Options whose value is a chain.
pub(super) const CHAIN_OPTIONS: [&str; 22] = [
    "-A",
    "-I",
    "-D",
    "-C",
    "-R",
    "-L",
    "-S",
    "-F",
    "-Z",
    "-X",
    "-P",
    "-E",
    "--append",
    "--insert",
    "--delete",
    "--check",
    "--replace",
    "--list",
    "--list-rules",
    "--flush",
    "--policy",
    "--goto",
];
/// Targets that are no chains.
pub(super) const TARGETS: [&str; 12] = [
    "ACCEPT", "DROP", "REJECT", "RETURN", "LOG", "MARK", "CLASSIFY", "DSCP", "TCPMSS", "NFQUEUE", "SNAT",
    "DNAT",
];
/// What can be done to sets.
pub(super) const IPSET: [&str; 12] =
    ["create", "add", "del", "test", "destroy", "list", "save", "restore", "flush", "rename", "swap", "help"];
