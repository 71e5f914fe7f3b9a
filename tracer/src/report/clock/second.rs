//! Lines that follow one another are mostly of the same second: what their times have in common is
//! made once.

use std::ops::Range;

use super::WallClock;
use crate::core::event::MonoNs;

const SECOND: i128 = 1_000_000_000;

/// The text of a second.
#[derive(Clone, Debug)]
pub(crate) struct SameSecond {
    /// Nanoseconds since 1970 when it begins.
    begins: i128,
    /// A time in it, as it was written: the one asked for last.
    text: Vec<u8>,
    /// The digits of its fraction.
    fraction: Range<usize>,
}

impl SameSecond {
    /// For times that [`Self::write`] is always given the same way to write of.
    pub(crate) const fn new() -> Self {
        // No moment is within a second of that.
        Self { begins: i128::MAX, text: Vec::new(), fraction: 0..0 }
    }

    /// What `write` writes: the time `at` by `clock`, which differs from that of another moment of the
    /// second in the digits behind its `.` alone, and may have none.
    pub(crate) fn text(
        &mut self,
        clock: &WallClock,
        at: MonoNs,
        write: impl FnOnce(&mut String),
    ) -> &str {
        let at = clock.unix_ns(at);
        let mut since = at.saturating_sub(self.begins);
        if !(0..SECOND).contains(&since) {
            since = at.rem_euclid(SECOND);
            self.begins = at.saturating_sub(since);
            let mut text = String::new();
            write(&mut text);
            let digits = text.find('.').map_or(text.len(), |point| point + 1);
            let behind = text.get(digits..).unwrap_or_default();
            let count = behind.bytes().take_while(u8::is_ascii_digit).count();
            self.fraction = digits..digits + count;
            self.text = text.into_bytes();
        }
        let digits = self.text.get_mut(self.fraction.clone()).unwrap_or_default();
        // Below a second, so it fits.
        let mut rest = since as u32 / 10_u32.pow(9_u32.saturating_sub(digits.len() as u32));
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// Appends [`Self::text`] to `out`.
    pub(crate) fn write(
        &mut self,
        clock: &WallClock,
        at: MonoNs,
        write: impl FnOnce(&mut String),
        out: &mut String,
    ) {
        out.push_str(self.text(clock, at, write));
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use jiff::tz::{TimeZone, offset};

    use super::*;

    #[test]
    fn a_time_is_written_as_without_it() {
        // 2026-11-22T03:12:44.015678901Z.
        let clock = WallClock::new(
            MonoNs(5_000_000_000),
            1_795_317_164_015_678_901,
            TimeZone::fixed(offset(-5)),
        );
        let [mut local, mut seconds, mut utc] = [(); 3].map(|()| SameSecond::new());
        for step in [0, 1, 983, 984, 1_000, 999, 999, 86_400_000, 3, 1_500, 0] {
            for nanos in [0, 321_098, 321_099, 499_999, 999_999] {
                let at = MonoNs(5_000_000_000 + step * 1_000_000 + nanos);
                let mut out = String::new();
                local.write(
                    &clock,
                    at,
                    |out| write!(out, "{}", clock.local(at)).unwrap(),
                    &mut out,
                );
                assert_eq!(out, clock.local(at).to_string());
                out.clear();
                let time = clock.time_of_day(at);
                seconds.write(&clock, at, |out| write!(out, "{time:.0}").unwrap(), &mut out);
                assert_eq!(out, format!("{time:.0}"));
                out.clear();
                utc.write(&clock, at, |out| write!(out, "{}", clock.utc(at)).unwrap(), &mut out);
                assert_eq!(out, clock.utc(at).to_string());
            }
        }
    }

    #[test]
    fn a_clock_that_was_set_is_followed() {
        let mut clock = WallClock::new(MonoNs(0), 1_000_000_000_999_000_000, TimeZone::UTC);
        let mut second = SameSecond::new();
        let mut written = |clock: &WallClock| {
            let (at, mut out) = (MonoNs(2_000_000), String::new());
            let write = |out: &mut String| write!(out, "{}", clock.local(at)).unwrap();
            second.write(clock, at, write, &mut out);
            (out, clock.local(at).to_string())
        };
        for set in [1_000_000_000_999_000_000, 1_000_000_000_998_000_000, 999_999_999_998_000_000] {
            clock.compare(MonoNs(0), set, 0);
            let (out, expected) = written(&clock);
            assert_eq!(out, expected);
        }
    }
}
