//! Taking segments from their pool and giving them back: what DPDK does inline in C, in Rust over the
//! lcore's own cache of the pool, because a call per packet costs more than the work.
//!
//! A segment *in a pool* has a reference count of 1, one segment, no successor, and is neither attached
//! nor external. That is DPDK's rule, and both directions here keep it.

use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;

use dpdk_sys::{rte_mbuf, rte_mempool, rte_mempool_cache};

use crate::BURST;
use crate::lcore::lcore_id;

/// A segment, owned by whoever holds the pointer.
pub(crate) type Raw = NonNull<rte_mbuf>;

/// Segments whose buffer is not their own.
const ATTACHED: u64 = dpdk_sys::SKIFF_MBUF_EXTERNAL | dpdk_sys::SKIFF_MBUF_INDIRECT;

/// Fills `out` with reset segments, or takes none.
///
/// # Safety
/// `pool` is a live packet pool.
#[inline]
pub(crate) unsafe fn take(pool: NonNull<rte_mempool>, out: &mut [MaybeUninit<Raw>]) -> bool {
    // SAFETY: the caller vouches for the pool.
    if !unsafe { take_raw(pool, out) } {
        return false;
    }
    for slot in out {
        // SAFETY: `take_raw` wrote every slot.
        let mut raw = unsafe { slot.assume_init() };
        // SAFETY: the segment was just taken from its pool: it is valid and ours alone.
        reset(unsafe { raw.as_mut() });
    }
    true
}

/// Frees packets with all their segments.
///
/// # Safety
/// Each is a packet that the caller owns and gives up.
#[inline]
pub(crate) unsafe fn free_bulk(pkts: &[Raw]) {
    let Some(first) = pkts.first() else { return };
    // SAFETY: an owned packet is valid.
    let pool = unsafe { first.as_ref() }.pool;
    // SAFETY: as above, for each.
    let same = pkts.iter().all(|raw| is_plain_of(unsafe { raw.as_ref() }, pool));
    if same {
        // SAFETY: plain single segments of this pool, given up by the caller.
        unsafe { put_raw(pool, pkts) };
    } else {
        // SAFETY: each is given up by the caller.
        pkts.iter().for_each(|&raw| unsafe { free(raw) });
    }
}

/// Frees one packet with all its segments.
///
/// # Safety
/// The caller owns the packet and gives it up.
#[inline]
pub(crate) unsafe fn free(raw: Raw) {
    // SAFETY: an owned packet is valid.
    let mbuf = unsafe { raw.as_ref() };
    let pool = mbuf.pool;
    if is_plain_of(mbuf, pool) {
        // SAFETY: a plain single segment of this pool, given up by the caller.
        unsafe { put_raw(pool, &[raw]) };
    } else {
        // SAFETY: the caller gives up the whole packet.
        unsafe { dpdk_sys::skiff_pktmbuf_free(raw.as_ptr()) };
    }
}

/// Whether the packet may go back to `pool` as it is. A head with one segment has no successor, so the
/// mbuf's second cache line stays untouched.
#[inline]
fn is_plain_of(mbuf: &rte_mbuf, pool: *mut rte_mempool) -> bool {
    ptr::eq(mbuf.pool, pool)
        && mbuf.nb_segs == 1
        && mbuf.ol_flags & ATTACHED == 0
        && mbuf.refcnt.load(Ordering::Relaxed) == 1
}

/// What `rte_pktmbuf_reset` does.
#[inline]
fn reset(mbuf: &mut rte_mbuf) {
    mbuf.next = ptr::null_mut();
    mbuf.pkt_len = 0;
    mbuf.tx_offload = 0;
    mbuf.vlan_tci = 0;
    mbuf.vlan_tci_outer = 0;
    mbuf.nb_segs = 1;
    mbuf.port = u16::MAX;
    mbuf.ol_flags &= dpdk_sys::SKIFF_MBUF_EXTERNAL;
    mbuf.packet_type = 0;
    mbuf.data_off = mbuf.buf_len.min(dpdk_sys::SKIFF_HEADROOM as u16);
    mbuf.data_len = 0;
}

/// # Safety
/// `pool` is a live packet pool.
#[inline]
unsafe fn take_raw(pool: NonNull<rte_mempool>, out: &mut [MaybeUninit<Raw>]) -> bool {
    // SAFETY: the caller vouches for the pool.
    if let Some(mut cache) = unsafe { own_cache(pool.as_ptr()) } {
        // SAFETY: the cache belongs to the calling lcore.
        let cache = unsafe { cache.as_mut() };
        let len = cache.len as usize;
        if let Some(start) = len.checked_sub(out.len()).filter(|_| len <= cache.objs.len()) {
            for (slot, object) in out.iter_mut().zip(cache.objs[start..len].iter().rev()) {
                // SAFETY: the first `len` objects of a cache are segments of the pool, never null.
                slot.write(unsafe { NonNull::new_unchecked(object.cast()) });
            }
            cache.len = start as u32;
            return true;
        }
    }
    // SAFETY: the pool is live, `out` has room for as many pointers; NonNull has a pointer's layout.
    unsafe { dpdk_sys::skiff_mempool_get_bulk(pool.as_ptr(), out.as_mut_ptr().cast(), out.len() as u32) == 0 }
}

/// # Safety
/// `pkts` are plain single segments of `pool`, given up by the caller.
#[inline]
unsafe fn put_raw(pool: *mut rte_mempool, pkts: &[Raw]) {
    // SAFETY: a segment's pool is live as long as the segment.
    if let Some(mut cache) = unsafe { own_cache(pool) } {
        // SAFETY: the cache belongs to the calling lcore.
        let cache = unsafe { cache.as_mut() };
        let len = cache.len as usize;
        let end = len + pkts.len();
        let within = end <= cache.flushthresh as usize;
        if let Some(free) = cache.objs.get_mut(len..end).filter(|_| within) {
            for (slot, raw) in free.iter_mut().zip(pkts) {
                *slot = raw.as_ptr().cast();
            }
            cache.len = end as u32;
            return;
        }
    }
    // SAFETY: the pool is live and takes over the segments; the pointers are only read.
    unsafe { dpdk_sys::skiff_mempool_put_bulk(pool, pkts.as_ptr().cast_mut().cast(), pkts.len() as u32) };
}

/// The calling lcore's cache of the pool: nobody else's, and no reference to it is kept across calls.
///
/// # Safety
/// `pool` is a live pool.
#[inline]
unsafe fn own_cache(pool: *const rte_mempool) -> Option<NonNull<rte_mempool_cache>> {
    let lcore = lcore_id();
    if lcore >= dpdk_sys::SKIFF_MAX_LCORE || dpdk_sys::SKIFF_MEMPOOL_PLAIN == 0 {
        return None;
    }
    // SAFETY: the caller vouches for the pool; the fields read are set once, when it is created.
    let pool = unsafe { &*pool };
    if pool.cache_size == 0 {
        return None;
    }
    // SAFETY: a pool with caches has one for each lcore number.
    NonNull::new(unsafe { pool.local_cache.add(lcore as usize) })
}

const _: () = assert!(BURST <= dpdk_sys::SKIFF_MEMPOOL_CACHE_MAX_SIZE as usize);
