//! How connections begin.

use super::film::*;

#[test]
fn a_handshake_from_the_server() {
    let mut film = Film::new();
    film.handshake().at(10 * MS).s("PA", 1, 1, 100).at(11 * MS).c("A", 1, 101, 0);
    let open = film.one_open();
    assert_eq!(open.state, Established);
    let c = open.connection;
    assert_eq!(c.role, Some(Role::Server));
    assert_eq!(c.local, "10.0.0.2:80".parse().unwrap());
    assert_eq!(c.start, BEGIN);
    assert_eq!(c.handshake, Some(3 * MS));
    assert_eq!(c.handshake_source.unwrap().name(), "capture");
    // The capture does not say where it was taken.
    assert_eq!(c.synack_rtt, None);
    let path = PathRtt { syn_to_synack: Some(MS), synack_to_ack: Some(2 * MS) };
    assert_eq!(c.path_rtt, Some(path));
    assert_eq!((c.syn_retransmits, c.synack_retransmits), (Some(0), Some(0)));
    assert_eq!(c.phases.syn_recv, Some(3 * MS));
    assert_eq!(c.observed_from, ObservedFrom::Start);
    assert!(!c.events_lost);
    assert_eq!((c.bytes_sent, c.accept_wait, c.rtt), (None, None, None));
}

#[test]
fn a_handshake_from_the_client() {
    let mut film = Film::at_client();
    film.handshake();
    let c = film.one_open().connection;
    assert_eq!(c.role, Some(Role::Client));
    assert_eq!(c.handshake, Some(MS));
    assert_eq!(c.phases.syn_sent, Some(MS));
    assert_eq!((c.syn_retransmits, c.synack_retransmits), (Some(0), None));
}

#[test]
fn both_ends_of_loopback_are_told() {
    let mut film = Film::new();
    film.client = host("127.0.0.1:40000", 7);
    film.server = host("127.0.0.1:80", 9);
    film.handshake();
    let open = film.open();
    let roles: Vec<_> = open.iter().map(|open| open.connection.role.unwrap()).collect();
    assert_eq!(roles.len(), 2);
    assert!(roles.contains(&Role::Client) && roles.contains(&Role::Server));
    for open in open {
        let rtt = open.connection.synack_rtt;
        match open.connection.role {
            Some(Role::Client) => assert_eq!(rtt, Some(MS)),
            _ => assert_eq!(rtt, Some(2 * MS)),
        }
    }
}

#[test]
fn syns_sent_again_are_inside_the_handshake_and_counted() {
    for mut film in [Film::at_client(), Film::at_server()] {
        film.c("S", 0, 0, 0).at(SECOND).c("S", 0, 0, 0).at(3 * SECOND).c("S", 0, 0, 0);
        film.at(3 * SECOND + MS).s("SA", 0, 1, 0).at(3 * SECOND + 3 * MS).c("A", 1, 1, 0);
        let c = film.one_open().connection;
        assert_eq!(c.syn_retransmits, Some(2));
        let took = if c.role == Some(Role::Client) { MS } else { 3 * MS };
        assert_eq!(c.handshake, Some(3 * SECOND + took));
        // Which SYN was answered nobody knows.
        assert_eq!(c.path_rtt, Some(PathRtt { syn_to_synack: None, synack_to_ack: None }));
    }
}

#[test]
fn a_syn_ack_that_was_lost_behind_the_capture_point() {
    let mut film = Film::at_client();
    film.c("S", 0, 0, 0).at(MS).s("SA", 0, 1, 0);
    film.at(SECOND).s("SA", 0, 1, 0).at(SECOND + MS).c("A", 1, 1, 0);
    let c = film.one_open().connection;
    assert_eq!(c.handshake, Some(SECOND));
    let mut film = Film::at_server();
    film.c("S", 0, 0, 0).at(MS).s("SA", 0, 1, 0);
    film.at(SECOND).s("SA", 0, 1, 0).at(SECOND + MS).c("A", 1, 1, 0);
    let c = film.one_open().connection;
    assert_eq!((c.handshake, c.synack_retransmits), (Some(SECOND + MS), Some(1)));
}

#[test]
fn an_ack_that_the_server_does_not_take() {
    // Its accept queue is full: it drops the ACK and sends the SYN-ACK again.
    let mut film = Film::at_server();
    film.handshake().at(SECOND).s("SA", 0, 1, 0).at(SECOND + MS).c("A", 1, 1, 0);
    film.at(SECOND + 2 * MS).c("PA", 1, 1, 10).at(SECOND + 3 * MS).s("A", 1, 11, 0);
    let c = film.one_open().connection;
    assert_eq!((c.handshake, c.synack_retransmits), (Some(SECOND + MS), Some(1)));
}

#[test]
fn a_silent_connection_is_told_when_a_second_syn_ack_would_have_come() {
    let mut film = Film::at_server();
    film.handshake().at(500 * MS);
    assert_eq!(film.core.totals().open, 0);
    film.client.socket.set_port(40001);
    film.at(2 * SECOND).c("S", 0, 0, 0);
    assert_eq!(film.core.totals().open, 1);
    assert_eq!(film.core.open(BEGIN)[0].connection.handshake, Some(3 * MS));
}

#[test]
fn a_refused_connection() {
    for mut film in [Film::at_client(), Film::new()] {
        film.c("S", 0, 0, 0).at(MS).refuse();
        let c = film.connection();
        assert_eq!((c.role, c.outcome), (Some(Role::Client), Some(Outcome::Refused)));
        assert_eq!((c.bytes_sent, c.bytes_received), (Some(0), Some(0)));
        assert_eq!(c.end.since(c.start), MS);
    }
    // At the server there never was a socket.
    let mut film = Film::at_server();
    film.c("S", 0, 0, 0).at(MS).refuse();
    assert_eq!((film.connections(), film.open()), (vec![], vec![]));
}

#[test]
fn a_rst_that_does_not_acknowledge_the_syn_refuses_nothing() {
    let mut film = Film::at_client();
    film.c("S", 0, 0, 0).s("RA", 0, 77, 0).s("R", 0, 0, 0).at(MS).s("SA", 0, 1, 0).c("A", 1, 1, 0);
    assert_eq!(film.one_open().state, Established);
}

#[test]
fn a_syn_that_nobody_answers() {
    let mut film = Film::at_client();
    film.c("S", 0, 0, 0).at(SECOND).c("S", 0, 0, 0).at(3 * SECOND).c("S", 0, 0, 0);
    film.at(7 * SECOND).c("S", 0, 0, 0);
    let stuck = film.records.iter().filter(|record| matches!(record, Record::Stuck(_))).count();
    assert!(stuck > 0);
    let open = film.one_open();
    assert_eq!((open.state, open.in_state), (SynSent, 7 * SECOND + 1));
    // As live: the count comes with the end of SYN_SENT.
    assert_eq!(open.connection.syn_retransmits, None);
}

#[test]
fn without_a_point_of_view_a_syn_without_an_answer_is_the_clients() {
    let mut film = Film::new();
    film.c("S", 0, 0, 0).at(SECOND).c("S", 0, 0, 0);
    assert_eq!(film.core.totals().open, 0);
    film.at(3 * SECOND).c("S", 0, 0, 0);
    let open = film.one_open();
    assert_eq!((open.state, open.connection.start), (SynSent, BEGIN));
    assert_eq!(open.connection.role, Some(Role::Client));
}

#[test]
fn a_request_that_is_reset() {
    let mut film = Film::at_server();
    film.c("S", 0, 0, 0).s("SA", 0, 1, 0).at(MS).c("R", 1, 0, 0);
    assert_eq!((film.connections(), film.open()), (vec![], vec![]));
    assert_eq!(film.core.totals().handshakes_failed, 1);
    // Seen from who reset it: it was no longer there.
    let mut film = Film::at_client();
    film.c("S", 0, 0, 0).s("SA", 0, 1, 0).at(MS).c("R", 1, 0, 0);
    assert_eq!(film.connection().outcome, Some(Outcome::Cancelled));
}

#[test]
fn a_request_that_ages_out() {
    let mut film = Film::at_server();
    film.c("S", 0, 0, 0).s("SA", 0, 1, 0).at(SECOND).s("SA", 0, 1, 0);
    film.at(3 * SECOND).s("SA", 0, 1, 0);
    film.client.socket.set_port(40001);
    film.at(60 * SECOND).c("S", 0, 0, 0);
    assert_eq!(film.core.totals().handshakes_failed, 1);
    assert_eq!((film.connections(), film.open()), (vec![], vec![]));
}

#[test]
fn a_simultaneous_open() {
    for mut film in [Film::at_client(), Film::at_server()] {
        film.c("S", 0, 0, 0).at(MS).s("S", 0, 0, 0);
        film.at(2 * MS).c("SA", 0, 1, 0).at(3 * MS).s("SA", 0, 1, 0);
        film.at(4 * MS).c("PA", 1, 1, 5).at(5 * MS).s("A", 1, 6, 0);
        let c = film.one_open().connection;
        assert_eq!(c.role, Some(Role::Client));
        assert!(c.phases.syn_sent.is_some() && c.phases.syn_recv.is_some());
        assert_eq!(c.path_rtt, Some(PathRtt::default()));
        let odd = film.rows[1].oddities;
        assert!(odd.has(Odd::SimultaneousOpen));
        assert_eq!(film.rows[3].client_state, Some(Established));
    }
}

#[test]
fn a_fast_open() {
    let mut film = Film::at_server();
    let mut syn = seg("S", 0, 0, 20);
    syn.options.fast_open = Some(crate::capture::segment::FastOpen::Cookie);
    film.send(true, syn).at(MS).s("SA", 0, 21, 0).at(2 * MS).s("PA", 1, 21, 100);
    // Its child works, but it is not ESTABLISHED.
    assert_eq!(film.lives_state(), (Some(Established), Some(SynRecv)));
    film.at(3 * MS)
        .c("A", 21, 101, 0)
        .at(4 * MS)
        .s("FA", 101, 21, 0)
        .at(5 * MS)
        .c("FA", 21, 102, 0);
    film.at(6 * MS).s("A", 102, 22, 0);
    let c = film.connection();
    assert_eq!((c.handshake, c.outcome), (Some(3 * MS), Some(Outcome::Closed)));
    assert_eq!((c.bytes_sent, c.bytes_received, c.retransmits), (Some(100), Some(20), Some(0)));
    assert!(film.rows[0].oddities.has(Odd::FastOpen) && film.rows[0].oddities.has(Odd::SynData));
}

#[test]
fn a_syn_whose_data_is_not_taken() {
    let mut film = Film::at_client();
    film.send(true, seg("S", 0, 0, 20)).at(MS).s("SA", 0, 1, 0).at(2 * MS).c("PA", 1, 1, 20);
    film.at(3 * MS).s("A", 1, 21, 0).at(4 * MS).c("FA", 21, 1, 0).at(5 * MS).s("FA", 1, 22, 0);
    film.at(6 * MS).c("A", 22, 2, 0);
    let c = film.connection();
    assert_eq!((c.bytes_sent, c.outcome), (Some(20), Some(Outcome::Closed)));
    assert!(film.rows[1].oddities.has(Odd::SynDataRefused));
}

#[test]
fn some_systems_go_on_after_a_refusal() {
    let mut film = Film::at_client();
    film.c("S", 0, 0, 0).refuse().at(500 * MS).c("S", 0, 0, 0).refuse();
    assert_eq!(film.connection().outcome, Some(Outcome::Refused));
}

#[test]
fn a_syn_on_old_ports_that_nobody_answers() {
    let mut film = Film::at_client();
    film.handshake();
    film.client.isn = 77_000;
    film.at(SECOND).c("S", 0, 0, 0).at(2 * SECOND).c("S", 0, 0, 0).at(4 * SECOND).c("S", 0, 0, 0);
    let ended = film.connections();
    assert_eq!((ended.len(), ended[0].outcome), (1, Some(Outcome::Unknown)));
    let open = film.open();
    assert_eq!((open[0].state, open[0].connection.start.since(BEGIN)), (SynSent, SECOND));
}

#[test]
fn a_reset_that_need_not_be_a_refusal() {
    // The SYN-ACK may be missing in the capture.
    let mut film = Film::at_client();
    film.c("S", 0, 0, 0).at(MS).s("RA", 1, 1, 0);
    assert_eq!(film.connection().outcome, Some(Outcome::Unknown));
}
