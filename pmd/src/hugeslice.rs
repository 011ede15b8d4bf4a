//! Large tables on hugepages: lookups in them miss the TLB less.

use std::fmt;
use std::marker::PhantomData;
use std::mem::{align_of, size_of};
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::slice;

use zerocopy::FromZeros;

const PAGE: usize = 4096;
const HUGE_PAGE: usize = 2 * 1024 * 1024;

/// A zeroed slice in memory of its own, aligned to a page: on 2 MiB hugepages if there are any free, else
/// on ordinary pages that the kernel is asked to merge. Elements are not dropped. Needs no EAL.
pub struct HugeSlice<T: FromZeros + Sync> {
    at: NonNull<T>,
    len: usize,
    map: Mapping,
    owned: PhantomData<T>,
}

// SAFETY: it owns its elements, as a Box does.
unsafe impl<T: FromZeros + Sync + Send> Send for HugeSlice<T> {}
// SAFETY: as a Box.
unsafe impl<T: FromZeros + Sync> Sync for HugeSlice<T> {}

impl<T: FromZeros + Sync> HugeSlice<T> {
    /// A slice of `len` zeroed elements; `None` if there is no memory for it.
    pub fn zeroed(len: usize) -> Option<HugeSlice<T>> {
        const { assert!(align_of::<T>() <= PAGE) };
        let bytes = len.checked_mul(size_of::<T>())?;
        let map = Mapping::new(bytes)?;
        Some(HugeSlice { at: map.at.cast(), len, map, owned: PhantomData })
    }

    /// Whether it is on reserved hugepages.
    pub fn is_huge(&self) -> bool {
        self.map.huge
    }
}

impl<T: FromZeros + Sync> Deref for HugeSlice<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `len` elements; zeroes are a valid T, and it is never unmapped before.
        unsafe { slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl<T: FromZeros + Sync> DerefMut for HugeSlice<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

impl<T: FromZeros + Sync> fmt::Debug for HugeSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HugeSlice").field("len", &self.len).field("huge", &self.map.huge).finish()
    }
}

/// A [`HugeSlice`] whose length the compiler knows, so that bounds checks of masked indices vanish.
#[derive(Debug)]
pub struct HugeArray<T: FromZeros + Sync, const N: usize>(HugeSlice<T>);

impl<T: FromZeros + Sync, const N: usize> HugeArray<T, N> {
    /// `N` zeroed elements; `None` if there is no memory for them.
    pub fn zeroed() -> Option<HugeArray<T, N>> {
        HugeSlice::zeroed(N).map(HugeArray)
    }

    /// Whether it is on reserved hugepages.
    pub fn is_huge(&self) -> bool {
        self.0.is_huge()
    }
}

impl<T: FromZeros + Sync, const N: usize> Deref for HugeArray<T, N> {
    type Target = [T; N];

    #[inline]
    fn deref(&self) -> &[T; N] {
        // SAFETY: the slice was made with N elements.
        unsafe { self.0.at.cast::<[T; N]>().as_ref() }
    }
}

impl<T: FromZeros + Sync, const N: usize> DerefMut for HugeArray<T, N> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T; N] {
        // SAFETY: the slice was made with N elements, and is borrowed exclusively.
        unsafe { self.0.at.cast::<[T; N]>().as_mut() }
    }
}

/// Anonymous, private, zeroed memory.
struct Mapping {
    at: NonNull<u8>,
    /// What was mapped; the memory handed out begins up to a hugepage later.
    start: NonNull<u8>,
    len: usize,
    huge: bool,
}

impl Mapping {
    fn new(bytes: usize) -> Option<Mapping> {
        let reserved = if bytes >= HUGE_PAGE { Self::reserved(bytes) } else { None };
        reserved.or_else(|| Self::ordinary(bytes))
    }

    /// On reserved hugepages, all of them touched: where a control group forbids more of them, only the
    /// first touch tells.
    fn reserved(bytes: usize) -> Option<Mapping> {
        let len = bytes.checked_next_multiple_of(HUGE_PAGE)?;
        let start = map(len, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB)?;
        let mapping = Mapping { at: start, start, len, huge: true };
        // SAFETY: the advice concerns exactly the mapping made above.
        let ret = unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_POPULATE_WRITE) };
        // A kernel before 5.14 does not know the advice, and touches pages later.
        let old_kernel = || std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL);
        (ret == 0 || old_kernel()).then_some(mapping)
    }

    fn ordinary(bytes: usize) -> Option<Mapping> {
        // Only whole, aligned hugepages can be merged.
        let slack = if bytes >= HUGE_PAGE { HUGE_PAGE } else { 0 };
        let len = bytes.max(1).checked_add(slack)?.checked_next_multiple_of(PAGE)?;
        let start = map(len, 0)?;
        let offset = if slack == 0 { 0 } else { start.as_ptr().align_offset(HUGE_PAGE) };
        // SAFETY: the offset is less than the slack, so within the mapping.
        let at = unsafe { start.add(offset) };
        // SAFETY: the advice concerns exactly the mapping made above; it may be ignored.
        unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
        Some(Mapping { at, start, len, huge: false })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped; its owner and all borrows of it are gone.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

fn map(len: usize, flags: i32) -> Option<NonNull<u8>> {
    let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh anonymous mapping touches no memory of ours.
    let at = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, -1, 0) };
    if at == libc::MAP_FAILED { None } else { NonNull::new(at.cast()) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    use super::*;

    #[test]
    fn small_slice_is_zeroed_and_writable() {
        let mut slice = HugeSlice::<u16>::zeroed(100).unwrap();
        assert_eq!(slice.len(), 100);
        assert!(slice.iter().all(|&x| x == 0));
        slice[99] = 7;
        assert_eq!(slice[99], 7);
        assert!(slice.as_ptr().cast::<u8>().align_offset(64) == 0);
    }

    #[test]
    fn large_slice_of_atomics_is_aligned_to_hugepages() {
        let slice = HugeSlice::<AtomicU32>::zeroed(1 << 21).unwrap();
        assert!(slice.as_ptr().cast::<u8>().align_offset(HUGE_PAGE) == 0);
        slice[(1 << 21) - 1].store(9, Ordering::Relaxed);
        assert_eq!(slice[(1 << 21) - 1].load(Ordering::Relaxed), 9);
        assert_eq!(slice[0].load(Ordering::Relaxed), 0);
    }

    #[test]
    fn array_knows_its_length() {
        let array = HugeArray::<AtomicU64, 4096>::zeroed().unwrap();
        let view: &[AtomicU64; 4096] = &array;
        view[4095].store(1, Ordering::Relaxed);
        assert_eq!(array.iter().map(|x| x.load(Ordering::Relaxed)).sum::<u64>(), 1);
    }

    #[test]
    fn empty_slice_is_fine_and_absurd_length_is_refused() {
        assert!(HugeSlice::<u8>::zeroed(0).unwrap().is_empty());
        assert!(HugeSlice::<u64>::zeroed(usize::MAX / 4).is_none());
        assert!(HugeSlice::<u8>::zeroed(usize::MAX).is_none());
    }
}
