//! `ip link show`, and the head of each device in `ip address show`.

use std::fmt::Write as _;

use super::{document, line_break, linkinfo};
use crate::ip::json::Json;
use crate::ip::refusal::Refusal;
use crate::ip::request::{LinkFilter, Options};
use crate::ip::rows::{Gso, LinkFlags, LinkRow, LinkStats};

/// Prints the links `filter` lets through.
///
/// # Errors
/// [`Refusal::NoSuchDevice`] if the filter names a device that is not among the rows.
pub fn show_links(rows: &[LinkRow], filter: &LinkFilter, options: &Options) -> Result<String, Refusal> {
    check_device(rows.iter(), filter)?;
    let shown = rows.iter().filter(|row| passes(row, filter));
    if options.json {
        return Ok(document(shown.map(|row| Json::Obj(json(row, options))).collect(), options));
    }
    let mut out = String::new();
    for row in shown {
        if options.brief {
            brief_head(row, &mut out);
            let _ = writeln!(out, "{} <{}> ", row.address, flag_names(row).join(","));
            continue;
        }
        head(row, true, &mut out);
        hardware(row, options, true, &mut out);
        if options.stats > 0 {
            out.push(line_break(options));
            stats(&row.stats, options, &mut out);
        }
        out.push('\n');
    }
    Ok(out)
}

/// Fails if the filter names a device that is not among the rows.
pub(super) fn check_device<'a>(
    mut rows: impl Iterator<Item = &'a LinkRow>,
    filter: &LinkFilter,
) -> Result<(), Refusal> {
    match &filter.dev {
        Some(dev) if !rows.any(|row| row.name == *dev) => Err(Refusal::NoSuchDevice(dev.clone())),
        _ => Ok(()),
    }
}

pub(super) fn passes(row: &LinkRow, filter: &LinkFilter) -> bool {
    filter.dev.as_ref().is_none_or(|dev| row.name == *dev)
        && (!filter.up || row.flags.contains(LinkFlags::UP))
        && filter.kind.as_ref().is_none_or(|kind| linkinfo::is_of_kind(row, kind))
        && filter.master.as_ref().is_none_or(|master| row.master == *master)
}

fn full_name(row: &LinkRow) -> String {
    match &row.lower {
        Some(lower) => format!("{}@{}", row.name, lower.name),
        None => row.name.clone(),
    }
}

/// Flags in iproute2's order, with the two it derives: `NO-CARRIER` and `M-DOWN`.
fn flag_names(row: &LinkRow) -> Vec<&'static str> {
    const NAMES: [(LinkFlags, &str); 11] = [
        (LinkFlags::LOOPBACK, "LOOPBACK"),
        (LinkFlags::BROADCAST, "BROADCAST"),
        (LinkFlags::POINTOPOINT, "POINTOPOINT"),
        (LinkFlags::MULTICAST, "MULTICAST"),
        (LinkFlags::NOARP, "NOARP"),
        (LinkFlags::ALLMULTI, "ALLMULTI"),
        (LinkFlags::PROMISC, "PROMISC"),
        (LinkFlags::MASTER, "MASTER"),
        (LinkFlags::SLAVE, "SLAVE"),
        (LinkFlags::UP, "UP"),
        (LinkFlags::LOWER_UP, "LOWER_UP"),
    ];
    let no_carrier = row.flags.contains(LinkFlags::UP) && !row.flags.contains(LinkFlags::RUNNING);
    let mut names = Vec::from_iter(no_carrier.then_some("NO-CARRIER"));
    names.extend(NAMES.iter().filter(|(flag, _)| row.flags.contains(*flag)).map(|(_, name)| *name));
    names.extend(row.lower.as_ref().filter(|lower| !lower.up).map(|_| "M-DOWN"));
    names
}

fn link_type(row: &LinkRow) -> &'static str {
    if row.flags.contains(LinkFlags::LOOPBACK) { "loopback" } else { "ether" }
}

/// The first columns of the short form: name and state.
pub(super) fn brief_head(row: &LinkRow, out: &mut String) {
    let _ = write!(out, "{:<16} {:<14} ", full_name(row), row.state.name());
}

/// The first line of a device, without its end. Only `link show` (`mode`) says the link mode.
pub(super) fn head(row: &LinkRow, mode: bool, out: &mut String) {
    let flags = flag_names(row).join(",");
    let _ =
        write!(out, "{}: {}: <{flags}> mtu {} qdisc {} ", row.ifindex, full_name(row), row.mtu, row.qdisc);
    if let Some(master) = &row.master {
        let _ = write!(out, "master {master} ");
    }
    let _ = write!(out, "state {} ", row.state.name());
    if mode {
        out.push_str("mode DEFAULT ");
    }
    out.push_str("group default ");
    if row.qlen > 0 {
        let _ = write!(out, "qlen {}", row.qlen);
    }
}

/// The line of the hardware address, from the end of the line before it on.
pub(super) fn hardware(row: &LinkRow, options: &Options, mode: bool, out: &mut String) {
    out.push(line_break(options));
    let _ = write!(out, "    link/{} {} brd {}", link_type(row), row.address, row.broadcast);
    if options.details {
        details(row, options, mode, out);
    }
}

fn details(row: &LinkRow, options: &Options, mode: bool, out: &mut String) {
    let d = &row.details;
    let _ = write!(out, " promiscuity {}  allmulti {} ", d.promiscuity, d.allmulti);
    let _ = write!(out, "minmtu {} maxmtu {} ", d.min_mtu, d.max_mtu);
    linkinfo::text(row, line_break(options), out);
    if let Some(gen_mode) = d.addr_gen_mode.as_ref().filter(|_| mode) {
        let _ = write!(out, "addrgenmode {gen_mode} ");
    }
    let _ = write!(out, "numtxqueues {} numrxqueues {} ", d.tx_queues, d.rx_queues);
    if let Some(Gso { gso_max_size, gso_max_segs, tso_max_size, tso_max_segs, gro_max_size }) = d.gso {
        let _ = write!(out, "gso_max_size {gso_max_size} gso_max_segs {gso_max_segs} ");
        let _ = write!(
            out,
            "tso_max_size {tso_max_size} tso_max_segs {tso_max_segs} gro_max_size {gro_max_size} "
        );
    }
}

/// The counters, without the last line's end.
pub(super) fn stats(stats: &LinkStats, options: &Options, out: &mut String) {
    let (rx, tx) = (&stats.rx, &stats.tx);
    let rx_counts = [rx.bytes, rx.packets, rx.errors, rx.dropped, rx.missed, rx.multicast];
    let tx_counts = [tx.bytes, tx.packets, tx.errors, tx.dropped, tx.carrier_errors, tx.collisions];
    let rx_errors = [0, rx.length_errors, rx.crc_errors, rx.frame_errors, rx.fifo_errors, rx.over_errors];
    let tx_errors =
        [0, tx.aborted_errors, tx.fifo_errors, tx.window_errors, tx.heartbeat_errors, tx.carrier_changes];
    let with_errors = options.stats > 1;
    let errors = [rx_errors, tx_errors];
    let widths = column_widths(&[rx_counts, tx_counts], if with_errors { &errors } else { &[] });

    let mut table = StatTable { widths, line_break: line_break(options), out };
    table.counts("RX:", ["bytes", "packets", "errors", "dropped", "missed", "mcast"], rx_counts);
    if with_errors {
        table.errors("RX errors:", ["length", "crc", "frame", "fifo", "overrun"], rx_errors);
    }
    table.out.push(table.line_break);
    table.counts("TX:", ["bytes", "packets", "errors", "dropped", "carrier", "collsns"], tx_counts);
    if with_errors {
        table.errors("TX errors:", ["aborted", "fifo", "window", "heartbt", "transns"], tx_errors);
    }
}

/// Every column is as wide as its widest heading or number. The first heading is `RX errors:`.
fn column_widths(counts: &[[u64; 6]], errors: &[[u64; 6]]) -> [usize; 6] {
    let mut widths = [10, 7, 6, 7, 7, 7];
    for row in counts.iter().chain(errors) {
        for (width, number) in widths.iter_mut().zip(row) {
            *width = (*width).max(number.to_string().len());
        }
    }
    widths
}

struct StatTable<'a> {
    widths: [usize; 6],
    line_break: char,
    out: &'a mut String,
}

impl StatTable<'_> {
    /// Heading and numbers; the heading ends in the blank column of compressed packets, which no device here counts.
    fn counts(&mut self, title: &str, names: [&str; 6], counts: [u64; 6]) {
        let w = self.widths;
        let _ = write!(self.out, "    {title} {:>1$}", names[0], w[0] - title.len() - 1);
        for (name, width) in names.iter().zip(w).skip(1) {
            let _ = write!(self.out, " {name:>width$}");
        }
        let _ = write!(self.out, " {:10}{}    ", "", self.line_break);
        for (count, width) in counts.iter().zip(w) {
            let _ = write!(self.out, "{count:>width$} ");
        }
    }

    fn errors(&mut self, title: &str, names: [&str; 5], errors: [u64; 6]) {
        let w = self.widths;
        let _ = write!(self.out, "{}    {title:<1$}", self.line_break, w[0]);
        for (name, width) in names.iter().zip(&w[1..]) {
            let _ = write!(self.out, " {name:>width$}");
        }
        let _ = write!(self.out, "{}    {:>2$}", self.line_break, "", w[0]);
        for (count, width) in errors.iter().zip(w).skip(1) {
            let _ = write!(self.out, " {count:>width$}");
        }
        self.out.push(' ');
    }
}

/// The members of a link's JSON object.
pub(super) fn json(row: &LinkRow, options: &Options) -> Vec<(&'static str, Json)> {
    let flags = || ("flags", Json::strings(flag_names(row)));
    if options.brief {
        let mut members = brief_json(row);
        members.extend([("address", Json::str(row.address)), flags()]);
        return members;
    }
    let mut members = head_json(row, true);
    hardware_json(row, options, true, &mut members);
    if options.stats > 0 {
        members.push(("stats64", stats_json(&row.stats, options)));
    }
    members
}

pub(super) fn brief_json(row: &LinkRow) -> Vec<(&'static str, Json)> {
    let mut members = Vec::from_iter(row.lower.as_ref().map(|lower| ("link", Json::str(&lower.name))));
    members.extend([("ifname", Json::str(&row.name)), ("operstate", Json::str(row.state.name()))]);
    members
}

pub(super) fn head_json(row: &LinkRow, mode: bool) -> Vec<(&'static str, Json)> {
    let mut members = vec![("ifindex", Json::num(row.ifindex))];
    members.extend(row.lower.as_ref().map(|lower| ("link", Json::str(&lower.name))));
    members.push(("ifname", Json::str(&row.name)));
    members.push(("flags", Json::strings(flag_names(row))));
    members.push(("mtu", Json::num(row.mtu)));
    members.push(("qdisc", Json::str(&row.qdisc)));
    members.extend(row.master.as_ref().map(|master| ("master", Json::str(master))));
    members.push(("operstate", Json::str(row.state.name())));
    members.extend(mode.then(|| ("linkmode", Json::str("DEFAULT"))));
    members.push(("group", Json::str("default")));
    members.extend((row.qlen > 0).then(|| ("txqlen", Json::num(row.qlen))));
    members
}

pub(super) fn hardware_json(
    row: &LinkRow,
    options: &Options,
    mode: bool,
    members: &mut Vec<(&'static str, Json)>,
) {
    members.push(("link_type", Json::str(link_type(row))));
    members.push(("address", Json::str(row.address)));
    members.push(("broadcast", Json::str(row.broadcast)));
    if options.details {
        details_json(row, mode, members);
    }
}

fn details_json(row: &LinkRow, mode: bool, members: &mut Vec<(&'static str, Json)>) {
    let d = &row.details;
    members.push(("promiscuity", Json::num(d.promiscuity)));
    members.push(("allmulti", Json::num(d.allmulti)));
    members.push(("min_mtu", Json::num(d.min_mtu)));
    members.push(("max_mtu", Json::num(d.max_mtu)));
    members.extend(linkinfo::json(row));
    members.extend(d.addr_gen_mode.as_ref().filter(|_| mode).map(|m| ("inet6_addr_gen_mode", Json::str(m))));
    members.push(("num_tx_queues", Json::num(d.tx_queues)));
    members.push(("num_rx_queues", Json::num(d.rx_queues)));
    if let Some(gso) = d.gso {
        members.push(("gso_max_size", Json::num(gso.gso_max_size)));
        members.push(("gso_max_segs", Json::num(gso.gso_max_segs)));
        members.push(("tso_max_size", Json::num(gso.tso_max_size)));
        members.push(("tso_max_segs", Json::num(gso.tso_max_segs)));
        members.push(("gro_max_size", Json::num(gso.gro_max_size)));
    }
}

pub(super) fn stats_json(stats: &LinkStats, options: &Options) -> Json {
    let (rx, tx) = (&stats.rx, &stats.tx);
    let mut received = vec![
        ("bytes", Json::num(rx.bytes)),
        ("packets", Json::num(rx.packets)),
        ("errors", Json::num(rx.errors)),
        ("dropped", Json::num(rx.dropped)),
        ("over_errors", Json::num(rx.over_errors)),
        ("multicast", Json::num(rx.multicast)),
    ];
    let mut sent = vec![
        ("bytes", Json::num(tx.bytes)),
        ("packets", Json::num(tx.packets)),
        ("errors", Json::num(tx.errors)),
        ("dropped", Json::num(tx.dropped)),
        ("carrier_errors", Json::num(tx.carrier_errors)),
        ("collisions", Json::num(tx.collisions)),
    ];
    if options.stats > 1 {
        received.extend([
            ("length_errors", Json::num(rx.length_errors)),
            ("crc_errors", Json::num(rx.crc_errors)),
            ("frame_errors", Json::num(rx.frame_errors)),
            ("fifo_errors", Json::num(rx.fifo_errors)),
            ("missed_errors", Json::num(rx.missed)),
        ]);
        sent.extend([
            ("aborted_errors", Json::num(tx.aborted_errors)),
            ("fifo_errors", Json::num(tx.fifo_errors)),
            ("window_errors", Json::num(tx.window_errors)),
            ("heartbeat_errors", Json::num(tx.heartbeat_errors)),
            ("carrier_changes", Json::num(tx.carrier_changes)),
        ]);
    }
    Json::Obj(vec![("rx", Json::Obj(received)), ("tx", Json::Obj(sent))])
}
