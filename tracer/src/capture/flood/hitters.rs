//! Who sends most: the sets of the SYN hook, filled and read here.

use rustc_hash::FxHashMap;
use tracer_common::flood::sources::{Bucket, Come, Hitter, Set, WAYS};

use crate::core::flood::parts::Changes;
use crate::core::flood::tick::Growth;

/// A key: number of the destination, and address.
pub(super) type Key = (u32, [u64; 2]);

/// Sets whose last change is so many epochs ago have been read. Destinations wait for a second, four
/// epochs, until it is known what they are.
const READ: u32 = 8;

/// Sets of one kind of key. Their memory is fixed.
pub(super) struct Hitters {
    sets: Box<[Set]>,
    /// The ways as they were read last.
    seen: Box<[[Bucket; WAYS]]>,
}

impl Hitters {
    pub(super) fn new(sets: u32) -> Self {
        Self {
            sets: vec![Set::default(); sets as usize].into(),
            seen: vec![[Bucket::default(); WAYS]; sets as usize].into(),
        }
    }

    /// Counts; says for how many SYNs this one stands, as [`Set::hit`].
    pub(super) fn hit(&mut self, key: &Hitter, come: Come, epoch: u32) -> u32 {
        self.sets.get_mut(key.set as usize).map_or(0, |set| set.hit(key, come, epoch))
    }

    /// What the keys of the destinations that are `due` have grown by. The others' waits.
    pub(super) fn read(
        &mut self,
        epoch: u32,
        mut due: impl FnMut(u32) -> bool,
    ) -> FxHashMap<Key, Growth> {
        let mut growth: FxHashMap<Key, Growth> = FxHashMap::default();
        for (set, seen) in self.sets.iter().zip(&mut self.seen) {
            if epoch.wrapping_sub(set.epoch) > READ {
                continue;
            }
            for (now, seen) in set.ways.iter().zip(seen) {
                if now.generation == 0 || now == seen || !due(now.slot) {
                    continue;
                }
                let before =
                    if seen.generation == now.generation { *seen } else { Bucket::default() };
                let mut firsts = Changes::default();
                for ((part, now), before) in (0..).zip(now.parts).zip(before.parts) {
                    firsts.count(part, now.wrapping_sub(before).cast_signed());
                }
                let syns = now.syns.wrapping_sub(before.syns).into();
                let grown = Growth { syns, firsts, bound: now.bound.into() };
                *seen = *now;
                growth.entry((now.slot, now.addr)).or_default().add(&grown);
            }
        }
        growth
    }
}
