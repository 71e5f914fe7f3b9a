//! One element a CPU tells the user side whether there is anything new.

use aya_ebpf::{macros::map, maps::Array};
use tracer_common::flood::counts::{Activity, COMPLETION_WRITERS, Due};

use super::{BPF_F_MMAPABLE, Here};

/// Sized for the machine's CPUs at load.
#[map]
static ACTIVITY: Array<Activity> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[inline(always)]
fn this(here: &Here) -> Option<*mut Activity> {
    ACTIVITY.get_ptr_mut(here.cpu)
}

/// Notes a SYN: whether a summary is due.
#[inline(always)]
pub(super) fn syn(here: &Here, syns: u64, now: u64) -> Option<Due> {
    // SAFETY: a map value; these fields are the SYN hook's of this CPU.
    let activity = unsafe { &mut *this(here)? };
    activity.segments += 1;
    activity.syn(syns, now, here.epoch)
}

#[inline(always)]
pub(super) fn reset(here: &Here) {
    if let Some(activity) = this(here) {
        // SAFETY: as above.
        unsafe {
            (*activity).segments += 1;
            (*activity).resets += 1;
        }
    }
}

#[inline(always)]
pub(super) fn syn_ack(here: &Here) {
    if let Some(activity) = this(here) {
        // SAFETY: as above.
        unsafe {
            (*activity).segments += 1;
            (*activity).syn_acks += 1;
        }
    }
}

/// What this CPU's RSTs and SYN-ACKs come to.
#[inline(always)]
pub(super) fn totals(here: &Here) -> (u64, u64) {
    // SAFETY: a map value.
    this(here).map_or((0, 0), |activity| unsafe { ((*activity).resets, (*activity).syn_acks) })
}

#[inline(always)]
pub(super) fn completion(here: &Here, writer: u32) {
    if let Some(activity) = this(here) {
        let index = writer as usize & (COMPLETION_WRITERS as usize - 1);
        // SAFETY: a map value; the word is this writer's.
        unsafe {
            if let Some(completions) = (*activity).completions.get_mut(index) {
                *completions += 1;
            }
        }
    }
}
