//! The few that were worst, of however many.

/// So many of each kind.
pub(in crate::sinks::page) const KEPT: usize = 10;

/// The [`KEPT`] with the largest figures, largest first; of equal ones those that came first.
#[derive(Clone, Debug)]
pub(in crate::sinks::page) struct Worst<T> {
    kept: Vec<(u64, T)>,
}

impl<T> Default for Worst<T> {
    fn default() -> Self {
        Self { kept: Vec::new() }
    }
}

impl<T> Worst<T> {
    /// Offers one; `item` is only made if it is kept.
    pub(super) fn offer(&mut self, figure: u64, item: impl FnOnce() -> T) {
        let place = self.kept.partition_point(|(kept, _)| *kept >= figure);
        if place < KEPT {
            self.kept.truncate(KEPT - 1);
            self.kept.insert(place, (figure, item()));
        }
    }

    /// Figure and item, worst first.
    pub(in crate::sinks::page) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, &T)> {
        self.kept.iter().map(|(figure, item)| (*figure, item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_are_those_that_sorting_all_would_give(
            figures in prop::collection::vec(0..50_u64, 0..200),
        ) {
            let mut worst = Worst::default();
            for (n, figure) in figures.iter().enumerate() {
                worst.offer(*figure, || n);
            }
            let mut all: Vec<(u64, usize)> =
                figures.into_iter().enumerate().map(|(n, figure)| (figure, n)).collect();
            all.sort_by_key(|(figure, n)| (std::cmp::Reverse(*figure), *n));
            all.truncate(KEPT);
            let kept: Vec<_> = worst.iter().map(|(figure, n)| (figure, *n)).collect();
            prop_assert_eq!(kept, all);
        }
    }

    #[test]
    fn what_is_not_kept_is_not_made() {
        let mut worst = Worst::default();
        for _ in 0..KEPT {
            worst.offer(2, || ());
        }
        worst.offer(1, || panic!("made"));
        worst.offer(2, || panic!("made"));
        assert_eq!(worst.iter().len(), KEPT);
    }
}
