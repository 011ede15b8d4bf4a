//! Looking at packets on the running router.

pub mod filter;
