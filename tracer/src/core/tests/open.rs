//! How connections begin: roles, handshakes, retransmissions, accept().

use super::world::*;
use crate::core::event::{MonoNs, SynSeen};
use crate::core::record::{HandshakeSource, ObservedFrom, Outcome, Role};

/// Ends an established connection with a RST from the peer.
fn reset(world: &mut World, sock: &mut Sock) {
    world.go_with(sock, Close, |event| event.sk_err = libc::ECONNRESET);
}

#[test]
fn a_client_s_handshake_is_syn_sent_to_established() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    world.at(10 * MS).go_with(&mut sock, SynSent, |e| e.owner = process(7, "curl"));
    world.at(30 * MS).go_with(&mut sock, Established, |e| e.tcp = tcp(19_876, 0, 1, 0));
    world.at(50 * MS);
    reset(&mut world, &mut sock);
    let got = world.connection();
    assert_eq!(got.role, Some(Role::Client));
    assert_eq!(got.start, time(10 * MS));
    assert_eq!(got.handshake, Some(20 * MS));
    assert_eq!(got.handshake_source, Some(HandshakeSource::State));
    assert_eq!(got.synack_rtt, Some(19_876 * US));
    assert_eq!(got.syn_retransmits, Some(0));
    assert_eq!(got.synack_retransmits, None);
    assert_eq!(got.accept_wait, None);
    assert_eq!(got.phases.syn_sent, Some(20 * MS));
    assert_eq!(got.phases.syn_recv, None);
    assert_eq!(got.phases.established, Some(20 * MS));
    assert_eq!(got.observed_from, ObservedFrom::Start);
    assert!(!got.events_lost);
}

#[test]
fn a_lost_syn_is_inside_the_client_s_handshake_and_counted_beside_it() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    world.at(0).go(&mut sock, SynSent);
    world.at(1020 * MS).go_with(&mut sock, Established, |e| e.tcp = tcp(0, 1, 1, 0));
    world.at(2 * SECOND).go_with(&mut sock, Close, |e| {
        e.tcp = tcp(0, 3, 1, 0);
        e.sk_err = libc::ECONNRESET;
    });
    let got = world.connection();
    assert_eq!(got.handshake, Some(1020 * MS));
    assert_eq!(got.syn_retransmits, Some(1));
    assert_eq!(got.synack_rtt, None);
    assert_eq!(got.retransmits, Some(2));
    assert_eq!(got.rtt, None);
}

#[test]
fn a_server_s_handshake_begins_with_the_syn_and_not_with_syn_recv() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(200 * MS).establish(&mut sock, 150 * MS);
    world.at(300 * MS);
    reset(&mut world, &mut sock);
    let got = world.connection();
    assert_eq!(got.role, Some(Role::Server));
    assert_eq!(got.start, time(50 * MS));
    assert_eq!(got.handshake, Some(150 * MS));
    assert_eq!(got.handshake_source, Some(HandshakeSource::Syn));
    assert_eq!(got.phases.syn_recv, Some(6 * US));
    assert_eq!(got.phases.established, Some(100 * MS));
    assert_eq!(got.synack_rtt, Some(437 * US));
    assert_eq!(got.syn_retransmits, Some(0));
    assert_eq!(got.synack_retransmits, Some(0));
    assert_eq!(got.accept_wait, None);
    assert_eq!(got.observed_from, ObservedFrom::Start);
    assert!(!got.events_lost);
}

#[test]
fn a_server_counts_syns_and_syn_acks_sent_again() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(4 * SECOND).go_with(&mut sock, Established, |e| {
        e.old_since = Some(time(4 * SECOND - 5 * US));
        e.syn = Some(SynSeen { first: time(SECOND), repeats: 2 });
        e.tcp = tcp(0, 1, 0, 0);
    });
    reset(&mut world, &mut sock);
    let got = world.connection();
    assert_eq!(got.handshake, Some(3 * SECOND));
    assert_eq!(got.syn_retransmits, Some(2));
    assert_eq!(got.synack_retransmits, Some(1));
    assert_eq!(got.synack_rtt, None);
}

/// A server whose SYN nobody saw, with these fields at →ESTABLISHED.
fn without_syn(fields: Option<crate::core::event::TcpFields>) -> crate::core::record::Connection {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(200 * MS).go_with(&mut sock, Established, |e| {
        e.old_since = Some(time(200 * MS - 6 * US));
        e.tcp = fields;
    });
    world.at(300 * MS).go_with(&mut sock, Close, |e| {
        e.sk_err = libc::ECONNRESET;
        e.tcp = fields;
    });
    world.connection()
}

#[test]
fn a_server_without_its_syn_goes_by_the_socket_s_round_trip_time() {
    let got = without_syn(tcp(150_437, 0, 0, 0));
    assert_eq!(got.handshake, Some(150_437 * US));
    assert_eq!(got.handshake_source, Some(HandshakeSource::Srtt));
    assert_eq!(got.synack_rtt, Some(150_437 * US));
    assert_eq!(got.start, time(200 * MS - 6 * US));
    assert_eq!(got.syn_retransmits, None);
}

#[test]
fn a_round_trip_time_after_a_retransmission_is_no_handshake() {
    let got = without_syn(tcp(150_437, 1, 0, 0));
    assert_eq!((got.handshake, got.handshake_source), (None, None));
    assert_eq!(got.synack_rtt, Some(150_437 * US));
    assert_eq!(got.synack_retransmits, Some(1));
}

#[test]
fn a_round_trip_time_in_whole_milliseconds_comes_from_a_cookie_and_is_wrong() {
    let got = without_syn(tcp(4_000, 0, 0, 0));
    assert_eq!((got.handshake, got.handshake_source), (None, None));
    assert_eq!(got.synack_rtt, None);
    assert_eq!(got.rtt, None);
    // After a retransmission it is a timestamp's, and right.
    let got = without_syn(tcp(4_000, 1, 0, 0));
    assert_eq!(got.synack_rtt, Some(4 * MS));
    assert_eq!(got.rtt, Some(4 * MS));
}

#[test]
fn a_cookie_s_handshake_is_measured_from_the_syn_all_the_same() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(2 * MS).go_with(&mut sock, Established, |e| {
        e.old_since = Some(time(2 * MS - 6 * US));
        e.syn = Some(SynSeen { first: time(MS), repeats: 0 });
        e.tcp = tcp(18_000, 0, 0, 0);
    });
    reset(&mut world, &mut sock);
    let got = world.connection();
    assert_eq!(got.handshake, Some(MS));
    assert_eq!(got.synack_rtt, None);
}

#[test]
fn nothing_is_known_of_a_handshake_without_srtt_or_fields() {
    for fields in [tcp(0, 0, 0, 0), None] {
        let got = without_syn(fields);
        assert_eq!((got.handshake, got.synack_rtt), (None, None));
    }
    assert_eq!(without_syn(None).synack_retransmits, None);
    assert_eq!(without_syn(None).bytes_received, None);
    assert_eq!(without_syn(None).retransmits, None);
}

#[test]
fn with_fastopen_connect_the_syn_may_leave_long_after_syn_sent() {
    for (retrans, handshake, source) in
        [(0, Some(437 * US), Some(HandshakeSource::Srtt)), (1, None, None)]
    {
        let (mut world, mut sock) = (World::new(), Sock::client());
        world.at(0).go_with(&mut sock, SynSent, |e| e.fastopen_connect = true);
        world.at(5 * SECOND).go_with(&mut sock, Established, |e| e.tcp = tcp(437, retrans, 1, 0));
        reset(&mut world, &mut sock);
        let got = world.connection();
        assert_eq!((got.handshake, got.handshake_source), (handshake, source));
        assert_eq!(got.phases.syn_sent, Some(5 * SECOND));
    }
}

#[test]
fn simultaneous_open_is_a_client_on_both_sides() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    world.at(0).go(&mut sock, SynSent);
    world.at(10 * MS).go(&mut sock, SynRecv);
    world.at(30 * MS).go_with(&mut sock, Established, |e| e.tcp = tcp(30_001, 0, 1, 0));
    world.at(40 * MS);
    reset(&mut world, &mut sock);
    let got = world.connection();
    assert_eq!(got.role, Some(Role::Client));
    assert_eq!(got.handshake, Some(30 * MS));
    assert_eq!(got.handshake_source, Some(HandshakeSource::State));
    assert_eq!(got.phases.syn_sent, Some(10 * MS));
    assert_eq!(got.phases.syn_recv, Some(20 * MS));
    assert!(!got.events_lost);
}

#[test]
fn a_withheld_syn_sent_comes_late_with_its_own_time() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    sock.local.set_port(0);
    world.at(30 * MS).go_with(&mut sock, SynSent, |e| e.at = time(10 * MS));
    sock.local.set_port(40_000);
    world.go(&mut sock, Established);
    reset(&mut world, &mut sock);
    let got = world.connection();
    assert_eq!(got.handshake, Some(20 * MS));
    assert_eq!(got.start, time(10 * MS));
    assert_eq!(got.local.port(), 40_000);
}

#[test]
fn a_folded_syn_sent_counts_from_its_own_time() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    sock.state = SynSent;
    world.at(30 * MS).go_with(&mut sock, Established, |e| e.old_since = Some(time(10 * MS)));
    reset(&mut world, &mut sock);
    let got = world.connection();
    assert_eq!(got.role, Some(Role::Client));
    assert_eq!(got.handshake, Some(20 * MS));
    assert!(!got.events_lost);
}

#[test]
fn accept_wait_is_the_time_on_the_accept_queue() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(10 * MS).establish(&mut sock, MS);
    world.at(250 * MS).accept(&sock, 9, "nginx");
    world.at(300 * MS);
    reset(&mut world, &mut sock);
    let got = world.connection();
    assert_eq!(got.accept_wait, Some(240 * MS));
    assert_eq!(got.owner, process(9, "nginx"));
}

#[test]
fn two_hooks_may_tell_of_one_accept() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(10 * MS).establish(&mut sock, MS);
    world.at(20 * MS).accept(&sock, 9, "nginx");
    world.at(20 * MS + 5 * US).accept(&sock, 9, "nginx");
    reset(&mut world, &mut sock);
    assert_eq!(world.connection().accept_wait, Some(10 * MS));
}

#[test]
fn accept_may_be_ahead_of_the_final_ack_by_a_hair() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(10 * MS - 2 * US).accept(&sock, 9, "nginx");
    world.at(10 * MS).establish(&mut sock, MS);
    world.at(30 * MS);
    reset(&mut world, &mut sock);
    let got = world.connection();
    assert_eq!(got.accept_wait, Some(0));
    assert_eq!(got.handshake, Some(MS));
    assert_eq!(got.start, time(9 * MS));
    assert_eq!(got.phases.syn_recv, Some(6 * US));
    assert_eq!(got.owner, process(9, "nginx"));
    assert!(!got.events_lost);
}

#[test]
fn accept_in_established_may_overtake_the_transition_in_the_ring() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    sock.state = Established;
    world.at(10 * MS + 2 * US).accept(&sock, 9, "nginx");
    sock.state = SynRecv;
    world.at(10 * MS).establish(&mut sock, MS);
    world.at(30 * MS);
    reset(&mut world, &mut sock);
    let got = world.connection();
    assert_eq!(got.accept_wait, Some(2 * US));
    assert_eq!(got.handshake, Some(MS));
    assert!(!got.events_lost);
}

#[test]
fn one_that_nobody_accepts_is_recorded_without_owner() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(10 * MS).establish(&mut sock, MS);
    world.at(20 * MS).go(&mut sock, CloseWait);
    world.at(30 * MS).go_with(&mut sock, Close, |e| e.sk_err = libc::EPIPE);
    let got = world.connection();
    assert_eq!((got.accept_wait, got.owner), (None, None));
    assert_eq!(got.outcome, Some(Outcome::ResetByRemote));
}

/// A TCP Fast Open child: SYN_RECV from 10 ms on, accepted at 10.1 ms, final ACK at 60 ms.
fn fast_open(syn: Option<SynSeen>, srtt: u32, retrans: u32) -> (World, Sock) {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(10 * MS + 100 * US).accept(&sock, 9, "nginx");
    world.at(60 * MS).go_with(&mut sock, Established, |e| {
        e.old_since = Some(time(10 * MS));
        e.syn = syn;
        e.tcp = tcp(srtt, retrans, 0, 0);
    });
    world.at(70 * MS);
    reset(&mut world, &mut sock);
    (world, sock)
}

#[test]
fn fast_open_waits_for_accept_from_the_syn_on() {
    let syn = SynSeen { first: MonoNs(time(10 * MS).0 - 20 * US), repeats: 0 };
    let (mut world, _) = fast_open(Some(syn), 50_001, 0);
    let got = world.connection();
    assert_eq!(got.accept_wait, Some(100 * US));
    assert_eq!(got.handshake, Some(50 * MS + 20 * US));
    assert_eq!(got.handshake_source, Some(HandshakeSource::Syn));
    assert_eq!(got.phases.syn_recv, Some(50 * MS));
}

#[test]
fn fast_open_without_its_syn_is_known_by_an_early_accept() {
    let (mut world, _) = fast_open(None, 0, 2);
    let got = world.connection();
    assert_eq!(got.accept_wait, Some(100 * US));
    assert_eq!(got.handshake, Some(50 * MS));
    assert_eq!(got.handshake_source, Some(HandshakeSource::State));
}

#[test]
fn a_slow_final_ack_does_not_make_a_fast_open() {
    // SYN_RECV took long because the softirq did, the SYN came much earlier.
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(60 * MS).go_with(&mut sock, Established, |e| {
        e.old_since = Some(time(58 * MS));
        e.syn = Some(SynSeen { first: time(10 * MS), repeats: 0 });
        e.tcp = tcp(48_003, 0, 0, 0);
    });
    world.at(61 * MS).accept(&sock, 9, "nginx");
    reset(&mut world, &mut sock);
    assert_eq!(world.connection().accept_wait, Some(MS));
}

#[test]
fn fast_open_may_close_before_the_final_ack() {
    for (next, close_from) in [(FinWait1, 20 * MS), (CloseWait, 20 * MS)] {
        let (mut world, mut sock) = (World::new(), Sock::child());
        world.at(11 * MS).accept(&sock, 9, "nginx");
        world.at(20 * MS).go_with(&mut sock, next, |e| {
            e.old_since = Some(time(10 * MS));
        });
        world.at(30 * MS).go_with(&mut sock, Close, |e| e.sk_err = libc::ETIMEDOUT);
        let got = world.connection();
        assert_eq!(got.role, Some(Role::Server));
        assert_eq!(got.accept_wait, Some(MS));
        assert_eq!(got.phases.syn_recv, Some(10 * MS));
        assert_eq!(got.phases.established, None);
        assert_eq!(got.close, Some(30 * MS - close_from));
        assert_eq!(got.handshake, None);
        assert!(!got.events_lost);
    }
}

#[test]
fn the_loser_of_a_race_between_two_final_acks_is_no_connection() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(10 * MS).go_with(&mut sock, Close, |e| e.old_since = Some(time(10 * MS)));
    assert!(world.connections().is_empty());
    assert_eq!(world.core.totals().connections, 0);
    assert_eq!(world.core.totals().open, 0);
}

#[test]
fn a_fast_open_child_that_fails_is_a_connection_without_handshake() {
    for (accepted, errno, outcome) in [
        (false, libc::ECONNRESET, Outcome::ResetByRemote),
        (false, libc::ETIMEDOUT, Outcome::TimedOut),
        (true, 0, Outcome::ResetByLocal),
    ] {
        let (mut world, mut sock) = (World::new(), Sock::child());
        world.at(11 * MS);
        if accepted {
            world.accept(&sock, 9, "nginx");
        }
        world.at(12 * MS).go_with(&mut sock, Close, |e| {
            e.old_since = Some(time(10 * MS));
            e.sk_err = errno;
        });
        let got = world.connection();
        assert_eq!(got.outcome, Some(outcome));
        assert_eq!((got.handshake, got.close), (None, None));
        assert_eq!(got.phases.syn_recv, Some(2 * MS));
        assert_eq!(got.role, Some(Role::Server));
    }
}

#[test]
fn ipv6_and_mapped_addresses_are_passed_on_as_they_are() {
    let mut world = World::new();
    let mut sock = Sock::new(9, "[2001:db8::1]:40000", "[2001:db8::2]:80", Close);
    world.at(0).go(&mut sock, SynSent);
    world.at(MS).go_with(&mut sock, Close, |e| e.sk_err = libc::ECONNREFUSED);
    let got = world.connection();
    assert_eq!((got.local, got.remote), (sock.local, sock.remote));
}

#[test]
fn a_port_used_again_at_once_is_another_connection() {
    let mut world = World::new();
    for cookie in [11, 12] {
        let mut sock = Sock::client();
        sock.cookie = cookie;
        world.at(cookie * MS).go(&mut sock, SynSent);
        world.at(cookie * MS + 100 * US).go(&mut sock, Established);
        world.at(cookie * MS + 200 * US);
        reset(&mut world, &mut sock);
    }
    let got = world.connections();
    assert_eq!(got.len(), 2);
    assert!(got.iter().all(|one| !one.events_lost));
}

#[test]
fn fast_open_without_its_syn_is_known_by_a_syn_recv_as_long_as_the_round_trip() {
    for (syn_recv, srtt, accept_wait) in [
        (50 * MS, 50_001, 55 * MS),
        // Too short, or too short for that round trip, or nothing to compare with.
        (900 * US, 901, 5 * MS),
        (2 * MS, 50_001, 5 * MS),
        (50 * MS, 0, 5 * MS),
        (50 * MS, 50_000, 5 * MS),
    ] {
        let (mut world, mut sock) = (World::new(), Sock::child());
        world.at(SECOND).go_with(&mut sock, Established, |e| {
            e.old_since = Some(time(SECOND - syn_recv));
            e.tcp = tcp(srtt, 0, 0, 0);
        });
        world.at(SECOND + 5 * MS).accept(&sock, 9, "nginx");
        reset(&mut world, &mut sock);
        let got = world.connection();
        assert_eq!(got.accept_wait, Some(accept_wait), "{syn_recv} {srtt}");
    }
}

#[test]
fn a_syn_that_came_after_syn_recv_is_not_this_connection_s() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(20 * MS).go_with(&mut sock, Established, |e| {
        e.old_since = Some(time(10 * MS));
        e.syn = Some(SynSeen { first: time(12 * MS), repeats: 3 });
    });
    reset(&mut world, &mut sock);
    let got = world.connection();
    assert_eq!((got.handshake, got.syn_retransmits), (None, None));
    assert_eq!(got.start, time(10 * MS));
}

#[test]
fn a_repeated_syn_that_looks_like_the_first_gives_no_time() {
    let server = |waited: u64, sent_again: u32, repeats: u32| {
        let (mut world, mut sock) = (World::new(), Sock::child());
        world.at(9 * SECOND).go_with(&mut sock, Established, |e| {
            e.old_since = Some(time(9 * SECOND - 6 * US));
            e.syn = Some(SynSeen { first: time(9 * SECOND - waited), repeats });
            e.tcp = tcp(0, sent_again, 0, 0);
        });
        reset(&mut world, &mut sock);
        let got = world.connection();
        (got.handshake, got.syn_retransmits)
    };
    // The request's timer sent the SYN-ACK again, so the first SYN came a second ago or more.
    assert_eq!(server(20 * MS, 1, 0), (None, None));
    assert_eq!(server(1_200 * MS, 2, 0), (None, None));
    assert_eq!(server(1_050 * MS, 1, 0), (Some(1_050 * MS), Some(0)));
    assert_eq!(server(3_100 * MS, 2, 0), (Some(3_100 * MS), Some(0)));
    // A repeated SYN asks for another SYN-ACK at once.
    assert_eq!(server(20 * MS, 1, 1), (Some(20 * MS), Some(1)));
}

#[test]
fn the_oldest_open_connections_of_a_host_are_listed() {
    let mut world = World::new();
    for (n, remote) in ["10.0.0.2:1", "10.0.0.3:1", "10.0.0.2:2", "10.0.0.2:3"].iter().enumerate() {
        let n = n as u64;
        let mut sock = Sock::new(n + 1, "10.0.0.1:8080", remote, SynRecv);
        world.at(n * SECOND).establish(&mut sock, MS);
    }
    let host: std::net::IpAddr = "10.0.0.2".parse().expect("an address");
    let list = |most| {
        let of = |_, remote: std::net::SocketAddr, _| remote.ip() == host;
        let (open, count) = world.core.open_of(time(9 * SECOND), most, of);
        let ports: Vec<_> = open.iter().map(|open| open.connection.remote.port()).collect();
        (ports, count)
    };
    assert_eq!(list(9), (vec![1, 2, 3], 3));
    assert_eq!(list(2), (vec![1, 2], 3));
    assert_eq!(list(0), (vec![], 3));
}
