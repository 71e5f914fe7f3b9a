//! What is remembered of a run for the page at its end: bounded, however long the run and however
//! many connections.

pub(super) mod incidents;
pub(super) mod latency;
pub(super) mod timeline;
pub(super) mod worst;

use self::incidents::Incidents;
use self::latency::Latency;
use self::timeline::Timeline;
use self::worst::Worst;
use crate::core::event::MonoNs;
use crate::core::record::{Connection, End, ObservedFrom, OpenConnection, Outcome, Record, Role};

/// The sides a connection can be seen from, in the order in which they are shown.
pub(super) const ROLES: [Option<Role>; 3] = [Some(Role::Server), Some(Role::Client), None];

/// Something for each of [`ROLES`].
#[derive(Clone, Debug, Default)]
pub(super) struct ByRole<T>([T; 3]);

impl<T> ByRole<T> {
    fn of_mut(&mut self, role: Option<Role>) -> &mut T {
        let [server, client, unknown] = &mut self.0;
        match role {
            Some(Role::Server) => server,
            Some(Role::Client) => client,
            None => unknown,
        }
    }

    /// All with their roles.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Option<Role>, &T)> {
        ROLES.into_iter().zip(&self.0)
    }
}

impl ByRole<Latency> {
    /// Of all roles together.
    pub(super) fn all(&self) -> Latency {
        let mut all = Latency::default();
        for (_, latency) in self.iter() {
            all.merge(latency);
        }
        all
    }
}

/// See the module.
#[derive(Clone)]
pub(super) struct Figures {
    /// Connections by how they ended, in the order of [`Outcome::ALL`].
    pub(super) outcomes: [ByRole<u64>; Outcome::ALL.len()],
    /// Handshakes that were measured.
    pub(super) handshakes: ByRole<Latency>,
    /// Closes that were measured.
    pub(super) closes: ByRole<Latency>,
    /// From ready to be accepted to accepted.
    pub(super) accept_waits: Latency,
    /// What happened when.
    pub(super) timeline: Timeline,
    /// Longest handshakes.
    pub(super) slow_handshakes: Worst<Box<Connection>>,
    /// Longest closes.
    pub(super) slow_closes: Worst<Box<Connection>>,
    /// Those that failed after the longest time.
    pub(super) failed: Worst<Box<Connection>>,
    /// Floods and notices.
    pub(super) incidents: Incidents,
    /// The most half-open connections at one of the moments looked at; `None` without a SYN hook.
    pub(super) half_open_peak: Option<u64>,
}

impl Figures {
    /// Of a run that begins at `origin`.
    pub(super) fn new(origin: MonoNs) -> Self {
        Self {
            outcomes: std::array::from_fn(|_| ByRole::default()),
            handshakes: ByRole::default(),
            closes: ByRole::default(),
            accept_waits: Latency::default(),
            timeline: Timeline::new(origin),
            slow_handshakes: Worst::default(),
            slow_closes: Worst::default(),
            failed: Worst::default(),
            incidents: Incidents::default(),
            half_open_peak: None,
        }
    }

    /// Something happened.
    pub(super) fn record(&mut self, record: &Record) {
        match record {
            Record::Connection(connection) => self.ended(connection),
            Record::Alert(alert) => self.incidents.told(alert),
            // What is stuck at the end is among the open connections.
            Record::State(_) | Record::Stuck(_) | Record::Segment(_) => {}
        }
    }

    fn ended(&mut self, connection: &Connection) {
        let keep = || Box::new(connection.clone());
        let role = connection.role;
        let outcome = connection.outcome.unwrap_or(Outcome::Unknown);
        let place = Outcome::ALL.iter().position(|one| *one == outcome);
        if let Some(counts) = place.and_then(|place| self.outcomes.get_mut(place)) {
            *counts.of_mut(role) += 1;
        }
        let failed = outcome.failed();
        if connection.observed_from == ObservedFrom::Start {
            self.timeline.begun(connection.start);
        }
        self.timeline.ended(connection.end, failed);
        if let Some(took) = connection.handshake {
            self.handshakes.of_mut(role).record(took);
            self.slow_handshakes.offer(took, keep);
        }
        if let Some(took) = connection.close {
            self.closes.of_mut(role).record(took);
            self.slow_closes.offer(took, keep);
        }
        if let Some(took) = connection.accept_wait {
            self.accept_waits.record(took);
        }
        if failed {
            self.failed.offer(connection.end.since(connection.start), keep);
        }
    }

    /// How things stand at a moment.
    pub(super) fn standing(&mut self, at: MonoNs, totals: &End, half_open: Option<u64>) {
        if let Some(syns) = totals.syns {
            self.timeline.syns(at, syns);
        }
        if let Some(half_open) = half_open {
            self.timeline.half_open(at, half_open);
            self.half_open_peak = self.half_open_peak.max(Some(half_open));
        }
    }

    /// The connections that are open at the end began, too.
    pub(super) fn finish(&mut self, open: &[OpenConnection]) {
        for OpenConnection { connection, .. } in open {
            if connection.observed_from == ObservedFrom::Start {
                self.timeline.begun(connection.start);
            }
        }
    }

    /// Of all ended connections those with this outcome, all roles.
    #[cfg(test)]
    fn count(&self, outcome: Outcome) -> u64 {
        let place = Outcome::ALL.iter().position(|one| *one == outcome).unwrap();
        self.outcomes[place].iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests;
