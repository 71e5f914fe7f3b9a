//! Connections out of a capture: `--read`.
//!
//! The way of the data: file ([`file`]) → frames → [`segment::Captured`], a TCP segment as it passed the
//! capture point → the states of both its ends → the same [`core`](crate::core) and the same reports as
//! live.

mod decap;
pub mod file;
pub mod flood;
pub mod life;
pub mod link;
mod parse;
pub mod pcapng_writer;
#[cfg(test)]
mod samples;
pub mod segment;
