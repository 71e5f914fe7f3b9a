//! What a person reads who learns TCP, or has an incident.

use super::film::*;

#[test]
fn a_handshake_and_a_four_segment_close() {
    let mut film = Film::new();
    film.handshake().at(10 * MS).c("PA", 1, 1, 10).at(11 * MS).s("A", 1, 11, 0);
    film.at(20 * MS).c("FA", 11, 1, 0).at(21 * MS).s("A", 1, 12, 0);
    film.at(30 * MS).s("FA", 1, 12, 0).at(31 * MS).c("A", 12, 2, 0);
    assert_eq!(
        film.script(),
        [
            "client S 0 [handshake 1/3] SYN_SENT -",
            "server SA 0:1 [handshake 2/3] ESTABLISHED SYN_RECV",
            "client A 1:1 [handshake 3/3] ESTABLISHED ESTABLISHED",
            "client FA 11:1 [close 1/4] FIN_WAIT1 CLOSE_WAIT",
            "server A 1:12 [close 2/4] FIN_WAIT2 CLOSE_WAIT",
            "server FA 1:12 [close 3/4] TIME_WAIT LAST_ACK",
            "client A 12:2 [close 4/4] TIME_WAIT CLOSE",
        ]
    );
    let row = &film.rows[0];
    assert_eq!((row.number, row.connection, row.roles_known), (1, 1, true));
    assert_eq!(film.rows[6].number, 9);
    // Windows are known once both SYNs are.
    let windows: Vec<_> = film.rows.iter().map(|row| row.window).collect();
    assert_eq!(windows[0], None);
    assert_eq!(windows[2], Some(500 << 7));
}

#[test]
fn a_three_segment_close() {
    let mut film = Film::new();
    film.handshake().at(20 * MS).s("FA", 1, 1, 0).c("FA", 1, 2, 0).s("A", 2, 2, 0);
    assert_eq!(
        film.script()[3..],
        [
            "server FA 1:1 [close 1/4] CLOSE_WAIT FIN_WAIT1",
            "client FA 1:2 [close 2+3/4] LAST_ACK TIME_WAIT ack_with_fin",
            "server A 2:2 [close 4/4] CLOSE TIME_WAIT",
        ]
    );
}

#[test]
fn a_simultaneous_close() {
    let mut film = Film::new();
    film.handshake().at(20 * MS).c("FA", 1, 1, 0).s("FA", 1, 1, 0).c("A", 2, 2, 0).s("A", 2, 2, 0);
    assert_eq!(
        film.script()[3..],
        [
            "client FA 1:1 [close 1/4] FIN_WAIT1 CLOSE_WAIT",
            "server FA 1:1 [close 3/4] CLOSING CLOSING simultaneous_close",
            "client A 2:2 [close 4/4] CLOSING TIME_WAIT",
            "server A 2:2 [close 2/4] TIME_WAIT TIME_WAIT",
        ]
    );
}

#[test]
fn a_half_close() {
    let mut film = Film::new();
    film.handshake()
        .at(20 * MS)
        .c("FA", 1, 1, 0)
        .s("A", 1, 2, 0)
        .s("PA", 1, 2, 10)
        .c("A", 2, 11, 0);
    film.s("FA", 11, 2, 0).c("A", 2, 12, 0);
    assert_eq!(
        film.script()[3..],
        [
            "client FA 1:1 [close 1/4] FIN_WAIT1 CLOSE_WAIT",
            "server A 1:2 [close 2/4] FIN_WAIT2 CLOSE_WAIT",
            "server FA 11:2 [close 3/4] TIME_WAIT LAST_ACK half_close",
            "client A 2:12 [close 4/4] TIME_WAIT CLOSE",
        ]
    );
}

#[test]
fn where_it_stuck() {
    let mut film = Film::new();
    film.c("S", 0, 0, 0).at(MS).s("SA", 0, 1, 0).at(SECOND).c("S", 0, 0, 0).s("SA", 0, 1, 0);
    film.at(SECOND + MS).s("SA", 0, 1, 0).at(3 * SECOND).c("R", 1, 0, 0);
    assert_eq!(
        film.script(),
        [
            "client S 0 [handshake 1/3] SYN_SENT -",
            "server SA 0:1 [handshake 2/3] ESTABLISHED SYN_RECV",
            "client S 0 [handshake 1/3] ESTABLISHED SYN_RECV retransmission",
            "server SA 0:1 [handshake 2/3] ESTABLISHED SYN_RECV retransmission",
            "server SA 0:1 [handshake 2/3] ESTABLISHED SYN_RECV retransmission",
            "client R 1 CLOSE CLOSE",
        ]
    );
}

#[test]
fn a_refusal_and_data_rows() {
    let mut film = Film::new();
    film.c("S", 0, 0, 0).refuse();
    assert_eq!(film.script()[1], "server RA 0:1 CLOSE CLOSE refused");
    // Data make no rows.
    let mut film = Film::new();
    film.handshake().c("PA", 1, 1, 10).s("PA", 1, 11, 10).c("PA", 1, 11, 10).c("A", 11, 11, 0);
    assert_eq!(film.rows.len(), 3);
}

#[test]
fn no_rows_without_the_wish() {
    let mut film = Film::with(|config| config.rows = false);
    film.handshake();
    assert_eq!(film.rows.len(), 0);
}
