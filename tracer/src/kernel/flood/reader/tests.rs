//! The kernel's part is played in private memory.

use std::net::IpAddr;

use tracer_common::flood::cohort::{LENGTH_NS, REST};
use tracer_common::flood::counts::{END_WRITERS, Ends, RESET_WRITER, SynCounts, end_index};
use tracer_common::flood::sources::{Bucket, Come, Hitter, OTHER_DEVICE, SAMPLE, Set};

use super::*;
use crate::core::flood::parts::{Changes, Parts};
use crate::kernel::mmap::Mmap;

/// A set, word by word.
type SetWords = [u32; size_of::<Set>() / 4];

const CPUS: u32 = 2;
const SLOT: u32 = slot::FIRST_LISTENER;

fn reader() -> (FloodReader, FloodTables) {
    let memory = |size: usize| Mmap::private(size * CPUS as usize).unwrap();
    let arrays = Arrays {
        cpus: memory(size_of::<Cpu>()),
        ends: memory((END_WRITERS * SLOTS) as usize * size_of::<Ends>()),
        completers: memory(SOURCE_SETS as usize * size_of::<Set>()),
        resetters: memory(SOURCE_SETS as usize * size_of::<Set>()),
        distinct: memory(SKETCHES as usize * REGISTERS),
    };
    let mut tables = FloodTables::for_tests();
    tables.listening(1, listener(), false);
    (FloodReader::new(arrays, CPUS, || MonoNs(0)), tables)
}

fn listener() -> std::net::SocketAddr {
    "0.0.0.0:80".parse().unwrap()
}

fn v4(bytes: [u8; 4]) -> [u64; 2] {
    Addr::v4(u32::from_ne_bytes(bytes)).0
}

fn source_set(cpu: u32, set: u32) -> usize {
    cpu::offset(cpu) + offset_of!(Cpu, sources) + set as usize * size_of::<Set>()
}

/// What the kernel side does, as far as the reader can tell.
trait Kernel {
    fn add(&mut self, at: usize, more: u64);
}

impl Kernel for Mmap {
    fn add(&mut self, at: usize, more: u64) {
        self.set_u64(at, self.u64(at).wrapping_add(more));
    }
}

impl FloodReader {
    fn count(&mut self, cpu: u32, slot: u32, field: usize, more: u64) {
        self.arrays.cpus.add(cpu::syn_counts(cpu, slot) + field, more);
        let activity = match field {
            _ if field == offset_of!(SynCounts, syn_acks) => offset_of!(Cpu, now.syn_acks),
            _ => offset_of!(Cpu, now.syns),
        };
        self.arrays.cpus.add(cpu::offset(cpu) + activity, more);
    }

    /// What ends half-open connections comes once, or would have ended one.
    fn end(&mut self, cpu: u32, writer: u32, field: usize) {
        let at = end_index(cpu, writer, SLOT) as usize * size_of::<Ends>();
        self.arrays.ends.add(at + field, 1);
        let activity = match writer {
            RESET_WRITER => offset_of!(Cpu, now.resets),
            writer => offset_of!(Cpu, now.completions) + writer as usize * size_of::<u64>(),
        };
        self.arrays.cpus.add(cpu::offset(cpu) + activity, 1);
    }

    /// A request of a source's becomes a connection.
    fn completion(&mut self, cpu: u32, set: u32, addr: [u64; 2]) {
        let at = (cpu * SOURCE_SETS + set) as usize * size_of::<Set>();
        hit(&mut self.arrays.completers, at, addr, 1, self.epoch);
        self.end(cpu, 0, offset_of!(Ends, matched));
    }

    /// A RST hits a half-open connection of a source's.
    fn reset(&mut self, cpu: u32, set: u32, addr: [u64; 2]) {
        let at = (cpu * SOURCE_SETS + set) as usize * size_of::<Set>();
        hit(&mut self.arrays.resetters, at, addr, 1, self.epoch);
        self.end(cpu, RESET_WRITER, offset_of!(Ends, matched));
    }

    fn syns(&mut self, cpu: u32, slot: u32, more: u64, now: u64) {
        let at = cpu::syn_counts(cpu, slot);
        let counts = &mut self.arrays.cpus;
        if counts.u64(at + offset_of!(SynCounts, epoch)) != u64::from(self.epoch) {
            counts.set_u64(at + offset_of!(SynCounts, epoch), self.epoch.into());
            counts.set_u64(at + offset_of!(SynCounts, first_ns), now);
        }
        self.count(cpu, slot, offset_of!(SynCounts, syns), more);
        self.count(cpu, slot, offset_of!(SynCounts, firsts), more);
    }

    fn register(&mut self, epoch: u32, sketch: u32, index: usize, rank: u64) {
        let at = sketch_index(epoch, sketch) as usize * REGISTERS + index / 8 * 8;
        self.arrays.distinct.add(at, rank << (index % 8 * 8));
    }

    /// Hits a source so often.
    fn source(&mut self, cpu: u32, set: u32, addr: [u64; 2], times: u32) {
        hit(&mut self.arrays.cpus, source_set(cpu, set), addr, times, self.epoch);
        self.syns(cpu, SLOT, times.into(), 1);
    }
}

/// A key of the set at `at` comes so often.
fn hit(memory: &mut Mmap, at: usize, addr: [u64; 2], times: u32, epoch: u32) {
    let words: SetWords = std::array::from_fn(|word| memory.u32(at + 4 * word));
    // SAFETY: a set is made of aligned words, all of whose values are valid.
    let mut copy: Set = unsafe { std::mem::transmute(words) };
    // Of the first four newcomers to this one, once it is full, the fourth is let in.
    let set = 3;
    // As good as a hash: no two of a test's sources have the same.
    let tag = (addr[1] >> 32) as u32;
    for _ in 0..times {
        copy.hit(&Hitter { tag, set, slot: SLOT, addr: Addr(addr) }, Come::one(0, true), epoch);
    }
    // SAFETY: as above.
    let words: SetWords = unsafe { std::mem::transmute(copy) };
    for (word, value) in words.into_iter().enumerate() {
        memory.set_u32(at + 4 * word, value);
    }
}

#[test]
fn nothing_happened_is_none_and_turns_the_epoch() {
    let (mut reader, tables) = reader();
    let epochs = |reader: &FloodReader| {
        let at = offset_of!(Cpu, now.control.epoch);
        [0, 1].map(|cpu| reader.arrays.cpus.u32(cpu::offset(cpu) + at))
    };
    assert_eq!(epochs(&reader), [1, 1]);
    assert_eq!(reader.tick(MonoNs(1), &tables), None);
    assert_eq!(reader.tick(MonoNs(2), &tables), None);
    assert_eq!(epochs(&reader), [3, 3]);
}

#[test]
fn what_has_grown_is_told_once_over_all_cpus() {
    let (mut reader, tables) = reader();
    assert_eq!(reader.tick(MonoNs(5), &tables), None);
    reader.syns(0, SLOT, 10, 700);
    reader.syns(1, SLOT, 5, 600);
    for field in [offset_of!(Ends, unmatched), offset_of!(Ends, matched) + 8] {
        reader.end(1, RESET_WRITER, field);
    }
    reader.count(0, slot::CLOSED, offset_of!(SynCounts, syn_acks), 2);
    let rest = offset_of!(Ends, matched) + 8 * REST as usize;
    for (writer, field) in [(0, rest), (0, rest), (1, offset_of!(Ends, unmatched))] {
        reader.end(1, writer, field);
    }
    let tick = reader.tick(MonoNs(9), &tables).unwrap();
    assert_eq!((tick.from, tick.to), (MonoNs(5), MonoNs(9)));
    let [target, closed] = &tick.targets[..] else { panic!("{tick:?}") };
    assert_eq!(target.target, Target::Listener(listener()));
    assert_eq!(target.first_syn, Some(MonoNs(600)));
    let expected = Counts {
        syns: 15,
        firsts: Parts::of(0, 15),
        resets: 2,
        resets_matched: Parts::of(1, 1),
        completed: Parts::of(REST, 2),
        completed_unseen: 1,
        ..Counts::default()
    };
    assert_eq!(target.counts, expected);
    assert_eq!((closed.target, closed.counts.syn_acks), (Target::Closed, 2));
    assert_eq!((tick.unattributed, tick.unattributed_firsts), (15, Parts::of(0, 15)));
    assert_eq!(reader.tick(MonoNs(10), &tables), None);
}

#[test]
fn totals_may_wrap() {
    let (mut reader, tables) = reader();
    for (more, at) in [(i64::MAX as u64, 1), (i64::MAX as u64, 2), (1, 3)] {
        reader.syns(0, SLOT, more, 1);
        assert_eq!(reader.tick(MonoNs(at), &tables).unwrap().targets[0].counts.syns, more);
    }
    reader.syns(0, SLOT, 3, 1);
    let tick = reader.tick(MonoNs(4), &tables).unwrap();
    assert_eq!(tick.targets[0].counts.syns, 3);
}

/// A SYN that turns out to have come before, or by another device, is taken back; as a SYN of another
/// device it is made up for by what comes next.
#[test]
fn what_is_found_out_late_is_taken_back() {
    let (mut reader, tables) = reader();
    let one = v4([10, 0, 0, 1]);
    let told = |reader: &mut FloodReader, at| {
        let tick = reader.tick(MonoNs(at), &tables).unwrap();
        let counts = tick.targets.first().map_or(Counts::default(), |target| target.counts);
        let source = tick
            .sources
            .first()
            .map(|one| (one.syns, one.firsts.gained(), one.firsts.taken_back()));
        ((counts.syns, counts.firsts, counts.taken_back), source.unwrap_or_default())
    };
    let change = |reader: &mut FloodReader, part: usize, by: i32| {
        let firsts = cpu::syn_counts(0, SLOT) + offset_of!(SynCounts, firsts) + 8 * part;
        let parts = source_set(0, 5) + offset_of!(Set, ways) + offset_of!(Bucket, parts) + 4 * part;
        let cpus = &mut reader.arrays.cpus;
        cpus.add(firsts, i64::from(by).cast_unsigned());
        cpus.set_u32(parts, cpus.u32(parts).wrapping_add_signed(by));
    };
    let both = |syns, firsts: &[(u32, u64)], taken_back: &[(u32, u64)]| {
        let parts = |counts: &[(u32, u64)]| {
            let mut parts = Parts::default();
            counts.iter().for_each(|(part, count)| parts.count(*part, *count));
            parts
        };
        let each = (syns, parts(firsts), parts(taken_back));
        (each, each)
    };
    reader.source(0, 5, one, 5);
    assert_eq!(told(&mut reader, 1), both(5, &[(0, 5)], &[]));
    change(&mut reader, 0, -1);
    change(&mut reader, OTHER_DEVICE, 1);
    reader.arrays.cpus.add(cpu::syn_counts(0, SLOT) + offset_of!(SynCounts, firsts) + 56, u64::MAX);
    reader.count(0, SLOT, offset_of!(SynCounts, syns_other_device), 1);
    reader.end(0, RESET_WRITER, offset_of!(Ends, unmatched));
    assert_eq!(told(&mut reader, 2), both(0, &[], &[(0, 1)]));
    // The next one is of another cohort.
    reader.source(0, 5, one, 3);
    change(&mut reader, 0, -4);
    change(&mut reader, 3, 3);
    assert_eq!(told(&mut reader, 3), both(2, &[(3, 3)], &[(0, 1)]));
}

/// SYNs that come between the readings of two words of theirs.
#[test]
fn what_comes_amid_the_reading_is_told_whole() {
    let (mut reader, tables) = reader();
    reader.count(0, SLOT, offset_of!(SynCounts, syns), 2);
    reader.arrays.cpus.add(cpu::syn_counts(0, SLOT) + offset_of!(SynCounts, firsts), 3);
    let counts =
        |reader: &mut FloodReader, at| reader.tick(MonoNs(at), &tables).unwrap().targets[0].counts;
    let first = counts(&mut reader, 1);
    assert_eq!((first.syns, first.firsts.sum()), (3, 3));
    reader.syns(0, SLOT, 4, 1);
    reader.count(0, SLOT, offset_of!(SynCounts, syns), 1);
    let second = counts(&mut reader, 2);
    assert_eq!((second.syns, second.firsts.sum()), (4, 4));
}

#[test]
fn only_a_completion_is_enough_to_wake() {
    let (mut reader, tables) = reader();
    reader.end(0, 1, offset_of!(Ends, matched));
    let tick = reader.tick(MonoNs(1), &tables).unwrap();
    assert_eq!(tick.targets[0].counts.completed, Parts::of(0, 1));
}

/// SYNs that come after the tick's end and before it is read.
#[test]
fn the_newest_cohort_is_of_the_time_when_a_tick_is_read() {
    let (mut reader, tables) = reader();
    for (now, at, expected) in [(7, 7, 7), (8, 7, 8), (6, 7, 7)] {
        reader.clock = match now {
            6 => || MonoNs(6 * LENGTH_NS),
            7 => || MonoNs(7 * LENGTH_NS),
            _ => || MonoNs(8 * LENGTH_NS),
        };
        reader.syns(0, SLOT, 1, 1);
        let tick = reader.tick(MonoNs(at * LENGTH_NS + 3), &tables).unwrap();
        assert_eq!(tick.cohort, expected);
    }
}

#[test]
fn a_sketch_is_read_once_and_emptied_late_ones_follow() {
    let (mut reader, tables) = reader();
    let epoch = reader.epoch;
    reader.syns(0, SLOT, 1, 1);
    reader.register(epoch, SLOT, 9, 7);
    let tick = reader.tick(MonoNs(1), &tables).unwrap();
    let sketch = tick.targets[0].sources.as_ref().unwrap();
    assert_eq!((sketch.0.len(), sketch.0[9]), (REGISTERS, 7));
    assert_eq!(sketch.0.iter().filter(|rank| **rank != 0).count(), 1);
    // One that was counted before the epoch turned, and noted after.
    reader.register(epoch + 1, SLOT, 8, 5);
    let tick = reader.tick(MonoNs(2), &tables).unwrap();
    assert_eq!(tick.targets[0].counts, Counts::default());
    assert_eq!(tick.targets[0].sources.as_ref().unwrap().0[8], 5);
    assert_eq!(reader.tick(MonoNs(3), &tables), None);
    // Both halves are empty again.
    for _ in 0..2 {
        reader.syns(0, SLOT, 1, 1);
        assert_eq!(reader.tick(MonoNs(4), &tables).unwrap().targets[0].sources, None);
    }
}

#[test]
fn sources_are_merged_over_cpus_and_what_a_newcomer_takes_is_new() {
    let (mut reader, tables) = reader();
    let (one, other) = (v4([10, 0, 0, 1]), v4([10, 0, 0, 2]));
    reader.source(0, 3, one, 7);
    reader.source(1, 3, one, 5);
    reader.source(1, 3, other, 2);
    let tick = reader.tick(MonoNs(1), &tables).unwrap();
    let [first, second] = &tick.sources[..] else { panic!("{tick:?}") };
    assert_eq!(
        (first.addr, first.syns, first.firsts, first.bound),
        ([10, 0, 0, 1].into(), 12, Changes::of(0, 12), 0)
    );
    assert_eq!((second.addr, second.syns), ([10, 0, 0, 2].into(), 2));
    assert_eq!(tick.unattributed, 0);
    // Its two ways hold on; three strangers share what is left of CPU 1's set, one comes in vain.
    reader.source(1, 3, one, 1);
    reader.source(1, 3, v4([10, 0, 0, 3]), 4);
    reader.source(1, 3, v4([10, 0, 0, 4]), 4);
    reader.source(1, 3, v4([10, 0, 0, 5]), 1);
    let tick = reader.tick(MonoNs(2), &tables).unwrap();
    let of = |addr: [u8; 4]| {
        tick.sources.iter().find(|source| source.addr == IpAddr::from(addr)).map(|s| s.syns)
    };
    assert_eq!(of([10, 0, 0, 1]), Some(1));
    assert_eq!((of([10, 0, 0, 3]), of([10, 0, 0, 4])), (Some(4), Some(4)));
    assert_eq!((of([10, 0, 0, 2]), of([10, 0, 0, 5])), (None, None));
    assert_eq!(tick.unattributed, 1);
    // The set is known to be full, and so many are turned away; the next one lays claim to the way of
    // source 2, and takes it when it comes again.
    reader.source(1, 3, v4([10, 0, 0, 6]), SAMPLE);
    let tick = reader.tick(MonoNs(3), &tables).unwrap();
    assert_eq!((&tick.sources[..], tick.unattributed), (&[][..], SAMPLE.into()));
    reader.source(1, 3, v4([10, 0, 0, 6]), 1);
    let tick = reader.tick(MonoNs(4), &tables).unwrap();
    assert_eq!((tick.sources.len(), tick.sources[0].syns), (1, 1));
    // In vain: one of source 5 and its own first ones. Driven out: two of source 2.
    let bound = u64::from(1 + SAMPLE + 2);
    assert_eq!((tick.sources[0].addr, tick.sources[0].bound), ([10, 0, 0, 6].into(), bound));
}

/// What ends within a tick that began meanwhile is told by the next: never before its SYN.
#[test]
fn handshakes_that_come_while_a_tick_is_read_end_in_the_next() {
    let (mut reader, tables) = reader();
    let (before, between) = (v4([10, 0, 0, 1]), v4([10, 0, 0, 2]));
    reader.source(0, 0, before, 2);
    reader.completion(1, 0, before);
    reader.reset(0, 0, before);
    let ends = reader.ends();
    // On CPUs of which the ends have been read, and on one where there were none.
    for cpu in [0, 1] {
        reader.source(cpu, 7, between, 3);
        reader.completion(1 - cpu, 7, between);
        reader.completion(1 - cpu, 7, between);
        reader.reset(cpu, 7, between);
    }
    let active = reader.active(&ends);
    let first = reader.read(ends, &active, Tick::default(), &tables).unwrap();
    let told = |tick: &Tick| {
        let of = |all: &[SourceTick], addr: [u64; 2]| {
            let addr = IpAddr::from(Addr(addr));
            all.iter().find(|one| one.addr == addr).map_or(0, |one| one.firsts.gained().sum())
        };
        let hosts = [before, between].map(|addr| {
            [&tick.sources, &tick.completers, &tick.resetters].map(|all| of(all, addr))
        });
        let counts = tick.targets[0].counts;
        let ended = [counts.completed, counts.resets_matched].map(|parts| parts.sum());
        (hosts, (counts.syns, ended, counts.resets))
    };
    assert_eq!(told(&first), ([[2, 1, 1], [6, 0, 0]], (8, [1, 1], 1)));
    let second = reader.tick(MonoNs(2), &tables).unwrap();
    assert_eq!(told(&second), ([[0, 0, 0], [0, 4, 2]], (0, [4, 2], 2)));
    assert_eq!(reader.tick(MonoNs(3), &tables), None);
}

#[test]
fn a_way_that_changes_hands_meanwhile_is_read_later() {
    let (mut reader, tables) = reader();
    reader.source(0, 0, v4([10, 0, 0, 1]), 3);
    let generation = source_set(0, 0) + offset_of!(Set, ways) + offset_of!(Bucket, generation);
    reader.arrays.cpus.set_u32(generation, 3);
    assert_eq!(reader.tick(MonoNs(1), &tables).unwrap().sources, []);
    reader.arrays.cpus.set_u32(generation, 4);
    reader.source(0, 0, v4([10, 0, 0, 1]), 1);
    assert_eq!(reader.tick(MonoNs(2), &tables).unwrap().sources[0].syns, 4);
}

#[test]
fn only_so_many_are_named() {
    let tick = |syns| SourceTick {
        target: Target::Closed,
        addr: [10, 0, 0, 1].into(),
        syns,
        firsts: Changes::default(),
        bound: 0,
    };
    let named = SourceTick::most((0..10_000).map(tick).collect());
    assert_eq!((named.len(), named[0].syns), (SourceTick::NAMED, 9_999));
}
