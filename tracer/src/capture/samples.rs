//! Packets and captures for tests, written byte by byte.

use std::net::SocketAddr;

/// A TCP segment.
#[derive(Clone)]
pub(crate) struct Tcp {
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
    /// A multiple of four bytes.
    pub(crate) options: Vec<u8>,
    pub(crate) payload: usize,
}

/// A SYN from 10.0.0.1:40000 to 10.0.0.2:80.
pub(crate) fn syn() -> Tcp {
    Tcp {
        src: ([10, 0, 0, 1], 40_000).into(),
        dst: ([10, 0, 0, 2], 80).into(),
        flags: 2,
        seq: 0x0102_0304,
        ack: 0,
        window: 64_240,
        options: Vec::new(),
        payload: 0,
    }
}

impl Tcp {
    fn segment(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.src.port().to_be_bytes());
        bytes.extend(self.dst.port().to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.extend([((20 + self.options.len()) as u8 / 4) << 4, self.flags]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.options);
        bytes.resize(bytes.len() + self.payload, b'x');
        bytes
    }

    /// The IP packet.
    pub(crate) fn ip(&self) -> Vec<u8> {
        ip(self.src, self.dst, 6, &self.segment())
    }

    /// The Ethernet frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        ethernet(&[], &self.ip())
    }
}

/// An IP packet.
pub(crate) fn ip(src: SocketAddr, dst: SocketAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes;
    match (src.ip(), dst.ip()) {
        (std::net::IpAddr::V4(src), std::net::IpAddr::V4(dst)) => {
            bytes = vec![0x45, 0];
            bytes.extend((20 + payload.len() as u16).to_be_bytes());
            bytes.extend([0, 1, 0x40, 0, 63, protocol, 0, 0]);
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
        }
        (std::net::IpAddr::V6(src), std::net::IpAddr::V6(dst)) => {
            bytes = vec![0x60, 0, 0, 0];
            bytes.extend((payload.len() as u16).to_be_bytes());
            bytes.extend([protocol, 63]);
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
        }
        _ => panic!("two families"),
    }
    bytes.extend(payload);
    bytes
}

/// The EtherType of an IP packet.
pub(crate) fn ether_type(ip: &[u8]) -> u16 {
    if ip[0] >> 4 == 4 { 0x0800 } else { 0x86dd }
}

/// An Ethernet frame with VLAN tags.
pub(crate) fn ethernet(tags: &[u16], ip: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x02; 12];
    for tag in tags {
        bytes.extend(tag.to_be_bytes());
        bytes.extend([0, 7]);
    }
    bytes.extend(ether_type(ip).to_be_bytes());
    bytes.extend(ip);
    bytes
}

/// A UDP datagram.
pub(crate) fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xd0, 0];
    bytes.extend(port.to_be_bytes());
    bytes.extend((8 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

/// Numbers in a file's byte order.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    pub(crate) big: bool,
}

impl Order {
    pub(crate) fn u16(self, value: u16) -> [u8; 2] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(crate) fn u32(self, value: u32) -> [u8; 4] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(crate) fn u64(self, value: u64) -> [u8; 8] {
        if self.big { value.to_be_bytes() } else { value.to_le_bytes() }
    }
}

/// A pcap file's header.
pub(crate) fn pcap(order: Order, magic: u32, snaplen: u32, link: u32) -> Vec<u8> {
    let mut bytes = order.u32(magic).to_vec();
    bytes.extend(order.u16(2));
    bytes.extend(order.u16(4));
    bytes.extend([0; 8]);
    bytes.extend(order.u32(snaplen));
    bytes.extend(order.u32(link));
    bytes
}

/// A pcap record: time in the file's units, and at most `snaplen` bytes.
pub(crate) fn record(order: Order, time: (u32, u32), packet: &[u8], snaplen: usize) -> Vec<u8> {
    let captured = packet.len().min(snaplen);
    let mut bytes = Vec::new();
    for word in [time.0, time.1, captured as u32, packet.len() as u32] {
        bytes.extend(order.u32(word));
    }
    bytes.extend(&packet[..captured]);
    bytes
}

/// A pcapng block.
pub(crate) fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let len = 12 + body.len().next_multiple_of(4);
    let mut bytes = order.u32(kind).to_vec();
    bytes.extend(order.u32(len as u32));
    bytes.extend(body);
    bytes.resize(len - 4, 0);
    bytes.extend(order.u32(len as u32));
    bytes
}

/// Options of a pcapng block.
pub(crate) fn options(order: Order, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (code, value) in options {
        bytes.extend(order.u16(*code));
        bytes.extend(order.u16(value.len() as u16));
        bytes.extend(*value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes.extend([0; 4]);
    bytes
}

/// A pcapng section's header.
pub(crate) fn section(order: Order) -> Vec<u8> {
    let mut body = order.u32(0x1a2b_3c4d).to_vec();
    body.extend(order.u16(1));
    body.extend(order.u16(0));
    body.extend([0xff; 8]);
    block(order, 0x0a0d_0d0a, &body)
}

/// A pcapng interface.
pub(crate) fn interface(
    order: Order,
    link: u16,
    snaplen: u32,
    described: &[(u16, &[u8])],
) -> Vec<u8> {
    let mut body = order.u16(link).to_vec();
    body.extend([0; 2]);
    body.extend(order.u32(snaplen));
    body.extend(options(order, described));
    block(order, 1, &body)
}

/// A pcapng packet.
pub(crate) fn packet(
    order: Order,
    interface: u32,
    time: u64,
    packet: &[u8],
    said: &[(u16, &[u8])],
) -> Vec<u8> {
    let mut body = Vec::new();
    let len = packet.len() as u32;
    for word in [interface, (time >> 32) as u32, time as u32, len, len] {
        body.extend(order.u32(word));
    }
    body.extend(packet);
    body.resize(body.len().next_multiple_of(4), 0);
    if !said.is_empty() {
        body.extend(options(order, said));
    }
    block(order, 6, &body)
}
