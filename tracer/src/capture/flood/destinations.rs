//! Where SYNs went: who answers there, and what is counted until it is told.

use std::collections::HashMap;

use foldhash::quality::RandomState;
use rustc_hash::FxHashMap;
use tracer_common::addr::Addr;
use tracer_common::flood::cohort;
use tracer_common::flood::distinct::{REGISTERS, register};

use crate::core::event::MonoNs;
use crate::core::flood::tick::{Counts, Sketch};

/// Most destinations at a time; SYNs to others count as those to closed ports.
const MOST: usize = 65_536;
/// Most of them with a sketch of their sources.
const MOST_SKETCHES: usize = 256;
/// How long an answer is waited for.
pub(super) const ANSWER: u64 = 1_000_000_000;
/// How long a destination that is quiet is remembered.
const REMEMBERED: u64 = 30_000_000_000;
/// So few SYNs are no flood, whoever answers.
const FEW: u64 = 10;

/// An address and a port.
pub(super) type End = (Addr, u16);

/// What is known of a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Nobody has answered.
    Unknown,
    /// It sent a SYN-ACK.
    Listens,
    /// It answered a SYN with a RST, or not at all.
    Closed,
}

/// A destination.
pub(super) struct Destination {
    pub(super) end: End,
    pub(super) state: State,
    /// What came for it and has not been told.
    pub(super) counts: Counts,
    /// The first SYN of that.
    pub(super) first_syn: Option<MonoNs>,
    sources: Sources,
    seen_at: MonoNs,
    /// SYNs before that were held against nobody.
    held_since: MonoNs,
}

/// The different sources of what has not been told.
#[derive(Default)]
struct Sources {
    /// The first of them, hashed: most destinations have no more.
    few: [u64; 8],
    len: usize,
    sketch: Option<Box<[u8]>>,
}

impl Sources {
    fn note(&mut self, hash: u64, room: &mut usize) {
        if let Some(registers) = &mut self.sketch {
            return note(registers, hash);
        }
        if let Some(place) = self.few.get_mut(self.len) {
            *place = hash;
            self.len += 1;
            return;
        }
        if *room > 0 {
            *room -= 1;
            self.sketch = Some(self.registers());
            self.note(hash, room);
        }
    }

    fn registers(&self) -> Box<[u8]> {
        let mut registers = vec![0; REGISTERS].into_boxed_slice();
        for hash in self.few.iter().take(self.len) {
            note(&mut registers, *hash);
        }
        registers
    }

    fn take(&mut self, room: &mut usize) -> Option<Sketch> {
        let sketch = match self.sketch.take() {
            Some(sketch) => {
                *room += 1;
                sketch
            }
            None if self.len == 0 => return None,
            None => self.registers(),
        };
        self.len = 0;
        Some(Sketch(sketch))
    }
}

/// Notes a hash in a sketch.
pub(super) fn note(registers: &mut [u8], hash: u64) {
    let (index, rank) = register(hash);
    if let Some(register) = registers.get_mut(index) {
        *register = rank.max(*register);
    }
}

/// All destinations, by number.
pub(super) struct Destinations {
    numbers: HashMap<End, u32, RandomState>,
    all: FxHashMap<u32, Destination>,
    /// The last number given away.
    last: u32,
    last_found: Option<(End, u32)>,
    /// Sketches that may still be made.
    room: usize,
}

impl Default for Destinations {
    fn default() -> Self {
        Self {
            numbers: HashMap::default(),
            all: FxHashMap::default(),
            last: Self::SYN_ACKS,
            last_found: None,
            room: MOST_SKETCHES,
        }
    }
}

impl Destination {
    /// Whether a SYN of that time was held against it.
    pub(super) fn held(&self, syn: MonoNs) -> bool {
        syn >= self.held_since
    }
}

impl Destinations {
    /// Number that stands for the sources of SYN-ACKs, and for no destination.
    pub(super) const SYN_ACKS: u32 = 0;

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Destination> {
        self.all.get_mut(&number)
    }

    pub(super) fn get(&self, number: u32) -> Option<&Destination> {
        self.all.get(&number)
    }

    /// The number of a destination that is known.
    pub(super) fn find(&mut self, end: End) -> Option<u32> {
        match self.last_found {
            Some((last, number)) if last == end => Some(number),
            _ => {
                let number = *self.numbers.get(&end)?;
                self.last_found = Some((end, number));
                Some(number)
            }
        }
    }

    /// The number of a destination, with `state` if it is new; `None` if there is no room.
    pub(super) fn of(&mut self, end: End, state: State, at: MonoNs) -> Option<u32> {
        if let Some(number) = self.find(end) {
            return Some(number);
        }
        if self.all.len() >= MOST {
            return None;
        }
        self.last = self.last.checked_add(1).unwrap_or(Self::SYN_ACKS + 1);
        let number = self.last;
        self.numbers.insert(end, number);
        let sources = Sources::default();
        let counts = Counts::default();
        let (first_syn, seen_at, held_since) = (None, at, at);
        let new = Destination { end, state, counts, first_syn, sources, seen_at, held_since };
        self.all.insert(number, new);
        self.last_found = Some((end, number));
        Some(number)
    }

    /// Counts a SYN.
    pub(super) fn syn(&mut self, number: u32, at: MonoNs, first: bool, hash: u64) {
        let Some(destination) = self.all.get_mut(&number) else { return };
        let counts = &mut destination.counts;
        counts.syns += 1;
        counts.firsts.count(cohort::part(at.0), first.into());
        let first_syn = destination.first_syn.get_or_insert(at);
        *first_syn = at.min(*first_syn);
        destination.seen_at = destination.seen_at.max(at);
        destination.sources.note(hash, &mut self.room);
    }

    /// It has answered a SYN.
    pub(super) fn answered(&mut self, number: u32, at: MonoNs, state: State) {
        if let Some(destination) = self.all.get_mut(&number) {
            destination.state = state;
            destination.seen_at = destination.seen_at.max(at);
        }
    }

    /// Decides for those who have not answered in time. `silent`: nobody has answered anything in the
    /// whole capture, which shows one direction only. There silence says nothing, and waiting for an
    /// answer brings none: what gets more than a few SYNs is taken for a listener.
    pub(super) fn decide(&mut self, now: MonoNs, silent: bool) {
        for destination in self.all.values_mut() {
            if destination.state != State::Unknown {
                continue;
            }
            if silent && destination.counts.syns > FEW {
                destination.state = State::Listens;
            } else if destination.first_syn.is_some_and(|first| now.since(first) >= ANSWER) {
                destination.state = State::Closed;
            }
        }
    }

    /// Takes what is known at `at` to belong to a listener or to a closed port: the number, what was
    /// counted, the first SYN, the sources.
    pub(super) fn take(
        &mut self,
        at: MonoNs,
        mut told: impl FnMut(End, State, Counts, Option<MonoNs>, Option<Sketch>),
    ) {
        let idle = Counts::default();
        for destination in self.all.values_mut() {
            if destination.state == State::Unknown || destination.counts == idle {
                continue;
            }
            if destination.state == State::Closed {
                destination.held_since = at;
            }
            let counts = std::mem::take(&mut destination.counts);
            let first = destination.first_syn.take();
            let sketch = destination.sources.take(&mut self.room);
            told(destination.end, destination.state, counts, first, sketch);
        }
    }

    /// Whether somebody has not had time to answer.
    pub(super) fn waiting(&self) -> bool {
        self.all.values().any(|destination| {
            destination.state == State::Unknown && destination.counts != Counts::default()
        })
    }

    /// Forgets who has been quiet for long; closed ports at once, or a scan would fill the table.
    pub(super) fn forget(&mut self, now: MonoNs) {
        let before = self.all.len();
        let numbers = &mut self.numbers;
        self.all.retain(|_, destination| {
            let quiet = now.since(destination.seen_at);
            let keep = match destination.state {
                State::Unknown => destination.counts != Counts::default() || quiet < ANSWER,
                State::Listens => quiet < REMEMBERED,
                State::Closed => quiet < ANSWER,
            };
            if !keep {
                numbers.remove(&destination.end);
            }
            keep
        });
        if self.all.len() != before {
            self.last_found = None;
        }
    }
}
