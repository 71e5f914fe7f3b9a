//! The histogram of handshakes or closes.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::framed;
use super::style::{Palette, count};
use super::table::{SLOW_CLOSE, SLOW_HANDSHAKE};
use crate::core::spread::{BOUNDS, Spread};
use crate::report::units::Human;
use crate::top::app::{App, Pane};
use crate::top::view::{Latencies, View};

/// Bounds that are written below, by the step that begins there.
const MARKS: [(usize, &str); 7] =
    [(1, "10µs"), (4, "100µs"), (7, "1ms"), (10, "10ms"), (13, "100ms"), (16, "1s"), (19, "10s")];

pub(super) fn draw(
    app: &App,
    view: &View,
    latencies: &Latencies,
    frame: &mut Frame<'_>,
    area: Rect,
    palette: Palette,
) {
    let (what, spread, percentiles, limit) = if app.closes {
        ("Close", &latencies.close, latencies.close_percentiles, SLOW_CLOSE)
    } else {
        ("Handshake", &latencies.handshake, latencies.handshake_percentiles, SLOW_HANDSHAKE)
    };
    let all: u64 = spread.steps.iter().sum();
    let title = match percentiles {
        Some(p) => format!("{what} p50 {} p99 {} n={}", Human(p.p50), Human(p.p99), count(all)),
        None => format!("{what}: none, {}", view.wish.scope.name()),
    };
    let inner = framed(title, app.pane == Pane::Latency, frame, area, palette);
    frame.render_widget(Paragraph::new(lines(spread, limit, inner, palette)), inner);
}

/// Bars and, below, where the decades begin.
fn lines(spread: &Spread, limit: u64, area: Rect, palette: Palette) -> Vec<Line<'static>> {
    const EIGHTHS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    let step = (usize::from(area.width) / spread.steps.len()).clamp(2, 6);
    let height = usize::from(area.height).saturating_sub(1);
    let most = spread.steps.iter().copied().max().unwrap_or(0).max(1);
    let mut lines = Vec::with_capacity(height + 1);
    for row in (0..height).rev() {
        let mut spans = Vec::with_capacity(spread.steps.len());
        for (at, n) in spread.steps.iter().enumerate() {
            // What is not nothing can be seen.
            let eighths = (u128::from(*n) * height as u128 * 8).div_ceil(u128::from(most)) as usize;
            let part = eighths.saturating_sub(row * 8).min(8);
            let begins = at.checked_sub(1).and_then(|at| BOUNDS.get(at)).copied().unwrap_or(0);
            let style = if begins >= limit { palette.slow } else { palette.bar };
            let block = EIGHTHS.get(part).copied().unwrap_or(" ");
            spans.push(Span::styled(block.repeat(step - 1) + " ", style));
        }
        lines.push(Line::from(spans));
    }
    let mut marks = String::new();
    for (at, mark) in MARKS {
        let column = at * step;
        marks.push_str(&" ".repeat(column.saturating_sub(marks.chars().count())));
        marks.push_str(mark);
    }
    lines.push(Line::styled(marks, palette.dim));
    lines
}
