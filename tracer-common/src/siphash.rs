//! SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF"): keyed, so that nobody
//! outside can aim at a slot of a table.

use crate::addr::Addr;

/// The two words of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub u64, pub u64);

/// The hash at work.
pub(crate) struct SipHash {
    v: [u64; 4],
}

impl SipHash {
    #[inline(always)]
    pub(crate) fn new(key: Key) -> Self {
        Self {
            v: [
                key.0 ^ 0x736f_6d65_7073_6575,
                key.1 ^ 0x646f_7261_6e64_6f6d,
                key.0 ^ 0x6c79_6765_6e65_7261,
                key.1 ^ 0x7465_6462_7974_6573,
            ],
        }
    }

    /// Eight bytes of the message.
    #[inline(always)]
    pub(crate) fn absorb(&mut self, word: u64) {
        self.v[3] ^= word;
        round(&mut self.v);
        self.v[0] ^= word;
    }

    /// The last word: the message's length in the highest byte, its last bytes (at most seven)
    /// below.
    #[inline(always)]
    pub(crate) fn finish(mut self, last: u64) -> u64 {
        self.absorb(last);
        self.v[2] ^= 0xff;
        round(&mut self.v);
        round(&mut self.v);
        round(&mut self.v);
        self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3]
    }
}

/// Hash of an address and a number of at most 24 bits. An IPv4 address makes a message of seven
/// bytes, which is one word.
#[inline(always)]
#[must_use]
pub fn address(key: Key, number: u32, addr: Addr) -> u64 {
    let mut hash = SipHash::new(key);
    let number = (number & 0xff_ffff) as u64;
    if addr.is_v4() {
        let v4 =
            if cfg!(target_endian = "little") { addr.0[1] >> 32 } else { addr.0[1] & 0xffff_ffff };
        hash.finish((7 << 56) | (number << 32) | v4)
    } else {
        hash.absorb(addr.0[0]);
        hash.absorb(addr.0[1]);
        hash.finish((19 << 56) | number)
    }
}

#[inline(always)]
fn round(v: &mut [u64; 4]) {
    let [mut a, mut b, mut c, mut d] = *v;
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    *v = [a, b, c, d];
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::HashSet;
    use std::hash::Hasher as _;

    use super::*;

    #[test]
    fn it_is_the_siphash_that_std_has() {
        use std::collections::hash_map::DefaultHasher;
        let mut theirs = DefaultHasher::new();
        theirs.write_u64(0x0123_4567_89ab_cdef);
        theirs.write_u64(42);
        let mut ours = SipHash::new(Key(0, 0));
        ours.absorb(0x0123_4567_89ab_cdef);
        ours.absorb(42);
        assert_eq!(ours.finish(16 << 56), theirs.finish());

        let mut theirs = DefaultHasher::new();
        theirs.write(&[10, 0, 0, 1, 5, 0, 0]);
        let v4 = Addr::v4(u32::from_ne_bytes([10, 0, 0, 1]));
        if cfg!(target_endian = "little") {
            assert_eq!(address(Key(0, 0), 5, v4), theirs.finish());
        }
    }

    #[test]
    fn key_number_and_address_all_count() {
        let v4 = |last| Addr::v4(u32::from_ne_bytes([10, 0, 0, last]));
        let v6 = |last| Addr::v6([0xfd, 0, 0, last]);
        let mut seen = HashSet::new();
        for key in [Key(1, 2), Key(2, 1)] {
            for number in [0, 1, 256, 0x1_0050] {
                for last in 0..50u8 {
                    assert!(seen.insert(address(key, number, v4(last))));
                    assert!(seen.insert(address(key, number, v6(last.into()))));
                }
            }
        }
    }
}
