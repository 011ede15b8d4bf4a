//! The rule tables (raw, mangle, filter).

pub mod rule;
