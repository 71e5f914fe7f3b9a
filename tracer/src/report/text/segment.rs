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
    pub(super) fn segment(&mut self, row: &SegmentRow, out: &mut BytesMut) {
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
    fn group_head(&mut self, row: &SegmentRow, out: &mut BytesMut) {
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
