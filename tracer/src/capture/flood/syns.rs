//! The SYNs of late, and the SYN-ACKs that no SYN was seen for: which SYN is repeated, which was
//! answered and which handshake completed, which answer nobody asked for.

use crate::core::event::MonoNs;

/// Places, so that a flood takes no more memory. A newcomer takes the place that it falls on, or the one
/// beside it if a handshake is under way there; where both are, the older one's.
const PLACES: usize = 1 << 17;

/// What is known of a 4-tuple, the client's end first.
#[derive(Clone, Copy, Default)]
pub(super) struct Entry {
    /// Hash of the 4-tuple; 0: empty.
    tag: u64,
    /// The SYN's number, or what the SYN-ACK acknowledges.
    pub(super) number: u32,
    /// Where it passed, [`Captured::place`].
    ///
    /// [`Captured::place`]: crate::capture::segment::Captured::place
    at_place: u32,
    /// Number of the destination; 0: it is not counted.
    pub(super) destination: u32,
    pub(super) kind: Kind,
    /// When it came first.
    pub(super) at: MonoNs,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    #[default]
    Syn,
    /// A SYN that was answered.
    Answered,
    /// A SYN-ACK without a SYN.
    Unasked,
    /// One that has been counted.
    Counted,
    /// The handshake is complete.
    Complete,
}

/// What a SYN is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    First,
    Repeated,
    /// The same on its way further.
    OtherDevice,
}

pub(super) struct Syns {
    entries: Box<[Entry]>,
    /// Whether a place may hold a handshake that is under way: one bit each. Most segments are of none,
    /// and this fits the nearer caches.
    under_way: Box<[u64]>,
}

impl Default for Syns {
    fn default() -> Self {
        Self {
            entries: vec![Entry::default(); PLACES].into(),
            under_way: vec![0; PLACES / 64].into(),
        }
    }
}

const fn place(hash: u64) -> usize {
    (hash >> 40) as usize & (PLACES - 1)
}

impl Syns {
    /// Where a 4-tuple is.
    fn held(&self, hash: u64) -> Option<usize> {
        let own = place(hash);
        let holds = |place: &usize| self.entries.get(*place).is_some_and(|e| e.tag == hash | 1);
        [own, own ^ 1].into_iter().find(holds)
    }

    /// Where a 4-tuple is to be that is nowhere.
    fn room(&self, hash: u64) -> usize {
        let own = place(hash);
        let at = |place: usize| self.entries.get(place).map(|entry| entry.at);
        let busy = [own, own ^ 1].map(|place| self.is_under_way(place));
        match busy {
            [false, _] => own,
            [true, false] => own ^ 1,
            [true, true] if at(own ^ 1) < at(own) => own ^ 1,
            [true, true] => own,
        }
    }

    fn is_under_way(&self, place: usize) -> bool {
        self.under_way.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 != 0)
    }

    /// Has the place of a 4-tuple fetched from memory; what stands there is of no use.
    pub(super) fn fetch(&self, hash: u64) -> u64 {
        self.entries.get(place(hash)).map_or(0, |entry| entry.tag)
    }

    /// A handshake begins in a place.
    fn begin(&mut self, place: usize, new: Entry) -> Option<&mut Entry> {
        if let Some(word) = self.under_way.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
        let entry = self.entries.get_mut(place)?;
        *entry = new;
        Some(entry)
    }

    /// A segment with an ACK: the handshake that it completes.
    #[inline]
    pub(super) fn ack(&mut self, hash: u64, seq: u32) -> Option<Entry> {
        let pair = place(hash) & !1;
        let bits = self.under_way.get(pair / 64)? >> (pair % 64) & 0b11;
        if bits == 0 { None } else { self.complete(hash, seq) }
    }

    /// If the first ACK was not captured, data tell as well.
    fn complete(&mut self, hash: u64, seq: u32) -> Option<Entry> {
        const NEAR: u32 = 1 << 20;
        let place = self.held(hash)?;
        let entry = self.entries.get_mut(place)?;
        let next = match entry.kind {
            Kind::Syn | Kind::Answered => entry.number.wrapping_add(1),
            Kind::Unasked | Kind::Counted => entry.number,
            Kind::Complete => return None,
        };
        if seq.wrapping_sub(next) >= NEAR {
            return None;
        }
        let completed = *entry;
        entry.kind = Kind::Complete;
        if let Some(word) = self.under_way.get_mut(place / 64) {
            *word &= !(1 << (place % 64));
        }
        Some(completed)
    }

    /// What is known of a 4-tuple.
    pub(super) fn find(&mut self, hash: u64) -> Option<&mut Entry> {
        let place = self.held(hash)?;
        self.entries.get_mut(place)
    }

    /// Notes a SYN.
    pub(super) fn syn(
        &mut self,
        hash: u64,
        at: MonoNs,
        (isn, at_place): (u32, u32),
        destination: u32,
    ) -> Seen {
        let new = Entry { tag: hash | 1, at, number: isn, at_place, destination, kind: Kind::Syn };
        let held = self.held(hash);
        let known = held.and_then(|held| self.entries.get(held)).filter(|entry| {
            entry.number == isn && matches!(entry.kind, Kind::Syn | Kind::Answered | Kind::Complete)
        });
        if let Some(entry) = known {
            return if entry.at_place == at_place { Seen::Repeated } else { Seen::OtherDevice };
        }
        self.begin(held.unwrap_or_else(|| self.room(hash)), new);
        Seen::First
    }

    /// Notes a SYN-ACK that no SYN is known for; `None` if it has been noted.
    pub(super) fn unasked(
        &mut self,
        hash: u64,
        at: MonoNs,
        (ack, at_place): (u32, u32),
    ) -> Option<&mut Entry> {
        let held = self.held(hash);
        if let Some(entry) = held.and_then(|held| self.entries.get(held)) {
            let noted = entry.number == ack && matches!(entry.kind, Kind::Unasked | Kind::Counted);
            if (noted && entry.at_place != at_place) || entry.kind == Kind::Complete {
                return None;
            }
        }
        let (tag, kind) = (hash | 1, Kind::Unasked);
        let new = Entry { tag, at, number: ack, at_place, destination: 0, kind };
        self.begin(held.unwrap_or_else(|| self.room(hash)), new)
    }
}
