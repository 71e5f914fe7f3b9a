//! What the user sees, to the letter: the expected texts are in `snapshots/`.

use std::time::Duration;

use super::*;
use crate::core::record::ProgramRuns;
use crate::report::Scope;
use crate::report::samples::{self, MS, S};

fn text(width: Option<usize>, color: bool) -> Text {
    Text::new(samples::clock(), Screen { width, color })
}

fn rendered(width: Option<usize>, write: impl FnOnce(&mut Text, &mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut text(width, false), &mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

/// A run with everything in it.
fn run(text: &mut Text, out: &mut Vec<u8>) {
    let at = samples::at(103 * S);
    text.start(&samples::start(), out);
    for connection in samples::stream() {
        text.record(&Record::Connection(Box::new(connection)), out);
    }
    text.record(&Record::State(samples::state_change()), out);
    text.record(&Record::Stuck(Box::new(samples::stuck())), out);
    text.hosts(&samples::hosts(), samples::covered(Scope::Interval, at), out);
    text.open(&samples::open(), at, out);
    text.end(&samples::end(), at, out);
}

#[test]
fn a_run_at_every_width() {
    for (width, expected) in [
        (Some(80), include_str!("snapshots/80.txt")),
        (Some(100), include_str!("snapshots/100.txt")),
        (Some(120), include_str!("snapshots/120.txt")),
        (Some(160), include_str!("snapshots/160.txt")),
        (Some(200), include_str!("snapshots/200.txt")),
        (None, include_str!("snapshots/piped.txt")),
    ] {
        let shown = rendered(width, run);
        // To look at a change: `TRACER_NEW_SNAPSHOTS=dir cargo test`; it passes after a rebuild.
        if let Some(dir) = std::env::var_os("TRACER_NEW_SNAPSHOTS") {
            let name = width.map_or("piped".to_owned(), |width| width.to_string());
            std::fs::write(std::path::Path::new(&dir).join(name + ".txt"), &shown).unwrap();
        }
        assert!(shown == expected, "{width:?}:\n{shown}\nexpected:\n{expected}");
    }
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    use unicode_width::UnicodeWidthStr;
    for width in 80..250 {
        for line in rendered(Some(width), run).lines() {
            assert!(line.width() <= width, "{} > {width}: {line}", line.width());
        }
    }
}

#[test]
fn without_a_terminal_every_cell_is_one_word() {
    let spaced = Connection { owner: samples::owner(b"Web Content", 7), ..samples::full() };
    let record = Record::Connection(Box::new(spaced));
    let shown = rendered(None, |text, out| text.record(&record, out));
    let cells: Vec<Vec<_>> =
        shown.lines().map(|line| line.split(' ').filter(|c| !c.is_empty()).collect()).collect();
    let [header, row] = &cells[..] else { panic!("{shown}") };
    let cell = |title: &str| row[header.iter().position(|cell| *cell == title).unwrap()];
    assert_eq!(cell("COMM"), "Web\\x20Content");
    assert_eq!(cell("REMOTE"), "10.0.0.7:51234");
    assert_eq!(cell("OUTCOME"), "closed");
    assert_eq!(cell("LAST_ACK"), "1.0ms");
    assert_eq!(cell("RTT"), "850µs");
}

#[test]
fn a_process_can_not_steer_the_terminal() {
    let hostile = |width| {
        let record = Record::Connection(Box::new(Connection {
            owner: samples::owner(b"\x1b[31m\"\n\xe2\x80\xae", 7),
            cgroup: Some(std::sync::Arc::new(crate::core::event::CgroupName {
                path: "/a\nb c\u{202e}".to_owned(),
                container: Some("\x1b]0;x\x07".to_owned()),
            })),
            ..samples::full()
        }));
        rendered(width, |text, out| text.record(&record, out))
    };
    for width in [Some(80), Some(120), Some(200), None] {
        let shown = hostile(width);
        assert_eq!(shown.lines().count(), 2, "{shown}");
        assert!(!shown.contains(|c: char| c != '\n' && crate::report::escape::is_harmful(c)));
    }
    let piped = hostile(None);
    assert!(piped.contains(" \\x1b[31m\"\\n\\u{202e} "), "{piped}");
    assert!(piped.ends_with(" cgroup=/a\\nb\\x20c\\u{202e}\n"), "{piped}");
    assert!(hostile(Some(210)).ends_with("CLOSE_WAIT 2.6s  \\x1b]0;x\\x07\n"));
}

#[test]
fn the_header_comes_again_on_a_terminal_only() {
    let record = Record::Connection(Box::new(samples::full()));
    let headers = |width| {
        let shown = rendered(width, |text, out| {
            text.start(&samples::start(), out);
            for _ in 0..100 {
                text.record(&record, out);
            }
        });
        shown
            .lines()
            .enumerate()
            .filter(|(_, l)| l.starts_with("TIME"))
            .map(|(n, _)| n)
            .collect::<Vec<_>>()
    };
    assert_eq!(headers(None), [0]);
    assert_eq!(headers(Some(80)), [0, 41, 82]);
}

#[test]
fn the_header_follows_a_summary_and_a_new_width() {
    let record = Record::Connection(Box::new(samples::full()));
    let shown = rendered(Some(80), |text, out| {
        text.record(&record, out);
        text.hosts(&[], samples::covered(Scope::Interval, samples::at(103 * S)), out);
        text.record(&record, out);
        text.resize(120);
        text.record(&record, out);
    });
    let begins: Vec<_> = shown.lines().map(|line| line.get(..13).unwrap_or(line)).collect();
    assert_eq!(
        begins,
        [
            "TIME     PROC",
            "03:12:44 ngin",
            "",
            "Remote hosts,",
            "TIME     PROC",
            "03:12:44 ngin",
            "TIME         ",
            "03:12:44.015 "
        ]
    );
}

#[test]
fn colour_marks_what_is_bad_and_nothing_else() {
    let mut out = Vec::new();
    let mut text = text(Some(80), true);
    for connection in samples::stream() {
        text.record(&Record::Connection(Box::new(connection)), &mut out);
    }
    let shown = String::from_utf8(out.to_vec()).unwrap();
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines[1].ends_with("  4.0s  \x1b[33m2.6s\x1b[0m ← closed"), "{}", lines[1]);
    assert!(!lines[2].contains('\x1b'), "{}", lines[2]);
    assert!(lines[3].ends_with("\x1b[31m  refused\x1b[0m"), "{}", lines[3]);
    assert!(lines[6].contains("  \x1b[33m3.0s\x1b[0m  4.0s"), "{}", lines[6]);
    // The text is the same without it.
    let mut plain = rendered(Some(80), |text, out| {
        for connection in samples::stream() {
            text.record(&Record::Connection(Box::new(connection)), out);
        }
    });
    plain.retain(|c| c != '\x1b');
    let mut stripped = String::new();
    for part in shown.split('\x1b') {
        let style = part.strip_prefix('[').and_then(|part| part.split_once('m'));
        stripped.push_str(style.map_or(part, |(_, rest)| rest));
    }
    assert_eq!(stripped, plain);
}

#[test]
fn who_ended_it_is_said_by_an_arrow() {
    let end = |outcome, initiator, events_lost| {
        let record = Record::Connection(Box::new(Connection {
            outcome: Some(outcome),
            close_initiator: initiator,
            events_lost,
            ..samples::full()
        }));
        let shown = rendered(Some(80), |text, out| text.record(&record, out));
        shown.lines().last().unwrap().chars().skip(71).collect::<String>()
    };
    use CloseInitiator::{Both, Local, Remote};
    for (outcome, initiator, lost, shown) in [
        (Outcome::Closed, Some(Local), false, "→ closed"),
        (Outcome::Closed, Some(Remote), false, "← closed"),
        (Outcome::Closed, Some(Both), false, "↔ closed"),
        (Outcome::Closed, Some(Both), true, "↔ closed!"),
        (Outcome::Closed, None, false, "  closed"),
        (Outcome::ResetByRemote, None, false, "← reset"),
        (Outcome::ResetByLocal, None, false, "→ reset"),
        (Outcome::Refused, None, false, "  refused"),
        (Outcome::TimedOut, Some(Local), false, "  timeout"),
        (Outcome::Unreachable, None, false, "  unreach"),
        (Outcome::Cancelled, None, false, "  cancel"),
        (Outcome::Aborted, None, true, " aborted!"),
        (Outcome::Unknown, None, true, " unknown!"),
    ] {
        assert_eq!(end(outcome, initiator, lost), shown);
    }
}

#[test]
fn where_a_slow_close_was_spent_is_said_where_there_is_room() {
    let phases = crate::core::record::Phases {
        fin_wait1: Some(MS),
        fin_wait2: Some(5 * S),
        last_ack: None,
        ..Default::default()
    };
    let record = Record::Connection(Box::new(Connection {
        phases,
        close: Some(5 * S + MS),
        ..samples::full()
    }));
    let shown = |width| rendered(Some(width), |text, out| text.record(&record, out));
    assert!(shown(140).lines().nth(1).unwrap().contains("← closed  FIN_WAIT2 5.0s"));
    assert!(!shown(80).contains("FIN_WAIT2"));
}

#[test]
fn nothing_happened() {
    let shown = rendered(Some(80), |text, out| {
        let at = samples::at(103 * S);
        text.start(&samples::start(), out);
        for scope in [Scope::Interval, Scope::SoFar] {
            text.hosts(&[], samples::covered(scope, at), out);
        }
        text.open(&[], at, out);
        text.hosts(&[], Covered { scope: Scope::Run, from: samples::at(0), at }, out);
        text.end(&End { duration: 103 * S, ..End::default() }, at, out);
    });
    assert_eq!(
        shown,
        "TIME     PROCESS       LPORT   REMOTE            HANDSHAKE  LIFE CLOSE END\n\
         \n\
         Remote hosts, 10.0s up to 03:13:43: no connection ended\n\
         \n\
         Remote hosts so far, 10.0s: no connection ended\n\
         \n\
         Open at 03:13:43: no connection\n\
         \n\
         Remote hosts, whole run of 1m43s: no connection ended\n\
         \n\
         0 connections ended in 1m43s, 0 still open\n"
    );
}

#[test]
fn syns_have_no_owner_to_filter_by() {
    let mut filters = Described::default();
    filters.values("port", ["8080"]);
    filters.values("role", ["server"]);
    let shown = |filters: &Described| {
        let mut text = text(Some(80), false).filtered(filters);
        let (mut out, at) = (Vec::new(), samples::at(103 * S));
        let [mut syns, mut died, others] = samples::hosts().try_into().expect("three");
        (syns.connections, syns.handshakes_failed) = (0, 0);
        (died.connections, died.handshakes_failed) = (0, 1);
        text.hosts(&[syns, died, others], samples::covered(Scope::Run, at), &mut out);
        text.end(&samples::end(), at, &mut out);
        String::from_utf8(out).expect("text")
    };
    let all = shown(&filters);
    assert!(all.contains("\n10.0.0.7 ") && !all.contains("everybody"), "{all}");
    filters.values("comm", ["nginx"]);
    let some = shown(&filters);
    assert!(!some.contains("10.0.0.7"), "{some}");
    assert!(some.contains("\n2001:db8:85a3:") && some.contains("\nothers "), "{some}");
    let end = "seen (12 repeated), everybody's: --comm can't apply to SYNs\n";
    assert!(some.ends_with(end), "{some}");
    let mut filters = Described::default();
    filters.values("role", ["client"]);
    let some = shown(&filters);
    assert!(some.contains("everybody's: --role client can't") && !some.contains("10.0.0.7"));
}

#[test]
fn losses_are_said_loudly() {
    let end = End {
        connections: 1,
        events_lost: 12,
        connections_evicted: 3,
        output_dropped: 1,
        syns_unparsed: Some(2),
        handshakes_failed: 1,
        ..samples::end()
    };
    assert_eq!(
        rendered(Some(80), |text, out| text.end(&end, samples::at(103 * S), out)),
        "1 connection ended in 1m43s, 3 still open, 1 handshake failed, 1300 SYNs seen\n  \
           (12 repeated)\n\
         LOST 12 of 5702 events: the ring buffer was full. Connections they belonged to\n  \
           are marked or missing; a larger --ring-size helps.\n\
         FORGOT 3 open connections: there were more than --max-connections.\n\
         DROPPED 1 record from this output: its reader was too slow. The figures above\n  \
           count them.\n\
         2 TCP packets could not be parsed (fragments, or malformed).\n"
    );
}

#[test]
fn kernel_programs_say_what_they_cost_if_it_was_counted() {
    let runs = |program: &str, runs, took| ProgramRuns { program: program.to_owned(), runs, took };
    let all = vec![runs("tracer_accept2", 0, 0), runs("tracer_state", 2000, 3 * MS)];
    let end = End { program_runs: Some(all), ..samples::end() };
    let shown = rendered(None, |text, out| text.end(&end, samples::at(103 * S), out));
    let last = shown.lines().last().unwrap();
    assert_eq!(last, "Kernel programs: 3.0ms in all; tracer_state 2000 × 1500ns");
    let end = End { program_runs: Some(Vec::new()), ..samples::end() };
    assert!(
        rendered(None, |text, out| text.end(&end, samples::at(103 * S), out))
            .ends_with("none ran\n")
    );
}

#[test]
fn a_long_list_of_open_connections_is_cut_on_a_terminal_only() {
    let many: Vec<_> =
        (0..150_u64).map(|n| OpenConnection { in_state: n * S, ..samples::stuck() }).collect();
    let list = |width| rendered(width, |text, out| text.open(&many, samples::at(0), out));
    let shown = list(Some(80));
    assert_eq!(shown.lines().count(), 2 + 100 + 1);
    assert!(shown.starts_with("Open at 03:12:00: 150 (CLOSE_WAIT 150)\n"));
    assert!(shown.ends_with("\nand 50 more; all of them when the output is no terminal\n"));
    // Longest first.
    assert!(shown.lines().nth(2).unwrap().contains(" CLOSE_WAIT     2m29s "));
    assert_eq!(list(None).lines().count(), 1 + 150);
}

#[test]
fn the_notice_at_the_start() {
    assert_eq!(
        start_notice(&samples::start(), 80, true),
        "tracer 0.1.0, kernel 6.18.5-1-amd64: tracing --port 8080 --failed\n  \
           hooks: state (tp_btf)\n  \
           SYNs: xdp generic on lo; tcx on eth0, docker0\n  \
           not attached: accept: the kernel refuses fexit (EPERM)\n  \
           not attached: syn on wlan0: another XDP program is there\n  \
           not here: server handshakes in other network namespaces come from srtt\n  \
           buffers: 4.0MB\n  \
           → this host, ← the peer: who opened, and at the end who closed first or reset;\n    \
           - not known, > ≥ at least, ≤ at most, ~ about, ! events lost\n"
    );
    // Said once where it says what is missed for want of it.
    let fexit = "fexit (accept: the kernel refuses it): no owner before that acts".to_owned();
    let addr = |text: &str| Some(text.parse().expect("an address"));
    let start = Start { cannot: vec![fexit], ..samples::start() };
    let shown = start_notice(&Start { metrics: addr("127.0.0.1:4711"), ..start }, 80, false);
    assert!(!shown.contains("attached: accept") && shown.contains("attached: syn"), "{shown}");
    assert!(shown.contains("  not here: fexit (accept: the kernel refuses it)"), "{shown}");
    assert!(shown.ends_with("\n  metrics: http://127.0.0.1:4711/metrics\n"), "{shown}");
    let shown = start_notice(&Start { metrics: addr("[::]:1"), ..samples::start() }, 80, false);
    assert!(shown.ends_with("http://[::]:1/metrics, for whoever can reach that address\n"));
    let everything = Start { filters: Described::default(), hooks: Vec::new(), ..samples::start() };
    let narrow = start_notice(&everything, 40, false);
    assert!(
        narrow.starts_with(
            "tracer 0.1.0, kernel 6.18.5-1-amd64:\n    tracing every TCP connection\n"
        )
    );
}

#[test]
fn text_is_written_fast_enough() {
    // 40,000 lines/s is what a busy host ends; even unoptimized code does it in far less.
    let record = Record::Connection(Box::new(samples::full()));
    let mut text = text(Some(160), true);
    let mut out = Vec::new();
    let began = std::time::Instant::now();
    for _ in 0..4_000 {
        text.record(&record, &mut out);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
