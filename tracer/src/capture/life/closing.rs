//! The close: FINs, their acknowledgements, and who was first.

use crate::capture::segment::Captured;
use crate::core::event::MonoNs;
use crate::core::record::{Oddity, Step};
use tracer_common::packet::tcp_flags::FIN;

use super::conversation::{Conversation, Seen};
use super::end::{Fin, Placed, Position};
use super::key::Side;

/// Who sent its FIN before it had received the other's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum First {
    One(Side),
    /// Neither had received the other's.
    Both,
}

impl Conversation {
    /// Who closed first; `None` while nobody has, or where the capture does not show it.
    ///
    /// A FIN's acknowledgement number says whether its sender had received the other's FIN by then:
    /// this is so wherever the capture was taken. Of a lone FIN it can only be told if all that the
    /// other end sent is known to have been something else.
    pub(super) fn first_to_close(&self) -> Option<First> {
        let (low, high) = (self.ends.of(Side::Low), self.ends.of(Side::High));
        match (&low.fin, &high.fin) {
            (Some(of_low), Some(of_high)) => Some(if of_low.ack > of_high.position {
                First::One(Side::High)
            } else if of_high.ack > of_low.position {
                First::One(Side::Low)
            } else {
                First::Both
            }),
            (Some(_), None) => high.open.then_some(First::One(Side::Low)),
            (None, Some(_)) => low.open.then_some(First::One(Side::High)),
            (None, None) => None,
        }
    }

    /// Whether what has been told of who closed first stands.
    pub(super) fn closer_is_known(&self) -> bool {
        let fins = || Side::BOTH.into_iter().filter_map(|side| self.ends.of(side).fin);
        match self.first_to_close() {
            Some(First::One(_)) => true,
            // Of FINs that cross, one that came with a gap may have been late itself.
            Some(First::Both) => fins().all(|fin| fin.in_order),
            None => fins().next().is_none(),
        }
    }

    /// Which step of the close a FIN of this side is.
    pub(super) fn step_of_fin(&self, side: Side) -> Option<Step> {
        let first = match self.first_to_close()? {
            First::One(first) => first == side,
            First::Both => {
                let at = |side| self.ends.of(side).fin.map(|fin| fin.at);
                (at(side), side.number()) <= (at(side.peer()), side.peer().number())
            }
        };
        Some(Step::Close(if first { 1 } else { 3 }))
    }

    /// Which step the acknowledgement of this side's FIN is.
    fn step_of_fin_ack(&self, side: Side) -> Option<Step> {
        match self.step_of_fin(side)? {
            Step::Close(step) => Some(Step::Close(step + 1)),
            other => Some(other),
        }
    }

    /// `from` acknowledges everything of its peer before `ack`.
    pub(super) fn acknowledge(&mut self, from: Side, ack: Position, at: MonoNs, seen: &mut Seen) {
        let to = from.peer();
        let (_, unseen) = self.ends.of_mut(to).acknowledged(ack, at);
        if unseen {
            seen.odd.add(Oddity::AcksUnseen);
        }
        let Some(fin) = &mut self.ends.of_mut(to).fin else {
            return;
        };
        if ack <= fin.position {
            return;
        }
        if fin.acked_at.is_none() {
            fin.acked_at = Some(at);
            seen.news = true;
        } else if fin.asked {
            seen.odd.add(Oddity::Retransmission);
        } else {
            return;
        }
        fin.asked = false;
        seen.row = true;
        seen.step = self.step_of_fin_ack(to);
    }

    /// `from` sends a FIN.
    pub(super) fn fin(
        &mut self,
        from: Side,
        position: Position,
        ack: Position,
        at: MonoNs,
        placed: Placed,
        seen: &mut Seen,
    ) {
        // What it acknowledged, if that is the peer's FIN.
        let acked = seen.step.filter(|step| matches!(step, Step::Close(_)));
        let sender = self.ends.of_mut(from);
        match &mut sender.fin {
            Some(fin) => {
                if fin.position == position {
                    fin.last = at;
                    fin.settled = false;
                    fin.asked = true;
                    seen.odd(Oddity::Retransmission);
                    seen.step = self.step_of_fin(from);
                }
                return;
            }
            None => {
                let in_order = sender.complete_until(position);
                sender.fin = Some(Fin {
                    position,
                    at,
                    last: at,
                    ack,
                    acked_at: None,
                    in_order,
                    settled: false,
                    asked: false,
                });
            }
        }
        seen.row = true;
        seen.news = true;
        seen.step = self.step_of_fin(from);
        if placed == Placed::AfterGap {
            seen.odd(Oddity::Gap);
        }
        if self.first_to_close() == Some(First::Both) {
            seen.odd(Oddity::SimultaneousClose);
        } else if seen.step == Some(Step::Close(3)) {
            if acked.is_some() {
                seen.step = Some(Step::CloseTwoInOne);
                seen.odd(Oddity::AckWithFin);
            } else if self.ends.of(from).data_after_fin {
                seen.odd(Oddity::HalfClose);
            }
        }
        // An acknowledgement that the capture showed before the FIN itself.
        let peer_acked = self.ends.of(from).acked;
        if let Some(fin) = &mut self.ends.of_mut(from).fin
            && peer_acked > position
        {
            fin.acked_at = Some(at);
        }
    }

    /// A segment of a connection whose ends are closed: a FIN that was sent again, and the answer.
    pub(super) fn after_the_end(
        &mut self,
        captured: &Captured,
        from: Side,
        ack: Position,
        seen: &mut Seen,
    ) {
        let step = self.step_of_fin(from);
        let step_of_ack = self.step_of_fin_ack(from.peer());
        if captured.segment.flags & FIN != 0
            && let Some(fin) = &mut self.ends.of_mut(from).fin
        {
            fin.asked = true;
            seen.odd(Oddity::Retransmission);
            seen.step = step;
        } else if let Some(fin) = &mut self.ends.of_mut(from.peer()).fin
            && fin.asked
            && ack > fin.position
        {
            fin.asked = false;
            seen.odd(Oddity::Retransmission);
            seen.step = step_of_ack;
        }
    }
}
