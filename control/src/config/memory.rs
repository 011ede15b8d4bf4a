//! The memory plan: how many packet buffers a configuration can have in use at once, and what they take.
//!
//! A pool that runs dry drops packets at the receive queues, so the plan counts the worst case: every descriptor of
//! every queue holds a buffer, every lcore's cache is full, and the stack holds what it may hold.

use std::fmt;

use super::diag::{Diagnostic, Fault};
use super::model::{Config, Lcores};
use super::value::format_size;

/// Bytes of one buffer: the `rte_mbuf`, the private area of the skb, headroom and data room.
const MBUF_BYTES: u64 = 128 + 64 + 128 + 2048;
/// What the pool adds to each: its object header, and the line it may pad with to spread objects over the memory
/// channels.
const POOL_BYTES: u64 = 64 + 64;
/// Buffers an lcore's cache can hold: `RTE_MEMPOOL_CACHE_MAX_SIZE`, the size at which it is flushed.
const CACHE: u64 = 512;
/// Buffers the stack holds back: packets that wait for a neighbour, a fragment or a class, and those in flight.
const SLACK: u64 = 2048;
/// What the EAL, its heaps and the drivers' control structures take.
const BASE_BYTES: u64 = 16 << 20;
/// What a driver keeps for each descriptor besides the buffer: the ring and its shadow.
const DESCRIPTOR_BYTES: u64 = 64;
/// Amounts are recommended in steps of this.
const STEP: u64 = 16 << 20;

/// What a configuration needs of the memory it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Worker lcores.
    pub workers: u64,
    /// Ports.
    pub ports: u64,
    /// Receive and transmit queues of all ports.
    pub queues: u64,
    /// Descriptors of all queues.
    pub descriptors: u64,
    /// Packet buffers the configuration needs.
    pub needed_mbufs: u64,
    /// Packet buffers there will be: those needed, or what `mbufs` says.
    pub mbufs: u64,
    /// Bytes of one buffer in its pool.
    pub mbuf_bytes: u64,
    /// Bytes of everything.
    pub needed_bytes: u64,
    /// Bytes given by `memory`.
    pub given_bytes: u64,
}

impl MemoryPlan {
    /// The smallest `memory` that does, in bytes.
    pub fn recommended_bytes(&self) -> u64 {
        self.needed_bytes.next_multiple_of(STEP)
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.needed_bytes.div_ceil(1 << 20);
        let given = format_size(self.given_bytes);
        write!(f, "{} mbufs of {} bytes for {} descriptors", self.mbufs, self.mbuf_bytes, self.descriptors)?;
        write!(f, " in {} queues and {}: {mib}M of {given}", self.queues, workers(self.workers))
    }
}

impl Config {
    /// What the configuration needs with its own number of workers; `auto` counts the CPUs this process may use.
    pub fn memory_plan(&self) -> MemoryPlan {
        let workers = match &self.system.lcores.value {
            Lcores::List(cpus) => cpus.len(),
            Lcores::Auto => {
                std::thread::available_parallelism().map_or(1, |cpus| cpus.get().saturating_sub(1).max(1))
            }
        };
        self.memory_plan_for(workers)
    }

    /// What the configuration needs with `workers` worker lcores.
    pub fn memory_plan_for(&self, workers: usize) -> MemoryPlan {
        let workers = workers as u64;
        let (mut ports, mut queues, mut descriptors) = (0, 0, 0);
        for port in self.interfaces.iter().filter_map(|interface| interface.port()) {
            let rx = u64::from(port.rx_queues.value);
            let tx = port.tx_queues.map_or(workers, |queues| u64::from(queues.value));
            ports += 1;
            queues += rx + tx;
            descriptors += rx * u64::from(port.rx_desc.value) + tx * u64::from(port.tx_desc.value);
        }
        // The control thread allocates too, so it has a cache like the workers.
        let needed_mbufs = descriptors + (workers + 1) * CACHE + SLACK;
        let mbufs = self.system.mbufs.map_or(needed_mbufs, |mbufs| u64::from(mbufs.value));
        let mbuf_bytes = MBUF_BYTES + POOL_BYTES;
        let needed_bytes = BASE_BYTES + mbufs * mbuf_bytes + descriptors * DESCRIPTOR_BYTES;
        let given_bytes = self.system.memory.value;
        MemoryPlan {
            workers,
            ports,
            queues,
            descriptors,
            needed_mbufs,
            mbufs,
            mbuf_bytes,
            needed_bytes,
            given_bytes,
        }
    }

    /// The memory plan, if the memory does.
    ///
    /// # Errors
    /// `mbufs` or `memory` is too small; the diagnostic names the amount that would do.
    pub fn checked_memory_plan(&self) -> Result<MemoryPlan, Diagnostic> {
        self.check_memory(self.memory_plan())
    }

    /// `plan`, if the memory does.
    pub(super) fn check_memory(&self, plan: MemoryPlan) -> Result<MemoryPlan, Diagnostic> {
        if let Some(mbufs) = self.system.mbufs
            && plan.mbufs < plan.needed_mbufs
        {
            let (descriptors, workers) = (plan.descriptors, workers(plan.workers));
            let fault =
                format!("\"mbufs\" {} is too small for {descriptors} descriptors and {workers}", *mbufs);
            let fault = Fault::from(fault).help(format!("{} would do", plan.needed_mbufs));
            return Err(self.diagnostic(mbufs.pos, fault));
        }
        if plan.given_bytes < plan.needed_bytes {
            let memory = &self.system.memory;
            let (given, enough) = (format_size(memory.value), format_size(plan.recommended_bytes()));
            let fault =
                format!("\"memory\" {given} is too small for {} mbufs in {} queues", plan.mbufs, plan.queues);
            return Err(
                self.diagnostic(memory.pos, Fault::from(fault).help(format!("\"{enough}\" would do")))
            );
        }
        Ok(plan)
    }
}

fn workers(count: u64) -> String {
    if count == 1 { "1 worker".to_owned() } else { format!("{count} workers") }
}
