//! The table that remembers when a SYN arrived until its handshake completes.
//!
//! One fixed array shared by all CPUs, written without locks: a SYN may be stored on one CPU and
//! looked for on another. A slot is two words, so that four share a cache line and none straddles
//! two. The first is the connection's tag and the SYN's number, masked by the second, so that a slot
//! torn between two writers belongs to nobody (the lockless-hashing trick of chess programs: Hyatt
//! and Mann, "A lock-less transposition table implementation"). An overwritten slot means that the
//! time is unknown, never that it is wrong.

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
    /// What is kept of the connection's tag (high 32 bits) and initial sequence number, XOR
    /// [`mask`] of `detail`.
    pub check: u64,
    /// Arrival of the first SYN (high 40 bits: nanoseconds of `CLOCK_MONOTONIC` modulo 2^40, which
    /// is 18 minutes), device (18 bits), repeats (6 bits). 0: empty.
    pub detail: u64,
}

/// A SYN that the table remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it came first, nanoseconds of `CLOCK_MONOTONIC`.
    pub ts_ns: u64,
    /// Initial sequence number.
    pub isn: u32,
    /// How often it was repeated; 63 means so often or more.
    pub repeats: u32,
    device: u32,
}

/// Bits of `detail` below the time.
const TIME_SHIFT: u32 = 24;
const TIME_MASK: u64 = (1 << 40) - 1;
const DEVICE_SHIFT: u32 = 6;
const DEVICE_MASK: u32 = (1 << 18) - 1;
const REPEATS_MASK: u32 = (1 << DEVICE_SHIFT) - 1;

/// Spreads the lower bits of `detail`, in which two SYNs are sure to differ, over the tag's.
#[inline(always)]
const fn mask(detail: u64) -> u64 {
    detail.wrapping_mul(0x9e37_79b9_7f4a_7c15)
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

    /// What the slot keeps of it: of the bits that are not in the index, the best.
    #[inline(always)]
    fn check(self) -> u32 {
        (self.0 >> (64 - SLOTS.trailing_zeros() - 32)) as u32
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
        let device = ((ifindex & DEVICE_MASK) << DEVICE_SHIFT) as u64;
        Self::sealed(tag, isn, (ts_ns << TIME_SHIFT) | device)
    }

    #[inline(always)]
    fn sealed(tag: Tag, isn: u32, detail: u64) -> Self {
        Self { check: ((tag.check() as u64) << 32 | isn as u64) ^ mask(detail), detail }
    }

    /// The SYN of the connection, if this slot holds one, whole and young enough.
    #[inline(always)]
    #[must_use]
    pub fn arrival(&self, tag: Tag, now_ns: u64) -> Option<Arrival> {
        let open = self.check ^ mask(self.detail);
        let age = now_ns.wrapping_sub(self.detail >> TIME_SHIFT) & TIME_MASK;
        if (open >> 32) as u32 != tag.check() || self.detail == 0 || age >= MAX_AGE_NS {
            return None;
        }
        Some(Arrival {
            ts_ns: now_ns.wrapping_sub(age),
            isn: open as u32,
            repeats: self.detail as u32 & REPEATS_MASK,
            device: (self.detail >> DEVICE_SHIFT) as u32 & DEVICE_MASK,
        })
    }

    /// What to do with a SYN that hashes here: what it is, and the slot's new content if that
    /// changes.
    #[inline(always)]
    #[must_use]
    pub fn meet(&self, tag: Tag, now_ns: u64, isn: u32, ifindex: u32) -> (Seen, Option<Self>) {
        let known = match self.arrival(tag, now_ns) {
            Some(known) if known.isn == isn => known,
            _ => return (Seen::First, Some(Self::new(tag, now_ns, isn, ifindex))),
        };
        if known.device != ifindex & DEVICE_MASK {
            return (Seen::OtherDevice, None);
        }
        if known.repeats == REPEATS_MASK {
            return (Seen::Repeated, None);
        }
        (Seen::Repeated, Some(Self::sealed(tag, isn, self.detail + 1)))
    }
}

const _: () = assert!(size_of::<Slot>() == 16 && MAX_AGE_NS < TIME_MASK);

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

    fn held(slot: &Slot, tag: Tag, now_ns: u64) -> bool {
        slot.arrival(tag, now_ns).is_some()
    }

    #[test]
    fn times_outlast_the_bits_that_are_kept() {
        let tag = tag(1000, 1);
        for boot in [1, TIME_MASK - 5, TIME_MASK, TIME_MASK + 1, 5 * TIME_MASK + 17] {
            let slot = Slot::new(tag, boot, 42, 3);
            let later = boot + 100 * SECOND;
            assert_eq!(slot.arrival(tag, later).expect("held").ts_ns, boot);
            assert!(!held(&slot, tag, boot + MAX_AGE_NS));
        }
    }

    /// Two SYNs of one microsecond: the times differ in few bits, and so may the tags.
    #[test]
    fn no_torn_slot_passes_however_close_the_two_are() {
        for remote_port in 1..1000 {
            let a = Slot::new(tag(remote_port, 1), SECOND, 42, 3);
            let b = Slot::new(tag(remote_port + 1, 1), SECOND + u64::from(remote_port), 42, 3);
            for torn in [Slot { check: a.check, ..b }, Slot { detail: a.detail, ..b }] {
                assert!(!held(&torn, tag(remote_port, 1), 2 * SECOND));
                assert!(!held(&torn, tag(remote_port + 1, 1), 2 * SECOND));
            }
        }
    }

    #[test]
    fn a_syn_is_found_again_by_its_connection_only() {
        let slot = Slot::new(tag(1000, 1), SECOND, 42, 3);
        assert!(held(&slot, tag(1000, 1), 2 * SECOND));
        assert!(!held(&slot, tag(1001, 1), 2 * SECOND));
        assert!(!held(&slot, tag(1000, 2), 2 * SECOND));
        assert!(!held(&Slot::default(), tag(1000, 1), 2 * SECOND));
        let arrival = slot.arrival(tag(1000, 1), 2 * SECOND).expect("held");
        assert_eq!((arrival.ts_ns, arrival.isn, arrival.repeats), (SECOND, 42, 0));
    }

    #[test]
    fn a_torn_slot_belongs_to_nobody() {
        let a = Slot::new(tag(1000, 1), SECOND, 42, 3);
        let b = Slot::new(tag(2000, 1), 2 * SECOND, 43, 4);
        for torn in [Slot { check: a.check, ..b }, Slot { detail: a.detail, ..b }] {
            assert!(!held(&torn, tag(1000, 1), 3 * SECOND));
            assert!(!held(&torn, tag(2000, 1), 3 * SECOND));
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
        let arrival = again.arrival(tag, 3 * SECOND).expect("held");
        assert_eq!((seen, arrival.ts_ns, arrival.repeats), (Seen::Repeated, SECOND, 1));
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
        let arrival = slot.arrival(tag, SECOND).expect("held");
        assert_eq!((arrival.repeats, arrival.isn, arrival.ts_ns), (63, 42, SECOND));
    }
}
