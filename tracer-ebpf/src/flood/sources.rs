//! Who sends most, per source and per prefix.

use core::hint::cold_path;

use aya_ebpf::{macros::map, maps::Array};
use tracer_common::{
    addr::Addr,
    flood::sources::{Come, Hitter, PREFIX_SETS, SOURCE_SETS, Set, prefix, prefix_hash},
    hash,
    syn_table::Seen,
};

use super::{BPF_F_MMAPABLE, Here};
use crate::{config::key, fetch::fetch};

/// Sources whose handshakes complete. They do so in softirq context (a child of TCP Fast Open
/// apart, whose final ACK may wait for a process), so one writer a CPU is enough. Sized for the machine's CPUs at load.
#[map]
static COMPLETERS: Array<Set> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// A CPU's set of sources.
#[inline(always)]
fn source_place(here: &Here, set: u32) -> *mut Set {
    // The mask is what shows the verifier that it is one.
    let set = (set & (SOURCE_SETS - 1)) as usize;
    // SAFETY: within a map value.
    unsafe { (&raw mut (*here.element).sources).cast::<Set>().add(set) }
}

/// A CPU's set of prefixes.
#[inline(always)]
fn prefix_place(here: &Here, set: u32) -> *mut Set {
    // As above.
    let set = (set & (PREFIX_SETS - 1)) as usize;
    // SAFETY: within a map value.
    unsafe { (&raw mut (*here.element).prefixes).cast::<Set>().add(set) }
}

/// The set of a SYN's source.
pub(super) struct Place {
    set: *mut Set,
    key: Hitter,
}

/// `hash`: of the slot and the source.
#[inline(always)]
pub(super) fn place(here: &Here, slot: u32, source: Addr, hash: u64) -> Place {
    let key = Hitter::source(hash, slot, source);
    Place { set: source_place(here, key.set), key }
}

impl Place {
    /// Has the processor fetch the line that tells whose the ways are.
    #[inline(always)]
    pub(super) fn fetch(&self, here: &Here) {
        // SAFETY: within a map value.
        unsafe { fetch(&raw mut (*self.set).epoch, here.epoch) };
    }

    /// Counts a SYN, and for its prefix what it stands for.
    #[inline(always)]
    pub(super) fn syn(&self, here: &Here, first: bool) {
        // SAFETY: a map value that only this CPU writes.
        let syns = unsafe { &mut *self.set }.hit(&self.key, Come::one(first), here.epoch);
        if syns != 0 {
            cold_path();
            let of_prefix = prefix_key(self.key.slot, self.key.addr);
            // SAFETY: as above.
            let set = unsafe { &mut *prefix_place(here, of_prefix.set) };
            set.hit(&of_prefix, Come { syns, first }, here.epoch);
        }
    }
}

#[inline(always)]
fn source_key(slot: u32, source: Addr) -> Hitter {
    Hitter::source(hash::single(key(), slot, source), slot, source)
}

#[inline(always)]
fn prefix_key(slot: u32, source: Addr) -> Hitter {
    let addr = prefix(source);
    Hitter::prefix(prefix_hash(key(), slot, addr), slot, addr)
}

/// A SYN that was counted as a first one was none.
#[inline(always)]
pub(super) fn amend(here: &Here, slot: u32, source: Addr, seen: Seen) {
    let of_source = source_key(slot, source);
    let of_prefix = prefix_key(slot, source);
    // SAFETY: map values that only this CPU writes.
    unsafe {
        (*source_place(here, of_source.set)).amend(&of_source, seen, here.epoch);
        (*prefix_place(here, of_prefix.set)).amend(&of_prefix, seen, here.epoch);
    }
}

/// Counts a RST that hit a half-open connection.
#[inline(always)]
pub(super) fn reset(here: &Here, slot: u32, source: Addr) {
    let key = source_key(slot, source);
    // SAFETY: a map value that only this CPU writes.
    unsafe { (*source_place(here, key.set)).reset(&key, here.epoch) };
}

/// Counts a connection. `matched`: its SYN had been counted as a listener's.
#[inline(always)]
pub(super) fn completion(here: &Here, slot: u32, source: Addr, matched: bool) {
    let key = source_key(slot, source);
    if let Some(set) = COMPLETERS.get_ptr_mut(here.cpu * SOURCE_SETS + key.set) {
        // SAFETY: a map value that only this CPU writes.
        unsafe { &mut *set }.hit(&key, Come::one(matched), here.epoch);
    }
}
