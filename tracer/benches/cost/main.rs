//! What tracer costs and how right it is, beside its peers: `cargo xtask bench`. Prints tables in
//! Markdown and asserts nothing about them: this is for people, who know whether their machine is
//! quiet. With `--smoke` everything is tiny, and what is asserted is that the figures come out.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot go on ends with its reason"
)]
#![allow(
    dead_code,
    unused_imports,
    reason = "the scenarios' support, of which a part is used here"
)]

mod accuracy;
mod capture;
mod connections;
mod cpu;
mod flood;
mod hooks;
mod load;
mod machine;
mod paired;
mod plan;
mod process;
mod programs;
mod scale;
mod start;
#[path = "../../tests/scenarios/support/mod.rs"]
mod support;
mod syn_hook;
mod table;
mod traffic;
mod watcher;

use clap::Parser;

use plan::Plan;

/// Measures what tracer costs.
#[derive(Parser)]
struct Options {
    /// Parts, in this order; without any, all but `profile`
    parts: Vec<String>,
    /// Everything tiny, only to see that the figures come out
    #[arg(long)]
    smoke: bool,
    /// Paired rounds of each part; more of them, less noise
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: Option<u16>,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part's name, and what prints its tables.
type Part = (&'static str, fn(&Plan));

const PARTS: &[Part] = &[
    ("connections", connections::full_speed),
    ("rates", connections::fixed_rates),
    ("hooks", hooks::run),
    ("syn-hook", syn_hook::run),
    ("traffic", traffic::run),
    ("flood", flood::run),
    ("scale", scale::run),
    ("accuracy", accuracy::run),
    ("start", start::run),
    ("capture", capture::run),
];

/// One that prints no table: a load with tracer, for a profiler.
const PROFILE: Part = ("profile", connections::profile);

fn main() {
    let options = Options::parse();
    let plan = Plan::new(options.smoke, options.rounds.map(usize::from));
    let find = |name: &String| {
        let part = PARTS.iter().chain([&PROFILE]).find(|(known, _)| known == name);
        part.unwrap_or_else(|| panic!("there is no part {name}; there are: {}", names()))
    };
    let chosen: Vec<&Part> = match options.parts.as_slice() {
        [] => PARTS.iter().collect(),
        parts => parts.iter().map(find).collect(),
    };
    for (name, run) in chosen {
        eprintln!("{name} …");
        println!("{}\n", machine::describe(&format!("paired rounds: {}", plan.rounds)));
        run(&plan);
    }
}

fn names() -> String {
    PARTS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
