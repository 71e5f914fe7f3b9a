//! Counts by when their SYNs came.

use tracer_common::flood::cohort::{self, PARTS, REST, TOLD_APART};

/// What was counted of SYNs, or of the half-open connections that ended, by the SYN's cohort modulo
/// [`TOLD_APART`]; [`REST`] is what ended late. Which cohort is meant follows from the newest one that
/// can be among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts(pub [u64; PARTS]);

impl Parts {
    /// So many of one part.
    #[must_use]
    pub fn of(part: u32, count: u64) -> Self {
        let mut parts = Self::default();
        parts.count(part, count);
        parts
    }

    /// So many more of one part.
    pub fn count(&mut self, part: u32, more: u64) {
        if let Some(count) = self.0.get_mut(part as usize) {
            *count = count.saturating_add(more);
        }
    }

    /// Adds what was counted besides.
    pub fn add(&mut self, more: &Self) {
        for (count, more) in self.0.iter_mut().zip(more.0) {
            *count = count.saturating_add(more);
        }
    }

    /// What is left without `other`, and what of `other` was too many.
    #[must_use]
    pub fn without(&self, other: &Self) -> (Self, Self) {
        let mut both = (*self, *other);
        for (left, beyond) in both.0.0.iter_mut().zip(&mut both.1.0) {
            let less = (*left).min(*beyond);
            *left -= less;
            *beyond -= less;
        }
        both
    }

    /// All of them.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How many of which cohort, `newest` being the newest that can be among them.
    pub(super) fn cohorts(&self, newest: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        (0..TOLD_APART).filter_map(move |age| {
            let cohort = newest.checked_sub(age.into())?;
            let count = *self.0.get(cohort::part_of(cohort) as usize)?;
            (count > 0).then_some((cohort, count))
        })
    }

    /// How many ended late.
    pub(super) const fn rest(&self) -> u64 {
        self.0[REST as usize]
    }
}

/// What a source has grown by in a tick, as [`Parts`]; below zero is what turned out to be none. Small,
/// because there are thousands of them in a flood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes([i32; PARTS]);

impl Changes {
    /// So many of one part.
    #[must_use]
    pub fn of(part: u32, count: i32) -> Self {
        let mut changes = Self::default();
        changes.count(part, count);
        changes
    }

    /// So many more of one part.
    pub fn count(&mut self, part: u32, more: i32) {
        if let Some(count) = self.0.get_mut(part as usize) {
            *count = count.saturating_add(more);
        }
    }

    /// Adds what was counted besides.
    pub fn add(&mut self, more: &Self) {
        for (count, more) in self.0.iter_mut().zip(more.0) {
            *count = count.saturating_add(more);
        }
    }

    /// What is more.
    #[must_use]
    pub fn gained(&self) -> Parts {
        Parts(self.0.map(|count| count.max(0).unsigned_abs().into()))
    }

    /// What is less.
    #[must_use]
    pub fn taken_back(&self) -> Parts {
        Parts(self.0.map(|count| count.min(0).unsigned_abs().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_the_last_cohorts() {
        let parts = Parts([30, 31, 32, 0, 34, 35, 36, 7]);
        let told = |newest| parts.cohorts(newest).collect::<Vec<_>>();
        assert_eq!(told(70), [(70, 30), (69, 36), (68, 35), (67, 34), (65, 32), (64, 31)]);
        assert_eq!(told(72), [(72, 32), (71, 31), (70, 30), (69, 36), (68, 35), (67, 34)]);
        assert_eq!(told(1), [(1, 31), (0, 30)]);
        assert_eq!((parts.sum(), parts.rest()), (205, 7));
    }

    #[test]
    fn what_is_too_many_is_told() {
        let parts = |counts: [u64; 3]| {
            let mut parts = Parts::default();
            (0..).zip(counts).for_each(|(part, count)| parts.count(part, count));
            parts
        };
        let (left, beyond) = parts([5, 1, 2]).without(&parts([2, 3, 2]));
        assert_eq!((left, beyond), (parts([3, 0, 0]), parts([0, 2, 0])));
    }
}
