//! `ip mroute show`.

use std::fmt::Write as _;

use super::{document, line_break};
use crate::ip::json::Json;
use crate::ip::request::{Family, MrouteFilter, Options};
use crate::ip::rows::MrouteRow;

/// Prints the entries `filter` lets through.
pub fn show_mroutes(rows: &[MrouteRow], filter: &MrouteFilter, options: &Options) -> String {
    let shown = rows.iter().filter(|row| {
        options.family != Some(Family::Inet6)
            && filter.iif.as_ref().is_none_or(|iif| row.iif.as_ref() == Some(iif))
            && filter.to.is_none_or(|to| to.contains(&row.group))
            && filter.from.is_none_or(|from| from.contains(&row.source))
    });
    if options.json {
        return document(shown.map(|row| json(row, options)).collect(), options);
    }
    let mut out = String::new();
    shown.for_each(|row| text(row, options, &mut out));
    out
}

fn text(row: &MrouteRow, options: &Options, out: &mut String) {
    let pair = format!("({},{})", row.source, row.group);
    let _ = write!(out, "{pair:<32} Iif: ");
    match &row.iif {
        Some(iif) => {
            let _ = write!(out, "{iif:<10} ");
        }
        None => out.push_str("unresolved "),
    }
    if !row.oifs.is_empty() {
        out.push_str("Oifs: ");
        for (dev, ttl) in &row.oifs {
            let _ = write!(out, "{dev}");
            if *ttl > 1 {
                let _ = write!(out, "(ttl {ttl}) ");
            } else {
                out.push(' ');
            }
        }
    }
    let _ = write!(out, " State: {}", state(row));
    if options.stats > 0 && row.iif.is_some() {
        let _ = write!(out, "{}  {} packets, {} bytes", line_break(options), row.packets, row.bytes);
        if row.wrong_if > 0 {
            let _ = write!(out, ", {} arrived on wrong iif.", row.wrong_if);
        }
        let _ = write!(out, ", Age {:4.2}", age(row));
    }
    out.push('\n');
}

fn json(row: &MrouteRow, options: &Options) -> Json {
    let mut members = vec![("src", Json::str(row.source)), ("dst", Json::str(row.group))];
    members.push(("iif", Json::str(row.iif.as_deref().unwrap_or("unresolved"))));
    if row.iif.is_some() {
        let oif = |(dev, ttl): &(String, u8)| {
            let mut members = vec![("oif", Json::str(dev))];
            members.extend((*ttl > 1).then(|| ("ttl", Json::num(*ttl))));
            Json::Obj(members)
        };
        members.push(("multipath", Json::Arr(row.oifs.iter().map(oif).collect())));
    }
    members.push(("state", Json::str(state(row))));
    if options.stats > 0 && row.iif.is_some() {
        members.push(("packets", Json::num(row.packets)));
        members.push(("bytes", Json::num(row.bytes)));
        members.extend((row.wrong_if > 0).then(|| ("wrong_if", Json::num(row.wrong_if))));
        members.push(("expires", Json::Hundredths(row.age_ms / 10)));
    }
    Json::Obj(members)
}

fn state(row: &MrouteRow) -> &'static str {
    if row.iif.is_some() { "resolved" } else { "unresolved" }
}

fn age(row: &MrouteRow) -> f64 {
    row.age_ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [MrouteRow; 3] {
        let row = |source: &str, group: &str, iif: Option<&str>, oifs: &[(&str, u8)]| MrouteRow {
            source: source.parse().unwrap(),
            group: group.parse().unwrap(),
            iif: iif.map(str::to_owned),
            oifs: oifs.iter().map(|(dev, ttl)| (dev.to_string(), *ttl)).collect(),
            ..MrouteRow::default()
        };
        [
            MrouteRow {
                packets: 8,
                bytes: 288,
                wrong_if: 2,
                age_ms: 324,
                ..row("10.1.0.2", "239.1.1.1", Some("mcast-r1"), &[("mcast-r2", 1), ("mcast-r3", 5)])
            },
            row("10.1.0.9", "239.9.9.9", Some("mcast-r1"), &[]),
            row("10.1.0.2", "239.7.7.7", None, &[]),
        ]
    }

    /// Recorded from iproute2 on the kernel's own table.
    #[test]
    fn the_text_is_iproute2s() {
        let filter = MrouteFilter::default();
        let plain = "(10.1.0.2,239.1.1.1)             Iif: mcast-r1   Oifs: mcast-r2 mcast-r3(ttl 5)  State: resolved\n\
                     (10.1.0.9,239.9.9.9)             Iif: mcast-r1    State: resolved\n\
                     (10.1.0.2,239.7.7.7)             Iif: unresolved  State: unresolved\n";
        assert_eq!(show_mroutes(&rows(), &filter, &Options::default()), plain);
        let with_stats = show_mroutes(&rows()[..1], &filter, &Options { stats: 1, ..Options::default() });
        assert_eq!(
            with_stats.lines().nth(1),
            Some("  8 packets, 288 bytes, 2 arrived on wrong iif., Age 0.32")
        );
    }

    #[test]
    fn the_json_is_iproute2s() {
        let options = Options { json: true, stats: 1, ..Options::default() };
        let want = "[{\"src\":\"10.1.0.2\",\"dst\":\"239.1.1.1\",\"iif\":\"mcast-r1\",\"multipath\":[{\"oif\":\"mcast-r2\"},\
                    {\"oif\":\"mcast-r3\",\"ttl\":5}],\"state\":\"resolved\",\"packets\":8,\"bytes\":288,\"wrong_if\":2,\
                    \"expires\":0.32},{\"src\":\"10.1.0.9\",\"dst\":\"239.9.9.9\",\"iif\":\"mcast-r1\",\"multipath\":[],\
                    \"state\":\"resolved\",\"packets\":0,\"bytes\":0,\"expires\":0.00},{\"src\":\"10.1.0.2\",\
                    \"dst\":\"239.7.7.7\",\"iif\":\"unresolved\",\"state\":\"unresolved\"}]\n";
        assert_eq!(show_mroutes(&rows(), &MrouteFilter::default(), &options), want);
    }

    #[test]
    fn filters_choose_by_interface_group_and_source() {
        let lines =
            |filter: &MrouteFilter| show_mroutes(&rows(), filter, &Options::default()).lines().count();
        assert_eq!(lines(&MrouteFilter { iif: Some("mcast-r1".into()), ..Default::default() }), 2);
        assert_eq!(lines(&MrouteFilter { to: "239.1.0.0/16".parse().ok(), ..Default::default() }), 1);
        assert_eq!(lines(&MrouteFilter { from: "10.1.0.2/32".parse().ok(), ..Default::default() }), 2);
    }
}
