//! The sets of heavy hitters, and what their ways have grown by.

use std::mem::offset_of;

use rustc_hash::FxHashMap;
use tracer_common::flood::cohort::PARTS;
use tracer_common::flood::sources::{Bucket, OTHER_DEVICE, Set, WAYS};

use super::super::mmap::Mmap;
use crate::core::flood::tick::Growth;

/// A key: destination slot and address.
pub(super) type Key = (u32, [u64; 2]);

/// What a way counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// SYNs of a source or prefix.
    Syns,
    /// What ended a source's half-open connections.
    Ends,
}

/// What a way says.
struct Read {
    generation: u32,
    syns: u32,
    parts: [u32; PARTS],
}

/// What was told of a way.
#[derive(Clone, Copy, Default)]
struct Told {
    generation: u32,
    /// As they were read, those of other devices included.
    read: u32,
    /// Never less than before.
    syns: u32,
    parts: [u32; PARTS],
}

impl Told {
    /// By how much more it counts than was told.
    fn grown(&mut self, now: &Read, bound: u32, kind: Kind) -> Growth {
        // A CPU that orders stores weakly may show the new generation beside old counts.
        let grew = now.syns.wrapping_sub(self.read) < 1 << 31;
        if self.generation != now.generation || !grew {
            *self = Self { generation: now.generation, ..Self::default() };
        }
        self.read = now.syns;
        let mut parts = now.parts;
        let others = match kind {
            Kind::Syns => std::mem::take(&mut parts[OTHER_DEVICE]),
            Kind::Ends => 0,
        };
        let mut growth = Growth { bound: bound.into(), ..Growth::default() };
        // One of a second device that is found out late is made up for by what comes next.
        let syns = now.syns.wrapping_sub(others);
        let more = syns.wrapping_sub(self.syns).cast_signed();
        if more > 0 {
            self.syns = syns;
            growth.syns = more.unsigned_abs().into();
        }
        for ((part, told), now) in (0..).zip(&mut self.parts).zip(parts) {
            let more = now.wrapping_sub(std::mem::replace(told, now));
            growth.firsts.count(part, more.cast_signed());
        }
        growth
    }
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
    kind: Kind,
    told: Vec<Told>,
}

/// A packet at work when the epoch turned may still stamp the one before, and a virtual CPU may be taken
/// away meanwhile: so many epochs back a set is looked at.
const LATE: u32 = 8;

impl Ways {
    pub(super) fn new(cpus: u32, at: Whereabouts, kind: Kind) -> Self {
        Self { at, kind, told: vec![Told::default(); (cpus * at.sets) as usize * WAYS] }
    }

    /// Whether and where a set is that changed of late, and its first way.
    fn changed(&self, memory: &Mmap, cpu: u32, set: usize, epoch: u32) -> Option<(usize, usize)> {
        let Whereabouts { stride, first, sets } = self.at;
        let at = cpu as usize * stride + first + set * size_of::<Set>();
        let late = epoch.wrapping_sub(memory.u32(at + offset_of!(Set, epoch))) > LATE;
        (!late).then_some((at, ((cpu * sets) as usize + set) * WAYS))
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
                let Some(told) = self.told.get_mut(first + way) else { continue };
                let Some((bucket, now)) = read_whole(memory, at) else { continue };
                let grown = told.grown(&now, bucket.bound, self.kind);
                if (Growth { bound: 0, ..grown }) != Growth::default() {
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
fn read_whole(memory: &Mmap, at: usize) -> Option<(Held, Read)> {
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
        let parts = at + offset_of!(Bucket, parts);
        let read = Read {
            generation: before,
            // Counted after the SYN, read before it: never more.
            parts: std::array::from_fn(|part| memory.u32(parts + part * size_of::<u32>())),
            syns: memory.u32(at + offset_of!(Bucket, syns)),
        };
        std::sync::atomic::fence(std::sync::atomic::Ordering::Acquire);
        if before % 2 == 0 && generation() == before {
            return Some((held, read));
        }
    }
    None
}
