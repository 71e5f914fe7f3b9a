//! Connections that are open when tracing begins.

use super::world::*;
use crate::core::event::ExistingSocket;
use crate::core::record::{CloseInitiator, HandshakeSource, ObservedFrom, Outcome, Role};

/// When the list was complete.
const LISTED: u64 = 5 * MS;

fn with_sockets(sockets: &[ExistingSocket]) -> World {
    let mut world = World::new();
    world.core.snapshot(time(LISTED), sockets);
    world
}

fn established() -> Sock {
    Sock::new(1, "10.0.0.1:8080", "10.0.0.2:50000", Established)
}

#[test]
fn what_began_before_is_unknown_and_what_comes_after_is_measured() {
    let mut sock = established();
    let mut listed = sock.listed();
    listed.owner = process(5, "db");
    let mut world = with_sockets(&[listed]);
    assert_eq!(world.core.totals().open, 1);
    world.at(20 * MS).go(&mut sock, FinWait1);
    world.at(30 * MS).go(&mut sock, FinWait2);
    world.at(40 * MS).go_with(&mut sock, Close, |e| {
        e.fin_received = true;
        e.tcp = tcp(333, 17, 1000, 2001);
    });
    let got = world.connection();
    assert_eq!(got.observed_from, ObservedFrom::Middle);
    assert!(!got.events_lost);
    assert_eq!(got.start, STARTED);
    assert_eq!(got.role, None);
    assert_eq!(got.owner, process(5, "db"));
    assert_eq!((got.handshake, got.synack_rtt), (None, None));
    assert_eq!((got.syn_retransmits, got.retransmits), (None, None));
    assert_eq!(got.phases.established, None);
    assert_eq!(got.phases.fin_wait1, Some(10 * MS));
    assert_eq!(got.close, Some(20 * MS));
    assert_eq!(got.close_initiator, Some(CloseInitiator::Local));
    // Without a role nobody knows whether a SYN is in the count.
    assert_eq!((got.bytes_sent, got.bytes_received), (None, Some(2000)));
    assert_eq!(got.outcome, Some(Outcome::Closed));
    assert_eq!(got.time_wait, Some(true));
}

#[test]
fn a_close_that_began_before_has_no_length() {
    for (state, initiator) in [
        (CloseWait, CloseInitiator::Remote),
        (LastAck, CloseInitiator::Remote),
        (FinWait1, CloseInitiator::Local),
        (FinWait2, CloseInitiator::Local),
        (Closing, CloseInitiator::Both),
    ] {
        let mut sock = established();
        sock.state = state;
        let mut world = with_sockets(&[sock.listed()]);
        world.at(20 * MS).go(&mut sock, Close);
        let got = world.connection();
        assert_eq!(got.close_initiator, Some(initiator));
        assert_eq!(got.close, None);
        assert!(!got.events_lost);
    }
}

#[test]
fn roles_follow_from_listeners() {
    let any = Sock::new(90, "0.0.0.0:8080", "0.0.0.0:0", Listen);
    let same = Sock::new(91, "10.0.0.1:8080", "0.0.0.0:0", Listen);
    let any6 = Sock::new(92, "[::]:8080", "[::]:0", Listen);
    let other = Sock::new(93, "10.0.0.7:8080", "0.0.0.0:0", Listen);
    let mut elsewhere = any.clone();
    elsewhere.netns = 7;
    for (listener, role) in [
        (any, Some(Role::Server)),
        (same, Some(Role::Server)),
        (any6, Some(Role::Server)),
        (other, None),
        (elsewhere, None),
    ] {
        let world = with_sockets(&[established().listed(), listener.listed()]);
        assert_eq!(world.core.open(world.now())[0].connection.role, role, "{listener:?}");
    }
}

#[test]
fn the_client_of_a_listener_on_this_very_host_is_a_client() {
    let listener = Sock::new(90, "0.0.0.0:8080", "0.0.0.0:0", Listen);
    for (local, remote, role) in [
        ("127.0.0.1:50000", "127.0.0.1:8080", Some(Role::Client)),
        ("10.0.0.1:50000", "10.0.0.1:8080", Some(Role::Client)),
        // A listener of ours says nothing about another host's port.
        ("10.0.0.1:50000", "10.0.0.2:8080", None),
        // A port that listens at both ends: either may have connected.
        ("127.0.0.1:8080", "127.0.0.2:8080", None),
    ] {
        let sock = Sock::new(1, local, remote, Established);
        let world = with_sockets(&[sock.listed(), listener.listed()]);
        assert_eq!(world.core.open(world.now())[0].connection.role, role);
    }
}

#[test]
fn a_connect_under_way_is_a_client_s_and_its_handshake_the_socket_s_own() {
    let mut sock = Sock::client();
    sock.state = SynSent;
    let mut world = with_sockets(&[sock.listed()]);
    world.at(20 * MS).go_with(&mut sock, Established, |e| e.tcp = tcp(437, 0, 1, 0));
    world.at(30 * MS).go(&mut sock, Close);
    let got = world.connection();
    assert_eq!(got.role, Some(Role::Client));
    assert_eq!(got.handshake, Some(437 * US));
    assert_eq!(got.handshake_source, Some(HandshakeSource::Srtt));
    assert_eq!(got.phases.syn_sent, None);
    assert_eq!(got.phases.established, Some(10 * MS));
    assert_eq!(got.observed_from, ObservedFrom::Middle);
}

#[test]
fn listeners_are_no_connections() {
    let listener = Sock::new(90, "0.0.0.0:8080", "0.0.0.0:0", Listen);
    let world = with_sockets(&[listener.listed()]);
    assert_eq!(world.core.totals().open, 0);
}

#[test]
fn events_that_the_list_was_ahead_of_are_no_loss() {
    // Attached, then FIN_WAIT1 at 1 ms and FIN_WAIT2 at 2 ms, then listed: FIN_WAIT2.
    let mut sock = established();
    sock.state = FinWait2;
    let mut world = with_sockets(&[sock.listed()]);
    sock.state = Established;
    world.at(MS).go(&mut sock, FinWait1);
    world.at(2 * MS).go(&mut sock, FinWait2);
    world.at(40 * MS).go_with(&mut sock, Close, |e| e.fin_received = true);
    let got = world.connection();
    assert!(!got.events_lost);
    assert_eq!(got.observed_from, ObservedFrom::Middle);
    assert_eq!(got.phases.established, None);
    assert_eq!(got.phases.fin_wait1, Some(MS));
    assert_eq!(got.phases.fin_wait2, Some(38 * MS));
    assert_eq!(got.close, Some(39 * MS));
    assert_eq!(got.close_initiator, Some(CloseInitiator::Local));
}

#[test]
fn a_connection_that_began_between_attach_and_list_was_seen_from_its_start() {
    let mut client = Sock::client();
    client.state = Established;
    let mut server = Sock::child();
    server.state = CloseWait;
    let mut world = with_sockets(&[client.listed(), server.listed()]);
    client.state = Close;
    server.state = SynRecv;
    world.at(MS).go(&mut client, SynSent);
    world.at(2 * MS).go(&mut client, Established);
    world.at(2 * MS).establish(&mut server, MS);
    world.at(3 * MS).go(&mut server, CloseWait);
    let open = world.core.open(time(4 * MS));
    assert_eq!(open.len(), 2);
    for open in open {
        assert_eq!(open.connection.observed_from, ObservedFrom::Start);
        assert!(!open.connection.events_lost);
        assert_eq!(open.connection.handshake, Some(MS));
    }
    assert!(world.connections().is_empty());
}

#[test]
fn a_socket_listed_that_connects_again_later_lost_its_end() {
    let mut sock = established();
    let mut world = with_sockets(&[sock.listed()]);
    sock.state = Close;
    world.at(SECOND).go(&mut sock, SynSent);
    let got = world.connection();
    assert_eq!(got.outcome, Some(Outcome::Unknown));
    assert!(got.events_lost);
    assert_eq!(world.core.totals().open, 1);
}

#[test]
fn a_listed_socket_that_skips_states_lost_events() {
    let mut sock = established();
    let mut world = with_sockets(&[sock.listed()]);
    sock.state = CloseWait;
    world.at(SECOND).go(&mut sock, LastAck);
    let open = world.core.open(time(SECOND));
    assert!(open[0].connection.events_lost);
    assert_eq!(open[0].connection.phases.close_wait, None);
}

#[test]
fn a_fast_open_child_listed_in_syn_recv_was_seen_from_its_start() {
    let mut sock = Sock::child();
    let mut world = with_sockets(&[sock.listed()]);
    world.at(20 * MS).go_with(&mut sock, Established, |e| {
        e.old_since = Some(time(2 * MS));
    });
    let got = &world.core.open(time(20 * MS))[0].connection;
    assert_eq!(got.observed_from, ObservedFrom::Start);
    assert_eq!(got.phases.syn_recv, Some(18 * MS));
    assert!(!got.events_lost);
}

#[test]
fn whoever_is_accepted_is_a_server() {
    let sock = established();
    let mut world = with_sockets(&[sock.listed()]);
    world.at(20 * MS).accept(&sock, 9, "nginx");
    let got = &world.core.open(time(20 * MS))[0].connection;
    assert_eq!(got.role, Some(Role::Server));
    assert_eq!(got.owner, process(9, "nginx"));
    // When it was ready to be accepted nobody saw.
    assert_eq!(got.accept_wait, None);
    assert_eq!(got.observed_from, ObservedFrom::Middle);
}

#[test]
fn one_that_ends_before_its_turn_in_the_list_was_open_before_and_lost_nothing() {
    let mut sock = established();
    let mut world = with_sockets(&[]);
    world.at(2 * MS).go(&mut sock, CloseWait);
    world.at(3 * MS).go(&mut sock, LastAck);
    world.at(4 * MS).go(&mut sock, Close);
    let got = world.connection();
    assert_eq!(got.observed_from, ObservedFrom::Middle);
    assert!(!got.events_lost);
    assert_eq!((got.handshake, got.role), (None, None));
    assert_eq!(got.close_initiator, Some(CloseInitiator::Remote));
}

#[test]
fn one_that_the_complete_list_did_not_show_lost_events() {
    let mut sock = established();
    let mut world = with_sockets(&[]);
    world.at(LISTED + 1).go(&mut sock, Close);
    let got = world.connection();
    assert_eq!(got.observed_from, ObservedFrom::Start);
    assert!(got.events_lost);
}

#[test]
fn where_events_were_lost_nothing_is_put_down_to_the_start() {
    let mut sock = established();
    let mut world = with_sockets(&[]);
    world.core.events_were_lost(time(MS));
    world.at(2 * MS).go(&mut sock, Close);
    assert!(world.connection().events_lost);
}

#[test]
fn an_accept_from_before_the_first_transition_makes_no_connection() {
    let sock = established();
    let mut world = with_sockets(&[]);
    // Accepted and closed while only the accept hook was there.
    world.at(0).accept(&sock, 9, "nginx");
    assert_eq!(world.core.totals().open, 0);
    // Afterwards its transitions follow.
    world.at(1).accept(&sock, 9, "nginx");
    assert_eq!(world.core.totals().open, 1);
}
