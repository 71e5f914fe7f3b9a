//! The shared table of SYN arrivals; its arithmetic is in `tracer_common::syn_table`.

use core::hint::{black_box, cold_path};

use aya_ebpf::{macros::map, maps::Array};
use tracer_common::{
    addr::Addr,
    hash::{self, Key},
    syn_table::{
        Arrival, BUSY_AFTER, LINES, LastSyn, Line, Oldest, Posted, Seen, Slot, TAKEN_FIRST, Table,
        Tag, Tuple, WAY_MASK, WAYS,
    },
};

use crate::{config::key, filter::Subject, flood::BPF_F_MMAPABLE};

/// Mapped arrays begin on a page, so that a line is a cache line. Nobody maps it. One element, so that
/// all lines are found by one look-up.
#[map]
static SYNS: Array<Table> = Array::with_max_entries(1, BPF_F_MMAPABLE);

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
    table: *mut Table,
    line: *mut Line,
}

/// Finds a SYN's place.
#[inline(always)]
pub(crate) fn place(key: &Key, subject: &Subject) -> Option<Place> {
    Some(Place::of(table()?, tag(key, hash::share(key, subject.remote_addr), subject)))
}

/// The table.
#[inline(always)]
pub(crate) fn table() -> Option<*mut Table> {
    SYNS.get_ptr_mut(0)
}

/// A SYN's tag, from the [`hash::share`] of its remote address.
#[inline(always)]
pub(crate) fn tag(key: &Key, share: u64, subject: &Subject) -> Tag {
    let tuple = Tuple {
        local_addr: subject.local_addr,
        remote_addr: subject.remote_addr,
        local_port: subject.local_port,
        remote_port: subject.remote_port,
        netns: subject.netns,
    };
    Tag::with(key, share, &tuple)
}

impl Place {
    /// In the table.
    #[inline(always)]
    pub(crate) fn of(table: *mut Table, tag: Tag) -> Self {
        // The mask is what shows the verifier that it is within.
        let line = (tag.line() & (LINES - 1)) as usize;
        // SAFETY: within the table.
        Self { tag, table, line: unsafe { table.cast::<Line>().add(line) } }
    }

    #[inline(always)]
    fn way(&self, way: u32) -> *mut Slot {
        // The mask is what shows the verifier that it is within the line.
        // SAFETY: within the line.
        unsafe { self.line.cast::<Slot>().add((way & WAY_MASK) as usize) }
    }

    /// The slot that bears the tag, else any.
    #[inline(always)]
    fn slot(&self) -> *mut Slot {
        let mut at = 0;
        for way in 1..WAYS {
            // SAFETY: a map value.
            at |= unsafe { read(self.way(way)) }.bears_mask(self.tag) as u32 & way;
        }
        // Two CPUs that took up the same SYN at once may have put it into both: the second. The compiler
        // sees that this is a way and would leave the mask out by which the verifier sees it.
        self.way(black_box(at & !(at >> 1)))
    }

    #[inline(always)]
    fn inbox(&self) -> *mut Slot {
        // SAFETY: within the line.
        unsafe { &raw mut (*self.line).inbox }
    }

    /// Remembers a SYN that came in on `ifindex` just now. `to`: its destination's slot.
    #[inline(always)]
    pub(crate) fn store(&self, now_ns: u64, isn: u32, ifindex: u32, to: u32) -> Seen {
        self.store_slot(now_ns, isn, ifindex, Slot::new(self.tag, now_ns, isn, ifindex, to))
    }

    #[inline(always)]
    fn store_slot(&self, now_ns: u64, isn: u32, ifindex: u32, fresh: Slot) -> Seen {
        self.put(now_ns, now_ns, isn, ifindex, fresh, || self.oldest(now_ns))
    }

    /// Remembers a SYN that came in some time ago, in a flood.
    #[inline(always)]
    fn store_late(&self, now_ns: u64, last: &LastSyn) -> Seen {
        let give_up = || self.own_or_oldest(now_ns);
        self.put(now_ns, last.ts_ns, last.isn, last.ifindex, last.fresh, give_up)
    }

    /// Its own way, unless what is there is young.
    #[inline(always)]
    fn own_or_oldest(&self, now_ns: u64) -> u32 {
        let own = self.tag.way();
        // SAFETY: a map value.
        if unsafe { read(self.way(own)) }.is_young(now_ns) {
            cold_path();
            return self.oldest(now_ns);
        }
        own
    }

    #[inline(always)]
    fn oldest(&self, now_ns: u64) -> u32 {
        let mut oldest = Oldest::default();
        for way in 0..WAYS {
            // SAFETY: a map value.
            oldest = oldest.or(&unsafe { read(self.way(way)) }, way, now_ns);
        }
        oldest.way()
    }

    #[inline(always)]
    fn put(
        &self,
        now_ns: u64,
        came_ns: u64,
        isn: u32,
        ifindex: u32,
        fresh: Slot,
        give_up: impl FnOnce() -> u32,
    ) -> Seen {
        let slot = self.slot();
        // SAFETY: a map value.
        let before = unsafe { read(slot) };
        if before.bears(self.tag) {
            cold_path();
            let (seen, next) = before.meet(self.tag, now_ns, came_ns, isn, ifindex, fresh);
            if let Some(next) = next {
                // SAFETY: as above.
                unsafe { slot.write_volatile(next) };
            }
            return seen;
        }
        let way = give_up();
        // SAFETY: as above.
        unsafe { self.way(way).write_volatile(fresh) };
        Seen::First
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
    pub(crate) fn settle(&self, of: &Place, now_ns: u64, amend: impl FnOnce(&LastSyn, Seen)) {
        // SAFETY: this CPU's map value; no SYN hook interrupts another.
        let last = unsafe { &mut *self.0 };
        if last.posted == 0 {
            return;
        }
        last.posted = 0;
        let place = Place::of(of.table, last.tag);
        let inbox = place.inbox();
        // SAFETY: a map value.
        let held = unsafe { read(inbox) };
        let seen = if held == last.fresh {
            let seen = place.store_late(now_ns, last);
            // Afterwards, so that the SYN is found in one of the two at any time. Another CPU may
            // leave one there in between: it loses its time.
            // SAFETY: a map value.
            unsafe { empty(inbox, TAKEN_FIRST) };
            seen
        } else {
            cold_path();
            match held.posted(&last.fresh) {
                Posted::Taken(seen) => seen,
                // Its connection may have come and gone: it must not serve another.
                Posted::Displaced if now_ns.wrapping_sub(last.ts_ns) > DISPLACED_NS => Seen::First,
                Posted::Displaced => place.store_late(now_ns, last),
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
        let streak = last.streak_at(now_ns);
        // Perhaps on its way through a second device: the one before was settled, so its slot knows.
        let again = last.tag == place.tag && last.isn == isn;
        let post = streak == BUSY_AFTER && !again;
        let fresh = Slot::new(place.tag, now_ns, isn, ifindex, slot);
        let tag = place.tag;
        // SAFETY: as above. Volatile and field by field, or it is put together on the stack.
        unsafe {
            (&raw mut (*self.0).fresh).write_volatile(fresh);
            (&raw mut (*self.0).ts_ns).write_volatile(now_ns);
            (&raw mut (*self.0).tag).write_volatile(tag);
            (&raw mut (*self.0).isn).write_volatile(isn);
            (&raw mut (*self.0).ifindex).write_volatile(ifindex);
            (&raw mut (*self.0).posted).write_volatile(post.into());
            (&raw mut (*self.0).streak).write_volatile(streak);
            (&raw mut (*self.0).slot).write_volatile(slot);
            (&raw mut (*self.0).source).write_volatile(source);
        }
        if !post {
            cold_path();
            return Met::Certain(place.store_slot(now_ns, isn, ifindex, fresh));
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
    let inbox = place.inbox();
    // Before the slots are looked at: it is emptied after its SYN was settled in one of them.
    // SAFETY: a map value.
    let held = unsafe { read(inbox) };
    let slot = place.slot();
    // SAFETY: map values. Once used a SYN must not serve a later connection with the same addresses
    // and ports.
    unsafe {
        let posted = held.arrival(place.tag, now_ns).filter(|found| fits(found.isn));
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
