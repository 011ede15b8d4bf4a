//! `ip route`.

use std::net::Ipv4Addr;

use super::{UsageError, Words};
use crate::ip::request::{
    Command, Metrics, NextHopSpec, PrefixFilter, RouteFilter, RouteGet, RouteSpec, RouteVerb, TableFilter,
    Topic,
};
use crate::ip::words::{Protocol, RouteType, Scope, Table};

#[derive(Clone, Copy)]
enum Verb {
    Show,
    Get,
    Modify(RouteVerb),
    Flush,
    Foreign,
    Help,
}

const VERBS: [(&str, Verb); 17] = [
    ("list", Verb::Show),
    ("show", Verb::Show),
    ("lst", Verb::Show),
    ("ls", Verb::Show),
    ("get", Verb::Get),
    ("add", Verb::Modify(RouteVerb::Add)),
    ("change", Verb::Modify(RouteVerb::Change)),
    ("chg", Verb::Modify(RouteVerb::Change)),
    ("replace", Verb::Modify(RouteVerb::Replace)),
    ("prepend", Verb::Foreign),
    ("append", Verb::Modify(RouteVerb::Append)),
    ("test", Verb::Foreign),
    ("delete", Verb::Modify(RouteVerb::Del)),
    ("flush", Verb::Flush),
    ("save", Verb::Foreign),
    ("restore", Verb::Foreign),
    ("help", Verb::Help),
];

pub(super) fn command(words: &mut Words<'_>) -> Result<Command, UsageError> {
    match words.verb("route", &VERBS, Verb::Show)? {
        Verb::Show => filter(words).map(Command::RouteShow),
        Verb::Get => get(words).map(Command::RouteGet),
        Verb::Modify(verb) => modify(words).map(|spec| Command::RouteModify(verb, spec)),
        Verb::Flush if words.peek().is_none() => Err(words.error("flush requires arguments")),
        Verb::Flush => filter(words).map(Command::RouteFlush),
        Verb::Foreign => Err(words.unsupported("this command")),
        Verb::Help => Ok(Command::Help(Topic::Route)),
    }
}

/// True if `word` abbreviates `full`.
fn abbreviates(word: &str, full: &str) -> bool {
    !word.is_empty() && full.starts_with(word)
}

fn filter(words: &mut Words<'_>) -> Result<RouteFilter, UsageError> {
    let mut filter = RouteFilter::default();
    while let Some(word) = words.next() {
        match word {
            "dev" | "oif" => filter.dev = Some(words.value("dev")?.to_owned()),
            "via" => filter.via = Some(gateway(words)?),
            "src" => filter.src = Some(words.address("src")?),
            "type" | "ty" => filter.kind = Some(route_type(words)?),
            "tos" | "iif" | "from" | "cached" | "cloned" | "metric" | "realms" | "vrf" => {
                return Err(words.unsupported(&format!("the selector \"{word}\"")));
            }
            _ if abbreviates(word, "table") => filter.table = table_filter(words)?,
            _ if abbreviates(word, "protocol") => filter.protocol = protocol_filter(words)?,
            _ if abbreviates(word, "scope") => filter.scope = scope_filter(words)?,
            _ if abbreviates(word, "root") => filter.prefix = Some(PrefixFilter::Root(words.prefix("root")?)),
            _ if abbreviates(word, "match") => {
                filter.prefix = Some(PrefixFilter::Match(words.prefix("match")?))
            }
            _ if abbreviates(word, "exact") => {
                filter.prefix = Some(PrefixFilter::Exact(words.prefix("exact")?))
            }
            // "to" may stand before any of the three, and before a prefix.
            "to" if matches!(words.peek(), Some("root" | "match" | "exact")) => {}
            _ => {
                let word = if word == "to" { words.value("to")? } else { word };
                if filter.prefix.is_some() {
                    return Err(words.garbage("to", word));
                }
                filter.prefix = Some(PrefixFilter::Exact(words.parse_prefix(word)?));
            }
        }
    }
    Ok(filter)
}

fn table_filter(words: &mut Words<'_>) -> Result<TableFilter, UsageError> {
    match words.value("table")? {
        "all" => Ok(TableFilter::All),
        "cache" => Err(words.unsupported("the route cache")),
        word => table(words, word).map(TableFilter::One),
    }
}

fn protocol_filter(words: &mut Words<'_>) -> Result<Option<Protocol>, UsageError> {
    match words.value("protocol")? {
        "all" => Ok(None),
        word => protocol(words, word).map(Some),
    }
}

fn scope_filter(words: &mut Words<'_>) -> Result<Option<Scope>, UsageError> {
    match words.value("scope")? {
        "all" => Ok(None),
        word => scope(words, word).map(Some),
    }
}

fn table(words: &Words<'_>, word: &str) -> Result<Table, UsageError> {
    Table::from_word(word).ok_or_else(|| words.wrong(word, "\"table\" value is invalid"))
}

fn protocol(words: &Words<'_>, word: &str) -> Result<Protocol, UsageError> {
    Protocol::from_word(word).ok_or_else(|| words.wrong(word, "\"protocol\" value is invalid"))
}

fn scope(words: &Words<'_>, word: &str) -> Result<Scope, UsageError> {
    Scope::from_word(word).ok_or_else(|| words.wrong(word, "invalid \"scope\" value"))
}

fn route_type(words: &mut Words<'_>) -> Result<RouteType, UsageError> {
    let word = words.value("type")?;
    RouteType::from_word(word).ok_or_else(|| words.wrong(word, "node type value is invalid"))
}

/// The gateway after `via`, whose family may be spelt out.
fn gateway(words: &mut Words<'_>) -> Result<Ipv4Addr, UsageError> {
    match words.value("via")? {
        "inet" => words.address("via"),
        family @ ("inet6" | "mpls" | "bridge" | "link") => {
            Err(words.unsupported(&format!("\"via {family}\"")))
        }
        word => words.parse_address(word),
    }
}

fn get(words: &mut Words<'_>) -> Result<RouteGet, UsageError> {
    let (mut to, mut from, mut iif, mut oif) = (None, None, None, None);
    while let Some(word) = words.next() {
        match word {
            "tos" | "dsfield" | "mark" | "uid" | "vrf" | "fibmatch" | "ipproto" | "sport" | "dport"
            | "notify" | "connected" => return Err(words.unsupported(&format!("\"{word}\""))),
            "dev" | "oif" => oif = Some(words.device("oif")?),
            _ if abbreviates(word, "from") => from = Some(words.address("from")?),
            _ if abbreviates(word, "iif") => iif = Some(words.device("iif")?),
            _ => {
                let word = if word == "to" { words.value("to")? } else { word };
                let prefix = words.parse_prefix(word)?;
                if to.replace(prefix.addr()).is_some() {
                    return Err(words.garbage("to", word));
                }
                words.name(word);
            }
        }
    }
    let to = to.ok_or_else(|| words.error("need at least a destination address"))?;
    Ok(RouteGet { to, from, iif, oif })
}

/// What `modify` has read so far.
#[derive(Default)]
struct Draft {
    kind: Option<RouteType>,
    to: Option<ipnet::Ipv4Net>,
    hop: Hop,
    nexthops: Vec<NextHopSpec>,
    equalize: bool,
    metric: Option<u32>,
    src: Option<Ipv4Addr>,
    metrics: Metrics,
    protocol: Option<Protocol>,
    scope: Option<Scope>,
    table: Option<Table>,
}

#[derive(Default)]
struct Hop {
    via: Option<Ipv4Addr>,
    dev: Option<String>,
    onlink: bool,
}

fn modify(words: &mut Words<'_>) -> Result<RouteSpec, UsageError> {
    let mut draft = Draft::default();
    while let Some(word) = words.next() {
        if !attribute(words, &mut draft, word)? {
            destination(words, &mut draft, word)?;
        }
    }
    let to = draft.to.ok_or_else(|| words.error("need at least a destination prefix"))?;
    let Hop { via, dev, onlink } = draft.hop;
    let single = via.is_some() || dev.is_some() || onlink;
    if single && !draft.nexthops.is_empty() {
        return Err(
            words.error("\"via\", \"dev\" and \"onlink\" belong after each \"nexthop\" of a multipath route")
        );
    }
    if single {
        draft.nexthops.push(NextHopSpec { via, dev, weight: 1, onlink });
    }
    let Draft { kind, nexthops, equalize, metric, src, metrics, protocol, scope, table, .. } = draft;
    Ok(RouteSpec { kind, to, nexthops, equalize, metric, src, metrics, protocol, scope, table })
}

/// Words of `route add` this router has no use for yet.
const FOREIGN: [&str; 26] = [
    "as",
    "from",
    "tos",
    "dsfield",
    "expires",
    "hoplimit",
    "advmss",
    "reordering",
    "rtt",
    "rto_min",
    "window",
    "cwnd",
    "initcwnd",
    "initrwnd",
    "features",
    "quickack",
    "congctl",
    "rttvar",
    "ssthresh",
    "realms",
    "vrf",
    "pref",
    "encap",
    "nhid",
    "ttl-propagate",
    "pervasive",
];

/// Reads what follows the keyword `word`; false if it is none.
fn attribute(words: &mut Words<'_>, draft: &mut Draft, word: &str) -> Result<bool, UsageError> {
    match word {
        "via" if draft.hop.via.is_some() => {
            return Err(words.wrong(word, "use nexthop syntax to specify multiple via"));
        }
        "via" => draft.hop.via = Some(gateway(words)?),
        "dev" | "oif" => draft.hop.dev = Some(words.device("dev")?),
        "onlink" => draft.hop.onlink = true,
        // A word of older versions of ip, for what kernels once did and this router does.
        "equalize" | "eql" => draft.equalize = true,
        "src" => draft.src = Some(words.address("src")?),
        "mtu" => draft.metrics = mtu(words)?,
        "scope" => {
            let word = words.value("scope")?;
            draft.scope = Some(scope(words, word)?);
        }
        "nexthop" => draft.nexthops.push(nexthop(words)?),
        _ if FOREIGN.contains(&word) => return Err(words.unsupported(&format!("\"{word}\""))),
        _ if ["metric", "priority", "preference"].iter().any(|full| abbreviates(word, full)) => {
            draft.metric = Some(words.number_u32("metric")?);
        }
        _ if abbreviates(word, "protocol") => {
            let word = words.value("protocol")?;
            draft.protocol = Some(protocol(words, word)?);
        }
        // "t" and "ta", but not "to", which comes before a destination.
        _ if abbreviates(word, "table") => {
            let word = words.value("table")?;
            draft.table = Some(table(words, word)?);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Reads `[to] [TYPE] PREFIX`, of which `word` is the first.
fn destination(words: &mut Words<'_>, draft: &mut Draft, word: &str) -> Result<(), UsageError> {
    let mut word = if word == "to" { words.value("to")? } else { word };
    let kind = if word.starts_with(|c: char| c.is_ascii_digit()) { None } else { RouteType::from_word(word) };
    if kind.is_some() {
        draft.kind = kind;
        word = words.value(word)?;
    }
    if draft.to.is_some() {
        return Err(words.garbage("to", word));
    }
    draft.to = Some(words.parse_prefix(word)?);
    words.name(word);
    Ok(())
}

fn mtu(words: &mut Words<'_>) -> Result<Metrics, UsageError> {
    let mtu_lock = words.peek() == Some("lock");
    if mtu_lock {
        words.next();
    }
    Ok(Metrics { mtu: Some(words.number_u32("mtu")?), mtu_lock })
}

fn nexthop(words: &mut Words<'_>) -> Result<NextHopSpec, UsageError> {
    let mut hop = NextHopSpec { via: None, dev: None, weight: 1, onlink: false };
    if words.peek().is_none() {
        return Err(words.error("unexpected end of line after \"nexthop\""));
    }
    while let Some(word) = words.peek() {
        match word {
            "via" | "dev" | "oif" | "weight" | "onlink" => words.next(),
            _ => break,
        };
        match word {
            "via" => hop.via = Some(gateway(words)?),
            "weight" => hop.weight = words.number("weight", 1, 256)? as u16,
            "onlink" => hop.onlink = true,
            _ => hop.dev = Some(words.device("dev")?),
        }
    }
    if hop.via.is_none() && hop.dev.is_none() {
        return Err(words.error("\"nexthop\" needs a \"via\" or a \"dev\""));
    }
    Ok(hop)
}
