//! Requests that never became a connection.

use super::world::*;

const PEER: &str = "10.0.0.2:50000";

fn failed(world: &World) -> u64 {
    world.core.totals().handshakes_failed
}

#[test]
fn one_that_is_never_answered_is_dead_when_its_next_syn_ack_does_not_come() {
    let mut world = World::new();
    // The kernel's schedule: 1, 3, 7, 15, 31 s, dead at 63 s.
    for (n, at) in [1, 3, 7, 15, 31].into_iter().enumerate() {
        world.at(at * SECOND).tick();
        world.synack_again(PEER, n as u16 + 1, 42);
    }
    world.at(63 * SECOND).tick();
    assert_eq!(failed(&world), 0);
    // 32 s after the last, half as much again, and a second.
    let due = (31 + 48 + 1) * SECOND;
    assert_eq!(world.core.poll_timeout(), Some(time(due)));
    world.at(due - 1).tick();
    assert_eq!(failed(&world), 0);
    world.at(due).tick();
    assert_eq!(failed(&world), 1);
    assert_eq!(world.core.poll_timeout(), None);
    let hosts = world.core.hosts(world.now());
    assert_eq!(hosts.len(), 1);
    assert_eq!(hosts[0].host, Some(addr(PEER).ip()));
    assert_eq!((hosts[0].handshakes_failed, hosts[0].connections), (1, 0));
}

#[test]
fn one_that_completes_late_has_not_failed() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(SECOND).synack_again(PEER, 1, 42);
    world.at(2 * SECOND).establish(&mut sock, 2 * SECOND);
    world.at(1000 * SECOND).tick();
    assert_eq!(failed(&world), 0);
}

#[test]
fn another_connection_s_completion_saves_nobody() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(SECOND).synack_again("10.0.0.2:50001", 1, 42);
    world.at(2 * SECOND).establish(&mut sock, 2 * SECOND);
    world.at(1000 * SECOND).tick();
    assert_eq!(failed(&world), 1);
}

#[test]
fn the_loser_of_a_race_does_not_complete_a_request() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(SECOND).synack_again(PEER, 1, 42);
    world.at(2 * SECOND).go_with(&mut sock, Close, |e| e.old_since = Some(time(2 * SECOND)));
    world.at(1000 * SECOND).tick();
    assert_eq!(failed(&world), 1);
}

#[test]
fn a_rst_kills_at_once_and_once() {
    let mut world = World::new();
    world.at(SECOND).synack_again(PEER, 1, 42);
    world.at(2 * SECOND).request_reset(PEER);
    assert_eq!(failed(&world), 1);
    world.at(1000 * SECOND).tick();
    assert_eq!(failed(&world), 1);
    // One whose SYN-ACK was never repeated counts as well.
    world.request_reset("10.0.0.3:1");
    assert_eq!(failed(&world), 2);
}

#[test]
fn a_new_sequence_number_means_that_the_old_request_is_dead() {
    let mut world = World::new();
    world.at(SECOND).synack_again(PEER, 1, 42);
    world.at(2 * SECOND).synack_again(PEER, 1, 43);
    assert_eq!(failed(&world), 1);
    world.at(1000 * SECOND).tick();
    assert_eq!(failed(&world), 2);
}

#[test]
fn where_the_kernel_does_not_count_retransmissions_they_are_counted_here() {
    let mut world = World::new();
    world.at(SECOND).synack_again(PEER, 0, 42);
    world.at(3 * SECOND).synack_again(PEER, 0, 42);
    world.at(9 * SECOND).tick();
    // The second: 4 s, half as much again, and a second.
    assert_eq!(world.core.poll_timeout(), Some(time(10 * SECOND)));
}

#[test]
fn a_wait_has_its_longest() {
    let mut world = World::new();
    world.at(0).synack_again(PEER, u16::MAX, 42);
    assert_eq!(world.core.poll_timeout(), Some(time(181 * SECOND)));
}

#[test]
fn no_more_than_so_many_are_followed_and_the_rest_is_counted() {
    let mut world = World::with(|config| config.max_connections = 2);
    for port in 1..=5 {
        world.at(SECOND).synack_again(&format!("10.0.0.2:{port}"), 1, 42);
    }
    world.at(1000 * SECOND).tick();
    assert_eq!(failed(&world), 2);
    assert_eq!(world.core.totals().requests_untracked, 3);
}

#[test]
fn a_connection_found_after_loss_completes_its_request() {
    let mut world = World::new();
    let mut sock = Sock::child();
    sock.state = Established;
    world.at(SECOND).synack_again(PEER, 1, 42);
    let list = [sock.listed()];
    world.core.reconcile(time(2 * SECOND), &[NETNS], &list, &mut world.out);
    world.at(1000 * SECOND).tick();
    assert_eq!(failed(&world), 0);
}
