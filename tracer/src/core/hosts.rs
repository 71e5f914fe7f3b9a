//! What happened with each remote host.

use std::collections::HashMap;
use std::net::IpAddr;

use super::event::MonoNs;
use super::quantiles::Durations;
use super::record::{Connection, Host, Outcome};

/// Figures of one host, or of several.
#[derive(Clone, Default)]
struct Figures {
    connections: u64,
    failed: u64,
    resets: u64,
    timeouts: u64,
    handshakes_failed: u64,
    handshake: Durations,
    close: Durations,
}

impl Figures {
    fn count(&mut self, connection: &Connection) {
        self.connections += 1;
        match connection.outcome {
            Some(Outcome::Closed) | None => {}
            Some(outcome) => {
                self.failed += 1;
                self.resets +=
                    u64::from(matches!(outcome, Outcome::ResetByRemote | Outcome::ResetByLocal));
                self.timeouts += u64::from(outcome == Outcome::TimedOut);
            }
        }
        if let Some(took) = connection.handshake {
            self.handshake.record(took);
        }
        if let Some(took) = connection.close {
            self.close.record(took);
        }
    }

    fn merge(&mut self, other: &Self) {
        let Self { connections, failed, resets, timeouts, handshakes_failed, handshake, close } =
            other;
        self.connections += connections;
        self.failed += failed;
        self.resets += resets;
        self.timeouts += timeouts;
        self.handshakes_failed += handshakes_failed;
        self.handshake.merge(handshake);
        self.close.merge(close);
    }

    fn row(&self, host: Option<IpAddr>, interval: u64) -> Host {
        Host {
            host,
            interval,
            connections: self.connections,
            failed: self.failed,
            resets: self.resets,
            timeouts: self.timeouts,
            handshakes_failed: self.handshakes_failed,
            handshake: self.handshake.quantiles(),
            close: self.close.quantiles(),
            syn_count: None,
            half_open: None,
            half_open_peak: None,
            exact: host.is_some(),
        }
    }
}

/// Figures of a span of time, by host.
pub(super) struct Hosts {
    by_host: HashMap<IpAddr, Figures>,
    others: Option<Box<Figures>>,
    most: usize,
    since: MonoNs,
}

impl Hosts {
    pub(super) fn new(most: usize, since: MonoNs) -> Self {
        Self { by_host: HashMap::new(), others: None, most, since }
    }

    /// A connection ended.
    pub(super) fn ended(&mut self, connection: &Connection) {
        self.figures(connection.remote.ip()).count(connection);
    }

    /// A request of this host's never became a connection.
    pub(super) fn handshake_failed(&mut self, host: IpAddr) {
        self.figures(host).handshakes_failed += 1;
    }

    /// Figures of a host; once the table is full, newcomers share those of the others, so that
    /// whoever has a row has all of its figures there.
    fn figures(&mut self, host: IpAddr) -> &mut Figures {
        if self.by_host.len() >= self.most && !self.by_host.contains_key(&host) {
            return self.others.get_or_insert_default();
        }
        self.by_host.entry(host).or_default()
    }

    /// The `top` hosts with most connections (then most failed ones), and one row for the rest.
    pub(super) fn report(&self, now: MonoNs, top: usize) -> Vec<Host> {
        let interval = now.since(self.since);
        let mut hosts: Vec<_> = self.by_host.iter().collect();
        hosts.sort_unstable_by_key(|(host, figures)| {
            (
                std::cmp::Reverse((figures.connections, figures.failed, figures.handshakes_failed)),
                **host,
            )
        });
        let rest = hosts.split_off(top.min(hosts.len()));
        let mut rows: Vec<_> =
            hosts.into_iter().map(|(host, figures)| figures.row(Some(*host), interval)).collect();
        if !rest.is_empty() || self.others.is_some() {
            let mut others = self.others.as_deref().cloned().unwrap_or_default();
            for (_, figures) in rest {
                others.merge(figures);
            }
            rows.push(others.row(None, interval));
        }
        rows
    }

    /// Begins a new span of time.
    pub(super) fn restart(&mut self, now: MonoNs) {
        self.by_host.clear();
        self.others = None;
        self.since = now;
    }
}
