//! What a capture tells of a connection and no kernel hook does, and the other way round.

use super::connection::Conn;
use super::event::{CaptureFacts, Found};
use super::record::{Connection, HandshakeSource, ObservedFrom, Record};
use super::{Core, event::MonoNs};

impl Core {
    /// A connection met in the middle of its life.
    pub(super) fn found(&mut self, found: &Found, out: &mut Vec<Record>) {
        let Found { at, socket, role } = found;
        if self.table.find(socket.cookie).is_none() {
            let conn = Conn::listed(socket, *at, *at, *role, ObservedFrom::Middle);
            self.insert(conn, out);
        }
    }

    /// What the segments told: it takes the place of what was told before.
    pub(super) fn captured(&mut self, facts: &CaptureFacts) {
        if let Some(id) = self.table.find(facts.cookie)
            && let Some(conn) = self.table.get_mut(id)
        {
            match &mut conn.capture {
                Some(known) => (**known).clone_from(facts),
                None => conn.capture = Some(Box::new(facts.clone())),
            }
        }
    }

    /// The connection is over; nobody saw how.
    pub(super) fn end_unseen(&mut self, cookie: u64, at: MonoNs, out: &mut Vec<Record>) {
        if let Some(id) = self.table.find(cookie)
            && self.table.get(id).is_some_and(|conn| conn.ended_at().is_none())
        {
            self.lose(id, at, out);
        }
    }

    /// Nothing more will be told of the connection, for want of memory.
    pub(super) fn forgotten(&mut self, cookie: u64) {
        if let Some(id) = self.table.find(cookie)
            && self.table.get(id).is_some_and(|conn| conn.ended_at().is_none())
        {
            self.take(id);
            self.totals.evicted += 1;
        }
    }
}

impl CaptureFacts {
    /// Puts what the segments told where the socket's own figures would stand.
    pub(super) fn describe(&self, connection: &mut Connection) {
        let Self {
            cookie: _,
            handshake,
            synack_rtt,
            path_rtt,
            syn_retransmits,
            synack_retransmits,
            bytes_sent,
            bytes_received,
            retransmits,
            incomplete,
            closer_known,
        } = *self;
        connection.handshake = handshake;
        connection.handshake_source = handshake.map(|_| HandshakeSource::Capture);
        connection.synack_rtt = synack_rtt;
        connection.path_rtt = Some(path_rtt);
        connection.syn_retransmits = syn_retransmits;
        connection.synack_retransmits = synack_retransmits;
        connection.accept_wait = None;
        connection.bytes_sent = bytes_sent;
        connection.bytes_received = bytes_received;
        connection.retransmits = retransmits;
        connection.events_lost |= incomplete;
        if !closer_known {
            connection.close_initiator = None;
        }
    }
}
