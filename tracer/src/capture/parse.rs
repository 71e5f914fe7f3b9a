//! From a captured packet to the TCP segment in it, by the parser of the SYN hook.

use tracer_common::packet::{Detail, Located, Reject, Segment, detail, flags, segment, tcp_flags};

use super::decap;
use super::link::{self, LinkType};
use super::segment::Direction;

/// What was found in a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) segment: Segment,
    pub(super) detail: Detail,
    /// What the link header says.
    pub(super) direction: Option<Direction>,
    /// The kernel's number of the device, by the link header.
    pub(super) ifindex: Option<u32>,
}

/// Looks for a TCP segment in a packet that was `original` bytes long on its link, of which `packet` was
/// captured. `decap`: the innermost packet of a tunnel is looked at, otherwise the outermost.
///
/// # Errors
/// Why there is none.
#[inline]
pub(super) fn look(
    link: LinkType,
    packet: &[u8],
    original: u32,
    decap: bool,
) -> Result<Seen, Reject> {
    let header = link::header(link, packet)?;
    let (mut inside, mut begin) = (header.inside, header.len);
    let mut tunnels = 0;
    let (at, packet) = loop {
        let packet = packet.get(begin..).ok_or(Reject::NotTcp)?;
        match inside.locate(packet) {
            Ok(at) => break (at, packet),
            Err(Reject::NotTcp) if decap && tunnels < decap::MOST => {
                let (offset, within) = decap::inner(inside, packet)?;
                tunnels += 1;
                begin += offset;
                inside = within;
            }
            Err(reject) => return Err(reject),
        }
    };
    let (segment, detail) = match segment(&packet, at) {
        Ok(segment) => (segment, detail(packet, at)?),
        Err(reject) => {
            unsaid_length(packet, at, (original as usize).saturating_sub(begin)).ok_or(reject)?
        }
    };
    Ok(Seen { segment, detail, direction: header.direction, ifindex: header.ifindex })
}

/// A segment whose IP packet says that it is 0 bytes long: one that the network card was to cut into
/// smaller ones, or that it has put together (segmentation and receive offload), and which is longer than
/// the field can say. Its length on the link is its own. `None` where it is nothing like that.
#[cold]
fn unsaid_length(packet: &[u8], at: Located, original: usize) -> Option<(Segment, Detail)> {
    /// Frames shorter than that are filled up on an Ethernet.
    const SHORTEST: usize = 64;
    let (field, before) = if at.v6 { (4, 40) } else { (2, 0) };
    let ip = packet.get(at.ip..)?;
    let len = original.checked_sub(at.ip).filter(|len| *len > SHORTEST)?.checked_sub(before)?;
    // What opens or resets a connection is never that long.
    let short = tcp_flags::SYN | tcp_flags::RST;
    if ip.get(field..field + 2)? != [0, 0] || flags(&packet, at)? & short != 0 {
        return None;
    }
    // The headers with the greatest length that can be said, and what is beyond it.
    let mut headers = [0; 256];
    let copied = ip.len().min(headers.len());
    headers.get_mut(..copied)?.copy_from_slice(ip.get(..copied)?);
    let said = u16::try_from(len).unwrap_or(u16::MAX);
    headers.get_mut(field..field + 2)?.copy_from_slice(&said.to_be_bytes());
    let headers = headers.get(..copied)?;
    let at = Located { ip: 0, tcp: at.tcp - at.ip, v6: at.v6 };
    let segment = segment(&headers, at).ok()?;
    let mut detail = detail(headers, at).ok()?;
    detail.payload_len += u32::try_from(len - said as usize).ok()?;
    Some((segment, detail))
}

#[cfg(test)]
mod tests;
