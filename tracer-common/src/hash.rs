//! The keyed hash of the tables that strangers fill: whoever does not know the key can aim at none
//! of their elements.
//!
//! Multilinear hashing in its form with half the multiplications (Lemire and Kaser, "Strongly
//! universal string hashing is fast", 2014): with `x` the message's 32-bit words and `k` random
//! 64-bit ones, the sum of `(k[2i] + x[2i]) * (k[2i+1] + x[2i+1])` modulo 2^64. For any two messages
//! that differ, its upper 32 bits are independent and uniform over the choice of the key. That holds
//! for messages chosen by an adversary who sees no hashes; nobody outside does.
//!
//! A SYN is hashed for several tables before any of its memory is asked for, so this is what it
//! waits for first: the products do not wait for each other, as the rounds of a cipher do.

use crate::addr::Addr;

/// Random words, drawn at start.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// For the first address.
    pub first: [u64; 4],
    /// For the second address.
    pub second: [u64; 4],
    /// For numbers.
    pub numbers: [u64; 2],
    /// For [`scramble`].
    pub scramble: [u64; 2],
    /// What the first words of an IPv4 address, the same for all of them, make of `first` and `second`.
    mapped: [Mapped; 2],
}

/// The part of an address's sum that is the same for all IPv4 addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mapped {
    /// The first product.
    product: u64,
    /// The first factor of the second.
    factor: u64,
}

impl Mapped {
    const fn of([a, b, c, _]: [u64; 4]) -> Self {
        let [zeros, prefix] = Addr::v4(0).0;
        Self {
            product: product([a, b], words(zeros)),
            factor: c.wrapping_add(words(prefix)[0] as u64),
        }
    }
}

/// Random words of a [`Key`].
pub const KEY_WORDS: usize = 12;

impl Key {
    /// From random words.
    #[must_use]
    pub const fn new(words: [u64; KEY_WORDS]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = words;
        let (first, second) = ([a, b, c, d], [e, f, g, h]);
        let mapped = [Mapped::of(first), Mapped::of(second)];
        Self { first, second, numbers: [i, j], scramble: [k, l], mapped }
    }
}

#[inline(always)]
const fn product(keys: [u64; 2], words: [u32; 2]) -> u64 {
    keys[0].wrapping_add(words[0] as u64).wrapping_mul(keys[1].wrapping_add(words[1] as u64))
}

#[inline(always)]
const fn words(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

/// What an address adds to a sum.
#[inline(always)]
const fn address(key: &[u64; 4], mapped: &Mapped, addr: Addr) -> u64 {
    let [a, b, c, d] = *key;
    // Where the compiler knows the family nothing of this is left but one product.
    if cfg!(target_endian = "little") && addr.is_v4() {
        let last = words(addr.0[1])[1] as u64;
        return mapped.product.wrapping_add(mapped.factor.wrapping_mul(d.wrapping_add(last)));
    }
    product([a, b], words(addr.0[0])).wrapping_add(product([c, d], words(addr.0[1])))
}

/// Hash of two addresses and two numbers, scrambled like [`single`]. The sum alone would be enough
/// against an adversary, but not for an honest client, whose ports follow one another: with one key
/// in some hundreds, ports a fixed step apart would share their upper bits.
#[inline(always)]
#[must_use]
pub const fn pair(key: &Key, addrs: [Addr; 2], numbers: [u32; 2]) -> u64 {
    pair_with(key, share(key, addrs[0]), addrs[1], numbers)
}

/// What [`pair`] and [`single`] have in common where both are asked for the same first address.
#[inline(always)]
#[must_use]
pub const fn share(key: &Key, first: Addr) -> u64 {
    address(&key.first, &key.mapped[0], first)
}

/// [`pair`] from the [`share`] of its first address.
#[inline(always)]
#[must_use]
pub const fn pair_with(key: &Key, share: u64, second: Addr, numbers: [u32; 2]) -> u64 {
    let sum = share
        .wrapping_add(address(&key.second, &key.mapped[1], second))
        .wrapping_add(product(key.numbers, numbers));
    scramble(&key.scramble, sum)
}

/// Hash of an address and a number, scrambled: all of its bits are good, and neighbours are nothing
/// to each other.
#[inline(always)]
#[must_use]
pub const fn single(key: &Key, number: u32, addr: Addr) -> u64 {
    single_with(key, share(key, addr), number)
}

/// [`single`] from the [`share`] of its address.
#[inline(always)]
#[must_use]
pub const fn single_with(key: &Key, share: u64, number: u32) -> u64 {
    scramble(&key.scramble, share.wrapping_add(product(key.numbers, [number, 0])))
}

/// One-to-one. A multiplication carries upwards only, so the upper half is folded down before each.
#[inline(always)]
const fn scramble(key: &[u64; 2], mut word: u64) -> u64 {
    word ^= word >> 32;
    word = word.wrapping_mul(key[0] | 1);
    word ^= word >> 29;
    word = word.wrapping_mul(key[1] | 1);
    word ^ word >> 32
}

const _: () = assert!(size_of::<Key>() == (KEY_WORDS + 4) * size_of::<u64>());

#[cfg(test)]
pub(crate) mod tests {
    extern crate std;

    use std::collections::HashSet;

    use super::*;

    /// A key that depends on a number: SplitMix64 (Steele, Lea, Flood 2014).
    pub(crate) fn key(seed: u64) -> Key {
        let mut state = seed;
        Key::new(core::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    fn v4(last: u8) -> Addr {
        Addr::v4(u32::from_ne_bytes([10, 0, 0, last]))
    }

    fn v6(last: u8) -> Addr {
        Addr::v6([0xfd, 0, 0, u32::from(last).to_be()])
    }

    #[test]
    fn key_number_and_address_all_count() {
        let mut seen = HashSet::new();
        for key in [key(1), key(2)] {
            for number in [0, 1, 256, 0x1_0050] {
                for last in 0..50u8 {
                    assert!(seen.insert(single(&key, number, v4(last))));
                    assert!(seen.insert(single(&key, number, v6(last))));
                }
            }
        }
    }

    #[test]
    fn sides_and_numbers_are_not_interchangeable() {
        let key = key(1);
        let mut seen = HashSet::new();
        for (one, other) in [(v4(1), v4(2)), (v4(2), v4(1)), (v6(1), v6(2)), (v6(2), v6(1))] {
            for numbers in [[1, 2], [2, 1], [1, 1], [2, 2]] {
                assert!(seen.insert(pair(&key, [one, other], numbers) >> 32));
            }
        }
    }

    #[test]
    fn what_is_shared_gives_the_same_hashes() {
        for seed in 0..100 {
            let key = key(seed);
            for (one, other) in [(v4(1), v4(2)), (v6(1), v4(2)), (v6(2), v6(1))] {
                let share = share(&key, one);
                let numbers = [80 << 16 | 40_000, seed as u32];
                assert_eq!(
                    pair_with(&key, share, other, numbers),
                    pair(&key, [one, other], numbers)
                );
                assert_eq!(single_with(&key, share, 7), single(&key, 7, one));
            }
        }
    }

    /// Of pairs of messages that differ in one bit, as many agree in the ten highest bits as chance
    /// has it, whatever the bit: no difference can be chosen that makes two collide.
    #[test]
    fn no_difference_collides_more_often_than_chance() {
        for bit in 0..320 {
            let mut same = 0;
            for seed in 0..3000 {
                let key = key(seed * 1000 + bit);
                let mut message = [0x0123_4567_89ab_cdefu64, 0, 0, 0xffff_0000_ffff_ffff, 7];
                let hash = |message: &[u64; 5]| {
                    let addrs = [Addr([message[0], message[1]]), Addr([message[2], message[3]])];
                    pair(&key, addrs, words(message[4])) >> 54
                };
                let before = hash(&message);
                message[bit as usize / 64] ^= 1 << (bit % 64);
                same += u32::from(hash(&message) == before);
            }
            // 3000 / 1024 are expected; 20 or more have a chance of 10^-10.
            assert!(same < 20, "bit {bit}: {same}");
        }
    }

    /// A client whose ports follow one another: whatever the key, next to none of a thousand share
    /// their upper 16 bits (8 pairs are expected), and any step between two ports is as good as
    /// another.
    #[test]
    fn consecutive_ports_scatter_under_every_key() {
        for seed in 0..4000 {
            let key = key(seed);
            let mut seen = HashSet::new();
            let shared = (0..1000u32)
                .map(|port| pair(&key, [v4(1), v4(2)], [80 << 16 | (32_768 + 2 * port), 7]) >> 48)
                .filter(|upper| !seen.insert(*upper))
                .count();
            // A Poisson variable of mean 7.6: 40 has a chance of 10^-15.
            assert!(shared < 40, "{seed}: {shared}");
        }
    }

    /// Neighbouring addresses, and those that step by a power of two, spread like random ones over
    /// the highest and over the lowest bits.
    #[test]
    fn regular_addresses_scatter() {
        for seed in 0..4 {
            let key = key(seed);
            for step in [0, 4, 8, 12, 16] {
                let mut hits = [[0u32; 256]; 2];
                for number in 0..16_384u32 {
                    let hash = single(&key, 3, Addr::v4((number << step).to_be()));
                    hits[0][(hash >> 56) as usize] += 1;
                    hits[1][(hash & 255) as usize] += 1;
                }
                for hits in hits {
                    // 64 are expected, with a standard deviation of 8: chi-squared of 255 degrees.
                    let chi: f64 = hits.iter().map(|n| (f64::from(*n) - 64.0).powi(2) / 64.0).sum();
                    assert!((chi - 255.0).abs() < 6.0 * 22.6, "{seed} {step} {chi}");
                }
            }
        }
    }
}
