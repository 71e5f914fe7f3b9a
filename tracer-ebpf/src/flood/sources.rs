//! Who sends most, per source and per prefix.

use aya_ebpf::{macros::map, maps::Array};
use tracer_common::{
    addr::Addr,
    flood::sources::{
        Hitter, PREFIX_SETS, SOURCE_SETS, Set, prefix, prefix_hash, prefix_set, prefix_tag,
        source_set, source_tag,
    },
    siphash,
};

use super::{BPF_F_MMAPABLE, Here, key};

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

/// Counts a SYN. `hash`: of the slot and the source.
#[inline(always)]
pub(super) fn syn(here: &Here, slot: u32, source: Addr, hash: u64, first: bool) {
    set(&SOURCES, here.cpu * SOURCE_SETS + source_set(hash), |set| {
        set.hit(&Hitter { tag: source_tag(hash), slot, addr: source }, first, here.epoch);
    });
    let prefix = prefix(source);
    let hash = prefix_hash(key(), slot, prefix);
    set(&PREFIXES, here.cpu * PREFIX_SETS + prefix_set(hash), |set| {
        set.hit(&Hitter { tag: prefix_tag(hash), slot, addr: prefix }, first, here.epoch);
    });
}

/// Counts a RST that hit a half-open connection.
#[inline(always)]
pub(super) fn reset(here: &Here, slot: u32, source: Addr) {
    let hash = siphash::address(key(), slot, source);
    set(&SOURCES, here.cpu * SOURCE_SETS + source_set(hash), |set| {
        set.reset(&Hitter { tag: source_tag(hash), slot, addr: source }, here.epoch);
    });
}

/// Counts a connection.
#[inline(always)]
pub(super) fn completion(here: &Here, slot: u32, source: Addr) {
    let hash = siphash::address(key(), slot, source);
    set(&COMPLETERS, here.cpu * SOURCE_SETS + source_set(hash), |set| {
        set.hit(&Hitter { tag: source_tag(hash), slot, addr: source }, true, here.epoch);
    });
}
