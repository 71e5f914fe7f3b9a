//! Floods and notices: a line each that can't be missed, and all that is known of them on request.

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::style::{Palette, cut};
use crate::core::record::{Record, Severity};
use crate::report::text::{number, percent};
use crate::report::{Report as _, Screen, Text};
use crate::top::view::{Incident, View};

/// What goes on and has been quiet for so long is said to be quiet, nanoseconds: a weak flood has gaps.
const QUIET: u64 = 2_000_000_000;

/// At most `most` lines, the worst first.
pub(super) fn banner(
    view: &View,
    width: usize,
    most: usize,
    palette: Palette,
) -> Vec<Line<'static>> {
    let all = &view.incidents;
    let shown = if all.len() > most { most - 1 } else { all.len() };
    let mut lines: Vec<_> =
        all.iter().take(shown).map(|incident| line(incident, view, width, palette)).collect();
    // Where there is room, what is known of the worst flood.
    if all.len() < most
        && let Some(worst) = all.first().filter(|worst| !worst.over)
    {
        lines.insert(1, more_of(worst, width, palette));
    }
    if all.len() > shown {
        let more = format!(" and {} more: a", all.len() - shown);
        lines.push(Line::styled(more, palette.notice));
    }
    lines
}

/// The second line: what tells a flood from a crowd, and whose it is.
fn more_of(Incident { alert, .. }: &Incident, width: usize, palette: Palette) -> Line<'static> {
    let mut parts = Vec::new();
    if let Some(ratio) = alert.completed_ratio {
        parts.push(format!("{} completed", percent(ratio)));
    }
    if let Some(half_open) = alert.half_open {
        parts.push(format!("{half_open} half-open"));
    }
    match alert.sources_estimate {
        Some(1) => parts.push("1 source".to_owned()),
        Some(n) => parts.push(format!("about {n} sources")),
        None => {}
    }
    if let Some(top) = alert.top_sources.first() {
        parts.push(format!("most {} {}", top.prefix, percent(top.share)));
    }
    let style = if alert.verdict.is_flood() { palette.alarm } else { palette.notice };
    filled(&format!("   {}  a: all", parts.join(", ")), width, style)
}

fn line(incident: &Incident, view: &View, width: usize, palette: Palette) -> Line<'static> {
    let Incident { alert, over } = incident;
    let flood = alert.verdict.is_flood();
    let style = match (*over, flood) {
        (true, _) => palette.dim,
        (false, true) => palette.alarm,
        (false, false) => palette.notice,
    };
    let mut text = String::from(if flood { " FLOOD" } else { " NOTICE" });
    if let Some(listener) = alert.listener {
        text += &format!(" {listener}");
    }
    text += &format!(" {}", alert.verdict.name());
    if let Some(severity) = alert.severity {
        text += &format!(", {}", Severity::name(severity));
    }
    let since = view.clock.time_of_day(alert.since);
    if *over {
        text += &format!(": over, {} SYNs from {since:.0}", alert.syn_count);
        text += &format!(" to {:.0}", view.clock.time_of_day(alert.until));
    } else if alert.at.since(alert.until) >= QUIET {
        let until = view.clock.time_of_day(alert.until);
        text += &format!(": quiet since {until:.0}");
    } else {
        text += &format!(": {} SYN/s since {since:.0}", number(alert.syn_rate));
    }
    filled(&text, width, style)
}

/// The whole line stands out, as wide as the screen.
fn filled(text: &str, width: usize, style: Style) -> Line<'static> {
    let text = cut(text, width);
    let pad = width.saturating_sub(text.width());
    Line::from(Span::styled(text + &" ".repeat(pad), style))
}

/// As the report tells it.
pub(super) fn in_full(view: &View, width: usize, palette: Palette) -> Vec<Line<'static>> {
    if view.incidents.is_empty() {
        return vec![Line::from("No flood, and nothing that looks like one.")];
    }
    let mut lines = Vec::new();
    for Incident { alert, over } in &view.incidents {
        let screen = Screen { width: Some(width), color: false };
        let mut out = Vec::new();
        let record = Record::Alert(alert.clone());
        Text::new(view.clock.clone(), screen).record(&record, &mut out);
        let style = if *over { palette.dim } else { palette.plain };
        let text = String::from_utf8_lossy(&out).into_owned();
        for (n, part) in text.lines().enumerate() {
            let style = if n == 0 && !over { palette.notice } else { style };
            lines.push(Line::styled(part.to_owned(), style));
        }
    }
    lines
}
