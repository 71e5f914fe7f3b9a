//! RSTs, challenge ACKs, and ports used again.

use super::film::*;

#[test]
fn a_reset_names_who_sent_it() {
    let mut film = Film::at_server();
    film.handshake().at(10 * MS).c("RA", 1, 1, 0);
    let c = film.connection();
    assert_eq!((c.outcome, c.close_initiator), (Some(Outcome::ResetByRemote), None));
    assert_eq!((c.close, c.time_wait), (None, Some(false)));
    let mut film = Film::at_client();
    film.handshake().at(10 * MS).c("RA", 1, 1, 0);
    assert_eq!(film.connection().outcome, Some(Outcome::ResetByLocal));
}

#[test]
fn a_reset_outside_the_window_ends_nothing() {
    let mut film = Film::at_server();
    film.handshake().at(10 * MS).c("R", 2_000_000_000, 0, 0).at(20 * MS).s("PA", 1, 1, 5);
    assert_eq!(film.one_open().state, Established);
    assert!(film.rows[3].oddities.has(Odd::ResetOutOfWindow));
}

#[test]
fn a_reset_inside_the_window_is_challenged() {
    let mut film = Film::at_server();
    film.handshake().at(10 * MS).c("R", 500, 0, 0).at(11 * MS).s("A", 1, 1, 0);
    assert_eq!(film.one_open().state, Established);
    let script = film.script();
    assert_eq!(script[3], "client R 500 ESTABLISHED ESTABLISHED reset_inexact");
    assert_eq!(script[4], "server A 1:1 ESTABLISHED ESTABLISHED challenge_ack");
    // Nobody says what became of it.
    let mut film = Film::at_server();
    film.handshake().at(10 * MS).c("R", 500, 0, 0);
    assert_eq!(film.connection().outcome, Some(Outcome::Unknown));
}

#[test]
fn a_reset_after_the_close_changes_nothing() {
    let mut film = Film::at_server();
    film.handshake().at(10 * MS).c("FA", 1, 1, 0).s("FA", 1, 2, 0).c("A", 2, 2, 0);
    film.at(20 * MS).s("R", 2, 0, 0);
    assert_eq!(film.connection().outcome, Some(Outcome::Closed));
    assert!(film.rows.last().unwrap().oddities.has(Odd::ResetAfterEnd));
}

#[test]
fn data_after_close() {
    let mut film = Film::at_server();
    film.handshake().at(10 * MS).s("FA", 1, 1, 0).c("A", 1, 2, 0).at(20 * MS).c("PA", 1, 2, 10);
    film.at(21 * MS).s("R", 2, 0, 0);
    let c = film.connection();
    assert_eq!(c.outcome, Some(Outcome::ResetByLocal));
    assert_eq!(c.close_initiator, Some(CloseInitiator::Local));
    assert!(film.rows.last().unwrap().oddities.has(Odd::DataAfterClose));
}

#[test]
fn a_reset_in_close_wait() {
    let mut film = Film::at_server();
    film.handshake().at(10 * MS).c("FA", 1, 1, 0).s("A", 1, 2, 0).at(20 * MS).s("PA", 1, 2, 10);
    film.at(21 * MS).c("R", 2, 0, 0);
    let c = film.connection();
    assert_eq!(
        (c.outcome, c.close_initiator),
        (Some(Outcome::ResetByRemote), Some(CloseInitiator::Remote))
    );
    assert_eq!(c.phases.close_wait, Some(11 * MS));
}

#[test]
fn a_connection_reset_before_the_server_says_anything() {
    let mut film = Film::at_server();
    film.handshake().at(4 * MS).c("RA", 1, 1, 0);
    let c = film.connection();
    assert_eq!((c.outcome, c.handshake), (Some(Outcome::ResetByRemote), Some(3 * MS)));
}

#[test]
fn ports_used_again_without_an_end() {
    let mut film = Film::at_server();
    film.handshake().at(10 * MS).s("PA", 1, 1, 10).at(11 * MS).c("A", 1, 11, 0);
    (film.client.isn, film.server.isn) = (77_000, 99_000);
    film.at(SECOND).handshake().at(2 * SECOND).s("PA", 1, 1, 10);
    let ended = film.connections();
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].outcome, ended[0].events_lost), (Some(Outcome::Unknown), true));
    let open = film.open();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].connection.handshake, Some(3 * MS));
    assert!(film.rows[4].oddities.has(Odd::PortReused), "{:#?}", film.script());
    assert_ne!(film.rows[2].connection, film.rows[4].connection);
}

#[test]
fn a_syn_that_is_challenged_leaves_the_connection_alone() {
    let mut film = Film::at_server();
    film.handshake().at(10 * MS).s("PA", 1, 1, 10).at(11 * MS).c("A", 1, 11, 0);
    let (old, new) = (film.client.isn, 77_000);
    film.client.isn = new;
    film.at(20 * MS).c("S", 0, 0, 0);
    film.client.isn = old;
    film.at(21 * MS).s("A", 11, 1, 0);
    assert!(film.rows[4].oddities.has(Odd::ChallengeAck));
    // The host that sent the SYN does not know the connection (RFC 9293, 3.5.1): a RST, and again.
    film.at(22 * MS).c("R", 1, 0, 0);
    (film.client.isn, film.server.isn) = (new, 99_000);
    film.at(SECOND).handshake().at(SECOND + 10 * MS).s("PA", 1, 1, 1);
    let ended = film.connections();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].outcome, Some(Outcome::ResetByRemote));
    assert_eq!(film.open().len(), 1);
}

#[test]
fn a_port_in_time_wait_used_again() {
    let mut film = Film::at_server();
    film.handshake().at(10 * MS).s("FA", 1, 1, 0).c("FA", 1, 2, 0).s("A", 2, 2, 0);
    film.client.isn = 77_000;
    film.server.isn = 99_000;
    film.at(SECOND).handshake().at(2 * SECOND).c("FA", 1, 1, 0).s("FA", 1, 2, 0).c("A", 2, 2, 0);
    let ended = film.connections();
    let outcomes: Vec<_> = ended.iter().map(|c| (c.outcome.unwrap(), c.close_initiator)).collect();
    assert_eq!(
        outcomes,
        [
            (Outcome::Closed, Some(CloseInitiator::Local)),
            (Outcome::Closed, Some(CloseInitiator::Remote))
        ]
    );
    assert!(film.rows.iter().any(|row| row.oddities.has(Odd::TimeWaitReused)));
}
