//! The table of remote hosts, or of the ports this host listens on.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::style::{Palette, cell, count};
use super::{framed, head, list};
use crate::report::units::Human;
use crate::top::app::{App, Pane};
use crate::top::view::{Column, Figures, Key, Kind, Percentiles, Row, Scope, View};

/// Columns of a figure.
const FIGURE: usize = 7;
/// An IPv6 address.
const LONGEST: usize = 39;
/// From when on a handshake is coloured as slow: above a network's round trip, below the first
/// retransmission of a SYN (1 s).
pub(super) const SLOW_HANDSHAKE: u64 = 500_000_000;
/// From when on a close is.
pub(super) const SLOW_CLOSE: u64 = 1_000_000_000;

pub(super) fn draw(app: &App, view: &View, frame: &mut Frame<'_>, area: Rect, palette: Palette) {
    let rows = app.rows();
    let named = rows.iter().filter(|row| row.key.is_some()).count();
    let all = named + view.more;
    let what = match (app.wish().kind, all) {
        (Kind::Hosts, 1) => "remote host",
        (Kind::Hosts, _) => "remote hosts",
        (Kind::Listeners, 1) => "listener",
        (Kind::Listeners, _) => "listeners",
    };
    let matching = match (app.filter.is_empty(), all) {
        (true, _) => "",
        (false, 1) => " that matches",
        (false, _) => " that match",
    };
    let mut title = format!("{all} {what}{matching}, {}", view.wish.scope.name());
    if view.more > 0 {
        title = format!("{title}: the first {named}");
    }
    let inner = framed(title, app.pane == Pane::Table, frame, area, palette);
    let width = usize::from(inner.width);
    let height = usize::from(inner.height).saturating_sub(1);
    let name = (width.saturating_sub(7 * FIGURE + 10)).clamp(20, LONGEST + 2);
    let scroll = app.table(&rows);
    let first = scroll.first(rows.len(), height);
    let mut lines = vec![header(app, name, palette)];
    for (at, row) in rows.iter().enumerate().skip(first).take(height) {
        let selected = at == scroll.at && app.pane == Pane::Table;
        let line = line(row, view.wish.scope, name, width, palette);
        lines.push(list::chosen(line, selected, width, palette));
    }
    if rows.is_empty() {
        lines.push(Line::styled(nothing(app), palette.dim));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

fn nothing(app: &App) -> &'static str {
    match (app.filter.is_empty(), app.wish().scope) {
        (false, _) => "nothing matches the filter: Esc shows all",
        (true, Scope::Run) => "no connection has ended yet",
        (true, _) => "no connection ended in this time: i shows the whole run",
    }
}

fn header(app: &App, name: usize, palette: Palette) -> Line<'static> {
    let wish = app.wish();
    let windowed = wish.scope.seconds().is_some();
    let spans = Column::ALL.iter().map(|column| {
        let title = match column {
            Column::Name if wish.kind == Kind::Hosts => "HOST",
            Column::Name => "PORT",
            Column::Connections if windowed => "CONN/s",
            Column::Connections => "CONNS",
            Column::Failed => "FAIL",
            Column::HandshakeP50 => "HS p50",
            Column::HandshakeP99 => "HS p99",
            Column::CloseP50 => "CL p50",
            Column::CloseP99 => "CL p99",
            Column::HalfOpen => "HALF",
        };
        let mark = if wish.ascending { "▲" } else { "▼" };
        let sorted = wish.order == *column;
        let title = if sorted { format!("{title}{mark}") } else { title.to_owned() };
        let style = if sorted { palette.header.patch(palette.title) } else { palette.header };
        match column {
            Column::Name => cell(&title, name, false, style),
            _ => cell(&title, FIGURE, true, style),
        }
    });
    let mut spans: Vec<_> = spans.collect();
    spans.push(Span::styled(" VERDICT  ", palette.header));
    Line::from(spans)
}

fn line(row: &Row, scope: Scope, name: usize, width: usize, palette: Palette) -> Line<'static> {
    let Row { key, figures, half_open, verdict } = row;
    let Figures { ended, failed, handshake, close } = figures;
    let title = match key {
        Some(key) => key_name(*key),
        None => "others".to_owned(),
    };
    let failed_style = if *failed > 0 { palette.bad } else { palette.dim };
    let half_open_style = if half_open.unwrap_or(0) > 0 { palette.slow } else { palette.dim };
    let mut spans = vec![
        cell(&title, name - 1, false, if key.is_some() { palette.plain } else { palette.dim }),
        Span::raw(" "),
        cell(&head::ended(*ended, scope), FIGURE, true, palette.plain),
        cell(&count(*failed), FIGURE, true, failed_style),
    ];
    for (percentiles, limit) in [(handshake, SLOW_HANDSHAKE), (close, SLOW_CLOSE)] {
        for ns in [percentiles.map(|p: Percentiles| p.p50), percentiles.map(|p| p.p99)] {
            spans.push(duration(ns, limit, FIGURE, palette));
        }
    }
    spans.push(cell(&half_open.map_or("-".to_owned(), count), FIGURE, true, half_open_style));
    if let Some(verdict) = verdict {
        let style = if verdict.is_flood() { palette.alarm } else { palette.notice };
        let room = width.saturating_sub(name + 7 * FIGURE + 1);
        spans.push(Span::raw(" "));
        spans.push(Span::styled(super::style::cut(verdict.name(), room), style));
    }
    Line::from(spans)
}

/// As it is shown in a title or a row.
pub(super) fn key_name(key: Key) -> String {
    match key {
        Key::Host(host) => host.to_string(),
        Key::Port(port) => format!(":{port}"),
    }
}

/// Nanoseconds, or `-`; from `limit` on it stands out.
pub(super) fn duration(
    ns: Option<u64>,
    limit: u64,
    width: usize,
    palette: Palette,
) -> Span<'static> {
    let style: Style = match ns {
        Some(ns) if ns >= limit => palette.slow,
        Some(_) => palette.plain,
        None => palette.dim,
    };
    cell(&ns.map_or("-".to_owned(), |ns| Human(ns).to_string()), width, true, style)
}
