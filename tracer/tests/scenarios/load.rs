//! Under load: nothing lost at the default size, everything accounted for when something is.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::counters::Counters;
use crate::support::tracer::command;
use crate::support::{Check, Run, Tracer, Value, alone, load, pause, wait_until};

const CONNECTIONS: usize = 20_000;
const CLIENTS: usize = 50;

#[test]
fn twenty_thousand_connections_by_fifty_clients() {
    alone(|lab| {
        let server = load::server(lab, CLIENTS);
        let before = [&lab.a, &lab.b].map(Counters::read);
        let tracer = Tracer::start(lab, &[]);
        load::run(lab, CONNECTIONS, CLIENTS);
        let after = [&lab.a, &lab.b].map(Counters::read);
        tracer.settle(2 * CONNECTIONS, Duration::from_secs(20));
        let run = tracer.stop();
        let _ = Check::of(run.fine().end())
            .eq("events_lost", 0)
            .eq("connections", 2 * CONNECTIONS)
            .eq("open", 0);
        let by_role = |role: &str| -> Vec<&Value> {
            run.connections().into_iter().filter(|c| c["role"] == role).collect()
        };
        let (clients, servers) = (by_role("client"), by_role("server"));
        assert_eq!((clients.len(), servers.len()), (CONNECTIONS, CONNECTIONS));
        let grown = |n: usize, name: &str| after[n].get(name) - before[n].get(name);
        let total = i64::try_from(CONNECTIONS).expect("a count");
        assert_eq!(grown(0, "TcpActiveOpens"), total);
        assert_eq!(grown(1, "TcpPassiveOpens"), total);
        let here = std::process::id();
        for (records, source, pid) in [(clients, "state", here), (servers, "syn", server.pid())] {
            for record in records {
                let _ = Check::conn(record)
                    .eq("outcome", "closed")
                    .eq("handshake_source", source)
                    .within("handshake_us", 1.0..=30e6)
                    .eq("pid", pid);
            }
        }
    });
}

/// One run of the clients' side under load with a ring of this size. `stalls`: now and then nobody
/// empties it.
fn run_with_ring(lab: &crate::support::Lab, size: &str, connections: usize, stalls: bool) -> Run {
    let server = load::server(lab, CLIENTS);
    let tracer = Tracer::start(lab, &["--remote-port", "8080", "--ring-size", size]);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| load::run(lab, connections, CLIENTS));
        while stalls && !load.is_finished() {
            tracer.signal(Signal::SIGSTOP);
            pause(10);
            tracer.signal(Signal::SIGCONT);
            pause(20);
        }
    });
    // What was lost is found missing within seconds.
    pause(5_000);
    let run = tracer.stop();
    drop(server);
    run
}

#[test]
fn tiny_ring_loses_and_says_so() {
    const CONNECTIONS: usize = 10_000;
    alone(|lab| {
        let whole = run_with_ring(lab, "8M", CONNECTIONS, false);
        let sent = whole.fine().end()["events"].as_u64().expect("a count");
        assert_eq!(whole.connections().len(), CONNECTIONS);
        for record in whole.connections() {
            load::complete(record);
        }
        // A tiny ring is emptied in time, as far as anybody does.
        let run = run_with_ring(lab, "4096", CONNECTIONS, true);
        load::check_after_loss(&run, sent, CONNECTIONS);
    });
}

#[test]
fn ring_that_fills_between_two_looks_is_emptied_in_time() {
    // Twenty times the ring; nobody would look at it in time without being woken.
    const CONNECTIONS: usize = 4_000;
    alone(|lab| {
        let tracer = Tracer::start(lab, &["--ring-size", "256K"]);
        load::one_by_one(lab, CONNECTIONS);
        tracer.settle(2 * CONNECTIONS, Duration::from_secs(10));
        let run = tracer.stop();
        let _ = Check::of(run.fine().end()).eq("connections", 2 * CONNECTIONS);
    });
}

#[test]
fn reader_that_stops_for_two_seconds_loses_lines_and_no_events() {
    alone(|lab| {
        let server = load::server(lab, CLIENTS);
        let prefix = lab.prefix4();
        let mut child = command(&lab.b, &["--format", "json", "--host", &prefix])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the tracer");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the start record");
        let begin = Instant::now();
        load::run(lab, CONNECTIONS, CLIENTS);
        std::thread::sleep(Duration::from_secs(2).saturating_sub(begin.elapsed()));
        // All events are long in; now the reader goes on.
        let reader = std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).collect::<Vec<String>>()
        });
        pause(1_000);
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        kill(pid, Signal::SIGINT).expect("kill()");
        let mut status = None;
        wait_until("the tracer ends", Duration::from_secs(15), || {
            status = child.try_wait().expect("wait");
            status.is_some()
        });
        drop(server);
        let lines = reader.join().expect("the reader");
        let end: Value = serde_json::from_str(lines.last().expect("lines")).expect("JSON");
        let shown = lines.iter().filter(|l| l.starts_with("{\"type\":\"connection\"")).count();
        let dropped = end["output_dropped"].as_u64().expect("a count");
        assert!(dropped > 0, "{end}");
        let _ = Check::of(&end)
            .eq("type", "end")
            .eq("events_lost", 0)
            .eq("connections", 2 * CONNECTIONS)
            .eq("output_dropped", 2 * CONNECTIONS - shown);
        // Whole lines only.
        for line in &lines {
            serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        }
        assert_eq!(status.and_then(|s| s.code()), Some(0));
    });
}
