//! Text for people: one line an ended connection, in columns that fit the terminal.
//!
//! On a terminal the columns follow its width (80 and up) and the header comes again every
//! [`HEADER_EVERY`] lines. Elsewhere the layout is wide, fixed and complete: nothing is cut and no
//! cell but the last holds a blank, so that `awk` finds its columns.

use anstyle::{AnsiColor, Style};
use bytes::BufMut;

use super::clock::SameSecond;
use super::{Covered, Report, Screen, Start, WallClock};
use crate::core::event::MonoNs;
use crate::core::record::{
    CloseInitiator, Connection, End, Host, ObservedFrom, OpenConnection, Outcome, Record, Role,
    StateChange,
};
use crate::filter::Described;

pub(crate) mod alert;
pub(crate) mod cell;
mod check;
mod layout;
mod line;
mod notice;
mod row;
mod segment;
mod summary;

#[cfg(test)]
mod tests;

pub(crate) use alert::{number, percent};
pub use check::check;
pub use notice::start_notice;
pub(crate) use notice::wrap;

use layout::Layout;
use line::Line;

/// Lines between two headers, on a terminal.
pub const HEADER_EVERY: u32 = 40;

const PLAIN: Style = Style::new();
const HEADER: Style = Style::new().bold();
const BAD: Style = AnsiColor::Red.on_default();
const SLOW: Style = AnsiColor::Yellow.on_default();
const DIM: Style = Style::new().dimmed();
const ALARM: Style = AnsiColor::Red.on_default().bold();
const STUCK: Style = AnsiColor::Yellow.on_default().bold();

/// Reports for people.
#[derive(Debug)]
pub struct Text {
    clock: WallClock,
    screen: Screen,
    layout: Layout,
    /// Lines until the header comes again.
    header_in: u32,
    /// Something has been printed.
    begun: bool,
    /// The filters in force that no SYN can be held against: nobody knows yet whose it is.
    of_owners: Vec<&'static str>,
    /// Segments are being printed, of this connection.
    group: Option<segment::Group>,
    /// One cell at a time; kept for its memory.
    cell: String,
    /// The second in which the connection of the last line ended.
    second: SameSecond,
}

impl Text {
    /// With `clock` for the times, laid out for `screen`.
    #[must_use]
    pub fn new(clock: WallClock, screen: Screen) -> Self {
        Self {
            clock,
            layout: Layout::new(screen.width),
            screen,
            header_in: 0,
            begun: false,
            of_owners: Vec::new(),
            group: None,
            cell: String::new(),
            second: SameSecond::new(),
        }
    }

    /// The same, where `filters` are in force.
    #[must_use]
    pub fn filtered(mut self, filters: &Described) -> Self {
        let of_owner = |(name, values): &(&'static str, Vec<String>)| match *name {
            "pid" | "comm" | "cgroup" => Some(*name),
            // Every SYN that comes in is for a server.
            "role" if values.iter().any(|role| role == "client") => Some("role client"),
            _ => None,
        };
        self.of_owners = filters.entries().iter().filter_map(of_owner).collect();
        self
    }

    /// The table's header, if it is due.
    fn header(&mut self, out: &mut Vec<u8>) {
        if self.group.take().is_some() {
            out.put_u8(b'\n');
        }
        if self.header_in == 0 {
            self.header_in = HEADER_EVERY;
            self.begun = true;
            self.titles(out);
        }
    }

    /// The names of the columns.
    fn titles(&self, out: &mut Vec<u8>) {
        let mut line = Line::new(out, self.screen.color);
        for slot in &self.layout.slots {
            let title = slot.column.title();
            if slot.right {
                line.right(slot.end(), title, HEADER);
            } else if !title.is_empty() {
                line.left(slot.start, title, HEADER);
            }
        }
        line.end();
    }

    /// A blank line between tables; the stream's header comes again behind it.
    fn section(&mut self, out: &mut Vec<u8>) {
        if self.begun {
            out.put_u8(b'\n');
        }
        self.begun = true;
        self.header_in = 0;
        self.group = None;
    }
}

/// Segments come without titles, in groups of their own.
fn begins_with_titles(start: &Start) -> bool {
    !start.capture.as_ref().is_some_and(|capture| capture.segments)
}

impl Report for Text {
    fn resize(&mut self, width: usize) {
        if self.screen.width.is_some() {
            self.screen.width = Some(width);
            self.layout = Layout::new(self.screen.width);
            // Another column may tell the time.
            self.second = SameSecond::new();
            self.header_in = 0;
        }
    }

    fn start(&mut self, start: &Start, out: &mut Vec<u8>) {
        // What is attached is a notice, for stderr: `start_notice`.
        if begins_with_titles(start) {
            self.header(out);
        }
    }

    fn head(&mut self, start: &Start) -> Vec<u8> {
        let mut head = Vec::new();
        if begins_with_titles(start) {
            self.titles(&mut head);
        }
        head
    }

    fn record(&mut self, record: &Record, out: &mut Vec<u8>) {
        match record {
            Record::Alert(alert) => {
                if self.group.take().is_some() {
                    out.put_u8(b'\n');
                }
                return self.alert(alert, out);
            }
            Record::Segment(row) => return self.segment(row, out),
            _ => {}
        }
        self.header(out);
        // A program needs it once.
        if self.screen.width.is_some() {
            self.header_in -= 1;
        }
        match record {
            Record::Connection(connection) => self.connection(connection, out),
            Record::State(change) => self.state(change, out),
            Record::Stuck(stuck) => self.stuck(stuck, out),
            // No row of the table.
            Record::Alert(_) | Record::Segment(_) => {}
        }
    }

    fn hosts(&mut self, hosts: &[Host], covered: Covered, out: &mut Vec<u8>) {
        self.section(out);
        summary::hosts(self, hosts, covered, out);
    }

    fn open(&mut self, open: &[OpenConnection], at: MonoNs, out: &mut Vec<u8>) {
        self.section(out);
        summary::open(self, open, at, out);
    }

    fn end(&mut self, end: &End, _at: MonoNs, out: &mut Vec<u8>) {
        self.section(out);
        summary::end(self, end, out);
    }

    fn clock(&mut self) -> &mut WallClock {
        &mut self.clock
    }
}
