//! A burst: up to 32 packets, in order, owned. The unit of all work on the packet path.

use std::mem::MaybeUninit;
use std::{fmt, ptr, slice};

use crate::BURST;
use crate::mbuf::{self, Raw};
use crate::pkt::Pkt;

/// Up to [`Burst::CAPACITY`] packets. Dropping it frees those left in it.
pub struct Burst {
    /// The first `len` slots hold packets that the burst owns.
    slots: [MaybeUninit<Raw>; BURST],
    len: usize,
}

// SAFETY: it owns packets, which may change threads.
unsafe impl Send for Burst {}
// SAFETY: `&Burst` gives `&Pkt` only.
unsafe impl Sync for Burst {}

impl Burst {
    /// Packets it can hold.
    pub const CAPACITY: usize = BURST;

    /// An empty burst.
    #[inline]
    pub const fn new() -> Burst {
        Burst { slots: [const { MaybeUninit::uninit() }; BURST], len: 0 }
    }

    /// Packets in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it can take no more.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len == BURST
    }

    /// The packets, in order.
    #[inline]
    pub fn as_slice(&self) -> &[Pkt] {
        // SAFETY: the first `len` slots hold owned packets, and Pkt is a transparent Raw.
        unsafe { slice::from_raw_parts(self.slots.as_ptr().cast(), self.len) }
    }

    /// The packets, to change or swap.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [Pkt] {
        // SAFETY: as in `as_slice`. A Pkt put in a slot's place is owned too.
        unsafe { slice::from_raw_parts_mut(self.slots.as_mut_ptr().cast(), self.len) }
    }

    /// Iterates over the packets.
    #[inline]
    pub fn iter(&self) -> slice::Iter<'_, Pkt> {
        self.as_slice().iter()
    }

    /// Iterates over the packets, to change them.
    #[inline]
    pub fn iter_mut(&mut self) -> slice::IterMut<'_, Pkt> {
        self.as_mut_slice().iter_mut()
    }

    /// Appends a packet.
    ///
    /// # Errors
    /// The packet, if the burst is full.
    #[inline]
    pub fn push(&mut self, pkt: Pkt) -> Result<(), Pkt> {
        match self.slots.get_mut(self.len) {
            Some(slot) => {
                slot.write(pkt.into_raw());
                self.len += 1;
                Ok(())
            }
            None => Err(pkt),
        }
    }

    /// Takes the last packet.
    #[inline]
    pub fn pop(&mut self) -> Option<Pkt> {
        let last = self.len.checked_sub(1)?;
        let slot = *self.slots.get(last)?;
        self.len = last;
        // SAFETY: the slot was among the first `len`.
        let raw = unsafe { slot.assume_init() };
        // SAFETY: the slot is no longer counted, so this is the only owner.
        Some(unsafe { Pkt::from_raw(raw) })
    }

    /// Takes all packets out by value, in order; those the iterator is dropped with are freed.
    #[inline]
    pub fn drain(&mut self) -> Drain<'_> {
        let end = std::mem::take(&mut self.len);
        Drain { burst: self, next: 0, end }
    }

    /// A mask of the packets `which` is true of; bit 0 is the first.
    #[inline]
    pub fn mask_of(&self, mut which: impl FnMut(&Pkt) -> bool) -> u32 {
        self.iter().enumerate().fold(0, |mask, (i, pkt)| mask | u32::from(which(pkt)) << i)
    }

    /// Moves the packets whose bit in `mask` is set (bit 0 is the first) to the end of `into`, as far as
    /// there is room; both sides keep their order. Returns how many were moved.
    #[inline]
    pub fn extract(&mut self, mask: u32, into: &mut Burst) -> usize {
        let all = u32::MAX.checked_shr((BURST - self.len) as u32).unwrap_or(0);
        let mask = mask & all;
        if mask == 0 {
            return 0;
        }
        if mask == all {
            return into.append(self);
        }
        self.extract_some(mask, into)
    }

    fn extract_some(&mut self, mask: u32, into: &mut Burst) -> usize {
        let first = mask.trailing_zeros() as usize;
        let (mut kept, mut to) = (first, into.len);
        for at in first..self.len.min(BURST) {
            let raw = self.slots[at];
            if mask >> at & 1 == 1 && to < BURST {
                into.slots[to] = raw;
                to += 1;
            } else {
                // `kept` runs behind `at`.
                self.slots[kept.min(at)] = raw;
                kept += 1;
            }
        }
        let moved = to - into.len;
        into.len = to;
        self.len = kept;
        moved
    }

    /// Moves the first `n` packets to the end of `into`, as far as there are any and there is room.
    /// Returns how many were moved.
    #[inline]
    pub fn take_first(&mut self, n: usize, into: &mut Burst) -> usize {
        let n = n.min(self.len).min(BURST - into.len);
        let Some(to) = into.slots.get_mut(into.len..into.len + n) else { return 0 };
        let Some(from) = self.slots.get(..n) else { return 0 };
        to.copy_from_slice(from);
        into.len += n;
        self.forget_first(n);
        n
    }

    /// Moves as many packets as fit from the front of `other` to the end of this one. Returns how many.
    #[inline]
    pub fn append(&mut self, other: &mut Burst) -> usize {
        other.take_first(BURST, self)
    }

    /// Frees all packets, as one operation.
    #[inline]
    pub fn free_all(&mut self) {
        let n = std::mem::take(&mut self.len);
        // SAFETY: the first `n` slots were owned and are no longer counted, so each is freed once.
        unsafe { free_slots(&self.slots[..n.min(BURST)]) };
    }

    /// Brings the first cache line of packet `at`'s data closer, if there is such a packet.
    #[inline]
    pub fn prefetch_data(&self, at: usize) {
        if let Some(pkt) = self.as_slice().get(at) {
            pkt.prefetch_data();
        }
    }

    /// The free slots, for drivers and pools to fill; count them with [`grow`](Self::grow).
    #[inline]
    pub(crate) fn room_mut(&mut self) -> &mut [MaybeUninit<Raw>] {
        let len = self.len.min(BURST);
        &mut self.slots[len..]
    }

    /// Takes over `n` packets written to the front of [`room_mut`](Self::room_mut).
    ///
    /// # Safety
    /// That many free slots were filled with packets nobody else owns.
    #[inline]
    pub(crate) unsafe fn grow(&mut self, n: usize) {
        debug_assert!(self.len + n <= BURST);
        self.len += n;
    }

    /// The packets as C wants them.
    #[inline]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut *mut dpdk_sys::rte_mbuf {
        self.slots.as_mut_ptr().cast()
    }

    /// Closes the gap after the first `n` packets were given away.
    #[inline]
    pub(crate) fn forget_first(&mut self, n: usize) {
        debug_assert!(n <= self.len);
        let (n, len) = (n.min(BURST), self.len.min(BURST));
        if n < len {
            self.slots.copy_within(n..len, 0);
        }
        self.len = len - n.min(len);
    }
}

impl Default for Burst {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Burst {
    #[inline]
    fn drop(&mut self) {
        self.free_all();
    }
}

impl fmt::Debug for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<'a> IntoIterator for &'a Burst {
    type Item = &'a Pkt;
    type IntoIter = slice::Iter<'a, Pkt>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Burst {
    type Item = &'a mut Pkt;
    type IntoIter = slice::IterMut<'a, Pkt>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

/// Iterator of [`Burst::drain`].
pub struct Drain<'a> {
    /// Empty by its own count; the slots from `next` to `end` belong to the iterator.
    burst: &'a mut Burst,
    next: usize,
    end: usize,
}

impl Iterator for Drain<'_> {
    type Item = Pkt;

    #[inline]
    fn next(&mut self) -> Option<Pkt> {
        if self.next == self.end {
            return None;
        }
        let slot = *self.burst.slots.get(self.next)?;
        self.next += 1;
        // SAFETY: the slot was among those between `next` and `end`.
        let raw = unsafe { slot.assume_init() };
        // SAFETY: the slot is left behind, so this is the only owner.
        Some(unsafe { Pkt::from_raw(raw) })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Drain<'_> {}

impl Drop for Drain<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(left) = self.burst.slots.get(self.next..self.end) {
            // SAFETY: these slots belong to the iterator, which ends here.
            unsafe { free_slots(left) };
        }
    }
}

impl fmt::Debug for Drain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("left", &self.len()).finish()
    }
}

/// # Safety
/// Every slot holds a packet that the caller owns and gives up.
#[inline]
unsafe fn free_slots(slots: &[MaybeUninit<Raw>]) {
    if slots.is_empty() {
        return;
    }
    let filled = ptr::from_ref(slots) as *const [Raw];
    // SAFETY: every slot is filled, and MaybeUninit has its content's layout.
    let filled = unsafe { &*filled };
    // SAFETY: the caller gives the packets up.
    unsafe { mbuf::free_bulk(filled) };
}
