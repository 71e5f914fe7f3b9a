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
const LEAST: u32 = 16;

/// How large the lanes' arrays are; decided by the user side.
///
/// Every CPU that may ever come up has a [`Lane`], and a spare record in which one is made that goes by
/// the ring. Those that were there when tracer began have records besides.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// CPUs that may ever come up.
    pub spares: u32,
    /// Of those, the first so many have records; 0 where all goes by the ring.
    pub cpus: u32,
    /// Records that each of these has, a power of two.
    pub records: u32,
}

impl Sizes {
    /// For a machine with `cpus` CPUs now and `possible` at most, of the `ring_size` bytes that the user
    /// grants: together about half of them, if that is enough for the least.
    #[must_use]
    pub const fn new(ring_size: u32, cpus: u32, possible: u32) -> Self {
        let shares = if cpus == 0 { 1 } else { cpus };
        let room = ring_size / 2 / shares / size_of::<SocketRecord>() as u32;
        let room = if room < LEAST { LEAST } else { room };
        // The nearest power of two.
        let records = 1 << (room + room / 3).ilog2();
        let spares = if possible < cpus { cpus } else { possible };
        Self { spares, cpus, records }
    }

    /// Elements of the array that holds all records.
    #[must_use]
    pub const fn elements(&self) -> u32 {
        self.spares + self.cpus * self.records
    }

    /// All ones where what a transition on `cpu` takes does not fit, else 0. Calculated, as
    /// [`Self::index`] is: a branch would have the verifier look at all that follows once more.
    #[inline(always)]
    #[must_use]
    pub const fn full(&self, cpu: u32, published: u64, consumed: u64) -> u64 {
        let used = published.wrapping_sub(consumed) as i64;
        let left = (self.records as i64 - AT_ONCE as i64).wrapping_sub(used);
        let has_records = cpu as i64 - self.cpus as i64;
        ((left | !has_records) >> 63) as u64
    }

    /// Which element is that of a position in a CPU's lane; with `full` all ones, the CPU's spare one.
    #[inline(always)]
    #[must_use]
    pub const fn index(&self, cpu: u32, position: u64, full: u64) -> u32 {
        let within = position as u32 & self.records.wrapping_sub(1);
        let of_lane = self.spares.wrapping_add(cpu.wrapping_mul(self.records)).wrapping_add(within);
        let full = full as u32;
        of_lane & !full | cpu & full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_share_half_of_what_the_ring_has() {
        let records = |ring_size, cpus| Sizes::new(ring_size, cpus, cpus).records;
        assert_eq!(records(8 << 20, 1), 32_768);
        assert_eq!(records(8 << 20, 2), 16_384);
        assert_eq!(records(8 << 20, 8), 4096);
        assert_eq!(records(8 << 20, 64), 512);
        assert_eq!(records(8 << 20, 8192), 16);
        assert_eq!(records(64 << 20, 2), 131_072);
        assert_eq!(records(4096, 2), 16);
        assert_eq!(records(u32::MAX, 1), 16_777_216);
        assert!(records(8 << 20, 0).is_power_of_two());
    }

    #[test]
    fn a_lane_is_full_when_what_comes_at_once_does_not_fit() {
        let sizes = Sizes { spares: 4, cpus: 2, records: 16 };
        assert_eq!(sizes.full(0, 0, 0), 0);
        assert_eq!(sizes.full(1, 13, 0), 0);
        assert_eq!(sizes.full(1, 14, 0), u64::MAX);
        assert_eq!(sizes.full(0, 16, 0), u64::MAX);
        assert_eq!(sizes.full(0, 16, 3), 0);
        assert_eq!(sizes.full(0, u64::MAX.wrapping_add(5), u64::MAX), 0);
    }

    #[test]
    fn a_cpu_that_came_later_has_a_spare_record_and_no_others() {
        let sizes = Sizes::new(8 << 20, 2, 4);
        assert_eq!((sizes.cpus, sizes.spares), (2, 4));
        assert_eq!(sizes.full(2, 0, 0), u64::MAX);
        assert_eq!(sizes.full(3, 0, 0), u64::MAX);
        assert_eq!(sizes.index(3, 0, u64::MAX), 3);
        // Nor has any where all goes by the ring.
        let none = Sizes::new(8 << 20, 0, 4);
        assert_eq!(none.full(0, 0, 0), u64::MAX);
        assert_eq!((none.index(0, 0, u64::MAX), none.elements()), (0, 4));
    }

    #[test]
    fn positions_go_round_behind_the_spares() {
        let sizes = Sizes { spares: 8, cpus: 4, records: 16 };
        assert_eq!(sizes.index(0, 0, 0), 8);
        assert_eq!(sizes.index(0, 17, 0), 9);
        assert_eq!(sizes.index(0, 17, u64::MAX), 0);
        assert_eq!(sizes.index(3, 31, 0), 8 + 63);
        assert_eq!(sizes.index(3, 31, u64::MAX), 3);
        assert_eq!(sizes.index(1, u64::from(u32::MAX) + 1, 0), 8 + 16);
        assert_eq!(sizes.elements(), 8 + 64);
    }
}
