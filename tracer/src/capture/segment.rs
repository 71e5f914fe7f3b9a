//! A TCP segment as it passed the capture point.

pub use tracer_common::packet::{FastOpen, Options, Segment, Timestamps};

use crate::core::event::MonoNs;

/// Which way a packet went, as the capturing host saw it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// It came in.
    In,
    /// The host sent it.
    Out,
}

/// A TCP segment as it passed the capture point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Captured {
    /// When: in a capture, nanoseconds since the Unix epoch.
    pub at: MonoNs,
    /// Number of its frame, counted from 1 as Wireshark does.
    pub number: u64,
    /// The interface in the reader's table; 0 in a pcap file.
    pub interface: u32,
    /// Which way it went; `None` where the capture does not say.
    pub direction: Option<Direction>,
    /// Addresses, ports, numbers and flags.
    pub segment: Segment,
    /// Bytes of payload by the lengths in the headers: also where less of them was captured.
    pub payload_len: u32,
    /// Window as it stands in the header, not scaled.
    pub window: u16,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// TCP options.
    pub options: Options,
}

impl Captured {
    /// Where it passed: a number for each interface and way. On another one it is on its way further.
    #[must_use]
    pub const fn place(&self) -> u32 {
        let direction = match self.direction {
            None => 0,
            Some(Direction::In) => 1,
            Some(Direction::Out) => 2,
        };
        self.interface << 2 | direction
    }
}
