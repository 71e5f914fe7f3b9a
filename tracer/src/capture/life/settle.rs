//! What is sure once enough time has passed.
//!
//! A segment that passes the capture point need not arrive. When it does, the receiver's next
//! segment says so. A receiver that has nothing to say leaves only this: if it had not arrived, it,
//! or what it answers, would have been sent again.

use crate::core::event::MonoNs;

use super::conversation::Conversation;
use super::end::{Established, Fin};
use super::key::Side;

/// How long to wait for it: the first retransmission of a SYN-ACK comes after one second
/// (RFC 6298, 2.1), that of a FIN sooner.
pub(super) const SETTLED_AFTER_NS: u64 = 1_100_000_000;

impl Conversation {
    /// Whether an end waits for this.
    pub(super) fn is_unsettled(&self) -> bool {
        self.over.is_none()
            && Side::BOTH.into_iter().any(|side| {
                let end = self.ends.of(side);
                let unsure =
                    self.settles(side) && matches!(end.established, Established::Passed(_));
                unsure || end.fin.as_ref().is_some_and(is_unsettled)
            })
    }

    /// Whether it shows by itself that an end is ESTABLISHED. A client always answers the SYN-ACK.
    fn settles(&self, side: Side) -> bool {
        self.simultaneous || self.client != Some(side)
    }

    /// Takes for sure what has stood for long enough at `now`; `finally`: whatever has passed.
    pub(super) fn settle(&mut self, now: MonoNs, finally: bool) {
        let old = |at: MonoNs| finally || now.since(at) >= SETTLED_AFTER_NS;
        for side in Side::BOTH {
            let settles = self.settles(side);
            let end = self.ends.of_mut(side);
            if let Established::Passed(at) = end.established
                && settles
                && old(at)
            {
                end.established = Established::Sure(at);
            }
            if let Some(fin) = &mut end.fin
                && is_unsettled(fin)
                && old(fin.last)
                // One that was sent again had not arrived before.
                && fin.last == fin.at
            {
                fin.settled = true;
            }
        }
    }
}

fn is_unsettled(fin: &Fin) -> bool {
    fin.acked_at.is_none() && !fin.settled && fin.in_order && fin.last == fin.at
}
