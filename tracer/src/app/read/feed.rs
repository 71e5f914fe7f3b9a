//! Reads the capture on a thread of its own: decompressing and parsing go on while what was read is
//! worked on, and a pipe from which nothing comes holds up nobody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use tokio::sync::mpsc;

use super::source::Source;
use crate::capture::file::{CaptureError, Counts, Interface, Reader};
use crate::capture::segment::Captured;

/// Segments that are handed on in one piece.
const PIECE: usize = 4096;
/// Pieces that may wait.
const WAITING: usize = 4;

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
        let pending = Pending { batch: Arc::default(), to };
        let waiting = pending.clone();
        let (input, read) = source.reader(move || {
            waiting.hand_on();
        });
        thread::Builder::new()
            .name("tracer-capture".into())
            .spawn(move || pending.fill(Reader::new(Box::new(input), decap)))
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

/// The batch that is being filled.
#[derive(Clone)]
struct Pending {
    batch: Arc<Mutex<Batch>>,
    to: mpsc::Sender<Batch>,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands on what there is, if it is anything, and waits until there is room for it. Whether
    /// anybody takes it.
    fn hand_on(&self) -> bool {
        let mut batch = self.lock();
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
                let segment = reader.next_segment();
                let mut batch = self.lock();
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
        self.lock().over = Some(over);
        self.hand_on();
    }
}
