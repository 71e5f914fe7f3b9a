//! Reading kernel structures at offsets that BTF told.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_probe_read_kernel;
use tracer_common::offsets::ABSENT;

/// A kernel pointer. In `tp_btf` and `fexit` programs the verifier knows its type and a plain load
/// is safe: a fault reads as zero.
pub(crate) type Ptr = *const c_void;

/// How fields are read.
pub(crate) trait Reader {
    /// The field at `offset`; zero where the kernel lacks it or it can't be read.
    unsafe fn read<T: Copy + Default>(base: Ptr, offset: u32) -> T;
}

/// Plain loads through pointers the verifier knows.
pub(crate) struct Direct;

/// `bpf_probe_read_kernel`, for pointers it does not know.
pub(crate) struct Probe;

impl Reader for Direct {
    #[inline(always)]
    unsafe fn read<T: Copy + Default>(base: Ptr, offset: u32) -> T {
        if offset == ABSENT {
            return T::default();
        }
        // SAFETY: the caller passes a pointer to the structure the offset was looked up in.
        unsafe { base.byte_add(offset as usize).cast::<T>().read_volatile() }
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

/// The 16 bytes at `offset`; zero where they can't be read. A wider load than the member's type is
/// not allowed through typed pointers, so this goes by the helper.
#[inline(always)]
pub(crate) unsafe fn copy16(base: Ptr, offset: u32) -> [u64; 2] {
    // SAFETY: as the caller's.
    unsafe { Probe::read(base, offset) }
}
