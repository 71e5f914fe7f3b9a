//! Exact totals per CPU and destination.

use aya_ebpf::{macros::map, maps::Array};
use tracer_common::{
    flood::counts::{Completions, SynCounts, completion_index, syn_index},
    syn_table::Seen,
};

use super::{BPF_F_MMAPABLE, Here};
use crate::fetch::fetch;

/// Sized for the machine's CPUs at load.
#[map]
static SYN_COUNTS: Array<SynCounts> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Sized for the machine's CPUs at load.
#[map]
static COMPLETIONS: Array<Completions> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[inline(always)]
fn change(here: &Here, slot: u32, change: impl FnOnce(&mut SynCounts)) {
    if let Some(counts) = SYN_COUNTS.get_ptr_mut(syn_index(here.cpu, slot)) {
        // SAFETY: a map value that only this CPU's SYN hook writes.
        change(unsafe { &mut *counts });
    }
}

/// The element of a SYN's destination.
pub(super) struct Place(*mut SynCounts);

#[inline(always)]
pub(super) fn place(here: &Here, slot: u32) -> Option<Place> {
    SYN_COUNTS.get_ptr_mut(syn_index(here.cpu, slot)).map(Place)
}

impl Place {
    #[inline(always)]
    pub(super) fn fetch(&self) {
        fetch(self.0);
    }

    #[inline(always)]
    pub(super) fn syn(&self, here: &Here, seen: Seen, now: u64) {
        // SAFETY: a map value that only this CPU's SYN hook writes.
        let counts = unsafe { &mut *self.0 };
        if counts.epoch != here.epoch as u64 {
            counts.first_ns = now;
            counts.epoch = here.epoch as u64;
        }
        counts.syns += 1;
        counts.syns_repeated += (seen == Seen::Repeated) as u64;
    }
}

#[inline(always)]
pub(super) fn reset(here: &Here, slot: u32, matched: bool) {
    change(here, slot, |counts| {
        counts.resets += 1;
        if matched {
            counts.resets_matched += 1;
        }
    });
}

#[inline(always)]
pub(super) fn syn_ack(here: &Here, slot: u32) {
    change(here, slot, |counts| counts.syn_acks += 1);
}

#[inline(always)]
pub(super) fn completion(here: &Here, writer: u32, slot: u32, handshake_ns: Option<u64>) {
    let Some(counts) = COMPLETIONS.get_ptr_mut(completion_index(here.cpu, writer, slot)) else {
        return;
    };
    // SAFETY: a map value that only this program writes on this CPU.
    let counts = unsafe { &mut *counts };
    match handshake_ns {
        Some(handshake_ns) => {
            counts.matched += 1;
            counts.handshake_ns += handshake_ns;
        }
        None => counts.unmatched += 1,
    }
}
