//! How long something took, by so many: exact counts in buckets, and percentiles.

use crate::core::quantiles::Durations;
use crate::core::record::Quantiles;

/// Where a bucket ends and the next begins, nanoseconds: five to a decade (the R5 series of ISO 3),
/// from 1 µs to 1000 s. Evenly wide on a logarithmic axis, and short to write.
pub(in crate::sinks::page) const EDGES: [u64; 46] = edges();

const fn edges() -> [u64; 46] {
    let series = [1_000, 1_600, 2_500, 4_000, 6_300];
    let mut edges = [0; 46];
    let (mut at, mut decade) = (0, 1);
    while at < edges.len() {
        edges[at] = series[at % 5] * decade;
        at += 1;
        if at.is_multiple_of(5) {
            decade *= 10;
        }
    }
    edges
}

/// Durations of one kind.
#[derive(Clone)]
pub(in crate::sinks::page) struct Latency {
    /// The first is below the first edge, the last from the last edge on.
    buckets: [u64; EDGES.len() + 1],
    durations: Durations,
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: [0; EDGES.len() + 1], durations: Durations::default() }
    }
}

impl Latency {
    /// Adds one, in nanoseconds.
    pub(in crate::sinks::page) fn record(&mut self, ns: u64) {
        let bucket = EDGES.partition_point(|edge| *edge <= ns);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
        self.durations.record(ns);
    }

    /// Counts; bucket `n` reaches from `EDGES[n - 1]` to below `EDGES[n]`.
    pub(in crate::sinks::page) const fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// Percentiles; `None` where there is nothing.
    pub(in crate::sinks::page) fn quantiles(&self) -> Option<Quantiles> {
        self.durations.quantiles()
    }

    /// Adds those of another.
    pub(super) fn merge(&mut self, other: &Self) {
        for (to, from) in self.buckets.iter_mut().zip(&other.buckets) {
            *to += from;
        }
        self.durations.merge(&other.durations);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edges_are_five_to_a_decade() {
        assert_eq!(EDGES[..6], [1_000, 1_600, 2_500, 4_000, 6_300, 10_000]);
        assert_eq!(EDGES[45], 1_000_000_000_000);
        assert!(EDGES.is_sorted());
    }

    #[test]
    fn a_bucket_begins_with_its_edge() {
        let mut latency = Latency::default();
        for ns in [0, 999, 1_000, 1_599, 1_600, u64::MAX] {
            latency.record(ns);
        }
        assert_eq!(latency.buckets()[..4], [2, 2, 1, 0]);
        assert_eq!(latency.buckets()[46], 1);
        assert_eq!(latency.quantiles().map(|q| (q.count, q.max)), Some((6, u64::MAX)));
    }

    #[test]
    fn nothing_has_no_percentiles() {
        assert_eq!(Latency::default().quantiles(), None);
    }

    proptest! {
        #[test]
        fn every_duration_is_counted_once_in_its_bucket(
            few in prop::collection::vec(0..2_000_000_000_000_u64, 0..200),
            more in prop::collection::vec(0..5_000_u64, 0..200),
        ) {
            let (mut all, mut rest) = (Latency::default(), Latency::default());
            for ns in &few { all.record(*ns); }
            for ns in &more { rest.record(*ns); }
            all.merge(&rest);
            let durations: Vec<u64> = few.iter().chain(&more).copied().collect();
            prop_assert_eq!(all.buckets().iter().sum::<u64>(), durations.len() as u64);
            for (n, count) in all.buckets().iter().enumerate() {
                let from = n.checked_sub(1).map_or(0, |n| EDGES[n]);
                let to = EDGES.get(n).copied().unwrap_or(u64::MAX);
                let within = durations.iter().filter(|ns| (from..to).contains(*ns)).count();
                prop_assert_eq!(*count, within as u64);
            }
        }
    }
}
