//! The lines of the stream: an ended connection, a transition, a stuck connection.

use std::fmt::Write as _;

use super::cell::{self, cell};
use super::layout::Column;
use super::*;
use crate::report::escape::{Blanks, escape};
use crate::report::units::{Bytes, Human, inode};

/// From when on a handshake is coloured as slow: a network's round trip is below, a lost SYN's
/// first retransmission (1 s, `TCP_TIMEOUT_INIT`) above.
const SLOW_HANDSHAKE: u64 = 500_000_000;
/// From when on a close or a wait for accept() is coloured as slow, and a close is explained.
const SLOW_CLOSE: u64 = 1_000_000_000;
/// Waits for accept() are the application's alone; a fast one accepts in microseconds.
const SLOW_ACCEPT: u64 = 100_000_000;

impl Text {
    /// An ended connection.
    pub(super) fn connection(&mut self, connection: &Connection, out: &mut Vec<u8>) {
        let Self { layout, clock, screen, cell, second, .. } = self;
        let mut line = Line::new(out, screen.color);
        for slot in &layout.slots {
            cell.clear();
            let style = match slot.column {
                column @ (Column::Seconds | Column::Millis | Column::Date) => {
                    time(column, clock, connection.end, second, cell);
                    PLAIN
                }
                Column::Notes => {
                    all_notes(connection, cell);
                    PLAIN
                }
                column => write_cell(column, connection, slot.width, layout.width, cell),
            };
            if slot.right {
                line.right(slot.end(), cell, style);
            } else if !cell.is_empty() {
                line.left(slot.start, cell, style);
            }
        }
        if let Some(width) = layout.width {
            notes_that_fit(connection, layout, width, &mut line, cell);
        }
        line.end();
    }

    /// A transition (`--states`).
    pub(super) fn state(&mut self, change: &StateChange, out: &mut Vec<u8>) {
        let StateChange { at, old, new, local, remote, netns: _, cookie: _ } = change;
        let color = self.screen.color;
        let mut line = Line::new(out, color);
        self.place(*at, None, None, (*local, *remote), DIM, &mut line);
        if self.screen.width.is_some() {
            self.cell.clear();
            cell!(self.cell, "{old} → {new}");
        } else {
            self.cell.clear();
            cell!(self.cell, "STATE {old} {new}");
        }
        line.left(self.free(), &self.cell, DIM);
        line.end();
    }

    /// A connection that sits in a state for too long.
    pub(super) fn stuck(&mut self, stuck: &OpenConnection, out: &mut Vec<u8>) {
        let OpenConnection { connection, state, in_state } = stuck;
        let mut line = Line::new(out, self.screen.color);
        let ends = (connection.local, connection.remote);
        let owner = connection.owner.as_ref();
        self.place(connection.end, owner, connection.role, ends, PLAIN, &mut line);
        self.cell.clear();
        cell!(self.cell, "STUCK {state} {}", Human(*in_state));
        line.left(self.free(), &self.cell, STUCK);
        line.end();
    }

    /// An open connection, where there is no terminal: a line like the others.
    pub(super) fn open_line(&mut self, open: &OpenConnection, out: &mut Vec<u8>) {
        let OpenConnection { connection, state, in_state } = open;
        let mut line = Line::new(out, self.screen.color);
        let ends = (connection.local, connection.remote);
        let owner = connection.owner.as_ref();
        self.place(connection.end, owner, connection.role, ends, PLAIN, &mut line);
        self.cell.clear();
        cell!(self.cell, "OPEN {state} {} ", Human(*in_state));
        cell::life(connection, &mut self.cell);
        line.left(self.free(), &self.cell, PLAIN);
        line.end();
    }

    /// Where free text begins: behind the remote end.
    pub(super) fn free(&self) -> usize {
        self.layout.slot(Column::Remote).map_or(0, |slot| slot.end() + 1)
    }

    /// The cells up to the remote end, as in the table.
    pub(super) fn place(
        &mut self,
        at: MonoNs,
        owner: Option<&crate::core::event::Owner>,
        role: Option<Role>,
        (local, remote): (std::net::SocketAddr, std::net::SocketAddr),
        style: Style,
        line: &mut Line<'_>,
    ) {
        let Self { layout, clock, cell, second, .. } = self;
        for slot in &layout.slots {
            cell.clear();
            match slot.column {
                Column::Seconds | Column::Millis | Column::Date => {
                    time(slot.column, clock, at, second, cell);
                }
                Column::Process => cell::process(owner, slot.width, cell),
                Column::Pid => cell::value(owner.map(|owner| owner.pid), cell),
                Column::Comm => comm(owner, cell),
                Column::Role => cell.push_str(role_word(role)),
                Column::LocalPort => port(local, cell),
                Column::Local => {
                    cell::endpoint(local, layout.width.map(|_| slot.width), cell);
                }
                Column::Arrow => cell.push_str(cell::arrow(role)),
                Column::Remote => {
                    cell::endpoint(remote, layout.width.map(|_| slot.width), cell);
                }
                _ => break,
            }
            if slot.right {
                line.right(slot.end(), cell, style);
            } else {
                line.left(slot.start, cell, style);
            }
        }
    }
}

fn time(column: Column, clock: &WallClock, at: MonoNs, second: &mut SameSecond, out: &mut String) {
    let write = |out: &mut String| match column {
        Column::Seconds => cell!(out, "{:.0}", clock.time_of_day(at)),
        Column::Date => cell!(out, "{}", clock.local(at)),
        _ => cell!(out, "{}", clock.time_of_day(at)),
    };
    second.write(clock, at, write, out);
}

fn port(end: std::net::SocketAddr, out: &mut String) {
    out.push(':');
    cell::put(&end.port(), out);
}

fn comm(owner: Option<&crate::core::event::Owner>, out: &mut String) {
    match owner {
        Some(owner) => {
            let _ = escape(owner.comm.as_bytes(), Blanks::Escape, out);
        }
        None => out.push('-'),
    }
}

const fn role_word(role: Option<Role>) -> &'static str {
    match role {
        Some(Role::Client) => "client",
        Some(Role::Server) => "server",
        None => "-",
    }
}

/// Writes a cell, but for times and notes, and says how it looks. `terminal`: the terminal's width, if it is one.
fn write_cell(
    column: Column,
    connection: &Connection,
    width: usize,
    terminal: Option<usize>,
    out: &mut String,
) -> Style {
    let c = connection;
    let slow = |ns: Option<u64>, limit| {
        if ns.is_some_and(|ns| ns >= limit) { SLOW } else { PLAIN }
    };
    match column {
        Column::Process => cell::process(c.owner.as_ref(), width, out),
        Column::Pid => cell::value(c.owner.map(|owner| owner.pid), out),
        Column::Comm => comm(c.owner.as_ref(), out),
        Column::Role => out.push_str(role_word(c.role)),
        Column::LocalPort => port(c.local, out),
        Column::Local => cell::endpoint(c.local, terminal.map(|_| width), out),
        Column::Arrow => out.push_str(cell::arrow(c.role)),
        Column::Remote => cell::endpoint(c.remote, terminal.map(|_| width), out),
        Column::Handshake => {
            cell::duration(c.handshake, out);
            return slow(c.handshake, SLOW_HANDSHAKE);
        }
        Column::Life => {
            cell::life(c, out);
        }
        Column::Close => {
            cell::duration(c.close, out);
            return slow(c.close, SLOW_CLOSE);
        }
        Column::End => {
            cell::end(c, out);
            return outcome_style(c.outcome);
        }
        Column::By => out.push_str(match c.close_initiator {
            Some(CloseInitiator::Local) => "local",
            Some(CloseInitiator::Remote) => "remote",
            Some(CloseInitiator::Both) => "both",
            None => "-",
        }),
        Column::Outcome => {
            out.push_str(c.outcome.map_or("-", Outcome::name));
            return outcome_style(c.outcome);
        }
        Column::AcceptWait => {
            cell::duration(c.accept_wait, out);
            return slow(c.accept_wait, SLOW_ACCEPT);
        }
        Column::SynRetransmits => {
            cell::value(c.syn_retransmits, out);
            // A client sends no SYN-ACKs.
            if c.role != Some(Role::Client) {
                out.push('/');
                cell::value(c.synack_retransmits, out);
            }
            let some = c.syn_retransmits.unwrap_or(0) > 0 || c.synack_retransmits.unwrap_or(0) > 0;
            return if some { SLOW } else { PLAIN };
        }
        Column::Established => cell::duration(c.phases.established, out),
        Column::FinWait1 => cell::duration(c.phases.fin_wait1, out),
        Column::FinWait2 => cell::duration(c.phases.fin_wait2, out),
        Column::CloseWait => cell::duration(c.phases.close_wait, out),
        Column::Closing => cell::duration(c.phases.closing, out),
        Column::LastAck => cell::duration(c.phases.last_ack, out),
        Column::Sent => cell::value(c.bytes_sent.map(Bytes), out),
        Column::Received => cell::value(c.bytes_received.map(Bytes), out),
        Column::Retransmits => {
            cell::value(c.retransmits, out);
            return if c.retransmits.unwrap_or(0) > 0 { SLOW } else { PLAIN };
        }
        Column::Rtt => cell::duration(c.rtt, out),
        Column::Seconds | Column::Millis | Column::Date | Column::Notes => {}
    }
    PLAIN
}

const fn outcome_style(outcome: Option<Outcome>) -> Style {
    match outcome {
        Some(Outcome::Closed) => PLAIN,
        Some(Outcome::Unknown) | None => DIM,
        Some(_) => BAD,
    }
}

/// Behind the end, on a terminal: what explains the line, as far as there is room.
fn notes_that_fit(
    connection: &Connection,
    layout: &Layout,
    width: usize,
    line: &mut Line<'_>,
    note: &mut String,
) {
    let c = connection;
    let mut put = |note: &str, style| {
        if line.at() + 2 + note.chars().count() <= width {
            line.put("  ", PLAIN);
            line.put(note, style);
        }
    };
    if c.events_lost {
        put("events lost", BAD);
    }
    if c.close.is_some_and(|close| close >= SLOW_CLOSE)
        && let Some((name, ns)) = longest_closing_phase(c)
    {
        note.clear();
        cell!(note, "{name} {}", Human(ns));
        put(note, SLOW);
    }
    if layout.slot(Column::SynRetransmits).is_none() {
        for (count, what) in [(c.syn_retransmits, "SYN"), (c.synack_retransmits, "SYN-ACK")] {
            if let Some(count @ 1..) = count {
                note.clear();
                cell!(note, "{what} sent again {count}x");
                put(note, SLOW);
            }
        }
    }
    if c.observed_from == ObservedFrom::Middle {
        put("open before start", DIM);
    }
    if let Some(container) = c.cgroup.as_ref().and_then(|cgroup| cgroup.container.as_ref()) {
        note.clear();
        // As container tools shorten their ids.
        let short = container.get(..12).unwrap_or(container);
        let _ = escape(short.as_bytes(), Blanks::Keep, note);
        put(note, DIM);
    }
}

/// The state in which most of the close was spent, by the kernel's name.
fn longest_closing_phase(connection: &Connection) -> Option<(&'static str, u64)> {
    let phases = &connection.phases;
    [
        ("FIN_WAIT1", phases.fin_wait1),
        ("FIN_WAIT2", phases.fin_wait2),
        ("CLOSE_WAIT", phases.close_wait),
        ("CLOSING", phases.closing),
        ("LAST_ACK", phases.last_ack),
    ]
    .into_iter()
    .filter_map(|(name, ns)| Some((name, ns?)))
    .max_by_key(|(_, ns)| *ns)
}

/// The last column where nothing is left out: words, then `key=value`.
fn all_notes(connection: &Connection, out: &mut String) {
    let c = connection;
    let words = [
        (c.events_lost, "events_lost"),
        (c.observed_from == ObservedFrom::Middle, "observed_from=middle"),
        (c.time_wait == Some(true), "time_wait"),
    ];
    let gap = |out: &mut String| {
        if !out.is_empty() {
            out.push(' ');
        }
    };
    if let Some(netns) = inode(c.netns) {
        out.push_str("netns=");
        cell::put(&netns, out);
    }
    for (_, word) in words.into_iter().filter(|(on, _)| *on) {
        gap(out);
        out.push_str(word);
    }
    let path = c.path_rtt.unwrap_or_default();
    for (name, took) in
        [("syn_to_synack", path.syn_to_synack), ("synack_to_ack", path.synack_to_ack)]
    {
        if let Some(took) = took {
            gap(out);
            cell!(out, "{name}={}", Human(took));
        }
    }
    if let Some(cgroup) = &c.cgroup {
        out.push_str(" cgroup=");
        let _ = escape(cgroup.path.as_bytes(), Blanks::Escape, out);
    }
}
