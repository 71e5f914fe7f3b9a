//! Connections that stay too long where they should not.

use super::world::*;
use crate::core::StuckAfter;
use crate::core::record::{CloseInitiator, ObservedFrom};

fn leaking(world: &mut World) -> Sock {
    let mut sock = Sock::child();
    world.at(0).establish(&mut sock, MS);
    world.at(SECOND).go(&mut sock, CloseWait);
    sock
}

#[test]
fn a_connection_nobody_closes_is_reported_once_and_when_its_age_doubles() {
    let mut world = World::new();
    leaking(&mut world);
    assert_eq!(world.core.poll_timeout(), Some(time(61 * SECOND)));
    assert!(world.at(61 * SECOND - 1).stuck().is_empty());
    let stuck = world.at(61 * SECOND).stuck();
    assert_eq!(stuck.len(), 1);
    assert_eq!((stuck[0].state, stuck[0].in_state), (CloseWait, 60 * SECOND));
    let connection = &stuck[0].connection;
    assert_eq!(connection.phases.close_wait, Some(60 * SECOND));
    assert_eq!(connection.phases.established, Some(SECOND));
    assert_eq!(connection.close_initiator, Some(CloseInitiator::Remote));
    assert_eq!(connection.outcome, None);
    for (seconds, reported) in [(62, 0), (120, 0), (121, 1), (122, 0), (240, 0), (241, 1)] {
        let stuck = world.at(seconds * SECOND).stuck();
        assert_eq!(stuck.len(), reported, "at {seconds} s");
    }
    assert_eq!(world.core.poll_timeout(), Some(time(481 * SECOND)));
}

#[test]
fn those_that_are_stuck_now_are_counted_by_state() {
    let mut world = World::new();
    let mut sock = leaking(&mut world);
    let waiting = |world: &World, seconds: u64| {
        let counts = world.core.stuck_by_state(time(seconds * SECOND));
        assert_eq!(counts.len(), StuckAfter::STATES.len());
        assert!(counts.iter().all(|(state, count)| *state == CloseWait || *count == 0));
        counts.into_iter().find(|(state, _)| *state == CloseWait).map(|(_, count)| count)
    };
    assert_eq!(waiting(&world, 60), Some(0));
    assert_eq!(waiting(&world, 61), Some(1));
    let (now, count) = world.core.stuck_now(time(61 * SECOND), 9);
    assert_eq!((now.len(), count, now[0].state), (1, 1, CloseWait));
    assert_eq!(now[0].in_state, 60 * SECOND);
    assert_eq!(world.core.stuck_now(time(61 * SECOND), 0), (Vec::new(), 1));
    assert_eq!(world.core.stuck_now(time(60 * SECOND), 9), (Vec::new(), 0));
    world.at(70 * SECOND).go(&mut sock, LastAck);
    assert_eq!(waiting(&world, 71), Some(0));
    assert_eq!(world.core.stuck_now(time(71 * SECOND), 9), (Vec::new(), 0));
}

#[test]
fn ages_missed_while_nobody_looked_are_not_made_up_for() {
    let mut world = World::new();
    leaking(&mut world);
    assert_eq!(world.at(1000 * SECOND).stuck().len(), 1);
    assert_eq!(world.at(1002 * SECOND).stuck().len(), 0);
    assert_eq!(world.core.poll_timeout(), Some(time(1921 * SECOND)));
}

#[test]
fn every_state_has_its_threshold() {
    for (path, seconds) in [
        (&[SynSent][..], 3),
        (&[SynSent, Established, CloseWait], 60),
        (&[SynSent, Established, CloseWait, LastAck], 30),
        (&[SynSent, Established, FinWait1], 30),
        (&[SynSent, Established, FinWait1, FinWait2], 60),
        (&[SynSent, Established, FinWait1, Closing], 30),
    ] {
        let (mut world, mut sock) = (World::new(), Sock::client());
        for state in path {
            world.at(0).go(&mut sock, *state);
        }
        assert_eq!(world.core.poll_timeout(), Some(time(seconds * SECOND)));
        assert_eq!(world.at(seconds * SECOND - 1).stuck().len(), 0, "{path:?}");
        assert_eq!(world.at(seconds * SECOND).stuck().len(), 1, "{path:?}");
    }
}

#[test]
fn thresholds_are_set_by_state() {
    let mut after = StuckAfter::OFF;
    let states = [SynSent, CloseWait, FinWait1, FinWait2, LastAck, Closing];
    for (n, state) in states.into_iter().enumerate() {
        assert_eq!(after.of(state), None);
        *after.of_mut(state).expect("one that can be set") = Some(n as u64);
    }
    for (n, state) in states.into_iter().enumerate() {
        assert_eq!(after.of(state), Some(n as u64));
    }
    for state in [Established, SynRecv, TimeWait, Close, Listen] {
        assert_eq!(after.of(state), None);
        assert_eq!(after.of_mut(state), None);
    }
}

#[test]
fn nothing_waits_when_nothing_can_be_stuck() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    assert_eq!(world.core.poll_timeout(), None);
    world.at(0).go(&mut sock, SynSent);
    world.at(MS).go(&mut sock, Established);
    assert_eq!(world.core.poll_timeout(), None);
    assert!(world.at(100_000 * SECOND).stuck().is_empty());

    let mut world = World::with(|config| config.stuck_after = StuckAfter::OFF);
    leaking(&mut world);
    assert_eq!(world.core.poll_timeout(), None);
    assert!(world.at(100_000 * SECOND).stuck().is_empty());
}

#[test]
fn leaving_the_state_in_time_is_not_stuck() {
    let mut world = World::new();
    let mut sock = leaking(&mut world);
    world.at(60 * SECOND).go(&mut sock, LastAck);
    assert!(world.at(62 * SECOND).stuck().is_empty());
    assert_eq!(world.core.poll_timeout(), Some(time(90 * SECOND)));
    world.at(70 * SECOND).go(&mut sock, Close);
    world.at(1000 * SECOND);
    assert!(world.stuck().is_empty());
}

#[test]
fn the_same_state_entered_again_goes_on_ageing() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    for state in [SynSent, Established, FinWait1] {
        world.at(0).go(&mut sock, state);
    }
    world.at(20 * SECOND).go(&mut sock, FinWait1);
    assert_eq!(world.at(30 * SECOND).stuck().len(), 1);
    world.at(31 * SECOND).go(&mut sock, FinWait1);
    assert_eq!(world.at(40 * SECOND).stuck().len(), 0);
    assert_eq!(world.at(60 * SECOND).stuck().len(), 1);
}

#[test]
fn one_from_before_tracing_is_as_old_as_tracing() {
    let mut world = World::new();
    let mut sock = Sock::child();
    sock.state = CloseWait;
    world.core.snapshot(time(SECOND), &[sock.listed()]);
    let stuck = world.at(60 * SECOND).stuck();
    assert_eq!(stuck.len(), 1);
    assert_eq!(stuck[0].in_state, 60 * SECOND);
    let connection = &stuck[0].connection;
    assert_eq!(connection.observed_from, ObservedFrom::Middle);
    assert_eq!(connection.phases.close_wait, None);
}

#[test]
fn looking_happens_at_most_once_a_second() {
    let mut world = World::new();
    let mut first = Sock::client();
    let mut second = Sock::client();
    second.cookie = 77;
    world.at(0).go(&mut first, SynSent);
    world.at(100 * MS).go(&mut second, SynSent);
    assert_eq!(world.at(3 * SECOND).stuck().len(), 1);
    assert_eq!(world.core.poll_timeout(), Some(time(4 * SECOND)));
    assert_eq!(world.at(3 * SECOND + 100 * MS).stuck().len(), 0);
    assert_eq!(world.at(4 * SECOND).stuck().len(), 1);
}

#[test]
fn after_loss_nothing_is_called_stuck_that_may_have_moved_on() {
    let mut world = World::new();
    let mut sock = leaking(&mut world);
    let netns = sock.netns;
    world.core.events_were_lost(time(50 * SECOND));
    assert!(world.at(70 * SECOND).stuck().is_empty());
    // It did sit there all the time: now it is known.
    let list = [sock.listed()];
    world.core.reconcile(time(71 * SECOND), &[netns], &list, &mut world.out);
    assert_eq!(world.at(72 * SECOND).stuck().len(), 1);
    // An event of its own is as good as a list.
    world.core.events_were_lost(time(80 * SECOND));
    world.at(81 * SECOND).go(&mut sock, LastAck);
    assert_eq!(world.at(111 * SECOND).stuck().len(), 1);
}

#[test]
fn after_loss_what_moved_on_begins_to_age_when_it_was_found() {
    let mut world = World::new();
    let mut sock = leaking(&mut world);
    world.core.events_were_lost(time(5 * SECOND));
    world.lost(&mut sock, LastAck);
    let list = [sock.listed()];
    world.core.reconcile(time(6 * SECOND), &[NETNS], &list, &mut world.out);
    assert!(world.at(35 * SECOND).stuck().is_empty());
    let stuck = world.at(36 * SECOND).stuck();
    assert_eq!(stuck[0].state, LastAck);
    assert!(stuck[0].connection.events_lost);
}

#[test]
fn a_state_met_in_its_second_entry_ages_from_there() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    world.at(0).go(&mut sock, SynSent).go(&mut sock, Established);
    world.lost(&mut sock, FinWait1);
    world.at(SECOND).go(&mut sock, FinWait1);
    assert!(world.at(31 * SECOND - 1).stuck().is_empty());
    assert_eq!(world.at(31 * SECOND).stuck().len(), 1);

    let mut world = World::new();
    sock.state = FinWait2;
    world.core.snapshot(time(2 * SECOND), &[sock.listed()]);
    sock.state = FinWait1;
    world.at(SECOND).go(&mut sock, FinWait1);
    assert_eq!(world.at(30 * SECOND).stuck().len(), 1);
}
