//! What both formats say of a packet.

use std::io::Error;

use super::error::{CaptureError, Problem};
use crate::capture::link::LinkType;

/// What comes next in a capture.
pub(super) enum Step {
    /// A packet. Its bytes come next; then [`Frame::rest`], then its block's end.
    Frame(Frame),
    /// Something else, which has been taken.
    Other,
    /// The beginning of another capture.
    Begin,
    /// Nothing.
    End,
}

/// What a capture says of a packet.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    /// Where it begins in the stream.
    pub(super) begin: u64,
    /// Nanoseconds since the Unix epoch; `None` where the format has no time.
    pub(super) at: Option<u64>,
    /// Number in the table of interfaces.
    pub(super) interface: u32,
    pub(super) link: LinkType,
    /// Bytes captured.
    pub(super) captured: u32,
    /// Bytes there were.
    pub(super) original: u32,
    /// Bytes behind the packet, up to the block's last word.
    pub(super) rest: u64,
    pub(super) block: Option<Block>,
}

/// The block that a packet is in.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) kind: u32,
    /// Its length as its first words say.
    pub(super) len: u32,
    /// Big-endian.
    pub(super) big: bool,
}

/// The 32-bit word at `at`; 0 where the bytes end before it does.
#[inline]
pub(super) fn word(bytes: &[u8], at: usize, big: bool) -> u32 {
    let Some(bytes) = bytes.get(at..).and_then(|bytes| bytes.first_chunk()) else {
        return 0;
    };
    if big { u32::from_be_bytes(*bytes) } else { u32::from_le_bytes(*bytes) }
}

/// The 16-bit word at `at`; 0 where the bytes end before it does.
#[inline]
pub(super) fn half(bytes: &[u8], at: usize, big: bool) -> u16 {
    let Some(bytes) = bytes.get(at..).and_then(|bytes| bytes.first_chunk()) else {
        return 0;
    };
    if big { u16::from_be_bytes(*bytes) } else { u16::from_le_bytes(*bytes) }
}

/// The input could not be read.
pub(super) const fn io(at: u64, error: Error) -> CaptureError {
    CaptureError::new(at, Problem::Io(error))
}
