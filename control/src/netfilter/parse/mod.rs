//! The words of one `iptables` command, or of one rule line of `iptables-save`, into a [`Request`].
//!
//! The grammar is that of iptables 1.8.9: options may be cut short as long as they stay unique, `-nvL` is three
//! options, `!` stands before what it negates, and the match of the protocol is loaded when one of its options is met.

mod arguments;
mod globals;
mod hashlimit;
mod icmp;
mod matches;
mod options;
mod reader;
mod request;
mod targets;
mod time;
mod u32_test;
mod unsupported;
pub(super) mod values;

#[cfg(test)]
mod tests;

pub use request::{Command, Listing, Request};

pub(super) use arguments::{counters, misplaced_interface};
pub(super) use hashlimit::MODES as HASHLIMIT_MODES;
pub(super) use icmp::{icmp_type, name as icmp_name, of as icmp_of};
pub(super) use matches::{ADDRESS_TYPES, PACKET_TYPES, TCP_FLAGS};
pub(super) use reader::parse;
pub(super) use targets::{LOG_LEVELS, REJECTS};
pub(super) use time::{ALL_MONTHDAYS, ALL_WEEKDAYS, DAY_END, NEVER, WEEKDAYS, civil};
pub(super) use unsupported::table as table_by_name;

/// True if `name` is that of a target, which no chain may have.
pub(super) fn is_target(name: &str) -> bool {
    targets::find(name).is_some() || unsupported::target(name).is_some()
}

/// Names of targets, for suggestions.
pub(super) fn target_names() -> impl Iterator<Item = &'static str> {
    targets::names()
}

/// The longest beginning of `text` with at most `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    (0..=most.min(text.len())).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}
