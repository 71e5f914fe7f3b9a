//! Lanes: a ring for each CPU, for the records of which there are many.
//!
//! The one ring buffer has a lock, and two of its stores wait for all stores before them, those into
//! the record too, whose memory is in no near cache. A lane has one writer, the state program on its
//! CPU, and one reader, the user side. Nobody waits in it.

use crate::record::SocketRecord;

/// The transition that the first state program saw last.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Mark {
    /// Its socket's address.
    pub sk: u64,
    /// The two states.
    pub states: u64,
}

/// A lane's positions; its records are apart. Positions count records and never go back.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Lane {
    /// Records written. The kernel side's.
    pub published: u64,
    /// 1 while the writer is at work: before Linux 6.1 an interrupt may run it once more.
    pub busy: u64,
    /// For the second state program: what the first has seen. One for sockets locked by a process,
    /// one for the others: a transition of the first kind can be interrupted by those of the second,
    /// which happen with softirqs off and so by nothing.
    pub marks: [Mark; 2],
    /// To the end of the cache line.
    pub reserved: [u64; 2],
    /// Records read. The user side's, and in a cache line of its own.
    pub consumed: u64,
    /// To the end of the cache line.
    pub reserved_too: [u64; 7],
}

const _: () = assert!(size_of::<Lane>() == 128);

/// Records that a transition may take: itself, and a SYN_SENT that had waited for its port. And one
/// more, whose place in memory is asked for ahead.
pub const AT_ONCE: u64 = 3;

/// Least records of a lane; always a power of two.
const LEAST: u64 = 16;
/// Most: what a CPU writes in some 80 ms at the fastest.
const MOST: u64 = 16_384;

/// How many records each of so many CPUs' lanes has, of the `ring_size` bytes that the user grants:
/// together about half of them, if that is enough for the least.
#[must_use]
pub const fn records(ring_size: u32, cpus: u32) -> u32 {
    let cpus = if cpus == 0 { 1 } else { cpus as u64 };
    let room = ring_size as u64 / 2 / cpus / size_of::<SocketRecord>() as u64;
    let room = if room < LEAST { LEAST } else { room };
    let room = if room > MOST { MOST } else { room };
    // The nearest power of two.
    1 << (room + room / 3).ilog2()
}

/// All ones where a transition's records don't fit, else 0. Calculated, as [`index`] is: a branch
/// would have the verifier look at all that follows once more.
#[inline(always)]
#[must_use]
pub const fn full(published: u64, consumed: u64, records: u32) -> u64 {
    let used = published.wrapping_sub(consumed) as i64;
    ((records as i64 - AT_ONCE as i64).wrapping_sub(used) >> 63) as u64
}

/// Elements that lanes of so many records have for so many CPUs: one more each, in which a record is made
/// that goes by the ring.
#[must_use]
pub const fn elements(cpus: u32, records: u32) -> u32 {
    cpus * (records + 1)
}

/// Which element of a CPU's is that of a position; with `full` all ones, the one more.
#[inline(always)]
#[must_use]
pub const fn index(cpu: u32, records: u32, position: u64, full: u64) -> u32 {
    let within = position as u32 & records.wrapping_sub(1) & !full as u32 | records & full as u32;
    cpu.wrapping_mul(records + 1).wrapping_add(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_share_half_of_what_the_ring_has() {
        assert_eq!(records(8 << 20, 1), 16_384);
        assert_eq!(records(8 << 20, 2), 16_384);
        assert_eq!(records(8 << 20, 8), 4096);
        assert_eq!(records(8 << 20, 64), 512);
        assert_eq!(records(8 << 20, 8192), 16);
        assert_eq!(records(4096, 2), 16);
        assert_eq!(records(8 << 20, 0), 16_384);
    }

    #[test]
    fn a_lane_is_full_when_what_comes_at_once_does_not_fit() {
        assert_eq!(full(0, 0, 16), 0);
        assert_eq!(full(13, 0, 16), 0);
        assert_eq!(full(14, 0, 16), u64::MAX);
        assert_eq!(full(16, 0, 16), u64::MAX);
        assert_eq!(full(16, 3, 16), 0);
        assert_eq!(full(u64::MAX.wrapping_add(5), u64::MAX, 16), 0);
    }

    #[test]
    fn positions_go_round_and_leave_out_the_one_more() {
        assert_eq!(index(0, 16, 0, 0), 0);
        assert_eq!(index(0, 16, 17, 0), 1);
        assert_eq!(index(0, 16, 17, u64::MAX), 16);
        assert_eq!(index(3, 16, 31, 0), 66);
        assert_eq!(index(3, 16, 31, u64::MAX), 67);
        assert_eq!(index(1, 16, u64::from(u32::MAX) + 1, 0), 17);
        assert_eq!(elements(4, 16), 68);
    }
}
