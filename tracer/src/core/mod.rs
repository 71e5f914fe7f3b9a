//! The sans-IO heart: events and time in, records out. No clock, no socket, no aya type.

pub mod event;
pub mod record;
