//! `[traffic-control]` and `[netfilter]`: command languages inside a string. What is checked here is their shape,
//! line by line; the words belong to the compilers of those languages.

use super::diag::{Fault, Source, quote};
use super::section::{Section, Value, one_of};

/// Checks `[traffic-control] commands`, lines of `tc -batch`.
pub(super) fn check_traffic_control<'t>(source: &'t Source<'t>, value: &'t Value<'t>) {
    check_lines(source, "traffic-control", "commands", value, tc_line);
}

/// Checks `[netfilter] rules`, the text of `iptables-save`.
pub(super) fn check_netfilter<'t>(source: &'t Source<'t>, value: &'t Value<'t>) {
    let mut table = None;
    let rules = check_lines(source, "netfilter", "rules", value, |line| netfilter_line(line, &mut table));
    if let (Some(name), Some(section)) = (table, rules) {
        let pos = section.key_pos("rules").unwrap_or(section.pos);
        source.report(pos, format!("table {} has no COMMIT", quote(&name)));
    }
}

fn tc_line(line: &str) -> Result<(), Fault> {
    const OBJECTS: [&str; 4] = ["qdisc", "class", "filter", "actions"];
    const VERBS: [&str; 4] = ["add", "change", "replace", "del"];
    let mut words = line.split_whitespace();
    let object = words.next().unwrap_or_default();
    if !OBJECTS.contains(&object) {
        let fault =
            Fault::from(format!("{} is not a tc object: {} is wanted", quote(object), one_of(OBJECTS)));
        return Err(fault.nearest(object, OBJECTS));
    }
    match words.next() {
        Some(verb) if VERBS.contains(&verb) => Ok(()),
        Some(verb) => {
            let fault =
                Fault::from(format!("{} is not a tc command: {} is wanted", quote(verb), one_of(VERBS)));
            Err(fault.nearest(verb, VERBS))
        }
        None => Err(format!("tc command {} ends early", quote(line)).into()),
    }
}

/// One line of iptables-save text; `table` is the table it stands in.
fn netfilter_line(line: &str, table: &mut Option<String>) -> Result<(), Fault> {
    const TABLES: [&str; 4] = ["filter", "nat", "mangle", "raw"];
    match (line.strip_prefix('*'), &table) {
        (Some(name), None) if TABLES.contains(&name) => *table = Some(name.to_owned()),
        (Some(name), None) => {
            *table = Some(name.to_owned());
            let fault = Fault::from(format!("there is no table {}", quote(name)));
            return Err(fault.nearest(name, TABLES));
        }
        (Some(_), Some(open)) => return Err(format!("table {} has no COMMIT", quote(open)).into()),
        (None, None) => return Err(format!("{} stands outside of a table", quote(line)).into()),
        (None, Some(_)) if line == "COMMIT" => *table = None,
        // A rule may carry its counters, `[packets:bytes] -A ...`.
        (None, Some(_)) if line.starts_with([':', '-', '[']) => {}
        (None, Some(_)) => {
            return Err(format!("{} is neither a chain, a rule nor COMMIT", quote(line)).into());
        }
    }
    Ok(())
}

/// Runs `check` over the lines of a text that are not empty and not comments.
fn check_lines<'t>(
    source: &'t Source<'t>,
    name: &str,
    key: &'static str,
    value: &'t Value<'t>,
    mut check: impl FnMut(&str) -> Result<(), Fault>,
) -> Option<Section<'t>> {
    let section = Section::of(source, name, value, &[key])?;
    let text = section.string(key)?;
    let start = section.get(key).map_or(0, |raw| text_offset(source, raw, text.value));
    for line in text.value.lines() {
        let words = line.trim();
        if words.is_empty() || words.starts_with('#') {
            continue;
        }
        if let Err(fault) = check(words) {
            // Offsets into the text are offsets into the file if it was written without escapes.
            let within = words.as_ptr().addr() - text.value.as_ptr().addr();
            let pos = if start > 0 { source.pos(start + within) } else { text.pos };
            source.report(pos, fault);
        }
    }
    Some(section)
}

/// The byte of the file at which a string's text begins, 0 if the file spells it with escapes.
fn text_offset(source: &Source<'_>, raw: &Value<'_>, text: &str) -> usize {
    let span = raw.span();
    let found = source.slice(span.clone()).and_then(|written| written.find(text));
    found.map_or(0, |at| span.start + at)
}
