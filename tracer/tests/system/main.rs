//! What tracer asks the system, asked of the real one. Needs root: makes network namespaces and
//! cgroups of its own, and removes them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what went wrong by panicking, in its helpers too"
)]

mod alerts;
mod cgroups;
mod interfaces;
mod sockets;
mod support;
