//! How many different: HyperLogLog (Flajolet, Fusy, Gandouet, Meunier 2007) over a keyed 64-bit
//! hash.

use super::SLOTS;

/// Bits of the hash that choose the register.
pub const PRECISION: u32 = 13;
/// Registers of a sketch, one byte each: a standard error of 1.04 / sqrt(8192) = 1.15 %.
pub const REGISTERS: usize = 1 << PRECISION;
/// Sketch of the different destinations (address and port) of SYNs to closed ports.
pub const CLOSED_TARGETS: u32 = SLOTS;
/// Sketch of the different sources of SYN-ACKs to this namespace's own addresses.
pub const SYN_ACK_SOURCES: u32 = SLOTS + 1;
/// Sketches of one epoch: one of sources per destination slot, and the two above.
pub const SKETCHES: u32 = SLOTS + 2;

/// Register of a hash, and its rank: the place of the last 1 among the other bits, from 1. A register
/// keeps the highest rank it has seen.
#[inline(always)]
#[must_use]
pub fn register(hash: u64) -> (usize, u8) {
    let index = (hash >> (64 - PRECISION)) as usize;
    let rank = match LAST_ONE >> ((hash & 15) * 4) & 15 {
        0 => {
            core::hint::cold_path();
            // A guard bit, so that the rank ends with the hash.
            (hash | 1 << (64 - PRECISION)).trailing_zeros() as u8 + 1
        }
        rank => rank as u8,
    };
    (index, rank)
}

/// Place of the last 1 of each four bits, from 1; 0: none. The BPF target has no instruction for it,
/// what stands in for one takes forty, and a table in memory is one more cache line to wait for.
const LAST_ONE: u64 = {
    let mut table = 0;
    let mut bits: u64 = 1;
    while bits < 16 {
        table |= (bits.trailing_zeros() as u64 + 1) << (bits * 4);
        bits += 1;
    }
    table
};

/// Number that stands for a port instead of a slot in the hash of a destination
/// ([`crate::hash::single`]).
#[inline(always)]
#[must_use]
pub const fn port_number(port: u16) -> u32 {
    0x1_0000 | port as u32
}

/// Element of a sketch in the double-buffered array.
#[inline(always)]
#[must_use]
pub const fn index(epoch: u32, sketch: u32) -> u32 {
    sketch * 2 + (epoch & 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Addr;
    use crate::hash::{self, tests::key};

    #[test]
    fn registers_are_hit_evenly_and_ranks_halve() {
        let mut hits = [0u32; REGISTERS];
        let mut ranks = [0u32; 64];
        let sources = 64 * REGISTERS as u32;
        let key = key(3);
        for source in 0..sources {
            let addr = Addr::v4((0x0a00_0000 + source).to_be());
            let (index, rank) = register(hash::single(&key, 5, addr));
            hits[index] += 1;
            ranks[rank as usize] += 1;
        }
        // Chi-squared of 8191 degrees of freedom: 8191 +- 6 standard deviations of 128.
        let chi: f64 = hits.iter().map(|hit| (f64::from(*hit) - 64.0).powi(2) / 64.0).sum();
        assert!((chi - 8191.0).abs() < 6.0 * 128.0, "{chi}");
        assert_eq!(ranks[0], 0);
        for (rank, hits) in ranks.iter().enumerate().take(8).skip(1) {
            let expected = f64::from(sources >> rank);
            assert!((f64::from(*hits) - expected).abs() < 6.0 * expected.sqrt());
        }
    }

    #[test]
    fn ranks_end_with_the_hash() {
        assert_eq!(register(0), (0, 52));
        assert_eq!(register(u64::MAX << 51), (REGISTERS - 1, 52));
        assert_eq!(register(u64::MAX), (REGISTERS - 1, 1));
        for rank in 1..=51u8 {
            assert_eq!(register(1 << (rank - 1)), (0, rank));
            assert_eq!(register(u64::MAX << (rank - 1)), (REGISTERS - 1, rank));
        }
    }
}
