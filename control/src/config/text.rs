//! Languages inside of strings.

use super::diag::Source;
use super::section::Value;

/// The byte of the file at which a string's text begins, 0 if the file spells it with escapes.
pub(super) fn text_offset(source: &Source<'_>, raw: &Value<'_>, text: &str) -> usize {
    let span = raw.span();
    let found = source.slice(span.clone()).and_then(|written| written.find(text));
    found.map_or(0, |at| span.start + at)
}
