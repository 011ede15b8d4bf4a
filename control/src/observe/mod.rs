//! Looking at packets on the running router.

pub mod capture;
pub mod filter;
