//! Bonds: what their users may set, and the machines that decide which member carries what.

pub mod options;
