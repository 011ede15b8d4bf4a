//! Mistakes and where they stand: source positions, one-line diagnostics, and the sink they gather in.

use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};

/// A place in a configuration file: line and column, both from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pos {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub col: u32,
}

impl Pos {
    /// The first character: the file as a whole, and the place of values that were left to their default.
    pub const START: Pos = Pos { line: 1, col: 1 };
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.col)
    }
}

/// A value and the place it was written at.
///
/// Equality and hashing look at the value alone, so two configurations that differ only in layout are equal.
#[derive(Clone, Copy, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it was written; [`Pos::START`] if it was left to its default.
    pub pos: Pos,
}

impl<T> At<T> {
    /// A value written at `pos`.
    pub fn new(value: T, pos: Pos) -> Self {
        Self { value, pos }
    }

    /// A value nobody wrote.
    pub fn unwritten(value: T) -> Self {
        Self { value, pos: Pos::START }
    }

    /// The same place with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> At<U> {
        At { value: f(self.value), pos: self.pos }
    }
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for At<T> {}

impl<T: Hash> Hash for At<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value.hash(state);
    }
}

/// One mistake. Displays as one line, `FILE:LINE:COL: message, help`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file's name as the user gave it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub col: u32,
    /// What is wrong.
    pub message: String,
    /// What to try, where it is known.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A mistake at `pos` of `file`.
    pub fn new(file: &str, pos: Pos, fault: impl Into<Fault>) -> Self {
        let Fault { message, help } = fault.into();
        Self { file: file.to_owned(), line: pos.line, col: pos.col, message, help }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.col, self.message)?;
        match &self.help {
            Some(help) => write!(f, ", {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// What is wrong with a value, before its place is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// What to try, where it is known.
    pub help: Option<String>,
}

impl Fault {
    /// Adds what to try.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds `did you mean "NAME"?` if one of `names` is near to `written`.
    pub fn nearest<'n>(mut self, written: &str, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.help = nearest(written, names).map(|name| format!("did you mean {}?", quote(name)));
        self
    }
}

impl<S: Into<String>> From<S> for Fault {
    fn from(message: S) -> Self {
        Self { message: message.into(), help: None }
    }
}

/// A text quoted for a message: escaped, so that it stays on one line, and cut if it is very long.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The name closest to `written`, if it is close enough to be a slip of the fingers: at most a third of the
/// letters changed, swapped, added or lost, and never the whole word.
pub(super) fn nearest<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // Bounds on what a slip can be, so that hostile files cannot make the search long.
    const LONGEST: usize = 80;
    const CANDIDATES: usize = 256;
    if written.len() > LONGEST {
        return None;
    }
    let slips = (written.len() / 3).max(1);
    names
        .into_iter()
        .take(CANDIDATES)
        .filter(|name| name.len().abs_diff(written.len()) <= slips)
        .map(|name| (strsim::osa_distance(written, name), name))
        .filter(|&(distance, name)| distance <= slips && distance < name.len())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// The source text of one file and the mistakes found in it so far.
pub(super) struct Source<'a> {
    file: &'a str,
    text: &'a str,
    /// Byte offset of the start of each line.
    lines: Vec<usize>,
    found: RefCell<Vec<Diagnostic>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        let after_newlines = text.bytes().enumerate().filter(|&(_, b)| b == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(after_newlines).collect();
        Self { file, text, lines, found: RefCell::default() }
    }

    /// Line and column of a byte offset; offsets past the end count as the end.
    pub(super) fn pos(&self, offset: usize) -> Pos {
        let line = self.lines.partition_point(|&start| start <= offset);
        let start = self.lines[line.saturating_sub(1)];
        let before = self.text.get(start..offset).unwrap_or(&self.text[start..]);
        let col = before.trim_end_matches(['\r', '\n']).chars().count() + 1;
        Pos { line: u32::try_from(line).unwrap_or(u32::MAX), col: u32::try_from(col).unwrap_or(u32::MAX) }
    }

    /// The text of a span, if it is one.
    pub(super) fn slice(&self, span: Range<usize>) -> Option<&'a str> {
        self.text.get(span)
    }

    pub(super) fn report(&self, pos: Pos, fault: impl Into<Fault>) {
        self.found.borrow_mut().push(Diagnostic::new(self.file, pos, fault));
    }

    pub(super) fn is_clean(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// Every mistake, in the order of the file.
    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|d| (d.line, d.col));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let source = Source::new("f", "ab\nçd e\r\n\nx");
        let at = |offset| source.pos(offset).to_string();
        assert_eq!(at(0), "1:1");
        assert_eq!(at(2), "1:3");
        assert_eq!(at(3), "2:1");
        assert_eq!(at(5), "2:2", "a two-byte letter is one column");
        assert_eq!(at(10), "3:1");
        assert_eq!(at(11), "4:1");
        assert_eq!(at(999), "4:2");
    }

    #[test]
    fn nearest_takes_slips_and_leaves_strangers() {
        let names = ["addresses", "mtu", "via"];
        assert_eq!(nearest("adresses", names), Some("addresses"));
        assert_eq!(nearest("mut", names), Some("mtu"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest("x", ["y"]), None, "a whole word changed is no slip");
    }

    #[test]
    fn a_diagnostic_is_one_line() {
        let fault = Fault::from(format!("{} is odd", quote("a\nb"))).help("try c");
        assert_eq!(
            Diagnostic::new("r.toml", Pos { line: 3, col: 7 }, fault).to_string(),
            r#"r.toml:3:7: "a\nb" is odd, try c"#
        );
        assert!(quote(&"x".repeat(1000)).len() < 80);
    }
}
