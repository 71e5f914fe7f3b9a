//! Asking for memory ahead.
//!
//! In a flood from random sources each SYN's elements are in memory that no near cache holds. A load
//! is waited for by the next reading of the clock at the latest; a store is not, and brings the cache
//! line and the translation of its address all the same.

/// Has the cache line of a map value's word come by writing what would be written anyway.
#[inline(always)]
pub(crate) fn fetch(word: *mut u32, value: u32) {
    // SAFETY: a word of a map value.
    unsafe { word.write_volatile(value) };
}
