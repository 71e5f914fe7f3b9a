//! SYNs and half-open connections per remote host.

use tracer_common::flood::cohort::{self, TOLD_APART};

use super::world::*;
use crate::core::flood::parts::{Changes, Parts};
use crate::core::flood::tick::{SourceTick, Target, Tick};

fn source(host: &str, syns: u64, target: Target) -> SourceTick {
    let addr = host.parse().expect("an address");
    let firsts = Changes::of(0, i32::try_from(syns).expect("few"));
    SourceTick { target, addr, syns, firsts, bound: 0 }
}

fn tick(world: &mut World, sources: Vec<SourceTick>, completers: Vec<SourceTick>) {
    let to = world.now();
    // So that part 0 is of the newest cohort.
    let cohort = cohort::number(to.0).next_multiple_of(TOLD_APART.into());
    world.core.syns(&Tick { from: to, to, cohort, sources, completers, ..Tick::default() });
}

const WEB: fn() -> Target = || Target::Listener(addr("10.0.0.1:80"));

#[test]
fn who_leaves_half_open_connections_has_a_row() {
    let mut world = World::with(|config| config.syn_hook = true);
    let (web, closed) = (WEB(), Target::Closed);
    let sent = vec![source("10.0.0.9", 5, web), source("10.0.0.8", 3, closed)];
    tick(&mut world, sent, vec![source("10.0.0.9", 2, web)]);
    let hosts = world.core.hosts(world.now());
    let figures: Vec<_> = hosts
        .iter()
        .map(|row| (row.syn_count, row.half_open, row.half_open_peak, row.exact))
        .collect();
    assert_eq!(figures, [(Some(5), Some(3), Some(3), true), (Some(3), Some(0), Some(0), true)]);
    world.at(70 * SECOND);
    tick(&mut world, Vec::new(), Vec::new());
    let hosts = world.core.hosts(world.now());
    assert_eq!((hosts[0].half_open, hosts[0].half_open_peak), (Some(0), Some(3)));
}

#[test]
fn where_the_hook_did_not_see_the_syn_the_count_is_unknown_and_not_0() {
    let mut world = World::with(|config| config.syn_hook = true);
    // A connection that began here, and whose SYN came in somewhere else.
    let mut unseen = Sock::child();
    world.at(MS).go_with(&mut unseen, Established, |e| e.old_since = Some(time(0)));
    world.go(&mut unseen, CloseWait).go(&mut unseen, LastAck).go(&mut unseen, Close);
    world.at(SECOND).tick();
    let row = &world.core.hosts(world.now())[0];
    assert_eq!((row.connections, row.exact), (1, false));
    assert_eq!((row.syn_count, row.half_open, row.half_open_peak), (None, None, None));
    // Some of the same host's the hook does see.
    tick(&mut world, vec![source("10.0.0.2", 3, WEB())], Vec::new());
    let row = &world.core.hosts(world.now())[0];
    assert_eq!((row.syn_count, row.exact), (Some(3), false));
}

#[test]
fn whom_this_host_connects_to_has_sent_no_syn() {
    let mut world = World::with(|config| config.syn_hook = true);
    let mut sock = Sock::client();
    for state in [SynSent, Established, FinWait1, FinWait2, Close] {
        world.go(&mut sock, state);
    }
    world.at(SECOND).tick();
    let row = &world.core.hosts(world.now())[0];
    assert_eq!((row.syn_count, row.exact), (Some(0), true));
}

#[test]
fn a_flood_of_sources_pushes_no_honest_host_out() {
    let mut world = World::with(|config| {
        config.syn_hook = true;
        config.max_hosts = 8;
    });
    for n in 0..100 {
        let sent = vec![source(&format!("10.9.0.{n}"), 1, WEB())];
        tick(&mut world, sent, Vec::new());
    }
    let mut sock = Sock::new(1, "10.0.0.1:40000", "10.0.0.2:80", Close);
    for state in [SynSent, Established, CloseWait, LastAck, Close] {
        world.go(&mut sock, state);
    }
    world.at(SECOND).tick();
    let hosts = world.core.hosts(world.now());
    assert_eq!(hosts[0].host, Some("10.0.0.2".parse().expect("an address")));
    assert_eq!(hosts[0].connections, 1);
    let all: u64 = hosts.iter().filter_map(|row| row.syn_count).sum();
    assert_eq!(all, 100);
    assert!(!hosts.last().expect("others").exact && hosts.len() <= 9);
}

/// What is not followed goes to the others' row, and what ends there is taken off it.
#[test]
fn ends_find_their_syns_in_whichever_row_they_are() {
    let mut world = World::with(|config| config.syn_hook = true);
    let to = world.now();
    let cohort = cohort::number(to.0).next_multiple_of(TOLD_APART.into());
    let left = |world: &World| {
        let hosts = world.core.hosts(world.now());
        hosts.iter().map(|row| row.half_open.expect("a hook")).collect::<Vec<_>>()
    };
    // One of the first host's is among the others', of which there are nine more.
    let sources = vec![source("10.0.0.9", 5, WEB())];
    let unattributed_firsts = Parts::of(0, 10);
    let at = Tick { from: to, to, cohort, ..Tick::default() };
    world.core.syns(&Tick { sources, unattributed: 10, unattributed_firsts, ..at.clone() });
    assert_eq!(left(&world), [5, 10]);
    world.core.syns(&Tick { completers: vec![source("10.0.0.9", 6, WEB())], ..at.clone() });
    assert_eq!(left(&world), [0, 9]);
    world.core.syns(&Tick { resetters: vec![source("10.0.0.8", 2, WEB())], ..at.clone() });
    assert_eq!(left(&world), [0, 7]);
    world.core.syns(&Tick { unattributed_ended: Parts::of(0, 4), ..at.clone() });
    assert_eq!(left(&world), [0, 3]);
    // Those of another cohort only where nothing else is left.
    let other =
        |count| vec![SourceTick { firsts: Changes::of(6, count), ..source("10.0.0.9", 0, WEB()) }];
    world.core.syns(&Tick { sources: other(2), ..at.clone() });
    world.core.syns(&Tick { completers: vec![source("10.0.0.9", 1, WEB())], ..at.clone() });
    assert_eq!(left(&world), [2, 2]);
    world.core.syns(&Tick { completers: other(3), ..at.clone() });
    assert_eq!(left(&world), [0, 1]);
    assert!(world.core.waits());
    world.core.syns(&Tick { completers: other(3), ..at });
    assert_eq!(left(&world), [0, 0]);
    assert!(!world.core.waits());
}

#[test]
fn who_only_sends_syns_gets_an_eighth_of_the_rows() {
    let mut world = World::with(|config| {
        config.syn_hook = true;
        config.max_hosts = 256;
        config.top_hosts = 256;
    });
    let host = |n: u32| std::net::Ipv4Addr::from(0x0a09_0000 + n).to_string();
    for n in 0..1_000 {
        tick(&mut world, vec![source(&host(n), 1, WEB())], Vec::new());
    }
    let rows = world.core.hosts(world.now());
    assert_eq!(rows.len(), 32 + 1);
    let all: u64 = rows.iter().filter_map(|row| row.syn_count).sum();
    assert_eq!(all, 1_000);
    // Those that complete their handshakes make room for others.
    for n in 0..32 {
        tick(&mut world, Vec::new(), vec![source(&host(n), 1, WEB())]);
    }
    tick(&mut world, vec![source("10.0.0.9", 1, WEB())], Vec::new());
    let rows = world.core.hosts(world.now());
    assert!(rows.iter().any(|row| row.host == Some("10.0.0.9".parse().expect("an address"))));
}
