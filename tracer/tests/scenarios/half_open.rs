//! Half-open connections per remote host, in quiet times: exact, held against the kernel's own
//! list and counters.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, TcpListener};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::counters::Counters;
use crate::support::crowd::{Acceptor, Crowd};
use crate::support::flood::{Flood, Kind, Sources, swallow_answers};
use crate::support::raw::{ACK, SYN};
use crate::support::sock::{Talk as _, accept, set_tcp_option};
use crate::support::{Check, Lab, Raw, Run, Tracer, Value, alone, ms, pause, scenario, wait_until};

fn listener(lab: &Lab) -> TcpListener {
    lab.b.sysctl("core/somaxconn", 4_096);
    lab.b.sysctl("ipv4/tcp_max_syn_backlog", 4_096);
    lab.b.listen_with(lab.b4_port(8080), 4_096, |_| ())
}

/// Half-open connections per remote host, as the kernel lists them.
fn listed(lab: &Lab) -> BTreeMap<String, u64> {
    let mut hosts = BTreeMap::new();
    // Recv-Q Send-Q Local Peer
    for line in lab.b.sh("ss -Htn state syn-recv").lines() {
        let peer = line.split_whitespace().nth(3).expect("a peer");
        let (host, _port) = peer.rsplit_once(':').expect("a port");
        *hosts.entry(host.trim_matches(['[', ']']).to_owned()).or_default() += 1;
    }
    hosts
}

#[track_caller]
fn row<'a>(run: &'a Run, host: &str) -> &'a Value {
    let rows: Vec<&Value> = run.all("host").into_iter().filter(|r| r["host"] == host).collect();
    assert_eq!(rows.len(), 1, "rows of {host} in\n{}", run.dump());
    rows[0]
}

fn grown(lab: &Lab, before: &Counters, name: &str) -> i64 {
    Counters::read(&lab.b).get(name) - before.get(name)
}

/// Forty SYNs from each of five hosts, in a second.
fn two_hundred(lab: &Lab) -> Flood {
    Flood::new(lab.b4_port(8080), 200, 200).from(Sources::Few([10, 200, 0, 1].into(), 5))
}

#[test]
fn one_host_leaves_some() {
    const LEFT: u64 = 7;
    scenario(|lab| {
        let listener = listener(lab);
        let tracer = Tracer::start(lab, &["--local-port", "8080"]);
        let raw = Raw::new(lab);
        // Three complete, seven don't.
        let mut peers: Vec<_> = (0..LEFT + 3).map(|_| raw.client(lab.b4_port(8080))).collect();
        for peer in &mut peers {
            peer.send(SYN, b"");
            peer.expect_flags(SYN | ACK);
        }
        // The peak is looked for a few times a second: what passes in between is not seen.
        pause(600);
        let accepted: Vec<_> = peers[..3]
            .iter_mut()
            .map(|peer| {
                peer.send(ACK, b"");
                accept(&listener)
            })
            .collect();
        pause(600);
        let kernels = listed(lab);
        assert_eq!(kernels, BTreeMap::from([(lab.raw4().to_string(), LEFT)]));
        let run = tracer.stop();
        drop(accepted);
        let _ = Check::of(row(run.fine(), &lab.raw4().to_string()))
            .within("syn_count", 10.0..=24.0)
            .eq("half_open", LEFT)
            .eq("half_open_peak", LEFT + 3)
            .eq("handshakes_failed", 0)
            .eq("exact", true);
        run.no_flood_but_perhaps(&[]);
    });
}

#[test]
fn five_hosts_leave_forty_each() {
    scenario(|lab| {
        swallow_answers(lab);
        let _listener = listener(lab);
        let tracer = Tracer::start(lab, &[]);
        assert_eq!(two_hundred(lab).run(lab).packets, 200);
        pause(600);
        let kernels = listed(lab);
        let run = tracer.stop();
        assert_eq!(kernels.values().sum::<u64>(), 200);
        for (host, half_open) in kernels {
            let _ = Check::of(row(run.fine(), &host))
                .eq("syn_count", 40)
                .eq("half_open", half_open)
                .eq("half_open_peak", 40)
                .eq("handshakes_failed", 0)
                .eq("exact", true);
        }
    });
}

/// SYNs for a listener that tracer does not know yet are in no count of half-open ones: nor are their
/// completions taken off it.
#[test]
fn handshakes_with_a_listener_not_known_yet_are_taken_off_nobody() {
    scenario(|lab| {
        let _known = listener(lab);
        let tracer = Tracer::start(lab, &[]);
        lab.a.drop_input("tcp sport 8080");
        lab.a
            .try_connect(lab.b4_port(8080), |socket| {
                set_tcp_option(socket, libc::TCP_USER_TIMEOUT, 300);
            })
            .expect_err("nobody answers");
        pause(600);
        // It looks at nothing meanwhile; the second listener is known to it by the last handshake.
        tracer.signal(Signal::SIGSTOP);
        let late = lab.b.listen(lab.b4_port(8081));
        for _ in 0..5 {
            drop(lab.a.connect(lab.b4_port(8081)));
            accept(&late).hear_end();
        }
        tracer.signal(Signal::SIGCONT);
        pause(600);
        let kernels = listed(lab);
        let run = tracer.stop();
        let client = lab.a4().to_string();
        assert_eq!(kernels.get(&client), Some(&1), "{kernels:?}");
        let _ = Check::of(row(run.fine(), &client)).eq("half_open", 1);
    });
}

#[test]
fn none_are_left_when_they_have_expired() {
    scenario(|lab| {
        // One retransmit after 1 s, the end after 2 s more.
        lab.b.sysctl("ipv4/tcp_synack_retries", 1);
        swallow_answers(lab);
        let _listener = listener(lab);
        let tracer = Tracer::start(lab, &[]);
        let before = Counters::read(&lab.b);
        assert_eq!(two_hundred(lab).run(lab).packets, 200);
        wait_until("every SYN-ACK goes out again", Duration::from_secs(5), || {
            grown(lab, &before, "TcpRetransSegs") == 200
        });
        wait_until("the kernel has given up", Duration::from_secs(6), || listed(lab).is_empty());
        // Nobody tells that: it is missed after twice that time.
        pause(6_000);
        let run = tracer.stop();
        for n in 1..=5 {
            let _ = Check::of(row(run.fine(), &format!("10.200.0.{n}")))
                .eq("syn_count", 40)
                .eq("half_open", 0)
                .eq("half_open_peak", 40)
                // Where a loaded machine sends many of the 200 in a burst, old SYNs give way to new ones.
                .within("handshakes_failed", 38.0..=40.0);
        }
    });
}

/// With long round trips some are on their way at any time: still as many when tracing has gone on for
/// longer than the kernel keeps one that never completes.
#[test]
fn those_on_their_way_are_counted_however_long_it_goes_on() {
    const ROUND_TRIP: Duration = ms(400);
    scenario(|lab| {
        // It gives up after three seconds.
        lab.b.sysctl("ipv4/tcp_synack_retries", 1);
        let acceptor = Acceptor::new(listener(lab));
        let tracer = Tracer::start(lab, &["--local-port", "8080"]);
        let raw = Raw::new(lab);
        let mut under_way = VecDeque::new();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(9) {
            let mut peer = raw.client(lab.b4_port(8080));
            peer.send(SYN, b"");
            peer.expect_flags(SYN | ACK);
            under_way.push_back((Instant::now(), peer));
            while let Some((answered, peer)) = under_way.front_mut()
                && answered.elapsed() >= ROUND_TRIP
            {
                peer.send(ACK, b"");
                peer.reset();
                under_way.pop_front();
            }
            pause(8);
        }
        // Time for a tick, and not for a SYN-ACK to be given up.
        pause(600);
        let kernels = listed(lab);
        let run = tracer.stop();
        drop(acceptor);
        let left = kernels[&lab.raw4().to_string()];
        assert_eq!(left, under_way.len() as u64);
        assert!(left >= 10, "{left} on their way");
        let _ = Check::of(row(run.fine(), &lab.raw4().to_string())).eq("half_open", left);
    });
}

#[test]
fn none_are_left_after_resets() {
    scenario(|lab| {
        swallow_answers(lab);
        let _listener = listener(lab);
        let tracer = Tracer::start(lab, &[]);
        let before = Counters::read(&lab.b);
        let syns = two_hundred(lab);
        assert_eq!(syns.run(lab).packets, 200);
        pause(600);
        assert_eq!(syns.kind(Kind::Rst).run(lab).packets, 200);
        assert_eq!(grown(lab, &before, "TcpExtEmbryonicRsts"), 200);
        assert_eq!(listed(lab), BTreeMap::new());
        pause(600);
        let run = tracer.stop();
        for n in 1..=5 {
            let _ = Check::of(row(run.fine(), &format!("10.200.0.{n}")))
                .eq("syn_count", 40)
                .eq("half_open", 0)
                .eq("half_open_peak", 40);
        }
    });
}

#[test]
fn what_the_stack_refuses_is_never_half_open() {
    scenario(|lab| {
        lab.b.sysctl("ipv4/tcp_syncookies", 0);
        swallow_answers(lab);
        // Room for 16 of 60.
        let _listener = lab.b.listen_with(lab.b4_port(8080), 16, |_| ());
        let tracer = Tracer::start(lab, &[]);
        let before = Counters::read(&lab.b);
        let one = Sources::One(IpAddr::from([10, 200, 0, 1]));
        assert_eq!(Flood::new(lab.b4_port(8080), 60, 60).from(one).run(lab).packets, 60);
        let drops = grown(lab, &before, "TcpExtListenDrops");
        assert!(drops > 30, "{drops} refused");
        pause(600);
        let kernels = listed(lab)["10.200.0.1"];
        let run = tracer.stop();
        let _ =
            Check::of(row(run.fine(), "10.200.0.1")).eq("syn_count", 60).eq("half_open", kernels);
    });
}

#[test]
fn what_a_filter_drops_is_never_half_open() {
    scenario(|lab| {
        swallow_answers(lab);
        let _listener = listener(lab);
        lab.b.drop_input("tcp dport 8080");
        let tracer = Tracer::start(lab, &[]);
        assert_eq!(two_hundred(lab).run(lab).packets, 200);
        assert_eq!(lab.b.dropped(), 200);
        assert_eq!(listed(lab), BTreeMap::new());
        pause(1_500);
        let run = tracer.stop();
        for n in 1..=5 {
            let _ = Check::of(row(run.fine(), &format!("10.200.0.{n}")))
                .eq("syn_count", 40)
                .eq("half_open", 0);
        }
    });
}

/// What was half-open before the tracer came ends afterwards, by an ACK and by a RST.
#[test]
fn starting_in_the_midst_of_it_never_underflows() {
    scenario(|lab| {
        let listener = listener(lab);
        let raw = Raw::new(lab);
        let mut peers: Vec<_> = (0..20).map(|_| raw.client(lab.b4_port(8080))).collect();
        for peer in &mut peers {
            peer.send(SYN, b"");
            peer.expect_flags(SYN | ACK);
        }
        let tracer = Tracer::start(lab, &["--local-port", "8080"]);
        let mut accepted = Vec::new();
        for peer in &mut peers[..10] {
            peer.send(ACK, b"");
            accepted.push(accept(&listener));
        }
        for peer in &mut peers[10..] {
            peer.reset();
        }
        // And three new ones that stay.
        let mut new: Vec<_> = (0..3).map(|_| raw.client(lab.b4_port(8080))).collect();
        for peer in &mut new {
            peer.send(SYN, b"");
            peer.expect_flags(SYN | ACK);
        }
        pause(600);
        assert_eq!(listed(lab), BTreeMap::from([(lab.raw4().to_string(), 3)]));
        drop(accepted);
        pause(300);
        let run = tracer.stop();
        let _ = Check::of(row(run.fine(), &lab.raw4().to_string()))
            .within("syn_count", 3.0..=9.0)
            .eq("half_open", 3)
            .within("half_open_peak", 3.0..=23.0);
    });
}

#[test]
fn lost_records_leave_no_half_opens_behind() {
    const LEFT: u64 = 9;
    alone(|lab| {
        let before = Counters::read(&lab.b);
        let acceptor = Acceptor::new(listener(lab));
        let args = ["--local-port", "8080", "--ring-size", "4096"];
        let tracer = Tracer::start(lab, &args);
        let made = std::thread::scope(|scope| {
            let crowd = Crowd::new(lab.b4_port(8080), 4_000, Duration::from_secs(3));
            let crowd = scope.spawn(move || crowd.run(&lab.a));
            // Nobody empties the ring meanwhile.
            pause(1_000);
            tracer.signal(Signal::SIGSTOP);
            pause(500);
            tracer.signal(Signal::SIGCONT);
            crowd.join().expect("the crowd")
        });
        assert!(made.completed > 9_000, "{made:?}");
        let raw = Raw::new(lab);
        for _ in 0..LEFT {
            let mut peer = raw.client(lab.b4_port(8080));
            peer.send(SYN, b"");
            peer.expect_flags(SYN | ACK);
        }
        wait_until("none of the others is half-open", Duration::from_secs(5), || {
            listed(lab) == BTreeMap::from([(lab.raw4().to_string(), LEFT)])
        });
        pause(1_000);
        let run = tracer.stop();
        // Not before: the kernel gives up the requests of a listener that is closed.
        drop(acceptor);
        let end = run.end();
        let passive = grown(lab, &before, "TcpPassiveOpens");
        assert_eq!(passive, i64::try_from(made.completed).expect("a count"));
        assert!(end["events_lost"].as_u64().is_some_and(|lost| lost > 0), "nothing lost: {end}");
        let _ = Check::of(row(&run, &lab.a4().to_string())).eq("half_open", 0);
        let _ = Check::of(row(&run, &lab.raw4().to_string())).eq("half_open", LEFT);
    });
}

#[test]
fn the_report_of_an_interval_has_them() {
    scenario(|lab| {
        swallow_answers(lab);
        let _listener = listener(lab);
        let tracer = Tracer::start(lab, &["--interval", "1"]);
        assert_eq!(two_hundred(lab).run(lab).packets, 200);
        let kernels = listed(lab).values().sum::<u64>();
        assert_eq!(kernels, 200);
        let deadline = Instant::now() + Duration::from_secs(4);
        let last = || {
            let mut rows: BTreeMap<String, u64> = BTreeMap::new();
            for r in tracer.records() {
                if let (Some(host), Some(n)) = (r["host"].as_str(), r["half_open"].as_u64()) {
                    rows.insert(host.to_owned(), n);
                }
            }
            rows.values().sum::<u64>()
        };
        while last() != 200 && Instant::now() < deadline {
            std::thread::sleep(ms(50));
        }
        assert_eq!(last(), 200, "half-opens in the intervals' rows");
        let _ = tracer.stop();
    });
}
