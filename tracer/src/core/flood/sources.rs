//! Who sent how much since an incident began: bounded, the weakest are dropped.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use super::tick::SourceTick;

/// Keys kept after the weakest were dropped; there are never more than twice as many.
const KEPT: usize = 1024;

/// What one source, or one prefix, did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// SYNs, repeated ones included.
    pub(super) syns: u64,
    /// SYNs not seen before.
    pub(super) firsts: u64,
    /// Connections it completed here.
    pub(super) completed: u64,
    /// Connections it completed in other namespaces of this machine.
    pub(super) elsewhere: u64,
}

impl Tally {
    /// What it sent in a tick.
    pub(super) fn sent(&mut self, source: &SourceTick) {
        self.syns = self.syns.saturating_add(source.syns);
        let firsts = self.firsts.saturating_add(source.firsts.gained().sum());
        self.firsts = firsts.saturating_sub(source.firsts.taken_back().sum());
    }

    /// SYNs that came to nothing.
    pub(super) fn uncompleted(&self) -> u64 {
        self.firsts.saturating_sub(self.completed.saturating_add(self.elsewhere))
    }

    /// Whether it is somebody who connects: what it has under way is not held against the listener.
    pub(super) fn completes(&self) -> bool {
        let done = self.completed.saturating_add(self.elsewhere);
        done > 0 && done.saturating_mul(5) >= self.firsts
    }
}

/// Tallies by address.
#[derive(Clone, Debug, Default)]
pub(super) struct Tallies {
    by: FxHashMap<IpAddr, Tally>,
}

impl Tallies {
    /// The tally of an address.
    pub(super) fn of(&mut self, addr: IpAddr) -> &mut Tally {
        if self.by.len() >= 2 * KEPT && !self.by.contains_key(&addr) {
            self.drop_weakest();
        }
        self.by.entry(addr).or_default()
    }

    /// The tally of an address if it has one.
    pub(super) fn known(&mut self, addr: IpAddr) -> Option<&mut Tally> {
        self.by.get_mut(&addr)
    }

    /// Takes in what happened in other namespaces, by remote address.
    pub(super) fn answered_elsewhere(&mut self, by: &FxHashMap<IpAddr, u64>) {
        for (addr, count) in by {
            if let Some(tally) = self.known(*addr) {
                tally.elsewhere = tally.elsewhere.saturating_add(*count);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (IpAddr, &Tally)> {
        self.by.iter().map(|(addr, tally)| (*addr, tally))
    }

    pub(super) fn len(&self) -> usize {
        self.by.len()
    }

    /// What those that complete have under way.
    pub(super) fn under_way(&self) -> u64 {
        self.by.values().filter(|tally| tally.completes()).map(Tally::uncompleted).sum()
    }

    /// SYNs that those that complete had to repeat.
    pub(super) fn honest_repeats(&self) -> u64 {
        self.by
            .values()
            .filter(|tally| tally.completes())
            .map(|tally| tally.syns.saturating_sub(tally.firsts))
            .sum()
    }

    /// Connections completed elsewhere by those who sent here.
    pub(super) fn elsewhere(&self) -> u64 {
        self.by.values().map(|tally| tally.elsewhere.min(tally.firsts)).sum()
    }

    /// Those whose SYNs came to nothing, most first.
    pub(super) fn worst(&self, most: usize) -> Vec<(IpAddr, Tally)> {
        let mut all: Vec<_> = self
            .iter()
            .filter(|(_, tally)| tally.uncompleted() > 0 && !tally.completes())
            .map(|(addr, tally)| (addr, *tally))
            .collect();
        let key = |(addr, tally): &(IpAddr, Tally)| (std::cmp::Reverse(tally.uncompleted()), *addr);
        if all.len() > most && most > 0 {
            all.select_nth_unstable_by_key(most - 1, key);
            all.truncate(most);
        }
        all.sort_unstable_by_key(key);
        all
    }

    fn drop_weakest(&mut self) {
        let mut counts: Vec<u64> =
            self.by.values().map(|tally| tally.firsts.max(tally.completed)).collect();
        let nth = counts.len().saturating_sub(KEPT);
        if nth == 0 || nth >= counts.len() {
            return;
        }
        let (_, least, _) = counts.select_nth_unstable(nth);
        let least = *least;
        // Of many that are equally weak none has a better claim.
        self.by.retain(|_, tally| tally.firsts.max(tally.completed) > least);
    }
}
