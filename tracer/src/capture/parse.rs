//! From a captured packet to the TCP segment in it, by the parser of the SYN hook.

use tracer_common::packet::{
    Detail, Located, Options, Reject, Segment, detail, flags, segment, tcp_flags,
};

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
            mended(packet, at, (original as usize).saturating_sub(begin)).ok_or(reject)?
        }
    };
    Ok(Seen { segment, detail, direction: header.direction, ifindex: header.ifindex })
}

/// What a capture, and only a capture, does to packets that are sound: `packet` was `original` bytes
/// long. `None` where it is something else that is wrong.
///
/// - The snap length cut it within the TCP options. Those that are there are read.
/// - Its IP packet says that it is 0 bytes long: one that the network card was to cut into smaller ones,
///   or that it has put together (segmentation and receive offload), longer than the field can say. Its
///   length on the link is its own.
#[cold]
fn mended(packet: &[u8], at: Located, original: usize) -> Option<(Segment, Detail)> {
    let ip = packet.get(at.ip..)?;
    let original = original.checked_sub(at.ip)?;
    let at = Located { ip: 0, tcp: at.tcp - at.ip, v6: at.v6 };
    let end = at.tcp + (*ip.get(at.tcp + 12)? >> 4) as usize * 4;
    let fixed = ip.len() >= at.tcp + 20;
    let cut = fixed && (ip.len()..original).contains(&(end - 1));
    // The headers, filled up with what is not looked at where they are cut off.
    let mut headers = [0; 256];
    let copied = ip.len().min(headers.len());
    headers.get_mut(..copied)?.copy_from_slice(ip.get(..copied)?);
    let beyond = unsaid_length(&mut headers, at, original);
    if !cut && beyond.is_none() {
        return None;
    }
    let headers = headers.get(..if cut { end } else { copied })?;
    let segment = segment(&headers, at).ok()?;
    let mut detail = detail(headers, at).ok()?;
    detail.payload_len += beyond.unwrap_or(0);
    if cut {
        let there = ip.get(at.tcp + 20..).unwrap_or_default();
        detail.options = Options { cut, ..Options::read(there) };
    }
    Some((segment, detail))
}

/// Writes the length that a packet has into its header, if there is none. Returns by how much it is more
/// than can be written.
fn unsaid_length(headers: &mut [u8], at: Located, original: usize) -> Option<u32> {
    /// Frames shorter than that are filled up on an Ethernet.
    const SHORTEST: usize = 64;
    // What opens or resets a connection is never that long.
    let short = tcp_flags::SYN | tcp_flags::RST;
    let (field, before) = if at.v6 { (4, 40) } else { (2, 0) };
    let len = Some(original).filter(|len| *len > SHORTEST)?.checked_sub(before)?;
    if flags(&&*headers, at)? & short != 0 {
        return None;
    }
    let field = headers.get_mut(field..field + 2).filter(|field| **field == [0, 0])?;
    let said = u16::try_from(len).unwrap_or(u16::MAX);
    field.copy_from_slice(&said.to_be_bytes());
    u32::try_from(len - said as usize).ok()
}

#[cfg(test)]
mod tests;
