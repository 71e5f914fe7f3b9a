//! Memory shared with the kernel side, read and written word by word.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// A mapped array. Both sides use it at the same time, so there are no references to what may
/// change, only volatile or atomic reads and writes of aligned words, each of them whole.
pub(in crate::kernel) struct Mmap {
    base: NonNull<c_void>,
    /// Bytes that may be touched.
    size: usize,
}

const READ_AND_WRITE: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);

// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Mmap {}

impl Mmap {
    /// Maps the first `size` bytes of a BPF array made with `BPF_F_MMAPABLE`. The mapping keeps the
    /// array alive.
    ///
    /// # Errors
    /// The kernel refuses: the array is smaller, or was not made for it.
    pub(in crate::kernel) fn shared(map: BorrowedFd<'_>, size: usize) -> nix::Result<Self> {
        Self::of(map, 0, size, READ_AND_WRITE)
    }

    /// Maps `size` bytes at `offset` of a BPF map, to read.
    ///
    /// # Errors
    /// The kernel refuses: the map has nothing there.
    pub(in crate::kernel) fn read_only(
        map: BorrowedFd<'_>,
        offset: usize,
        size: usize,
    ) -> nix::Result<Self> {
        Self::of(map, offset, size, ProtFlags::PROT_READ)
    }

    fn of(map: BorrowedFd<'_>, offset: usize, size: usize, access: ProtFlags) -> nix::Result<Self> {
        let length = NonZeroUsize::new(size).ok_or(Errno::EINVAL)?;
        let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, map, offset) }?;
        Ok(Self { base, size })
    }

    /// Zeroed memory that nobody else has.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests play the kernel's part in it"))]
    pub(in crate::kernel) fn private(size: usize) -> nix::Result<Self> {
        let length = NonZeroUsize::new(size).ok_or(Errno::EINVAL)?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { mmap_anonymous(None, length, READ_AND_WRITE, MapFlags::MAP_PRIVATE) }?;
        Ok(Self { base, size })
    }

    /// Address of the aligned word at `offset` bytes, if it is within.
    fn word<T>(&self, offset: usize) -> Option<NonNull<T>> {
        let within = offset.checked_add(size_of::<T>())? <= self.size;
        // The mapping begins on a page.
        (within && offset.is_multiple_of(align_of::<T>()))
            // SAFETY: within the mapping.
            .then(|| unsafe { self.base.byte_add(offset).cast() })
    }

    /// The word at `offset` bytes; 0 outside.
    pub(in crate::kernel) fn u32(&self, offset: usize) -> u32 {
        // SAFETY: within the mapping and aligned.
        self.word(offset).map_or(0, |word| unsafe { word.read_volatile() })
    }

    /// The word at `offset` bytes; 0 outside.
    pub(in crate::kernel) fn u64(&self, offset: usize) -> u64 {
        // SAFETY: within the mapping and aligned.
        self.word(offset).map_or(0, |word| unsafe { word.read_volatile() })
    }

    /// The word at `offset` bytes, and with it all that was written before it; 0 outside.
    pub(in crate::kernel) fn published(&self, offset: usize) -> u64 {
        let word = self.word::<AtomicU64>(offset);
        // SAFETY: within the mapping and aligned.
        word.map_or(0, |word| unsafe { word.as_ref() }.load(Ordering::Acquire))
    }

    /// Writes the word at `offset` bytes, after all that was read before it; nothing outside.
    pub(in crate::kernel) fn publish(&mut self, offset: usize, value: u64) {
        if let Some(word) = self.word::<AtomicU64>(offset) {
            // SAFETY: within the mapping and aligned.
            unsafe { word.as_ref() }.store(value, Ordering::Release);
        }
    }

    /// The bytes of a `T` at `offset`; none outside.
    ///
    /// # Safety
    /// Nobody writes there for as long as they are borrowed.
    pub(in crate::kernel) unsafe fn still<T>(&self, offset: usize) -> &[u8] {
        let at = self.word::<T>(offset).map(NonNull::cast);
        // SAFETY: within the mapping; the caller's promise.
        at.map_or(&[], |at| unsafe { std::slice::from_raw_parts(at.as_ptr(), size_of::<T>()) })
    }

    /// Writes the word at `offset` bytes; nothing outside.
    pub(in crate::kernel) fn set_u32(&mut self, offset: usize, value: u32) {
        if let Some(word) = self.word(offset) {
            // SAFETY: within the mapping and aligned.
            unsafe { word.write_volatile(value) };
        }
    }

    /// Writes the word at `offset` bytes; nothing outside.
    pub(in crate::kernel) fn set_u64(&mut self, offset: usize, value: u64) {
        if let Some(word) = self.word(offset) {
            // SAFETY: within the mapping and aligned.
            unsafe { word.write_volatile(value) };
        }
    }
}

impl Drop for Mmap {
    fn drop(&mut self) {
        // SAFETY: mapped by us with this length; nothing points into it any more.
        let unmapped = unsafe { munmap(self.base, self.size) };
        if let Err(error) = unmapped {
            log::debug!("munmap: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_within_and_nothing_outside() {
        let mut memory = Mmap::private(24).unwrap();
        memory.set_u64(16, 0x1122_3344_5566_7788);
        assert_eq!(memory.u64(16), 0x1122_3344_5566_7788);
        memory.set_u32(16, 7);
        assert_eq!(memory.u32(16), 7);
        memory.set_u64(24, 9);
        memory.set_u64(20, 9);
        assert_eq!((memory.u64(24), memory.u64(20), memory.u32(24)), (0, 0, 0));
        assert_eq!(memory.u64(usize::MAX - 7), 0);
        assert_eq!(memory.u32(20), 0x1122_3344);
    }
}
