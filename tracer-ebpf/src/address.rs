//! Socket addresses as numbers.
//!
//! The verifier lets no program calculate with a kernel pointer. Written to a map and read back it
//! is a number.

use aya_ebpf::{macros::map, maps::PerCpuArray};

use crate::kernel::Ptr;

#[repr(C)]
#[derive(Clone, Copy)]
struct Scratch {
    address: u64,
    /// The socket on which `tcp_reset()` ran last on this CPU.
    reset: u64,
}

/// A program that interrupts another on the same CPU is of another kind: one slot each.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(2, 0);

const TRANSITION: u32 = 0;
const RESET: u32 = 1;

#[inline(always)]
fn number(sk: Ptr, slot: u32) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(slot) else {
        return 0;
    };
    // SAFETY: this CPU's map value.
    unsafe {
        (&raw mut (*scratch).address).cast::<Ptr>().write_volatile(sk);
        (&raw const (*scratch).address).read_volatile()
    }
}

/// The address of a socket, for the state hook.
#[inline(always)]
pub(crate) fn of(sk: Ptr) -> u64 {
    number(sk, TRANSITION)
}

/// Notes that `tcp_reset()` runs on this socket (tracepoint `tcp_receive_reset`, which precedes
/// →CLOSE on the same CPU).
#[inline(always)]
pub(crate) fn note_reset(sk: Ptr) {
    let address = number(sk, RESET);
    if let Some(scratch) = SCRATCH.get_ptr_mut(RESET) {
        // SAFETY: this CPU's map value.
        unsafe { (*scratch).reset = address };
    }
}

/// Whether `tcp_reset()` has just run on this socket.
#[inline(always)]
pub(crate) fn take_reset(sk: Ptr) -> bool {
    let address = of(sk);
    let Some(scratch) = SCRATCH.get_ptr_mut(RESET) else {
        return false;
    };
    // SAFETY: this CPU's map value.
    unsafe {
        let hit = (*scratch).reset == address;
        if hit {
            (*scratch).reset = 0;
        }
        hit
    }
}
