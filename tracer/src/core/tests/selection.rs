//! What is counted at all, and what is shown.

use std::sync::Arc;

use super::world::*;
use crate::core::event::{CgroupName, Event};
use crate::core::record::{Connection, Outcome, Role};
use crate::core::selection::{Prefix, Selection, Shown};

/// A client of "curl" (7) in /user.slice and a server of "nginx" (9) in a container.
fn run(selection: Selection) -> World {
    let mut world = World::with(|config| config.selection = selection);
    for (id, path, container) in
        [(5, "/user.slice/session", None), (6, "/system.slice/docker-abc123.scope", Some("abc123"))]
    {
        let name =
            Arc::new(CgroupName { path: path.to_owned(), container: container.map(str::to_owned) });
        world.core.handle(&Event::Cgroup { id, name }, &mut world.out);
    }
    let (mut client, mut server) = (Sock::client(), Sock::child());
    world.at(0).go_with(&mut client, SynSent, |e| {
        e.owner = process(7, "curl");
        e.cgroup = 5;
    });
    world.at(MS).go(&mut client, Established);
    world.establish(&mut server, MS);
    world.at(2 * MS).accept(&server, 9, "nginx").go_with(&mut server, CloseWait, |e| e.cgroup = 6);
    assert!(world.out.is_empty());
    for sock in [&mut client, &mut server] {
        world.at(3 * MS).go_with(sock, Close, |e| e.sk_err = libc::ECONNRESET);
    }
    world
}

#[test]
fn only_what_is_asked_for_is_counted() {
    let both: &[u64] = &[1, 2];
    let none: &[u64] = &[];
    let everything = Selection::default;
    for (selection, cookies) in [
        (everything(), both),
        (Selection { role: Some(Role::Client), ..everything() }, &[1]),
        (Selection { role: Some(Role::Server), ..everything() }, &[2]),
        (Selection { pids: vec![7, 8], ..everything() }, &[1]),
        (Selection { pids: vec![7, 9], ..everything() }, both),
        (Selection { comms: vec![b"nginx".to_vec()], ..everything() }, &[2]),
        (Selection { comms: vec![b"ngin".to_vec()], ..everything() }, none),
        (Selection { cgroups: vec!["docker".to_owned()], ..everything() }, &[2]),
        (Selection { cgroups: vec!["bc12".to_owned()], ..everything() }, &[2]),
        (Selection { cgroups: vec!["/user.slice".to_owned()], ..everything() }, &[1]),
        (Selection { cgroups: vec!["/user".to_owned()], ..everything() }, none),
        (Selection { cgroups: vec!["/".to_owned()], ..everything() }, both),
        (Selection { pids: vec![7], role: Some(Role::Server), ..everything() }, none),
    ] {
        let mut world = run(selection.clone());
        let got: Vec<_> = world.connections().iter().map(|one| one.cookie).collect();
        assert_eq!(got, cookies, "{selection:?}");
        assert_eq!(world.core.totals().connections, cookies.len() as u64);
        let counted: u64 = world.core.hosts(world.now()).iter().map(|host| host.connections).sum();
        assert_eq!(counted, cookies.len() as u64);
    }
}

#[test]
fn a_long_name_is_compared_as_the_kernel_cuts_it() {
    let selection =
        Selection { comms: vec![b"a-very-long-process-name".to_vec()], ..Selection::default() };
    let owner = process(1, "a-very-long-process-name").expect("a process");
    assert!(selection.matches(None, Some(&owner), None));
}

#[test]
fn open_and_stuck_follow_the_selection_too() {
    for (pid, count) in [(7, 1), (8, 0)] {
        let mut world = World::with(|config| config.selection.pids = vec![pid]);
        let mut sock = Sock::client();
        world.at(0).go_with(&mut sock, SynSent, |e| e.owner = process(7, "curl"));
        assert_eq!(world.core.open(world.now()).len(), count);
        assert_eq!(world.core.totals().open, count as u64);
        assert_eq!(world.at(10 * SECOND).stuck().len(), count);
    }
}

#[test]
fn dead_requests_belong_to_their_listener() {
    for (pid, role, count) in
        [(9, None, 1), (10, None, 0), (9, Some(Role::Server), 1), (9, Some(Role::Client), 0)]
    {
        let mut world = World::with(|config| {
            config.selection.pids = vec![pid];
            config.selection.role = role;
        });
        let mut listener = Sock::new(90, "0.0.0.0:8080", "0.0.0.0:0", Close);
        world.at(0).go_with(&mut listener, Listen, |e| e.owner = process(9, "nginx"));
        world.request_reset("10.0.0.2:50000");
        assert_eq!(world.core.totals().handshakes_failed, count);
        // Without its listener nobody knows whose it was.
        world.go(&mut listener, Close);
        world.request_reset("10.0.0.2:50000");
        assert_eq!(world.core.totals().handshakes_failed, count);
    }
}

fn some_connection() -> Connection {
    let (mut world, mut sock) = (World::new(), Sock::client());
    world.at(0).go(&mut sock, SynSent);
    world.at(20 * MS).go(&mut sock, Established);
    world.at(30 * MS).go(&mut sock, FinWait1);
    world.at(60 * MS).go(&mut sock, FinWait2).go(&mut sock, Close);
    world.connection()
}

#[test]
fn what_is_shown() {
    let closed = some_connection();
    assert_eq!((closed.handshake, closed.close), (Some(20 * MS), Some(30 * MS)));
    let timed_out = Connection {
        outcome: Some(Outcome::TimedOut),
        handshake: None,
        close: None,
        ..closed.clone()
    };
    let open = Connection { outcome: None, ..closed.clone() };
    let shown = |shown: Shown| [&closed, &timed_out, &open].map(|one| shown.shows(one));
    let all = Shown::default;
    assert_eq!(shown(all()), [true; 3]);
    let failed = Shown { failed: true, ..all() };
    assert_eq!(shown(failed), [false, true, false]);
    let outcomes = |outcomes| Shown { outcomes, ..all() };
    assert_eq!(shown(outcomes(vec![Outcome::Closed])), [true, false, false]);
    assert_eq!(shown(outcomes(vec![Outcome::Closed, Outcome::TimedOut])), [true, true, false]);
    let slower = |limit| Shown { slower_than: Some(limit), ..all() };
    assert_eq!(shown(slower(25 * MS)), [true, false, true]);
    assert_eq!(shown(slower(30 * MS)), [false; 3]);
    for (port, hidden) in [(80, true), (40_000, true), (81, false)] {
        let without = Shown { exclude_ports: vec![1..=2, port..=port], ..all() };
        assert_eq!(shown(without), [!hidden; 3]);
    }
    for (prefix, len, hidden) in [
        ("10.0.0.2", 32, true),
        ("10.0.0.1", 32, true),
        ("10.0.0.3", 32, false),
        ("10.0.0.0", 24, true),
        ("10.1.0.0", 16, false),
        ("0.0.0.0", 0, true),
        ("::", 0, false),
    ] {
        let prefix = Prefix::new(prefix.parse().expect("an address"), len).expect("a prefix");
        let without = Shown { exclude_hosts: vec![prefix], ..all() };
        assert_eq!(shown(without), [!hidden; 3], "{prefix:?}");
    }
}

#[test]
fn prefixes() {
    let ip = |text: &str| text.parse::<std::net::IpAddr>().expect("an address");
    assert_eq!(Prefix::new(ip("10.0.0.0"), 33), None);
    assert_eq!(Prefix::new(ip("::"), 129), None);
    let v6 = Prefix::new(ip("2001:db8::"), 33).expect("a prefix");
    assert!(v6.contains(ip("2001:db8:7fff::1")));
    assert!(!v6.contains(ip("2001:db8:8000::1")));
    assert!(!v6.contains(ip("10.0.0.1")));
    let mapped = Prefix::new(ip("::ffff:10.0.0.0"), 96 + 24).expect("a prefix");
    assert!(mapped.contains(ip("10.0.0.200")));
    assert!(!mapped.contains(ip("10.0.1.200")));
}
