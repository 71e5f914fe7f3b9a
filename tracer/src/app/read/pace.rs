//! `--speed`: when what happened at a time of the capture is to happen again.

use std::time::{Duration, Instant};

use crate::core::event::MonoNs;

/// As fast as it goes, or so many times as fast as it happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    speed: Option<f64>,
    /// The same moment in both times, once there is one.
    began: Option<(MonoNs, Instant)>,
}

impl Pace {
    pub(super) const fn new(speed: Option<f64>) -> Self {
        Self { speed, began: None }
    }

    /// The capture begins with `first`.
    pub(super) fn begin(&mut self, first: MonoNs, now: Instant) {
        self.began.get_or_insert((first, now));
    }

    /// When it is the turn of what happened at `at`; `None`: at once.
    pub(super) fn due(&self, at: MonoNs) -> Option<Instant> {
        let (first, began) = self.began?;
        let after = at.since(first) as f64 / 1e9 / self.speed?;
        // Too far away to be waited for.
        let after = Duration::try_from_secs_f64(after).unwrap_or(LONGEST).min(LONGEST);
        Some(began + after)
    }

    /// The time of the capture at `now`; `None`: it has none but that of its segments.
    pub(super) fn now(&self, now: Instant) -> Option<MonoNs> {
        let (first, began) = self.began?;
        let passed = now.duration_since(began).as_secs_f64() * self.speed? * 1e9;
        Some(MonoNs(first.0.saturating_add(passed as u64)))
    }
}

/// Thirty years.
const LONGEST: Duration = Duration::from_secs(30 * 366 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn ten_times_as_fast_takes_a_tenth_of_the_time() {
        let now = Instant::now();
        let mut pace = Pace::new(Some(10.0));
        assert_eq!(pace.due(MonoNs(7)), None);
        pace.begin(MonoNs(100 * S), now);
        pace.begin(MonoNs(0), now + Duration::from_secs(9));
        assert_eq!(pace.due(MonoNs(100 * S)), Some(now));
        assert_eq!(pace.due(MonoNs(150 * S)), Some(now + Duration::from_secs(5)));
        // Earlier than the first: at once.
        assert_eq!(pace.due(MonoNs(1)), Some(now));
        assert_eq!(pace.now(now + Duration::from_secs(5)), Some(MonoNs(150 * S)));
        assert!(pace.due(MonoNs(u64::MAX)).is_some());
    }

    #[test]
    fn as_fast_as_possible_waits_for_nothing() {
        let mut pace = Pace::new(None);
        pace.begin(MonoNs(0), Instant::now());
        assert_eq!(pace.due(MonoNs(u64::MAX)), None);
        assert_eq!(pace.now(Instant::now()), None);
    }
}
