//! `[netfilter]`: `rules`, the text of `iptables-save`, and `sets`, that of `ipset save`.

use skiff_dataplane::netfilter::ip_tables::rule::Ruleset;

use super::diag::{At, Pos, Source};
use super::section::{Section, Value};
use super::text::text_offset;
use crate::netfilter::{self, Error};

/// Reads the section. Rules that name sets are checked against `sets`, so a mistake there hides those of the rules
/// that come of it.
pub(super) fn read<'t>(source: &'t Source<'t>, value: &'t Value<'t>) -> Option<At<Ruleset>> {
    let section = Section::of(source, "netfilter", value, &["rules", "sets"])?;
    let sets = match section.string("sets") {
        Some(text) => report(&section, "sets", text, netfilter::sets(text.value))?,
        None => Vec::new(),
    };
    match section.string("rules") {
        Some(text) => {
            let ruleset = report(&section, "rules", text, netfilter::ruleset(text.value, sets))?;
            Some(At::new(ruleset, text.pos))
        }
        None => Some(At::new(Ruleset { tables: Vec::new(), sets }, section.pos)),
    }
}

fn report<T>(
    section: &Section<'_>,
    key: &'static str,
    text: At<&str>,
    read: Result<T, Vec<Error>>,
) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(errors) => {
            let start = section.get(key).map_or(0, |raw| text_offset(section.source, raw, text.value));
            for error in errors {
                let pos = place(section.source, text, start, error.line);
                section.source.report(pos, error.fault);
            }
            None
        }
    }
}

/// Where a line of the text begins: in the file, if the text was written there without escapes.
fn place(source: &Source<'_>, text: At<&str>, start: usize, line: Option<u32>) -> Pos {
    let line = line.and_then(|line| text.value.lines().nth(line.saturating_sub(1) as usize));
    match line {
        Some(line) if start > 0 => {
            let words = line.trim_start();
            source.pos(start + (words.as_ptr().addr() - text.value.as_ptr().addr()))
        }
        _ => text.pos,
    }
}
