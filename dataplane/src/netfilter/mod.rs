//! Netfilter: hooks and their verdicts, and the rule tables that are their first user.

pub mod hooks;
pub mod ip_tables;
pub mod mangle;
pub mod nf_log;
pub mod queue;
