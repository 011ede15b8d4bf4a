//! Everything around the data plane: the command languages, the API and the command line.
#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod client;
pub mod ip;
