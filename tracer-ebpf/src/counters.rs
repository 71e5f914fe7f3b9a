//! Totals per CPU, one slot per program.
//!
//! A program of one kind can interrupt one of another kind on the same CPU (a packet arrives while
//! a process connects), and `+=` is three instructions. A kernel runs one instance of a tracing
//! program per CPU at a time (since 6.1; before, an interrupt in those few nanoseconds can cost a
//! count), so a slot has one writer.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use tracer_common::counters::Counters;

/// Who counts.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Program {
    State = 0,
    Accept = 1,
    ResetSent = 2,
    ResetReceived = 3,
    SynAck = 4,
    Syn = 5,
    Rescue = 6,
}

#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(8, 0);

/// This CPU's counters of `program`, to read.
#[inline(always)]
pub(crate) fn read(program: Program) -> Option<&'static Counters> {
    COUNTERS.get(program as u32)
}

/// Changes this CPU's counters of `program`.
#[inline(always)]
pub(crate) fn count(program: Program, change: impl FnOnce(&mut Counters)) {
    if let Some(counters) = COUNTERS.get_ptr_mut(program as u32) {
        // SAFETY: a map value lives as long as the map, and this CPU's slot has one writer.
        change(unsafe { &mut *counters });
    }
}
