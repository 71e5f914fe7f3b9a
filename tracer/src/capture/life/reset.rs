//! RSTs, and whether they end anything.

use tracer_common::packet::tcp_flags::ACK;

use crate::capture::segment::Captured;
use crate::core::record::Oddity;

use super::conversation::{Conversation, Next, Reset, Seen};
use super::end::{Base, Established};
use super::key::Side;

impl Conversation {
    /// A RST that `from` sent.
    ///
    /// It counts where its number can be the next one that the peer expects (RFC 5961, 3.2): that
    /// is between what the peer has acknowledged and what was sent. In SYN_SENT it has to
    /// acknowledge the SYN (RFC 9293, 3.10.7.3).
    pub(super) fn reset(&mut self, captured: &Captured, from: Side, seen: &mut Seen) -> Next {
        let (segment, at) = (&captured.segment, captured.at);
        let to = from.peer();
        let acks = segment.flags & ACK != 0;
        seen.row = true;
        if let Some(rival) = &self.rival
            && rival.side == to
            && acks
            && rival.is_acked_by(segment.ack)
        {
            return Next::Renew;
        }
        let (mine, peers) = (*self.ends.of(from), *self.ends.of(to));
        let copy = |this: &mut Self, news| this.ends.of_mut(from).twice.is_copy(captured, news);
        if self.over.is_some() {
            seen.odd(if copy(self, false) { Oddity::Duplicate } else { Oddity::ResetAfterEnd });
            return Next::Stay;
        }
        if peers.syn.is_some() && peers.established == Established::No && mine.synack.is_none() {
            let ack = peers.position(segment.ack);
            if acks && (1..=peers.next).contains(&ack) {
                copy(self, true);
                // So it is made where nobody listens (RFC 9293, 3.10.7.1). With a number of its own it
                // may come from a connection whose SYN-ACK is not in the capture.
                let refused = mine.syn.is_none() && segment.seq == 0;
                self.reset = Some(Reset { by: from, at, refused });
                seen.news = true;
                if refused {
                    seen.odd(Oddity::Refused);
                }
            } else if mine.based == Base::Unknown {
                seen.odd(Oddity::ResetOutOfWindow);
            }
            return Next::Stay;
        }
        if mine.based == Base::Unknown {
            return Next::Stay;
        }
        let position = mine.position(segment.seq);
        let expected = if mine.acked_known { mine.acked.min(mine.next) } else { mine.next };
        if (expected..=mine.next).contains(&position) {
            copy(self, true);
            self.note_received(captured, from);
            self.reset = Some(Reset { by: from, at, refused: false });
            self.plausible |= self.middle && peers.next > 1;
            seen.news = true;
            if mine.fin.is_some() && peers.data_after_fin {
                seen.odd(Oddity::DataAfterClose);
            }
            return Next::Stay;
        }
        if copy(self, false) {
            seen.odd(Oddity::Duplicate);
            return Next::Stay;
        }
        let window = self.window(to).map_or(i64::from(u16::MAX), i64::from);
        if position > expected && position < expected + window {
            seen.odd(Oddity::ResetInexact);
            self.doubtful_reset = Some(at);
            self.challenge = Some(to);
        } else {
            seen.odd(Oddity::ResetOutOfWindow);
        }
        Next::Stay
    }

    /// What has passed before a RST has arrived, unless the RST shows that it has not.
    fn note_received(&mut self, captured: &Captured, from: Side) {
        let to = from.peer();
        // Who opens and resets instead of completing the handshake was no longer there.
        let opener = self.client == Some(from) && !self.simultaneous;
        for side in Side::BOTH {
            let end = self.ends.of_mut(side);
            if let Established::Passed(at) = end.established
                && !(opener && side == from)
            {
                end.established = Established::Sure(at);
            }
        }
        if let Some(fin) = &mut self.ends.of_mut(from).fin {
            fin.settled = fin.in_order;
        }
        let acked = (captured.segment.flags & ACK != 0)
            .then(|| self.ends.of(to).position(captured.segment.ack));
        if let Some(fin) = &mut self.ends.of_mut(to).fin {
            fin.settled = fin.in_order && acked.is_none_or(|acked| acked > fin.position);
        }
    }
}
