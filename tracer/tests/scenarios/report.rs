//! What goes out besides connection records: transitions, hosts, totals, other formats and places.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::counters::Counters;
use crate::support::sock::{Talk as _, accept};
use crate::support::tracer::command;
use crate::support::{Check, Lab, Raw, Run, Tracer, Value, pause, scenario, wait_until};

/// A connection that the client closes at once.
fn connection(lab: &Lab, listener: &std::net::TcpListener) {
    drop(lab.a.connect(listener.local_addr().expect("an address")));
    accept(listener).hear_end();
}

/// Transitions with this local port.
fn transitions(run: &Run, wanted: impl Fn(&Value) -> bool) -> Vec<(String, String)> {
    let name = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    run.all("state")
        .into_iter()
        .filter(|s| wanted(s))
        .map(|s| (name(&s["old_state"]), name(&s["new_state"])))
        .collect()
}

fn steps(states: &[&str]) -> Vec<(String, String)> {
    states.windows(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

#[test]
fn every_transition_of_both_ends() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--states"]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let mut client = lab.a.connect(lab.b4_port(8080));
        let mut server = accept(&listener);
        client.finish();
        server.hear_end();
        drop(server);
        client.hear_end();
        drop(client);
        let run = tracer.stop_after(2);
        let of_client = transitions(run.fine(), |s| s["netns"] == lab.a.inode());
        assert_eq!(
            of_client,
            steps(&["CLOSE", "SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE"])
        );
        let of_server = transitions(&run, |s| {
            s["netns"] == lab.b.inode() && s["remote_port"] == run.client()["local_port"]
        });
        assert_eq!(
            of_server,
            steps(&["LISTEN", "SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSE"])
        );
        // One cookie an end, times that never go back.
        for netns in [lab.a.inode(), lab.b.inode()] {
            let all: Vec<&Value> = run
                .all("state")
                .into_iter()
                .filter(|s| s["netns"] == netns && s["remote_port"] != 0)
                .collect();
            assert!(all.iter().all(|s| s["cookie"] == all[0]["cookie"] && s["cookie"] != 0));
            let times: Vec<&str> = all.iter().filter_map(|s| s["time"].as_str()).collect();
            assert!(times.is_sorted(), "{times:?}");
        }
    });
}

#[test]
fn without_states_there_are_none() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        connection(lab, &lab.b.listen(lab.b4_port(8080)));
        assert_eq!(tracer.stop_after(2).all("state").len(), 0);
    });
}

#[test]
fn host_rows_add_up() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--local-port", "8080"]);
        let listener = lab.b.listen(lab.b4_port(8080));
        for _ in 0..5 {
            connection(lab, &listener);
        }
        let client = lab.a.connect(lab.b4_port(8080));
        let server = accept(&listener);
        client.close_with_reset();
        let run = tracer.stop_after(6);
        drop(server);
        let host = run.fine().one("host");
        let _ = Check::of(host)
            .eq("host", lab.a4().to_string())
            .eq("connections", 6)
            .eq("failed", 1)
            .eq("resets", 1)
            .eq("timeouts", 0)
            .eq("handshakes_failed", 0)
            .eq("handshake_us/count", 6)
            // The reset one was not closed.
            .eq("close_us/count", 5);
        let times: Vec<f64> =
            run.connections().iter().filter_map(|c| c["handshake_us"].as_f64()).collect();
        let largest = times.iter().copied().fold(0.0, f64::max);
        let smallest = times.iter().copied().fold(f64::MAX, f64::min);
        let _ = Check::of(host)
            .within("handshake_us/max", largest - 1.0..=largest + 1.0)
            // A histogram may be off by a few percent.
            .within("handshake_us/p50", smallest * 0.9 - 1.0..=largest * 1.1 + 1.0)
            .within("handshake_us/p99", smallest * 0.9 - 1.0..=largest * 1.1 + 1.0);
        let _ = Check::of(run.end())
            .eq("connections", 6)
            .eq("open", 0)
            .eq("syns", 6)
            .eq("syns_repeated", 0)
            .eq("handshakes_failed", 0)
            .within("events", 24.0..=60.0)
            .within("duration_us", 1.0..=60e6);
    });
}

#[test]
fn further_hosts_share_one_row() {
    scenario(|lab| {
        let args = ["--local-port", "8080", "--top-hosts", "2"];
        let tracer = Tracer::start(lab, &args);
        let listener = lab.b.listen(lab.b4_port(8080));
        for (host, connections) in [(71, 3), (72, 2), (73, 1), (74, 1)] {
            let from = lab.other4(host);
            lab.a.sh(&format!("ip addr add {from}/24 dev va"));
            for _ in 0..connections {
                let from = std::net::SocketAddr::new(from.into(), 0);
                let client = lab
                    .a
                    .try_connect(lab.b4_port(8080), |s| s.bind(&from.into()).expect("bind()"))
                    .expect("connect()");
                drop(client);
                accept(&listener).hear_end();
            }
        }
        let run = tracer.stop_after(7);
        let rows: Vec<(String, u64)> = run
            .fine()
            .all("host")
            .iter()
            .map(|h| {
                let name = h["host"].as_str().unwrap_or("?").to_owned();
                (name, h["connections"].as_u64().unwrap_or(0))
            })
            .collect();
        assert_eq!(
            rows,
            [
                (lab.other4(71).to_string(), 3),
                (lab.other4(72).to_string(), 2),
                ("others".to_owned(), 2)
            ]
        );
    });
}

#[test]
fn interval_reports_have_the_figures_of_their_interval() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--local-port", "8080", "--interval", "1"]);
        let listener = lab.b.listen(lab.b4_port(8080));
        connection(lab, &listener);
        connection(lab, &listener);
        let first = |r: &Value| r["type"] == "host" && r["connections"] == 2;
        tracer.wait_for(1, Duration::from_secs(4), first);
        connection(lab, &listener);
        let second = |r: &Value| r["type"] == "host" && r["connections"] == 1;
        tracer.wait_for(1, Duration::from_secs(4), second);
        let run = tracer.stop();
        let hosts = run.fine().all("host");
        let _ = Check::of(hosts[0]).eq("scope", "interval").within("interval_us", 900e3..=2e6);
        // Both are placed in time: an interval ends where its figures were taken.
        let all = [run.one("start"), hosts[0], hosts[1], run.end()];
        let times = all.map(|record| record["time"].as_str().expect("a time"));
        assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
        // At the end: the whole run.
        let last = hosts.last().expect("rows");
        let _ = Check::of(last)
            .eq("connections", 3)
            .eq("scope", "run")
            .eq("time", times[3])
            .within("interval_us", 1e6..=60e6);
    });
}

#[test]
fn count_ends_the_run() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--local-port", "8080", "--count", "2"]);
        let listener = lab.b.listen(lab.b4_port(8080));
        for _ in 0..2 {
            connection(lab, &listener);
        }
        let run = tracer.finish();
        assert_eq!(run.fine().connections().len(), 2);
    });
}

#[test]
fn duration_ends_the_run() {
    scenario(|lab| {
        let begin = std::time::Instant::now();
        let run = Tracer::start(lab, &["--duration", "1"]).finish();
        assert!(begin.elapsed() >= Duration::from_secs(1));
        let _ = Check::of(run.fine().end()).within("duration_us", 1e6..=2e6);
    });
}

#[test]
fn start_record_says_what_is_attached_and_what_is_filtered() {
    scenario(|lab| {
        let run = Tracer::start(lab, &["--port", "8080", "-4"]).stop();
        let start = run.fine().start();
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("osrelease");
        let _ =
            Check::of(start).eq("kernel", release.trim()).eq("version", env!("CARGO_PKG_VERSION"));
        assert!(start["filters"].to_string().contains("8080"), "{start}");
        let hooks = start["hooks"].as_array().expect("hooks");
        let state =
            hooks.iter().find(|h| h["name"] == "inet_sock_set_state").expect("the state hook");
        let _ = Check::of(state).eq("attached", true).eq("mode", "tp_btf");
        for device in ["lo", "vb"] {
            let hook = hooks
                .iter()
                .find(|h| h["name"] == "syn" && h["interface"] == device)
                .unwrap_or_else(|| panic!("no SYN hook on {device}: {start}"));
            let _ = Check::of(hook).eq("attached", true);
            assert!(hook["reason"].is_string(), "{hook}");
        }
    });
}

#[test]
fn output_file_is_reopened_on_sighup() {
    scenario(|lab| {
        let dir = std::env::temp_dir().join(format!("tracer-scenario-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("make a directory");
        let (file, moved) = (dir.join("out.jsonl"), dir.join("old.jsonl"));
        let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
        let prefix = lab.prefix4();
        let mut cmd = command(&lab.b, &["--format", "json", "--host", &prefix]);
        cmd.args(["--local-port", "8080", "--output"]).arg(&file);
        let tracer = Tracer::spawn(&mut cmd);
        let contains = |path: &std::path::Path, what: &str| read(path).contains(what);
        wait_until("it traces", Duration::from_secs(10), || contains(&file, "\"start\""));
        let listener = lab.b.listen(lab.b4_port(8080));
        connection(lab, &listener);
        wait_until("a record", Duration::from_secs(3), || contains(&file, "\"connection\""));
        std::fs::rename(&file, &moved).expect("rename");
        tracer.signal(Signal::SIGHUP);
        wait_until("a new file", Duration::from_secs(3), || file.exists());
        connection(lab, &listener);
        wait_until("a record", Duration::from_secs(3), || contains(&file, "\"connection\""));
        let run = tracer.stop();
        assert!(run.status.success() && run.records.is_empty(), "{}", run.dump());
        assert_eq!(read(&moved).matches("\"type\":\"connection\"").count(), 1);
        assert_eq!(read(&file).matches("\"type\":\"connection\"").count(), 1);
        assert_eq!(read(&file).matches("\"type\":\"end\"").count(), 1);
        std::fs::remove_dir_all(&dir).expect("tidy up");
    });
}

#[test]
fn a_text_file_made_on_sighup_begins_with_the_names_of_the_columns() {
    scenario(|lab| {
        let dir = tempfile::TempDir::new().expect("a directory");
        let (file, moved) = (dir.path().join("out.txt"), dir.path().join("old.txt"));
        let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
        let mut cmd = command(&lab.b, &["--netns", "self", "--output"]);
        let tracer = Tracer::spawn(cmd.arg(&file));
        wait_until("it traces", Duration::from_secs(10), || read(&file).ends_with('\n'));
        let titles = read(&file);
        assert!(titles.contains(" REMOTE ") && titles.lines().count() == 1, "{titles}");
        std::fs::rename(&file, &moved).expect("rename");
        tracer.signal(Signal::SIGHUP);
        wait_until("a new file", Duration::from_secs(3), || read(&file) == titles);
        let listener = lab.b.listen(lab.b4_port(8080));
        connection(lab, &listener);
        wait_until("a line", Duration::from_secs(3), || read(&file).lines().count() > 1);
        let run = tracer.stop();
        assert!(run.status.success(), "{}", run.dump());
        assert_eq!(read(&moved), titles);
        assert_eq!(read(&file).matches(" REMOTE ").count(), 1, "{}", read(&file));
    });
}

#[test]
fn text_names_what_a_person_looks_for() {
    scenario(|lab| {
        let prefix = lab.prefix4();
        let mut cmd = command(&lab.b, &["--host", &prefix, "--local-port", "8080"]);
        let tracer = Tracer::spawn(&mut cmd);
        let listener = lab.b.listen(lab.b4_port(8080));
        // There is no start record to wait for.
        wait_until("a line about a connection", Duration::from_secs(10), || {
            connection(lab, &listener);
            pause(150);
            tracer.records().iter().any(|line| line.to_string().contains("closed"))
        });
        let run = tracer.stop();
        assert!(run.status.success(), "{}", run.dump());
        let text = run.text();
        assert!(!text.contains('\u{1b}'), "colour without a terminal: {text}");
        let comm = std::fs::read_to_string("/proc/self/comm").expect("comm");
        for needle in [lab.a4().to_string().as_str(), "8080", "closed", "µs", comm.trim()] {
            assert!(text.contains(needle), "no {needle:?} in\n{text}");
        }
    });
}

#[test]
fn the_kernels_own_counters_agree() {
    scenario(|lab| {
        let before = [&lab.a, &lab.b].map(Counters::read);
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        for _ in 0..7 {
            connection(lab, &listener);
        }
        for _ in 0..3 {
            lab.a.try_connect(lab.b4_port(9), |_| ()).expect_err("nobody listens");
        }
        for _ in 0..4 {
            let client = lab.a.connect(lab.b4_port(8080));
            let server = accept(&listener);
            client.close_with_reset();
            pause(5);
            drop(server);
        }
        let raw = Raw::new(lab);
        for _ in 0..2 {
            let mut peer = raw.client(lab.b4_port(8080));
            peer.send(crate::support::raw::SYN, b"");
            peer.expect("SYN-ACK", |s| s.is(crate::support::raw::SYN | crate::support::raw::ACK));
            peer.reset();
        }
        let run = tracer.stop_after(7 * 2 + 3 + 4 * 2);
        let after = [&lab.a, &lab.b].map(Counters::read);
        let grown = |name: &str| -> [i64; 2] {
            std::array::from_fn(|n| after[n].get(name) - before[n].get(name))
        };
        let count = |netns: u64, wanted: &dyn Fn(&Value) -> bool| {
            let all = run.connections().into_iter();
            i64::try_from(all.filter(|c| c["netns"] == netns && wanted(c)).count())
                .expect("a count")
        };
        let counts = |wanted: &dyn Fn(&Value) -> bool| {
            [count(lab.a.inode(), wanted), count(lab.b.inode(), wanted)]
        };
        assert_eq!(counts(&|c| c["role"] == "client"), grown("TcpActiveOpens"));
        assert_eq!(counts(&|c| c["role"] == "server"), grown("TcpPassiveOpens"));
        // From ESTABLISHED or CLOSE_WAIT to CLOSE.
        assert_eq!(
            counts(&|c| c["outcome"] == "reset_by_local" || c["outcome"] == "reset_by_remote"),
            grown("TcpEstabResets")
        );
        // From SYN_SENT or SYN_RECV to CLOSE; and on b those that never became a socket.
        let failed = run.fine().end()["handshakes_failed"].as_i64().expect("a count");
        assert_eq!([counts(&|c| c["outcome"] == "refused")[0], failed], grown("TcpAttemptFails"));
    });
}
