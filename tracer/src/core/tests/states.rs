//! Every transition as a record (`--states`).

use tracer_common::state::TcpState;

use super::world::*;
use crate::core::record::StateChange;
use crate::core::selection::Selection;

fn with_states(selection: Selection) -> World {
    World::with(|config| {
        config.states = true;
        config.selection = selection;
    })
}

fn path(changes: &[StateChange]) -> Vec<(TcpState, TcpState, u64)> {
    changes.iter().map(|change| (change.old, change.new, change.at.since(STARTED))).collect()
}

#[test]
fn a_folded_transition_is_a_record_of_its_own() {
    let (mut world, mut sock) = (with_states(Selection::default()), Sock::child());
    world.at(MS).establish(&mut sock, MS);
    world.at(2 * MS).go(&mut sock, CloseWait);
    assert_eq!(
        path(&world.states()),
        [
            (Listen, SynRecv, MS - 6 * US),
            (SynRecv, Established, MS),
            (Established, CloseWait, 2 * MS)
        ]
    );
    let first = &world.states()[0];
    assert_eq!((first.local, first.remote), (sock.local, sock.remote));
    assert_eq!((first.cookie, first.netns), (2, NETNS));
}

#[test]
fn a_client_s_first_transition_is_told_once_folded_or_not() {
    let (mut world, mut sock) = (with_states(Selection::default()), Sock::client());
    world.at(0).go(&mut sock, SynSent);
    world.at(MS).go(&mut sock, Established);
    let told = [(Close, SynSent, 0), (SynSent, Established, MS)];
    assert_eq!(path(&world.states()), told);
    let (mut world, mut sock) = (with_states(Selection::default()), Sock::client());
    sock.state = SynSent;
    world.at(MS).go_with(&mut sock, Established, |e| e.old_since = Some(time(0)));
    assert_eq!(path(&world.states()), told);
}

#[test]
fn an_accept_before_established_does_not_swallow_the_folded_one() {
    let (mut world, mut sock) = (with_states(Selection::default()), Sock::child());
    world.at(MS - US).accept(&sock, 9, "nginx");
    world.at(MS).establish(&mut sock, MS);
    assert_eq!(path(&world.states()), [(Listen, SynRecv, MS - 6 * US), (SynRecv, Established, MS)]);
}

#[test]
fn even_what_is_no_connection_changes_its_state() {
    let mut world = with_states(Selection::default());
    let mut loser = Sock::child();
    world.at(MS).go_with(&mut loser, Close, |e| e.old_since = Some(time(MS)));
    let mut listener = Sock::new(90, "0.0.0.0:8080", "0.0.0.0:0", Close);
    world.at(2 * MS).go(&mut listener, Listen);
    world.at(3 * MS).go(&mut listener, Close);
    let mut nameless = Sock::client();
    nameless.cookie = 0;
    world.at(4 * MS).go(&mut nameless, SynSent);
    assert_eq!(
        path(&world.states()),
        [
            (Listen, SynRecv, MS),
            (SynRecv, Close, MS),
            (Close, Listen, 2 * MS),
            (Listen, Close, 3 * MS),
            (Close, SynSent, 4 * MS),
        ]
    );
    assert!(world.connections().is_empty());
    assert_eq!(world.core.totals().open, 0);
}

#[test]
fn a_state_entered_twice_is_told_twice() {
    let (mut world, mut sock) = (with_states(Selection::default()), Sock::client());
    for state in [SynSent, Established, FinWait1, FinWait1] {
        world.at(0).go(&mut sock, state);
    }
    assert_eq!(path(&world.states())[3], (FinWait1, FinWait1, 0));
}

#[test]
fn without_the_option_none_is_told() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(MS).establish(&mut sock, MS);
    assert!(world.states().is_empty());
}

#[test]
fn transitions_wait_until_it_is_known_whose_they_are() {
    let asked = Selection { pids: vec![9], ..Selection::default() };
    for (pid, told) in [(9, 3), (10, 0)] {
        let (mut world, mut sock) = (with_states(asked.clone()), Sock::child());
        world.at(MS).establish(&mut sock, MS);
        assert!(world.states().is_empty());
        world.at(2 * MS).accept(&sock, pid, "x");
        world.at(3 * MS).go(&mut sock, CloseWait);
        assert_eq!(world.states().len(), told);
    }
}

#[test]
fn of_a_listener_it_is_told_by_its_owner() {
    for (pid, told) in [(9, 1), (10, 0)] {
        let mut world = with_states(Selection { pids: vec![9], ..Selection::default() });
        let mut listener = Sock::new(90, "0.0.0.0:8080", "0.0.0.0:0", Close);
        world.at(0).go_with(&mut listener, Listen, |e| e.owner = process(pid, "x"));
        assert_eq!(world.states().len(), told);
    }
}

#[test]
fn what_is_held_back_is_not_much() {
    let mut world = with_states(Selection { pids: vec![9], ..Selection::default() });
    let mut sock = Sock::client();
    for state in [SynSent, Established].into_iter().chain([FinWait1; 1000]) {
        world.at(MS).go(&mut sock, state);
    }
    world.go_with(&mut sock, FinWait2, |e| e.owner = process(9, "x"));
    assert_eq!(world.states().len(), 17);
}
