//! Connections in rows: those that are stuck or open, and those that ended.

use std::collections::BTreeMap;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use tracer_common::state::TcpState;

use super::framed;
use super::style::{Palette, cell};
use super::table::{SLOW_CLOSE, SLOW_HANDSHAKE, duration};
use crate::core::record::{Connection, OpenConnection, Outcome};
use crate::report::WallClock;
use crate::report::text::cell as text;
use crate::report::units::Human;
use crate::top::app::{App, Pane, Scroll};
use crate::top::view::View;

/// `255.255.255.255:65535`.
const ENDPOINT: usize = 21;
/// `CLOSE_WAIT`, `ESTABLISHED`.
const STATE: usize = 11;
const FIGURE: usize = 6;

/// The pane of stuck connections.
pub(super) fn stuck(app: &App, view: &View, frame: &mut Frame<'_>, area: Rect, palette: Palette) {
    let mut states = BTreeMap::<&str, usize>::new();
    for open in &view.stuck {
        *states.entry(open.state.name()).or_default() += 1;
    }
    let states: Vec<_> = states.iter().map(|(state, n)| format!("{n} {state}")).collect();
    let title = match view.stuck_count {
        0 => "Stuck: none".to_owned(),
        n if n > view.stuck.len() => format!("Stuck: {n}"),
        // All in the same state.
        _ if states.len() == 1 => format!("Stuck: {}", states.concat()),
        n => format!("Stuck: {n}, {}", states.join(", ")),
    };
    let inner = framed(title, app.pane == Pane::Stuck, frame, area, palette);
    let focus = (app.pane == Pane::Stuck).then(|| app.stuck());
    frame.render_widget(open_lines(&view.stuck, focus, inner, true, palette), inner);
}

/// Open connections with the states they are in.
pub(super) fn open_lines<'a>(
    list: &[OpenConnection],
    scroll: Option<Scroll>,
    area: Rect,
    stuck: bool,
    palette: Palette,
) -> Paragraph<'a> {
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let first = scroll.map_or(0, |scroll| scroll.first(list.len(), height));
    let mut lines = Vec::new();
    for (at, open) in list.iter().enumerate().skip(first).take(height) {
        let c = &open.connection;
        let style = if stuck { palette.slow } else { palette.plain };
        let mut spans = vec![
            cell(open.state.name(), STATE, false, style),
            cell(&Human(open.in_state).to_string(), FIGURE, true, style),
            Span::raw(" "),
        ];
        // What is left: process, ends. The narrower, the fewer.
        let room = width.saturating_sub(STATE + FIGURE + 1);
        if room >= ENDPOINT + 9 + 12 {
            let process = (room - ENDPOINT - 10).min(24);
            spans.push(cell(
                &shown(|out| text::process(c.owner.as_ref(), process, out)),
                process,
                false,
                palette.plain,
            ));
            spans.push(Span::raw(" "));
            spans.push(cell(&format!(":{}", c.local.port()), 6, true, palette.plain));
            spans.push(cell(text::arrow(c.role), 3, true, palette.dim));
            let remote = room.saturating_sub(process + 11).max(ENDPOINT);
            spans.push(Span::raw(" "));
            spans.push(cell(
                &shown(|out| text::endpoint(c.remote, Some(remote), out)),
                remote,
                false,
                palette.plain,
            ));
        } else {
            // Whose fault it is: the application's, or the peer's.
            let text = match (c.owner, open.state) {
                (Some(_), TcpState::CloseWait) => shown(|out| {
                    text::process(c.owner.as_ref(), room.saturating_sub(7), out);
                    out.push_str(&format!(" :{}", c.local.port()));
                }),
                _ => shown(|out| text::endpoint(c.remote, Some(room), out)),
            };
            spans.push(cell(&text, room, false, palette.plain));
        }
        lines.push(chosen(Line::from(spans), is_at(scroll, at, list.len()), width, palette));
    }
    Paragraph::new(lines)
}

/// The pane of the connections that ended last.
pub(super) fn ended(app: &App, view: &View, frame: &mut Frame<'_>, area: Rect, palette: Palette) {
    let title = match app.filter.is_empty() {
        true => "Last ended".to_owned(),
        false => "Last ended that match".to_owned(),
    };
    let inner = framed(title, app.pane == Pane::Ended, frame, area, palette);
    let focus = (app.pane == Pane::Ended).then(|| app.ended());
    frame.render_widget(ended_lines(app.ended_list(), focus, &view.clock, inner, palette), inner);
}

/// Connections that ended, with a header.
pub(super) fn ended_lines<'a>(
    list: &[Connection],
    scroll: Option<Scroll>,
    clock: &WallClock,
    area: Rect,
    palette: Palette,
) -> Paragraph<'a> {
    let (width, height) = (usize::from(area.width), usize::from(area.height).saturating_sub(1));
    let first = scroll.map_or(0, |scroll| scroll.first(list.len(), height));
    // Time, arrow, figures, outcome and the gaps between; the rest is process and ends.
    let fixed = 8 + 7 + 2 + 3 * (FIGURE + 1) + 10;
    let room = width.saturating_sub(fixed + 2);
    let remote = room.saturating_sub(11).clamp(ENDPOINT, 47);
    let process = room.saturating_sub(remote + 1).clamp(10, 24);
    let mut lines = vec![Line::from(vec![
        cell("TIME", 9, false, palette.header),
        cell("PROCESS", process, false, palette.header),
        cell("LPORT", 7, true, palette.header),
        cell("  REMOTE", remote + 3, false, palette.header),
        cell("SHAKE", FIGURE, true, palette.header),
        cell("LIFE", FIGURE + 1, true, palette.header),
        cell("CLOSE", FIGURE + 1, true, palette.header),
        cell(" END", 10, false, palette.header),
    ])];
    for (at, c) in list.iter().enumerate().skip(first).take(height) {
        let process_text = shown(|out| text::process(c.owner.as_ref(), process, out));
        let line = Line::from(vec![
            cell(&format!("{:.0}", clock.time_of_day(c.end)), 9, false, palette.dim),
            cell(&process_text, process, false, palette.plain),
            cell(&format!(":{}", c.local.port()), 7, true, palette.plain),
            cell(&format!(" {} ", text::arrow(c.role)), 3, false, palette.dim),
            cell(
                &shown(|out| text::endpoint(c.remote, Some(remote), out)),
                remote,
                false,
                palette.plain,
            ),
            duration(c.handshake, SLOW_HANDSHAKE, FIGURE, palette),
            cell(&shown(|out| text::life(c, out)), FIGURE + 1, true, palette.plain),
            duration(c.close, SLOW_CLOSE, FIGURE + 1, palette),
            Span::raw(" "),
            cell(&shown(|out| text::end(c, out)), 9, false, outcome_style(c.outcome, palette)),
        ]);
        lines.push(chosen(line, is_at(scroll, at, list.len()), width, palette));
    }
    Paragraph::new(lines)
}

pub(super) fn outcome_style(outcome: Option<Outcome>, palette: Palette) -> Style {
    match outcome {
        Some(Outcome::Closed) => palette.plain,
        Some(Outcome::Unknown) | None => palette.dim,
        Some(_) => palette.bad,
    }
}

/// What a cell of the report says.
pub(super) fn shown(write: impl FnOnce(&mut String)) -> String {
    let mut out = String::new();
    write(&mut out);
    out
}

/// A row, marked over the whole width if it is the selected one.
pub(super) fn chosen<'a>(
    mut line: Line<'a>,
    selected: bool,
    width: usize,
    palette: Palette,
) -> Line<'a> {
    if selected {
        let pad = width.saturating_sub(line.width());
        line.push_span(Span::raw(" ".repeat(pad)));
        line = line.patch_style(palette.selected);
    }
    line
}

fn is_at(scroll: Option<Scroll>, at: usize, len: usize) -> bool {
    scroll.is_some_and(|scroll| scroll.at.min(len.saturating_sub(1)) == at)
}
