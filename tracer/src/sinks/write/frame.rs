//! A packet as it goes into the file: an Ethernet frame, cut behind the TCP header.

use std::net::SocketAddr;

use tracer_common::control;
use tracer_common::packet::{self, Link, Segment};

use crate::capture::segment::Direction;
use crate::system::packet_socket::Received;

/// Bytes of the two addresses before an Ethernet header's type or tag.
const ADDRESSES: usize = 12;
/// Bytes of an Ethernet header.
const HEADER: usize = 14;
/// `ARPHRD_ETHER` and `ARPHRD_LOOPBACK`: their packets begin with an Ethernet header.
const ETHERNET: [u16; 2] = [1, 772];

/// A control segment, or one that answers it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    /// When, nanoseconds since the Unix epoch.
    pub(super) at: u64,
    /// Index of the interface.
    pub(super) interface: u32,
    pub(super) direction: Direction,
    pub(super) segment: Segment,
    /// Bytes of payload, of which none are kept.
    pub(super) payload_len: u32,
    /// From the Ethernet header to the end of the TCP header.
    pub(super) bytes: Vec<u8>,
    /// Bytes of the whole frame.
    pub(super) original_len: u32,
}

impl Frame {
    /// `None` for what is no TCP segment.
    ///
    /// An interface without Ethernet headers gets one made up, with addresses of zeros; a VLAN tag
    /// that the kernel took off is put back.
    pub(super) fn of(received: &Received<'_>) -> Option<Self> {
        let mut bytes = Vec::with_capacity(received.bytes.len() + HEADER);
        let mut original_len = received.len;
        if ETHERNET.contains(&received.arphrd) {
            bytes.extend(received.bytes.get(..ADDRESSES)?);
            if let Some((protocol, tci)) = received.vlan {
                bytes.extend(protocol.to_be_bytes());
                bytes.extend(tci.to_be_bytes());
                original_len += 4;
            }
            bytes.extend(received.bytes.get(ADDRESSES..)?);
        } else {
            bytes.extend([0; ADDRESSES]);
            bytes.extend(received.protocol.to_be_bytes());
            bytes.extend(received.bytes.get(received.network..)?);
            let before = u32::try_from(received.network).ok()?;
            original_len = received.len.saturating_sub(before) + HEADER as u32;
        }
        let at = packet::locate(&&*bytes, Link::Ethernet).ok()?;
        let segment = packet::segment(&&*bytes, at).ok()?;
        let payload_len = control::payload_len(&&*bytes, at)?;
        // What was said is nobody's business.
        bytes.truncate(control::header_end(&&*bytes, at)? as usize);
        bytes.shrink_to_fit();
        Some(Self {
            at: received.at,
            interface: received.interface,
            direction: if received.outgoing { Direction::Out } else { Direction::In },
            segment,
            payload_len,
            bytes,
            original_len,
        })
    }

    pub(super) fn src(&self) -> SocketAddr {
        self.segment.src.at(self.segment.src_port)
    }

    pub(super) fn dst(&self) -> SocketAddr {
        self.segment.dst.at(self.segment.dst_port)
    }
}

#[cfg(test)]
mod tests;
