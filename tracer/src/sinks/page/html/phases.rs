//! The phases of a connection, in the order in which they follow each other.

use crate::core::record::{Connection, Phases};

/// A part of a connection's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub(super) name: &'static str,
    /// Its colour, by the style sheet.
    pub(super) class: &'static str,
    pub(super) ns: u64,
}

fn parts<const N: usize>(known: [(&'static str, &'static str, Option<u64>); N]) -> Vec<Part> {
    known.into_iter().filter_map(|(name, class, ns)| Some(Part { name, class, ns: ns? })).collect()
}

/// How long all of them took.
pub(super) fn total(parts: &[Part]) -> u64 {
    parts.iter().fold(0, |sum, part| sum.saturating_add(part.ns))
}

/// Until the application has it.
pub(super) fn handshake_parts(connection: &Connection) -> Vec<Part> {
    parts([
        ("handshake", "ph-handshake", connection.handshake),
        ("accept wait", "ph-accept", connection.accept_wait),
    ])
}

/// From the first FIN on.
pub(super) fn close_parts(connection: &Connection) -> Vec<Part> {
    let Phases { fin_wait1, fin_wait2, close_wait, closing, last_ack, .. } = connection.phases;
    parts([
        ("FIN_WAIT1", "ph-fin-wait1", fin_wait1),
        ("FIN_WAIT2", "ph-fin-wait2", fin_wait2),
        ("CLOSING", "ph-closing", closing),
        ("CLOSE_WAIT", "ph-close-wait", close_wait),
        ("LAST_ACK", "ph-last-ack", last_ack),
    ])
}

/// From the first SYN to the end. What is known of no part is a part of its own.
pub(super) fn life_parts(connection: &Connection) -> Vec<Part> {
    let Phases { syn_sent, syn_recv, established, .. } = connection.phases;
    let opening = match (connection.handshake, syn_sent, syn_recv) {
        (Some(ns), ..) => ("handshake", "ph-handshake", Some(ns)),
        (None, Some(ns), _) => ("SYN_SENT", "ph-handshake", Some(ns)),
        (None, None, ns) => ("SYN_RECV", "ph-handshake", ns),
    };
    let mut life = parts([opening, ("ESTABLISHED", "ph-established", established)]);
    life.extend(close_parts(connection));
    let all = connection.end.since(connection.start);
    let rest = all.saturating_sub(total(&life));
    // Less is the time between two looks at the clock.
    if rest > all / 100 {
        life.push(Part { name: "not known", class: "ph-unknown", ns: rest });
    }
    life
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn a_life_is_as_long_as_its_parts() {
        let connection = samples::full();
        let life = life_parts(&connection);
        let names: Vec<_> = life.iter().map(|part| part.name).collect();
        assert_eq!(names, ["handshake", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK"]);
        let all = connection.end.since(connection.start);
        assert!(total(&life).abs_diff(all) <= all / 100, "{life:?}");
    }

    #[test]
    fn what_is_not_known_is_a_part_of_its_own() {
        let connection = samples::bare();
        let all = connection.end.since(connection.start);
        assert_eq!(
            life_parts(&connection),
            [Part { name: "not known", class: "ph-unknown", ns: all }]
        );
        assert!(handshake_parts(&connection).is_empty());
    }
}
