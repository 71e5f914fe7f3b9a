//! What is counted of each remote host and each local port beside the core's figures: the last
//! seconds, outcomes, time in each state.

use rustc_hash::FxHashMap;

use super::filter;
use super::samples::{NOBODY, SECONDS};
use super::view::{PhaseSum, Scope};
use crate::core::event::{Comm, MonoNs};
use crate::core::quantiles::Durations;
use crate::core::record::{Connection, Outcome, Phases};

/// Seconds that have a count of their own: the running one and those before it.
const SLOTS: usize = SECONDS as usize + 2;
/// Processes and ports remembered of each, to be found by.
const KNOWN: usize = 4;

#[derive(Clone, Copy, Default)]
struct Slot {
    second: u32,
    ended: u32,
    failed: u32,
}

/// Ends in each of the last seconds.
#[derive(Clone, Default)]
pub(super) struct Recent {
    slots: [Slot; SLOTS],
}

impl Recent {
    pub(super) fn add(&mut self, second: u32, failed: bool) {
        if let Some(slot) = self.slots.get_mut(second as usize % SLOTS) {
            if slot.second != second {
                *slot = Slot { second, ..Slot::default() };
            }
            slot.ended += 1;
            slot.failed += u32::from(failed);
        }
    }

    /// Ended and failed from second `from` on, before `to`.
    pub(super) fn sum(&self, from: u32, to: u32) -> (u64, u64) {
        let wanted = self.slots.iter().filter(|slot| (from..to).contains(&slot.second));
        wanted.fold((0, 0), |(ended, failed), slot| {
            (ended + u64::from(slot.ended), failed + u64::from(slot.failed))
        })
    }

    /// Nothing happened for longer than anything is asked for.
    fn idle(&self, second: u32) -> bool {
        self.slots.iter().all(|slot| slot.ended == 0 || slot.second + SECONDS + 1 < second)
    }
}

/// The whole seconds of `scope` before the running one: from, to. All of them for the whole run.
pub(super) fn range(scope: Scope, running: u32) -> (u32, u32) {
    match scope.seconds() {
        Some(seconds) => (running.saturating_sub(seconds), running),
        None => (0, u32::MAX),
    }
}

/// Of one host or port.
pub(super) struct Tally {
    /// First connection that was counted here.
    pub(super) since: MonoNs,
    pub(super) recent: Recent,
    pub(super) ended: u64,
    pub(super) failed: u64,
    pub(super) outcomes: [u64; Outcome::ALL.len()],
    pub(super) phases: [PhaseSum; Phases::STATES.len()],
    /// Handshakes and closes; for ports only, the core has those of hosts.
    pub(super) durations: Option<Box<(Durations, Durations)>>,
    /// Processes and ports seen last, newest first.
    comms: [Option<Comm>; KNOWN],
    ports: [u16; KNOWN],
}

impl Tally {
    fn new(since: MonoNs, durations: bool) -> Self {
        Self {
            since,
            recent: Recent::default(),
            ended: 0,
            failed: 0,
            outcomes: [0; Outcome::ALL.len()],
            phases: [PhaseSum::default(); Phases::STATES.len()],
            durations: durations.then(Box::default),
            comms: [None; KNOWN],
            ports: [0; KNOWN],
        }
    }

    fn count(&mut self, second: u32, connection: &Connection) {
        let failed = connection.failed();
        self.recent.add(second, failed);
        self.ended += 1;
        self.failed += u64::from(failed);
        let outcome = connection.outcome.unwrap_or(Outcome::Unknown);
        let counted = self.outcomes.iter_mut().zip(Outcome::ALL);
        for (count, _) in counted.filter(|(_, listed)| *listed == outcome) {
            *count += 1;
        }
        for (sum, took) in self.phases.iter_mut().zip(connection.phases.in_order()) {
            if let Some(took) = took {
                sum.count += 1;
                sum.total = sum.total.saturating_add(took);
                sum.max = sum.max.max(took);
            }
        }
        if let Some(durations) = &mut self.durations {
            if let Some(took) = connection.handshake {
                durations.0.record(took);
            }
            if let Some(took) = connection.close {
                durations.1.record(took);
            }
        }
        if let Some(owner) = connection.owner {
            put_first(&mut self.comms, Some(owner.comm));
        }
        // The port that says what it is about.
        let service = match connection.role {
            Some(crate::core::record::Role::Client) => connection.remote.port(),
            _ => connection.local.port(),
        };
        put_first(&mut self.ports, service);
    }

    /// What it can be found by beside its name.
    pub(super) fn known(&self, text: &mut String) {
        for port in self.ports.iter().filter(|port| **port != 0) {
            text.push_str(" :");
            text.push_str(&port.to_string());
        }
        for comm in self.comms.iter().flatten() {
            filter::process(*comm, text);
        }
        for (count, outcome) in self.outcomes.iter().zip(Outcome::ALL) {
            if *count > 0 {
                filter::outcome_word(outcome, text);
            }
        }
    }
}

fn put_first<T: Copy + PartialEq>(list: &mut [T; KNOWN], value: T) {
    let at = list.iter().position(|known| *known == value).unwrap_or(KNOWN - 1);
    if let Some(part) = list.get_mut(..=at) {
        part.rotate_right(1);
        if let Some(first) = part.first_mut() {
            *first = value;
        }
    }
}

/// Of all hosts, or of all ports. Each has a place that it keeps for as long as samples name it.
pub(super) struct Tallies<K> {
    places: FxHashMap<K, u32>,
    tallies: Vec<Option<(K, Tally)>>,
    free: Vec<u32>,
    most: usize,
    durations: bool,
    /// When places were last looked for that can be given up.
    swept: u32,
}

impl<K: Copy + Eq + std::hash::Hash> Tallies<K> {
    /// At most `most`; with `durations` each keeps how long handshakes and closes took.
    pub(super) fn new(most: usize, durations: bool) -> Self {
        Self {
            places: FxHashMap::default(),
            tallies: Vec::new(),
            free: Vec::new(),
            most,
            durations,
            swept: 0,
        }
    }

    /// Counts an end; the place it was counted at, [`NOBODY`] if there are too many.
    pub(super) fn count(&mut self, key: K, second: u32, connection: &Connection) -> u32 {
        let Some(place) = self.place(key, second, connection.start) else { return NOBODY };
        if let Some(Some((_, tally))) = self.tallies.get_mut(place as usize) {
            tally.count(second, connection);
        }
        place
    }

    fn place(&mut self, key: K, second: u32, since: MonoNs) -> Option<u32> {
        if let Some(place) = self.places.get(&key) {
            return Some(*place);
        }
        if self.places.len() >= self.most {
            self.sweep(second);
        }
        if self.places.len() >= self.most {
            return None;
        }
        let entry = Some((key, Tally::new(since, self.durations)));
        let place = match self.free.pop() {
            Some(place) => {
                *self.tallies.get_mut(place as usize)? = entry;
                place
            }
            None => {
                self.tallies.push(entry);
                u32::try_from(self.tallies.len() - 1).ok()?
            }
        };
        self.places.insert(key, place);
        Some(place)
    }

    /// Gives up those of whom nothing was heard for long, at most once a second.
    fn sweep(&mut self, second: u32) {
        if std::mem::replace(&mut self.swept, second) == second {
            return;
        }
        for (place, entry) in (0..).zip(&mut self.tallies) {
            if let Some((key, _)) = entry.take_if(|(_, tally)| tally.recent.idle(second)) {
                self.places.remove(&key);
                self.free.push(place);
            }
        }
    }

    pub(super) fn get(&self, key: K) -> Option<&Tally> {
        self.at(*self.places.get(&key)?).map(|(_, tally)| tally)
    }

    pub(super) fn place_of(&self, key: K) -> u32 {
        self.places.get(&key).copied().unwrap_or(NOBODY)
    }

    fn at(&self, place: u32) -> Option<(K, &Tally)> {
        self.tallies.get(place as usize)?.as_ref().map(|(key, tally)| (*key, tally))
    }

    /// All, each with its place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, K, &Tally)> {
        (0..)
            .zip(&self.tallies)
            .filter_map(|(place, entry)| entry.as_ref().map(|(key, tally)| (place, *key, tally)))
    }

    /// One more than the largest place.
    pub(super) fn places(&self) -> usize {
        self.tallies.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn only_whole_seconds_are_summed() {
        let mut recent = Recent::default();
        for second in 0..30 {
            for n in 0..=second {
                recent.add(second, n == 0);
            }
        }
        let sum = |scope| {
            let (from, to) = range(scope, 29);
            recent.sum(from, to)
        };
        assert_eq!(sum(Scope::Second), (29, 1));
        assert_eq!(sum(Scope::Ten), ((20..=29).sum(), 10));
        assert!(!recent.idle(40) && recent.idle(41));
    }

    #[test]
    fn a_full_table_gives_up_who_is_idle_and_no_other() {
        let mut tallies = Tallies::new(2, true);
        let full = samples::full();
        assert_eq!(tallies.count(1, 5, &full), 0);
        assert_eq!(tallies.count(2, 9, &full), 1);
        assert_eq!(tallies.count(3, 10, &full), NOBODY);
        assert_eq!(tallies.count(3, 17, &full), 0, "the place of 1");
        assert_eq!(tallies.count(2, 17, &full), 1);
        assert_eq!(tallies.place_of(1), NOBODY);
        let two = tallies.get(2).expect("kept");
        assert_eq!((two.ended, two.failed, two.outcomes[0]), (2, 0, 2));
        assert_eq!(two.phases[5].count, 2);
        let durations = two.durations.as_ref().expect("asked for");
        assert_eq!(durations.0.quantiles().expect("some").count, 2);
        let mut text = String::new();
        two.known(&mut text);
        assert_eq!(text, " :8080 nginx closed");
    }

    #[test]
    fn what_was_seen_last_is_known() {
        let mut list = [0; KNOWN];
        for value in [1, 2, 3, 2, 4, 5, 5] {
            put_first(&mut list, value);
        }
        assert_eq!(list, [5, 4, 2, 3]);
    }
}
