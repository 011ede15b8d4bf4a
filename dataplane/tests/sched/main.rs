//! Queueing disciplines under a virtual clock, with plain values for packets.

mod fifo;
mod prio;
mod red;
mod red_flows;
mod rig;
mod tbf;
mod trees;
