use std::sync::Arc;
use std::time::Duration;

use tracer_common::state::TcpState;

use super::*;
use crate::core::event::CgroupName;
use crate::core::record::{
    CloseInitiator, Connection, Frames, HandshakeSource, Outcome, PathRtt, Role,
};
use crate::report::samples::{self, MS, S};
use crate::report::{Capture, Limits, Scope};

fn rendered(write: impl FnOnce(&mut Json, &mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut Json::new(samples::clock()), &mut out);
    let text = String::from_utf8(out.to_vec()).unwrap();
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value.is_object() && line.starts_with("{\"type\":\""), "{line}");
    }
    assert!(text.is_empty() || text.ends_with('\n'));
    text
}

fn connection(connection: Connection) -> String {
    let record = Record::Connection(Box::new(connection));
    rendered(|json, out| json.record(&record, out))
}

/// A line of JSON written over several.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<String>() + "\n"
}

#[test]
fn a_connection_of_which_all_is_known() {
    assert_eq!(
        connection(samples::full()),
        one_line(
            r#"{"type":"connection","time_start":"2026-11-22T03:12:40.000000Z",
            "time_end":"2026-11-22T03:12:44.015678Z","role":"server",
            "local_addr":"192.168.1.10","local_port":8080,
            "remote_addr":"10.0.0.7","remote_port":51234,"netns":4026531840,
            "pid":123456,"comm":"nginx",
            "cgroup":"/system.slice/docker-3f2a9c0d1e4b5a6978.scope",
            "container":"3f2a9c0d1e4b5a6978",
            "handshake_us":1235,"handshake_source":"syn","synack_rtt_us":1200,"path_rtt_us":null,
            "syn_retransmits":1,"synack_retransmits":0,"accept_wait_us":83,
            "established_us":1414444,"close_initiator":"remote","close_us":2600000,
            "phases_us":{"syn_sent":null,"syn_recv":6,"established":1414444,
            "fin_wait1":null,"fin_wait2":null,"close_wait":2599000,
            "closing":null,"last_ack":1000},
            "time_wait":false,"outcome":"closed",
            "bytes_sent":3565158,"bytes_received":512,"retransmits":2,"rtt_us":850,
            "observed_from":"start","events_lost":false}"#
        )
    );
}

#[test]
fn a_connection_of_which_nearly_nothing_is_known() {
    assert_eq!(
        connection(samples::bare()),
        one_line(
            r#"{"type":"connection","time_start":"2026-11-22T03:12:00.000000Z",
            "time_end":"2026-11-22T03:12:44.000000Z","role":null,
            "local_addr":"10.0.0.1","local_port":22,
            "remote_addr":"2001:db8:85a3:8d3:1319:8a2e:370:7348","remote_port":65535,
            "netns":4026531840,"pid":null,"comm":null,"cgroup":null,"container":null,
            "handshake_us":null,"handshake_source":null,"synack_rtt_us":null,"path_rtt_us":null,
            "syn_retransmits":null,"synack_retransmits":null,"accept_wait_us":null,
            "established_us":null,"close_initiator":null,"close_us":null,
            "phases_us":{"syn_sent":null,"syn_recv":null,"established":null,
            "fin_wait1":null,"fin_wait2":null,"close_wait":null,
            "closing":null,"last_ack":null},
            "time_wait":null,"outcome":"unknown",
            "bytes_sent":null,"bytes_received":null,"retransmits":null,"rtt_us":null,
            "observed_from":"middle","events_lost":true}"#
        )
    );
}

#[test]
fn zero_is_zero_and_not_null() {
    let line = connection(Connection {
        handshake: Some(0),
        close: Some(499),
        bytes_sent: Some(0),
        time_wait: Some(false),
        ..samples::bare()
    });
    for part in ["\"handshake_us\":0,", "\"close_us\":0,", "\"bytes_sent\":0,"] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[test]
fn names_can_neither_break_the_line_nor_steer_a_terminal() {
    let named = |comm: &[u8], path: &str| {
        connection(Connection {
            owner: samples::owner(comm, 1),
            cgroup: Some(Arc::new(CgroupName { path: path.to_owned(), container: None })),
            ..samples::full()
        })
    };
    let path = "/a\nb\u{7f}\u{202e}\u{9b}c\u{e0041}é日\\";
    let line = named(b"\x1b[31m\"\n\xff", path);
    assert!(line.contains(r#""comm":"\u001b[31m\"\n�""#), "{line}");
    assert!(line.contains(r#""cgroup":"/a\nb\u007f\u202e\u009bc\udb40\udc41é日\\""#), "{line}");
    // And a program reads what was there.
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["cgroup"], path);
    assert_eq!(value["container"], serde_json::Value::Null);
}

#[test]
fn every_name_is_the_documented_one() {
    let field = |line: &str, name: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()[name].clone()
    };
    for outcome in Outcome::ALL {
        let line = connection(Connection { outcome: Some(outcome), ..samples::full() });
        assert_eq!(field(&line, "outcome"), outcome.name());
    }
    for (source, name) in [
        (HandshakeSource::Syn, "syn"),
        (HandshakeSource::State, "state"),
        (HandshakeSource::Srtt, "srtt"),
        (HandshakeSource::Capture, "capture"),
    ] {
        let line = connection(Connection { handshake_source: Some(source), ..samples::full() });
        assert_eq!(field(&line, "handshake_source"), name);
    }
    for (initiator, name) in [
        (CloseInitiator::Local, "local"),
        (CloseInitiator::Remote, "remote"),
        (CloseInitiator::Both, "both"),
    ] {
        let line = connection(Connection {
            close_initiator: Some(initiator),
            role: Some(Role::Client),
            ..samples::full()
        });
        assert_eq!(field(&line, "close_initiator"), name);
        assert_eq!(field(&line, "role"), "client");
    }
}

#[test]
fn a_transition() {
    assert_eq!(
        rendered(|json, out| json.record(&Record::State(samples::state_change()), out)),
        one_line(
            r#"{"type":"state","time":"2026-11-22T03:12:44.015678Z",
            "old_state":"FIN_WAIT1","new_state":"FIN_WAIT2",
            "local_addr":"192.168.1.10","local_port":8080,
            "remote_addr":"10.0.0.7","remote_port":51234,
            "netns":4026531840,"cookie":4711}"#
        )
    );
}

#[test]
fn what_is_open_or_stuck_has_no_end_but_a_state() {
    let stuck = samples::stuck();
    let line = rendered(|json, out| json.record(&Record::Stuck(Box::new(stuck.clone())), out));
    let begin = r#"{"type":"stuck","time":"2026-11-22T03:13:43.000000Z","time_start":"2026-11-22T03:12:40.000000Z","time_end":null,"role":"server","#;
    assert!(line.starts_with(begin), "{line}");
    assert!(line.contains(r#""outcome":null,"#) && line.contains(r#""time_wait":null,"#));
    let end =
        r#""observed_from":"start","events_lost":false,"state":"CLOSE_WAIT","state_us":62000000}"#;
    assert!(line.trim_end().ends_with(end), "{line}");

    let open = rendered(|json, out| json.open(&[stuck.clone(), stuck], samples::at(0), out));
    assert_eq!(open, line.replace("\"stuck\"", "\"open\"").repeat(2));
}

fn alert(alert: crate::core::record::Alert) -> String {
    let record = Record::Alert(Box::new(alert));
    rendered(|json, out| json.record(&record, out))
}

#[test]
fn a_flood() {
    assert_eq!(
        alert(samples::flood()),
        one_line(
            r#"{"type":"flood","time":"2026-11-22T03:12:44.015678Z","event":"start",
            "netns":4026531840,"interfaces":["eth0","eth1"],
            "listener":{"addr":"192.168.1.10","port":8080},
            "verdict":"spoofed","severity":"confirmed",
            "syn_count":17123,"syn_rate":9876.5,"completed_ratio":0.012,"half_open":256,
            "sources_estimate":16900,"top_sources":[
            {"prefix":"203.0.113.0/24","syn_count":1712,"share":0.1},
            {"prefix":"198.51.100.7/32","syn_count":17,"share":0.001},
            {"prefix":"2001:db8:85a3:8d3::/64","syn_count":12,"share":0.001}],
            "queue":{"length":256,"limit":256},"cookies_sent_rate":9600.0,"evidence":[
            {"metric":"uncompleted_syns_per_second","value":9754.31,"threshold":100.0},
            {"metric":"syn_queue","value":256.0,"threshold":33.5},
            {"metric":"reverse_path_filter","value":12.0,"threshold":null}],
            "since":"2026-11-22T03:12:42.250000Z","until":"2026-11-22T03:12:44.015678Z"}"#
        )
    );
}

#[test]
fn a_notice_has_every_key_and_null_where_it_means_nothing() {
    assert_eq!(
        alert(samples::notice()),
        one_line(
            r#"{"type":"notice","time":"2026-11-22T03:12:44.015678Z","event":"start",
            "netns":4026531840,"interfaces":["eth0","eth1"],"listener":null,
            "verdict":"port_scan","severity":null,"syn_count":200,"syn_rate":100.0,
            "completed_ratio":null,"half_open":null,"sources_estimate":1,"top_sources":[],
            "queue":null,"cookies_sent_rate":null,"evidence":[],
            "since":"2026-11-22T03:12:42.250000Z","until":"2026-11-22T03:12:44.015678Z"}"#
        )
    );
}

#[test]
fn what_is_no_number_is_null() {
    use crate::core::record::{Alert, AlertEvent, Evidence};
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let line = alert(Alert {
            event: AlertEvent::End,
            syn_rate: bad,
            completed_ratio: Some(bad),
            cookies_sent_rate: Some(bad),
            evidence: vec![Evidence { metric: "m", value: bad, threshold: Some(bad) }],
            ..samples::flood()
        });
        for part in [
            r#""event":"end","#,
            r#""syn_rate":null,"completed_ratio":null,"#,
            r#""cookies_sent_rate":null,"#,
            r#"{"metric":"m","value":null,"threshold":null}"#,
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
    // Too large to be scaled is not lost, and there is no negative zero.
    let line = alert(Alert { syn_rate: 1e308, completed_ratio: Some(-1e-9), ..samples::flood() });
    assert!(line.contains(r#""syn_rate":1e+308,"completed_ratio":0.0,"#), "{line}");
}

#[test]
fn hosts_and_the_rest_of_them() {
    let lines = rendered(|json, out| {
        for scope in [Scope::Run, Scope::Interval, Scope::SoFar] {
            json.hosts(&samples::hosts(), samples::covered(scope, samples::at(103 * S)), out);
        }
    });
    let lines: Vec<_> = lines.lines().map(|line| format!("{line}\n")).collect();
    assert_eq!(
        lines[0],
        one_line(
            r#"{"type":"host","time":"2026-11-22T03:13:43.000000Z","scope":"run",
            "host":"10.0.0.7","interval_us":10000000,
            "connections":1234,"failed":12,"resets":3,"timeouts":0,"handshakes_failed":3,
            "handshake_us":{"count":1200,"p50":1000,"p90":3000,"p99":150000,"max":3000000},
            "close_us":{"count":1200,"p50":41,"p90":123,"p99":6150,"max":123000},
            "syn_count":1300,"half_open":2,"half_open_peak":14,"exact":true}"#
        )
    );
    assert!(lines[1].contains(r#""close_us":null,"syn_count":null,"half_open":null"#));
    assert!(lines[2].contains(r#""scope":"run","host":"others","#), "{}", lines[2]);
    assert!(lines[2].ends_with("\"exact\":false}\n"));
    for (line, scope) in [(3, "interval"), (6, "so_far")] {
        let scope = format!(r#""scope":"{scope}","host":"10.0.0.7""#);
        assert!(lines[line].contains(&scope), "{}", lines[line]);
    }
}

#[test]
fn the_end() {
    let end = End { events_lost: 7, output_dropped: 9, ..samples::end() };
    assert_eq!(
        rendered(|json, out| json.end(&end, samples::at(103 * S), out)),
        one_line(
            r#"{"type":"end","time":"2026-11-22T03:13:43.000000Z","connections":1234,"open":3,
            "events":5690,"events_lost":7,
            "syns":1300,"syns_repeated":12,"syns_unparsed":0,"handshakes_failed":4,
            "connections_evicted":0,"output_dropped":9,"duration_us":103000000}"#
        )
    );
}

#[test]
fn runs_of_programs_are_in_the_end_if_they_were_counted() {
    let runs = ProgramRuns { program: "tracer_state".to_owned(), runs: 12, took: 3_456_999 };
    let end = End { program_runs: Some(vec![runs]), ..samples::end() };
    let line = rendered(|json, out| json.end(&end, samples::at(103 * S), out));
    let runs = r#""program_runs":[{"program":"tracer_state","runs":12,"took_us":3457}]"#;
    assert!(line.contains(runs), "{line}");
}

#[test]
fn the_start() {
    let start = Start {
        limits: Limits {
            stuck_after: vec![
                (TcpState::SynSent, Some(Duration::from_millis(3_500))),
                (TcpState::CloseWait, None),
            ],
            ..samples::start().limits
        },
        ..samples::start()
    };
    assert_eq!(
        rendered(|json, out| json.start(&start, out)),
        one_line(
            r#"{"type":"start","time":"2026-11-22T03:12:00.000000Z","version":"0.1.0",
            "kernel":"6.18.5-1-amd64","hooks":[
            {"name":"state","mode":"tp_btf","interface":null,"attached":true,"reason":null},
            {"name":"accept","mode":null,"interface":null,"attached":false,
            "reason":"the kernel refuses fexit (EPERM)"},
            {"name":"syn","mode":"xdp generic","interface":"lo","attached":true,
            "reason":"loopback"},
            {"name":"syn","mode":"tcx","interface":"eth0","attached":true,
            "reason":"XDP would reset the link"},
            {"name":"syn","mode":"tcx","interface":"docker0","attached":true,"reason":null},
            {"name":"syn","mode":null,"interface":"wlan0","attached":false,
            "reason":"another XDP program is there"}],
            "filters":{"port":["8080"],"failed":true},"ring_size":4194304,
            "limits":{"max_connections":262144,"max_hosts":8192,
            "stuck_after_s":{"SYN_SENT":3.5,"CLOSE_WAIT":null}},
            "cannot":["server handshakes in other network namespaces come from srtt"]}"#
        )
    );
}

#[test]
fn the_start_says_where_metrics_are_served() {
    let metrics = Some("127.0.0.1:4711".parse().unwrap());
    let line = rendered(|json, out| json.start(&Start { metrics, ..samples::start() }, out));
    assert!(line.contains(r#","metrics":"http://127.0.0.1:4711/metrics"}"#), "{line}");
}

#[test]
fn durations_are_rounded_and_times_are_cut() {
    let line = connection(Connection {
        handshake: Some(MS - 500),
        rtt: Some(MS - 501),
        end: samples::at(S - 1),
        ..samples::full()
    });
    assert!(line.contains("\"handshake_us\":1000,"));
    assert!(line.contains("\"rtt_us\":999,"));
    assert!(line.contains("\"time_end\":\"2026-11-22T03:12:00.999999Z\""));
}

#[test]
fn a_segment() {
    assert_eq!(
        rendered(|json, out| json.record(&Record::Segment(Box::new(samples::segment())), out)),
        one_line(
            r#"{"type":"segment","time":"2026-11-22T03:12:40.000042Z","frame":7,"connection":3,
            "client_addr":"192.0.2.1","client_port":50000,"server_addr":"192.0.2.2",
            "server_port":8080,"roles_known":true,"from":"server","flags":["FIN","ACK"],"seq":301,
            "ack":20,"length":0,"window":64240,"client_state":"TIME_WAIT",
            "server_state":"LAST_ACK","step":"close 2+3/4","odd":["ack_with_fin"]}"#
        )
    );
}

#[test]
fn out_of_a_capture_there_is_neither_kernel_nor_namespace() {
    let path = PathRtt { syn_to_synack: Some(12 * MS), synack_to_ack: None };
    let line = connection(Connection { netns: 0, path_rtt: Some(path), ..samples::full() });
    assert!(line.contains(r#""netns":null,"#), "{line}");
    let path = r#""path_rtt_us":{"syn_to_synack":12000,"synack_to_ack":null}"#;
    assert!(line.contains(path), "{line}");
    let capture = Capture {
        file: "a.pcap".to_owned(),
        link_types: vec!["Ethernet".to_owned()],
        interfaces: Vec::new(),
        decap: false,
        local: vec!["192.0.2.0/24".to_owned()],
        segments: true,
    };
    let start = Start { kernel: None, ring_size: None, capture: Some(capture), ..samples::start() };
    let line = rendered(|json, out| json.start(&start, out));
    assert!(line.contains(r#""kernel":null,"#) && line.contains(r#""ring_size":null,"#), "{line}");
    let capture = r#""capture":{"file":"a.pcap","link_types":["Ethernet"],"interfaces":[],
        "decap":false,"local":["192.0.2.0/24"],"segments":true}"#;
    assert!(line.contains(one_line(capture).trim_end()), "{line}");
    let frames = Frames { read: 10, tcp: 7, not_tcp: 2, unparsed: 1, ..Frames::default() };
    let end = End { frames: Some(frames), ..samples::end() };
    let line = rendered(|json, out| json.end(&end, samples::at(103 * S), out));
    let frames = r#""frames":{"read":10,"tcp":7,"not_tcp":2,"unparsed":1,"other_link":0,
        "untimed":0,"dropped":0},"duration_us""#;
    assert!(line.contains(one_line(frames).trim_end()), "{line}");
}
