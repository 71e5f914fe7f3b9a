//! What a CPU's SYN hook counts in: one element of a mapped array, so that one look-up finds it all.
//!
//! In a flood the code of a look-up costs as much as what is done with what it finds, since nothing of
//! it is in the processor's caches when the next SYN comes.

use core::mem::offset_of;

use super::counts::{COMPLETION_WRITERS, SynCounts};
use super::destination::Entry;
use super::sources::{PREFIX_SETS, SOURCE_SETS, Set};
use super::{Control, SLOTS};
use crate::syn_table::LastSyn;

/// A CPU's element.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// What every SYN touches.
    pub now: Now,
    /// What came in, by destination slot.
    pub syn_counts: [SynCounts; SLOTS as usize],
    /// Who sends most, by source.
    pub sources: [Set; SOURCE_SETS as usize],
    /// Who sends most, by prefix.
    pub prefixes: [Set; PREFIX_SETS as usize],
}

/// What a CPU has been doing, what it is to go by, and what it saw last.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The user side's word; written there only.
    pub control: Control,
    /// SYNs that matched the filters, all destinations.
    pub syns: u64,
    /// When the last summary left.
    pub summary_ns: u64,
    /// SYNs at that time.
    pub summary_syns: u64,
    /// The last SYN's destination.
    pub destination: Entry,
    /// The last SYN.
    pub last: LastSyn,
    /// Epoch of the last SYN.
    pub epoch: u64,
    /// RSTs, as `syns`.
    pub resets: u64,
    /// SYN-ACKs, likewise.
    pub syn_acks: u64,
    /// Completions, by writer.
    pub completions: [u64; COMPLETION_WRITERS as usize],
    /// Zero.
    pub reserved: [u64; 3],
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

impl Now {
    /// Notes a SYN: whether a summary is due.
    #[inline(always)]
    pub fn syn(&mut self, now_ns: u64, epoch: u32) -> Option<Due> {
        let syns = self.syns.wrapping_add(1);
        self.syns = syns;
        let before = self.epoch as u32;
        let due = if before != epoch {
            core::hint::cold_path();
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

/// Byte offset of a CPU's element in the array.
#[inline(always)]
#[must_use]
pub const fn offset(cpu: u32) -> usize {
    cpu as usize * size_of::<Cpu>()
}

/// Byte offset of a CPU's [`SynCounts`] for a destination slot.
#[must_use]
pub const fn syn_counts(cpu: u32, slot: u32) -> usize {
    offset(cpu) + offset_of!(Cpu, syn_counts) + slot as usize * size_of::<SynCounts>()
}

const _: () = {
    assert!(size_of::<Now>() == 192 && offset_of!(Now, last) == 64);
    assert!(size_of::<Cpu>().is_multiple_of(64));
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_follows_an_epoch_and_a_burst() {
        let mut now_at = Now::default();
        let ms = |ms: u64| ms * 1_000_000;
        assert_eq!(now_at.syn(ms(1000), 7), None);
        assert_eq!(now_at.syn(ms(1001), 7), None);
        assert_eq!(now_at.syn(ms(1250), 8), Some(Due::Epoch(7)));
        now_at.syns = 1025;
        assert_eq!(now_at.syn(ms(1270), 8), None, "too few");
        assert_eq!(now_at.syn(ms(1270), 8), None, "too soon");
        assert_eq!(now_at.syn(ms(1275), 8), Some(Due::Burst));
        assert_eq!(now_at.syn(ms(1400), 8), None);
        assert_eq!(now_at.syns, 1029);
    }

    #[test]
    fn summaries_are_bounded_whatever_the_rate() {
        let mut now_at = Now::default();
        // Ten seconds of 1,000,000 SYN/s while the reader turns the epoch every 50 ms.
        let sent = (0..10_000_000u64)
            .filter(|number| {
                let now = number * 1_000;
                now_at.syn(now, (now / 50_000_000) as u32).is_some()
            })
            .count();
        assert!(sent < 10 * 100, "{sent}");
        assert!(sent >= 10 * 20, "{sent}");
    }
}
