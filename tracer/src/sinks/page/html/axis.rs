//! Axes: where a moment or an amount is, and what stands beside it.

use maud::{Markup, html};

use super::value::Percent;
use crate::core::event::MonoNs;
use crate::report::WallClock;

const S: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * S;

/// Distances between two ticks.
const STEPS: [u64; 22] = [
    S,
    2 * S,
    5 * S,
    10 * S,
    15 * S,
    30 * S,
    60 * S,
    120 * S,
    300 * S,
    600 * S,
    900 * S,
    1_800 * S,
    3_600 * S,
    7_200 * S,
    10_800 * S,
    21_600 * S,
    43_200 * S,
    DAY,
    2 * DAY,
    7 * DAY,
    30 * DAY,
    365 * DAY,
];

/// At most so many ticks.
const TICKS: u64 = 6;

/// The time a chart covers.
pub(super) struct TimeAxis<'a> {
    pub(super) from: MonoNs,
    /// Nanoseconds; more than 0.
    pub(super) span: u64,
    pub(super) clock: &'a WallClock,
}

impl TimeAxis<'_> {
    /// Where a moment is.
    pub(super) fn place(&self, at: MonoNs) -> Percent {
        Percent::of(at.since(self.from).min(self.span), self.span)
    }

    /// A moment in a few letters; the seconds where it is about seconds.
    fn label(&self, at: MonoNs, step: u64) -> String {
        let local = self.clock.local(at);
        if step >= DAY {
            return local.date().to_string();
        }
        let time = format!("{:.0}", self.clock.time_of_day(at));
        let time = if step >= 60 * S { time.get(..5).unwrap_or(&time) } else { &time };
        if self.span > DAY {
            let date = local.date().to_string();
            format!("{} {time}", date.get(5..).unwrap_or(&date))
        } else {
            time.to_owned()
        }
    }

    /// Moments that are round by the local clock, with what stands there.
    fn ticks(&self) -> Vec<(Percent, String)> {
        let step = STEPS.into_iter().find(|step| self.span / step < TICKS);
        let step = step.unwrap_or(365 * DAY);
        let local = self.clock.local_ns(self.from);
        let past = u64::try_from(local.rem_euclid(i128::from(step))).unwrap_or(0);
        let mut at = if past == 0 { 0 } else { step - past };
        let mut ticks = Vec::new();
        while at <= self.span && ticks.len() <= TICKS as usize {
            let moment = MonoNs(self.from.0.saturating_add(at));
            ticks.push((self.place(moment), self.label(moment, step)));
            at = at.saturating_add(step);
        }
        if ticks.is_empty() {
            ticks.push((Percent(0.0), format!("{}", self.clock.time_of_day(self.from))));
        }
        ticks
    }

    /// The axis itself, below the charts that share it.
    pub(super) fn markup(&self) -> Markup {
        html! {
            svg.axis width="100%" height="20" aria-hidden="true" {
                @for (n, (at, label)) in self.ticks().iter().enumerate() {
                    g class=[(n % 2 == 1).then_some("spare")] {
                        line.grid x1=(at) x2=(at) y1="0" y2="4" {}
                        (axis_text(at.0, label))
                    }
                }
            }
        }
    }
}

/// How a text stands at its place: near the edges it leans inwards, so that it is not cut.
pub(super) const fn anchor(percent: f64) -> &'static str {
    match percent {
        near if near < 10.0 => "start",
        far if far > 90.0 => "end",
        _ => "middle",
    }
}

/// A text below a tick.
pub(super) fn axis_text(percent: f64, label: &str) -> Markup {
    html! { text.tick x=(Percent(percent)) y="16" text-anchor=(anchor(percent)) { (label) } }
}

/// The smallest round number that is not below `most`.
pub(super) fn round_up(most: u64) -> u64 {
    let mut decade = 1_u64;
    loop {
        for factor in [1, 2, 4, 5] {
            let round = decade.saturating_mul(factor);
            if round >= most {
                return round;
            }
        }
        decade = decade.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn labels(from: u64, span: u64, clock: &WallClock) -> Vec<String> {
        let axis = TimeAxis { from: MonoNs(from), span, clock };
        axis.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_by_the_local_clock() {
        let utc = samples::clock();
        // 03:12:00 UTC is monotonic 0.
        assert_eq!(labels(S / 2, 3 * S, &utc), ["03:12:01", "03:12:02", "03:12:03"]);
        assert_eq!(labels(0, 60 * S, &utc).len(), 5);
        assert_eq!(labels(0, 3_600 * S, &utc)[..2], ["03:15", "03:30"]);
        assert_eq!(labels(0, 2 * DAY, &utc)[..2], ["11-22 12:00", "11-23 00:00"]);
        assert_eq!(labels(0, 30 * DAY, &utc)[0], "2026-11-26");
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(5));
        let east = WallClock::new(MonoNs(0), 1_795_317_120_000_000_000, zone);
        assert_eq!(labels(0, 20 * 3_600 * S, &east)[0], "12:00");
    }

    #[test]
    fn whatever_the_span_there_are_a_few_ticks() {
        let clock = samples::clock();
        let mut span = 1;
        while span < 4_000 * DAY {
            let count = labels(7, span, &clock).len();
            assert!((1..=7).contains(&count), "{span}: {count}");
            span += span / 3 + 1;
        }
        assert!(!labels(0, u64::MAX, &clock).is_empty());
    }

    #[test]
    fn the_top_of_an_axis_is_round() {
        let round = [0, 1, 2, 3, 4, 5, 6, 10, 11, 39, 41, 999].map(round_up);
        assert_eq!(round, [1, 1, 2, 4, 4, 5, 10, 10, 20, 40, 50, 1_000]);
        assert_eq!(round_up(u64::MAX), u64::MAX);
    }
}
