//! One segment captured more than once.

use crate::capture::segment::Direction;

use super::film::*;

/// A whole connection; each segment is captured at two interfaces, 30 µs apart, `train` at a time.
fn twice(mut film: Film, train: usize) -> Film {
    let story = [
        (true, seg("S", 0, 0, 0)),
        (false, seg("SA", 0, 1, 0)),
        (true, seg("A", 1, 1, 0)),
        (true, seg("PA", 1, 1, 1000)),
        (true, seg("PA", 1001, 1, 1000)),
        (true, seg("PA", 2001, 1, 1000)),
        (true, seg("PA", 3001, 1, 1000)),
        (true, seg("PA", 4001, 1, 1000)),
        (true, seg("PA", 5001, 1, 1000)),
        (false, seg("A", 1, 6001, 0)),
        (true, seg("FA", 6001, 1, 0)),
        (false, seg("FA", 1, 6002, 0)),
        (true, seg("A", 6002, 2, 0)),
    ];
    for (number, train) in story.chunks(train).enumerate() {
        for interface in [0, 1] {
            film.interface = interface;
            film.at(number as u64 * MS + u64::from(interface) * 30 * US);
            for (by_client, segment) in train {
                film.send(*by_client, *segment);
            }
        }
    }
    film
}

#[test]
fn copies_are_no_retransmissions() {
    for train in [1, 2, 6, 13] {
        let c = twice(Film::at_client(), train).connection();
        assert_eq!((c.syn_retransmits, c.retransmits), (Some(0), Some(0)), "{train}");
        assert_eq!((c.outcome, c.bytes_sent), (Some(Outcome::Closed), Some(6000)));
        let c = twice(Film::at_server(), train).connection();
        assert_eq!((c.syn_retransmits, c.synack_retransmits), (Some(0), Some(0)), "{train}");
    }
}

#[test]
fn copies_are_named() {
    let film = twice(Film::new(), 1);
    let copies = film.rows.iter().filter(|row| row.oddities.has(Odd::Duplicate)).count();
    // SYN, SYN-ACK and two FINs; an ACK without news is nothing of its own.
    assert_eq!(copies, 4, "{:#?}", film.script());
}

#[test]
fn a_bridge_that_the_capture_does_not_tell_apart() {
    let mut film = Film::at_client();
    film.direction = Some(Direction::In);
    film.handshake().at(10 * MS).c("PA", 1, 1, 10).at(10 * MS + US).c("PA", 1, 1, 10);
    film.at(11 * MS).s("A", 1, 11, 0).at(12 * MS).c("RA", 11, 1, 0);
    assert_eq!(film.connection().retransmits, Some(0));
}

#[test]
fn retransmissions_seen_at_two_interfaces_count_once() {
    let mut film = Film::at_client();
    for (time, again) in [(0, 0), (SECOND, 1), (3 * SECOND, 2)] {
        for interface in [0, 1] {
            film.interface = interface;
            film.at(time + u64::from(interface) * 50 * US).c("S", 0, 0, 0);
        }
        let _ = again;
    }
    film.interface = 0;
    film.at(4 * SECOND).refuse();
    assert_eq!(film.connection().syn_retransmits, Some(2));
}
