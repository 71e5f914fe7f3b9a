//! Which alerts tell of the same incident.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::{Alert, AlertEvent, Verdict};
use crate::core::event::MonoNs;

/// Names an incident from its start to its end, whatever its verdict becomes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct IncidentKey {
    netns: u32,
    listener: Option<SocketAddr>,
    since: MonoNs,
    class: Class,
}

/// What may become what: the verdicts of one place in the detector.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Class {
    /// SYNs that come to nothing: floods, and what turns out to be filtered or forwarded.
    Uncompleted,
    /// A rule of one verdict.
    Notice(Verdict),
}

impl Class {
    const fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Spoofed
            | Verdict::SingleSource
            | Verdict::Distributed
            | Verdict::Prefix
            | Verdict::Filtered
            | Verdict::Forwarded => Self::Uncompleted,
            Verdict::PortScan
            | Verdict::FlashCrowd
            | Verdict::AcceptQueueOverload
            | Verdict::Backscatter
            | Verdict::LossyPath
            | Verdict::QueuePressure => Self::Notice(verdict),
        }
    }
}

impl IncidentKey {
    pub(crate) const fn of(alert: &Alert) -> Self {
        let Alert { netns, listener, since, verdict, .. } = alert;
        Self { netns: *netns, listener: *listener, since: *since, class: Class::of(*verdict) }
    }

    /// Whether both come from a place in the detector that has one incident at a time: the later
    /// began because the earlier was over. Without a listener, SYNs that come to nothing may be
    /// those of listeners beyond the bound, to closed ports, or to addresses of somebody else: three
    /// places that all can say `forwarded`.
    pub(crate) fn shares_its_place_with(&self, other: &Self) -> bool {
        (self.netns, self.listener, self.class) == (other.netns, other.listener, other.class)
            && (self.listener.is_some() || self.class != Class::Uncompleted)
    }

    /// Which of those that go on an `update` or `end` tells of. Several may have the same key: then
    /// one with the alert's verdict, since an `end` has the verdict that was told last.
    pub(crate) fn pick<I>(
        alert: &Alert,
        going_on: impl Iterator<Item = (I, Self, Verdict)>,
    ) -> Option<I> {
        let key = Self::of(alert);
        going_on
            .filter(|(_, known, _)| alert.event != AlertEvent::Start && *known == key)
            .max_by_key(|(_, _, verdict)| *verdict == alert.verdict)
            .map(|(which, ..)| which)
    }
}

/// One that goes on, and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Told<T> {
    verdict: Verdict,
    was_flood: bool,
    was_notice: bool,
    /// What is known.
    pub(crate) of: T,
}

impl<T> Told<T> {
    /// It has begun.
    pub(crate) const fn new(verdict: Verdict, of: T) -> Self {
        Self { verdict, was_flood: false, was_notice: false, of }
    }

    /// The same, of which something else is known now.
    pub(crate) fn with(self, of: T) -> Self {
        Self { of, ..self }
    }

    /// Its verdict is this one now. Whether that makes it a flood, or a notice, for the first time:
    /// then it counts as one.
    pub(crate) const fn becomes(&mut self, verdict: Verdict) -> bool {
        self.verdict = verdict;
        let was = if verdict.is_flood() { &mut self.was_flood } else { &mut self.was_notice };
        !std::mem::replace(was, true)
    }
}

/// Incidents that go on.
#[derive(Clone, Debug)]
pub(crate) struct GoingOn<T>(HashMap<IncidentKey, Vec<Told<T>>>);

impl<T> Default for GoingOn<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> GoingOn<T> {
    /// Takes out the one that an alert tells of; `None` where it tells of a new one.
    pub(crate) fn take(&mut self, alert: &Alert) -> Option<Told<T>> {
        let key = IncidentKey::of(alert);
        let same = self.0.get_mut(&key)?;
        let known = same.iter().enumerate().map(|(n, told)| (n, key, told.verdict));
        let told = same.remove(IncidentKey::pick(alert, known)?);
        if same.is_empty() {
            self.0.remove(&key);
        }
        Some(told)
    }

    /// Puts one back, or in, that goes on after an alert.
    pub(crate) fn put(&mut self, alert: &Alert, told: Told<T>) {
        self.0.entry(IncidentKey::of(alert)).or_default().push(told);
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.values().flatten().map(|told| &told.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn alert(event: AlertEvent, verdict: Verdict) -> Alert {
        Alert { event, verdict, ..samples::flood() }
    }

    #[test]
    fn a_key_outlives_the_verdict_and_nothing_else() {
        let flood = alert(AlertEvent::Start, Verdict::Spoofed);
        let key = IncidentKey::of(&flood);
        for verdict in Verdict::ALL {
            let same =
                verdict.is_flood() || [Verdict::Filtered, Verdict::Forwarded].contains(&verdict);
            let other = IncidentKey::of(&alert(AlertEvent::Update, verdict));
            assert_eq!(other == key, same, "{verdict:?}");
        }
        let other = Alert { netns: flood.netns + 1, ..flood.clone() };
        assert_ne!(IncidentKey::of(&other), key);
        assert!(!key.shares_its_place_with(&IncidentKey::of(&other)));
        let later = Alert { since: samples::at(7), ..flood };
        assert_ne!(IncidentKey::of(&later), key);
        assert!(key.shares_its_place_with(&IncidentKey::of(&later)));
    }

    #[test]
    fn strangers_may_share_a_key_and_not_an_end() {
        use AlertEvent::{End, Start, Update};
        let stranger = |event, verdict| Alert { listener: None, ..alert(event, verdict) };
        let mut going_on = GoingOn::default();
        for (verdict, n) in [(Verdict::Filtered, 1), (Verdict::Forwarded, 2)] {
            let start = stranger(Start, verdict);
            assert!(going_on.take(&start).is_none());
            going_on.put(&start, Told::new(verdict, n));
        }
        let end = going_on.take(&stranger(End, Verdict::Filtered)).map(|told| told.of);
        assert_eq!((end, going_on.all().count()), (Some(1), 1));
        // The other one changed.
        let update = going_on.take(&stranger(Update, Verdict::Filtered)).map(|told| told.of);
        assert_eq!((update, going_on.all().count()), (Some(2), 0));
        let filtered = IncidentKey::of(&stranger(Start, Verdict::Filtered));
        assert!(!filtered.shares_its_place_with(&filtered));
    }

    #[test]
    fn one_counts_once_as_a_flood_and_once_as_a_notice() {
        let mut told = Told::new(Verdict::Filtered, ());
        let verdicts = [
            (Verdict::Filtered, true),
            (Verdict::Forwarded, false),
            (Verdict::Spoofed, true),
            (Verdict::Filtered, false),
            (Verdict::Prefix, false),
        ];
        for (verdict, counts) in verdicts {
            assert_eq!(told.becomes(verdict), counts, "{verdict:?}");
        }
    }
}
