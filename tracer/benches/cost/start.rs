//! From exec() to the `start` record.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::load::Held;
use crate::paired::{Spread, rounds};
use crate::plan::Plan;
use crate::process::{self, Memory};
use crate::support::Netns;
use crate::support::tracer::command;
use crate::table::{Table, figure, spread};

/// Starts tracer, which is ended when it has said that it traces: milliseconds until then, and what
/// memory that took.
pub(crate) fn until_start(ns: &Netns) -> (f64, Memory) {
    let mut command = command(ns, &["-f", "json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let began = Instant::now();
    let mut child = command.spawn().expect("start tracer");
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("stdout"));
    stdout.read_line(&mut line).expect("the start record");
    let took = began.elapsed();
    assert!(line.contains("\"type\":\"start\""), "{line}");
    let memory = process::memory(child.id());
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    kill(pid, Signal::SIGINT).expect("kill()");
    std::io::copy(&mut stdout, &mut std::io::sink()).expect("the rest");
    child.wait().expect("wait");
    (took.as_secs_f64() * 1e3, memory)
}

pub(crate) fn run(plan: &Plan) {
    let sockets: [usize; 2] = [0, plan.either(10_000, 20)];
    let runs = rounds(plan.rounds * plan.either(2, 1), sockets.len(), |n| {
        let ns = Netns::new();
        let _held = Held::new(&ns, sockets[n]);
        until_start(&ns)
    });
    println!("From exec() to the `start` record, all namespaces, one interface (`lo`):\n");
    let mut table = Table::new(&["sockets open then", "ms", "peak RSS until then, MiB"]);
    for (sockets, of) in sockets.into_iter().zip(&runs) {
        table.row([
            figure(sockets as f64, 0),
            spread(Spread::of(of.iter().map(|(took, _)| *took)), 0),
            spread(Spread::of(of.iter().map(|(_, memory)| memory.peak)), 1),
        ]);
    }
    table.print(plan);
}
