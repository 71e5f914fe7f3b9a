//! The newer format: blocks, in sections of one byte order each
//! (<https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>).

use super::bytes::Bytes;
use super::error::{CaptureError, Problem};
use super::frame::{Block, Frame, Step, half, io, word};
use super::interfaces::{Interface, Interfaces, MOST_ADDRESSES, MOST_INTERFACES};
use super::options::{self, Described};
use super::pcap;
use crate::capture::link::LinkType;
use crate::capture::segment::Direction;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
/// What packets were in before [`ENHANCED`].
const PACKET: u32 = 2;
/// A packet without time, of the first interface.
const SIMPLE: u32 = 3;
const STATISTICS: u32 = 5;
const ENHANCED: u32 = 6;
/// A message of the systemd journal, which Wireshark counts as a frame.
const JOURNAL: u32 = 9;
/// Says in which byte order a section is.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// More of a block's options is not looked at.
const MOST_OPTIONS: u64 = 64 << 10;

/// Whether a section begins here.
pub(super) fn begins(bytes: &[u8]) -> bool {
    word(bytes, 0, false) == SECTION
        && [false, true].iter().any(|big| word(bytes, 8, *big) == BYTE_ORDER)
}

/// Whether a file begins with these bytes.
pub(super) fn is_file(bytes: &[u8]) -> bool {
    word(bytes, 0, false) == SECTION
}

/// A section: what was said in it so far.
#[derive(Default)]
pub(super) struct Section {
    big: bool,
    interfaces: Vec<Local>,
    /// Frames that hold no packet.
    pub(super) messages: u64,
    /// Packets that the capturing host dropped, of all sections so far.
    pub(super) dropped: u64,
}

/// An interface of the section.
struct Local {
    /// Its number in the table.
    number: u32,
    link: LinkType,
    described: Described,
    /// Packets dropped, as last told.
    dropped: u64,
}

impl Section {
    /// Reads the next block, of a packet only what stands before it.
    #[inline]
    pub(super) fn step(
        &mut self,
        bytes: &mut Bytes,
        table: &mut Interfaces,
    ) -> Result<Step, CaptureError> {
        let begin = bytes.offset();
        let head = bytes.peek(28).map_err(|error| io(begin, error))?;
        if head.len() < 12 {
            return if head.is_empty() { Ok(Step::End) } else { Err(cut(begin, 12, head.len())) };
        }
        let kind = word(head, 0, self.big);
        if kind == SECTION {
            return self.section(bytes, begin);
        }
        let block = Block { kind, len: word(head, 4, self.big), big: self.big };
        match kind {
            ENHANCED => {
                let [interface, high, low, captured, original] =
                    [8, 12, 16, 20, 24].map(|at| word(head, at, self.big));
                let time = u64::from(high) << 32 | u64::from(low);
                let packet = Packet { interface, time: Some(time), captured, original, head: 28 };
                self.packet(bytes, begin, block, &packet)
            }
            _ => self.other(bytes, begin, block, table),
        }
    }

    #[cold]
    fn other(
        &mut self,
        bytes: &mut Bytes,
        begin: u64,
        block: Block,
        table: &mut Interfaces,
    ) -> Result<Step, CaptureError> {
        let head = bytes.peek(28).map_err(|error| io(begin, error))?;
        match block.kind {
            PACKET => {
                let [high, low, captured, original] =
                    [12, 16, 20, 24].map(|at| word(head, at, self.big));
                let interface = half(head, 8, self.big).into();
                let time = u64::from(high) << 32 | u64::from(low);
                let packet = Packet { interface, time: Some(time), captured, original, head: 28 };
                return self.packet(bytes, begin, block, &packet);
            }
            SIMPLE => {
                let original = word(head, 8, self.big);
                let snaplen = match self.interfaces.first() {
                    Some(first) if first.described.snaplen != 0 => first.described.snaplen,
                    _ => u32::MAX,
                };
                let captured = original.min(snaplen).min(block.len.saturating_sub(16));
                let packet = Packet { interface: 0, time: None, captured, original, head: 12 };
                return self.packet(bytes, begin, block, &packet);
            }
            _ if pcap::begins(head) => return Ok(Step::Begin),
            _ => {}
        }
        let len = padded(block.len);
        if block.len < 12 {
            return Err(length(begin, block));
        }
        match block.kind {
            INTERFACE => self.interface(bytes, begin, block, table)?,
            STATISTICS => self.statistics(bytes, begin, block)?,
            JOURNAL => self.messages += 1,
            _ => {}
        }
        let rest = begin + len - 4 - bytes.offset();
        let skipped = bytes.skip(rest).map_err(|error| io(begin, error))?;
        if skipped < rest {
            return Err(cut_off(begin, len, len - 4 - (rest - skipped)));
        }
        end(bytes, begin, block)?;
        Ok(Step::Other)
    }

    /// The header of a section, which says in what byte order it is.
    #[cold]
    fn section(&mut self, bytes: &mut Bytes, begin: u64) -> Result<Step, CaptureError> {
        let head = bytes.peek(28).map_err(|error| io(begin, error))?;
        if head.len() < 28 {
            return Err(cut(begin, 28, head.len()));
        }
        let mark = word(head, 8, false);
        let big = match mark {
            BYTE_ORDER => false,
            mark if mark.swap_bytes() == BYTE_ORDER => true,
            mark => return Err(CaptureError::new(begin, Problem::ByteOrder(mark))),
        };
        let block = Block { kind: SECTION, len: word(head, 4, big), big };
        let (major, minor) = (half(head, 12, big), half(head, 14, big));
        // 1.2 is 1.0 (the draft, 4.1).
        if major != 1 || !matches!(minor, 0 | 2) {
            let problem = Problem::Version { format: "pcapng", major, minor };
            return Err(CaptureError::new(begin, problem));
        }
        if block.len < 28 {
            return Err(length(begin, block));
        }
        self.big = big;
        self.interfaces.clear();
        let rest = padded(block.len) - 4;
        let skipped = bytes.skip(rest).map_err(|error| io(begin, error))?;
        if skipped < rest {
            return Err(cut_off(begin, rest + 4, skipped));
        }
        end(bytes, begin, block)?;
        Ok(Step::Other)
    }

    /// Takes what stands before a packet.
    #[inline]
    fn packet(
        &self,
        bytes: &mut Bytes,
        begin: u64,
        block: Block,
        packet: &Packet,
    ) -> Result<Step, CaptureError> {
        let len = padded(block.len);
        let rest = len
            .checked_sub(packet.head + 4)
            .and_then(|room| room.checked_sub(packet.captured.into()));
        let Some(rest) = rest else {
            return Err(length(begin, block));
        };
        let Some(local) = self.interfaces.get(packet.interface as usize) else {
            let (interface, described) = (packet.interface, self.interfaces.len());
            return Err(CaptureError::new(begin, Problem::NoInterface { interface, described }));
        };
        let skipped = bytes.skip(packet.head).map_err(|error| io(begin, error))?;
        if skipped < packet.head {
            return Err(cut_off(begin, len, skipped));
        }
        Ok(Step::Frame(Frame {
            begin,
            at: packet.time.map(|time| local.described.nanoseconds(time)),
            interface: local.number,
            link: local.link,
            captured: packet.captured,
            original: packet.original,
            rest,
            block: Some(block),
        }))
    }

    fn interface(
        &mut self,
        bytes: &mut Bytes,
        begin: u64,
        block: Block,
        table: &mut Interfaces,
    ) -> Result<(), CaptureError> {
        let head = bytes.peek(16).map_err(|error| io(begin, error))?;
        if block.len < 20 {
            return Err(length(begin, block));
        }
        let link = LinkType::from_number(half(head, 8, self.big).into());
        let snaplen = word(head, 12, self.big);
        let taken = bytes.skip(16).map_err(|error| io(begin, error))?;
        if taken < 16 {
            return Err(cut_off(begin, padded(block.len), taken));
        }
        let len = (padded(block.len) - 20).min(MOST_OPTIONS);
        let options = bytes.peek(len as usize).map_err(|error| io(begin, error))?;
        let described = Described::read(options, self.big, snaplen);
        let mut addresses = options::addresses(options, self.big);
        addresses.truncate(MOST_ADDRESSES);
        let name = options::name(options, self.big);
        let interface = Interface { name, ifindex: None, link, snaplen, addresses };
        let number = table.add(interface).filter(|_| self.interfaces.len() < MOST_INTERFACES);
        let number =
            number.ok_or(CaptureError::new(begin, Problem::TooManyInterfaces(MOST_INTERFACES)))?;
        self.interfaces.push(Local { number, link, described, dropped: 0 });
        Ok(())
    }

    fn statistics(
        &mut self,
        bytes: &mut Bytes,
        begin: u64,
        block: Block,
    ) -> Result<(), CaptureError> {
        let len = padded(block.len).min(MOST_OPTIONS) as usize;
        let all = bytes.peek(len).map_err(|error| io(begin, error))?;
        let dropped =
            options::dropped(all.get(20..len.saturating_sub(4)).unwrap_or_default(), self.big);
        let interface = word(all, 8, self.big) as usize;
        if let Some(local) = self.interfaces.get_mut(interface)
            && let Some(dropped) = dropped
        {
            // The counter of the interface so far.
            self.dropped = self.dropped.saturating_add(dropped.saturating_sub(local.dropped));
            local.dropped = local.dropped.max(dropped);
        }
        Ok(())
    }
}

/// What stands before a packet.
struct Packet {
    interface: u32,
    time: Option<u64>,
    captured: u32,
    original: u32,
    /// Bytes before it.
    head: u64,
}

/// Takes what follows a packet. Says which way it went, if it is `asked` for.
#[inline]
pub(super) fn finish(
    bytes: &mut Bytes,
    frame: &Frame,
    block: Block,
    asked: bool,
) -> Result<Option<Direction>, CaptureError> {
    let begin = frame.begin;
    let mut direction = None;
    // Less is padding.
    if asked && frame.rest > 4 {
        let behind = frame.rest.min(MOST_OPTIONS) as usize;
        let behind = bytes.peek(behind).map_err(|error| io(begin, error))?;
        let padding = (frame.captured as usize).next_multiple_of(4) - frame.captured as usize;
        direction = options::direction(behind.get(padding..).unwrap_or_default(), block.big);
    }
    let skipped = bytes.skip(frame.rest).map_err(|error| io(begin, error))?;
    if skipped < frame.rest {
        let len = padded(block.len);
        return Err(cut_off(begin, len, len - 4 - (frame.rest - skipped)));
    }
    end(bytes, begin, block)?;
    Ok(direction)
}

/// Takes a block's last word.
#[inline]
fn end(bytes: &mut Bytes, begin: u64, block: Block) -> Result<(), CaptureError> {
    let last = bytes.peek(4).map_err(|error| io(begin, error))?;
    if last.len() < 4 {
        let has = padded(block.len) - 4 + last.len() as u64;
        return Err(cut_off(begin, padded(block.len), has));
    }
    let behind = word(last, 0, block.big);
    if behind != block.len {
        let Block { kind, len: before, .. } = block;
        return Err(CaptureError::new(begin, Problem::BlockEnds { kind, before, behind }));
    }
    bytes.skip(4).map_err(|error| io(begin, error))?;
    Ok(())
}

/// A block's length; some writers leave out what fills it up.
const fn padded(len: u32) -> u64 {
    (len as u64).next_multiple_of(4)
}

const fn length(begin: u64, block: Block) -> CaptureError {
    let Block { kind, len: claimed, .. } = block;
    CaptureError::new(begin, Problem::BlockLength { kind, claimed })
}

fn cut(begin: u64, needs: u64, has: usize) -> CaptureError {
    cut_off(begin, needs, has as u64)
}

/// The file ends within a block.
pub(super) const fn cut_off(begin: u64, needs: u64, has: u64) -> CaptureError {
    CaptureError::new(begin, Problem::CutOff { what: "a block", needs, has })
}
