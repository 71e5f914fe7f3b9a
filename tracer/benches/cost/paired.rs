//! Paired rounds: in each every subject gets its turn, in another order, and is held against the
//! first subject of the same round.

/// Median, least and most.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let values = sorted(values);
        let at = |n: usize| values.get(n).copied().unwrap_or(f64::NAN);
        Self {
            median: quantile(&values, 0.5),
            least: at(0),
            most: at(values.len().wrapping_sub(1)),
        }
    }
}

pub(crate) fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The value that so large a part of sorted values does not exceed (nearest rank).
pub(crate) fn quantile(sorted: &[f64], part: f64) -> f64 {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Runs `rounds` rounds over so many subjects; what each yielded, by subject.
pub(crate) fn rounds<T>(
    rounds: usize,
    subjects: usize,
    mut run: impl FnMut(usize) -> T,
) -> Vec<Vec<T>> {
    let mut yielded: Vec<Vec<T>> = (0..subjects).map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for turn in 0..subjects {
            let subject = (round + turn) % subjects;
            yielded[subject].push(run(subject));
        }
    }
    yielded
}

/// Each round's ratio to that of the first subject.
pub(crate) fn ratios(of: &[f64], base: &[f64]) -> Spread {
    Spread::of(of.iter().zip(base).map(|(of, base)| of / base))
}

/// Each round's difference to that of the first subject.
pub(crate) fn differences(of: &[f64], base: &[f64]) -> Spread {
    Spread::of(of.iter().zip(base).map(|(of, base)| of - base))
}
