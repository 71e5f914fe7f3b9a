//! Floods, and what looks like one: what goes on now, and what was over a moment ago.

use std::net::IpAddr;

use super::view::Incident;
use crate::core::event::MonoNs;
use crate::core::record::{Alert, AlertEvent, IncidentKey, Network, Verdict};

/// How long one that is over stays in sight, nanoseconds.
const LINGER: u64 = 30_000_000_000;
/// Incidents at most.
const MOST: usize = 64;

/// Floods first, worst first.
#[derive(Default)]
pub(super) struct Incidents {
    all: Vec<Incident>,
}

impl Incidents {
    pub(super) fn tell(&mut self, alert: &Alert) {
        let over = alert.event == AlertEvent::End;
        let told = Incident { alert: Box::new(alert.clone()), over };
        if let Some(known) = self.going_on(alert) {
            self.all.remove(known);
        }
        // What was at its place before is over, and of no more interest.
        let key = IncidentKey::of(alert);
        self.all.retain(|known| !key.shares_its_place_with(&IncidentKey::of(&known.alert)));
        // The one that matters least makes room.
        self.all.truncate(MOST - 1);
        self.all.push(told);
        self.sort();
    }

    /// Takes in how those that go on stand now: between two records figures change.
    pub(super) fn refresh(&mut self, now: Vec<Alert>) {
        for alert in now {
            if let Some(known) = self.going_on(&alert).and_then(|n| self.all.get_mut(n)) {
                *known.alert = alert;
            }
        }
        self.sort();
    }

    /// Where the one is that goes on and that an alert tells of.
    fn going_on(&self, alert: &Alert) -> Option<usize> {
        let going_on = self.all.iter().enumerate().filter(|(_, known)| !known.over);
        let keys =
            going_on.map(|(n, Incident { alert, .. })| (n, IncidentKey::of(alert), alert.verdict));
        IncidentKey::pick(alert, keys)
    }

    /// The worst first.
    fn sort(&mut self) {
        self.all.sort_by(|a, b| {
            let rank = |incident: &Incident| {
                (incident.over, !incident.alert.verdict.is_flood(), incident.alert.severity)
            };
            let ((a_over, a_notice, a_severity), (b_over, b_notice, b_severity)) =
                (rank(a), rank(b));
            (a_over, a_notice, b_severity)
                .cmp(&(b_over, b_notice, a_severity))
                .then(b.alert.syn_rate.total_cmp(&a.alert.syn_rate))
        });
    }

    /// Those to show at `now`.
    pub(super) fn now(&mut self, now: MonoNs) -> Vec<Incident> {
        self.all.retain(|incident| !incident.over || now.since(incident.alert.at) < LINGER);
        self.all.clone()
    }

    /// What goes on that names `host` among its sources.
    pub(super) fn of_host(&self, host: IpAddr) -> Option<Verdict> {
        let names = |alert: &Alert| alert.top_sources.iter().any(|top| within(&top.prefix, host));
        let mut going_on = self.all.iter().filter(|incident| !incident.over);
        going_on.find(|incident| names(&incident.alert)).map(|incident| incident.alert.verdict)
    }

    /// Hosts that something that goes on names as sources.
    pub(super) fn hosts(&self) -> impl Iterator<Item = IpAddr> {
        let going_on = self.all.iter().filter(|incident| !incident.over);
        going_on.flat_map(|incident| &incident.alert.top_sources).filter_map(|top| {
            let whole = if top.prefix.addr.is_ipv4() { 32 } else { 128 };
            (top.prefix.len == whole).then_some(top.prefix.addr)
        })
    }

    /// What goes on at a local port.
    pub(super) fn of_port(&self, port: u16) -> Option<Verdict> {
        let at = |alert: &Alert| alert.listener.is_some_and(|listener| listener.port() == port);
        let mut going_on = self.all.iter().filter(|incident| !incident.over);
        going_on.find(|incident| at(&incident.alert)).map(|incident| incident.alert.verdict)
    }

    /// Half-open connections of a port's listeners, where an alert says so.
    pub(super) fn half_open_of_port(&self, port: u16) -> Option<u64> {
        let going_on = self.all.iter().filter(|incident| !incident.over);
        let at = going_on.filter(|incident| {
            incident.alert.listener.is_some_and(|listener| listener.port() == port)
        });
        at.filter_map(|incident| incident.alert.half_open).max()
    }
}

/// Whether a network holds an address.
fn within(network: &Network, host: IpAddr) -> bool {
    crate::core::Prefix::new(network.addr, network.len).is_some_and(|prefix| prefix.contains(host))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::report::samples::{self, S};

    #[test]
    fn an_incident_is_one_from_start_to_end_and_lingers() {
        let mut incidents = Incidents::default();
        incidents.tell(&samples::notice());
        incidents.tell(&samples::flood());
        let update = Alert { verdict: Verdict::Prefix, ..samples::flood() };
        incidents.tell(&update);
        let now = incidents.now(samples::at(50 * S));
        let verdicts: Vec<_> = now.iter().map(|incident| incident.alert.verdict).collect();
        assert_eq!(verdicts, [Verdict::Prefix, Verdict::PortScan]);
        let host = |text: &str| incidents.of_host(text.parse().expect("an address"));
        assert_eq!(host("203.0.113.9"), Some(Verdict::Prefix));
        assert_eq!(host("198.51.100.8"), None);
        assert_eq!(incidents.of_port(8080), Some(Verdict::Prefix));
        let hosts: Vec<_> = incidents.hosts().map(|host| host.to_string()).collect();
        assert_eq!(hosts, ["198.51.100.7"]);
        assert_eq!(incidents.half_open_of_port(8080), Some(256));

        let end = Alert { event: AlertEvent::End, at: samples::at(60 * S), ..update };
        incidents.tell(&end);
        assert_eq!(incidents.of_port(8080), None);
        let now = incidents.now(samples::at(89 * S));
        assert_eq!((now.len(), now[1].over), (2, true));
        assert_eq!(incidents.now(samples::at(90 * S)).len(), 1);
    }

    #[test]
    fn figures_are_those_of_now_from_start_to_end() {
        use AlertEvent::{End, Update};
        let mut incidents = Incidents::default();
        incidents.tell(&samples::flood());
        let later = Alert {
            event: Update,
            at: samples::at(49 * S),
            syn_rate: 0.0,
            half_open: Some(7),
            ..samples::flood()
        };
        // One that has not been told is none.
        let other = Alert { since: samples::at(48 * S), ..later.clone() };
        incidents.refresh(vec![later.clone(), other]);
        let now = incidents.now(samples::at(50 * S));
        assert_eq!(now.len(), 1);
        assert_eq!((now[0].alert.syn_rate, now[0].alert.half_open), (0.0, Some(7)));
        incidents.tell(&Alert { event: End, ..later.clone() });
        // Nor is one that is over.
        incidents.refresh(vec![Alert { syn_rate: 9.0, ..later }]);
        let now = incidents.now(samples::at(50 * S));
        assert_eq!((now[0].over, now[0].alert.syn_rate), (true, 0.0));
    }

    fn shown(incidents: &mut Incidents) -> Vec<(Verdict, bool)> {
        let now = incidents.now(samples::at(50 * S));
        now.iter().map(|incident| (incident.alert.verdict, incident.over)).collect()
    }

    #[test]
    fn a_notice_that_becomes_a_flood_is_one_banner_and_ends() {
        use AlertEvent::{End, Start, Update};
        for listener in [samples::flood().listener, None] {
            let mut incidents = Incidents::default();
            let mut tell = |event, verdict| {
                let at = samples::at(50 * S);
                incidents.tell(&Alert { event, verdict, listener, at, ..samples::flood() });
                shown(&mut incidents)
            };
            assert_eq!(tell(Start, Verdict::Filtered), [(Verdict::Filtered, false)]);
            assert_eq!(tell(Update, Verdict::Spoofed), [(Verdict::Spoofed, false)]);
            assert_eq!(tell(Update, Verdict::Forwarded), [(Verdict::Forwarded, false)]);
            assert_eq!(tell(End, Verdict::Forwarded), [(Verdict::Forwarded, true)]);
        }
    }

    #[test]
    fn strangers_of_one_moment_end_one_by_one() {
        use AlertEvent::{End, Start};
        let mut incidents = Incidents::default();
        let mut tell = |event, verdict| {
            let at = samples::at(50 * S);
            let stranger = Alert { listener: None, severity: None, ..samples::flood() };
            incidents.tell(&Alert { event, verdict, at, ..stranger });
            shown(&mut incidents)
        };
        tell(Start, Verdict::Filtered);
        tell(Start, Verdict::Forwarded);
        assert_eq!(
            tell(End, Verdict::Filtered),
            [(Verdict::Forwarded, false), (Verdict::Filtered, true)]
        );
        let over = tell(End, Verdict::Forwarded);
        assert!(over.len() == 2 && over.iter().all(|(_, over)| *over), "{over:?}");
    }

    #[test]
    fn the_next_at_a_listener_takes_the_place_of_the_last() {
        let mut incidents = Incidents::default();
        incidents.tell(&samples::flood());
        let next = Alert { since: samples::at(49 * S), ..samples::flood() };
        incidents.tell(&Alert { verdict: Verdict::Filtered, severity: None, ..next.clone() });
        assert_eq!(shown(&mut incidents), [(Verdict::Filtered, false)]);
        let elsewhere = Alert { netns: next.netns + 1, ..next };
        incidents.tell(&elsewhere);
        assert_eq!(shown(&mut incidents).len(), 2);
    }

    #[test]
    fn there_are_only_so_many() {
        let mut incidents = Incidents::default();
        for port in 0..1000 {
            let listener = Some(SocketAddr::new([10, 0, 0, 1].into(), port));
            incidents.tell(&Alert { listener, ..samples::flood() });
        }
        assert_eq!(incidents.now(samples::at(50 * S)).len(), MOST);
    }
}
