//! A TCP peer made of raw segments: it answers when and how the scenario says, never by itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use etherparse::{Icmpv4Type, NetSlice, PacketBuilder, SlicedPacket, TransportSlice, icmpv4};

use super::lab::{Lab, MAC_A, mac};
use super::wire::{Cable, Wire};
use super::{ms, patience};

/// TCP flags (RFC 9293, 3.1).
pub(crate) const FIN: u8 = 1;
/// See [`FIN`].
pub(crate) const SYN: u8 = 2;
/// See [`FIN`].
pub(crate) const RST: u8 = 4;
/// See [`FIN`].
pub(crate) const ACK: u8 = 16;

const FLAGS: u8 = FIN | SYN | RST | ACK;

/// One TCP segment.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Sender.
    pub(crate) from: SocketAddr,
    /// Receiver.
    pub(crate) to: SocketAddr,
    /// Sequence number.
    pub(crate) seq: u32,
    /// Acknowledgement number.
    pub(crate) ack: u32,
    /// FIN, SYN, RST and ACK.
    pub(crate) flags: u8,
    /// Payload.
    pub(crate) data: Vec<u8>,
}

impl Segment {
    /// Reads an IP packet; `None` if it is no TCP.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let packet = SlicedPacket::from_ip(packet).ok()?;
        let (from, to): (IpAddr, IpAddr) = match packet.net? {
            NetSlice::Ipv4(ip) => {
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            NetSlice::Ipv6(ip) => {
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            NetSlice::Arp(_) => return None,
        };
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { return None };
        Some(Self {
            from: SocketAddr::new(from, tcp.source_port()),
            to: SocketAddr::new(to, tcp.destination_port()),
            seq: tcp.sequence_number(),
            ack: tcp.acknowledgment_number(),
            flags: tcp.slice()[13] & FLAGS,
            data: tcp.payload().to_vec(),
        })
    }

    /// Whether exactly these of FIN, SYN, RST and ACK are set.
    pub(crate) const fn is(&self, flags: u8) -> bool {
        self.flags == flags
    }

    /// Sequence space it takes.
    fn len(&self) -> u32 {
        let control = u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0);
        u32::try_from(self.data.len()).expect("a length") + control
    }

    fn to_packet(&self) -> Vec<u8> {
        let (IpAddr::V4(from), IpAddr::V4(to)) = (self.from.ip(), self.to.ip()) else {
            panic!("the raw peer speaks IPv4")
        };
        let mut tcp = PacketBuilder::ipv4(from.octets(), to.octets(), 64).tcp(
            self.from.port(),
            self.to.port(),
            self.seq,
            64_240,
        );
        if self.flags & SYN != 0 {
            tcp = tcp.syn();
        }
        if self.flags & FIN != 0 {
            tcp = tcp.fin();
        }
        if self.flags & RST != 0 {
            tcp = tcp.rst();
        }
        if self.flags & ACK != 0 {
            tcp = tcp.ack(self.ack);
        }
        let mut packet = Vec::new();
        tcp.write(&mut packet, &self.data).expect("build a packet");
        packet
    }
}

/// The peer: an address that no kernel answers for.
pub(crate) struct Raw {
    wire: Box<dyn Wire>,
    addr: Ipv4Addr,
}

impl Raw {
    /// At host a's end of the lab's cable, under the address [`Lab::raw4`].
    pub(crate) fn new(lab: &Lab) -> Self {
        Self::new_on(lab, "vb")
    }

    /// The same, where host b reaches the cable through another device.
    pub(crate) fn new_on(lab: &Lab, device: &str) -> Self {
        let addr = lab.raw4();
        let mac = mac(MAC_A);
        lab.b.sh(&format!("ip neigh replace {addr} lladdr {mac} dev {device} nud permanent"));
        Self::on(Cable::open(lab), addr)
    }

    /// On any wire.
    pub(crate) fn on(wire: impl Wire + 'static, addr: Ipv4Addr) -> Self {
        Self { wire: Box::new(wire), addr }
    }

    /// The next segment that matches; others are passed over.
    #[track_caller]
    pub(crate) fn expect(&self, what: &str, wanted: impl Fn(&Segment) -> bool) -> Segment {
        let deadline = Instant::now() + patience(Duration::from_secs(8));
        let mut others = Vec::new();
        while Instant::now() < deadline {
            let Some(packet) = self.wire.recv(ms(50)) else { continue };
            let Some(segment) = Segment::parse(&packet) else { continue };
            if segment.to.ip() == self.addr && wanted(&segment) {
                return segment;
            }
            others.push(segment);
        }
        panic!("the raw peer waited in vain for {what}; it saw {others:?}");
    }

    /// A connection that this peer opens; nothing is sent yet.
    pub(crate) fn client(&self, server: SocketAddr) -> RawConn<'_> {
        static NEXT_PORT: AtomicU16 = AtomicU16::new(20_001);
        self.client_from(NEXT_PORT.fetch_add(1, Ordering::Relaxed), server)
    }

    /// The same from a chosen port.
    pub(crate) fn client_from(&self, port: u16, server: SocketAddr) -> RawConn<'_> {
        let isn = 0x1000_0000 | std::process::id() << 8;
        RawConn {
            raw: self,
            local: SocketAddr::new(self.addr.into(), port),
            remote: server,
            snd: isn,
            rcv: 0,
        }
    }

    /// A connection that somebody opens to `port`: its SYN has come, nothing is sent yet.
    #[track_caller]
    pub(crate) fn server(&self, port: u16) -> RawConn<'_> {
        let syn = self.expect("a SYN", |s| s.is(SYN) && s.to.port() == port);
        RawConn {
            raw: self,
            local: syn.to,
            remote: syn.from,
            snd: 0x2000_0000 | std::process::id() << 8,
            rcv: syn.seq.wrapping_add(syn.len()),
        }
    }
}

/// One connection of the raw peer's.
pub(crate) struct RawConn<'a> {
    raw: &'a Raw,
    local: SocketAddr,
    remote: SocketAddr,
    /// Next sequence number to send.
    pub(crate) snd: u32,
    /// Next sequence number expected.
    pub(crate) rcv: u32,
}

impl RawConn<'_> {
    /// This peer's port.
    pub(crate) const fn port(&self) -> u16 {
        self.local.port()
    }

    /// Sends a segment and moves on in sequence space.
    pub(crate) fn send(&mut self, flags: u8, data: &[u8]) {
        let segment = self.segment(flags, data);
        self.raw.wire.send(&segment.to_packet());
        self.snd = self.snd.wrapping_add(segment.len());
    }

    /// Sends a segment that takes no place in sequence space; for one sent again, and for RST.
    pub(crate) fn send_at(&self, seq: u32, flags: u8, data: &[u8]) {
        let segment = Segment { seq, ..self.segment(flags, data) };
        self.raw.wire.send(&segment.to_packet());
    }

    fn segment(&self, flags: u8, data: &[u8]) -> Segment {
        Segment {
            from: self.local,
            to: self.remote,
            seq: self.snd,
            ack: if flags & ACK != 0 { self.rcv } else { 0 },
            flags,
            data: data.to_vec(),
        }
    }

    /// The next segment of this connection that matches; takes note of what it carries if it is in
    /// order.
    #[track_caller]
    pub(crate) fn expect(&mut self, what: &str, wanted: impl Fn(&Segment) -> bool) -> Segment {
        let (local, remote) = (self.local, self.remote);
        let segment = self.raw.expect(what, |s| s.to == local && s.from == remote && wanted(s));
        if segment.flags & SYN != 0 || segment.seq == self.rcv {
            self.rcv = segment.seq.wrapping_add(segment.len());
        }
        segment
    }

    /// Waits for a segment with exactly these of FIN, SYN, RST and ACK.
    #[track_caller]
    pub(crate) fn expect_flags(&mut self, flags: u8) -> Segment {
        self.expect(&format!("a segment with flags {flags:#x}"), |s| s.is(flags))
    }

    /// Waits for a FIN.
    #[track_caller]
    pub(crate) fn expect_fin(&mut self) {
        self.expect("FIN", |s| s.flags & FIN != 0);
    }

    /// SYN, SYN-ACK, and `delay` later the final ACK.
    #[track_caller]
    pub(crate) fn open(&mut self, delay: Duration) {
        self.send(SYN, b"");
        self.expect_flags(SYN | ACK);
        std::thread::sleep(delay);
        self.send(ACK, b"");
    }

    /// Answers the SYN that [`Raw::server`] saw, and waits for the final ACK.
    #[track_caller]
    pub(crate) fn answer(&mut self) {
        self.send(SYN | ACK, b"");
        self.expect_flags(ACK);
    }

    /// Says by ICMP that this host can't be reached (RFC 792: header and 8 bytes of what came).
    pub(crate) fn unreachable(&self) {
        let (IpAddr::V4(us), IpAddr::V4(them)) = (self.local.ip(), self.remote.ip()) else {
            panic!("the raw peer speaks IPv4")
        };
        let came = Segment {
            from: self.remote,
            to: self.local,
            seq: self.rcv.wrapping_sub(1),
            ack: 0,
            flags: SYN,
            data: Vec::new(),
        };
        let builder = PacketBuilder::ipv4(us.octets(), them.octets(), 64)
            .icmpv4(Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Host));
        let mut packet = Vec::new();
        builder.write(&mut packet, &came.to_packet()[..28]).expect("build a packet");
        self.raw.wire.send(&packet);
    }

    /// Sends a RST in order.
    pub(crate) fn reset(&mut self) {
        self.send(RST | ACK, b"");
    }
}
