//! `ip address show`.

use std::fmt::Write as _;

use super::link::{self, brief_head, brief_json, check_device, hardware, hardware_json, head, head_json};
use super::{document, line_break};
use crate::ip::json::Json;
use crate::ip::refusal::Refusal;
use crate::ip::request::{AddrFilter, Family, Options};
use crate::ip::rows::{AddrRow, LinkAddrs, LinkRow};

/// The kernel's word for a lifetime without end, seconds.
const FOREVER: u32 = u32::MAX;

/// The addresses `filter` lets through, with their devices: what `addr flush` deletes.
pub fn matching_addrs<'a>(
    rows: &'a [LinkAddrs],
    filter: &'a AddrFilter,
    options: &Options,
) -> impl Iterator<Item = (&'a LinkRow, &'a AddrRow)> {
    let inet = options.family != Some(Family::Inet6);
    rows.iter()
        .filter(move |row| inet && link::passes(&row.link, &filter.link))
        .flat_map(|row| row.addrs.iter().map(move |addr| (&row.link, addr)))
        .filter(|(_, addr)| passes(addr, filter))
}

fn passes(addr: &AddrRow, filter: &AddrFilter) -> bool {
    filter.to.is_none_or(|to| to.prefix_len() <= addr.local.prefix_len() && to.contains(&addr.local.addr()))
        && filter.scope.is_none_or(|scope| addr.scope == scope)
}

/// Prints the devices and addresses `filter` lets through.
///
/// # Errors
/// [`Refusal::NoSuchDevice`] if the filter names a device that is not among the rows.
pub fn show_addrs(rows: &[LinkAddrs], filter: &AddrFilter, options: &Options) -> Result<String, Refusal> {
    check_device(rows.iter().map(|row| &row.link), &filter.link)?;
    let printer = Printer { options, filter };
    let inet = options.family != Some(Family::Inet6);
    // A selection of addresses leaves out the devices that have none of them; so does the one-line form.
    let oneline = options.oneline && !options.json && !options.brief;
    let need_address = printer.inet_only() || filter.scope.is_some() || oneline;
    let shown = rows.iter().filter(|row| link::passes(&row.link, &filter.link)).filter_map(|row| {
        let addrs: Vec<_> = row.addrs.iter().filter(|addr| inet && passes(addr, filter)).collect();
        (!need_address || !addrs.is_empty()).then_some((&row.link, addrs))
    });
    if options.json {
        return Ok(document(shown.map(|(link, addrs)| printer.json(link, &addrs)).collect(), options));
    }
    let mut out = String::new();
    shown.for_each(|(link, addrs)| printer.text(link, &addrs, &mut out));
    Ok(out)
}

struct Printer<'a> {
    options: &'a Options,
    filter: &'a AddrFilter,
}

impl Printer<'_> {
    /// True if the user asked for one family, by option or by a prefix: no hardware address then.
    fn inet_only(&self) -> bool {
        self.options.family.is_some() || self.filter.to.is_some()
    }

    fn text(&self, row: &LinkRow, addrs: &[&AddrRow], out: &mut String) {
        if self.options.brief {
            brief_head(row, out);
            for addr in addrs {
                let _ = write!(out, "{} ", addr.local);
            }
            out.push('\n');
            return;
        }
        if self.options.oneline {
            for addr in addrs {
                let _ = write!(out, "{}: {}", row.ifindex, row.name);
                self.address(addr, out);
            }
            return;
        }
        head(row, false, out);
        if !self.inet_only() {
            hardware(row, self.options, false, out);
        }
        out.push('\n');
        for addr in addrs {
            self.address(addr, out);
        }
        if self.options.stats > 0 {
            link::stats(&row.stats, self.options, out);
            out.push('\n');
        }
    }

    fn address(&self, addr: &AddrRow, out: &mut String) {
        let _ = write!(out, "    inet {} ", addr.local);
        if let Some(broadcast) = addr.broadcast {
            let _ = write!(out, "brd {broadcast} ");
        }
        let _ = write!(out, "scope {} ", addr.scope);
        if addr.secondary {
            out.push_str("secondary ");
        }
        let _ = write!(out, "{}{}", addr.label, line_break(self.options));
        out.push_str("       valid_lft forever preferred_lft forever\n");
    }

    fn json(&self, row: &LinkRow, addrs: &[&AddrRow]) -> Json {
        if self.options.brief {
            let mut members = brief_json(row);
            members.push(("addr_info", Json::Arr(addrs.iter().map(|addr| Json::Obj(short(addr))).collect())));
            return Json::Obj(members);
        }
        let mut members = head_json(row, false);
        if !self.inet_only() {
            hardware_json(row, self.options, false, &mut members);
        }
        members.push(("addr_info", Json::Arr(addrs.iter().map(|addr| full(addr)).collect())));
        if self.options.stats > 0 {
            members.push(("stats64", link::stats_json(&row.stats, self.options)));
        }
        Json::Obj(members)
    }
}

fn short(addr: &AddrRow) -> Vec<(&'static str, Json)> {
    vec![("local", Json::str(addr.local.addr())), ("prefixlen", Json::num(addr.local.prefix_len()))]
}

fn full(addr: &AddrRow) -> Json {
    let mut members = vec![("family", Json::str("inet"))];
    members.extend(short(addr));
    members.extend(addr.broadcast.map(|broadcast| ("broadcast", Json::str(broadcast))));
    members.push(("scope", Json::str(addr.scope)));
    members.extend(addr.secondary.then_some(("secondary", Json::True)));
    members.push(("label", Json::str(&addr.label)));
    members.extend([("valid_life_time", Json::num(FOREVER)), ("preferred_life_time", Json::num(FOREVER))]);
    Json::Obj(members)
}
