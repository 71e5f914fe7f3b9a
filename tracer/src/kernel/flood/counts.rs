//! Totals per CPU and destination, and what they have grown by.

use std::mem::offset_of;

use tracer_common::flood::SLOTS;
use tracer_common::flood::counts::{END_WRITERS, Ends, RESET_WRITER, SynCounts, end_index};
use tracer_common::flood::cpu;

use super::super::mmap::Mmap;
use crate::core::event::MonoNs;
use crate::core::flood::parts::Parts;
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
    ends: Vec<Ends>,
}

impl Totals {
    pub(super) fn new(cpus: u32) -> Self {
        let slots = (cpus * SLOTS) as usize;
        Self {
            syn_counts: vec![SynCounts::default(); slots],
            ends: vec![Ends::default(); slots * END_WRITERS as usize],
        }
    }

    /// Reads a CPU's totals of what ends half-open connections, and adds what they have grown by to
    /// `growth`, which has an element for each slot.
    pub(super) fn read_ends(&mut self, ends: &Mmap, cpu: u32, growth: &mut [Growth]) {
        for (slot, growth) in (0..SLOTS).zip(growth) {
            for writer in 0..END_WRITERS {
                let index = end_index(cpu, writer, slot) as usize;
                if let Some(before) = self.ends.get_mut(index) {
                    let now = read_ends(ends, index);
                    add_ends(&mut growth.counts, writer, before, &now);
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
            let now = read_syn_counts(elements, cpu::syn_counts(cpu, slot));
            let counts = &mut growth.counts;
            // Less those of a second device, of which one may be found out late.
            let mut syns = grown(&mut before.syns, now.syns.wrapping_sub(now.syns_other_device));
            let mut firsts = 0_u64;
            for ((part, before), now) in (0..).zip(&mut before.firsts).zip(now.firsts) {
                let more = now.wrapping_sub(std::mem::replace(before, now)).cast_signed();
                let changed = if more < 0 { &mut counts.taken_back } else { &mut counts.firsts };
                changed.count(part, more.unsigned_abs());
                firsts = firsts.wrapping_add(now);
            }
            // They are read last: one that came meanwhile is told whole.
            syns += grown(&mut before.syns, firsts);
            counts.syns += syns;
            counts.syn_acks += grown(&mut before.syn_acks, now.syn_acks);
            if syns > 0 && now.epoch == u64::from(epoch) && now.first_ns != 0 {
                let first = MonoNs(now.first_ns);
                growth.first_syn = Some(growth.first_syn.map_or(first, |at| at.min(first)));
            }
        }
    }
}

/// By how much a total has grown. What is taken off one again is made up for by what comes next: never
/// less than was said before.
fn grown(before: &mut u64, now: u64) -> u64 {
    let grown = now.wrapping_sub(*before);
    // Half of all numbers are less.
    if grown > 1 << 63 {
        return 0;
    }
    *before = now;
    grown
}

fn read_syn_counts(memory: &Mmap, offset: usize) -> SynCounts {
    let at = |field| memory.u64(offset + field);
    SynCounts {
        // Those of a second device are counted after the SYNs they are part of, and read before them:
        // they never look like more.
        syns_other_device: at(offset_of!(SynCounts, syns_other_device)),
        syns: at(offset_of!(SynCounts, syns)),
        firsts: std::array::from_fn(|part| {
            at(offset_of!(SynCounts, firsts) + part * size_of::<u64>())
        }),
        syn_acks: at(offset_of!(SynCounts, syn_acks)),
        // Written before `epoch`, so read after it: never an earlier epoch's.
        epoch: at(offset_of!(SynCounts, epoch)),
        first_ns: at(offset_of!(SynCounts, first_ns)),
        reserved: [0; 3],
    }
}

fn read_ends(memory: &Mmap, index: usize) -> Ends {
    let at = |field| memory.u64(index * size_of::<Ends>() + field);
    Ends {
        matched: std::array::from_fn(
            |part| at(offset_of!(Ends, matched) + part * size_of::<u64>()),
        ),
        unmatched: at(offset_of!(Ends, unmatched)),
        since_syn_ns: at(offset_of!(Ends, since_syn_ns)),
    }
}

fn add_ends(sum: &mut Counts, writer: u32, before: &Ends, now: &Ends) {
    let parts = now.matched.iter().zip(before.matched);
    let mut matched = Parts::default();
    for (part, (now, before)) in (0..).zip(parts) {
        matched.count(part, now.wrapping_sub(before));
    }
    let unmatched = now.unmatched.wrapping_sub(before.unmatched);
    if writer == RESET_WRITER {
        sum.resets_matched.add(&matched);
        sum.resets += matched.sum() + unmatched;
    } else {
        sum.completed.add(&matched);
        sum.completed_unseen += unmatched;
        sum.handshake_ns += now.since_syn_ns.wrapping_sub(before.since_syn_ns);
    }
}
