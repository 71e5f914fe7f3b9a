//! From the state of the screen to what stands on it. Pure: the same state draws the same.

mod alerts;
mod connection;
mod detail;
mod head;
mod help;
mod latency;
mod list;
mod style;
mod table;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Wrap};

use super::app::{App, Over, Pane};
use super::view::View;
use style::Palette;

/// Columns and lines that everything fits into.
pub(super) const SMALLEST: (u16, u16) = (80, 24);
/// Lines of alerts at most.
const BANNER: usize = 3;

/// Draws everything.
pub(super) fn draw(app: &App, frame: &mut Frame<'_>) {
    let area = frame.area();
    let palette = Palette::new(app.color);
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let text = format!(
            "The live view needs {} columns and {} lines; this terminal has {} and {}. Make it \
             larger, or press q and run tracer without --top.",
            SMALLEST.0, SMALLEST.1, area.width, area.height
        );
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let Some(view) = app.view() else {
        frame.render_widget(Paragraph::new("tracer: waiting for the first figures ..."), area);
        return;
    };
    let banner = alerts::banner(view, usize::from(area.width), BANNER, palette);
    let [title, alerts, totals, sparks, body, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(banner.len() as u16),
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(head::title(app, view, usize::from(area.width), palette), title);
    frame.render_widget(Paragraph::new(banner), alerts);
    frame.render_widget(head::totals(view, usize::from(area.width), palette), totals);
    frame.render_widget(head::sparks(view, usize::from(area.width), palette), sparks);
    match &view.detail {
        Some(detail) if app.wish().detail == Some(detail.key) => {
            detail::draw(app, view, detail, frame, body, palette);
        }
        _ => panes(app, view, frame, body, palette),
    }
    frame.render_widget(head::footer(app, usize::from(area.width), palette), footer);
    over(app, view, frame, body, palette);
}

/// The four panes, or the one that has the screen for itself.
fn panes(app: &App, view: &View, frame: &mut Frame<'_>, body: Rect, palette: Palette) {
    if app.zoomed {
        match app.pane {
            Pane::Table => table::draw(app, view, frame, body, palette),
            Pane::Latency => latency::draw(app, view, &view.latencies, frame, body, palette),
            Pane::Stuck => list::stuck(app, view, frame, body, palette),
            Pane::Ended => list::ended(app, view, frame, body, palette),
        }
        return;
    }
    let share = (body.height / 4).clamp(5, 14);
    let [hosts, middle, ended] = Layout::vertical([
        Constraint::Min(0),
        Constraint::Length(share),
        Constraint::Length(share),
    ])
    .areas(body);
    let [latency, stuck] =
        Layout::horizontal([Constraint::Length(42), Constraint::Min(0)]).areas(middle);
    table::draw(app, view, frame, hosts, palette);
    latency::draw(app, view, &view.latencies, frame, latency, palette);
    list::stuck(app, view, frame, stuck, palette);
    list::ended(app, view, frame, ended, palette);
}

/// What lies over the panes.
fn over(app: &App, view: &View, frame: &mut Frame<'_>, body: Rect, palette: Palette) {
    let width = usize::from(body.width);
    let (title, lines) = match &app.over {
        Over::Nothing => return,
        Over::Help => ("Help", help::lines(palette)),
        Over::Messages => ("Messages", messages(app, view, palette)),
        Over::Alerts => ("Floods and notices", alerts::in_full(view, width, palette)),
        Over::Connection(chosen) => ("Connection", connection::lines(chosen, view, width, palette)),
    };
    let area = framed(title.to_owned(), true, frame, body, palette);
    frame.render_widget(Clear, area);
    // Broken into lines before, so that scrolling knows how many there are.
    let lines: Vec<Line<'_>> = lines.into_iter().flat_map(|line| broken(line, width)).collect();
    let last = lines.len().saturating_sub(usize::from(area.height));
    let from = app.over_scroll.at.min(last);
    let more = lines.len().saturating_sub(from + usize::from(area.height));
    let shown: Vec<_> = lines.into_iter().skip(from).take(usize::from(area.height)).collect();
    frame.render_widget(Paragraph::new(shown), area);
    if more > 0 || from > 0 {
        let hint = format!(
            " {} of {} ▲▼ ",
            from + usize::from(area.height).min(last + 1),
            last + usize::from(area.height)
        );
        let at = body.width.saturating_sub(hint.chars().count() as u16 + 1);
        frame.buffer_mut().set_string(body.x + at, body.y, hint, palette.dim);
    }
}

/// Breaks a line of one style at the screen's width.
fn broken(line: Line<'_>, width: usize) -> Vec<Line<'_>> {
    if line.width() <= width {
        return vec![line];
    }
    let style = line.spans.first().map(|span| span.style).unwrap_or_default();
    let text: String = line.spans.iter().map(|span| span.content.as_ref()).collect();
    crate::report::text::wrap(&text, width, 4)
        .into_iter()
        .map(|part| Line::from(Span::styled(part, style)))
        .collect()
}

fn messages<'a>(app: &'a App, view: &'a View, palette: Palette) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    for missing in &view.missing {
        lines.push(Line::styled(format!("hook missing: {}", style::safe(missing)), palette.slow));
    }
    if app.messages.is_empty() {
        lines.push(Line::from("tracer has said nothing about itself."));
    }
    lines.extend(app.messages.iter().map(|message| Line::from(message.as_str())));
    lines
}

/// The line above a pane with its title; the rest of it is the pane's.
fn framed(title: String, focus: bool, frame: &mut Frame<'_>, area: Rect, palette: Palette) -> Rect {
    let title = style::cut(&title, usize::from(area.width).saturating_sub(3));
    let title =
        Line::styled(format!(" {title} "), if focus { palette.focus } else { palette.title });
    let mark = if focus { "▶" } else { "─" };
    let block = Block::new().borders(Borders::TOP).border_style(palette.dim);
    let inner = block.inner(area);
    frame.render_widget(Clear, area);
    frame.render_widget(block, area);
    let buffer = frame.buffer_mut();
    buffer.set_string(area.x, area.y, mark, if focus { palette.title } else { palette.dim });
    buffer.set_line(area.x + 1, area.y, &title, area.width.saturating_sub(1));
    inner
}

#[cfg(test)]
pub(super) mod tests;
