//! Filters as tc prints them.

mod flower;
mod u32;

use skiff_dataplane::net::IfIndex;
use skiff_dataplane::sched::cls::ematch::Tree;
use skiff_dataplane::sched::cls::flow::Flower;
use skiff_dataplane::sched::cls::u32::Node;
use skiff_dataplane::sched::handle::TcHandle;

use super::numbers::print_protocol;
use super::out::Out;
use super::{EGRESS, FilterCommand, INGRESS};
use crate::tc::action::print::{self, ActionRow};
use crate::tc::request::{Devices, Show};

/// A filter as it is shown; the first row of a preference has no options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterRow {
    /// Its chain.
    pub chain: u32,
    /// Its preference.
    pub pref: u16,
    /// Its protocol.
    pub protocol: u16,
    /// Its kind.
    pub kind: String,
    /// Its number.
    pub handle: u32,
    /// What it looks at.
    pub body: RowBody,
    /// Its class.
    pub classid: TcHandle,
    /// The device its packets came in by.
    pub indev: Option<IfIndex>,
    /// `skip_hw`.
    pub skip_hw: bool,
    /// `skip_sw`.
    pub skip_sw: bool,
    /// Its action was given by the old word.
    pub old_police: bool,
    /// Its actions.
    pub actions: Vec<ActionRow>,
    /// Packets that matched.
    pub hits: u64,
}

/// What a filter looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowBody {
    /// The row of a preference.
    None,
    /// A table of u32: its buckets.
    U32Table(u32),
    /// A node of u32.
    U32(Node),
    /// fw: the mask.
    Fw(u32),
    /// matchall.
    Matchall,
    /// flower.
    Flower(Box<Flower>),
    /// basic: the expression.
    Basic(Option<Tree>),
}

/// Where the filters of a show are, and what was asked for: what was named is not printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The device.
    pub dev: IfIndex,
    /// The discipline, class or side.
    pub parent: TcHandle,
}

/// All rows of a `show`, by place.
pub fn show(rows: &[(Place, FilterRow)], asked: &FilterCommand, show: Show, devices: &dyn Devices) -> String {
    let mut out = Out::new(show.json);
    out.open_array("");
    for (place, row) in rows {
        self::row(&mut out, *place, row, asked, show, devices);
    }
    out.close_array();
    let end = if show.json { "\n" } else { "" };
    out.finish() + end
}

/// One filter as text: the line of a `get`.
pub fn print(
    place: Place,
    filter: &FilterRow,
    asked: &FilterCommand,
    show: Show,
    devices: &dyn Devices,
) -> String {
    let mut out = Out::new(show.json);
    row(&mut out, place, filter, asked, show, devices);
    out.finish()
}

fn row(
    out: &mut Out,
    place: Place,
    row: &FilterRow,
    asked: &FilterCommand,
    show: Show,
    devices: &dyn Devices,
) {
    out.open("");
    out.raw("filter ");
    let get = asked.verb == super::Verb::Get;
    if asked.dev != Some(place.dev) {
        let name = devices.name(place.dev).unwrap_or_default();
        out.str("dev", "dev ", name, " ");
    }
    if get || asked.parent != place.parent {
        match place.parent {
            TcHandle::ROOT => out.flag("root", "root "),
            INGRESS => out.flag("ingress", "ingress "),
            EGRESS => out.flag("egress", "egress "),
            parent => out.str("parent", "parent ", parent, " "),
        }
    }
    if get || asked.protocol.is_none_or(|protocol| protocol != row.protocol) {
        out.str("protocol", "protocol ", print_protocol(row.protocol), " ");
    }
    if get || asked.pref != row.pref {
        out.num("pref", "pref ", row.pref, " ");
    }
    out.str("kind", "", &row.kind, " ");
    if get || asked.chain != Some(row.chain) {
        out.num("chain", "chain ", row.chain, " ");
    }
    if row.body != RowBody::None {
        out.open("options");
        options(out, row, show, devices);
        out.close();
    }
    out.nl();
    out.close();
}

fn options(out: &mut Out, row: &FilterRow, show: Show, devices: &dyn Devices) {
    match &row.body {
        RowBody::None => {}
        RowBody::U32Table(divisor) => u32::table(out, row.handle, *divisor),
        RowBody::U32(node) => u32::node(out, row, node, show, devices),
        RowBody::Fw(mask) => fw(out, row, *mask, show, devices),
        RowBody::Matchall => matchall(out, row, show, devices),
        RowBody::Flower(it) => flower::print(out, row, it, show, devices),
        RowBody::Basic(tree) => basic(out, row, tree.as_ref(), show, devices),
    }
}

fn fw(out: &mut Out, row: &FilterRow, mask: u32, show: Show, devices: &dyn Devices) {
    if row.classid == TcHandle::UNSPEC && row.actions.is_empty() {
        return;
    }
    let masked = if mask == u32::MAX { String::new() } else { format!("/{mask:#x}") };
    out.str("handle", "handle ", format_args!("{:#x}{masked}", row.handle), " ");
    if row.classid != TcHandle::UNSPEC {
        out.str("classid", "classid ", row.classid, " ");
    }
    if let (true, [police]) = (row.old_police, row.actions.as_slice()) {
        print::old_police(out, police, show);
    }
    if let Some(dev) = row.indev {
        out.str("input_dev", "input dev ", devices.name(dev).unwrap_or_default(), " ");
    }
    if !row.old_police && !row.actions.is_empty() {
        out.nl();
        print::of_filter(out, &row.actions, show, devices);
    }
}

fn matchall(out: &mut Out, row: &FilterRow, show: Show, devices: &dyn Devices) {
    out.shown("handle", row.handle, format_args!("handle {:#x} ", row.handle));
    flowid(out, row);
    hardware(out, row, "\n  ", "");
    if show.stats {
        out.num("rule_hit", " (rule hit ", row.hits, ")");
    }
    actions(out, row, show, devices);
}

fn basic(out: &mut Out, row: &FilterRow, tree: Option<&Tree>, show: Show, devices: &dyn Devices) {
    out.hex("handle", row.handle, format_args!("handle {:#x} ", row.handle));
    flowid(out, row);
    if let Some(tree) = tree {
        let text = super::basic::print(tree, devices);
        out.json_str("ematch", text.trim());
        out.raw(text);
    }
    match (row.old_police, row.actions.as_slice()) {
        (true, [police]) => {
            out.nl();
            print::old_police(out, police, show);
        }
        _ => actions(out, row, show, devices),
    }
}

/// The class, as most kinds print it.
fn flowid(out: &mut Out, row: &FilterRow) {
    if row.classid != TcHandle::UNSPEC {
        out.str("flowid", "flowid ", row.classid, " ");
    }
}

/// There is no hardware to put filters in.
fn hardware(out: &mut Out, row: &FilterRow, before: &str, after: &str) {
    let flags = [("skip_hw", row.skip_hw), ("skip_sw", row.skip_sw), ("not_in_hw", true)];
    for (name, _) in flags.into_iter().filter(|(_, set)| *set) {
        out.flag(name, &format!("{before}{name}{after}"));
    }
}

fn actions(out: &mut Out, row: &FilterRow, show: Show, devices: &dyn Devices) {
    if !row.actions.is_empty() {
        print::of_filter(out, &row.actions, show, devices);
    }
}
