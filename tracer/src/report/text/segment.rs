//! The control segments of a capture (`--segments`), grouped by connection.
//!
//! ```text
//! ── 1  127.0.0.1:41308 → 127.0.0.1:8080  10:42
//!     SECOND   FLAGS        SEQ     ACK   LEN CLIENT      SERVER      STEP
//!  10.123456 → SYN            0       -     0 SYN_SENT    LISTEN      handshake 1/3
//! ```
//!
//! `→` goes from the client to the server. The minute stands in the head of a group, so that a line
//! fits into 80 columns with its microseconds.

use std::fmt::Write as _;

use super::cell::{self, cell};
use super::*;
use crate::core::record::{SegmentRow, Sender};
use crate::report::units::flag_names;

/// Where the columns are; right ones by their end.
mod column {
    pub(super) const TIME: usize = 9;
    pub(super) const ARROW: usize = 10;
    pub(super) const FLAGS: usize = 12;
    pub(super) const SEQ: usize = 28;
    pub(super) const ACK: usize = 36;
    pub(super) const LEN: usize = 42;
    pub(super) const CLIENT: usize = 43;
    pub(super) const SERVER: usize = 55;
    pub(super) const STEP: usize = 67;
    /// Where what is odd stands below its line.
    pub(super) const ODD: usize = 12;
}

/// The group that is being printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Group {
    connection: u64,
    /// Minutes since 1970.
    minute: i128,
}

impl Text {
    /// A control segment.
    pub(super) fn segment(&mut self, row: &SegmentRow, out: &mut Vec<u8>) {
        let minute = self.clock.unix_ns(row.at).div_euclid(60_000_000_000);
        let group = Group { connection: row.connection, minute };
        if self.group != Some(group) {
            self.group_head(row, out);
            self.group = Some(group);
        }
        let Self { clock, screen, cell, .. } = self;
        let good = row.oddities.is_empty();
        let mut line = Line::new(out, screen.color);
        let mut right = |line: &mut Line<'_>, end, style, write: &dyn Fn(&mut String)| {
            cell.clear();
            write(cell);
            line.right(end, cell, style);
        };
        let within_minute = clock.unix_ns(row.at).rem_euclid(60_000_000_000) / 1_000;
        right(&mut line, column::TIME, DIM, &|cell| {
            cell!(cell, "{}.{:06}", within_minute / 1_000_000, within_minute % 1_000_000);
        });
        let arrow = match row.from {
            Sender::Client => "→",
            Sender::Server => "←",
        };
        line.left(column::ARROW, arrow, PLAIN);
        let reset = row.flags & tracer_common::packet::tcp_flags::RST != 0;
        let style = if reset { BAD } else { PLAIN };
        // Pushed or not, and what congestion control says, is for programs.
        let names = flag_names(row.flags).filter(|name| !matches!(*name, "PSH" | "ECE" | "CWR"));
        let mut at = column::FLAGS;
        for name in names {
            line.left(at, name, style);
            at = 0;
        }
        right(&mut line, column::SEQ, PLAIN, &|cell| cell!(cell, "{}", row.seq));
        right(&mut line, column::ACK, PLAIN, &|cell| cell::value(row.ack, cell));
        right(&mut line, column::LEN, PLAIN, &|cell| cell!(cell, "{}", row.payload));
        for (start, state) in
            [(column::CLIENT, row.client_state), (column::SERVER, row.server_state)]
        {
            line.left(start, state.map_or("-", |state| state.name()), DIM);
        }
        if let Some(step) = row.step {
            cell.clear();
            cell!(cell, "{step}");
            line.left(column::STEP, cell, HEADER);
        }
        if good {
            return line.end();
        }
        odd(row, screen.width, line, cell);
    }

    /// Whose segments follow.
    fn group_head(&mut self, row: &SegmentRow, out: &mut Vec<u8>) {
        if self.begun {
            out.put_u8(b'\n');
        }
        self.begun = true;
        let Self { clock, screen, cell, .. } = self;
        cell.clear();
        let arrow = if row.roles_known { "→" } else { "·" };
        cell!(cell, "── {}  {} {arrow} {}", row.connection, row.client, row.server);
        let minute = clock.time_of_day(row.at).to_string();
        cell!(cell, "  {}", minute.get(..5).unwrap_or_default());
        let mut line = Line::new(out, screen.color);
        line.put(cell, HEADER);
        line.end();
        let mut line = Line::new(out, screen.color);
        for (start, right, title) in [
            (column::TIME, true, "SECOND"),
            (column::FLAGS, false, "FLAGS"),
            (column::SEQ, true, "SEQ"),
            (column::ACK, true, "ACK"),
            (column::LEN, true, "LEN"),
            (column::CLIENT, false, "CLIENT"),
            (column::SERVER, false, "SERVER"),
            (column::STEP, false, "STEP"),
        ] {
            if right {
                line.right(start, title, DIM);
            } else {
                line.left(start, title, DIM);
            }
        }
        line.end();
    }
}

/// What is odd about a segment: behind it where there is room, else below it.
fn odd(row: &SegmentRow, width: Option<usize>, mut line: Line<'_>, cell: &mut String) {
    cell.clear();
    for oddity in row.oddities.iter() {
        if !cell.is_empty() {
            cell.push_str("; ");
        }
        cell.push_str(oddity.text());
    }
    let fits = width.is_none_or(|width| line.at() + 2 + cell.chars().count() <= width);
    if fits {
        let from = line.at() + 2;
        line.left(from, cell, SLOW);
        return line.end();
    }
    let width = width.unwrap_or(usize::MAX).saturating_sub(column::ODD + 2);
    let mut line = line.next();
    for (n, part) in wrap(cell, width, 0).iter().enumerate() {
        if n > 0 {
            line = line.next();
        }
        line.left(column::ODD, if n == 0 { "!" } else { "" }, SLOW);
        line.left(column::ODD + 2, part, SLOW);
    }
    line.end();
}

#[cfg(test)]
mod tests {
    use tracer_common::packet::tcp_flags::{ACK, FIN, PSH, RST, SYN};
    use tracer_common::state::TcpState;
    use unicode_width::UnicodeWidthStr as _;

    use super::*;
    use crate::core::record::{Oddities, Oddity, Step};
    use crate::report::samples::{self, S, US};

    fn rendered(width: Option<usize>, records: &[Record]) -> String {
        let mut out = Vec::new();
        let mut text = Text::new(samples::clock(), Screen { width, color: false });
        for record in records {
            text.record(record, &mut out);
        }
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn record(row: SegmentRow) -> Record {
        Record::Segment(Box::new(row))
    }

    fn syn() -> SegmentRow {
        SegmentRow {
            from: Sender::Client,
            flags: SYN,
            seq: 0,
            ack: None,
            client_state: Some(TcpState::SynSent),
            server_state: None,
            step: Some(Step::Handshake(1)),
            oddities: Oddities::NONE,
            ..samples::segment()
        }
    }

    #[test]
    fn eighty_columns_hold_a_line_and_its_oddities_come_below() {
        let shown = rendered(Some(80), &[record(syn()), record(samples::segment())]);
        assert_eq!(
            shown,
            "── 3  192.0.2.1:50000 → 192.0.2.2:8080  03:12\n   \
             SECOND   FLAGS        SEQ     ACK   LEN CLIENT      SERVER      STEP\n\
             40.000042 → SYN            0       -     0 SYN_SENT    -           handshake 1/3\n\
             40.000042 ← FIN ACK      301      20     0 TIME_WAIT   LAST_ACK    close 2+3/4\n            \
             ! ACK combined with FIN: the three-segment close\n"
        );
        let wide = rendered(Some(160), &[record(samples::segment())]);
        assert!(wide.contains("close 2+3/4  ACK combined with FIN: the three"), "{wide}");
        // For a file, too.
        assert_eq!(rendered(None, &[record(samples::segment())]), wide);
    }

    #[test]
    fn whatever_stands_there_a_terminal_is_wide_enough() {
        let all: Oddities = Oddity::ALL.iter().copied().collect();
        let mut rows = Vec::new();
        for flags in [SYN, SYN | ACK, ACK | PSH, FIN | ACK, RST, RST | ACK] {
            rows.push(record(SegmentRow { flags, oddities: all, ..samples::segment() }));
            let big = SegmentRow { seq: 9_999_999, ack: Some(9_999_999), payload: 65_535, ..syn() };
            rows.push(record(SegmentRow { flags, ..big }));
        }
        for width in 80..200 {
            for line in rendered(Some(width), &rows).lines() {
                assert!(line.width() <= width, "{} > {width}: {line}", line.width());
            }
        }
    }

    #[test]
    fn connections_that_take_turns_have_a_head_each_time() {
        let other = SegmentRow { connection: 4, roles_known: false, ..syn() };
        let later = SegmentRow { at: samples::at(60 * S + US), ..syn() };
        let shown = rendered(Some(80), &[syn(), other, syn(), later].map(record));
        let heads: Vec<_> = shown.lines().filter(|line| line.starts_with("──")).collect();
        assert_eq!(
            heads,
            [
                "── 3  192.0.2.1:50000 → 192.0.2.2:8080  03:12",
                "── 4  192.0.2.1:50000 · 192.0.2.2:8080  03:12",
                "── 3  192.0.2.1:50000 → 192.0.2.2:8080  03:12",
                "── 3  192.0.2.1:50000 → 192.0.2.2:8080  03:13",
            ]
        );
        assert!(shown.contains("\n 0.000001 → SYN"), "{shown}");
    }

    #[test]
    fn the_table_of_ends_goes_on_between_segments() {
        let ended = Record::Connection(Box::new(samples::full()));
        let shown = rendered(
            Some(80),
            &[record(syn()), ended.clone(), record(syn()), ended.clone(), ended],
        );
        assert_eq!(shown.matches("PROCESS").count(), 1, "{shown}");
        assert_eq!(shown.matches("── 3").count(), 2, "{shown}");
        let kinds: Vec<_> = shown.split("\n\n").map(|block| block.lines().count()).collect();
        assert_eq!(kinds, [3, 2, 3, 2], "{shown}");
    }
}
