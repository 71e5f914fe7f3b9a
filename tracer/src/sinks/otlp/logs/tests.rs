use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use prost::Message as _;
use serde_json::{Value as Json, json};

use super::*;
use crate::core::event::{Comm, Owner};
use crate::report::{self, Report as _, samples};

fn item(record: &Record) -> Item {
    Item::new(record, &samples::clock(), UNIX_EPOCH + Duration::from_secs(7))
}

fn log(record: &Record) -> LogRecord {
    let log = item(record).to_log();
    // What goes over the wire and comes back is the same: names are valid UTF-8.
    assert_eq!(LogRecord::decode(log.encode_to_vec().as_slice()).unwrap(), log);
    log
}

/// An attribute's value as JSON.
fn plain(value: &AnyValue) -> Json {
    match value.value.as_ref().unwrap() {
        Value::StringValue(text) => json!(text),
        Value::BoolValue(yes) => json!(yes),
        Value::IntValue(int) => json!(int),
        Value::DoubleValue(double) => json!(double),
        Value::ArrayValue(array) => array.values.iter().map(plain).collect(),
        Value::KvlistValue(list) => Json::Object(attributes(&list.values).into_iter().collect()),
        other => panic!("{other:?}"),
    }
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, Json> {
    let map: BTreeMap<String, Json> =
        all.iter().map(|one| (one.key.clone(), plain(one.value.as_ref().unwrap()))).collect();
    assert_eq!(map.len(), all.len(), "a key is there twice");
    map
}

/// The JSON record.
fn line(record: &Record) -> Json {
    let mut out = Vec::new();
    report::Json::new(samples::clock()).record(record, &mut out);
    serde_json::from_slice(&out).unwrap()
}

/// Whether `attribute` is what the field says: absent for null, seconds for microseconds.
fn same(field: &Json, attribute: Option<&Json>, us: bool) -> bool {
    match (field, attribute) {
        (Json::Null, None) => true,
        (field, Some(attribute)) if us => {
            attribute.as_f64().map(|s| (s * 1e6).round()) == field.as_f64()
        }
        (field, Some(attribute)) => field == attribute,
        (_, None) => false,
    }
}

const FIELDS: &[(&str, &str)] = &[
    ("role", "tracer.role"),
    ("local_addr", "network.local.address"),
    ("local_port", "network.local.port"),
    ("remote_addr", "network.peer.address"),
    ("remote_port", "network.peer.port"),
    ("netns", "tracer.netns"),
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

const PHASES: &[(&str, &str)] = &[
    ("syn_sent", "tracer.phase.syn_sent"),
    ("syn_recv", "tracer.phase.syn_received"),
    ("established", "tracer.phase.established"),
    ("fin_wait1", "tracer.phase.fin_wait_1"),
    ("fin_wait2", "tracer.phase.fin_wait_2"),
    ("close_wait", "tracer.phase.close_wait"),
    ("closing", "tracer.phase.closing"),
    ("last_ack", "tracer.phase.last_ack"),
];

const PATH: &[(&str, &str)] = &[
    ("syn_to_synack", "tracer.path.syn_to_synack"),
    ("synack_to_ack", "tracer.path.synack_to_ack"),
];

fn check(line: &Json, all: &BTreeMap<String, Json>) {
    for (field, attribute) in FIELDS {
        let us = field.ends_with("_us");
        assert!(same(&line[field], all.get(*attribute), us), "{field}: {line} {all:?}");
    }
    for (phase, attribute) in PHASES {
        assert!(same(&line["phases_us"][phase], all.get(*attribute), true), "{phase}: {line}");
    }
    for (half, attribute) in PATH {
        assert!(same(&line["path_rtt_us"][half], all.get(*attribute), true), "{half}: {line}");
    }
    // Nothing in the record is left out.
    let known: Vec<&str> = FIELDS.iter().map(|(field, _)| *field).collect();
    for (field, _) in line.as_object().unwrap() {
        let elsewhere = [
            "type",
            "time",
            "time_start",
            "time_end",
            "phases_us",
            "path_rtt_us",
            "state",
            "state_us",
        ];
        assert!(known.contains(&&**field) || elsewhere.contains(&&**field), "{field}");
    }
}

#[test]
fn connections_say_what_their_json_says() {
    let path_rtt = Some(PathRtt { syn_to_synack: Some(1_234_567), synack_to_ack: None });
    let captured = Connection { netns: 0, path_rtt, ..samples::full() };
    for connection in samples::stream().into_iter().chain([captured]) {
        let outcome = connection.outcome.unwrap();
        let (start, end) = (connection.start, connection.end);
        let record = Record::Connection(Box::new(connection));
        let log = log(&record);
        let line = line(&record);
        let all = attributes(&log.attributes);
        check(&line, &all);
        assert_eq!(log.event_name, "tracer.connection");
        assert_eq!(log.observed_time_unix_nano, 7_000_000_000);
        let time = samples::clock().unix_ns(end);
        assert_eq!(i128::from(log.time_unix_nano), time);
        let duration = all["tracer.duration"].as_f64().unwrap();
        assert!((duration - end.since(start) as f64 / 1e9).abs() < 1e-6);
        assert_eq!(all["network.transport"], "tcp");
        let v6 = line["local_addr"].as_str().unwrap().contains(':');
        assert_eq!(all["network.type"], if v6 { "ipv6" } else { "ipv4" });
        if outcome == Outcome::Closed {
            assert_eq!((log.severity_number, &*log.severity_text), (9, "INFO"));
            assert!(!all.contains_key("error.type"));
        } else {
            assert_eq!((log.severity_number, &*log.severity_text), (13, "WARN"));
            assert_eq!(all["error.type"], outcome.name());
        }
    }
}

#[test]
fn what_is_not_known_is_not_there() {
    let all = attributes(&log(&Record::Connection(Box::new(samples::bare()))).attributes);
    let keys: Vec<&str> = all.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "error.type",
            "network.local.address",
            "network.local.port",
            "network.peer.address",
            "network.peer.port",
            "network.transport",
            "network.type",
            "tracer.duration",
            "tracer.events_lost",
            "tracer.netns",
            "tracer.observed_from",
            "tracer.outcome",
        ]
    );
}

#[test]
fn hostile_names_arrive_as_they_do_in_json() {
    for name in [&b"\x1b[31m\"\n"[..], b"a\xff\xfe\xc3", "\u{202e}x\\".as_bytes(), b"", b"'{}'"] {
        let connection = Connection {
            owner: Some(Owner { pid: 7, comm: Comm::from_bytes(name) }),
            ..samples::full()
        };
        let record = Record::Connection(Box::new(connection));
        let all = attributes(&log(&record).attributes);
        assert_eq!(all["process.executable.name"], line(&record)["comm"], "{name:?}");
        assert_eq!(all["process.executable.name"], *String::from_utf8_lossy(name));
    }
}

#[test]
fn stuck_connections_say_in_which_state() {
    let record = Record::Stuck(Box::new(samples::stuck()));
    let log = log(&record);
    let all = attributes(&log.attributes);
    let line = line(&record);
    check(&line, &all);
    assert_eq!((&*log.event_name, log.severity_number), ("tracer.stuck", 13));
    assert_eq!(all["network.connection.state"], "close_wait");
    assert!(same(&line["state_us"], all.get("tracer.state.duration"), true));
    assert!(!all.contains_key("error.type") && !all.contains_key("tracer.outcome"));
}

#[test]
fn transitions_are_for_those_who_look_closely() {
    let record = Record::State(samples::state_change());
    let log = log(&record);
    assert_eq!((&*log.event_name, log.severity_number), ("tracer.state", 5));
    let all = attributes(&log.attributes);
    assert_eq!(all["network.connection.state"], "fin_wait_2");
    assert_eq!(all["tracer.state.previous"], "fin_wait_1");
    assert_eq!(all["tracer.socket.cookie"], "4711");
    assert_eq!(all["network.peer.address"], "10.0.0.7");
}

#[test]
fn floods_say_what_their_json_says() {
    for alert in [samples::flood(), samples::notice()] {
        let flood = alert.verdict.is_flood();
        let record = Record::Alert(Box::new(alert));
        let log = log(&record);
        let all = attributes(&log.attributes);
        let line = line(&record);
        assert_eq!(log.event_name, if flood { "tracer.flood" } else { "tracer.notice" });
        for (field, attribute) in [
            ("event", "tracer.alert.event"),
            ("verdict", "tracer.alert.verdict"),
            ("severity", "tracer.alert.severity"),
            ("since", "tracer.alert.since"),
            ("until", "tracer.alert.until"),
            ("netns", "tracer.netns"),
            ("interfaces", "tracer.interfaces"),
            ("syn_count", "tracer.syn.count"),
            ("syn_rate", "tracer.syn.rate"),
            ("completed_ratio", "tracer.syn.completed_ratio"),
            ("sources_estimate", "tracer.syn.sources_estimate"),
            ("half_open", "tracer.half_open"),
            ("cookies_sent_rate", "tracer.cookies_sent.rate"),
            ("top_sources", "tracer.top_sources"),
        ] {
            assert!(same(&line[field], all.get(attribute), false), "{field}: {line} {all:?}");
        }
        let null = Json::Null;
        let of = |outer: &str, inner: &str| line[outer].get(inner).unwrap_or(&null).clone();
        assert!(same(&of("listener", "addr"), all.get("network.local.address"), false));
        assert!(same(&of("listener", "port"), all.get("network.local.port"), false));
        assert!(same(&of("queue", "length"), all.get("tracer.syn_queue.length"), false));
        assert!(same(&of("queue", "limit"), all.get("tracer.syn_queue.limit"), false));
        let evidence = all["tracer.evidence"].as_array().unwrap();
        let told = line["evidence"].as_array().unwrap();
        assert_eq!(evidence.len(), told.len());
        for (one, told) in evidence.iter().zip(told) {
            for field in ["metric", "value", "threshold"] {
                assert!(same(&told[field], one.get(field), false), "{field}: {told} {one}");
            }
        }
    }
}

#[test]
fn severities_follow_how_bad_it_is() {
    let of = |event, severity| {
        let alert = Alert { event, severity, ..samples::flood() };
        log(&Record::Alert(Box::new(alert))).severity_text
    };
    assert_eq!(of(AlertEvent::Start, Some(Severity::Suspected)), "WARN");
    assert_eq!(of(AlertEvent::Update, Some(Severity::Confirmed)), "ERROR");
    assert_eq!(of(AlertEvent::Update, Some(Severity::Impact)), "ERROR2");
    assert_eq!(of(AlertEvent::End, Some(Severity::Impact)), "INFO");
    assert_eq!(of(AlertEvent::Start, None), "INFO2");
}

#[test]
fn a_clock_before_1970_does_not_fail() {
    let clock = WallClock::new(MonoNs(1000), -5, TimeZone::UTC);
    let record = Record::State(samples::state_change());
    let early = StateChange { at: MonoNs(0), ..samples::state_change() };
    assert_eq!(Item::new(&Record::State(early), &clock, UNIX_EPOCH).to_log().time_unix_nano, 0);
    let before = UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(Item::new(&record, &clock, before).to_log().observed_time_unix_nano, 0);
}
