//! How many half-open connections there are: SYNs that wait for their final ACK, counted in cohorts
//! by when they came, so that what never completes is forgotten when the kernel forgets it.
//!
//! What ends one says of which cohort its SYN was, and is taken off that. Where the cohort holds no
//! more, it was told of too few (a full queue was believed to have refused another one, a row's place was
//! another's): then it is taken off the nearest before it that holds some, else after it, and what is
//! beyond the SYNs known altogether (tracing began in mid-flow, a SYN came by another way) is ignored:
//! never below zero.
//!
//! The kernel's own count is of another moment than the ticks are: what has come and ended since is
//! added to it. Before it is held against them a tick tells what had completed when it was made, or
//! that would be taken off once more by the next.

use std::collections::VecDeque;

use tracer_common::flood::cohort::{self, IN_TIME, LENGTH_NS, REST};

use super::parts::Parts;
use crate::core::event::MonoNs;

/// How long the kernel keeps a request with `tcp_synack_retries` = 5 (1 + 2 + 4 + 8 + 16 + 32 s).
pub const DEFAULT_LIFETIME_NS: u64 = 63 * 1_000_000_000;
/// Most cohorts kept, whatever the lifetime: older ones are counted with the oldest.
const MOST_COHORTS: usize = 256;
/// The kernel's answer may be so many ticks late; behind one that is later, SYNs may be taken off that
/// came after it.
const LATE_TICKS: usize = 4;

/// Half-open connections of one listener, or of one remote host.
#[derive(Clone, Debug, Default)]
pub struct HalfOpen {
    /// Cohort's number and what is left of it, oldest first; none is empty.
    cohorts: VecDeque<(u64, u64)>,
    total: u64,
    /// By how many the last ticks that told of SYNs have made it more, and when these ended; oldest
    /// first.
    grown: [(MonoNs, u64); LATE_TICKS],
}

impl HalfOpen {
    /// SYNs arrived that wait for their final ACK, as a tick told that ended at `at`; the newest are of
    /// cohort `newest`.
    pub fn add(&mut self, at: MonoNs, newest: u64, came: &Parts) {
        for (cohort, count) in came.cohorts(newest) {
            self.add_to(cohort, count);
        }
        self.note_growth(at, came.sum());
    }

    fn add_to(&mut self, cohort: u64, count: u64) {
        let count = count.min(u64::MAX - self.total);
        if count == 0 {
            return;
        }
        self.total += count;
        match self.place(cohort) {
            Ok(at) => {
                if let Some((_, held)) = self.cohorts.get_mut(at) {
                    *held += count;
                }
            }
            Err(at) => self.cohorts.insert(at, (cohort, count)),
        }
        if self.cohorts.len() > MOST_COHORTS
            && let Some((_, count)) = self.cohorts.pop_front()
            && let Some((_, oldest)) = self.cohorts.front_mut()
        {
            *oldest += count;
        }
    }

    /// Where a cohort is, or would be.
    fn place(&self, cohort: u64) -> Result<usize, usize> {
        self.cohorts.binary_search_by_key(&cohort, |(number, _)| *number)
    }

    fn note_growth(&mut self, at: MonoNs, by: u64) {
        if by == 0 {
        } else if let Some((_, grown)) = self.grown.iter_mut().find(|(then, _)| *then == at) {
            *grown = grown.saturating_add(by);
        } else if self.grown[0].0 < at {
            self.grown[0] = (at, by);
            self.grown.sort_unstable_by_key(|(at, _)| *at);
        }
    }

    /// Requests became connections, or were reset. In a tick after [`Self::add`]. What was beyond all that
    /// was known is returned.
    pub fn take(&mut self, newest: u64, ended: &Parts) -> Parts {
        let astray = self.take_own(newest, ended);
        self.take_nearest(newest, &astray)
    }

    /// [`Self::take`] off the SYNs' own cohorts only. What they did not hold is returned.
    pub fn take_own(&mut self, newest: u64, ended: &Parts) -> Parts {
        if ended.sum() == 0 {
            return *ended;
        }
        let mut left = Parts::of(REST, self.take_of(0..=latest(newest), ended.rest()));
        for (cohort, count) in ended.cohorts(newest) {
            left.count(cohort::part_of(cohort), self.take_of(cohort..=cohort, count));
        }
        self.note_end(ended.sum() - left.sum());
        left
    }

    /// [`Self::take`] off the nearest cohorts before the SYNs' own, and then after them.
    pub fn take_nearest(&mut self, newest: u64, ended: &Parts) -> Parts {
        if ended.sum() == 0 {
            return *ended;
        }
        let mut left = Parts::default();
        let late = (latest(newest), ended.rest(), REST);
        let own = ended.cohorts(newest).map(|(cohort, n)| (cohort, n, cohort::part_of(cohort)));
        for (cohort, count, part) in own.chain([late]) {
            let after = self.take_of(0..=cohort, count);
            left.count(part, self.take_after(cohort, after));
        }
        self.note_end(ended.sum() - left.sum());
        left
    }

    fn note_end(&mut self, mut count: u64) {
        for (_, grown) in self.grown.iter_mut().rev() {
            let less = count.min(*grown);
            *grown -= less;
            count -= less;
        }
    }

    /// Takes off these cohorts, newest first; what is left when nothing is left of them.
    fn take_of(&mut self, of: std::ops::RangeInclusive<u64>, mut count: u64) -> u64 {
        let mut end = self.place(*of.end()).map_or_else(|end| end, |at| at + 1);
        while count > 0
            && end > 0
            && self.cohorts.get(end - 1).is_some_and(|(cohort, _)| of.contains(cohort))
        {
            end -= 1;
            count = self.take_at(end, count);
        }
        count
    }

    /// Takes off those after a cohort, oldest first; what is left when nothing is left of them.
    fn take_after(&mut self, cohort: u64, mut count: u64) -> u64 {
        let at = self.place(cohort).map_or_else(|at| at, |at| at + 1);
        while count > 0 && at < self.cohorts.len() {
            count = self.take_at(at, count);
        }
        count
    }

    /// Takes off the cohort at a place, which is gone when nothing is left of it; what it did not hold is
    /// returned.
    fn take_at(&mut self, at: usize, count: u64) -> u64 {
        let Some((_, held)) = self.cohorts.get_mut(at) else { return count };
        let taken = count.min(*held);
        *held -= taken;
        self.total -= taken;
        if *held == 0 {
            self.cohorts.remove(at);
        }
        count - taken
    }

    /// Forgets what the kernel has given up by `now`.
    pub fn expire(&mut self, now: MonoNs, lifetime_ns: u64) {
        while let Some((cohort, count)) = self.cohorts.front()
            && older(*cohort, lifetime_ns, now)
        {
            self.total -= count;
            self.cohorts.pop_front();
        }
    }

    /// The kernel was asked at `at`, counts `kernel` of them and answered no SYN with a cookie
    /// meanwhile: what is beyond was refused, filtered or given up early. Newest first: a full queue
    /// refuses who comes last. After a tick that ended later than `at`.
    pub fn reconcile(&mut self, kernel: u64, at: MonoNs) {
        let since = self.grown.iter().filter(|(then, _)| *then > at);
        let most = since.fold(kernel, |most, (_, grown)| most.saturating_add(*grown));
        self.take_of(0..=u64::MAX, self.total.saturating_sub(most));
    }

    /// Moves all of `other` here.
    pub fn merge(&mut self, other: &Self) {
        for (cohort, count) in &other.cohorts {
            self.add_to(*cohort, *count);
        }
        for (at, by) in other.grown {
            self.note_growth(at, by);
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.total
    }

    /// How many are certainly older than `age` nanoseconds.
    #[must_use]
    pub fn older_than(&self, now: MonoNs, age: u64) -> u64 {
        let old = self.cohorts.iter().take_while(|(cohort, _)| older(*cohort, age, now));
        old.map(|(_, count)| count).sum()
    }
}

/// The latest cohort that the SYN of what ended late can be of: when it ended, `newest` had begun.
const fn latest(newest: u64) -> u64 {
    newest.saturating_sub(IN_TIME as u64)
}

/// Whether all SYNs of a cohort are older than `age` nanoseconds.
const fn older(cohort: u64, age: u64, now: MonoNs) -> bool {
    (cohort + 1).saturating_mul(LENGTH_NS).saturating_add(age) <= now.0
}

#[cfg(test)]
mod tests;
