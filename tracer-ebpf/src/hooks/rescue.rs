//! A second program on `sock:inet_sock_set_state`, for the transitions that the first one misses.
//!
//! The kernel does not run a tracing program on a CPU where the same program is at work
//! (`prog->active` in `__bpf_trace_run()`, `recursion_misses` in its info). A network interrupt that
//! comes while [`super::state::tracer_state`] runs for a process would so lose every transition of
//! the packets it brings. This program runs after the first for every transition; it looks whether
//! the first has been there, and does its work if not. Its records go by the ring.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::lane::Mark;

use super::state::transition;
use crate::{
    config::offset,
    counters::{Program, count},
    kernel::{Direct, Ptr, Reader},
    lane::{self, Here},
    ring::Ring,
};

#[inline(always)]
unsafe fn slot(here: Here, sk: Ptr) -> *mut Mark {
    // SAFETY: the caller passes a struct sock.
    let owned: u32 = unsafe { Direct::read(sk, offset!(sk_lock_owned)) };
    here.mark(owned != 0)
}

#[inline(always)]
const fn states(old: u8, new: u8) -> u64 {
    (old as u64) << 8 | new as u64
}

/// Notes that the first program handles this transition.
#[inline(always)]
pub(super) unsafe fn mark(here: Here, sk: Ptr, old: u8, new: u8) {
    // SAFETY: this CPU's map value.
    unsafe {
        let mark = slot(here, sk);
        (&raw mut (*mark).sk).cast::<Ptr>().write(sk);
        (*mark).states = states(old, new);
    }
}

/// Whether the first program handled this transition. It handles none on a CPU without a lane.
#[inline(always)]
unsafe fn take_mark(sk: Ptr, old: u8, new: u8) -> bool {
    // SAFETY: this CPU's map value.
    unsafe {
        let Some(here) = lane::here() else { return false };
        let mark = slot(here, sk);
        let marked = (*mark).states == states(old, new) && (*mark).sk == sk as u64;
        (*mark).states = 0;
        marked
    }
}

#[btf_tracepoint(function = "inet_sock_set_state")]
pub(crate) fn tracer_rescue(ctx: BtfTracePointContext) -> i32 {
    let sk: Ptr = ctx.arg::<*const core::ffi::c_void>(0);
    let old = ctx.arg::<i32>(1) as u8;
    let new = ctx.arg::<i32>(2) as u8;
    // SAFETY: the tracepoint passes a struct sock.
    unsafe {
        if !take_mark(sk, old, new) {
            count(Program::Rescue, |counters| counters.rescued += 1);
            transition(&ctx, Program::Rescue, &mut Ring(Program::Rescue), sk, old, new);
        }
    }
    0
}
