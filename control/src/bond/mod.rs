//! Bonds: what their users may set, and the machines that decide which member carries what.
//!
//! A [`BondMachine`] is told what happens to a bond and its members, and says in [`BondEffect`]s what is to be done
//! about it. It reads no clock and sends nothing.

mod active;
mod arp_monitor;
mod balance;
pub mod lacp;
mod machine;
mod member;
pub mod mii;
mod monitor;
pub mod notify;
pub mod options;
mod proc;
pub mod select;
#[cfg(test)]
mod tests;
mod view;

pub use arp_monitor::ArpSeen;
pub use machine::{BondEffect, BondMachine};
pub use member::{Member, MemberInfo};
