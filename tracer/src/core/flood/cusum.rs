//! Page's cumulative sum (1954): small excesses add up, and what is below the allowance takes off
//! again, so that a change is found as early as it can be told from chance.

use crate::core::event::MonoNs;

/// A one-sided CUSUM over a count per tick.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cusum {
    score: f64,
    over_since: Option<MonoNs>,
}

impl Cusum {
    /// Adds a tick's excess; `limit` is where the score is called high.
    pub(super) fn add(&mut self, excess: f64, limit: f64, now: MonoNs) {
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

    /// End of the tick since which the score has been high.
    pub(super) fn over_since(&self) -> Option<MonoNs> {
        self.over_since
    }
}
