//! Connections whose beginning is not in the capture, and captures of one direction.

use super::film::*;

#[test]
fn a_connection_met_in_its_middle() {
    let mut film = Film::new();
    film.c("PA", 500, 900, 10).at(MS).s("A", 900, 510, 0).at(2 * MS).s("PA", 900, 510, 20);
    film.at(3 * MS).c("A", 510, 920, 0);
    film.at(10 * MS).c("FA", 510, 920, 0).s("FA", 920, 511, 0).c("A", 511, 921, 0);
    let c = film.connection();
    assert_eq!((c.role, c.observed_from), (None, ObservedFrom::Middle));
    // The lower port passes for the server.
    assert_eq!(c.local.port(), 80);
    assert_eq!(
        (c.outcome, c.close_initiator),
        (Some(Outcome::Closed), Some(CloseInitiator::Remote))
    );
    assert_eq!((c.bytes_sent, c.bytes_received, c.retransmits), (None, None, None));
    assert_eq!((c.handshake, c.syn_retransmits, c.phases.established), (None, None, None));
    assert!(!c.events_lost);
    assert!(film.rows.iter().all(|row| !row.roles_known));
}

#[test]
fn the_end_of_a_close_accuses_nobody() {
    // The first FIN may have been before the capture.
    let mut film = Film::new();
    film.s("FA", 900, 510, 0).at(MS).c("A", 510, 901, 0);
    let c = film.connection();
    assert_eq!((c.outcome, c.close_initiator), (Some(Outcome::Unknown), None));
    assert_eq!(film.rows[0].step, None);
    // Here it was not: the second shows it.
    let mut film = Film::new();
    film.s("FA", 900, 510, 0).at(MS).c("A", 510, 901, 0).at(2 * MS).c("FA", 510, 901, 0);
    film.at(3 * MS).s("A", 901, 511, 0);
    let c = film.connection();
    assert_eq!(
        (c.outcome, c.close_initiator),
        (Some(Outcome::Closed), Some(CloseInitiator::Local))
    );
}

#[test]
fn single_segments_are_no_connections() {
    let mut film = Film::new();
    film.c("A", 1, 1, 0);
    film.client.socket.set_port(40001);
    film.c("PA", 1, 1, 10);
    film.client.socket.set_port(40002);
    film.s("R", 1, 0, 0);
    film.client.socket.set_port(40003);
    // An ACK scan.
    film.c("A", 1, 1, 0).s("R", 1, 0, 0);
    film.client.socket.set_port(40004);
    film.c("", 1, 1, 0).c("F", 1, 1, 0).c("FSR", 1, 1, 0);
    assert_eq!((film.connections(), film.open()), (vec![], vec![]));
    assert_eq!(film.core.totals().handshakes_failed, 0);
}

#[test]
fn a_reset_of_a_connection_met_in_its_middle() {
    let mut film = Film::at_client();
    film.c("PA", 500, 900, 10).at(MS).s("R", 900, 0, 0);
    assert_eq!(film.connection().outcome, Some(Outcome::ResetByRemote));
}

#[test]
fn only_the_clients_direction() {
    let mut film = Film::new();
    film.c("S", 0, 0, 0).at(2 * MS).c("A", 1, 1, 0).c("PA", 1, 1, 10).at(5 * MS).c("A", 11, 200, 0);
    film.at(6 * MS).c("FA", 11, 200, 0).at(8 * MS).c("A", 12, 201, 0);
    assert_eq!(film.rows[0].server_state, None);
    let c = film.connection();
    // The end that nobody saw is not made up, and who closed first can't be told.
    assert_eq!((c.role, c.close_initiator), (Some(Role::Client), None));
    assert_eq!((c.outcome, c.handshake), (Some(Outcome::Unknown), None));
    assert!(c.events_lost);
}

#[test]
fn only_the_servers_direction() {
    let mut film = Film::new();
    film.s("SA", 0, 1, 0).at(5 * MS).s("PA", 1, 11, 100).at(6 * MS).s("A", 101, 31, 0);
    let open = film.one_open();
    let c = open.connection;
    assert_eq!((open.state, c.role), (Established, Some(Role::Server)));
    assert_eq!((c.handshake, c.syn_retransmits, c.synack_retransmits), (None, None, Some(0)));
}

#[test]
fn a_handshake_without_its_syn() {
    let mut film = Film::at_server();
    film.s("SA", 0, 1, 0).at(2 * MS).c("A", 1, 1, 0).at(3 * MS).s("PA", 1, 1, 10);
    let c = film.one_open().connection;
    assert_eq!((c.role, c.handshake, c.syn_retransmits), (Some(Role::Server), None, None));
    let path = PathRtt { syn_to_synack: None, synack_to_ack: Some(2 * MS) };
    assert_eq!(c.path_rtt, Some(path));
    let mut film = Film::at_client();
    film.s("SA", 0, 1, 0).at(2 * MS).c("A", 1, 1, 0);
    let open = film.one_open();
    assert_eq!((open.state, open.connection.role), (Established, Some(Role::Client)));
    assert_eq!(open.connection.handshake, None);
}

#[test]
fn backscatter_is_nobodys_connection() {
    // Somebody else sends SYNs in this host's name.
    let mut film = Film::at_client();
    film.s("SA", 0, 1, 0).at(MS).c("R", 1, 0, 0).at(SECOND).s("SA", 0, 1, 0).c("R", 1, 0, 0);
    assert_eq!((film.connections(), film.open()), (vec![], vec![]));
}

#[test]
fn a_stray_ack_before_a_syn_is_no_connection_before() {
    let mut film = Film::at_server();
    film.client.isn = 5;
    film.c("A", 1, 1, 0);
    film.client.isn = 70_000;
    film.at(MS).handshake().at(10 * MS).s("PA", 1, 1, 1);
    assert_eq!(film.one_open().connection.handshake, Some(3 * MS));
    assert!(film.rows[0].oddities.is_empty());
}
