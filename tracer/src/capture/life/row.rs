//! Rows of `--segments`.

use tracer_common::packet::tcp_flags::ACK;

use crate::capture::segment::Captured;
use crate::core::record::{SegmentRow, Sender};

use super::conversation::{Conversation, Seen};
use super::end::Base;
use super::key::Side;

impl Conversation {
    /// The row of a segment that `from` sent; `server`: the end that passes for the server where
    /// nobody saw who is.
    pub(super) fn row(
        &self,
        captured: &Captured,
        from: Side,
        seen: &Seen,
        server: Side,
    ) -> SegmentRow {
        let segment = &captured.segment;
        let server = self.client.map_or(server, Side::peer);
        let client = server.peer();
        let (mine, peers) = (self.ends.of(from), self.ends.of(from.peer()));
        let position = |of: &super::end::End, number| match of.based {
            Base::Unknown => None,
            Base::Guessed | Base::Syn => Some(of.position(number).max(0).cast_unsigned()),
        };
        SegmentRow {
            at: captured.at,
            number: captured.number,
            connection: self.number,
            client: self.key.socket(client),
            server: self.key.socket(server),
            roles_known: self.client.is_some(),
            from: if from == client { Sender::Client } else { Sender::Server },
            flags: segment.flags,
            seq: position(mine, segment.seq).unwrap_or(0),
            ack: if segment.flags & ACK != 0 { position(peers, segment.ack) } else { None },
            payload: captured.payload_len,
            window: self.window(from),
            client_state: self.state(client),
            server_state: self.state(server),
            step: seen.step,
            oddities: seen.odd,
        }
    }
}
