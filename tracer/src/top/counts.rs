//! Counts what the records tell, and makes views of it. Lives on the thread that reads the ring, so
//! an end costs little and the same whatever came before.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use rustc_hash::{FxHashMap, FxHashSet};

use super::incidents::Incidents;
use super::samples::{NOBODY, Of, Samples};
use super::tally::{Recent, Tallies, Tally, range};
use super::view::{
    CONNECTIONS, Column, Figures, HISTORY, Key, Kind, Latencies, Percentiles, ROWS, Row, Scope,
    Second, View, Wish,
};
use crate::core::event::MonoNs;
use crate::core::quantiles::Durations;
use crate::core::record::{Connection, Host, Quantiles, Record, Role};
use crate::core::spread::Spread;
use crate::core::{Core, HostOrder};
use crate::report::WallClock;
use crate::sinks::Standing;

mod detail;

/// Local ports with figures of their own.
const PORTS: usize = 1024;
const SECOND: u64 = 1_000_000_000;

pub(super) struct Counts {
    started: MonoNs,
    limit: Option<u64>,
    /// The second that runs, counted from `started`. Never goes back.
    running: u32,
    hosts: Tallies<IpAddr>,
    ports: Tallies<u16>,
    recent: Recent,
    samples: Samples,
    /// Of the run.
    handshakes: Durations,
    closes: Durations,
    failed: u64,
    incidents: Incidents,
    history: VecDeque<Second>,
    /// The second that ran at the last view.
    shown: u32,
    /// SYNs of the run when the running second began.
    syns_before: u64,
    wish: Wish,
    /// Newest last.
    ended: VecDeque<Connection>,
    /// Of the host or listener looked at, newest last.
    ended_of_detail: VecDeque<Connection>,
}

impl Counts {
    /// `hosts`: how many may have figures of their own; `limit`: how long the run is to take,
    /// nanoseconds.
    pub(super) fn new(started: MonoNs, hosts: usize, limit: Option<u64>) -> Self {
        Self {
            started,
            limit,
            running: 0,
            hosts: Tallies::new(hosts, false),
            ports: Tallies::new(PORTS, true),
            recent: Recent::default(),
            samples: Samples::default(),
            handshakes: Durations::default(),
            closes: Durations::default(),
            failed: 0,
            incidents: Incidents::default(),
            history: VecDeque::new(),
            shown: 0,
            syns_before: 0,
            wish: Wish::default(),
            ended: VecDeque::with_capacity(CONNECTIONS),
            ended_of_detail: VecDeque::new(),
        }
    }

    /// Counts a record; `shown`: it is to be seen, too.
    pub(super) fn record(&mut self, record: &Record, shown: bool) {
        match record {
            Record::Connection(connection) => self.connection(connection, shown),
            Record::Alert(alert) => self.incidents.tell(alert),
            Record::State(_) | Record::Stuck(_) | Record::Segment(_) => {}
        }
    }

    fn connection(&mut self, connection: &Connection, shown: bool) {
        self.advance(connection.end);
        let second = self.running;
        let failed = connection.failed();
        self.recent.add(second, failed);
        self.failed += u64::from(failed);
        let host = self.hosts.count(connection.remote.ip(), second, connection);
        let port = match connection.role {
            Some(Role::Server) => self.ports.count(connection.local.port(), second, connection),
            _ => NOBODY,
        };
        self.samples.add(second, (host, port), connection.handshake, connection.close);
        if let Some(took) = connection.handshake {
            self.handshakes.record(took);
        }
        if let Some(took) = connection.close {
            self.closes.record(took);
        }
        if shown && self.wish.filter.matches(connection) {
            if self.wish.detail.is_some_and(|key| is_of(connection, key)) {
                push(&mut self.ended_of_detail, connection);
            }
            push(&mut self.ended, connection);
        }
    }

    /// Time has come to `at`.
    fn advance(&mut self, at: MonoNs) {
        let second = u32::try_from(at.since(self.started) / SECOND).unwrap_or(u32::MAX - 1);
        self.running = self.running.max(second);
    }

    /// What is to be seen from now on; whether it is something else than before.
    pub(super) fn wish(&mut self, wish: &Wish) -> bool {
        if *wish == self.wish {
            return false;
        }
        if wish.detail != self.wish.detail {
            self.ended_of_detail.clear();
            if let Some(key) = wish.detail {
                let of = self.ended.iter().filter(|connection| is_of(connection, key));
                self.ended_of_detail = of.cloned().collect();
            }
        }
        self.wish.clone_from(wish);
        true
    }

    /// Adds what has become known of the second that ran when this was asked last, and begins those
    /// that have come since. What came between two looks is put into the earlier second.
    fn history(&mut self, standing: &Standing<'_>) {
        self.advance(standing.at);
        let half_open = standing.core.half_open();
        let syns = standing.totals.syns;
        let begins = Second { syns: syns.map(|_| 0), half_open };
        match self.history.back_mut() {
            Some(last) => {
                last.syns = syns.map(|syns| syns.saturating_sub(self.syns_before));
                last.half_open = last.half_open.max(half_open);
            }
            None => self.history.push_back(begins),
        }
        let passed = self.running - std::mem::replace(&mut self.shown, self.running);
        if passed > 0 {
            self.syns_before = syns.unwrap_or(0);
        }
        for _ in 0..passed.min(HISTORY as u32) {
            self.history.push_back(begins);
        }
        while self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }

    /// How things are now.
    pub(super) fn view(&mut self, standing: &Standing<'_>, clock: &WallClock) -> View {
        self.history(standing);
        self.samples.forget(self.running);
        let Standing { at, totals, hooks, core, floods } = *standing;
        if let Some(floods) = floods {
            self.incidents.refresh(floods.going_on());
        }
        let (rows, more) = match self.wish.kind {
            Kind::Hosts => self.host_rows(core, at),
            Kind::Listeners => self.port_rows(),
        };
        let (stuck, stuck_count) = core.stuck_now(at, CONNECTIONS);
        let missing = hooks.iter().filter(|hook| !hook.attached).map(|hook| {
            let place = hook.interface.as_deref().map(|name| format!(" on {name}"));
            let reason = hook.reason.as_deref().unwrap_or("not attached");
            format!("{}{}: {reason}", hook.name, place.unwrap_or_default())
        });
        View {
            wish: self.wish.clone(),
            at,
            clock: clock.clone(),
            limit: self.limit,
            totals: totals.clone(),
            all: Scope::ALL.map(|scope| {
                let (ended, failed) = match scope {
                    // The core's count is the end record's.
                    Scope::Run => (totals.connections, self.failed),
                    _ => self.sum(&self.recent, scope),
                };
                Figures { ended, failed, ..Figures::default() }
            }),
            half_open: core.half_open(),
            hooks: hooks.len(),
            missing: missing.collect(),
            incidents: self.incidents.now(at),
            history: self.history.iter().copied().collect(),
            latencies: self.latencies(Of::Everyone, || spread_of(&self.handshakes, &self.closes)),
            rows,
            more,
            stuck: stuck.into_iter().filter(|open| self.wish.filter.matches_open(open)).collect(),
            stuck_count,
            ended: self.newest(&self.ended),
            detail: self.wish.detail.map(|key| Box::new(self.detail(key, core, at))),
        }
    }

    fn sum(&self, recent: &Recent, scope: Scope) -> (u64, u64) {
        let (from, to) = range(scope, self.running);
        recent.sum(from, to)
    }

    fn newest(&self, ended: &VecDeque<Connection>) -> Vec<Connection> {
        let matching = ended.iter().rev().filter(|connection| self.wish.filter.matches(connection));
        matching.cloned().collect()
    }

    /// In the scope wished, with `run` for the whole run.
    fn latencies(&self, of: Of, run: impl FnOnce() -> Latencies) -> Latencies {
        match self.wish.scope {
            Scope::Run => run(),
            scope => {
                let (from, to) = range(scope, self.running);
                self.samples.latencies(from, to, of)
            }
        }
    }

    fn host_rows(&self, core: &Core, at: MonoNs) -> (Vec<Row>, usize) {
        let Wish { scope, order, ascending, filter, .. } = &self.wish;
        let wanted = |host: IpAddr| {
            filter.matches_host(host, |text| {
                if let Some(tally) = self.hosts.get(host) {
                    tally.known(text);
                }
                if let Some(verdict) = self.incidents.of_host(host) {
                    text.push(' ');
                    text.push_str(verdict.name());
                }
            })
        };
        if *scope == Scope::Run {
            let ranked = core.ranked_hosts(at, host_order(*order), *ascending, ROWS, wanted);
            let others = ranked.others.filter(|_| filter.is_empty());
            let rows = ranked.rows.iter().chain(&others).map(|host| self.run_row(host)).collect();
            return (rows, ranked.more);
        }
        // Who leaves half-open connections has perhaps no connection that could end.
        let waiting = core.ranked_hosts(at, HostOrder::HalfOpen, false, ROWS, wanted);
        let none = core.half_open().map(|_| 0);
        let half_open: FxHashMap<IpAddr, Option<u64>> =
            waiting.rows.iter().filter_map(|row| Some((row.host?, row.half_open))).collect();
        let (from, to) = range(*scope, self.running);
        let active = |tally: &Tally| tally.recent.sum(from, to).0 > 0;
        let mut rows: Vec<(u32, Row)> = self
            .hosts
            .iter()
            .filter(|(_, host, tally)| active(tally) && wanted(*host))
            .map(|(place, host, tally)| {
                let (ended, failed) = tally.recent.sum(from, to);
                let figures = Figures { ended, failed, ..Figures::default() };
                let half_open = half_open.get(&host).copied().unwrap_or(none);
                (place, Row { half_open, ..blank(Some(Key::Host(host)), figures) })
            })
            .collect();
        // Nor has who is named by an alert.
        let leaves = half_open.iter().filter(|(_, count)| count.unwrap_or(0) > 0);
        let quiet: FxHashSet<IpAddr> = leaves
            .map(|(host, _)| *host)
            .chain(self.incidents.hosts().filter(|host| wanted(*host)))
            .filter(|host| !self.hosts.get(*host).is_some_and(active))
            .collect();
        rows.extend(quiet.into_iter().map(|host| {
            let half_open = half_open.get(&host).copied().unwrap_or(none);
            let row = blank(Some(Key::Host(host)), Figures::default());
            (self.hosts.place_of(host), Row { half_open, ..row })
        }));
        let (mut rows, more) = self.top_rows(rows, true, self.hosts.places());
        for row in &mut rows {
            if let Some(Key::Host(host)) = row.key {
                row.verdict = self.incidents.of_host(host);
                if waiting.more > 0 && !half_open.contains_key(&host) {
                    row.half_open = core.host(host, at).and_then(|detail| detail.row.half_open);
                }
            }
        }
        (rows, more)
    }

    fn run_row(&self, host: &Host) -> Row {
        Row {
            key: host.host.map(Key::Host),
            figures: run_figures(host),
            half_open: host.half_open,
            verdict: host.host.and_then(|host| self.incidents.of_host(host)),
        }
    }

    fn port_rows(&self) -> (Vec<Row>, usize) {
        let Wish { scope, filter, .. } = &self.wish;
        let wanted = |port: u16, tally: &Tally| {
            filter.matches_port(port, |text| {
                tally.known(text);
                if let Some(verdict) = self.incidents.of_port(port) {
                    text.push(' ');
                    text.push_str(verdict.name());
                }
            })
        };
        let rows = self
            .ports
            .iter()
            .filter(|(_, port, tally)| wanted(*port, tally))
            .map(|(place, port, tally)| {
                let mut row = blank(Some(Key::Port(port)), self.figures_of(tally, *scope));
                row.half_open = self.incidents.half_open_of_port(port);
                row.verdict = self.incidents.of_port(port);
                (place, row)
            })
            .collect();
        self.top_rows(rows, false, self.ports.places())
    }

    /// Of a port's tally; percentiles of the whole run only.
    fn figures_of(&self, tally: &Tally, scope: Scope) -> Figures {
        if scope == Scope::Run {
            let durations = tally.durations.as_deref();
            let of = |durations: &Durations| durations.quantiles().map(percentiles);
            return Figures {
                ended: tally.ended,
                failed: tally.failed,
                handshake: durations.and_then(|durations| of(&durations.0)),
                close: durations.and_then(|durations| of(&durations.1)),
            };
        }
        let (ended, failed) = self.sum(&tally.recent, scope);
        Figures { ended, failed, ..Figures::default() }
    }

    /// The first [`ROWS`] in the order wished, with percentiles, and how many more there are.
    /// Percentiles of all are needed only where they decide.
    fn top_rows(&self, mut rows: Vec<(u32, Row)>, hosts: bool, places: usize) -> (Vec<Row>, usize) {
        let Wish { scope, order, ascending, .. } = self.wish;
        let windowed = scope.seconds().is_some();
        let by_percentile = matches!(
            order,
            Column::HandshakeP50 | Column::HandshakeP99 | Column::CloseP50 | Column::CloseP99
        );
        if windowed && by_percentile {
            self.fill(&mut rows, hosts, places);
        }
        let more = rows.len().saturating_sub(ROWS);
        let compare = |a: &(u32, Row), b: &(u32, Row)| compare(&a.1, &b.1, order, ascending);
        if more > 0 {
            rows.select_nth_unstable_by(ROWS, compare);
            rows.truncate(ROWS);
        }
        rows.sort_by(compare);
        if windowed && !by_percentile {
            self.fill(&mut rows, hosts, places);
        }
        (rows.into_iter().map(|(_, row)| row).collect(), more)
    }

    fn fill(&self, rows: &mut [(u32, Row)], hosts: bool, places: usize) {
        let mut row_of = vec![NOBODY; places];
        for (row, (place, _)) in (0..).zip(rows.iter()) {
            if let Some(entry) = row_of.get_mut(*place as usize) {
                *entry = row;
            }
        }
        let within = range(self.wish.scope, self.running);
        let all = self.samples.by_row(within, hosts, &row_of, rows.len());
        for ((_, row), (handshake, close)) in rows.iter_mut().zip(all) {
            row.figures.handshake = handshake;
            row.figures.close = close;
        }
    }
}

fn push(list: &mut VecDeque<Connection>, connection: &Connection) {
    if list.len() >= CONNECTIONS {
        list.pop_front();
    }
    list.push_back(connection.clone());
}

/// Whether a connection between these is one of the host's, or the listener's.
fn concerns(key: Key, local: SocketAddr, remote: SocketAddr, role: Option<Role>) -> bool {
    match key {
        Key::Host(host) => remote.ip() == host,
        Key::Port(port) => local.port() == port && role == Some(Role::Server),
    }
}

fn is_of(connection: &Connection, key: Key) -> bool {
    concerns(key, connection.local, connection.remote, connection.role)
}

fn blank(key: Option<Key>, figures: Figures) -> Row {
    Row { key, figures, half_open: None, verdict: None }
}

fn percentiles(quantiles: Quantiles) -> Percentiles {
    Percentiles { p50: quantiles.p50, p99: quantiles.p99 }
}

fn run_figures(host: &Host) -> Figures {
    Figures {
        ended: host.connections,
        failed: host.failed,
        handshake: host.handshake.map(percentiles),
        close: host.close.map(percentiles),
    }
}

fn spread_of(handshake: &Durations, close: &Durations) -> Latencies {
    let of = |durations: &Durations| -> (Spread, Option<Percentiles>) {
        (durations.spread(), durations.quantiles().map(percentiles))
    };
    let ((handshake, handshake_percentiles), (close, close_percentiles)) =
        (of(handshake), of(close));
    Latencies { handshake, handshake_percentiles, close, close_percentiles }
}

const fn host_order(column: Column) -> HostOrder {
    match column {
        Column::Name => HostOrder::Address,
        Column::Connections => HostOrder::Connections,
        Column::Failed => HostOrder::Failed,
        Column::HandshakeP50 => HostOrder::HandshakeP50,
        Column::HandshakeP99 => HostOrder::HandshakeP99,
        Column::CloseP50 => HostOrder::CloseP50,
        Column::CloseP99 => HostOrder::CloseP99,
        Column::HalfOpen => HostOrder::HalfOpen,
    }
}

/// Rows in order: largest first unless `ascending`, what is not known last, the others behind all.
pub(super) fn compare(a: &Row, b: &Row, order: Column, ascending: bool) -> std::cmp::Ordering {
    let value = |row: &Row| {
        let Figures { ended, failed, handshake, close } = &row.figures;
        match order {
            Column::Name => None,
            Column::Connections => Some(*ended),
            Column::Failed => Some(*failed),
            Column::HandshakeP50 => handshake.map(|p| p.p50),
            Column::HandshakeP99 => handshake.map(|p| p.p99),
            Column::CloseP50 => close.map(|p| p.p50),
            Column::CloseP99 => close.map(|p| p.p99),
            Column::HalfOpen => row.half_open,
        }
    };
    let named = a.key.is_none().cmp(&b.key.is_none());
    let by_value = match (value(a), value(b)) {
        (Some(a), Some(b)) if ascending => a.cmp(&b),
        (Some(a), Some(b)) => b.cmp(&a),
        (a, b) => a.is_none().cmp(&b.is_none()),
    };
    let by_name = match order {
        Column::Name if !ascending => b.key.cmp(&a.key),
        _ => a.key.cmp(&b.key),
    };
    let busier = b.figures.ended.cmp(&a.figures.ended);
    let tie = if order == Column::Name { std::cmp::Ordering::Equal } else { busier };
    named.then(by_value).then(tie).then(by_name)
}
