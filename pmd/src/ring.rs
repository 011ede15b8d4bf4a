//! Lock-free queues of packets between threads (`rte_ring`).

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys::rte_ring;

use crate::burst::Burst;
use crate::eal::{self, Eal, EalToken};
use crate::error::{Error, c_string, why_rte_errno};
use crate::log;

/// DPDK rounds up to a power of two that fits 31 bits, and does not check the rounding.
const MAX_SIZE: u32 = 1 << 30;

/// A queue of packets that any number of threads fill and empty. Dropping it frees what is left in it.
///
/// A thread preempted in the middle of an operation holds up the others at the same end: one thread a CPU.
pub struct Ring {
    raw: NonNull<rte_ring>,
    name: String,
    _eal: Arc<EalToken>,
}

// SAFETY: the ring is multi-producer and multi-consumer, and its packets may change threads.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    /// Makes a ring for exactly `size` packets. The name is unique in the process.
    ///
    /// # Errors
    /// [`Error::Ring`] if memory or the name is taken, or the size is not in 1 to 2^30 - 1.
    pub fn create(eal: &Eal, name: &str, size: u32) -> Result<Ring, Error> {
        let c_name = c_string(name)?;
        if !(1..MAX_SIZE).contains(&size) {
            let why = format!("a ring holds 1 to {} packets, not {size}", MAX_SIZE - 1);
            return Err(Error::Ring { name: name.into(), why });
        }
        let _control = eal::control();
        log::forget();
        let flags = dpdk_sys::SKIFF_RING_F_EXACT_SZ;
        // SAFETY: EAL is up; the name is NUL-terminated and copied. -1 is any NUMA node.
        let raw = unsafe { dpdk_sys::rte_ring_create(c_name.as_ptr(), size, -1, flags) };
        let raw = NonNull::new(raw).ok_or_else(|| Error::Ring { name: name.into(), why: why_rte_errno() })?;
        Ok(Ring { raw, name: name.into(), _eal: eal.token() })
    }

    /// The ring's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Appends packets from the front of the burst, as many as fit, and returns how many; the others stay.
    #[inline]
    pub fn enqueue_burst(&self, from: &mut Burst) -> usize {
        let n = from.len() as u32;
        // SAFETY: the ring is live; the burst has `n` packets, of which the ring takes over those counted.
        let taken = unsafe { dpdk_sys::skiff_ring_enqueue_burst(self.raw.as_ptr(), from.as_mut_ptr(), n) };
        from.forget_first(taken as usize);
        taken as usize
    }

    /// Appends packets of the ring to the burst, as many as there are and fit, and returns how many.
    #[inline]
    pub fn dequeue_burst(&self, into: &mut Burst) -> usize {
        let room = into.room_mut();
        let (at, n) = (room.as_mut_ptr().cast(), room.len() as u32);
        // SAFETY: the ring is live and `at` has room for `n` pointers.
        let taken = unsafe { dpdk_sys::skiff_ring_dequeue_burst(self.raw.as_ptr(), at, n) } as usize;
        // SAFETY: the ring wrote and gave up that many packets.
        unsafe { into.grow(taken) };
        taken
    }

    /// Packets in it.
    #[inline]
    pub fn count(&self) -> usize {
        // SAFETY: the ring is live.
        unsafe { dpdk_sys::skiff_ring_count(self.raw.as_ptr()) as usize }
    }

    /// Packets it can take.
    #[inline]
    pub fn free_count(&self) -> usize {
        // SAFETY: the ring is live.
        unsafe { dpdk_sys::skiff_ring_free_count(self.raw.as_ptr()) as usize }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let mut left = Burst::new();
        while self.dequeue_burst(&mut left) > 0 {
            left.free_all();
        }
        let _control = eal::control();
        // SAFETY: the ring is live, empty, and not used again.
        unsafe { dpdk_sys::rte_ring_free(self.raw.as_ptr()) };
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("name", &self.name).field("count", &self.count()).finish()
    }
}
