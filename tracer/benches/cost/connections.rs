//! What watching every connection costs those who make them.

use crate::cpu::Busy;
use crate::load::{Stage, Yield};
use crate::paired::{Spread, differences, ratios, rounds};
use crate::plan::Plan;
use crate::table::{self, Table, count, figure, spread};
use crate::watcher::{Ended, Kind, Watcher};

const CONNECTIONS: usize = 40_000;

/// Those that people use, for the fixed rates.
const TOOLS: [Kind; 6] =
    [Kind::Nobody, Kind::Tracer, Kind::TracerJson, Kind::Tcplife, Kind::Tcpstates, Kind::Tcpdump];

/// What one run yielded.
struct Run {
    load: Yield,
    /// CPU seconds of the whole machine per 100,000 connections.
    cpu: f64,
    /// The watcher's own.
    own: f64,
    ended: Ended,
}

fn measure(plan: &Plan, kind: Kind, play: impl FnOnce(&Stage) -> Yield) -> Run {
    let stage = Stage::new();
    let watcher = Watcher::start(&stage.ns, kind);
    let busy = Busy::from_now();
    let load = play(&stage);
    // What is still being worked off is part of the cost.
    plan.settle();
    let busy = busy.so_far();
    let ended = watcher.stop();
    assert_eq!(load.failed, 0, "connections that failed");
    let each = 1e5 / load.made as f64;
    Run { cpu: busy.as_secs_f64() * each, own: ended.cpu.as_secs_f64() * each, ended, load }
}

fn column(runs: &[Run], of: impl Fn(&Run) -> f64) -> Vec<f64> {
    runs.iter().map(of).collect()
}

/// The most that any run lost, and did not write, where it is told.
fn losses(runs: &[Run]) -> [String; 2] {
    let most = |of: fn(&Ended) -> Option<u64>| runs.iter().map(|run| of(&run.ended)).max();
    [most(|ended| ended.lost), most(|ended| ended.dropped)].map(|most| count(most.flatten()))
}

/// A column that not every table has: its head, and the figure, of which the median is told.
type Column = (&'static str, fn(&Run) -> f64);

/// Prints a row for each watcher, held against the runs of the first, which has none.
fn print(plan: &Plan, kinds: &[Kind], runs: &[Vec<Run>], more: &[Column]) {
    let mut head = vec![
        "",
        "connections/s",
        "with ÷ without",
        "CPU s per 100k",
        "more than without",
        "of it the watcher's own",
    ];
    head.extend(more.iter().map(|(name, _)| *name));
    head.extend(["lost", "not written"]);
    let mut table = Table::new(&head);
    let rate = |run: &Run| run.load.per_second();
    let cpu = |run: &Run| run.cpu;
    for (kind, of) in kinds.iter().zip(runs) {
        let mut row = vec![
            kind.name().to_owned(),
            table::median(column(of, rate), 0),
            spread(ratios(&column(of, rate), &column(&runs[0], rate)), 3),
            table::median(column(of, cpu), 2),
            spread(differences(&column(of, cpu), &column(&runs[0], cpu)), 2),
            table::median(column(of, |run| run.own), 2),
        ];
        row.extend(more.iter().map(|(_, figure)| table::median(column(of, figure), 0)));
        row.extend(losses(of));
        table.row(row);
    }
    table.print(plan);
}

/// As many connections as the machine makes, by eight clients.
pub(crate) fn full_speed(plan: &Plan) {
    let total = plan.either(CONNECTIONS, 200);
    let runs = rounds(plan.rounds, Kind::ALL.len(), |n| {
        measure(plan, Kind::ALL[n], |stage| stage.clients().closed(total))
    });
    println!(
        "{} short connections over `lo`, both ends here, closed loop (8 clients), full speed:\n",
        figure(total as f64, 0)
    );
    print(plan, &Kind::ALL, &runs, &[]);
}

/// What is left of full speed when nobody watches.
fn half_of_full_speed(plan: &Plan) -> f64 {
    let total = plan.either(CONNECTIONS, 200);
    let rates = (0..plan.either(3, 1)).map(|_| {
        let run = measure(plan, Kind::Nobody, |stage| stage.clients().closed(total));
        run.load.per_second()
    });
    (Spread::of(rates).median / 200.0).round() * 100.0
}

/// A given number a second: few, and half of what the machine can do.
pub(crate) fn fixed_rates(plan: &Plan) {
    let tools = plan.few(&TOOLS);
    for rate in [2_000.0, half_of_full_speed(plan)] {
        let seconds = plan.either(1.5, 0.05);
        let total = (rate * seconds) as usize;
        let runs = rounds(plan.rounds, tools.len(), |n| {
            measure(plan, tools[n], |stage| stage.clients().open(total, rate))
        });
        println!(
            "{} short connections/s over `lo`, open loop; a connection's time runs from when it was \
             to begin until both ends are closed:\n",
            figure(rate, 0)
        );
        print(plan, tools, &runs, &LATENCIES);
    }
}

/// What an open loop can tell.
const LATENCIES: [Column; 3] = [
    ("p50 µs", |run| run.load.latency_at(0.5)),
    ("p99 µs", |run| run.load.latency_at(0.99)),
    ("began late, p99 µs", |run| run.load.late_at(0.99)),
];

/// One run with tracer, for a profiler.
pub(crate) fn profile(plan: &Plan) {
    let total = plan.either(4 * CONNECTIONS, 200);
    let run = measure(plan, Kind::TracerJson, |stage| stage.clients().closed(total));
    println!("{:.0} connections/s", run.load.per_second());
}
