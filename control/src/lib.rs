//! The control side of skiff: configuration, command languages, API, metrics and slow protocols.
#![forbid(unsafe_code)]

pub mod config;
