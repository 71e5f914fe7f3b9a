//! Many short connections: connect, one request, one answer, close.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::lab::Lab;
use super::sock::{Talk as _, accept, connect_here, listen_here};
use super::{Child, Run, Value, wait_until};

const REQUEST: [u8; 16] = [1; 16];
const ANSWER: [u8; 32] = [2; 32];

/// A server process on host b that answers until it is dropped.
pub(crate) fn server(lab: &Lab, threads: usize) -> Child {
    let addr = lab.b4_port(8080);
    let mut child = Child::start(&lab.b, "load-server", move |control| {
        let listener = listen_here(addr, 1024, |_| ());
        for _ in 0..threads {
            let listener = listener.try_clone().expect("dup()");
            std::thread::spawn(move || {
                loop {
                    let (mut stream, _) = listener.accept().expect("accept()");
                    stream.hear(REQUEST.len());
                    stream.say(&ANSWER);
                    stream.hear_end();
                }
            });
        }
        control.done();
        control.wait();
    });
    child.wait_done();
    child
}

/// Clients on host a: `clients` at a time make `total` connections in all.
pub(crate) fn run(lab: &Lab, total: usize, clients: usize) {
    let addr: SocketAddr = lab.b4_port(8080);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                lab.a.run(|| {
                    while next.fetch_add(1, Ordering::Relaxed) < total {
                        let mut stream = connect_here(addr, |_| ()).expect("connect()");
                        stream.say(&REQUEST);
                        stream.hear(ANSWER.len());
                    }
                });
            });
        }
    });
    // On a busy machine a server's thread may be late to close.
    let left = "ss -Htn ( sport = :8080 or dport = :8080 )";
    wait_until("all connections are closed", Duration::from_secs(30), || {
        [&lab.a, &lab.b].into_iter().all(|ns| ns.sh(left).is_empty())
    });
}

/// One connection at a time, through a listener of this process.
pub(crate) fn one_by_one(lab: &Lab, total: usize) {
    let listener = lab.b.listen(lab.b4_port(8080));
    lab.a.run(|| {
        for _ in 0..total {
            drop(connect_here(lab.b4_port(8080), |_| ()).expect("connect()"));
            accept(&listener).hear_end();
        }
    });
}

/// Checks a run that lost events of clients: `sent` is how many the kernel side made (that is the
/// same for every connection of this kind, as long as nobody accepts). What is said must be true,
/// and what is not known null.
#[track_caller]
pub(crate) fn check_after_loss(run: &Run, sent: u64, connections: usize) {
    let end = run.end();
    let number = |name: &str| end[name].as_u64().unwrap_or_else(|| panic!("{name} in {end}"));
    let (events, lost) = (number("events"), number("events_lost"));
    assert!(lost > 0, "nothing was lost: {end}");
    assert_eq!(events + lost, sent, "{end}");
    assert_eq!(number("open"), 0, "left in the table: {}", run.dump());
    let records = run.connections();
    // A list of sockets can miss one that is alive (its hash bucket spans two messages): then its
    // record says that the end was lost, and what comes after makes another one, marked as well.
    let ends = records.iter().filter(|c| c["outcome"] != "unknown").count();
    assert!(ends <= connections, "{ends} of {connections}");
    let flagged = records.iter().filter(|c| c["events_lost"] == true).count();
    assert!(flagged > 0 || records.len() < connections, "{}", run.dump());
    let longest = end["duration_us"].as_f64().expect("a duration");
    let start = run.start()["time"].as_str().expect("a time");
    for record in records {
        let phases = record["phases_us"].as_object().expect("phases");
        let fields = record.as_object().into_iter().flatten().chain(phases);
        for (name, value) in fields {
            let is_duration = name.ends_with("_us") || phases.contains_key(name);
            if let (true, Some(us)) = (is_duration, value.as_f64()) {
                assert!(us <= longest, "{name} is longer than the run: {record}");
            }
        }
        assert!(record["time_start"].as_str() >= Some(start), "{record}");
        if record["events_lost"] == false {
            complete(record);
        }
    }
}

/// Checks a client's record of which nothing is missing.
#[track_caller]
pub(crate) fn complete(record: &Value) {
    let _ = super::Check::conn(record)
        .eq("role", "client")
        .eq("outcome", "closed")
        .eq("close_initiator", "local")
        .eq("handshake_source", "state")
        .within("handshake_us", 1.0..=60e6)
        .phases(&["syn_sent", "established", "fin_wait1", "fin_wait2"]);
}
