//! The control side of skiff: configuration, command languages, API, metrics and slow protocols.
#![forbid(unsafe_code)]

pub mod drops;
pub mod facts;
pub mod metrics;
pub mod show;
#[cfg(test)]
mod testing;
