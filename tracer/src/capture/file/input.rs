//! Where a capture comes from, and what it is compressed with.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::error::{CaptureError, Problem};

/// Compressed bytes that are read in one piece.
const PIECE: usize = 128 << 10;

/// Opens a file, or standard input if its name is `-`.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read>, CaptureError> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path).map_err(|error| CaptureError::new(0, Problem::Io(error)))?;
    Ok(Box::new(file))
}

/// The bytes behind gzip or zstd, found out by what the input begins with.
pub(super) fn unpacked(input: Box<dyn Read>) -> Result<Box<dyn Read>, CaptureError> {
    let failed = |error| CaptureError::new(0, Problem::Io(error));
    let input = Begin::read(input).map_err(failed)?;
    Ok(match input.magic() {
        [0x1f, 0x8b, ..] => {
            let input = BufReader::with_capacity(PIECE, input);
            Box::new(MultiGzDecoder::new(input))
        }
        // RFC 8878, 3.1.1 and 3.1.2: a frame, or one to be skipped, which parallel compressors
        // begin with.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            let input = BufReader::with_capacity(PIECE, input);
            Box::new(zstd::Decoder::with_buffer(input).map_err(failed)?)
        }
        [0xfd, b'7', b'z', b'X'] => return Err(unknown("xz")),
        [b'B', b'Z', b'h', b'1'..=b'9'] => return Err(unknown("bzip2")),
        [0x04, 0x22, 0x4d, 0x18] => return Err(unknown("lz4")),
        _ => Box::new(input),
    })
}

fn unknown(how: &'static str) -> CaptureError {
    CaptureError::new(0, Problem::Compressed(how))
}

/// An input whose first bytes have been looked at.
struct Begin<R> {
    magic: [u8; 4],
    /// Bytes of `magic` that there are,
    len: usize,
    /// and that have been handed on.
    given: usize,
    rest: R,
}

impl<R: Read> Begin<R> {
    fn read(mut rest: R) -> io::Result<Self> {
        let (mut magic, mut len) = ([0; 4], 0);
        while let Some(room) = magic.get_mut(len..).filter(|room| !room.is_empty()) {
            match rest.read(room) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { magic, len, given: 0, rest })
    }

    fn magic(&self) -> &[u8] {
        self.magic.get(..self.len).unwrap_or_default()
    }
}

impl<R: Read> Read for Begin<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut begin = self.magic.get(self.given..self.len).unwrap_or_default();
        if begin.is_empty() {
            return self.rest.read(buffer);
        }
        let read = begin.read(buffer)?;
        self.given += read;
        Ok(read)
    }
}
