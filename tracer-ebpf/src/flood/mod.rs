//! What is counted for the flood detector; arrays and arithmetic are `tracer_common::flood`'s.
//!
//! Constant cost a packet and fixed memory: an attacker chooses which elements are hit, never how
//! many there are. Each element has one writer; a CPU beyond the arrays' size counts in
//! [`crate::counters`] only.

mod activity;
mod counts;
mod destination;
mod distinct;
mod sources;
mod summary;

use core::hint::cold_path;

use aya_ebpf::{helpers::generated::bpf_get_smp_processor_id, macros::map, maps::Array};
use tracer_common::{
    flood::{
        cohort,
        counts::RESET_WRITER,
        cpu::{Cpu, Due},
        distinct::REGISTERS,
        slot,
    },
    hash,
    syn_table::{LastSyn, Seen},
};

use self::destination::Cache;
use crate::{config::key, counters::Program, filter::Subject, syn_table::Behind};

/// `include/uapi/linux/bpf.h`: the user side reads and writes the map's memory.
pub(crate) const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Sized for the machine's CPUs at load.
#[map]
static CPUS: Array<Cpu> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Who counts, where, and when.
#[derive(Clone, Copy)]
struct Here {
    element: *mut Cpu,
    cpu: u32,
    epoch: u32,
    generation: u32,
}

impl Here {
    /// `None` on a CPU that has no element.
    #[inline(always)]
    fn now() -> Option<Self> {
        // SAFETY: takes no arguments.
        let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
        let element = CPUS.get_ptr_mut(cpu)?;
        // SAFETY: a map value. Volatile: it changes while programs run.
        unsafe {
            let control = &raw const (*element).now.control;
            Some(Self {
                element,
                cpu,
                epoch: (&raw const (*control).epoch).read_volatile(),
                generation: (&raw const (*control).generation).read_volatile(),
            })
        }
    }
}

/// The elements in which a SYN is counted.
pub(crate) struct Places {
    here: Here,
    /// The destination's.
    pub slot: u32,
    counts: counts::Place,
    source: sources::Place,
    register: distinct::Place,
}

/// Where a SYN goes.
pub(crate) struct Destination {
    here: Here,
    slot: u32,
    registers: *mut [u8; REGISTERS],
}

/// Finds a SYN's destination; `None` on a CPU that has no elements to count in.
#[inline(always)]
pub(crate) fn destination(subject: &Subject) -> Option<Destination> {
    let here = Here::now()?;
    // SAFETY: a map value; the field is the SYN hook's of this CPU.
    let last = unsafe { &mut (*here.element).now.destination };
    let slot = destination::of_syn(&here, last, subject);
    Some(Destination { here, slot, registers: distinct::registers(here.epoch, slot)? })
}

/// Finds a SYN's elements. `share`: [`hash::share`] of its source.
#[inline(always)]
pub(crate) fn places(to: Destination, key: &hash::Key, share: u64, subject: &Subject) -> Places {
    let Destination { here, slot, registers } = to;
    let hash = hash::single_with(key, share, slot);
    Places {
        here,
        slot,
        counts: counts::place(&here, slot),
        source: sources::place(&here, slot, subject.remote_addr, hash),
        register: distinct::place(registers, hash),
    }
}

impl Places {
    /// Has the processor fetch what is furthest away.
    #[inline(always)]
    pub(crate) fn fetch(&self) {
        self.source.fetch(&self.here);
    }

    /// This CPU's last SYN.
    #[inline(always)]
    pub(crate) fn behind(&self) -> Behind {
        // SAFETY: within a map value.
        Behind(unsafe { &raw mut (*self.here.element).now.last })
    }

    /// Counts a SYN.
    #[inline(always)]
    pub(crate) fn syn(&self, subject: &Subject, seen: Seen, now: u64) {
        let here = &self.here;
        let part = cohort::part(now);
        self.counts.syn(here, seen, part, now);
        self.source.syn(here, part, seen == Seen::First);
        self.register.note();
        if self.slot == slot::CLOSED {
            cold_path();
            let [first, second] = subject.local_addr.0;
            distinct::closed_target(here.epoch, first, second, subject.local_port);
        }
        // SAFETY: a map value; these fields are the SYN hook's of this CPU.
        let this = unsafe { &mut (*here.element).now };
        if let Some(due) = this.syn(now, here.epoch) {
            cold_path();
            let (epoch, burst) = match due {
                Due::Epoch(over) => (over, false),
                Due::Burst => (here.epoch, true),
            };
            summary::send(this, here.cpu, epoch, burst, now);
        }
    }
}

/// A SYN that was counted as a first one when it came in was none.
#[inline(always)]
pub(crate) fn amend(last: &LastSyn, seen: Seen) {
    let Some(here) = Here::now() else { return };
    let part = cohort::part(last.ts_ns);
    counts::amend(&here, last.slot, part, seen);
    sources::amend(&here, last.slot, last.source, part, seen);
}

/// Counts a RST. `syn_ts`: arrival of the listener's SYN that was waiting for its final ACK and that it
/// hit, 0 for none.
#[inline(always)]
pub(crate) fn reset(subject: &Subject, now: u64, syn_ts: u64) {
    let Some(here) = Here::now() else { return };
    let slot = destination::slot(&here, Cache::Syn, subject);
    if syn_ts == 0 {
        counts::end(&here, RESET_WRITER, slot, None);
    } else {
        let part = cohort::part_of_end(syn_ts, now);
        counts::end(&here, RESET_WRITER, slot, Some((part, now.wrapping_sub(syn_ts))));
        sources::reset(&here, slot, subject.remote_addr, part);
    }
    activity::reset(&here);
}

/// Counts a SYN-ACK.
#[inline(always)]
pub(crate) fn syn_ack(subject: &Subject) {
    let Some(here) = Here::now() else { return };
    let slot = destination::slot(&here, Cache::Syn, subject);
    counts::syn_ack(&here, slot);
    if slot != slot::FOREIGN {
        let hash = hash::single(key(), slot::SYN_ACKS, subject.remote_addr);
        let source = subject.remote_addr;
        sources::place(&here, slot::SYN_ACKS, source, hash).syn(&here, 0, true);
        distinct::syn_ack_source(&here, hash);
    }
    activity::syn_ack(&here);
}

/// Counts a request that became a connection, on behalf of the state program that saw it. `syn_ts`:
/// arrival of its SYN, if that is known and was held against a listener, else 0.
#[inline(always)]
pub(crate) fn completion(program: Program, subject: &Subject, now: u64, syn_ts: u64) {
    let Some(here) = Here::now() else { return };
    // The second state program runs while the first is interrupted: elements of its own.
    let writer = u32::from(!matches!(program, Program::State));
    let cache = if writer == 0 { Cache::State } else { Cache::Rescue };
    let slot = destination::slot(&here, cache, subject);
    let held = syn_ts != 0;
    let part = cohort::part_of_end(syn_ts, now);
    counts::end(&here, writer, slot, held.then(|| (part, now.wrapping_sub(syn_ts))));
    sources::completion(&here, slot, subject.remote_addr, part, held);
    activity::completion(&here, writer);
}
