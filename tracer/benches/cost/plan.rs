//! How much of everything.

use std::time::Duration;

/// The sizes of a run. All loads end by themselves.
pub(crate) struct Plan {
    /// Everything tiny, and tables are looked at for figures that are missing.
    pub(crate) smoke: bool,
    /// Paired rounds.
    pub(crate) rounds: usize,
}

impl Plan {
    pub(crate) fn new(smoke: bool, rounds: Option<usize>) -> Self {
        Self { smoke, rounds: rounds.unwrap_or(if smoke { 1 } else { 5 }) }
    }

    /// The first, or with `--smoke` the second.
    pub(crate) fn either<T>(&self, full: T, smoke: T) -> T {
        if self.smoke { smoke } else { full }
    }

    /// All subjects of a comparison, or with `--smoke` the first two.
    pub(crate) fn few<'a, T>(&self, all: &'a [T]) -> &'a [T] {
        all.get(..self.either(all.len(), 2)).unwrap_or(all)
    }

    /// Milliseconds for what goes on by itself to come to an end.
    pub(crate) fn settle(&self) {
        std::thread::sleep(Duration::from_millis(self.either(300, 20)));
    }

    /// Seconds of a load that is measured by time.
    pub(crate) fn seconds(&self, full: f64) -> Duration {
        Duration::from_secs_f64(self.either(full, 0.1))
    }
}
