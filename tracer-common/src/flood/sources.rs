//! Who sends most: heavy hitters in sets of few ways.
//!
//! Each CPU has its own sets. A key (destination slot and address) belongs to one set by its keyed
//! hash. A key that holds a way is counted exactly from the moment it took it; a newcomer wears down
//! the weakest way's `strength` and takes it when that is used up, or at once where a way is empty or
//! has been silent for [`STALE_EPOCHS`].

use crate::addr::Addr;
use crate::siphash::Key;

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
    /// What newcomers wear down.
    pub strength: u32,
    /// Epoch of the last hit.
    pub epoch: u32,
    /// Grows when another key takes this way; odd while that is being done.
    pub generation: u32,
    /// SYNs that the set had lost sight of when this key took the way (`Set::evicted` then): the
    /// most by which `syns` may be too low. 0: exact.
    pub bound: u32,
}

/// Where a key is looked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Epoch of the last change.
    pub epoch: u32,
    /// SYNs of keys that were driven out while they were not stale, and of newcomers that got no
    /// way.
    pub evicted: u32,
    /// The ways.
    pub ways: [Bucket; WAYS],
}

impl Set {
    /// Counts a SYN (or a connection, among the completers) of a key. `first`: not seen before.
    ///
    /// Only one CPU calls this for a set; the user side reads it meanwhile and knows by
    /// [`Bucket::generation`] what belongs together.
    #[inline(always)]
    pub fn hit(&mut self, slot: u32, addr: Addr, first: bool, epoch: u32) {
        self.epoch = epoch;
        for way in &mut self.ways {
            if way.holds(slot, addr) {
                way.syns = way.syns.wrapping_add(1);
                way.firsts = way.firsts.wrapping_add(first as u32);
                way.strength = way.strength.saturating_add(1);
                way.epoch = epoch;
                return;
            }
        }
        // The strength with the way's number below it, and the smallest of them without a branch
        // that a flood's random sources would make unpredictable.
        let mut weakest = i64::MAX;
        for (number, way) in self.ways.iter().enumerate() {
            let rank = ((way.standing(epoch) << WAY_BITS) | number as u64) as i64;
            let less = rank - weakest;
            weakest += less & (less >> 63);
        }
        let weakest = weakest as u64;
        // The mask is what shows the verifier that it is a way.
        let Some(way) = self.ways.get_mut(weakest as usize & (WAYS - 1)) else { return };
        let standing = weakest >> WAY_BITS;
        if standing > 1 {
            way.strength -= 1;
            self.evicted = self.evicted.wrapping_add(1);
            return;
        }
        let driven_out = if standing == 0 { 0 } else { way.syns };
        way.take(slot, addr, first, epoch, self.evicted);
        self.evicted = self.evicted.wrapping_add(driven_out);
    }

    /// Counts a RST that hit a half-open connection of a key, if the key holds a way.
    #[inline(always)]
    pub fn reset(&mut self, slot: u32, addr: Addr, epoch: u32) {
        for way in &mut self.ways {
            if way.holds(slot, addr) {
                way.resets = way.resets.wrapping_add(1);
                self.epoch = epoch;
                return;
            }
        }
    }
}

impl Bucket {
    #[inline(always)]
    fn holds(&self, slot: u32, addr: Addr) -> bool {
        self.addr[1] == addr.0[1]
            && self.addr[0] == addr.0[0]
            && self.slot == slot
            && self.generation != 0
    }

    /// What stands between a newcomer and this way; 0: nothing.
    #[inline(always)]
    fn standing(&self, epoch: u32) -> u64 {
        // An empty way has no strength.
        if epoch.wrapping_sub(self.epoch) > STALE_EPOCHS { 0 } else { self.strength as u64 }
    }

    #[inline(always)]
    fn take(&mut self, slot: u32, addr: Addr, first: bool, epoch: u32, bound: u32) {
        let being_done = self.generation.wrapping_add(1);
        let next = Self {
            addr: addr.0,
            slot,
            syns: 1,
            firsts: first as u32,
            resets: 0,
            strength: 1,
            epoch,
            generation: being_done,
            bound,
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

/// Set of a source, from the hash of its slot and address ([`crate::siphash::address`]).
#[inline(always)]
#[must_use]
pub const fn source_set(hash: u64) -> u32 {
    hash as u32 & (SOURCE_SETS - 1)
}

/// The /24 (IPv4) or /64 (IPv6) that an address is in.
#[inline(always)]
#[must_use]
pub const fn prefix(addr: Addr) -> Addr {
    const WITHOUT_LAST_BYTE: u64 =
        u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    if addr.is_v4() { Addr([0, addr.0[1] & WITHOUT_LAST_BYTE]) } else { Addr([addr.0[0], 0]) }
}

/// Set of a prefix.
#[inline(always)]
#[must_use]
pub const fn prefix_set(key: Key, slot: u32, prefix: Addr) -> u32 {
    // One of the two words is the same for all prefixes of a family.
    let hash = mix(key, prefix.0[0] ^ prefix.0[1].rotate_left(7), slot);
    (hash >> (64 - PREFIX_SETS.trailing_zeros())) as u32
}

/// A cheap keyed hash, for tables whose keys are few or dear to come by; its highest bits are the
/// best.
#[inline(always)]
pub(super) const fn mix(key: Key, word: u64, number: u32) -> u64 {
    let apart = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = (word ^ key.0).wrapping_add(apart).wrapping_mul(key.1 | 1);
    (hash ^ (hash >> 32)).wrapping_mul(key.0 | 1)
}

const _: () = {
    assert!(WAYS.is_power_of_two() && SOURCE_SETS.is_power_of_two());
    assert!(PREFIX_SETS.is_power_of_two());
    assert!(size_of::<Bucket>() == 48);
    assert!(size_of::<Set>() == 200);
};

#[cfg(test)]
mod tests;
