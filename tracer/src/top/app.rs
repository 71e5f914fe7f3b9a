//! What the user has chosen to look at: keys in, and what is shown by them. No terminal, no clock.

use std::sync::Arc;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::counts;
use super::filter::Filter;
use super::view::{Column, Key, Kind, Row, View, Wish};
use crate::core::record::{Connection, OpenConnection};

/// What a list can be scrolled by at a time where the height is not known.
const PAGE: usize = 10;

/// Parts of the screen that can have the focus, in the order of Tab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pane {
    Table,
    Latency,
    Stuck,
    Ended,
}

impl Pane {
    const ALL: [Self; 4] = [Self::Table, Self::Latency, Self::Stuck, Self::Ended];

    fn step(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|pane| *pane == self).unwrap_or(0);
        Self::ALL.get((at + by) % Self::ALL.len()).copied().unwrap_or(self)
    }
}

/// What lies over the panes.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Over {
    Nothing,
    Help,
    /// What tracer had to say about itself.
    Messages,
    /// What is known of the floods and notices.
    Alerts,
    /// One connection in full.
    Connection(Box<Chosen>),
}

/// A connection that was chosen from a list, as it was then.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Chosen {
    Ended(Connection),
    Open(OpenConnection),
}

/// What a key asks of whoever owns the terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    Nothing,
    Quit,
    Suspend,
    /// Draw everything anew.
    Redraw,
}

/// Selected row and first row shown of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Scroll {
    pub(super) at: usize,
}

impl Scroll {
    fn go(&mut self, by: isize, len: usize) {
        let last = len.saturating_sub(1);
        self.at = self.at.min(last).saturating_add_signed(by).min(last);
    }

    /// First row to show of `len` in `height` lines, so that the selected one is among them.
    pub(super) fn first(self, len: usize, height: usize) -> usize {
        let at = self.at.min(len.saturating_sub(1));
        let last_page = len.saturating_sub(height);
        (at + 1).saturating_sub(height).min(last_page)
    }
}

/// The state of the screen.
pub(super) struct App {
    view: Option<Box<View>>,
    pub(super) paused: bool,
    pub(super) pane: Pane,
    /// The pane with the focus has the screen for itself.
    pub(super) zoomed: bool,
    pub(super) over: Over,
    /// Closes instead of handshakes in the histogram.
    pub(super) closes: bool,
    /// Being typed.
    pub(super) typing: Option<String>,
    /// The filter in force, as typed.
    pub(super) filter: String,
    wish: Wish,
    /// The row of the table is followed by its name: rows change their places.
    selected: Option<Key>,
    table: Scroll,
    stuck: Scroll,
    ended: Scroll,
    pub(super) over_scroll: Scroll,
    /// What tracer had to say, oldest first.
    pub(super) messages: Arc<Vec<String>>,
    /// Of them, those seen.
    pub(super) messages_seen: usize,
    /// A word to the user, until the next key.
    pub(super) word: Option<&'static str>,
    /// Whether colours may be used.
    pub(super) color: bool,
}

impl App {
    pub(super) fn new(color: bool) -> Self {
        Self {
            view: None,
            paused: false,
            pane: Pane::Table,
            zoomed: false,
            over: Over::Nothing,
            closes: false,
            typing: None,
            filter: String::new(),
            wish: Wish::default(),
            selected: None,
            table: Scroll::default(),
            stuck: Scroll::default(),
            ended: Scroll::default(),
            over_scroll: Scroll::default(),
            messages: Arc::default(),
            messages_seen: 0,
            word: None,
            color,
        }
    }

    pub(super) fn wish(&self) -> &Wish {
        &self.wish
    }

    pub(super) fn view(&self) -> Option<&View> {
        self.view.as_deref()
    }

    /// Log lines that the user has not seen: warnings and errors, not what is said at every start.
    pub(super) fn unseen(&self) -> usize {
        let unseen = self.messages.iter().skip(self.messages_seen);
        unseen.filter(|message| message.starts_with("tracer: ")).count()
    }

    /// Takes a newer view, unless the display is paused; whether it did.
    pub(super) fn show(&mut self, view: Box<View>) -> bool {
        if self.paused && self.view.is_some() {
            return false;
        }
        self.view = Some(view);
        true
    }

    /// Rows of the table in the order wished: those at hand, before the next view comes.
    pub(super) fn rows(&self) -> Vec<&Row> {
        let Some(view) = &self.view else { return Vec::new() };
        let mut rows: Vec<_> = view.rows.iter().collect();
        if view.wish.order != self.wish.order || view.wish.ascending != self.wish.ascending {
            rows.sort_by(|a, b| counts::compare(a, b, self.wish.order, self.wish.ascending));
        }
        rows
    }

    /// Where the selected row of the table is.
    pub(super) fn table(&self, rows: &[&Row]) -> Scroll {
        let named = self.selected.and_then(|key| rows.iter().position(|row| row.key == Some(key)));
        Scroll { at: named.unwrap_or(self.table.at).min(rows.len().saturating_sub(1)) }
    }

    /// In a detail the lists are the detail's.
    pub(super) fn open_list(&self) -> &[OpenConnection] {
        let Some(view) = &self.view else { return &[] };
        match &view.detail {
            Some(detail) if self.wish.detail.is_some() => &detail.open,
            _ => &view.stuck,
        }
    }

    pub(super) fn ended_list(&self) -> &[Connection] {
        let Some(view) = &self.view else { return &[] };
        match &view.detail {
            Some(detail) if self.wish.detail.is_some() => &detail.ended,
            _ => &view.ended,
        }
    }

    pub(super) fn stuck(&self) -> Scroll {
        self.stuck
    }

    pub(super) fn ended(&self) -> Scroll {
        self.ended
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, key: KeyEvent) -> Effect {
        self.word = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Effect::Quit,
                KeyCode::Char('z') => return Effect::Suspend,
                KeyCode::Char('l') => return Effect::Redraw,
                KeyCode::Char('u') if self.typing.is_some() => {
                    self.typing = Some(String::new());
                    return Effect::Nothing;
                }
                _ => return Effect::Nothing,
            }
        }
        if self.typing.is_some() {
            self.type_key(key.code);
            return Effect::Nothing;
        }
        if self.over != Over::Nothing {
            return self.key_over(key.code);
        }
        match key.code {
            KeyCode::Char('q') => return Effect::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.put_over(Over::Help),
            KeyCode::Char('m') => self.put_over(Over::Messages),
            KeyCode::Char('a') => self.put_over(Over::Alerts),
            KeyCode::Char('/') => self.typing = Some(self.filter.clone()),
            KeyCode::Char(' ' | 'p') => self.paused = !self.paused,
            KeyCode::Char('z') => self.zoomed = !self.zoomed,
            KeyCode::Char('c') => self.closes = !self.closes,
            KeyCode::Char('i') => self.change(|wish| wish.scope = wish.scope.next()),
            KeyCode::Char('l') => self.listeners(),
            KeyCode::Char('s' | '>') => self.sort(1),
            KeyCode::Char('S' | '<') => self.sort(Column::ALL.len() - 1),
            KeyCode::Char('r') => self.wish.ascending = !self.wish.ascending,
            KeyCode::Tab => self.focus(1),
            KeyCode::BackTab => self.focus(Pane::ALL.len() - 1),
            KeyCode::Enter => self.enter(),
            KeyCode::Esc | KeyCode::Backspace => self.back(),
            code => self.scroll(code),
        }
        Effect::Nothing
    }

    /// Changes what only the next view can show.
    fn change(&mut self, change: impl FnOnce(&mut Wish)) {
        if self.paused {
            self.word = Some("paused: Space goes on");
        } else {
            change(&mut self.wish);
        }
    }

    fn listeners(&mut self) {
        self.change(|wish| {
            wish.kind = match wish.kind {
                Kind::Hosts => Kind::Listeners,
                Kind::Listeners => Kind::Hosts,
            };
            wish.detail = None;
        });
        self.selected = None;
        self.table = Scroll::default();
        self.pane = Pane::Table;
    }

    fn sort(&mut self, by: usize) {
        let at = Column::ALL.iter().position(|column| *column == self.wish.order).unwrap_or(0);
        if let Some(order) = Column::ALL.get((at + by) % Column::ALL.len()) {
            self.wish.order = *order;
            // Names from A on, figures from the largest on.
            self.wish.ascending = *order == Column::Name;
        }
        self.selected = None;
        self.table = Scroll::default();
    }

    fn focus(&mut self, by: usize) {
        self.pane = self.pane.step(by);
        // A detail has no table.
        if self.wish.detail.is_some() && self.pane == Pane::Table {
            self.pane = self.pane.step(by);
        }
    }

    fn put_over(&mut self, over: Over) {
        if over == Over::Messages {
            self.messages_seen = self.messages.len();
            self.over_scroll = Scroll { at: self.messages.len() };
        } else {
            self.over_scroll = Scroll::default();
        }
        self.over = over;
    }

    fn key_over(&mut self, code: KeyCode) -> Effect {
        let by = match code {
            KeyCode::Up | KeyCode::Char('k') => -1,
            KeyCode::Down | KeyCode::Char('j') => 1,
            KeyCode::PageUp => -(PAGE as isize),
            KeyCode::PageDown => PAGE as isize,
            KeyCode::Home | KeyCode::Char('g') => isize::MIN,
            // What lies over has at most some hundred lines; drawing stops at the last.
            KeyCode::End | KeyCode::Char('G') => 1000,
            KeyCode::Char('q' | '?' | 'h' | 'm' | 'a')
            | KeyCode::Esc
            | KeyCode::Enter
            | KeyCode::Backspace
            | KeyCode::F(1) => {
                self.over = Over::Nothing;
                self.messages_seen = self.messages.len();
                return Effect::Nothing;
            }
            _ => return Effect::Nothing,
        };
        self.over_scroll.at = self.over_scroll.at.saturating_add_signed(by).min(1000);
        Effect::Nothing
    }

    fn type_key(&mut self, code: KeyCode) {
        let Some(text) = &mut self.typing else { return };
        match code {
            KeyCode::Esc => self.typing = None,
            KeyCode::Enter => {
                self.filter = self.typing.take().unwrap_or_default().trim().to_owned();
                self.wish.filter = Filter::new(&self.filter);
                self.table = Scroll::default();
                self.stuck = Scroll::default();
                self.ended = Scroll::default();
                self.selected = None;
                if self.paused {
                    self.word = Some("paused: the filter shows its effect once it goes on");
                }
            }
            KeyCode::Backspace => {
                text.pop();
            }
            KeyCode::Char(c) if !c.is_control() && text.len() < 64 => text.push(c),
            _ => {}
        }
    }

    fn enter(&mut self) {
        let chosen = match self.pane {
            Pane::Table => {
                let rows = self.rows();
                let at = self.table(&rows).at;
                let key = rows.get(at).and_then(|row| row.key);
                if rows.get(at).is_some_and(|row| row.key.is_none()) {
                    self.word = Some("these are all that have no row of their own");
                }
                if let Some(key) = key {
                    self.change(|wish| wish.detail = Some(key));
                    if self.wish.detail.is_some() {
                        self.selected = Some(key);
                        self.pane = Pane::Ended;
                        self.zoomed = false;
                        self.stuck = Scroll::default();
                        self.ended = Scroll::default();
                    }
                }
                return;
            }
            Pane::Latency => {
                self.closes = !self.closes;
                return;
            }
            Pane::Stuck => {
                let list = self.open_list();
                let at = self.stuck.at.min(list.len().saturating_sub(1));
                list.get(at).cloned().map(Chosen::Open)
            }
            Pane::Ended => {
                let list = self.ended_list();
                let at = self.ended.at.min(list.len().saturating_sub(1));
                list.get(at).cloned().map(Chosen::Ended)
            }
        };
        if let Some(chosen) = chosen {
            self.put_over(Over::Connection(Box::new(chosen)));
        }
    }

    /// One step back: zoom, detail, filter.
    fn back(&mut self) {
        if self.zoomed {
            self.zoomed = false;
        } else if self.wish.detail.is_some() {
            self.change(|wish| wish.detail = None);
            if self.wish.detail.is_none() {
                self.pane = Pane::Table;
            }
        } else if !self.filter.is_empty() {
            self.filter.clear();
            self.wish.filter = Filter::default();
        }
    }

    fn scroll(&mut self, code: KeyCode) {
        let by = match code {
            KeyCode::Up | KeyCode::Char('k') => -1,
            KeyCode::Down | KeyCode::Char('j') => 1,
            KeyCode::PageUp => -(PAGE as isize),
            KeyCode::PageDown => PAGE as isize,
            KeyCode::Home | KeyCode::Char('g') => isize::MIN,
            KeyCode::End | KeyCode::Char('G') => isize::MAX,
            _ => return,
        };
        match self.pane {
            Pane::Table => {
                let rows = self.rows();
                let mut scroll = self.table(&rows);
                scroll.go(by, rows.len());
                let key = rows.get(scroll.at).and_then(|row| row.key);
                self.selected = key;
                self.table = scroll;
            }
            Pane::Latency => {}
            Pane::Stuck => {
                let len = self.open_list().len();
                self.stuck.go(by, len);
            }
            Pane::Ended => {
                let len = self.ended_list().len();
                self.ended.go(by, len);
            }
        }
    }
}

#[cfg(test)]
impl App {
    /// As if `key` had been chosen from the table.
    pub(super) fn look_at(&mut self, key: Key) {
        self.wish.detail = Some(key);
    }
}

#[cfg(test)]
pub(super) mod tests;
