//! What a capture's reader wants to know of a segment beyond what the SYN hook needs. The kernel side
//! calls nothing of this.

use super::{Ipv4, Ipv6, Located, Packet, Reject, Tcp};

/// What else stands in a segment's headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Detail {
    /// Bytes of payload, by the lengths in the headers: also where less of them was captured.
    pub payload_len: u32,
    /// Window as it stands in the header, not scaled, host order.
    pub window: u16,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// TCP options.
    pub options: Options,
}

/// TCP options. Those that say nothing here, and malformed ones, are passed over; what follows a
/// malformed one is not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Maximum segment size, bytes (RFC 9293, 3.7.1).
    pub mss: Option<u16>,
    /// Shift of the windows that follow (RFC 7323); more than 14 counts as 14.
    pub window_scale: Option<u8>,
    /// The sender takes selective acknowledgements (RFC 2018).
    pub sack_permitted: bool,
    /// Timestamps (RFC 7323).
    pub timestamps: Option<Timestamps>,
    /// TCP Fast Open (RFC 7413).
    pub fast_open: Option<FastOpen>,
    /// The capture ends before the options do: what is missing here may have been there.
    pub cut: bool,
}

/// The timestamps option, host order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timestamps {
    /// TSval: the sender's clock.
    pub value: u32,
    /// TSecr: what the sender last got from its peer; only with ACK.
    pub echo: u32,
}

/// The Fast Open option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FastOpen {
    /// Without a cookie: asks for one.
    Request,
    /// With a cookie.
    Cookie,
}

/// The rest of the headers of a segment that [`segment`](super::segment) has read.
///
/// # Errors
/// [`Reject::Unparsed`] where `segment` fails as well.
#[inline]
pub fn detail(packet: &[u8], at: Located) -> Result<Detail, Reject> {
    let tcp: Tcp = packet.read(at.tcp).ok_or(Reject::Unparsed)?;
    let header_end = at.tcp + ((tcp.data_offset >> 4) as usize) * 4;
    let options = packet.get(at.tcp + HEADER_LEN..header_end).ok_or(Reject::Unparsed)?;
    let (end, ttl) = if at.v6 {
        let ip: Ipv6 = packet.read(at.ip).ok_or(Reject::Unparsed)?;
        (at.ip + size_of::<Ipv6>() + u16::from_be(ip.payload_len) as usize, ip.hop_limit)
    } else {
        let ip: Ipv4 = packet.read(at.ip).ok_or(Reject::Unparsed)?;
        (at.ip + u16::from_be(ip.total_len) as usize, ip.ttl)
    };
    Ok(Detail {
        // Less than the IP packet's length, which has 16 bits, and 40 more with IPv6.
        payload_len: end.checked_sub(header_end).ok_or(Reject::Unparsed)? as u32,
        window: u16::from_be(tcp.window),
        ttl,
        options: Options::read(options),
    })
}

/// Bytes of a TCP header without options.
const HEADER_LEN: usize = 20;

impl Options {
    /// Reads the options of a TCP header, which begin behind its first 20 bytes.
    #[must_use]
    pub fn read(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        // What Linux sends with everything but SYNs.
        if let [1, 1, 8, 10, value @ ..] = bytes
            && value.len() == 8
        {
            options.take(8, value);
            return options;
        }
        loop {
            match bytes {
                [] | [0, ..] => return options,
                [1, rest @ ..] => bytes = rest,
                [kind, len, rest @ ..] => {
                    let Some((value, rest)) =
                        (*len as usize).checked_sub(2).and_then(|len| rest.split_at_checked(len))
                    else {
                        return options;
                    };
                    options.take(*kind, value);
                    bytes = rest;
                }
                [_] => return options,
            }
        }
    }

    /// One option: kind, and value without kind and length.
    #[inline]
    fn take(&mut self, kind: u8, value: &[u8]) {
        match (kind, value) {
            (2, [a, b]) => self.mss = Some(u16::from_be_bytes([*a, *b])),
            // RFC 7323, 2.3: more is an error, and 14 is used.
            (3, [shift]) => self.window_scale = Some((*shift).min(14)),
            (4, []) => self.sack_permitted = true,
            (8, [a, b, c, d, e, f, g, h]) => {
                self.timestamps = Some(Timestamps {
                    value: u32::from_be_bytes([*a, *b, *c, *d]),
                    echo: u32::from_be_bytes([*e, *f, *g, *h]),
                });
            }
            // RFC 7413, 4.1.1: a cookie has 4 to 16 bytes, an even number of them.
            (34, []) | (EXPERIMENT, [0xf9, 0x89]) => self.fast_open = Some(FastOpen::Request),
            (34, cookie) | (EXPERIMENT, [0xf9, 0x89, cookie @ ..])
                if (4..=16).contains(&cookie.len()) && cookie.len().is_multiple_of(2) =>
            {
                self.fast_open = Some(FastOpen::Cookie);
            }
            _ => {}
        }
    }
}

/// RFC 4727's option for experiments; with the magic 0xf989 it was Fast Open before that had a number
/// (RFC 7413, 7).
const EXPERIMENT: u8 = 254;
