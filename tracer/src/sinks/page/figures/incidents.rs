//! Floods and notices from their start to their end.

use crate::core::event::MonoNs;
use crate::core::record::{Alert, AlertEvent, GoingOn, Severity, Told};

/// So many are kept.
pub(in crate::sinks::page) const MOST: usize = 100;

/// One flood or notice.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::sinks::page) struct Incident {
    /// What was said of it last.
    pub(in crate::sinks::page) last: Alert,
    /// Until when it went on; `None`: it was not over when the run ended.
    pub(in crate::sinks::page) ended: Option<MonoNs>,
    /// The highest rate that was told, per second.
    pub(in crate::sinks::page) peak_rate: f64,
    /// The most half-open connections that were told.
    pub(in crate::sinks::page) peak_half_open: Option<u64>,
}

impl Incident {
    fn weight(&self) -> (bool, Option<Severity>, u64) {
        (self.last.verdict.is_flood(), self.last.severity, self.last.syn_count)
    }
}

/// All of them, or the heaviest.
#[derive(Clone, Debug, Default)]
pub(in crate::sinks::page) struct Incidents {
    kept: Vec<Incident>,
    /// The number of each that is kept, by the order in which they began.
    numbers: Vec<u64>,
    /// The numbers of those that go on, kept or not.
    going_on: GoingOn<u64>,
    begun: u64,
    floods: u64,
    notices: u64,
}

impl Incidents {
    /// Takes in what was told.
    pub(super) fn told(&mut self, alert: &Alert) {
        let ended = (alert.event == AlertEvent::End).then_some(alert.until);
        let known = self.going_on.take(alert);
        let is_new = known.is_none();
        let mut told = known.unwrap_or_else(|| {
            self.begun += 1;
            Told::new(alert.verdict, self.begun)
        });
        let number = told.of;
        let becomes = told.becomes(alert.verdict);
        if becomes {
            self.count(alert);
        }
        if ended.is_none() {
            self.going_on.put(alert, told);
        }
        let place = self.numbers.binary_search(&number).ok();
        if let Some(incident) = place.and_then(|place| self.kept.get_mut(place)) {
            incident.ended = ended;
            incident.peak_rate = incident.peak_rate.max(alert.syn_rate);
            incident.peak_half_open = incident.peak_half_open.max(alert.half_open);
            // An `end` tells of the quiet after it: what spoke for the verdict was told before.
            let evidence = match alert.event {
                AlertEvent::End => std::mem::take(&mut incident.last.evidence),
                _ => alert.evidence.clone(),
            };
            incident.last = Alert { evidence, ..alert.clone() };
            return;
        }
        // One that made room comes back only as a flood.
        let matters = is_new || (becomes && alert.verdict.is_flood());
        if !matters {
            return;
        }
        if self.kept.len() >= MOST {
            let lightest = (0..self.kept.len()).min_by_key(|n| self.kept[*n].weight());
            if let Some(lightest) = lightest {
                self.kept.remove(lightest);
                self.numbers.remove(lightest);
            }
        }
        let incident = Incident {
            last: alert.clone(),
            ended,
            peak_rate: alert.syn_rate,
            peak_half_open: alert.half_open,
        };
        let place = self.numbers.partition_point(|known| *known < number);
        self.numbers.insert(place, number);
        self.kept.insert(place, incident);
    }

    fn count(&mut self, alert: &Alert) {
        if alert.verdict.is_flood() {
            self.floods += 1;
        } else {
            self.notices += 1;
        }
    }

    /// In the order in which they began.
    pub(in crate::sinks::page) fn kept(&self) -> &[Incident] {
        &self.kept
    }

    /// Incidents that were a flood, at first or later.
    pub(in crate::sinks::page) const fn floods(&self) -> u64 {
        self.floods
    }

    /// Incidents that were a notice, at first or later.
    pub(in crate::sinks::page) const fn notices(&self) -> u64 {
        self.notices
    }

    /// How many are not kept.
    pub(in crate::sinks::page) fn left_out(&self) -> u64 {
        self.begun.saturating_sub(self.kept.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::record::Verdict;
    use crate::report::samples::{self, S};

    fn told(event: AlertEvent, at: u64, alert: &Alert) -> Alert {
        let until = samples::at(at.saturating_sub(2) * S);
        Alert { event, at: samples::at(at * S), until, ..alert.clone() }
    }

    #[test]
    fn start_update_and_end_are_one() {
        let flood = samples::flood();
        let mut incidents = Incidents::default();
        incidents.told(&told(AlertEvent::Start, 44, &flood));
        let worse = Alert { verdict: Verdict::SingleSource, syn_rate: 20_000.0, ..flood.clone() };
        incidents.told(&told(AlertEvent::Update, 50, &worse));
        let over = Alert { syn_rate: 0.0, half_open: Some(0), evidence: Vec::new(), ..worse };
        incidents.told(&told(AlertEvent::End, 60, &over));
        let [one] = incidents.kept() else { panic!("{incidents:?}") };
        assert_eq!(one.ended, Some(samples::at(58 * S)));
        assert_eq!(one.last.verdict, Verdict::SingleSource);
        assert_eq!((one.peak_rate, one.peak_half_open), (20_000.0, Some(256)));
        assert_eq!(one.last.evidence, flood.evidence);
        assert_eq!((incidents.floods(), incidents.notices()), (1, 0));
    }

    #[test]
    fn a_notice_at_the_same_place_is_another() {
        let flood = samples::flood();
        let mut incidents = Incidents::default();
        incidents.told(&told(AlertEvent::Start, 44, &flood));
        let notice = Alert { verdict: Verdict::QueuePressure, severity: None, ..flood.clone() };
        incidents.told(&told(AlertEvent::Start, 44, &notice));
        incidents.told(&told(AlertEvent::End, 50, &flood));
        let ended: Vec<_> = incidents.kept().iter().map(|one| one.ended.is_some()).collect();
        assert_eq!(ended, [true, false]);
    }

    #[test]
    fn a_notice_that_becomes_a_flood_is_one_and_counts_as_both() {
        let notice = Alert { verdict: Verdict::Filtered, severity: None, ..samples::flood() };
        let mut incidents = Incidents::default();
        incidents.told(&told(AlertEvent::Start, 44, &notice));
        assert_eq!((incidents.floods(), incidents.notices()), (0, 1));
        let changes = [
            Verdict::Spoofed,
            Verdict::Forwarded,
            Verdict::Prefix,
            Verdict::Filtered,
            Verdict::Spoofed,
        ];
        for (at, verdict) in (45..).zip(changes) {
            let changed = Alert { verdict, ..notice.clone() };
            incidents.told(&told(AlertEvent::Update, at, &changed));
        }
        incidents.told(&told(AlertEvent::End, 60, &samples::flood()));
        let [one] = incidents.kept() else { panic!("{incidents:?}") };
        assert_eq!((one.ended, one.last.verdict.is_flood()), (Some(samples::at(58 * S)), true));
        assert_eq!((incidents.floods(), incidents.notices(), incidents.left_out()), (1, 1, 0));
    }

    #[test]
    fn strangers_of_one_moment_end_one_by_one() {
        let of = |verdict| Alert { verdict, listener: None, severity: None, ..samples::flood() };
        let (filtered, forwarded) = (of(Verdict::Filtered), of(Verdict::Forwarded));
        let mut incidents = Incidents::default();
        incidents.told(&told(AlertEvent::Start, 44, &filtered));
        incidents.told(&told(AlertEvent::Start, 44, &forwarded));
        incidents.told(&told(AlertEvent::End, 50, &filtered));
        let ended = |incidents: &Incidents| -> Vec<_> {
            incidents.kept().iter().map(|one| one.ended.is_some()).collect()
        };
        assert_eq!(ended(&incidents), [true, false]);
        incidents.told(&told(AlertEvent::End, 51, &forwarded));
        assert_eq!(ended(&incidents), [true, true]);
        assert_eq!((incidents.floods(), incidents.notices()), (0, 2));
    }

    #[test]
    fn one_that_made_room_comes_back_as_a_flood() {
        let light = Alert { verdict: Verdict::Filtered, severity: None, ..samples::flood() };
        let light = Alert { syn_count: 0, ..light };
        let mut incidents = Incidents::default();
        incidents.told(&told(AlertEvent::Start, 44, &light));
        for n in 1..=MOST as u64 {
            let notice = Alert { syn_count: n, since: samples::at(n), ..samples::notice() };
            incidents.told(&told(AlertEvent::Start, 44, &notice));
        }
        incidents.told(&told(AlertEvent::Update, 45, &light));
        assert_eq!(incidents.kept()[0].last.verdict, Verdict::PortScan);
        incidents.told(&told(AlertEvent::Update, 46, &samples::flood()));
        assert_eq!(incidents.kept()[0].last.verdict, samples::flood().verdict);
        assert_eq!((incidents.kept().len(), incidents.floods()), (MOST, 1));
        assert_eq!((incidents.notices(), incidents.left_out()), (MOST as u64 + 1, 1));
    }

    #[test]
    fn of_too_many_the_heaviest_are_kept() {
        let mut incidents = Incidents::default();
        incidents.told(&told(AlertEvent::Start, 1, &samples::flood()));
        for n in 0..500 {
            let notice = Alert { syn_count: n, since: samples::at(n), ..samples::notice() };
            incidents.told(&told(AlertEvent::Start, n, &notice));
            incidents.told(&told(AlertEvent::End, n + 1, &notice));
        }
        assert_eq!(incidents.kept().len(), MOST);
        assert!(incidents.kept()[0].last.verdict.is_flood());
        assert_eq!(incidents.kept().last().map(|one| one.last.syn_count), Some(499));
        assert_eq!((incidents.floods(), incidents.notices(), incidents.left_out()), (1, 500, 401));
    }
}
