//! `--otlp`: a receiver is told what the report says, and what becomes of a receiver is no trouble
//! of tracing.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::owner::cgroup_connection;
use crate::support::alert::CLEAR;
use crate::support::flood::{Flood, swallow_answers};
use crate::support::otlp::{Log, Metrics, Receiver};
use crate::support::scrape::TOTALS;
use crate::support::sock::{Talk as _, accept, listen_here};
use crate::support::tracer::command;
use crate::support::{Child, Lab, Run, Tracer, Value, ms, pause, scenario, wait_until};

/// Fields of a `connection` record and the attributes that say the same.
const SAME: &[(&str, &str)] = &[
    ("local_addr", "network.local.address"),
    ("local_port", "network.local.port"),
    ("remote_addr", "network.peer.address"),
    ("remote_port", "network.peer.port"),
    ("netns", "tracer.netns"),
    ("role", "tracer.role"),
    ("pid", "process.pid"),
    ("comm", "process.executable.name"),
    ("cgroup", "tracer.cgroup"),
    ("container", "container.id"),
    ("handshake_us", "tracer.handshake.duration"),
    ("handshake_source", "tracer.handshake.source"),
    ("synack_rtt_us", "tracer.handshake.rtt"),
    ("syn_retransmits", "tracer.syn.retransmits"),
    ("synack_retransmits", "tracer.synack.retransmits"),
    ("accept_wait_us", "tracer.accept.duration"),
    ("established_us", "tracer.phase.established"),
    ("close_initiator", "tracer.close.initiator"),
    ("close_us", "tracer.close.duration"),
    ("time_wait", "tracer.time_wait"),
    ("outcome", "tracer.outcome"),
    ("bytes_sent", "tracer.bytes.sent"),
    ("bytes_received", "tracer.bytes.received"),
    ("retransmits", "tracer.retransmits"),
    ("rtt_us", "tracer.rtt"),
    ("observed_from", "tracer.observed_from"),
    ("events_lost", "tracer.events_lost"),
];

/// Checks a log against the record of the same connection.
#[track_caller]
fn check(record: &Value, log: &Log) {
    for (field, attribute) in SAME {
        let (said, sent) = (&record[field], log.get(*attribute));
        let same = match (said, sent) {
            (Value::Null, None) => true,
            (said, Some(sent)) if field.ends_with("_us") => {
                sent.as_f64().map(|seconds| (seconds * 1e6).round()) == said.as_f64()
            }
            (said, sent) => sent == Some(said),
        };
        assert!(same, "{field} is {said}, {attribute} is {sent:?}\n{record}\n{log}");
    }
    let failed = record["outcome"] != "closed";
    assert_eq!(log.get("error.type"), failed.then_some(&record["outcome"]), "{log}");
    assert_eq!(log["severity"], if failed { "WARN" } else { "INFO" });
    assert_eq!(log["network.transport"], "tcp");
    let time = |field: &str| {
        let time: jiff::Timestamp = record[field].as_str().unwrap().parse().unwrap();
        time.as_microsecond()
    };
    assert_eq!(log["time_ns"].as_i64().map(|ns| ns / 1000), Some(time("time_end")));
    let duration = log["tracer.duration"].as_f64().unwrap() * 1e6;
    assert!((duration - (time("time_end") - time("time_start")) as f64).abs() <= 2.0, "{log}");
}

/// Checks that the logs of connections are the report's records, each once.
#[track_caller]
pub(crate) fn check_all(run: &Run, receiver: &Receiver) {
    let logs = receiver.logs();
    let mut logs: Vec<&Log> =
        logs.iter().filter(|log| log["event_name"] == "tracer.connection").collect();
    let records = run.connections();
    assert_eq!(logs.len(), records.len(), "{}", run.dump());
    for record in records {
        let of = |log: &&Log| {
            ["local_addr", "local_port", "remote_addr", "remote_port", "netns"].iter().all(
                |field| {
                    let attribute = SAME.iter().find(|(of, _)| of == field).unwrap().1;
                    log[attribute] == record[field]
                },
            ) && log["tracer.role"] == record["role"]
        };
        let place = logs.iter().position(of).unwrap_or_else(|| panic!("no log of {record}"));
        check(record, logs.swap_remove(place));
    }
}

/// Checks that the metrics give the totals of the `end` record, and nothing for what is null there.
#[track_caller]
pub(crate) fn totals_agree(end: &Value, metrics: &Metrics) {
    for (field, name) in TOTALS {
        let name = format!("tracer.{name}");
        match end[*field].as_u64() {
            Some(total) => assert_eq!(metrics.sum(&name, &[]), total, "{name}: {end}"),
            None => assert!(!metrics.has(&name), "{name}: {end}"),
        }
    }
}

fn with_otlp<'a>(endpoint: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    [&["--otlp", endpoint, "--otlp-interval", "0.5"], args].concat()
}

/// Connections that the client closes.
fn closed(lab: &Lab, listener: &TcpListener, n: usize) {
    let addr = listener.local_addr().expect("an address");
    for _ in 0..n {
        let mut client = lab.a.connect(addr);
        let mut server = accept(listener);
        client.say(b"what");
        server.hear(4);
        drop(client);
        server.hear_end();
    }
}

#[test]
fn a_receiver_is_told_what_the_report_says() {
    scenario(|lab| {
        let receiver = Receiver::start(lab);
        let endpoint = receiver.endpoint();
        let tracer = Tracer::start(lab, &with_otlp(&endpoint, &["--otlp-header", "tenant=me"]));
        let listener = lab.b.listen(lab.b4_port(8080));
        closed(lab, &listener, 5);
        let client = lab.a.connect(lab.b4_port(8080));
        let server = accept(&listener);
        client.close_with_reset();
        let v6 = lab.b.listen((lab.b6(), 8081).into());
        closed(lab, &v6, 1);
        assert!(lab.a.try_connect(lab.b4_port(9), |_| ()).is_err());
        tracer.wait_connections(15);
        drop(server);
        let run = tracer.stop();
        run.fine();
        check_all(&run, &receiver);
        assert_eq!(run.stderr.matches("OTLP").count(), 0, "{}", run.stderr);
        let requests = receiver.requests();
        assert!(requests.iter().all(|one| one.header("tenant") == Some("me")));
        assert!(requests.iter().all(|one| one.header("content-encoding").is_none()));

        let metrics = receiver.metrics();
        totals_agree(run.end(), &metrics);
        let records = run.connections();
        for outcome in ["closed", "reset_by_remote", "reset_by_local", "refused", "timed_out"] {
            let count = records.iter().filter(|record| record["outcome"] == outcome).count();
            assert_eq!(metrics.sum("tracer.connections", &[("outcome", outcome)]), count as u64);
        }
        for (metric, field) in [("tracer.handshake", "handshake_us"), ("tracer.close", "close_us")]
        {
            let took: Vec<f64> =
                records.iter().filter_map(|record| record[field].as_f64()).collect();
            let points = metrics.histogram(metric);
            assert_eq!(points.iter().map(|point| point.count).sum::<u64>(), took.len() as u64);
            let sum: f64 = points.iter().filter_map(|point| point.sum).sum();
            let wanted = took.iter().sum::<f64>() / 1e6;
            assert!((sum - wanted).abs() <= took.len() as f64 * 1e-6, "{metric}: {sum}, {wanted}");
        }
        let sent: u64 = records.iter().filter_map(|record| record["bytes_sent"].as_u64()).sum();
        assert_eq!(metrics.sum("tracer.bytes", &[("direction", "sent")]), sent);
        assert_eq!(metrics.sum("tracer.otlp_records", &[("result", "dropped")]), 0);
    });
}

#[test]
fn only_what_the_report_shows_is_sent_as_logs() {
    scenario(|lab| {
        let receiver = Receiver::start(lab);
        let endpoint = receiver.endpoint();
        let args = with_otlp(&endpoint, &["--failed", "--otlp-compression", "gzip"]);
        let tracer = Tracer::start(lab, &args);
        closed(lab, &lab.b.listen(lab.b4_port(8080)), 3);
        assert!(lab.a.try_connect(lab.b4_port(9), |_| ()).is_err());
        let run = tracer.stop_after(1);
        let logs = receiver.logs();
        assert_eq!(logs.len(), run.fine().connections().len());
        assert!(logs.iter().all(|log| log["error.type"] == "refused"), "{logs:?}");
        // The figures count all.
        assert_eq!(run.end()["connections"], receiver.metrics().sum("tracer.connections", &[]));
        let gzip =
            |one: &crate::support::otlp::Request| one.header("content-encoding") == Some("gzip");
        assert!(receiver.requests().iter().all(gzip));
    });
}

#[test]
fn hostile_names_arrive_as_utf8() {
    scenario(|lab| {
        let receiver = Receiver::start(lab);
        let endpoint = receiver.endpoint();
        let name = format!("tracer-\u{1b}[31m\"'{{\u{202e}-{}", std::process::id());
        let (tracer, server, _cgroup) = cgroup_connection(lab, &name, &with_otlp(&endpoint, &[]));
        tracer.wait_connections(2);
        server.join();
        let addr = lab.b4_port(8081);
        let mut other = Child::start(&lab.b, "later", move |control| {
            // SAFETY: NUL-terminated.
            unsafe { libc::prctl(libc::PR_SET_NAME, c"a\xff\x1b[0m\n\xfe".as_ptr()) };
            let listener = listen_here(addr, 16, |_| ());
            control.done();
            accept(&listener).hear_end();
        });
        other.wait_done();
        drop(lab.a.connect(addr));
        let run = tracer.stop_after(4);
        other.join();
        check_all(run.fine(), &receiver);
        let logs = receiver.logs();
        let path = format!("/{name}");
        assert!(logs.iter().any(|log| log["tracer.cgroup"] == path), "{logs:?}");
        let comm = "a\u{fffd}\u{1b}[0m\n\u{fffd}";
        assert!(logs.iter().any(|log| log["process.executable.name"] == comm), "{logs:?}");
    });
}

#[test]
fn stuck_connections_and_transitions_are_told() {
    scenario(|lab| {
        let receiver = Receiver::start(lab);
        let endpoint = receiver.endpoint();
        let args = with_otlp(&endpoint, &["--stuck-after", "CLOSE_WAIT=1", "--states"]);
        let tracer = Tracer::start(lab, &args);
        let listener = lab.b.listen(lab.b4_port(8080));
        let client = lab.a.connect(lab.b4_port(8080));
        let server = accept(&listener);
        drop(client);
        tracer.wait_for(1, Duration::from_secs(6), |r| r["type"] == "stuck");
        drop(server);
        let run = tracer.stop_after(2);
        let logs = receiver.logs();
        let of = |event: &str| -> Vec<&Log> {
            logs.iter().filter(|log| log["event_name"] == event).collect()
        };
        let stuck = of("tracer.stuck");
        assert_eq!(stuck.len(), run.fine().all("stuck").len());
        assert_eq!(stuck[0]["network.connection.state"], "close_wait");
        let us = run.all("stuck")[0]["state_us"].as_f64();
        assert_eq!(stuck[0]["tracer.state.duration"].as_f64().map(|s| (s * 1e6).round()), us);
        assert_eq!(of("tracer.state").len(), run.all("state").len());
        check_all(&run, &receiver);
    });
}

#[test]
fn a_flood_is_told() {
    scenario(|lab| {
        let receiver = Receiver::start(lab);
        let endpoint = receiver.endpoint();
        swallow_answers(lab);
        let _listener = lab.b.listen(lab.b4_port(8080));
        let tracer = Tracer::start(lab, &with_otlp(&endpoint, &CLEAR));
        pause(500);
        Flood::new(lab.b4_port(8080), 4_000, 1_000).run(lab);
        tracer.let_floods_end();
        let run = tracer.stop();
        let logs = receiver.logs();
        let floods: Vec<&Log> =
            logs.iter().filter(|log| log["event_name"] == "tracer.flood").collect();
        let records = run.fine().all("flood");
        assert!(records.len() >= 2, "{}", run.dump());
        assert_eq!(floods.len(), records.len());
        for (log, record) in floods.iter().zip(&records) {
            assert_eq!(log["tracer.alert.event"], record["event"]);
            assert_eq!(log["tracer.alert.verdict"], record["verdict"]);
            assert_eq!(log["tracer.alert.severity"], record["severity"]);
            assert_eq!(log["tracer.alert.since"], record["since"]);
            assert_eq!(log["tracer.syn.count"], record["syn_count"]);
            assert_eq!(log["network.local.address"], record["listener"]["addr"]);
            assert_eq!(log["network.local.port"], record["listener"]["port"]);
        }
        let metrics = receiver.metrics();
        assert_eq!(metrics.sum("tracer.floods", &[]), 1);
        assert_eq!(run.end()["syns"], metrics.sum("tracer.syn", &[]));
    });
}

#[test]
fn what_was_not_taken_is_sent_again() {
    scenario(|lab| {
        // Logs and metrics alike.
        let receiver =
            Receiver::answering(lab, |number, _| Some([503, 429, 504, 200][number.min(3)]));
        let endpoint = receiver.endpoint();
        let tracer = Tracer::start(lab, &with_otlp(&endpoint, &[]));
        let listener = lab.b.listen(lab.b4_port(8080));
        closed(lab, &listener, 3);
        wait_until("a request is taken", Duration::from_secs(15), || receiver.requests().len() > 3);
        closed(lab, &listener, 3);
        let run = tracer.stop_after(12);
        check_all(run.fine(), &receiver);
        assert_eq!(receiver.metrics().sum("tracer.connections", &[]), 12);
        assert!(receiver.metrics().sum("tracer.otlp_failures", &[]) >= 3);
        // Said once, and once more when it was over.
        assert_eq!(run.stderr.matches("OTLP").count(), 2, "{}", run.stderr);
        assert!(run.stderr.contains("takes data again"), "{}", run.stderr);
    });
}

#[test]
fn what_is_refused_is_counted() {
    scenario(|lab| {
        let receiver =
            Receiver::answering(lab, |_, path| Some(if path == "/v1/logs" { 404 } else { 200 }));
        let endpoint = receiver.endpoint();
        let tracer = Tracer::start(lab, &with_otlp(&endpoint, &[]));
        closed(lab, &lab.b.listen(lab.b4_port(8080)), 3);
        tracer.wait_connections(6);
        let counted =
            || receiver.metrics().sum("tracer.otlp_records", &[("result", "rejected")]) == 6;
        let metrics = || receiver.requests().iter().any(|one| one.path == "/v1/metrics");
        wait_until("metrics are there", Duration::from_secs(5), metrics);
        wait_until("they are counted", Duration::from_secs(10), counted);
        let run = tracer.stop();
        run.fine();
        assert!(run.stderr.contains("refuses logs: 404"), "{}", run.stderr);
        assert!(run.stderr.contains("6 of 6 records did not arrive"), "{}", run.stderr);
        assert_eq!(run.stderr.matches("OTLP").count(), 2, "{}", run.stderr);
    });
}

#[test]
fn a_receiver_that_never_answers_holds_nothing_up() {
    scenario(|lab| {
        let receiver = Receiver::answering(lab, |_, _| None);
        let endpoint = receiver.endpoint();
        let tracer = Tracer::start(lab, &with_otlp(&endpoint, &[]));
        let listener = lab.b.listen(lab.b4_port(8080));
        let begin = Instant::now();
        for _ in 0..10 {
            closed(lab, &listener, 20);
            tracer.wait_for(1, ms(1000), |r| r["type"] == "connection");
        }
        tracer.wait_connections(400);
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
        let asked = Instant::now();
        let run = tracer.stop();
        // Five seconds are given to the receiver.
        assert!(asked.elapsed() < Duration::from_secs(12), "{:?}", asked.elapsed());
        assert_eq!(run.fine().end()["connections"], 400);
        assert!(run.stderr.contains("400 of 400 records did not arrive"), "{}", run.stderr);
        assert!(run.stderr.contains("400 not taken before the end"), "{}", run.stderr);
    });
}

#[test]
fn an_endpoint_that_is_not_there_is_said_once() {
    scenario(|lab| {
        let endpoint = "http://127.0.0.1:1";
        let tracer = Tracer::start(lab, &with_otlp(endpoint, &[]));
        closed(lab, &lab.b.listen(lab.b4_port(8080)), 3);
        tracer.wait_connections(6);
        // Several tries.
        pause(3000);
        let asked = Instant::now();
        let run = tracer.stop();
        assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
        assert_eq!(run.fine().end()["connections"], 6);
        assert_eq!(run.stderr.matches("it is tried again").count(), 1, "{}", run.stderr);
        assert!(run.stderr.contains("6 of 6 records did not arrive"), "{}", run.stderr);
    });
}

#[test]
fn an_endpoint_that_comes_later_gets_everything() {
    scenario(|lab| {
        let endpoint = "http://127.0.0.1:4318";
        let tracer = Tracer::start(lab, &with_otlp(endpoint, &[]));
        closed(lab, &lab.b.listen(lab.b4_port(8080)), 3);
        tracer.wait_connections(6);
        wait_until("it is said", Duration::from_secs(10), || {
            tracer.stderr().contains("it is tried again")
        });
        let receiver = Receiver::at(lab, 4318);
        wait_until("all is there", Duration::from_secs(20), || receiver.logs().len() == 6);
        let run = tracer.stop();
        check_all(run.fine(), &receiver);
    });
}

#[test]
fn an_endpoint_that_can_not_be_is_refused_at_once() {
    scenario(|lab| {
        for (endpoint, wanted) in [
            ("localhost:4318", "http://HOST:4318"),
            ("http://localhost:4318/v1/logs", "/v1/logs"),
            ("grpc://localhost:4317", "http://HOST:4318"),
        ] {
            let out = command(&lab.b, &["--otlp", endpoint]).output().expect("run");
            let said = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(2), "{said}");
            assert!(said.contains(wanted), "{said}");
        }
        let mut command = command(&lab.b, &["--otlp", "https://localhost:4318", "--iface", "none"]);
        command.env("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent/ca.pem");
        let out = command.output().expect("run");
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert!(said.contains("OTEL_EXPORTER_OTLP_CERTIFICATE: /nonexistent/ca.pem"), "{said}");
    });
}
