//! The lcore's loop, the configuration it reads, and what it counts.

pub mod counters;
pub mod drop_reason;
