use super::*;

fn exact(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

#[test]
fn a_few_durations_have_exact_percentiles() {
    let mut durations = Durations::default();
    assert_eq!(durations.quantiles(), None);
    for ns in (1..=FEW as u64).rev() {
        durations.record(ns * 1000);
    }
    let got = durations.quantiles().expect("some");
    assert_eq!(got.count, 32);
    assert_eq!((got.p50, got.p90, got.p99, got.max), (16_000, 29_000, 32_000, 32_000));
    let mut one = Durations::default();
    one.record(0);
    let got = one.quantiles().expect("one");
    assert_eq!((got.count, got.p50, got.p99, got.max), (1, 0, 0, 0));
}

#[test]
fn many_durations_have_percentiles_within_two_percent_and_an_exact_maximum() {
    // Microseconds to hours, a multiplicative walk through all magnitudes.
    let mut all = Vec::new();
    let mut value = 1000.0_f64;
    while value < 1e13 {
        all.push(value as u64);
        value *= 1.01;
    }
    for scale in [1, 3, 7] {
        let mut durations = Durations::default();
        let mut sorted: Vec<_> = all.iter().map(|ns| ns * scale).collect();
        for ns in sorted.iter().rev() {
            durations.record(*ns);
        }
        sorted.sort_unstable();
        let got = durations.quantiles().expect("many");
        assert_eq!(got.count, sorted.len() as u64);
        assert_eq!(got.max, sorted[sorted.len() - 1]);
        for (got, percent) in [(got.p50, 50), (got.p90, 90), (got.p99, 99)] {
            let exact = exact(&sorted, percent) as f64;
            let error = (got as f64 - exact).abs() / exact;
            assert!(error < 0.02, "p{percent}: {got} for {exact}");
        }
    }
}

#[test]
fn a_percentile_is_never_beyond_the_maximum() {
    let mut durations = Durations::default();
    for _ in 0..100 {
        durations.record(1_000_000);
    }
    let got = durations.quantiles().expect("many");
    assert!(got.p50 <= got.max && got.p99 <= got.max);
    // Longer than the histogram reaches.
    durations.record(u64::MAX / 2);
    let got = durations.quantiles().expect("many");
    assert_eq!(got.max, u64::MAX / 2);
    assert!(got.p99 < 1_100_000);
}

#[test]
fn merging_counts_everything_whatever_was_few_and_many() {
    for (left, right) in [(3, 4), (3, 400), (400, 3), (400, 500), (0, 400), (400, 0)] {
        let (mut a, mut b) = (Durations::default(), Durations::default());
        for n in 0..left {
            a.record(1000 * (n + 1));
        }
        for n in 0..right {
            b.record(2_000_000 * (n + 1));
        }
        a.merge(&b);
        let got = a.quantiles().expect("some");
        assert_eq!(got.count, left + right);
        let max = if right > 0 { 2_000_000 * right } else { 1000 * left };
        assert_eq!(got.max, max);
        let mut all: Vec<_> = (0..left).map(|n| 1000 * (n + 1)).collect();
        all.extend((0..right).map(|n| 2_000_000 * (n + 1)));
        let exact = exact(&all, 50) as f64;
        assert!((got.p50 as f64 - exact).abs() / exact < 0.02, "{left} {right}");
    }
}

#[test]
fn one_histogram_is_small() {
    let many = empty().expect("the configuration is a valid one");
    assert!(size_of_val(many.as_slice()) <= 8 * 1024);
}

#[test]
fn every_value_is_told_within_two_percent() {
    for ns in (33..4000).map(|n: u64| n * n * n) {
        let mut durations = Durations::default();
        for _ in 0..50 {
            durations.record(ns);
        }
        durations.record(ns * 1000);
        let got = durations.quantiles().expect("many").p50 as f64;
        let error = (got - ns as f64).abs() / ns as f64;
        assert!(error < 0.017, "{got} for {ns}");
    }
}

#[test]
fn counters_that_would_wrap_are_halved_and_keep_their_shape() {
    let mut durations = Durations::default();
    for n in 0..100 {
        durations.record(if n < 80 { 1_000_000 } else { 9_000_000 });
    }
    // As if billions had been recorded.
    durations.count = u64::from(u32::MAX / 2) - 1;
    let Held::Many(many) = &mut durations.held else { panic!("many") };
    for counter in many.as_mut_slice() {
        *counter = match *counter {
            80 => u32::MAX - 2,
            20 => u32::MAX / 4,
            _ => 0,
        };
    }
    for _ in 0..10 {
        durations.record(1_000_000);
    }
    let got = durations.quantiles().expect("many");
    assert_eq!(got.count, u64::from(u32::MAX / 2) + 9);
    assert!(got.p50.abs_diff(1_000_000) < 20_000);
    assert!(got.p90.abs_diff(9_000_000) < 180_000);
}
