//! Reading the lanes, merged by time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::mem::offset_of;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use tracer_common::lane::{Lane, Sizes};
use tracer_common::record::{SocketRecord, TS_OFFSET};

use super::flood::descriptor;
use super::mmap::Mmap;
use crate::system::cpus;

/// Names of the arrays.
const POSITIONS: &str = "LANES";
const RECORDS: &str = "LANE_RECORDS";

/// Records read after which the kernel side is told that their places are free; of short lanes, a quarter.
const FREE_EVERY: u64 = 256;

/// Lanes are published by plain stores, which are seen in their order on x86-64 (Intel SDM 3A, 9.2.3.2).
/// Elsewhere that takes an atomic operation which not all kernels since 5.15 compile: there all goes by
/// the ring.
const HERE: bool = cfg!(target_arch = "x86_64");

/// How the arrays are divided on this machine, of so many bytes for ring and lanes.
pub(super) fn sizes(ring_size: u32) -> Sizes {
    Sizes::new(ring_size, if HERE { cpus::online() } else { 0 }, cpus::possible())
}

/// Elements that each array has.
pub(super) fn array_sizes(sizes: &Sizes) -> [(&'static str, u32); 2] {
    [(POSITIONS, sizes.spares), (RECORDS, sizes.elements())]
}

/// The one reader of all lanes.
pub(super) struct Lanes {
    positions: Mmap,
    memory: Mmap,
    sizes: Sizes,
    cursors: Vec<Cursor>,
    /// The time of the first unread record of each lane that had one when [`Self::look`] looked, the
    /// earliest first.
    heads: BinaryHeap<Reverse<(u64, u32)>>,
}

/// How far a lane has been read.
#[derive(Clone, Copy, Default)]
struct Cursor {
    next: u64,
    end: u64,
    /// The kernel side knows that places up to there are free.
    freed: u64,
}

impl Lanes {
    pub(super) fn open(ebpf: &Ebpf, sizes: Sizes) -> Result<Self> {
        let map = |name, size: usize| {
            Mmap::shared(descriptor(ebpf, name)?, size)
                .with_context(|| format!("cannot map the array {name}"))
        };
        let positions = map(POSITIONS, sizes.spares as usize * size_of::<Lane>())?;
        let memory = map(RECORDS, sizes.elements() as usize * size_of::<SocketRecord>())?;
        Ok(Self::new(positions, memory, sizes))
    }

    fn new(positions: Mmap, memory: Mmap, sizes: Sizes) -> Self {
        let cursors = vec![Cursor::default(); sizes.cpus as usize];
        Self { positions, memory, sizes, cursors, heads: BinaryHeap::new() }
    }

    /// Sees what has come.
    pub(super) fn look(&mut self) {
        for cpu in 0..self.cursors.len() as u32 {
            let published = self.positions.published(position(cpu, offset_of!(Lane, published)));
            let Some(cursor) = self.cursors.get_mut(cpu as usize) else { continue };
            let was_empty = cursor.next == cursor.end;
            cursor.end = published;
            let next = cursor.next;
            if was_empty && next != published {
                self.heads.push(Reverse((self.time(cpu, next), cpu)));
            }
        }
    }

    /// When the earliest record of those that were seen happened.
    pub(super) fn earliest(&self) -> Option<u64> {
        self.heads.peek().map(|Reverse((ts, _))| *ts)
    }

    /// The record of [`Self::earliest`].
    pub(super) fn take(&mut self) -> Option<&[u8]> {
        let Reverse((_, cpu)) = *self.heads.peek()?;
        let Cursor { next: at, end, freed } = *self.cursors.get(cpu as usize)?;
        // Those before it are no longer looked at.
        if at - freed >= FREE_EVERY.min(u64::from(self.sizes.records) / 4) {
            self.free(cpu);
        }
        let next = at + 1;
        if let Some(cursor) = self.cursors.get_mut(cpu as usize) {
            cursor.next = next;
        }
        let following = (next != end).then(|| self.time(cpu, next));
        if let Some(mut head) = self.heads.peek_mut() {
            match following {
                Some(ts) => *head = Reverse((ts, cpu)),
                None => drop(PeekMut::pop(head)),
            }
        }
        Some(self.bytes(cpu, at))
    }

    /// Gives back the places of all that was taken.
    pub(super) fn free_all(&mut self) {
        for cpu in 0..self.cursors.len() as u32 {
            self.free(cpu);
        }
    }

    fn free(&mut self, cpu: u32) {
        let Some(cursor) = self.cursors.get_mut(cpu as usize) else { return };
        if cursor.freed != cursor.next {
            cursor.freed = cursor.next;
            self.positions.publish(position(cpu, offset_of!(Lane, consumed)), cursor.next);
        }
    }

    fn time(&self, cpu: u32, at: u64) -> u64 {
        let record = self.bytes(cpu, at);
        record
            .get(TS_OFFSET..)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |ts| u64::from_ne_bytes(*ts))
    }

    /// A record that was published and not yet given back.
    fn bytes(&self, cpu: u32, at: u64) -> &[u8] {
        let index = self.sizes.index(cpu, at, 0) as usize;
        // SAFETY: the kernel side writes there only when it was told that the place is free, which
        // takes a `&mut self`.
        unsafe { self.memory.still::<SocketRecord>(index * size_of::<SocketRecord>()) }
    }
}

/// A field of a CPU's lane.
fn position(cpu: u32, field: usize) -> usize {
    cpu as usize * size_of::<Lane>() + field
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays the kernel side's part.
    struct Played {
        lanes: Lanes,
        published: Vec<u64>,
    }

    impl Played {
        fn new(cpus: u32, records: u32) -> Self {
            let sizes = Sizes { spares: cpus + 1, cpus, records };
            let positions = Mmap::private(sizes.spares as usize * size_of::<Lane>()).unwrap();
            let size = sizes.elements() as usize * size_of::<SocketRecord>();
            let lanes = Lanes::new(positions, Mmap::private(size).unwrap(), sizes);
            Self { lanes, published: vec![0; cpus as usize] }
        }

        /// Writes a record, if there is room as the kernel side sees it.
        fn write(&mut self, cpu: u32, ts: u64) -> bool {
            self.write_at_once(cpu, &[ts])
        }

        /// Writes what one transition takes, and asks for the place that follows as the kernel side does.
        fn write_at_once(&mut self, cpu: u32, times: &[u64]) -> bool {
            let at = self.published[cpu as usize];
            let consumed = self.lanes.positions.u64(position(cpu, offset_of!(Lane, consumed)));
            let sizes = self.lanes.sizes;
            if sizes.full(cpu, at, consumed) != 0 {
                return false;
            }
            let field = position(cpu, offset_of!(Lane, published));
            let ahead = times.iter().chain([&0]);
            for (at, ts) in (at..).zip(ahead) {
                let index = sizes.index(cpu, at, 0) as usize;
                self.lanes.memory.set_u64(index * size_of::<SocketRecord>() + TS_OFFSET, *ts);
            }
            self.published[cpu as usize] += times.len() as u64;
            self.lanes.positions.publish(field, at + times.len() as u64);
            true
        }

        fn take(&mut self) -> Option<u64> {
            let earliest = self.lanes.earliest();
            let ts = self.lanes.take().map(|bytes| {
                assert_eq!(bytes.len(), size_of::<SocketRecord>());
                u64::from_ne_bytes(*bytes[TS_OFFSET..].first_chunk().unwrap())
            });
            assert_eq!(earliest, ts);
            ts
        }

        fn all(&mut self) -> Vec<u64> {
            std::iter::from_fn(|| self.take()).collect()
        }
    }

    #[test]
    fn records_come_in_the_order_of_their_times() {
        let mut played = Played::new(3, 16);
        for (cpu, ts) in [(0, 10), (0, 40), (2, 20), (2, 30), (2, 50)] {
            assert!(played.write(cpu, ts));
        }
        assert_eq!(played.take(), None, "nobody has looked");
        played.lanes.look();
        // After the look: for the next one, but where it lies behind what was seen.
        assert!(played.write(1, 15));
        assert_eq!(played.all(), [10, 20, 30, 40, 50]);
        played.lanes.look();
        assert_eq!(played.all(), [15]);
    }

    #[test]
    fn a_look_before_all_is_taken_loses_and_repeats_nothing() {
        let mut played = Played::new(2, 16);
        assert!(played.write(0, 1) && played.write(0, 3) && played.write(1, 2));
        played.lanes.look();
        assert_eq!(played.take(), Some(1));
        assert!(played.write(1, 4) && played.write(0, 5));
        played.lanes.look();
        assert_eq!(played.all(), [2, 3, 4, 5]);
    }

    #[test]
    fn what_comes_at_once_destroys_nothing_that_is_unread() {
        let mut played = Played::new(2, 16);
        let (mut ts, mut read) = (0, Vec::new());
        // Two at once, now and then one; every full lane is read in part.
        for _ in 0..50 {
            loop {
                let times = [ts + 1, ts + 2];
                let times = &times[..if ts % 7 == 0 { 1 } else { 2 }];
                if !played.write_at_once(1, times) {
                    break;
                }
                ts += times.len() as u64;
            }
            played.lanes.look();
            read.extend(std::iter::from_fn(|| played.take()).take(5));
            played.lanes.free_all();
        }
        read.extend(played.all());
        assert!(ts > 100);
        assert_eq!(read, (1..=ts).collect::<Vec<_>>());
    }

    #[test]
    fn places_are_used_again_when_they_are_given_back() {
        let mut played = Played::new(2, 16);
        let mut ts = 0;
        for _ in 0..10 {
            let before = ts;
            while played.write(1, ts + 1) {
                ts += 1;
            }
            assert_eq!(ts - before, 14, "all but the room for what comes at once");
            played.lanes.look();
            assert_eq!(played.all(), (before + 1..=ts).collect::<Vec<_>>());
            played.lanes.free_all();
        }
    }
}
