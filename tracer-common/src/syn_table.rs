//! The table that remembers when a SYN arrived until its handshake completes.
//!
//! One fixed array shared by all CPUs, written without locks: a SYN may be stored on one CPU and
//! looked for on another. A slot is two words, so that four fill a cache line and none straddles
//! two. The first is the connection's tag and the SYN's number, masked by the second, so that a slot
//! torn between two writers belongs to nobody (the lockless-hashing trick of chess programs: Hyatt
//! and Mann, "A lock-less transposition table implementation"). An overwritten slot means that the
//! time is unknown, never that it is wrong. A SYN takes the place of the oldest of its line.
//!
//! In a flood from random sources every slot is in memory that no cache holds, and reading it takes
//! as long as all the rest of a SYN. Writing does not wait. So a busy CPU leaves a SYN in the
//! [`Line::inbox`] of its line unseen, and settles it in its slot when the next SYN comes and the
//! line has arrived. It goes to a way of its own then, unless the SYN there is young and one of the
//! others is older: were the oldest looked for each time, nothing could be written before the line
//! has come. Whoever looks for a SYN looks in all places.

use crate::addr::Addr;
use crate::flood::slot;
use crate::hash::{self, Key};

/// Cache lines in the table; a power of two.
pub const LINES: u32 = 1 << 16;
/// Slots of a line.
pub const WAYS: u32 = 3;

/// The table.
pub type Table = [Line; LINES as usize];

/// A cache line of it.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Settled SYNs.
    pub slots: [Slot; WAYS as usize],
    /// The SYN that came last for any of them, where its CPU was busy; see [`Slot::posted`].
    pub inbox: Slot,
}

/// SYNs that follow one another within this time are settled one behind, from [`BUSY_AFTER`] in a row on:
/// the line of each is on its way from memory until the next one comes.
pub const BUSY_NS: u64 = 100_000;
/// A few at once are no flood, and there may be no next one to say that the last of them came again.
pub const BUSY_AFTER: u16 = 16;

/// A SYN older than this is no part of a handshake: SYN retransmission ends before
/// (`tcp_syn_retries` 6: 127 s).
pub const MAX_AGE_NS: u64 = 180_000_000_000;

/// One slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// What is kept of the connection's tag (high 32 bits) and initial sequence number, XOR
    /// [`mask`] of `detail`.
    pub check: u64,
    /// Arrival of the first SYN (high 40 bits: nanoseconds of `CLOCK_MONOTONIC` modulo 2^40, which
    /// is 18 minutes), whether its destination was no listener (1 bit), device (17 bits), repeats
    /// (6 bits). 0: empty; in an inbox also [`TAKEN_REPEATED`] and [`TAKEN_OTHER_DEVICE`].
    pub detail: u64,
}

/// [`Slot::detail`] of an inbox whose SYN was taken out: nothing was known of it before.
pub const TAKEN_FIRST: u64 = 0;
/// The same, and it had come before.
pub const TAKEN_REPEATED: u64 = 1;
/// The same, and it had come in by another device.
pub const TAKEN_OTHER_DEVICE: u64 = 2;

/// What became of a SYN left in an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// Its connection is complete or dead: it was this.
    Taken(Seen),
    /// Another one has its place: it goes to its slot all the same.
    Displaced,
}

/// A SYN that the table remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it came first, nanoseconds of `CLOCK_MONOTONIC`.
    pub ts_ns: u64,
    /// Initial sequence number.
    pub isn: u32,
    /// How often it was repeated; 63 means so often or more.
    pub repeats: u32,
    /// Not 0: it was not held against a listener ([`slot::is_stranger`]).
    pub stranger: u32,
    device: u32,
}

/// Bits of `detail` below the time.
const TIME_SHIFT: u32 = 24;
const TIME_MASK: u64 = (1 << 40) - 1;
const DEVICE_SHIFT: u32 = 6;
const DEVICE_MASK: u32 = (1 << 17) - 1;
const STRANGER_SHIFT: u32 = 23;
const REPEATS_MASK: u32 = (1 << DEVICE_SHIFT) - 1;

/// Within this most handshakes complete. In a flood of 100,000 SYNs a second one in twenty of a line's
/// ways is as young: were it a quarter, the processor could not guess what is next, which costs as much
/// as always looking for the oldest.
const YOUNG_NS: u64 = 100_000_000;

/// What another CPU has written since the clock was looked at is young all the same. Where a virtual machine
/// lost its processor in between for longer, a SYN loses its time.
const LATER_NS: u64 = 1_000_000;

/// The way of a line that is given up for a SYN: the oldest, so that one waiting for its final ACK is
/// overwritten by no other than the third that comes after it.
///
/// Calculated without branches: nobody can guess them, and the verifier would look at all that follows
/// for each outcome.
#[derive(Clone, Copy, Debug, Default)]
pub struct Oldest(u64);

/// Bits that say which way of a line, its inbox being one more.
pub const WAY_MASK: u32 = 3;

impl Oldest {
    /// This one or that way's slot, whichever is older.
    #[inline(always)]
    #[must_use]
    pub const fn or(self, slot: &Slot, way: u32, now_ns: u64) -> Self {
        // Of 63 bits, so that their difference is a number with a sign.
        let other = slot.age(now_ns) >> 1 & !(WAY_MASK as u64) | way as u64;
        let apart = self.0.wrapping_sub(other);
        Self(self.0.wrapping_sub(apart & (apart as i64 >> 63) as u64))
    }

    /// Which way.
    #[inline(always)]
    #[must_use]
    pub const fn way(self) -> u32 {
        self.0 as u32 & WAY_MASK
    }
}

/// Spreads the lower bits of `detail`, in which two SYNs are sure to differ, over the tag's.
#[inline(always)]
const fn mask(detail: u64) -> u64 {
    detail.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// What a packet's or a socket's 4-tuple hashes to.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag(u64);

/// The SYN that a CPU saw last, which may be settled only when the next one comes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastSyn {
    /// What its slot is to hold if it was a first one.
    pub fresh: Slot,
    /// Arrival, nanoseconds of `CLOCK_MONOTONIC`.
    pub ts_ns: u64,
    /// Of its connection.
    pub tag: Tag,
    /// Initial sequence number.
    pub isn: u32,
    /// The device it came in on.
    pub ifindex: u32,
    /// Not 0: it is in its line's inbox still.
    pub posted: u16,
    /// SYNs in a row that followed one another closely, up to it; no more than [`BUSY_AFTER`].
    pub streak: u16,
    /// Destination slot (`crate::flood::slot`).
    pub slot: u32,
    /// Source address.
    pub source: Addr,
}

impl LastSyn {
    /// [`Self::streak`] of a SYN that follows at `now_ns`. Calculated: branches would have the verifier
    /// look at all that follows twice.
    #[inline(always)]
    #[must_use]
    pub const fn streak_at(&self, now_ns: u64) -> u16 {
        let apart = now_ns.wrapping_sub(self.ts_ns) as i64;
        let close = (apart - BUSY_NS as i64) >> 63;
        let streak = self.streak as i64;
        let more = ((streak - BUSY_AFTER as i64) >> 63) & 1;
        ((streak + more) & close) as u16
    }
}

/// What a SYN meant to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Not seen before.
    First,
    /// Sent again by the peer.
    Repeated,
    /// The same packet, on its way through another device.
    OtherDevice,
}

/// The 4-tuple that names a connection, seen from the host.
#[derive(Clone, Copy)]
pub struct Tuple {
    /// Local address.
    pub local_addr: Addr,
    /// Remote address.
    pub remote_addr: Addr,
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, host order.
    pub remote_port: u16,
    /// Network namespace.
    pub netns: u32,
}

impl Tag {
    /// Keyed hash of the tuple.
    #[inline(always)]
    #[must_use]
    pub fn new(key: &Key, tuple: &Tuple) -> Self {
        Self::with(key, hash::share(key, tuple.remote_addr), tuple)
    }

    /// The same from the [`hash::share`] of the remote address.
    #[inline(always)]
    #[must_use]
    pub fn with(key: &Key, share: u64, tuple: &Tuple) -> Self {
        let ports = ((tuple.local_port as u32) << 16) | tuple.remote_port as u32;
        Self(hash::pair_with(key, share, tuple.local_addr, [ports, tuple.netns]))
    }

    /// What the slot keeps of it: bits that do not choose the line.
    #[inline(always)]
    const fn check(self) -> u32 {
        self.0 as u32
    }

    /// The line where the connection's SYN is kept.
    #[inline(always)]
    #[must_use]
    pub const fn line(self) -> u32 {
        (self.0 >> (64 - LINES.trailing_zeros())) as u32
    }

    /// The way that is its own in a flood.
    #[inline(always)]
    #[must_use]
    pub const fn way(self) -> u32 {
        (((self.0 >> 32) as u32 & 0xffff) * WAYS) >> 16
    }
}

impl Slot {
    /// A slot for a SYN just seen. `to`: its destination's slot.
    #[inline(always)]
    #[must_use]
    pub fn new(tag: Tag, ts_ns: u64, isn: u32, ifindex: u32, to: u32) -> Self {
        let device = ((ifindex & DEVICE_MASK) << DEVICE_SHIFT) as u64;
        let stranger = slot::is_stranger(to) << STRANGER_SHIFT;
        Self::sealed(tag, isn, (ts_ns << TIME_SHIFT) | stranger | device)
    }

    #[inline(always)]
    fn sealed(tag: Tag, isn: u32, detail: u64) -> Self {
        Self { check: ((tag.check() as u64) << 32 | isn as u64) ^ mask(detail), detail }
    }

    /// Whether the connection's SYN may be in it: in a flood from random sources it is in next to none.
    #[inline(always)]
    #[must_use]
    pub const fn bears(&self, tag: Tag) -> bool {
        self.differs(tag) == 0
    }

    /// [`Self::bears`] as a mask: all bits or none.
    #[inline(always)]
    #[must_use]
    pub const fn bears_mask(&self, tag: Tag) -> u64 {
        (self.differs(tag).wrapping_sub(1) as i64 >> 63) as u64
    }

    /// In which of the 32 bits that are kept of a tag.
    #[inline(always)]
    const fn differs(&self, tag: Tag) -> u64 {
        ((self.check ^ mask(self.detail)) >> 32) ^ tag.check() as u64
    }

    /// Whether it holds a SYN that may wait for its final ACK still: then another one is given up for a
    /// newcomer.
    #[inline(always)]
    #[must_use]
    pub const fn is_young(&self, now_ns: u64) -> bool {
        self.age(now_ns) < (YOUNG_NS + LATER_NS) << TIME_SHIFT
    }

    /// For [`Oldest`]: what of it was written how long before `now_ns`. An empty one passes for one of the
    /// time when the clock's bits began anew, nearly always long ago.
    #[inline(always)]
    const fn age(&self, now_ns: u64) -> u64 {
        (now_ns.wrapping_add(LATER_NS) << TIME_SHIFT).wrapping_sub(self.detail)
    }

    /// The SYN of the connection, if this slot holds one, whole and young enough.
    #[inline(always)]
    #[must_use]
    pub fn arrival(&self, tag: Tag, now_ns: u64) -> Option<Arrival> {
        if !self.bears(tag) {
            return None;
        }
        let open = self.check ^ mask(self.detail);
        let age = now_ns.wrapping_sub(self.detail >> TIME_SHIFT) & TIME_MASK;
        if self.detail <= TAKEN_OTHER_DEVICE || age >= MAX_AGE_NS {
            return None;
        }
        Some(Arrival {
            ts_ns: now_ns.wrapping_sub(age),
            isn: open as u32,
            repeats: self.detail as u32 & REPEATS_MASK,
            stranger: (self.detail >> STRANGER_SHIFT) as u32 & 1,
            device: (self.detail >> DEVICE_SHIFT) as u32 & DEVICE_MASK,
        })
    }

    /// What to do with a SYN whose slot this is ([`Self::bears`]) and that came in at `came_ns`, not
    /// after `now_ns`: what it is, and the slot's new content if that changes. `fresh`: [`Self::new`]
    /// of it.
    #[inline(always)]
    #[must_use]
    pub fn meet(
        &self,
        tag: Tag,
        now_ns: u64,
        came_ns: u64,
        isn: u32,
        ifindex: u32,
        fresh: Self,
    ) -> (Seen, Option<Self>) {
        let known = match self.arrival(tag, now_ns) {
            Some(known) if known.isn == isn => known,
            _ => return (Seen::First, Some(fresh)),
        };
        if known.device != ifindex & DEVICE_MASK {
            return (Seen::OtherDevice, None);
        }
        if known.repeats == REPEATS_MASK {
            return (Seen::Repeated, None);
        }
        let mut detail = self.detail + 1;
        // Settled late, after its repetition on another CPU.
        if came_ns < known.ts_ns {
            detail = (came_ns << TIME_SHIFT) | (detail & ((1 << TIME_SHIFT) - 1));
        }
        (Seen::Repeated, Some(Self::sealed(tag, isn, detail)))
    }
}

impl Slot {
    /// What became of a SYN that was left here as `as_left`, and is here no more.
    #[inline(always)]
    #[must_use]
    pub fn posted(&self, as_left: &Self) -> Posted {
        if self.check != as_left.check {
            return Posted::Displaced;
        }
        match self.detail {
            TAKEN_FIRST => Posted::Taken(Seen::First),
            TAKEN_REPEATED => Posted::Taken(Seen::Repeated),
            TAKEN_OTHER_DEVICE => Posted::Taken(Seen::OtherDevice),
            // Half written over.
            _ => Posted::Displaced,
        }
    }
}

impl Arrival {
    /// A SYN found in its slot that is in its line's inbox as well: what both say, and what the inbox
    /// is to say of the second.
    #[inline(always)]
    #[must_use]
    pub fn with(self, posted: Self) -> (Self, u64) {
        let ts_ns = if posted.ts_ns < self.ts_ns { posted.ts_ns } else { self.ts_ns };
        if self.device != posted.device {
            (Self { ts_ns, ..self }, TAKEN_OTHER_DEVICE)
        } else if self.ts_ns == posted.ts_ns {
            // The same one: it is being settled just now.
            (self, TAKEN_FIRST)
        } else {
            (Self { ts_ns, repeats: self.repeats + 1, ..self }, TAKEN_REPEATED)
        }
    }
}

const _: () = {
    assert!(size_of::<Slot>() == 16 && size_of::<Line>() == 64);
    assert!(WAYS == WAY_MASK && size_of::<LastSyn>() == 64);
    assert!(MAX_AGE_NS < TIME_MASK && LINES.is_power_of_two());
    // The largest element that older kernels allow an array (`KMALLOC_MAX_SIZE`).
    assert!(size_of::<Table>() <= 4 << 20);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::tests::key;

    const SECOND: u64 = 1_000_000_000;

    fn tag(remote_port: u16, netns: u32) -> Tag {
        Tag::new(
            &key(7),
            &Tuple {
                local_addr: Addr([1, 1]),
                remote_addr: Addr([2, 2]),
                local_port: 80,
                remote_port,
                netns,
            },
        )
    }

    /// For a listener.
    fn new(tag: Tag, ts_ns: u64, isn: u32, ifindex: u32) -> Slot {
        Slot::new(tag, ts_ns, isn, ifindex, 7)
    }

    fn meet(
        slot: &Slot,
        tag: Tag,
        now_ns: u64,
        came_ns: u64,
        isn: u32,
        ifindex: u32,
    ) -> (Seen, Option<Slot>) {
        slot.meet(tag, now_ns, came_ns, isn, ifindex, new(tag, came_ns, isn, ifindex))
    }

    fn held(slot: &Slot, tag: Tag, now_ns: u64) -> bool {
        slot.arrival(tag, now_ns).is_some()
    }

    #[test]
    fn times_outlast_the_bits_that_are_kept() {
        let tag = tag(1000, 1);
        for boot in [1, TIME_MASK - 5, TIME_MASK, TIME_MASK + 1, 5 * TIME_MASK + 17] {
            let slot = new(tag, boot, 42, 3);
            let later = boot + 100 * SECOND;
            assert_eq!(slot.arrival(tag, later).expect("held").ts_ns, boot);
            assert!(!held(&slot, tag, boot + MAX_AGE_NS));
        }
    }

    /// Two SYNs of one microsecond: the times differ in few bits, and so may the tags.
    #[test]
    fn no_torn_slot_passes_however_close_the_two_are() {
        for remote_port in 1..1000 {
            let a = new(tag(remote_port, 1), SECOND, 42, 3);
            let b = new(tag(remote_port + 1, 1), SECOND + u64::from(remote_port), 42, 3);
            for torn in [Slot { check: a.check, ..b }, Slot { detail: a.detail, ..b }] {
                assert!(!held(&torn, tag(remote_port, 1), 2 * SECOND));
                assert!(!held(&torn, tag(remote_port + 1, 1), 2 * SECOND));
            }
        }
    }

    #[test]
    fn a_syn_is_found_again_by_its_connection_only() {
        let slot = new(tag(1000, 1), SECOND, 42, 3);
        assert!(held(&slot, tag(1000, 1), 2 * SECOND));
        assert!(!held(&slot, tag(1001, 1), 2 * SECOND));
        assert!(!held(&slot, tag(1000, 2), 2 * SECOND));
        assert!(!held(&Slot::default(), tag(1000, 1), 2 * SECOND));
        let arrival = slot.arrival(tag(1000, 1), 2 * SECOND).expect("held");
        assert_eq!((arrival.ts_ns, arrival.isn, arrival.repeats), (SECOND, 42, 0));
    }

    #[test]
    fn a_slot_bears_the_tag_of_its_syn_only() {
        let slot = new(tag(1000, 1), SECOND, 42, 3);
        assert!(slot.bears(tag(1000, 1)));
        assert!(!slot.bears(tag(1001, 1)) && !Slot::default().bears(tag(1000, 1)));
        // However old: what is to be done with it is decided by what it holds.
        let (seen, next) = meet(&slot, tag(1000, 1), 2 * MAX_AGE_NS, 2 * MAX_AGE_NS, 42, 3);
        assert_eq!((seen, next.map(|next| next.bears(tag(1000, 1)))), (Seen::First, Some(true)));
    }

    #[test]
    fn a_torn_slot_belongs_to_nobody() {
        let a = new(tag(1000, 1), SECOND, 42, 3);
        let b = new(tag(2000, 1), 2 * SECOND, 43, 4);
        for torn in [Slot { check: a.check, ..b }, Slot { detail: a.detail, ..b }] {
            assert!(!held(&torn, tag(1000, 1), 3 * SECOND));
            assert!(!held(&torn, tag(2000, 1), 3 * SECOND));
        }
    }

    #[test]
    fn retransmissions_keep_the_first_arrival_and_count() {
        let tag = tag(1000, 1);
        let (seen, slot) = meet(&Slot::default(), tag, SECOND, SECOND, 42, 3);
        let slot = slot.expect("stored");
        assert_eq!(seen, Seen::First);
        let (seen, again) = meet(&slot, tag, 2 * SECOND, 2 * SECOND, 42, 3);
        let again = again.expect("counted");
        let arrival = again.arrival(tag, 3 * SECOND).expect("held");
        assert_eq!((seen, arrival.ts_ns, arrival.repeats), (Seen::Repeated, SECOND, 1));
    }

    #[test]
    fn the_same_syn_on_another_device_is_no_retransmission() {
        let tag = tag(1000, 1);
        let slot = new(tag, SECOND, 42, 3);
        assert_eq!(meet(&slot, tag, SECOND + 10, SECOND + 10, 42, 4), (Seen::OtherDevice, None));
    }

    #[test]
    fn a_new_sequence_number_or_an_old_entry_begins_anew() {
        let tag = tag(1000, 1);
        let slot = new(tag, SECOND, 42, 3);
        assert_eq!(meet(&slot, tag, 2 * SECOND, 2 * SECOND, 43, 3).0, Seen::First);
        assert_eq!(
            meet(&slot, tag, 2 * SECOND + MAX_AGE_NS, 2 * SECOND + MAX_AGE_NS, 42, 3).0,
            Seen::First
        );
    }

    #[test]
    fn repeats_saturate() {
        let tag = tag(1000, 1);
        let mut slot = new(tag, SECOND, 42, 3);
        for _ in 0..300 {
            if let (_, Some(next)) = meet(&slot, tag, SECOND, SECOND, 42, 3) {
                slot = next;
            }
        }
        let arrival = slot.arrival(tag, SECOND).expect("held");
        assert_eq!((arrival.repeats, arrival.isn, arrival.ts_ns), (63, 42, SECOND));
    }

    #[test]
    fn settled_after_its_repetition_it_is_still_the_first() {
        let tag = tag(1000, 1);
        let repetition = new(tag, 2 * SECOND, 42, 3);
        let (seen, slot) = meet(&repetition, tag, 3 * SECOND, SECOND, 42, 3);
        let arrival = slot.expect("changed").arrival(tag, 4 * SECOND).expect("held");
        assert_eq!((seen, arrival.ts_ns, arrival.repeats), (Seen::Repeated, SECOND, 1));
        assert_eq!(meet(&repetition, tag, 3 * SECOND, SECOND, 42, 4), (Seen::OtherDevice, None));
    }

    #[test]
    fn slot_and_inbox_together_give_the_first_arrival() {
        let tag = tag(1000, 1);
        let at = |ts, device| new(tag, ts, 42, device).arrival(tag, 5 * SECOND).expect("held");
        let (both, mark) = at(2 * SECOND, 3).with(at(SECOND, 3));
        assert_eq!((both.ts_ns, both.repeats, mark), (SECOND, 1, TAKEN_REPEATED));
        let (both, mark) = at(SECOND, 3).with(at(SECOND, 3));
        assert_eq!((both.ts_ns, both.repeats, mark), (SECOND, 0, TAKEN_FIRST));
        let (both, mark) = at(SECOND + 5, 3).with(at(SECOND, 4));
        assert_eq!((both.ts_ns, both.repeats, mark), (SECOND, 0, TAKEN_OTHER_DEVICE));
    }

    #[test]
    fn a_streak_grows_with_close_syns_and_ends_with_a_pause() {
        let mut last = LastSyn { ts_ns: 1_000_000, ..LastSyn::default() };
        for n in 1..=BUSY_AFTER + 3 {
            let now = last.ts_ns + BUSY_NS - 1;
            let streak = last.streak_at(now);
            assert_eq!(streak, n.min(BUSY_AFTER));
            last = LastSyn { ts_ns: now, streak, ..last };
        }
        assert_eq!(last.streak_at(last.ts_ns), BUSY_AFTER);
        assert_eq!(last.streak_at(last.ts_ns + BUSY_NS), 0);
        assert_eq!(LastSyn::default().streak_at(1 << 60), 0, "the first of all");
    }

    #[test]
    fn what_became_of_a_posted_syn() {
        let mine = new(tag(1000, 1), SECOND, 42, 3);
        let other = new(tag(2000, 1), SECOND, 42, 3);
        assert_eq!(other.posted(&mine), Posted::Displaced);
        assert_eq!(Slot::default().posted(&mine), Posted::Displaced);
        for (detail, seen) in [
            (TAKEN_FIRST, Seen::First),
            (TAKEN_REPEATED, Seen::Repeated),
            (TAKEN_OTHER_DEVICE, Seen::OtherDevice),
        ] {
            let taken = Slot { detail, ..mine };
            assert_eq!(taken.posted(&mine), Posted::Taken(seen));
            assert!(!held(&taken, tag(1000, 1), 2 * SECOND));
        }
    }

    #[test]
    fn lines_are_chosen_evenly() {
        let mut lines = [0u32; 16];
        for port in 1..=48_000u16 {
            lines[(tag(port, 1).line() / (LINES / 16)) as usize] += 1;
        }
        // 3,000 are expected: six standard deviations.
        assert!(lines.iter().all(|hits| hits.abs_diff(3_000) < 330), "{lines:?}");
    }

    fn oldest(slots: &[Slot], now_ns: u64) -> u32 {
        let look = |oldest: Oldest, (way, slot)| oldest.or(slot, way, now_ns);
        (0..WAYS).zip(slots).fold(Oldest::default(), look).way()
    }

    #[test]
    fn the_oldest_of_a_line_is_given_up_or_what_is_empty() {
        let at = |seconds| new(tag(1000, 1), seconds * SECOND, 42, 3);
        for boot in [1_200, TIME_MASK / SECOND, TIME_MASK / SECOND + 100, 1_000_000] {
            let (old, older, oldest_of_all) = (at(boot + 3), at(boot + 2), at(boot + 1));
            let now = (boot + 4) * SECOND;
            assert_eq!(oldest(&[old, older, oldest_of_all], now), 2);
            assert_eq!(oldest(&[oldest_of_all, old, older], now), 0);
            assert_eq!(oldest(&[old, oldest_of_all, older], now), 1);
        }
        let now = 600 * SECOND;
        assert_eq!(oldest(&[at(599), Slot::default(), at(598)], now), 1);
        assert_eq!(oldest(&[Slot::default(); 3], now), 2);
        // What another CPU has just written is not older than all.
        let later = new(tag(1000, 1), now + 500, 42, 3);
        assert_eq!(oldest(&[at(599), later, later], now), 0);
    }

    #[test]
    fn a_young_one_stays() {
        let now = (TIME_MASK + 1) * 5 + 1;
        let young = |ts_ns| new(tag(1000, 1), ts_ns, 42, 3).is_young(now);
        assert!(young(now) && young(now - YOUNG_NS + 1) && young(now + LATER_NS - 1));
        assert!(!young(now - YOUNG_NS - 1) && !young(now - MAX_AGE_NS));
        assert!(!Slot::default().is_young(600 * SECOND));
    }

    #[test]
    fn ways_are_chosen_evenly() {
        let mut ways = [0u32; WAYS as usize];
        for port in 1..=48_000u16 {
            ways[tag(port, 1).way() as usize] += 1;
        }
        // 16,000 are expected: six standard deviations.
        assert!(ways.iter().all(|hits| hits.abs_diff(16_000) < 620), "{ways:?}");
    }

    #[test]
    fn a_mask_says_the_same_as_a_comparison() {
        let slot = new(tag(1000, 1), SECOND, 42, 3);
        assert_eq!(slot.bears_mask(tag(1000, 1)), u64::MAX);
        for other in 1001..2000 {
            assert_eq!(slot.bears_mask(tag(other, 1)), 0);
        }
    }

    #[test]
    fn whether_it_was_held_against_a_listener_outlasts_its_repetition() {
        let tag = tag(1000, 1);
        for (to, stranger) in
            [(slot::CLOSED, 1), (slot::FOREIGN, 1), (slot::OVERFLOW, 0), (slot::FIRST_LISTENER, 0)]
        {
            let first = Slot::new(tag, SECOND, 42, 3, to);
            let fresh = Slot::new(tag, 2 * SECOND, 42, 3, 9);
            let (_, again) = first.meet(tag, 2 * SECOND, 2 * SECOND, 42, 3, fresh);
            for slot in [first, again.expect("counted")] {
                let arrival = slot.arrival(tag, 3 * SECOND).expect("held");
                assert_eq!((arrival.stranger, arrival.device), (stranger, 3));
            }
        }
    }
}
