//! Typed reading of one TOML table: unknown keys, wrong types and bad values are reported as they are met, and
//! reading goes on, so that one pass finds every mistake.

use std::fmt::Display;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diag::{At, Fault, Pos, Source, quote};

pub(super) type Key<'t> = Spanned<DeString<'t>>;
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// One table, the keys it may hold already checked.
#[derive(Clone, Copy)]
pub(super) struct Section<'t> {
    pub(super) source: &'t Source<'t>,
    table: &'t DeTable<'t>,
    /// Where the table's header (or brace) stands.
    pub(super) pos: Pos,
}

impl<'t> Section<'t> {
    /// Takes `table` and reports every key that is not one of `known`.
    pub(super) fn new(
        source: &'t Source<'t>,
        table: &'t DeTable<'t>,
        pos: Pos,
        known: &[&'static str],
    ) -> Self {
        for (key, _) in table.iter() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let fault = Fault::from(format!("unknown key {}", quote(name)));
                source.report(source.pos(key.span().start), fault.nearest(name, known.iter().copied()));
            }
        }
        Self { source, table, pos }
    }

    /// The same for a value that must be a table; anything else is reported under `name`.
    pub(super) fn of(
        source: &'t Source<'t>,
        name: &str,
        value: &'t Value<'t>,
        known: &[&'static str],
    ) -> Option<Self> {
        let pos = source.pos(value.span().start);
        match value.get_ref() {
            DeValue::Table(table) => Some(Self::new(source, table, pos, known)),
            other => {
                source.report(pos, wrong_type(name, "a table", other));
                None
            }
        }
    }

    /// The raw value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'t Value<'t>> {
        self.table.get(key)
    }

    /// Where a key stands, if it is there.
    pub(super) fn key_pos(&self, key: &str) -> Option<Pos> {
        self.table.get_key_value(key).map(|(key, _)| self.source.pos(key.span().start))
    }

    /// A sub-table.
    pub(super) fn section(&self, key: &str, known: &[&'static str]) -> Option<Section<'t>> {
        Section::of(self.source, key, self.get(key)?, known)
    }

    /// Reports a mistake about the section as a whole.
    pub(super) fn report(&self, fault: impl Into<Fault>) {
        self.source.report(self.pos, fault);
    }

    /// Reports a key that must be there and is not.
    pub(super) fn require(&self, key: &str) {
        if self.get(key).is_none() {
            self.report(format!("{} is missing", quote(key)));
        }
    }

    /// A text.
    pub(super) fn string(&self, key: &str) -> Option<At<&'t str>> {
        string(self.source, key, self.get(key)?)
    }

    /// A text that `parse` turns into a value.
    pub(super) fn parsed<T>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Option<At<T>> {
        let text = self.string(key)?;
        parse_at(self.source, text, parse)
    }

    /// A list of texts that `parse` turns into values; a bad one is reported and left out.
    pub(super) fn parsed_list<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, Fault>) -> Vec<At<T>> {
        let texts = self.items(key, "a list of strings").iter().filter_map(|v| string(self.source, key, v));
        texts.filter_map(|text| parse_at(self.source, text, &parse)).collect()
    }

    /// A list of tables, each with the same known keys.
    pub(super) fn tables(&self, key: &str, known: &[&'static str]) -> Vec<Section<'t>> {
        let items = self.items(key, "a list of tables").iter();
        items.filter_map(|item| Section::of(self.source, key, item, known)).collect()
    }

    /// A whole number in `range`.
    pub(super) fn integer(&self, key: &str, range: RangeInclusive<i64>) -> Option<At<i64>> {
        let value = self.get(key)?;
        let found = integer(self.source, key, value)?;
        if range.contains(&found) {
            return Some(At::new(found, self.source.pos(value.span().start)));
        }
        let (low, high) = range.into_inner();
        self.report_value(value, format!("{} must be between {low} and {high}, not {found}", quote(key)));
        None
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, key: &str) -> Option<At<bool>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(b) => Some(At::new(*b, self.source.pos(value.span().start))),
            other => {
                self.report_value(value, wrong_type(key, "true or false", other));
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&'static str, T)]) -> Option<At<T>> {
        self.parsed(key, |text| match words.iter().find(|(word, _)| *word == text) {
            Some(&(_, value)) => Ok(value),
            None => {
                let names = words.iter().map(|(word, _)| *word);
                let list = one_of(names.clone());
                Err(Fault::from(format!("{} must be {list}, not {}", quote(key), quote(text)))
                    .nearest(text, names))
            }
        })
    }

    fn items(&self, key: &str, expected: &str) -> &'t [Value<'t>] {
        let Some(value) = self.get(key) else { return &[] };
        match value.get_ref() {
            DeValue::Array(items) => items,
            other => {
                self.report_value(value, wrong_type(key, expected, other));
                &[]
            }
        }
    }

    fn report_value(&self, value: &Value<'_>, fault: impl Into<Fault>) {
        self.source.report(self.source.pos(value.span().start), fault);
    }
}

/// The entries of a table in the order of the file; the table itself keeps them sorted by name.
pub(super) fn in_file_order<'t>(table: &'t DeTable<'t>) -> Vec<(&'t Key<'t>, &'t Value<'t>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// A checked number in the type that holds its range.
pub(super) fn narrow<T: TryFrom<i64>>(number: At<i64>) -> Option<At<T>> {
    T::try_from(number.value).ok().map(|value| At::new(value, number.pos))
}

/// A value that must be a whole number of 64 bits.
pub(super) fn integer(source: &Source<'_>, key: &str, value: &Value<'_>) -> Option<i64> {
    let pos = source.pos(value.span().start);
    let DeValue::Integer(written) = value.get_ref() else {
        source.report(pos, wrong_type(key, "an integer", value.get_ref()));
        return None;
    };
    let number = i64::from_str_radix(written.as_str(), written.radix());
    if number.is_err() {
        source.report(pos, format!("{} is too large a number", quote(key)));
    }
    number.ok()
}

/// "an integer, not a string": the message for a value of the wrong type.
pub(super) fn wrong_type(key: &str, expected: &str, found: &DeValue<'_>) -> String {
    let found = match found {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("{} must be {expected}, not {found}", quote(key))
}

/// `"a", "b" or "c"`.
pub(super) fn one_of<D: Display>(names: impl IntoIterator<Item = D>) -> String {
    let mut names: Vec<String> = names.into_iter().map(|name| format!("\"{name}\"")).collect();
    match names.pop() {
        Some(last) if names.is_empty() => last,
        Some(last) => format!("{} or {last}", names.join(", ")),
        None => String::new(),
    }
}

fn string<'t>(source: &Source<'_>, key: &str, value: &'t Value<'t>) -> Option<At<&'t str>> {
    let pos = source.pos(value.span().start);
    match value.get_ref() {
        DeValue::String(text) => Some(At::new(text, pos)),
        other => {
            source.report(pos, wrong_type(key, "a string", other));
            None
        }
    }
}

fn parse_at<T>(
    source: &Source<'_>,
    text: At<&str>,
    parse: impl FnOnce(&str) -> Result<T, Fault>,
) -> Option<At<T>> {
    match parse(text.value) {
        Ok(value) => Some(At::new(value, text.pos)),
        Err(fault) => {
            source.report(text.pos, fault);
            None
        }
    }
}
