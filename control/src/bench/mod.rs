//! `skiff bench`: what the journey costs on this machine, in cycles a packet.

mod forward;
mod traffic;

pub use forward::{Options, run};
pub use traffic::Case;
