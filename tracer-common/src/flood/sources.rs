//! Who sends most: heavy hitters in sets of few ways.
//!
//! Each CPU has its own sets. A key (destination slot and address) belongs to one set by its keyed
//! hash. A source that holds a way is counted exactly from the moment it took it; a newcomer wears down
//! the weakest way's strength and lays claim to it when that is used up. It takes the way with its
//! next SYN, or at once where the way is empty or has been silent for [`STALE_EPOCHS`]. Where all
//! ways are taken only one newcomer in [`SAMPLE`] does so, the others are turned away; for its prefix
//! it is counted as often, which makes that an estimate.
//!
//! In a flood from random sources every SYN is a newcomer's, and memory is cold: what such a one
//! needs is in the set's first 64 bytes, and only one that comes again touches a bucket.

use core::hint::{black_box, cold_path};

use super::cohort::{PARTS, REST};
use crate::addr::Addr;
use crate::hash::Key;
use crate::syn_table::Seen;

/// Ways of a set.
pub const WAYS: usize = 4;
/// Sets a CPU has for sources, for those that complete, and for those that reset.
pub const SOURCE_SETS: u32 = 512;
/// Sets a CPU has for prefixes.
pub const PREFIX_SETS: u32 = 256;
/// A way not hit for so many epochs is free to take.
pub const STALE_EPOCHS: u32 = 64;
/// Of so many newcomers to a full set one wears down a way. Those that stay can only hold their ways
/// the better; one that sends much loses so many SYNs more before it has a way.
pub const SAMPLE: u32 = 4;

/// One key and what was counted for it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The source, or the first address of the prefix (/24 of IPv4, /64 of IPv6).
    pub addr: [u64; 2],
    /// Destination slot.
    pub slot: u32,
    /// SYNs, repeated ones included; among those that end half-open connections: how many.
    pub syns: u32,
    /// Of these, by cohort, SYNs not seen before ([`super::cohort::part`]), and [`OTHER_DEVICE`]; or those ended
    /// whose SYN was seen ([`super::cohort::part_of_end`]).
    pub parts: [u32; PARTS],
    /// Grows when another key takes this way; odd while that is being done.
    pub generation: u32,
    /// SYNs that the set had lost sight of when this key took the way (`Set::evicted` then): the
    /// most by which `syns` may be too low. 0: exact, if it is a source.
    pub bound: u32,
}

/// [`Bucket::parts`] of a source or prefix: SYNs among them that had come in by another device already.
pub const OTHER_DEVICE: usize = REST as usize;

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
    pub claims: u16,
    /// Newcomers that came while the set was full, modulo 2^16.
    pub newcomers: u16,
    /// Before this epoch no way is empty or stale.
    pub full_until: u32,
    /// The ways' keys, hashed; 0: empty.
    pub tags: [u32; WAYS],
    /// What newcomers wear down; 0: empty.
    pub strengths: [u32; WAYS],
    /// Epochs of the last hits.
    pub epochs: [u32; WAYS],
    /// The ways.
    pub ways: [Bucket; WAYS],
}

/// What came of a key.
#[derive(Clone, Copy)]
pub struct Come {
    /// SYNs, or what ended half-open connections.
    pub syns: u32,
    /// Which of [`Bucket::parts`] they are of.
    pub part: u32,
    /// They are of that part, or else of none.
    pub counted: bool,
}

impl Come {
    /// One.
    #[inline(always)]
    #[must_use]
    pub const fn one(part: u32, counted: bool) -> Self {
        Self { syns: 1, part, counted }
    }

    /// How many are of the part.
    #[inline(always)]
    const fn of_part(self) -> u32 {
        // Without a branch.
        self.syns * self.counted as u32
    }
}

/// A key of a set.
#[derive(Clone, Copy)]
pub struct Hitter {
    /// Keyed hash of the others: [`source_tag`] or [`prefix_tag`]. Never 0.
    pub tag: u32,
    /// The set's number: [`source_set`] or [`prefix_set`].
    pub set: u32,
    /// Destination slot.
    pub slot: u32,
    /// See [`Bucket::addr`].
    pub addr: Addr,
}

impl Hitter {
    /// A source, by the hash of its slot and address ([`crate::hash::single`]).
    #[inline(always)]
    #[must_use]
    pub const fn source(hash: u64, slot: u32, addr: Addr) -> Self {
        Self { tag: source_tag(hash), set: source_set(hash), slot, addr }
    }

    /// A prefix, by its hash ([`prefix_hash`]).
    #[inline(always)]
    #[must_use]
    pub const fn prefix(hash: u64, slot: u32, addr: Addr) -> Self {
        Self { tag: prefix_tag(hash), set: prefix_set(hash), slot, addr }
    }
}

impl Set {
    /// Counts SYNs (or what ended half-open connections) of a key. Says how many SYNs this one stands
    /// for where it is to be counted elsewhere as well: one that is turned away for none, one that is
    /// let in for [`SAMPLE`] where the set is full.
    ///
    /// Only one CPU calls this for a set; the user side reads it meanwhile and knows by
    /// [`Bucket::generation`] what belongs together.
    #[inline(always)]
    pub fn hit(&mut self, key: &Hitter, come: Come, epoch: u32) -> u32 {
        self.epoch = epoch;
        if self.bears(key.tag) {
            self.again(self.way_of(key.tag), key, come, epoch);
            return come.syns;
        }
        let full = self.full_until.wrapping_sub(epoch).cast_signed() > 0;
        let turned_away = if full {
            let nth = self.newcomers as u32;
            self.newcomers = (nth + 1) as u16;
            // One of every four, so that each is stood for once; which of them, differs from set to
            // set, or those that are not stood for yet would be missing, and from four to four, or of
            // senders that take turns the same would be let in.
            if nth % SAMPLE != chosen(key.set, nth / SAMPLE) {
                return 0;
            }
            (SAMPLE - 1) * come.syns
        } else {
            cold_path();
            0
        };
        cold_path();
        self.evicted = self.evicted.wrapping_add(turned_away);
        self.newcomer(key, come, epoch);
        come.syns + turned_away
    }

    /// A SYN that was counted as a first one is something else, if the key still holds a way. One
    /// that began with that very SYN and gave it up in between is one first too low.
    #[inline(always)]
    pub fn amend(&mut self, key: &Hitter, part: u32, seen: Seen, epoch: u32) {
        if let Some(bucket) = self.bucket_of(key) {
            match seen {
                Seen::First => return,
                Seen::Repeated => {}
                Seen::OtherDevice => {
                    let others = &mut bucket.parts[OTHER_DEVICE];
                    *others = others.wrapping_add(1);
                }
            }
            let firsts = bucket.part(part);
            *firsts = firsts.wrapping_sub(1);
            self.epoch = epoch;
        }
    }

    /// The bucket that a key holds.
    #[inline(always)]
    fn bucket_of(&mut self, key: &Hitter) -> Option<&mut Bucket> {
        if !self.bears(key.tag) {
            return None;
        }
        let way = self.way_of(key.tag);
        if self.claims >> way & 1 != 0 {
            return None;
        }
        // The mask is what shows the verifier that it is a way.
        self.ways.get_mut(way & (WAYS - 1)).filter(|bucket| bucket.belongs_to(key))
    }

    /// Whether a way has this tag. In a flood none does, and that takes one branch, not taken: those
    /// that are taken cost most where nothing is in the processor's caches.
    #[inline(always)]
    fn bears(&self, tag: u32) -> bool {
        let any = self.same(0, tag) | self.same(1, tag) | self.same(2, tag) | self.same(3, tag);
        any.cast_signed() < 0
    }

    /// The highest bit says whether a way has this tag.
    #[inline(always)]
    const fn same(&self, way: usize, tag: u32) -> u64 {
        // Only 0 has a highest bit after 1 was taken away.
        ((self.tags[way] ^ tag) as u64).wrapping_sub(1)
    }

    /// The way that has this tag, if one does: no two do. Calculated, since the verifier would look at
    /// what follows a branch once for each way.
    #[inline(always)]
    fn way_of(&self, tag: u32) -> usize {
        let [one, two, three] = [self.same(1, tag), self.same(2, tag), self.same(3, tag)];
        // The compiler sees that this is a way and would leave the masks out by which the verifier
        // sees it: to that of 6.1 an OR may be anything.
        black_box(((one | three) >> 63 | (two | three) >> 63 << 1) as usize)
    }

    /// A SYN of a key whose tag a way bears.
    #[inline(always)]
    fn again(&mut self, way: usize, key: &Hitter, come: Come, epoch: u32) {
        // The mask is what shows the verifier that it is a way.
        let way = way & (WAYS - 1);
        let bucket = &mut self.ways[way];
        if self.claims >> way & 1 != 0 {
            bucket.take(key, self.evicted);
            self.claims ^= 1 << way;
        } else if !bucket.belongs_to(key) {
            // Another key with the same tag.
            self.evicted = self.evicted.wrapping_add(come.syns);
            return;
        }
        bucket.count(come);
        self.strengths[way] = self.strengths[way].saturating_add(come.syns);
        self.epochs[way] = epoch;
    }

    #[inline(always)]
    fn newcomer(&mut self, key: &Hitter, come: Come, epoch: u32) {
        // The strength with the way's number below it, and the smallest of them. A shift by 63 where
        // it is not wanted: a comparison would be a branch here, which a flood's random sources make
        // unpredictable, and what follows it the verifier would look at twice.
        let mut weakest = i64::MAX >> 8;
        let mut ages = 0;
        for way in 0..WAYS {
            let age = epoch.wrapping_sub(self.epochs[way]);
            ages |= age;
            // What stands between the newcomer and this way; an empty one has no strength.
            let stale = unless_negative(age as i64 - STALE_EPOCHS as i64 - 1);
            let standing = (self.strengths[way] as u64) >> stale;
            let less = ((standing << WAY_BITS) | way as u64) as i64 - weakest;
            weakest += less >> unless_negative(less);
        }
        let weakest = weakest as u64;
        let way = weakest as usize & (WAYS - 1);
        let standing = weakest >> WAY_BITS;
        if standing != 0 {
            // Until the oldest way is stale, or before: together the ages are no less than the most.
            self.full_until = epoch.wrapping_add(STALE_EPOCHS + 1).wrapping_sub(ages);
        }
        if standing > come.syns as u64 {
            self.strengths[way] -= come.syns;
            self.evicted = self.evicted.wrapping_add(come.syns);
            return;
        }
        self.tags[way] = key.tag;
        self.strengths[way] = come.syns;
        self.epochs[way] = epoch;
        if standing == 0 {
            self.claims &= !(1 << way);
            let bucket = &mut self.ways[way];
            bucket.take(key, self.evicted);
            bucket.count(come);
            return;
        }
        // The newcomer's own SYN is not counted for it.
        let mut lost = come.syns;
        if self.claims >> way & 1 == 0 {
            self.claims |= 1 << way;
            lost += self.ways[way].syns;
        }
        self.evicted = self.evicted.wrapping_add(lost);
    }
}

/// 63, or 0 for a negative number. Of less than 58 bits.
#[inline(always)]
const fn unless_negative(number: i64) -> u32 {
    (!number as u64 >> 58) as u32
}

impl Bucket {
    #[inline(always)]
    fn belongs_to(&self, key: &Hitter) -> bool {
        self.addr[1] == key.addr.0[1] && self.addr[0] == key.addr.0[0] && self.slot == key.slot
    }

    #[inline(always)]
    const fn part(&mut self, part: u32) -> &mut u32 {
        // The mask is what shows the verifier that it is one.
        &mut self.parts[part as usize & (PARTS - 1)]
    }

    #[inline(always)]
    fn count(&mut self, come: Come) {
        self.syns = self.syns.wrapping_add(come.syns);
        let part = self.part(come.part);
        *part = part.wrapping_add(come.of_part());
    }

    #[inline(always)]
    fn take(&mut self, key: &Hitter, bound: u32) {
        let being_done = self.generation.wrapping_add(1);
        let next = Self {
            addr: key.addr.0,
            slot: key.slot,
            generation: being_done,
            bound,
            ..Self::default()
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

/// Which of the newcomers to a full set is let in, of the `four`th [`SAMPLE`] of them.
#[inline(always)]
const fn chosen(set: u32, four: u32) -> u32 {
    // Multiples of the golden ratio are spread evenly, whatever the step between them.
    four.wrapping_add(set).wrapping_mul(0x9e37_79b9) >> (32 - SAMPLE.trailing_zeros())
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
    (hash >> 16) as u32 | 1
}

/// The /24 (IPv4) or /64 (IPv6) that an address is in.
#[inline(always)]
#[must_use]
pub const fn prefix(addr: Addr) -> Addr {
    const WITHOUT_LAST_BYTE: u64 =
        u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    let [first, second] = addr.0;
    let v4 = addr.v4_mask();
    Addr([first & !v4, second & WITHOUT_LAST_BYTE & v4])
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
    (hash >> 20) as u32 | 1
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
    assert!(PREFIX_SETS.is_power_of_two() && SAMPLE.is_power_of_two());
    assert!(size_of::<Bucket>() == 64);
    assert!(size_of::<Set>() == 320 && core::mem::offset_of!(Set, ways) == 64);
};

#[cfg(test)]
mod tests;
