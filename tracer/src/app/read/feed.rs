//! Reads the capture on a thread of its own: decompressing and parsing go on while what was read is
//! worked on, and a pipe from which nothing comes holds up nobody.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use tokio::sync::mpsc;

use super::source::Source;
use crate::capture::file::{CaptureError, Counts, Interface, Reader};
use crate::capture::segment::Captured;

/// Segments that are handed on in one piece.
const PIECE: usize = 4096;
/// Pieces that may wait. With few, this thread and the next wait for each other.
const WAITING: usize = 12;

/// Some of what was read.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) segments: Vec<Captured>,
    /// Frames so far, of the whole capture.
    pub(super) counts: Counts,
    /// All interfaces that are known, if there are new ones: of this batch's segments, too.
    pub(super) interfaces: Option<Vec<Interface>>,
    /// Nothing follows; with what is wrong, if it is.
    pub(super) over: Option<Result<(), CaptureError>>,
}

/// Where batches come from.
pub(super) struct Feed {
    batches: mpsc::Receiver<Batch>,
    /// Bytes of the file that have been read.
    read: Arc<AtomicU64>,
}

impl Feed {
    /// Begins to read.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(source: Source, decap: bool) -> Result<Self> {
        let (to, batches) = mpsc::channel(WAITING);
        let read = Arc::<AtomicU64>::default();
        let count = Arc::clone(&read);
        let reads = move || {
            let pending = Rc::new(Pending { batch: RefCell::default(), to });
            let waiting = Rc::clone(&pending);
            let before_wait = move || {
                waiting.hand_on();
            };
            let input = source.reader(before_wait, count);
            pending.fill(Reader::new(Box::new(input), decap));
        };
        thread::Builder::new()
            .name("tracer-capture".into())
            .spawn(reads)
            .context("cannot start the thread that reads the capture")?;
        Ok(Self { batches, read })
    }

    /// The next batch; `None`: the reader died. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Batch> {
        self.batches.recv().await
    }

    /// Bytes of the file that have been read.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

/// The batch that is being filled; handed on when it is full, and before anybody waits for more.
struct Pending {
    batch: RefCell<Batch>,
    to: mpsc::Sender<Batch>,
}

impl Pending {
    /// Hands on what there is, if it is anything, and waits until there is room for it. Whether
    /// anybody takes it.
    fn hand_on(&self) -> bool {
        let mut batch = self.batch.borrow_mut();
        if batch.segments.is_empty() && batch.over.is_none() {
            return true;
        }
        let counts = batch.counts;
        let next = Batch { segments: Vec::with_capacity(PIECE), counts, ..Batch::default() };
        let full = std::mem::replace(&mut *batch, next);
        drop(batch);
        self.to.blocking_send(full).is_ok()
    }

    /// Until the capture ends, or nobody wants more of it.
    fn fill(&self, reader: Result<Reader, CaptureError>) {
        let over = reader.and_then(|mut reader| {
            let mut interfaces = 0;
            loop {
                // This may hand on what there is.
                let segment = reader.next_segment();
                let mut batch = self.batch.borrow_mut();
                if reader.interfaces().len() != interfaces {
                    interfaces = reader.interfaces().len();
                    batch.interfaces = Some(reader.interfaces().to_vec());
                }
                match segment {
                    Ok(Some(segment)) => batch.segments.push(segment),
                    end => {
                        batch.counts = reader.counts();
                        return end.map(|_| ());
                    }
                }
                if batch.segments.len() >= PIECE {
                    batch.counts = reader.counts();
                    drop(batch);
                    if !self.hand_on() {
                        return Ok(());
                    }
                }
            }
        });
        self.batch.borrow_mut().over = Some(over);
        self.hand_on();
    }
}
