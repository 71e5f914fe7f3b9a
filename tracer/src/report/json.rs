//! JSON Lines: one object a line, `type` first.
//!
//! Times are RFC 3339 UTC, durations whole microseconds, what is not known is null.

use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter};

use super::clock::WallClock;
use super::escape::is_harmful;
use super::printable::is_printable;
use super::start::{Start, metrics_url};
use super::units::{inode, micros};
use super::{Covered, Report};
use crate::core::event::MonoNs;
use crate::core::record::{End, Host, OpenConnection, ProgramRuns, Record, StateChange};

mod alert;
mod check;
mod connection;
mod line;
mod object;
mod segment;

#[cfg(test)]
mod tests;

use alert::AlertLine;
use connection::Times;
use line::{EndLine, HostLine, HostName, ProgramRunsLine, QuantilesLine, StartLine, StateLine};
use segment::SegmentLine;

/// Reports for programs.
#[derive(Debug)]
pub struct Json {
    clock: WallClock,
    times: Times,
}

impl Json {
    /// With `clock` for the times.
    #[must_use]
    pub const fn new(clock: WallClock) -> Self {
        Self { clock, times: Times::new() }
    }

    fn open_line(&mut self, kind: &'static str, open: &OpenConnection, out: &mut Vec<u8>) {
        let times = (&self.clock, &mut self.times);
        add_line(out, |line| connection::open(kind, open, times, line));
    }
}

impl Report for Json {
    fn start(&mut self, start: &Start, out: &mut Vec<u8>) {
        let Start {
            time,
            version,
            kernel,
            hooks,
            filters,
            ring_size,
            limits,
            cannot,
            metrics,
            capture,
        } = start;
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
            metrics: metrics.map(metrics_url),
            capture: capture.as_ref(),
        };
        write_line(&line, out);
    }

    fn record(&mut self, record: &Record, out: &mut Vec<u8>) {
        match record {
            Record::Connection(ended) => {
                let times = (&self.clock, &mut self.times);
                add_line(out, |line| connection::ended(ended, times, line));
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
            Record::Alert(alert) => {
                write_line(&AlertLine::new(alert, &self.clock), out);
            }
            Record::Segment(row) => {
                write_line(&SegmentLine::new(row, &self.clock), out);
            }
        }
    }

    fn hosts(&mut self, hosts: &[Host], covered: Covered, out: &mut Vec<u8>) {
        let Covered { scope, from: _, at } = covered;
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
                time: self.clock.utc(at),
                scope: scope.name(),
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

    fn open(&mut self, open: &[OpenConnection], _at: MonoNs, out: &mut Vec<u8>) {
        for connection in open {
            self.open_line("open", connection, out);
        }
    }

    fn end(&mut self, end: &End, at: MonoNs, out: &mut Vec<u8>) {
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
            time: self.clock.utc(at),
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

/// Appends a line to `out`.
fn write_line(line: &impl Serialize, out: &mut Vec<u8>) {
    add_line(out, |out| line.serialize(&mut Serializer::with_formatter(out, Harmless)));
}

/// Appends the line that `write` appends, whole or not at all.
fn add_line(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>) {
    let before = out.len();
    if let Err(error) = write(out) {
        // Memory does not fail to be written to, and every key is a string.
        log::error!("a record could not be written as JSON and is left out: {error}");
        out.truncate(before);
        return;
    }
    out.push(b'\n');
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
        if is_printable(fragment.as_bytes()) {
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
