//! `ip neighbour show`.

use std::fmt::Write as _;

use super::document;
use crate::ip::json::Json;
use crate::ip::request::{Family, NeighFilter, Options};
use crate::ip::rows::{NeighRow, ProxyRow};
use crate::ip::words::NudState;

/// The neighbours `filter` lets through.
pub fn matching_neighs<'a>(
    rows: &'a [NeighRow],
    filter: &'a NeighFilter,
    options: &Options,
) -> impl Iterator<Item = &'a NeighRow> {
    let inet = options.family != Some(Family::Inet6);
    rows.iter().filter(move |row| {
        inet && filter.dev.as_ref().is_none_or(|dev| row.dev == *dev)
            && filter.states.contains(row.state)
            && filter.to.is_none_or(|to| to.contains(&row.address))
    })
}

/// Prints the neighbours `filter` lets through. Whether the filter's device is there is for the caller to check.
pub fn show_neighs(rows: &[NeighRow], filter: &NeighFilter, options: &Options) -> String {
    let shown = matching_neighs(rows, filter, options);
    let with_dev = filter.dev.is_none();
    if options.json {
        return document(shown.map(|row| json(row, with_dev, options)).collect(), options);
    }
    let mut out = String::new();
    shown.for_each(|row| text(row, with_dev, options, &mut out));
    out
}

/// The proxied addresses `filter` lets through.
pub fn matching_proxies<'a>(
    rows: &'a [ProxyRow],
    filter: &'a NeighFilter,
    options: &Options,
) -> impl Iterator<Item = &'a ProxyRow> {
    let inet = options.family != Some(Family::Inet6);
    rows.iter().filter(move |row| {
        inet && (filter.dev.is_none() || row.dev == filter.dev)
            && filter.to.is_none_or(|to| to.contains(&row.address))
    })
}

/// Prints the proxied addresses `filter` lets through.
pub fn show_proxies(rows: &[ProxyRow], filter: &NeighFilter, options: &Options) -> String {
    let shown = matching_proxies(rows, filter, options);
    let dev_of = |row: &ProxyRow| row.dev.clone().filter(|_| filter.dev.is_none());
    if options.json {
        let object = |row: &ProxyRow| {
            let mut members = vec![("dst", Json::str(row.address))];
            members.extend(dev_of(row).map(|dev| ("dev", Json::str(dev))));
            members.extend((!options.brief).then_some(("proxy", Json::Null)));
            Json::Obj(members)
        };
        return document(shown.map(object).collect(), options);
    }
    let mut out = String::new();
    for row in shown {
        let _ = match (options.brief, dev_of(row)) {
            (true, Some(dev)) => writeln!(out, "{:<39} {dev:<16} ", row.address.to_string()),
            (true, None) => writeln!(out, "{:<39} ", row.address.to_string()),
            (false, Some(dev)) => writeln!(out, "{} dev {dev} proxy ", row.address),
            (false, None) => writeln!(out, "{} proxy ", row.address),
        };
    }
    out
}

fn text(row: &NeighRow, with_dev: bool, options: &Options, out: &mut String) {
    if options.brief {
        let _ = write!(out, "{:<39} ", row.address.to_string());
        if with_dev {
            let _ = write!(out, "{:<16} ", row.dev);
        }
        let _ = writeln!(out, "{}", row.lladdr.map(|mac| mac.to_string()).unwrap_or_default());
        return;
    }
    let _ = write!(out, "{} ", row.address);
    if with_dev {
        let _ = write!(out, "dev {} ", row.dev);
    }
    if let Some(mac) = shown_lladdr(row) {
        let _ = write!(out, "lladdr {mac} ");
    }
    if row.router {
        out.push_str("router ");
    }
    if options.stats > 0 {
        usage(row, out);
    }
    let _ = writeln!(out, "{} ", row.state.name());
}

/// An entry that failed has no hardware address to show, whatever it once was.
fn shown_lladdr(row: &NeighRow) -> Option<skiff_dataplane::net::MacAddr> {
    row.lladdr.filter(|_| !matches!(row.state, NudState::Failed | NudState::Incomplete))
}

fn usage(row: &NeighRow, out: &mut String) {
    let u = &row.usage;
    if u.refcnt > 0 {
        let _ = write!(out, " ref {}", u.refcnt);
    }
    let _ = write!(out, " used {}/{}/{}probes {} ", u.used, u.confirmed, u.updated, u.probes);
}

fn json(row: &NeighRow, with_dev: bool, options: &Options) -> Json {
    let mut members = vec![("dst", Json::str(row.address))];
    members.extend(with_dev.then(|| ("dev", Json::str(&row.dev))));
    members.extend(shown_lladdr(row).map(|mac| ("lladdr", Json::str(mac))));
    if options.brief {
        return Json::Obj(members);
    }
    members.extend(row.router.then_some(("router", Json::Null)));
    if options.stats > 0 {
        let u = &row.usage;
        members.extend((u.refcnt > 0).then(|| ("refcnt", Json::num(u.refcnt))));
        members.push(("used", Json::num(u.used)));
        members.push(("confirmed", Json::num(u.confirmed)));
        members.push(("updated", Json::num(u.updated)));
        members.push(("probes", Json::num(u.probes)));
    }
    members.push(("state", Json::strings([row.state.name()])));
    Json::Obj(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of iproute2 6.1.
    #[test]
    fn proxied_addresses_print_as_iproute2_prints_them() {
        let row = |last: u8, dev: Option<&str>| ProxyRow {
            address: [10, 2, 0, last].into(),
            dev: dev.map(str::to_owned),
        };
        let rows = [row(60, Some("r1")), row(61, None)];
        let all = NeighFilter::default();
        let on_r1 = NeighFilter { dev: Some("r1".to_owned()), ..NeighFilter::default() };
        let options = Options::default();
        assert_eq!(show_proxies(&rows, &all, &options), "10.2.0.60 dev r1 proxy \n10.2.0.61 proxy \n");
        assert_eq!(show_proxies(&rows, &on_r1, &options), "10.2.0.60 proxy \n");
        let json = show_proxies(&rows, &all, &Options { json: true, ..Options::default() });
        let expect = r#"[{"dst":"10.2.0.60","dev":"r1","proxy":null},{"dst":"10.2.0.61","proxy":null}]"#;
        assert_eq!(json.trim_end(), expect);
        let brief = show_proxies(&rows, &all, &Options { brief: true, ..Options::default() });
        assert_eq!(brief.lines().next(), Some(format!("{:<39} {:<16} ", "10.2.0.60", "r1").as_str()));
    }
}
