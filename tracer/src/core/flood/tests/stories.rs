//! One story, one verdict.

use proptest::prelude::*;

use super::host::*;
use crate::core::event::MonoNs;
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

/// Nothing is usual at a listener that was idle: the flood is not its own measure.
#[test]
fn little_more_than_the_floor_is_a_flood_of_an_idle_listener() {
    for (attack, limit) in [(110, 4_096), (125, 128), (150, 4_096), (195, 4_096)] {
        let mut sim = Sim::new(250 * MS);
        sim.limit = limit;
        sim.run(Load { attack, ..QUIET }, 15 * SECOND);
        let alerts = sim.alerts();
        let first = alerts.first().expect("an alert");
        assert_eq!((first.event, first.verdict), (AlertEvent::Start, Verdict::Spoofed), "{attack}");
        assert!(first.at.since(MonoNs(START)) <= 4 * SECOND, "{attack}: {first:#?}");
        assert!(alerts.iter().any(|alert| alert.severity == Some(Severity::Confirmed)));
    }
}

#[test]
fn less_than_the_floor_is_none() {
    for attack in [40, 60, 80, 95] {
        for honest in [0, 200] {
            let mut sim = Sim::new(250 * MS);
            sim.limit = 4_096;
            sim.run(Load { attack, honest, ..QUIET }, 30 * SECOND);
            let alerts = sim.alerts();
            assert!(alerts.iter().all(|alert| !alert.verdict.is_flood()), "{attack} {alerts:#?}");
        }
    }
}

/// What is told of beside a verdict is what it was held against.
#[test]
fn evidence_of_a_flood_is_above_its_threshold() {
    for (usual, attack) in [(0, 150), (60, 180), (90, 250), (90, 5_000)] {
        let mut sim = Sim::new(250 * MS);
        sim.limit = 65_536;
        let load = Load { honest: 100, ..QUIET };
        sim.run(Load { attack: usual, ..load }, 40 * SECOND);
        sim.run(Load { attack, ..load }, 10 * SECOND).run(load, 9 * SECOND);
        let alerts = sim.alerts();
        let floods: Vec<_> =
            alerts.iter().filter(|alert| alert.verdict.is_flood()).copied().collect();
        assert!(floods.len() >= 2, "{usual} {attack}");
        for alert in floods {
            let rate = alert.evidence.first().expect("evidence");
            assert_eq!(rate.metric, "uncompleted_syns_per_second");
            assert!(Some(rate.value) >= rate.threshold, "{rate:?}");
        }
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

/// The sum dates the onset: what came before it was high is of the flood, too.
#[test]
fn a_weak_flood_is_counted_from_its_begin() {
    for attack in [105, 150, 195] {
        for (honest, into_the_tick) in [(0, 60), (0, 200), (200, 240)] {
            let mut sim = Sim::new(250 * MS);
            sim.limit = 4_096;
            let load = Load { honest, ..QUIET };
            sim.run(load, 5 * SECOND + into_the_tick * MS);
            let begin = sim.now;
            sim.run(Load { attack, ..load }, 10 * SECOND).run(load, 15 * SECOND);
            let told = format!("{attack} beside {honest}, {into_the_tick} ms into a tick");
            let alerts = sim.alerts();
            let end = alerts.last().expect(&told);
            assert_eq!(end.event, AlertEvent::End, "{told}");
            let since = end.since.0.abs_diff(begin);
            assert!(since <= if honest == 0 { 20 * MS } else { 500 * MS }, "{told}: {since}");
            if honest == 0 {
                assert_eq!(end.syn_count, attack * 10, "{told}");
            } else {
                // Of the tick in which it begins the sum may not tell, and it may end within one.
                let all = ((attack + honest) * 10) as f64;
                let count = end.syn_count as f64;
                assert!(all * 0.95 <= count && count <= all * 1.1, "{told}: {count} of {all}");
            }
        }
    }
}

#[test]
fn it_lasts_as_long_as_the_syns_come_and_not_until_it_is_over() {
    for attack in [150, 1_000, 10_000] {
        for honest in [0, 2_000] {
            let mut sim = Sim::new(250 * MS);
            sim.limit = 4_096;
            let load = Load { honest, ..QUIET };
            sim.run(load, 5 * SECOND).run(Load { attack, ..load }, 6 * SECOND);
            let ends = sim.now;
            sim.run(load, 15 * SECOND);
            let told = format!("{attack} beside {honest}");
            let alerts = sim.alerts();
            let end = alerts.last().expect(&told);
            assert_eq!(end.event, AlertEvent::End, "{told}");
            assert!(
                end.until.0.abs_diff(ends) <= if honest == 0 { 250 } else { 1_250 } * MS,
                "{told}"
            );
            assert!(end.at.since(end.until) >= 10 * SECOND, "{told}");
            // Who comes while it is quiet is not of the flood.
            assert!(end.syn_count <= attack * 6 + honest * 15 / 2, "{told}: {}", end.syn_count);
            let first = alerts.first().expect(&told);
            assert!(first.until <= first.at && first.until >= first.since, "{told}");
        }
    }
}

#[test]
fn between_two_records_it_is_known_how_it_stands() {
    let mut sim = Sim::new(250 * MS);
    sim.limit = 4_096;
    assert!(sim.detector.going_on().is_empty());
    sim.run(Load { attack: 2_000, ..QUIET }, 5 * SECOND);
    let ends = sim.now;
    let records = sim.alerts().len();
    sim.run(QUIET, 4 * SECOND);
    assert_eq!(sim.alerts().len(), records, "nothing is told of the quiet");
    let now = sim.detector.going_on();
    let [alert] = now.as_slice() else { panic!("{now:#?}") };
    assert_eq!((alert.event, alert.at.0), (AlertEvent::Update, sim.last));
    assert_eq!((alert.syn_rate, alert.syn_count), (0.0, 10_000));
    // Known to a tick.
    assert!((ends..ends + 250 * MS).contains(&alert.until.0), "{:?} for {ends}", alert.until);
    sim.run(QUIET, 10 * SECOND);
    assert!(sim.detector.going_on().is_empty());
}

#[test]
fn what_comes_back_is_counted_whole() {
    let mut sim = Sim::new(250 * MS);
    for _ in 0..3 {
        sim.run(Load { attack: 2_000, ..QUIET }, 2 * SECOND).run(QUIET, 5 * SECOND);
    }
    let last = sim.now - 5 * SECOND;
    sim.run(QUIET, 10 * SECOND);
    let alerts = sim.alerts();
    let end = alerts.last().expect("an alert");
    assert_eq!((end.event, end.syn_count), (AlertEvent::End, 12_000));
    assert!(end.until.0.abs_diff(last) <= 250 * MS, "{end:#?}");
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
    for attack in [150, 1_000] {
        let mut sim = Sim::new(250 * MS);
        sim.run(Load { attack, filtered: true, ..QUIET }, 10 * SECOND);
        let verdicts: Vec<_> = sim.alerts().iter().map(|alert| alert.verdict).collect();
        assert!(!verdicts.is_empty(), "{attack}");
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Filtered), "{verdicts:?}");
    }
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
}
