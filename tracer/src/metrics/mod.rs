//! What is counted for those who watch a fleet: counters, gauges and histograms, by their names.
//!
//! [`Metrics`] takes in records and standings and gives [`Family`]s: plain values that know no
//! format and no protocol. Who sends them out turns them into one.
//!
//! The names, units and labels follow Prometheus' and OpenMetrics' conventions; each has its one
//! home in [`catalogue`]. No label holds what a stranger chooses: no remote address, no name of a
//! process. The number of series is bounded, see [`Config`].

mod accumulate;
pub mod catalogue;
mod family;
mod hooks;
mod incidents;
mod ports;
mod process;
#[cfg(test)]
mod tests;

pub use accumulate::{Config, Metrics};
pub use family::{Descriptor, Family, Histogram, Kind, Labels, Number, Series, Unit, Value};
