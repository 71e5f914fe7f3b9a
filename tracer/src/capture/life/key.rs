//! What names a connection in a capture, and which of its two ends is meant.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;

use tracer_common::addr::Addr;

use crate::capture::segment::Segment;

/// One end of a connection: that with the lower address and port, or the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Low,
    High,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Low, Self::High];

    pub(super) const fn peer(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }

    /// 0 or 1.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Low => 0,
            Self::High => 1,
        }
    }
}

/// Something of each end.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Pair<T> {
    low: T,
    high: T,
}

impl<T> Pair<T> {
    pub(super) const fn new(low: T, high: T) -> Self {
        Self { low, high }
    }

    pub(super) const fn of(&self, side: Side) -> &T {
        match side {
            Side::Low => &self.low,
            Side::High => &self.high,
        }
    }

    pub(super) const fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Low => &mut self.low,
            Side::High => &mut self.high,
        }
    }
}

/// The addresses and ports of a connection, the same for both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key {
    low: (Addr, u16),
    high: (Addr, u16),
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let ((low, low_port), (high, high_port)) = (self.low, self.high);
        for word in low.0.into_iter().chain(high.0) {
            hasher.write_u64(word);
        }
        hasher.write_u32(u32::from(low_port) << 16 | u32::from(high_port));
    }
}

impl Key {
    /// The key of a segment and the side that sent it; `None` for a socket that talks to itself:
    /// its two ends can't be told apart.
    pub(super) fn of(segment: &Segment) -> Option<(Self, Side)> {
        let src = (segment.src, segment.src_port);
        let dst = (segment.dst, segment.dst_port);
        match (src.0.0, src.1).cmp(&(dst.0.0, dst.1)) {
            std::cmp::Ordering::Less => Some((Self { low: src, high: dst }, Side::Low)),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some((Self { low: dst, high: src }, Side::High)),
        }
    }

    /// Address and port of an end, as they stand in the headers.
    pub(super) const fn raw(&self, side: Side) -> (Addr, u16) {
        match side {
            Side::Low => self.low,
            Side::High => self.high,
        }
    }

    /// Address and port of an end.
    pub(super) fn socket(&self, side: Side) -> SocketAddr {
        let (addr, port) = self.raw(side);
        addr.at(port)
    }
}
