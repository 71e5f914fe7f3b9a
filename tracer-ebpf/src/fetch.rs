//! Reading ahead.
//!
//! In a flood from random sources each SYN's elements are in memory that no cache and no TLB holds.
//! Fetched one after the other, as the work comes to them, they cost the sum of the misses; touched
//! together before the work begins, hardly more than the longest.

/// Reads a word of a map value, so that its cache line is there when the work comes to it.
#[inline(always)]
pub(crate) fn fetch<T>(value: *mut T) {
    const { assert!(size_of::<T>() >= size_of::<u32>() && align_of::<T>() >= align_of::<u32>()) };
    // SAFETY: a map value, of a size and alignment that hold a u32.
    unsafe { value.cast::<u32>().read_volatile() };
}
