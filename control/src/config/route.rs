//! `[[route]]` and `[[neighbour]]`.

use toml::de::DeValue;

use super::diag::{At, Source, quote};
use super::model::{Neighbour, NextHop, Route, RouteAction};
use super::section::{Section, Value, narrow, wrong_type};
use super::value::{destination, unicast_address, unicast_mac};

const ROUTE_KEYS: &[&str] = &["to", "via", "dev", "nexthops", "type", "metric", "mtu", "src", "equalize"];
const NEXTHOP_KEYS: &[&str] = &["via", "dev", "weight"];
const NEIGHBOUR_KEYS: &[&str] = &["address", "mac", "dev"];

/// Reads every `[[route]]`.
pub(super) fn read_routes<'t>(source: &'t Source<'t>, value: &'t Value<'t>) -> Vec<Route> {
    sections(source, "route", value, ROUTE_KEYS).iter().filter_map(route).collect()
}

/// Reads every `[[neighbour]]`.
pub(super) fn read_neighbours<'t>(source: &'t Source<'t>, value: &'t Value<'t>) -> Vec<Neighbour> {
    sections(source, "neighbour", value, NEIGHBOUR_KEYS).iter().filter_map(neighbour).collect()
}

pub(super) fn sections<'t>(
    source: &'t Source<'t>,
    name: &str,
    value: &'t Value<'t>,
    known: &[&'static str],
) -> Vec<Section<'t>> {
    match value.get_ref() {
        DeValue::Array(items) => {
            items.iter().filter_map(|item| Section::of(source, name, item, known)).collect()
        }
        DeValue::Table(_) => {
            let pos = source.pos(value.span().start);
            source.report(pos, format!("[{name}] is a list: write [[{name}]]"));
            Vec::new()
        }
        other => {
            source.report(source.pos(value.span().start), wrong_type(name, "a list of tables", other));
            Vec::new()
        }
    }
}

/// What a route does with its packets, before its next hops are known.
#[derive(Clone, Copy, PartialEq)]
enum Type {
    Unicast,
    Blackhole,
    Unreachable,
    Prohibit,
    Throw,
}

fn route(section: &Section<'_>) -> Option<Route> {
    const TYPES: &[(&str, Type)] = &[
        ("unicast", Type::Unicast),
        ("blackhole", Type::Blackhole),
        ("unreachable", Type::Unreachable),
        ("prohibit", Type::Prohibit),
        ("throw", Type::Throw),
    ];
    const MIN_MTU: i64 = 68;
    section.require("to");
    let to = section.parsed("to", destination);
    let kind = match section.get("type") {
        Some(_) => section.word("type", TYPES).map(|kind| kind.value),
        None => Some(Type::Unicast),
    };
    let nexthops = nexthops(section);
    let metric = section.integer("metric", 0..=i64::from(u32::MAX)).and_then(narrow);
    let mtu = section.integer("mtu", MIN_MTU..=i64::from(u16::MAX)).and_then(narrow);
    let src = section.parsed("src", unicast_address);
    let equalize = section.boolean("equalize").is_some_and(|equalize| equalize.value);
    let action = match kind? {
        Type::Unicast => RouteAction::Unicast(nexthops?),
        other => {
            without_nexthops(section);
            match other {
                Type::Blackhole => RouteAction::Blackhole,
                Type::Unreachable => RouteAction::Unreachable,
                Type::Prohibit => RouteAction::Prohibit,
                Type::Unicast | Type::Throw => RouteAction::Throw,
            }
        }
    };
    Some(Route { to: to?, action, metric: metric.unwrap_or(At::unwritten(0)), mtu, src, equalize })
}

/// The ways out of a unicast route: `via` and `dev` for one, `nexthops` for many, never both forms.
fn nexthops(section: &Section<'_>) -> Option<Vec<NextHop>> {
    let one = nexthop(section, At::unwritten(1));
    let many: Vec<_> = section.tables("nexthops", NEXTHOP_KEYS).iter().map(weighted_nexthop).collect();
    let short_form = ["via", "dev"].into_iter().find(|key| section.get(key).is_some());
    let Some(list) = section.key_pos("nexthops") else {
        let unicast = section.get("type").is_none_or(|kind| kind.get_ref().as_str() == Some("unicast"));
        if short_form.is_none() && unicast {
            section.report("the route has neither via, dev nor nexthops");
        }
        return one.map(|nexthop| vec![nexthop]);
    };
    if let Some(key) = short_form {
        let pos = section.key_pos(key).unwrap_or(section.pos);
        section.source.report(pos, format!("the route has both {} and \"nexthops\"", quote(key)));
        return None;
    }
    if section.get("nexthops").and_then(|v| v.get_ref().as_array()).is_some_and(|items| items.is_empty()) {
        section.source.report(list, "\"nexthops\" is empty");
    }
    many.into_iter().collect()
}

fn weighted_nexthop(table: &Section<'_>) -> Option<NextHop> {
    const WEIGHTS: std::ops::RangeInclusive<i64> = 1..=256;
    if table.get("via").is_none() && table.get("dev").is_none() {
        table.report("the next hop has neither via nor dev");
    }
    let weight = table.integer("weight", WEIGHTS).and_then(narrow);
    nexthop(table, weight.unwrap_or(At::unwritten(1)))
}

fn nexthop(table: &Section<'_>, weight: At<u16>) -> Option<NextHop> {
    let via = table.parsed("via", unicast_address);
    let dev = table.string("dev").map(|dev| dev.map(str::to_owned));
    (via.is_some() || dev.is_some()).then_some(NextHop { via, dev, weight })
}

/// Reports next hops on a route that sends nothing anywhere.
fn without_nexthops(section: &Section<'_>) {
    for key in ["via", "dev", "nexthops"] {
        if let Some(pos) = section.key_pos(key) {
            let kind = section.get("type").and_then(|kind| kind.get_ref().as_str()).unwrap_or_default();
            section.source.report(pos, format!("a {kind} route has no {}", quote(key)));
        }
    }
}

fn neighbour(section: &Section<'_>) -> Option<Neighbour> {
    NEIGHBOUR_KEYS.iter().for_each(|key| section.require(key));
    let address = section.parsed("address", unicast_address);
    let mac = section.parsed("mac", unicast_mac);
    let dev = section.string("dev").map(|dev| dev.map(str::to_owned));
    Some(Neighbour { address: address?, mac: mac?, dev: dev? })
}
