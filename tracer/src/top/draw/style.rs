//! Colours, and text that fits.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::report::escape::{Blanks, escape};

/// What stands out, and how. Without colours, bold and reversed do it alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    pub(super) plain: Style,
    pub(super) title: Style,
    pub(super) focus: Style,
    pub(super) header: Style,
    pub(super) dim: Style,
    pub(super) bad: Style,
    pub(super) slow: Style,
    pub(super) good: Style,
    pub(super) alarm: Style,
    pub(super) notice: Style,
    pub(super) selected: Style,
    pub(super) bar: Style,
}

impl Palette {
    pub(super) fn new(color: bool) -> Self {
        let plain = Style::new();
        let tint = |color_: Color| if color { plain.fg(color_) } else { plain };
        let bold = plain.add_modifier(Modifier::BOLD);
        Self {
            plain,
            title: bold,
            focus: bold.add_modifier(Modifier::REVERSED),
            header: plain.add_modifier(Modifier::UNDERLINED),
            dim: plain.add_modifier(Modifier::DIM),
            bad: tint(Color::Red),
            slow: tint(Color::Yellow),
            good: tint(Color::Green),
            alarm: if color {
                bold.fg(Color::White).bg(Color::Red)
            } else {
                bold.add_modifier(Modifier::REVERSED)
            },
            notice: if color { bold.fg(Color::Yellow) } else { bold },
            selected: plain.add_modifier(Modifier::REVERSED),
            bar: tint(Color::Cyan),
        }
    }
}

/// Text of the system's, made harmless.
pub(super) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let _ = escape(text.as_bytes(), Blanks::Keep, &mut out);
    out
}

/// At most `width` columns, the last one `…` where something is left out.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut columns = 0;
    for c in text.chars() {
        columns += c.width().unwrap_or(0);
        if columns + 1 > width {
            break;
        }
        out.push(c);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// A cell of exactly `width` columns.
pub(super) fn cell(text: &str, width: usize, right: bool, style: Style) -> Span<'static> {
    let text = cut(text, width);
    let pad = " ".repeat(width.saturating_sub(text.width()));
    let text = if right { pad + &text } else { text + &pad };
    Span::styled(text, style)
}

/// A count in at most six columns: `999999`, `1.2M`.
pub(super) fn count(n: u64) -> String {
    match n {
        0..=999_999 => n.to_string(),
        1_000_000..=999_949_999 => format!("{:.1}M", n as f64 / 1e6),
        _ => format!("{:.1}G", n as f64 / 1e9),
    }
}

/// Something per second in at most six columns.
pub(super) fn rate(n: u64, seconds: u32) -> String {
    let seconds = u64::from(seconds.max(1));
    if seconds == 1 || n >= 1000 * seconds || n.is_multiple_of(seconds) {
        count((n + seconds / 2) / seconds)
    } else {
        format!("{:.1}", n as f64 / seconds as f64)
    }
}

/// The last `width` of some values as a line of bars, scaled to the largest of them.
pub(super) fn sparkline(values: &[Option<u64>], width: usize) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = values.get(values.len().saturating_sub(width)..).unwrap_or_default();
    // One of anything is no mountain.
    let most = shown.iter().flatten().copied().max().unwrap_or(0).max(8);
    let bar = |value: &Option<u64>| {
        let Some(value) = value else { return ' ' };
        // What is not nothing can be seen.
        let eighths = (u128::from(*value) * 8).div_ceil(u128::from(most)) as usize;
        BARS.get(eighths).copied().unwrap_or('█')
    };
    let pad = " ".repeat(width.saturating_sub(shown.len()));
    pad + &shown.iter().map(bar).collect::<String>()
}

/// A bar of `share` of `width` columns, in eighths of one.
pub(super) fn bar(part: u64, whole: u64, width: usize) -> String {
    const ENDS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if whole == 0 || part == 0 {
        return String::new();
    }
    let eighths = u128::from(part.min(whole)) * 8 * width as u128 / u128::from(whole);
    let eighths = (eighths as usize).max(1);
    "█".repeat(eighths / 8) + ENDS.get(eighths % 8).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_as_wide_as_it_should_be() {
        for text in ["", "a", "abcdef", "日本語", "日本語日本語", "größe"] {
            for width in 0..8 {
                for right in [false, true] {
                    let cell = cell(text, width, right, Style::new());
                    assert_eq!(cell.content.width(), width, "{text:?} {width}");
                }
            }
        }
        assert_eq!(cell("7", 3, true, Style::new()).content, "  7");
        assert_eq!(cut("nginx-worker", 6), "nginx…");
        assert_eq!(safe("a\x1b[31m\u{202e}"), "a\\x1b[31m\\u{202e}");
    }

    #[test]
    fn numbers_fit_six_columns() {
        for n in [0, 9, 99_999, 999_999, 1_000_000, 999_949_999, 4_000_000_000] {
            assert!(count(n).len() <= 6, "{}", count(n));
            for seconds in [1, 10] {
                assert!(rate(n, seconds).len() <= 6, "{}", rate(n, seconds));
            }
        }
        assert_eq!(rate(5, 10), "0.5");
        assert_eq!(rate(123, 10), "12.3");
        assert_eq!(rate(600_000, 10), "60000");
        assert_eq!(rate(7, 1), "7");
    }

    #[test]
    fn bars_are_scaled_to_the_largest() {
        let line = sparkline(&[None, Some(0), Some(1), Some(40), Some(80)], 6);
        assert_eq!(line, "   ▁▄█");
        assert_eq!(sparkline(&[Some(1), Some(8), Some(4)], 2), "█▄");
        assert_eq!(sparkline(&[Some(1), Some(0)], 2), "▁ ");
        assert_eq!(sparkline(&[], 3), "   ");
        assert_eq!(bar(1, 2, 4), "██");
        assert_eq!(bar(1, 1_000_000, 4), "▏");
        assert_eq!(bar(9, 8, 4), "████");
        assert_eq!(bar(0, 8, 4), "");
    }
}
