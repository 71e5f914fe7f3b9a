//! Floods in a capture: what the SYN hook would have counted is counted out of the segments, and the
//! same detector looks at it four times a second of the capture's time. Sans-IO, memory is fixed.
//!
//! What differs from live: a destination is a listener when it has sent a SYN-ACK, and closed when it
//! has answered a SYN with a RST or not at all within a second; no kernel can be asked, so that SYN-ACKs
//! sent again are all there is to confirm a flood.

mod counting;
mod destinations;
mod hitters;
mod syns;
#[cfg(test)]
mod tests;

pub use self::counting::Ends;

use self::counting::Counting;
use crate::capture::segment::Captured;
use crate::core::Core;
use crate::core::event::{Event, MonoNs};
use crate::core::flood::sample::{Sample, StackCounters};
use crate::core::flood::tick::Tick;
use crate::core::flood::{self, Detector, Want};
use crate::core::record::Record;

/// Time between two ticks.
const TICK: u64 = 250_000_000;
/// Least time between two samples.
const SAMPLE: u64 = 1_000_000_000;

/// The detector and what it is fed with.
///
/// For each segment of a capture, in this order: [`Self::pass`] with its time, [`Self::segment`], then
/// [`Self::event`] with what it told of its connection; [`Self::finish`] at the end.
pub struct Floods {
    counting: Counting,
    detector: Detector,
    ticked: MonoNs,
    sampled: Option<MonoNs>,
}

impl Floods {
    /// Of a capture that begins at `began`.
    #[must_use]
    pub fn new(config: flood::Config, began: MonoNs) -> Self {
        // No kernel can be asked of what was captured, wherever that was.
        let config = flood::Config { kernel: false, ..config };
        Self {
            counting: Counting::new(),
            detector: Detector::new(config),
            ticked: began,
            sampled: None,
        }
    }

    /// Who knows of the incidents that go on.
    #[must_use]
    pub const fn detector(&self) -> &Detector {
        &self.detector
    }

    /// The interfaces that the capture was taken on, for the records.
    pub fn interfaces(&mut self, names: Vec<String>) {
        self.detector.set_interfaces(names);
    }

    /// When [`Self::pass`] has something to do; `None` while nothing comes in and nothing is open.
    #[must_use]
    pub fn next(&self) -> Option<MonoNs> {
        let waits = self.counting.has_news() || !self.detector.idle();
        waits.then(|| self.due())
    }

    /// [`Self::pass`] up to a time before that changes nothing, whatever comes in until then.
    #[must_use]
    pub fn due(&self) -> MonoNs {
        MonoNs(self.ticked.0.saturating_add(TICK))
    }

    /// Time passes up to `to`: the ticks that are due by then. Every segment and event before `to` must
    /// have been handed in.
    pub fn pass(&mut self, to: MonoNs, core: &mut Core, out: &mut Vec<Record>) {
        while let Some(next) = self.next().filter(|next| *next <= to) {
            self.tick(next, core, out);
        }
        if self.next().is_none() {
            // What comes next is counted from a whole number of ticks on: the same, however often one
            // asks.
            let ticks = to.since(self.ticked) / TICK;
            if ticks > 0 {
                let to = MonoNs(self.ticked.0.saturating_add(ticks * TICK));
                let from = std::mem::replace(&mut self.ticked, to);
                self.detector.skipped();
                if core.waits() {
                    core.syns(&Tick { from, to, ..Tick::default() });
                }
            }
        }
    }

    /// These segments come next, which is good to know ahead.
    pub fn expect(&self, segments: &[Captured]) {
        self.counting.expect(segments);
    }

    /// Counts a segment. `ends`: which of its ends are local, where that is known; asked for only where
    /// it matters.
    #[inline]
    pub fn segment(&mut self, captured: &Captured, ends: impl Fn() -> Option<Ends>) {
        self.counting.segment(captured, ends);
    }

    /// Takes in what the segments told of a connection.
    pub fn event(&mut self, event: &Event) {
        self.counting.event(event);
        self.detector.event(event);
    }

    /// SYNs that have come for local ends, and those of them that were repeated. One that passes
    /// several interfaces is one.
    #[must_use]
    pub const fn syns(&self) -> (u64, u64) {
        (self.counting.came, self.counting.came_again)
    }

    /// The end of the capture, at `at`: what is open gets a last update.
    pub fn finish(&mut self, at: MonoNs, core: &mut Core, out: &mut Vec<Record>) {
        self.pass(at, core, out);
        if self.next().is_some() && at > self.ticked {
            self.tick(at, core, out);
        }
        // What nobody has had the time to answer is no finding, and its sender's all the same.
        if let Some(tick) = self.counting.last(self.ticked, at) {
            core.syns(&tick);
        }
        self.detector.finish(at, out);
    }

    fn tick(&mut self, at: MonoNs, core: &mut Core, out: &mut Vec<Record>) {
        let from = std::mem::replace(&mut self.ticked, at);
        let tick = self.counting.tick(from, at);
        let tick = tick.unwrap_or_else(|| Tick { from, to: at, ..Tick::default() });
        core.syns(&tick);
        self.detector.tick(&tick, out);
        let due = self.sampled.is_none_or(|sampled| at.since(sampled) >= SAMPLE);
        if due && self.detector.wants(at) != Want::Nothing {
            self.sampled = Some(at);
            self.detector.sample(&self.sample(at));
        }
    }

    /// What a kernel's counters would say, as far as it passed the capture point.
    fn sample(&self, at: MonoNs) -> Sample {
        let stack = StackCounters {
            active_opens: self.counting.opens,
            out_rsts: self.counting.resets_sent,
            ..StackCounters::default()
        };
        Sample { at, stack, ..Sample::default() }
    }
}
