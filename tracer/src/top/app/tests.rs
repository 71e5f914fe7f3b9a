//! What the keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::top::draw::tests::view;
use crate::top::view::Scope;

pub(in crate::top) fn press(app: &mut App, keys: &str) -> Effect {
    let mut effect = Effect::Nothing;
    for c in keys.chars() {
        let (code, modifiers) = match c {
            '\n' => (KeyCode::Enter, KeyModifiers::NONE),
            '\t' => (KeyCode::Tab, KeyModifiers::NONE),
            '\x1b' => (KeyCode::Esc, KeyModifiers::NONE),
            '\x7f' => (KeyCode::Backspace, KeyModifiers::NONE),
            '\x03' => (KeyCode::Char('c'), KeyModifiers::CONTROL),
            '\x1a' => (KeyCode::Char('z'), KeyModifiers::CONTROL),
            '↓' => (KeyCode::Down, KeyModifiers::NONE),
            '↑' => (KeyCode::Up, KeyModifiers::NONE),
            '⇟' => (KeyCode::End, KeyModifiers::NONE),
            c => (KeyCode::Char(c), KeyModifiers::NONE),
        };
        effect = app.key(KeyEvent::new(code, modifiers));
    }
    effect
}

fn app() -> App {
    let mut app = App::new(false);
    app.show(Box::new(view()));
    app
}

fn shown(app: &App) -> MonoNs {
    app.view().expect("one").at
}

use crate::core::event::MonoNs;

#[test]
fn quitting_works_from_everywhere() {
    assert_eq!(press(&mut app(), "q"), Effect::Quit);
    for before in ["", "?", "/", "\n", "m"] {
        let mut app = app();
        press(&mut app, before);
        assert_eq!(press(&mut app, "\x03"), Effect::Quit, "{before:?}");
    }
    let mut typing = app();
    assert_eq!(press(&mut typing, "/q"), Effect::Nothing);
    assert_eq!(typing.typing.as_deref(), Some("q"));
    assert_eq!(press(&mut app(), "\x1a"), Effect::Suspend);
}

#[test]
fn a_pause_freezes_the_display_and_what_it_can_show() {
    let mut app = app();
    press(&mut app, " ");
    let later = View { at: MonoNs(99), ..view() };
    assert!(!app.show(Box::new(later.clone())));
    assert_ne!(shown(&app), MonoNs(99));
    press(&mut app, "i\n");
    assert_eq!((app.wish().scope, app.wish().detail), (Scope::Ten, None));
    assert!(app.word.is_some_and(|word| word.contains("paused")));
    // What is there can be sorted all the same.
    press(&mut app, "s");
    assert_eq!(app.wish().order, Column::Failed);
    press(&mut app, "p");
    assert!(app.show(Box::new(later)) && shown(&app) == MonoNs(99));
}

#[test]
fn sorting_goes_round_and_back() {
    let mut app = app();
    for _ in 0..Column::ALL.len() {
        press(&mut app, "s");
    }
    assert_eq!(app.wish().order, Column::Connections);
    press(&mut app, "S");
    assert_eq!((app.wish().order, app.wish().ascending), (Column::Name, true));
    let names: Vec<_> = app.rows().iter().map(|row| row.key).collect();
    let mut sorted = names.clone();
    sorted.sort_by_key(|key| (key.is_none(), *key));
    assert_eq!(names, sorted);
    press(&mut app, "r");
    assert!(!app.wish().ascending);
    press(&mut app, "sss");
    assert_eq!(app.wish().order, Column::HandshakeP50);
    // The one without a handshake is last of those that have a name.
    let p50: Vec<_> = app.rows().iter().map(|row| row.figures.handshake.map(|p| p.p50)).collect();
    let known: Vec<_> = p50.iter().take(p50.len() - 1).flatten().collect();
    assert!(known.is_sorted_by(|a, b| a >= b), "{p50:?}");
}

#[test]
fn the_selection_follows_its_row() {
    let mut app = app();
    press(&mut app, "↓↓↑");
    let rows = app.rows();
    let chosen = rows[app.table(&rows).at].key;
    let mut other = view();
    other.rows.swap(0, 1);
    app.show(Box::new(other));
    let rows = app.rows();
    assert_eq!(rows[app.table(&rows).at].key, chosen);
    assert_eq!(app.table(&rows).at, 0);
    press(&mut app, "⇟↓");
    let rows = app.rows();
    assert_eq!(app.table(&rows).at, rows.len() - 1);
    press(&mut app, "\n");
    assert_eq!(app.wish().detail, None, "the others are nobody to look at");
}

#[test]
fn enter_looks_closer_and_escape_steps_back() {
    let mut app = app();
    press(&mut app, "\n");
    let key = app.wish().detail.expect("a host");
    assert_eq!((app.pane, app.rows()[0].key), (Pane::Ended, Some(key)));
    press(&mut app, "\t");
    assert_eq!(app.pane, Pane::Latency, "there is no table");
    press(&mut app, "\n");
    assert!(app.closes);
    press(&mut app, "z\x1b");
    assert!(!app.zoomed && app.wish().detail.is_some());
    press(&mut app, "\x1b");
    assert_eq!((app.wish().detail, app.pane), (None, Pane::Table));
    press(&mut app, "\t\t\t\n");
    assert!(matches!(app.over, Over::Connection(_)));
    press(&mut app, "\x1b");
    assert_eq!(app.over, Over::Nothing);
}

#[test]
fn a_filter_is_typed_corrected_and_dropped() {
    let mut app = app();
    press(&mut app, "/nginxx\x7f :80\n");
    assert_eq!(app.filter, "nginx :80");
    assert_eq!(app.wish().filter, Filter::new("nginx :80"));
    press(&mut app, "/\x7f\x1b");
    assert_eq!(app.filter, "nginx :80", "not taken");
    press(&mut app, "\x1b");
    assert!(app.filter.is_empty() && app.wish().filter.is_empty());
}

#[test]
fn listeners_take_the_place_of_hosts() {
    let mut app = app();
    press(&mut app, "\nl");
    assert_eq!((app.wish().kind, app.wish().detail), (Kind::Listeners, None));
    press(&mut app, "l");
    assert_eq!(app.wish().kind, Kind::Hosts);
}

#[test]
fn only_log_lines_that_were_not_seen_are_announced() {
    let mut app = app();
    app.messages = Arc::new(vec!["tracer 0.1.0, kernel 6".into(), "tracer: warn: a".into()]);
    assert_eq!(app.unseen(), 1);
    press(&mut app, "m\x1b");
    assert_eq!(app.unseen(), 0);
}

#[test]
fn no_key_on_an_empty_screen_does_harm() {
    let mut app = App::new(false);
    for key in "↓↑⇟\n\t\n\t\n\t\nscrliz?\x1bm\x1ba\x1b /\n".chars() {
        press(&mut app, &key.to_string());
    }
    let mut scroll = Scroll::default();
    scroll.go(isize::MIN, 0);
    scroll.go(isize::MAX, 0);
    assert_eq!((scroll.at, scroll.first(0, 0)), (0, 0));
    assert_eq!(Scroll { at: 30 }.first(31, 10), 21);
    assert_eq!(Scroll { at: 3 }.first(31, 10), 0);
}
