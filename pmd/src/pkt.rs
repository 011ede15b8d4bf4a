//! A packet: a chain of one or more mbufs, owned.
//!
//! The invariant everything leans on: a `Pkt` is the only owner of its segments. The crate has no way to
//! clone or share one, and its pools hand out unshared ones. (Drivers that would hand out shared segments
//! are none of those linked; debug builds check in `rx_burst`.) So `&mut Pkt` is exclusive access to the
//! bytes, and `Pkt` may change threads.

use std::mem::{align_of, offset_of, size_of};
use std::slice;
use std::sync::atomic::Ordering;
use std::{fmt, mem};

use bitflags::bitflags;
use dpdk_sys::rte_mbuf;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::{Error, why_rte_errno};
use crate::log;
use crate::mbuf::{self, Raw};
use crate::prefetch::prefetch_read;

mod chain;
mod vlan;
mod wire;

pub use chain::Segments;

/// Bytes of [`Pkt::meta`]: in the mbuf itself, so in a cache line the driver has touched.
pub const META_SIZE: usize = 28;

/// Bytes of [`Pkt::private`]: behind the mbuf, in a cache line of its own.
pub const PRIV_SIZE: usize = 64;

/// The metadata takes the front of the dynamic field area, which leaves the driver an 8-byte hole at the
/// end, aligned to 8: receive timestamps need one.
const META_OFFSET: usize = offset_of!(rte_mbuf, dynfield1);
const META_ALIGN: usize = 4;
const PRIV_ALIGN: usize = 8;

const _: () = assert!(META_OFFSET.is_multiple_of(META_ALIGN));
const _: () = assert!((META_OFFSET + META_SIZE).is_multiple_of(8));
const _: () = assert!(META_OFFSET + META_SIZE + 8 <= size_of::<rte_mbuf>());

bitflags! {
    /// What the driver found out about a received packet.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct RxFlags: u64 {
        /// There is a VLAN tag, and its TCI is in [`Pkt::vlan_tci`].
        const VLAN = dpdk_sys::SKIFF_RX_VLAN;
        /// The VLAN tag was taken out of the data.
        const VLAN_STRIPPED = dpdk_sys::SKIFF_RX_VLAN_STRIPPED;
        /// There are two VLAN tags.
        const QINQ = dpdk_sys::SKIFF_RX_QINQ;
        /// Both VLAN tags were taken out of the data.
        const QINQ_STRIPPED = dpdk_sys::SKIFF_RX_QINQ_STRIPPED;
        /// The hash of [`Pkt::rss_hash`] is there.
        const RSS_HASH = dpdk_sys::SKIFF_RX_RSS_HASH;
        /// The IP checksum is right. Together with `IP_CKSUM_BAD`: not in the packet, but known to be good.
        const IP_CKSUM_GOOD = dpdk_sys::SKIFF_RX_IP_CKSUM_GOOD;
        /// The IP checksum is wrong. With neither flag it is not known.
        const IP_CKSUM_BAD = dpdk_sys::SKIFF_RX_IP_CKSUM_BAD;
        /// The TCP or UDP checksum is right; combined as above.
        const L4_CKSUM_GOOD = dpdk_sys::SKIFF_RX_L4_CKSUM_GOOD;
        /// The TCP or UDP checksum is wrong.
        const L4_CKSUM_BAD = dpdk_sys::SKIFF_RX_L4_CKSUM_BAD;
    }
}

/// A packet. Dropping it gives its segments back to their pool.
#[repr(transparent)]
pub struct Pkt(Raw);

// SAFETY: a packet owns its segments, and their pool takes them back on any thread.
unsafe impl Send for Pkt {}
// SAFETY: `&Pkt` only reads.
unsafe impl Sync for Pkt {}

impl Pkt {
    /// Length of the whole packet, bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.mbuf().pkt_len as usize
    }

    /// Segments in the chain, at least 1.
    #[inline]
    pub fn nb_segs(&self) -> u16 {
        self.mbuf().nb_segs
    }

    /// The bytes of the first segment: the whole packet if there is but one.
    #[inline]
    pub fn data(&self) -> &[u8] {
        bytes(self.mbuf())
    }

    /// The same, to change.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        bytes_mut(self.mbuf_mut())
    }

    /// Free bytes in front of the data.
    #[inline]
    pub fn headroom(&self) -> usize {
        usize::from(self.mbuf().data_off)
    }

    /// Free bytes behind the data, in the last segment.
    #[inline]
    pub fn tailroom(&self) -> usize {
        tailroom(chain::last(self.mbuf()))
    }

    /// Grows the packet by `n` bytes at the front and returns them; their content is whatever was there.
    /// `None`, and no change, if the headroom is smaller.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        let mbuf = self.mbuf_mut();
        if n > usize::from(mbuf.data_off) {
            return None;
        }
        // `n` fits 16 bits, as the offset it is not larger than does.
        mbuf.data_off -= n as u16;
        mbuf.data_len += n as u16;
        mbuf.pkt_len += n as u32;
        bytes_mut(mbuf).get_mut(..n)
    }

    /// Input port, as the driver or [`set_port`](Self::set_port) left it; `u16::MAX` in a fresh packet.
    #[inline]
    pub fn port(&self) -> u16 {
        self.mbuf().port
    }

    /// Sets the input port.
    #[inline]
    pub fn set_port(&mut self, port: u16) {
        self.mbuf_mut().port = port;
    }

    /// The RSS hash, if the device computed one.
    #[inline]
    pub fn rss_hash(&self) -> Option<u32> {
        let mbuf = self.mbuf();
        (mbuf.ol_flags & dpdk_sys::SKIFF_RX_RSS_HASH != 0).then_some(mbuf.hash_rss)
    }

    /// What the device made of the headers, `RTE_PTYPE_*`; 0 if it did not look.
    #[inline]
    pub fn packet_type(&self) -> u32 {
        self.mbuf().packet_type
    }

    /// What the driver found out.
    #[inline]
    pub fn rx_flags(&self) -> RxFlags {
        RxFlags::from_bits_truncate(self.mbuf().ol_flags)
    }

    /// Forgets what the driver found out and what the device was asked to do: for packets that go round
    /// in software.
    #[inline]
    pub fn clear_offloads(&mut self) {
        self.mbuf_mut().ol_flags &= dpdk_sys::SKIFF_MBUF_EXTERNAL | dpdk_sys::SKIFF_MBUF_INDIRECT;
    }

    /// Forgets what the driver found out about checksums: for packets whose bytes have changed since.
    #[inline]
    pub fn clear_rx_checksums(&mut self) {
        let found =
            RxFlags::IP_CKSUM_GOOD | RxFlags::IP_CKSUM_BAD | RxFlags::L4_CKSUM_GOOD | RxFlags::L4_CKSUM_BAD;
        self.mbuf_mut().ol_flags &= !found.bits();
    }

    /// The metadata: up to [`META_SIZE`] bytes, aligned to 4. It stays with the packet through pools,
    /// rings and drivers, and is stale bytes of an earlier packet until it is written.
    #[inline]
    pub fn meta<M: FromBytes + IntoBytes + Immutable + KnownLayout>(&self) -> &M {
        const { assert!(size_of::<M>() <= META_SIZE && align_of::<M>() <= META_ALIGN) };
        // SAFETY: the offset is within the mbuf.
        let meta = unsafe { self.0.byte_add(META_OFFSET) }.cast::<M>();
        // SAFETY: the area is this packet's, large and aligned enough (asserted), initialised when the
        // pool was made, and any bytes are an M. The reference borrows the packet.
        unsafe { meta.as_ref() }
    }

    /// The same, to change.
    #[inline]
    pub fn meta_mut<M: FromBytes + IntoBytes + Immutable + KnownLayout>(&mut self) -> &mut M {
        const { assert!(size_of::<M>() <= META_SIZE && align_of::<M>() <= META_ALIGN) };
        // SAFETY: the offset is within the mbuf.
        let mut meta = unsafe { self.0.byte_add(META_OFFSET) }.cast::<M>();
        // SAFETY: as in `meta`; the packet is borrowed exclusively.
        unsafe { meta.as_mut() }
    }

    /// The private area: up to [`PRIV_SIZE`] bytes, aligned to 8; as [`meta`](Self::meta), but in a cache
    /// line that nothing else touches.
    #[inline]
    pub fn private<P: FromBytes + IntoBytes + Immutable + KnownLayout>(&self) -> &P {
        const { assert!(size_of::<P>() <= PRIV_SIZE && align_of::<P>() <= PRIV_ALIGN) };
        debug_assert!(usize::from(self.mbuf().priv_size) >= PRIV_SIZE);
        // SAFETY: every pool of this crate, and so every packet, has PRIV_SIZE bytes behind the mbuf.
        let area = unsafe { self.0.add(1) }.cast::<P>();
        // SAFETY: as in `meta`.
        unsafe { area.as_ref() }
    }

    /// The same, to change.
    #[inline]
    pub fn private_mut<P: FromBytes + IntoBytes + Immutable + KnownLayout>(&mut self) -> &mut P {
        const { assert!(size_of::<P>() <= PRIV_SIZE && align_of::<P>() <= PRIV_ALIGN) };
        debug_assert!(usize::from(self.mbuf().priv_size) >= PRIV_SIZE);
        // SAFETY: every pool of this crate, and so every packet, has PRIV_SIZE bytes behind the mbuf.
        let mut area = unsafe { self.0.add(1) }.cast::<P>();
        // SAFETY: as in `meta_mut`.
        unsafe { area.as_mut() }
    }

    /// Brings the descriptor (both cache lines of the mbuf, metadata included) closer.
    #[inline]
    pub fn prefetch(&self) {
        let first = self.0.cast::<[u8; 64]>();
        // SAFETY: both lines are part of the mbuf.
        let lines = unsafe { first.cast::<[[u8; 64]; 2]>().as_ref() };
        prefetch_read(&lines[0]);
        prefetch_read(&lines[1]);
    }

    /// Brings the first cache line of the data closer.
    #[inline]
    pub fn prefetch_data(&self) {
        if let Some(byte) = self.data().first() {
            prefetch_read(byte);
        }
    }

    /// Gives the packet up as a pointer, to be owned by C or a burst.
    #[inline]
    pub(crate) fn into_raw(self) -> Raw {
        mem::ManuallyDrop::new(self).0
    }

    /// Takes ownership back.
    ///
    /// # Safety
    /// `raw` is a packet nobody else owns, from a pool of this crate.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: Raw) -> Pkt {
        Pkt(raw)
    }

    /// Whether this is indeed the only owner.
    pub(crate) fn is_unshared(&self) -> bool {
        self.mbuf().refcnt.load(Ordering::Relaxed) == 1
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut rte_mbuf {
        self.0.as_ptr()
    }

    #[inline]
    fn mbuf(&self) -> &rte_mbuf {
        // SAFETY: an owned mbuf is valid, and changes only through `&mut self`.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn mbuf_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: an owned mbuf is valid; the exclusive borrow of its owner covers it.
        unsafe { self.0.as_mut() }
    }
}

impl Drop for Pkt {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the packet is owned and not used again.
        unsafe { mbuf::free(self.0) };
    }
}

impl fmt::Debug for Pkt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkt")
            .field("len", &self.len())
            .field("nb_segs", &self.nb_segs())
            .field("port", &self.port())
            .field("rx_flags", &self.rx_flags())
            .finish_non_exhaustive()
    }
}

/// The data of one segment.
#[inline]
fn bytes(mbuf: &rte_mbuf) -> &[u8] {
    // SAFETY: the data offset is within the buffer.
    let start = unsafe { mbuf.buf_addr.byte_add(usize::from(mbuf.data_off)) };
    // SAFETY: the data lies in the buffer, which belongs to the segment and was initialised with its pool.
    unsafe { slice::from_raw_parts(start.cast(), usize::from(mbuf.data_len)) }
}

#[inline]
fn bytes_mut(mbuf: &mut rte_mbuf) -> &mut [u8] {
    // SAFETY: the data offset is within the buffer.
    let start = unsafe { mbuf.buf_addr.byte_add(usize::from(mbuf.data_off)) };
    // SAFETY: as in `bytes`; the segment has one owner, whose exclusive borrow this is.
    unsafe { slice::from_raw_parts_mut(start.cast(), usize::from(mbuf.data_len)) }
}

#[inline]
fn tailroom(mbuf: &rte_mbuf) -> usize {
    usize::from(mbuf.buf_len) - usize::from(mbuf.data_off) - usize::from(mbuf.data_len)
}

/// Claims the metadata's place before any driver can. Once, when EAL is up.
pub(crate) fn claim_metadata() -> Result<(), Error> {
    let mut field = dpdk_sys::rte_mbuf_dynfield { size: META_SIZE, align: META_ALIGN, ..Default::default() };
    for (to, from) in field.name.iter_mut().zip(c"skiff_skb".to_bytes_with_nul()) {
        *to = *from as _;
    }
    log::forget();
    // SAFETY: the description is read during the call only.
    let at = unsafe { dpdk_sys::rte_mbuf_dynfield_register_offset(&field, META_OFFSET) };
    if at == META_OFFSET as i32 {
        return Ok(());
    }
    Err(Error::Init { why: format!("no place for metadata in packets: {}", why_rte_errno()) })
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use crate::{Eal, EalConfig, Hugepages};

    /// Drivers that stamp packets look for 8 bytes, aligned to 8.
    #[test]
    fn timestamps_find_a_place_behind_the_metadata() {
        let cfg = EalConfig { memory_mib: 32, hugepages: Hugepages::Off, ..EalConfig::default() };
        let _eal = Eal::init(cfg).unwrap();
        let (mut offset, mut flag) = (-1, 0);
        // SAFETY: EAL is up; two places for the answer.
        let ret = unsafe { dpdk_sys::rte_mbuf_dyn_rx_timestamp_register(&mut offset, &mut flag) };
        assert_eq!((ret, offset), (0, 120));
        // SAFETY: EAL is up; no description is wanted.
        let at = unsafe { dpdk_sys::rte_mbuf_dynfield_lookup(c"skiff_skb".as_ptr(), ptr::null_mut()) };
        assert_eq!(at, super::META_OFFSET as i32);
    }
}
