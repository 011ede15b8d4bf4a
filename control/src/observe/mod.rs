//! Looking at packets on the running router.

pub mod body;
pub mod capture;
pub mod filter;
pub mod trace;
pub mod trace_cli;
mod trace_words;
