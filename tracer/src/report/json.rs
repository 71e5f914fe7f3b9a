//! JSON Lines: one object a line, `type` first.
//!
//! Times are RFC 3339 UTC, durations whole microseconds, what is not known is null.

use std::io;

use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

use super::clock::WallClock;
use super::escape::is_harmful;
use super::start::Start;
use super::units::{inode, micros};
use super::{Report, Scope};
use crate::core::event::MonoNs;
use crate::core::record::{
    CloseInitiator, Connection, End, HandshakeSource, Host, OpenConnection, Outcome, ProgramRuns,
    Record, Role, StateChange,
};

mod alert;
mod check;
mod line;
mod segment;

#[cfg(test)]
mod tests;

use alert::AlertLine;
use line::{
    ConnectionLine, EndLine, EndedLine, HostLine, HostName, OpenLine, PhasesLine, ProgramRunsLine,
    QuantilesLine, StartLine, StateLine,
};
use segment::SegmentLine;

/// Reports for programs.
#[derive(Debug)]
pub struct Json {
    clock: WallClock,
}

impl Json {
    /// With `clock` for the times.
    #[must_use]
    pub const fn new(clock: WallClock) -> Self {
        Self { clock }
    }

    fn connection<'a>(&self, connection: &'a Connection) -> ConnectionLine<'a> {
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
        ConnectionLine {
            time_start: self.clock.utc(*start),
            // An open connection has no end yet.
            time_end: outcome.is_some().then(|| self.clock.utc(*end)),
            role: role.map(Role::name),
            local_addr: local.ip(),
            local_port: local.port(),
            remote_addr: remote.ip(),
            remote_port: remote.port(),
            netns: inode(*netns),
            pid: owner.map(|owner| owner.pid),
            comm: owner.as_ref().map(|owner| String::from_utf8_lossy(owner.comm.as_bytes())),
            cgroup: cgroup.as_ref().map(|cgroup| cgroup.path.as_str()),
            container: cgroup.as_ref().and_then(|cgroup| cgroup.container.as_deref()),
            handshake_us: handshake.map(micros),
            handshake_source: handshake_source.map(HandshakeSource::name),
            synack_rtt_us: synack_rtt.map(micros),
            path_rtt_us: path_rtt.map(Into::into),
            syn_retransmits: *syn_retransmits,
            synack_retransmits: *synack_retransmits,
            accept_wait_us: accept_wait.map(micros),
            established_us: phases.established.map(micros),
            close_initiator: close_initiator.map(CloseInitiator::name),
            close_us: close.map(micros),
            phases_us: PhasesLine::from(phases),
            time_wait: *time_wait,
            outcome: outcome.map(Outcome::name),
            bytes_sent: *bytes_sent,
            bytes_received: *bytes_received,
            retransmits: *retransmits,
            rtt_us: rtt.map(micros),
            observed_from: observed_from.name(),
            events_lost: *events_lost,
        }
    }

    fn open_line(&self, kind: &'static str, open: &OpenConnection, out: &mut BytesMut) {
        let OpenConnection { connection, state, in_state } = open;
        let line = OpenLine {
            kind,
            time: self.clock.utc(connection.end),
            connection: self.connection(connection),
            state: state.name(),
            state_us: micros(*in_state),
        };
        write_line(&line, out);
    }
}

impl Report for Json {
    fn start(&mut self, start: &Start, out: &mut BytesMut) {
        let Start { time, version, kernel, hooks, filters, ring_size, limits, cannot, capture } =
            start;
        let line = StartLine {
            kind: "start",
            time: self.clock.utc(*time),
            version,
            kernel: kernel.as_deref(),
            hooks,
            filters,
            ring_size: *ring_size,
            limits,
            cannot,
            capture: capture.as_ref(),
        };
        write_line(&line, out);
    }

    fn record(&mut self, record: &Record, out: &mut BytesMut) {
        match record {
            Record::Connection(connection) => {
                let line =
                    EndedLine { kind: "connection", connection: self.connection(connection) };
                write_line(&line, out);
            }
            Record::State(change) => {
                let StateChange { at, old, new, local, remote, netns, cookie } = change;
                let line = StateLine {
                    kind: "state",
                    time: self.clock.utc(*at),
                    old_state: old.name(),
                    new_state: new.name(),
                    local_addr: local.ip(),
                    local_port: local.port(),
                    remote_addr: remote.ip(),
                    remote_port: remote.port(),
                    netns: inode(*netns),
                    cookie: *cookie,
                };
                write_line(&line, out);
            }
            Record::Stuck(stuck) => self.open_line("stuck", stuck, out),
            Record::Alert(alert) => write_line(&AlertLine::new(alert, &self.clock), out),
            Record::Segment(row) => write_line(&SegmentLine::new(row, &self.clock), out),
        }
    }

    fn hosts(&mut self, hosts: &[Host], _scope: Scope, _at: MonoNs, out: &mut BytesMut) {
        for host in hosts {
            let Host {
                host,
                interval,
                connections,
                failed,
                resets,
                timeouts,
                handshakes_failed,
                handshake,
                close,
                syn_count,
                half_open,
                half_open_peak,
                exact,
            } = host;
            let line = HostLine {
                kind: "host",
                host: HostName(*host),
                interval_us: micros(*interval),
                connections: *connections,
                failed: *failed,
                resets: *resets,
                timeouts: *timeouts,
                handshakes_failed: *handshakes_failed,
                handshake_us: handshake.map(QuantilesLine::from),
                close_us: close.map(QuantilesLine::from),
                syn_count: *syn_count,
                half_open: *half_open,
                half_open_peak: *half_open_peak,
                exact: *exact,
            };
            write_line(&line, out);
        }
    }

    fn open(&mut self, open: &[OpenConnection], _at: MonoNs, out: &mut BytesMut) {
        for connection in open {
            self.open_line("open", connection, out);
        }
    }

    fn end(&mut self, end: &End, out: &mut BytesMut) {
        let End {
            connections,
            open,
            events,
            events_lost,
            syns,
            syns_repeated,
            syns_unparsed,
            handshakes_failed,
            connections_evicted,
            output_dropped,
            program_runs,
            frames,
            duration,
        } = end;
        let line = EndLine {
            kind: "end",
            connections: *connections,
            open: *open,
            events: *events,
            events_lost: *events_lost,
            syns: *syns,
            syns_repeated: *syns_repeated,
            syns_unparsed: *syns_unparsed,
            handshakes_failed: *handshakes_failed,
            connections_evicted: *connections_evicted,
            output_dropped: *output_dropped,
            program_runs: program_runs.as_ref().map(|all| {
                all.iter()
                    .map(|ProgramRuns { program, runs, took }| ProgramRunsLine {
                        program,
                        runs: *runs,
                        took_us: micros(*took),
                    })
                    .collect()
            }),
            frames: frames.map(Into::into),
            duration_us: micros(*duration),
        };
        write_line(&line, out);
    }

    fn clock(&mut self) -> &mut WallClock {
        &mut self.clock
    }
}

fn write_line(line: &impl Serialize, out: &mut BytesMut) {
    let from = out.len();
    let mut serializer = serde_json::Serializer::with_formatter(out.writer(), Harmless);
    if let Err(error) = line.serialize(&mut serializer) {
        // Memory does not fail to be written to, and every key is a string.
        log::error!("a record could not be written as JSON and is left out: {error}");
        out.truncate(from);
        return;
    }
    out.put_u8(b'\n');
}

/// Compact JSON that no terminal minds: what [`is_harmful`] is written as `\u202e`, so that a
/// program reads the very same name and a person's terminal is not steered by it.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let plain = |byte: u8| byte.is_ascii() && byte != 0x7f;
        if fragment.bytes().all(plain) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut written = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| is_harmful(*c)) {
            CompactFormatter
                .write_string_fragment(writer, fragment.get(written..at).unwrap_or_default())?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            written = at + c.len_utf8();
        }
        writer.write_all(fragment.get(written..).unwrap_or_default().as_bytes())
    }
}
