//! Numbers as a person reads them: at most six columns wide.

use std::fmt;
use std::net::SocketAddr;

/// What is written into lines by the million: as [`fmt::Display`] would, without the way through a
/// formatter, which costs several times what the digits do.
pub trait Put {
    /// Writes it.
    ///
    /// # Errors
    /// Those of `out`.
    fn put(&self, out: &mut impl fmt::Write) -> fmt::Result;
}

impl Put for u64 {
    fn put(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_str(itoa::Buffer::new().format(*self))
    }
}

impl Put for u32 {
    fn put(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_str(itoa::Buffer::new().format(*self))
    }
}

impl Put for u16 {
    fn put(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_str(itoa::Buffer::new().format(*self))
    }
}

/// IPv6 addresses in brackets.
impl Put for SocketAddr {
    fn put(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let Self::V4(v4) = self else {
            return write!(out, "{self}");
        };
        for (at, octet) in v4.ip().octets().into_iter().enumerate() {
            if at > 0 {
                out.write_char('.')?;
            }
            u16::from(octet).put(out)?;
        }
        out.write_char(':')?;
        v4.port().put(out)
    }
}

use tracer_common::packet::tcp_flags;

/// A namespace's inode; a capture knows of none.
#[must_use]
pub fn inode(netns: u32) -> Option<u32> {
    (netns != 0).then_some(netns)
}

/// Names of the TCP flags that are set, `SYN` first, those of congestion control last.
pub fn flag_names(flags: u8) -> impl Iterator<Item = &'static str> {
    [
        (tcp_flags::SYN, "SYN"),
        (tcp_flags::FIN, "FIN"),
        (tcp_flags::RST, "RST"),
        (tcp_flags::PSH, "PSH"),
        (tcp_flags::ACK, "ACK"),
        (tcp_flags::URG, "URG"),
        (tcp_flags::ECE, "ECE"),
        (tcp_flags::CWR, "CWR"),
    ]
    .into_iter()
    .filter_map(move |(bit, name)| (flags & bit != 0).then_some(name))
}

/// A duration in nanoseconds: `<1µs`, `83µs`, `1.2ms`, `150ms`, `3.4s`, `2m05s`, `1h03m`, `12d`.
///
/// Rounded to what is shown, and never shown as a full larger unit: 999.9 µs is `1.0ms`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Human(pub u64);

impl Put for Human {
    fn put(&self, out: &mut impl fmt::Write) -> fmt::Result {
        const US: u64 = 1_000;
        const MS: u64 = 1_000 * US;
        const S: u64 = 1_000 * MS;
        let ns = self.0;
        // The borders are where rounding would reach the next unit or the next digit.
        if ns == 0 {
            out.write_str("0µs")
        } else if ns < US {
            out.write_str("<1µs")
        } else if rounded(ns, US) < 1_000 {
            whole(rounded(ns, US), "µs", out)
        } else if rounded(ns, MS / 10) < 100 {
            tenths(rounded(ns, MS / 10), "ms", out)
        } else if rounded(ns, MS) < 1_000 {
            whole(rounded(ns, MS), "ms", out)
        } else if rounded(ns, S / 10) < 600 {
            tenths(rounded(ns, S / 10), "s", out)
        } else if rounded(ns, S) < 3_600 {
            let s = rounded(ns, S);
            write!(out, "{}m{:02}s", s / 60, s % 60)
        } else if rounded(ns, 60 * S) < 24 * 60 {
            let minutes = rounded(ns, 60 * S);
            write!(out, "{}h{:02}m", minutes / 60, minutes % 60)
        } else if rounded(ns, 3_600 * S) < 10 * 24 {
            let hours = rounded(ns, 3_600 * S);
            write!(out, "{}d{:02}h", hours / 24, hours % 24)
        } else {
            whole(rounded(ns, 86_400 * S), "d", out)
        }
    }
}

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.put(f)
    }
}

/// A number of bytes in powers of 1024: `512B`, `1.2KB`, `34MB`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bytes(pub u64);

impl Put for Bytes {
    fn put(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let bytes = self.0;
        if bytes < 1_000 {
            return whole(bytes, "B", out);
        }
        let mut unit = 1_u64;
        for name in ["KB", "MB", "GB", "TB", "PB"] {
            unit <<= 10;
            // `u128`: ten times a number of exabytes.
            let in_tenths = (u128::from(bytes) * 10 + u128::from(unit / 2)) / u128::from(unit);
            if in_tenths < 100 {
                return tenths(in_tenths as u64, name, out);
            }
            let rounded = rounded(bytes, unit);
            if rounded < 1_000 {
                return whole(rounded, name, out);
            }
        }
        whole(rounded(bytes, 1 << 60), "EB", out)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.put(f)
    }
}

/// `value / unit`, half away from zero.
const fn rounded(value: u64, unit: u64) -> u64 {
    let whole = value / unit;
    if value % unit >= unit.div_ceil(2) { whole + 1 } else { whole }
}

fn whole(value: u64, unit: &str, out: &mut impl fmt::Write) -> fmt::Result {
    value.put(out)?;
    out.write_str(unit)
}

fn tenths(tenths: u64, unit: &str, out: &mut impl fmt::Write) -> fmt::Result {
    (tenths / 10).put(out)?;
    out.write_char('.')?;
    whole(tenths % 10, unit, out)
}

/// Nanoseconds as whole microseconds, rounded.
#[must_use]
pub const fn micros(ns: u64) -> u64 {
    rounded(ns, 1_000)
}

/// Rounded to 0.1; what is no number is null.
#[must_use]
pub fn rate(value: f64) -> Option<f64> {
    in_steps(value, 10.0)
}

/// Rounded to 0.001; what is no number is null.
#[must_use]
pub fn ratio(value: f64) -> Option<f64> {
    in_steps(value, 1000.0)
}

fn in_steps(value: f64, steps: f64) -> Option<f64> {
    let scaled = (value * steps).round();
    // Adding 0.0 turns -0.0 into 0.0.
    let rounded = if scaled.is_finite() { scaled / steps + 0.0 } else { value };
    rounded.is_finite().then_some(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_put_as_it_is_displayed() {
        for text in ["0.0.0.0:0", "255.1.20.199:65535", "[::]:1", "[2001:db8::1]:443"] {
            let mut out = String::new();
            text.parse::<SocketAddr>().unwrap().put(&mut out).unwrap();
            assert_eq!(out, text);
        }
    }

    #[test]
    fn durations_are_rounded_to_what_is_shown() {
        for (ns, shown) in [
            (0, "0µs"),
            (1, "<1µs"),
            (999, "<1µs"),
            (1_000, "1µs"),
            (1_499, "1µs"),
            (1_500, "2µs"),
            (83_000, "83µs"),
            (999_499, "999µs"),
            (999_500, "1.0ms"),
            (999_900, "1.0ms"),
            (1_000_000, "1.0ms"),
            (1_249_999, "1.2ms"),
            (1_250_000, "1.3ms"),
            (9_949_999, "9.9ms"),
            (9_950_000, "10ms"),
            (150_400_000, "150ms"),
            (999_499_999, "999ms"),
            (999_500_000, "1.0s"),
            (3_400_000_000, "3.4s"),
            (59_949_999_999, "59.9s"),
            (59_950_000_000, "1m00s"),
            (125_000_000_000, "2m05s"),
            (3_599_499_999_999, "59m59s"),
            (3_599_500_000_000, "1h00m"),
            (3_780_000_000_000, "1h03m"),
            (86_369_999_999_999, "23h59m"),
            (86_370_000_000_000, "1d00h"),
            (9 * 86_400_000_000_000 + 23 * 3_600_000_000_000, "9d23h"),
            (12 * 86_400_000_000_000, "12d"),
            (u64::MAX, "213504d"),
        ] {
            assert_eq!(Human(ns).to_string(), shown, "{ns} ns");
        }
    }

    #[test]
    fn durations_up_to_years_fit_six_columns() {
        let mut ns = 1_u64;
        while ns < 10 * 366 * 86_400_000_000_000 {
            for near in [ns - 1, ns, ns + 1] {
                let shown = Human(near).to_string();
                assert!(shown.chars().count() <= 6, "{near}: {shown}");
                assert!(!shown.starts_with("1000"), "{near}: {shown}");
            }
            ns += ns / 97 + 1;
        }
    }

    #[test]
    fn bytes_are_rounded_to_what_is_shown() {
        for (bytes, shown) in [
            (0, "0B"),
            (512, "512B"),
            (999, "999B"),
            (1_000, "1.0KB"),
            (1_229, "1.2KB"),
            (10_188, "9.9KB"),
            (10_189, "10KB"),
            (1_023_487, "999KB"),
            (1_023_488, "1.0MB"),
            (3_565_158, "3.4MB"),
            (5 << 30, "5.0GB"),
            (999 << 40, "999TB"),
            (1 << 50, "1.0PB"),
            (u64::MAX, "16EB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), shown, "{bytes} B");
        }
    }

    #[test]
    fn micros_round_to_the_nearest() {
        assert_eq!([0, 499, 500, 1_499, 1_500].map(micros), [0, 0, 1, 1, 2]);
        assert_eq!(micros(u64::MAX), u64::MAX / 1_000 + 1);
    }
}
