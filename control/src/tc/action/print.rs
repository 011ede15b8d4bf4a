//! Actions as tc prints them.

use skiff_dataplane::sched::act::{ActionCounts, ActionKind, ActionSpec, Control};

use super::{csum, gact, mirred, pedit, police, skbedit, vlan};
use crate::tc::filter::numbers;
use crate::tc::filter::out::Out;
use crate::tc::request::{Devices, Show};

/// An action and its statistics, as they are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionRow {
    /// Its parameters.
    pub spec: ActionSpec,
    /// Its number.
    pub index: u32,
    /// Who uses it: filters, and whoever made it by `tc actions`.
    pub refs: u32,
    /// Filters that use it.
    pub binds: u32,
    /// It was made by `tc actions`.
    pub standalone: bool,
    /// What it counted.
    pub counts: ActionCounts,
    /// The time now, nanoseconds since the router's origin.
    pub now: u64,
}

/// Writes what follows an action.
pub fn control(out: &mut Out, before: &str, control: Control, after: &str) {
    out.raw(before);
    out.open("control_action");
    let word = match control {
        Control::Continue => "continue",
        Control::Ok => "pass",
        Control::Reclassify => "reclassify",
        Control::Shot => "drop",
        Control::Pipe => "pipe",
        Control::Stolen => "stolen",
        Control::Trap => "trap",
        Control::Jump(_) => "jump",
        Control::Goto(_) => "goto",
    };
    out.str("type", "", word, "");
    match control {
        Control::Goto(chain) => out.num("chain", " chain ", chain, ""),
        Control::Jump(to) => out.num("jump", " ", to, ""),
        _ => {}
    }
    out.close();
    out.raw(after);
}

/// Writes the actions of a filter.
pub fn of_filter(out: &mut Out, rows: &[ActionRow], show: Show, devices: &dyn Devices) {
    out.open_array("actions");
    for (i, row) in rows.iter().enumerate() {
        numbered(out, i + 1, row, show, devices, true);
    }
    out.close_array();
}

/// One action with its place.
fn numbered(out: &mut Out, order: usize, row: &ActionRow, show: Show, devices: &dyn Devices, bound: bool) {
    out.open("");
    out.nl();
    out.num("order", "\taction order ", order, ": ");
    action(out, row, show, devices, bound);
    out.close();
}

/// What `tc actions ls` shows of a kind.
pub fn list(rows: &[ActionRow], show: Show, devices: &dyn Devices) -> String {
    total(rows, rows.len(), 0, show, devices)
}

/// What `tc actions get` shows.
pub fn get(rows: &[ActionRow], show: Show, devices: &dyn Devices) -> String {
    total(rows, 0, 1, show, devices)
}

fn total(rows: &[ActionRow], count: usize, first: usize, show: Show, devices: &dyn Devices) -> String {
    let mut out = Out::new(show.json);
    out.open_array("");
    out.open("");
    out.num("total acts", "total acts ", count, "");
    out.nl();
    out.close();
    out.open("");
    out.open_array("actions");
    for (i, row) in rows.iter().enumerate() {
        numbered(&mut out, first + i, row, show, devices, false);
    }
    out.close_array();
    out.close();
    out.close_array();
    let end = if show.json { "\n" } else { "" };
    out.finish() + end
}

/// The old form of a policer among the options of a filter.
pub fn old_police(out: &mut Out, row: &ActionRow, show: Show) {
    if let ActionKind::Police(it) = &row.spec.kind {
        police::print(out, it, row.spec.control, row.index, show.details);
        references(out, row, show, "\tref ", " ");
    }
}

fn action(out: &mut Out, row: &ActionRow, show: Show, devices: &dyn Devices, bound: bool) {
    let spec = &row.spec;
    match spec.kind {
        ActionKind::Police(_) => {}
        ActionKind::Pedit(_) => out.str("kind", " ", spec.kind.name(), " "),
        _ => out.str("kind", "", spec.kind.name(), " "),
    }
    match &spec.kind {
        ActionKind::Gact(it) => gact::print(out, it, spec.control),
        ActionKind::Police(it) => police::print(out, it, spec.control, row.index, show.details),
        ActionKind::Mirred(it) => mirred::print(out, it, spec.control, devices),
        ActionKind::Skbedit(it) => skbedit::print(out, it, spec.control),
        ActionKind::Pedit(it) => pedit::print(out, it, spec.control),
        ActionKind::Csum(which) => csum::print(out, *which, spec.control),
        ActionKind::Vlan(it) => vlan::print(out, it, spec.control),
    }
    match &spec.kind {
        ActionKind::Police(_) => references(out, row, show, "\tref ", " "),
        ActionKind::Mirred(_) | ActionKind::Csum(_) => {
            out.num("index", "\tindex ", row.index, "");
            references(out, row, show, " ref ", "");
        }
        ActionKind::Pedit(it) => {
            out.num("index", " \t index ", row.index, "");
            users(out, row, show, " ref ", "");
            pedit::print_keys(out, it);
            out.nl();
        }
        _ => {
            out.num("index", "\t index ", row.index, "");
            references(out, row, show, " ref ", "");
        }
    }
    tail(out, row, show, bound);
}

/// Who uses it, and when; a line's end.
fn references(out: &mut Out, row: &ActionRow, show: Show, before: &str, after: &str) {
    users(out, row, show, before, after);
    out.nl();
}

fn users(out: &mut Out, row: &ActionRow, show: Show, before: &str, after: &str) {
    out.num("ref", before, row.refs, after);
    let bind = if after.is_empty() { " bind " } else { "bind " };
    out.num("bind", bind, row.binds, after);
    if show.stats {
        times(out, row);
    }
}

fn times(out: &mut Out, row: &ActionRow) {
    let ago = |at: u64| row.now.saturating_sub(at) / 1_000_000_000;
    let ActionCounts { installed, last_used, first_used, .. } = row.counts;
    out.num("installed", " installed ", ago(installed), " sec");
    let used = if last_used == 0 { installed } else { last_used };
    out.num("last_used", " used ", ago(used), " sec");
    if first_used != 0 {
        out.num("first_used", " firstused ", ago(first_used), " sec");
    }
}

fn tail(out: &mut Out, row: &ActionRow, show: Show, bound: bool) {
    if show.stats {
        out.raw("\tAction statistics:\n");
        out.open("stats");
        statistics(out, &row.counts, "\t");
        out.close();
        out.nl();
    }
    if !row.spec.cookie.is_empty() {
        out.str("cookie", "\tcookie ", numbers::hex(&row.spec.cookie), "");
        out.nl();
    }
    if !bound {
        out.flag("not_in_hw", "\tnot_in_hw");
        out.nl();
    }
    if row.standalone || !bound {
        out.raw("\t");
        out.open_array("used_hw_stats");
        out.str("", "used_hw_stats ", "disabled", "");
        out.close_array();
        out.nl();
    }
}

/// The counters of an action, or of a filter.
pub fn statistics(out: &mut Out, counts: &ActionCounts, before: &str) {
    let ActionCounts { bytes, packets, drops, overlimits, .. } = *counts;
    out.raw(before);
    out.num("bytes", "Sent ", bytes, " bytes");
    out.num("packets", " ", packets, " pkt");
    out.num("drops", " (dropped ", drops, "");
    out.num("overlimits", ", overlimits ", overlimits, "");
    out.num("requeues", " requeues ", 0, ") ");
    out.nl();
    out.raw(before);
    out.shown("backlog", 0, "backlog 0b");
    out.num("qlen", " ", 0, "p");
    out.raw(" requeues 0");
}
