//! Totals per CPU, one slot per program.
//!
//! A program of one kind can interrupt one of another kind on the same CPU (a packet arrives while
//! a process connects), and `+=` is three instructions. A kernel runs one instance of a tracing
//! program per CPU at a time (since 6.1; before, an interrupt in those few nanoseconds can cost a
//! count), so a slot has one writer.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use tracer_common::counters::Counters;

/// Who counts, by the number of its slot. A number, and not one of a few, so that the verifier does
/// not look at the state program once for each that it may be.
#[derive(Clone, Copy)]
pub(crate) struct Program(u32);

impl Program {
    pub(crate) const STATE: Self = Self(0);
    /// The state program where it makes up for a run of its own that did not take place.
    pub(crate) const RESCUE: Self = Self(1);
    pub(crate) const ACCEPT: Self = Self(2);
    pub(crate) const RESET_SENT: Self = Self(3);
    pub(crate) const RESET_RECEIVED: Self = Self(4);
    pub(crate) const SYN_ACK: Self = Self(5);
    pub(crate) const SYN: Self = Self(6);

    /// The state program: 0, or 1 where it makes up for itself.
    #[inline(always)]
    pub(crate) const fn state(rescue: u32) -> Self {
        Self(rescue)
    }

    #[inline(always)]
    pub(crate) const fn slot(self) -> u32 {
        self.0
    }
}

#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(8, 0);

/// This CPU's counters of `program`, to read.
#[inline(always)]
pub(crate) fn read(program: Program) -> Option<&'static Counters> {
    COUNTERS.get(program.slot())
}

/// Changes this CPU's counters of `program`.
#[inline(always)]
pub(crate) fn count(program: Program, change: impl FnOnce(&mut Counters)) {
    if let Some(counters) = COUNTERS.get_ptr_mut(program.slot()) {
        // SAFETY: a map value lives as long as the map, and this CPU's slot has one writer.
        change(unsafe { &mut *counters });
    }
}
