//! The tc language: what tc(8) says, does and prints.

pub mod action;
pub mod filter;
