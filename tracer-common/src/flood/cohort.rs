//! SYNs in cohorts: those that came within the same span of time.
//!
//! SYNs, and what ends their half-open connections, are counted in [`PARTS`] by the cohort of the SYN:
//! its number modulo [`TOLD_APART`]. Whoever reads often enough knows which is meant, and can tell for
//! each cohort how many of its SYNs wait still.

/// Length of a cohort is 2 to this power nanoseconds, some 1.07 seconds: no division.
const SHIFT: u32 = 30;
/// Length of a cohort, nanoseconds.
pub const LENGTH_NS: u64 = 1 << SHIFT;
/// So many cohorts that follow one another are told apart. Between two readings the next one may begin,
/// so what ends has its SYN in one of [`IN_TIME`] of them.
pub const TOLD_APART: u32 = 7;
/// The SYN of what ends in time came in the same cohort or so many less one before: some five seconds,
/// in which a SYN-ACK is sent for the third time.
pub const IN_TIME: u32 = TOLD_APART - 1;
/// Parts of a count: [`TOLD_APART`] cohorts, and [`REST`].
pub const PARTS: usize = 8;
/// The part of what ends later.
pub const REST: u32 = TOLD_APART;

/// Number of the cohort of a SYN that came at `ts_ns`, nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
#[must_use]
pub const fn number(ts_ns: u64) -> u64 {
    ts_ns >> SHIFT
}

/// Part of a cohort. Its number counts modulo 2^31, which is 73 years.
#[inline(always)]
#[must_use]
pub const fn part_of(number: u64) -> u32 {
    // A seventh, rounded up, in units of 2^-34: exact for 31 bits. A division would cost a SYN more than
    // all that is done with the outcome.
    let number = number as u32 & (u32::MAX >> 1);
    let seventh = (number as u64 * 0x9249_2493) >> 34;
    number.wrapping_sub(TOLD_APART * seventh as u32)
}

/// Part of a SYN.
#[inline(always)]
#[must_use]
pub const fn part(ts_ns: u64) -> u32 {
    part_of(number(ts_ns))
}

/// Part of what ends at `now_ns`, by completion or by a RST, and had its SYN at `syn_ts_ns`.
#[inline(always)]
#[must_use]
pub const fn part_of_end(syn_ts_ns: u64, now_ns: u64) -> u32 {
    let age = number(now_ns).wrapping_sub(number(syn_ts_ns)) as i64;
    // All bits if it is older: without a branch, or the verifier would look at all that follows twice.
    let older = (IN_TIME as i64 - 1 - age) >> 63;
    part(syn_ts_ns) | older as u32 & REST
}

const _: () = {
    // Which `part_of_end` makes of any other part.
    assert!(REST == 7 && PARTS == REST as usize + 1 && PARTS.is_power_of_two());
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_the_number_modulo_seven() {
        for number in [0, 7, 1 << 20, 0x2492_4924, 0x5555_5555, 0x7fff_ffff_u64] {
            for number in number.saturating_sub(8)..number + 8 {
                assert_eq!(u64::from(part_of(number)), number % (1 << 31) % 7, "{number}");
            }
        }
        assert!((0..64).all(|bit| part_of(u64::MAX >> bit) < TOLD_APART));
    }

    #[test]
    fn ends_are_told_apart_for_some_five_seconds() {
        for cohort in 100..107 {
            let syn = cohort * LENGTH_NS + 7;
            let own = (cohort % 7) as u32;
            assert_eq!(part(syn), own);
            assert_eq!(part_of_end(syn, syn), own);
            // A CPU's clock may be behind another's by a little.
            assert_eq!(part_of_end(syn, cohort * LENGTH_NS - 1), own);
            assert_eq!(part_of_end(syn, syn + 5_300_000_000), own);
            assert_eq!(part_of_end(syn, (cohort + 6) * LENGTH_NS - 1), own);
            for late in [6, 7, 8, 60] {
                assert_eq!(part_of_end(syn, (cohort + late) * LENGTH_NS), REST);
            }
        }
    }
}
