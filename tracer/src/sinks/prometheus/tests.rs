//! What the exposition says, read by Python's official parsers; how hostile callers are borne.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exposition::{Format, encode};
use super::server::Server;
use super::shared::Shared;
use crate::core::record::{Connection, Record, Role};
use crate::metrics::{Config, Descriptor, Family, Kind, Metrics, Number, Series, Unit, Value};
use crate::report::samples;

static NASTY: Descriptor = Descriptor {
    name: "tracer_nasty_bytes",
    help: "Help",
    unit: Some(Unit::Bytes),
    kind: Kind::Gauge,
    labels: &["label"],
};

/// Text that would end a label, a line, or a terminal's patience.
const HOSTILE: &str = "a\"} 1\n# EOF\ntracer_forged_total 7\\\x1b[2J\u{202e}\r\0\t{le=\"1\"}";

fn families() -> Vec<Family> {
    let mut metrics = Metrics::new(&Config { named_ports: Vec::new(), ports: 3 });
    metrics.start(&samples::start());
    for connection in samples::stream() {
        metrics.record(&Record::Connection(Box::new(connection)));
    }
    for role in [Role::Client, Role::Server] {
        let connection =
            Connection { role: Some(role), handshake: Some(1_020_000_000), ..samples::full() };
        metrics.record(&Record::Connection(Box::new(connection)));
    }
    metrics.record(&Record::Alert(Box::new(samples::flood())));
    metrics.record(&Record::Alert(Box::new(samples::notice())));
    metrics.families()
}

fn with_hostile_label() -> Arc<[Family]> {
    let mut families = families();
    families.push(Family {
        descriptor: &NASTY,
        series: vec![Series {
            labels: vec![("label", HOSTILE.into())],
            value: Value::Gauge(Number::Float(1.5)),
        }],
    });
    families.into()
}

/// Runs a Python program on the text; what it printed.
fn python(program: &str, text: &str) -> String {
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the system's python3 (packages python3 and python3-prometheus-client)");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{text}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Every sample as a line of JSON: name, labels, value, type of its family.
const READ: &str = "
import sys, json
from MODULE import text_string_to_metric_families as read
text = sys.stdin.buffer.read().decode()
for family in read(text):
    for s in family.samples:
        print(json.dumps([s.name, s.labels, s.value, family.type, family.unit]))
";

fn read(module: &str, text: &str) -> Vec<serde_json::Value> {
    let lines = python(&READ.replace("MODULE", module), text);
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_official_parsers_read_back_what_was_said() {
    for (format, module) in [
        (Format::OpenMetrics, "prometheus_client.openmetrics.parser"),
        (Format::Prometheus, "prometheus_client.parser"),
    ] {
        let families = with_hostile_label();
        let text = encode(&families, format).unwrap();
        let samples = read(module, &text);
        let expected: usize = families
            .iter()
            .flat_map(|family| &family.series)
            .map(|series| match &series.value {
                Value::Histogram(histogram) => histogram.buckets().count() + 2,
                _ => 1,
            })
            .sum();
        assert_eq!(samples.len(), expected);
        let nasty = samples.iter().find(|sample| sample[0] == "tracer_nasty_bytes").unwrap();
        assert_eq!(nasty[1]["label"], HOSTILE, "{format:?}");
        assert!(!samples.iter().any(|sample| sample[0] == "tracer_forged_total"));
        // Every value under the name that the catalogue says.
        for family in families.iter() {
            for name in family.descriptor.stored_names() {
                let kind = samples.iter().find(|sample| sample[0] == name.as_str());
                let kind = kind.unwrap_or_else(|| panic!("{name} is not in\n{text}"))[3].as_str();
                let expected = match (family.descriptor.kind, format) {
                    (Kind::Counter, _) => "counter",
                    (Kind::Histogram, _) => "histogram",
                    (Kind::Info, Format::OpenMetrics) => "info",
                    (Kind::Gauge | Kind::Info, _) => "gauge",
                };
                assert_eq!(kind, Some(expected), "{name}");
            }
        }
        let bucket = samples
            .iter()
            .find(|sample| {
                sample[0] == "tracer_handshake_seconds_bucket"
                    && sample[1]["role"] == "client"
                    && sample[1]["le"] == "+Inf"
            })
            .unwrap();
        let count = samples.iter().find(|sample| {
            sample[0] == "tracer_handshake_seconds_count" && sample[1]["role"] == "client"
        });
        assert_eq!(bucket[2], count.unwrap()[2]);
        if format == Format::OpenMetrics {
            assert!(text.ends_with("# EOF\n"));
            let unit = samples.iter().find(|sample| sample[0] == "tracer_close_seconds_sum");
            assert_eq!(unit.unwrap()[4], "seconds");
        }
    }
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    let text = encode(&families().into(), Format::Prometheus).unwrap();
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool (package prometheus)");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_format_is_the_one_that_is_asked_for() {
    use Format::{OpenMetrics, Prometheus};
    for (accept, format) in [
        ("", Prometheus),
        ("*/*", Prometheus),
        ("text/html,*/*;q=0.8", Prometheus),
        ("application/openmetrics-text", OpenMetrics),
        // Prometheus 2.42 and 3.
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
             version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OpenMetrics,
        ),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             text/plain;version=1.0.0;q=0.4,*/*;q=0.2",
            OpenMetrics,
        ),
        ("application/openmetrics-text;q=0.3, text/plain", Prometheus),
        ("application/openmetrics-text;q=0", Prometheus),
        ("application/openmetrics-text;q=nonsense", Prometheus),
        (",;;q=,=", Prometheus),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept}");
    }
}

fn serve() -> (Server, SocketAddr, Shared) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    let shared = Shared::default();
    (Server::start(listener, shared.clone()).unwrap(), addr, shared)
}

fn ask(addr: SocketAddr, head: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // Whoever sends too much is cut off while it sends.
    let _ = stream.write_all(head);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn get(addr: SocketAddr, path: &str) -> String {
    ask(addr, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
}

#[test]
fn there_are_three_pages_and_only_reading() {
    let (server, addr, shared) = serve();
    assert!(get(addr, "/metrics").starts_with("HTTP/1.1 503"));
    assert!(get(addr, "/healthz").starts_with("HTTP/1.1 503"));
    shared.publish(families());
    let page = get(addr, "/metrics?x=1");
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("tracer_connections_total{"),
        "{page}"
    );
    assert!(page.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{page}");
    let wanted = "GET /metrics HTTP/1.0\r\nAccept: application/openmetrics-text\r\n\r\n";
    let page = ask(addr, wanted.as_bytes());
    assert!(page.contains("content-type: application/openmetrics-text; version=1.0.0"), "{page}");
    assert!(page.ends_with("# EOF\n"));
    assert!(get(addr, "/").contains("href=\"/metrics\""));
    assert!(get(addr, "/healthz").ends_with("ok\n"));
    assert!(get(addr, "/metrics/../../etc/passwd").starts_with("HTTP/1.1 404"));
    let post = ask(addr, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\nx");
    assert!(post.starts_with("HTTP/1.1 405") && post.contains("allow: GET, HEAD"), "{post}");
    let head = ask(addr, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    server.stop(Instant::now() + Duration::from_secs(5));
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn nonsense_and_huge_heads_are_refused() {
    let (server, addr, shared) = serve();
    shared.publish(families());
    let huge = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(10 << 20));
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1000));
    for head in
        [huge.as_bytes(), many.as_bytes(), b"\x16\x03\x01\x02\x00\r\n\r\n", b"\0\0\0\0\r\n\r\n"]
    {
        let answer = ask(addr, head);
        // A reset may overtake the answer where more was sent than was read.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert!(get(addr, "/metrics").starts_with("HTTP/1.1 200"));
    server.stop(Instant::now() + Duration::from_secs(5));
}

#[test]
fn those_who_stall_are_cut_off_and_the_next_is_served() {
    let (server, addr, shared) = serve();
    shared.publish(families());
    // More than may be there at a time: some say nothing, some half of it, some don't read.
    let stalled: Vec<_> = (0..200)
        .map(|n| {
            let mut stream = TcpStream::connect(addr).unwrap();
            let part: &[u8] = match n % 3 {
                0 => b"",
                1 => b"GET /metrics HTTP/1.1\r\nX: ",
                _ => b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
            };
            let _ = stream.write_all(part);
            stream
        })
        .collect();
    let begin = Instant::now();
    assert!(get(addr, "/metrics").starts_with("HTTP/1.1 200"));
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    // And all of them end without anybody else coming.
    let begin = Instant::now();
    for mut stream in stalled {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
    server.stop(Instant::now() + Duration::from_secs(5));
}
