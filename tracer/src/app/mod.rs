//! Wires the parts together: kernel side, core, reports and the system around them.

mod alert;
mod devices;
mod flood;
mod pipeline;
mod run;
mod setup;
mod signals;

pub use run::run;
