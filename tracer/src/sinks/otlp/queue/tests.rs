use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::*;
use crate::core::record::Record;
use crate::report::samples;

fn record() -> Record {
    Record::Connection(Box::new(samples::full()))
}

fn item() -> Item {
    Item::new(&record(), &samples::clock(), UNIX_EPOCH)
}

#[test]
fn what_does_not_fit_is_dropped_and_counted() {
    let queue = Queue::default();
    let most = (BYTES / item().size()).min(RECORDS);
    for _ in 0..most + 10 {
        queue.push(item());
    }
    let mut state = queue.lock();
    assert_eq!(state.waiting(), most);
    assert_eq!(state.counts, Counts { dropped: 10, ..Counts::default() });
    // Those being sent take room until somebody has taken them.
    let taken = state.take().len();
    assert!(taken > 100 && taken <= BATCH);
    drop(state);
    queue.push(item());
    assert_eq!(queue.lock().counts.dropped, 11);
    queue.lock().taken(0);
    for _ in 0..taken + 1 {
        queue.push(item());
    }
    assert_eq!(
        queue.lock().counts,
        Counts { sent: taken as u64, dropped: 12, ..Counts::default() }
    );
}

#[test]
fn many_small_ones_are_bounded_by_their_number() {
    let queue = Queue::default();
    let small =
        || Item::new(&Record::State(samples::state_change()), &samples::clock(), UNIX_EPOCH);
    assert!(small().size() * RECORDS < BYTES);
    for _ in 0..=RECORDS {
        queue.push(small());
    }
    let mut state = queue.lock();
    assert_eq!((state.waiting(), state.counts.dropped), (RECORDS, 1));
    assert_eq!(state.take().len(), BATCH);
    assert_eq!(state.waiting(), RECORDS);
}

#[test]
fn what_a_receiver_rejects_is_counted_once() {
    let queue = Queue::default();
    for _ in 0..5 {
        queue.push(item());
    }
    let mut state = queue.lock();
    state.take();
    // It may say that it rejected more than it was sent.
    state.taken(2);
    state.taken(2);
    assert_eq!(state.counts, Counts { sent: 3, rejected: 2, ..Counts::default() });
    drop(state);
    queue.push(item());
    let mut state = queue.lock();
    state.take();
    state.taken(u64::MAX);
    assert_eq!(state.counts, Counts { sent: 3, rejected: 3, ..Counts::default() });
    assert_eq!((state.bytes, state.in_flight_bytes, state.waiting()), (0, 0, 0));
}

#[test]
fn records_wait_for_each_other_but_not_for_long() {
    let queue = Queue::default();
    assert_eq!(queue.lock().due(), None);
    let before = Instant::now();
    queue.push(item());
    let due = queue.lock().due().unwrap();
    assert!(due >= before + DELAY && due <= Instant::now() + DELAY);
    for _ in 1..BATCH {
        queue.push(item());
    }
    assert!(queue.lock().due().unwrap() <= Instant::now());
    queue.lock().take();
    assert_eq!(queue.lock().due(), None);
    queue.push(item());
    assert!(queue.lock().due().unwrap() > Instant::now());
    queue.lock().until = Some(Instant::now());
    assert!(queue.lock().due().unwrap() <= Instant::now());
}

#[test]
fn the_end_waits_for_an_exporter_no_longer_than_it_may() {
    let queue = Arc::new(Queue::default());
    queue.push(item());
    queue.push(item());
    queue.lock().take();
    queue.push(item());
    let begin = Instant::now();
    // Nobody sends.
    assert_eq!(queue.finish(begin + Duration::from_millis(50)), 3);
    assert!(begin.elapsed() >= Duration::from_millis(50));
    // What comes afterwards is lost.
    queue.push(item());
    assert_eq!(queue.lock().counts.dropped, 1);
}
