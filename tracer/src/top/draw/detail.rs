//! One host or one listener: its figures, outcomes, times in each state, connections.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::style::{Palette, bar, cell, count};
use super::table::{SLOW_CLOSE, SLOW_HANDSHAKE, duration, key_name};
use super::{framed, head, latency, list};
use crate::core::record::{Outcome, Phases};
use crate::report::units::Human;
use crate::top::app::{App, Pane};
use crate::top::view::{Detail, Figures, Key, Scope, View};

/// Columns of a figure.
const FIGURE: usize = 7;

pub(super) fn draw(
    app: &App,
    view: &View,
    detail: &Detail,
    frame: &mut Frame<'_>,
    body: Rect,
    palette: Palette,
) {
    if app.zoomed {
        match app.pane {
            Pane::Latency => latency::draw(app, view, &detail.latencies, frame, body, palette),
            Pane::Stuck => open(app, detail, frame, body, palette),
            Pane::Table | Pane::Ended => list::ended(app, view, frame, body, palette),
        }
        return;
    }
    let rest = body.height.saturating_sub(4 + 6);
    let [top, middle, lists] = Layout::vertical([
        Constraint::Length(4),
        Constraint::Length((rest / 6).clamp(1, 4) + 6),
        Constraint::Min(0),
    ])
    .areas(body);
    let [left, right] =
        Layout::horizontal([Constraint::Length(42), Constraint::Min(0)]).areas(middle);
    let [open_area, ended_area] =
        Layout::vertical([Constraint::Percentage(40), Constraint::Min(0)]).areas(lists);
    figures(view, detail, frame, top, palette);
    latency::draw(app, view, &detail.latencies, frame, left, palette);
    breakdown(view, detail, frame, right, palette);
    open(app, detail, frame, open_area, palette);
    list::ended(app, view, frame, ended_area, palette);
}

fn name(key: Key) -> String {
    match key {
        Key::Host(_) => format!("Host {}", key_name(key)),
        Key::Port(_) => format!("Listener {}", key_name(key)),
    }
}

/// Figures of all scopes beside each other.
fn figures(view: &View, detail: &Detail, frame: &mut Frame<'_>, area: Rect, palette: Palette) {
    let mut title = name(detail.key);
    if let Some(verdict) = detail.verdict {
        title += &format!(": {}", verdict.name());
    }
    if let Some(half_open) = detail.half_open {
        title += &format!(", {half_open} half-open");
        if let Some(peak @ 1..) = detail.half_open_peak {
            title += &format!(" (at most {peak})");
        }
    }
    if let Some(syns) = detail.syns {
        title += &format!(", {syns} SYNs");
    }
    let inner = framed(title, false, frame, area, palette);
    let mut lines = Vec::new();
    for (scope, figures) in Scope::ALL.into_iter().zip(&detail.figures) {
        let Figures { ended, failed, handshake, close } = figures;
        let style = if scope == view.wish.scope { palette.title } else { palette.plain };
        let per_second = if scope.seconds().is_some() { "/s" } else { "  " };
        let failed_style = if *failed > 0 { palette.bad } else { palette.dim };
        lines.push(Line::from(vec![
            cell(scope.name(), 10, false, style),
            cell(&head::ended(*ended, scope), FIGURE, true, style),
            Span::styled(per_second, palette.dim),
            cell(&count(*failed), FIGURE, true, failed_style),
            Span::styled(" failed  handshake", palette.dim),
            duration(handshake.map(|p| p.p50), SLOW_HANDSHAKE, FIGURE, palette),
            duration(handshake.map(|p| p.p99), SLOW_HANDSHAKE, FIGURE, palette),
            Span::styled("  close", palette.dim),
            duration(close.map(|p| p.p50), SLOW_CLOSE, FIGURE, palette),
            duration(close.map(|p| p.p99), SLOW_CLOSE, FIGURE, palette),
        ]));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// Outcomes and mean time in each state, as bars.
fn breakdown(view: &View, detail: &Detail, frame: &mut Frame<'_>, area: Rect, palette: Palette) {
    let since = view.clock.time_of_day(detail.since);
    let title = format!("Mean time, outcomes since {since:.0}");
    let inner = framed(title, false, frame, area, palette);
    let width = usize::from(inner.width);
    let mean = |at: usize| {
        let sum = detail.phases.get(at).copied().unwrap_or_default();
        sum.total.checked_div(sum.count)
    };
    let longest = (0..detail.phases.len()).filter_map(mean).max().unwrap_or(0);
    let mut lines = Vec::new();
    let room = width.saturating_sub(11 + FIGURE + 1);
    for (at, state) in Phases::STATES.iter().enumerate() {
        let Some(mean) = mean(at) else { continue };
        lines.push(Line::from(vec![
            cell(state.name(), 11, false, palette.plain),
            cell(&Human(mean).to_string(), FIGURE, true, palette.plain),
            Span::raw(" "),
            Span::styled(bar(mean, longest, room), palette.bar),
        ]));
    }
    let all: u64 = detail.outcomes.iter().sum();
    let mut outcomes: Vec<_> = detail.outcomes.iter().copied().zip(Outcome::ALL).collect();
    outcomes.retain(|(n, _)| *n > 0);
    outcomes.sort_by_key(|(n, _)| std::cmp::Reverse(*n));
    // What went wrong is never crowded out.
    let height = usize::from(inner.height);
    lines.truncate(height.saturating_sub(outcomes.len().min(3)));
    let room = width.saturating_sub(15 + FIGURE + 1);
    for (n, outcome) in outcomes {
        let style = list::outcome_style(Some(outcome), palette);
        let bars = if outcome == Outcome::Closed { palette.good } else { style };
        lines.push(Line::from(vec![
            cell(outcome.name(), 15, false, style),
            cell(&count(n), FIGURE, true, style),
            Span::raw(" "),
            Span::styled(bar(n, all, room), bars),
        ]));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

fn open(app: &App, detail: &Detail, frame: &mut Frame<'_>, area: Rect, palette: Palette) {
    let title = match detail.open_count {
        0 => "Open: none".to_owned(),
        n if n > detail.open.len() && app.filter.is_empty() => {
            format!("Open: {n}, the oldest {}", detail.open.len())
        }
        n => format!("Open: {n}"),
    };
    let focus = app.pane == Pane::Stuck;
    let inner = framed(title, focus, frame, area, palette);
    let scroll = focus.then(|| app.stuck());
    frame.render_widget(list::open_lines(&detail.open, scroll, inner, false, palette), inner);
}
