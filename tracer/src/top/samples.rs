//! How long the handshakes and closes of the last seconds took: twelve bytes a connection,
//! so that percentiles of any ten seconds can be had without a histogram for each host and second.

use std::collections::VecDeque;

use super::view::{Latencies, Percentiles};
use crate::core::spread::Spread;

/// Connections remembered at most; beyond it the oldest go, and the figures cover less time.
const MOST: usize = 1 << 20;
/// Whole seconds remembered.
pub(super) const SECONDS: u32 = 10;
/// No duration.
const NONE: u16 = u16::MAX;
/// Steps of a power of two: each within 1.6 % of what is in it, as in the reports.
const STEPS: u32 = 32;
const CODES: usize = 44 * STEPS as usize;
/// No place in a table.
pub(super) const NOBODY: u32 = u32::MAX;

/// A duration in 16 bits.
fn code(ns: Option<u64>) -> u16 {
    let Some(ns) = ns else { return NONE };
    let ns = ns.min((1 << 48) - 1);
    if ns < u64::from(STEPS) {
        return ns as u16;
    }
    let power = 63 - ns.leading_zeros();
    ((power - 4) << 5 | ((ns >> (power - 5)) as u32 & (STEPS - 1))) as u16
}

/// The middle of what has this code, nanoseconds.
fn decoded(code: u16) -> u64 {
    let code = u32::from(code);
    if code < STEPS {
        return u64::from(code);
    }
    let shift = (code >> 5) - 1;
    let low = u64::from(STEPS + (code & (STEPS - 1))) << shift;
    low + ((1 << shift) >> 1)
}

/// A connection that ended.
#[derive(Clone, Copy)]
struct Sample {
    /// Places in the tables of hosts and listeners.
    host: u32,
    port: u32,
    handshake: u16,
    close: u16,
}

/// Which samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Of {
    Everyone,
    Host(u32),
    Port(u32),
}

#[derive(Default)]
pub(super) struct Samples {
    samples: VecDeque<Sample>,
    /// Seconds in `samples`, oldest first, each with how many.
    seconds: VecDeque<(u32, usize)>,
}

impl Samples {
    /// A connection ended in `second`, which is not before the one added last.
    pub(super) fn add(
        &mut self,
        second: u32,
        (host, port): (u32, u32),
        handshake: Option<u64>,
        close: Option<u64>,
    ) {
        if handshake.is_none() && close.is_none() {
            return;
        }
        self.forget(second);
        match self.seconds.back_mut() {
            Some((last, count)) if *last == second => *count += 1,
            _ => self.seconds.push_back((second, 1)),
        }
        let sample = Sample { host, port, handshake: code(handshake), close: code(close) };
        self.samples.push_back(sample);
        if self.samples.len() > MOST {
            self.samples.pop_front();
            self.forget_one();
        }
    }

    /// The oldest sample has gone. A second of which nothing is left goes with it, so that every
    /// one in `seconds` has samples.
    fn forget_one(&mut self) {
        if let Some((_, count)) = self.seconds.front_mut() {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.seconds.pop_front();
            }
        }
    }

    /// Lets go of what is out of reach in `second`.
    pub(super) fn forget(&mut self, second: u32) {
        while let Some((oldest, count)) = self.seconds.front().copied()
            && oldest + SECONDS < second
        {
            self.seconds.pop_front();
            self.samples.drain(..count.min(self.samples.len()));
            // A burst's memory is given back.
            if self.samples.capacity() > 4 * self.samples.len() + 4096 {
                self.samples.shrink_to(2 * self.samples.len());
            }
        }
    }

    /// Those of the whole seconds from `from` on, before `to`.
    fn range(&self, from: u32, to: u32) -> impl Iterator<Item = &Sample> {
        let count = |wanted: &dyn Fn(u32) -> bool| -> usize {
            let seconds = self.seconds.iter().filter(|(second, _)| wanted(*second));
            seconds.map(|(_, count)| count).sum()
        };
        let before = count(&|second| second < from);
        let within = count(&|second| (from..to).contains(&second));
        self.samples.iter().skip(before).take(within)
    }

    /// How they spread, of those from second `from` on, before `to`.
    pub(super) fn latencies(&self, from: u32, to: u32, of: Of) -> Latencies {
        let mut handshakes = vec![0_u64; CODES];
        let mut closes = vec![0_u64; CODES];
        for sample in self.range(from, to) {
            let wanted = match of {
                Of::Everyone => true,
                Of::Host(host) => sample.host == host,
                Of::Port(port) => sample.port == port,
            };
            if wanted {
                for (counts, code) in
                    [(&mut handshakes, sample.handshake), (&mut closes, sample.close)]
                {
                    if let Some(count) = counts.get_mut(usize::from(code)) {
                        *count += 1;
                    }
                }
            }
        }
        let (handshake, handshake_percentiles) = summed(&handshakes);
        let (close, close_percentiles) = summed(&closes);
        Latencies { handshake, handshake_percentiles, close, close_percentiles }
    }

    /// Percentiles of handshakes and closes from second `from` on, before `to`, by row:
    /// `row_of[place]` is the row of the host (or listener) at that place, [`NOBODY`] for none.
    pub(super) fn by_row(
        &self,
        (from, to): (u32, u32),
        hosts: bool,
        row_of: &[u32],
        rows: usize,
    ) -> Vec<(Option<Percentiles>, Option<Percentiles>)> {
        let mut codes = vec![(Vec::new(), Vec::new()); rows];
        for sample in self.range(from, to) {
            let place = if hosts { sample.host } else { sample.port };
            let row = row_of.get(place as usize).copied().unwrap_or(NOBODY);
            if let Some((handshakes, closes)) = codes.get_mut(row as usize) {
                for (list, code) in [(handshakes, sample.handshake), (closes, sample.close)] {
                    if code != NONE {
                        list.push(code);
                    }
                }
            }
        }
        let ranked = |mut codes: Vec<u16>| {
            codes.sort_unstable();
            let rank = |percent: usize| {
                codes.get((codes.len() * percent).div_ceil(100).max(1) - 1).copied().map(decoded)
            };
            Some(Percentiles { p50: rank(50)?, p99: rank(99)? })
        };
        codes.into_iter().map(|(handshakes, closes)| (ranked(handshakes), ranked(closes))).collect()
    }
}

fn summed(counts: &[u64]) -> (Spread, Option<Percentiles>) {
    let mut spread = Spread::default();
    let all: u64 = counts.iter().sum();
    let some =
        |(code, count): (usize, &u64)| (*count > 0).then_some((decoded(code as u16), *count));
    for (ns, count) in counts.iter().enumerate().filter_map(some) {
        spread.add(ns, count);
    }
    let rank = |percent: u64| {
        let mut left = (all * percent).div_ceil(100).max(1);
        counts.iter().enumerate().filter_map(some).find_map(|(ns, count)| {
            if count >= left {
                return Some(ns);
            }
            left -= count;
            None
        })
    };
    (spread, rank(50).zip(rank(99)).map(|(p50, p99)| Percentiles { p50, p99 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_within_two_percent_of_its_duration() {
        for ns in (0..48).flat_map(|power| [1_u64 << power, (3 << power) / 2 + 1]) {
            let back = decoded(code(Some(ns.min((1 << 48) - 1))));
            assert!(back.abs_diff(ns) * 1000 <= ns * 16, "{ns} became {back}");
        }
        assert!(usize::from(code(Some(u64::MAX))) < CODES);
        assert_eq!(code(None), NONE);
    }

    #[test]
    fn percentiles_are_of_the_seconds_asked_for() {
        let mut samples = Samples::default();
        for second in 0..20 {
            for n in 0..100 {
                let ns = u64::from(second) * 1_000_000 + n;
                samples.add(second, (second % 2, 7), Some(ns), (n == 0).then_some(5));
            }
        }
        assert_eq!(samples.samples.len(), 1100);
        let all = samples.latencies(10, 20, Of::Everyone);
        assert_eq!(all.handshake.steps.iter().sum::<u64>(), 1000);
        assert_eq!(all.close.steps.iter().sum::<u64>(), 10);
        let p50 = all.handshake_percentiles.expect("some").p50;
        assert!((13_800_000..=14_300_000).contains(&p50), "{p50}");
        let host = samples.latencies(10, 20, Of::Host(1));
        assert_eq!(host.handshake.steps.iter().sum::<u64>(), 500);
        let rows = samples.by_row((19, 20), true, &[NOBODY, 0], 1);
        let p99 = rows[0].0.expect("some").p99;
        assert!((18_700_000..=19_300_000).contains(&p99), "{p99}");
        assert_eq!(samples.by_row((19, 20), true, &[0], 1), [(None, None)]);
        samples.forget(40);
        assert!(samples.samples.is_empty() && samples.seconds.is_empty());
        assert_eq!(samples.latencies(0, 40, Of::Port(7)), Latencies::default());
    }

    #[test]
    fn memory_is_bounded() {
        let mut samples = Samples::default();
        for n in 0..MOST as u64 + 10 {
            samples.add(3, (0, 0), Some(n), None);
        }
        assert_eq!(samples.samples.len(), MOST);
        let counted: u64 = samples.latencies(3, 4, Of::Everyone).handshake.steps.iter().sum();
        assert_eq!(counted, MOST as u64);
        assert_eq!(size_of::<Sample>(), 12);
    }

    #[test]
    fn a_second_may_push_out_all_of_the_one_before() {
        const FEW: usize = 3;
        let mut samples = Samples::default();
        for _ in 0..FEW {
            samples.add(3, (0, 0), Some(1), None);
        }
        for n in 0..MOST + 10 {
            samples.add(4, (0, 0), Some(2), None);
            let counted: usize = samples.seconds.iter().map(|(_, count)| count).sum();
            assert_eq!(counted, samples.samples.len());
            assert_eq!(counted, (FEW + n + 1).min(MOST));
        }
        assert_eq!(samples.seconds, [(4, MOST)]);
        assert_eq!(samples.latencies(3, 4, Of::Everyone), Latencies::default());
        samples.add(5, (0, 0), Some(3), None);
        assert_eq!(samples.seconds, [(4, MOST - 1), (5, 1)]);
        samples.forget(40);
        assert!(samples.samples.is_empty() && samples.seconds.is_empty());
    }
}
