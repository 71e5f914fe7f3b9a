//! The packet parser that the XDP and tcx programs and the capture reader share.
//!
//! Written for the verifier: fixed-size headers read at bounded offsets, bounded loops, no slices.
//! What can't be parsed is said so ([`Reject`]), never guessed.

mod detail;

pub use self::detail::{Detail, FastOpen, Options, Timestamps, detail};

use crate::addr::Addr;

/// Where headers are read from.
pub trait Packet {
    /// The header at `offset` bytes from the start, or `None` if the packet ends before it does.
    fn read<T: Header>(&self, offset: usize) -> Option<T>;
}

/// A header that can be read from any bytes.
///
/// # Safety
/// The type must be `repr(C)` and valid for every bit pattern.
pub unsafe trait Header: Copy {}

/// What a device's packets begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// An Ethernet header (`ARPHRD_ETHER`, `ARPHRD_LOOPBACK`).
    Ethernet,
    /// The IP header (`ARPHRD_NONE`, `ARPHRD_PPP`, tunnels: tun, WireGuard, ipip).
    RawIp,
}

/// Why a packet yielded no TCP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reject {
    /// It is something else than TCP over IP.
    NotTcp,
    /// It is TCP or may be, but can't be read: a fragment, cut short, or malformed.
    Unparsed,
}

/// Where the headers of a TCP segment begin, bytes from the packet's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Located {
    /// IP header.
    pub ip: usize,
    /// TCP header.
    pub tcp: usize,
    /// IPv6, otherwise IPv4.
    pub v6: bool,
}

/// The TCP flags byte (RFC 9293, 3.1).
pub mod tcp_flags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// PSH.
    pub const PSH: u8 = 0x08;
    /// ACK.
    pub const ACK: u8 = 0x10;
    /// URG.
    pub const URG: u8 = 0x20;
    /// ECE (RFC 3168).
    pub const ECE: u8 = 0x40;
    /// CWR (RFC 3168).
    pub const CWR: u8 = 0x80;
}

/// A TCP header with the addresses it travels between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port, host order.
    pub src_port: u16,
    /// Destination port, host order.
    pub dst_port: u16,
    /// Sequence number, host order.
    pub seq: u32,
    /// Acknowledgement number, host order.
    pub ack: u32,
    /// See [`tcp_flags`].
    pub flags: u8,
}

macro_rules! headers {
    ($($(#[$doc:meta])* struct $name:ident { $($field:ident: $ty:ty,)* })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct $name { $($field: $ty,)* }
        // SAFETY: repr(C) and made of integers.
        unsafe impl Header for $name {}
    )*};
}

headers! {
    struct Ethernet { _addresses: [u16; 6], ether_type: u16, }
    struct Vlan { _tci: u16, ether_type: u16, }
    struct Ipv4 {
        version_ihl: u8,
        _tos: u8,
        total_len: u16,
        _id: u16,
        fragment: u16,
        ttl: u8,
        protocol: u8,
        _checksum: u16,
        src: u32,
        dst: u32,
    }
    struct Ipv6 {
        version_class: u8,
        _flow: [u8; 3],
        payload_len: u16,
        next_header: u8,
        hop_limit: u8,
        src: [u32; 4],
        dst: [u32; 4],
    }
    struct Extension { next_header: u8, len: u8, }
    struct Tcp {
        src_port: u16,
        dst_port: u16,
        seq: u32,
        ack: u32,
        data_offset: u8,
        flags: u8,
        window: u16,
    }
}

// SAFETY: made of integers.
unsafe impl Header for [u8; 4] {}

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_FRAGMENT: u8 = 44;
/// RFC 8200 asks for no limit; more than this many extension headers before a TCP header is
/// nothing an honest host sends.
const MAX_EXTENSIONS: usize = 6;
/// Nor does one send a TCP header behind this many bytes.
const MAX_OFFSET: usize = 1500;

/// Finds the TCP header of a packet.
///
/// # Errors
/// [`Reject`] says why there is none.
#[inline(always)]
pub fn locate<P: Packet>(packet: &P, link: Link) -> Result<Located, Reject> {
    let (ip, v6) = match link {
        Link::Ethernet => network_header(packet)?,
        // Read as the shorter of the two headers: the version is in the same place in both.
        Link::RawIp => match packet.read::<Ipv4>(0).ok_or(Reject::NotTcp)?.version_ihl >> 4 {
            4 => (0, false),
            6 => (0, true),
            _ => return Err(Reject::NotTcp),
        },
    };
    let tcp = if !v6 { after_ipv4(packet, ip)? } else { after_ipv6(packet, ip)? };
    Ok(Located { ip, tcp, v6 })
}

/// The same for what follows another link header than Ethernet's, which says what it is by the same
/// numbers: VLAN tags or an IP header at `offset`.
///
/// # Errors
/// As [`locate`].
#[inline]
pub fn locate_behind(packet: &[u8], offset: usize, ether_type: u16) -> Result<Located, Reject> {
    let (ip, v6) = behind_tags(&packet, offset, ether_type)?;
    let tcp = if !v6 { after_ipv4(&packet, ip)? } else { after_ipv6(&packet, ip)? };
    Ok(Located { ip, tcp, v6 })
}

/// The TCP flags of a located segment; `None` where the packet ends before them.
#[inline(always)]
pub fn flags<P: Packet>(packet: &P, at: Located) -> Option<u8> {
    packet.read::<Tcp>(at.tcp).map(|tcp| tcp.flags)
}

/// The header of a located segment.
///
/// # Errors
/// [`Reject::Unparsed`] where it is cut short or its length field is impossible.
#[inline(always)]
pub fn segment<P: Packet>(packet: &P, at: Located) -> Result<Segment, Reject> {
    let tcp: Tcp = packet.read(at.tcp).ok_or(Reject::Unparsed)?;
    let header_len = ((tcp.data_offset >> 4) as usize) * 4;
    if header_len < 20 {
        return Err(Reject::Unparsed);
    }
    let (src, dst, end) = if at.v6 {
        let ip: Ipv6 = packet.read(at.ip).ok_or(Reject::Unparsed)?;
        let end = at.ip + size_of::<Ipv6>() + u16::from_be(ip.payload_len) as usize;
        (Addr::v6(ip.src), Addr::v6(ip.dst), end)
    } else {
        let ip: Ipv4 = packet.read(at.ip).ok_or(Reject::Unparsed)?;
        (Addr::v4(ip.src), Addr::v4(ip.dst), at.ip + u16::from_be(ip.total_len) as usize)
    };
    // The header must end within the IP packet, and that within what was received.
    if at.tcp + header_len > end || packet.read::<[u8; 4]>(at.tcp + header_len - 4).is_none() {
        return Err(Reject::Unparsed);
    }
    Ok(Segment {
        src,
        dst,
        src_port: u16::from_be(tcp.src_port),
        dst_port: u16::from_be(tcp.dst_port),
        seq: u32::from_be(tcp.seq),
        ack: u32::from_be(tcp.ack),
        flags: tcp.flags,
    })
}

/// Skips the Ethernet header and up to two VLAN tags: offset of the IP header, and whether it is
/// IPv6.
#[inline(always)]
fn network_header<P: Packet>(packet: &P) -> Result<(usize, bool), Reject> {
    let ethernet: Ethernet = packet.read(0).ok_or(Reject::NotTcp)?;
    behind_tags(packet, size_of::<Ethernet>(), u16::from_be(ethernet.ether_type))
}

#[inline(always)]
fn behind_tags<P: Packet>(
    packet: &P,
    mut offset: usize,
    mut ether_type: u16,
) -> Result<(usize, bool), Reject> {
    for _ in 0..2 {
        if ether_type != ETH_P_8021Q && ether_type != ETH_P_8021AD {
            break;
        }
        core::hint::cold_path();
        let vlan: Vlan = packet.read(offset).ok_or(Reject::NotTcp)?;
        ether_type = u16::from_be(vlan.ether_type);
        offset += size_of::<Vlan>();
    }
    match ether_type {
        ETH_P_IP => Ok((offset, false)),
        ETH_P_IPV6 => Ok((offset, true)),
        _ => Err(Reject::NotTcp),
    }
}

#[inline(always)]
fn after_ipv4<P: Packet>(packet: &P, offset: usize) -> Result<usize, Reject> {
    let ip: Ipv4 = packet.read(offset).ok_or(Reject::Unparsed)?;
    if ip.protocol != IPPROTO_TCP {
        return Err(Reject::NotTcp);
    }
    let header_len = ((ip.version_ihl & 0x0f) as usize) * 4;
    if ip.version_ihl >> 4 != 4 || header_len < size_of::<Ipv4>() {
        return Err(Reject::Unparsed);
    }
    // More fragments, or a fragment offset: only a whole packet is read.
    if u16::from_be(ip.fragment) & 0x3fff != 0 {
        return Err(Reject::Unparsed);
    }
    Ok(offset + header_len)
}

#[inline(always)]
fn after_ipv6<P: Packet>(packet: &P, offset: usize) -> Result<usize, Reject> {
    let ip: Ipv6 = packet.read(offset).ok_or(Reject::Unparsed)?;
    if ip.version_class >> 4 != 6 {
        return Err(Reject::Unparsed);
    }
    let mut next_header = ip.next_header;
    let mut offset = offset + size_of::<Ipv6>();
    for _ in 0..MAX_EXTENSIONS {
        // Lengths: RFC 8200 section 4 in units of 8 bytes beyond the first 8; RFC 4302 section 2.2
        // (AH, 51) in units of 4 bytes beyond the first 8.
        let unit = match next_header {
            IPPROTO_TCP => return Ok(offset),
            0 | 43 | 60 | 135 | 139 | 140 => 8,
            51 => 4,
            IPPROTO_FRAGMENT => return Err(Reject::Unparsed),
            _ => return Err(Reject::NotTcp),
        };
        let extension: Extension = packet.read(offset).ok_or(Reject::Unparsed)?;
        offset += 8 + (extension.len as usize) * unit;
        // Also what lets verifiers before 6.6 see that the offset is bounded.
        if offset > MAX_OFFSET {
            return Err(Reject::Unparsed);
        }
        next_header = extension.next_header;
    }
    if next_header == IPPROTO_TCP { Ok(offset) } else { Err(Reject::Unparsed) }
}

/// Bytes in memory are a packet too: the capture reader's and the tests' kind.
impl Packet for &[u8] {
    fn read<T: Header>(&self, offset: usize) -> Option<T> {
        let bytes = self.get(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: the slice is as long as T, and a Header is valid for every bit pattern.
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }
}

#[cfg(test)]
mod tests;
