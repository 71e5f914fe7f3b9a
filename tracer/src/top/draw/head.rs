//! The lines above the panes and below: who, when, totals, sparklines, keys.

use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use unicode_width::UnicodeWidthStr as _;

use super::style::{Palette, count, cut, rate, safe, sparkline};
use crate::report::units::Human;
use crate::top::app::{App, Over};
use crate::top::view::{Scope, View};

/// Columns before a sparkline.
const LABEL: usize = 20;

pub(super) fn title<'a>(app: &App, view: &View, width: usize, palette: Palette) -> Line<'a> {
    let mut right = Vec::new();
    if app.paused {
        right.push(Span::styled(" PAUSED ", palette.focus));
    }
    if !app.filter.is_empty() {
        right.push(Span::styled(format!(" /{} ", cut(&safe(&app.filter), 20)), palette.notice));
    }
    let unseen = app.unseen();
    if unseen > 0 {
        let word = if unseen == 1 { "message" } else { "messages" };
        right.push(Span::styled(format!(" {unseen} {word}: m "), palette.notice));
    }
    let limit = view.limit.map_or(String::new(), |limit| format!(" of {}", Human(limit)));
    let left = format!(
        "tracer {:.0}  up {}{limit}  {}",
        view.clock.time_of_day(view.at),
        Human(view.totals.duration),
        app.wish().scope.name()
    );
    let room = width.saturating_sub(right.iter().map(Span::width).sum());
    let left = cut(&left, room);
    let pad = room.saturating_sub(left.width());
    let mut spans = vec![Span::styled(left, palette.title), Span::raw(" ".repeat(pad))];
    spans.extend(right);
    Line::from(spans)
}

/// Totals of the run, and what is missing from them.
pub(super) fn totals<'a>(view: &View, width: usize, palette: Palette) -> Line<'a> {
    let totals = &view.totals;
    let [second, _, run] = &view.all;
    let mut parts: Vec<(String, _)> = vec![
        (format!("ended {} ({}/s)", totals.connections, rate(second.ended, 1)), palette.plain),
        (format!("open {}", totals.open), palette.plain),
        part("failed", run.failed, palette.bad, palette.plain),
    ];
    // What is wrong with the figures themselves comes before the rest of them.
    for (name, n) in [
        ("lost", totals.events_lost),
        ("dropped", totals.output_dropped),
        ("evicted", totals.connections_evicted),
    ] {
        if n > 0 {
            parts.push((format!("{name} {n}"), palette.bad));
        }
    }
    if !view.missing.is_empty() {
        let there = view.hooks.saturating_sub(view.missing.len());
        parts.push((format!("hooks {there}/{}", view.hooks), palette.slow));
    }
    if let Some(syns) = totals.syns {
        parts.push((format!("SYNs {syns}"), palette.plain));
    }
    if totals.handshakes_failed > 0 {
        parts.push((format!("handshakes failed {}", totals.handshakes_failed), palette.slow));
    }
    if totals.events_lost == 0 {
        parts.push(("lost 0".to_owned(), palette.dim));
    }
    let mut spans = Vec::new();
    let mut used = 0;
    // What has no room is left out as a whole.
    for (text, style) in parts {
        let gap = if used == 0 { 0 } else { 2 };
        if used + gap + text.width() > width {
            break;
        }
        used += gap + text.width();
        spans.push(Span::raw(" ".repeat(gap)));
        spans.push(Span::styled(text, style));
    }
    Line::from(spans)
}

fn part(
    name: &str,
    n: u64,
    some: ratatui::style::Style,
    none: ratatui::style::Style,
) -> (String, ratatui::style::Style) {
    (format!("{name} {n}"), if n > 0 { some } else { none })
}

/// SYNs per second and half-open connections, a column a second, the last whole one right.
pub(super) fn sparks<'a>(view: &View, width: usize, palette: Palette) -> Paragraph<'a> {
    let whole = view.history.split_last().map(|(_, whole)| whole).unwrap_or_default();
    let room = width.saturating_sub(LABEL);
    let line = |name: &str, values: Vec<Option<u64>>, now: Option<u64>, style| {
        let now = now.map_or("-".to_owned(), count);
        Line::from(vec![
            Span::styled(format!("{name:<11}"), palette.dim),
            Span::styled(format!("{now:>7}  "), palette.plain),
            Span::styled(sparkline(&values, room), style),
        ])
    };
    let syns: Vec<_> = whole.iter().map(|second| second.syns).collect();
    let half_open: Vec<_> = whole.iter().map(|second| second.half_open).collect();
    let last = syns.last().copied().flatten();
    Paragraph::new(vec![
        line("SYNs/s", syns, last, palette.bar),
        line("half-open", half_open, view.half_open, palette.slow),
    ])
}

/// What is typed, a word to the user, or the keys that matter most here.
pub(super) fn footer<'a>(app: &App, width: usize, palette: Palette) -> Line<'a> {
    if let Some(text) = &app.typing {
        let text = safe(text);
        // The end is what is being typed.
        let mut shown = text.as_str();
        while shown.width() + 2 > width.saturating_sub(40) {
            let mut chars = shown.chars();
            chars.next();
            shown = chars.as_str();
        }
        return Line::from(vec![
            Span::styled(format!("/{shown}▏"), palette.title),
            Span::styled("  host, :port, process, outcome  Enter Esc", palette.dim),
        ]);
    }
    if let Some(word) = app.word {
        return Line::styled(cut(word, width), palette.notice);
    }
    // As many as fit: those that matter most first.
    let keys: &[(&str, &str)] = if app.over != Over::Nothing {
        &[("Esc", "back"), ("↑↓", "scroll"), ("^C", "quit")]
    } else if app.wish().detail.is_some() {
        &[
            ("Esc", "back"),
            ("q", "quit"),
            ("?", "help"),
            ("i", "interval"),
            ("Enter", "look"),
            ("Tab", "pane"),
            ("c", "closes"),
            ("/", "filter"),
            ("Space", "pause"),
            ("z", "zoom"),
        ]
    } else {
        &[
            ("?", "help"),
            ("q", "quit"),
            ("/", "filter"),
            ("s", "sort"),
            ("i", "interval"),
            ("Enter", "look"),
            ("l", "listeners"),
            ("Space", "pause"),
            ("Tab", "pane"),
            ("z", "zoom"),
            ("a", "alerts"),
            ("m", "messages"),
        ]
    };
    let mut spans = Vec::new();
    let mut used = 0;
    for (key, what) in keys {
        used += key.width() + what.width() + 2;
        if used > width + 1 {
            break;
        }
        spans.push(Span::styled((*key).to_owned(), palette.title));
        spans.push(Span::styled(format!(" {what} "), palette.dim));
    }
    Line::from(spans)
}

/// `12.3/s`, or a count where the whole run is shown.
pub(super) fn ended(ended: u64, scope: Scope) -> String {
    match scope.seconds() {
        Some(seconds) => rate(ended, seconds),
        None => count(ended),
    }
}
