//! How many half-open connections there are: SYNs that wait for their final ACK, counted in cohorts
//! of one second, so that what never completes is forgotten when the kernel forgets it.
//!
//! A completion does not say which SYN it belongs to; it is taken off the newest cohort, because
//! nearly all handshakes that complete do so within a second. What is taken off beyond the SYNs
//! known (tracing began in mid-flow, a SYN came by another way) is ignored: never below zero, and
//! an error lives no longer than a request does.
//!
//! The kernel's own count is of another moment than the ticks are. What came after it was asked may be
//! missing there, and what it no longer has may have completed, which the next tick tells once more.

use std::collections::VecDeque;

use crate::core::event::MonoNs;

/// How long the kernel keeps a request with `tcp_synack_retries` = 5 (1 + 2 + 4 + 8 + 16 + 32 s).
pub const DEFAULT_LIFETIME_NS: u64 = 63 * SECOND;
const SECOND: u64 = 1_000_000_000;
/// Most cohorts kept, whatever the lifetime: older ones are counted with the oldest.
const MOST_COHORTS: usize = 256;

/// Half-open connections of one listener, or of one remote host.
#[derive(Clone, Debug, Default)]
pub struct HalfOpen {
    /// Second of arrival and what is left of it, oldest first; none is empty.
    cohorts: VecDeque<(u64, u64)>,
    total: u64,
    /// How many came in the last two ticks that told of any, and when these ended: older first.
    came: [(MonoNs, u64); 2],
    /// Taken off by [`Self::reconcile`] since the last tick.
    gone: u64,
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
        if self.came[1].0 == at {
            self.came[1].1 = self.came[1].1.saturating_add(syns);
        } else {
            self.came = [self.came[1], (at, syns)];
        }
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

    /// Requests became connections, or were reset: newest first. In a tick after [`Self::add`].
    pub fn take(&mut self, count: u64) {
        let known = count.min(self.gone);
        self.gone -= known;
        self.take_newest(count - known);
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

    /// Forgets what the kernel has given up by `now`: the end of a tick.
    pub fn expire(&mut self, now: MonoNs, lifetime_ns: u64) {
        self.gone = 0;
        while let Some((second, count)) = self.cohorts.front()
            && (second + 1).saturating_mul(SECOND).saturating_add(lifetime_ns) <= now.0
        {
            self.total -= count;
            self.cohorts.pop_front();
        }
    }

    /// The kernel was asked at `at`, counts `kernel` of them and answered no SYN with a cookie
    /// meanwhile: what is beyond was refused, filtered or given up early. Newest first: a full queue
    /// refuses who comes last.
    pub fn reconcile(&mut self, kernel: u64, at: MonoNs) {
        let [before, last] = self.came;
        if before.0 > at {
            // So late an answer says too little.
            return;
        }
        let later = if last.0 > at { last.1 } else { 0 };
        let beyond = self.total.saturating_sub(kernel.saturating_add(later));
        self.take_newest(beyond);
        self.gone = self.gone.saturating_add(beyond);
    }

    /// Moves all of `other` here.
    pub fn merge(&mut self, other: &Self) {
        let mut all: Vec<_> = self.cohorts.iter().chain(&other.cohorts).copied().collect();
        all.sort_unstable_by_key(|(second, _)| *second);
        let Self { came, gone, .. } = std::mem::take(self);
        for (second, count) in all {
            self.add(MonoNs(second.saturating_mul(SECOND)), count);
        }
        (self.came, self.gone) = (came, gone);
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
        assert_eq!(half.count(), 11, "an answer from before the last two");
        half.reconcile(0, MonoNs(750 * MS));
        assert_eq!(half.count(), 0);
    }

    /// Those that complete between a tick and the kernel's count are not taken off twice.
    #[test]
    fn what_completed_before_the_kernel_was_asked_is_taken_off_once() {
        let mut half = HalfOpen::default();
        // At any time 200 are on their way; 20 of them complete until the kernel is asked.
        tick(&mut half, 250, 200, 0);
        for n in 2..40 {
            half.reconcile(180, MonoNs((n * 250 - 240) * MS));
            tick(&mut half, n * 250, 1_000, 1_000);
            assert_eq!(half.count(), 200);
        }
    }

    #[test]
    fn what_is_taken_off_is_held_against_the_next_tick_only() {
        let mut half = HalfOpen::default();
        tick(&mut half, 250, 60, 0);
        half.reconcile(16, MonoNs(251 * MS));
        tick(&mut half, 500, 0, 0);
        tick(&mut half, 750, 0, 10);
        assert_eq!(half.count(), 6);
    }
}
