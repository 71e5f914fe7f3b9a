//! Exact totals per CPU and destination.
//!
//! One element per CPU and destination slot in plain arrays that the user side maps; each element
//! has one writer (the SYN hook of that CPU, or one state program of that CPU), every field is one
//! aligned word and only ever grows, so that it can be read at any time.

use super::SLOTS;

/// What came in for a destination.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynCounts {
    /// SYNs, repeated ones included.
    pub syns: u64,
    /// SYNs whose 4-tuple and initial sequence number were seen before on the same device.
    pub syns_repeated: u64,
    /// Of `syns`, those that turned out to be others on their way through a second device.
    pub syns_other_device: u64,
    /// RSTs.
    pub resets: u64,
    /// Of those, the ones that hit a listener's SYN still waiting for its final ACK.
    pub resets_matched: u64,
    /// SYN-ACKs.
    pub syn_acks: u64,
    /// Arrival of the first SYN of `epoch`, nanoseconds of `CLOCK_MONOTONIC`.
    pub first_ns: u64,
    /// The epoch that `first_ns` belongs to; 64 bits wide so that it is one word.
    pub epoch: u64,
}

/// Requests that became connections.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completions {
    /// Those whose SYN was still in the SYN table, and had been counted as a listener's.
    pub matched: u64,
    /// Those whose SYN was not: it came before tracing did, by another way, before the user side knew
    /// of the listener, or its slot was overwritten.
    pub unmatched: u64,
    /// Sum of the matched ones' handshake times, nanoseconds.
    pub handshake_ns: u64,
}

/// State programs that count completions, each in an element of its own: the second one runs while
/// the first is interrupted.
pub const COMPLETION_WRITERS: u32 = 2;

/// Element of a CPU's and a writer's [`Completions`].
#[inline(always)]
#[must_use]
pub const fn completion_index(cpu: u32, writer: u32, slot: u32) -> u32 {
    (cpu * COMPLETION_WRITERS + writer) * SLOTS + slot
}

const _: () = {
    assert!(size_of::<SynCounts>() == 64);
    assert!(size_of::<Completions>() == 24);
};
