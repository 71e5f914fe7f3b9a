//! The handshake: SYN, SYN-ACK and the ACK that completes it.

use crate::capture::segment::Captured;
use crate::core::event::MonoNs;
use crate::core::record::{Oddity, PathRtt, Step};

use super::conversation::{Conversation, Next, Rival, Seen};
use super::end::{Base, End, Established, Position};
use super::key::Side;

impl Conversation {
    /// A SYN without ACK.
    pub(super) fn syn(&mut self, captured: &Captured, from: Side, seen: &mut Seen) -> Next {
        let (isn, at) = (captured.segment.seq, captured.at);
        let to = from.peer();
        seen.row = true;
        seen.step = Some(Step::Handshake(1));
        let untouched = self.over.is_none();
        let (mine, peers) = (*self.ends.of(from), *self.ends.of(to));
        let sender = self.ends.of_mut(from);
        if mine.syn.is_some() && mine.has_isn(isn) && untouched {
            if sender.twice.is_copy(captured, false) {
                seen.odd(Oddity::Duplicate);
                return Next::Stay;
            }
            sender.syn_again = sender.syn_again.saturating_add(1);
            seen.odd(Oddity::Retransmission);
            seen.news = true;
            return Next::Stay;
        }
        if self.over.is_some() {
            let known = mine.has_isn(isn);
            if known && sender.twice.is_copy(captured, false) {
                seen.odd(Oddity::Duplicate);
                return Next::Stay;
            }
            // Some systems go on after a refusal.
            if known && self.reset.is_some_and(|reset| reset.refused) {
                seen.odd(Oddity::Retransmission);
                return Next::Stay;
            }
            return Next::Renew;
        }
        if self.middle && !self.plausible {
            // What was seen so far was no connection.
            return Next::Renew;
        }
        if mine.based == Base::Unknown && peers.based == Base::Unknown {
            self.client = Some(from);
            self.note_syn(captured, from, seen);
            return Next::Stay;
        }
        if mine.syn.is_none() && peers.synack.is_some() && mine.position(isn) == 0 {
            // The SYN-ACK was captured before it.
            let sender = self.ends.of_mut(from);
            sender.based = Base::Syn;
            sender.syn = Some(at);
            note_options(sender, captured);
            seen.odd(Oddity::OutOfOrder);
            return Next::Stay;
        }
        if mine.based == Base::Unknown && peers.syn.is_some() && peers.synack.is_none() {
            self.simultaneous = true;
            self.note_syn(captured, from, seen);
            seen.odd(Oddity::SimultaneousOpen);
            return Next::Stay;
        }
        if mine.syn.is_some() && peers.based == Base::Unknown {
            // Nobody answered the SYN before; this is another attempt.
            return Next::Renew;
        }
        match &mut self.rival {
            Some(rival) if rival.side == from && rival.syn.segment.seq == isn => {
                if self.ends.of_mut(from).twice.is_copy(captured, false) {
                    seen.odd(Oddity::Duplicate);
                    return Next::Stay;
                }
                if rival.again > 0 {
                    // The third: its sender does not know of the connection, and neither answers.
                    return Next::Renew;
                }
                rival.again = rival.again.saturating_add(1);
                seen.odd(Oddity::Retransmission);
            }
            _ => {
                let rival = Rival { side: from, syn: *captured, again: 0 };
                self.rival = Some(Box::new(rival));
                self.ends.of_mut(from).twice.is_copy(captured, true);
            }
        }
        self.challenge = Some(to);
        seen.odd(Oddity::SynOnConnection);
        Next::Stay
    }

    fn note_syn(&mut self, captured: &Captured, from: Side, seen: &mut Seen) {
        let sender = self.ends.of_mut(from);
        sender.twice.is_copy(captured, true);
        sender.begin(captured.segment.seq, captured.payload_len);
        sender.syn = Some(captured.at);
        note_options(sender, captured);
        if captured.options.fast_open.is_some() {
            seen.odd(Oddity::FastOpen);
        }
        if captured.payload_len > 0 {
            seen.odd(Oddity::SynData);
            self.fast_open = true;
        }
        seen.news = true;
    }

    /// A connection that begins with a SYN seen before: the answer to it has come now.
    pub(super) fn begin_with(&mut self, rival: &Rival, seen: &mut Seen) {
        self.first = rival.syn.at;
        self.client = Some(rival.side);
        self.note_syn(&rival.syn, rival.side, seen);
        let sender = self.ends.of_mut(rival.side);
        sender.syn_again = rival.again;
        *seen = Seen::default();
    }

    /// A SYN-ACK.
    pub(super) fn syn_ack(&mut self, captured: &Captured, from: Side, seen: &mut Seen) -> Next {
        let (segment, at) = (&captured.segment, captured.at);
        let to = from.peer();
        seen.row = true;
        seen.step = Some(Step::Handshake(2));
        if let Some(rival) = &self.rival
            && rival.side == to
            && rival.is_acked_by(segment.ack)
        {
            return Next::Renew;
        }
        let (mine, peers) = (*self.ends.of(from), *self.ends.of(to));
        let sender = self.ends.of_mut(from);
        if mine.synack.is_some() && mine.has_isn(segment.seq) {
            if sender.twice.is_copy(captured, false) {
                seen.odd(Oddity::Duplicate);
                return Next::Stay;
            }
            sender.synack_again = sender.synack_again.saturating_add(1);
            seen.odd(Oddity::Retransmission);
            if self.over.is_some() {
                return Next::Stay;
            }
            seen.synack_again = !matches!(mine.established, Established::Sure(_));
            // What was to complete the handshake did not: it was lost, or not accepted.
            if !seen.synack_again {
                return Next::Stay;
            }
            sender.established = Established::No;
            let peer = self.ends.of_mut(to);
            if let Established::Passed(_) = peer.established {
                peer.established = Established::Passed(at);
            }
            return Next::Stay;
        }
        if self.over.is_some() || (self.middle && !self.plausible) {
            return Next::Renew;
        }
        let new = mine.based == Base::Unknown
            || (mine.syn.is_some() && mine.synack.is_none() && mine.has_isn(segment.seq))
            // Only acknowledged so far: what answered the SYN was not seen.
            || (mine.based == Base::Guessed && mine.segments == 0 && !self.middle);
        if !new {
            seen.step = None;
            seen.odd(Oddity::WrongAck);
            return Next::Stay;
        }
        if peers.based == Base::Unknown {
            self.ends.of_mut(to).guess(segment.ack);
            seen.odd(Oddity::BeginningUnseen);
        }
        let ack = self.ends.of(to).position(segment.ack);
        if ack < 1 || ack > self.ends.of(to).next {
            seen.step = None;
            seen.odd(Oddity::WrongAck);
            return Next::Stay;
        }
        let sender = self.ends.of_mut(from);
        sender.twice.is_copy(captured, true);
        if mine.based != Base::Syn {
            sender.begin(segment.seq, captured.payload_len);
        }
        sender.synack = Some(at);
        note_options(sender, captured);
        if captured.payload_len > 0 {
            seen.odd(Oddity::SynData);
        }
        if !self.simultaneous {
            self.client = Some(to);
        }
        let peer = self.ends.of_mut(to);
        if peer.next > 1 && ack == 1 {
            seen.odd(Oddity::SynDataRefused);
            self.fast_open = false;
        }
        peer.acknowledged(ack, at);
        if peer.established == Established::No {
            peer.established = Established::Passed(at);
        }
        seen.news = true;
        Next::Stay
    }

    /// A segment with ACK and without SYN: what it says about the handshake.
    pub(super) fn open_by_ack(&mut self, from: Side, ack: Position, at: MonoNs, seen: &mut Seen) {
        let to = from.peer();
        let fast_open = self.fast_open;
        let established = |side| self.ends.of(side).established;
        if let (Established::Sure(_), Established::Sure(_)) = (established(from), established(to)) {
            return;
        }
        let (mine, peers) = (*self.ends.of(from), *self.ends.of(to));
        if peers.synack.is_some() && peers.established == Established::No && ack >= 1 {
            self.ends.of_mut(to).established = Established::Passed(at);
            seen.row = true;
            seen.news = true;
            seen.step = Some(Step::Handshake(3));
            if self.ack.is_some() {
                seen.odd(Oddity::Retransmission);
            }
            self.ack = Some(at);
        }
        let sure = match mine.established {
            Established::Sure(_) => return,
            Established::Passed(when) => when,
            // The SYN-ACK it answers is not in the capture.
            Established::No if mine.syn.is_some() && peers.synack.is_none() && ack >= 1 => at,
            // Nothing but a SYN-ACK leaves a request: the ACK is not in the capture. With Fast Open
            // data may come before it.
            Established::No if mine.synack.is_some() && !fast_open => {
                if let Established::Passed(when) = peers.established {
                    self.ends.of_mut(to).established = Established::Sure(when);
                }
                at
            }
            Established::No => return,
        };
        self.ends.of_mut(from).established = Established::Sure(sure);
        seen.news = true;
    }

    /// The two halves of the handshake's round trip.
    pub(super) fn path_rtt(&self) -> PathRtt {
        let Some(client) = self.client.filter(|_| !self.simultaneous) else {
            return PathRtt::default();
        };
        let (client, server) = (self.ends.of(client), self.ends.of(client.peer()));
        let once = client.syn_again == 0 && server.synack_again == 0;
        let between = |from: Option<MonoNs>, to: Option<MonoNs>| {
            let (from, to) = (from?, to?);
            (once && from <= to).then(|| to.since(from))
        };
        PathRtt {
            syn_to_synack: between(client.syn, server.synack),
            synack_to_ack: between(server.synack, self.ack),
        }
    }
}

fn note_options(end: &mut End, captured: &Captured) {
    end.scale = captured.options.window_scale;
    end.mss = captured.options.mss.unwrap_or(0);
    end.window = captured.window;
    // Every segment carries them then (RFC 7323, 3.2), and they take the place of payload.
    if captured.options.timestamps.is_some() {
        end.mss = end.mss.saturating_sub(12);
    }
}
