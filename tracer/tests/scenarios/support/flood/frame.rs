//! One frame of a flood, from its Ethernet header to its TCP options.

use std::net::IpAddr;

use super::{Flood, Packet};

/// Which segment is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One that opens a connection.
    Syn,
    /// The answer to one: backscatter, if nobody asked.
    SynAck,
    /// What refuses the SYN-ACK that answered the same flood's SYN.
    Rst,
}

/// How a packet departs from the usual form.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shape {
    /// VLAN tags, outermost first: TPID and VLAN id.
    pub(crate) tags: &'static [(u16, u16)],
    /// IPv4: bytes of options, a multiple of four up to 40.
    pub(crate) options: u8,
    /// IPv6: extension headers before TCP (hop-by-hop first, then destination options).
    pub(crate) extensions: u8,
    /// A fragment: its offset in units of eight bytes, and whether more follow.
    pub(crate) fragment: Option<(u16, bool)>,
    /// A TCP header that is not all there.
    pub(crate) cut: Option<Cut>,
}

/// How a TCP header is cut short.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// The packet ends after so many bytes of it, and the IP header says so.
    Packet(usize),
    /// The IP header says that it ends after so many bytes of it; what follows in the frame is
    /// no part of the packet, whatever it looks like.
    Padded(usize),
    /// It claims 40 bytes of options, and the packet ends before them.
    Options,
}

/// IEEE 802.1Q.
pub(crate) const VLAN: u16 = 0x8100;
/// IEEE 802.1ad: the outer tag of two.
pub(crate) const SERVICE_VLAN: u16 = 0x88a8;

const TCP: u8 = 6;

/// Builds it; sums are right wherever the packet is whole.
pub(super) fn build(flood: &Flood, packet: &Packet, macs: ([u8; 6], [u8; 6])) -> Vec<u8> {
    let shape = &flood.shape;
    let tcp = segment(flood, packet);
    let (carried, counted) = match shape.cut {
        Some(Cut::Packet(len)) => (&tcp[..len], len),
        Some(Cut::Padded(len)) => (&tcp[..], len),
        Some(Cut::Options) | None => (&tcp[..], tcp.len()),
    };
    let mut frame = Vec::with_capacity(128);
    frame.extend(macs.1);
    frame.extend(macs.0);
    for (tpid, id) in shape.tags {
        frame.extend(tpid.to_be_bytes());
        frame.extend(id.to_be_bytes());
    }
    match (packet.source, flood.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend(0x0800_u16.to_be_bytes());
            let header = 20 + usize::from(shape.options);
            let mut ip = vec![0; header];
            ip[0] = 0x40 | u8::try_from(header / 4).expect("a length");
            ip[2..4].copy_from_slice(&length(header + counted).to_be_bytes());
            ip[4..6].copy_from_slice(&(packet.isn as u16).to_be_bytes());
            let (offset, more) = shape.fragment.unwrap_or_default();
            ip[6..8].copy_from_slice(&(u16::from(more) << 13 | offset).to_be_bytes());
            ip[8] = 64;
            ip[9] = TCP;
            ip[12..16].copy_from_slice(&from.octets());
            ip[16..20].copy_from_slice(&to.octets());
            // "No operation" (RFC 791).
            ip[20..].fill(1);
            let sum = checksum(&[&ip]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend(ip);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame.extend(0x86dd_u16.to_be_bytes());
            let (first, extensions) = extensions(shape, packet.isn);
            frame.extend([0x60, 0, 0, 0]);
            frame.extend(length(extensions.len() + counted).to_be_bytes());
            frame.extend([first, 64]);
            frame.extend(from.octets());
            frame.extend(to.octets());
            frame.extend(extensions);
        }
        (from, to) => panic!("from {from} to {to}"),
    }
    frame.extend(carried);
    frame
}

fn length(n: usize) -> u16 {
    u16::try_from(n).expect("a length")
}

/// What stands between the IPv6 header and TCP, and the number of the first of it (RFC 8200).
fn extensions(shape: &Shape, id: u32) -> (u8, Vec<u8>) {
    const HOP_BY_HOP: u8 = 0;
    const DESTINATION: u8 = 60;
    const FRAGMENT: u8 = 44;
    let mut numbers = Vec::new();
    for n in 0..shape.extensions {
        numbers.push(if n == 0 { HOP_BY_HOP } else { DESTINATION });
    }
    if shape.fragment.is_some() {
        numbers.push(FRAGMENT);
    }
    numbers.push(TCP);
    let mut bytes = Vec::new();
    for pair in numbers.windows(2) {
        if pair[0] == FRAGMENT {
            let (offset, more) = shape.fragment.unwrap_or_default();
            bytes.extend([pair[1], 0]);
            bytes.extend((offset << 3 | u16::from(more)).to_be_bytes());
            bytes.extend(id.to_be_bytes());
        } else {
            // 16 bytes, of which 12 are an option that whoever does not know it skips (RFC 4727).
            bytes.extend([pair[1], 1, 0x1e, 12]);
            bytes.extend([0; 12]);
        }
    }
    (numbers[0], bytes)
}

/// The TCP header with a maximum segment size, as any SYN has it.
fn segment(flood: &Flood, packet: &Packet) -> Vec<u8> {
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    let (seq, ack, flags) = match flood.kind {
        Kind::Syn => (packet.isn, 0, SYN),
        Kind::SynAck => (packet.isn, packet.isn ^ 0x5555_5555, SYN | ACK),
        // RFC 9293, 3.10.7.1: the number that the SYN-ACK asked for.
        Kind::Rst => (packet.isn.wrapping_add(1), 0, RST),
    };
    let options: &[u8] = if flood.kind == Kind::Rst { &[] } else { &[2, 4, 0x05, 0xb4] };
    let mut tcp = Vec::with_capacity(24);
    tcp.extend(packet.source_port.to_be_bytes());
    tcp.extend(packet.port.to_be_bytes());
    tcp.extend(seq.to_be_bytes());
    tcp.extend(ack.to_be_bytes());
    let words =
        if matches!(flood.shape.cut, Some(Cut::Options)) { 15 } else { 5 + options.len() / 4 };
    tcp.extend([u8::try_from(words << 4).expect("a length"), flags]);
    tcp.extend(64_240_u16.to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend(options);
    let sum = match (packet.source, flood.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => checksum(&[
            &from.octets(),
            &to.octets(),
            &[0, TCP],
            &length(tcp.len()).to_be_bytes(),
            &tcp,
        ]),
        (IpAddr::V6(from), IpAddr::V6(to)) => checksum(&[
            &from.octets(),
            &to.octets(),
            &[0, TCP],
            &length(tcp.len()).to_be_bytes(),
            &tcp,
        ]),
        (from, to) => panic!("from {from} to {to}"),
    };
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    tcp
}

/// The Internet checksum (RFC 1071) of parts of even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for pair in parts.iter().flat_map(|part| part.chunks_exact(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
