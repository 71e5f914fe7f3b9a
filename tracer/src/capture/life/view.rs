//! Whose point of view a connection is told from.

use std::collections::HashSet;
use std::net::IpAddr;

use tracer_common::addr::Addr;

use crate::capture::segment::{Captured, Direction};
use crate::core::Prefix;

use super::conversation::{Conversation, Sides};
use super::key::{Key, Side};

/// Most listeners remembered; which ones is for the capture to say, so there is a limit.
const MOST_LISTENERS: usize = 65_536;
/// Most addresses of interfaces remembered.
const MOST_ADDRESSES: usize = 4096;

/// What tells local ends from remote ones.
pub(super) struct View {
    /// What the user calls local; it goes before everything else.
    told: Vec<Prefix>,
    /// Addresses of the interfaces the capture was taken at.
    here: HashSet<IpAddr>,
    /// Where a SYN-ACK has come from.
    listeners: HashSet<(Addr, u16), foldhash::quality::RandomState>,
}

/// Local ends, and those at which the capture was taken.
pub(super) struct Local {
    /// `None`: what the connection does has to decide.
    pub(super) sides: Option<Sides>,
    pub(super) near: Sides,
}

impl View {
    pub(super) fn new(told: Vec<Prefix>) -> Self {
        Self { told, here: HashSet::new(), listeners: HashSet::default() }
    }

    /// An interface of the capture has this address.
    pub(super) fn interface_has(&mut self, addr: IpAddr) {
        if self.here.len() < MOST_ADDRESSES {
            self.here.insert(addr.to_canonical());
        }
    }

    /// By the first segment of a connection.
    pub(super) fn of(&self, key: &Key, from: Side, captured: &Captured) -> Local {
        let (src, dst) = (key.socket(from).ip(), key.socket(from.peer()).ip());
        let sides = |wanted: &dyn Fn(IpAddr) -> bool| {
            let mut sides = Sides::NONE;
            for (side, addr) in [(from, src), (from.peer(), dst)] {
                if wanted(addr) {
                    sides = sides.and(side);
                }
            }
            (sides != Sides::NONE).then_some(sides)
        };
        let near = if src == dst || (src.is_loopback() && dst.is_loopback()) {
            Some(Sides::BOTH)
        } else {
            let passing = captured.direction.map(|direction| match direction {
                Direction::Out => Sides::one(from),
                Direction::In => Sides::one(from.peer()),
            });
            let listed = || sides(&|addr| !self.here.is_empty() && self.here.contains(&addr));
            passing.or_else(listed)
        };
        let told = sides(&|addr| self.told.iter().any(|prefix| prefix.contains(addr)));
        Local { sides: told.or(near), near: near.unwrap_or(Sides::NONE) }
    }

    /// A SYN-ACK came from there.
    pub(super) fn listens(&mut self, at: (Addr, u16)) {
        if self.listeners.len() < MOST_LISTENERS {
            self.listeners.insert(at);
        }
    }

    pub(super) fn is_listening(&self, at: (Addr, u16)) -> bool {
        self.listeners.contains(&at)
    }

    /// The end that passes for the server where nobody saw the beginning: the one whose port is
    /// known to listen, else the one with the lower port.
    pub(super) fn server(&self, key: &Key) -> Side {
        let (low, high) = (key.raw(Side::Low), key.raw(Side::High));
        match (self.is_listening(low), self.is_listening(high)) {
            (true, false) => Side::Low,
            (false, true) => Side::High,
            _ if low.1 <= high.1 => Side::Low,
            _ => Side::High,
        }
    }

    /// Decides where nothing but the connection itself can: the server's end is told, and that of
    /// the client where there is no server: nobody answers or the answer is a RST.
    pub(super) fn decide(&self, conversation: &mut Conversation) {
        /// So many SYNs without an answer: the third comes 3 s after the first
        /// (RFC 6298, 2.1 and 5.5), about when such a connection counts as stuck.
        const UNANSWERED: u32 = 2;
        if conversation.local.is_some() {
            return;
        }
        let side = if conversation.middle {
            if !conversation.plausible {
                return;
            }
            let server = self.server(&conversation.key);
            // An end that nobody saw is not made up.
            if conversation.ends.of(server).segments > 0 { server } else { server.peer() }
        } else {
            let Some(client) = conversation.client else {
                return;
            };
            let server = conversation.ends.of(client.peer());
            let opener = conversation.ends.of(client);
            if server.synack.is_some() || server.segments > 0 {
                client.peer()
            } else if conversation.reset.is_some()
                || opener.syn_again >= UNANSWERED
                || opener.segments > 0
            {
                client
            } else {
                return;
            }
        };
        conversation.local = Some(Sides::one(side));
    }
}
