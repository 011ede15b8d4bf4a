//! `[traffic-control]`: a command language inside a string. What is checked here is its shape, line by line; the words
//! belong to the compiler of that language.

use super::diag::{Fault, Source, quote};
use super::section::{Section, Value, one_of};

/// Checks `[traffic-control] commands`, lines of `tc -batch`.
pub(super) fn check_traffic_control<'t>(source: &'t Source<'t>, value: &'t Value<'t>) {
    check_lines(source, "traffic-control", "commands", value, tc_line);
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
pub(super) fn text_offset(source: &Source<'_>, raw: &Value<'_>, text: &str) -> usize {
    let span = raw.span();
    let found = source.slice(span.clone()).and_then(|written| written.find(text));
    found.map_or(0, |at| span.start + at)
}
