//! What the kernel side sends, in the order in which it happened.
//!
//! Records come by the ring and by the CPUs' lanes. Each of them is in order as far as one socket goes;
//! between them the times decide. A record's time is taken before its place, so a look that takes only
//! what happened before the look began can't meet a connection's record without having met those
//! before it: each was published before the socket's next transition began.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, RingBuf};
use tracer_common::lane::Sizes;
use tracer_common::record::{SocketRecord, TS_OFFSET};
use zerocopy::IntoBytes as _;

use super::lanes::Lanes;
use super::mmap::Mmap;
use crate::system::host::page_size;

/// The one reader of ring and lanes. Its descriptor becomes readable when the kernel side wants it to
/// look at once.
pub struct Records {
    ring: RingBuf<MapData>,
    positions: Positions,
    /// Copied from the ring to see when it happened.
    ahead: Ahead,
    lanes: Lanes,
    /// Of the look that goes on.
    until: u64,
    /// What happened until then is in the ring when the look begins; what comes in meanwhile can wait.
    ring_has_more: bool,
    found: Found,
}

/// How a look at what the kernel side has sent ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// There was no more, as far as it went.
    All,
    /// A program has begun a record in the ring and was held up: what is behind it must wait.
    Unfinished,
}

/// How far the ring has been written and read.
struct Positions {
    written: Mmap,
    read: Mmap,
}

impl Positions {
    /// As `kernel/bpf/ringbuf.c` maps them: a page each, the reader's first.
    fn open(ring: BorrowedFd<'_>) -> Result<Self> {
        let word = size_of::<u64>();
        let read = Mmap::read_only(ring, 0, word);
        let written = Mmap::read_only(ring, page_size() as usize, word);
        read.and_then(|read| Ok(Self { read, written: written? }))
            .context("cannot map the ring buffer's positions")
    }

    fn is_empty(&self) -> bool {
        self.written.published(0) == self.read.u64(0)
    }
}

/// A record of the ring; the longest are [`SocketRecord`]s. Words, so that it is aligned.
struct Ahead {
    words: [u64; WORDS],
    /// Bytes of it.
    len: usize,
    /// Not yet handed over.
    waits: bool,
}

const WORDS: usize = size_of::<SocketRecord>() / size_of::<u64>();

impl Ahead {
    const NONE: Self = Self { words: [0; WORDS], len: 0, waits: false };

    fn copy(&mut self, bytes: &[u8]) {
        let (chunks, _) = bytes.as_chunks();
        for (word, chunk) in self.words.iter_mut().zip(chunks) {
            *word = u64::from_ne_bytes(*chunk);
        }
        self.len = bytes.len().min(size_of::<SocketRecord>());
        self.waits = true;
    }

    fn ts(&self) -> Option<u64> {
        self.waits.then(|| self.words.get(TS_OFFSET / size_of::<u64>()).copied()).flatten()
    }

    fn bytes(&self) -> Option<&[u8]> {
        self.words.as_bytes().get(..self.len)
    }
}

impl Records {
    pub(super) fn new(ring: RingBuf<MapData>, lanes: Lanes) -> Result<Self> {
        // SAFETY: the ring keeps it open.
        let descriptor = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) };
        let positions = Positions::open(descriptor)?;
        Ok(Self {
            ring,
            positions,
            ahead: Ahead::NONE,
            lanes,
            until: 0,
            ring_has_more: false,
            found: Found::All,
        })
    }

    /// Begins to look at what happened up to `until`, nanoseconds of `CLOCK_MONOTONIC` and not in the
    /// future.
    pub fn look(&mut self, until: u64) {
        self.until = until;
        self.ring_has_more = true;
        self.found = Found::All;
        self.lanes.look();
    }

    /// The next record, in order; `None`: see [`Self::looked`].
    #[expect(clippy::should_implement_trait, reason = "what is lent can't be had from an iterator")]
    pub fn next(&mut self) -> Option<&[u8]> {
        if !self.ahead.waits && self.ring_has_more {
            self.ring_has_more = self.fetch();
            if !self.ring_has_more && !self.positions.is_empty() {
                // It may have come in between, or is being written, which takes some ten nanoseconds
                // unless something holds up the program.
                self.ring_has_more = (0..PATIENCE).any(|_| {
                    std::hint::spin_loop();
                    self.fetch()
                });
                if !self.ring_has_more {
                    self.found = Found::Unfinished;
                    return None;
                }
            }
        }
        let lane = self.lanes.earliest().filter(|ts| *ts <= self.until);
        if self.ahead.ts().is_some_and(|ts| ts <= lane.unwrap_or(self.until)) {
            self.ahead.waits = false;
            return self.ahead.bytes();
        }
        lane?;
        self.lanes.take()
    }

    /// Ends the look and gives all that was taken back to the kernel side.
    pub fn looked(&mut self) -> Found {
        self.lanes.free_all();
        self.found
    }

    fn fetch(&mut self) -> bool {
        self.ring.next().map(|item| self.ahead.copy(&item)).is_some()
    }
}

/// Looks at a record that is being written: some ten microseconds.
const PATIENCE: u32 = 200;

/// Bytes of the ring, if ring and lanes are to have so many: half, and at least the page that the kernel
/// asks for; all where no CPU has a lane.
pub(super) fn ring_size(whole: u32, lanes: &Sizes) -> u32 {
    if lanes.cpus == 0 {
        return whole;
    }
    (whole / 2).max(u32::try_from(page_size()).unwrap_or(whole))
}

impl AsRawFd for Records {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}
