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

/// Sources that reset half-open connections. Sized for the machine's CPUs at load.
#[map]
static RESETTERS: Array<Set> = Array::with_max_entries(1, BPF_F_MMAPABLE);

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
    pub(super) fn syn(&self, here: &Here, part: u32, first: bool) {
        let come = Come::one(part, first);
        // SAFETY: a map value that only this CPU writes.
        let syns = unsafe { &mut *self.set }.hit(&self.key, come, here.epoch);
        if syns != 0 {
            cold_path();
            let of_prefix = prefix_key(self.key.slot, self.key.addr);
            // SAFETY: as above.
            let set = unsafe { &mut *prefix_place(here, of_prefix.set) };
            set.hit(&of_prefix, Come { syns, ..come }, here.epoch);
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
pub(super) fn amend(here: &Here, slot: u32, source: Addr, part: u32, seen: Seen) {
    let of_source = source_key(slot, source);
    let of_prefix = prefix_key(slot, source);
    // SAFETY: map values that only this CPU writes.
    unsafe {
        (*source_place(here, of_source.set)).amend(&of_source, part, seen, here.epoch);
        (*prefix_place(here, of_prefix.set)).amend(&of_prefix, part, seen, here.epoch);
    }
}

/// Counts a RST that hit a half-open connection. `part`: [`cohort::part_of_end`] of its SYN.
#[inline(always)]
pub(super) fn reset(here: &Here, slot: u32, source: Addr, part: u32) {
    end(&RESETTERS, here, slot, source, Come::one(part, true));
}

/// Counts a connection. `part`: [`cohort::part_of_end`], if its SYN had been counted as a listener's.
#[inline(always)]
pub(super) fn completion(here: &Here, slot: u32, source: Addr, part: u32, matched: bool) {
    end(&COMPLETERS, here, slot, source, Come::one(part, matched));
}

#[inline(always)]
fn end(sets: &Array<Set>, here: &Here, slot: u32, source: Addr, come: Come) {
    let key = source_key(slot, source);
    if let Some(set) = sets.get_ptr_mut(here.cpu * SOURCE_SETS + key.set) {
        // SAFETY: a map value that only this CPU writes.
        unsafe { &mut *set }.hit(&key, come, here.epoch);
    }
}
