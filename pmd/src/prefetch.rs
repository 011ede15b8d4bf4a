//! Cache hints.

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use std::ptr;

/// Starts to bring the cache line of `at`'s first byte into every cache level.
#[inline(always)]
pub fn prefetch_read<T>(at: &T) {
    // SAFETY: SSE is part of x86-64, and a prefetch has no effect a program can see.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(ptr::from_ref(at).cast()) };
}
