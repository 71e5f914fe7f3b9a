//! What stands in the cells. What is not known is `-`.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use unicode_width::UnicodeWidthChar;

use crate::core::event::Owner;
use crate::core::record::{CloseInitiator, Connection, ObservedFrom, Outcome, Role};
use crate::report::escape::{Blanks, escape};
use crate::report::units::{Human, Put};

/// Writing into a string does not fail; this says so once.
macro_rules! cell {
    ($out:expr, $($what:tt)*) => {{
        let _ = write!($out, $($what)*);
    }};
}
pub(super) use cell;

/// Nanoseconds, or `-`.
pub(crate) fn duration(ns: Option<u64>, out: &mut String) {
    value(ns.map(Human), out);
}

/// From the beginning to the end; `>` where the beginning was not seen.
pub(crate) fn life(connection: &Connection, out: &mut String) {
    if connection.observed_from == ObservedFrom::Middle {
        out.push('>');
    }
    put(&Human(connection.end.since(connection.start)), out);
}

/// Anything that may be unknown.
pub(crate) fn value(value: Option<impl Put>, out: &mut String) {
    match value {
        Some(value) => put(&value, out),
        None => out.push('-'),
    }
}

/// Anything that is known.
pub(crate) fn put(value: &impl Put, out: &mut String) {
    // Writing into a string does not fail.
    let _ = value.put(out);
}

/// `comm/pid` in at most `width` columns: the pid is never cut, the name is with a `…`.
pub(crate) fn process(owner: Option<&Owner>, width: usize, out: &mut String) {
    let Some(owner) = owner else {
        out.push('-');
        return;
    };
    let mut digits = itoa::Buffer::new();
    let pid = digits.format(owner.pid);
    let from = out.len();
    let _ = escape(owner.comm.as_bytes(), Blanks::Keep, out);
    shorten_end(out, from, width.saturating_sub(pid.len() + 1));
    out.push('/');
    out.push_str(pid);
}

/// Cuts what was written from byte `from` on to `width` columns, the last one `…`.
fn shorten_end(out: &mut String, from: usize, width: usize) {
    let text = out.get(from..).unwrap_or_default();
    // No character is wider than it is long.
    if text.len() <= width {
        return;
    }
    let mut columns = 0;
    let mut keep = 0;
    for (at, c) in text.char_indices() {
        columns += c.width().unwrap_or(0);
        // One column stays free for the mark.
        if columns < width {
            keep = at + c.len_utf8();
        }
    }
    if columns > width {
        out.truncate(from + keep);
        out.push('…');
    }
}

/// `addr:port`, IPv6 in brackets, in at most `width` columns: the port is never cut, an address is
/// in its middle. `None`: as long as it takes.
pub(crate) fn endpoint(endpoint: SocketAddr, width: Option<usize>, out: &mut String) {
    let from = out.len();
    put(&endpoint, out);
    let (Some(width), IpAddr::V6(addr)) = (width, endpoint.ip()) else {
        return;
    };
    if out.len() - from <= width {
        return;
    }
    out.truncate(from);
    let mut full = String::with_capacity(40);
    cell!(full, "{addr}");
    let mut port = String::with_capacity(6);
    cell!(port, "{}", endpoint.port());
    // `[`, `…`, `]:` around the rest.
    let room = width.saturating_sub(port.len() + 4);
    let tail = room / 2;
    let head = room - tail;
    let (head, tail) = (
        full.get(..head).unwrap_or(&full),
        full.get(full.len().saturating_sub(tail)..).unwrap_or_default(),
    );
    cell!(out, "[{head}…{tail}]:{port}");
}

/// The direction of the first SYN: `→` from this host, `←` to it.
pub(crate) const fn arrow(role: Option<Role>) -> &'static str {
    match role {
        Some(Role::Client) => "→",
        Some(Role::Server) => "←",
        None => "·",
    }
}

/// How it ended, in at most nine columns: an arrow for who closed first or sent the RST, a word,
/// and a `!` if events of the connection were lost.
pub(crate) fn end(connection: &Connection, out: &mut String) {
    match (end_arrow(connection), connection.events_lost) {
        (Some(arrow), _) => {
            out.push_str(arrow);
            out.push(' ');
        }
        (None, false) => out.push_str("  "),
        (None, true) => out.push(' '),
    }
    out.push_str(outcome_word(connection.outcome));
    if connection.events_lost {
        out.push('!');
    }
}

/// How it ended in one word of at most seven letters.
const fn outcome_word(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Closed) => "closed",
        Some(Outcome::ResetByRemote | Outcome::ResetByLocal) => "reset",
        Some(Outcome::Refused) => "refused",
        Some(Outcome::TimedOut) => "timeout",
        Some(Outcome::Unreachable) => "unreach",
        Some(Outcome::Cancelled) => "cancel",
        Some(Outcome::Aborted) => "aborted",
        Some(Outcome::Unknown) => "unknown",
        None => "open",
    }
}

/// The direction of the FIN or RST that ended it: `→` from this host, `←` from the peer, `↔` both.
const fn end_arrow(connection: &Connection) -> Option<&'static str> {
    Some(match (connection.outcome, connection.close_initiator) {
        (Some(Outcome::ResetByRemote), _) => "←",
        (Some(Outcome::ResetByLocal), _) => "→",
        (Some(Outcome::Closed), Some(CloseInitiator::Local)) => "→",
        (Some(Outcome::Closed), Some(CloseInitiator::Remote)) => "←",
        (Some(Outcome::Closed), Some(CloseInitiator::Both)) => "↔",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::Comm;

    fn shown(write: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn a_process_is_cut_in_its_name_only() {
        let process = |name: &str, pid, width| {
            let owner = Owner { pid, comm: Comm::from_bytes(name.as_bytes()) };
            shown(|out| process(Some(&owner), width, out))
        };
        assert_eq!(process("nginx", 123_456, 12), "nginx/123456");
        assert_eq!(process("postgres", 1_234_567, 12), "pos…/1234567");
        assert_eq!(process("日本語", 1, 7), "日本…/1");
        assert_eq!(process("x", 4_194_304, 4), "…/4194304");
        assert_eq!(process("\x1b[31m\"\n", 7, 23), "\\x1b[31m\"\\n/7");
        assert_eq!(shown(|out| super::process(None, 12, out)), "-");
    }

    #[test]
    fn an_endpoint_is_cut_in_its_address_only() {
        let endpoint = |text: &str, width| shown(|out| endpoint(text.parse().unwrap(), width, out));
        let long = "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:65535";
        assert_eq!(endpoint(long, None), long);
        assert_eq!(endpoint(long, Some(44)), long);
        assert_eq!(endpoint(long, Some(43)), "[2001:db8:85a3:8d3…319:8a2e:370:7348]:65535");
        assert_eq!(endpoint(long, Some(21)), "[2001:d…0:7348]:65535");
        assert_eq!(endpoint("[2001:db8::1]:443", Some(21)), "[2001:db8::1]:443");
        assert_eq!(endpoint("255.255.255.255:65535", Some(10)), "255.255.255.255:65535");
        for width in 12..44 {
            assert_eq!(endpoint(long, Some(width)).chars().count(), width);
        }
    }
}
