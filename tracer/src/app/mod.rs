//! Wires the parts together: kernel side, core, reports and the system around them.

mod alert;
mod check;
mod devices;
mod failures;
mod flood;
mod instead;
mod look;
mod outlet;
mod output;
mod pipeline;
mod read;
mod run;
mod setup;
mod signals;
mod sinks;
mod start;

pub use run::run;
