//! The table that remembers when a SYN arrived until its handshake completes.
//!
//! One fixed array shared by all CPUs, written without locks: a SYN may be stored on one CPU and
//! looked for on another. A slot is three words; the first is the XOR of the connection's tag and
//! the other two, so that a slot torn between two writers belongs to nobody (the lockless-hashing
//! trick of chess programs: Hyatt and Mann, "A lock-less transposition table implementation").
//! An overwritten slot means that the time is unknown, never that it is wrong.

use crate::addr::Addr;
use crate::hash::{self, Key};

/// Slots in the table; a power of two.
pub const SLOTS: u32 = 1 << 18;

/// A SYN older than this is no part of a handshake: SYN retransmission ends before
/// (`tcp_syn_retries` 6: 127 s).
pub const MAX_AGE_NS: u64 = 180_000_000_000;

/// One slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// `tag ^ ts_ns ^ detail`.
    pub check: u64,
    /// Arrival of the first SYN, nanoseconds of `CLOCK_MONOTONIC`.
    pub ts_ns: u64,
    /// Initial sequence number (high 32 bits), device (24 bits), repeats (low 8 bits).
    pub detail: u64,
}

/// What a packet's or a socket's 4-tuple hashes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(u64);

/// What a SYN meant to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Not seen before.
    First,
    /// Sent again by the peer.
    Repeated,
    /// The same packet, on its way through another device.
    OtherDevice,
}

/// The 4-tuple that names a connection, seen from the host.
#[derive(Clone, Copy)]
pub struct Tuple {
    /// Local address.
    pub local_addr: Addr,
    /// Remote address.
    pub remote_addr: Addr,
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, host order.
    pub remote_port: u16,
    /// Network namespace.
    pub netns: u32,
}

impl Tag {
    /// Keyed hash of the tuple.
    #[inline(always)]
    #[must_use]
    pub fn new(key: &Key, tuple: &Tuple) -> Self {
        let ports = ((tuple.local_port as u32) << 16) | tuple.remote_port as u32;
        Self(hash::pair(key, [tuple.remote_addr, tuple.local_addr], [ports, tuple.netns]))
    }

    /// The slot where the connection's SYN is kept.
    #[inline(always)]
    #[must_use]
    pub fn index(self) -> u32 {
        (self.0 >> (64 - SLOTS.trailing_zeros())) as u32
    }
}

impl Slot {
    /// A slot for a SYN just seen.
    #[inline(always)]
    #[must_use]
    pub fn new(tag: Tag, ts_ns: u64, isn: u32, ifindex: u32) -> Self {
        Self::sealed(tag, ts_ns, ((isn as u64) << 32) | (((ifindex & 0xff_ffff) as u64) << 8))
    }

    #[inline(always)]
    fn sealed(tag: Tag, ts_ns: u64, detail: u64) -> Self {
        Self { check: tag.0 ^ ts_ns ^ detail, ts_ns, detail }
    }

    /// Initial sequence number of the SYN.
    #[inline(always)]
    #[must_use]
    pub fn isn(&self) -> u32 {
        (self.detail >> 32) as u32
    }

    /// How often the SYN was repeated; 255 means so often or more.
    #[inline(always)]
    #[must_use]
    pub fn repeats(&self) -> u32 {
        (self.detail & 0xff) as u32
    }

    /// Whether this slot holds a SYN of the connection, whole and young enough.
    #[inline(always)]
    #[must_use]
    pub fn belongs_to(&self, tag: Tag, now_ns: u64) -> bool {
        self.ts_ns != 0
            && self.check ^ self.ts_ns ^ self.detail == tag.0
            && now_ns.wrapping_sub(self.ts_ns) < MAX_AGE_NS
    }

    /// What to do with a SYN that hashes here: what it is, and the slot's new content if that
    /// changes.
    #[inline(always)]
    #[must_use]
    pub fn meet(&self, tag: Tag, now_ns: u64, isn: u32, ifindex: u32) -> (Seen, Option<Self>) {
        if !(self.belongs_to(tag, now_ns) && self.isn() == isn) {
            return (Seen::First, Some(Self::new(tag, now_ns, isn, ifindex)));
        }
        if ((self.detail >> 8) as u32) & 0xff_ffff != ifindex & 0xff_ffff {
            return (Seen::OtherDevice, None);
        }
        if self.repeats() == 0xff {
            return (Seen::Repeated, None);
        }
        (Seen::Repeated, Some(Self::sealed(tag, self.ts_ns, self.detail + 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::tests::key;

    const SECOND: u64 = 1_000_000_000;

    fn tag(remote_port: u16, netns: u32) -> Tag {
        Tag::new(
            &key(7),
            &Tuple {
                local_addr: Addr([1, 1]),
                remote_addr: Addr([2, 2]),
                local_port: 80,
                remote_port,
                netns,
            },
        )
    }

    #[test]
    fn a_syn_is_found_again_by_its_connection_only() {
        let slot = Slot::new(tag(1000, 1), SECOND, 42, 3);
        assert!(slot.belongs_to(tag(1000, 1), 2 * SECOND));
        assert!(!slot.belongs_to(tag(1001, 1), 2 * SECOND));
        assert!(!slot.belongs_to(tag(1000, 2), 2 * SECOND));
        assert!(!Slot::default().belongs_to(tag(1000, 1), 2 * SECOND));
        assert_eq!((slot.isn(), slot.repeats()), (42, 0));
    }

    #[test]
    fn a_torn_slot_belongs_to_nobody() {
        let a = Slot::new(tag(1000, 1), SECOND, 42, 3);
        let b = Slot::new(tag(2000, 1), 2 * SECOND, 43, 4);
        for torn in [
            Slot { check: a.check, ..b },
            Slot { ts_ns: a.ts_ns, ..b },
            Slot { detail: a.detail, ..b },
        ] {
            assert!(!torn.belongs_to(tag(1000, 1), 3 * SECOND));
            assert!(!torn.belongs_to(tag(2000, 1), 3 * SECOND));
        }
    }

    #[test]
    fn retransmissions_keep_the_first_arrival_and_count() {
        let tag = tag(1000, 1);
        let (seen, slot) = Slot::default().meet(tag, SECOND, 42, 3);
        let slot = slot.expect("stored");
        assert_eq!(seen, Seen::First);
        let (seen, again) = slot.meet(tag, 2 * SECOND, 42, 3);
        let again = again.expect("counted");
        assert_eq!((seen, again.ts_ns, again.repeats()), (Seen::Repeated, SECOND, 1));
        assert!(again.belongs_to(tag, 3 * SECOND));
    }

    #[test]
    fn the_same_syn_on_another_device_is_no_retransmission() {
        let tag = tag(1000, 1);
        let slot = Slot::new(tag, SECOND, 42, 3);
        assert_eq!(slot.meet(tag, SECOND + 10, 42, 4), (Seen::OtherDevice, None));
    }

    #[test]
    fn a_new_sequence_number_or_an_old_entry_begins_anew() {
        let tag = tag(1000, 1);
        let slot = Slot::new(tag, SECOND, 42, 3);
        assert_eq!(slot.meet(tag, 2 * SECOND, 43, 3).0, Seen::First);
        assert_eq!(slot.meet(tag, 2 * SECOND + MAX_AGE_NS, 42, 3).0, Seen::First);
    }

    #[test]
    fn repeats_saturate() {
        let tag = tag(1000, 1);
        let mut slot = Slot::new(tag, SECOND, 42, 3);
        for _ in 0..300 {
            if let (_, Some(next)) = slot.meet(tag, SECOND, 42, 3) {
                slot = next;
            }
        }
        assert_eq!((slot.repeats(), slot.isn()), (255, 42));
        assert!(slot.belongs_to(tag, SECOND));
    }
}
