//! What stands behind an option's `=`: the values that are more than a number or a word.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tracer_common::state::TcpState;

use crate::core;
use crate::core::event::Comm;
use crate::core::record::Outcome;

/// `--netns`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Netns {
    /// The namespace tracer itself runs in.
    Own,
    /// A namespace by its inode, as `readlink /proc/PID/ns/net` shows it.
    Inode(u32),
}

impl FromStr for Netns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "self" {
            return Ok(Self::Own);
        }
        // What `readlink /proc/PID/ns/net` prints may be pasted as it is.
        let inode =
            text.strip_prefix("net:[").and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
        match inode.parse() {
            Ok(inode @ 1..) => Ok(Self::Inode(inode)),
            _ => Err("give `self` or the inode that `readlink /proc/PID/ns/net` shows".to_owned()),
        }
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("self"),
            Self::Inode(inode) => write!(f, "{inode}"),
        }
    }
}

/// An address to listen on; a port alone, with or without a colon, is one of the loopback's.
///
/// # Errors
/// What to write instead.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    // An IPv6 address without brackets, as Kubernetes hands it out, ends at the last colon.
    let bare = || {
        let (addr, port) = text.rsplit_once(':')?;
        Some(SocketAddr::new(addr.parse().ok()?, port.parse().ok()?))
    };
    text.parse().ok().or_else(bare).ok_or_else(|| {
        "give a port, or an address and a port: 9464, 10.0.0.7:9464, [::1]:9464; 0.0.0.0:9464 and \
         [::]:9464 are all of the host's addresses"
            .to_owned()
    })
}

/// One `--stuck-after`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StuckAfter {
    /// `off`: no `stuck` records at all.
    Off,
    /// Threshold of one state; `None`: never stuck in it.
    State(TcpState, Option<Duration>),
}

/// The thresholds in force where none is given, as the help says them.
pub const STUCK_DEFAULTS: &str =
    "SYN_SENT=3,CLOSE_WAIT=60,FIN_WAIT1=30,FIN_WAIT2=60,LAST_ACK=30,CLOSING=30";

impl FromStr for StuckAfter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let (name, after) =
            text.split_once('=').ok_or("give STATE=SECS, for example CLOSE_WAIT=30, or `off`")?;
        let wanted = name.to_ascii_uppercase().replace('-', "_");
        let state = core::StuckAfter::STATES
            .into_iter()
            .find(|state| state.name() == wanted)
            .ok_or_else(|| {
                format!(
                    "`{name}` is no state to be stuck in; those are {}",
                    core::StuckAfter::STATES.map(TcpState::name).join(", ")
                )
            })?;
        let after = match after {
            "off" => None,
            secs => Some(seconds(secs)?),
        };
        Ok(Self::State(state, after))
    }
}

/// A duration given in seconds, `0.5` too; not zero.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|secs: f64| Duration::try_from_secs_f64(secs).ok())
        .filter(|duration| *duration >= Duration::from_millis(1) && *duration <= LONGEST)
        .ok_or_else(|| format!("`{text}` is no time; give seconds, 0.001 or more"))
}

/// A threshold given in milliseconds, `0.5` too.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn millis(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|ms: f64| Duration::try_from_secs_f64(ms / 1e3).ok())
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| format!("`{text}` is no time; give milliseconds, 0 or more"))
}

/// How many times faster than it happened, `0.5` too; from a thousandth to a million.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn speed(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|times| SPEEDS.contains(times)).ok_or_else(|| {
        format!("`{text}` is no speed; give 1 for as it happened, 10 for ten times as fast, 0.5")
    })
}

/// Has a number's option take `-1` for a value, too, so that its parser can say what is wrong with it.
#[must_use]
pub fn take_negative_numbers(option: clap::Arg) -> clap::Arg {
    const NUMBERS: [&str; 8] = ["PORT", "[ADDR:]PORT", "PID", "SECS", "MS", "N", "BYTES", "X"];
    let names = option.get_value_names().unwrap_or_default();
    if names.iter().any(|name| NUMBERS.contains(&name.as_str())) {
        return option.allow_negative_numbers(true);
    }
    option
}

/// A whole number.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn whole<T>(text: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    let (least, most) = range.into_inner();
    let number = text.parse::<T>();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match number {
        Ok(number) if number > most => Err(format!("give a whole number, {most} or less")),
        // What only lacks room for its digits.
        Err(_) if digits => Err(format!("give a whole number, {most} or less")),
        Ok(number) if number >= least => Ok(number),
        Ok(_) | Err(_) => Err(format!("give a whole number, {least} or more")),
    }
}

/// Beyond them nobody could tell it from standing still, or from reading as fast as possible.
const SPEEDS: RangeInclusive<f64> = 1e-3..=1e6;

/// Ten years: far from overflowing nanoseconds in 64 bits.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);

/// Smallest and largest ring buffer, bytes: one page, and what is sane to pin.
const RING: RangeInclusive<u64> = 4096..=1 << 30;

/// Smallest and largest size of what `--write` keeps, bytes: some hundred packets, and 1 TiB.
const WRITE: RangeInclusive<u64> = 64 << 10..=1 << 40;

/// A ring buffer's size in bytes, as [`bytes`] takes it.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn ring_size(text: &str) -> Result<u64, String> {
    let bytes = bytes(text)?;
    if RING.contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("{bytes} bytes is out of range; give 4096 to 1G"))
    }
}

/// The size of what `--write` keeps, in bytes, as [`bytes`] takes it.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn write_size(text: &str) -> Result<u64, String> {
    let bytes = bytes(text)?;
    if WRITE.contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("{bytes} bytes is out of range; give 64K to 1024G"))
    }
}

/// A size in bytes: `4194304`, `512K`, `4MiB`. K, M and G are powers of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(format!("`{text}` is no size; give bytes, or 512K, 4M, 1G")),
    };
    digits
        .trim_end()
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| format!("`{text}` is no size; give bytes, or 512K, 4M, 1G"))
}

/// The next size a BPF ring buffer can have: a power of two that is a multiple of the page size.
///
/// `page_size` is a power of two.
#[must_use]
pub const fn usable_ring_size(bytes: u64, page_size: u64) -> u64 {
    let wanted = if bytes < page_size { page_size } else { bytes };
    wanted.next_power_of_two()
}

/// An outcome by its name.
///
/// # Errors
/// The valid names.
pub fn outcome(text: &str) -> Result<Outcome, String> {
    let wanted = text.to_ascii_lowercase().replace('-', "_");
    Outcome::ALL.into_iter().find(|outcome| outcome.name() == wanted).ok_or_else(|| {
        format!(
            "there is no such outcome; those are {}",
            Outcome::ALL.map(Outcome::name).join(", ")
        )
    })
}

/// A process name, cut after 15 bytes as the kernel does.
///
/// # Errors
/// An empty name.
pub fn comm(text: &str) -> Result<Comm, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("a process name is not empty".to_owned());
    }
    Ok(Comm::from_bytes(text.as_bytes()))
}

/// A cgroup: a path below the cgroup v2 mount, which begins with `/` and ends without one, or
/// part of a path or container id. `/sys/fs/cgroup` in front is taken off.
///
/// # Errors
/// An empty one.
pub fn cgroup(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("give a path below /sys/fs/cgroup, or part of one".to_owned());
    }
    let below = match text.strip_prefix("/sys/fs/cgroup") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => text,
    };
    let path = below.trim_end_matches('/');
    Ok(if path.is_empty() { "/" } else { path }.to_owned())
}

/// An interface's name, or `none`. Whether it exists is found out when the hooks are attached.
///
/// # Errors
/// A name no interface can have.
pub fn interface(text: &str) -> Result<String, String> {
    // dev_valid_name() in net/core/dev.c.
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace();
    if text.is_empty() || text.len() > 15 || text == "." || text == ".." || text.contains(bad) {
        return Err("no interface can have this name; `ip link` lists them".to_owned());
    }
    Ok(text.to_owned())
}

/// A program to run. Whether it exists and may be run is found out when tracer starts.
///
/// # Errors
/// An empty one.
pub fn program(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("give the path of a program".to_owned());
    }
    Ok(PathBuf::from(text))
}
