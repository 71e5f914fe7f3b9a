//! What is wrong with a capture, where, and what can be done.

use std::fmt;
use std::io;

/// A capture can't be read, or not further.
#[derive(Debug)]
pub struct CaptureError {
    /// Byte of the uncompressed stream, counted from 0, at which what can't be read begins.
    pub offset: u64,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a capture.
#[derive(Debug)]
pub enum Problem {
    /// It can't be opened or read, or what it is compressed with is damaged.
    Io(io::Error),
    /// There is nothing in it.
    Empty,
    /// It is no pcap or pcapng; what it begins with instead.
    NoCapture([u8; 4]),
    /// It is compressed in a way that is not read.
    Compressed(&'static str),
    /// It is a version of the format that nobody knows.
    Version {
        /// Which format.
        format: &'static str,
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// Its link type is not read.
    LinkType(u32),
    /// It ends in the middle of something.
    CutOff {
        /// Of what.
        what: &'static str,
        /// Bytes of it that should be there.
        needs: u64,
        /// Bytes that are.
        has: u64,
    },
    /// A packet is longer than any can be.
    TooLong {
        /// The length it claims, bytes.
        claimed: u32,
        /// The longest there can be.
        most: u32,
    },
    /// A block's length is impossible.
    BlockLength {
        /// The block's type.
        kind: u32,
        /// The length it claims.
        claimed: u32,
    },
    /// The two lengths of a block, before and behind it, are not the same.
    BlockEnds {
        /// The block's type.
        kind: u32,
        /// The length before it.
        before: u32,
        /// The length behind it.
        behind: u32,
    },
    /// A section's byte order mark is none.
    ByteOrder(u32),
    /// A packet came by an interface that nobody has described.
    NoInterface {
        /// Number of the interface.
        interface: u32,
        /// How many were described.
        described: usize,
    },
    /// More interfaces than there can be.
    TooManyInterfaces(usize),
}

impl CaptureError {
    pub(super) const fn new(offset: u64, problem: Problem) -> Self {
        Self { offset, problem }
    }
}

/// What one does with a file that can't be read to its end.
const REPAIR: &str = "`tshark -r` may read more";

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.offset;
        match &self.problem {
            // Nothing was read: the place says nothing.
            Problem::Io(error) if at == 0 => write!(f, "cannot read it: {error}"),
            Problem::Io(error) => write!(f, "cannot read on at byte {at}: {error}; {REPAIR}"),
            Problem::Empty => f.write_str("there is nothing in it, not even a header"),
            Problem::NoCapture(magic) => {
                write!(f, "it is no pcap or pcapng capture: at byte {at} it has ")?;
                for byte in magic {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
            Problem::Compressed(how) => write!(
                f,
                "it is compressed with {how}: gzip and zstd are read, unpack it first \
                 (`{how} -dc FILE | tracer --read -`)"
            ),
            Problem::Version { format, major, minor } => write!(
                f,
                "at byte {at} it says that it is {format} {major}.{minor}, a version that is not known; \
                 `editcap -F pcapng IN OUT` may convert it"
            ),
            Problem::LinkType(number) => write!(
                f,
                "its link type is {number}: Ethernet, Linux cooked (v1, v2), raw IP and loopback are \
                 read; capture on such an interface, or on `any`"
            ),
            Problem::CutOff { what, needs, has } => write!(
                f,
                "it ends within {what} that begins at byte {at}: {has} of {needs} bytes are there; it \
                 was cut, or is still being written; {REPAIR}"
            ),
            Problem::TooLong { claimed, most } => write!(
                f,
                "the packet at byte {at} claims to have {claimed} bytes, more than {most}: the file is \
                 damaged there or before; {REPAIR}"
            ),
            Problem::BlockLength { kind, claimed } => write!(
                f,
                "the block at byte {at} (type {kind:#x}) claims to be {claimed} bytes long, which it \
                 can't be: the file is damaged there or before; {REPAIR}"
            ),
            Problem::BlockEnds { kind, before, behind } => write!(
                f,
                "the block at byte {at} (type {kind:#x}) says that it is {before} bytes long before it \
                 and {behind} behind it: the file is damaged; {REPAIR}"
            ),
            Problem::ByteOrder(mark) => write!(
                f,
                "the section at byte {at} has the byte order mark {mark:#010x}, which is none: the file \
                 is damaged there; {REPAIR}"
            ),
            Problem::NoInterface { interface, described } => write!(
                f,
                "the packet at byte {at} came by interface {interface}, of {described} that the file has \
                 described: it is damaged there or before; {REPAIR}"
            ),
            Problem::TooManyInterfaces(most) => write!(
                f,
                "at byte {at} there are more than {most} interfaces: the file is damaged there or \
                 before; {REPAIR}"
            ),
        }
    }
}

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            _ => None,
        }
    }
}
