//! The stream of bytes: a window over it, and where it stands.

use std::io::{self, Read};

/// Size of the window, and the most that can be looked at in one piece. What is read into it stays in
/// the processor's caches until it is looked at.
const WINDOW: usize = 256 << 10;

/// A window over a stream. Memory is fixed, whatever lengths the stream speaks of.
pub(super) struct Bytes {
    input: Box<dyn Read>,
    window: Box<[u8]>,
    /// What is in the window and has not been taken: from here
    start: usize,
    /// to here.
    end: usize,
    /// Bytes of the stream that have been taken.
    offset: u64,
    /// The input has ended.
    over: bool,
}

impl Bytes {
    pub(super) fn new(input: Box<dyn Read>) -> Self {
        let window = vec![0; WINDOW].into_boxed_slice();
        Self { input, window, start: 0, end: 0, offset: 0, over: false }
    }

    /// How many bytes of the stream have been taken.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `len` bytes (at most [`WINDOW`]), fewer if the stream ends before. They are not taken.
    ///
    /// # Errors
    /// The input can't be read.
    #[inline]
    pub(super) fn peek(&mut self, len: usize) -> io::Result<&[u8]> {
        if self.end - self.start < len {
            self.fill(len)?;
        }
        let until = self.end.min(self.start + len);
        Ok(self.window.get(self.start..until).unwrap_or_default())
    }

    /// Takes `len` bytes. Says how many there were before the stream ended, if fewer.
    ///
    /// # Errors
    /// The input can't be read.
    #[inline]
    pub(super) fn skip(&mut self, len: u64) -> io::Result<u64> {
        let there = (self.end - self.start) as u64;
        if len <= there {
            self.start += len as usize;
            self.offset += len;
            return Ok(len);
        }
        self.skip_beyond(len)
    }

    #[cold]
    fn skip_beyond(&mut self, len: u64) -> io::Result<u64> {
        let mut skipped = 0;
        while skipped < len {
            if self.start == self.end {
                self.fill(1)?;
            }
            let step = ((self.end - self.start) as u64).min(len - skipped);
            if step == 0 {
                break;
            }
            self.start += step as usize;
            self.offset += step;
            skipped += step;
        }
        Ok(skipped)
    }

    /// Reads until the window holds `len` bytes or the input ends. What is there is handed on at
    /// once: a pipe is not waited for longer than needed.
    #[cold]
    fn fill(&mut self, len: usize) -> io::Result<()> {
        debug_assert!(len <= WINDOW);
        self.window.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < len.min(WINDOW) && !self.over {
            let room = self.window.get_mut(self.end..).unwrap_or_default();
            match self.input.read(room) {
                Ok(0) => self.over = true,
                Ok(read) => self.end += read.min(room.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.over = true;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}
