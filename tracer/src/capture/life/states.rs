//! The states of both ends (RFC 9293, 3.3.2), as far as the facts show them.

use tracer_common::state::TcpState;

use super::closing::First;
use super::conversation::Conversation;
use super::end::{End, Established, Fin};
use super::key::Side;

impl Conversation {
    /// The state of an end behind everything that has passed, if it all arrives; `None` where the
    /// capture does not show it.
    pub(super) fn state(&self, side: Side) -> Option<TcpState> {
        let (mine, peers) = (self.ends.of(side), self.ends.of(side.peer()));
        if self.reset.is_some() {
            return Some(TcpState::Close);
        }
        if self.middle && mine.segments == 0 {
            return None;
        }
        match mine.established {
            Established::No => self.opening_state(mine, peers),
            Established::Passed(_) | Established::Sure(_) => self.closing_state(side),
        }
    }

    fn opening_state(&self, mine: &End, peers: &End) -> Option<TcpState> {
        if mine.synack.is_some() || (mine.syn.is_some() && peers.syn.is_some()) {
            Some(TcpState::SynRecv)
        } else {
            mine.syn.map(|_| TcpState::SynSent)
        }
    }

    fn closing_state(&self, side: Side) -> Option<TcpState> {
        let (mine, peers) = (self.ends.of(side).fin, self.ends.of(side.peer()).fin);
        let acked = mine.is_some_and(|fin| fin.acked_at.is_some());
        let arrived = peers.is_some_and(|fin: Fin| fin.in_order || fin.acked_at.is_some());
        if mine.is_none() && peers.is_none() {
            return Some(TcpState::Established);
        }
        Some(match (self.first_to_close()?, arrived) {
            (First::One(first), _) if first != side => match (mine, arrived, acked) {
                (None, false, _) => TcpState::Established,
                (None, true, _) => TcpState::CloseWait,
                (Some(_), _, false) => TcpState::LastAck,
                (Some(_), _, true) => TcpState::Close,
            },
            (_, true) if acked => TcpState::TimeWait,
            (_, true) => TcpState::Closing,
            (_, false) if acked => TcpState::FinWait2,
            (_, false) => TcpState::FinWait1,
        })
    }

    /// Whether both ends are closed, or have nothing left to do but to wait in TIME_WAIT.
    pub(super) fn is_over(&self) -> bool {
        let over = |side| matches!(self.state(side), Some(TcpState::Close | TcpState::TimeWait));
        self.reset.is_some() || (over(Side::Low) && over(Side::High))
    }
}
