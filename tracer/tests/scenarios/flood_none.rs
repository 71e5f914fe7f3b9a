//! What is no flood, however much of it comes: no alert, or the notice that says what it is.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::support::alert::CLEAR;
use crate::support::counters::Counters;
use crate::support::crowd::{Acceptor, Crowd, Made};
use crate::support::patient::{Done, Form, Patient};
use crate::support::raw::{ACK, SYN};
use crate::support::sock::{accept, set_option, set_tcp_option};
use crate::support::{Check, Lab, Netns, Raw, Run, Tracer, alone, ms, pause, scenario};

const PORT: &[&str] = &["--local-port", "8080"];

/// Long enough for what may have begun to be told.
const AFTERMATH: u64 = 1_500;

fn start(lab: &Lab) -> Tracer {
    Tracer::start(lab, &[CLEAR.as_slice(), PORT].concat())
}

fn grown(ns: &Netns, before: &Counters, name: &str) -> i64 {
    Counters::read(ns).get(name) - before.get(name)
}

/// A crowd at a listener that accepts at once.
fn crowd(lab: &Lab, crowd: Crowd) -> (Run, Made) {
    let acceptor = Acceptor::new(lab.b.listen_with(lab.b4_port(8080), 4096, |_| ()));
    let tracer = start(lab);
    let made = crowd.run(&lab.a);
    pause(AFTERMATH);
    let run = tracer.stop();
    assert!(acceptor.accepted() >= made.completed * 99 / 100, "{}", acceptor.accepted());
    (run, made)
}

/// Checks that a crowd came at the rate it was to come at, and was served.
#[track_caller]
fn served(made: &Made, rate: f64) {
    let have = made.completed as f64 / made.took.as_secs_f64();
    assert!(have >= rate * 0.8, "{have} connections a second: this machine is too slow");
    assert!(made.completed * 1_000 >= made.begun * 999, "{} of {}", made.completed, made.begun);
}

#[test]
fn idle_connections_with_keepalives() {
    scenario(|lab| {
        let listener = lab.b.listen(lab.b4_port(8080));
        let tracer = start(lab);
        let before = Counters::read(&lab.a);
        let keep = |stream: &TcpStream| {
            set_option(stream, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
            set_tcp_option(stream, libc::TCP_KEEPIDLE, 1);
            set_tcp_option(stream, libc::TCP_KEEPINTVL, 1);
        };
        let pairs: Vec<(TcpStream, TcpStream)> = (0..50)
            .map(|_| {
                let client = lab.a.connect(lab.b4_port(8080));
                keep(&client);
                (client, accept(&listener))
            })
            .collect();
        pause(4_000);
        let probes = grown(&lab.a, &before, "TcpExtTCPKeepAlive");
        assert!(probes >= 100, "{probes} keepalives");
        let run = tracer.stop();
        drop(pairs);
        run.fine().no_flood_but_perhaps(&[]);
        let _ = Check::of(run.end()).eq("syns", 50);
    });
}

#[test]
fn five_thousand_completing_a_second() {
    alone(|lab| {
        let plan = Crowd::new(lab.b4_port(8080), 5_000, Duration::from_secs(4));
        let (run, made) = crowd(lab, plan.from(lab.more_addresses(40)));
        served(&made, 5_000.0);
        // Nothing was there before: whether this is a crowd is a matter of taste.
        run.no_flood_but_perhaps(&["flash_crowd"]);
        let _ = Check::of(run.end()).within("syns", made.begun as f64..);
    });
}

#[test]
fn step_from_one_to_ten_thousand_completing() {
    alone(|lab| {
        let plan = Crowd::new(lab.b4_port(8080), 1_000, Duration::from_secs(5))
            .then(10_000, Duration::from_secs(4));
        let (run, made) = crowd(lab, plan.from(lab.more_addresses(40)));
        served(&made, 5_000.0);
        run.one_notice("flash_crowd");
    });
}

/// Connections through a path that loses 30 % either way. The listener completes what it can.
fn lossy(lab: &Lab, losses: impl FnOnce(&Lab)) {
    const RATE: u32 = 400;
    let before = [&lab.a, &lab.b].map(Counters::read);
    losses(lab);
    let plan = Crowd::new(lab.b4_port(8080), RATE, Duration::from_secs(6)).give_up(ms(1_500));
    let acceptor = Acceptor::new(lab.b.listen_with(lab.b4_port(8080), 4096, |_| ()));
    let tracer = start(lab);
    let made = plan.run(&lab.a);
    pause(AFTERMATH);
    let run = tracer.stop();
    drop(acceptor);
    let begun = made.begun as f64;
    let retried = grown(&lab.a, &before[0], "TcpExtTCPSynRetrans") as f64;
    // 51 % need more than one SYN.
    assert!(retried > begun * 0.4, "{retried} SYNs again of {begun}");
    assert!((0.6..0.99).contains(&(made.completed as f64 / begun)), "{made:?}");
    run.no_flood_but_perhaps(&["lossy_path"]);
    assert!(run.verdicts().contains("lossy_path"), "{}", run.alerts());
}

#[test]
fn thirty_percent_lost_on_the_way() {
    scenario(|lab| {
        lossy(lab, |lab| {
            lab.a.lose("output", "tcp dport 8080", 30);
            lab.a.lose("prerouting", "tcp sport 8080", 30);
        });
    });
}

#[test]
fn thirty_percent_lost_behind_the_hook() {
    scenario(|lab| {
        lossy(lab, |lab| {
            lab.b.lose("prerouting", "tcp dport 8080", 30);
            lab.a.lose("prerouting", "tcp sport 8080", 30);
        });
    });
}

/// Raw clients that answer after their time, at a listener with this backlog.
fn patient(lab: &Lab, backlog: i32, clients: &Patient) -> (Run, Done, Counters) {
    let acceptor = Acceptor::new(lab.b.listen_with(lab.b4_port(8080), backlog, |_| ()));
    let tracer = start(lab);
    let before = Counters::read(&lab.b);
    let done = clients.run(lab);
    pause(AFTERMATH);
    let run = tracer.stop();
    drop(acceptor);
    assert_eq!(done.completed, done.answered, "{done:?}");
    let _ = Check::of(run.end()).eq("syns", done.syns);
    (run, done, before)
}

#[test]
fn slow_clients_whose_cookies_come_back() {
    scenario(|lab| {
        let plan = Patient::new(lab.b4_port(8080), 2_000, 400, (ms(300), ms(600)));
        let (run, done, before) = patient(lab, 16, &plan);
        assert_eq!(done.completed, 2_000);
        let sent = grown(&lab.b, &before, "TcpExtSyncookiesSent");
        let came = grown(&lab.b, &before, "TcpExtSyncookiesRecv");
        assert!(sent > 1_500 && came * 100 > sent * 95, "{came} of {sent} cookies came back");
        // Its SYN queue is full, and that is said.
        run.no_flood_but_perhaps(&["queue_pressure", "flash_crowd"]);
    });
}

#[test]
fn accept_stalled_with_a_short_backlog() {
    scenario(|lab| {
        let addr = lab.b4_port(8080);
        let listener: TcpListener = lab.b.listen_with(addr, 16, |_| ());
        let tracer = start(lab);
        let before = Counters::read(&lab.b);
        let made =
            Crowd::new(addr, 300, Duration::from_secs(5)).stay().give_up(ms(200)).run(&lab.a);
        let overflows = grown(&lab.b, &before, "TcpExtListenOverflows");
        assert!(overflows > 500, "{overflows} overflows: {made:?}");
        pause(AFTERMATH);
        let run = tracer.stop();
        drop(listener);
        run.no_flood_but_perhaps(&["accept_queue_overload"]);
        let notice = run.one_notice("accept_queue_overload");
        let _ = Check::of(&notice["listener"]).eq("port", 8080);
    });
}

#[test]
fn syns_with_data() {
    scenario(|lab| {
        let plan = Patient::new(lab.b4_port(8080), 2_000, 500, (ms(20), ms(60)));
        let (run, done, _) = patient(lab, 1024, &plan.form(Form::Data));
        assert_eq!((done.syns, done.completed), (2_000, 2_000));
        run.no_flood_but_perhaps(&["flash_crowd"]);
    });
}

#[test]
fn syns_that_ask_for_ecn() {
    scenario(|lab| {
        lab.b.sysctl("ipv4/tcp_ecn", 1);
        let plan = Patient::new(lab.b4_port(8080), 2_000, 500, (ms(20), ms(60)));
        let (run, done, _) = patient(lab, 1024, &plan.form(Form::Ecn));
        assert_eq!((done.syns, done.completed), (2_000, 2_000));
        run.no_flood_but_perhaps(&["flash_crowd"]);
    });
}

#[test]
fn syns_that_come_twice() {
    scenario(|lab| {
        let plan = Patient::new(lab.b4_port(8080), 2_000, 500, (ms(20), ms(60)));
        let (run, done, _) = patient(lab, 1024, &plan.form(Form::Twice));
        assert_eq!((done.syns, done.completed), (4_000, 2_000));
        // Two CPUs that take up the same SYN at the same moment may both take it for new.
        let _ = Check::of(run.end()).within("syns_repeated", 1_998.0..=2_000.0);
        run.no_flood_but_perhaps(&["flash_crowd", "lossy_path"]);
    });
}

#[test]
fn fast_open() {
    scenario(|lab| {
        lab.a.sysctl("ipv4/tcp_fastopen", 0x5);
        lab.b.sysctl("ipv4/tcp_fastopen", 0x602);
        let addr = lab.b4_port(8080);
        let listener =
            lab.b.listen_with(addr, 4096, |s| set_tcp_option(s, libc::TCP_FASTOPEN, 4096));
        let acceptor = Acceptor::new(listener);
        let tracer = start(lab);
        let before = Counters::read(&lab.b);
        let made = Crowd::new(addr, 1_000, Duration::from_secs(4)).fast_open().run(&lab.a);
        let fast = grown(&lab.b, &before, "TcpExtTCPFastOpenPassive");
        assert!(fast as u64 >= made.begun * 9 / 10, "{fast} of {made:?}");
        pause(AFTERMATH);
        let run = tracer.stop();
        drop(acceptor);
        run.no_flood_but_perhaps(&["flash_crowd"]);
    });
}

#[test]
fn simultaneous_opens() {
    // Already more than anybody has ever seen; to many more it would be a scan, for all that the
    // SYNs tell.
    const N: u16 = 12;
    scenario(|lab| {
        let tracer = Tracer::start(lab, &CLEAR);
        let raw = Raw::new(lab);
        for port in 7_000..7_000 + N {
            let socket = lab.b.start_connect(lab.raw4_port(port), |_| ());
            let mut peer = raw.server(port);
            let theirs = peer.rcv;
            peer.send(SYN, b"");
            peer.expect("SYN-ACK", |s| s.is(SYN | ACK));
            peer.rcv = theirs;
            peer.send(ACK, b"");
            peer.reset();
            drop(socket);
        }
        pause(AFTERMATH);
        let run = tracer.stop_after(N.into());
        run.fine().no_flood_but_perhaps(&[]);
        let _ = Check::of(run.end()).eq("syns", N).eq("connections", N);
    });
}
