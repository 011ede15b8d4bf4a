//! The rule tables (raw, mangle, filter): rules as data ([`rule`]), made into what lcores run ([`compile()`]).
//!
//! ```text
//! Ruleset -> compile -> Compiled: a program for each table, registered at the hooks the table has chains for
//! burst -> hook -> classifier of the built-in chain -> each packet's walk -> verdicts
//! ```
//!
//! Compiled tables never change, but for what they count and what matches like `limit` remember. A new rule set is a new
//! [`Compiled`] in a new snapshot: a burst meets the old one or the new one at all hooks, never some of both.

mod classify;
mod compile;
mod counts;
mod demands;
mod hashlimit;
mod limit;
pub mod matches;
mod program;
mod reject;
pub mod rule;
mod sets;
mod target;
mod tcpmss;
mod time;
mod trace;
mod view;
mod world;

#[cfg(test)]
pub(crate) mod tests;

pub use compile::{CompileEnv, CompileError, Compiled, Problem, compile, counters_of};
pub use view::PacketView;

use rule::TableName;

/// The name of a table in texts and traces.
pub const fn table_text(table: TableName) -> &'static str {
    match table {
        TableName::Filter => "filter",
        TableName::Mangle => "mangle",
        TableName::Raw => "raw",
    }
}
