//! Figures and names as they stand on the page: for people, and for programs in the `value` of a
//! `data` element, there in the units of the JSON report.

use std::fmt;
use std::net::SocketAddr;

use maud::{Markup, html};

use crate::core::event::Owner;
use crate::core::record::Role;
use crate::report::escape::{Blanks, escape};
use crate::report::units::{Human, micros};

/// What is not known.
pub(super) fn unknown() -> Markup {
    html! { abbr.unknown title="not known" { "–" } }
}

/// A number.
pub(super) fn count(n: u64) -> Markup {
    html! { data value=(n) { (grouped(n)) } }
}

/// A number that may not be known.
pub(super) fn known(n: Option<u64>) -> Markup {
    n.map_or_else(unknown, count)
}

/// A duration; `value` is whole microseconds.
pub(super) fn duration(ns: u64) -> Markup {
    html! { data value=(micros(ns)) title=(exact(ns)) { (Human(ns)) } }
}

/// A duration that may not be known.
pub(super) fn known_duration(ns: Option<u64>) -> Markup {
    ns.map_or_else(unknown, duration)
}

/// To the nanosecond, in microseconds.
fn exact(ns: u64) -> String {
    format!("{}.{:03} µs", grouped(ns / 1_000), ns % 1_000)
}

/// With a narrow no-break space between groups of three.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A name from the system, with what could steer a reader's eye or a terminal written out. What
/// HTML could take for its own is the template's business.
pub(super) fn name(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    // Memory does not fail to be written to.
    let _ = escape(name, Blanks::Keep, &mut text);
    text
}

/// The process that owns a connection.
pub(super) fn process(owner: Option<&Owner>) -> Markup {
    match owner {
        Some(Owner { pid, comm }) => {
            html! { span.process { (name(comm.as_bytes())) span.pid { "/" (pid) } } }
        }
        None => unknown(),
    }
}

/// Both ends, and who opened the connection.
pub(super) fn ends(local: SocketAddr, role: Option<Role>, remote: SocketAddr) -> Markup {
    let (arrow, means) = match role {
        Some(Role::Client) => ("→", "this host opened it"),
        Some(Role::Server) => ("←", "the peer opened it"),
        None => ("·", "who opened it is not known"),
    };
    html! {
        span.ends { (local) " " abbr title=(means) { (arrow) } " " (remote) }
    }
}

/// The role in a word.
pub(super) const fn role(role: Option<Role>) -> &'static str {
    match role {
        Some(Role::Client) => "client",
        Some(Role::Server) => "server",
        None => "role not known",
    }
}

/// `1 SYN`, `2 SYNs`.
pub(super) const fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// A share of a whole, in percent of SVG's width.
pub(super) struct Percent(pub(super) f64);

impl Percent {
    pub(super) fn of(part: u64, whole: u64) -> Self {
        Self(part as f64 * 100.0 / whole.max(1) as f64)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}%", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_for_people_and_plain_for_programs() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1\u{202f}000"),
            (12_345, "12\u{202f}345"),
            (1_234_567, "1\u{202f}234\u{202f}567"),
        ] {
            assert_eq!(grouped(n), text);
        }
        assert_eq!(count(1_234).into_string(), "<data value=\"1234\">1\u{202f}234</data>");
        assert_eq!(
            duration(1_234_567).into_string(),
            "<data value=\"1235\" title=\"1\u{202f}234.567 µs\">1.2ms</data>"
        );
    }

    #[test]
    fn what_is_not_known_is_no_number() {
        for markup in [known(None), known_duration(None), process(None)] {
            let markup = markup.into_string();
            assert!(markup.contains('–') && !markup.contains("<data"), "{markup}");
        }
    }
}
