use super::*;
use crate::report::samples::{self, MS, S, at};

fn record(figures: &mut Figures, connection: Connection) {
    figures.record(&Record::Connection(Box::new(connection)));
}

#[test]
fn a_connection_is_counted_everywhere_once() {
    let mut figures = Figures::new(at(0));
    for connection in samples::stream() {
        record(&mut figures, connection);
    }
    let all = samples::stream();
    for outcome in Outcome::ALL {
        let expected = all.iter().filter(|c| c.outcome == Some(outcome)).count();
        assert_eq!(figures.count(outcome), expected as u64, "{outcome:?}");
    }
    let measured =
        |of: fn(&Connection) -> Option<u64>| all.iter().filter(|c| of(c).is_some()).count() as u64;
    let count = |latency: &Latency| latency.quantiles().map_or(0, |q| q.count);
    assert_eq!(count(&figures.handshakes.all()), measured(|c| c.handshake));
    assert_eq!(count(&figures.closes.all()), measured(|c| c.close));
    assert_eq!(count(&figures.accept_waits), measured(|c| c.accept_wait));
    let ended: u64 = figures.timeline.buckets().iter().map(|b| b.closed + b.failed).sum();
    assert_eq!(ended, all.len() as u64);
}

#[test]
fn who_was_there_before_did_not_begin() {
    let mut figures = Figures::new(at(0));
    record(&mut figures, samples::bare());
    figures.finish(&samples::open());
    let begun: u64 = figures.timeline.buckets().iter().map(|bucket| bucket.begun).sum();
    let from_start = samples::open()
        .iter()
        .filter(|open| open.connection.observed_from == ObservedFrom::Start)
        .count();
    assert!(from_start > 0);
    assert_eq!(begun, from_start as u64);
}

#[test]
fn half_open_connections_are_unknown_without_a_hook() {
    let mut figures = Figures::new(at(0));
    let end = End { syns: None, ..samples::end() };
    figures.standing(at(S), &end, None);
    assert_eq!(figures.half_open_peak, None);
    assert!(!figures.timeline.has_syns());
    figures.standing(at(2 * S), &samples::end(), Some(5));
    figures.standing(at(3 * S), &samples::end(), Some(2));
    assert_eq!(figures.half_open_peak, Some(5));
    assert!(figures.timeline.has_syns());
}

#[test]
fn a_million_connections_take_no_more_memory_than_a_few() {
    const MANY: u64 = 1_000_000;
    let mut figures = Figures::new(at(0));
    for n in 0..MANY {
        record(
            &mut figures,
            Connection {
                start: at(n * MS),
                end: at(n * MS + 7 * MS),
                handshake: Some(n * 13 % 1_000_003),
                outcome: Some(Outcome::ALL[(n % 9) as usize]),
                ..samples::full()
            },
        );
    }
    assert!(figures.timeline.buckets().len() <= timeline::MOST);
    for worst in [&figures.slow_handshakes, &figures.slow_closes, &figures.failed] {
        assert_eq!(worst.iter().len(), worst::KEPT);
    }
    let total: u64 = Outcome::ALL.iter().map(|outcome| figures.count(*outcome)).sum();
    assert_eq!(total, MANY);
    let handshakes = figures.handshakes.all();
    assert_eq!(handshakes.buckets().iter().sum::<u64>(), MANY);
    assert_eq!(handshakes.quantiles().map(|q| q.count), Some(MANY));
    let begun: u64 = figures.timeline.buckets().iter().map(|bucket| bucket.begun).sum();
    assert_eq!(begun, MANY);
}
