//! Floods and notices as series that come and go.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use super::catalogue;
use super::family::{Family, Number, Series, Value};
use crate::core::event::MonoNs;
use crate::core::record::{Alert, AlertEvent, Severity, Verdict};

/// Most listeners at a time with series of their own; those beyond share the listener `other`.
pub(super) const MOST_LISTENERS: usize = 32;
/// How long a series stays at 0 after its incident: a few scrapes, so that none misses its end.
const LINGER: u64 = 300_000_000_000;

/// Names an incident: it may change its verdict while it goes on, but not its kind.
type Key = (Option<SocketAddr>, MonoNs, Class);

/// What may become what. A listener's flood turns out to be filtered or forwarded traffic.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Class {
    Uncompleted,
    Notice(Verdict),
}

impl Class {
    fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Filtered | Verdict::Forwarded => Self::Uncompleted,
            _ if verdict.is_flood() => Self::Uncompleted,
            _ => Self::Notice(verdict),
        }
    }
}

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
    active: HashMap<Key, Incident>,
    /// Every series shown: until when, if it is over.
    shown: BTreeMap<(Listener, Verdict), Option<MonoNs>>,
    /// How many began, by verdict.
    begun: BTreeMap<Verdict, u64>,
    now: MonoNs,
}

impl Incidents {
    /// Takes in an alert.
    pub(super) fn alert(&mut self, alert: &Alert) {
        self.now = self.now.max(alert.at);
        let key = (alert.listener, alert.since, Class::of(alert.verdict));
        if alert.event == AlertEvent::Start {
            *self.begun.entry(alert.verdict).or_default() += 1;
        }
        let before = self.active.remove(&key);
        if alert.event != AlertEvent::End {
            let series = (self.listener(alert.listener), alert.verdict);
            self.active.insert(key, Incident { series, severity: alert.severity });
            self.shown.insert(series, None);
        }
        if let Some(before) = before {
            self.settle(before.series);
        }
    }

    /// Nothing may be going on in a series any more.
    fn settle(&mut self, series: (Listener, Verdict)) {
        if !self.active.values().any(|incident| incident.series == series) {
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
        for incident in self.active.values() {
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
