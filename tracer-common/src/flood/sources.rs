//! Who sends most: heavy hitters in sets of few ways.
//!
//! Each CPU has its own sets. A key (destination slot and address) belongs to one set by its keyed
//! hash. A key that holds a way is counted exactly from the moment it took it; a newcomer wears down
//! the weakest way's strength and lays claim to it when that is used up. It takes the way with its
//! next SYN, or at once where the way is empty or has been silent for [`STALE_EPOCHS`].
//!
//! In a flood from random sources every SYN is a newcomer's, and memory is cold: what such a one
//! needs is in the set's first 64 bytes, and only one that comes again touches a bucket.

use crate::addr::Addr;
use crate::hash::Key;

/// Ways of a set.
pub const WAYS: usize = 4;
/// Sets a CPU has for sources, and for sources that complete.
pub const SOURCE_SETS: u32 = 512;
/// Sets a CPU has for prefixes.
pub const PREFIX_SETS: u32 = 256;
/// A way not hit for so many epochs is free to take.
pub const STALE_EPOCHS: u32 = 64;

/// One key and what was counted for it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The source, or the first address of the prefix (/24 of IPv4, /64 of IPv6).
    pub addr: [u64; 2],
    /// Destination slot.
    pub slot: u32,
    /// SYNs, repeated ones included; among the completers: connections.
    pub syns: u32,
    /// SYNs not seen before; among the completers: connections whose SYN was seen.
    pub firsts: u32,
    /// RSTs that hit one of its half-open connections.
    pub resets: u32,
    /// Grows when another key takes this way; odd while that is being done.
    pub generation: u32,
    /// SYNs that the set had lost sight of when this key took the way (`Set::evicted` then): the
    /// most by which `syns` may be too low. 0: exact.
    pub bound: u32,
    /// Zero.
    pub reserved: [u32; 2],
}

/// Where a key is looked for: a cache line that tells whose the ways are, and the ways.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Epoch of the last change.
    pub epoch: u32,
    /// SYNs of keys that were driven out while they were not stale, and of newcomers that got no
    /// way.
    pub evicted: u32,
    /// Ways that a newcomer has laid claim to: one bit each. Their buckets are still those of the
    /// keys that were driven out.
    pub claims: u32,
    /// Zero.
    pub reserved: u32,
    /// The ways' keys, hashed.
    pub tags: [u32; WAYS],
    /// What newcomers wear down; 0: empty.
    pub strengths: [u32; WAYS],
    /// Epochs of the last hits.
    pub epochs: [u32; WAYS],
    /// The ways.
    pub ways: [Bucket; WAYS],
}

/// A key of a set.
#[derive(Clone, Copy)]
pub struct Hitter {
    /// Keyed hash of the others: [`source_tag`] or [`prefix_tag`].
    pub tag: u32,
    /// Destination slot.
    pub slot: u32,
    /// See [`Bucket::addr`].
    pub addr: Addr,
}

impl Set {
    /// Counts a SYN (or a connection, among the completers) of a key. `first`: not seen before.
    ///
    /// Only one CPU calls this for a set; the user side reads it meanwhile and knows by
    /// [`Bucket::generation`] what belongs together.
    #[inline(always)]
    pub fn hit(&mut self, key: &Hitter, first: bool, epoch: u32) {
        self.epoch = epoch;
        match self.way_of(key.tag) {
            Some(way) => self.again(way, key, first, epoch),
            None => self.newcomer(key, first, epoch),
        }
    }

    /// Counts a RST that hit a half-open connection of a key, if the key holds a way.
    #[inline(always)]
    pub fn reset(&mut self, key: &Hitter, epoch: u32) {
        let Some(way) = self.way_of(key.tag) else { return };
        if self.claims >> way & 1 != 0 {
            return;
        }
        if let Some(bucket) = self.ways.get_mut(way & (WAYS - 1))
            && bucket.belongs_to(key)
        {
            bucket.resets = bucket.resets.wrapping_add(1);
            self.epoch = epoch;
        }
    }

    #[inline(always)]
    fn way_of(&self, tag: u32) -> Option<usize> {
        (0..WAYS).find(|way| self.tags[*way] == tag && self.strengths[*way] != 0)
    }

    /// A SYN of a key whose tag a way bears.
    #[inline(always)]
    fn again(&mut self, way: usize, key: &Hitter, first: bool, epoch: u32) {
        // The mask is what shows the verifier that it is a way.
        let way = way & (WAYS - 1);
        let bucket = &mut self.ways[way];
        if self.claims >> way & 1 != 0 {
            bucket.take(key, first, self.evicted);
            self.claims ^= 1 << way;
        } else if bucket.belongs_to(key) {
            bucket.syns = bucket.syns.wrapping_add(1);
            bucket.firsts = bucket.firsts.wrapping_add(first as u32);
        } else {
            // Another key with the same tag.
            self.evicted = self.evicted.wrapping_add(1);
            return;
        }
        self.strengths[way] = self.strengths[way].saturating_add(1);
        self.epochs[way] = epoch;
    }

    #[inline(always)]
    fn newcomer(&mut self, key: &Hitter, first: bool, epoch: u32) {
        // The strength with the way's number below it, and the smallest of them without a branch
        // that a flood's random sources would make unpredictable.
        let mut weakest = i64::MAX;
        for way in 0..WAYS {
            let rank = ((self.standing(way, epoch) << WAY_BITS) | way as u64) as i64;
            let less = rank - weakest;
            weakest += less & (less >> 63);
        }
        let weakest = weakest as u64;
        let way = weakest as usize & (WAYS - 1);
        let standing = weakest >> WAY_BITS;
        if standing > 1 {
            self.strengths[way] -= 1;
            self.evicted = self.evicted.wrapping_add(1);
            return;
        }
        self.tags[way] = key.tag;
        self.strengths[way] = 1;
        self.epochs[way] = epoch;
        if standing == 0 {
            self.claims &= !(1 << way);
            self.ways[way].take(key, first, self.evicted);
            return;
        }
        // The newcomer's own SYN is not counted for it.
        let mut lost = 1;
        if self.claims >> way & 1 == 0 {
            self.claims |= 1 << way;
            lost += self.ways[way].syns;
        }
        self.evicted = self.evicted.wrapping_add(lost);
    }

    /// What stands between a newcomer and this way; 0: nothing.
    #[inline(always)]
    fn standing(&self, way: usize, epoch: u32) -> u64 {
        // An empty way has no strength.
        if epoch.wrapping_sub(self.epochs[way]) > STALE_EPOCHS {
            0
        } else {
            self.strengths[way] as u64
        }
    }
}

impl Bucket {
    #[inline(always)]
    fn belongs_to(&self, key: &Hitter) -> bool {
        self.addr[1] == key.addr.0[1] && self.addr[0] == key.addr.0[0] && self.slot == key.slot
    }

    #[inline(always)]
    fn take(&mut self, key: &Hitter, first: bool, bound: u32) {
        let being_done = self.generation.wrapping_add(1);
        let next = Self {
            addr: key.addr.0,
            slot: key.slot,
            syns: 1,
            firsts: first as u32,
            resets: 0,
            generation: being_done,
            bound,
            reserved: [0; 2],
        };
        let generation = &raw mut self.generation;
        let bucket: *mut Self = self;
        // SAFETY: both point to self. Volatile, so that the three happen in this order.
        unsafe {
            generation.write_volatile(being_done);
            bucket.write_volatile(next);
            generation.write_volatile(being_done.wrapping_add(1));
        }
    }
}

/// Bits that number the ways.
const WAY_BITS: u32 = WAYS.trailing_zeros();

/// Set of a source, from the hash of its slot and address ([`crate::hash::single`]).
#[inline(always)]
#[must_use]
pub const fn source_set(hash: u64) -> u32 {
    hash as u32 & (SOURCE_SETS - 1)
}

/// Tag of a source, from the same hash.
#[inline(always)]
#[must_use]
pub const fn source_tag(hash: u64) -> u32 {
    (hash >> 16) as u32
}

/// The /24 (IPv4) or /64 (IPv6) that an address is in.
#[inline(always)]
#[must_use]
pub const fn prefix(addr: Addr) -> Addr {
    const WITHOUT_LAST_BYTE: u64 =
        u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    if addr.is_v4() { Addr([0, addr.0[1] & WITHOUT_LAST_BYTE]) } else { Addr([addr.0[0], 0]) }
}

/// Hash of a prefix.
#[inline(always)]
#[must_use]
pub const fn prefix_hash(key: &Key, slot: u32, prefix: Addr) -> u64 {
    // One of the two words is the same for all prefixes of a family.
    mix(key, prefix.0[0] ^ prefix.0[1].rotate_left(7), slot)
}

/// Set of a prefix, from its hash.
#[inline(always)]
#[must_use]
pub const fn prefix_set(hash: u64) -> u32 {
    (hash >> (64 - PREFIX_SETS.trailing_zeros())) as u32
}

/// Tag of a prefix, from the same hash.
#[inline(always)]
#[must_use]
pub const fn prefix_tag(hash: u64) -> u32 {
    (hash >> 20) as u32
}

/// A cheap keyed hash, for tables whose keys are few or dear to come by; its highest bits are the
/// best.
#[inline(always)]
pub(super) const fn mix(key: &Key, word: u64, number: u32) -> u64 {
    let [first, second] = key.scramble;
    let apart = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = (word ^ first).wrapping_add(apart).wrapping_mul(second | 1);
    (hash ^ (hash >> 32)).wrapping_mul(first | 1)
}

const _: () = {
    assert!(WAYS.is_power_of_two() && SOURCE_SETS.is_power_of_two());
    assert!(PREFIX_SETS.is_power_of_two());
    assert!(size_of::<Bucket>() == 48);
    assert!(size_of::<Set>() == 256 && core::mem::offset_of!(Set, ways) == 64);
};

#[cfg(test)]
mod tests;
