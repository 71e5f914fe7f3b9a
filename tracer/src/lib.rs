//! tracer: an eBPF connection-lifecycle tracer for Linux.
//!
//! The way of the data: hook → record in the ring ([`kernel`]) → decoded event ([`core::event`]) →
//! connection table ([`core`]) → records ([`core::record`]) → reports ([`report`])
//! and who else is told ([`sinks`]).

pub mod app;
pub mod capture;
pub mod cli;
pub mod core;
pub mod filter;
pub mod kernel;
pub mod metrics;
pub mod report;
pub mod sinks;
pub mod system;
pub mod top;
