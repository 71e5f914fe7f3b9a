//! Page's cumulative sum (1954): small excesses add up, and what is below the allowance takes off
//! again, so that a change is found as early as it can be told from chance.

use crate::core::event::MonoNs;

/// A one-sided CUSUM over a count per tick.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cusum {
    score: f64,
    /// Begin of the tick in which the score left zero.
    rises_since: MonoNs,
    over_since: Option<MonoNs>,
}

impl Cusum {
    /// Adds the excess of a tick; `limit` is where the score is called high.
    pub(super) fn add(&mut self, excess: f64, limit: f64, (from, now): (MonoNs, MonoNs)) {
        if self.is_zero() {
            self.rises_since = from;
        }
        self.score = (self.score + excess).max(0.0);
        if self.score <= limit {
            self.over_since = None;
        } else if self.over_since.is_none() {
            self.over_since = Some(now);
        }
    }

    /// Back to zero.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_zero(&self) -> bool {
        self.score <= 0.0
    }

    /// How long the score has been above zero, nanoseconds.
    pub(super) fn risen_for(&self, now: MonoNs) -> u64 {
        if self.is_zero() { 0 } else { now.since(self.rises_since) }
    }

    /// End of the tick since which the score has been high.
    pub(super) fn over_since(&self) -> Option<MonoNs> {
        self.over_since
    }
}
