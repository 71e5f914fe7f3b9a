//! Socket addresses as numbers.
//!
//! The verifier lets no program calculate with a kernel pointer. Written to a map and read back it
//! is a number.

use aya_ebpf::{macros::map, maps::PerCpuArray};

use crate::{counters::Program, kernel::Ptr};

#[repr(C)]
#[derive(Clone, Copy)]
struct Scratch {
    address: u64,
    /// The socket on which `tcp_reset()` ran last on this CPU.
    reset: u64,
}

/// A program that interrupts another on the same CPU is another one: one slot each.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(8, 0);

/// The address of a socket.
#[inline(always)]
pub(crate) fn of(sk: Ptr, program: Program) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(program as u32) else { return 0 };
    // SAFETY: this CPU's map value.
    unsafe {
        (&raw mut (*scratch).address).cast::<Ptr>().write_volatile(sk);
        (&raw const (*scratch).address).read_volatile()
    }
}

/// Notes that `tcp_reset()` runs on this socket (tracepoint `tcp_receive_reset`, which precedes
/// →CLOSE on the same CPU).
#[inline(always)]
pub(crate) fn note_reset(sk: Ptr) {
    let address = of(sk, Program::ResetReceived);
    if let Some(scratch) = SCRATCH.get_ptr_mut(Program::ResetReceived as u32) {
        // SAFETY: this CPU's map value.
        unsafe { (*scratch).reset = address };
    }
}

/// Whether `tcp_reset()` has just run on this socket.
#[inline(always)]
pub(crate) fn take_reset(sk: Ptr, program: Program) -> bool {
    let address = of(sk, program);
    let Some(scratch) = SCRATCH.get_ptr_mut(Program::ResetReceived as u32) else {
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
