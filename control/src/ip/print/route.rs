//! `ip route show` and `ip route get`.

use std::fmt::{Display, Write as _};

use ipnet::Ipv4Net;

use super::{document, line_break};
use crate::ip::json::Json;
use crate::ip::request::{Family, Metrics, Options, PrefixFilter, RouteFilter, TableFilter};
use crate::ip::rows::{NextHopRow, RouteFlags, RouteGetRow, RouteRow};
use crate::ip::words::{Protocol, RouteType, Scope, Table};

/// The routes `filter` lets through.
pub fn matching_routes<'a>(
    rows: &'a [RouteRow],
    filter: &'a RouteFilter,
    options: &Options,
) -> impl Iterator<Item = &'a RouteRow> {
    let inet = options.family != Some(Family::Inet6);
    rows.iter().filter(move |row| inet && passes(row, filter))
}

/// `dev` and `via` select only routes with a single next hop, as in iproute2.
fn passes(row: &RouteRow, filter: &RouteFilter) -> bool {
    let single = single(row);
    (match filter.table {
        TableFilter::One(table) => row.table == table,
        TableFilter::All => true,
    }) && filter.dev.as_ref().is_none_or(|dev| single.is_some_and(|hop| hop.dev == *dev))
        && filter.via.is_none_or(|via| single.is_some_and(|hop| hop.via == Some(via)))
        && filter.src.is_none_or(|src| row.src == Some(src))
        && filter.protocol.is_none_or(|protocol| row.protocol == protocol)
        && filter.scope.is_none_or(|scope| row.scope == scope)
        && filter.kind.is_none_or(|kind| row.kind == kind)
        && filter.prefix.is_none_or(|prefix| prefix_passes(row.to, prefix))
}

fn prefix_passes(to: Ipv4Net, filter: PrefixFilter) -> bool {
    match filter {
        PrefixFilter::Exact(prefix) => to.trunc() == prefix.trunc(),
        PrefixFilter::Root(prefix) => prefix.trunc().contains(&to.trunc()),
        PrefixFilter::Match(prefix) => to.trunc().contains(&prefix.trunc()),
    }
}

/// The one next hop of a route that is not multipath.
fn single(row: &RouteRow) -> Option<&NextHopRow> {
    match row.nexthops.as_slice() {
        [hop] => Some(hop),
        _ => None,
    }
}

/// Prints the routes `filter` lets through. Whether the filter's device is there is for the caller to check.
pub fn show_routes(rows: &[RouteRow], filter: &RouteFilter, options: &Options) -> String {
    let shown = matching_routes(rows, filter, options);
    if options.json {
        let routes = shown.map(|row| {
            let mut members = Columns::of(row, filter, options).json();
            if row.nexthops.len() > 1 {
                members.push(("nexthops", Json::Arr(row.nexthops.iter().map(nexthop_json).collect())));
            }
            Json::Obj(members)
        });
        return document(routes.collect(), options);
    }
    let mut out = String::new();
    for row in shown {
        Columns::of(row, filter, options).text(&mut out);
        if row.nexthops.len() > 1 {
            for hop in &row.nexthops {
                out.push(line_break(options));
                nexthop_text(hop, &mut out);
            }
        }
        out.push('\n');
    }
    out
}

fn nexthop_text(hop: &NextHopRow, out: &mut String) {
    out.push_str("\tnexthop ");
    column(out, "via", hop.via);
    let _ = write!(out, "dev {} weight {} ", hop.dev, hop.weight);
    flag_names(hop.flags).for_each(|name| {
        let _ = write!(out, "{name} ");
    });
}

fn nexthop_json(hop: &NextHopRow) -> Json {
    let mut members = Vec::from_iter(hop.via.map(|via| ("gateway", Json::str(via))));
    members.push(("dev", Json::str(&hop.dev)));
    members.push(("weight", Json::num(hop.weight)));
    members.push(("flags", Json::strings(flag_names(hop.flags))));
    Json::Obj(members)
}

fn flag_names(flags: RouteFlags) -> impl Iterator<Item = &'static str> {
    const NAMES: [(RouteFlags, &str); 4] = [
        (RouteFlags::DEAD, "dead"),
        (RouteFlags::ONLINK, "onlink"),
        (RouteFlags::LINKDOWN, "linkdown"),
        (RouteFlags::EQUALIZE, "equalize"),
    ];
    NAMES.into_iter().filter(move |(flag, _)| flags.contains(*flag)).map(|(_, name)| name)
}

/// What is to be printed of a route, after the options and the filter had their say.
struct Columns<'a> {
    kind: Option<RouteType>,
    to: String,
    from: Option<String>,
    via: Option<std::net::Ipv4Addr>,
    dev: Option<&'a str>,
    table: Option<Table>,
    protocol: Option<Protocol>,
    scope: Option<Scope>,
    src: Option<std::net::Ipv4Addr>,
    metric: Option<u32>,
    flags: RouteFlags,
    metrics: Metrics,
}

impl<'a> Columns<'a> {
    fn of(row: &'a RouteRow, filter: &RouteFilter, options: &Options) -> Self {
        let hop = single(row);
        let all_tables = filter.table == TableFilter::All;
        Columns {
            kind: Some(row.kind).filter(|kind| options.details || *kind != RouteType::Unicast),
            to: destination(row.to),
            from: None,
            via: hop.and_then(|hop| hop.via).filter(|_| filter.via.is_none()),
            dev: hop.map(|hop| hop.dev.as_str()).filter(|_| filter.dev.is_none()),
            table: Some(row.table).filter(|table| all_tables && (options.details || *table != Table::MAIN)),
            protocol: Some(row.protocol)
                .filter(|p| filter.protocol.is_none() && (options.details || *p != Protocol::BOOT)),
            scope: Some(row.scope)
                .filter(|s| filter.scope.is_none() && (options.details || *s != Scope::GLOBAL)),
            src: row.src.filter(|_| filter.src.is_none()),
            metric: Some(row.metric).filter(|metric| *metric != 0),
            flags: route_flags(row),
            metrics: row.metrics,
        }
    }

    fn text(&self, out: &mut String) {
        if let Some(kind) = self.kind {
            let _ = write!(out, "{kind} ");
        }
        let _ = write!(out, "{} ", self.to);
        column(out, "from", self.from.as_ref());
        column(out, "via", self.via);
        column(out, "dev", self.dev);
        column(out, "table", self.table);
        column(out, "proto", self.protocol);
        column(out, "scope", self.scope);
        column(out, "src", self.src);
        column(out, "metric", self.metric);
        flag_names(self.flags).for_each(|name| {
            let _ = write!(out, "{name} ");
        });
        metrics_text(&self.metrics, out);
    }

    fn json(&self) -> Vec<(&'static str, Json)> {
        let mut members = Vec::new();
        members.extend(self.kind.map(|kind| ("type", Json::str(kind))));
        members.push(("dst", Json::str(&self.to)));
        members.extend(self.from.as_ref().map(|from| ("from", Json::str(from))));
        members.extend(self.via.map(|via| ("gateway", Json::str(via))));
        members.extend(self.dev.map(|dev| ("dev", Json::str(dev))));
        members.extend(self.table.map(|table| ("table", Json::str(table))));
        members.extend(self.protocol.map(|protocol| ("protocol", Json::str(protocol))));
        members.extend(self.scope.map(|scope| ("scope", Json::str(scope))));
        members.extend(self.src.map(|src| ("prefsrc", Json::str(src))));
        members.extend(self.metric.map(|metric| ("metric", Json::num(metric))));
        members.push(("flags", Json::strings(flag_names(self.flags))));
        members.extend(metrics_json(&self.metrics));
        members
    }
}

/// A multipath route as a whole is down only if every next hop says so.
fn route_flags(row: &RouteRow) -> RouteFlags {
    let mut flags = match row.nexthops.as_slice() {
        [] => RouteFlags::empty(),
        [hop] => hop.flags,
        hops => hops.iter().fold(RouteFlags::DEAD | RouteFlags::LINKDOWN, |all, hop| all & hop.flags),
    };
    flags.set(RouteFlags::EQUALIZE, row.equalize);
    flags
}

fn destination(to: Ipv4Net) -> String {
    match to.prefix_len() {
        0 => "default".to_owned(),
        32 => to.addr().to_string(),
        _ => to.to_string(),
    }
}

fn column(out: &mut String, name: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        let _ = write!(out, "{name} {value} ");
    }
}

fn metrics_text(metrics: &Metrics, out: &mut String) {
    if let Some(mtu) = metrics.mtu {
        let lock = if metrics.mtu_lock { "lock " } else { "" };
        let _ = write!(out, "mtu {lock}{mtu} ");
    }
}

fn metrics_json(metrics: &Metrics) -> Option<(&'static str, Json)> {
    metrics.mtu.map(|mtu| ("metrics", Json::Arr(vec![Json::Obj(vec![("mtu", Json::num(mtu))])])))
}

/// Prints the answer to `route get`.
pub fn show_route_get(row: &RouteGetRow, options: &Options) -> String {
    let columns = Columns {
        kind: Some(row.kind).filter(|kind| options.details || *kind != RouteType::Unicast),
        to: row.to.to_string(),
        from: row.from.map(|from| from.to_string()),
        via: row.via,
        dev: Some(&row.dev),
        table: Some(row.table).filter(|table| options.details && *table != Table(0)),
        protocol: None,
        scope: None,
        src: row.src,
        metric: None,
        flags: row.flags,
        metrics: Metrics::default(),
    };
    let cache: &[&str] = match row.kind {
        RouteType::Local => &["local"],
        RouteType::Broadcast => &["local", "brd"],
        RouteType::Multicast => &["mc"],
        _ => &[],
    };
    if options.json {
        let mut members = columns.json();
        members.extend(row.uid.map(|uid| ("uid", Json::num(uid))));
        members.push(("cache", Json::strings(cache)));
        members.extend(metrics_json(&row.metrics));
        members.extend(row.iif.as_ref().map(|iif| ("iif", Json::str(iif))));
        return document(vec![Json::Obj(members)], options);
    }
    let mut out = String::new();
    columns.text(&mut out);
    column(&mut out, "uid", row.uid);
    let _ = write!(out, "{}    cache ", line_break(options));
    if !cache.is_empty() {
        let _ = write!(out, "<{}> ", cache.join(","));
    }
    metrics_text(&row.metrics, &mut out);
    column(&mut out, "iif", row.iif.as_ref());
    out.push('\n');
    out
}
