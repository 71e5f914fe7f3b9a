//! Totals per CPU and destination, and what they have grown by.

use std::mem::offset_of;

use tracer_common::flood::SLOTS;
use tracer_common::flood::counts::{COMPLETION_WRITERS, Completions, SynCounts, completion_index};

use tracer_common::flood::cpu;

use super::super::mmap::Mmap;
use crate::core::event::MonoNs;
use crate::core::flood::tick::Counts;

/// What one destination has grown by, over all CPUs.
#[derive(Clone, Copy, Default)]
pub(super) struct Growth {
    pub(super) counts: Counts,
    /// Earliest first SYN of the epoch.
    pub(super) first_syn: Option<MonoNs>,
}

/// The totals as they were read last.
pub(super) struct Totals {
    syn_counts: Vec<SynCounts>,
    completions: Vec<Completions>,
}

impl Totals {
    pub(super) fn new(cpus: u32) -> Self {
        let slots = (cpus * SLOTS) as usize;
        Self {
            syn_counts: vec![SynCounts::default(); slots],
            completions: vec![Completions::default(); slots * COMPLETION_WRITERS as usize],
        }
    }

    /// Reads a CPU's totals of what ends half-open connections, and adds what they have grown by to
    /// `growth`, which has an element for each slot.
    pub(super) fn read_ends(
        &mut self,
        elements: &Mmap,
        completions: &Mmap,
        cpu: u32,
        growth: &mut [Growth],
    ) {
        for (slot, growth) in (0..SLOTS).zip(growth) {
            if let Some(seen) = self.syn_counts.get_mut((cpu * SLOTS + slot) as usize) {
                let at = cpu::syn_counts(cpu, slot);
                // Counted after the RSTs they are part of, and read before them: never more.
                let matched = elements.u64(at + offset_of!(SynCounts, resets_matched));
                let resets = elements.u64(at + offset_of!(SynCounts, resets));
                growth.counts.resets_matched += matched.wrapping_sub(seen.resets_matched);
                growth.counts.resets += resets.wrapping_sub(seen.resets);
                (seen.resets_matched, seen.resets) = (matched, resets);
            }
            for writer in 0..COMPLETION_WRITERS {
                let index = completion_index(cpu, writer, slot) as usize;
                if let Some(before) = self.completions.get_mut(index) {
                    let now = read_completions(completions, index);
                    add_completions(&mut growth.counts, before, &now);
                    *before = now;
                }
            }
        }
    }

    /// The same of what comes in. `epoch`: the one that is ending.
    pub(super) fn read(&mut self, elements: &Mmap, cpu: u32, epoch: u32, growth: &mut [Growth]) {
        for (slot, growth) in (0..SLOTS).zip(growth) {
            let Some(before) = self.syn_counts.get_mut((cpu * SLOTS + slot) as usize) else {
                continue;
            };
            let mut now = read_syn_counts(elements, cpu::syn_counts(cpu, slot), before);
            // Less those of a second device, of which one may be found out late: never less than was
            // said before.
            now.syns = now.syns.wrapping_sub(now.syns_other_device);
            if now.syns.wrapping_sub(before.syns).cast_signed() < 0 {
                now.syns = before.syns;
            }
            add_syn_counts(&mut growth.counts, before, &now);
            if now.syns != before.syns && now.epoch == u64::from(epoch) && now.first_ns != 0 {
                let first = MonoNs(now.first_ns);
                growth.first_syn = Some(growth.first_syn.map_or(first, |at| at.min(first)));
            }
            *before = now;
        }
    }
}

/// All but RSTs, which stay those of `before`.
fn read_syn_counts(memory: &Mmap, offset: usize, before: &SynCounts) -> SynCounts {
    let at = |field| memory.u64(offset + field);
    SynCounts {
        // Repeated ones and those of a second device are counted after the SYNs they are part of, and
        // read before them: they never look like more.
        syns_repeated: at(offset_of!(SynCounts, syns_repeated)),
        syns_other_device: at(offset_of!(SynCounts, syns_other_device)),
        syns: at(offset_of!(SynCounts, syns)),
        resets: before.resets,
        resets_matched: before.resets_matched,
        syn_acks: at(offset_of!(SynCounts, syn_acks)),
        // Written before `epoch`, so read after it: never an earlier epoch's.
        epoch: at(offset_of!(SynCounts, epoch)),
        first_ns: at(offset_of!(SynCounts, first_ns)),
    }
}

fn read_completions(memory: &Mmap, index: usize) -> Completions {
    let at = |field| memory.u64(index * size_of::<Completions>() + field);
    Completions {
        matched: at(offset_of!(Completions, matched)),
        unmatched: at(offset_of!(Completions, unmatched)),
        handshake_ns: at(offset_of!(Completions, handshake_ns)),
    }
}

fn add_syn_counts(sum: &mut Counts, before: &SynCounts, now: &SynCounts) {
    sum.syns += now.syns.wrapping_sub(before.syns);
    sum.syns_repeated += now.syns_repeated.wrapping_sub(before.syns_repeated);
    sum.syn_acks += now.syn_acks.wrapping_sub(before.syn_acks);
}

fn add_completions(sum: &mut Counts, before: &Completions, now: &Completions) {
    sum.completed += now.matched.wrapping_sub(before.matched);
    sum.completed_unseen += now.unmatched.wrapping_sub(before.unmatched);
    sum.handshake_ns += now.handshake_ns.wrapping_sub(before.handshake_ns);
}
