//! From the kernel's monotonic nanoseconds to what a calendar and a watch say.

use std::fmt;

use jiff::Timestamp;
use jiff::fmt::StdFmtWrite;
use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::TimeZone;

use crate::core::event::MonoNs;

mod second;

pub(crate) use second::SameSecond;

/// Turns moments of `CLOCK_MONOTONIC` into UTC and local time.
///
/// It holds the difference between the two clocks, passed in. The difference changes when the
/// wall clock is set and over a suspend; [`WallClock::compare`] brings it up to date.
#[derive(Clone, Debug)]
pub struct WallClock {
    /// UTC nanoseconds since 1970 at monotonic 0.
    offset: i128,
    /// Nanoseconds by which it may be wrong.
    uncertainty: u64,
    zone: TimeZone,
}

/// Nanoseconds that reports show.
const SHOWN: u64 = 1_000;

impl WallClock {
    /// From the same moment on both clocks: `mono`, and `utc_ns` nanoseconds since 1970. Local
    /// times are those of `zone`.
    #[must_use]
    pub fn new(mono: MonoNs, utc_ns: i128, zone: TimeZone) -> Self {
        Self { offset: difference(mono, utc_ns), uncertainty: 0, zone }
    }

    /// The same, where the comparison that it came from may be wrong by so many nanoseconds.
    #[must_use]
    pub fn uncertain(self, uncertainty_ns: u64) -> Self {
        Self { uncertainty: uncertainty_ns, ..self }
    }

    /// The system's time zone (`TZ`, `/etc/localtime`), or UTC where there is none.
    #[must_use]
    pub fn system_zone() -> TimeZone {
        TimeZone::try_system().unwrap_or(TimeZone::UTC)
    }

    /// Brings the clocks together again, by a comparison like that of [`WallClock::new`] that may be
    /// wrong by `uncertainty_ns` nanoseconds.
    ///
    /// The difference stays as it is while nothing speaks against it: the same moment, told twice, is
    /// the same then. A wall clock that was set is followed, and so is one that drifts, once the two
    /// comparisons can't both be right.
    pub fn compare(&mut self, mono: MonoNs, utc_ns: i128, uncertainty_ns: u64) {
        let offset = difference(mono, utc_ns);
        let apart = offset.abs_diff(self.offset);
        let moved = apart > u128::from(uncertainty_ns) + u128::from(self.uncertainty);
        // A comparison that was disturbed so much that reports may show it.
        let better = self.uncertainty >= SHOWN && uncertainty_ns < self.uncertainty;
        if moved || better {
            self.offset = offset;
            self.uncertainty = uncertainty_ns;
        }
    }

    /// UTC, RFC 3339 with microseconds.
    #[must_use]
    pub fn utc(&self, at: MonoNs) -> Utc {
        Utc(self.timestamp(at))
    }

    /// Local time of day, `HH:MM:SS.mmm`.
    #[must_use]
    pub fn time_of_day(&self, at: MonoNs) -> TimeOfDay {
        let time = self.zone.to_datetime(self.timestamp(at)).time();
        TimeOfDay(time)
    }

    /// Local date and time with its offset from UTC, RFC 3339 with milliseconds.
    #[must_use]
    pub fn local(&self, at: MonoNs) -> Local {
        let at = self.timestamp(at);
        Local(at, self.zone.to_offset(at))
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn unix_seconds(&self, at: MonoNs) -> f64 {
        self.unix_ns(at) as f64 / 1e9
    }

    /// Nanoseconds since 1970.
    #[must_use]
    pub const fn unix_ns(&self, at: MonoNs) -> i128 {
        self.offset.saturating_add(at.0 as i128)
    }

    /// Nanoseconds since 1970 as the local calendar counts them, for what is round by the local
    /// clock.
    #[must_use]
    pub fn local_ns(&self, at: MonoNs) -> i128 {
        let at = self.timestamp(at);
        at.as_nanosecond() + i128::from(self.zone.to_offset(at).seconds()) * 1_000_000_000
    }

    fn timestamp(&self, at: MonoNs) -> Timestamp {
        // Out of range only for a clock set to beyond the year 9999.
        Timestamp::from_nanosecond(self.unix_ns(at)).unwrap_or(Timestamp::MAX)
    }
}

/// Nanoseconds from the monotonic clock to UTC.
fn difference(mono: MonoNs, utc_ns: i128) -> i128 {
    utc_ns.saturating_sub(i128::from(mono.0))
}

/// See [`WallClock::utc`].
#[derive(Clone, Copy, Debug)]
pub struct Utc(Timestamp);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
        PRINTER.print_timestamp(&self.0, StdFmtWrite(f)).map_err(|_| fmt::Error)
    }
}

impl serde::Serialize for Utc {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// See [`WallClock::local`].
#[derive(Clone, Copy, Debug)]
pub struct Local(Timestamp, jiff::tz::Offset);

impl Local {
    /// The date, `2026-11-21`.
    #[must_use]
    pub fn date(&self) -> impl fmt::Display + use<> {
        self.1.to_datetime(self.0).date()
    }

    /// The offset from UTC, `-05:00`.
    #[must_use]
    pub fn offset(&self) -> impl fmt::Display + use<> {
        Offset(self.1.seconds())
    }
}

/// See [`Local::offset`].
struct Offset(i32);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.0.abs() / 60;
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
        PRINTER.print_timestamp_with_offset(&self.0, self.1, StdFmtWrite(f)).map_err(|_| fmt::Error)
    }
}

/// See [`WallClock::time_of_day`]; with a precision of 0 without the milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct TimeOfDay(jiff::civil::Time);

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0;
        write!(f, "{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())?;
        if f.precision() == Some(0) {
            return Ok(());
        }
        write!(f, ".{:03}", time.millisecond())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T03:12:44.015678901Z.
    const UTC: i128 = 1_795_317_164_015_678_901;

    fn clock(zone: TimeZone) -> WallClock {
        WallClock::new(MonoNs(5_000_000_000), UTC, zone)
    }

    #[test]
    fn utc_has_microseconds_always() {
        let clock = clock(TimeZone::UTC);
        let at = |ns| clock.utc(MonoNs(ns)).to_string();
        assert_eq!(at(5_000_000_000), "2026-11-22T03:12:44.015678Z");
        assert_eq!(at(5_984_321_099), "2026-11-22T03:12:45.000000Z");
        // Before the moment the clocks were compared.
        assert_eq!(at(0), "2026-11-22T03:12:39.015678Z");
        assert_eq!(
            serde_json::to_string(&clock.utc(MonoNs(0))).unwrap(),
            "\"2026-11-22T03:12:39.015678Z\""
        );
    }

    #[test]
    fn local_time_follows_the_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(-5));
        let clock = clock(zone);
        let at = MonoNs(5_000_000_000);
        assert_eq!(clock.time_of_day(at).to_string(), "22:12:44.015");
        assert_eq!(format!("{:.0}", clock.time_of_day(at)), "22:12:44");
        let local = clock.local(at);
        assert_eq!(local.to_string(), "2026-11-21T22:12:44.015-05:00");
        assert_eq!(
            (local.date().to_string(), local.offset().to_string()),
            ("2026-11-21".to_owned(), "-05:00".to_owned())
        );
        assert_eq!(clock.local_ns(at), UTC - 5 * 3_600_000_000_000);
    }

    /// The difference after a comparison that found so many nanoseconds more, give or take.
    fn compared(clock: &mut WallClock, more: i128, uncertainty: u64) -> i128 {
        let at = MonoNs(5_000_000_000);
        clock.compare(at, UTC + more, uncertainty);
        clock.unix_ns(at) - UTC
    }

    #[test]
    fn a_clock_that_was_set_is_followed() {
        let mut clock = clock(TimeZone::UTC).uncertain(40);
        assert_eq!(compared(&mut clock, 60_000_000_000, 40), 60_000_000_000);
        assert_eq!(clock.utc(MonoNs(5_000_000_000)).to_string(), "2026-11-22T03:13:44.015678Z");
        assert_eq!(compared(&mut clock, -1_000, 40), -1_000);
        // What is certain now is what the second comparison said.
        assert_eq!(compared(&mut clock, -900, 60), -1_000);
        assert_eq!(compared(&mut clock, -900, 40), -900);
    }

    #[test]
    fn comparisons_that_may_both_be_right_change_nothing() {
        let mut clock = clock(TimeZone::UTC).uncertain(40);
        for (more, uncertainty) in [(0, 0), (30, 20), (-60, 20), (100, 60), (5_000_000, 6_000_000)]
        {
            assert_eq!(compared(&mut clock, more, uncertainty), 0, "{more} ± {uncertainty}");
        }
        assert_eq!(compared(&mut clock, 61, 20), 61);
    }

    #[test]
    fn a_clock_that_drifts_is_followed() {
        let mut clock = clock(TimeZone::UTC).uncertain(40);
        for more in 1..100_000 {
            let shown = compared(&mut clock, more, 40);
            assert!((0..=80).contains(&(more - shown)), "{shown} at {more}");
        }
    }

    #[test]
    fn a_comparison_that_was_disturbed_gives_way_to_a_better_one() {
        let mut clock = clock(TimeZone::UTC).uncertain(3_000_000);
        assert_eq!(compared(&mut clock, 2_000_000, 4_000_000), 0);
        assert_eq!(compared(&mut clock, 1_000_000, 5_000), 1_000_000);
        assert_eq!(compared(&mut clock, 1_002_000, 50), 1_002_000);
        assert_eq!(compared(&mut clock, 1_002_040, 10), 1_002_000);
    }

    #[test]
    fn a_clock_beyond_the_calendar_does_not_fail() {
        let clock = WallClock::new(MonoNs(0), i128::MAX, TimeZone::UTC);
        assert!(clock.utc(MonoNs(u64::MAX)).to_string().starts_with("9999-12-3"));
    }
}
