//! Durations in a few wide steps: what a histogram on a screen or a page draws.

/// Upper bounds of the steps, exclusive, nanoseconds: 1, 2, 5 of every decade from 10 µs to 10 s.
/// The last step has none.
pub const BOUNDS: [u64; 19] = [
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// How many durations fell into each step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Spread {
    /// Below 10 µs first, 10 s and more last.
    pub steps: [u64; BOUNDS.len() + 1],
}

impl Spread {
    /// Adds `count` durations of `ns` nanoseconds.
    pub fn add(&mut self, ns: u64, count: u64) {
        let step = BOUNDS.partition_point(|bound| *bound <= ns);
        if let Some(step) = self.steps.get_mut(step) {
            *step += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_at_a_bound_is_in_the_step_above() {
        let mut spread = Spread::default();
        for (ns, step) in [
            (0, 0),
            (9_999, 0),
            (10_000, 1),
            (999_999, 6),
            (1_000_000, 7),
            (9_999_999_999, 18),
            (10_000_000_000, 19),
            (u64::MAX, 19),
        ] {
            spread.add(ns, 2);
            assert!(spread.steps[step] >= 2, "{ns}: {spread:?}");
        }
        assert_eq!(spread.steps.iter().sum::<u64>(), 16);
    }
}
