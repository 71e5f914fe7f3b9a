use super::*;

#[test]
fn what_the_kernel_side_counted_is_added() {
    let counters = Counters {
        records_sent: 1000,
        records_lost: 30,
        syns: 11,
        syns_repeated: 7,
        syns_unparsed: 2,
        requests_reset: 9,
        requests_reset_unrecorded: 5,
        ..Counters::default()
    };
    let mut end = End { events_lost: 1, handshakes_failed: 2, ..End::default() };
    complete(&mut end, counters, 400, true);
    assert_eq!(end.events_lost, 431);
    assert_eq!(end.handshakes_failed, 7);
    assert_eq!((end.syns, end.syns_repeated, end.syns_unparsed), (Some(11), Some(7), Some(2)));
}

#[test]
fn without_the_syn_hook_no_syn_was_counted() {
    let mut end = End::default();
    complete(&mut end, Counters { syns: 11, ..Counters::default() }, 0, false);
    assert_eq!((end.syns, end.syns_repeated, end.syns_unparsed), (None, None, None));
}

#[test]
fn a_loss_is_looked_into_once_and_a_further_one_after_the_answer() {
    let lost = |records_lost| Counters { records_lost, ..Counters::default() };
    let mut loss = LossCheck::default();
    assert!(!loss.due(lost(0), 0));
    assert!(loss.due(lost(1), 0));
    assert!(!loss.due(lost(3), 0));
    loss.asked = false;
    assert!(loss.due(lost(3), 0));
    loss.asked = false;
    assert!(!loss.due(lost(3), 0));
}

#[test]
fn what_no_program_was_run_for_is_a_loss_too() {
    let mut loss = LossCheck::default();
    assert!(!loss.due(Counters::default(), 0));
    assert!(!loss.due(Counters::default(), 1));
    assert!(loss.due(Counters::default(), 2));
    // Not while the question is under way.
    assert!(!loss.due(Counters::default(), 2));
    // Missed by one program and at once made up for by the other.
    let mut loss = LossCheck::default();
    for missed in [0, 1, 0, 3, 0] {
        assert!(!loss.due(Counters::default(), missed));
    }
}
