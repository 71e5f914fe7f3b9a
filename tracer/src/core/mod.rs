//! The sans-IO heart: events and time in, records out. No clock, no socket, no aya type.
//!
//! # Use
//!
//! 1. [`Core::snapshot`] once, with the sockets that are open when tracing begins, before the first
//!    event.
//! 2. [`Core::handle`] for every event, in the order in which the ring holds them.
//! 3. [`Core::handle_timeout`] when [`Core::poll_timeout`] says so. The `now` handed in is a
//!    promise: every event up to `now` has been handled. So it is the time at which the last round
//!    of reading the ring *began*, not the time after it.
//! 4. When events were lost: [`Core::events_were_lost`] at once; then ask the kernel for its
//!    sockets, read the ring until it holds nothing older than the answer, and
//!    [`Core::reconcile`].
//! 5. [`Core::finish`] at the end.

mod capture;
mod cgroups;
mod config;
mod connection;
pub mod event;
pub mod flood;
mod handshake;
mod hosts;
mod lifecycle;
mod listeners;
mod maybe;
mod outcome;
mod payload;
pub(crate) mod quantiles;
mod reconcile;
pub mod record;
mod requests;
mod selection;
pub mod spread;
mod stuck;
mod table;
#[cfg(test)]
mod tests;
mod whose;

use std::net::SocketAddr;
use std::sync::Arc;

use rustc_hash::FxHashSet;

pub use self::config::{Config, StuckAfter};
pub use self::hosts::ranked::{HostDetail, HostOrder, Ranked};
pub use self::selection::{Prefix, Selection, Shown};
pub use self::whose::Whose;

use self::cgroups::Cgroups;
use self::connection::Conn;
use self::event::{CgroupName, Event, MonoNs};
use self::flood::sample::Sample;
use self::flood::tick::Tick;
use self::hosts::Hosts;
use self::listeners::Listeners;
use self::record::{Connection, Host, OpenConnection, Record, Role};
use self::requests::Requests;
use self::stuck::Stuck;
use self::table::{Id, Table};

/// Totals of the run so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Events handled, names of cgroups not counted.
    pub events: u64,
    /// Events that named no socket (cookie 0): no connection could be followed.
    pub events_untracked: u64,
    /// Connections that ended, of those asked for.
    pub connections: u64,
    /// Connections that are open, of those asked for.
    pub open: u64,
    /// Requests that never became a connection.
    pub handshakes_failed: u64,
    /// Connections forgotten because the table was full.
    pub evicted: u64,
    /// Requests that could not be followed because there were too many at a time; some of them
    /// may have died without being counted.
    pub requests_untracked: u64,
}

/// The lifecycle core.
pub struct Core {
    config: Config,
    table: Table,
    listeners: Listeners,
    requests: Requests,
    cgroups: Cgroups,
    stuck: Stuck,
    /// Figures of the run.
    run: Hosts,
    /// Figures since the last interval report.
    interval: Option<Hosts>,
    /// When the list of sockets that were open at the start was complete.
    listed_at: MonoNs,
    /// Events up to here may be missing.
    lost_at: Option<MonoNs>,
    /// Events were lost and no list of sockets asked for since then has been handed in.
    list_is_due: bool,
    /// Sockets that ended meanwhile: the list may still show them.
    ended_since_loss: FxHashSet<u64>,
    totals: Totals,
}

impl Core {
    /// An empty core.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            table: Table::default(),
            listeners: Listeners::default(),
            requests: Requests::new(config.max_connections),
            cgroups: Cgroups::default(),
            stuck: Stuck::default(),
            run: Hosts::new(config.max_hosts, config.started, config.syn_hook),
            interval: config
                .interval_reports
                .then(|| Hosts::new(config.max_hosts, config.started, config.syn_hook)),
            listed_at: MonoNs(0),
            lost_at: None,
            list_is_due: false,
            ended_since_loss: FxHashSet::default(),
            totals: Totals::default(),
            config,
        }
    }

    /// Takes in one event; what it leads to is appended to `out`.
    pub fn handle(&mut self, event: &Event, out: &mut Vec<Record>) {
        if let Event::Cgroup { id, name } = event {
            self.cgroups.tell(*id, Arc::clone(name));
            return;
        }
        self.totals.events += 1;
        match event {
            Event::Transition(event) => self.transition(event, out),
            Event::Accepted(event) => self.accepted(event, out),
            Event::ResetSent(event) => {
                if let Some(id) = self.table.find(event.cookie)
                    && let Some(conn) = self.table.get_mut(id)
                {
                    conn.reset_sent(event);
                }
            }
            Event::SynAckRetransmit(event) => {
                if self.requests.retransmitted(event) {
                    self.handshake_failed(event.netns, event.local, event.remote);
                }
            }
            Event::RequestReset(event) => {
                self.requests.over(event.netns, event.local, event.remote);
                self.handshake_failed(event.netns, event.local, event.remote);
            }
            Event::Found(found) => self.found(found, out),
            Event::Captured(facts) => self.captured(facts),
            Event::EndUnseen { cookie, at } => self.end_unseen(*cookie, *at, out),
            Event::Forgotten { cookie } => self.forgotten(*cookie),
            Event::SynSummary(_) | Event::Cgroup { .. } => {}
        }
    }

    /// Counts a tick's SYNs and completions with their hosts.
    pub fn syns(&mut self, tick: &Tick) {
        self.run.syns(tick);
        if let Some(interval) = &mut self.interval {
            interval.syns(tick);
        }
    }

    /// Holds the hosts' half-open connections against the kernel's.
    pub fn half_open_sample(&mut self, sample: &Sample) {
        self.run.half_open_sample(sample);
        if let Some(interval) = &mut self.interval {
            interval.half_open_sample(sample);
        }
    }

    /// When [`Core::handle_timeout`] has something to do; `None` when nothing waits for time to
    /// pass.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<MonoNs> {
        // Asked after every event.
        let or_never = |at: Option<MonoNs>| at.unwrap_or(MonoNs(u64::MAX));
        let next = or_never(self.next_release())
            .min(or_never(self.stuck.next()))
            .min(or_never(self.requests.next()));
        (next != MonoNs(u64::MAX)).then_some(next)
    }

    /// Does what is due at `now`, which must not be later than the newest moment up to which all
    /// events have been handled.
    pub fn handle_timeout(&mut self, now: MonoNs, out: &mut Vec<Record>) {
        while self.next_release().is_some_and(|due| due <= now) {
            self.release_first(out);
        }
        for (netns, local, remote) in self.requests.expired(now) {
            self.handshake_failed(netns, local, remote);
        }
        self.report_stuck(now, out);
    }

    /// Lets go of the connections whose end is still held back: tracing ends.
    pub fn finish(&mut self, out: &mut Vec<Record>) {
        while self.table.first_ended().is_some() {
            self.release_first(out);
        }
    }

    /// The connections that are open, oldest first.
    #[must_use]
    pub fn open(&self, now: MonoNs) -> Vec<OpenConnection> {
        let mut open: Vec<_> = self
            .table
            .iter()
            .filter(|conn| self.selected(conn))
            .map(|conn| conn.describe_open(now, self.cgroups.name(conn.cgroup)))
            .collect();
        open.sort_by_key(|open| (open.connection.start, open.connection.cookie));
        open
    }

    /// The open connections that `wanted` says yes to, by local end, remote end and role: the `most`
    /// oldest, these first, and how many there are in all. Goes through the whole table.
    #[must_use]
    pub fn open_of(
        &self,
        now: MonoNs,
        most: usize,
        wanted: impl Fn(SocketAddr, SocketAddr, Option<Role>) -> bool,
    ) -> (Vec<OpenConnection>, usize) {
        let mut open: Vec<_> = self
            .table
            .iter()
            .filter(|conn| wanted(conn.local, conn.remote, conn.role) && self.selected(conn))
            .collect();
        let count = open.len();
        let by_age = |conn: &&Conn| (conn.began(), conn.cookie);
        if count > most {
            open.select_nth_unstable_by_key(most, by_age);
            open.truncate(most);
        }
        open.sort_unstable_by_key(by_age);
        let described = |conn: &Conn| conn.describe_open(now, self.cgroups.name(conn.cgroup));
        (open.into_iter().map(described).collect(), count)
    }

    /// What happened with each remote host during the run: at most `top_hosts` rows, most
    /// connections first, and a last row `others` if there are more hosts.
    #[must_use]
    pub fn hosts(&self, now: MonoNs) -> Vec<Host> {
        self.run.report(now, self.config.top_hosts)
    }

    /// The same since the last call, or since tracing began; empty without
    /// [`Config::interval_reports`].
    pub fn take_interval(&mut self, now: MonoNs) -> Vec<Host> {
        let Some(interval) = &mut self.interval else {
            return Vec::new();
        };
        let rows = interval.report(now, self.config.top_hosts);
        interval.restart(now);
        rows
    }

    /// Half-open connections that remote hosts leave now; `None` without a SYN hook.
    #[must_use]
    pub fn half_open(&self) -> Option<u64> {
        self.run.half_open()
    }

    /// Whether half-open connections wait to be forgotten in time: [`Self::syns`] is needed, with an empty
    /// tick if nothing comes.
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.run.waits()
    }

    /// Totals of the run so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let open = if self.config.selection.is_everything() {
            self.table.live()
        } else {
            self.table.iter().filter(|conn| self.selected(conn)).count()
        };
        Totals { open: open as u64, requests_untracked: self.requests.untracked, ..self.totals }
    }

    /// Whether a connection, as far as it is known, is asked for.
    fn selected(&self, conn: &Conn) -> bool {
        let selection = &self.config.selection;
        if selection.is_everything() {
            return true;
        }
        let cgroup = self.cgroups.name(conn.cgroup);
        selection.matches(conn.role, conn.owner.as_ref(), cgroup.as_deref())
    }

    fn next_release(&self) -> Option<MonoNs> {
        let first = self.table.first_end()?;
        Some(MonoNs(first.0.saturating_add(self.config.end_grace_ns)))
    }

    fn release_first(&mut self, out: &mut Vec<Record>) {
        if let Some(id) = self.table.first_ended() {
            self.release(id, out);
        }
    }

    /// The end of a connection, nothing more to come: it leaves the table.
    fn release(&mut self, id: Id, out: &mut Vec<Record>) {
        let connection = self.table.get(id).and_then(|conn| self.released(conn));
        self.take(id);
        let Some(connection) = connection else {
            return;
        };
        self.totals.connections += 1;
        self.run.ended(&connection);
        if let Some(interval) = &mut self.interval {
            interval.ended(&connection);
        }
        out.push(Record::Connection(connection));
    }

    /// The record of a connection that is over, if it ever was one and is asked for.
    fn released(&self, conn: &Conn) -> Option<Box<Connection>> {
        if conn.never_was() {
            return None;
        }
        let cgroup: Option<Arc<CgroupName>> = self.cgroups.name(conn.cgroup);
        let selection = &self.config.selection;
        selection
            .matches(conn.role, conn.owner.as_ref(), cgroup.as_deref())
            .then(|| Box::new(conn.describe(MonoNs(0), cgroup)))
    }
}
