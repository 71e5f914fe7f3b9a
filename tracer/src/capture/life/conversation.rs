//! A connection as its segments show it: facts about both ends.
//!
//! States are not kept but follow from the facts ([`super::states`]): a capture may show them in any
//! order, and some only later.

use tracer_common::packet::tcp_flags::{ACK, FIN, RST, SYN};

use crate::capture::segment::Captured;
use crate::core::event::MonoNs;
use crate::core::record::{Oddities, Oddity, Step};

use super::end::{Base, End, Established, Placed, Position};
use super::key::{Key, Pair, Side};
use super::tell::Told;

/// Ends that a connection is told from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Sides(u8);

impl Sides {
    pub(super) const NONE: Self = Self(0);
    pub(super) const BOTH: Self = Self(3);

    pub(super) const fn one(side: Side) -> Self {
        Self(1 << side.number())
    }

    pub(super) const fn and(self, side: Side) -> Self {
        Self(self.0 | Self::one(side).0)
    }

    pub(super) const fn has(self, side: Side) -> bool {
        self.0 & Self::one(side).0 != 0
    }
}

/// What a connection is worth when there is no room: the least goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Class {
    /// It is over.
    Over,
    /// Half-open, or too little seen to be sure that it is a connection.
    Tentative,
    Open,
}

/// A RST that ended the connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reset {
    pub(super) by: Side,
    pub(super) at: MonoNs,
    /// It answered the SYN.
    pub(super) refused: bool,
}

/// A SYN on a connection that is there: whether another one begins shows the answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rival {
    pub(super) side: Side,
    pub(super) syn: Captured,
    pub(super) again: u32,
}

impl Rival {
    /// Whether an acknowledgement number is that of the SYN, with its data or without.
    pub(super) fn is_acked_by(&self, ack: u32) -> bool {
        let beyond = ack.wrapping_sub(self.syn.segment.seq);
        (1..=1 + self.syn.payload_len).contains(&beyond)
    }
}

/// What a segment turned out to be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// It is a control segment: a row of `--segments`.
    pub(super) row: bool,
    pub(super) step: Option<Step>,
    pub(super) odd: Oddities,
    /// Facts have changed that a state may depend on.
    pub(super) news: bool,
    /// A SYN-ACK was sent again.
    pub(super) synack_again: bool,
}

impl Seen {
    pub(super) const fn odd(&mut self, oddity: Oddity) {
        self.row = true;
        self.odd.add(oddity);
    }
}

/// What is to be done with the connection after a segment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// It goes on.
    Stay,
    /// The segment is the first of another connection of the same addresses and ports; this one is
    /// over.
    Renew,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conversation {
    /// Counted from 1 in the order of first segments.
    pub(super) number: u64,
    pub(super) last: MonoNs,
    pub(super) class: Class,
    pub(super) told: Pair<Told>,
    pub(super) key: Key,
    pub(super) ends: Pair<End>,
    /// Who opened it, where that was seen.
    pub(super) client: Option<Side>,
    pub(super) simultaneous: bool,
    /// Its beginning was not seen.
    pub(super) middle: bool,
    /// Of one from the middle: enough was seen to be sure that it is a connection.
    pub(super) plausible: bool,
    /// `None`: not decided yet.
    pub(super) local: Option<Sides>,
    /// Ends at which the capture was taken.
    pub(super) near: Sides,
    pub(super) first: MonoNs,
    /// The ACK that completes the handshake.
    pub(super) ack: Option<MonoNs>,
    pub(super) fast_open: bool,
    pub(super) reset: Option<Reset>,
    /// A RST that may have ended it or not.
    pub(super) doubtful_reset: Option<MonoNs>,
    /// The end that owes a challenge ACK.
    pub(super) challenge: Option<Side>,
    pub(super) rival: Option<Box<Rival>>,
    /// Both ends are closed, or in TIME_WAIT.
    pub(super) over: Option<MonoNs>,
    /// It waits for time to pass ([`super::settle`]).
    pub(super) settling: bool,
}

impl Conversation {
    pub(super) const fn new(number: u64, key: Key, at: MonoNs) -> Self {
        Self {
            number,
            last: at,
            class: Class::Tentative,
            told: Pair::new(Told::Nothing, Told::Nothing),
            key,
            ends: Pair::new(End::NEW, End::NEW),
            client: None,
            simultaneous: false,
            middle: false,
            plausible: false,
            local: None,
            near: Sides::NONE,
            first: at,
            ack: None,
            fast_open: false,
            reset: None,
            doubtful_reset: None,
            challenge: None,
            rival: None,
            over: None,
            settling: false,
        }
    }

    /// Takes in a segment that `from` sent.
    pub(super) fn take(&mut self, captured: &Captured, from: Side, seen: &mut Seen) -> Next {
        self.last = captured.at;
        let flags = captured.segment.flags;
        if flags & RST != 0 {
            return self.reset(captured, from, seen);
        }
        match (flags & SYN != 0, flags & ACK != 0) {
            (true, false) => self.syn(captured, from, seen),
            (true, true) => self.syn_ack(captured, from, seen),
            (false, true) => self.ordinary(captured, from, seen),
            // Only a SYN or a RST is a segment without ACK (RFC 9293, 3.10.7.4).
            (false, false) => Next::Stay,
        }
    }

    /// The receive window an end announced last, bytes. Both SYNs must have been seen: they decide
    /// whether windows are scaled (RFC 7323, 2.2).
    pub(super) fn window(&self, side: Side) -> Option<u32> {
        let (end, peer) = (self.ends.of(side), self.ends.of(side.peer()));
        if end.based != Base::Syn || peer.based != Base::Syn {
            return None;
        }
        let shift = end.scale.filter(|_| peer.scale.is_some()).unwrap_or(0).min(14);
        Some(u32::from(end.window) << shift)
    }

    /// The shortest time after which a missing segment was sent again and not merely late: most of
    /// the round trip the handshake took, else 3 ms, as Wireshark has it.
    fn too_late(&self) -> u64 {
        let round_trip = self.path_rtt();
        match (round_trip.syn_to_synack, round_trip.synack_to_ack) {
            (Some(there), Some(back)) => (there + back) / 4 * 3,
            _ => 3_000_000,
        }
    }

    /// How many segments the sender's socket counts: what is larger than a segment may be was cut up
    /// behind the capture point (segmentation offload).
    fn segments(&self, from: Side, payload: u32) -> u32 {
        let mss = |side| self.ends.of(side).mss;
        match mss(from).min(mss(from.peer())) {
            0 => 1,
            mss => payload.div_ceil(u32::from(mss)).max(1),
        }
    }

    fn ordinary(&mut self, captured: &Captured, from: Side, seen: &mut Seen) -> Next {
        let (segment, at) = (&captured.segment, captured.at);
        let fin = segment.flags & FIN != 0;
        if let Some(rival) = &self.rival
            && rival.side == from
            && segment.seq == rival.syn.segment.seq.wrapping_add(1)
            && self.ends.of(from).position(segment.seq) != self.ends.of(from).next
        {
            // The answer to that SYN is not in the capture.
            return Next::Renew;
        }
        let to = from.peer();
        if self.ends.of(from).based == Base::Unknown {
            self.ends.of_mut(from).guess(segment.seq);
        }
        if self.ends.of(to).based == Base::Unknown {
            self.ends.of_mut(to).guess(segment.ack);
        }
        let mut begin = self.ends.of(from).position(segment.seq);
        let mut ack = self.ends.of(to).position(segment.ack);
        if !self.fits(from, begin, captured, ack) {
            if !self.ends.of_mut(from).stray(segment.seq) {
                return Next::Stay;
            }
            begin = self.ends.of(from).position(segment.seq);
            if !self.fits(from, begin, captured, ack) {
                self.ends.of_mut(to).guess(segment.ack);
                ack = self.ends.of(to).position(segment.ack);
            }
        }
        let end = begin + i64::from(captured.payload_len) + i64::from(fin);
        let placed = self.ends.of(from).locate(begin, end);
        let peer = self.ends.of(to);
        let acks = ack > peer.acked || !peer.acked_known;
        let sender = self.ends.of_mut(from);
        let news = placed.advances() || acks || captured.window != sender.window;
        if sender.twice.is_copy(captured, news) {
            if fin && sender.fin.is_some() {
                seen.odd(Oddity::Duplicate);
                seen.step = self.step_of_fin(from);
            }
            return Next::Stay;
        }
        sender.segments = sender.segments.saturating_add(1);
        self.ends.of_mut(to).keepalive = false;
        if self.over.is_some() {
            self.after_the_end(captured, from, ack, seen);
            return Next::Stay;
        }
        self.open_by_ack(from, ack, at, seen);
        self.acknowledge(from, ack, at, seen);
        let probe = captured.payload_len <= 1
            && !fin
            && begin == self.ends.of(from).next - 1
            && !matches!(placed, Placed::Missing(_))
            && self.ends.of(from).established != Established::No;
        if probe {
            self.probe(from, captured.payload_len, placed, seen);
        } else {
            self.place(captured, from, (begin, end), placed, seen);
        }
        if fin {
            self.fin(from, end - 1, ack, at, placed, seen);
        }
        self.note_window(captured, from, seen);
        if self.challenge == Some(from) {
            self.challenge = None;
            // It is still there.
            self.doubtful_reset = None;
            if placed == Placed::Nowhere {
                seen.odd(Oddity::ChallengeAck);
            }
        }
        if self.middle && !self.plausible {
            self.plausible = self.is_plausible(from);
            seen.news |= self.plausible;
        }
        Next::Stay
    }

    /// Whether the numbers of a segment can be those of this connection.
    fn fits(&self, from: Side, begin: Position, captured: &Captured, ack: Position) -> bool {
        let to = from.peer();
        let end = begin + i64::from(captured.payload_len);
        self.ends.of(from).can_have_sent(begin, end, self.window(to))
            && self.ends.of(to).can_have_sent(ack, ack, self.window(from))
    }

    /// Segments both ways, or several that go on from one another.
    fn is_plausible(&self, from: Side) -> bool {
        let (end, peer) = (self.ends.of(from), self.ends.of(from.peer()));
        peer.segments > 0 || (end.segments >= 3 && end.next > 1)
    }

    /// Payload and FIN take their place.
    fn place(
        &mut self,
        captured: &Captured,
        from: Side,
        (begin, end): (Position, Position),
        placed: Placed,
        seen: &mut Seen,
    ) {
        let at = captured.at;
        let count = self.segments(from, captured.payload_len);
        let too_late = self.too_late();
        let to = from.peer();
        let half_closed = self.ends.of(to).fin.is_some_and(|fin| fin.acked_at.is_some());
        let sender = self.ends.of_mut(from);
        let again = match placed {
            Placed::Nowhere => {
                if begin > sender.next {
                    sender.sent_unseen(begin, at);
                }
                return;
            }
            Placed::Again => true,
            Placed::Missing(since) => at.since(since) >= too_late,
            Placed::New => begin < sender.next,
            Placed::AfterGap => false,
        };
        if again {
            sender.retransmits = sender.retransmits.saturating_add(count);
        }
        match placed {
            _ if again => seen.odd.add(Oddity::Retransmission),
            Placed::Missing(_) => seen.odd.add(Oddity::OutOfOrder),
            Placed::AfterGap => seen.odd.add(Oddity::Gap),
            _ => {}
        }
        let fin = captured.segment.flags & FIN != 0;
        sender.sent(begin, end, fin, at);
        if captured.payload_len > 0 && placed.advances() {
            sender.data_after_fin |= half_closed;
            // It shows that the sender had not closed before: who closes first may depend on it.
            seen.news |= self.ends.of(to).fin.is_some();
        }
    }

    /// A keepalive, or a probe of a closed window: the byte before the next one.
    fn probe(&mut self, from: Side, payload: u32, placed: Placed, seen: &mut Seen) {
        let closed = self.ends.of(from.peer()).zero_window;
        let sender = self.ends.of_mut(from);
        if payload > 0 && placed == Placed::Again && sender.next > sender.acked && !closed {
            // The last byte is not acknowledged yet: that is no probe.
            sender.retransmits = sender.retransmits.saturating_add(1);
            return;
        }
        if payload == 0 && placed == Placed::Nowhere && self.challenge == Some(from) {
            return;
        }
        if sender.keepalive {
            seen.odd(if closed { Oddity::ZeroWindowProbe } else { Oddity::KeepaliveUnanswered });
        }
        sender.keepalive = true;
    }

    fn note_window(&mut self, captured: &Captured, from: Side, seen: &mut Seen) {
        let sender = self.ends.of_mut(from);
        sender.window = captured.window;
        let zero = captured.window == 0;
        if zero != sender.zero_window {
            sender.zero_window = zero;
            // Who has closed both directions reads nothing any more.
            if sender.fin.is_none() {
                seen.odd(if zero { Oddity::ZeroWindow } else { Oddity::WindowOpened });
            }
        }
    }
}
