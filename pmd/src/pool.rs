//! Packet pools: fixed numbers of equal packet buffers, with a cache per lcore.

use std::ffi::CStr;
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dpdk_sys::rte_mempool;

use crate::burst::Burst;
use crate::eal::{self, Eal, EalToken};
use crate::error::{Error, c_string, why_rte_errno};
use crate::log;
use crate::mbuf;
use crate::pkt::{PRIV_SIZE, Pkt};

/// What a pool is made of.
#[derive(Clone, Copy, Debug)]
pub struct PoolConfig<'a> {
    /// Its name, unique in the process and shorter than 26 bytes.
    pub name: &'a str,
    /// Packets it holds. 2^n - 1 wastes the least memory.
    pub mbufs: u32,
    /// Packets each lcore may keep in its own cache; reduced to what DPDK allows: 512, and two thirds of
    /// the pool.
    pub cache: u32,
    /// Bytes of data a packet has room for, behind 128 bytes of headroom.
    pub data_room: u16,
    /// The NUMA node of its memory; `None` for any.
    pub socket: Option<u32>,
}

/// A packet pool: a handle, cheap to clone. Its memory stays until the process ends.
#[derive(Clone)]
pub struct Pool {
    raw: NonNull<rte_mempool>,
    data_room: u16,
    /// Allocations that found it empty.
    failures: Arc<AtomicU64>,
    _eal: Arc<EalToken>,
}

// SAFETY: pools are made for use by any thread: each lcore has its own cache, the common ring is
// multi-producer and multi-consumer, and the fields read here never change.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Pool {
    /// Makes a pool.
    ///
    /// # Errors
    /// [`Error::Pool`] if the memory or the name is taken.
    pub fn create(eal: &Eal, cfg: &PoolConfig) -> Result<Pool, Error> {
        let refuse = |why| Error::Pool { name: cfg.name.into(), why };
        let name = c_string(cfg.name)?;
        let Some(room) = cfg.data_room.checked_add(dpdk_sys::SKIFF_HEADROOM as u16) else {
            return Err(refuse(format!("a data room of {} bytes is too large", cfg.data_room)));
        };
        let cache = cfg.cache.min(dpdk_sys::SKIFF_MEMPOOL_CACHE_MAX_SIZE).min(cfg.mbufs / 3 * 2);
        let socket = cfg.socket.map_or(SOCKET_ID_ANY, |node| node as i32);
        let _control = eal::control();
        log::forget();
        // SAFETY: EAL is up; the name is NUL-terminated and copied.
        let raw = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(name.as_ptr(), cfg.mbufs, cache, PRIV_SIZE as u16, room, socket)
        };
        let raw = NonNull::new(raw).ok_or_else(|| refuse(why_rte_errno()))?;
        Ok(Pool { raw, data_room: cfg.data_room, failures: Arc::default(), _eal: eal.token() })
    }

    /// A fresh, empty packet with 128 bytes of headroom; `None` when the pool is empty.
    #[inline]
    pub fn alloc(&self) -> Option<Pkt> {
        let mut slot = [MaybeUninit::uninit()];
        // SAFETY: the handle keeps the pool alive.
        if !unsafe { mbuf::take(self.raw, &mut slot) } {
            self.failures.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        // SAFETY: `take` filled it.
        let raw = unsafe { slot[0].assume_init() };
        // SAFETY: fresh from the pool, ours alone.
        Some(unsafe { Pkt::from_raw(raw) })
    }

    /// Appends `n` fresh packets to the burst; `false`, and none, if the pool or the burst's free room has
    /// not that many.
    #[inline]
    pub fn alloc_bulk(&self, n: usize, into: &mut Burst) -> bool {
        let Some(slots) = into.room_mut().get_mut(..n) else { return false };
        // SAFETY: the handle keeps the pool alive.
        if !unsafe { mbuf::take(self.raw, slots) } {
            self.failures.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        // SAFETY: `take` filled `n` slots with packets that are ours alone.
        unsafe { into.grow(n) };
        true
    }

    /// How often this handle or a clone of it found the pool empty. Drivers count their own
    /// ([`PortStats::rx_nombuf`](crate::PortStats)).
    pub fn alloc_failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Packets the pool was made with.
    pub fn capacity(&self) -> u32 {
        self.mempool().size
    }

    /// Packets in the pool and its caches now. Walks all caches.
    pub fn available(&self) -> u32 {
        // SAFETY: the handle keeps the pool alive.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.raw.as_ptr()) }
    }

    /// Packets out of the pool now.
    pub fn in_use(&self) -> u32 {
        self.capacity().saturating_sub(self.available())
    }

    /// The pool's name.
    pub fn name(&self) -> &str {
        // SAFETY: DPDK terminates the name within its array.
        unsafe { CStr::from_ptr(self.mempool().name.as_ptr()) }.to_str().unwrap_or_default()
    }

    /// Bytes of data a packet has room for, behind the headroom.
    pub fn data_room(&self) -> u16 {
        self.data_room
    }

    /// A deep copy of a packet in this pool's buffers, of as many segments as it takes: data, metadata,
    /// private area and what the driver found out. `None` when the pool has too few packets left.
    pub fn copy(&self, pkt: &Pkt) -> Option<Pkt> {
        // SAFETY: a valid packet, only read, and a live pool.
        let copy = unsafe { dpdk_sys::rte_pktmbuf_copy(pkt.as_ptr(), self.raw.as_ptr(), 0, u32::MAX) };
        // SAFETY: fresh from the pool, ours alone.
        let mut copy = unsafe { Pkt::from_raw(NonNull::new(copy)?) };
        *copy.private_mut::<[u8; PRIV_SIZE]>() = *pkt.private();
        Some(copy)
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut rte_mempool {
        self.raw.as_ptr()
    }

    fn mempool(&self) -> &rte_mempool {
        // SAFETY: the handle keeps the pool alive, and what is read of it never changes.
        unsafe { self.raw.as_ref() }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.name()).field("capacity", &self.capacity()).finish()
    }
}

const SOCKET_ID_ANY: i32 = -1;
