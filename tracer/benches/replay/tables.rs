//! The same as tables.

use std::io::Write as _;

use nix::unistd::{dup, dup2_stdout};

use crate::allocations::counted;
use crate::plan::Plan;
use crate::recording::Recording;
use crate::results::millions;
use crate::stages::{self, BY_HOSTS, BY_LIVE, GROUP, STAGES, Stage, Way, host_counts, live_counts};
use crate::table::{Table, figure, spread};
use crate::{brief, machine, samples};

/// Replays of which the allocations are counted.
const TIMES: u32 = 4;

/// Measures, with what Criterion says on its way kept off stdout.
fn measure(plan: &Plan, recording: &Recording, directory: &std::path::Path) {
    let stdout = dup(std::io::stdout()).expect("dup()");
    dup2_stdout(std::io::stderr()).expect("dup2()");
    stages::run(&mut brief(plan).output_directory(directory), plan, recording);
    std::io::stdout().flush().expect("stdout");
    dup2_stdout(stdout).expect("dup2()");
}

pub(crate) fn print(plan: &Plan, recording: &Recording) {
    let directory = tempfile::tempdir().expect("a directory");
    measure(plan, recording, directory.path());
    let of = |group: &str, name: &str| {
        let each = millions(directory.path(), group, name, recording.events());
        spread(each, 2)
    };
    println!("{}\n", machine::describe(&format!("samples: {}", samples(plan))));
    let events = recording.events() as f64 / recording.connections as f64;
    println!(
        "Records of real short connections ({} a socket), replayed as ever new ones from 1,000 \
         hosts on one core; Criterion's samples. Each stage with those before it (text \
         and JSON Lines with the core):\n",
        figure(events, 1)
    );
    let mut table = Table::new(&["stage", "million events/s"]);
    for (stage, _) in STAGES {
        table.row([stage.to_owned(), of(GROUP, stage)]);
    }
    table.print(plan);

    println!("The core by the number of remote hosts (4,096 have figures of their own):\n");
    let mut table = Table::new(&["hosts", "million events/s", "KiB of memory"]);
    for hosts in host_counts(plan) {
        let memory = memory_of_hosts(recording, hosts) / 1024.0;
        table.row([figure(hosts.into(), 0), of(BY_HOSTS, &hosts.to_string()), figure(memory, 0)]);
    }
    table.print(plan);

    println!("The core by the number of connections that are open besides:\n");
    let mut table = Table::new(&["live", "million events/s", "bytes per live connection"]);
    for live in live_counts(plan) {
        table.row([
            figure(live as f64, 0),
            of(BY_LIVE, &live.to_string()),
            match live {
                0 => "–".to_owned(),
                live => figure(bytes_each(recording, live), 0),
            },
        ]);
    }
    table.print(plan);

    println!("What is asked of the allocator once the tables have grown:\n");
    let mut table = Table::new(&["stage", "allocations per connection"]);
    for (name, stage) in STAGES {
        table.row([name.to_owned(), figure(allocations(recording, stage), 2)]);
    }
    table.print(plan);
}

/// Bytes that a core holds after connections with so many hosts, at most two million of them.
fn memory_of_hosts(recording: &Recording, hosts: u32) -> f64 {
    let before = counted().bytes;
    let mut way = Way::new(recording);
    let mut records = Vec::new();
    let rounds = (hosts as usize).div_ceil(recording.connections).max(2);
    for n in 0..u32::try_from(rounds).expect("few rounds") {
        recording.again(n, hosts, &mut records);
        way.take(Stage::Core, &records);
    }
    drop(records);
    let after = counted().bytes;
    drop(way);
    (after - before) as f64
}

/// Bytes that each of so many open connections takes.
fn bytes_each(recording: &Recording, live: usize) -> f64 {
    let openings = recording.openings(live);
    let mut way = Way::new(recording);
    let before = counted().bytes;
    way.take(Stage::Core, &openings);
    let after = counted().bytes;
    let (_, open) = way.connections();
    assert_eq!(open, live as u64, "open connections");
    (after - before) as f64 / live as f64
}

fn allocations(recording: &Recording, stage: Stage) -> f64 {
    let mut way = Way::new(recording);
    let mut records = Vec::new();
    recording.again(0, 1_000, &mut records);
    way.take(stage, &records);
    let (mut calls, mut ended) = (0, 0);
    for n in 1..=TIMES {
        recording.again(n, 1_000, &mut records);
        let before = counted().calls;
        way.take(stage, &records);
        calls += counted().calls - before;
        ended += recording.connections;
    }
    calls as f64 / ended as f64
}
