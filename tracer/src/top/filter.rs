//! What the user types behind `/`: words that must all occur.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::core::event::Comm;
use crate::core::record::{Connection, OpenConnection, Outcome};
use crate::report::escape::{Blanks, escape};

/// Words to look for, without regard to case; none: everything matches.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Filter {
    words: Vec<String>,
}

impl Filter {
    pub(super) fn new(text: &str) -> Self {
        Self { words: text.split_whitespace().map(str::to_ascii_lowercase).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether each word occurs in what `write` writes.
    fn finds(&self, write: impl FnOnce(&mut String)) -> bool {
        if self.is_empty() {
            return true;
        }
        let mut text = String::with_capacity(96);
        write(&mut text);
        text.make_ascii_lowercase();
        self.words.iter().all(|word| text.contains(word))
    }

    /// By both ends, process, container and outcome.
    pub(super) fn matches(&self, connection: &Connection) -> bool {
        self.finds(|text| ends(connection, text))
    }

    /// By the same and the state.
    pub(super) fn matches_open(&self, open: &OpenConnection) -> bool {
        self.finds(|text| {
            ends(&open.connection, text);
            let _ = write!(text, " {}", open.state);
        })
    }

    /// By its address, and what is known of its connections: processes, ports, outcomes.
    pub(super) fn matches_host(&self, host: IpAddr, known: impl FnOnce(&mut String)) -> bool {
        self.finds(|text| {
            let _ = write!(text, "{host}");
            known(text);
        })
    }

    /// By its port, and what is known of its connections.
    pub(super) fn matches_port(&self, port: u16, known: impl FnOnce(&mut String)) -> bool {
        self.finds(|text| {
            let _ = write!(text, ":{port}");
            known(text);
        })
    }
}

fn ends(connection: &Connection, text: &mut String) {
    // Writing into a string does not fail.
    let _ = write!(text, "{} {}", connection.remote, connection.local);
    if let Some(owner) = connection.owner {
        process(owner.comm, text);
        let _ = write!(text, "/{}", owner.pid);
    }
    let container = connection.cgroup.as_ref().and_then(|cgroup| cgroup.container.as_deref());
    if let Some(container) = container {
        text.push(' ');
        text.push_str(container);
    }
    if let Some(outcome) = connection.outcome {
        outcome_word(outcome, text);
    }
}

/// As it is shown.
pub(super) fn process(comm: Comm, text: &mut String) {
    text.push(' ');
    let _ = escape(comm.as_bytes(), Blanks::Keep, text);
}

/// All but `closed` are failed.
pub(super) fn outcome_word(outcome: Outcome, text: &mut String) {
    text.push(' ');
    text.push_str(outcome.name());
    if outcome.failed() {
        text.push_str(" failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn every_word_must_occur_somewhere() {
        let connection = samples::full();
        for (text, matches) in [
            ("", true),
            ("  ", true),
            ("nginx", true),
            ("NGINX closed", true),
            ("10.0.0.7", true),
            (":8080", true),
            (":51234 nginx/123", true),
            ("3f2a9c", true),
            ("nginx reset", false),
            ("failed", false),
            (":443", false),
        ] {
            assert_eq!(Filter::new(text).matches(&connection), matches, "{text:?}");
        }
        let reset = Connection { outcome: Some(Outcome::ResetByRemote), ..connection };
        assert!(Filter::new("failed").matches(&reset) && Filter::new("reset_by").matches(&reset));
        assert!(Filter::new("close_wait nginx").matches_open(&samples::stuck()));
        assert!(!Filter::new("last_ack").matches_open(&samples::stuck()));
    }
}
