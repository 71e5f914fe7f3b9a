//! One line of a table, laid out by display columns.

use std::io::Write as _;

use anstyle::Style;
use bytes::BufMut;
use unicode_width::UnicodeWidthStr;

use crate::report::printable::is_printable;

/// A line being written at the end of a buffer.
///
/// A cell too long for its column pushes the next ones to the right; the first one with room to
/// spare swallows the shift, so the table heals within the line. Two cells never touch.
pub(super) struct Line<'a> {
    out: &'a mut Vec<u8>,
    /// Columns written.
    at: usize,
    color: bool,
}

impl<'a> Line<'a> {
    pub(super) const fn new(out: &'a mut Vec<u8>, color: bool) -> Self {
        Self { out, at: 0, color }
    }

    /// Columns written so far.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// A cell that begins at column `start`.
    pub(super) fn left(&mut self, start: usize, cell: &str, style: Style) {
        self.cell(start, cell, columns(cell), style);
    }

    /// A cell that ends before column `end`.
    pub(super) fn right(&mut self, end: usize, cell: &str, style: Style) {
        let columns = columns(cell);
        self.cell(end.saturating_sub(columns), cell, columns, style);
    }

    /// Text right behind the last one.
    pub(super) fn put(&mut self, text: &str, style: Style) {
        self.write(text, columns(text), style);
    }

    fn cell(&mut self, start: usize, cell: &str, columns: usize, style: Style) {
        let gap = usize::from(self.at > 0);
        self.fill(start.max(self.at + gap));
        self.write(cell, columns, style);
    }

    fn write(&mut self, text: &str, columns: usize, style: Style) {
        if text.is_empty() {
            return;
        }
        if self.color && style != Style::new() {
            // Memory does not fail to be written to.
            let _ = write!(self.out, "{style}{text}{style:#}");
        } else {
            self.out.put_slice(text.as_bytes());
        }
        self.at += columns;
    }

    /// Ends it; the one below it.
    pub(super) fn next(self) -> Self {
        self.out.put_u8(b'\n');
        Self { at: 0, ..self }
    }

    pub(super) fn end(self) {
        self.out.put_u8(b'\n');
    }

    fn fill(&mut self, to: usize) {
        let missing = to.saturating_sub(self.at);
        self.out.put_bytes(b' ', missing);
        self.at += missing;
    }
}

/// Columns that a text takes up on a terminal.
fn columns(text: &str) -> usize {
    if is_printable(text.as_bytes()) {
        return text.len();
    }
    // Half of all durations, too, need no tables of Unicode.
    let mut columns = 0;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b' '..=b'~' => {}
            // `µ`.
            0xc2 if bytes.next() == Some(0xb5) => {}
            _ => return text.width(),
        }
        columns += 1;
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_cell_shifts_only_what_has_no_room() {
        let mut out = Vec::new();
        let mut line = Line::new(&mut out, false);
        line.left(0, "abcdefgh", Style::new());
        line.left(5, "xy", Style::new());
        line.right(20, "end", Style::new());
        line.end();
        assert_eq!(&out[..], b"abcdefgh xy      end\n");
    }

    #[test]
    fn columns_are_those_of_unicode() {
        for text in ["", "83µs", "[::1]:80", "→ closed", "日本/1", "a\u{301}", "\u{a0}é", "~ \x7f"]
        {
            assert_eq!(columns(text), text.width(), "{text:?}");
        }
    }

    #[test]
    fn width_is_what_the_terminal_shows() {
        let mut out = Vec::new();
        let mut line = Line::new(&mut out, true);
        line.left(0, "日本", Style::new().bold());
        line.left(6, "µ", Style::new());
        assert_eq!(line.at(), 7);
        line.end();
        assert_eq!(&out[..], "\x1b[1m日本\x1b[0m  µ\n".as_bytes());
    }
}
