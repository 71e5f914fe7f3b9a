//! Scenarios: the real binary against real sockets in network namespaces of the test's own.
//!
//! Every test makes its own namespaces and addresses, runs the tracer with a filter on them, makes
//! one thing happen to a TCP connection, and compares the records with what must stand there. Run
//! as root (`cargo xtask test` sees to it). `TRACER_BIN` names another binary than the one cargo
//! has just built. Tests whose names begin with `core_` need only `ip`, `nft` and `ss`, and also
//! run in a VM with older kernels (`TRACER_TEST_VM=1`).

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario that cannot go on fails by panicking"
)]

mod again;
mod capture;
mod check;
mod close;
mod core_vm;
mod detect;
mod errors;
mod fastopen;
mod filters;
mod flood;
mod flood_elsewhere;
mod flood_forms;
mod flood_none;
mod flood_verdicts;
mod formats;
mod half_open;
mod handshake;
mod hostile;
mod lifecycle;
mod load;
mod metrics;
mod middle;
mod netdev;
#[cfg(feature = "otlp")]
mod otlp;
mod owner;
mod page;
mod parser;
mod progress;
mod queues;
mod report;
mod reset;
mod support;
mod top;
mod troubleshooting;
mod unanswered;
mod write;
