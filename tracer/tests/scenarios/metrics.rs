//! `--metrics`: the figures of a run, scraped as Prometheus does, while others do their worst.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::alert::CLEAR;
use crate::support::flood::{Flood, swallow_answers};
use crate::support::scrape::{PORT, TOTALS, ask, endpoint, scrape, sum, total};
use crate::support::tracer::{binary, command};
use crate::support::{
    Check, Lab, Run, Tracer, Value, alone, load, pause, scenario, unique, wait_until,
};

/// Resident memory of a process, KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc/PID/status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

#[test]
fn the_figures_are_those_of_the_records() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--metrics", "9464", "--local-port", "8080,8081"]);
        let empty = scrape(&lab.b);
        // What is known to come is there from the beginning.
        let closed = "tracer_connections_total{role=\"server\",outcome=\"closed\"} ";
        assert_eq!(sum(&empty, closed), Some(0.0));
        let handshakes = "tracer_handshake_seconds_count{role=\"server\",local_port=\"8080\"} ";
        assert_eq!(sum(&empty, handshakes), Some(0.0));
        load::one_by_one(lab, 25);
        let refused = lab.a.try_connect(lab.b4_port(8081), |_| ());
        assert!(refused.is_err());
        tracer.wait_connections(25);
        wait_until("the figures follow", Duration::from_secs(5), || {
            sum(&scrape(&lab.b), closed) == Some(25.0)
        });
        let text = scrape(&lab.b);
        let of =
            |prefix: &str| sum(&text, prefix).unwrap_or_else(|| panic!("no {prefix} in\n{text}"));
        let run = tracer.stop();
        let end = run.fine().end();
        for (field, name) in TOTALS {
            assert_eq!(Some(total(&text, name)), end[*field].as_f64(), "{name}: {end}\n{text}");
        }
        assert_eq!(of("tracer_syn_total "), 26.0);
        assert_eq!(of(handshakes), 25.0);
        let seconds = |field: &str| -> f64 {
            let us = run.connections().into_iter().filter_map(|record| record[field].as_f64());
            us.sum::<f64>() / 1e6
        };
        let near = |prefix: &str, seconds: f64| {
            // Each record's microseconds are cut off.
            assert!((of(prefix) - seconds).abs() < 3e-5, "{prefix}: {seconds}\n{text}");
        };
        near("tracer_handshake_seconds_sum{", seconds("handshake_us"));
        near("tracer_accept_wait_seconds_sum{", seconds("accept_wait_us"));
        near("tracer_close_seconds_sum{", seconds("close_us"));
        let phases: f64 = ["fin_wait1", "fin_wait2", "close_wait", "closing", "last_ack"]
            .into_iter()
            .map(|phase| {
                let records = run.connections().into_iter();
                records.filter_map(|r| r["phases_us"][phase].as_f64()).sum::<f64>() / 1e6
            })
            .sum();
        assert!((of("tracer_close_phase_seconds_sum{") - phases).abs() < 1e-4, "{phases}\n{text}");
        // Every hook, as the start record has it.
        let hooks = run.start()["hooks"].as_array().expect("hooks");
        let attached = hooks.iter().filter(|hook| hook["attached"] == true).count();
        assert_eq!(of("tracer_hook_attached{"), attached as f64);
        assert_eq!(of("tracer_hook_attached{hook=\"syn\""), 2.0);
        assert!(sum(&text, "tracer_hook_runs_total").is_none(), "nobody asked for it");
        assert!(of("process_resident_memory_bytes ") > 1e6);
        assert_eq!(of("tracer_build_info{version="), 1.0);
    });
}

#[test]
fn with_hook_stats_every_program_says_what_it_costs() {
    scenario(|lab| {
        let args = ["--metrics", ":9464", "--local-port", "8080", "--hook-stats"];
        let tracer = Tracer::start(lab, &args);
        load::one_by_one(lab, 20);
        let state = "tracer_hook_runs_total{program=\"tracer_state\"} ";
        wait_until("the runs are counted", Duration::from_secs(5), || {
            sum(&scrape(&lab.b), state).is_some_and(|runs| runs >= 100.0)
        });
        let text = scrape(&lab.b);
        let took = sum(&text, "tracer_hook_run_seconds_total{program=\"tracer_state\"} ");
        let took = took.expect("a time");
        assert!((1e-6..1.0).contains(&took), "{took}");
        let run = tracer.stop_after(20);
        let programs = run.fine().end()["program_runs"].as_array().expect("program_runs");
        let state = programs.iter().find(|program| program["program"] == "tracer_state");
        let _ = Check::of(state.expect("tracer_state"))
            .within("runs", 100.0..=1e9)
            .within("took_us", 1.0..=1e6);
        assert!(run.stderr.contains("every BPF program on this host"), "{}", run.stderr);
    });
}

#[test]
fn a_port_that_is_taken_is_an_error_that_says_so() {
    scenario(|lab| {
        let _taken = lab.b.listen(endpoint());
        for (at, words) in [
            ("9464", ["127.0.0.1:9464", "listens there already", "another port"]),
            ("192.0.2.1:9464", ["192.0.2.1:9464", "no interface", "ip addr"]),
        ] {
            let args = ["--metrics", at, "--duration", "2", "--iface", "lo"];
            let out = command(&lab.b, &args).output().expect("start the tracer");
            let stderr = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(1), "{stderr}");
            for word in words {
                assert!(stderr.contains(word), "no {word:?} in: {stderr}");
            }
        }
    });
}

#[test]
fn an_address_for_all_is_said_and_served() {
    scenario(|lab| {
        let at = lab.b4_port(PORT).to_string();
        let tracer = Tracer::start(lab, &["--metrics", &at, "--log-level", "info"]);
        lab.a.run(|| TcpStream::connect(lab.b4_port(PORT)).expect("from the other host"));
        lab.b.run(|| TcpStream::connect(endpoint()).expect_err("not on the loopback"));
        let run = tracer.stop();
        assert!(run.fine().stderr.contains("for everyone who can reach"), "{}", run.stderr);
    });
}

#[test]
fn a_hostile_interface_name_is_a_label_like_any_other() {
    const NAME: &str = "q\"u\\o{\u{1b}[2J";
    scenario(|lab| {
        let ip = |args: &[&str]| {
            let out = lab.b.command("ip").args(args).output().expect("ip");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        };
        ip(&["link", "add", "name", NAME, "type", "veth", "peer", "name", "other"]);
        ip(&["link", "set", NAME, "up"]);
        let tracer = Tracer::start(lab, &["--metrics", "9464"]);
        let text = scrape(&lab.b);
        let program = "import sys\n\
            from prometheus_client.openmetrics.parser import text_string_to_metric_families as r\n\
            for f in r(sys.stdin.buffer.read().decode()):\n\
            \tfor s in f.samples:\n\
            \t\tif s.name == 'tracer_hook_attached': print(repr(s.labels.get('interface')))";
        let mut child = std::process::Command::new("/usr/bin/python3")
            .args(["-c", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        child.stdin.take().expect("stdin").write_all(text.as_bytes()).expect("write");
        let out = child.wait_with_output().expect("python3");
        let names = String::from_utf8_lossy(&out.stdout);
        assert!(names.contains(r#"'q"u\\o{\x1b[2J'"#), "{names}\n{text}");
        let _ = tracer.stop().fine();
    });
}

/// Makes trouble at the endpoint until it is told to stop; how many connections that took.
fn trouble(lab: &Lab, stop: &AtomicBool, made: &AtomicU64) {
    let huge = vec![b'x'; 1 << 20];
    lab.b.run(|| {
        let mut held = Vec::new();
        let mut turn = 0_u32;
        while !stop.load(Ordering::Relaxed) {
            turn += 1;
            let Ok(mut stream) = TcpStream::connect_timeout(&endpoint(), Duration::from_secs(1))
            else {
                continue;
            };
            made.fetch_add(1, Ordering::Relaxed);
            let _ = stream.set_write_timeout(Some(Duration::from_millis(20)));
            let _ = match turn % 5 {
                // Says nothing; says half of it; never reads; says far too much; is not HTTP.
                0 => Ok(()),
                1 => stream.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: "),
                2 => stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
                3 => stream
                    .write_all(b"GET / HTTP/1.1\r\nX: ")
                    .and_then(|()| stream.write_all(&huge)),
                _ => stream.write_all(&huge[..4096]),
            };
            held.push(stream);
            if held.len() > 500 {
                held.drain(..250);
            }
        }
    });
}

#[test]
fn hostile_scrapers_hold_nothing_up() {
    const CONNECTIONS: usize = 10_000;
    alone(|lab| {
        let _server = load::server(lab, 20);
        let tracer = Tracer::start(lab, &["--metrics", "9464", "--local-port", "8080"]);
        load::run(lab, 100, 20);
        tracer.wait_connections(100);
        let before = resident(tracer.pid());
        let (stop, made) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut slowest = Duration::ZERO;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| trouble(lab, &stop, &made));
            }
            let work = scope.spawn(|| load::run(lab, CONNECTIONS, 20));
            // And one that means well.
            let begin = Instant::now();
            while !work.is_finished() || begin.elapsed() < Duration::from_secs(8) {
                let asked = Instant::now();
                wait_until("an honest scrape is answered", Duration::from_secs(10), || {
                    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
                    ask(&lab.b, request).is_ok_and(|answer| answer.contains("tracer_syn_total "))
                });
                slowest = slowest.max(asked.elapsed());
                pause(200);
            }
            stop.store(true, Ordering::Relaxed);
            work.join().expect("the load");
        });
        let grown = resident(tracer.pid()).saturating_sub(before);
        let closed = "tracer_connections_total{role=\"server\",outcome=\"closed\"} ";
        wait_until("the figures are all there", Duration::from_secs(20), || {
            sum(&scrape(&lab.b), closed) == Some((CONNECTIONS + 100) as f64)
        });
        let run = tracer.stop_after(CONNECTIONS + 100);
        let made = made.load(Ordering::Relaxed);
        eprintln!("{made} hostile connections; {grown} KiB; slowest scrape {slowest:?}");
        assert!(made > 1_000, "{made} hostile connections");
        let _ = Check::of(run.fine().end()).eq("connections", CONNECTIONS + 100);
        // 64 connections with 16 KiB each, and what the table and the allocator keep.
        assert!(grown < 20 * 1024, "{grown} KiB more");
        assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    });
}

/// A real Prometheus in host b's namespace; killed and its files removed when dropped.
struct Prometheus {
    child: std::process::Child,
    dir: PathBuf,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Ours, and not waited for before.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.join("log"));
            eprintln!("prometheus said: {}", log.unwrap_or_default());
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Prometheus {
    /// With the project's own configuration and rules; only that it asks every second.
    fn start(lab: &Lab) -> Self {
        let dir = std::env::temp_dir().join(format!("tracer-prometheus-{}", unique()));
        std::fs::create_dir_all(dir.join("rules")).expect("a directory");
        let config = std::fs::read_to_string(deploy().join("prometheus/prometheus.yml"));
        let config = config
            .expect("prometheus.yml")
            .replace("interval: 15s", "interval: 1s")
            .replace("scrape_timeout: 5s", "scrape_timeout: 1s");
        assert_eq!(config.matches("interval: 1s").count(), 2);
        std::fs::write(dir.join("prometheus.yml"), config).expect("write");
        for rules in ["tracer.rules.yml", "tracer.alerts.yml"] {
            let from = deploy().join("prometheus/rules").join(rules);
            std::fs::copy(from, dir.join("rules").join(rules)).expect("copy the rules");
        }
        let log = std::fs::File::create(dir.join("log")).expect("a log");
        let child = lab
            .b
            .command("prometheus")
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg("--web.listen-address=127.0.0.1:9090")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus (package prometheus)");
        Self { child, dir }
    }

    /// What its API says to a query.
    fn ask(lab: &Lab, path: &str) -> Value {
        let url = format!("http://127.0.0.1:9090/api/v1/{path}");
        let out = lab.b.command("curl").args(["-s", "--max-time", "5", &url]).output();
        serde_json::from_slice(&out.expect("curl").stdout).unwrap_or(Value::Null)
    }

    /// The alerts that fire, by name, with the listener they are of.
    fn firing(lab: &Lab) -> Vec<(String, String)> {
        let answer = Self::ask(lab, "alerts");
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing
            .map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["labels"]["listener"])))
            .collect()
    }
}

#[test]
fn prometheus_raises_the_alarm_while_a_flood_runs() {
    scenario(|lab| {
        swallow_answers(lab);
        let to = lab.b4_port(8080);
        let _listener = lab.b.listen(to);
        let args = [CLEAR.as_slice(), &["--metrics", "9464"]].concat();
        let tracer = Tracer::start(lab, &args);
        let _prometheus = Prometheus::start(lab);
        let up = || {
            let answer = Prometheus::ask(lab, "targets");
            let targets = answer["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
            targets.iter().any(|target| {
                assert_eq!(target["lastError"].as_str().unwrap_or_default(), "", "{target}");
                target["health"] == "up"
            })
        };
        wait_until("prometheus scrapes tracer", Duration::from_secs(20), up);
        assert_eq!(Prometheus::firing(lab), []);
        let flood = ("TracerSynFlood".to_owned(), to.to_string());
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| Flood::new(to, 12_000, 1_000).run(lab));
            wait_until("the alert fires", Duration::from_secs(12), || {
                Prometheus::firing(lab).contains(&flood)
            });
            assert!(!sender.is_finished(), "the alert came after the flood");
            sender.join().expect("the flood");
        });
        wait_until("the alert is over", Duration::from_secs(15), || {
            Prometheus::firing(lab).is_empty()
        });
        // Every family it was told of is known to it by the name of the catalogue.
        let answer = Prometheus::ask(lab, "label/__name__/values");
        let names: Vec<_> =
            answer["data"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for name in ["tracer_floods_total", "tracer_syn_total", "tracer_flood_active"] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        let run = tracer.stop();
        assert!(!run.fine().all("flood").is_empty());
    });
}

/// Hooks that are not attached, and what can't be had.
fn lacks(run: &Run) -> (Vec<Value>, usize) {
    let hooks = run.start()["hooks"].as_array().expect("hooks").iter();
    let refused = hooks.filter(|hook| hook["attached"] == false).cloned().collect();
    (refused, run.start()["cannot"].as_array().expect("cannot").len())
}

/// The capabilities that the DaemonSet gives are all that it takes: uid 0 with no others can do
/// what root can.
#[test]
fn the_daemon_sets_capabilities_suffice() {
    scenario(|lab| {
        let text = std::fs::read_to_string(deploy().join("kubernetes/daemonset.yml"));
        let text = text.expect("daemonset.yml");
        let names: Vec<_> = text
            .lines()
            .skip_while(|line| line.trim() != "add:")
            .skip(1)
            .map(str::trim)
            .take_while(|line| line.starts_with(['-', '#']))
            .filter_map(|line| line.strip_prefix("- "))
            .map(str::to_lowercase)
            .collect();
        assert!(names.len() >= 3, "{names:?}");
        let bounding = names.iter().fold("-all".to_owned(), |all, name| format!("{all},+{name}"));
        let root = Tracer::start_in(&lab.b, &["--netns", "self", "--local-port", "8080"]);
        let mut command = lab.b.command("setpriv");
        command
            .args(["--bounding-set", &bounding, "--inh-caps=-all", "--no-new-privs", "--"])
            .arg(binary())
            .args(["--format", "json", "--netns", "self", "--local-port", "8080"])
            .args(["--metrics", "9464"])
            .stdin(Stdio::null());
        let tracer = Tracer::spawn(&mut command);
        tracer.wait_for(1, Duration::from_secs(15), |record| record["type"] == "start");
        load::one_by_one(lab, 3);
        tracer.wait_connections(3);
        assert!(sum(&scrape(&lab.b), "tracer_hook_attached{hook=\"syn\"").is_some());
        let (root, run) = (root.stop_after(3), tracer.stop());
        assert_eq!(lacks(&run), lacks(&root));
        for record in run.fine().connections() {
            let _ = Check::conn(record).eq("handshake_source", "syn").eq("outcome", "closed");
        }
    });
}
