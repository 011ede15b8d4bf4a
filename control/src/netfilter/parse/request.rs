//! What a user asked for, parsed.

use skiff_dataplane::netfilter::ip_tables::rule::{Policy, Rule, TableName};

/// One command and how to print what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `-t`; `None` if it was not given, which means filter.
    pub table: Option<TableName>,
    /// What to do.
    pub command: Command,
    /// How lists look.
    pub listing: Listing,
}

/// How lists look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// `-v`: counters, interfaces.
    pub verbose: bool,
    /// `-n`: numbers for protocols, ports and types.
    pub numeric: bool,
    /// `-x`: counters in full.
    pub exact: bool,
    /// `--line-numbers`
    pub line_numbers: bool,
}

/// What to do. Positions of rules count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `-A`: at the end; several rules if the addresses were lists.
    Append(String, Vec<Rule>),
    /// `-I`: so that the first becomes rule number so-and-so.
    Insert(String, usize, Vec<Rule>),
    /// `-R`
    Replace(String, usize, Rule),
    /// `-D` of the first rule that looks so, for each.
    Delete(String, Vec<Rule>),
    /// `-D` by number.
    DeleteAt(String, usize),
    /// `-C`: whether there are such rules.
    Check(String, Vec<Rule>),
    /// `-F`; `None` is every chain.
    Flush(Option<String>),
    /// `-Z`, perhaps one rule only.
    Zero(Option<String>, Option<usize>),
    /// `-N`
    NewChain(String),
    /// `-X`; `None` is every chain of users'.
    DeleteChain(Option<String>),
    /// `-E`
    RenameChain(String, String),
    /// `-P`
    Policy(String, Policy),
    /// `-L`, perhaps one rule only; true to zero counters after.
    List(Option<String>, Option<usize>, bool),
    /// `-S`, the same.
    ListRules(Option<String>, Option<usize>, bool),
}
