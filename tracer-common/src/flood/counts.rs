//! Exact totals per CPU and destination.
//!
//! One element per CPU and destination slot in plain arrays that the user side maps; each element
//! has one writer (the SYN hook of that CPU, or one state program of that CPU), and every field is one
//! aligned word that only ever grows, but for [`SynCounts::firsts`], so that it can be read at any time.

use super::SLOTS;
use super::cohort::PARTS;

/// What came in for a destination.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynCounts {
    /// SYNs, repeated ones included.
    pub syns: u64,
    /// Of `syns`, those that turned out to be others on their way through a second device.
    pub syns_other_device: u64,
    /// SYN-ACKs.
    pub syn_acks: u64,
    /// Arrival of the first SYN of `epoch`, nanoseconds of `CLOCK_MONOTONIC`.
    pub first_ns: u64,
    /// The epoch that `first_ns` belongs to; 64 bits wide so that it is one word.
    pub epoch: u64,
    /// Zero.
    pub reserved: [u64; 3],
    /// Of `syns`, those that were not seen before, by cohort ([`super::cohort::part`]). One that turns
    /// out to be none is taken off again; the others' 4-tuple and initial sequence number were seen before
    /// on the same device.
    pub firsts: [u64; PARTS],
}

/// What ended half-open connections: requests that became connections, or RSTs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Those whose SYN was still in the SYN table, and had been counted as a listener's: by its cohort
    /// ([`super::cohort::part_of_end`]).
    pub matched: [u64; PARTS],
    /// Those whose SYN was not: it came before tracing did, by another way, before the user side knew
    /// of the listener, or its slot was overwritten. Most RSTs.
    pub unmatched: u64,
    /// Sum of the times that the matched ones took since their SYNs, nanoseconds.
    pub since_syn_ns: u64,
}

/// State programs that count completions, each in an element of its own: the second one runs while
/// the first is interrupted.
pub const COMPLETION_WRITERS: u32 = 2;
/// The SYN hook, which counts RSTs.
pub const RESET_WRITER: u32 = COMPLETION_WRITERS;
/// Elements of [`Ends`] that a CPU has for a destination.
pub const END_WRITERS: u32 = COMPLETION_WRITERS + 1;

/// Element of a CPU's and a writer's [`Ends`].
#[inline(always)]
#[must_use]
pub const fn end_index(cpu: u32, writer: u32, slot: u32) -> u32 {
    (cpu * END_WRITERS + writer) * SLOTS + slot
}

const _: () = {
    assert!(size_of::<SynCounts>() == 128 && core::mem::offset_of!(SynCounts, firsts) == 64);
    assert!(size_of::<Ends>() == 80);
};
