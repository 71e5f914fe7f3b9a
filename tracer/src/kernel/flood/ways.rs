//! The sets of heavy hitters, and what their ways have grown by.

use std::mem::offset_of;

use rustc_hash::FxHashMap;
use tracer_common::flood::sources::{Bucket, Set, WAYS};

use super::super::mmap::Mmap;
use crate::core::flood::tick::Growth;

/// A key: destination slot and address.
pub(super) type Key = (u32, [u64; 2]);

/// A way as it was read last.
#[derive(Clone, Copy, Default)]
struct Seen {
    generation: u32,
    syns: u32,
    firsts: u32,
    resets: u32,
    other_device: u32,
}

/// Where a CPU's sets are.
#[derive(Clone, Copy)]
pub(super) struct Whereabouts {
    /// Bytes between two CPUs' elements.
    pub(super) stride: usize,
    /// Byte offset of the first set in an element.
    pub(super) first: usize,
    /// How many there are.
    pub(super) sets: u32,
}

/// The sets of all CPUs.
pub(super) struct Ways {
    at: Whereabouts,
    seen: Vec<Seen>,
    /// RSTs of each way, and its generation, as [`Ways::note_resets`] found them.
    resets: Vec<(u32, u32)>,
}

/// A packet at work when the epoch turned may still stamp the one before, and a virtual CPU may be taken
/// away meanwhile: so many epochs back a set is looked at.
const LATE: u32 = 8;

impl Ways {
    pub(super) fn new(cpus: u32, at: Whereabouts) -> Self {
        let ways = (cpus * at.sets) as usize * WAYS;
        Self { at, seen: vec![Seen::default(); ways], resets: vec![(0, 0); ways] }
    }

    /// Whether and where a set is that changed of late, and its first way.
    fn changed(&self, memory: &Mmap, cpu: u32, set: usize, epoch: u32) -> Option<(usize, usize)> {
        let Whereabouts { stride, first, sets } = self.at;
        let at = cpu as usize * stride + first + set * size_of::<Set>();
        let late = epoch.wrapping_sub(memory.u32(at + offset_of!(Set, epoch))) > LATE;
        (!late).then_some((at, ((cpu * sets) as usize + set) * WAYS))
    }

    /// Notes a CPU's RSTs: the next [`Self::read`] tells of no others. Where that is not called,
    /// none are counted.
    pub(super) fn note_resets(&mut self, memory: &Mmap, cpu: u32, epoch: u32) {
        for set in 0..self.at.sets as usize {
            let Some((at, first)) = self.changed(memory, cpu, set, epoch) else { continue };
            for way in 0..WAYS {
                let at = at + offset_of!(Set, ways) + way * size_of::<Bucket>();
                if let Some(noted) = self.resets.get_mut(first + way)
                    && let Some((_, now)) = read_whole(memory, at)
                {
                    *noted = (now.generation, now.resets);
                }
            }
        }
    }

    /// Reads a CPU's sets that changed of late and adds what their ways have grown by to `growth`.
    pub(super) fn read(
        &mut self,
        memory: &Mmap,
        cpu: u32,
        epoch: u32,
        growth: &mut FxHashMap<Key, Growth>,
    ) {
        for set in 0..self.at.sets as usize {
            let Some((at, first)) = self.changed(memory, cpu, set, epoch) else { continue };
            for way in 0..WAYS {
                let at = at + offset_of!(Set, ways) + way * size_of::<Bucket>();
                let noted = self.resets.get(first + way);
                let Some(seen) = self.seen.get_mut(first + way) else { continue };
                let Some((bucket, mut now)) = read_whole(memory, at) else { continue };
                now.resets =
                    noted.filter(|noted| noted.0 == now.generation).map_or(0, |noted| noted.1);
                // A CPU that orders stores weakly may show the new generation beside old counts.
                let grew = now.syns.wrapping_sub(seen.syns) < 1 << 31;
                let same = seen.generation == now.generation && grew;
                let before = if same { *seen } else { Seen::default() };
                let others = now.other_device.wrapping_sub(before.other_device);
                let firsts = now.firsts.wrapping_sub(before.firsts).cast_signed();
                let grown = Growth {
                    syns: now.syns.wrapping_sub(before.syns).saturating_sub(others).into(),
                    // One that was none may be found out a tick late.
                    firsts: firsts.max(0).cast_unsigned().into(),
                    resets: now.resets.wrapping_sub(before.resets).into(),
                    bound: bucket.bound.into(),
                };
                *seen = now;
                if grown.syns != 0 || grown.resets != 0 {
                    growth.entry((bucket.slot, bucket.addr)).or_default().add(&grown);
                }
            }
        }
    }
}

struct Held {
    addr: [u64; 2],
    slot: u32,
    bound: u32,
}

/// A way's key and counts that belong together; `None` if it is empty, or keeps changing hands:
/// then the next tick finds what it counted.
fn read_whole(memory: &Mmap, at: usize) -> Option<(Held, Seen)> {
    let generation = || memory.u32(at + offset_of!(Bucket, generation));
    for _ in 0..4 {
        let before = generation();
        if before == 0 {
            return None;
        }
        std::sync::atomic::fence(std::sync::atomic::Ordering::Acquire);
        let addr = at + offset_of!(Bucket, addr);
        let held = Held {
            addr: [memory.u64(addr), memory.u64(addr + 8)],
            slot: memory.u32(at + offset_of!(Bucket, slot)),
            bound: memory.u32(at + offset_of!(Bucket, bound)),
        };
        let seen = Seen {
            generation: before,
            // Counted after the SYN, read before it: never more.
            other_device: memory.u32(at + offset_of!(Bucket, other_device)),
            firsts: memory.u32(at + offset_of!(Bucket, firsts)),
            syns: memory.u32(at + offset_of!(Bucket, syns)),
            resets: memory.u32(at + offset_of!(Bucket, resets)),
        };
        std::sync::atomic::fence(std::sync::atomic::Ordering::Acquire);
        if before % 2 == 0 && generation() == before {
            return Some((held, seen));
        }
    }
    None
}
