//! What tracer costs, beside its peers: `cargo xtask bench`. Prints tables and asserts nothing about
//! speed: this is for people, who know whether their machine is quiet.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot go on ends with its reason"
)]
#![allow(dead_code, unused_imports, reason = "the scenarios' support, of which a part is used here")]

mod connections;
mod cpu;
mod paired;
mod short;
#[path = "../../tests/scenarios/support/mod.rs"]
mod support;
mod watcher;

fn main() {
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    if wanted("connections") {
        connections::full_speed();
    }
    if only.iter().any(|only| only == "profile") {
        connections::profile();
    }
    if wanted("rates") {
        connections::fixed_rates();
    }
}
