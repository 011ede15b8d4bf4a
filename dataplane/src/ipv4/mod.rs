//! The IPv4 path.

pub mod icmp_limit;
