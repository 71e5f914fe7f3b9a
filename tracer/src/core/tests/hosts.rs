//! Figures per remote host.

use std::net::IpAddr;

use super::world::*;
use crate::core::record::Host;

/// A connection of cookie `n` to `host`: handshake and close as long as said, ended by `errno`.
fn connection(world: &mut World, n: u64, host: &str, handshake: u64, close: u64, errno: i32) {
    let mut sock = Sock::new(n, "10.0.0.1:40000", &format!("{host}:80"), Close);
    let start = world.now().since(STARTED);
    world.go(&mut sock, SynSent);
    world.at(start + handshake).go(&mut sock, Established);
    world.go(&mut sock, FinWait1);
    world.at(start + handshake + close).go_with(&mut sock, Close, |e| e.sk_err = errno);
    world.at(start + handshake + close + SECOND).tick();
}

fn of<'a>(hosts: &'a [Host], host: &str) -> &'a Host {
    let host = host.parse().expect("an address");
    hosts.iter().find(|row| row.host == Some(host)).expect("a row")
}

#[test]
fn what_happened_with_a_host() {
    let mut world = World::new();
    for (n, errno) in [libc::ECONNRESET, 0, libc::ETIMEDOUT, libc::ECONNABORTED, libc::EHOSTUNREACH]
        .into_iter()
        .enumerate()
    {
        let n = n as u64 + 1;
        connection(&mut world, n, "10.0.0.2", n * MS, n * 10 * MS, errno);
    }
    let mut closed = Sock::new(9, "10.0.0.1:40000", "10.0.0.2:80", Close);
    for state in [SynSent, Established, CloseWait, LastAck, Close] {
        world.go(&mut closed, state);
    }
    world.at(100 * SECOND).tick();
    let hosts = world.core.hosts(world.now());
    let row = of(&hosts, "10.0.0.2");
    assert_eq!(hosts.len(), 1);
    assert_eq!((row.connections, row.failed), (6, 5));
    assert_eq!((row.resets, row.timeouts), (2, 1));
    assert_eq!(row.handshakes_failed, 0);
    assert_eq!(row.interval, 100 * SECOND);
    assert!(row.exact);
    let handshake = row.handshake.expect("handshakes");
    assert_eq!((handshake.count, handshake.max), (6, 5 * MS));
    assert_eq!((handshake.p50, handshake.p90), (2 * MS, 5 * MS));
    assert_eq!(row.close.expect("closes").max, 50 * MS);
    assert_eq!((row.syn_count, row.half_open, row.half_open_peak), (None, None, None));
}

#[test]
fn what_was_not_measured_is_not_in_the_percentiles() {
    let (mut world, mut sock) = (World::new(), Sock::client());
    world.at(0).go(&mut sock, SynSent);
    world.at(MS).go_with(&mut sock, Close, |e| e.sk_err = libc::ECONNREFUSED);
    world.at(SECOND).tick();
    let hosts = world.core.hosts(world.now());
    assert_eq!((hosts[0].connections, hosts[0].failed), (1, 1));
    assert_eq!((hosts[0].handshake, hosts[0].close), (None, None));
}

#[test]
fn the_busiest_are_named_and_the_rest_is_one_row() {
    let mut world = World::with(|config| config.top_hosts = 2);
    let mut n = 0;
    for (host, count) in [("10.0.0.2", 1), ("10.0.0.3", 3), ("10.0.0.4", 2), ("10.0.0.5", 2)] {
        for _ in 0..count {
            n += 1;
            let errno = if host == "10.0.0.5" { libc::ETIMEDOUT } else { 0 };
            connection(&mut world, n, host, n * MS, MS, errno);
        }
    }
    world.request_reset("10.0.0.77:1");
    let hosts = world.core.hosts(world.now());
    let rows: Vec<_> = hosts
        .iter()
        .map(|row| {
            let host = row.host.map(|host| host.to_string());
            (host.unwrap_or_default(), row.connections, row.timeouts)
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("10.0.0.3".to_owned(), 3, 0),
            // As many as 10.0.0.4; both failed as often: the lower address.
            ("10.0.0.4".to_owned(), 2, 0),
            (String::new(), 3, 2),
        ]
    );
    assert_eq!(hosts[2].handshakes_failed, 1);
    assert!(!hosts[2].exact);
    let handshake = hosts[2].handshake.expect("handshakes");
    assert_eq!((handshake.count, handshake.max), (3, 8 * MS));
    assert_eq!(handshake.p50, 7 * MS);
}

#[test]
fn no_more_hosts_than_allowed_have_figures_of_their_own_and_none_is_lost() {
    let mut world = World::with(|config| config.max_hosts = 2);
    for n in 1..=10 {
        connection(&mut world, n, &format!("10.0.0.{}", n % 5 + 1), MS, MS, 0);
    }
    let hosts = world.core.hosts(world.now());
    assert_eq!(hosts.len(), 3);
    assert_eq!(of(&hosts, "10.0.0.2").connections, 2);
    assert_eq!(of(&hosts, "10.0.0.3").connections, 2);
    assert_eq!((hosts[2].host, hosts[2].connections), (None, 6));
}

#[test]
fn an_interval_holds_what_ended_in_it_and_the_run_holds_all() {
    let mut world = World::with(|config| config.interval_reports = true);
    connection(&mut world, 1, "10.0.0.2", MS, MS, 0);
    connection(&mut world, 2, "10.0.0.2", 2 * MS, MS, 0);
    world.request_reset("10.0.0.2:1");
    world.at(10 * SECOND);
    let first = world.core.take_interval(world.now());
    assert_eq!((first[0].connections, first[0].interval), (2, 10 * SECOND));
    assert_eq!(first[0].handshakes_failed, 1);
    connection(&mut world, 3, "10.0.0.3", 3 * MS, MS, 0);
    world.at(20 * SECOND);
    let second = world.core.take_interval(world.now());
    assert_eq!(second.len(), 1);
    assert_eq!(of(&second, "10.0.0.3").connections, 1);
    assert_eq!(second[0].interval, 10 * SECOND);
    world.at(30 * SECOND);
    assert!(world.core.take_interval(world.now()).is_empty());
    let run = world.core.hosts(world.now());
    assert_eq!(of(&run, "10.0.0.2").connections, 2);
    assert_eq!(of(&run, "10.0.0.3").interval, 30 * SECOND);
}

#[test]
fn without_interval_reports_there_is_no_interval() {
    let mut world = World::new();
    connection(&mut world, 1, "10.0.0.2", MS, MS, 0);
    assert!(world.core.take_interval(world.now()).is_empty());
}

#[test]
fn of_two_as_busy_the_one_that_fails_more_comes_first() {
    let mut world = World::new();
    connection(&mut world, 1, "10.0.0.2", MS, MS, libc::ECONNABORTED);
    connection(&mut world, 2, "10.0.0.3", MS, MS, libc::ECONNABORTED);
    let mut closed = Sock::new(3, "10.0.0.1:40000", "10.0.0.2:80", Close);
    for state in [SynSent, Established, CloseWait, LastAck, Close] {
        world.go(&mut closed, state);
    }
    world.at(100 * SECOND).tick();
    connection(&mut world, 4, "10.0.0.3", MS, MS, libc::ECONNABORTED);
    let hosts = world.core.hosts(world.now());
    let rows: Vec<_> = hosts.iter().map(|row| (row.connections, row.failed)).collect();
    assert_eq!(rows, [(2, 2), (2, 1)]);
}

#[test]
fn hosts_come_in_the_order_asked_for() {
    use crate::core::HostOrder;
    let mut world = World::with(|config| config.top_hosts = 1);
    let mut n = 0;
    for (host, count, handshake, errno) in [
        ("10.0.0.2", 1, 9 * MS, 0),
        ("10.0.0.3", 3, MS, libc::ETIMEDOUT),
        ("10.0.0.4", 2, 4 * MS, 0),
    ] {
        for _ in 0..count {
            n += 1;
            connection(&mut world, n, host, handshake, MS, errno);
        }
    }
    let ranked = |order, ascending, most| {
        let ranked = world.core.ranked_hosts(world.now(), order, ascending, most, |_| true);
        let last = |host: IpAddr| host.to_string().chars().last().expect("an address");
        let hosts: String = ranked.rows.iter().filter_map(|row| row.host).map(last).collect();
        (hosts, ranked.more)
    };
    let of = |order| ranked(order, false, 9).0;
    assert_eq!(of(HostOrder::Connections), "342");
    // errno is not what tells a close; what the others share, their connections decide.
    assert_eq!(of(HostOrder::Failed).chars().next(), Some('3'));
    assert_eq!(of(HostOrder::HandshakeP99), "243");
    assert_eq!(of(HostOrder::Address), "432");
    assert_eq!(ranked(HostOrder::Address, true, 9).0, "234");
    assert_eq!(ranked(HostOrder::HandshakeP50, true, 2), ("34".to_owned(), 1));
    let some = world.core.ranked_hosts(world.now(), HostOrder::Connections, false, 9, |host| {
        host.to_string() == "10.0.0.4"
    });
    assert_eq!((some.rows.len(), some.more, some.others), (1, 0, None));
    let detail = world.core.host(some.rows[0].host.expect("a host"), world.now()).expect("kept");
    assert_eq!(detail.row, some.rows[0]);
    assert_eq!(detail.handshake.steps[8], 2, "{detail:?}");
    assert_eq!(world.core.host("10.9.9.9".parse().expect("an address"), world.now()), None);
}
