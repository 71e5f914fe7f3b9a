//! How connections are closed.

use super::film::*;

/// A connection on which the server has sent 100 bytes and the client 10.
fn talked(mut film: Film) -> Film {
    film.handshake().at(10 * MS).c("PA", 1, 1, 10).at(11 * MS).s("A", 1, 11, 0);
    film.at(12 * MS).s("PA", 1, 11, 100).at(13 * MS).c("A", 11, 101, 0);
    film
}

#[test]
fn four_segments_close() {
    let mut film = talked(Film::at_client());
    film.at(20 * MS).c("FA", 11, 101, 0).at(21 * MS).s("A", 101, 12, 0);
    film.at(30 * MS).s("FA", 101, 12, 0).at(31 * MS).c("A", 12, 102, 0);
    let c = film.connection();
    assert_eq!(
        (c.outcome, c.close_initiator),
        (Some(Outcome::Closed), Some(CloseInitiator::Local))
    );
    assert_eq!(c.close, Some(10 * MS));
    assert_eq!((c.phases.fin_wait1, c.phases.fin_wait2), (Some(MS), Some(9 * MS)));
    assert_eq!(c.time_wait, Some(true));
    assert_eq!((c.bytes_sent, c.bytes_received, c.retransmits), (Some(10), Some(100), Some(0)));
    assert_eq!(c.phases.established, Some(19 * MS));

    let mut film = talked(Film::at_server());
    film.at(20 * MS).c("FA", 11, 101, 0).at(21 * MS).s("A", 101, 12, 0);
    film.at(30 * MS).s("FA", 101, 12, 0).at(31 * MS).c("A", 12, 102, 0);
    let c = film.connection();
    assert_eq!(c.close_initiator, Some(CloseInitiator::Remote));
    assert_eq!((c.phases.close_wait, c.phases.last_ack), (Some(10 * MS), Some(MS)));
    assert_eq!((c.time_wait, c.close), (Some(false), Some(11 * MS)));
    assert_eq!((c.bytes_sent, c.bytes_received), (Some(100), Some(10)));
}

#[test]
fn three_segments_close() {
    let mut film = talked(Film::at_client());
    film.at(20 * MS)
        .c("FA", 11, 101, 0)
        .at(21 * MS)
        .s("FA", 101, 12, 0)
        .at(22 * MS)
        .c("A", 12, 102, 0);
    let c = film.connection();
    assert_eq!(c.close_initiator, Some(CloseInitiator::Local));
    assert_eq!((c.phases.fin_wait1, c.phases.fin_wait2), (Some(MS), Some(0)));
    assert_eq!(c.close, Some(MS));
}

#[test]
fn a_simultaneous_close() {
    for mut film in [talked(Film::at_client()), talked(Film::at_server())] {
        film.at(20 * MS).c("FA", 11, 101, 0).at(21 * MS).s("FA", 101, 11, 0);
        film.at(22 * MS).c("A", 12, 102, 0).at(23 * MS).s("A", 102, 12, 0);
        let c = film.connection();
        assert_eq!(c.outcome, Some(Outcome::Closed));
        assert_eq!(c.close_initiator, Some(CloseInitiator::Both));
        assert!(c.phases.closing.is_some() && c.phases.close_wait.is_none());
        assert_eq!(c.time_wait, Some(true));
    }
}

#[test]
fn a_half_close_lets_data_go_on() {
    let mut film = talked(Film::at_client());
    film.at(20 * MS).c("FA", 11, 101, 0).at(21 * MS).s("A", 101, 12, 0);
    film.at(30 * MS).s("PA", 101, 12, 1000).at(31 * MS).c("A", 12, 1101, 0);
    assert_eq!(film.lives_state(), (Some(FinWait2), Some(CloseWait)));
    film.at(SECOND).s("FA", 1101, 12, 0).at(SECOND + MS).c("A", 12, 1102, 0);
    let c = film.connection();
    assert_eq!((c.bytes_received, c.outcome), (Some(1100), Some(Outcome::Closed)));
    assert_eq!(c.phases.fin_wait2, Some(SECOND - 21 * MS));
}

#[test]
fn a_fin_sent_again_counts_as_one() {
    let mut film = talked(Film::at_client());
    film.at(20 * MS).c("FA", 11, 101, 0).at(220 * MS).c("FA", 11, 101, 0);
    film.at(221 * MS)
        .s("A", 101, 12, 0)
        .at(222 * MS)
        .s("FA", 101, 12, 0)
        .at(223 * MS)
        .c("A", 12, 102, 0);
    let c = film.connection();
    assert_eq!((c.retransmits, c.bytes_sent), (Some(1), Some(10)));
    assert_eq!(c.phases.fin_wait1, Some(201 * MS));
}

#[test]
fn a_last_ack_that_was_lost() {
    let mut film = talked(Film::at_client());
    film.at(20 * MS)
        .c("FA", 11, 101, 0)
        .at(21 * MS)
        .s("FA", 101, 12, 0)
        .at(22 * MS)
        .c("A", 12, 102, 0);
    film.at(221 * MS).s("FA", 101, 12, 0).at(222 * MS).c("A", 12, 102, 0);
    let c = film.connection();
    assert_eq!(c.outcome, Some(Outcome::Closed));
    let script = film.script();
    assert_eq!(
        script[script.len() - 2],
        "server FA 101:12 [close 3/4] TIME_WAIT CLOSE retransmission"
    );
    assert_eq!(
        script[script.len() - 1],
        "client A 12:102 [close 4/4] TIME_WAIT CLOSE retransmission"
    );
}

#[test]
fn an_end_that_is_missing_stays_open() {
    let mut film = talked(Film::at_client());
    film.at(20 * MS).c("FA", 11, 101, 0).at(21 * MS).s("A", 101, 12, 0);
    let open = film.one_open();
    assert_eq!(
        (open.state, open.connection.close_initiator),
        (FinWait2, Some(CloseInitiator::Local))
    );
    // The server has not closed: a leak.
    let mut film = talked(Film::at_server());
    film.at(20 * MS).c("FA", 11, 101, 0).at(21 * MS).s("A", 101, 12, 0);
    assert_eq!(film.one_open().state, CloseWait);
}

#[test]
fn a_fin_that_nobody_acknowledges_has_not_arrived() {
    let mut film = talked(Film::at_server());
    film.at(20 * MS).c("FA", 11, 101, 0).at(220 * MS).c("FA", 11, 101, 0);
    film.at(620 * MS).c("FA", 11, 101, 0).at(2 * SECOND).c("FA", 11, 101, 0);
    assert_eq!(film.one_open().state, Established);
}

#[test]
fn a_fin_before_the_data_it_follows() {
    let mut film = talked(Film::at_server());
    // 20 bytes are late.
    film.at(20 * MS).c("FA", 31, 101, 0).at(20 * MS + 10 * US).c("PA", 11, 101, 20);
    film.at(21 * MS)
        .s("A", 101, 32, 0)
        .at(22 * MS)
        .s("FA", 101, 32, 0)
        .at(23 * MS)
        .c("A", 32, 102, 0);
    let c = film.connection();
    assert_eq!(
        (c.outcome, c.close_initiator),
        (Some(Outcome::Closed), Some(CloseInitiator::Remote))
    );
    assert_eq!((c.bytes_received, c.events_lost), (Some(30), false));
}

#[test]
fn a_fin_that_is_not_in_the_capture_accuses_nobody() {
    // The client acknowledges one number that the server was not seen to use: a FIN, or a byte.
    let mut film = talked(Film::at_client());
    film.at(20 * MS)
        .c("A", 11, 102, 0)
        .at(21 * MS)
        .c("FA", 11, 102, 0)
        .at(22 * MS)
        .s("A", 102, 12, 0);
    let c = film.connection();
    assert_eq!((c.outcome, c.close_initiator), (Some(Outcome::Unknown), None));
    assert!(c.events_lost);
}

#[test]
fn keepalives_are_no_retransmissions() {
    let mut film = talked(Film::at_client());
    for second in 1..4 {
        film.at(second * SECOND).c("A", 10, 101, 0).at(second * SECOND + MS).s("A", 101, 11, 0);
        film.at(second * SECOND + 2 * MS)
            .c("A", 10, 101, 1)
            .at(second * SECOND + 3 * MS)
            .s("A", 101, 11, 0);
    }
    assert_eq!(film.rows.len(), 3);
    film.at(20 * SECOND).c("A", 10, 101, 0).at(30 * SECOND).c("A", 10, 101, 0);
    assert!(film.rows[3].oddities.has(Odd::KeepaliveUnanswered));
    film.at(40 * SECOND).c("R", 11, 0, 0);
    let c = film.connection();
    assert_eq!((c.retransmits, c.bytes_sent), (Some(0), Some(10)));
    assert_eq!(c.outcome, Some(Outcome::ResetByLocal));
}

#[test]
fn a_closed_window_and_its_probes() {
    let mut film = talked(Film::at_client());
    let mut zero = seg("A", 101, 11, 0);
    zero.window = 0;
    film.at(20 * MS).send(false, zero);
    film.at(220 * MS).c("A", 10, 101, 0).at(221 * MS).send(false, zero);
    film.at(620 * MS).c("A", 10, 101, 0).at(1200 * MS).c("A", 10, 101, 0);
    film.at(1201 * MS).s("A", 101, 11, 0);
    let script = film.script();
    assert_eq!(
        script[3..],
        [
            "server A 101:11 ESTABLISHED ESTABLISHED zero_window",
            "client A 10:101 ESTABLISHED ESTABLISHED zero_window_probe",
            "server A 101:11 ESTABLISHED ESTABLISHED window_opened",
        ]
    );
    film.at(2 * SECOND).c("FA", 11, 101, 0).s("FA", 101, 12, 0).c("A", 12, 102, 0);
    assert_eq!(film.connection().retransmits, Some(0));
}
