//! Exact totals per CPU and destination.
//!
//! One element per (CPU, destination slot) in a plain array that the user side maps; each element
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
    /// RSTs.
    pub resets: u64,
    /// Of those, the ones that hit a SYN still waiting for its final ACK.
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
    /// Those whose SYN was still in the SYN table.
    pub matched: u64,
    /// Those whose SYN was not: it came before tracing did, by another way, or its slot was
    /// overwritten.
    pub unmatched: u64,
    /// Sum of the matched ones' handshake times, nanoseconds.
    pub handshake_ns: u64,
}

/// What a CPU has been doing: one element per CPU, so that the user side sees with a look at it
/// whether there is anything new, and what the CPU's next summary record will say.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Completions, by writer.
    pub completions: [u64; COMPLETION_WRITERS as usize],
    /// SYNs, RSTs and SYN-ACKs that matched the filters, all destinations.
    pub segments: u64,
    /// Of those, RSTs.
    pub resets: u64,
    /// Of those, SYN-ACKs.
    pub syn_acks: u64,
    /// When the last summary left.
    pub summary_ns: u64,
    /// SYNs at that time.
    pub summary_syns: u64,
    /// Epoch of the last SYN.
    pub epoch: u64,
}

/// Why a CPU's SYN hook sends a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The epoch is over.
    Epoch(u32),
    /// So many SYNs in the epoch that goes on that the reader should look at once.
    Burst,
}

/// A burst has so many SYNs at least.
pub const BURST_SYNS: u64 = 1024;
/// At least so much between a summary and one because of a burst: 40 a second and CPU.
pub const BURST_INTERVAL_NS: u64 = 25_000_000;

impl Activity {
    /// Notes a SYN, `syns` being the CPU's total with it: whether a summary is due.
    #[inline(always)]
    pub fn syn(&mut self, syns: u64, now_ns: u64, epoch: u32) -> Option<Due> {
        let before = self.epoch as u32;
        let due = if before != epoch {
            self.epoch = epoch as u64;
            // The first of all follows no epoch.
            if syns <= 1 {
                return None;
            }
            Due::Epoch(before)
        } else if syns.wrapping_sub(self.summary_syns) >= BURST_SYNS
            && now_ns.wrapping_sub(self.summary_ns) >= BURST_INTERVAL_NS
        {
            Due::Burst
        } else {
            return None;
        };
        self.summary_ns = now_ns;
        self.summary_syns = syns;
        Some(due)
    }
}

/// State programs that count completions, each in an element of its own: the second one runs while
/// the first is interrupted.
pub const COMPLETION_WRITERS: u32 = 2;

/// Element of a CPU's [`SynCounts`].
#[inline(always)]
#[must_use]
pub const fn syn_index(cpu: u32, slot: u32) -> u32 {
    cpu * SLOTS + slot
}

/// Element of a CPU's and a writer's [`Completions`].
#[inline(always)]
#[must_use]
pub const fn completion_index(cpu: u32, writer: u32, slot: u32) -> u32 {
    (cpu * COMPLETION_WRITERS + writer) * SLOTS + slot
}

const _: () = {
    assert!(size_of::<Activity>() == 64);
    assert!(size_of::<SynCounts>() == 56);
    assert!(size_of::<Completions>() == 24);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_follows_an_epoch_and_a_burst() {
        let mut activity = Activity::default();
        let ms = |ms: u64| ms * 1_000_000;
        assert_eq!(activity.syn(1, ms(1000), 7), None);
        assert_eq!(activity.syn(2, ms(1001), 7), None);
        assert_eq!(activity.syn(3, ms(1250), 8), Some(Due::Epoch(7)));
        assert_eq!(activity.syn(1026, ms(1270), 8), None, "too few");
        assert_eq!(activity.syn(1027, ms(1270), 8), None, "too soon");
        assert_eq!(activity.syn(1028, ms(1275), 8), Some(Due::Burst));
        assert_eq!(activity.syn(1029, ms(1400), 8), None);
    }

    #[test]
    fn summaries_are_bounded_whatever_the_rate() {
        let mut activity = Activity::default();
        // Ten seconds of 1,000,000 SYN/s while the reader turns the epoch every 50 ms.
        let sent = (0..10_000_000u64)
            .filter(|number| {
                let now = number * 1_000;
                activity.syn(number + 1, now, (now / 50_000_000) as u32).is_some()
            })
            .count();
        assert!(sent < 10 * 100, "{sent}");
        assert!(sent >= 10 * 20, "{sent}");
    }
}
