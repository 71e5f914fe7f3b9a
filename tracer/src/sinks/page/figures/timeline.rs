//! What happened when: a bounded number of buckets, each of which covers more time when they would
//! not suffice.

use crate::core::event::MonoNs;

/// At most so many buckets. Above 120, one that covers five times as much leaves enough to see.
pub(in crate::sinks::page) const MOST: usize = 600;

const S: u64 = 1_000_000_000;

/// What a bucket covers, nanoseconds: each a multiple of the one before, and all such that a person
/// can say them. After the last one it doubles.
const WIDTHS: [u64; 15] = [
    S / 10,
    S / 5,
    S,
    2 * S,
    10 * S,
    30 * S,
    60 * S,
    120 * S,
    600 * S,
    1_800 * S,
    3_600 * S,
    7_200 * S,
    21_600 * S,
    43_200 * S,
    86_400 * S,
];

/// What happened in a span of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::sinks::page) struct Bucket {
    /// Connections that began.
    pub(in crate::sinks::page) begun: u64,
    /// Connections that ended `closed`.
    pub(in crate::sinks::page) closed: u64,
    /// Connections that ended otherwise.
    pub(in crate::sinks::page) failed: u64,
    /// SYNs that came in.
    pub(in crate::sinks::page) syns: u64,
    /// The most half-open connections at one of the moments looked at; `None` if there was none.
    pub(in crate::sinks::page) half_open: Option<u64>,
}

/// The run in buckets.
#[derive(Clone, Debug)]
pub(in crate::sinks::page) struct Timeline {
    origin: MonoNs,
    width: u64,
    buckets: Vec<Bucket>,
    /// SYNs so far, as of when.
    syns: Option<(MonoNs, u64)>,
    /// Half-open connections when last looked at.
    half_open: Option<(MonoNs, u64)>,
}

impl Timeline {
    /// Begins at `origin`.
    pub(super) fn new(origin: MonoNs) -> Self {
        Self { origin, width: WIDTHS[0], buckets: Vec::new(), syns: None, half_open: None }
    }

    /// When the first bucket begins.
    pub(in crate::sinks::page) const fn origin(&self) -> MonoNs {
        self.origin
    }

    /// What a bucket covers, nanoseconds.
    pub(in crate::sinks::page) const fn width(&self) -> u64 {
        self.width
    }

    /// The buckets up to the last in which something happened.
    pub(in crate::sinks::page) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// SYNs are counted.
    pub(in crate::sinks::page) const fn has_syns(&self) -> bool {
        self.syns.is_some()
    }

    /// A connection began; one that was there before is none of this time.
    pub(super) fn begun(&mut self, at: MonoNs) {
        if at >= self.origin {
            self.bucket(at).begun += 1;
        }
    }

    /// A connection ended.
    pub(super) fn ended(&mut self, at: MonoNs, failed: bool) {
        let bucket = self.bucket(at);
        if failed {
            bucket.failed += 1;
        } else {
            bucket.closed += 1;
        }
    }

    /// So many half-open connections there are. In buckets that nobody looked in, there were as many
    /// as before.
    pub(super) fn half_open(&mut self, at: MonoNs, count: u64) {
        if let Some((before, held)) = self.half_open.replace((at, count)) {
            // Where the last look was and this one is, in buckets that reach as far.
            self.bucket(at);
            let place = |at: MonoNs| (at.since(self.origin) / self.width) as usize;
            let between = place(before) + 1..place(at);
            for bucket in self.buckets.get_mut(between).unwrap_or_default() {
                bucket.half_open = Some(held);
            }
        }
        let most = &mut self.bucket(at).half_open;
        *most = (*most).max(Some(count));
    }

    /// So many SYNs have come in up to now. What came since the last call is spread over the time
    /// since then.
    pub(super) fn syns(&mut self, at: MonoNs, total: u64) {
        let (since, before) = self.syns.replace((at, total)).unwrap_or((self.origin, 0));
        let came = total.saturating_sub(before);
        let span = at.since(since);
        if came == 0 {
            return;
        }
        let (mut from, mut told) = (since, 0);
        while told < came {
            let next = self.next_edge(from).min(at);
            // By then, of all: so that nothing is lost to rounding.
            let until = match span {
                0 => came,
                span => {
                    let share = u128::from(came) * u128::from(next.since(since)) / u128::from(span);
                    u64::try_from(share).unwrap_or(came)
                }
            };
            let until = if next >= at { came } else { until };
            // A moment inside, since its end is the next one's.
            self.bucket(MonoNs(next.0.saturating_sub(1).max(from.0))).syns += until - told;
            (from, told) = (next, until);
        }
    }

    /// The end of the bucket that `at` is in.
    fn next_edge(&self, at: MonoNs) -> MonoNs {
        let n = at.since(self.origin) / self.width + 1;
        MonoNs(self.origin.0.saturating_add(n.saturating_mul(self.width)))
    }

    fn bucket(&mut self, at: MonoNs) -> &mut Bucket {
        let since = at.since(self.origin);
        while since / self.width >= MOST as u64 {
            self.widen();
        }
        let index = (since / self.width) as usize;
        if self.buckets.len() <= index {
            self.buckets.resize(index + 1, Bucket::default());
        }
        &mut self.buckets[index]
    }

    /// Lets each bucket cover more.
    fn widen(&mut self) {
        let next = WIDTHS.into_iter().find(|width| *width > self.width);
        let width = next.unwrap_or(self.width.saturating_mul(2));
        let several = (width / self.width).max(2) as usize;
        self.buckets = self.buckets.chunks(several).map(merged).collect();
        self.width = width;
    }
}

fn merged(buckets: &[Bucket]) -> Bucket {
    buckets.iter().fold(Bucket::default(), |sum, bucket| Bucket {
        begun: sum.begun + bucket.begun,
        closed: sum.closed + bucket.closed,
        failed: sum.failed + bucket.failed,
        syns: sum.syns + bucket.syns,
        half_open: sum.half_open.max(bucket.half_open),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: u64 = 5 * S;

    fn at(ns: u64) -> MonoNs {
        MonoNs(T0 + ns)
    }

    fn sum(timeline: &Timeline) -> Bucket {
        merged(timeline.buckets())
    }

    #[test]
    fn widths_are_multiples_of_each_other() {
        for pair in WIDTHS.windows(2) {
            assert!(pair[1] > pair[0] && pair[1] % pair[0] == 0, "{pair:?}");
        }
    }

    #[test]
    fn a_bucket_holds_what_happened_in_it() {
        let mut timeline = Timeline::new(at(0));
        timeline.begun(at(0));
        timeline.begun(at(S / 10 - 1));
        timeline.ended(at(S / 10), true);
        timeline.ended(at(S / 10), false);
        timeline.begun(MonoNs(0));
        timeline.half_open(at(1), 3);
        timeline.half_open(at(2), 2);
        assert_eq!(
            timeline.buckets(),
            [
                Bucket { begun: 2, half_open: Some(3), ..Bucket::default() },
                Bucket { closed: 1, failed: 1, ..Bucket::default() },
            ]
        );
    }

    #[test]
    fn half_open_connections_are_there_between_two_looks() {
        let mut timeline = Timeline::new(at(0));
        timeline.half_open(at(S / 10), 4);
        timeline.half_open(at(S / 2), 1);
        timeline.half_open(at(S / 2 + 1), 2);
        let most: Vec<_> = timeline.buckets().iter().map(|bucket| bucket.half_open).collect();
        assert_eq!(most, [None, Some(4), Some(4), Some(4), Some(4), Some(2)]);
        // However long nobody looked.
        timeline.half_open(at(3_600 * S), 0);
        assert!(timeline.buckets()[1..].iter().all(|bucket| bucket.half_open.is_some()));
    }

    #[test]
    fn syns_are_spread_over_the_time_they_came_in() {
        let mut timeline = Timeline::new(at(0));
        assert!(!timeline.has_syns());
        timeline.syns(at(S), 10);
        let syns: Vec<_> = timeline.buckets().iter().map(|bucket| bucket.syns).collect();
        assert_eq!(syns, [1; 10]);
        // Nothing came, none of them at one moment, and some at the same moment.
        timeline.syns(at(2 * S), 10);
        timeline.syns(at(2 * S), 13);
        assert_eq!(sum(&timeline).syns, 13);
        assert!(timeline.has_syns());
    }

    #[test]
    fn a_year_has_no_more_buckets_than_a_minute() {
        let mut timeline = Timeline::new(at(0));
        timeline.half_open(at(0), 7);
        for hour in 0..24 * 365 {
            timeline.begun(at(hour * 3_600 * S));
        }
        assert!(timeline.buckets().len() <= MOST);
        assert_eq!((timeline.width(), sum(&timeline).begun), (86_400 * S, 24 * 365));
        assert_eq!(timeline.buckets()[0].half_open, Some(7));
        timeline.begun(MonoNs(u64::MAX));
        assert!(timeline.buckets().len() <= MOST);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_counted_twice(
            steps in prop::collection::vec((0..4_u8, 0..500_000_000_000_u64, 0..1000_u64), 1..300),
        ) {
            let mut timeline = Timeline::new(at(0));
            let (mut now, mut expected) = (0, Bucket::default());
            for (what, pause, count) in steps {
                now += pause;
                match what {
                    0 => { timeline.begun(at(now)); expected.begun += 1; }
                    1 => { timeline.ended(at(now), false); expected.closed += 1; }
                    2 => { timeline.ended(at(now), true); expected.failed += 1; }
                    _ => { expected.syns += count; timeline.syns(at(now), expected.syns); }
                }
                prop_assert!(timeline.buckets().len() <= MOST);
            }
            prop_assert_eq!(sum(&timeline), expected);
        }
    }
}
