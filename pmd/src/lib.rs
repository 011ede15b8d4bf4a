//! Safe poll-mode drivers over DPDK: EAL, ports and their queues, packet buffers, bursts and rings.
//!
//! The crate knows no protocol. Its promises:
//! - a [`Pkt`] is owned by exactly one place, and freed when dropped;
//! - whatever DPDK tears down (a queue's memory, the pools) outlives everything that could touch it;
//! - nothing on the packet path allocates, locks, panics or calls through the FFI more than once a burst.

pub mod bpf;
mod burst;
mod eal;
mod error;
mod hugeslice;
mod intr;
mod lcore;
mod log;
mod mbuf;
mod pkt;
mod pool;
mod port;
mod prefetch;
mod ring;
mod time;
pub mod vdev;

pub use burst::{Burst, Drain};
pub use eal::{Eal, EalConfig, Hugepages};
pub use error::Error;
pub use hugeslice::{HugeArray, HugeSlice};
pub use intr::EpollSet;
pub use lcore::{
    LcoreGuard, allowed_cpus, current_lcore_id, pin_current_thread, register_thread, set_timer_slack_ns,
    thread_cpu_time_ns,
};
pub use pkt::{META_SIZE, PRIV_SIZE, Pkt, RxFlags, Segments};
pub use pool::{Pool, PoolConfig};
pub use port::{Link, Port, PortConfig, PortId, PortInfo, PortStats, RxOffload, RxQueue, TxOffload, TxQueue};
pub use prefetch::prefetch_read;
pub use ring::Ring;
pub use time::{rdtsc, tsc_hz};

/// Packets a burst holds at most.
pub const BURST: usize = 32;
