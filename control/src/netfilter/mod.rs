//! `skiff iptables`, `iptables-save`, `iptables-restore` and `ipset`: the languages of netfilter, as text and as rules.
//!
//! [`ruleset`] reads the text of `iptables-save`, [`sets`] that of `ipset save`; [`run`] carries out one command: it
//! takes the rules in force and gives back what to print and, if anything changed, new rules. Every name is a number in
//! them ([`rule`](skiff_dataplane::netfilter::ip_tables::rule)), checked as the kernel checks what it loads, and
//! [`save`] writes them as `iptables-save` 1.8.9 does, byte for byte; only the comments around each table differ.
//! Nothing here knows a table, a socket or the engine that runs the rules.
//!
//! What differs from iptables on purpose: a text is taken whole or not at all, over all its tables; every mistake in it
//! is reported, not only the first; names of hosts are not looked up; and rules that could never match, such as
//! `! --dport 0:65535`, are refused.

mod check;
mod counters;
mod draft;
mod error;
mod ipset;
mod names;
mod parse;
mod print;
mod programs;
mod restore;
mod show;
mod words;

#[cfg(test)]
mod tests;

use skiff_dataplane::netfilter::ip_tables::rule::{Policy, Rule, TableName};

pub use counters::Counters;
pub use error::{Error, REFUSED, USAGE};
pub use ipset::sets;
pub use programs::{Call, Outcome, Program, run};
pub use restore::{Options, restore, ruleset};
pub use show::save;

/// The name of a table.
pub fn table_name(table: TableName) -> &'static str {
    match table {
        TableName::Filter => "filter",
        TableName::Mangle => "mangle",
        TableName::Raw => "raw",
    }
}

/// A rule as `iptables-save` writes it behind the chain's name, a blank before each word.
pub fn rule_words(rule: &Rule) -> String {
    print::rule(rule, false)
}

/// The name of a policy.
pub fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::Accept => "ACCEPT",
        Policy::Drop => "DROP",
    }
}
