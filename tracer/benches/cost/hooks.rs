//! What the kernel's own BPF statistics say of each program: ours, theirs, and the yardstick.

use std::collections::BTreeMap;

use aya::sys::{Stats, enable_stats};
use tracer::kernel::measure::{RESERVE, STATE_HOOK};

use crate::load::Stage;
use crate::paired::{Spread, ratios, rounds};
use crate::plan::Plan;
use crate::programs::{self, Runs};
use crate::support::pause;
use crate::table::{Table, figure, median, spread};
use crate::watcher::{Kind, Watcher};

const CONNECTIONS: usize = 20_000;
const KINDS: [Kind; 4] = [Kind::Reserve, Kind::TracerJson, Kind::Tcplife, Kind::Tcpstates];

/// Transitions of the two sockets of a connection, LISTEN→SYN_RECV included.
const TRANSITIONS: f64 = 10.0;

fn measure(kind: Kind, total: usize) -> Runs {
    let stage = Stage::new();
    let watcher = Watcher::start(&stage.ns, kind);
    let before = programs::of(watcher.pid());
    let load = stage.clients().closed(total);
    assert_eq!(load.failed, 0, "connections that failed");
    pause(100);
    let runs = programs::since(&programs::of(watcher.pid()), &before);
    watcher.stop();
    runs
}

/// Nanoseconds that these programs took together.
fn took(runs: &Runs, which: impl Fn(&str) -> bool) -> f64 {
    let of = runs.iter().filter(|(name, _)| which(name));
    of.map(|(_, (_, took))| took.as_nanos() as f64).sum()
}

/// Each program under the same load.
pub(crate) fn run(plan: &Plan) {
    let _statistics = enable_stats(Stats::RunTime).expect("BPF_ENABLE_STATS");
    let total = plan.either(CONNECTIONS, 200);
    let runs = rounds(plan.rounds, KINDS.len(), |n| measure(KINDS[n], total));
    println!(
        "Each BPF program while {} short connections are made at full speed over `lo`, as the \
         kernel counts (run statistics on, which costs each run some 20 ns):\n",
        figure(total as f64, 0)
    );
    let mut table =
        Table::new(&["program", "of", "runs per connection", "ns per run", "ns per connection"]);
    for (kind, rounds) in KINDS.into_iter().zip(&runs) {
        let mut by_name: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for (name, (count, took)) in rounds.iter().flatten() {
            by_name.entry(name).or_default().push((*count as f64, took.as_nanos() as f64));
        }
        for (name, values) in by_name {
            table.row([
                format!("`{name}`"),
                kind.name().to_owned(),
                median(values.iter().map(|(count, _)| count / total as f64), 2),
                spread(Spread::of(values.iter().map(|(count, ns)| ns / count)), 0),
                median(values.iter().map(|(_, ns)| ns / total as f64), 0),
            ]);
        }
    }
    table.print(plan);

    println!("Kernel time of a state transition, all programs at that hook together:\n");
    let mut table = Table::new(&["", "ns per transition", "÷ only reserve and submit"]);
    let at_hook = |kind: Kind, name: &str| match kind {
        Kind::TracerJson => STATE_HOOK.contains(&name),
        Kind::Reserve => name == RESERVE,
        // All of theirs are there.
        _ => true,
    };
    let each: Vec<Vec<f64>> = KINDS
        .into_iter()
        .zip(&runs)
        .map(|(kind, rounds)| {
            let took = |runs: &Runs| took(runs, |name| at_hook(kind, name));
            rounds.iter().map(|runs| took(runs) / total as f64 / TRANSITIONS).collect()
        })
        .collect();
    for (kind, each_of) in KINDS.into_iter().zip(&each) {
        table.row([
            kind.name().to_owned(),
            spread(Spread::of(each_of.iter().copied()), 0),
            spread(ratios(each_of, &each[0]), 2),
        ]);
    }
    table.print(plan);
}
