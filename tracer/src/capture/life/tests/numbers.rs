//! Sequence numbers: their end, gaps, repetitions, and how much was sent.

use super::film::*;

#[test]
fn numbers_wrap() {
    // The client's numbers pass 2^32 twice, the server's three times: more than 12 GB.
    let mut film = Film::at_client();
    film.handshake();
    let (mut sent, mut received) = (1u64, 1u64);
    let mut now = 10 * MS;
    for step in 0..26 {
        let big = 500_000_000;
        now += MS;
        film.at(now).s("PA", received as u32, sent as u32, big);
        received += u64::from(big);
        film.at(now + US).c("A", sent as u32, received as u32, 0);
        if step % 2 == 0 {
            film.at(now + 2 * US).c("PA", sent as u32, received as u32, big);
            sent += u64::from(big);
            film.at(now + 3 * US).s("A", received as u32, sent as u32, 0);
        }
    }
    film.at(now + MS).c("FA", sent as u32, received as u32, 0);
    film.at(now + 2 * MS).s("FA", received as u32, sent as u32 + 1, 0);
    film.at(now + 3 * MS).c("A", sent as u32 + 1, received as u32 + 1, 0);
    let c = film.connection();
    assert_eq!((c.bytes_sent, c.bytes_received), (Some(sent - 1), Some(received - 1)));
    assert_eq!((c.retransmits, c.events_lost), (Some(0), false));
    assert_eq!(film.rows.last().unwrap().ack, Some(received + 1));
}

/// Data of the client behind a handshake with a round trip of 3 ms; then a close.
fn retransmits(story: impl FnOnce(&mut Film)) -> (Option<u32>, Option<u64>, bool) {
    let mut film = Film::at_client();
    film.handshake();
    story(&mut film);
    film.at(5 * SECOND).c("FA", 3001, 1, 0).s("FA", 1, 3002, 0).c("A", 3002, 2, 0);
    let c = film.connection();
    assert_eq!(c.outcome, Some(Outcome::Closed));
    (c.retransmits, c.bytes_sent, c.events_lost)
}

#[test]
fn late_and_sent_again() {
    let in_order = retransmits(|film| {
        film.at(10 * MS).c("A", 1, 1, 1000).c("A", 1001, 1, 1000).c("A", 2001, 1, 1000);
    });
    assert_eq!(in_order, (Some(0), Some(3000), false));
    let reordered = retransmits(|film| {
        film.at(10 * MS).c("A", 1, 1, 1000).c("A", 2001, 1, 1000).c("A", 1001, 1, 1000);
    });
    assert_eq!(reordered, (Some(0), Some(3000), false));
    let lost_before_the_capture_point = retransmits(|film| {
        film.at(10 * MS).c("A", 1, 1, 1000).c("A", 2001, 1, 1000);
        film.at(14 * MS).c("A", 1001, 1, 1000);
    });
    assert_eq!(lost_before_the_capture_point, (Some(1), Some(3000), false));
    let lost_behind_it = retransmits(|film| {
        film.at(10 * MS).c("A", 1, 1, 1000).c("A", 1001, 1, 1000).c("A", 2001, 1, 1000);
        film.at(14 * MS).c("A", 1001, 1, 1000);
    });
    assert_eq!(lost_behind_it, (Some(1), Some(3000), false));
    let missed_by_the_capture = retransmits(|film| {
        film.at(10 * MS).c("A", 1, 1, 1000).c("A", 2001, 1, 1000).at(12 * MS).s("A", 1, 3001, 0);
    });
    assert_eq!(missed_by_the_capture, (Some(0), Some(3000), true));
}

#[test]
fn what_segmentation_offload_sends_again_counts_as_its_segments() {
    let again = retransmits(|film| {
        film.at(10 * MS).c("A", 1, 1, 3000).at(300 * MS).c("A", 1, 1, 3000);
    });
    assert_eq!(again.0, Some(3));
}

#[test]
fn acknowledgements_captured_before_what_they_acknowledge() {
    let early = retransmits(|film| {
        film.at(10 * MS).s("A", 1, 1001, 0).c("A", 1, 1, 1000).c("A", 1001, 1, 2000);
    });
    assert_eq!(early, (Some(0), Some(3000), false));
}

#[test]
fn nonsense_moves_nothing() {
    let mut film = Film::at_server();
    film.handshake().at(10 * MS).c("PA", 2_100_000_000, 1, 10).c("FA", 1_900_000_000, 77, 0);
    film.at(11 * MS).c("PA", 1, 1, 10).s("A", 1, 11, 0);
    let open = film.one_open();
    assert_eq!((open.state, open.connection.events_lost), (Established, false));
}

#[test]
fn a_capture_that_lost_gigabytes_finds_its_way_again() {
    let mut film = Film::at_server();
    film.handshake().at(10 * MS).c("PA", 1, 1, 10).s("A", 1, 11, 0);
    for step in 0..20 {
        film.at(SECOND + step * MS).c("PA", 1_500_000_000 + step as u32 * 10, 1, 10);
    }
    film.at(2 * SECOND).c("FA", 1_500_000_200, 1, 0).s("FA", 1, 1_500_000_201, 0);
    film.c("A", 1_500_000_201, 2, 0);
    let c = film.connection();
    assert_eq!((c.outcome, c.events_lost, c.bytes_received), (Some(Outcome::Closed), true, None));
}
