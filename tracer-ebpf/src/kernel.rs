//! Reading kernel structures at offsets that BTF told.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::{bpf_probe_read_kernel, generated};
use tracer_common::offsets::ABSENT;

/// A kernel pointer. In `tp_btf` and `fexit` programs the verifier knows its type and a plain load
/// is safe: a fault reads as zero.
pub(crate) type Ptr = *const c_void;

/// How fields are read.
pub(crate) trait Reader {
    /// The field at `offset`; zero where the kernel lacks it or it can't be read.
    unsafe fn read<T: Copy + Default>(base: Ptr, offset: u32) -> T;

    /// The same of a structure whose pointer was read.
    #[inline(always)]
    unsafe fn follow<T: Copy + Default>(base: Ptr, offset: u32) -> T {
        // SAFETY: as the caller's.
        unsafe { Self::read(base, offset) }
    }

    /// The 16 bytes at `offset`.
    #[inline(always)]
    unsafe fn copy16(base: Ptr, offset: u32) -> [u64; 2] {
        // SAFETY: as the caller's.
        unsafe { Self::read(base, offset) }
    }
}

/// Plain loads through pointers the verifier knows.
pub(crate) struct Direct;

/// `bpf_probe_read_kernel`, for pointers it does not know.
pub(crate) struct Probe;

/// Plain loads from a [`Block`] of so many words.
pub(crate) struct Copied<const WORDS: usize>;

/// The beginning of a structure, copied by `bpf_probe_read_kernel` in one: a call of it costs as much
/// as a copy of many words.
pub(crate) struct Block<const WORDS: usize>(MaybeUninit<[u64; WORDS]>);

impl<const WORDS: usize> Block<WORDS> {
    pub(crate) const fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// Copies what is at `from`, for [`Copied`]; `None` where it can't be read.
    #[inline(always)]
    pub(crate) unsafe fn copy(&mut self, from: Ptr) -> Option<Ptr> {
        let to = self.0.as_mut_ptr().cast::<c_void>();
        // SAFETY: the helper checks the address it reads and fills what it is given.
        let error =
            unsafe { generated::bpf_probe_read_kernel(to, size_of::<[u64; WORDS]>() as u32, from) };
        (error == 0).then_some(to.cast_const())
    }
}

impl Reader for Direct {
    #[inline(always)]
    unsafe fn read<T: Copy + Default>(base: Ptr, offset: u32) -> T {
        if offset == ABSENT {
            return T::default();
        }
        // SAFETY: the caller passes a pointer to the structure the offset was looked up in.
        unsafe { base.byte_add(offset as usize).cast::<T>().read_volatile() }
    }

    /// Word by word, which the verifier allows within an array of smaller integers.
    #[inline(always)]
    unsafe fn copy16(base: Ptr, offset: u32) -> [u64; 2] {
        if offset == ABSENT {
            return [0; 2];
        }
        // SAFETY: as the caller's.
        unsafe { [Self::read(base, offset), Self::read(base, offset + 8)] }
    }
}

impl Reader for Probe {
    #[inline(always)]
    unsafe fn read<T: Copy + Default>(base: Ptr, offset: u32) -> T {
        if offset == ABSENT {
            return T::default();
        }
        let at = base.wrapping_byte_add(offset as usize).cast::<T>();
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_kernel(at) }.unwrap_or_default()
    }
}

impl<const WORDS: usize> Reader for Copied<WORDS> {
    #[inline(always)]
    unsafe fn read<T: Copy + Default>(base: Ptr, offset: u32) -> T {
        // Constants to the verifier: what is beyond, or nowhere, costs nothing.
        if offset as usize > size_of::<[u64; WORDS]>() - size_of::<T>() {
            return T::default();
        }
        // SAFETY: within the block.
        unsafe { base.byte_add(offset as usize).cast::<T>().read_volatile() }
    }

    #[inline(always)]
    unsafe fn follow<T: Copy + Default>(base: Ptr, offset: u32) -> T {
        // SAFETY: as the caller's.
        unsafe { Probe::read(base, offset) }
    }
}
