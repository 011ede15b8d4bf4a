//! `struct rte_mbuf` without its unions, so that reading a field needs no `unsafe`. Every offset is
//! checked at compile time against DPDK's header.

use core::ffi::c_void;
use core::mem::{align_of, offset_of, size_of};
use core::sync::atomic::AtomicU16;

use crate::bindings;

/// One packet segment: 128 bytes of description, followed in memory by the private area and the buffer.
#[repr(C, align(64))]
#[allow(non_camel_case_types)]
pub struct rte_mbuf {
    /// Start of the segment's buffer.
    pub buf_addr: *mut c_void,
    /// The buffer's bus address.
    pub buf_iova: u64,
    /// Where the data starts in the buffer, bytes.
    pub data_off: u16,
    /// Owners of the segment; Debian builds DPDK with atomic counts.
    pub refcnt: AtomicU16,
    /// Segments of the packet; valid in the first one.
    pub nb_segs: u16,
    /// Input port.
    pub port: u16,
    /// `RTE_MBUF_F_*`.
    pub ol_flags: u64,
    /// `RTE_PTYPE_*`.
    pub packet_type: u32,
    /// Bytes in all segments; valid in the first one.
    pub pkt_len: u32,
    /// Bytes in this segment.
    pub data_len: u16,
    /// VLAN tag control information, host order.
    pub vlan_tci: u16,
    /// RSS hash.
    pub hash_rss: u32,
    /// The hash union's other half.
    pub hash_hi: u32,
    /// Outer VLAN tag control information, host order.
    pub vlan_tci_outer: u16,
    /// Size of the buffer, bytes.
    pub buf_len: u16,
    /// The pool the segment returns to.
    pub pool: *mut bindings::rte_mempool,
    /// Next segment, null in the last one.
    pub next: *mut rte_mbuf,
    /// Header lengths for transmit offloads.
    pub tx_offload: u64,
    /// Shared data of an external buffer.
    pub shinfo: *mut c_void,
    /// Size of the private area, bytes.
    pub priv_size: u16,
    /// IEEE 1588 flags.
    pub timesync: u16,
    /// Free for dynamic fields.
    pub dynfield1: [u32; 9],
}

macro_rules! same_offset {
    ($($field:ident = $c:ident),* $(,)?) => {
        $(const _: () = assert!(offset_of!(rte_mbuf, $field) == bindings::$c as usize);)*
    };
}

same_offset! {
    buf_addr = SKIFF_AT_buf_addr,
    buf_iova = SKIFF_AT_buf_iova,
    data_off = SKIFF_AT_data_off,
    refcnt = SKIFF_AT_refcnt,
    nb_segs = SKIFF_AT_nb_segs,
    port = SKIFF_AT_port,
    ol_flags = SKIFF_AT_ol_flags,
    packet_type = SKIFF_AT_packet_type,
    pkt_len = SKIFF_AT_pkt_len,
    data_len = SKIFF_AT_data_len,
    vlan_tci = SKIFF_AT_vlan_tci,
    hash_rss = SKIFF_AT_hash,
    vlan_tci_outer = SKIFF_AT_vlan_tci_outer,
    buf_len = SKIFF_AT_buf_len,
    pool = SKIFF_AT_pool,
    next = SKIFF_AT_next,
    tx_offload = SKIFF_AT_tx_offload,
    shinfo = SKIFF_AT_shinfo,
    priv_size = SKIFF_AT_priv_size,
    timesync = SKIFF_AT_timesync,
    dynfield1 = SKIFF_AT_dynfield1,
}

const _: () = assert!(size_of::<rte_mbuf>() == bindings::SKIFF_MBUF_SIZE as usize);
const _: () = assert!(align_of::<rte_mbuf>() == bindings::SKIFF_MBUF_ALIGN as usize);
const _: () = assert!(size_of::<[u32; 9]>() == bindings::SKIFF_DYNFIELD1_SIZE as usize);
