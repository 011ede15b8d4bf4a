//! Packets of several segments: growing, cutting, flattening and reading across the joints.
//!
//! Segments behind the first have `nb_segs` 1 and any `next`; the first has the counts of the whole.
//! Cutting frees segments that become empty, except the first.

use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use dpdk_sys::rte_mbuf;

use super::{Pkt, bytes, bytes_mut, tailroom};
use crate::mbuf;

impl Pkt {
    /// Drops `n` bytes at the front. `false`, and no change, if the packet is shorter.
    #[inline]
    pub fn adj(&mut self, n: usize) -> bool {
        let mbuf = self.mbuf_mut();
        if n <= usize::from(mbuf.data_len) {
            mbuf.data_off += n as u16;
            mbuf.data_len -= n as u16;
            mbuf.pkt_len -= n as u32;
            return true;
        }
        n <= mbuf.pkt_len as usize && self.adj_chain(n)
    }

    /// `n` reaches beyond the first segment and not beyond the packet.
    #[cold]
    fn adj_chain(&mut self, n: usize) -> bool {
        let first = self.mbuf_mut();
        let behind = n - usize::from(first.data_len);
        first.data_off += first.data_len;
        first.data_len = 0;
        first.pkt_len -= n as u32;
        let (next, freed) = eat(first.next, behind, |_| ());
        first.next = next;
        first.nb_segs -= freed;
        true
    }

    /// Grows the packet by `n` bytes at the end and returns them; their content is whatever was there.
    /// `None`, and no change, if the tailroom is smaller.
    #[inline]
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.tailroom() {
            return None;
        }
        self.mbuf_mut().pkt_len += n as u32;
        let last = last_mut(self.mbuf_mut());
        let old = usize::from(last.data_len);
        last.data_len += n as u16;
        bytes_mut(last).get_mut(old..)
    }

    /// Cuts the packet to `len` bytes; nothing happens if it is no longer than that.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        let first = self.mbuf_mut();
        if first.nb_segs == 1 {
            first.data_len = len as u16;
            first.pkt_len = len as u32;
        } else {
            self.truncate_chain(len);
        }
    }

    #[cold]
    fn truncate_chain(&mut self, len: usize) {
        let first = self.mbuf_mut();
        first.pkt_len = len as u32;
        let mut kept = 1;
        let mut left = len;
        let mut segment: &mut rte_mbuf = first;
        // The segment where the packet now ends: the first one that is not wholly within `len`.
        loop {
            let here = usize::from(segment.data_len);
            if left <= here || segment.next.is_null() {
                break;
            }
            left -= here;
            kept += 1;
            segment = next_mut(segment).expect("checked above");
        }
        segment.data_len = left as u16;
        free_segments(std::mem::replace(&mut segment.next, ptr::null_mut()));
        self.mbuf_mut().nb_segs = kept;
    }

    /// Makes the first `n` bytes contiguous in the first segment, as `pskb_may_pull` does. `false`, and no
    /// change, if the packet is shorter or the first buffer too small.
    #[inline]
    pub fn pull(&mut self, n: usize) -> bool {
        if n <= usize::from(self.mbuf().data_len) {
            return true;
        }
        n <= self.len() && self.pull_chain(n)
    }

    #[cold]
    fn pull_chain(&mut self, n: usize) -> bool {
        let first = self.mbuf_mut();
        let old = usize::from(first.data_len);
        if n > usize::from(first.buf_len) {
            return false;
        }
        if n - old > tailroom(first) {
            move_data(first, usize::from(first.buf_len) - n);
        }
        first.data_len = n as u16;
        let list = first.next;
        let mut target = &mut bytes_mut(first)[old..];
        let (next, freed) = eat(list, n - old, |piece| {
            let (to, rest) = std::mem::take(&mut target).split_at_mut(piece.len());
            to.copy_from_slice(piece);
            target = rest;
        });
        first.next = next;
        first.nb_segs -= freed;
        true
    }

    /// Copies the bytes from `offset` on into `buf`, across segments. `false`, and `buf` unspecified, if
    /// the packet ends before `buf` is full.
    #[inline]
    pub fn copy_out(&self, offset: usize, buf: &mut [u8]) -> bool {
        let first = self.data();
        if let Some(bytes) = offset.checked_add(buf.len()).and_then(|end| first.get(offset..end)) {
            buf.copy_from_slice(bytes);
            return true;
        }
        self.copy_out_chain(offset, buf)
    }

    #[cold]
    fn copy_out_chain(&self, mut offset: usize, buf: &mut [u8]) -> bool {
        let mut filled = 0;
        for segment in self.segments() {
            let Some(bytes) = segment.get(offset..) else {
                offset -= segment.len();
                continue;
            };
            offset = 0;
            let n = bytes.len().min(buf.len() - filled);
            buf[filled..filled + n].copy_from_slice(&bytes[..n]);
            filled += n;
        }
        filled == buf.len() && offset == 0
    }

    /// The data of each segment, in order.
    #[inline]
    pub fn segments(&self) -> Segments<'_> {
        Segments { next: self.as_ptr(), packet: PhantomData }
    }

    /// Appends another packet's segments. The tail comes back if the chain would be too long.
    ///
    /// # Errors
    /// The tail, if segments or bytes overflow their 16 and 32 bits.
    pub fn chain(&mut self, tail: Pkt) -> Result<(), Pkt> {
        let Some(segments) = self.nb_segs().checked_add(tail.nb_segs()) else { return Err(tail) };
        let Some(len) = self.mbuf().pkt_len.checked_add(tail.mbuf().pkt_len) else { return Err(tail) };
        let mut tail = tail;
        // A segment behind the first must look as if it had never been one.
        tail.mbuf_mut().nb_segs = 1;
        last_mut(self.mbuf_mut()).next = tail.into_raw().as_ptr();
        let first = self.mbuf_mut();
        first.nb_segs = segments;
        first.pkt_len = len;
        Ok(())
    }
}

/// Iterator of [`Pkt::segments`].
#[derive(Debug)]
pub struct Segments<'a> {
    next: *mut rte_mbuf,
    packet: PhantomData<&'a Pkt>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        // SAFETY: null or a segment of the packet, which is borrowed for 'a.
        let segment: &'a rte_mbuf = unsafe { self.next.as_ref() }?;
        self.next = segment.next;
        Some(bytes(segment))
    }
}

/// The last segment.
#[inline]
pub(super) fn last(mut segment: &rte_mbuf) -> &rte_mbuf {
    // A single segment needs no look at the mbuf's second cache line.
    if segment.nb_segs == 1 {
        return segment;
    }
    // SAFETY: `next` is null or a segment of the same packet, borrowed with its first.
    while let Some(next) = unsafe { segment.next.as_ref() } {
        segment = next;
    }
    segment
}

fn last_mut(mut segment: &mut rte_mbuf) -> &mut rte_mbuf {
    while !segment.next.is_null() {
        segment = next_mut(segment).expect("checked above");
    }
    segment
}

fn next_mut(segment: &mut rte_mbuf) -> Option<&mut rte_mbuf> {
    // SAFETY: `next` is null or a segment of the same packet, borrowed exclusively with its first.
    unsafe { segment.next.as_mut() }
}

/// Moves the data of a segment to another offset, where it fits.
fn move_data(segment: &mut rte_mbuf, data_off: usize) {
    let from = usize::from(segment.data_off);
    let len = usize::from(segment.data_len);
    segment.data_off = 0;
    segment.data_len = segment.buf_len;
    bytes_mut(segment).copy_within(from..from + len, data_off);
    segment.data_off = data_off as u16;
    segment.data_len = len as u16;
}

/// Takes `n` bytes off the front of a list of segments behind a packet's first, shows them to `take`, and
/// frees the segments that become empty. Returns the rest of the list and the number freed.
fn eat(mut list: *mut rte_mbuf, n: usize, mut take: impl FnMut(&[u8])) -> (*mut rte_mbuf, u16) {
    let mut left = n;
    let mut freed = 0;
    // SAFETY: null or a segment of a packet that the caller has borrowed exclusively.
    while let Some(segment) = unsafe { list.as_mut() } {
        let here = usize::from(segment.data_len).min(left);
        take(&bytes(segment)[..here]);
        segment.data_off += here as u16;
        segment.data_len -= here as u16;
        left -= here;
        if segment.data_len != 0 {
            break;
        }
        let rest = std::mem::replace(&mut segment.next, ptr::null_mut());
        free_segments(list);
        list = rest;
        freed += 1;
    }
    (list, freed)
}

/// Frees a detached list of segments; null is the empty list.
fn free_segments(mut list: *mut rte_mbuf) {
    while let Some(mut raw) = NonNull::new(list) {
        // SAFETY: the list was cut off its packet, so its segments are ours.
        let segment = unsafe { raw.as_mut() };
        list = std::mem::replace(&mut segment.next, ptr::null_mut());
        segment.nb_segs = 1;
        // SAFETY: a packet of one segment, not used again.
        unsafe { mbuf::free(raw) };
    }
}
