//! While a SYN flood runs: what the host still takes, and how honest clients fare.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::time::Duration;

use crate::load::{Arsenal, Clients, PORT, Yield, counted, server};
use crate::paired::{Spread, ratios, rounds};
use crate::plan::Plan;
use crate::support::flood::{Flood, MAX_COUNT, swallow_answers};
use crate::support::lab::{MAC_B, mac};
use crate::support::{Child, Lab, pause};
use crate::table::{self, Table, figure, spread};
use crate::watcher::{Ended, Kind, Watcher};

/// tracer's arguments; `None`: nobody watches.
type Subject = (&'static str, Option<&'static [&'static str]>);

const SUBJECTS: [Subject; 5] = [
    ("nobody", None),
    ("tracer", Some(&[])),
    ("tracer, tcx", Some(&["--syn-hook", "tcx"])),
    ("tracer, XDP generic", Some(&["--syn-hook", "xdp", "--xdp-mode", "generic"])),
    ("tracer, XDP native", Some(&["--syn-hook", "xdp", "--xdp-mode", "native"])),
];

/// Addresses of host b that honest clients connect to. A port waits in TIME_WAIT after each connection
/// to one of them; were there fewer, who connects faster would have longer to look for one.
const HONEST: std::ops::Range<u8> = 20..24;

/// Host b with a server, and somebody who watches there.
struct Scene {
    lab: Lab,
    _server: Child,
    watcher: Watcher,
}

impl Scene {
    fn new((_, arguments): Subject) -> Self {
        let lab = Lab::new();
        swallow_answers(&lab);
        lab.b.sysctl("ipv4/tcp_syncookies", 1);
        for host in HONEST {
            let addr = lab.other4(host);
            lab.b.sh(&format!("ip addr add {addr}/24 dev vb"));
            // As for b's first address: a flood may drown the question.
            let mac = mac(MAC_B);
            lab.a.sh(&format!("ip neigh replace {addr} lladdr {mac} dev va nud permanent"));
        }
        let server = server(&lab.b, PORT, Duration::ZERO);
        let mut words = arguments.unwrap_or_default().to_vec();
        words.extend(["--iface", "vb"]);
        let watcher = match arguments {
            None => Watcher::start(&lab.b, Kind::Nobody),
            Some(_) => Watcher::start_with(&lab.b, Kind::TracerJson, &words),
        };
        Self { lab, _server: server, watcher }
    }
}

/// As many SYNs as one CPU can send.
struct Taken {
    sent: f64,
    answered: f64,
    ended: Ended,
}

fn as_fast_as_it_goes(plan: &Plan, arsenal: &OnceCell<Arsenal>, subject: Subject) -> Taken {
    let scene = Scene::new(subject);
    let lab = &scene.lab;
    // Addresses are the same in every lab of this process.
    let count = plan.either(500_000, 60_000);
    let arsenal = arsenal.get_or_init(|| Arsenal::new(lab.b4_port(PORT), count));
    let time = plan.seconds(1.5);
    // The backlog fills, and cookies begin.
    let first = arsenal.fire(lab, 0, plan.seconds(0.2));
    let (_, before) = counted(&lab.b, "sink");
    let sent = arsenal.fire(lab, first, time) as f64 / time.as_secs_f64();
    // Where the answers go.
    let answered = (counted(&lab.b, "sink").1 - before) as f64 / time.as_secs_f64();
    Taken { sent, answered, ended: scene.watcher.stop() }
}

fn most(plan: &Plan) {
    let arsenal = OnceCell::new();
    let subjects = plan.few(&SUBJECTS);
    let runs =
        rounds(plan.rounds, subjects.len(), |n| as_fast_as_it_goes(plan, &arsenal, subjects[n]));
    println!(
        "SYNs from random sources over veth as fast as one CPU sends them, to a listener whose \
         backlog is full, so that each is answered with a cookie:\n"
    );
    let mut table = Table::new(&[
        "",
        "SYN/s sent",
        "with ÷ without",
        "SYN/s answered",
        "with ÷ without",
        "tracer's RSS, MiB",
    ]);
    for ((name, arguments), of) in subjects.iter().zip(&runs) {
        let column =
            |runs: &[Taken], of: fn(&Taken) -> f64| -> Vec<f64> { runs.iter().map(of).collect() };
        let ratio = |what: fn(&Taken) -> f64| ratios(&column(of, what), &column(&runs[0], what));
        table.row([
            (*name).to_owned(),
            table::median(column(of, |run| run.sent), 0),
            spread(ratio(|run| run.sent), 3),
            table::median(column(of, |run| run.answered), 0),
            spread(ratio(|run| run.answered), 3),
            match arguments {
                None => "–".to_owned(),
                Some(_) => {
                    let rss = |run: &Taken| run.ended.memory.map_or(f64::NAN, |memory| memory.rss);
                    spread(Spread::of(of.iter().map(rss)), 1)
                }
            },
        ]);
    }
    table.print(plan);
}

/// Honest clients under a flood of so many SYNs a second.
struct Honest {
    closed: Yield,
    open: Yield,
}

fn honest(plan: &Plan, rate: u32, subject: Subject) -> Honest {
    let scene = Scene::new(subject);
    let lab = &scene.lab;
    let time = plan.seconds(1.2);
    let honest = std::thread::scope(|scope| {
        if rate > 0 {
            let lasting = time * 2 + Duration::from_millis(400);
            let count = (f64::from(rate) * lasting.as_secs_f64()) as u32;
            let flood = Flood::new(lab.b4_port(PORT), count.min(MAX_COUNT), rate);
            scope.spawn(move || flood.run(lab));
            pause(200);
        }
        let targets = || HONEST.map(|host| SocketAddr::from((lab.other4(host), PORT)));
        let clients = || Clients::new(&lab.a, targets().collect()).threads(4);
        let open = 500.0 * time.as_secs_f64();
        Honest { closed: clients().closed_for(time), open: clients().open(open as usize, 500.0) }
    });
    scene.watcher.stop();
    honest
}

fn fare(plan: &Plan) {
    println!(
        "Honest clients beside a flood: short connections of four clients, closed loop; then 500 a \
         second, open loop, with the time from when one was to begin until both ends are closed:\n"
    );
    let mut table = Table::new(&[
        "flood, SYN/s",
        "watched by",
        "connections/s",
        "with ÷ without",
        "p50 µs",
        "p99 µs",
        "p99, with ÷ without",
        "failed",
    ]);
    let subjects = &SUBJECTS[..2];
    for rate in plan.few(&[0, 20_000, 100_000]).iter().copied() {
        let runs = rounds(plan.rounds, subjects.len(), |n| honest(plan, rate, subjects[n]));
        for ((name, _), of) in subjects.iter().zip(&runs) {
            let column = |runs: &[Honest], of: fn(&Honest) -> f64| -> Vec<f64> {
                runs.iter().map(of).collect()
            };
            let ratio =
                |what: fn(&Honest) -> f64| ratios(&column(of, what), &column(&runs[0], what));
            let failed: usize = of.iter().map(|run| run.closed.failed + run.open.failed).sum();
            table.row([
                figure(f64::from(rate), 0),
                (*name).to_owned(),
                table::median(column(of, |run| run.closed.per_second()), 0),
                spread(ratio(|run| run.closed.per_second()), 3),
                table::median(column(of, |run| run.open.latency_at(0.5)), 0),
                spread(Spread::of(column(of, |run| run.open.latency_at(0.99))), 0),
                spread(ratio(|run| run.open.latency_at(0.99)), 2),
                figure(failed as f64, 0),
            ]);
        }
    }
    table.print(plan);
}

pub(crate) fn run(plan: &Plan) {
    most(plan);
    fare(plan);
}
