//! Every pane as it looks.

use tracer_common::state::TcpState;

use crate::core::event::MonoNs;
use crate::core::record::{Connection, OpenConnection, Outcome, Verdict};
use crate::core::spread::Spread;
use crate::report::samples::{self, MS, S, US};
use crate::top::app::App;
use crate::top::app::tests::press;
use crate::top::snapshot::{check, screen, text};
use crate::top::view::{
    Detail, Figures, Incident, Key, Latencies, Percentiles, PhaseSum, Row, Scope, Second, View,
    Wish,
};

fn figures(ended: u64, failed: u64, handshake: u64, close: Option<u64>) -> Figures {
    let percentiles = |p50: u64| Percentiles { p50, p99: 40 * p50 };
    Figures {
        ended,
        failed,
        handshake: (handshake > 0).then(|| percentiles(handshake)),
        close: close.map(percentiles),
    }
}

fn row(key: Option<&str>, figures: Figures, half_open: Option<u64>) -> Row {
    let key = key.map(|host| Key::Host(host.parse().expect("an address")));
    Row { key, figures, half_open, verdict: None }
}

fn latencies() -> Latencies {
    let (mut handshake, mut close) = (Spread::default(), Spread::default());
    for (ns, n) in [(15 * US, 3), (80 * US, 40), (150 * US, 200), (300 * US, 90), (2 * S, 7)] {
        handshake.add(ns, n);
        close.add(30 * ns, n);
    }
    Latencies {
        handshake,
        handshake_percentiles: Some(Percentiles { p50: 150 * US, p99: 2 * S }),
        close,
        close_percentiles: Some(Percentiles { p50: 4 * MS, p99: 60 * S }),
    }
}

/// A quiet server with one slow host, one that only knocks, and a leak.
pub(in crate::top) fn view() -> View {
    let rows = vec![
        row(Some("10.0.0.7"), figures(1234, 3, 150 * US, Some(4 * MS)), Some(0)),
        row(Some("10.0.0.8"), figures(620, 0, 80 * US, Some(600 * US)), Some(0)),
        row(
            Some("2001:db8:85a3:8d3:1319:8a2e:370:7348"),
            figures(55, 55, 20 * MS, Some(2 * S)),
            Some(2),
        ),
        row(Some("10.0.0.9"), figures(4, 4, 0, None), Some(0)),
        row(Some("203.0.113.9"), figures(0, 0, 0, None), Some(256)),
        row(None, figures(7, 0, MS, None), None),
    ];
    let history = (0..120).map(|n| Second {
        syns: Some((n * 7919 % 97) * n / 10),
        half_open: (n > 20).then_some(n % 17),
    });
    View {
        wish: Wish::default(),
        at: samples::at(103 * S),
        clock: samples::clock(),
        limit: None,
        totals: samples::end(),
        all: [figures(19, 1, 0, None), figures(190, 7, 0, None), figures(1234, 62, 0, None)],
        half_open: Some(2),
        hooks: 9,
        missing: Vec::new(),
        incidents: Vec::new(),
        history: history.collect(),
        latencies: latencies(),
        rows,
        more: 0,
        stuck: vec![
            samples::stuck(),
            OpenConnection {
                state: TcpState::SynSent,
                in_state: 9 * S,
                connection: Connection {
                    remote: "192.0.2.44:443".parse().expect("an address"),
                    owner: samples::owner("日本語\x1b[31m".as_bytes(), 77),
                    ..samples::stuck().connection
                },
            },
        ],
        stuck_count: 2,
        ended: samples::stream().into_iter().rev().collect(),
        detail: None,
    }
}

/// The same under a flood, and with much missing.
fn troubled() -> View {
    let mut view = view();
    view.incidents = vec![
        Incident { alert: Box::new(samples::flood()), over: false },
        Incident { alert: Box::new(samples::notice()), over: false },
        Incident { alert: Box::new(samples::flood()), over: true },
        Incident { alert: Box::new(samples::notice()), over: true },
    ];
    if let Some(row) = view.rows.get_mut(4) {
        row.verdict = Some(Verdict::SingleSource);
    }
    if let Some(row) = view.rows.get_mut(2) {
        row.verdict = Some(Verdict::AcceptQueueOverload);
    }
    view.limit = Some(600 * S);
    view.totals.events_lost = 17;
    view.totals.output_dropped = 3;
    view.missing = vec!["syn on wlan0: another XDP program is there".to_owned()];
    view
}

fn detailed(key: Key) -> View {
    let sum = |count, mean: u64| PhaseSum { count, total: count * mean, max: 9 * mean };
    let detail = Detail {
        key,
        figures: [
            figures(12, 0, 150 * US, Some(4 * MS)),
            figures(1234, 3, 150 * US, Some(4 * MS)),
            figures(98_765, 120, 160 * US, None),
        ],
        latencies: latencies(),
        half_open: Some(2),
        half_open_peak: Some(14),
        syns: Some(99_000),
        verdict: Some(Verdict::PortScan),
        since: MonoNs(3 * S),
        outcomes: [98_645, 100, 0, 0, 20, 0, 0, 0, 0],
        phases: [
            PhaseSum::default(),
            sum(98_000, 6 * US),
            sum(98_765, 400 * MS),
            PhaseSum::default(),
            PhaseSum::default(),
            sum(98_645, 900 * MS),
            PhaseSum::default(),
            sum(98_645, MS),
        ],
        open: samples::open(),
        open_count: 3,
        ended: samples::stream().into_iter().take(1).collect(),
    };
    let wish = Wish { detail: Some(key), ..Wish::default() };
    View { detail: Some(Box::new(detail)), wish, ..view() }
}

fn app(view: View, color: bool, keys: &str) -> App {
    let mut app = App::new(color);
    app.show(Box::new(view));
    press(&mut app, keys);
    app
}

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (140, 40);

#[test]
fn the_first_screen() {
    check("first", &app(view(), false, ""), SMALL, true);
    check("first_color", &app(view(), true, ""), SMALL, true);
    check("first_large", &app(view(), true, ""), LARGE, true);
}

#[test]
fn a_flood_stands_out() {
    check("flood", &app(troubled(), false, ""), SMALL, true);
    check("flood_color", &app(troubled(), true, ""), SMALL, true);
    let mut one = troubled();
    one.incidents.truncate(1);
    check("flood_one", &app(one, false, ""), SMALL, true);
    check("flood_in_full", &app(troubled(), true, "a"), LARGE, false);
}

#[test]
fn a_flood_that_has_stopped_is_said_to_be_quiet() {
    let mut view = troubled();
    view.incidents.truncate(1);
    let flood = &mut view.incidents[0].alert;
    (flood.at, flood.syn_rate) = (flood.until, 0.0);
    flood.at.0 += 7 * S;
    let shown = text(&screen(&app(view, false, ""), SMALL.0, SMALL.1));
    let said = "confirmed: quiet since 03:12:44\n";
    assert!(shown.contains(said), "{shown}");
}

#[test]
fn each_pane_can_fill_the_screen() {
    for (name, keys) in [
        ("zoom_hosts", "z"),
        ("zoom_latency", "\tzc"),
        ("zoom_stuck", "\t\tz↓"),
        ("zoom_ended", "\t\t\tz"),
    ] {
        check(name, &app(view(), true, keys), SMALL, false);
        check(&format!("{name}_large"), &app(view(), true, keys), (120, 30), false);
    }
}

#[test]
fn listeners_and_the_whole_run() {
    let mut listeners = view();
    let port = |port, ended| Row {
        key: Some(Key::Port(port)),
        figures: figures(ended, 2, 300 * US, Some(MS)),
        half_open: None,
        verdict: None,
    };
    listeners.rows = vec![port(8080, 99_999_999), port(443, 12)];
    listeners.wish.scope = Scope::Run;
    check("listeners", &app(listeners, true, "lii"), SMALL, false);
}

#[test]
fn one_host_and_one_listener() {
    let host = Key::Host("10.0.0.7".parse().expect("an address"));
    let with = |key, color, keys: &str| {
        let mut app = app(view(), color, "\n");
        let mut view = detailed(key);
        view.wish.detail = Some(key);
        app.look_at(key);
        app.show(Box::new(view));
        press(&mut app, keys);
        app
    };
    check("host", &with(host, false, ""), SMALL, true);
    check("host_large", &with(host, true, "\t"), LARGE, true);
    check("listener", &with(Key::Port(8080), true, "c"), SMALL, false);
}

#[test]
fn what_lies_over_the_panes() {
    check("help", &app(view(), false, "?"), SMALL, false);
    check("help_large", &app(view(), false, "?"), LARGE, false);
    check("connection", &app(view(), true, "\t\t\t⇟\n"), SMALL, false);
    check("connection_large", &app(view(), true, "\t\t\n"), LARGE, false);
    check("alerts_none", &app(view(), true, "a"), SMALL, false);
    let mut messages = app(troubled(), true, "");
    let long = "tracer: warn: no SYN hook on wlan0: ".to_owned() + &"very ".repeat(30) + "long";
    messages.messages = std::sync::Arc::new(vec!["tracer: warn: a".to_owned(), long]);
    check("messages_unseen", &messages, SMALL, false);
    press(&mut messages, "m");
    check("messages", &messages, SMALL, false);
}

#[test]
fn typing_and_pausing() {
    check("typing", &app(view(), true, "/nginx :80"), SMALL, false);
    check("paused", &app(view(), true, "/nginx\n i"), SMALL, true);
    let mut empty = view();
    empty.rows.clear();
    check("nothing_matches", &app(empty, true, "/nobody\n"), SMALL, false);
}

#[test]
fn one_row_and_one_state_are_said_as_such() {
    let mut one = view();
    one.rows.truncate(1);
    one.stuck.truncate(1);
    one.stuck_count = 1;
    let state = one.stuck[0].state;
    let shown = text(&screen(&app(one, false, "/nginx\n"), 80, 24));
    assert!(shown.contains(" 1 remote host that matches, "), "{shown}");
    assert!(shown.contains(&format!(" Stuck: 1 {state} ─")), "{shown}");
}

#[test]
fn no_terminal_is_too_small_to_say_so() {
    let shown = text(&screen(&app(view(), true, ""), 79, 24));
    assert!(shown.contains("needs 80 columns and 24 lines"), "{shown}");
    let shown = text(&screen(&app(view(), true, ""), 100, 10));
    assert!(shown.contains("this terminal has 100 and 10"), "{shown}");
    for (width, height) in [(1, 1), (0, 0), (3, 40), (300, 2)] {
        let _ = screen(&app(view(), true, ""), width, height);
    }
    let shown = text(&screen(&App::new(true), 80, 24));
    assert!(shown.contains("waiting for the first figures"), "{shown}");
}

#[test]
fn every_size_is_drawn_and_nothing_harmful_is() {
    let key = Key::Host("10.0.0.7".parse().expect("an address"));
    for keys in ["", "z", "\tz", "\t\tz", "\t\t\tz", "?", "m", "a", "\t\t\n", "/a", "l"] {
        for view in [view(), troubled(), detailed(key)] {
            for (width, height) in [(80, 24), (81, 25), (97, 33), (132, 43), (250, 100)] {
                let mut app = app(view.clone(), true, keys);
                app.look_at(key);
                let shown = text(&screen(&app, width, height));
                let harmful = |c| c != '\n' && crate::report::escape::is_harmful(c);
                assert!(!shown.contains(harmful), "{shown:?}");
            }
        }
    }
}

#[test]
fn without_colours_none_is_used() {
    let app = app(troubled(), false, "");
    let buffer = screen(&app, 80, 24);
    use ratatui::style::Color;
    let plain = |cell: &ratatui::buffer::Cell| cell.fg == Color::Reset && cell.bg == Color::Reset;
    assert!(buffer.content().iter().all(plain));
}

#[test]
fn an_outcome_that_went_wrong_is_shown_with_many_phases() {
    let mut view = detailed(Key::Port(1));
    let detail = view.detail.as_mut().expect("one");
    detail.phases = [PhaseSum { count: 1, total: MS, max: MS }; 8];
    let wrong = Outcome::ALL.iter().position(|outcome| *outcome == Outcome::Aborted).expect("one");
    detail.outcomes = [0; 9];
    detail.outcomes[wrong] = 1;
    let mut app = app(view, false, "");
    app.look_at(Key::Port(1));
    assert!(text(&screen(&app, 80, 24)).contains("aborted"));
}
