//! Traffic control: queueing disciplines, classes, filters and actions, in the shape of the kernel's `net/sched`.
//!
//! Each device may have a tree of disciplines. A discipline is what Wehrle's KIDS calls a composite of an *enqueuing*
//! component (which queue, and whether to drop), *queues*, a *dequeuing* component (which packet next, and not before
//! when), and sometimes a *strategic* one that adjusts the others (adaptive red); filters with actions are its
//! *operative* components ([`qdisc::Classify`]).
//!
//! A tree has one owner, an lcore: it alone enqueues, dequeues and changes. Others hand it their packets by its ring.
//! Operators' changes come to it as [`op::TreeOp`]s, checked before against the control thread's picture of the tree.
//! Everybody may read the [`cells`].
//!
//! All of it but the filters is generic over the packet, takes `now` as an argument, and runs under a virtual clock.

pub mod act;
pub mod build;
pub mod cells;
mod child;
pub mod cls;
pub mod fifo;
pub mod handle;
pub mod htb;
pub mod op;
pub mod packet;
pub mod params;
pub mod pfifo_fast;
pub mod prio;
pub mod qdisc;
pub mod queue;
mod rate;
pub mod red;
pub mod run;
pub mod tbf;
pub mod tree;
