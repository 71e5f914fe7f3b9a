//! What watching every connection costs those who make them.

use std::time::Duration;

use crate::cpu;
use crate::paired::{Spread, ratios, rounds};
use crate::short::Stage;
use crate::support::pause;
use crate::watcher::{Kind, Watcher};

const ROUNDS: usize = 5;
const CONNECTIONS: usize = 40_000;

/// What one run yielded.
struct Yield {
    per_second: f64,
    /// CPU seconds of the whole machine per 100,000 connections.
    cpu: f64,
    last: String,
}

fn measure(kind: Kind, play: impl FnOnce(&Stage) -> Duration, connections: usize) -> Yield {
    let stage = Stage::new();
    let watcher = Watcher::start(&stage.ns, kind);
    let before = cpu::busy();
    let took = play(&stage);
    // What is still being worked off is part of the cost.
    pause(300);
    let busy = cpu::busy() - before;
    let last = watcher.stop();
    Yield {
        per_second: connections as f64 / took.as_secs_f64(),
        cpu: busy.as_secs_f64() * 1e5 / connections as f64,
        last,
    }
}

fn print(yielded: &[Vec<Yield>]) {
    let column = |n: usize, of: fn(&Yield) -> f64| -> Vec<f64> {
        yielded[n].iter().map(of).collect()
    };
    println!("| | connections/s | with ÷ without | least–most | CPU s per 100k | more than without |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (n, kind) in Kind::ALL.into_iter().enumerate() {
        let rate = ratios(&column(n, |y| y.per_second), &column(0, |y| y.per_second));
        let more: Vec<f64> = column(n, |y| y.cpu)
            .iter()
            .zip(column(0, |y| y.cpu))
            .map(|(with, without)| with - without)
            .collect();
        println!(
            "| {} | {:.0} | {:.3} | {:.2}–{:.2} | {:.2} | {:+.2} |",
            kind.name(),
            Spread::of(column(n, |y| y.per_second)).median,
            rate.median,
            rate.least,
            rate.most,
            Spread::of(column(n, |y| y.cpu)).median,
            Spread::of(more).median,
        );
    }
    for (n, kind) in Kind::ALL.into_iter().enumerate().skip(1).take(2) {
        println!("{}: {}", kind.name(), yielded[n].last().map_or("", |y| y.last.as_str()));
    }
}

/// As many connections as the machine makes, by eight clients.
pub(crate) fn full_speed() {
    println!("## {CONNECTIONS} connections over lo, closed loop\n");
    let yielded = rounds(ROUNDS, Kind::ALL.len(), |n| {
        measure(Kind::ALL[n], |stage| stage.full_speed(CONNECTIONS), CONNECTIONS)
    });
    print(&yielded);
}

/// A given number a second.
pub(crate) fn fixed_rates() {
    for rate in [2_000.0, 8_000.0] {
        let total = (rate * 4.0) as usize;
        println!("\n## {rate} connections/s over lo, open loop\n");
        let yielded = rounds(ROUNDS, Kind::ALL.len(), |n| {
            measure(Kind::ALL[n], |stage| stage.at_rate(total, rate), total)
        });
        print(&yielded);
    }
}

/// One run with tracer, for a profiler.
pub(crate) fn profile() {
    let one = measure(Kind::Tracer, |stage| stage.full_speed(4 * CONNECTIONS), 4 * CONNECTIONS);
    println!("{:.0} connections/s; {}", one.per_second, one.last);
}
