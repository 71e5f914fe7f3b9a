//! Floods and notices as series that come and go.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::catalogue;
use super::family::{Family, Number, Series, Value};
use crate::core::event::MonoNs;
use crate::core::record::{Alert, AlertEvent, GoingOn, Severity, Told, Verdict};

/// Most listeners at a time with series of their own; those beyond share the listener `other`.
pub(super) const MOST_LISTENERS: usize = 32;
/// How long a series stays at 0 after its incident: a few scrapes, so that none misses its end.
const LINGER: u64 = 300_000_000_000;

/// One that goes on.
struct Incident {
    series: (Listener, Verdict),
    severity: Option<Severity>,
}

/// A listener as a label; none where it is not one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Listener {
    None,
    One(SocketAddr),
    Other,
}

impl Listener {
    fn label(self) -> Option<Cow<'static, str>> {
        match self {
            Self::None => None,
            Self::One(addr) => Some(addr.to_string().into()),
            Self::Other => Some("other".into()),
        }
    }
}

/// Those that go on, and those that went.
#[derive(Default)]
pub(super) struct Incidents {
    active: GoingOn<Incident>,
    /// Every series shown: until when, if it is over.
    shown: BTreeMap<(Listener, Verdict), Option<MonoNs>>,
    /// How many became a flood or a notice, by their first verdict as such.
    begun: BTreeMap<Verdict, u64>,
    now: MonoNs,
}

impl Incidents {
    /// Takes in an alert.
    pub(super) fn alert(&mut self, alert: &Alert) {
        self.now = self.now.max(alert.at);
        let known = self.active.take(alert);
        let before = known.as_ref().map(|told| told.of.series);
        if alert.event != AlertEvent::End {
            let series = (self.listener(alert.listener), alert.verdict);
            let incident = Incident { series, severity: alert.severity };
            let mut told = match known {
                Some(told) => told.with(incident),
                None => Told::new(alert.verdict, incident),
            };
            if told.becomes(alert.verdict) {
                *self.begun.entry(alert.verdict).or_default() += 1;
            }
            self.active.put(alert, told);
            self.shown.insert(series, None);
        }
        if let Some(before) = before {
            self.settle(before);
        }
    }

    /// Nothing may be going on in a series any more.
    fn settle(&mut self, series: (Listener, Verdict)) {
        if !self.active.all().any(|incident| incident.series == series) {
            self.shown.insert(series, Some(MonoNs(self.now.0.saturating_add(LINGER))));
        }
    }

    /// The label of a listener: its own if it has one or there is room, where those that are over
    /// make room for those that are not.
    fn listener(&mut self, addr: Option<SocketAddr>) -> Listener {
        let Some(addr) = addr else { return Listener::None };
        let listener = Listener::One(addr);
        let mut shown: Vec<_> = self.shown.keys().map(|(listener, _)| *listener).collect();
        shown.dedup();
        if shown.contains(&listener) {
            return listener;
        }
        shown.retain(|listener| matches!(listener, Listener::One(_)));
        if shown.len() >= MOST_LISTENERS {
            let over = shown.into_iter().find(|listener| {
                self.shown.iter().all(|((of, _), until)| of != listener || until.is_some())
            });
            let Some(over) = over else { return Listener::Other };
            self.shown.retain(|(listener, _), _| *listener != over);
        }
        listener
    }

    /// Lets time pass: what has been over for long is forgotten.
    pub(super) fn pass(&mut self, now: MonoNs) {
        self.now = self.now.max(now);
        let now = self.now;
        self.shown.retain(|_, until| until.is_none_or(|until| until > now));
    }

    pub(super) fn families(&self, out: &mut Vec<Family>) {
        let pick = |flood: bool| {
            let shown =
                self.shown.iter().filter(move |((_, verdict), _)| verdict.is_flood() == flood);
            shown.map(|(series, until)| labelled(*series, Number::Int(u64::from(until.is_none()))))
        };
        let begun = |flood: bool| {
            Verdict::ALL.into_iter().filter(move |verdict| verdict.is_flood() == flood).map(
                |verdict| Series {
                    labels: vec![("verdict", verdict.name().into())],
                    value: Value::Counter(Number::Int(
                        self.begun.get(&verdict).copied().unwrap_or(0),
                    )),
                },
            )
        };
        // The worst, where several share a series.
        let mut severities: BTreeMap<_, Severity> = BTreeMap::new();
        for incident in self.active.all() {
            if let Some(severity) = incident.severity {
                let worst = severities.entry(incident.series).or_insert(severity);
                *worst = severity.max(*worst);
            }
        }
        let severity = severities.into_iter().map(|(series, severity)| {
            labelled(
                series,
                Number::Int(match severity {
                    Severity::Suspected => 1,
                    Severity::Confirmed => 2,
                    Severity::Impact => 3,
                }),
            )
        });
        out.extend([
            Family { descriptor: &catalogue::FLOOD_ACTIVE, series: pick(true).collect() },
            Family { descriptor: &catalogue::FLOOD_SEVERITY, series: severity.collect() },
            Family { descriptor: &catalogue::FLOODS, series: begun(true).collect() },
            Family { descriptor: &catalogue::NOTICE_ACTIVE, series: pick(false).collect() },
            Family { descriptor: &catalogue::NOTICES, series: begun(false).collect() },
        ]);
    }
}

fn labelled((listener, verdict): (Listener, Verdict), value: Number) -> Series {
    let listener = listener.label().map(|label| ("listener", label));
    let labels = listener.into_iter().chain([("verdict", verdict.name().into())]).collect();
    Series { labels, value: Value::Gauge(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn value(incidents: &Incidents, family: &str, verdict: Verdict) -> Option<f64> {
        let mut all = Vec::new();
        incidents.families(&mut all);
        let family = all.into_iter().find(|one| one.descriptor.name == family)?;
        let series = family.series.into_iter().find(|series| {
            series.labels.iter().any(|(name, value)| *name == "verdict" && value == verdict.name())
        })?;
        match series.value {
            Value::Counter(number) | Value::Gauge(number) => Some(number.as_f64()),
            _ => None,
        }
    }

    #[test]
    fn a_notice_that_becomes_a_flood_counts_once_as_each() {
        let mut incidents = Incidents::default();
        let changes = [
            (AlertEvent::Start, Verdict::Filtered),
            (AlertEvent::Update, Verdict::Spoofed),
            (AlertEvent::Update, Verdict::Forwarded),
            (AlertEvent::Update, Verdict::Prefix),
            (AlertEvent::Update, Verdict::Prefix),
        ];
        for (event, verdict) in changes {
            incidents.alert(&Alert { event, verdict, ..samples::flood() });
        }
        let counted = |family, verdict| value(&incidents, family, verdict);
        assert_eq!(counted("tracer_floods", Verdict::Spoofed), Some(1.0));
        assert_eq!(counted("tracer_floods", Verdict::Prefix), Some(0.0));
        assert_eq!(counted("tracer_notices", Verdict::Filtered), Some(1.0));
        assert_eq!(counted("tracer_notices", Verdict::Forwarded), Some(0.0));
        assert_eq!(counted("tracer_flood_active", Verdict::Prefix), Some(1.0));
        assert_eq!(counted("tracer_flood_active", Verdict::Spoofed), Some(0.0));
        assert_eq!(counted("tracer_notice_active", Verdict::Filtered), Some(0.0));
        let end = Alert { event: AlertEvent::End, verdict: Verdict::Prefix, ..samples::flood() };
        incidents.alert(&end);
        assert_eq!(value(&incidents, "tracer_flood_active", Verdict::Prefix), Some(0.0));
        assert_eq!(value(&incidents, "tracer_floods", Verdict::Spoofed), Some(1.0));
    }

    #[test]
    fn the_end_of_one_is_not_that_of_another_of_the_same_moment() {
        let forwarded = |event, netns, listener| Alert {
            event,
            netns,
            listener,
            verdict: Verdict::Forwarded,
            severity: None,
            ..samples::flood()
        };
        // Two strangers cannot be told apart; two namespaces can.
        for (listener, namespaces) in [(None, [1, 1]), (samples::flood().listener, [1, 2])] {
            let mut incidents = Incidents::default();
            for netns in namespaces {
                incidents.alert(&forwarded(AlertEvent::Start, netns, listener));
            }
            let [one, two] = namespaces;
            for (netns, active) in [(one, 1.0), (two, 0.0)] {
                incidents.alert(&forwarded(AlertEvent::End, netns, listener));
                let shown = value(&incidents, "tracer_notice_active", Verdict::Forwarded);
                assert_eq!(shown, Some(active), "{listener:?}");
            }
            assert_eq!(value(&incidents, "tracer_notices", Verdict::Forwarded), Some(2.0));
        }
    }
}
