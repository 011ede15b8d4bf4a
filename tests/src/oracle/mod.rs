//! The differential suite: the same frames through this machine's kernel and through skiff, everything that can be
//! seen of either compared.
//!
//! Two labs of one [`shape`], a router each with three ports. A [`Probe`] is what the hosts at the ends send; its
//! [`Outcome`] is every frame that came out of every port, what every counter rose by, and why packets were dropped.
//! Where the two outcomes differ, either one of the rules of the suite says why, or the suite fails.

mod compare;
mod driver;
mod dut;
mod kernel;
mod normal;
mod packet;
mod probe;
pub mod probes;
pub mod shape;
mod trace;

pub use compare::{Difference, Outcome, Rule, Verdict, differences};
pub use driver::{Driver, Report};
pub use packet::{Check, Packet, checksum};
pub use probe::{Host, Probe, Scene, Step};
