//! Connections out of a capture: `--read`.
//!
//! The way of the data: file → frames → [`segment::Captured`], a TCP segment as it passed the capture
//! point → the states of both its ends → the same [`core`](crate::core) and the same reports as live.

pub mod pcapng_writer;
pub mod segment;
