//! What the user side does with events, without a kernel: records as the ring holds them, through
//! the decoder, the core and a report.
//!
//! `cargo bench --bench replay` compares with the run before (Criterion); `--tables` prints what
//! `cargo xtask bench replay` does. The records are those of real connections, made and recorded at
//! the start, so it runs as root.

#![cfg(target_os = "linux")]
#![allow(
    missing_docs,
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

mod allocations;
#[path = "../cost/machine.rs"]
mod machine;
#[path = "../cost/paired.rs"]
mod paired;
#[path = "../cost/plan.rs"]
mod plan;
mod recording;
mod results;
mod stages;
#[path = "../../tests/scenarios/support/mod.rs"]
mod support;
#[path = "../cost/table.rs"]
mod table;
mod tables;

use std::time::Duration;

use criterion::Criterion;

use plan::Plan;
use recording::Recording;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let smoke = has("--smoke");
    let plan = Plan::new(smoke, None);
    let recording = Recording::make(plan.either(1_000, 50));
    if has("--tables") || smoke {
        tables::print(&plan, &recording);
    } else {
        let mut criterion = Criterion::default().configure_from_args();
        stages::run(&mut criterion, &plan, &recording);
        criterion.final_summary();
    }
}

/// Samples that Criterion takes of each.
fn samples(plan: &Plan) -> usize {
    plan.either(20, 10)
}

/// As much as a table needs.
fn brief(plan: &Plan) -> Criterion {
    let millis = |full, smoke| Duration::from_millis(plan.either(full, smoke));
    Criterion::default()
        .without_plots()
        .sample_size(samples(plan))
        .warm_up_time(millis(300, 1))
        .measurement_time(millis(2_000, 10))
}
