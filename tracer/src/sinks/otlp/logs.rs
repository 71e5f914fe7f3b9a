//! Records as OpenTelemetry logs. `docs/otlp.md` has the table of names.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use tracer_common::state::TcpState;

use super::attribute::{Attributes, seconds};
use crate::core::event::MonoNs;
use crate::core::record::{
    Alert, AlertEvent, CloseInitiator, Connection, Evidence, HandshakeSource, Oddity,
    OpenConnection, Outcome, PathRtt, Phases, Queue, Record, Role, SegmentRow, Severity,
    StateChange, TopSource,
};
use crate::report::WallClock;
use crate::report::units::{inode, rate, ratio};

#[cfg(test)]
mod tests;

/// A record and the clocks at the time when it came.
pub(super) struct Item {
    pub(super) record: Record,
    /// Nanoseconds since 1970 at monotonic 0.
    clock: i128,
    /// When it was handed over, nanoseconds since 1970.
    observed: u64,
}

impl Item {
    pub(super) fn new(record: &Record, clock: &WallClock, now: SystemTime) -> Self {
        let observed = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Self {
            record: record.clone(),
            clock: clock.unix_ns(MonoNs(0)),
            observed: u64::try_from(observed).unwrap_or(u64::MAX),
        }
    }

    /// Memory that it takes, bytes, about.
    pub(super) fn size(&self) -> usize {
        let connection = |connection: &Connection| {
            // A name is shared with others; here it counts each time.
            let name = connection.cgroup.as_ref().map_or(0, |cgroup| {
                cgroup.path.len() + cgroup.container.as_ref().map_or(0, String::len)
            });
            size_of::<Connection>() + name
        };
        let boxed = match &self.record {
            Record::Connection(of) => connection(of),
            Record::Stuck(stuck) => connection(&stuck.connection) + size_of::<OpenConnection>(),
            Record::State(_) => 0,
            Record::Segment(_) => size_of::<SegmentRow>(),
            Record::Alert(alert) => {
                size_of::<Alert>()
                    + size_of_val(alert.top_sources.as_slice())
                    + size_of_val(alert.evidence.as_slice())
                    + alert.interfaces.iter().map(|name| name.len() + 24).sum::<usize>()
            }
        };
        size_of::<Self>() + boxed
    }

    pub(super) fn to_log(&self) -> LogRecord {
        let (event, at, severity, body, attributes) = match &self.record {
            Record::Connection(connection) => {
                let severity = match connection.failed() {
                    true => SeverityNumber::Warn,
                    false => SeverityNumber::Info,
                };
                let outcome = connection.outcome.map_or("open", Outcome::name);
                let body = format!("{} {outcome}", ends(connection));
                let attributes = of_connection(connection);
                ("tracer.connection", connection.end, severity, body, attributes)
            }
            Record::Stuck(stuck) => {
                let OpenConnection { connection, state, in_state } = &**stuck;
                let mut attributes = of_connection(connection);
                attributes.add("network.connection.state", state_name(*state));
                attributes.seconds("tracer.state.duration", *in_state);
                let body =
                    format!("{} stuck in {state} for {} s", ends(connection), seconds(*in_state));
                ("tracer.stuck", connection.end, SeverityNumber::Warn, body, attributes)
            }
            Record::State(change) => {
                let StateChange { at, old, new, local, remote, .. } = change;
                let body = format!("{local} - {remote} {old} to {new}");
                ("tracer.state", *at, SeverityNumber::Debug, body, of_change(change))
            }
            Record::Segment(row) => {
                let body = format!("{} - {} {}", row.client, row.server, row.from.name());
                ("tracer.segment", row.at, SeverityNumber::Debug, body, of_segment(row))
            }
            Record::Alert(alert) => {
                let flood = alert.verdict.is_flood();
                let what = if flood { "SYN flood" } else { "notice" };
                let verdict = alert.verdict.name();
                let body = match alert.listener {
                    Some(listener) => format!("{what}, {verdict}, {listener}"),
                    None => format!("{what}, {verdict}"),
                };
                let body = format!("{body}: {}", alert.event.name());
                let event = if flood { "tracer.flood" } else { "tracer.notice" };
                (event, alert.at, severity(alert), body, self.of_alert(alert))
            }
        };
        LogRecord {
            time_unix_nano: unix(self.clock, at),
            observed_time_unix_nano: self.observed,
            severity_number: severity.into(),
            // The short name of the number, as the specification has it.
            severity_text: severity.as_str_name().trim_start_matches("SEVERITY_NUMBER_").to_owned(),
            body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
            attributes: attributes.0,
            event_name: event.to_owned(),
            ..LogRecord::default()
        }
    }

    fn of_alert(&self, alert: &Alert) -> Attributes {
        let Alert {
            at: _,
            event,
            netns,
            interfaces,
            listener,
            verdict,
            severity,
            syn_count,
            syn_rate,
            completed_ratio,
            half_open,
            sources_estimate,
            top_sources,
            queue,
            cookies_sent_rate,
            evidence,
            since,
            until,
        } = alert;
        let mut all = Attributes::with_capacity(24);
        all.add("tracer.alert.event", event.name());
        all.add("tracer.alert.verdict", verdict.name());
        all.add("tracer.alert.severity", severity.map(Severity::name));
        // The same in all records of an incident: it tells one from another.
        let clock = WallClock::new(MonoNs(0), self.clock, TimeZone::UTC);
        all.add("tracer.alert.since", clock.utc(*since).to_string());
        all.add("tracer.alert.until", clock.utc(*until).to_string());
        all.add("tracer.netns", inode(*netns));
        all.add("tracer.interfaces", interfaces.clone());
        if let Some(listener) = listener {
            all.layers(*listener);
            all.address("network.local.address", "network.local.port", *listener);
        }
        all.add("tracer.syn.count", *syn_count);
        all.add("tracer.syn.rate", rate(*syn_rate));
        all.add("tracer.syn.completed_ratio", completed_ratio.and_then(ratio));
        all.add("tracer.syn.sources_estimate", *sources_estimate);
        all.add("tracer.half_open", *half_open);
        if let Some(Queue { length, limit }) = queue {
            all.add("tracer.syn_queue.length", *length);
            all.add("tracer.syn_queue.limit", *limit);
        }
        all.add("tracer.cookies_sent.rate", cookies_sent_rate.and_then(rate));
        let top = top_sources.iter().map(|TopSource { prefix, syn_count, share }| {
            let mut one = Attributes::default();
            one.add("prefix", prefix.to_string());
            one.add("syn_count", *syn_count);
            one.add("share", ratio(*share));
            one
        });
        all.add("tracer.top_sources", top.collect::<Vec<_>>());
        let evidence = evidence.iter().map(|Evidence { metric, value, threshold }| {
            let mut one = Attributes::default();
            one.add("metric", *metric);
            one.add("value", ratio(*value));
            one.add("threshold", threshold.and_then(ratio));
            one
        });
        all.add("tracer.evidence", evidence.collect::<Vec<_>>());
        all
    }
}

/// Nanoseconds since 1970, of the monotonic clock's.
fn unix(clock: i128, at: MonoNs) -> u64 {
    let ns = clock.saturating_add(i128::from(at.0));
    u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
}

/// A notice is syslog's "notice", which OpenTelemetry puts at INFO2.
fn severity(alert: &Alert) -> SeverityNumber {
    match (alert.event, alert.severity) {
        (AlertEvent::End, _) => SeverityNumber::Info,
        (_, None) => SeverityNumber::Info2,
        (_, Some(Severity::Suspected)) => SeverityNumber::Warn,
        (_, Some(Severity::Confirmed)) => SeverityNumber::Error,
        (_, Some(Severity::Impact)) => SeverityNumber::Error2,
    }
}

/// Who with whom, from client to server. Nothing in it is chosen by a stranger.
fn ends(connection: &Connection) -> String {
    let Connection { local, remote, .. } = connection;
    match connection.role {
        Some(Role::Client) => format!("{local} to {remote}"),
        Some(Role::Server) => format!("{remote} to {local}"),
        None => format!("{local} - {remote}"),
    }
}

/// The semantic conventions' name of a state (`network.connection.state`).
const fn state_name(state: TcpState) -> &'static str {
    match state {
        TcpState::Established => "established",
        TcpState::SynSent => "syn_sent",
        TcpState::SynRecv => "syn_received",
        TcpState::FinWait1 => "fin_wait_1",
        TcpState::FinWait2 => "fin_wait_2",
        TcpState::TimeWait => "time_wait",
        TcpState::Close => "closed",
        TcpState::CloseWait => "close_wait",
        TcpState::LastAck => "last_ack",
        TcpState::Listen => "listen",
        TcpState::Closing => "closing",
    }
}

fn of_change(change: &StateChange) -> Attributes {
    let StateChange { at: _, old, new, local, remote, netns, cookie } = change;
    let mut all = Attributes::with_capacity(10);
    all.layers(*local);
    all.address("network.local.address", "network.local.port", *local);
    all.address("network.peer.address", "network.peer.port", *remote);
    all.add("network.connection.state", state_name(*new));
    all.add("tracer.state.previous", state_name(*old));
    all.add("tracer.netns", inode(*netns));
    // Any 64 bits: a number of the protocol has only 63.
    all.add("tracer.socket.cookie", cookie.to_string());
    all
}

fn of_segment(row: &SegmentRow) -> Attributes {
    let SegmentRow {
        at: _,
        number,
        connection,
        client,
        server,
        roles_known: _,
        from,
        flags,
        seq,
        ack,
        payload,
        window,
        client_state,
        server_state,
        step,
        oddities,
    } = row;
    let mut all = Attributes::with_capacity(18);
    all.layers(*client);
    all.address("client.address", "client.port", *client);
    all.address("server.address", "server.port", *server);
    all.add("tracer.segment.frame", *number);
    all.add("tracer.segment.connection", *connection);
    all.add("tracer.segment.from", from.name());
    all.add("tracer.segment.flags", u32::from(*flags));
    all.add("tracer.segment.seq", *seq);
    all.add("tracer.segment.ack", *ack);
    all.add("tracer.segment.payload", *payload);
    all.add("tracer.segment.window", *window);
    all.add("tracer.segment.client_state", client_state.map(state_name));
    all.add("tracer.segment.server_state", server_state.map(state_name));
    all.add("tracer.segment.step", step.map(|step| step.to_string()));
    let odd: Vec<_> = oddities.iter().map(Oddity::name).collect();
    all.add("tracer.segment.odd", (!odd.is_empty()).then(|| odd.join(",")));
    all
}

fn of_connection(connection: &Connection) -> Attributes {
    let Connection {
        cookie: _,
        start,
        end,
        role,
        local,
        remote,
        netns,
        owner,
        cgroup,
        handshake,
        handshake_source,
        synack_rtt,
        path_rtt,
        syn_retransmits,
        synack_retransmits,
        accept_wait,
        close_initiator,
        close,
        phases,
        time_wait,
        outcome,
        bytes_sent,
        bytes_received,
        retransmits,
        rtt,
        observed_from,
        events_lost,
    } = connection;
    let mut all = Attributes::with_capacity(40);
    all.layers(*local);
    all.address("network.local.address", "network.local.port", *local);
    all.address("network.peer.address", "network.peer.port", *remote);
    let failed = outcome.filter(|outcome| outcome.failed());
    all.add("error.type", failed.map(Outcome::name));
    if let Some(owner) = owner {
        all.add("process.pid", owner.pid);
        let name = String::from_utf8_lossy(owner.comm.as_bytes());
        all.add("process.executable.name", &*name);
    }
    if let Some(cgroup) = cgroup {
        all.add("container.id", cgroup.container.as_deref());
        all.add("tracer.cgroup", cgroup.path.as_str());
    }
    all.add("tracer.netns", inode(*netns));
    all.add("tracer.role", role.map(Role::name));
    all.add("tracer.outcome", outcome.map(Outcome::name));
    all.seconds("tracer.duration", end.since(*start));
    all.seconds("tracer.handshake.duration", *handshake);
    all.add("tracer.handshake.source", handshake_source.map(HandshakeSource::name));
    all.seconds("tracer.handshake.rtt", *synack_rtt);
    if let Some(PathRtt { syn_to_synack, synack_to_ack }) = *path_rtt {
        all.seconds("tracer.path.syn_to_synack", syn_to_synack);
        all.seconds("tracer.path.synack_to_ack", synack_to_ack);
    }
    all.add("tracer.syn.retransmits", *syn_retransmits);
    all.add("tracer.synack.retransmits", *synack_retransmits);
    all.seconds("tracer.accept.duration", *accept_wait);
    all.add("tracer.close.initiator", close_initiator.map(CloseInitiator::name));
    all.seconds("tracer.close.duration", *close);
    for (state, took) in Phases::STATES.into_iter().zip(phases.in_order()) {
        all.seconds(&format!("tracer.phase.{}", state_name(state)), took);
    }
    all.add("tracer.time_wait", *time_wait);
    all.add("tracer.bytes.sent", *bytes_sent);
    all.add("tracer.bytes.received", *bytes_received);
    all.add("tracer.retransmits", *retransmits);
    all.seconds("tracer.rtt", *rtt);
    all.add("tracer.observed_from", observed_from.name());
    all.add("tracer.events_lost", *events_lost);
    all
}
