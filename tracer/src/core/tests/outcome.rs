//! The table of outcomes: every state a connection can end from × every error.

use tracer_common::state::TcpState;

use super::world::*;
use crate::core::outcome::End;
use crate::core::record::Outcome;

const FROM: [TcpState; 8] =
    [SynSent, SynRecv, Established, CloseWait, FinWait1, FinWait2, Closing, LastAck];

fn end(from: TcpState, err: i32) -> End {
    End { from, err, fin_received: false, reset_sent_before: false, reset_sent_after: false }
}

/// The outcomes from each state of [`FROM`], without a RST and with one sent after.
fn outcomes(err: i32) -> ([Outcome; 8], [Outcome; 8]) {
    let plain = FROM.map(|from| end(from, err).outcome());
    let reset = FROM.map(|from| End { reset_sent_after: true, ..end(from, err) }.outcome());
    (plain, reset)
}

use Outcome::{
    Aborted, Cancelled, Closed, Refused, ResetByLocal, ResetByRemote, TimedOut, Unknown,
    Unreachable,
};

#[test]
fn without_an_error() {
    let (plain, reset) = outcomes(0);
    assert_eq!(
        plain,
        [Cancelled, ResetByLocal, ResetByLocal, ResetByLocal, ResetByLocal, Closed, Closed, Closed]
    );
    assert_eq!(reset[0], Cancelled);
    assert_eq!(reset[1..], [ResetByLocal; 7]);
}

#[test]
fn with_a_reset() {
    for err in [libc::ECONNRESET, libc::EPIPE] {
        let (plain, reset) = outcomes(err);
        assert_eq!((plain[0], reset[0]), (Cancelled, Cancelled));
        assert_eq!(plain[1..], [ResetByRemote; 7]);
        assert_eq!(reset[1..], [ResetByLocal; 7]);
    }
}

#[test]
fn refused_is_said_of_connects_only() {
    let (plain, reset) = outcomes(libc::ECONNREFUSED);
    assert_eq!(plain, reset);
    assert_eq!(plain[0], Refused);
    assert_eq!(plain[1..], [Unreachable; 7]);
}

#[test]
fn timeouts_and_aborts_are_what_they_are_from_everywhere() {
    assert_eq!(outcomes(libc::ETIMEDOUT), ([TimedOut; 8], [TimedOut; 8]));
    assert_eq!(outcomes(libc::ECONNABORTED), ([Aborted; 8], [Aborted; 8]));
}

#[test]
fn what_icmp_says_is_unreachable() {
    // icmp_err_convert and tab_unreach of the kernel, but for port unreachable.
    for err in [
        libc::ENETUNREACH,
        libc::EHOSTUNREACH,
        libc::EHOSTDOWN,
        libc::ENONET,
        libc::ENOPROTOOPT,
        libc::EOPNOTSUPP,
        libc::EPROTO,
        libc::EACCES,
    ] {
        assert_eq!(outcomes(err), ([Unreachable; 8], [Unreachable; 8]), "{err}");
    }
}

#[test]
fn an_error_that_is_none_of_tcp_s_says_nothing() {
    let (plain, reset) = outcomes(libc::EBADMSG);
    assert_eq!(plain[..5], [Unknown; 5]);
    assert_eq!(plain[5..], [Closed; 3]);
    assert_eq!(reset, [ResetByLocal; 8]);
}

#[test]
fn time_wait_is_where_the_socket_handed_over() {
    for from in FROM {
        for fin_received in [false, true] {
            let expected = match (from, fin_received) {
                (FinWait2, false) => None,
                (FinWait2, true) | (Closing, _) => Some(true),
                _ => Some(false),
            };
            let clean = End { fin_received, ..end(from, 0) };
            assert_eq!(clean.time_wait(), expected, "{from} {fin_received}");
            for failed in [
                End { err: libc::ECONNRESET, ..clean },
                End { err: libc::ETIMEDOUT, ..clean },
                End { reset_sent_after: true, ..clean },
                End { reset_sent_before: true, ..clean },
            ] {
                assert_eq!(failed.time_wait(), Some(false), "{failed:?}");
            }
        }
    }
}

#[test]
fn the_fin_was_acknowledged() {
    for (from, err, acked) in [
        (FinWait1, 0, false),
        (FinWait2, 0, true),
        (FinWait2, libc::ECONNRESET, true),
        (LastAck, 0, true),
        (LastAck, libc::ECONNRESET, false),
        (Closing, 0, true),
        (Closing, libc::ETIMEDOUT, false),
        (Established, 0, false),
    ] {
        assert_eq!(end(from, err).fin_acked(), acked, "{from} {err}");
    }
}

#[test]
fn a_connect_that_fails() {
    for (err, outcome) in [
        (libc::ECONNREFUSED, Refused),
        (libc::ETIMEDOUT, TimedOut),
        (libc::EHOSTUNREACH, Unreachable),
        (libc::ENETUNREACH, Unreachable),
        (0, Cancelled),
        (libc::ECONNABORTED, Aborted),
    ] {
        let (mut world, mut sock) = (World::new(), Sock::client());
        world.at(0).go(&mut sock, SynSent);
        world.at(MS).go_with(&mut sock, Close, |e| e.sk_err = err);
        let got = world.connection();
        assert_eq!(got.outcome, Some(outcome));
        assert_eq!(got.time_wait, Some(false));
        assert_eq!(got.phases.syn_sent, Some(MS));
    }
}
