//! One line of a table, laid out by display columns.

use std::fmt::Write;

use anstyle::Style;
use bytes::{BufMut, BytesMut};
use unicode_width::UnicodeWidthStr;

/// A line being written at the end of a buffer.
///
/// A cell too long for its column pushes the next ones to the right; the first one with room to
/// spare swallows the shift, so the table heals within the line. Two cells never touch.
pub(super) struct Line<'a> {
    out: &'a mut BytesMut,
    /// Columns written.
    at: usize,
    color: bool,
}

impl<'a> Line<'a> {
    pub(super) const fn new(out: &'a mut BytesMut, color: bool) -> Self {
        Self { out, at: 0, color }
    }

    /// Columns written so far.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// A cell that begins at column `start`.
    pub(super) fn left(&mut self, start: usize, cell: &str, style: Style) {
        let gap = usize::from(self.at > 0);
        self.fill(start.max(self.at + gap));
        self.put(cell, style);
    }

    /// A cell that ends before column `end`.
    pub(super) fn right(&mut self, end: usize, cell: &str, style: Style) {
        self.left(end.saturating_sub(cell.width()), cell, style);
    }

    /// Text right behind the last one.
    pub(super) fn put(&mut self, text: &str, style: Style) {
        if text.is_empty() {
            return;
        }
        if self.color && style != Style::new() {
            // Memory does not fail to be written to.
            let _ = write!(self.out, "{style}{text}{style:#}");
        } else {
            self.out.put_slice(text.as_bytes());
        }
        self.at += text.width();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_cell_shifts_only_what_has_no_room() {
        let mut out = BytesMut::new();
        let mut line = Line::new(&mut out, false);
        line.left(0, "abcdefgh", Style::new());
        line.left(5, "xy", Style::new());
        line.right(20, "end", Style::new());
        line.end();
        assert_eq!(&out[..], b"abcdefgh xy      end\n");
    }

    #[test]
    fn width_is_what_the_terminal_shows() {
        let mut out = BytesMut::new();
        let mut line = Line::new(&mut out, true);
        line.left(0, "日本", Style::new().bold());
        line.left(6, "µ", Style::new());
        assert_eq!(line.at(), 7);
        line.end();
        assert_eq!(&out[..], "\x1b[1m日本\x1b[0m  µ\n".as_bytes());
    }
}
