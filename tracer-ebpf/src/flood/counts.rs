//! Exact totals per CPU and destination.

use aya_ebpf::{macros::map, maps::Array};
use tracer_common::{
    flood::{
        SLOTS,
        cohort::PARTS,
        counts::{Ends, SynCounts, end_index},
    },
    syn_table::Seen,
};

use super::{BPF_F_MMAPABLE, Here};

/// Sized for the machine's CPUs at load.
#[map]
static ENDS: Array<Ends> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The element of a destination.
pub(super) struct Place(*mut SynCounts);

#[inline(always)]
pub(super) fn place(here: &Here, slot: u32) -> Place {
    // The mask is what shows the verifier that it is a slot.
    let slot = (slot & (SLOTS - 1)) as usize;
    // SAFETY: within a map value.
    Place(unsafe { (&raw mut (*here.element).syn_counts).cast::<SynCounts>().add(slot) })
}

#[inline(always)]
fn change(here: &Here, slot: u32, change: impl FnOnce(&mut SynCounts)) {
    // SAFETY: a map value that only this CPU's SYN hook writes.
    change(unsafe { &mut *place(here, slot).0 });
}

impl Place {
    #[inline(always)]
    pub(super) fn syn(&self, here: &Here, seen: Seen, part: u32, now: u64) {
        // SAFETY: a map value that only this CPU's SYN hook writes.
        let counts = unsafe { &mut *self.0 };
        // In a new epoch now, else as before: without a branch.
        let new = (counts.epoch as u32 ^ here.epoch) as u64;
        let same = (new.wrapping_sub(1) as i64 >> 63) as u64;
        counts.first_ns = (counts.first_ns & same) | (now & !same);
        counts.epoch = here.epoch as u64;
        counts.syns += 1;
        // The mask is what shows the verifier that it is a part.
        counts.firsts[part as usize & (PARTS - 1)] += (seen == Seen::First) as u64;
    }
}

/// A SYN that was counted as a first one was none.
#[inline(always)]
pub(super) fn amend(here: &Here, slot: u32, part: u32, seen: Seen) {
    change(here, slot, |counts| {
        match seen {
            Seen::First => return,
            Seen::Repeated => {}
            Seen::OtherDevice => counts.syns_other_device += 1,
        }
        let firsts = &mut counts.firsts[part as usize & (PARTS - 1)];
        *firsts = firsts.wrapping_sub(1);
    });
}

#[inline(always)]
pub(super) fn syn_ack(here: &Here, slot: u32) {
    change(here, slot, |counts| counts.syn_acks += 1);
}

/// Counts a half-open connection that ended, or what would have ended one whose SYN is not known.
/// `matched`: the part of its SYN and the time since, nanoseconds, if it is.
#[inline(always)]
pub(super) fn end(here: &Here, writer: u32, slot: u32, matched: Option<(u32, u64)>) {
    let Some(ends) = ENDS.get_ptr_mut(end_index(here.cpu, writer, slot)) else { return };
    // SAFETY: a map value that only this program writes on this CPU.
    let ends = unsafe { &mut *ends };
    match matched {
        Some((part, since_syn_ns)) => {
            // The mask is what shows the verifier that it is a part.
            ends.matched[part as usize & (PARTS - 1)] += 1;
            ends.since_syn_ns += since_syn_ns;
        }
        None => ends.unmatched += 1,
    }
}
