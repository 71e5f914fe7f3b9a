//! One end of a connection: the numbers it has used, and what the other has acknowledged.
//!
//! Sequence numbers are kept as positions: 64 bits that never wrap, the SYN at 0. What the segments
//! of 32-bit numbers mean is found from the newest position, modulo 2^32 (RFC 9293, 3.4).

use crate::core::event::MonoNs;

use super::holes::Holes;
use super::twice::Twice;

/// A place in the sequence space of an end: its SYN is 0, its first byte 1.
pub(super) type Position = i64;

/// The largest window there is (RFC 7323, 2.3): where the scale is not known, nothing within it can
/// be called impossible.
const LARGEST_WINDOW: i64 = 1 << 30;
/// A window of the past, a lost ACK: less than this beyond the window is not yet impossible.
const SLACK: i64 = 1 << 20;
/// So many segments in a row that fit nowhere: it is the numbers known so far that are wrong.
const STRAYS: u8 = 8;

/// Where position 0 is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Base {
    /// No number of this end has been seen.
    Unknown,
    /// The SYN was not seen: counted from the first number seen.
    Guessed,
    /// The SYN was seen.
    Syn,
}

/// Where a stretch of sequence space lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Placed {
    /// It takes no sequence space.
    Nowhere,
    /// Next in order.
    New,
    /// New, and something before it is missing.
    AfterGap,
    /// It was missing until now, since that moment.
    Missing(MonoNs),
    /// It has been seen before.
    Again,
}

impl Placed {
    /// Whether it brings something that was not seen before.
    pub(super) const fn advances(self) -> bool {
        matches!(self, Self::New | Self::AfterGap | Self::Missing(_))
    }
}

/// When an end entered ESTABLISHED.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Established {
    No,
    /// What leads there has passed; that it arrived is not shown yet.
    Passed(MonoNs),
    /// The end has shown it.
    Sure(MonoNs),
}

/// A FIN.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fin {
    /// Its place in the sequence space.
    pub(super) position: Position,
    /// When it was seen first.
    pub(super) at: MonoNs,
    /// When it was seen last.
    pub(super) last: MonoNs,
    /// What it acknowledged of the peer, when it was seen first.
    pub(super) ack: Position,
    /// When it was acknowledged.
    pub(super) acked_at: Option<MonoNs>,
    /// Nothing before it was missing when it passed.
    pub(super) in_order: bool,
    /// It counts as received although nobody has acknowledged it.
    pub(super) settled: bool,
    /// It was sent again, and that has not been answered.
    pub(super) asked: bool,
}

impl Fin {
    /// When the peer received it, as far as that is shown.
    pub(super) fn received(&self) -> Option<MonoNs> {
        match self.acked_at {
            Some(acked) if self.in_order => Some(self.last.min(acked)),
            Some(acked) => Some(acked),
            None => self.settled.then_some(self.at),
        }
    }
}

/// What is known of an end by the segments it sent and those it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    base: u32,
    pub(super) based: Base,
    /// One behind the highest position used.
    pub(super) next: Position,
    /// One behind the highest position acknowledged by the peer.
    pub(super) acked: Position,
    /// The peer has acknowledged anything.
    pub(super) acked_known: bool,
    /// The highest position used is known not to have been a FIN.
    pub(super) open: bool,
    holes: Holes,
    /// Something was acknowledged that the capture does not have.
    missing: bool,
    strays: u8,
    /// Segments it sent.
    pub(super) segments: u32,
    /// Shift of its windows; known only from its SYN.
    pub(super) scale: Option<u8>,
    /// Window it announced last, as on the wire.
    pub(super) window: u16,
    pub(super) mss: u16,
    /// Segments sent again after the handshake.
    pub(super) retransmits: u32,
    /// Its SYN without ACK.
    pub(super) syn: Option<MonoNs>,
    pub(super) syn_again: u32,
    /// Its SYN-ACK.
    pub(super) synack: Option<MonoNs>,
    pub(super) synack_again: u32,
    pub(super) established: Established,
    pub(super) fin: Option<Fin>,
    /// The window it announced last is closed.
    pub(super) zero_window: bool,
    /// It has sent a keepalive that nothing has answered.
    pub(super) keepalive: bool,
    /// It sent data after the peer's FIN.
    pub(super) data_after_fin: bool,
    pub(super) twice: Twice,
}

impl End {
    pub(super) const NEW: Self = Self {
        base: 0,
        based: Base::Unknown,
        next: 0,
        acked: 0,
        acked_known: false,
        open: false,
        holes: Holes::NONE,
        missing: false,
        strays: 0,
        segments: 0,
        scale: None,
        window: 0,
        mss: 0,
        retransmits: 0,
        syn: None,
        syn_again: 0,
        synack: None,
        synack_again: 0,
        established: Established::No,
        fin: None,
        zero_window: false,
        keepalive: false,
        data_after_fin: false,
        twice: Twice::NEW,
    };

    /// Its SYN has this number; `data`: bytes with it.
    pub(super) fn begin(&mut self, isn: u32, data: u32) {
        self.base = isn;
        self.based = Base::Syn;
        self.next = 1 + i64::from(data);
        self.open = true;
    }

    /// The first number seen of it: its next byte has the number `seq`.
    pub(super) fn guess(&mut self, seq: u32) {
        self.base = seq.wrapping_sub(1);
        self.based = Base::Guessed;
        self.next = 1;
        self.acked = 1;
    }

    /// The number of position 0.
    pub(super) const fn isn(&self) -> u32 {
        self.base
    }

    /// Whether its SYN has this number.
    pub(super) const fn has_isn(&self, isn: u32) -> bool {
        matches!(self.based, Base::Syn) && self.base == isn
    }

    /// The place of a number, the one nearest to what was sent last.
    pub(super) const fn position(&self, seq: u32) -> Position {
        let newest = self.base.wrapping_add(self.next as u32);
        self.next + seq.wrapping_sub(newest).cast_signed() as i64
    }

    /// Whether the end can have sent this; `window`: what the peer takes, where that is known.
    pub(super) fn can_have_sent(&self, from: Position, to: Position, window: Option<u32>) -> bool {
        let window = window.map_or(LARGEST_WINDOW, |window| i64::from(window) + SLACK);
        from <= self.next + window && to >= self.next - LARGEST_WINDOW
    }

    /// A segment that fits nowhere. After several in a row it is taken at its word: the capture has
    /// missed more than can be made up for.
    pub(super) fn stray(&mut self, seq: u32) -> bool {
        self.strays += 1;
        if self.strays < STRAYS {
            return false;
        }
        self.strays = 0;
        self.base = seq.wrapping_sub(self.next as u32);
        self.based = Base::Guessed;
        self.holes = Holes::NONE;
        self.missing = true;
        self.open = false;
        self.acked = self.next;
        true
    }

    /// Where the positions from `from` up to `to` lie; changes nothing.
    pub(super) fn locate(&self, from: Position, to: Position) -> Placed {
        if from == to {
            Placed::Nowhere
        } else if from > self.next {
            Placed::AfterGap
        } else if to > self.next {
            Placed::New
        } else {
            self.holes.since(from, to).map_or(Placed::Again, Placed::Missing)
        }
    }

    /// Notes that it sent the positions from `from` up to `to`, the last of them a FIN or not.
    pub(super) fn sent(&mut self, from: Position, to: Position, fin: bool, at: MonoNs) {
        self.strays = 0;
        if from > self.next {
            self.missing |= self.holes.add(self.next, from, at, self.acked);
        } else if from < self.next {
            self.holes.fill(from, to);
        }
        self.next = self.next.max(to);
        if to == self.next && to > from {
            self.open = !fin;
        }
    }

    /// It has sent everything before `to`, or it would not use that number: some of it unseen.
    pub(super) fn sent_unseen(&mut self, to: Position, at: MonoNs) {
        self.missing |= self.holes.add(self.next, to, at, self.acked);
        self.next = to;
        self.open = false;
    }

    /// The peer has acknowledged everything before `to`. Returns whether that is news, and whether
    /// it was not seen being sent.
    pub(super) fn acknowledged(&mut self, to: Position, at: MonoNs) -> (bool, bool) {
        let unseen = to > self.next;
        if unseen {
            self.sent_unseen(to, at);
        }
        let news = to > self.acked || !self.acked_known;
        self.acked_known = true;
        self.acked = self.acked.max(to);
        (news, unseen)
    }

    /// Nothing before `position` is missing that the peer may not have, either.
    pub(super) fn complete_until(&self, position: Position) -> bool {
        !self.holes.any_between(self.acked, position)
    }

    /// Something that was acknowledged is not in the capture.
    pub(super) fn incomplete(&self) -> bool {
        self.missing || self.holes.any_before(self.acked)
    }

    /// Payload acknowledged, bytes; `None` where its beginning is not known.
    pub(super) fn payload_acked(&self) -> Option<u64> {
        let fin = self.fin.filter(|fin| fin.acked_at.is_some()).map_or(0, |_| 1);
        match self.based {
            Base::Syn => u64::try_from((self.acked - 1 - fin).max(0)).ok(),
            Base::Unknown => Some(0),
            Base::Guessed => None,
        }
    }
}
