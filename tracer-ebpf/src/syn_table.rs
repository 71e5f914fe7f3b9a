//! The shared table of SYN arrivals; its arithmetic is in `tracer_common::syn_table`.

use core::hint::cold_path;

use aya_ebpf::{macros::map, maps::Array};
use tracer_common::{
    addr::Addr,
    hash::Key,
    syn_table::{Arrival, LINES, LastSyn, Line, Posted, Seen, Slot, TAKEN_FIRST, Tag, Tuple, WAYS},
};

use crate::{config::key, filter::Subject, flood::BPF_F_MMAPABLE};

/// Mapped arrays begin on a page, so that a line is a cache line. Nobody maps it.
#[map]
static SYNS: Array<Line> = Array::with_max_entries(LINES, BPF_F_MMAPABLE);

/// SYNs that follow one another within this time are settled one behind: the line of each is on its
/// way from memory until the next one comes.
const BUSY_NS: u64 = 100_000;

#[inline(always)]
fn tag(key: &Key, subject: &Subject) -> Tag {
    Tag::new(
        key,
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

/// Empties a slot, or says what an inbox held.
#[inline(always)]
unsafe fn empty(slot: *mut Slot, detail: u64) {
    // SAFETY: a map value.
    unsafe { (&raw mut (*slot).detail).write_volatile(detail) };
}

/// Where a SYN is kept.
pub(crate) struct Place {
    tag: Tag,
    line: *mut Line,
}

/// Finds a SYN's place.
#[inline(always)]
pub(crate) fn place(key: &Key, subject: &Subject) -> Option<Place> {
    of(tag(key, subject))
}

#[inline(always)]
fn of(tag: Tag) -> Option<Place> {
    Some(Place { tag, line: SYNS.get_ptr_mut(tag.line())? })
}

impl Place {
    #[inline(always)]
    fn slot(&self) -> *mut Slot {
        let way = self.tag.way() as usize;
        // SAFETY: less than WAYS, within the line.
        unsafe { self.line.cast::<Slot>().add(if way < WAYS as usize { way } else { 0 }) }
    }

    #[inline(always)]
    fn inbox(&self) -> *mut Slot {
        // SAFETY: within the line.
        unsafe { &raw mut (*self.line).inbox }
    }

    /// Remembers a SYN that came in on `ifindex` just now.
    #[inline(always)]
    pub(crate) fn store(&self, now_ns: u64, isn: u32, ifindex: u32) -> Seen {
        let fresh = Slot::new(self.tag, now_ns, isn, ifindex);
        self.put(|slot| slot.meet(self.tag, now_ns, now_ns, isn, ifindex, fresh))
    }

    /// Remembers a SYN that came in some time ago.
    #[inline(always)]
    fn store_late(&self, now_ns: u64, last: &LastSyn) -> Seen {
        let LastSyn { fresh, ts_ns, isn, ifindex, .. } = *last;
        self.put(|slot| slot.meet(self.tag, now_ns, ts_ns, isn, ifindex, fresh))
    }

    #[inline(always)]
    fn put(&self, meet: impl FnOnce(Slot) -> (Seen, Option<Slot>)) -> Seen {
        let slot = self.slot();
        // SAFETY: a map value.
        unsafe {
            let (seen, next) = meet(read(slot));
            if let Some(next) = next {
                slot.write_volatile(next);
            }
            seen
        }
    }
}

/// What a SYN is taken for as it comes in.
pub(crate) enum Met {
    /// This.
    Certain(Seen),
    /// A first one, until the next SYN comes.
    Presumed,
}

/// A SYN whose place in the inbox another has taken is settled while it is no older than this.
const DISPLACED_NS: u64 = 10_000_000;

/// This CPU's last SYN, to be settled when another comes.
pub(crate) struct Behind(pub(crate) *mut LastSyn);

impl Behind {
    /// Settles the SYN that was left in its inbox. `amend` is told if it was not the first one that
    /// it was taken for.
    #[inline(always)]
    pub(crate) fn settle(&self, now_ns: u64, amend: impl FnOnce(&LastSyn, Seen)) {
        // SAFETY: this CPU's map value; no SYN hook interrupts another.
        let last = unsafe { &mut *self.0 };
        if last.posted == 0 {
            return;
        }
        last.posted = 0;
        let Some(place) = of(last.tag) else { return };
        let inbox = place.inbox();
        // SAFETY: a map value.
        let seen = match unsafe { read(inbox) }.posted(&last.fresh) {
            Posted::Taken(seen) => {
                cold_path();
                seen
            }
            Posted::There => {
                let seen = place.store_late(now_ns, last);
                // Afterwards, so that the SYN is found in one of the two at any time. Another CPU may
                // leave one there in between: it loses its time.
                // SAFETY: a map value.
                unsafe { empty(inbox, TAKEN_FIRST) };
                seen
            }
            Posted::Displaced => {
                cold_path();
                if now_ns.wrapping_sub(last.ts_ns) > DISPLACED_NS {
                    // Its connection may have come and gone: it must not serve another.
                    Seen::First
                } else {
                    place.store_late(now_ns, last)
                }
            }
        };
        if seen != Seen::First {
            cold_path();
            amend(last, seen);
        }
    }

    /// Remembers a SYN that came in on `ifindex`, after [`Self::settle`]; `slot` is its destination's.
    #[inline(always)]
    pub(crate) fn meet(
        &self,
        place: &Place,
        now_ns: u64,
        isn: u32,
        ifindex: u32,
        slot: u32,
        source: Addr,
    ) -> Met {
        // SAFETY: as above.
        let last = unsafe { &*self.0 };
        let busy = now_ns.wrapping_sub(last.ts_ns) < BUSY_NS;
        // Perhaps on its way through a second device: the one before was settled, so its slot knows.
        let again = last.tag == place.tag && last.isn == isn;
        let post = busy && !again;
        let fresh = Slot::new(place.tag, now_ns, isn, ifindex);
        let tag = place.tag;
        let posted = post.into();
        let next = LastSyn { fresh, ts_ns: now_ns, tag, isn, ifindex, posted, slot, source };
        // SAFETY: as above. Volatile, or the address is written byte by byte.
        unsafe { self.0.write_volatile(next) };
        if !post {
            cold_path();
            return Met::Certain(place.store(now_ns, isn, ifindex));
        }
        // SAFETY: a map value.
        unsafe { place.inbox().write_volatile(fresh) };
        Met::Presumed
    }
}

/// Takes out the SYN of a connection that is complete or dead. `fits` checks the initial sequence
/// number.
#[inline(always)]
pub(crate) fn take(subject: &Subject, now_ns: u64, fits: impl Fn(u32) -> bool) -> Option<Arrival> {
    let place = place(key(), subject)?;
    let (slot, inbox) = (place.slot(), place.inbox());
    // SAFETY: map values. Once used a SYN must not serve a later connection with the same addresses
    // and ports.
    unsafe {
        let posted = read(inbox).arrival(place.tag, now_ns).filter(|found| fits(found.isn));
        let settled = read(slot).arrival(place.tag, now_ns).filter(|found| fits(found.isn));
        match (settled, posted) {
            (Some(settled), Some(posted)) => {
                let (both, mark) = settled.with(posted);
                empty(inbox, mark);
                empty(slot, TAKEN_FIRST);
                Some(both)
            }
            (Some(found), None) => {
                empty(slot, TAKEN_FIRST);
                Some(found)
            }
            (None, Some(found)) => {
                empty(inbox, TAKEN_FIRST);
                Some(found)
            }
            (None, None) => None,
        }
    }
}
