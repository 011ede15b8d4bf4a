//! Bonds: what their users may set, and the machines that decide which member carries what.
//!
//! A [`BondMachine`] is told what happens to a bond and its members, and says in [`BondEffect`]s what is to be done
//! about it. It reads no clock and sends nothing.

mod arp_monitor;
mod balance;
pub mod lacp;
mod machine;
mod member;
pub mod mii;
pub mod notify;
pub mod options;
mod proc;
pub mod select;
#[cfg(test)]
mod tests;

pub use arp_monitor::ArpSeen;
pub use machine::{BondEffect, BondMachine};
pub use member::{Member, MemberInfo};
