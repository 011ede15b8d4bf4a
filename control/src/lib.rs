//! Everything around the data plane: configuration, the command languages, the API, metrics and the slow protocols.
#![forbid(unsafe_code)]

pub mod api;
pub mod bench;
pub mod cli;
pub mod client;
pub mod config;
pub mod ip;
pub mod rtnl;
