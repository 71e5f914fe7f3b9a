//! Control segments: those with SYN, FIN or RST, and those that answer them. Which ones the packet
//! filter of `--write` lets through.
//!
//! A segment that answers is known by its acknowledgement number: what a SYN-ACK or a FIN asks for is
//! kept in a [`Table`] until something the other way acknowledges it. So of a connection's many ACKs
//! none passes but these, and that is decided in the kernel.

use crate::addr::Addr;
use crate::packet::{Located, Packet, Segment, tcp_flags};

/// One direction of a connection: key of the [`Table`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port, host order.
    pub src_port: u16,
    /// Destination port, host order.
    pub dst_port: u16,
    /// Zero.
    pub reserved: u32,
}

impl Flow {
    /// The direction in which a segment goes.
    #[inline(always)]
    #[must_use]
    pub const fn of(segment: &Segment) -> Self {
        Self {
            src: segment.src,
            dst: segment.dst,
            src_port: segment.src_port,
            dst_port: segment.dst_port,
            reserved: 0,
        }
    }

    /// The other direction.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            reserved: 0,
        }
    }
}

/// What a [`Flow`]'s segments have yet to answer.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Awaited {
    /// Acknowledges the SYN-ACK; with [`awaited::SYN_ACK`].
    pub syn_ack: u32,
    /// Acknowledges the FIN; with [`awaited::FIN`].
    pub fin: u32,
    /// The last answer: sequence and acknowledgement number, bytes of payload, and the interface it
    /// was seen on first; with [`awaited::ANSWERED`].
    pub answer: [u32; 4],
    /// See [`awaited`].
    pub what: u32,
}

/// Bits of [`Awaited::what`].
pub mod awaited {
    /// The ACK that completes a handshake.
    pub const SYN_ACK: u32 = 1 << 0;
    /// The ACK of a FIN.
    pub const FIN: u32 = 1 << 1;
    /// A challenge ACK: the answer to a SYN on a connection that is open, or to a RST whose number
    /// does not fit (RFC 5961, 3.2 and 4.2).
    pub const CHALLENGE: u32 = 1 << 2;
    /// An answer has been seen. It may be seen again on its way through another interface.
    pub const ANSWERED: u32 = 1 << 3;
}

/// Remembers what is awaited. It may forget: an answer is missed then, and nothing else.
pub trait Table {
    /// What is awaited of `flow`.
    fn get(&mut self, flow: &Flow) -> Option<Awaited>;
    /// Replaces it.
    fn set(&mut self, flow: &Flow, awaited: &Awaited);
}

/// Whether the segment opens, closes or resets a connection.
#[inline(always)]
#[must_use]
pub const fn is_control(flags: u8) -> bool {
    flags & (tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST) != 0
}

/// Whether a segment that is no control segment answers one. Notes that it did. `interface`: where
/// it was seen.
#[inline(always)]
pub fn answers(
    segment: &Segment,
    payload_len: u32,
    interface: u32,
    table: &mut impl Table,
) -> bool {
    segment.flags & tcp_flags::ACK != 0 && settle(segment, payload_len, interface, table)
}

/// Notes what a control segment awaits of the other side, and what it answers itself.
#[inline(always)]
pub fn control(segment: &Segment, payload_len: u32, interface: u32, table: &mut impl Table) {
    let flags = segment.flags;
    if flags & tcp_flags::ACK != 0 {
        settle(segment, payload_len, interface, table);
    }
    let other = Flow::of(segment).reversed();
    let after = segment.seq.wrapping_add(payload_len).wrapping_add(1);
    let awaited = if flags & tcp_flags::RST != 0 {
        Awaited { what: awaited::CHALLENGE, ..Awaited::default() }
    } else if flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN {
        // Whatever was awaited before belongs to an earlier connection.
        Awaited { what: awaited::CHALLENGE, ..Awaited::default() }
    } else if flags & tcp_flags::SYN != 0 {
        // Data in it (TCP Fast Open) need not be acknowledged at once.
        let syn_ack = segment.seq.wrapping_add(1);
        Awaited { syn_ack, what: awaited::SYN_ACK, ..Awaited::default() }
    } else {
        let before = table.get(&other).unwrap_or_default();
        // A challenge, and be it due, is no longer told from the ACK of the FIN.
        let what = before.what & awaited::SYN_ACK | awaited::FIN;
        Awaited { fin: after, what, ..before }
    };
    table.set(&other, &awaited);
}

/// Notes in the table what `segment`, which has ACK, answers; whether it answers anything.
#[inline(always)]
fn settle(segment: &Segment, payload_len: u32, interface: u32, table: &mut impl Table) -> bool {
    let flow = Flow::of(segment);
    let Some(mut awaited) = table.get(&flow) else { return false };
    let acknowledges = |number: u32| segment.ack.wrapping_sub(number).cast_signed() >= 0;
    let mut answered = 0;
    if awaited.what & awaited::SYN_ACK != 0 && acknowledges(awaited.syn_ack) {
        answered |= awaited::SYN_ACK;
    }
    if awaited.what & awaited::FIN != 0 && acknowledges(awaited.fin) {
        answered |= awaited::FIN;
    }
    // Without data; a SYN-ACK or a RST is the usual answer instead.
    let control = is_control(segment.flags);
    if awaited.what & awaited::CHALLENGE != 0 && (control || payload_len == 0) {
        answered |= awaited::CHALLENGE;
    }
    if answered == 0 {
        let [seq, ack, len, seen_on] = awaited.answer;
        return awaited.what & awaited::ANSWERED != 0
            && seq == segment.seq
            && ack == segment.ack
            && len == payload_len
            && seen_on != interface;
    }
    awaited.what = awaited.what & !answered | awaited::ANSWERED;
    awaited.answer = [segment.seq, segment.ack, payload_len, interface];
    table.set(&flow, &awaited);
    true
}

/// Bytes of payload of a located segment, by the lengths in its headers.
#[inline(always)]
pub fn payload_len<P: Packet>(packet: &P, at: Located) -> Option<u32> {
    // The length stands at byte 4 of an IPv6 header, where it leaves the header itself out, and at
    // byte 2 of an IPv4 header.
    let (field, counted_from) = if at.v6 { (at.ip + 2, at.ip + 40) } else { (at.ip, at.ip) };
    let [_, _, high, low] = packet.read::<[u8; 4]>(field)?;
    let end = counted_from as u32 + u16::from_be_bytes([high, low]) as u32;
    end.checked_sub(header_end(packet, at)?)
}

/// Where the TCP header of a located segment ends, bytes from the packet's start.
#[inline(always)]
pub fn header_end<P: Packet>(packet: &P, at: Located) -> Option<u32> {
    let [data_offset, ..] = packet.read::<[u8; 4]>(at.tcp + 12)?;
    let header_len = (data_offset >> 4) as u32 * 4;
    if header_len < 20 {
        return None;
    }
    Some(at.tcp as u32 + header_len)
}

/// What the packet filter of `--write` counts, of one CPU.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// When the second began that is being counted, `CLOCK_MONOTONIC` nanoseconds.
    pub since_ns: u64,
    /// Control segments that were let through in it: those with SYN, and the others.
    pub spent: [u32; 2],
    /// Control segments that were left out because there were too many.
    pub left_out: u64,
}

/// Control segments that are let through in a second on one CPU, those with SYN and the others each:
/// what a flood can make tracer keep.
pub const KEPT_PER_SECOND: u32 = 10_000;

/// Bytes of a packet that are handed to tracer, from its link-layer header on: room for an Ethernet
/// header with tags, an IPv6 header with extensions and a TCP header.
pub const SNAP_LEN: u32 = 256;

#[cfg(test)]
mod tests;
