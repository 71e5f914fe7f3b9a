//! Records to render in tests.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::tz::TimeZone;
use tracer_common::packet::tcp_flags;
use tracer_common::state::TcpState;

use super::{Covered, Hook, Limits, Scope, Start, WallClock};
use crate::core::event::{CgroupName, Comm, MonoNs, Owner};
use crate::core::record::{
    Alert, AlertEvent, CloseInitiator, Connection, End, Evidence, HandshakeSource, Host, Network,
    ObservedFrom, Oddity, OpenConnection, Outcome, Phases, Quantiles, Queue, Role, SegmentRow,
    Sender, Severity, StateChange, Step, TopSource, Verdict,
};
use crate::filter::Described;

pub(crate) const US: u64 = 1_000;
pub(crate) const MS: u64 = 1_000 * US;
pub(crate) const S: u64 = 1_000 * MS;

/// Monotonic 0 is 2026-11-22 03:12:00.000000 UTC.
pub(crate) fn clock() -> WallClock {
    WallClock::new(MonoNs(0), 1_795_317_120_000_000_000, TimeZone::UTC)
}

pub(crate) fn at(ns: u64) -> MonoNs {
    MonoNs(ns)
}

pub(crate) fn owner(name: &[u8], pid: u32) -> Option<Owner> {
    Some(Owner { pid, comm: Comm::from_bytes(name) })
}

/// A server's connection of which everything is known.
pub(crate) fn full() -> Connection {
    Connection {
        cookie: 4711,
        start: at(40 * S),
        end: at(44 * S + 15_678_901),
        role: Some(Role::Server),
        local: "192.168.1.10:8080".parse().unwrap(),
        remote: "10.0.0.7:51234".parse().unwrap(),
        netns: 4_026_531_840,
        owner: owner(b"nginx", 123_456),
        cgroup: Some(Arc::new(CgroupName {
            path: "/system.slice/docker-3f2a9c0d1e4b5a6978.scope".to_owned(),
            container: Some("3f2a9c0d1e4b5a6978".to_owned()),
        })),
        handshake: Some(1_234_567),
        handshake_source: Some(HandshakeSource::Syn),
        synack_rtt: Some(1_200_499),
        path_rtt: None,
        syn_retransmits: Some(1),
        synack_retransmits: Some(0),
        accept_wait: Some(83_000),
        close_initiator: Some(CloseInitiator::Remote),
        close: Some(2 * S + 600 * MS),
        phases: Phases {
            syn_sent: None,
            syn_recv: Some(6_000),
            established: Some(S + 414 * MS + 444_334),
            fin_wait1: None,
            fin_wait2: None,
            close_wait: Some(2 * S + 599 * MS),
            closing: None,
            last_ack: Some(MS),
        },
        time_wait: Some(false),
        outcome: Some(Outcome::Closed),
        bytes_sent: Some(3_565_158),
        bytes_received: Some(512),
        retransmits: Some(2),
        rtt: Some(850 * US),
        observed_from: ObservedFrom::Start,
        events_lost: false,
    }
}

/// A connection of which nearly nothing is known.
pub(crate) fn bare() -> Connection {
    Connection {
        cookie: 1,
        start: at(0),
        end: at(44 * S),
        role: None,
        local: "10.0.0.1:22".parse().unwrap(),
        remote: "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:65535".parse().unwrap(),
        netns: 4_026_531_840,
        owner: None,
        cgroup: None,
        handshake: None,
        handshake_source: None,
        synack_rtt: None,
        path_rtt: None,
        syn_retransmits: None,
        synack_retransmits: None,
        accept_wait: None,
        close_initiator: None,
        close: None,
        phases: Phases::default(),
        time_wait: None,
        outcome: Some(Outcome::Unknown),
        bytes_sent: None,
        bytes_received: None,
        retransmits: None,
        rtt: None,
        observed_from: ObservedFrom::Middle,
        events_lost: true,
    }
}

/// A few minutes of a host's life.
pub(crate) fn stream() -> Vec<Connection> {
    let client = Connection {
        role: Some(Role::Client),
        local: "192.168.1.10:40112".parse().unwrap(),
        remote: "192.168.100.200:5432".parse().unwrap(),
        owner: owner(b"postgres-exporter", 1_234_567),
        cgroup: None,
        handshake: Some(310 * US),
        handshake_source: Some(HandshakeSource::State),
        syn_retransmits: Some(0),
        synack_retransmits: None,
        accept_wait: None,
        close_initiator: Some(CloseInitiator::Local),
        close: Some(450 * US),
        phases: Phases {
            syn_sent: Some(310 * US),
            established: Some(4 * S),
            fin_wait1: Some(440 * US),
            fin_wait2: Some(10 * US),
            ..Phases::default()
        },
        time_wait: Some(true),
        retransmits: Some(0),
        ..full()
    };
    let failed = |outcome, life: u64, retransmits| Connection {
        start: at(44 * S),
        end: at(44 * S + life),
        remote: "10.20.30.40:443".parse().unwrap(),
        owner: owner(b"curl", 998),
        handshake: None,
        handshake_source: None,
        synack_rtt: None,
        path_rtt: None,
        syn_retransmits: Some(retransmits),
        close_initiator: None,
        close: None,
        phases: Phases { syn_sent: Some(life), ..Phases::default() },
        time_wait: Some(false),
        outcome: Some(outcome),
        bytes_sent: Some(0),
        bytes_received: Some(0),
        rtt: None,
        ..client.clone()
    };
    vec![
        full(),
        client.clone(),
        failed(Outcome::Refused, 412 * US, 0),
        failed(Outcome::TimedOut, 134 * S, 6),
        Connection {
            outcome: Some(Outcome::ResetByRemote),
            close: None,
            close_initiator: None,
            syn_retransmits: Some(0),
            remote: "[2001:db8::7]:51236".parse().unwrap(),
            local: "[2001:db8::1]:8080".parse().unwrap(),
            ..full()
        },
        Connection {
            handshake: Some(3 * S + 20 * MS),
            syn_retransmits: Some(2),
            close_initiator: Some(CloseInitiator::Both),
            close: Some(300 * US),
            ..client
        },
        bare(),
    ]
}

pub(crate) fn state_change() -> StateChange {
    StateChange {
        at: at(44 * S + 15_678_901),
        old: TcpState::FinWait1,
        new: TcpState::FinWait2,
        local: "192.168.1.10:8080".parse().unwrap(),
        remote: "10.0.0.7:51234".parse().unwrap(),
        netns: 4_026_531_840,
        cookie: 4711,
    }
}

/// A connection whose peer has closed and whose owner has not.
pub(crate) fn stuck() -> OpenConnection {
    OpenConnection {
        connection: Connection {
            outcome: None,
            close: None,
            time_wait: None,
            phases: Phases { syn_recv: Some(6_000), established: Some(S), ..Phases::default() },
            start: at(40 * S),
            end: at(103 * S),
            ..full()
        },
        state: TcpState::CloseWait,
        in_state: 62 * S,
    }
}

pub(crate) fn open() -> Vec<OpenConnection> {
    let established = |age: u64, name: &[u8], remote: &str| OpenConnection {
        connection: Connection {
            start: at(103 * S - age),
            remote: remote.parse().unwrap(),
            owner: owner(name, 4321),
            ..stuck().connection
        },
        state: TcpState::Established,
        in_state: age - MS,
    };
    vec![
        established(12 * S, b"nginx", "10.0.0.9:50001"),
        stuck(),
        OpenConnection {
            state: TcpState::Established,
            in_state: 102 * S,
            connection: Connection { outcome: None, start: at(0), end: at(103 * S), ..bare() },
        },
    ]
}

/// A flood of which everything is known.
pub(crate) fn flood() -> Alert {
    let top = |addr: &str, len, syn_count, share| TopSource {
        prefix: Network { addr: addr.parse().unwrap(), len },
        syn_count,
        share,
    };
    let evidence = |metric, value, threshold| Evidence { metric, value, threshold };
    Alert {
        at: at(44 * S + 15_678_901),
        event: AlertEvent::Start,
        netns: 4_026_531_840,
        interfaces: vec!["eth0".to_owned(), "eth1".to_owned()],
        listener: Some("192.168.1.10:8080".parse().unwrap()),
        verdict: Verdict::Spoofed,
        severity: Some(Severity::Confirmed),
        syn_count: 17_123,
        syn_rate: 9_876.543,
        completed_ratio: Some(0.012_345),
        half_open: Some(256),
        sources_estimate: Some(16_900),
        top_sources: vec![
            top("203.0.113.0", 24, 1_712, 0.099_98),
            top("198.51.100.7", 32, 17, 0.000_99),
            top("2001:db8:85a3:8d3::", 64, 12, 0.000_7),
        ],
        queue: Some(Queue { length: 256, limit: 256 }),
        cookies_sent_rate: Some(9_600.04),
        evidence: vec![
            evidence(Evidence::UNCOMPLETED, 9_754.31, Some(100.0)),
            evidence("syn_queue", 256.0, Some(33.5)),
            evidence("reverse_path_filter", 12.0, None),
        ],
        since: at(42 * S + 250 * MS),
        until: at(44 * S + 15_678_901),
    }
}

/// What looks like a flood and is none, with little known of it.
pub(crate) fn notice() -> Alert {
    Alert {
        event: AlertEvent::Start,
        listener: None,
        verdict: Verdict::PortScan,
        severity: None,
        syn_count: 200,
        syn_rate: 100.0,
        completed_ratio: None,
        half_open: None,
        sources_estimate: Some(1),
        top_sources: Vec::new(),
        queue: None,
        cookies_sent_rate: None,
        evidence: Vec::new(),
        ..flood()
    }
}

pub(crate) fn hosts() -> Vec<Host> {
    let quantiles = |ns: u64| {
        Some(Quantiles { count: 1200, p50: ns, p90: 3 * ns, p99: 150 * ns, max: 3_000 * ns })
    };
    let host = |host: Option<&str>| Host {
        host: host.map(|host| host.parse::<IpAddr>().unwrap()),
        interval: 10 * S,
        connections: 1234,
        failed: 12,
        resets: 3,
        timeouts: 0,
        handshakes_failed: 3,
        handshake: quantiles(MS),
        close: quantiles(41 * US),
        syn_count: Some(1300),
        half_open: Some(2),
        half_open_peak: Some(14),
        exact: true,
    };
    vec![
        host(Some("10.0.0.7")),
        Host {
            failed: 0,
            resets: 0,
            handshakes_failed: 0,
            close: None,
            syn_count: None,
            half_open: None,
            half_open_peak: None,
            ..host(Some("2001:db8:85a3:8d3:1319:8a2e:370:7348"))
        },
        Host { exact: false, connections: 98_765, handshakes_failed: 0, ..host(None) },
    ]
}

/// Ten seconds up to `at`, as the rows of [`hosts`] say.
pub(crate) fn covered(scope: Scope, at: MonoNs) -> Covered {
    Covered { scope, from: MonoNs(at.0 - 10 * S), at }
}

pub(crate) fn end() -> End {
    End {
        connections: 1234,
        open: 3,
        events: 5690,
        events_lost: 0,
        syns: Some(1300),
        syns_repeated: Some(12),
        syns_unparsed: Some(0),
        handshakes_failed: 4,
        connections_evicted: 0,
        output_dropped: 0,
        program_runs: None,
        frames: None,
        duration: 103 * S,
    }
}

pub(crate) fn start() -> Start {
    let hook =
        |name: &str, mode: Option<&str>, interface: Option<&str>, reason: Option<&str>| Hook {
            name: name.to_owned(),
            mode: mode.map(str::to_owned),
            interface: interface.map(str::to_owned),
            attached: mode.is_some(),
            reason: reason.map(str::to_owned),
        };
    let mut filters = Described::default();
    filters.values("port", ["8080"]);
    filters.flag("failed", true);
    Start {
        time: at(0),
        version: "0.1.0",
        kernel: Some("6.18.5-1-amd64".to_owned()),
        hooks: vec![
            hook("state", Some("tp_btf"), None, None),
            hook("accept", None, None, Some("the kernel refuses fexit (EPERM)")),
            hook("syn", Some("xdp generic"), Some("lo"), Some("loopback")),
            hook("syn", Some("tcx"), Some("eth0"), Some("XDP would reset the link")),
            hook("syn", Some("tcx"), Some("docker0"), None),
            hook("syn", None, Some("wlan0"), Some("another XDP program is there")),
        ],
        filters,
        ring_size: Some(4 << 20),
        limits: Limits { max_connections: 262_144, max_hosts: 8192, stuck_after: Vec::new() },
        cannot: vec!["server handshakes in other network namespaces come from srtt".to_owned()],
        metrics: None,
        capture: None,
    }
}

/// The FIN of a three-segment close, of a capture.
pub(crate) fn segment() -> SegmentRow {
    SegmentRow {
        at: at(40 * S + 42 * US),
        number: 7,
        connection: 3,
        client: "192.0.2.1:50000".parse().expect("one"),
        server: "192.0.2.2:8080".parse().expect("one"),
        roles_known: true,
        from: Sender::Server,
        flags: tcp_flags::FIN | tcp_flags::ACK,
        seq: 301,
        ack: Some(20),
        payload: 0,
        window: Some(64_240),
        client_state: Some(TcpState::TimeWait),
        server_state: Some(TcpState::LastAck),
        step: Some(Step::CloseTwoInOne),
        oddities: [Oddity::AckWithFin].into_iter().collect(),
    }
}
