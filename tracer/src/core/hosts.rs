//! What happened with each remote host.

pub(super) mod ranked;

use std::collections::HashMap;
use std::net::IpAddr;

use super::event::MonoNs;
use super::flood::half_open::{DEFAULT_LIFETIME_NS, HalfOpen};
use super::flood::sample::Sample;
use super::flood::tick::{SourceTick, Tick};
use super::quantiles::Durations;
use super::record::{Connection, Host, ObservedFrom, Outcome, Role};

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
    syns: Syns,
}

/// SYN figures of one host, or of several.
#[derive(Clone, Default)]
struct Syns {
    count: u64,
    half: HalfOpen,
    peak: u64,
    /// Some SYNs or completions may have been counted with the others.
    bound: bool,
    /// It completed a handshake.
    completes: bool,
    /// Connections from it whose SYN passed no SYN hook: another interface or network namespace.
    unseen: u64,
}

/// Whether a connection began here, as a server's, with a SYN that no hook saw.
fn began_unseen(connection: &Connection) -> bool {
    connection.role == Some(Role::Server)
        && connection.observed_from == ObservedFrom::Start
        && !connection.events_lost
        && connection.syn_retransmits.is_none()
}

impl Figures {
    /// It never had a connection: its row may be given up for a host that has.
    fn is_weak(&self) -> bool {
        self.connections == 0 && !self.syns.completes
    }

    fn count(&mut self, connection: &Connection) {
        self.connections += 1;
        self.syns.unseen += u64::from(began_unseen(connection));
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
        let Self {
            connections,
            failed,
            resets,
            timeouts,
            handshakes_failed,
            handshake,
            close,
            syns,
        } = other;
        self.syns.count = self.syns.count.saturating_add(syns.count);
        self.syns.half.merge(&syns.half);
        self.syns.unseen += syns.unseen;
        // Peaks need not have been at the same time: the sum is a bound.
        self.syns.peak = self.syns.peak.saturating_add(syns.peak);
        self.connections += connections;
        self.failed += failed;
        self.resets += resets;
        self.timeouts += timeouts;
        self.handshakes_failed += handshakes_failed;
        self.handshake.merge(handshake);
        self.close.merge(close);
    }

    fn row(&self, host: Option<IpAddr>, interval: u64, hook: bool) -> Host {
        let Syns { count, half: _, peak: _, bound, completes: _, unseen } = self.syns;
        // None where none was counted that must have come.
        let hook = hook && (count > 0 || unseen == 0);
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
            syn_count: hook.then_some(count),
            half_open: hook.then(|| self.syns.half.count()),
            half_open_peak: hook.then_some(self.syns.peak),
            exact: host.is_some() && !bound && unseen == 0,
        }
    }
}

/// Figures of a span of time, by host.
pub(super) struct Hosts {
    by_host: HashMap<IpAddr, Figures>,
    others: Option<Box<Figures>>,
    most: usize,
    since: MonoNs,
    hook: bool,
    lifetime: u64,
    /// Some have half-open connections, as of the last tick.
    waits: bool,
    /// Cookies sent when the kernel's half-open connections were last listed.
    cookies: Option<u64>,
    /// Hosts that never had a connection, as of the last tick and newcomers since.
    weak: usize,
    /// The table is full of hosts that had connections: it stays so until it is emptied.
    barren: bool,
}

impl Hosts {
    pub(super) fn new(most: usize, since: MonoNs, hook: bool) -> Self {
        Self {
            by_host: HashMap::new(),
            others: None,
            most,
            since,
            hook,
            lifetime: DEFAULT_LIFETIME_NS,
            waits: false,
            cookies: None,
            weak: 0,
            barren: false,
        }
    }

    /// A connection ended.
    pub(super) fn ended(&mut self, connection: &Connection) {
        let host = connection.remote.ip();
        self.make_room(host);
        self.figures(host).count(connection);
    }

    /// A request of this host's never became a connection.
    pub(super) fn handshake_failed(&mut self, host: IpAddr) {
        self.figures(host).handshakes_failed += 1;
    }

    /// Where the table is full, rows of hosts that never had a connection are given up for one that
    /// has: the weakest eighth of them, so that a flood's leftovers cost little each time.
    fn make_room(&mut self, host: IpAddr) {
        if self.barren || self.by_host.len() < self.most || self.by_host.contains_key(&host) {
            return;
        }
        let mut weak: Vec<_> = self
            .by_host
            .iter()
            .filter(|(_, figures)| figures.is_weak())
            .map(|(host, figures)| (figures.syns.half.count(), figures.syns.count, *host))
            .collect();
        self.barren = weak.is_empty();
        weak.sort_unstable();
        weak.truncate((weak.len() / 8).max(1));
        for (_, _, host) in weak {
            if let Some(figures) = self.by_host.remove(&host) {
                self.others.get_or_insert_default().merge(&figures);
            }
        }
    }

    /// Counts a tick's SYNs and completions with their hosts.
    pub(super) fn syns(&mut self, tick: &Tick) {
        if !self.hook {
            return;
        }
        let (at, cohort) = (tick.to, tick.cohort);
        for source in &tick.sources {
            let fresh = !self.by_host.contains_key(&source.addr);
            let late = fresh && self.others.is_some();
            let figures = self.sender(source.addr);
            figures.syns.count = figures.syns.count.saturating_add(source.syns);
            figures.syns.bound |= source.bound > 0 || late;
            if source.target.listens() {
                figures.syns.half.add(at, cohort, &source.firsts.gained());
                figures.syns.half.take(cohort, &source.firsts.taken_back());
            }
        }
        if tick.unattributed > 0 || tick.unattributed_firsts.sum() > 0 {
            let others = self.others.get_or_insert_default();
            others.syns.count = others.syns.count.saturating_add(tick.unattributed);
            others.syns.half.add(at, cohort, &tick.unattributed_firsts);
        }
        let completers = tick.completers.iter().map(|one| (one, true));
        for (one, completes) in completers.chain(tick.resetters.iter().map(|one| (one, false))) {
            self.ended_half_open(cohort, one, completes);
        }
        if let Some(others) = &mut self.others {
            others.syns.half.take(cohort, &tick.unattributed_ended);
        }
        let lifetime = self.lifetime;
        let mut left = 0;
        for figures in self.by_host.values_mut().chain(self.others.as_deref_mut()) {
            let half = &mut figures.syns.half;
            half.expire(tick.to, lifetime);
            left += half.count();
            figures.syns.peak = figures.syns.peak.max(half.count());
        }
        self.waits = left > 0;
        self.weak = self.by_host.values().filter(|figures| figures.is_weak()).count();
    }

    /// A host's half-open connections ended. Of SYNs from a source that is not followed yet the others'
    /// row knows.
    fn ended_half_open(&mut self, cohort: u64, end: &SourceTick, completes: bool) {
        let mut known = self.by_host.get_mut(&end.addr);
        let mut others = self.others.as_deref_mut();
        if let Some(figures) = known.as_deref_mut().or(others.as_deref_mut()) {
            figures.syns.bound |= end.bound > 0;
            figures.syns.completes |= completes;
        }
        let mut left = end.firsts.gained();
        for figures in [known.as_deref_mut(), others.as_deref_mut()].into_iter().flatten() {
            left = figures.syns.half.take_own(cohort, &left);
        }
        for figures in [known, others].into_iter().flatten() {
            left = figures.syns.half.take_nearest(cohort, &left);
        }
    }

    /// Holds half-open connections against the kernel's list, unless it sent cookies meanwhile:
    /// those it does not list.
    pub(super) fn half_open_sample(&mut self, sample: &Sample) {
        if sample.request_lifetime_ns > 0 {
            self.lifetime = sample.request_lifetime_ns;
        }
        let Some(queues) = &sample.queues else {
            return;
        };
        let sent = sample.stack.syncookies_sent;
        if self.cookies.replace(sent) != Some(sent) {
            return;
        }
        let mut listed: HashMap<IpAddr, u64> = HashMap::new();
        for (host, _, count) in &queues.half_open {
            *listed.entry(*host).or_default() += count;
        }
        for (host, figures) in &mut self.by_host {
            figures.syns.half.reconcile(listed.remove(host).unwrap_or(0), sample.at);
        }
        if let Some(others) = &mut self.others {
            others.syns.half.reconcile(listed.values().sum(), sample.at);
        }
    }

    /// Figures of a host that sent SYNs. Those that never had a connection may take an eighth of the
    /// rows: whatever the number of sources that a flood makes up, they cost no more.
    fn sender(&mut self, host: IpAddr) -> &mut Figures {
        if !self.by_host.contains_key(&host) {
            if self.weak >= (self.most / 8).max(16) {
                return self.others.get_or_insert_default();
            }
            self.weak += 1;
        }
        self.figures(host)
    }

    /// Figures of a host; once the table is full, newcomers share those of the others, so that
    /// whoever has a row has all of its figures there.
    fn figures(&mut self, host: IpAddr) -> &mut Figures {
        if self.by_host.len() >= self.most && !self.by_host.contains_key(&host) {
            return self.others.get_or_insert_default();
        }
        self.by_host.entry(host).or_default()
    }

    /// The `top` hosts with most connections (then most failed ones, half-open connections at a
    /// time, and SYNs), and one row for the rest. A quarter of the rows is kept for hosts that never
    /// had a connection and leave most half-open ones, so that a quiet scanner is not hidden behind
    /// busy hosts; beyond that quarter such a host must have sent a few SYNs to have a row, so that
    /// the sources that a flood makes up fill no report.
    pub(super) fn report(&self, now: MonoNs, top: usize) -> Vec<Host> {
        const A_FEW: u64 = 3;
        let interval = now.since(self.since);
        let mut hosts: Vec<_> = self.by_host.iter().collect();
        hosts.sort_unstable_by_key(|(host, figures)| {
            (
                std::cmp::Reverse((
                    figures.connections,
                    figures.failed,
                    figures.handshakes_failed,
                    figures.syns.peak,
                    figures.syns.count,
                )),
                **host,
            )
        });
        let mut rest = Vec::new();
        if hosts.len() > top {
            let (mut weak, mut strong): (Vec<_>, Vec<_>) =
                hosts.into_iter().partition(|(_, figures)| figures.is_weak());
            weak.sort_by_key(|(_, figures)| std::cmp::Reverse(figures.syns.half.count()));
            let kept = weak.len().min(top / 4);
            rest = strong.split_off(strong.len().min(top - kept));
            let free = top - strong.len();
            for (place, row) in weak.into_iter().enumerate() {
                if place < kept || (place < free && row.1.syns.count >= A_FEW) {
                    strong.push(row);
                } else {
                    rest.push(row);
                }
            }
            hosts = strong;
        }
        let mut rows: Vec<_> = hosts
            .into_iter()
            .map(|(host, figures)| figures.row(Some(*host), interval, self.hook))
            .collect();
        if !rest.is_empty() || self.others.is_some() {
            let mut others = self.others.as_deref().cloned().unwrap_or_default();
            for (_, figures) in rest {
                others.merge(figures);
            }
            rows.push(others.row(None, interval, self.hook));
        }
        rows
    }

    /// Half-open connections of all hosts now; `None` without a SYN hook.
    pub(super) fn half_open(&self) -> Option<u64> {
        let all = self.by_host.values().chain(self.others.as_deref());
        self.hook.then(|| all.map(|figures| figures.syns.half.count()).sum())
    }

    /// Whether some have half-open connections, which expire with the ticks.
    pub(super) const fn waits(&self) -> bool {
        self.waits
    }

    /// Begins a new span of time.
    pub(super) fn restart(&mut self, now: MonoNs) {
        self.barren = false;
        // What is half-open now is part of the next interval, too.
        let carry = |figures: &Figures| {
            let half = figures.syns.half.clone();
            let Syns { bound, completes, .. } = figures.syns;
            let syns = Syns { count: 0, peak: half.count(), half, bound, completes, unseen: 0 };
            Figures { syns, ..Figures::default() }
        };
        self.by_host.retain(|_, figures| figures.syns.half.count() > 0);
        for figures in self.by_host.values_mut() {
            *figures = carry(figures);
        }
        self.others = self
            .others
            .take()
            .filter(|figures| figures.syns.half.count() > 0)
            .map(|figures| Box::new(carry(&figures)));
        self.since = now;
    }
}
