//! Whose socket it is.

use super::world::*;
use crate::core::event::CgroupName;
use crate::core::event::Event;
use std::sync::Arc;

#[test]
fn softirq_transitions_never_change_the_owner() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    world.at(0).go_with(&mut sock, SynSent, |e| e.owner = process(7, "curl"));
    world.at(MS).go(&mut sock, Established);
    world.at(2 * MS).go(&mut sock, CloseWait);
    assert_eq!(world.core.open(world.now())[0].connection.owner, process(7, "curl"));
    world.at(3 * MS).go_with(&mut sock, Close, |e| e.sk_err = libc::EPIPE);
    assert_eq!(world.connection().owner, process(7, "curl"));
}

#[test]
fn the_worker_that_closes_takes_over_from_the_parent_that_accepted() {
    for (first, second) in [(FinWait1, FinWait2), (CloseWait, LastAck)] {
        let (mut world, mut sock) = (World::new(), Sock::child());
        world.at(MS).establish(&mut sock, MS);
        world.at(2 * MS).accept(&sock, 10, "parent");
        let closer = |world: &mut World, sock: &mut Sock, state| {
            let owner =
                if matches!(state, FinWait1 | LastAck) { process(11, "worker") } else { None };
            world.go_with(sock, state, |e| e.owner = owner);
        };
        closer(&mut world, &mut sock, first);
        closer(&mut world, &mut sock, second);
        world.go(&mut sock, Close);
        assert_eq!(world.connection().owner, process(11, "worker"));
    }
}

#[test]
fn a_server_s_child_is_not_owned_by_whoever_was_interrupted() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(MS).establish(&mut sock, MS);
    assert_eq!(world.core.open(world.now())[0].connection.owner, None);
    world.at(2 * MS).accept(&sock, 10, "server");
    assert_eq!(world.core.open(world.now())[0].connection.owner, process(10, "server"));
}

#[test]
fn ss_that_kills_a_connection_does_not_own_it() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(MS).establish(&mut sock, MS);
    world.at(2 * MS).accept(&sock, 10, "server");
    world.at(3 * MS).go_with(&mut sock, Close, |e| {
        e.sk_err = libc::ECONNABORTED;
        e.owner = process(99, "ss");
    });
    assert_eq!(world.connection().owner, process(10, "server"));
}

#[test]
fn ss_does_not_own_it_either_when_its_rst_comes_first() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(MS).establish(&mut sock, MS);
    world.at(2 * MS).accept(&sock, 10, "server");
    world.at(3 * MS).reset_sent_with(&sock, |e| e.owner = process(99, "ss"));
    world.go_with(&mut sock, Close, |e| {
        e.sk_err = libc::ECONNABORTED;
        e.owner = process(99, "ss");
    });
    let got = world.connection();
    assert_eq!(got.owner, process(10, "server"));
    assert_eq!(got.outcome, Some(crate::core::record::Outcome::Aborted));
}

#[test]
fn an_accept_that_arrives_after_the_end_still_names_the_owner() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(MS).establish(&mut sock, MS);
    world.at(2 * MS).go_with(&mut sock, Close, |e| e.sk_err = libc::ECONNRESET);
    world.at(3 * MS).accept(&sock, 10, "server").tick();
    let got = world.connection();
    assert_eq!(got.owner, process(10, "server"));
    assert_eq!(got.accept_wait, Some(2 * MS));
}

#[test]
fn an_accept_of_a_connection_whose_record_is_out_is_nothing_new() {
    let (mut world, mut sock) = (World::new(), Sock::child());
    world.at(MS).establish(&mut sock, MS);
    world.at(2 * MS).go_with(&mut sock, Close, |e| e.sk_err = libc::ECONNRESET);
    world.at(SECOND).tick();
    world.at(2 * SECOND).accept(&sock, 10, "server").tick();
    assert_eq!(world.connection().owner, None);
    assert_eq!(world.core.totals().open, 0);
}

#[test]
fn the_cgroup_s_name_is_the_one_told_for_its_id() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    for (id, path) in [(5, "/system.slice/a.service"), (6, "/user.slice")] {
        let name = Arc::new(CgroupName { path: path.to_owned(), container: None });
        world.core.handle(&Event::Cgroup { id, name }, &mut world.out);
    }
    world.at(0).go_with(&mut sock, SynSent, |e| e.cgroup = 5);
    world.at(MS).go_with(&mut sock, Close, |e| e.sk_err = libc::ECONNREFUSED);
    let got = world.connection();
    let cgroup = got.cgroup.expect("a cgroup");
    assert_eq!(cgroup.path, "/system.slice/a.service");
    assert_eq!(world.core.totals().events, 2);
}
