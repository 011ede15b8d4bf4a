//! What every stage leans on: the lcore's main loop, the configuration it reads, what it counts, and the machinery
//! shared between lcores and control.

pub mod bond_hash;
pub mod bond_rcv;
pub mod bond_xmit;
pub mod capture;
pub mod counters;
pub mod dev;
pub mod drop_reason;
pub mod env;
pub mod histogram;
pub mod lcore;
pub mod mailbox;
pub mod punt;
pub mod qsbr;
pub mod shared;
pub mod snapshot;
pub mod trace;
pub mod vlan_dev;
pub mod vlan_rcv;
pub mod xmit;
