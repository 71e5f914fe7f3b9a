//! The tables at the end, every `--interval` and on SIGUSR1: hosts, open connections, totals.

use std::cmp::Reverse;
use std::fmt::Write as _;

use tracer_common::state::TcpState;
use unicode_width::UnicodeWidthStr;

use super::cell::{self, cell};
use super::notice::wrap;
use super::*;
use crate::core::record::{Frames, ProgramRuns, Quantiles};
use crate::report::Scope;
use crate::report::losses::{losses, unparsed};
use crate::report::units::Human;

/// Open connections listed on a terminal; a program gets them all.
const OPEN_SHOWN: usize = 100;
/// From here on a host has one line, below two.
const ONE_LINE: usize = 120;

/// Where the columns of the host table are.
struct HostColumns {
    host: usize,
    /// Columns behind `ENDED`, `FAILED`, `RESETS`, `TIMEOUT`.
    counts: [usize; 4],
    /// Behind `HS-FAIL`, `SYNS`, `HALF-OPEN`; on a line of their own where it is narrow.
    syns: Option<[usize; 3]>,
    /// Behind p50, p90, p99, max of the handshakes.
    handshake: [usize; 4],
    /// The same of the closes; where it is narrow, on the second line.
    close: [usize; 4],
}

impl HostColumns {
    fn new(width: Option<usize>) -> Self {
        match width {
            Some(width) if width < ONE_LINE => Self {
                host: 15,
                counts: [23, 30, 37, 45],
                syns: None,
                handshake: [61, 67, 73, 79],
                close: [61, 67, 73, 79],
            },
            _ => {
                // An IPv6 address in full, as soon as there is room.
                let host = width.map_or(39, |width| (15 + width - ONE_LINE).min(39));
                let behind = |ends: [usize; 4]| ends.map(|end| host + end);
                Self {
                    host,
                    counts: behind([7, 14, 21, 29]),
                    handshake: behind([36, 42, 48, 54]),
                    close: behind([62, 68, 74, 80]),
                    syns: Some([host + 88, host + 95, host + 105]),
                }
            }
        }
    }
}

/// The per-host table.
pub(super) fn hosts(text: &mut Text, hosts: &[Host], covered: Covered, out: &mut Vec<u8>) {
    let color = text.screen.color;
    // Hosts that only sent SYNs, to whoever: not what was asked for.
    let all = text.of_owners.is_empty();
    let asked_for = |host: &Host| all || host.connections > 0 || host.handshakes_failed > 0;
    let hosts: Vec<_> = hosts.iter().filter(|host| asked_for(host)).collect();
    let interval = Human(covered.length());
    let cell = &mut text.cell;
    cell.clear();
    match covered.scope {
        Scope::Interval => {
            cell!(cell, "Remote hosts, {interval} up to {:.0}", text.clock.time_of_day(covered.at))
        }
        Scope::SoFar => cell!(cell, "Remote hosts so far, {interval}"),
        Scope::Run => cell!(cell, "Remote hosts, whole run of {interval}"),
    }
    if hosts.is_empty() {
        cell.push_str(": no connection ended");
    }
    let mut line = Line::new(out, color);
    line.put(cell, HEADER);
    line.end();
    if hosts.is_empty() {
        return;
    }
    let columns = HostColumns::new(text.screen.width);
    host_header(&columns, color, out);
    for host in hosts {
        host_row(&columns, host, color, cell, out);
    }
}

fn host_header(columns: &HostColumns, color: bool, out: &mut Vec<u8>) {
    if let Some([_, _, syns]) = columns.syns {
        let mut line = Line::new(out, color);
        line.left(columns.handshake[0] - 5, "------ HANDSHAKE ------", DIM);
        line.left(columns.close[0] - 5, "-------- CLOSE --------", DIM);
        line.right(syns, "HALF-OPEN", HEADER);
        line.end();
    }
    let mut line = Line::new(out, color);
    line.left(0, "HOST", HEADER);
    for (end, title) in columns.counts.into_iter().zip(["ENDED", "FAILED", "RESETS", "TIMEOUT"]) {
        line.right(end, title, HEADER);
    }
    let quantiles = ["p50", "p90", "p99", "max"];
    for (end, title) in columns.handshake.into_iter().zip(quantiles) {
        line.right(end, title, HEADER);
    }
    if let Some(syns) = columns.syns {
        for (end, title) in columns.close.into_iter().zip(quantiles) {
            line.right(end, title, HEADER);
        }
        for (end, title) in syns.into_iter().zip(["HS-FAIL", "SYNS", "now/peak"]) {
            line.right(end, title, HEADER);
        }
    }
    line.end();
}

fn host_row(columns: &HostColumns, host: &Host, color: bool, cell: &mut String, out: &mut Vec<u8>) {
    let Host {
        host: addr,
        interval: _,
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
    cell.clear();
    match addr {
        Some(addr) => cell!(cell, "{addr}"),
        None => cell.push_str("others"),
    }
    let mut line = Line::new(out, color);
    line.left(0, cell, PLAIN);
    if line.at() > columns.host {
        // An address is not cut: it gets a line of its own.
        line.end();
        line = Line::new(out, color);
    }
    let counts = [connections, failed, resets, timeouts];
    for (at, (end, count)) in columns.counts.into_iter().zip(counts).enumerate() {
        cell.clear();
        cell!(cell, "{count}");
        line.right(end, cell, if at > 0 && *count > 0 { BAD } else { PLAIN });
    }
    // What a host sent before it was followed, or while others took its place, was counted with the
    // others: for them that is the most, for the host the least.
    let (bound, about) = match (exact, addr) {
        (true, _) => ("", ""),
        (false, Some(_)) => ("≥", "~"),
        (false, None) => ("≤", "≤"),
    };
    if let Some([failed_end, syns_end, half_open_end]) = columns.syns {
        quantiles(columns.handshake, handshake.as_ref(), &mut line, cell);
        quantiles(columns.close, close.as_ref(), &mut line, cell);
        cell.clear();
        cell!(cell, "{handshakes_failed}");
        line.right(failed_end, cell, if *handshakes_failed > 0 { BAD } else { PLAIN });
        cell.clear();
        match syn_count {
            Some(count) => cell!(cell, "{bound}{count}"),
            None => cell.push('-'),
        }
        line.right(syns_end, cell, PLAIN);
        cell.clear();
        match (half_open, half_open_peak) {
            (None, None) => cell.push('-'),
            (now, peak) => {
                cell.push_str(about);
                cell::value(*now, cell);
                cell.push('/');
                cell::value(*peak, cell);
            }
        }
        line.right(half_open_end, cell, PLAIN);
        line.end();
        return;
    }
    line.left(46, "handshake", DIM);
    quantiles(columns.handshake, handshake.as_ref(), &mut line, cell);
    line.end();
    cell.clear();
    let mut part = |before: &str, amount: Option<u64>, behind: &str| {
        if let Some(amount @ 1..) = amount {
            let gap = if cell.is_empty() { "  " } else { ", " };
            cell!(cell, "{gap}{before}{amount}{behind}");
        }
    };
    let failed = if *handshakes_failed == 1 { " handshake failed" } else { " handshakes failed" };
    part("", Some(*handshakes_failed), failed);
    part(bound, *syn_count, if *syn_count == Some(1) { " SYN" } else { " SYNs" });
    part(about, *half_open, " half-open");
    let higher = half_open_peak.filter(|peak| *peak > half_open.unwrap_or(0));
    part("peak ", higher, "");
    let long = cell.width() > 50;
    let mut line = Line::new(out, color);
    if !long {
        line.left(0, cell, if *handshakes_failed > 0 { BAD } else { PLAIN });
    }
    line.right(55, "close", DIM);
    let mut scratch = String::new();
    quantiles(columns.close, close.as_ref(), &mut line, &mut scratch);
    line.end();
    if long {
        let mut line = Line::new(out, color);
        line.left(0, cell, if *handshakes_failed > 0 { BAD } else { PLAIN });
        line.end();
    }
}

fn quantiles(ends: [usize; 4], of: Option<&Quantiles>, line: &mut Line<'_>, cell: &mut String) {
    let values = of.map(|q| [q.p50, q.p90, q.p99, q.max]);
    for (at, end) in ends.into_iter().enumerate() {
        cell.clear();
        cell::duration(values.as_ref().and_then(|values| values.get(at)).copied(), cell);
        line.right(end, cell, PLAIN);
    }
}

/// The connections still open: counts per state, then the list, what waits longest first.
pub(super) fn open(text: &mut Text, open: &[OpenConnection], at: MonoNs, out: &mut Vec<u8>) {
    let color = text.screen.color;
    let mut counts: Vec<(TcpState, usize)> = Vec::new();
    for connection in open {
        match counts.iter_mut().find(|(state, _)| *state == connection.state) {
            Some((_, count)) => *count += 1,
            None => counts.push((connection.state, 1)),
        }
    }
    counts.sort_by_key(|(state, count)| (Reverse(*count), *state));
    let cell = &mut text.cell;
    cell.clear();
    cell!(cell, "Open at {:.0}: ", text.clock.time_of_day(at));
    match counts.as_slice() {
        [] => cell.push_str("no connection"),
        counts => {
            cell!(cell, "{}", open.len());
            for (n, (state, count)) in counts.iter().enumerate() {
                cell!(cell, "{}{state} {count}", if n == 0 { " (" } else { ", " });
            }
            cell.push(')');
        }
    }
    let mut line = Line::new(out, color);
    line.put(cell, HEADER);
    line.end();
    if open.is_empty() {
        return;
    }
    // Long in a state that should be short is what one looks for; idle connections come last.
    let mut order: Vec<&OpenConnection> = open.iter().collect();
    order.sort_by_key(|c| (c.state == TcpState::Established, Reverse(c.in_state)));
    let Some(width) = text.screen.width else {
        for connection in order {
            text.open_line(connection, out);
        }
        return;
    };
    let columns = OpenColumns::new(width);
    open_header(&columns, color, out);
    for connection in order.iter().take(OPEN_SHOWN) {
        open_row(&columns, connection, color, &mut text.cell, out);
    }
    if let Some(more) = open.len().checked_sub(OPEN_SHOWN).filter(|more| *more > 0) {
        let mut line = Line::new(out, color);
        text.cell.clear();
        cell!(text.cell, "and {more} more; all of them when the output is no terminal");
        line.put(&text.cell, DIM);
        line.end();
    }
}

/// Where the list of open connections has its columns, on a terminal.
struct OpenColumns {
    process: usize,
    /// Wide enough for an address, or only for the port.
    local: usize,
    remote: usize,
}

impl OpenColumns {
    const fn new(width: usize) -> Self {
        if width < ONE_LINE {
            Self { process: 16, local: PORT, remote: 26 }
        } else {
            Self { process: 23, local: 30, remote: 30 }
        }
    }

    const fn local_start(&self) -> usize {
        self.process + 1
    }

    const fn remote_start(&self) -> usize {
        self.local_start() + self.local + 3
    }

    const fn state_start(&self) -> usize {
        self.remote_start() + self.remote + 1
    }

    const fn in_state_end(&self) -> usize {
        self.state_start() + 20
    }

    const fn age_end(&self) -> usize {
        self.in_state_end() + 7
    }
}

/// Width of `:65535`.
const PORT: usize = 6;

fn open_header(columns: &OpenColumns, color: bool, out: &mut Vec<u8>) {
    let mut line = Line::new(out, color);
    line.left(0, "PROCESS", HEADER);
    if columns.local == PORT {
        line.right(columns.local_start() + PORT, "LPORT", HEADER);
    } else {
        line.left(columns.local_start(), "LOCAL", HEADER);
    }
    line.left(columns.remote_start(), "REMOTE", HEADER);
    line.left(columns.state_start(), "STATE", HEADER);
    line.right(columns.in_state_end(), "IN STATE", HEADER);
    line.right(columns.age_end(), "AGE", HEADER);
    line.end();
}

fn open_row(
    columns: &OpenColumns,
    open: &OpenConnection,
    color: bool,
    cell: &mut String,
    out: &mut Vec<u8>,
) {
    let OpenConnection { connection: c, state, in_state } = open;
    // Waiting where only a moment should be spent.
    let waits = *state != TcpState::Established && *in_state >= 1_000_000_000;
    let style = if waits { SLOW } else { PLAIN };
    let mut line = Line::new(out, color);
    cell.clear();
    cell::process(c.owner.as_ref(), columns.process, cell);
    line.left(0, cell, PLAIN);
    cell.clear();
    if columns.local == PORT {
        cell!(cell, ":{}", c.local.port());
        line.right(columns.local_start() + PORT, cell, PLAIN);
    } else {
        cell::endpoint(c.local, Some(columns.local), cell);
        line.left(columns.local_start(), cell, PLAIN);
    }
    line.left(columns.remote_start() - 2, cell::arrow(c.role), PLAIN);
    cell.clear();
    cell::endpoint(c.remote, Some(columns.remote), cell);
    line.left(columns.remote_start(), cell, PLAIN);
    line.left(columns.state_start(), state.name(), style);
    cell.clear();
    // A state that began before tracing did has lasted longer than tracing.
    let longer = if c.observed_from == ObservedFrom::Middle && *in_state >= c.end.since(c.start) {
        ">"
    } else {
        ""
    };
    cell!(cell, "{longer}{}", Human(*in_state));
    line.right(columns.in_state_end(), cell, style);
    cell.clear();
    cell::life(c, cell);
    line.right(columns.age_end(), cell, PLAIN);
    line.end();
}

/// The totals, and loudly what was lost.
pub(super) fn end(text: &Text, end: &End, out: &mut Vec<u8>) {
    let End {
        connections,
        open,
        syns,
        syns_repeated,
        handshakes_failed,
        output_dropped,
        program_runs,
        frames,
        duration,
        events: _,
        events_lost: _,
        syns_unparsed: _,
        connections_evicted: _,
    } = end;
    let color = text.screen.color;
    let width = text.screen.width.unwrap_or(usize::MAX);
    let plural = |count: u64| if count == 1 { "" } else { "s" };
    let mut put = |sentence: &str, style: Style| {
        for wrapped in wrap(sentence, width, 2) {
            let mut line = Line::new(out, color);
            line.put(&wrapped, style);
            line.end();
        }
    };
    let mut totals = format!(
        "{connections} connection{} ended in {}, {open} still open",
        plural(*connections),
        Human(*duration)
    );
    if *handshakes_failed > 0 {
        cell!(totals, ", {handshakes_failed} handshake{} failed", plural(*handshakes_failed));
    }
    if let Some(syns) = syns {
        cell!(totals, ", {syns} SYN{} seen", plural(*syns));
    }
    if let Some(repeated @ 1..) = syns_repeated {
        cell!(totals, " ({repeated} repeated)");
    }
    if let (Some(name), Some(1..)) = (text.of_owners.first(), syns) {
        cell!(totals, ", everybody's: --{name} can't apply to SYNs");
    }
    put(&totals, HEADER);
    for loss in losses(end) {
        put(&loss, ALARM);
    }
    if *output_dropped > 0 {
        put(
            &format!(
                "DROPPED {output_dropped} record{} from this output: its reader was too slow. The \
                 figures above count them.",
                plural(*output_dropped)
            ),
            ALARM,
        );
    }
    if let Some(sentence) = unparsed(end) {
        put(&sentence, PLAIN);
    }
    if let Some(frames) = frames {
        put(&of_frames(frames), PLAIN);
    }
    if let Some(programs) = program_runs {
        let each: Vec<_> = programs
            .iter()
            .filter(|program| program.runs > 0)
            .map(|ProgramRuns { program, runs, took }| {
                format!("{program} {runs} × {}ns", took / runs)
            })
            .collect();
        let total = Human(programs.iter().map(|program| program.took).sum());
        let each = if each.is_empty() { "none ran".to_owned() } else { each.join(", ") };
        put(&format!("Kernel programs: {total} in all; {each}"), PLAIN);
    }
}

/// What the frames of a capture were.
fn of_frames(frames: &Frames) -> String {
    let Frames { read, tcp, not_tcp, unparsed, other_link, untimed, dropped: _ } = *frames;
    let mut text = format!("{read} frame{} read, {tcp} of TCP", if read == 1 { "" } else { "s" });
    for (count, what) in [
        (not_tcp, "of something else"),
        (unparsed, "that could not be parsed (fragments, cut short, or malformed)"),
        (other_link, "of a link type that is not read"),
        (untimed, "without a time"),
    ] {
        if count > 0 {
            cell!(text, ", {count} {what}");
        }
    }
    text
}
