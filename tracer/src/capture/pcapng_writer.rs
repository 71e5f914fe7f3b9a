//! Blocks of a pcapng file, as the IETF draft `draft-ietf-opsawg-pcapng` lays them out, little-endian.
//!
//! Every packet is an Ethernet frame, whatever the interface: readers based on libpcap refuse a file
//! whose interfaces have different link types.

use super::segment::Direction;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const LINKTYPE_ETHERNET: u16 = 1;

mod option {
    pub(super) const COMMENT: u16 = 1;
    pub(super) const SHB_USERAPPL: u16 = 4;
    pub(super) const IF_NAME: u16 = 2;
    pub(super) const IF_TSRESOL: u16 = 9;
    pub(super) const EPB_FLAGS: u16 = 2;
}

/// What names the program in the section header, before its version.
const APPLICATION: &str = "tracer ";

/// A captured packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Number of its interface in this section, counted from 0 as they were described.
    pub interface: u32,
    /// When, nanoseconds since the Unix epoch.
    pub at: u64,
    /// Ethernet frame, as far as it is kept.
    pub frame: &'a [u8],
    /// Bytes of the whole frame.
    pub original_len: u32,
    /// Which way it went.
    pub direction: Direction,
    /// What is said of it.
    pub comment: Option<&'a str>,
}

/// Appends the header of a section. Interfaces are counted anew behind it.
pub fn section(version: &str, out: &mut Vec<u8>) {
    block(SECTION_HEADER, out, |out| {
        out.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        // Version 1.0.
        out.extend(1_u16.to_le_bytes());
        out.extend(0_u16.to_le_bytes());
        // Length of the section: not known.
        out.extend((-1_i64).to_le_bytes());
        put_option(option::SHB_USERAPPL, format!("{APPLICATION}{version}").as_bytes(), out);
        end_of_options(out);
    });
}

/// Appends the description of an interface; `snap_len`: most bytes that are kept of a frame.
pub fn interface(name: &str, snap_len: u32, out: &mut Vec<u8>) {
    block(INTERFACE_DESCRIPTION, out, |out| {
        out.extend(LINKTYPE_ETHERNET.to_le_bytes());
        out.extend(0_u16.to_le_bytes());
        out.extend(snap_len.to_le_bytes());
        put_option(option::IF_NAME, name.as_bytes(), out);
        // 10^-9 s.
        put_option(option::IF_TSRESOL, &[9], out);
        end_of_options(out);
    });
}

/// Appends a packet.
pub fn packet(packet: &Packet<'_>, out: &mut Vec<u8>) {
    block(ENHANCED_PACKET, out, |out| {
        out.extend(packet.interface.to_le_bytes());
        out.extend(((packet.at >> 32) as u32).to_le_bytes());
        out.extend((packet.at as u32).to_le_bytes());
        let len = u32::try_from(packet.frame.len()).unwrap_or(u32::MAX);
        out.extend(len.to_le_bytes());
        out.extend(packet.original_len.max(len).to_le_bytes());
        out.extend(packet.frame);
        pad(packet.frame.len(), out);
        let way: u32 = match packet.direction {
            Direction::In => 1,
            Direction::Out => 2,
        };
        put_option(option::EPB_FLAGS, &way.to_le_bytes(), out);
        if let Some(comment) = packet.comment {
            put_option(option::COMMENT, comment.as_bytes(), out);
        }
        end_of_options(out);
    });
}

fn block(kind: u32, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    // A block is no longer than a few hundred bytes.
    let len = ((out.len() - begin + 4) as u32).to_le_bytes();
    if let Some(place) = out.get_mut(begin + 4..begin + 8) {
        place.copy_from_slice(&len);
    }
    out.extend(len);
}

fn put_option(code: u16, value: &[u8], out: &mut Vec<u8>) {
    // Names and comments are short; what is too long for the length field is cut.
    let value = value.get(..value.len().min(0xfffc)).unwrap_or_default();
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
    pad(value.len(), out);
}

fn end_of_options(out: &mut Vec<u8>) {
    out.extend([0; 4]);
}

/// Fills up to a multiple of four bytes.
fn pad(len: usize, out: &mut Vec<u8>) {
    out.extend(std::iter::repeat_n(0, len.next_multiple_of(4) - len));
}

/// Whether a file that begins so was written here.
#[must_use]
pub fn is_ours(begin: &[u8]) -> bool {
    let word = |at: usize| {
        let bytes = begin.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let application = begin.get(28..28 + APPLICATION.len());
    word(0) == Some(SECTION_HEADER)
        && word(8) == Some(BYTE_ORDER_MAGIC)
        && word(24).is_some_and(|option| option as u16 == option::SHB_USERAPPL)
        && application == Some(APPLICATION.as_bytes())
}

/// Bytes at the beginning of a file that are whole blocks: where more can be appended. A file whose
/// writer was killed may end within a block.
///
/// # Errors
/// It can't be read.
pub fn whole_blocks(file: &mut (impl std::io::Read + std::io::Seek)) -> std::io::Result<u64> {
    use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
    let end = file.seek(SeekFrom::End(0))?;
    let mut file = BufReader::new(file);
    file.seek(SeekFrom::Start(0))?;
    let mut at: u64 = 0;
    let mut head = [0; 8];
    let mut tail = [0; 4];
    while at + 12 <= end {
        file.read_exact(&mut head)?;
        let [_, _, _, _, len @ ..] = head;
        let len = u64::from(u32::from_le_bytes(len));
        if len < 12 || !len.is_multiple_of(4) || at + len > end {
            break;
        }
        // At most what a block's length field can say.
        file.seek_relative((len - 12) as i64)?;
        file.read_exact(&mut tail)?;
        if u64::from(u32::from_le_bytes(tail)) != len {
            break;
        }
        at += len;
    }
    Ok(at)
}

#[cfg(test)]
mod tests;
