//! What came in over the last seconds, in slices as long as the ticks were.

use std::collections::VecDeque;

use super::tick::Counts;
use crate::core::event::MonoNs;

const SECOND: f64 = 1e9;
/// How far back a window reaches, nanoseconds.
const KEPT: u64 = 6_000_000_000;
/// Slices shorter than this are counted with the one before: bounds their number.
const SHORTEST: u64 = 40_000_000;

/// Counts of a span of time; fractions come from cutting a slice.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Flow {
    /// SYNs, repeated ones included.
    pub(super) syns: f64,
    /// SYNs not seen before.
    pub(super) firsts: f64,
    /// SYNs repeated.
    pub(super) repeated: f64,
    /// Requests that became connections.
    pub(super) completed: f64,
    /// Of those, the ones with a handshake time.
    pub(super) timed: f64,
    /// Sum of those times, nanoseconds.
    pub(super) handshake_ns: f64,
}

impl Flow {
    /// `unseen`: completions whose SYN was not seen and that are to be held against SYNs all the
    /// same.
    pub(super) fn new(counts: &Counts, unseen: f64) -> Self {
        let firsts = counts.firsts.sum().saturating_sub(counts.taken_back.sum()).min(counts.syns);
        let completed = counts.completed.sum() as f64;
        Self {
            syns: counts.syns as f64,
            firsts: firsts as f64,
            repeated: (counts.syns - firsts) as f64,
            completed: completed + unseen,
            timed: completed,
            handshake_ns: counts.handshake_ns as f64,
        }
    }

    pub(super) fn add(&mut self, other: &Self, share: f64) {
        self.syns += other.syns * share;
        self.firsts += other.firsts * share;
        self.repeated += other.repeated * share;
        self.completed += other.completed * share;
        self.timed += other.timed * share;
        self.handshake_ns += other.handshake_ns * share;
    }

    /// SYNs that did not complete.
    pub(super) fn uncompleted(&self) -> f64 {
        (self.firsts - self.completed).max(0.0)
    }

    /// Mean handshake time in nanoseconds; `None` if none was measured.
    pub(super) fn handshake(&self) -> Option<f64> {
        (self.timed >= 1.0).then(|| self.handshake_ns / self.timed)
    }
}

#[derive(Clone, Copy, Debug)]
struct Slice {
    from: u64,
    to: u64,
    flow: Flow,
}

/// The last seconds.
#[derive(Debug, Default)]
pub(super) struct Window {
    slices: VecDeque<Slice>,
}

impl Window {
    pub(super) fn push(&mut self, from: MonoNs, to: MonoNs, flow: &Flow) {
        let from = from.0.min(to.0);
        match self.slices.back_mut() {
            Some(last)
                if last.to - last.from < SHORTEST && from.saturating_sub(last.to) < SHORTEST =>
            {
                last.to = last.to.max(to.0);
                last.flow.add(flow, 1.0);
            }
            _ => self.slices.push_back(Slice { from, to: to.0, flow: *flow }),
        }
        while self.slices.front().is_some_and(|slice| slice.to.saturating_add(KEPT) < to.0) {
            self.slices.pop_front();
        }
    }

    /// The last `span` nanoseconds before `now`, a slice that reaches beyond cut in proportion.
    pub(super) fn last(&self, now: MonoNs, span: u64) -> Flow {
        self.between(MonoNs(now.0.saturating_sub(span)), MonoNs(u64::MAX))
    }

    /// From one moment to another, slices that reach beyond cut in proportion.
    pub(super) fn between(&self, from: MonoNs, to: MonoNs) -> Flow {
        let mut sum = Flow::default();
        for slice in self.slices.iter().rev().take_while(|slice| slice.to > from.0) {
            let length = (slice.to - slice.from).max(1) as f64;
            let inside = slice.to.min(to.0).saturating_sub(slice.from.max(from.0));
            // A slice without length that is within counts whole.
            let inside = inside.max(u64::from(slice.to <= to.0)) as f64;
            sum.add(&slice.flow, (inside / length).min(1.0));
        }
        sum
    }

    /// As [`Self::last`], slices that reach beyond counted whole.
    pub(super) fn last_whole(&self, now: MonoNs, span: u64) -> Flow {
        let since = now.0.saturating_sub(span);
        let mut sum = Flow::default();
        for slice in self.slices.iter().rev().take_while(|slice| slice.to > since) {
            sum.add(&slice.flow, 1.0);
        }
        sum
    }

    /// Longest mean handshake time of a slice in the last `span`, nanoseconds.
    pub(super) fn slowest(&self, now: MonoNs, span: u64) -> Option<f64> {
        let since = now.0.saturating_sub(span);
        self.slices
            .iter()
            .rev()
            .take_while(|slice| slice.to > since)
            .filter_map(|slice| slice.flow.handshake())
            .fold(None, |most: Option<f64>, one| Some(most.map_or(one, |most| most.max(one))))
    }

    /// Per second, over the last second.
    pub(super) fn rate(&self, now: MonoNs) -> Flow {
        self.last(now, SECOND as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_one_moment_to_another_slices_are_cut() {
        let mut window = Window::default();
        let flow = Flow { syns: 100.0, ..Flow::default() };
        let ms = |ms: u64| MonoNs(ms * 1_000_000);
        for n in 1..=4 {
            window.push(ms(250 * n), ms(250 * (n + 1)), &flow);
        }
        let between = |from, to| window.between(ms(from), ms(to)).syns.round();
        assert_eq!(between(250, 1250), 400.0);
        assert_eq!(between(500, 750), 100.0);
        assert_eq!(between(375, 625), 100.0);
        assert_eq!((between(1250, 2000), between(0, 250)), (0.0, 0.0));
        assert_eq!(between(1125, 9000), 50.0);
    }
}
