//! The shared table of SYN arrivals; its arithmetic is in `tracer_common::syn_table`.

use aya_ebpf::{macros::map, maps::Array};
use tracer_common::syn_table::{Arrival, SLOTS, Seen, Slot, Tag, Tuple};

use crate::{config::key, fetch::fetch, filter::Subject};

#[map]
static SYNS: Array<Slot> = Array::with_max_entries(SLOTS, 0);

#[inline(always)]
fn tag(subject: &Subject) -> Tag {
    Tag::new(
        key(),
        &Tuple {
            local_addr: subject.local_addr,
            remote_addr: subject.remote_addr,
            local_port: subject.local_port,
            remote_port: subject.remote_port,
            netns: subject.netns,
        },
    )
}

/// Other CPUs write slots at the same time: read every word once. A torn slot does not pass its
/// own check.
#[inline(always)]
unsafe fn read(slot: *const Slot) -> Slot {
    // SAFETY: a map value.
    unsafe { slot.read_volatile() }
}

/// Where a SYN is kept.
pub(crate) struct Place {
    tag: Tag,
    slot: *mut Slot,
}

/// Finds a SYN's place.
#[inline(always)]
pub(crate) fn place(subject: &Subject) -> Option<Place> {
    let tag = tag(subject);
    Some(Place { tag, slot: SYNS.get_ptr_mut(tag.index())? })
}

impl Place {
    /// Has the processor fetch it.
    #[inline(always)]
    pub(crate) fn fetch(&self) {
        fetch(self.slot);
    }

    /// Remembers a SYN that came in on `ifindex`.
    #[inline(always)]
    pub(crate) fn store(&self, now_ns: u64, isn: u32, ifindex: u32) -> Seen {
        // SAFETY: a map value.
        unsafe {
            let (seen, next) = read(self.slot).meet(self.tag, now_ns, isn, ifindex);
            if let Some(next) = next {
                self.slot.write_volatile(next);
            }
            seen
        }
    }
}

/// Takes out the SYN of a connection that is complete or dead. `fits` checks the initial sequence
/// number.
#[inline(always)]
pub(crate) fn take(
    subject: &Subject,
    now_ns: u64,
    fits: impl FnOnce(u32) -> bool,
) -> Option<Arrival> {
    let tag = tag(subject);
    let slot = SYNS.get_ptr_mut(tag.index())?;
    // SAFETY: a map value.
    unsafe {
        let found = read(slot).arrival(tag, now_ns)?;
        if !fits(found.isn) {
            return None;
        }
        // Once used it must not serve a later connection with the same addresses and ports.
        (&raw mut (*slot).detail).write_volatile(0);
        Some(found)
    }
}
