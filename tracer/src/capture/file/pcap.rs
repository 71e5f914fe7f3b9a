//! The older format: a header, and records one after the other
//! (<https://www.tcpdump.org/manpages/pcap-savefile.5.html>).

use super::bytes::Bytes;
use super::error::{CaptureError, Problem};
use super::frame::{Frame, Step, io, word};
use super::pcapng;
use crate::capture::link::LinkType;

/// Microseconds, nanoseconds, and a variant with longer records (Red Hat's, about 2000).
const MICRO: u32 = 0xa1b2_c3d4;
const NANO: u32 = 0xa1b2_3c4d;
const LONG: u32 = 0xa1b2_cd34;
/// The only version that was ever in use.
const VERSION: (u16, u16) = (2, 4);
/// Bytes of the header.
const HEADER: usize = 24;
/// The longest packet that tcpdump captures.
const MOST: u32 = 262_144;

/// How the records of a file are to be read.
#[derive(Clone, Copy)]
pub(super) struct Pcap {
    big: bool,
    /// Nanoseconds of a unit of time.
    unit: u64,
    /// Bytes of a record's header.
    record: usize,
    /// Longest packet.
    most: u32,
    link: LinkType,
    /// The file's interface in the table.
    pub(super) interface: u32,
}

/// Whether a file begins with these bytes, and in which byte order.
fn magic(bytes: &[u8]) -> Option<(bool, u32)> {
    let known = |word| matches!(word, MICRO | NANO | LONG);
    [false, true].into_iter().map(|big| (big, word(bytes, 0, big))).find(|(_, word)| known(*word))
}

/// Whether another header, of this format or the newer one, follows here instead of a record: files
/// that were put one behind the other.
pub(super) fn begins(bytes: &[u8]) -> bool {
    magic(bytes).is_some_and(|(big, _)| version(bytes, big) == VERSION) || pcapng::begins(bytes)
}

fn version(bytes: &[u8], big: bool) -> (u16, u16) {
    let word = word(bytes, 4, big);
    let (low, high) = (word as u16, (word >> 16) as u16);
    if big { (high, low) } else { (low, high) }
}

impl Pcap {
    /// Reads the header: its records' form, and the snap length. `None` if the file begins with
    /// something else.
    pub(super) fn begin(bytes: &mut Bytes) -> Option<Result<(Self, LinkType, u32), CaptureError>> {
        let at = bytes.offset();
        let header = match bytes.peek(HEADER) {
            Ok(header) => header,
            Err(error) => return Some(Err(io(at, error))),
        };
        let (big, magic) = magic(header)?;
        let failed = |problem| Some(Err(CaptureError::new(at, problem)));
        if header.len() < HEADER {
            let (needs, has) = (HEADER as u64, header.len() as u64);
            return failed(Problem::CutOff { what: "the header", needs, has });
        }
        let (major, minor) = version(header, big);
        if (major, minor) != VERSION {
            return failed(Problem::Version { format: "pcap", major, minor });
        }
        let snaplen = word(header, 16, big);
        // What is above says how long the frame check sequence is.
        let number = word(header, 20, big) & 0xffff;
        let link = LinkType::from_number(number);
        if !link.is_read() {
            return failed(Problem::LinkType(number));
        }
        let pcap = Self {
            big,
            unit: if magic == NANO { 1 } else { 1000 },
            record: if magic == LONG { 24 } else { 16 },
            most: snaplen.max(MOST),
            link,
            interface: 0,
        };
        Some(match bytes.skip(HEADER as u64) {
            Ok(_) => Ok((pcap, link, snaplen)),
            Err(error) => Err(io(at, error)),
        })
    }

    /// Reads the header of the next record.
    #[inline]
    pub(super) fn step(&self, bytes: &mut Bytes) -> Result<Step, CaptureError> {
        let begin = bytes.offset();
        let header = bytes.peek(self.record).map_err(|error| io(begin, error))?;
        if header.len() < self.record {
            if header.is_empty() {
                return Ok(Step::End);
            }
            let (needs, has) = (self.record as u64, header.len() as u64);
            return Err(CaptureError::new(
                begin,
                Problem::CutOff { what: "the header of a packet", needs, has },
            ));
        }
        let seconds = word(header, 0, self.big);
        let parts = word(header, 4, self.big);
        let captured = word(header, 8, self.big);
        let original = word(header, 12, self.big);
        if begins(header) {
            return Ok(Step::Begin);
        }
        if captured > self.most {
            let problem = Problem::TooLong { claimed: captured, most: self.most };
            return Err(CaptureError::new(begin, problem));
        }
        bytes.skip(self.record as u64).map_err(|error| io(begin, error))?;
        Ok(Step::Frame(Frame {
            begin,
            at: Some(u64::from(seconds) * 1_000_000_000 + u64::from(parts) * self.unit),
            interface: self.interface,
            link: self.link,
            captured,
            original,
            rest: 0,
            block: None,
        }))
    }
}
