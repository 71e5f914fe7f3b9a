//! Requests that die: a SYN that was answered and never completed is no socket, and no transition
//! tells of its end. What is seen of it are its SYN-ACKs sent again, and the RST that kills it.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::event::{MonoNs, RequestEvent};

const SECOND: u64 = 1_000_000_000;
/// `TCP_RTO_MAX`.
const LONGEST_WAIT_NS: u64 = 120 * SECOND;

/// Names a request. Chosen by whoever sends SYNs: the map below hashes it with the standard
/// library's keyed hash.
type Tuple = (u32, SocketAddr, SocketAddr);

#[derive(Clone, Copy)]
struct Request {
    isn: u32,
    retransmits: u16,
    /// If nothing has been heard of it by then, it is dead.
    deadline: MonoNs,
}

/// Requests whose SYN-ACK has been sent again.
pub(super) struct Requests {
    waiting: HashMap<Tuple, Request>,
    most: usize,
    /// No request dies before.
    next: MonoNs,
    looked: MonoNs,
    /// Requests that could not be followed because there were too many.
    pub(super) untracked: u64,
}

impl Requests {
    pub(super) fn new(most: usize) -> Self {
        Self {
            waiting: HashMap::new(),
            most,
            next: MonoNs(u64::MAX),
            looked: MonoNs(0),
            untracked: 0,
        }
    }

    /// A SYN-ACK was sent again. Returns whether that tells of the death of another request: one
    /// with the same addresses that the peer has given up for a new one.
    pub(super) fn retransmitted(&mut self, event: &RequestEvent) -> bool {
        let tuple = (event.netns, event.local, event.remote);
        let before = self.waiting.get(&tuple).copied();
        if before.is_none() && self.waiting.len() >= self.most {
            self.untracked += 1;
            return false;
        }
        let replaced = before.is_some_and(|before| before.isn != event.isn);
        let counted = before.filter(|_| !replaced).map_or(0, |before| before.retransmits);
        let retransmits = match event.retransmits {
            0 => counted.saturating_add(1),
            told => told,
        };
        let deadline = MonoNs(event.at.0.saturating_add(patience(retransmits)));
        self.waiting.insert(tuple, Request { isn: event.isn, retransmits, deadline });
        self.next = self.next.min(deadline);
        replaced
    }

    /// The request is over: it became a connection, or it was reset.
    pub(super) fn over(&mut self, netns: u32, local: SocketAddr, remote: SocketAddr) {
        if !self.waiting.is_empty() {
            self.waiting.remove(&(netns, local, remote));
        }
    }

    /// When to look for dead ones: at most once a second.
    pub(super) fn next(&self) -> Option<MonoNs> {
        (!self.waiting.is_empty())
            .then(|| self.next.max(MonoNs(self.looked.0.saturating_add(SECOND))))
    }

    /// Those that died, and where they were: (namespace, local, remote).
    pub(super) fn expired(&mut self, now: MonoNs) -> Vec<Tuple> {
        if self.next().is_none_or(|next| now < next) {
            return Vec::new();
        }
        self.looked = now;
        self.next = MonoNs(u64::MAX);
        let next = &mut self.next;
        self.waiting
            .extract_if(|_, request| {
                let dead = request.deadline <= now;
                if !dead {
                    *next = (*next).min(request.deadline);
                }
                dead
            })
            .map(|(tuple, _)| tuple)
            .collect()
    }
}

/// How long after the `retransmits`th repetition of its SYN-ACK a request has shown that it is
/// dead. The kernel waits 1 s << retransmits for the next one (`tcp_reqsk_timeout()`); half as much
/// again and a second for timers that are late.
fn patience(retransmits: u16) -> u64 {
    let wait = SECOND
        .checked_shl(u32::from(retransmits))
        .filter(|_| retransmits < 7)
        .unwrap_or(LONGEST_WAIT_NS)
        .min(LONGEST_WAIT_NS);
    wait + wait / 2 + SECOND
}
