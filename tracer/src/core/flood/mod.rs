//! Is it a flood, of what kind, and with what evidence. Sans-IO: ticks, samples and events in,
//! records out.

pub mod sample;
pub mod tick;
