extern crate std;

use std::vec;
use std::vec::Vec;

use super::*;
use crate::hash::{self, tests::key as hash_key};

/// Seeds of two keys.
const A: u64 = 1;
const B: u64 = 2;
const SLOT: u32 = 5;

/// A key whose tag nobody else has.
fn key(slot: u32, addr: Addr) -> Hitter {
    Hitter { tag: source_tag(hash::single(&hash_key(A), slot, addr)), slot, addr }
}

/// One CPU's sets.
struct Sets {
    key: Key,
    sets: Vec<Set>,
}

impl Sets {
    fn new(seed: u64) -> Self {
        Self { key: hash_key(seed), sets: vec![Set::default(); SOURCE_SETS as usize] }
    }

    fn set(&self, addr: Addr) -> usize {
        source_set(hash::single(&self.key, SLOT, addr)) as usize
    }

    fn hit(&mut self, addr: Addr, epoch: u32) {
        let set = self.set(addr);
        let tag = source_tag(hash::single(&self.key, SLOT, addr));
        self.sets[set].hit(&Hitter { tag, slot: SLOT, addr }, true, epoch);
    }

    fn bucket(&self, addr: Addr) -> Option<Bucket> {
        let ways = self.sets[self.set(addr)].ways;
        ways.into_iter().find(|way| (way.addr, way.slot) == (addr.0, SLOT) && way.generation != 0)
    }

    /// What is counted for a source now.
    fn syns(&self, addr: Addr) -> u32 {
        self.bucket(addr).map_or(0, |bucket| bucket.syns)
    }
}

fn v4(number: u32) -> Addr {
    Addr::v4((0x0a00_0000 + number).to_be())
}

/// A generator that needs no crate: SplitMix64 (Steele, Lea, Flood 2014).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn a_heavy_source_among_100000_random_ones_is_counted_within_a_percent() {
    for seed in 0..8 {
        let mut sets = Sets::new(A);
        let mut state = seed;
        let heavy = v4(0xff_ffff);
        let mut sent = 0;
        for number in 0..200_000u32 {
            sets.hit(v4((random(&mut state) % 100_000) as u32), 1 + number / 10_000);
            if random(&mut state).is_multiple_of(10) {
                sets.hit(heavy, 1 + number / 10_000);
                sent += 1;
            }
        }
        let counted = sets.syns(heavy);
        assert!(counted <= sent && counted * 100 >= sent * 99, "{counted} of {sent}");
        let bucket = sets.bucket(heavy).unwrap();
        assert!(counted + bucket.bound >= sent, "the bound holds");
    }
}

#[test]
fn fifty_equal_sources_are_exact() {
    let mut sets = Sets::new(A);
    for round in 0..1000 {
        for source in 0..50 {
            sets.hit(v4(source), 1 + round / 100);
        }
    }
    for source in 0..50 {
        let bucket = sets.bucket(v4(source)).unwrap();
        assert_eq!((bucket.syns, bucket.firsts, bucket.bound), (1000, 1000, 0));
    }
}

#[test]
fn crafted_collisions_harm_only_under_the_key_they_were_crafted_for() {
    let heavy = v4(0);
    let set = Sets::new(A).set(heavy);
    let crafted: Vec<Addr> =
        (1..).map(v4).filter(|addr| Sets::new_set(A, *addr) == set).take(64).collect();
    let flood = |key| {
        let mut sets = Sets::new(key);
        for round in 0..200 {
            sets.hit(heavy, 1 + round / 50);
            for addr in &crafted {
                // Each as often as the heavy one: nobody in the set gets anywhere.
                sets.hit(*addr, 1 + round / 50);
            }
        }
        sets.syns(heavy)
    };
    assert!(flood(A) < 20, "displaced under the key that they know: {}", flood(A));
    assert_eq!(flood(B), 200, "exact under another");
}

impl Sets {
    fn new_set(key: u64, addr: Addr) -> usize {
        source_set(hash::single(&hash_key(key), SLOT, addr)) as usize
    }
}

#[test]
fn a_newcomer_wears_the_weakest_down_and_takes_its_way() {
    let mut set = Set::default();
    for (source, hits) in [(1, 5), (2, 3), (3, 9), (4, 9)] {
        for _ in 0..hits {
            set.hit(&key(SLOT, v4(source)), true, 1);
        }
    }
    let before = set.ways[1];
    assert_eq!((before.syns, set.strengths[1], before.bound), (3, 3, 0));
    // Three hits of strangers: the third lays claim to the way of source 2.
    set.hit(&key(SLOT, v4(10)), true, 1);
    set.hit(&key(SLOT, v4(11)), true, 1);
    assert_eq!((set.evicted, set.claims, set.strengths[1]), (2, 0, 1));
    set.hit(&key(SLOT, v4(12)), true, 2);
    assert_eq!((set.evicted, set.claims, set.ways[1]), (6, 0b10, before), "2 + 3 of its own + 1");
    // A claim gives way to the next one, and nobody holds the way meanwhile.
    set.hit(&key(SLOT, v4(13)), true, 2);
    set.reset(&key(SLOT, v4(13)), 2);
    set.hit(&key(SLOT, v4(2)), true, 2);
    assert_eq!((set.evicted, set.claims, set.ways[1]), (8, 0b10, before));
    // Who comes again takes it.
    set.hit(&key(SLOT, v4(2)), false, 2);
    let after = set.ways[1];
    assert_eq!((after.addr, after.syns, after.firsts), (v4(2).0, 1, 0));
    assert_eq!((after.bound, set.evicted, set.claims, set.epoch), (8, 8, 0, 2));
    assert_eq!((after.generation, set.strengths[1]), (before.generation + 2, 2));
    set.hit(&key(SLOT, v4(2)), true, 2);
    assert_eq!((set.ways[1].syns, set.ways[1].firsts, set.evicted), (2, 1, 8));
}

#[test]
fn the_same_tag_is_not_the_same_key() {
    let mut set = Set::default();
    let twin = Hitter { addr: v4(2), ..key(SLOT, v4(1)) };
    set.hit(&key(SLOT, v4(1)), true, 1);
    set.hit(&twin, true, 1);
    set.reset(&twin, 1);
    assert_eq!((set.ways[0].addr, set.ways[0].syns, set.ways[0].resets), (v4(1).0, 1, 0));
    assert_eq!((set.evicted, set.strengths[0]), (1, 1));
}

#[test]
fn a_silent_way_is_free() {
    let mut set = Set::default();
    for source in 1..=4 {
        for _ in 0..100 {
            set.hit(&key(SLOT, v4(source)), true, 1);
        }
    }
    for source in 2..=4 {
        set.hit(&key(SLOT, v4(source)), true, 10);
    }
    set.hit(&key(SLOT, v4(9)), true, 1 + STALE_EPOCHS);
    assert_eq!(set.ways[0].addr, v4(1).0, "not yet stale");
    set.hit(&key(SLOT, v4(9)), true, 2 + STALE_EPOCHS);
    assert_eq!(set.ways[0].addr, v4(9).0);
    assert_eq!(set.evicted, 1, "what a stale way counted is not lost sight of");
}

#[test]
fn slots_are_apart_and_an_empty_way_is_nobodys() {
    let mut set = Set::default();
    let unspecified = Addr([0, 0]);
    set.hit(&key(0, unspecified), true, 1);
    assert_eq!((set.ways[0].generation, set.ways[0].syns), (2, 1));
    set.hit(&key(1, unspecified), true, 1);
    set.hit(&key(0, unspecified), true, 1);
    assert_eq!((set.ways[0].syns, set.ways[1].syns), (2, 1));
    set.reset(&key(1, unspecified), 2);
    set.reset(&key(7, unspecified), 3);
    assert_eq!((set.ways[0].resets, set.ways[1].resets, set.epoch), (0, 1, 2));
}

#[test]
fn prefixes_are_the_24_and_the_64() {
    let v4 = |bytes: [u8; 4]| Addr::v4(u32::from_ne_bytes(bytes));
    assert_eq!(prefix(v4([10, 1, 2, 3])), v4([10, 1, 2, 0]));
    let v6 = Addr::from_bytes([0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    let expected = Addr::from_bytes([0xfd, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(prefix(v6), expected);
}

#[test]
fn prefixes_spread_over_the_sets() {
    for key in [A, B] {
        let mut hits = [0u32; PREFIX_SETS as usize];
        for number in 0..PREFIX_SETS * 64 {
            hits[prefix_set(prefix_hash(&hash_key(key), SLOT, prefix(v4(number << 8))))
                as usize] += 1;
        }
        assert!(hits.iter().all(|hits| (16..=160).contains(hits)), "{hits:?}");
        let mut hits = [0u32; PREFIX_SETS as usize];
        for number in 0..PREFIX_SETS * 64 {
            let addr = Addr::v6([0xfd, number.to_be(), 0, 7]);
            hits[prefix_set(prefix_hash(&hash_key(key), SLOT, prefix(addr))) as usize] += 1;
        }
        assert!(hits.iter().all(|hits| (16..=160).contains(hits)), "{hits:?}");
    }
}
