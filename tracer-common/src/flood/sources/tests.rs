extern crate std;

use std::vec;
use std::vec::Vec;

use super::*;
use crate::hash::{self, tests::key as hash_key};

/// Seeds of two keys.
const A: u64 = 1;
const B: u64 = 2;
const SLOT: u32 = 5;
/// The set of all keys that [`key`] makes.
const SET: u32 = 3;

/// A key whose tag nobody else has.
fn key(slot: u32, addr: Addr) -> Hitter {
    Hitter { set: SET, ..Hitter::source(hash::single(&hash_key(A), slot, addr), slot, addr) }
}

/// A SYN not seen before.
fn first() -> Come {
    Come::one(1, true)
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
        let key = Hitter::source(hash::single(&self.key, SLOT, addr), SLOT, addr);
        self.sets[set].hit(&key, first(), epoch);
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
        assert_eq!((bucket.syns, bucket.parts[1], bucket.bound), (1000, 1000, 0));
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

/// A stranger that is not turned away, after those that are: how many SYNs it stands for.
fn stranger(set: &mut Set, number: u32, epoch: u32) -> u32 {
    (0..2 * SAMPLE)
        .map(|nth| set.hit(&key(SLOT, v4(1000 * number + nth)), first(), epoch))
        .find(|stands_for| *stands_for != 0)
        .expect("one of so many is let in")
}

#[test]
fn a_newcomer_wears_the_weakest_down_and_takes_its_way() {
    let mut set = Set::default();
    for (source, hits) in [(1, 5), (2, 3), (3, 9), (4, 9)] {
        for _ in 0..hits {
            assert_eq!(set.hit(&key(SLOT, v4(source)), first(), 4), 1);
        }
    }
    let before = set.ways[1];
    assert_eq!((before.syns, set.strengths[1], before.bound), (3, 3, 0));
    // That the set is full is seen by the first stranger; from then on one in four is let in, and
    // stands for those that were turned away.
    assert_eq!(stranger(&mut set, 10, 4), 1);
    assert_eq!((set.evicted, set.claims, set.strengths[1]), (1, 0, 2));
    assert_eq!(stranger(&mut set, 11, 4), SAMPLE);
    assert_eq!((set.evicted, set.claims, set.strengths[1]), (5, 0, 1));
    // The third lays claim to the way of source 2.
    assert_eq!(stranger(&mut set, 12, 8), SAMPLE);
    assert_eq!((set.evicted, set.claims, set.ways[1]), (12, 0b10, before), "9 + 3 of its own");
    // A claim gives way to the next one, and nobody holds the way meanwhile.
    assert_eq!(stranger(&mut set, 13, 8), SAMPLE);
    set.amend(&key(SLOT, v4(2)), 1, Seen::Repeated, 8);
    let stands_for = (0..2 * SAMPLE)
        .map(|_| set.hit(&key(SLOT, v4(2)), first(), 8))
        .find(|stands_for| *stands_for != 0);
    assert_eq!(stands_for, Some(SAMPLE));
    assert_eq!((set.evicted, set.claims, set.ways[1]), (20, 0b10, before));
    // Who comes again takes it.
    assert_eq!(set.hit(&key(SLOT, v4(2)), Come::one(1, false), 8), 1);
    let after = set.ways[1];
    assert_eq!((after.addr, after.syns, after.parts), (v4(2).0, 1, [0; 8]));
    assert_eq!((after.bound, set.evicted, set.claims, set.epoch), (20, 20, 0, 8));
    assert_eq!((after.generation, set.strengths[1]), (before.generation + 2, 2));
    set.hit(&key(SLOT, v4(2)), first(), 8);
    assert_eq!((set.ways[1].syns, set.ways[1].parts[1], set.evicted), (2, 1, 20));
}

#[test]
fn a_full_set_is_looked_at_again_when_a_way_may_be_stale() {
    let mut set = Set::default();
    for source in 1..=4 {
        set.hit(&key(SLOT, v4(source)), Come { syns: 100, ..first() }, source);
    }
    assert_eq!(stranger(&mut set, 10, 5), 1);
    // No later than the first one's, and not by more than twice its age before.
    assert!((STALE_EPOCHS - 3..=STALE_EPOCHS + 2).contains(&set.full_until), "{}", set.full_until);
    let other = Hitter { set: SET + 1, ..key(SLOT, v4(20)) };
    assert_eq!(set.hit(&other, first(), set.full_until - 1), 0);
    assert_eq!(set.hit(&key(SLOT, v4(21)), first(), STALE_EPOCHS + 2), 1);
    assert_eq!(set.ways[0].addr, v4(21).0);
}

/// What is turned away is stood for: the sum is right within little, at any time.
#[test]
fn what_stands_for_others_adds_up() {
    let mut sets = Sets::new(A);
    let mut state = 5;
    let mut stood_for = 0;
    for number in 1..=100_000u32 {
        let addr = v4((random(&mut state) % 50_000) as u32);
        let key = Hitter::source(hash::single(&sets.key, SLOT, addr), SLOT, addr);
        stood_for += sets.sets[key.set as usize].hit(&key, first(), 1 + number / 500);
        if number % 10_000 == 0 {
            // 512 sets, each of them off by up to 3, and not all in the same direction.
            assert!(stood_for.abs_diff(number) < 150, "{stood_for} of {number}");
        }
    }
}

/// Whatever their number, senders that take turns are let in one as often as another, or nearly so.
#[test]
fn senders_that_take_turns_are_all_let_in() {
    for senders in [2, 3, 4, 8, 12, 16, 64, 256] {
        let mut let_in = vec![0; senders];
        for nth in 0..senders as u32 * 256 {
            if nth % SAMPLE == chosen(SET, nth / SAMPLE) {
                let_in[nth as usize % senders] += 1;
            }
        }
        let even = 256 / SAMPLE;
        assert!(let_in.iter().all(|n| (even / 2..=even * 2).contains(n)), "{senders}: {let_in:?}");
    }
}

#[test]
fn a_first_syn_that_was_none_is_taken_back() {
    let mut set = Set::default();
    for _ in 0..5 {
        set.hit(&key(SLOT, v4(1)), first(), 1);
    }
    set.amend(&key(SLOT, v4(1)), 1, Seen::Repeated, 2);
    set.amend(&key(SLOT, v4(1)), 1, Seen::OtherDevice, 3);
    set.amend(&key(SLOT, v4(1)), 1, Seen::First, 4);
    set.amend(&key(SLOT, v4(9)), 1, Seen::Repeated, 4);
    let way = set.ways[0];
    assert_eq!((way.syns, way.parts, set.epoch), (5, [0, 3, 0, 0, 0, 0, 0, 1], 3));
}

#[test]
fn each_part_is_counted_apart() {
    let mut set = Set::default();
    for (part, counted) in [(2, true), (0, true), (7, true), (2, true), (1, false)] {
        set.hit(&key(SLOT, v4(1)), Come::one(part, counted), 1);
    }
    set.hit(&key(SLOT, v4(1)), Come { syns: 7, part: 1, counted: true }, 1);
    assert_eq!((set.ways[0].syns, set.ways[0].parts), (12, [1, 7, 2, 0, 0, 0, 0, 1]));
    for part in 0..8 {
        let mut set = Set::default();
        set.hit(&key(SLOT, v4(1)), Come::one(part, true), 1);
        assert_eq!(
            set.ways[0].parts,
            [0, 1, 2, 3, 4, 5, 6, 7].map(|other| u32::from(other == part))
        );
    }
}

#[test]
fn the_same_tag_is_not_the_same_key() {
    let mut set = Set::default();
    let twin = Hitter { addr: v4(2), ..key(SLOT, v4(1)) };
    set.hit(&key(SLOT, v4(1)), first(), 1);
    set.hit(&twin, first(), 1);
    set.amend(&twin, 1, Seen::Repeated, 1);
    let way = set.ways[0];
    assert_eq!((way.addr, way.syns, way.parts), (v4(1).0, 1, [0, 1, 0, 0, 0, 0, 0, 0]));
    assert_eq!((set.evicted, set.strengths[0]), (1, 1));
}

#[test]
fn a_silent_way_is_free() {
    let mut set = Set::default();
    for source in 1..=4 {
        for _ in 0..100 {
            set.hit(&key(SLOT, v4(source)), first(), 1);
        }
    }
    for source in 2..=4 {
        set.hit(&key(SLOT, v4(source)), first(), 10);
    }
    set.hit(&key(SLOT, v4(9)), first(), 1 + STALE_EPOCHS);
    assert_eq!(set.ways[0].addr, v4(1).0, "not yet stale");
    set.hit(&key(SLOT, v4(9)), first(), 2 + STALE_EPOCHS);
    assert_eq!(set.ways[0].addr, v4(9).0);
    assert_eq!(set.evicted, 1, "what a stale way counted is not lost sight of");
}

#[test]
fn slots_are_apart_and_an_empty_way_is_nobodys() {
    let mut set = Set::default();
    let unspecified = Addr([0, 0]);
    set.hit(&key(0, unspecified), first(), 1);
    assert_eq!((set.ways[0].generation, set.ways[0].syns), (2, 1));
    set.hit(&key(1, unspecified), first(), 1);
    set.hit(&key(0, unspecified), first(), 1);
    assert_eq!((set.ways[0].syns, set.ways[1].syns), (2, 1));
    set.amend(&key(1, unspecified), 1, Seen::Repeated, 2);
    set.amend(&key(7, unspecified), 1, Seen::Repeated, 3);
    assert_eq!((set.ways[0].parts[1], set.ways[1].parts[1], set.epoch), (2, 0, 2));
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
