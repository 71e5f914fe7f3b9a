//! Connections that end by a RST, in either direction and in every state.

use super::world::*;
use crate::core::record::{CloseInitiator, Connection, Outcome};

/// Leads a client through `states`, 10 ms each, and ends it with `errno`; a RST is sent so many
/// nanoseconds after (before, if negative).
fn ended(states: &[tracer_common::state::TcpState], errno: i32, reset: Option<i64>) -> Connection {
    let (mut world, mut sock) = (World::new(), Sock::client());
    let mut now = 0;
    for state in states {
        world.at(now).go(&mut sock, *state);
        now += 10 * MS;
    }
    let moved = |by: i64| now.checked_add_signed(by).expect("a time");
    if let Some(before) = reset.filter(|reset| *reset < 0) {
        world.at(moved(before)).reset_sent(&sock);
    }
    world.at(now).go_with(&mut sock, Close, |e| {
        e.sk_err = errno;
        e.tcp = tcp(437, 0, 10, 10);
    });
    if let Some(after) = reset.filter(|reset| *reset >= 0) {
        world.at(moved(after)).reset_sent(&sock);
    }
    world.at(now + SECOND).tick();
    world.connection()
}

#[test]
fn a_rst_from_the_peer_in_every_state() {
    for (states, errno) in [
        (&[SynSent, Established][..], libc::ECONNRESET),
        (&[SynSent, Established, CloseWait], libc::EPIPE),
        (&[SynSent, Established, CloseWait, LastAck], libc::ECONNRESET),
        (&[SynSent, Established, FinWait1], libc::ECONNRESET),
        (&[SynSent, Established, FinWait1, FinWait2], libc::ECONNRESET),
        (&[SynSent, Established, FinWait1, Closing], libc::ECONNRESET),
        (&[SynSent, SynRecv], libc::ECONNRESET),
    ] {
        let got = ended(states, errno, None);
        assert_eq!(got.outcome, Some(Outcome::ResetByRemote), "{states:?}");
        assert_eq!(got.time_wait, Some(false), "{states:?}");
    }
}

#[test]
fn a_reset_from_established_is_nobody_s_close() {
    let got = ended(&[SynSent, Established], libc::ECONNRESET, None);
    assert_eq!((got.close_initiator, got.close), (None, None));
    assert_eq!(got.phases.established, Some(10 * MS));
    let got = ended(&[SynSent, Established], 0, Some(0));
    assert_eq!((got.close_initiator, got.close), (None, None));
}

#[test]
fn a_reset_while_closing_ends_the_close() {
    let got = ended(&[SynSent, Established, CloseWait], libc::EPIPE, None);
    assert_eq!(got.close_initiator, Some(CloseInitiator::Remote));
    assert_eq!(got.close, Some(10 * MS));
}

#[test]
fn linger_zero_unread_data_and_lack_of_memory_are_ours() {
    for states in [
        &[SynSent, Established][..],
        &[SynSent, Established, CloseWait],
        &[SynSent, Established, FinWait1],
        &[SynSent, SynRecv],
    ] {
        // Seen with its RST and without (its record was lost, the namespace is going away).
        for reset in [Some(3 * 1000), None] {
            let got = ended(states, 0, reset);
            assert_eq!(got.outcome, Some(Outcome::ResetByLocal), "{states:?}");
            assert_eq!(got.time_wait, Some(false));
        }
    }
}

#[test]
fn data_after_close_is_answered_by_our_rst() {
    // tcp_reset() runs here, too: sk_err says ECONNRESET, but the RST is ours.
    for states in
        [&[SynSent, Established, FinWait1][..], &[SynSent, Established, FinWait1, FinWait2]]
    {
        let got = ended(states, libc::ECONNRESET, Some(4 * 1000));
        assert_eq!(got.outcome, Some(Outcome::ResetByLocal), "{states:?}");
    }
    // With the FIN's acknowledgement in the same segment (linger2 < 0 or data): no error.
    let got = ended(&[SynSent, Established, FinWait1, FinWait2], 0, Some(4 * 1000));
    assert_eq!(got.outcome, Some(Outcome::ResetByLocal));
    assert_eq!(got.time_wait, Some(false));
    // Our FIN was acknowledged all the same: SYN, FIN and 8 bytes.
    assert_eq!(got.bytes_sent, Some(8));
}

#[test]
fn a_rst_sent_as_the_last_thing_before_close_is_its_cause() {
    // tcp_keepalive_timer(): tcp_fin_timeout is over.
    let states = [SynSent, Established, FinWait1, FinWait2];
    let got = ended(&states, 0, Some(-5 * 1000));
    assert_eq!(got.outcome, Some(Outcome::ResetByLocal));
    assert_eq!(got.time_wait, Some(false));
    // The one of long ago had another cause.
    let got = ended(&states, 0, Some(-5_000_000));
    assert_eq!(got.outcome, Some(Outcome::Closed));
    assert_eq!(got.time_wait, None);
}

#[test]
fn unread_data_in_last_ack_takes_the_clean_end_away() {
    let states = [SynSent, Established, CloseWait, LastAck];
    let got = ended(&states, 0, Some(2 * 1000));
    assert_eq!(got.outcome, Some(Outcome::ResetByLocal));
    // SYN and 9 bytes: the FIN was not acknowledged.
    assert_eq!(got.bytes_sent, Some(9));
    let got = ended(&states, 0, None);
    assert_eq!(got.outcome, Some(Outcome::Closed));
    assert_eq!(got.bytes_sent, Some(8));
}

#[test]
fn a_rst_before_the_peer_s_rst_leaves_the_blame_with_the_peer() {
    let got = ended(&[SynSent, Established], libc::ECONNRESET, Some(-5_000_000));
    assert_eq!(got.outcome, Some(Outcome::ResetByRemote));
}

#[test]
fn a_rst_sent_does_not_change_why_a_connection_timed_out_or_was_aborted() {
    for (errno, outcome) in [
        (libc::ETIMEDOUT, Outcome::TimedOut),
        (libc::ECONNABORTED, Outcome::Aborted),
        (libc::EHOSTUNREACH, Outcome::Unreachable),
    ] {
        for reset in [-3 * 1000, 3 * 1000] {
            let got = ended(&[SynSent, Established], errno, Some(reset));
            assert_eq!(got.outcome, Some(outcome));
        }
    }
    let got = ended(&[SynSent], 0, Some(3 * 1000));
    assert_eq!(got.outcome, Some(Outcome::Cancelled));
}

#[test]
fn a_rst_of_a_socket_nobody_knows_is_no_connection() {
    let mut world = World::new();
    world.at(0).reset_sent(&Sock::client());
    assert!(world.connections().is_empty());
    assert_eq!(world.core.totals().open, 0);
}
