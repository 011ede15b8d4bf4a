//! The packet's journey, stage by stage, on poll-mode lcores.
#![forbid(unsafe_code)]

pub mod fib;
pub mod neigh;
pub mod net;
pub mod time;
