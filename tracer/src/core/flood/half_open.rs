//! How many half-open connections there are: SYNs that wait for their final ACK, counted in cohorts
//! of one second, so that what never completes is forgotten when the kernel forgets it.
//!
//! A completion does not say which SYN it belongs to; it is taken off the newest cohort, because
//! nearly all handshakes that complete do so within a second. What is taken off beyond the SYNs
//! known (tracing began in mid-flow, a SYN came by another way) is ignored: never below zero, and
//! an error lives no longer than a request does.

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

    /// Requests became connections, or were reset: newest first.
    pub fn take(&mut self, mut count: u64) {
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

    /// The kernel counts `kernel` of them and answered no SYN with a cookie meanwhile: what is
    /// beyond was refused, filtered or given up early. Newest first: a full queue refuses who
    /// comes last.
    pub fn reconcile(&mut self, kernel: u64) {
        self.take(self.total.saturating_sub(kernel));
    }

    /// Moves all of `other` here.
    pub fn merge(&mut self, other: &Self) {
        let mut all: Vec<_> = self.cohorts.iter().chain(&other.cohorts).copied().collect();
        all.sort_unstable_by_key(|(second, _)| *second);
        *self = Self::default();
        for (second, count) in all {
            self.add(MonoNs(second.saturating_mul(SECOND)), count);
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
