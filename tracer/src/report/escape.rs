//! Names read from the system, made harmless for a terminal.
//!
//! A process names itself and whoever makes a cgroup names it: such a name may carry escape
//! sequences, line breaks or bidirectional overrides. What is escaped can be told from what was
//! there: the backslash itself is escaped too.

use std::fmt::{self, Write};

use unicode_width::UnicodeWidthChar;

use super::printable::is_printable;

/// Whether the blank is escaped as well, for output whose columns are split at blanks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blanks {
    /// A blank stays a blank.
    Keep,
    /// A blank becomes `\x20`.
    Escape,
}

/// Writes `name` so that every character written takes up a column and none steers the terminal.
///
/// Bytes that are no UTF-8 and control characters come out as `\xff`, other characters without a
/// width of their own (bidirectional controls, zero-width ones) as `\u{202e}`.
///
/// # Errors
/// Those of `out`.
pub fn escape(name: &[u8], blanks: Blanks, out: &mut impl Write) -> fmt::Result {
    let plain = is_printable(name)
        && !name.contains(&b'\\')
        && (blanks == Blanks::Keep || !name.contains(&b' '));
    if plain && let Ok(name) = std::str::from_utf8(name) {
        return out.write_str(name);
    }
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.write_str("\\\\")?,
                '\n' => out.write_str("\\n")?,
                '\r' => out.write_str("\\r")?,
                '\t' => out.write_str("\\t")?,
                ' ' if blanks == Blanks::Escape => out.write_str("\\x20")?,
                c if c.is_ascii_control() => write!(out, "\\x{:02x}", u32::from(c))?,
                c if is_harmful(c) => write!(out, "\\u{{{:x}}}", u32::from(c))?,
                c => out.write_char(c)?,
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// A control character, one that changes the writing direction, or one that takes no room.
#[must_use]
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                     | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || c.width().unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(name: &[u8]) -> String {
        let mut out = String::new();
        escape(name, Blanks::Keep, &mut out).unwrap();
        out
    }

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        for (name, shown) in [
            (&b"nginx"[..], "nginx"),
            (b"Web Content", "Web Content"),
            (b"\x1b[31m\"\n", "\\x1b[31m\"\\n"),
            (b"a\\b\t\r\x7f\x00", "a\\\\b\\t\\r\\x7f\\x00"),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
            ("a\u{202e}b\u{2066}c\u{2069}".as_bytes(), "a\\u{202e}b\\u{2066}c\\u{2069}"),
            ("a\u{200b}\u{feff}\u{301}".as_bytes(), "a\\u{200b}\\u{feff}\\u{301}"),
            (b"\xff\xfeok\xc3", "\\xff\\xfeok\\xc3"),
            ("größe日本".as_bytes(), "größe日本"),
        ] {
            assert_eq!(escaped(name), shown);
        }
    }

    #[test]
    fn every_bidirectional_control_is_harmful() {
        for c in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
            assert!(is_harmful(c), "{c:?}");
        }
        assert!(!is_harmful('a') && !is_harmful('µ') && !is_harmful('日'));
    }

    #[test]
    fn blanks_are_escaped_on_request() {
        let mut out = String::new();
        escape(b"Web Content", Blanks::Escape, &mut out).unwrap();
        assert_eq!(out, "Web\\x20Content");
    }
}
