//! From facts to events: what the socket of a local end would have told.
//!
//! A transition is told when it is sure, with the time at which its cause passed. So a client is
//! ESTABLISHED when the SYN-ACK passed that it then answered, and an end is in CLOSE_WAIT when the
//! FIN passed that it then acknowledged.

use tracer_common::state::TcpState;

use crate::core::event::{
    CaptureFacts, Event, ExistingSocket, Found, MonoNs, RequestEvent, SocketEvent, SynSeen,
};
use crate::core::record::Role;

use super::closing::First;
use super::conversation::Conversation;
use super::end::{Established, Fin};
use super::key::Side;

/// How far an end's life has been told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    Nothing,
    In(TcpState),
    Over,
}

/// A transition that is due.
struct Due {
    at: MonoNs,
    new: TcpState,
    err: i32,
}

impl Due {
    const fn to(new: TcpState, at: MonoNs) -> Self {
        Self { at, new, err: 0 }
    }
}

impl Conversation {
    /// Names an end's connection in the core's events.
    pub(super) const fn cookie(&self, side: Side) -> u64 {
        self.number * 2 + side.number() as u64
    }

    /// Which role an end has, where that was seen.
    pub(super) fn role(&self, side: Side) -> Option<Role> {
        let client = self.client?;
        Some(if self.simultaneous || client == side { Role::Client } else { Role::Server })
    }

    /// Tells everything of an end that is sure and has not been told.
    pub(super) fn tell(&mut self, side: Side, events: &mut Vec<Event>) {
        if *self.told.of(side) == Told::Nothing {
            self.begin_to_tell(side, events);
        }
        while let Told::In(state) = *self.told.of(side) {
            let unclear = self.reset.filter(|reset| reset.by != side && !reset.refused);
            if let (TcpState::SynSent, Established::No, Some(reset)) =
                (state, self.ends.of(side).established, unclear)
            {
                return self.end_unseen(side, reset.at, events);
            }
            let Some(due) = self.due(side, state) else {
                return;
            };
            if due.new == TcpState::Close {
                if self.reset.is_some_and(|reset| reset.by == side) {
                    events.push(Event::ResetSent(self.event(side, due.at, state, state)));
                }
                events.push(self.facts(side, true));
                *self.told.of_mut(side) = Told::Over;
            } else {
                *self.told.of_mut(side) = Told::In(due.new);
            }
            let mut event = self.event(side, due.at, state, due.new);
            event.sk_err = due.err;
            events.push(Event::Transition(event));
            if due.new == TcpState::Established {
                events.push(self.facts(side, false));
            }
        }
    }

    fn begin_to_tell(&mut self, side: Side, events: &mut Vec<Event>) {
        let (mine, peers) = (self.ends.of(side), self.ends.of(side.peer()));
        let told = if let Some(syn) = mine.syn {
            let event = self.event(side, syn, TcpState::Close, TcpState::SynSent);
            events.push(Event::Transition(event));
            Told::In(TcpState::SynSent)
        } else if let Some(synack) = mine.synack {
            match (mine.established, self.reset) {
                (Established::Sure(at), _) => {
                    // As a kernel tells of a child that leaves SYN_RECV.
                    let mut event = self.event(side, at, TcpState::SynRecv, TcpState::Established);
                    let first = peers.syn;
                    event.old_since = Some(first.unwrap_or(synack).min(at));
                    event.syn = first.map(|first| SynSeen { first, repeats: peers.syn_again });
                    events.push(Event::Transition(event));
                    events.push(self.facts(side, false));
                    Told::In(TcpState::Established)
                }
                (_, Some(reset)) => {
                    events.push(Event::RequestReset(self.request(side, reset.at)));
                    Told::Over
                }
                _ => Told::Nothing,
            }
        } else if self.middle && self.plausible {
            events.push(self.found(side, self.first, TcpState::Established));
            Told::In(TcpState::Established)
        } else if let (false, Some(synack), Established::Sure(_)) =
            (self.middle, peers.synack, mine.established)
        {
            // A SYN-ACK that nobody answers may be for a SYN that somebody else has sent.
            events.push(self.found(side, synack, TcpState::SynSent));
            Told::In(TcpState::SynSent)
        } else {
            Told::Nothing
        };
        *self.told.of_mut(side) = told;
    }

    /// The transition out of a state that is due, if one is.
    fn due(&self, side: Side, state: TcpState) -> Option<Due> {
        let by_segments = self.due_by_segments(side, state);
        by_segments.or_else(|| {
            let reset = self.reset?;
            let err = match state {
                _ if reset.by == side => 0,
                TcpState::SynSent if reset.refused => libc::ECONNREFUSED,
                TcpState::CloseWait => libc::EPIPE,
                _ => libc::ECONNRESET,
            };
            Some(Due { at: reset.at, new: TcpState::Close, err })
        })
    }

    fn due_by_segments(&self, side: Side, state: TcpState) -> Option<Due> {
        let (mine, peers) = (self.ends.of(side), self.ends.of(side.peer()));
        let fin = mine.fin;
        let acked = fin.and_then(|fin| fin.acked_at);
        let received = peers.fin.as_ref().and_then(Fin::received);
        let first = self.first_to_close();
        // What acknowledges this end's FIN was sent after the peer's: that has arrived, too.
        let before = |acked: Option<MonoNs>| {
            let fin = peers.fin.filter(|fin| fin.in_order && first == Some(First::Both))?;
            acked.filter(|acked| fin.last < *acked).map(|_| fin.last)
        };
        let peer_first = first == Some(First::One(side.peer()));
        let due = match state {
            TcpState::SynSent => match mine.established {
                Established::Sure(at) => Due::to(TcpState::Established, at),
                _ => {
                    mine.synack.filter(|_| self.simultaneous)?;
                    Due::to(TcpState::SynRecv, peers.syn?)
                }
            },
            TcpState::SynRecv => match mine.established {
                Established::Sure(at) => Due::to(TcpState::Established, at),
                _ => return None,
            },
            TcpState::Established if peer_first => Due::to(TcpState::CloseWait, received?),
            TcpState::Established => {
                first?;
                Due::to(TcpState::FinWait1, fin?.at)
            }
            TcpState::FinWait1 => match (acked, received.or(before(acked))) {
                (Some(acked), Some(received)) if received < acked => {
                    Due::to(TcpState::Closing, received)
                }
                (Some(acked), _) => Due::to(TcpState::FinWait2, acked),
                (None, Some(received)) => Due::to(TcpState::Closing, received),
                (None, None) => return None,
            },
            TcpState::FinWait2 => Due::to(TcpState::Close, received?),
            TcpState::CloseWait => Due::to(TcpState::LastAck, fin?.at),
            TcpState::Closing | TcpState::LastAck => Due::to(TcpState::Close, acked?),
            TcpState::Close | TcpState::Listen | TcpState::TimeWait => return None,
        };
        Some(due)
    }

    /// Nobody saw the end of the connection, but at `at` it was over.
    pub(super) fn end_unseen(&mut self, side: Side, at: MonoNs, events: &mut Vec<Event>) {
        if let Told::In(_) = self.told.of(side) {
            events.push(self.facts(side, false));
            events.push(Event::EndUnseen { cookie: self.cookie(side), at });
        }
        *self.told.of_mut(side) = Told::Over;
    }

    /// The connection is forgotten for want of memory.
    pub(super) fn forget(&mut self, side: Side, events: &mut Vec<Event>) {
        if let Told::In(_) = self.told.of(side) {
            events.push(Event::Forgotten { cookie: self.cookie(side) });
        }
        *self.told.of_mut(side) = Told::Over;
    }

    /// What a kernel tells of the request of a server whose SYN-ACK is sent again, or that is reset.
    pub(super) fn request(&self, server: Side, at: MonoNs) -> RequestEvent {
        let (mine, client) = (self.ends.of(server), self.ends.of(server.peer()));
        RequestEvent {
            at,
            netns: 0,
            local: self.key.socket(server),
            remote: self.key.socket(server.peer()),
            retransmits: u16::try_from(mine.synack_again).unwrap_or(u16::MAX),
            isn: client.isn(),
            syn_at: client.syn,
        }
    }

    fn event(&self, side: Side, at: MonoNs, old: TcpState, new: TcpState) -> SocketEvent {
        let peers = self.ends.of(side.peer()).fin.as_ref();
        SocketEvent {
            at,
            cookie: self.cookie(side),
            netns: 0,
            local: self.key.socket(side),
            remote: self.key.socket(side.peer()),
            old,
            new,
            old_since: None,
            syn: None,
            owner: None,
            cgroup: 0,
            tcp: None,
            sk_err: 0,
            fin_received: peers.and_then(Fin::received).is_some(),
            reset_received: self.reset.is_some_and(|reset| reset.by != side),
            fastopen_connect: false,
            orphaned: false,
            send_shutdown: false,
            v6only: false,
        }
    }

    fn found(&self, side: Side, at: MonoNs, state: TcpState) -> Event {
        Event::Found(Found {
            at,
            socket: ExistingSocket {
                cookie: self.cookie(side),
                netns: 0,
                local: self.key.socket(side),
                remote: self.key.socket(side.peer()),
                state,
                owner: None,
                cgroup: 0,
            },
            role: self.role(side),
        })
    }

    fn facts(&self, side: Side, ended: bool) -> Event {
        let (mine, peers) = (self.ends.of(side), self.ends.of(side.peer()));
        let path_rtt = self.path_rtt();
        let client = self.role(side) == Some(Role::Client);
        let server = self.role(side) == Some(Role::Server);
        // What began it, and whether what ended it was seen.
        let (began, seen) = match (client, self.simultaneous) {
            (true, true) => (mine.syn, true),
            (true, false) => (mine.syn, peers.synack.is_some()),
            (false, _) => (peers.syn, self.ack.is_some()),
        };
        let handshake = match mine.established {
            Established::Sure(at) if seen => began.map(|began| at.since(began)),
            _ => None,
        };
        let near = if client { path_rtt.syn_to_synack } else { path_rtt.synack_to_ack };
        let syns = if client { mine } else { peers };
        let established = matches!(mine.established, Established::Sure(_)) && !self.middle;
        Event::Captured(CaptureFacts {
            cookie: self.cookie(side),
            handshake,
            synack_rtt: near.filter(|_| self.near.has(side)),
            path_rtt,
            syn_retransmits: syns.syn.map(|_| syns.syn_again),
            synack_retransmits: (server && mine.synack.is_some()).then_some(mine.synack_again),
            bytes_sent: mine.payload_acked().filter(|_| ended),
            bytes_received: peers.payload_acked().filter(|_| ended),
            retransmits: (ended && established && mine.segments > 0).then_some(mine.retransmits),
            incomplete: mine.incomplete() || peers.incomplete(),
            closer_known: self.closer_is_known(),
        })
    }
}
