//! One story, one verdict.

use proptest::prelude::*;

use super::host::*;
use crate::core::event::MonoNs;
use crate::core::flood::half_open::HalfOpen;
use crate::core::record::{AlertEvent, Severity, Verdict};

const QUIET: Load = Load { honest: 0, rtt: 20 * MS, attack: 0, attackers: 0, filtered: false };

fn flood(load: Load, verdict: Verdict) {
    let mut sim = Sim::new(250 * MS);
    sim.run(Load { attack: 0, ..load }, 5 * SECOND).run(load, 10 * SECOND);
    let begin = MonoNs(START + 5 * SECOND);
    {
        let alerts = sim.alerts();
        let first = alerts.first().expect("an alert");
        assert_eq!((first.event, first.verdict), (AlertEvent::Start, verdict), "{first:#?}");
        assert!(first.at.since(begin) <= 2 * SECOND, "{}", first.at.since(begin));
        assert!(alerts.iter().any(|alert| alert.severity >= Some(Severity::Confirmed)));
    }
    sim.run(Load { attack: 0, ..load }, 15 * SECOND);
    let alerts = sim.alerts();
    let last = alerts.last().expect("an alert");
    assert_eq!((last.event, last.verdict), (AlertEvent::End, verdict), "{last:#?}");
    let starts = alerts.iter().filter(|alert| alert.event == AlertEvent::Start).count();
    assert_eq!(starts, 1);
}

#[test]
fn random_sources() {
    for attack in [1_000, 10_000] {
        flood(Load { attack, ..QUIET }, Verdict::Spoofed);
    }
}

#[test]
fn random_sources_beside_honest_clients() {
    for attack in [1_000, 10_000] {
        flood(Load { attack, honest: 2_000, ..QUIET }, Verdict::Spoofed);
    }
}

/// Ticks are not cut where a flood begins: the first may hold less of it than counts as a rise.
#[test]
fn every_syn_is_counted_wherever_in_a_tick_the_flood_begins() {
    for into_the_tick in [50, 200, 235, 245] {
        let mut sim = Sim::new(250 * MS);
        let load = Load { attack: 1_000, ..QUIET };
        sim.run(QUIET, 5 * SECOND + into_the_tick * MS).run(load, 4 * SECOND);
        sim.run(QUIET, 15 * SECOND);
        let alerts = sim.alerts();
        let last = alerts.last().expect("an alert");
        assert_eq!((last.event, last.syn_count), (AlertEvent::End, 4_000), "{into_the_tick} ms");
    }
}

#[test]
fn one_source() {
    flood(Load { attack: 10_000, attackers: 1, ..QUIET }, Verdict::SingleSource);
}

#[test]
fn fifty_sources() {
    flood(Load { attack: 10_000, attackers: 50, ..QUIET }, Verdict::Distributed);
}

#[test]
fn what_never_reaches_the_listener_is_filtered() {
    let mut sim = Sim::new(250 * MS);
    sim.run(Load { attack: 1_000, filtered: true, ..QUIET }, 10 * SECOND);
    let verdicts: Vec<_> = sim.alerts().iter().map(|alert| alert.verdict).collect();
    assert!(!verdicts.is_empty() && verdicts.iter().all(|verdict| *verdict == Verdict::Filtered));
}

#[test]
fn on_and_off_is_one_incident() {
    let mut sim = Sim::new(250 * MS);
    for _ in 0..4 {
        sim.run(Load { attack: 2_000, ..QUIET }, SECOND).run(QUIET, 9 * SECOND);
    }
    let starts = sim.alerts().iter().filter(|alert| alert.event == AlertEvent::Start).count();
    assert_eq!(starts, 1);
}

#[test]
fn a_step_that_completes_is_a_crowd_at_most() {
    for tick in [50, 250, 2_000] {
        for rtt in [1, 20, 200, 500] {
            let mut sim = Sim::new(tick * MS);
            let load = Load { honest: 1_000, rtt: rtt * MS, ..QUIET };
            sim.run(load, 6 * SECOND).run(Load { honest: 10_000, ..load }, 10 * SECOND);
            assert!(sim.alerts().iter().all(|alert| alert.verdict == Verdict::FlashCrowd));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn traffic_that_completes_is_no_flood(
        steps in prop::collection::vec((0..8_000_u64, 1..=500_u64, 1..30_u64), 1..8),
        tick in 50..2_000_u64,
    ) {
        let mut sim = Sim::new(tick * MS);
        for (honest, rtt, tenths) in steps {
            sim.run(Load { honest, rtt: rtt * MS, ..QUIET }, tenths * 100 * MS);
        }
        prop_assert!(sim.alerts().iter().all(|alert| !alert.verdict.is_flood()));
    }

    #[test]
    fn half_open_is_never_more_than_came_and_ends(
        steps in prop::collection::vec((0..4_u8, 0..1_000_u64, 0..5_000_u64), 0..60),
    ) {
        let (mut half, mut now, mut came) = (HalfOpen::default(), START, 0);
        for (what, count, later) in steps {
            now += later * MS;
            match what {
                0 => { half.add(MonoNs(now), count); came += count; }
                1 => half.take(count),
                2 => half.expire(MonoNs(now), 63 * SECOND),
                _ => { half.reconcile(count); prop_assert!(half.count() <= count); }
            }
            prop_assert!(half.count() <= came);
        }
        half.expire(MonoNs(now + 65 * SECOND), 63 * SECOND);
        prop_assert_eq!(half.count(), 0);
    }
}
