//! Reads captures: pcap and pcapng, from a file or standard input, as they are or packed with gzip or
//! zstd. Frames are looked at one by one; memory is fixed, whatever the file says of its lengths.

mod bytes;
mod error;
mod frame;
mod input;
mod interfaces;
mod options;
mod pcap;
mod pcapng;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::Path;

use tracer_common::packet::Reject;

pub use self::error::{CaptureError, Problem};
pub use self::interfaces::{Interface, MOST_ADDRESSES};

use self::bytes::Bytes;
use self::frame::{Frame, Step, io};
use self::interfaces::Interfaces;
use self::pcap::Pcap;
use self::pcapng::Section;
use super::link::LinkType;
use super::parse::{self, Seen};
use super::segment::Captured;
use crate::core::event::MonoNs;

/// More of a packet is not looked at: headers are at its beginning.
const HEAD: u32 = 8192;

/// How many frames there were, by what came of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// All of them; the others add up to it.
    pub frames: u64,
    /// TCP segments.
    pub tcp: u64,
    /// Something else than TCP over IP; tunnels, if they are not looked into.
    pub not_tcp: u64,
    /// TCP, or may be, but can't be read: a fragment, cut short within its headers, or malformed.
    pub unparsed: u64,
    /// Of a link type that is not read.
    pub other_link: u64,
    /// TCP segments without time (pcapng's simple packets): nothing can be said of them.
    pub untimed: u64,
    /// Packets that are missing because the capturing host was too slow, as far as the capture tells.
    /// Not part of `frames`.
    pub dropped: u64,
}

enum Format {
    Pcap(Pcap),
    Pcapng(Section),
}

/// Reads the TCP segments of a capture, one after the other.
pub struct Reader {
    bytes: Bytes,
    format: Format,
    interfaces: Interfaces,
    counts: Counts,
    /// Packets dropped in captures before the one that is read now.
    dropped: u64,
    decap: bool,
    /// The first link type that is not read.
    unread: Option<u32>,
    /// The end, or damage, has been reached.
    over: bool,
}

impl Reader {
    /// Opens a capture; `-` is standard input. `decap`: of tunnels (VXLAN, Geneve, GRE, IP in IP) the
    /// innermost packet is looked at, otherwise the outer one, which is no TCP then.
    ///
    /// # Errors
    /// It can't be opened, or it is no capture.
    pub fn open(path: &Path, decap: bool) -> Result<Self, CaptureError> {
        Self::new(input::open(path)?, decap)
    }

    /// Reads a capture from anywhere.
    ///
    /// # Errors
    /// It is no capture.
    pub fn new(input: Box<dyn Read>, decap: bool) -> Result<Self, CaptureError> {
        let mut bytes = Bytes::new(input::unpacked(input)?);
        let mut interfaces = Interfaces::default();
        let format = begin(&mut bytes, &mut interfaces)?;
        Ok(Self {
            bytes,
            format,
            interfaces,
            counts: Counts::default(),
            dropped: 0,
            decap,
            unread: None,
            over: false,
        })
    }

    /// The next TCP segment; `None` at the end, and after an error.
    ///
    /// # Errors
    /// The capture is damaged or can't be read on. What came before is right.
    pub fn next_segment(&mut self) -> Result<Option<Captured>, CaptureError> {
        if self.over {
            return Ok(None);
        }
        let next = self.advance();
        self.over = !matches!(next, Ok(Some(_)));
        next
    }

    /// Frames so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let dropped = match &self.format {
            Format::Pcap(_) => 0,
            Format::Pcapng(section) => section.dropped,
        };
        Counts { dropped: self.dropped.saturating_add(dropped), ..self.counts }
    }

    /// Interfaces so far, numbered as [`Captured::interface`] does. A device of a capture on `any` is
    /// one of them from its first packet on.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        self.interfaces.all()
    }

    /// Bytes of the uncompressed capture that have been read.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.bytes.offset()
    }

    fn advance(&mut self) -> Result<Option<Captured>, CaptureError> {
        loop {
            let step = match &mut self.format {
                Format::Pcap(pcap) => pcap.step(&mut self.bytes)?,
                Format::Pcapng(section) => {
                    let step = section.step(&mut self.bytes, &mut self.interfaces)?;
                    self.counts.not_tcp += section.messages;
                    self.counts.frames += std::mem::take(&mut section.messages);
                    step
                }
            };
            match step {
                Step::Frame(frame) => {
                    if let Some(captured) = self.frame(&frame)? {
                        return Ok(Some(captured));
                    }
                }
                Step::Other => {}
                Step::Begin => {
                    self.dropped = self.counts().dropped;
                    self.format = begin(&mut self.bytes, &mut self.interfaces)?;
                }
                Step::End => return self.end(),
            }
        }
    }

    #[inline]
    fn frame(&mut self, frame: &Frame) -> Result<Option<Captured>, CaptureError> {
        let begin = frame.begin;
        let head = frame.captured.min(HEAD) as usize;
        let packet = self.bytes.peek(head).map_err(|error| io(begin, error))?;
        let seen = if frame.link.is_read() {
            parse::look(frame.link, packet, frame.original, self.decap)
        } else {
            Err(Reject::NotTcp)
        };
        let captured = u64::from(frame.captured);
        let skipped = self.bytes.skip(captured).map_err(|error| io(begin, error))?;
        if skipped < captured {
            return Err(cut(frame, skipped, self.bytes.offset() - begin));
        }
        let mut direction = None;
        if let Some(block) = frame.block {
            direction = pcapng::finish(&mut self.bytes, frame, block, seen.is_ok())?;
        }
        self.counts.frames += 1;
        let (seen, at) = match (seen, frame.at) {
            (Ok(seen), Some(at)) => (seen, at),
            (Ok(_), None) => {
                self.counts.untimed += 1;
                return Ok(None);
            }
            (Err(reject), _) => {
                self.rejected(reject, frame.link);
                return Ok(None);
            }
        };
        self.counts.tcp += 1;
        let Seen { segment, detail, direction: by_link, ifindex } = seen;
        let interface = match ifindex {
            Some(ifindex) => self.interfaces.device(frame.interface, ifindex),
            None => frame.interface,
        };
        Ok(Some(Captured {
            at: MonoNs(at),
            number: self.counts.frames,
            interface,
            direction: direction.or(by_link),
            segment,
            payload_len: detail.payload_len,
            window: detail.window,
            ttl: detail.ttl,
            options: detail.options,
        }))
    }

    fn rejected(&mut self, reject: Reject, link: LinkType) {
        match (link, reject) {
            (LinkType::Other(number), _) => {
                self.unread.get_or_insert(number);
                self.counts.other_link += 1;
            }
            (_, Reject::NotTcp) => self.counts.not_tcp += 1,
            (_, Reject::Unparsed) => self.counts.unparsed += 1,
        }
    }

    /// The end of the file. One of which nothing could be read is no quiet network.
    fn end(&self) -> Result<Option<Captured>, CaptureError> {
        match self.unread {
            Some(number) if self.counts.other_link == self.counts.frames => {
                Err(CaptureError::new(0, Problem::LinkType(number)))
            }
            _ => Ok(None),
        }
    }
}

/// The file ends within a packet.
fn cut(frame: &Frame, skipped: u64, has: u64) -> CaptureError {
    match frame.block {
        Some(block) => pcapng::cut_off(frame.begin, u64::from(block.len), has),
        None => {
            let needs = has - skipped + u64::from(frame.captured);
            CaptureError::new(frame.begin, Problem::CutOff { what: "a packet", needs, has })
        }
    }
}

/// Finds out what format begins here.
fn begin(bytes: &mut Bytes, interfaces: &mut Interfaces) -> Result<Format, CaptureError> {
    let at = bytes.offset();
    let head = bytes.peek(4).map_err(|error| io(at, error))?;
    if pcapng::is_file(head) {
        return Ok(Format::Pcapng(Section::default()));
    }
    let mut magic = [0; 4];
    for (to, from) in magic.iter_mut().zip(head) {
        *to = *from;
    }
    let problem = if head.is_empty() { Problem::Empty } else { Problem::NoCapture(magic) };
    let Some(begun) = Pcap::begin(bytes) else {
        return Err(CaptureError::new(at, problem));
    };
    let (mut pcap, link, snaplen) = begun?;
    let interface = Interface { link, snaplen, ..Interface::default() };
    pcap.interface = interfaces
        .add(interface)
        .ok_or(CaptureError::new(at, Problem::TooManyInterfaces(interfaces::MOST_INTERFACES)))?;
    Ok(Format::Pcap(pcap))
}
