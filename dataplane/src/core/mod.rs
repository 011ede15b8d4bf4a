//! What every stage leans on: the lcore's main loop and the machinery shared between lcores and control.

pub mod qsbr;
