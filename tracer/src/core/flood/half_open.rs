//! How many half-open connections there are: SYNs that wait for their final ACK, counted in cohorts
//! of one second, so that what never completes is forgotten when the kernel forgets it.
//!
//! A completion does not say which SYN it belongs to; it is taken off the newest cohort, because
//! nearly all handshakes that complete do so within a second. Those that are on their way when a second
//! ends stay in its cohort for that, and are forgotten with it although others have taken their place:
//! where round trips are long, so many are missing from then on. What is taken off beyond the SYNs known
//! (tracing began in mid-flow, a SYN came by another way) is ignored: never below zero.
//!
//! The kernel's own count is of another moment than the ticks are: what has come and ended since is
//! added to it. Before it is held against them a tick tells what had completed when it was made, or
//! that would be taken off once more by the next.

use std::collections::VecDeque;

use crate::core::event::MonoNs;

/// How long the kernel keeps a request with `tcp_synack_retries` = 5 (1 + 2 + 4 + 8 + 16 + 32 s).
pub const DEFAULT_LIFETIME_NS: u64 = 63 * SECOND;
const SECOND: u64 = 1_000_000_000;
/// Most cohorts kept, whatever the lifetime: older ones are counted with the oldest.
const MOST_COHORTS: usize = 256;
/// The kernel's answer may be so many ticks late; behind one that is later, SYNs may be taken off that
/// came after it.
const LATE_TICKS: usize = 4;

/// Half-open connections of one listener, or of one remote host.
#[derive(Clone, Debug, Default)]
pub struct HalfOpen {
    /// Second of arrival and what is left of it, oldest first; none is empty.
    cohorts: VecDeque<(u64, u64)>,
    total: u64,
    /// By how many the last ticks that told of SYNs have made it more, and when these ended; oldest
    /// first.
    grown: [(MonoNs, u64); LATE_TICKS],
}

impl HalfOpen {
    /// SYNs arrived that wait for their final ACK.
    pub fn add(&mut self, at: MonoNs, syns: u64) {
        if syns == 0 {
            return;
        }
        let second = at.0 / SECOND;
        let syns = syns.min(u64::MAX - self.total);
        self.total += syns;
        self.note_growth(at, syns);
        match self.cohorts.back_mut() {
            // A clock that goes back does not make an old cohort.
            Some((newest, count)) if *newest >= second => *count += syns,
            _ => self.cohorts.push_back((second, syns)),
        }
        if self.cohorts.len() > MOST_COHORTS
            && let Some((_, count)) = self.cohorts.pop_front()
            && let Some((_, oldest)) = self.cohorts.front_mut()
        {
            *oldest += count;
        }
        self.cohorts.retain(|(_, count)| *count > 0);
    }

    fn note_growth(&mut self, at: MonoNs, by: u64) {
        if let Some((_, grown)) = self.grown.iter_mut().find(|(then, _)| *then == at) {
            *grown = grown.saturating_add(by);
        } else if self.grown[0].0 < at {
            self.grown[0] = (at, by);
            self.grown.sort_unstable_by_key(|(at, _)| *at);
        }
    }

    /// Requests became connections, or were reset: newest first. In a tick after [`Self::add`].
    pub fn take(&mut self, count: u64) {
        self.take_newest(count);
        let mut left = count;
        for (_, grown) in self.grown.iter_mut().rev() {
            let less = left.min(*grown);
            *grown -= less;
            left -= less;
        }
    }

    fn take_newest(&mut self, mut count: u64) {
        while count > 0
            && let Some((_, newest)) = self.cohorts.back_mut()
        {
            let taken = count.min(*newest);
            *newest -= taken;
            count -= taken;
            self.total -= taken;
            if *newest == 0 {
                self.cohorts.pop_back();
            }
        }
    }

    /// Forgets what the kernel has given up by `now`.
    pub fn expire(&mut self, now: MonoNs, lifetime_ns: u64) {
        while let Some((second, count)) = self.cohorts.front()
            && (second + 1).saturating_mul(SECOND).saturating_add(lifetime_ns) <= now.0
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
        self.take_newest(self.total.saturating_sub(most));
    }

    /// Moves all of `other` here.
    pub fn merge(&mut self, other: &Self) {
        let mut all: Vec<_> = self.cohorts.iter().chain(&other.cohorts).copied().collect();
        all.sort_unstable_by_key(|(second, _)| *second);
        let grown = self.grown;
        *self = Self::default();
        for (second, count) in all {
            self.add(MonoNs(second.saturating_mul(SECOND)), count);
        }
        self.grown = grown;
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
        self.cohorts
            .iter()
            .take_while(|(second, _)| {
                (second + 1).saturating_mul(SECOND).saturating_add(age) <= now.0
            })
            .map(|(_, count)| count)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A tick, with what came and what completed in it.
    fn tick(half: &mut HalfOpen, at: u64, came: u64, completed: u64) {
        half.add(MonoNs(at * MS), came);
        half.take(completed);
        half.expire(MonoNs(at * MS), DEFAULT_LIFETIME_NS);
    }

    #[test]
    fn what_the_kernel_does_not_have_is_taken_off() {
        let mut half = HalfOpen::default();
        tick(&mut half, 250, 60, 0);
        half.reconcile(16, MonoNs(251 * MS));
        assert_eq!(half.count(), 16);
        tick(&mut half, 500, 0, 0);
        half.reconcile(20, MonoNs(501 * MS));
        assert_eq!(half.count(), 16);
    }

    #[test]
    fn what_came_after_the_kernel_was_asked_stays() {
        let mut half = HalfOpen::default();
        tick(&mut half, 250, 5, 0);
        tick(&mut half, 500, 9, 0);
        half.reconcile(0, MonoNs(400 * MS));
        assert_eq!(half.count(), 9);
        tick(&mut half, 750, 2, 0);
        half.reconcile(0, MonoNs(400 * MS));
        assert_eq!(half.count(), 11, "the same answer, another tick late");
        half.reconcile(0, MonoNs(750 * MS));
        assert_eq!(half.count(), 0);
    }

    /// What came and completed since makes no room for what was refused.
    #[test]
    fn what_completes_hides_nothing_that_was_refused() {
        let mut half = HalfOpen::default();
        tick(&mut half, 250, 1_050, 1_000);
        assert_eq!(half.count(), 50);
        tick(&mut half, 500, 1_000, 1_000);
        half.reconcile(0, MonoNs(251 * MS));
        assert_eq!(half.count(), 0);
        tick(&mut half, 750, 1_000, 1_000);
        assert_eq!(half.count(), 0);
    }

    /// Those that complete before the kernel is asked have completed for the tick before its answer.
    #[test]
    fn what_completed_before_the_kernel_was_asked_is_taken_off_once() {
        let mut half = HalfOpen::default();
        // At any time 200 are on their way.
        tick(&mut half, 250, 200, 0);
        for n in 2..40 {
            tick(&mut half, n * 250, 1_000, 1_000);
            // Asked when 20 more have come and 20 completed, answered when 5 more have.
            tick(&mut half, n * 250 + 5, 25, 25);
            half.reconcile(200, MonoNs((n * 250 + 4) * MS));
            assert_eq!(half.count(), 200);
        }
    }

    /// In a flood what is refused is taken off, however late the kernel's answers are.
    #[test]
    fn late_answers_in_a_flood() {
        for late in [1, 100, 400] {
            let mut half = HalfOpen::default();
            for n in 9..600 {
                tick(&mut half, n * 50, 5_000, 0);
                half.reconcile(256, MonoNs((n * 50 - late) * MS));
                assert!(half.count() <= 256 + 4 * 5_000, "{late} {n}: {}", half.count());
            }
        }
    }

    #[test]
    fn rows_that_are_put_together_remember_what_came_late() {
        let (mut one, mut other) = (HalfOpen::default(), HalfOpen::default());
        tick(&mut one, 250, 4, 0);
        tick(&mut other, 250, 3, 0);
        tick(&mut other, 500, 2, 0);
        one.merge(&other);
        one.reconcile(0, MonoNs(300 * MS));
        assert_eq!(one.count(), 2);
    }
}
