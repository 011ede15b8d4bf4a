//! Everything around the data plane: the command languages, the API and the command line.
#![forbid(unsafe_code)]

pub mod ip;
