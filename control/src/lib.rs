//! Everything around the data plane: configuration, the command languages, the API, metrics and the slow protocols.
#![forbid(unsafe_code)]

pub mod api;
pub mod bench;
pub mod bind;
pub mod bond;
pub mod cli;
pub mod client;
pub mod complete;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod doctor;
pub mod drops;
pub mod facts;
pub mod generate;
pub mod igmp;
pub mod ip;
pub mod metrics;
pub mod netfilter;
pub mod nfqueue;
pub mod observe;
pub mod router;
pub mod rtnl;
pub mod show;
pub mod tc;
#[cfg(test)]
mod testing;
pub mod top;
