//! `[[mroute]]` and `[igmp-proxy]`.

use std::net::Ipv4Addr;
use std::time::Duration;

use toml::de::DeValue;

use super::diag::{At, Fault, Source, quote};
use super::model::{IgmpProxy, Mroute, Oif};
use super::route::sections;
use super::section::{Section, Value, narrow, wrong_type};
use super::value::{address, unicast_address};
use crate::igmp::Timing;

const MROUTE_KEYS: &[&str] = &["group", "source", "iif", "oifs"];
const OIF_KEYS: &[&str] = &["dev", "ttl"];
const PROXY_KEYS: &[&str] = &[
    "upstream",
    "downstream",
    "threshold",
    "robustness",
    "query-interval",
    "query-response-interval",
    "last-member-query-interval",
];

/// Reads every `[[mroute]]`.
pub(super) fn read_mroutes<'t>(source: &'t Source<'t>, value: &'t Value<'t>) -> Vec<Mroute> {
    sections(source, "mroute", value, MROUTE_KEYS).iter().filter_map(mroute).collect()
}

fn mroute(section: &Section<'_>) -> Option<Mroute> {
    ["group", "iif", "oifs"].iter().for_each(|key| section.require(key));
    let group = section.parsed("group", group);
    let from = section.parsed("source", unicast_address);
    let iif = section.string("iif").map(|dev| dev.map(str::to_owned));
    let oifs = oifs(section, "oifs");
    Some(Mroute { group: group?, source: from, iif: iif?, oifs })
}

/// Reads `[igmp-proxy]`.
pub(super) fn read_proxy<'t>(source: &'t Source<'t>, value: &'t Value<'t>) -> Option<IgmpProxy> {
    let section = Section::of(source, "igmp-proxy", value, PROXY_KEYS)?;
    ["upstream", "downstream"].iter().for_each(|key| section.require(key));
    let upstream = section.string("upstream").map(|dev| dev.map(str::to_owned));
    let downstream = oifs(&section, "downstream");
    if section.get("downstream").and_then(|v| v.get_ref().as_array()).is_some_and(|list| list.is_empty()) {
        section.report("\"downstream\" is empty");
    }
    let threshold = threshold(&section, "threshold");
    let timing = timing(&section);
    Some(IgmpProxy { upstream: upstream?, downstream, threshold, timing })
}

fn timing(section: &Section<'_>) -> Timing {
    // What the fields of a query can carry (RFC 3376 sections 4.1.1, 4.1.6 and 4.1.7).
    const LONGEST_INTERVAL: i64 = 31744;
    const LONGEST_RESPONSE: i64 = 3174;
    let d = Timing::default();
    let seconds = |key: &str, default: Duration, longest: i64| {
        let read = section.integer(key, 1..=longest);
        read.map_or(default, |seconds| Duration::from_secs(seconds.value.unsigned_abs()))
    };
    let timing = Timing {
        robustness: section.integer("robustness", 1..=7).and_then(narrow).map_or(d.robustness, |r| r.value),
        query_interval: seconds("query-interval", d.query_interval, LONGEST_INTERVAL),
        query_response_interval: seconds(
            "query-response-interval",
            d.query_response_interval,
            LONGEST_RESPONSE,
        ),
        last_member_query_interval: seconds(
            "last-member-query-interval",
            d.last_member_query_interval,
            LONGEST_RESPONSE,
        ),
    };
    if timing.query_response_interval >= timing.query_interval {
        let fault = Fault::from("\"query-response-interval\" must be less than \"query-interval\"");
        let pos = section.key_pos("query-response-interval").or(section.key_pos("query-interval"));
        section.source.report(pos.unwrap_or(section.pos), fault);
    }
    timing
}

/// A list of interfaces, each a name or a table with a threshold.
fn oifs<'t>(section: &Section<'t>, key: &str) -> Vec<Oif> {
    let Some(value) = section.get(key) else { return Vec::new() };
    let DeValue::Array(items) = value.get_ref() else {
        let pos = section.source.pos(value.span().start);
        section.source.report(pos, wrong_type(key, "a list of interfaces", value.get_ref()));
        return Vec::new();
    };
    items.iter().filter_map(|item| oif(section.source, key, item)).collect()
}

fn oif<'t>(source: &'t Source<'t>, key: &str, item: &'t Value<'t>) -> Option<Oif> {
    let pos = source.pos(item.span().start);
    if let DeValue::String(name) = item.get_ref() {
        return Some(Oif { dev: At::new(name.to_string(), pos), ttl: At::unwritten(1) });
    }
    let table = Section::of(source, key, item, OIF_KEYS)?;
    table.require("dev");
    let ttl = threshold(&table, "ttl");
    let dev = table.string("dev")?;
    Some(Oif { dev: dev.map(str::to_owned), ttl })
}

/// A TTL threshold: packets pass if theirs is greater.
fn threshold(section: &Section<'_>, key: &str) -> At<u8> {
    section.integer(key, 1..=254).and_then(narrow).unwrap_or(At::unwritten(1))
}

fn group(text: &str) -> Result<Ipv4Addr, Fault> {
    let group = address(text)?;
    if !group.is_multicast() {
        return Err(format!("{} is not a multicast address", quote(text)).into());
    }
    if group.octets()[..3] == [224, 0, 0] {
        let fault = Fault::from(format!("{} is never forwarded", quote(text)));
        return Err(fault.help("224.0.0.0/24 stays on its link"));
    }
    Ok(group)
}
