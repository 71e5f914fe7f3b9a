//! Lost events: never a wrong duration, nothing that lingers, and it says so.

use super::world::*;
use crate::core::event::SynSeen;
use crate::core::record::{CloseInitiator, HandshakeSource, ObservedFrom, Outcome, Role};

#[test]
fn a_lost_fin_wait1_makes_its_neighbours_unknown_and_leaves_the_rest() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    world.at(0).go(&mut sock, SynSent);
    world.at(10 * MS).go(&mut sock, Established);
    world.at(20 * MS).lost(&mut sock, FinWait1);
    world.at(30 * MS).go(&mut sock, FinWait2);
    world.at(40 * MS).go_with(&mut sock, Close, |e| e.fin_received = true);
    let got = world.connection();
    assert!(got.events_lost);
    assert_eq!(got.handshake, Some(10 * MS));
    assert_eq!(got.phases.syn_sent, Some(10 * MS));
    assert_eq!(got.phases.established, None);
    assert_eq!(got.phases.fin_wait1, None);
    assert_eq!(got.phases.fin_wait2, Some(10 * MS));
    assert_eq!(got.close, None);
    assert_eq!(got.close_initiator, Some(CloseInitiator::Local));
    assert_eq!(got.outcome, Some(Outcome::Closed));
    assert_eq!(got.time_wait, Some(true));
}

#[test]
fn a_lost_established_leaves_no_handshake() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    world.at(0).go(&mut sock, SynSent);
    world.at(10 * MS).lost(&mut sock, Established);
    world.at(20 * MS).go(&mut sock, CloseWait);
    world.at(30 * MS).go(&mut sock, LastAck);
    world.at(40 * MS).go(&mut sock, Close);
    let got = world.connection();
    assert!(got.events_lost);
    assert_eq!((got.handshake, got.handshake_source), (None, None));
    assert_eq!((got.syn_retransmits, got.retransmits), (None, None));
    assert_eq!((got.phases.syn_sent, got.phases.established), (None, None));
    assert_eq!(got.phases.close_wait, Some(10 * MS));
    assert_eq!(got.close, Some(20 * MS));
}

#[test]
fn a_lost_syn_sent_leaves_a_client_with_the_socket_s_own_measurement() {
    for (retrans, handshake, source) in
        [(0, Some(437 * US), Some(HandshakeSource::Srtt)), (2, None, None)]
    {
        let (mut world, mut sock) = (World::new(), Sock::client());
        world.at(0).lost(&mut sock, SynSent);
        world.at(10 * MS).go_with(&mut sock, Established, |e| e.tcp = tcp(437, retrans, 1, 0));
        world.at(20 * MS).go(&mut sock, Close);
        let got = world.connection();
        assert!(got.events_lost);
        assert_eq!(got.role, Some(Role::Client));
        assert_eq!((got.handshake, got.handshake_source), (handshake, source));
        assert_eq!(got.syn_retransmits, Some(retrans));
        assert_eq!(got.phases.syn_sent, None);
        assert_eq!(got.phases.established, Some(10 * MS));
        assert_eq!(got.observed_from, ObservedFrom::Start);
    }
}

#[test]
fn a_lost_syn_recv_leaves_the_handshake_from_the_syn() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(10 * MS).go_with(&mut sock, Established, |e| {
        e.syn = Some(SynSeen { first: time(4 * MS), repeats: 1 });
    });
    world.at(20 * MS).go(&mut sock, Close);
    let got = world.connection();
    assert_eq!(got.role, Some(Role::Server));
    assert_eq!(got.handshake, Some(6 * MS));
    assert_eq!(got.phases.syn_recv, None);
    assert_eq!(got.start, time(4 * MS));
    // It never comes by itself, so no event was lost with it.
    assert!(!got.events_lost);
}

#[test]
fn an_unknown_socket_is_taken_up_where_it_is() {
    for (from, to, initiator) in [
        (Established, FinWait1, CloseInitiator::Local),
        (FinWait1, FinWait2, CloseInitiator::Local),
        (FinWait1, Closing, CloseInitiator::Both),
        (CloseWait, LastAck, CloseInitiator::Remote),
    ] {
        let (mut world, mut sock) = (World::new(), Sock::client());
        sock.state = from;
        world.at(10 * MS).go(&mut sock, to);
        world.at(20 * MS).go(&mut sock, Close);
        let got = world.connection();
        assert!(got.events_lost);
        assert_eq!(got.role, None);
        assert_eq!(got.start, time(10 * MS));
        assert_eq!(got.observed_from, ObservedFrom::Start);
        assert_eq!(got.close_initiator, Some(initiator), "{from} {to}");
        assert_eq!(got.phases.established, None);
        assert_eq!(got.bytes_sent, None);
        assert_eq!(got.bytes_received, Some(0));
        let close = (from == Established).then_some(10 * MS);
        assert_eq!(got.close, close);
    }
}

#[test]
fn of_an_unknown_socket_that_ends_only_the_end_is_known() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    sock.state = LastAck;
    world.at(10 * MS).go(&mut sock, Close);
    let got = world.connection();
    assert_eq!(got.outcome, Some(Outcome::Closed));
    assert_eq!(got.close_initiator, Some(CloseInitiator::Remote));
    assert_eq!((got.close, got.phases.last_ack), (None, None));
    assert!(got.events_lost);
}

#[test]
fn connecting_again_with_the_same_socket_makes_two_records() {
    // connect(), connect(AF_UNSPEC), connect(): the cookie stays.
    let (mut world, mut sock) = (World::new(), Sock::client());
    world.at(0).go(&mut sock, SynSent);
    world.at(MS).go(&mut sock, Established);
    world.at(2 * MS).go(&mut sock, Close);
    world.reset_sent(&sock);
    sock.remote = addr("10.0.0.3:80");
    world.at(2 * MS + 10 * US).go(&mut sock, SynSent);
    world.at(4 * MS).go(&mut sock, Established);
    world.at(5 * MS).go_with(&mut sock, Close, |e| e.sk_err = libc::ECONNRESET);
    let got = world.connections();
    assert_eq!(got.len(), 2);
    assert_eq!(got[0].outcome, Some(Outcome::ResetByLocal));
    assert_eq!(got[0].remote, addr("10.0.0.2:80"));
    assert_eq!(got[1].outcome, Some(Outcome::ResetByRemote));
    assert_eq!(got[1].remote, addr("10.0.0.3:80"));
    assert_eq!(got[1].handshake, Some(4 * MS - 2 * MS - 10 * US));
    assert!(got.iter().all(|one| !one.events_lost));
}

#[test]
fn connecting_again_after_a_lost_end_ends_the_first_unknown() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    world.at(0).go(&mut sock, SynSent);
    world.at(MS).go(&mut sock, Established);
    world.at(2 * MS).lost(&mut sock, Close);
    world.at(3 * MS).go(&mut sock, SynSent);
    world.at(4 * MS).go(&mut sock, Established);
    world.at(5 * MS).go(&mut sock, Close);
    let got = world.connections();
    assert_eq!(got.len(), 2);
    assert_eq!(got[0].outcome, Some(Outcome::Unknown));
    assert!(got[0].events_lost);
    assert_eq!(got[0].handshake, Some(MS));
    assert_eq!((got[0].close, got[0].phases.established), (None, None));
    assert_eq!((got[0].bytes_sent, got[0].time_wait), (None, None));
    assert_eq!(got[1].outcome, Some(Outcome::ResetByLocal));
    assert!(!got[1].events_lost);
}

#[test]
fn a_new_connection_met_in_an_earlier_state_or_with_other_ends_is_not_the_old_one() {
    // All of close and connect was lost.
    for change_remote in [false, true] {
        let (mut world, mut sock) = (World::new(), Sock::client());
        world.at(0).go(&mut sock, SynSent);
        world.at(MS).go(&mut sock, Established);
        if change_remote {
            sock.remote = addr("10.0.0.3:80");
            world.at(5 * MS).go(&mut sock, CloseWait);
        } else {
            sock.state = SynSent;
            world.at(5 * MS).go(&mut sock, Established);
        }
        world.at(9 * MS).go(&mut sock, Close);
        let got = world.connections();
        assert_eq!(got.len(), 2);
        assert_eq!(got[0].outcome, Some(Outcome::Unknown));
        assert!(got.iter().all(|one| one.events_lost));
        assert_eq!(got[1].phases.syn_sent, None);
        let established = if change_remote { None } else { Some(4 * MS) };
        assert_eq!(got[1].phases.established, established);
    }
}

#[test]
fn an_accept_of_an_unknown_socket_takes_it_up() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    sock.state = Established;
    world.at(10 * MS).accept(&sock, 9, "nginx");
    world.at(20 * MS).go(&mut sock, CloseWait);
    world.at(30 * MS).go(&mut sock, LastAck);
    world.at(31 * MS).go(&mut sock, Close);
    let got = world.connection();
    assert!(got.events_lost);
    assert_eq!(got.role, Some(Role::Server));
    assert_eq!(got.owner, process(9, "nginx"));
    assert_eq!((got.accept_wait, got.handshake), (None, None));
    assert_eq!(got.phases.established, None);
    assert_eq!(got.phases.close_wait, Some(10 * MS));
}

#[test]
fn after_loss_what_is_gone_is_ended_and_what_moved_on_is_put_right() {
    let mut world = World::new();
    let mut gone = Sock::client();
    let mut moved = Sock::child();
    let mut same = Sock::new(3, "10.0.0.1:40001", "10.0.0.2:80", Close);
    let mut elsewhere = Sock::new(4, "10.0.0.1:40002", "10.0.0.2:80", Close);
    elsewhere.netns = 1;
    world.at(0).go(&mut gone, SynSent).go(&mut same, SynSent);
    world.go(&mut elsewhere, SynSent);
    world.at(MS).go(&mut gone, Established);
    world.go(&mut same, Established).establish(&mut moved, MS);
    world.at(2 * MS).lost(&mut gone, Close).lost(&mut moved, CloseWait);
    let unseen = Sock::new(5, "10.0.0.1:8080", "10.0.0.9:6000", Established);
    let listener = Sock::new(6, "0.0.0.0:8080", "0.0.0.0:0", Listen);
    world.core.events_were_lost(time(3 * MS));
    let list = [&moved, &same, &unseen, &listener].map(Sock::listed);
    world.core.reconcile(time(10 * MS), &[NETNS], &list, &mut world.out);

    let got = world.connection();
    assert_eq!((got.cookie, got.outcome), (1, Some(Outcome::Unknown)));
    assert!(got.events_lost);
    assert_eq!(got.end, time(10 * MS));
    assert_eq!((got.close, got.phases.established), (None, None));
    assert_eq!(got.handshake, Some(MS));
    assert_eq!((got.bytes_sent, got.retransmits), (None, None));

    let open = world.core.open(time(20 * MS));
    let by_cookie = |cookie| {
        open.iter().find(|open| open.connection.cookie == cookie).expect("an open connection")
    };
    assert_eq!(open.len(), 4);
    let moved_on = by_cookie(2);
    assert_eq!((moved_on.state, moved_on.in_state), (CloseWait, 10 * MS));
    assert!(moved_on.connection.events_lost);
    assert_eq!(moved_on.connection.phases.established, None);
    assert_eq!(moved_on.connection.phases.close_wait, None);
    assert_eq!(moved_on.connection.close_initiator, Some(CloseInitiator::Remote));
    assert!(!by_cookie(3).connection.events_lost);
    assert!(!by_cookie(4).connection.events_lost);
    let found = &by_cookie(5).connection;
    assert!(found.events_lost);
    assert_eq!(found.role, Some(Role::Server));
    assert_eq!(found.observed_from, ObservedFrom::Start);

    // The one that moved on ends as if nothing had been; its close is not measured.
    world.at(30 * MS).go(&mut moved, LastAck);
    world.at(40 * MS).go(&mut moved, Close);
    let got = world.connections().remove(1);
    assert_eq!(got.phases.close_wait, None);
    assert_eq!(got.phases.last_ack, Some(10 * MS));
    assert_eq!(got.close, None);
}

#[test]
fn a_list_older_than_the_newest_event_does_not_undo_it() {
    let mut world = World::new();
    let mut new = Sock::client();
    let mut changed = Sock::child();
    world.at(0).establish(&mut changed, MS);
    world.core.events_were_lost(time(0));
    // Asked at 5 ms; until the answer came one socket was made, one changed, one went.
    let list = [changed.listed()];
    world.at(6 * MS).go(&mut new, SynSent);
    world.at(7 * MS).go(&mut changed, CloseWait);
    let mut short = Sock::new(9, "10.0.0.1:40009", "10.0.0.2:80", Close);
    world.at(6 * MS).go(&mut short, SynSent);
    let listed_short = short.listed();
    world.at(7 * MS).go(&mut short, Close);
    world.at(SECOND).tick();
    let list = [list[0].clone(), listed_short];
    world.core.reconcile(time(5 * MS), &[NETNS], &list, &mut world.out);
    let open = world.core.open(time(SECOND));
    let states: Vec<_> = open
        .iter()
        .map(|open| (open.connection.cookie, open.state, open.connection.events_lost))
        .collect();
    assert_eq!(states, [(2, CloseWait, false), (1, SynSent, false)]);
    assert_eq!(world.connection().outcome, Some(Outcome::Cancelled));
}

#[test]
fn a_full_table_forgets_what_has_not_changed_for_the_longest_time() {
    let mut world = World::with(|config| config.max_connections = 3);
    let mut socks: Vec<_> = (0..4)
        .map(|n| Sock::new(n + 1, &format!("10.0.0.1:4000{n}"), "10.0.0.2:80", Close))
        .collect();
    for (n, sock) in socks.iter_mut().take(3).enumerate() {
        world.at(n as u64 * MS).go(sock, SynSent);
    }
    world.at(3 * MS).go(&mut socks[0], Established);
    world.at(4 * MS).go(&mut socks[3], SynSent);
    assert_eq!(world.core.totals().evicted, 1);
    let open = world.core.open(time(5 * MS));
    let cookies: Vec<_> = open.iter().map(|open| open.connection.cookie).collect();
    assert_eq!(cookies, [1, 3, 4]);
    assert!(world.connections().is_empty());
    // One that ended makes room first.
    world.at(6 * MS).go(&mut socks[0], Close);
    let mut fifth = Sock::new(5, "10.0.0.1:40005", "10.0.0.2:80", Close);
    world.at(6 * MS).go(&mut fifth, SynSent);
    assert_eq!(world.core.totals().evicted, 1);
    assert_eq!(world.connection().cookie, 1);
    // What is heard of the forgotten one has lost its beginning.
    world.at(7 * MS).go(&mut socks[1], Established);
    assert_eq!(world.core.totals().evicted, 2);
    let open = world.core.open(time(8 * MS));
    let lost = open.iter().find(|open| open.connection.cookie == 2);
    assert!(lost.expect("taken up again").connection.events_lost);
}

#[test]
fn events_without_a_cookie_are_counted() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    sock.cookie = 0;
    world.at(0).go(&mut sock, SynSent);
    world.at(MS).accept(&sock, 1, "a");
    let totals = world.core.totals();
    assert_eq!((totals.events, totals.events_untracked), (2, 2));
    assert_eq!(totals.open, 0);
}

#[test]
fn a_wait_for_accept_needs_both_its_ends() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    sock.state = Listen;
    world.at(MS).go(&mut sock, SynRecv);
    world.lost(&mut sock, Established);
    world.at(3 * MS).accept(&sock, 9, "nginx");
    world.at(4 * MS).go(&mut sock, CloseWait);
    world.at(5 * MS).go(&mut sock, Close);
    let got = world.connection();
    assert_eq!(got.accept_wait, None);
    assert_eq!(got.owner, process(9, "nginx"));
    assert!(got.events_lost);
}

#[test]
fn a_close_whose_beginning_was_not_seen_has_no_length() {
    for (state, initiator) in [
        (FinWait2, CloseInitiator::Local),
        (LastAck, CloseInitiator::Remote),
        (Closing, CloseInitiator::Both),
    ] {
        let (mut world, mut sock) = (World::new(), Sock::client());
        for state in [SynSent, Established, state] {
            world.at(0).go(&mut sock, state);
        }
        world.at(MS).go(&mut sock, Close);
        let got = world.connection();
        assert_eq!(got.close, None);
        assert_eq!(got.close_initiator, Some(initiator));
    }
}

#[test]
fn a_child_accepted_whose_syn_recv_was_lost_has_no_such_phase() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(MS).accept(&sock, 9, "nginx");
    world.at(2 * MS).go(&mut sock, Established);
    world.at(3 * MS).go(&mut sock, Close);
    let got = world.connection();
    assert!(!got.events_lost);
    assert_eq!(got.role, Some(Role::Server));
    assert_eq!((got.phases.syn_recv, got.handshake), (None, None));
    assert_eq!(got.phases.established, Some(MS));
}

#[test]
fn a_second_loss_before_the_list_comes_keeps_count_of_what_ends() {
    let mut world = World::new();
    let mut sock = Sock::client();
    world.at(0).go(&mut sock, SynSent);
    let listed = [sock.listed()];
    world.core.events_were_lost(time(MS));
    // Asked at 2 ms; more is lost; the first list is handed in, and then the second.
    world.at(3 * MS).go(&mut sock, Close);
    world.core.events_were_lost(time(4 * MS));
    world.at(SECOND).tick();
    for asked_at in [2 * MS, 5 * MS] {
        world.core.reconcile(time(asked_at), &[NETNS], &listed, &mut world.out);
        assert_eq!(world.core.totals().open, 0, "asked at {asked_at}");
    }
    // From now on a list speaks of another life of the socket.
    world.core.reconcile(time(2 * SECOND), &[NETNS], &listed, &mut world.out);
    assert_eq!(world.core.totals().open, 1);
}

#[test]
fn a_list_names_owners_and_says_which_listeners_are_gone() {
    let mut world = World::new();
    let listener = Sock::new(90, "0.0.0.0:8080", "0.0.0.0:0", Listen);
    let mut sock = Sock::child();
    world.core.snapshot(time(0), &[listener.listed()]);
    world.at(0).establish(&mut sock, MS);
    let mut listed = sock.listed();
    listed.owner = process(9, "nginx");
    let mut found = Sock::child();
    (found.cookie, found.state) = (77, Established);
    world.core.events_were_lost(time(MS));
    let list = [listed.clone(), found.listed()];
    world.core.reconcile(time(2 * MS), &[NETNS], &list, &mut world.out);
    let open = world.core.open(time(3 * MS));
    assert_eq!(open[0].connection.owner, process(9, "nginx"));
    assert_eq!(open[1].connection.role, None);
    // What was seen of the owner is better than what a list says later.
    world.at(3 * MS).accept(&sock, 10, "worker");
    world.core.reconcile(time(4 * MS), &[NETNS], &[listed], &mut world.out);
    let open = world.core.open(time(5 * MS));
    assert_eq!(open[0].connection.owner, process(10, "worker"));
}

#[test]
fn a_list_older_than_a_listener_s_events_does_not_undo_them() {
    let mut world = World::new();
    let mut old = Sock::new(90, "0.0.0.0:8080", "0.0.0.0:0", Listen);
    let mut new = Sock::new(91, "0.0.0.0:9090", "0.0.0.0:0", Close);
    world.core.snapshot(time(0), &[old.listed()]);
    world.core.events_were_lost(time(MS));
    // Asked at 2 ms, and listed before the one closed and the other opened.
    let list = [old.listed()];
    world.at(3 * MS).go(&mut old, Close).go(&mut new, Listen);
    world.core.reconcile(time(2 * MS), &[NETNS], &list, &mut world.out);
    let role = |world: &mut World, cookie, local| {
        let mut sock = Sock::new(cookie, local, "10.0.0.9:6000", Established);
        world.at(5 * MS).go(&mut sock, CloseWait);
        world.core.open(time(5 * MS)).last().expect("it is open").connection.role
    };
    assert_eq!(role(&mut world, 100, "10.0.0.1:8080"), None);
    assert_eq!(role(&mut world, 101, "10.0.0.1:9090"), Some(Role::Server));
}

#[test]
fn an_event_that_a_list_overtook_still_has_its_time() {
    let mut world = World::new();
    let mut sock = Sock::client();
    sock.state = CloseWait;
    let list = [sock.listed()];
    world.core.reconcile(time(10 * MS), &[NETNS], &list, &mut world.out);
    sock.state = Established;
    world.at(9 * MS).go(&mut sock, CloseWait);
    world.at(20 * MS).go(&mut sock, LastAck);
    world.at(21 * MS).go(&mut sock, Close);
    let got = world.connection();
    assert!(got.events_lost);
    assert_eq!(got.start, time(9 * MS));
    assert_eq!(got.phases.close_wait, Some(11 * MS));
    assert_eq!(got.close, Some(12 * MS));
}

#[test]
fn a_child_known_from_its_accept_in_syn_recv_has_lost_nothing_yet() {
    for (state, lost) in [(SynRecv, false), (Established, true)] {
        let (mut world, mut sock) = (World::new(), Sock::child());
        sock.state = state;
        world.at(MS).accept(&sock, 9, "nginx");
        let open = world.core.open(time(MS));
        assert_eq!(open[0].connection.events_lost, lost);
        assert_eq!(open[0].state, state);
    }
}
