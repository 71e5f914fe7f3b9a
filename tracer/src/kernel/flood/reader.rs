//! Several times a second: what has come since the last time.

use std::collections::BTreeMap;
use std::mem::offset_of;

use rustc_hash::FxHashMap;
use tracer_common::addr::Addr;
use tracer_common::flood::cohort;
use tracer_common::flood::cpu::{self, Cpu};
use tracer_common::flood::distinct::{
    CLOSED_TARGETS, REGISTERS, SKETCHES, SYN_ACK_SOURCES, index as sketch_index,
};
use tracer_common::flood::sources::{PREFIX_SETS, SOURCE_SETS, Set};
use tracer_common::flood::{SLOTS, slot};

use super::counts::{self, Totals};
use super::ways::{self, Kind, Ways, Whereabouts};
use super::{Arrays, FloodTables};
use crate::core::event::MonoNs;
use crate::core::flood::tick::{
    Ahead, Counts, Growth, Sketch, SourceTick, Target, TargetTick, Tick,
};

/// What ended half-open connections since the last tick.
struct Ends {
    /// CPUs that have counted anything.
    cpus: Vec<u32>,
    growth: Vec<counts::Growth>,
    completers: FxHashMap<ways::Key, Growth>,
    resetters: FxHashMap<ways::Key, Growth>,
}

/// Words that tell whether a CPU has counted anything.
fn activity(arrays: &Arrays, cpu: u32) -> [u64; 5] {
    let word = |field| arrays.cpus.u64(cpu::offset(cpu) + field);
    [
        word(offset_of!(Cpu, now.completions)),
        word(offset_of!(Cpu, now.completions) + 8),
        word(offset_of!(Cpu, now.syns)),
        word(offset_of!(Cpu, now.resets)),
        word(offset_of!(Cpu, now.syn_acks)),
    ]
}

/// Reads the arrays. Its memory is fixed by the number of CPUs.
pub struct FloodReader {
    arrays: Arrays,
    cpus: u32,
    epoch: u32,
    /// End of the last tick.
    last: MonoNs,
    clock: fn() -> MonoNs,
    ahead: Ahead,
    /// What each CPU had counted then.
    activity: Vec<[u64; 5]>,
    totals: Totals,
    sources: Ways,
    prefixes: Ways,
    completers: Ways,
    resetters: Ways,
    /// Sketches that may hold something in the half that is written now.
    pending: Vec<bool>,
}

impl FloodReader {
    pub(super) fn new(arrays: Arrays, cpus: u32, clock: fn() -> MonoNs) -> Self {
        let of_cpus = |first, sets| {
            Ways::new(cpus, Whereabouts { stride: size_of::<Cpu>(), first, sets }, Kind::Syns)
        };
        let stride = SOURCE_SETS as usize * size_of::<Set>();
        let of_ends =
            || Ways::new(cpus, Whereabouts { stride, first: 0, sets: SOURCE_SETS }, Kind::Ends);
        let mut reader = Self {
            arrays,
            cpus,
            // Elements that were never written say 0.
            epoch: 1,
            last: MonoNs(0),
            clock,
            ahead: Ahead::default(),
            activity: vec![[0; 5]; cpus as usize],
            totals: Totals::new(cpus),
            sources: of_cpus(offset_of!(Cpu, sources), SOURCE_SETS),
            prefixes: of_cpus(offset_of!(Cpu, prefixes), PREFIX_SETS),
            completers: of_ends(),
            resetters: of_ends(),
            pending: vec![false; SKETCHES as usize],
        };
        reader.tell_epoch();
        reader
    }

    /// Counting began at `started`: the first tick is no longer than that.
    pub fn began(&mut self, started: MonoNs) {
        self.last = started;
    }

    /// Ends the epoch: what was counted since the last call; `None` when nothing was. `tables` say
    /// whose the slots are.
    pub fn tick(&mut self, now: MonoNs, tables: &FloodTables) -> Option<Tick> {
        let from = std::mem::replace(&mut self.last, now);
        let ends = self.ends();
        let active = self.active(&ends);
        let tick = if !active.is_empty() || self.pending.contains(&true) {
            self.read(ends, &active, Tick { from, to: now, ..Tick::default() }, tables)
        } else {
            self.turn();
            None
        };
        tables.ticked();
        tick
    }

    /// Reads of all CPUs what ends half-open connections: before the SYNs, or of a handshake that falls
    /// in between the end would be told in this tick, where there is nothing to take it off, and the
    /// SYN in the next.
    fn ends(&mut self) -> Ends {
        let mut ends = Ends {
            cpus: Vec::new(),
            growth: vec![counts::Growth::default(); SLOTS as usize],
            completers: FxHashMap::default(),
            resetters: FxHashMap::default(),
        };
        let arrays = &self.arrays;
        for (cpu, before) in (0..self.cpus).zip(&mut self.activity) {
            let now = activity(arrays, cpu);
            if std::mem::replace(before, now) == now {
                continue;
            }
            ends.cpus.push(cpu);
            self.totals.read_ends(&arrays.ends, cpu, &mut ends.growth);
            self.completers.read(&arrays.completers, cpu, self.epoch, &mut ends.completers);
            self.resetters.read(&arrays.resetters, cpu, self.epoch, &mut ends.resetters);
        }
        ends
    }

    /// CPUs that have counted something since the last tick, or since their ends were read.
    fn active(&self, ends: &Ends) -> Vec<u32> {
        let seen = (0..self.cpus).zip(&self.activity);
        seen.filter(|(cpu, seen)| ends.cpus.contains(cpu) || **seen != activity(&self.arrays, *cpu))
            .map(|(cpu, _)| cpu)
            .collect()
    }

    /// Turns to the next epoch and returns the one that is over.
    fn turn(&mut self) -> u32 {
        let over = self.epoch;
        self.epoch = over.wrapping_add(1);
        self.tell_epoch();
        over
    }

    fn tell_epoch(&mut self) {
        for cpu in 0..self.cpus {
            let at = cpu::offset(cpu) + offset_of!(Cpu, now.control.epoch);
            self.arrays.cpus.set_u32(at, self.epoch);
        }
    }

    fn read(
        &mut self,
        ends: Ends,
        active: &[u32],
        mut tick: Tick,
        tables: &FloodTables,
    ) -> Option<Tick> {
        let arrays = &self.arrays;
        let Ends { cpus: _, mut growth, completers, resetters } = ends;
        let (mut sources, mut prefixes) = (FxHashMap::default(), FxHashMap::default());
        for &cpu in active {
            let epoch = self.epoch;
            // The totals first: what the sources are ahead of them is made up by the next tick.
            self.totals.read(&arrays.cpus, cpu, epoch, &mut growth);
            self.sources.read(&arrays.cpus, cpu, epoch, &mut sources);
            self.prefixes.read(&arrays.cpus, cpu, epoch, &mut prefixes);
        }
        // Looked at now: a SYN that was read may have come after the tick's end.
        tick.cohort = cohort::number((self.clock)().max(tick.to).0);
        let over = self.turn();
        let targets = self.targets(over, &growth, tables);
        let closed = growth.get(slot::CLOSED as usize).is_some_and(|grown| grown.counts.syns != 0);
        tick.closed_targets = self.sketch(over, CLOSED_TARGETS, closed);
        let syn_acks = growth.iter().any(|grown| grown.counts.syn_acks != 0);
        tick.syn_ack_sources = self.sketch(over, SYN_ACK_SOURCES, syn_acks);
        tick.targets = targets.into_values().collect();
        let named = |grown: FxHashMap<ways::Key, Growth>| {
            let name =
                |((slot, addr), grown)| SourceTick::new(tables.target(slot), Addr(addr), grown);
            SourceTick::most(grown.into_iter().map(name).collect())
        };
        let (syn_ackers, sources) =
            sources.into_iter().partition(|((slot, _), _)| *slot == slot::SYN_ACKS);
        prefixes.retain(|(slot, _), _| *slot != slot::SYN_ACKS);
        tick.sources = named(sources);
        tick.syn_ackers = named(syn_ackers);
        tick.prefixes = named(prefixes);
        tick.completers = named(completers);
        tick.resetters = named(resetters);
        tick.attribute(&mut self.ahead);
        (!tick.is_empty()).then_some(tick)
    }

    /// What has grown or has a sketch, by target. Two slots may have the same target: a listener's
    /// that was closed and opened again.
    fn targets(
        &mut self,
        over: u32,
        growth: &[counts::Growth],
        tables: &FloodTables,
    ) -> BTreeMap<Target, TargetTick> {
        let mut targets = BTreeMap::new();
        for (slot, grown) in (0..SLOTS).zip(growth) {
            let sources = self.sketch(over, slot, grown.counts.syns != 0);
            if grown.counts == Counts::default() && sources.is_none() {
                continue;
            }
            let target = tables.target(slot);
            let sum = targets.entry(target).or_insert_with(|| TargetTick::new(target));
            sum.add(&grown.counts, grown.first_syn, sources);
        }
        targets
    }

    /// Reads and empties a sketch of the epoch that is over, if there may be something in it.
    /// `touched`: something has come in since the last tick. A packet that was at work when the
    /// epoch turned has its totals in one tick and its register in the next but one: so the tick
    /// after looks again.
    fn sketch(&mut self, over: u32, sketch: u32, touched: bool) -> Option<Sketch> {
        let pending = self.pending.get_mut(sketch as usize)?;
        if !std::mem::replace(pending, touched) && !touched {
            return None;
        }
        let at = sketch_index(over, sketch) as usize * REGISTERS;
        let memory = &mut self.arrays.distinct;
        let mut registers = Vec::with_capacity(REGISTERS);
        let mut any = 0;
        for offset in (at..at + REGISTERS).step_by(8) {
            let word = memory.u64(offset);
            if word != 0 {
                memory.set_u64(offset, 0);
            }
            any |= word;
            registers.extend_from_slice(&word.to_ne_bytes());
        }
        (any != 0).then(|| Sketch(registers.into_boxed_slice()))
    }
}

#[cfg(test)]
mod tests;
