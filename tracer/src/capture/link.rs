//! What packets begin with: link types by their registered numbers
//! (<https://www.tcpdump.org/linktypes.html>).

use std::fmt;

use tracer_common::packet::{Link, Located, Reject, locate, locate_behind};

use super::segment::Direction;

/// What the packets of an interface begin with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum LinkType {
    /// Ethernet.
    #[default]
    Ethernet,
    /// The IP header.
    RawIp,
    /// An address family, in the byte order of the capturing host or of the network (BSD loopback).
    Loopback,
    /// Linux cooked v1.
    Cooked,
    /// Linux cooked v2.
    Cooked2,
    /// One that is not read, by its number.
    Other(u32),
}

impl LinkType {
    /// By its number in a file.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Ethernet,
            // LINKTYPE_RAW, and DLT_RAW as some systems wrote it; LINKTYPE_IPV4 and LINKTYPE_IPV6.
            101 | 12 | 14 | 228 | 229 => Self::RawIp,
            // LINKTYPE_NULL and LINKTYPE_LOOP; OpenBSD's DLT_LOOP was 12, which is raw IP elsewhere.
            0 | 108 => Self::Loopback,
            113 => Self::Cooked,
            276 => Self::Cooked2,
            other => Self::Other(other),
        }
    }

    /// Whether its packets can be read.
    #[must_use]
    pub const fn is_read(self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ethernet => "Ethernet",
            Self::RawIp => "raw IP",
            Self::Loopback => "loopback",
            Self::Cooked => "Linux cooked v1",
            Self::Cooked2 => "Linux cooked v2",
            Self::Other(number) => return write!(f, "link type {number}"),
        })
    }
}

/// What a link header says of its packet.
#[derive(Clone, Copy, Default)]
pub(super) struct LinkHeader {
    /// Bytes before what the link carries.
    pub(super) len: usize,
    /// What it carries.
    pub(super) inside: Inside,
    /// Which way the packet went.
    pub(super) direction: Option<Direction>,
    /// The kernel's number of the device that it went through.
    pub(super) ifindex: Option<u32>,
}

/// What a link carries.
#[derive(Clone, Copy, Default)]
pub(super) enum Inside {
    /// An Ethernet frame.
    #[default]
    Frame,
    /// An IP packet.
    Ip,
    /// What this EtherType says.
    EtherType(u16),
}

/// Reads the link header.
///
/// # Errors
/// [`Reject::NotTcp`] where it is cut short or carries something else than IP.
#[inline]
pub(super) fn header(link: LinkType, packet: &[u8]) -> Result<LinkHeader, Reject> {
    let header = match link {
        LinkType::Ethernet => LinkHeader::default(),
        LinkType::RawIp => LinkHeader { inside: Inside::Ip, ..LinkHeader::default() },
        LinkType::Loopback => {
            let family = u32::from_be_bytes(array(packet, 0).ok_or(Reject::NotTcp)?);
            // Families are below 256: which byte is set tells the byte order.
            let family = if family > 0xffff { family.swap_bytes() } else { family };
            // AF_INET is 2 everywhere; AF_INET6 is 10 on Linux, 23 on Windows, 24 on NetBSD and
            // OpenBSD, 28 on FreeBSD, 30 on macOS.
            match family {
                2 | 10 | 23 | 24 | 28 | 30 => {
                    LinkHeader { len: 4, inside: Inside::Ip, ..LinkHeader::default() }
                }
                _ => return Err(Reject::NotTcp),
            }
        }
        LinkType::Cooked => {
            let [kind, protocol] = [0, 14].map(|at| array(packet, at));
            LinkHeader {
                len: 16,
                inside: Inside::EtherType(u16::from_be_bytes(protocol.ok_or(Reject::NotTcp)?)),
                direction: direction(u16::from_be_bytes(kind.ok_or(Reject::NotTcp)?)),
                ifindex: None,
            }
        }
        LinkType::Cooked2 => {
            let header: [u8; 20] = array(packet, 0).ok_or(Reject::NotTcp)?;
            let [a, b, _, _, i, j, k, l, _, _, kind, ..] = header;
            LinkHeader {
                len: 20,
                inside: Inside::EtherType(u16::from_be_bytes([a, b])),
                direction: direction(kind.into()),
                ifindex: Some(u32::from_be_bytes([i, j, k, l])),
            }
        }
        LinkType::Other(_) => return Err(Reject::NotTcp),
    };
    Ok(header)
}

/// The kernel's packet type: to us, broadcast, multicast; to another host; from us.
const fn direction(packet_type: u16) -> Option<Direction> {
    match packet_type {
        0..=2 => Some(Direction::In),
        4 => Some(Direction::Out),
        _ => None,
    }
}

impl Inside {
    /// Finds the TCP header of a packet that begins so.
    ///
    /// # Errors
    /// As [`locate`].
    #[inline]
    pub(super) fn locate(self, packet: &[u8]) -> Result<Located, Reject> {
        match self {
            Self::Frame => locate(&packet, Link::Ethernet),
            Self::Ip => locate(&packet, Link::RawIp),
            Self::EtherType(number) => locate_behind(packet, 0, number),
        }
    }
}

/// `N` bytes at `at`.
pub(super) fn array<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..)?.first_chunk().copied()
}
