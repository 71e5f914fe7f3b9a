//! One host or one listener, looked at closely.

use super::{Counts, concerns, percentiles, run_figures, spread_of};
use crate::core::Core;
use crate::core::event::MonoNs;
use crate::top::samples::Of;
use crate::top::tally::range;
use crate::top::view::{CONNECTIONS, Detail, Key, Latencies, Scope};

impl Counts {
    pub(super) fn detail(&self, key: Key, core: &Core, at: MonoNs) -> Detail {
        let (tally, of, host) = match key {
            Key::Host(host) => {
                (self.hosts.get(host), Of::Host(self.hosts.place_of(host)), core.host(host, at))
            }
            Key::Port(port) => (self.ports.get(port), Of::Port(self.ports.place_of(port)), None),
        };
        let wanted = |local, remote, role| concerns(key, local, remote, role);
        let (open, open_count) = core.open_of(at, CONNECTIONS, wanted);
        let durations = tally.and_then(|tally| tally.durations.as_deref());
        let figures = Scope::ALL.map(|scope| {
            let mut figures = match (scope, &host) {
                (Scope::Run, Some(host)) => run_figures(&host.row),
                _ => tally.map(|tally| self.figures_of(tally, scope)).unwrap_or_default(),
            };
            if scope.seconds().is_some() {
                let (from, to) = range(scope, self.running);
                let latencies = self.samples.latencies(from, to, of);
                figures.handshake = latencies.handshake_percentiles;
                figures.close = latencies.close_percentiles;
            }
            figures
        });
        let latencies = self.latencies(of, || match (&host, durations) {
            (Some(host), _) => Latencies {
                handshake: host.handshake,
                handshake_percentiles: host.row.handshake.map(percentiles),
                close: host.close,
                close_percentiles: host.row.close.map(percentiles),
            },
            (None, Some(durations)) => spread_of(&durations.0, &durations.1),
            (None, None) => Latencies::default(),
        });
        let row = host.as_ref().map(|host| &host.row);
        Detail {
            key,
            figures,
            latencies,
            half_open: match key {
                Key::Host(_) => row.and_then(|row| row.half_open),
                Key::Port(port) => self.incidents.half_open_of_port(port),
            },
            half_open_peak: row.and_then(|row| row.half_open_peak),
            syns: row.and_then(|row| row.syn_count),
            verdict: match key {
                Key::Host(host) => self.incidents.of_host(host),
                Key::Port(port) => self.incidents.of_port(port),
            },
            since: tally.map_or(self.started, |tally| tally.since),
            outcomes: tally.map(|tally| tally.outcomes).unwrap_or_default(),
            phases: tally.map(|tally| tally.phases).unwrap_or_default(),
            open: open.into_iter().filter(|open| self.wish.filter.matches_open(open)).collect(),
            open_count,
            ended: self.newest(&self.ended_of_detail),
        }
    }
}
