//! The text of `iptables-save`, read line by line into a draft: what `iptables-restore` and the configuration load.
//!
//! A text is taken whole or not at all, and every mistake in it is found, not only the first.

use skiff_dataplane::netfilter::ip_tables::rule::{IpSet, RuleCounters, Ruleset, TableName};

use super::check;
use super::draft::{Draft, DraftTable};
use super::error::{Error, quote};
use super::parse::{self, Command, Request};
use super::words;
use crate::config::Fault;

/// Most mistakes reported of one text.
const MOST_ERRORS: usize = 50;

/// How a text is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-n`: chains and rules that are there stay.
    pub noflush: bool,
    /// `-c`: take counters from the text.
    pub counters: bool,
    /// `-T`: only this table.
    pub table: Option<TableName>,
}

/// Reads a text that is to stand on its own: the rules of a configuration, with the sets they name.
///
/// # Errors
/// Every mistake, in the order of the text.
pub fn ruleset(text: &str, sets: Vec<IpSet>) -> Result<Ruleset, Vec<Error>> {
    let empty = Ruleset { tables: Vec::new(), sets };
    restore(&empty, text, Options { counters: true, ..Options::default() }).map(|(ruleset, _)| ruleset)
}

/// Reads a text onto the tables in force. What the text asks to see (`-L` in it) comes beside the new tables.
///
/// # Errors
/// Every mistake, in the order of the text.
pub fn restore(current: &Ruleset, text: &str, options: Options) -> Result<(Ruleset, String), Vec<Error>> {
    let mut reader =
        Reader { draft: Draft::of(current), open: None, options, shown: String::new(), errors: Vec::new() };
    for (number, line) in (1..).zip(text.lines()) {
        if let Err(error) = reader.line(line.trim(), number) {
            reader.errors.push(error.at(number));
        }
        if reader.errors.len() >= MOST_ERRORS {
            return Err(reader.errors);
        }
    }
    if let Some(open) = &reader.open {
        let fault = Fault::from(format!("table {} has no COMMIT", quote(&open.name)));
        reader.errors.push(Error::refused(fault).at(open.line));
    }
    if let Err(more) = check::check(&reader.draft) {
        reader.errors.extend(more);
    }
    if !reader.errors.is_empty() {
        reader.errors.sort_by_key(|error| error.line);
        reader.errors.truncate(MOST_ERRORS);
        return Err(reader.errors);
    }
    Ok((reader.draft.into_ruleset(), reader.shown))
}

struct Reader {
    draft: Draft,
    open: Option<Open>,
    options: Options,
    shown: String,
    errors: Vec<Error>,
}

/// The table that lines are about.
struct Open {
    name: String,
    line: u32,
    /// `None` if its lines are passed over: another table was asked for, or it is one that there is not.
    table: Option<TableName>,
}

impl Reader {
    fn line(&mut self, line: &str, number: u32) -> Result<(), Error> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(name) = line.strip_prefix('*') {
            return self.begin(name.trim(), number);
        }
        let Some(open) = &self.open else {
            let fault = Fault::from(format!("{} stands outside of a table", quote(line)));
            return Err(Error::refused(fault.help("a table begins with *NAME and ends with COMMIT")));
        };
        let table = open.table;
        if line == "COMMIT" {
            self.open = None;
            return Ok(());
        }
        let Some(table) = table else { return Ok(()) };
        match line.strip_prefix(':') {
            Some(chain) => self.chain(table, chain),
            None => self.rule(table, line, number),
        }
    }

    fn begin(&mut self, name: &str, number: u32) -> Result<(), Error> {
        let unfinished = self.open.take();
        let table = parse::table_by_name(name);
        let wanted = |table: &TableName| self.options.table.is_none_or(|only| only == *table);
        let found = table.as_ref().ok().copied().filter(wanted);
        self.open = Some(Open { name: name.to_owned(), line: number, table: found });
        if let (Some(table), false) = (found, self.options.noflush) {
            self.draft.table(table).clear();
        }
        if let Some(open) = unfinished {
            let fault = format!("table {} has no COMMIT", quote(&open.name));
            return Err(Error::refused(fault).at(open.line));
        }
        // With -T, what the others are does not matter.
        match table {
            Err(fault) if self.options.table.is_none() => Err(Error::usage(fault)),
            _ => Ok(()),
        }
    }

    /// `:CHAIN POLICY [packets:bytes]`
    fn chain(&mut self, table: TableName, line: &str) -> Result<(), Error> {
        let mut words = line.split_whitespace();
        let name = words.next().ok_or_else(|| Error::usage("a chain has a name"))?;
        let policy =
            words.next().ok_or_else(|| Error::usage(format!("chain {} has no policy", quote(name))))?;
        let counters = match words.next() {
            Some(text) if self.options.counters => Some(bracketed(text)?.0),
            _ => None,
        };
        let noflush = self.options.noflush;
        let table = self.draft.table(table);
        let built_in = table.chain(name).is_ok_and(|chain| chain.policy.is_some());
        if !built_in && policy != "-" {
            let fault = Fault::from(format!("chain {} is not built in and has no policy", quote(name)));
            return Err(Error::refused(fault.help(format!("write :{name} - [0:0]"))));
        }
        if !built_in {
            return user_chain(table, name, noflush);
        }
        if policy != "-" {
            let command = ["-P".to_owned(), name.to_owned(), policy.to_owned()];
            table.apply(parse::parse(&command)?.command, 0)?;
            table.chain(name)?.counters = counters.unwrap_or_default();
        }
        Ok(())
    }

    fn rule(&mut self, table: TableName, line: &str, number: u32) -> Result<(), Error> {
        let (counters, line) = match line.starts_with('[') {
            true => bracketed(line).map(|(counters, rest)| (Some(counters), rest))?,
            false => (None, line),
        };
        if !line.trim_start().starts_with('-') {
            let fault = Fault::from(format!("{} is neither a chain, a rule nor COMMIT", quote(line)));
            return Err(Error::usage(fault));
        }
        let words = words::split(line)?;
        let Request { table: named, mut command, listing } = parse::parse(&words)?;
        if named.is_some() {
            return Err(Error::usage("-t cannot stand inside a table"));
        }
        if let (Some(counters), true) = (counters, self.options.counters) {
            set_counters(&mut command, counters);
        }
        let sets = &self.draft.sets;
        if matches!(command, Command::List(..) | Command::ListRules(..)) {
            let draft = Draft { tables: self.draft.tables.clone(), sets: sets.clone() };
            let text = super::show::list(&draft.into_ruleset(), table, &command, listing)?;
            self.shown.push_str(&text);
        }
        self.draft.table(table).apply(command, number)
    }
}

/// A chain of users': made, or emptied if the tables in force have it.
fn user_chain(table: &mut DraftTable, name: &str, noflush: bool) -> Result<(), Error> {
    match table.chain(name) {
        Ok(chain) if noflush => {
            chain.rules.clear();
            Ok(())
        }
        _ => table.new_chain(name),
    }
}

fn set_counters(command: &mut Command, counters: RuleCounters) {
    match command {
        Command::Append(_, rules) | Command::Insert(_, _, rules) => {
            rules.iter_mut().for_each(|rule| rule.counters = counters);
        }
        Command::Replace(_, _, rule) => rule.counters = counters,
        _ => {}
    }
}

/// `[packets:bytes]` at the beginning of a text, and what comes after.
fn bracketed(text: &str) -> Result<(RuleCounters, &str), Error> {
    let inside = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let pair = inside.and_then(|(pair, rest)| Some((pair.split_once(':')?, rest)));
    let ((packets, bytes), rest) = pair
        .ok_or_else(|| Error::usage(format!("counters are written [packets:bytes], not {}", quote(text))))?;
    Ok((parse::counters(packets, bytes)?, rest))
}
