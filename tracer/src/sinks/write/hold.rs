//! Holds packets back for a moment: until it is known whose they are, and whether they are the same
//! packet that has just been seen on another interface.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::frame::Frame;
use crate::capture::segment::Direction;
use crate::core::event::{MonoNs, Owner};
use crate::core::{Shown, Whose};
use crate::report::escape::{Blanks, escape};
use tracer_common::packet::tcp_flags::{ACK, SYN};

/// How long a packet waits for its owner to be known. The events that tell come some tens of
/// milliseconds late; a server's connection has an owner when it is accepted.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long where only certain processes' are asked for: an unaccepted connection's would be lost.
const PATIENCE_SELECTING: Duration = Duration::from_secs(5);
/// Packets that are held at a time; beyond that the first ones go before their time.
const MOST: usize = 32_768;
/// Ends of connections, and packets, that are remembered at least.
const REMEMBERED: usize = 65_536;
/// The same segment on another interface within this time, nanoseconds, is the same packet on its
/// way through a bridge, a bond or a VLAN. Nobody sends one again so soon.
const SAME_NS: u64 = 50_000_000;
/// `LOOPBACK_IFINDEX`.
const LOOPBACK: u32 = 1;

/// See the module.
pub(super) struct Hold {
    queue: VecDeque<(u64, Frame)>,
    /// Number of the first packet in the queue.
    first: u64,
    recent: Remembered<u64, Recent>,
    /// Strangers choose what is hashed.
    hasher: RandomState,
    ends: Remembered<(SocketAddr, SocketAddr), End>,
    shown: Shown,
    /// Only what is said to be selected is kept.
    selecting: bool,
    /// Index of tracer's own network namespace, whose packets these are.
    netns: u32,
}

/// A packet that was seen.
#[derive(Clone, Copy)]
struct Recent {
    at: u64,
    interface: u32,
    number: u64,
}

/// One end of a connection.
#[derive(Clone, Copy)]
struct End {
    owner: Option<Owner>,
    selected: bool,
    /// When it ended, nanoseconds since the epoch.
    ended: Option<u64>,
}

impl Hold {
    /// `selecting`: only what [`Whose::selected`] is kept.
    pub(super) fn new(shown: Shown, selecting: bool, netns: u32) -> Self {
        Self {
            queue: VecDeque::new(),
            first: 0,
            recent: Remembered::default(),
            hasher: RandomState::new(),
            ends: Remembered::default(),
            shown,
            selecting,
            netns,
        }
    }

    /// Whose a connection is; `unix_ns` makes nanoseconds since the epoch of its times.
    pub(super) fn tell(&mut self, whose: &Whose, unix_ns: impl Fn(MonoNs) -> u64) {
        // Another namespace's packets may come through this one, but its `lo` has the same addresses.
        if whose.netns != self.netns && whose.local.ip().is_loopback() {
            return;
        }
        let Whose { local, remote, owner, selected, ended, .. } = *whose;
        self.ends.put((local, remote), End { owner, selected, ended: ended.map(unix_ns) });
    }

    /// Takes in a packet.
    pub(super) fn take(&mut self, frame: Frame) {
        let (src, dst) = (frame.src(), frame.dst());
        if self.shown.excludes(src) || self.shown.excludes(dst) || self.seen(&frame) {
            return;
        }
        if frame.segment.flags & (SYN | ACK) == SYN {
            // What follows is another connection than the one that ended.
            for tuple in [(src, dst), (dst, src)] {
                let before = |ended: u64| ended < frame.at;
                self.ends.remove_if(&tuple, |end| end.ended.is_some_and(before));
            }
        }
        self.queue.push_back((frame.at, frame));
    }

    /// Whether it is the same packet as one before. Of those that come in the last one is kept, of
    /// those that go out the first: as the interface has it that the connection uses.
    fn seen(&mut self, frame: &Frame) -> bool {
        let segment = &frame.segment;
        let identity = (segment.src, segment.dst, segment.src_port, segment.dst_port);
        let hash = self.hasher.hash_one((
            identity,
            segment.seq,
            segment.ack,
            segment.flags,
            frame.payload_len,
        ));
        let number = self.first + self.queue.len() as u64;
        if let Some(recent) = self.recent.get(&hash)
            && recent.interface != frame.interface
            && frame.at.abs_diff(recent.at) < SAME_NS
        {
            let place = recent.number.checked_sub(self.first).map(|at| at as usize);
            if frame.direction == Direction::In
                && let Some((_, held)) = place.and_then(|at| self.queue.get_mut(at))
                && held.direction == Direction::In
            {
                *held = frame.clone();
            }
            return true;
        }
        let recent = Recent { at: frame.at, interface: frame.interface, number };
        self.recent.put(hash, recent);
        false
    }

    /// Hands out what has waited long enough at `now` (nanoseconds since the epoch), in the order in
    /// which it came, with what is said of it; all of it if `now` is `None`.
    pub(super) fn release(&mut self, now: Option<u64>, mut out: impl FnMut(&Frame, Option<&str>)) {
        let patience = if self.selecting { PATIENCE_SELECTING } else { PATIENCE }.as_nanos() as u64;
        let mut comment = String::new();
        while let Some((came, frame)) = self.queue.front() {
            let sender = self.ends.get(&(frame.src(), frame.dst()));
            let receiver = self.ends.get(&(frame.dst(), frame.src()));
            let owner = |end: Option<End>| end.and_then(|end| end.owner);
            let owners = [owner(sender), owner(receiver)];
            let selected =
                !self.selecting || [sender, receiver].into_iter().flatten().any(|end| end.selected);
            let known = owners.iter().flatten().count();
            let complete = selected && known >= if frame.interface == LOOPBACK { 2 } else { 1 };
            let due = now.is_none_or(|now| came.saturating_add(patience) <= now);
            if !complete && !due && self.queue.len() <= MOST {
                return;
            }
            if selected {
                describe(owners, &mut comment);
                out(frame, (!comment.is_empty()).then_some(comment.as_str()));
            }
            self.queue.pop_front();
            self.first += 1;
        }
    }
}

/// `from curl/1234 to nginx/56`: the processes that send and get it, as far as they are this host's
/// and known.
fn describe(owners: [Option<Owner>; 2], comment: &mut String) {
    comment.clear();
    for (owner, word) in owners.into_iter().zip(["from", "to"]) {
        let Some(Owner { pid, comm }) = owner else { continue };
        let gap = if comment.is_empty() { "" } else { " " };
        // Memory does not fail to be written to.
        let _ = write!(comment, "{gap}{word} ");
        let _ = escape(comm.as_bytes(), Blanks::Keep, comment);
        let _ = write!(comment, "/{pid}");
    }
}

/// A map that forgets: the oldest half when it is full.
struct Remembered<K, V> {
    young: FxHashMap<K, V>,
    old: FxHashMap<K, V>,
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self { young: FxHashMap::default(), old: FxHashMap::default() }
    }
}

impl<K: Hash + Eq, V: Copy> Remembered<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    fn put(&mut self, key: K, value: V) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    fn remove_if(&mut self, key: &K, condition: impl Fn(&V) -> bool) {
        for map in [&mut self.young, &mut self.old] {
            if map.get(key).is_some_and(&condition) {
                map.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
