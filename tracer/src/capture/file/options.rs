//! What the options of pcapng's blocks say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::frame::{half, word};
use crate::capture::segment::Direction;

/// Code and value of every option up to the end or to a malformed one.
struct OptionsOf<'a> {
    bytes: &'a [u8],
    big: bool,
}

impl<'a> Iterator for OptionsOf<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let code = half(self.bytes, 0, self.big);
        let len = half(self.bytes, 2, self.big) as usize;
        let value = self.bytes.get(4..4 + len)?;
        self.bytes = self.bytes.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
        (code != 0).then_some((code, value))
    }
}

/// The one option with this code.
fn find(bytes: &[u8], big: bool, code: u16) -> Option<&[u8]> {
    OptionsOf { bytes, big }.find(|(found, _)| *found == code).map(|(_, value)| value)
}

/// How an interface counts time, and how much of a packet it captured.
#[derive(Clone, Copy)]
pub(super) struct Described {
    unit: Unit,
    /// Seconds to be added.
    offset: i64,
    pub(super) snaplen: u32,
}

#[derive(Clone, Copy)]
enum Unit {
    /// So many nanoseconds.
    Times(u64),
    /// The so-manieth of a nanosecond; 0: less than there is a number for.
    Part(u64),
    /// Two to the minus so much of a second.
    Binary(u32),
}

/// The latest moment: nobody adds so much to it that it would not fit.
const LATEST: u64 = i64::MAX as u64;

impl Described {
    /// Reads the options of an interface.
    pub(super) fn read(options: &[u8], big: bool, snaplen: u32) -> Self {
        let unit = match find(options, big, 9) {
            Some([exponent, ..]) => match exponent & 0x7f {
                power if exponent & 0x80 != 0 => Unit::Binary(power.into()),
                power @ 0..=9 => Unit::Times(10_u64.pow(9 - u32::from(power))),
                power => Unit::Part(10_u64.checked_pow(u32::from(power) - 9).unwrap_or(0)),
            },
            _ => Unit::Times(1000),
        };
        let offset = match find(options, big, 14).and_then(|value| value.first_chunk()) {
            Some(value) if big => i64::from_be_bytes(*value),
            Some(value) => i64::from_le_bytes(*value),
            None => 0,
        };
        Self { unit, offset, snaplen }
    }

    /// Nanoseconds since the epoch.
    #[inline]
    pub(super) fn nanoseconds(&self, time: u64) -> u64 {
        let since = match self.unit {
            Unit::Times(times) => time.saturating_mul(times),
            Unit::Part(part) => time.checked_div(part).unwrap_or(0),
            Unit::Binary(power) => {
                let nanoseconds = (u128::from(time) * 1_000_000_000) >> power;
                u64::try_from(nanoseconds).unwrap_or(u64::MAX)
            }
        };
        if self.offset == 0 {
            return since.min(LATEST);
        }
        let moved = i128::from(since) + i128::from(self.offset) * 1_000_000_000;
        moved.clamp(0, LATEST.into()) as u64
    }
}

/// The name of an interface.
pub(super) fn name(options: &[u8], big: bool) -> Option<String> {
    /// No system has longer ones.
    const MOST: usize = 256;
    let name = find(options, big, 2)?;
    let name = name.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(name.get(..MOST.min(name.len()))?).into_owned())
}

/// The addresses of an interface.
pub(super) fn addresses(bytes: &[u8], big: bool) -> Vec<IpAddr> {
    OptionsOf { bytes, big }
        .filter_map(|(code, value)| match code {
            // Followed by the mask, or the length of the prefix.
            4 => value.first_chunk::<4>().map(|value| Ipv4Addr::from(*value).into()),
            5 => value.first_chunk::<16>().map(|value| Ipv6Addr::from(*value).to_canonical()),
            _ => None,
        })
        .collect()
}

/// Packets dropped by an interface and by the capturing host for want of room.
pub(super) fn dropped(bytes: &[u8], big: bool) -> Option<u64> {
    OptionsOf { bytes, big }
        .filter(|(code, _)| matches!(code, 5 | 7))
        .filter_map(|(_, value)| value.first_chunk())
        .map(|value| if big { u64::from_be_bytes(*value) } else { u64::from_le_bytes(*value) })
        .reduce(u64::saturating_add)
}

/// Which way a packet went.
#[inline]
pub(super) fn direction(bytes: &[u8], big: bool) -> Option<Direction> {
    match word(find(bytes, big, 2)?, 0, big) & 3 {
        1 => Some(Direction::In),
        2 => Some(Direction::Out),
        _ => None,
    }
}
