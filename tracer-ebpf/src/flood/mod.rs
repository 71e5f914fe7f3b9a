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

use aya_ebpf::{helpers::generated::bpf_get_smp_processor_id, macros::map, maps::Array};
use tracer_common::{
    flood::{Control, slot},
    hash,
    syn_table::Seen,
};

use self::destination::Cache;
use crate::{
    config::{key, setting},
    counters::Program,
    filter::Subject,
};

/// `include/uapi/linux/bpf.h`: the user side reads and writes the map's memory.
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// The user side's word; written there only.
#[map]
static CONTROL: Array<Control> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Who counts, where, and when.
#[derive(Clone, Copy)]
struct Here {
    cpu: u32,
    epoch: u32,
    generation: u32,
}

impl Here {
    /// `None` on a CPU that has no elements.
    #[inline(always)]
    fn now() -> Option<Self> {
        // SAFETY: takes no arguments.
        let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
        if cpu >= setting!(cpus) {
            return None;
        }
        let control = CONTROL.get_ptr(0)?;
        // SAFETY: a map value. Volatile: it changes while programs run.
        unsafe {
            Some(Self {
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
    slot: u32,
    counts: counts::Place,
    sources: sources::Places,
    register: distinct::Place,
}

/// Finds a SYN's elements; `None` on a CPU that has none.
#[inline(always)]
pub(crate) fn places(subject: &Subject) -> Option<Places> {
    let here = Here::now()?;
    let slot = destination::slot(&here, Cache::Syn, subject);
    let hash = hash::single(key(), slot, subject.remote_addr);
    Some(Places {
        here,
        slot,
        counts: counts::place(&here, slot)?,
        sources: sources::places(&here, slot, subject.remote_addr, hash)?,
        register: distinct::place(&here, slot, hash)?,
    })
}

impl Places {
    /// Has the processor fetch them.
    #[inline(always)]
    pub(crate) fn fetch(&self) {
        self.sources.fetch();
        self.register.fetch();
        self.counts.fetch();
    }

    /// Counts a SYN. `syns`: the CPU's total with this one.
    #[inline(always)]
    pub(crate) fn syn(&self, subject: &Subject, seen: Seen, now: u64, syns: u64) {
        let here = &self.here;
        self.counts.syn(here, seen, now);
        self.sources.syn(here, self.slot, subject.remote_addr, seen == Seen::First);
        self.register.note();
        if self.slot == slot::CLOSED {
            distinct::closed_target(here, subject);
        }
        if let Some(due) = activity::syn(here, syns, now) {
            summary::send(here, due, now);
        }
    }
}

/// Counts a RST. `matched`: it hit a SYN that was waiting for its final ACK.
#[inline(always)]
pub(crate) fn reset(subject: &Subject, matched: bool) {
    let Some(here) = Here::now() else { return };
    let slot = destination::slot(&here, Cache::Syn, subject);
    counts::reset(&here, slot, matched);
    if matched {
        sources::reset(&here, slot, subject.remote_addr);
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
        if let Some(places) = sources::places(&here, slot::SYN_ACKS, source, hash) {
            places.syn(&here, slot::SYN_ACKS, source, true);
        }
        distinct::syn_ack_source(&here, hash);
    }
    activity::syn_ack(&here);
}

/// Counts a request that became a connection, on behalf of the state program that saw it. `syn_ts`:
/// arrival of its SYN, if that is known.
#[inline(always)]
pub(crate) fn completion(program: Program, subject: &Subject, now: u64, syn_ts: Option<u64>) {
    let Some(here) = Here::now() else { return };
    // The second state program runs while the first is interrupted: elements of its own.
    let writer = u32::from(!matches!(program, Program::State));
    let cache = if writer == 0 { Cache::State } else { Cache::Rescue };
    let slot = destination::slot(&here, cache, subject);
    counts::completion(&here, writer, slot, syn_ts.map(|then| now.wrapping_sub(then)));
    sources::completion(&here, slot, subject.remote_addr, syn_ts.is_some());
    activity::completion(&here, writer);
}
