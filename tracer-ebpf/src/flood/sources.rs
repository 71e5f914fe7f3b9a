//! Who sends most, per source and per prefix.

use aya_ebpf::{macros::map, maps::Array};
use tracer_common::{
    addr::Addr,
    flood::sources::{
        Hitter, PREFIX_SETS, SOURCE_SETS, Set, prefix, prefix_hash, prefix_set, prefix_tag,
        source_set, source_tag,
    },
    hash,
};

use super::{BPF_F_MMAPABLE, Here};
use crate::config::key;
use crate::fetch::fetch;

/// Sized for the machine's CPUs at load, as the two below.
#[map]
static SOURCES: Array<Set> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static PREFIXES: Array<Set> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Sources whose handshakes complete. They do so in softirq context (a child of TCP Fast Open
/// apart, whose final ACK may wait for a process), so one writer a CPU is enough.
#[map]
static COMPLETERS: Array<Set> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[inline(always)]
fn set(sets: &Array<Set>, index: u32, change: impl FnOnce(&mut Set)) {
    if let Some(set) = sets.get_ptr_mut(index) {
        // SAFETY: a map value that only this CPU writes.
        change(unsafe { &mut *set });
    }
}

/// The sets of a SYN's source and its prefix.
pub(super) struct Places {
    source: *mut Set,
    prefix: *mut Set,
    source_tag: u32,
    prefix_tag: u32,
}

/// `hash`: of the slot and the source.
#[inline(always)]
pub(super) fn places(here: &Here, slot: u32, source: Addr, hash: u64) -> Option<Places> {
    let of_prefix = prefix_hash(key(), slot, prefix(source));
    Some(Places {
        source: SOURCES.get_ptr_mut(here.cpu * SOURCE_SETS + source_set(hash))?,
        prefix: PREFIXES.get_ptr_mut(here.cpu * PREFIX_SETS + prefix_set(of_prefix))?,
        source_tag: source_tag(hash),
        prefix_tag: prefix_tag(of_prefix),
    })
}

impl Places {
    #[inline(always)]
    pub(super) fn fetch(&self) {
        fetch(self.source);
        fetch(self.prefix);
    }

    /// Counts a SYN.
    #[inline(always)]
    pub(super) fn syn(&self, here: &Here, slot: u32, source: Addr, first: bool) {
        // SAFETY: map values that only this CPU writes.
        let (in_source, in_prefix) = unsafe { (&mut *self.source, &mut *self.prefix) };
        in_source.hit(&Hitter { tag: self.source_tag, slot, addr: source }, first, here.epoch);
        let addr = prefix(source);
        in_prefix.hit(&Hitter { tag: self.prefix_tag, slot, addr }, first, here.epoch);
    }
}

/// Counts a RST that hit a half-open connection.
#[inline(always)]
pub(super) fn reset(here: &Here, slot: u32, source: Addr) {
    let hash = hash::single(key(), slot, source);
    set(&SOURCES, here.cpu * SOURCE_SETS + source_set(hash), |set| {
        set.reset(&Hitter { tag: source_tag(hash), slot, addr: source }, here.epoch);
    });
}

/// Counts a connection. `matched`: its SYN had been seen.
#[inline(always)]
pub(super) fn completion(here: &Here, slot: u32, source: Addr, matched: bool) {
    let hash = hash::single(key(), slot, source);
    set(&COMPLETERS, here.cpu * SOURCE_SETS + source_set(hash), |set| {
        set.hit(&Hitter { tag: source_tag(hash), slot, addr: source }, matched, here.epoch);
    });
}
