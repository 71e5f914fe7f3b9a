//! What Prometheus would get.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Netns;

/// Where the tests have tracer serve its figures.
pub(crate) const PORT: u16 = 9464;

/// The loopback's address of it.
pub(crate) fn endpoint() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], PORT))
}

/// Sends bytes from inside `ns`; all that comes back until the end.
pub(crate) fn ask(ns: &Netns, bytes: &[u8]) -> Result<String, std::io::Error> {
    ns.run(|| {
        let mut stream = TcpStream::connect_timeout(&endpoint(), Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(bytes)?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    })
}

/// The figures in OpenMetrics' format, without the head of the answer.
#[track_caller]
pub(crate) fn scrape(ns: &Netns) -> String {
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\
                   Accept: application/openmetrics-text; version=1.0.0\r\n\r\n";
    let answer = ask(ns, request.as_bytes()).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    body.to_owned()
}

/// Totals of the `end` record, and the metrics that say the same: `tracer_NAME` for Prometheus, which
/// ends counters in `_total`, `tracer.NAME` by OTLP.
pub(crate) const TOTALS: &[(&str, &str)] = &[
    ("connections", "connections"),
    ("open", "connections_open"),
    ("events", "events"),
    ("events_lost", "events_lost"),
    ("syns", "syn"),
    ("syns_repeated", "syn_repeated"),
    ("syns_unparsed", "syn_unparsed"),
    ("handshakes_failed", "handshakes_failed"),
    ("connections_evicted", "connections_evicted"),
    ("output_dropped", "output_dropped"),
];

/// One of them: the sum of its series.
#[track_caller]
pub(crate) fn total(text: &str, name: &str) -> f64 {
    let series = ["_total ", "_total{", " "].map(|end| format!("tracer_{name}{end}"));
    let found = series.iter().find_map(|prefix| sum(text, prefix));
    found.unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

/// The sum of all series whose name and labels begin like that; `None` where there is none.
pub(crate) fn sum(text: &str, prefix: &str) -> Option<f64> {
    let values: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with(prefix))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}
