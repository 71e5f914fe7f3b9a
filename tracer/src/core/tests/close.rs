//! How connections end in order: who closes, how long it takes, TIME_WAIT, bytes.

use super::world::*;
use crate::core::record::{CloseInitiator, Outcome};

fn client(world: &mut World) -> Sock {
    let mut sock = Sock::client();
    world.at(0).go(&mut sock, SynSent);
    world.at(MS).go_with(&mut sock, Established, |e| e.tcp = tcp(999, 0, 1, 0));
    sock
}

fn server(world: &mut World) -> Sock {
    let mut sock = Sock::child();
    world.at(MS).establish(&mut sock, MS);
    sock
}

#[test]
fn active_close_ends_in_time_wait() {
    let mut world = World::new();
    let mut sock = client(&mut world);
    world.at(11 * MS).go(&mut sock, FinWait1);
    world.at(31 * MS).go(&mut sock, FinWait2);
    world.at(61 * MS).go_with(&mut sock, Close, |e| {
        e.fin_received = true;
        // SYN, 100 bytes, FIN; 2000 bytes, FIN; a retransmission since the handshake.
        e.tcp = tcp(1100, 1, 102, 2001);
    });
    let got = world.connection();
    assert_eq!(got.outcome, Some(Outcome::Closed));
    assert_eq!(got.close_initiator, Some(CloseInitiator::Local));
    assert_eq!(got.close, Some(50 * MS));
    assert_eq!(got.phases.established, Some(10 * MS));
    assert_eq!(got.phases.fin_wait1, Some(20 * MS));
    assert_eq!(got.phases.fin_wait2, Some(30 * MS));
    assert_eq!(got.phases.close_wait, None);
    assert_eq!(got.phases.last_ack, None);
    assert_eq!(got.phases.closing, None);
    assert_eq!(got.time_wait, Some(true));
    assert_eq!((got.bytes_sent, got.bytes_received), (Some(100), Some(2000)));
    assert_eq!(got.retransmits, Some(1));
    assert_eq!(got.rtt, Some(1100 * US));
    assert_eq!(got.end, time(61 * MS));
}

#[test]
fn a_close_d_socket_s_wait_for_the_peer_s_fin_is_out_of_sight() {
    let mut world = World::new();
    let mut sock = server(&mut world);
    world.at(11 * MS).go(&mut sock, FinWait1);
    world.at(31 * MS).go(&mut sock, FinWait2);
    world.go_with(&mut sock, Close, |e| {
        e.orphaned = true;
        e.tcp = tcp(437, 0, 501, 40);
    });
    let got = world.connection();
    assert_eq!(got.outcome, Some(Outcome::Closed));
    assert_eq!(got.time_wait, None);
    assert_eq!(got.close, Some(20 * MS));
    assert_eq!(got.phases.fin_wait2, Some(0));
    assert_eq!((got.bytes_sent, got.bytes_received), (Some(500), Some(40)));
}

#[test]
fn passive_close() {
    let mut world = World::new();
    let mut sock = server(&mut world);
    world.at(11 * MS).go(&mut sock, CloseWait);
    world.at(41 * MS).go(&mut sock, LastAck);
    world.at(45 * MS).go_with(&mut sock, Close, |e| {
        e.fin_received = true;
        e.tcp = tcp(437, 0, 11, 21);
    });
    let got = world.connection();
    assert_eq!(got.outcome, Some(Outcome::Closed));
    assert_eq!(got.close_initiator, Some(CloseInitiator::Remote));
    assert_eq!(got.close, Some(34 * MS));
    assert_eq!(got.phases.close_wait, Some(30 * MS));
    assert_eq!(got.phases.last_ack, Some(4 * MS));
    assert_eq!(got.phases.fin_wait1, None);
    assert_eq!(got.time_wait, Some(false));
    assert_eq!((got.bytes_sent, got.bytes_received), (Some(10), Some(20)));
}

#[test]
fn simultaneous_close_is_both_sides_doing() {
    let mut world = World::new();
    let mut sock = client(&mut world);
    world.at(11 * MS).go(&mut sock, FinWait1);
    world.at(21 * MS).go(&mut sock, Closing);
    world.at(41 * MS).go_with(&mut sock, Close, |e| {
        e.fin_received = true;
        e.tcp = tcp(999, 0, 7, 6);
    });
    let got = world.connection();
    assert_eq!(got.outcome, Some(Outcome::Closed));
    assert_eq!(got.close_initiator, Some(CloseInitiator::Both));
    assert_eq!(got.close, Some(30 * MS));
    assert_eq!(got.phases.fin_wait1, Some(10 * MS));
    assert_eq!(got.phases.closing, Some(20 * MS));
    assert_eq!(got.time_wait, Some(true));
    assert_eq!((got.bytes_sent, got.bytes_received), (Some(5), Some(5)));
}

#[test]
fn a_half_close_stays_in_fin_wait2_as_long_as_the_peer_sends() {
    let mut world = World::new();
    let mut sock = client(&mut world);
    world.at(11 * MS).go(&mut sock, FinWait1);
    world.at(12 * MS).go(&mut sock, FinWait2);
    world.at(5 * SECOND).go_with(&mut sock, Close, |e| e.fin_received = true);
    let got = world.connection();
    assert_eq!(got.phases.fin_wait2, Some(5 * SECOND - 12 * MS));
    assert_eq!(got.close, Some(5 * SECOND - 11 * MS));
    assert_eq!(got.time_wait, Some(true));
}

#[test]
fn a_state_entered_twice_is_one_phase() {
    let mut world = World::new();
    let mut sock = client(&mut world);
    world.at(11 * MS).go(&mut sock, FinWait1);
    world.at(16 * MS).go(&mut sock, FinWait1);
    world.at(21 * MS).go(&mut sock, FinWait2);
    world.at(26 * MS).go(&mut sock, FinWait2);
    world.at(31 * MS).go_with(&mut sock, Close, |e| e.fin_received = true);
    let got = world.connection();
    assert_eq!(got.phases.fin_wait1, Some(10 * MS));
    assert_eq!(got.phases.fin_wait2, Some(10 * MS));
    assert_eq!(got.close, Some(20 * MS));
    assert!(!got.events_lost);
}

#[test]
fn a_timeout_while_closing_keeps_who_closed_and_how_long_it_took() {
    let mut world = World::new();
    let mut sock = client(&mut world);
    world.at(11 * MS).go(&mut sock, FinWait1);
    world.at(SECOND).go_with(&mut sock, Close, |e| {
        e.sk_err = libc::ETIMEDOUT;
        e.tcp = tcp(999, 8, 51, 0);
    });
    let got = world.connection();
    assert_eq!(got.outcome, Some(Outcome::TimedOut));
    assert_eq!(got.close_initiator, Some(CloseInitiator::Local));
    assert_eq!(got.close, Some(SECOND - 11 * MS));
    assert_eq!(got.time_wait, Some(false));
    // The FIN was not acknowledged: only the SYN is to be taken off.
    assert_eq!(got.bytes_sent, Some(50));
    assert_eq!(got.retransmits, Some(8));
}

#[test]
fn the_end_waits_for_its_grace_and_no_longer() {
    let mut world = World::new();
    let mut sock = client(&mut world);
    world.at(10 * MS).go(&mut sock, Close);
    assert_eq!(world.core.poll_timeout(), Some(time(15 * MS)));
    world.at(15 * MS - 1).tick();
    assert!(world.out.is_empty());
    assert_eq!(world.core.totals().open, 0);
    world.at(15 * MS).tick();
    assert_eq!(world.out.len(), 1);
    assert_eq!(world.core.poll_timeout(), None);
    assert_eq!(world.core.totals().connections, 1);
}

#[test]
fn what_never_connected_sent_nothing() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    world.at(0).go(&mut sock, SynSent);
    world.at(SECOND).go_with(&mut sock, Close, |e| {
        e.sk_err = libc::ETIMEDOUT;
        e.tcp = tcp(0, 6, 0, 0);
    });
    let got = world.connection();
    assert_eq!((got.bytes_sent, got.bytes_received), (Some(0), Some(0)));
    assert_eq!(got.syn_retransmits, Some(6));
    assert_eq!(got.retransmits, None);
    assert_eq!((got.handshake, got.close, got.close_initiator), (None, None, None));
    assert_eq!(got.phases.syn_sent, Some(SECOND));
    assert_eq!(got.phases.established, None);
}

#[test]
fn while_it_is_open_the_running_phase_is_as_long_as_it_has_lasted() {
    let mut world = World::new();
    let mut sock = client(&mut world);
    world.at(11 * MS).go(&mut sock, CloseWait);
    let open = world.core.open(time(21 * MS));
    let [open] = &open[..] else { panic!("{open:?}") };
    assert_eq!((open.state, open.in_state), (CloseWait, 10 * MS));
    let got = &open.connection;
    assert_eq!(got.end, time(21 * MS));
    assert_eq!(got.phases.established, Some(10 * MS));
    assert_eq!(got.phases.close_wait, Some(10 * MS));
    assert_eq!((got.outcome, got.close, got.time_wait), (None, None, None));
    // Counters were last seen at the handshake: no figure is better than an old one.
    assert_eq!((got.bytes_sent, got.bytes_received), (None, None));
    assert_eq!(got.close_initiator, Some(CloseInitiator::Remote));
}
