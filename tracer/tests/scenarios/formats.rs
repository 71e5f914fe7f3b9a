//! Every format shows the same numbers for the same run.
//!
//! One tracer writes JSON Lines and everything else that can be written beside them; another one,
//! beside it on the same traffic, writes text. What the first says in JSON is what all others must
//! say.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use nix::sys::signal::Signal;
use scraper::{ElementRef, Html, Selector};
use tempfile::TempDir;

#[cfg(feature = "otlp")]
use crate::support::otlp::Receiver;
use crate::support::raw::{ACK, SYN};
use crate::support::scrape;
use crate::support::sock::{Talk as _, accept, set_tcp_option};
use crate::support::tracer::command;
use crate::support::{Child, Lab, Raw, Run, Tracer, Value, alone, pause};

/// Figures of a run by their names: those of the JSON records, `host/` and an address before a
/// host's. What a format does not show is not among its figures.
type Figures = BTreeMap<String, String>;

/// Fields of a `host` record that are counts.
const COUNTS: [&str; 8] = [
    "connections",
    "failed",
    "resets",
    "timeouts",
    "handshakes_failed",
    "syn_count",
    "half_open",
    "half_open_peak",
];
const QUANTILES: [&str; 4] = ["p50", "p90", "p99", "max"];

/// Both sides of the wire, in every way a connection can go that takes no minutes.
fn traffic(lab: &Lab, [listener, silent]: [TcpListener; 2]) -> Kept {
    let mut kept = Kept::default();
    // Well.
    for _ in 0..6 {
        drop(lab.a.connect(lab.b4_port(8080)));
        accept(&listener).hear_end();
    }
    // The peer is slow to close.
    drop(lab.a.connect(lab.b4_port(8080)));
    let mut slow = accept(&listener);
    slow.hear_end();
    pause(120);
    drop(slow);
    // Reset by either side.
    for n in 0..4 {
        let (client, server) = (lab.a.connect(lab.b4_port(8080)), accept(&listener));
        if n % 2 == 0 {
            client.close_with_reset();
            pause(5);
        } else {
            server.close_with_reset();
            pause(5);
        }
    }
    // Refused, over both families.
    for addr in [lab.b4_port(9), (lab.b6(), 9).into()] {
        lab.a.try_connect(addr, |_| ()).expect_err("nobody listens");
    }
    // Timed out: nobody has this address's packets.
    lab.a.drop_input("tcp sport 8082");
    let waits = |socket: &socket2::Socket| set_tcp_option(socket, libc::TCP_USER_TIMEOUT, 300);
    lab.a.try_connect(lab.b4_port(8082), waits).expect_err("nobody answers");
    // A name that means harm.
    let at = lab.b4_port(8080);
    let evil = Child::start(&lab.a, "\"<b>&'\x1b[31m\n", move |_| {
        drop(crate::support::sock::connect_here(at, |_| ()));
    });
    accept(&listener).hear_end();
    evil.join();
    // Given up; then half-open, for long enough that nobody misses it.
    let raw = Raw::new(lab);
    for stays in [false, true, true, true] {
        let mut peer = raw.client(lab.b4_port(8080));
        peer.send(SYN, b"");
        peer.expect_flags(SYN | ACK);
        if !stays {
            peer.reset();
        }
    }
    // Stay open.
    let client = lab.a.connect(lab.b4_port(8080));
    kept.open.push((client, accept(&listener)));
    kept.listeners.extend([listener, silent]);
    kept
}

/// What must not be closed before the run ends.
#[derive(Default)]
struct Kept {
    open: Vec<(TcpStream, TcpStream)>,
    listeners: Vec<TcpListener>,
}

#[test]
fn every_format_shows_the_same_numbers() {
    alone(|lab| {
        let folder = TempDir::new().expect("a directory");
        let page = folder.path().join("run.html");
        let (prefix4, prefix6) = (lab.prefix4(), lab.prefix6());
        let filters = ["--host", &prefix4, "--host", &prefix6];
        // Before both tracers: a listener's first SYNs may come before one of them knows it.
        let listeners = [8080, 8082].map(|port| lab.b.listen(lab.b4_port(port)));
        let text = Tracer::spawn(&mut command(&lab.b, &filters));
        while !text.stderr().contains("tracing") {
            pause(20);
        }
        let report = page.to_str().expect("UTF-8");
        let metrics = scrape::PORT.to_string();
        let mut args = vec!["--report", report, "--metrics", &metrics];
        #[cfg(feature = "otlp")]
        let receiver = Receiver::start(lab);
        #[cfg(feature = "otlp")]
        let endpoint = receiver.endpoint();
        #[cfg(feature = "otlp")]
        args.extend(["--otlp", &endpoint]);
        let json = Tracer::start(lab, &args);
        // Both have listed their sockets.
        pause(300);
        let kept = traffic(lab, listeners);
        // The last samples of the half-open connections have been taken.
        pause(1_500);
        let scraped = scrape::scrape(&lab.b);
        // At the same moment, or nearly so: nothing happens in between.
        text.signal(Signal::SIGINT);
        let json = json.stop();
        let text = text.finish();
        drop(kept);
        let said = of_json(json.fine());
        // That there is something to compare.
        for (name, count) in [
            ("connections", 27),
            ("failed", 11),
            ("open", 2),
            ("handshakes_failed", 1),
            ("outcome/closed", 16),
            ("outcome/reset_by_remote", 4),
            ("outcome/reset_by_local", 4),
            ("outcome/refused", 2),
            ("outcome/timed_out", 1),
        ] {
            let said = said.get(name).map(String::as_str);
            assert_eq!(said, Some(count.to_string().as_str()), "{name}\n{}", json.dump());
        }
        agree("the page", &said, &of_page(&page), 80);
        agree("the metrics", &said, &of_metrics(&scraped), 14);
        #[cfg(feature = "otlp")]
        agree("OTLP", &said, &of_otlp(&receiver), 14);
        let (mut counts, durations) = of_text(&text);
        // A handshake that is under way just when a tracer looks is half-open for that one.
        let peaks = counts.extract_if(.., |name, _| name.ends_with("half_open_peak"));
        for (name, shown) in peaks.collect::<Figures>() {
            let number = |figure: Option<&String>| figure.and_then(|f| f.parse::<i64>().ok());
            let both = number(said.get(&name)).zip(number(Some(&shown)));
            assert!(both.is_some_and(|(a, b)| a.abs_diff(b) <= 2), "{name}: {both:?}");
        }
        agree("the text", &said, &counts, 20);
        assert!(durations.len() >= 8, "{durations:#?}");
        for (name, shown) in durations {
            let said: Option<f64> = said.get(&name).and_then(|us| us.parse().ok());
            // Each tracer looks at the clock for itself, one after the other.
            let near = |us: f64| (us - shown).abs() <= 50.0 + 0.1 * us.max(shown);
            assert!(said.is_some_and(near), "{name}: {shown}, said was {said:?}");
        }
    });
}

/// Compares what a format shows with what was said in JSON: at least so many figures.
#[track_caller]
fn agree(format: &str, said: &Figures, shown: &Figures, at_least: usize) {
    assert!(shown.len() >= at_least, "{format} shows only {shown:#?}");
    let differs: Vec<String> = shown
        .iter()
        .filter(|(name, figure)| said.get(*name) != Some(*figure))
        .map(|(name, figure)| format!("{name}: {figure}, said was {:?}", said.get(name)))
        .collect();
    assert!(differs.is_empty(), "{format}: {differs:#?}");
}

/// A number of a record, and `-` for null.
fn plain(value: &Value) -> String {
    if value.is_null() { "-".to_owned() } else { value.to_string() }
}

fn of_json(run: &Run) -> Figures {
    let mut figures = Figures::new();
    let end = run.end().as_object().expect("an object");
    figures.extend(end.iter().map(|(name, value)| (name.clone(), plain(value))));
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for connection in run.connections() {
        *outcomes.entry(connection["outcome"].as_str().expect("an outcome")).or_default() += 1;
    }
    let failed: u64 = outcomes.iter().filter(|(name, _)| **name != "closed").map(|(_, n)| n).sum();
    figures.insert("failed".to_owned(), failed.to_string());
    for (name, count) in outcomes {
        figures.insert(format!("outcome/{name}"), count.to_string());
    }
    for row in run.all("host") {
        let host = row["host"].as_str().expect("a host");
        for field in COUNTS {
            figures.insert(format!("host/{host}/{field}"), plain(&row[field]));
        }
        for of in ["handshake_us", "close_us"] {
            for quantile in QUANTILES {
                let name = format!("host/{host}/{of}/{quantile}");
                figures.insert(name, plain(&row[of][quantile]));
            }
        }
    }
    figures
}

fn of_page(path: &Path) -> Figures {
    let page = Html::parse_document(&std::fs::read_to_string(path).expect("the page"));
    let data = Selector::parse("data").expect("a selector");
    let all = |selector: &str| -> Vec<ElementRef<'_>> {
        page.select(&Selector::parse(selector).expect("a selector")).collect()
    };
    let figure = |element: ElementRef<'_>| {
        let value = element.select(&data).next().and_then(|data| data.attr("value"));
        value.unwrap_or("-").to_owned()
    };
    let mut figures = Figures::new();
    for field in ["connections", "failed", "handshakes_failed", "syns", "events", "events_lost"] {
        let [tile] = all(&format!(".tiles [data-field={field}]"))[..] else {
            panic!("no figure for {field}")
        };
        figures.insert(field.to_owned(), figure(tile));
    }
    for row in all("tr[data-outcome]") {
        let name = row.attr("data-outcome").expect("an outcome");
        let sum = all(&format!("tr[data-outcome={name}] [data-field=all]"));
        figures.insert(format!("outcome/{name}"), figure(sum[0]));
    }
    for cell in all("tr[data-host] [data-field]") {
        let row = cell.parent().and_then(ElementRef::wrap).expect("a row");
        let (host, field) = (row.attr("data-host"), cell.attr("data-field"));
        let name = format!("host/{}/{}", host.expect("a host"), field.expect("a field"));
        figures.insert(name, figure(cell));
    }
    // The sums of what is drawn over time.
    let columns = ["begun", "closed", "failed", "syns"];
    let mut sums = [0_u64; 4];
    for row in all("#timeline details tbody tr") {
        for (sum, cell) in sums.iter_mut().zip(row.select(&Selector::parse("td").expect("td"))) {
            *sum += figure(cell).parse::<u64>().unwrap_or(0);
        }
    }
    let sum = |name: &str| sums[columns.iter().position(|column| *column == name).expect("one")];
    figures.insert("outcome/closed".to_owned(), sum("closed").to_string());
    figures.insert("failed".to_owned(), sum("failed").to_string());
    figures.insert("syns".to_owned(), sum("syns").to_string());
    figures
}

/// What Prometheus gets; it knows no hosts.
fn of_metrics(text: &str) -> Figures {
    let mut figures = Figures::new();
    let mut outcomes: BTreeMap<&str, f64> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("tracer_connections_total{")) {
        let outcome = line.split("outcome=\"").nth(1).and_then(|rest| rest.split('"').next());
        let count = line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok());
        *outcomes.entry(outcome.expect("an outcome")).or_default() += count.expect("a count");
    }
    let failed: f64 = outcomes.iter().filter(|(name, _)| **name != "closed").map(|(_, n)| n).sum();
    figures.insert("failed".to_owned(), failed.to_string());
    for (outcome, count) in outcomes.into_iter().filter(|(_, count)| *count > 0.0) {
        figures.insert(format!("outcome/{outcome}"), count.to_string());
    }
    for (name, prefix) in [
        ("connections", "tracer_connections_total{"),
        ("open", "tracer_connections_open "),
        ("events_lost", "tracer_events_lost_total "),
        ("syns", "tracer_syn_total "),
        ("syns_repeated", "tracer_syn_repeated_total "),
        ("syns_unparsed", "tracer_syn_unparsed_total "),
        ("handshakes_failed", "tracer_handshakes_failed_total "),
        ("connections_evicted", "tracer_connections_evicted_total "),
        ("output_dropped", "tracer_output_dropped_total "),
    ] {
        let sum = scrape::sum(text, prefix).unwrap_or_else(|| panic!("no {prefix} in\n{text}"));
        figures.insert(name.to_owned(), sum.to_string());
    }
    figures
}

/// What an OpenTelemetry receiver gets: the last metrics, and connections as logs.
#[cfg(feature = "otlp")]
fn of_otlp(receiver: &Receiver) -> Figures {
    let metrics = receiver.metrics();
    let mut figures = Figures::new();
    for (name, metric) in [
        ("connections", "tracer.connections"),
        ("open", "tracer.connections_open"),
        ("events_lost", "tracer.events_lost"),
        ("syns", "tracer.syn"),
        ("syns_repeated", "tracer.syn_repeated"),
        ("syns_unparsed", "tracer.syn_unparsed"),
        ("handshakes_failed", "tracer.handshakes_failed"),
        ("connections_evicted", "tracer.connections_evicted"),
        ("output_dropped", "tracer.output_dropped"),
    ] {
        figures.insert(name.to_owned(), metrics.sum(metric, &[]).to_string());
    }
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    for log in receiver.logs().iter().filter(|log| log["event_name"] == "tracer.connection") {
        let outcome = log["tracer.outcome"].as_str().expect("an outcome");
        *outcomes.entry(outcome.to_owned()).or_default() += 1;
    }
    for (outcome, logs) in outcomes {
        let counted = metrics.sum("tracer.connections", &[("outcome", &outcome)]);
        assert_eq!(counted, logs, "{outcome}: metrics and logs");
        figures.insert(format!("outcome/{outcome}"), logs.to_string());
    }
    figures
}

/// The table of hosts and the last lines: counts, and durations in microseconds.
fn of_text(run: &Run) -> (Figures, BTreeMap<String, f64>) {
    let mut durations = BTreeMap::new();
    let text = run.text();
    let mut figures = Figures::new();
    let lines: Vec<&str> = text.lines().collect();
    let header = lines.iter().position(|line| line.starts_with("HOST ")).expect("a table");
    for line in lines[header + 1..].iter().take_while(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [host, ended, failed, resets, timeouts, quantiles @ .., hs_failed, syns, half] =
            words.as_slice()
        else {
            panic!("no row: {line}")
        };
        let (now, peak) = half.split_once('/').expect("now/peak");
        let counts = [ended, failed, resets, timeouts, hs_failed, syns, &now, &peak];
        for (field, count) in COUNTS.into_iter().zip(counts) {
            figures.insert(format!("host/{host}/{field}"), (*count).to_owned());
        }
        assert_eq!(quantiles.len(), 8, "{line}");
        for (n, shown) in quantiles.iter().enumerate() {
            let of = if n < 4 { "handshake_us" } else { "close_us" };
            let name = format!("host/{host}/{of}/{}", QUANTILES[n % 4]);
            match *shown {
                "-" => _ = figures.insert(name, "-".to_owned()),
                shown => _ = durations.insert(name, micros(shown)),
            }
        }
    }
    let totals = lines.iter().rev().find(|line| line.contains(" ended in ")).expect("totals");
    let count = |behind: &str| -> String {
        let before = totals.split(behind).next().unwrap_or_default();
        before.rsplit([' ', ',']).next().unwrap_or_default().to_owned()
    };
    for (name, behind) in [
        ("connections", " connection"),
        ("open", " still open"),
        ("handshakes_failed", " handshake"),
        ("syns", " SYN"),
    ] {
        figures.insert(name.to_owned(), count(behind));
    }
    (figures, durations)
}

/// `26µs`, `1.2ms`, `4.0s` in microseconds.
fn micros(shown: &str) -> f64 {
    let (number, unit) = match shown.trim_start_matches('<') {
        us if us.ends_with("µs") => (us.trim_end_matches("µs"), 1.0),
        ms if ms.ends_with("ms") => (ms.trim_end_matches("ms"), 1e3),
        s => (s.trim_end_matches('s'), 1e6),
    };
    number.parse::<f64>().unwrap_or_else(|_| panic!("{shown} is no duration")) * unit
}
