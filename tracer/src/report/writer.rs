//! Carries rendered reports to stdout or a file without ever holding up who renders them.
//!
//! A thread of its own does the writing, since a write to a pipe nobody reads blocks. What waits
//! for it is bounded; beyond that records are dropped, and counted.

use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

mod target;
#[cfg(test)]
mod tests;

use self::target::Target;

/// Bytes that may wait for the reader, those being written included.
pub const BOUND: usize = 8 << 20;
/// How often an idle thread looks whether the reader has gone.
const LOOK: Duration = Duration::from_millis(500);
/// How long to wait after a full disk before trying again.
const RETRY: Duration = Duration::from_millis(500);
/// Bytes given to one write(2).
const PIECE: usize = 64 << 10;
/// Memory that is kept for what comes next: some 20 ms of a host that opens 30,000 connections a
/// second. To ask for it anew each time is to have the kernel clear it each time.
const KEPT: usize = 1 << 20;

/// Why nothing is written any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// The reader of the pipe has gone: a normal end.
    BrokenPipe,
    /// Writing failed for good, by the error's number.
    Failed(Option<i32>),
}

/// A way to a [`Writer`] from another thread.
#[derive(Debug)]
pub struct Inlet {
    shared: Arc<Shared>,
}

impl Inlet {
    /// As [`Writer::push_all`], of a buffer that is left empty.
    pub fn give_all(&self, rendered: &mut Vec<u8>, records: u64) -> bool {
        let mut state = self.shared.lock();
        self.shared.put_whole(&mut state, rendered, records)
    }

    /// As [`Writer::room`], for who may block.
    pub fn wait_for_room(&self) {
        let mut state = self.shared.lock();
        while !state.has_room() && !self.shared.is_closed() {
            state = self.shared.wait(&self.shared.progress, state, LOOK);
        }
    }
}

/// What [`Writer::finish`] could not get rid of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unwritten {
    /// Bytes that waited in vain.
    pub bytes: usize,
}

/// A bounded, never blocking way to stdout or a file.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something to do for the thread.
    work: Condvar,
    /// Something was written, or nothing ever will be.
    progress: Condvar,
    /// The same, for who does not block.
    written: Notify,
    closed: watch::Sender<Option<Closed>>,
}

#[derive(Debug, Default)]
struct State {
    /// Waits to be written; whole records.
    pending: Vec<u8>,
    /// Taken by the thread and not written yet, bytes.
    in_flight: usize,
    dropped: u64,
    bound: usize,
    reopen: bool,
    /// What a file begins with that is made by reopening.
    head: Vec<u8>,
    finish: bool,
}

impl State {
    const fn waiting(&self) -> usize {
        self.pending.len() + self.in_flight
    }

    /// Whether there is room for so many bytes. What is larger than the bound goes when nothing else
    /// waits.
    const fn fits(&self, bytes: usize) -> bool {
        self.waiting() == 0 || self.waiting() + bytes <= self.bound
    }

    /// For those who hold back by themselves.
    const fn has_room(&self) -> bool {
        self.waiting() <= self.bound / 2
    }
}

impl Writer {
    /// To stdout.
    ///
    /// # Errors
    /// When stdout is closed, or no thread can be started.
    pub fn stdout() -> io::Result<Self> {
        Self::to(Target::fd(io::stdout().as_fd().try_clone_to_owned()?), BOUND)
    }

    /// To a file, which is created with the usual permissions (0666 less the umask) or appended
    /// to.
    ///
    /// # Errors
    /// When it can't be opened, or no thread can be started.
    pub fn file(path: &Path) -> io::Result<Self> {
        Self::to(Target::file(path)?, BOUND)
    }

    fn to(target: Target, bound: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State { bound, ..State::default() }),
            work: Condvar::new(),
            progress: Condvar::new(),
            written: Notify::new(),
            closed: watch::Sender::new(None),
        });
        let thread = thread::Builder::new().name("tracer-output".into()).spawn({
            let shared = Arc::clone(&shared);
            move || run(&shared, target)
        })?;
        Ok(Self { shared, thread })
    }

    /// Takes `rendered`, one or more whole lines that make up `records` records. `false`: no room,
    /// or no reader; then they are dropped and counted. Never waits for the reader.
    pub fn push(&self, rendered: &[u8], records: u64) -> bool {
        let mut state = self.shared.lock();
        self.shared.take(&mut state, rendered, records)
    }

    /// As [`Self::push`], of a buffer that is left empty: where nothing waits, nothing is copied.
    pub fn give(&self, rendered: &mut Vec<u8>, records: u64) -> bool {
        let mut state = self.shared.lock();
        let taken = self.shared.fits(&mut state, rendered.len(), records)
            && self.shared.put_whole(&mut state, rendered, records);
        rendered.clear();
        taken
    }

    /// As [`Self::push`], but waits until `deadline` for room: for the summary at the end.
    pub fn push_wait(&self, rendered: &[u8], records: u64, deadline: Instant) -> bool {
        let mut state = self.shared.lock();
        loop {
            if state.fits(rendered.len()) || self.shared.is_closed() {
                break;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                break;
            };
            state = self.shared.wait(&self.shared.progress, state, left);
        }
        self.shared.take(&mut state, rendered, records)
    }

    /// As [`Self::push`], but drops nothing while there is a reader: for those who hold back by
    /// themselves until there is [`Self::room`].
    pub fn push_all(&self, rendered: &[u8], records: u64) -> bool {
        let mut state = self.shared.lock();
        self.shared.put(&mut state, rendered, records)
    }

    /// A way to it from another thread.
    #[must_use]
    pub fn inlet(&self) -> Inlet {
        Inlet { shared: Arc::clone(&self.shared) }
    }

    /// Waits until no more than half of the bound waits to be written, or nothing ever will be.
    pub async fn room(&self) {
        self.down_to(State::has_room).await;
    }

    /// Waits until everything handed in is written, or nothing ever will be.
    pub async fn drained(&self) {
        self.down_to(|state| state.waiting() == 0).await;
    }

    async fn down_to(&self, few: impl Fn(&State) -> bool) {
        while !few(&self.shared.lock()) && !self.shared.is_closed() {
            // Keeps a permit: what was written since the look is not missed.
            self.shared.written.notified().await;
        }
    }

    /// Records dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.lock().dropped
    }

    /// Waits until nothing can be written any more, and says why.
    pub fn closed(&self) -> impl Future<Output = Closed> + use<> {
        let mut closed = self.shared.closed.subscribe();
        async move {
            match closed.wait_for(Option::is_some).await {
                Ok(reason) => reason.unwrap_or(Closed::Failed(None)),
                // The writer has gone, and with it whoever could want to know.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Opens the file anew under its name, between two lines (SIGHUP, after log rotation). No
    /// effect on stdout.
    pub fn reopen(&self) {
        self.shared.lock().reopen = true;
        self.shared.work.notify_one();
    }

    /// Has files that [`Self::reopen`] makes begin with this, one or more whole lines.
    pub fn begin_files_with(&self, head: Vec<u8>) {
        self.shared.lock().head = head;
    }

    /// Waits until everything is written, at most until `deadline`.
    ///
    /// # Errors
    /// How much was left when the reader did not take it in time. A reader that has gone is no
    /// error: see [`Self::closed`].
    pub fn finish(self, deadline: Instant) -> Result<(), Unwritten> {
        let mut state = self.shared.lock();
        state.finish = true;
        self.shared.work.notify_one();
        while state.waiting() > 0 && !self.shared.is_closed() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                // The thread stays behind in its write; it ends with the process.
                return Err(Unwritten { bytes: state.waiting() });
            };
            state = self.shared.wait(&self.shared.progress, state, left);
        }
        drop(state);
        // Nothing is left to write, so it returns at once; a panic there has been printed.
        let _ = self.thread.join();
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every moment a holder could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        on: &Condvar,
        state: MutexGuard<'a, State>,
        at_most: Duration,
    ) -> MutexGuard<'a, State> {
        let woken = on.wait_timeout(state, at_most);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    fn is_closed(&self) -> bool {
        self.closed.borrow().is_some()
    }

    fn take(&self, state: &mut State, rendered: &[u8], records: u64) -> bool {
        self.fits(state, rendered.len(), records) && self.put(state, rendered, records)
    }

    /// Whether there is room; the records are counted as dropped if there is none.
    fn fits(&self, state: &mut State, bytes: usize, records: u64) -> bool {
        let fits = state.fits(bytes);
        if !fits {
            state.dropped = state.dropped.saturating_add(records);
        }
        fits
    }

    fn put(&self, state: &mut State, rendered: &[u8], records: u64) -> bool {
        self.add(state, records, |pending| pending.extend_from_slice(rendered))
    }

    /// As [`Self::put`], and `rendered` is empty then.
    fn put_whole(&self, state: &mut State, rendered: &mut Vec<u8>, records: u64) -> bool {
        let put = self.add(state, records, |pending| match pending.is_empty() {
            true => std::mem::swap(pending, rendered),
            false => pending.extend_from_slice(rendered),
        });
        rendered.clear();
        put
    }

    fn add(&self, state: &mut State, records: u64, add: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.is_closed() {
            state.dropped = state.dropped.saturating_add(records);
            return false;
        }
        let idle = state.waiting() == 0;
        add(&mut state.pending);
        // A thread that is writing looks for more by itself.
        if idle {
            self.work.notify_one();
        }
        true
    }

    fn close(&self, why: Closed) {
        // Under the lock, so that nobody starts to wait for progress in between.
        let _state = self.lock();
        self.closed.send_replace(Some(why));
        self.progress.notify_all();
        self.written.notify_one();
    }
}

/// The thread: takes all that waits, writes it, until told to finish or nothing can be written.
fn run(shared: &Shared, mut target: Target) {
    let mut taken = Vec::new();
    loop {
        let mut state = shared.lock();
        while state.pending.is_empty() && !state.reopen {
            if state.finish {
                return;
            }
            state = shared.wait(&shared.work, state, LOOK);
            if state.pending.is_empty() && target.reader_gone() {
                drop(state);
                shared.close(Closed::BrokenPipe);
                return;
            }
        }
        let reopen = std::mem::take(&mut state.reopen);
        std::mem::swap(&mut state.pending, &mut taken);
        state.in_flight = taken.len();
        drop(state);
        if reopen {
            begin_anew(shared, &mut target, &mut taken, 0);
        }
        if let Err(why) = write_all(shared, &mut target, &mut taken) {
            shared.close(why);
            return;
        }
        // A burst's memory is given back.
        if taken.capacity() > KEPT {
            taken = Vec::new();
        }
        taken.clear();
    }
}

/// Opens the file anew. In a new one what has not been written of `bytes`, from `at` on, follows the
/// head, and begins with a whole line. How much of `bytes` is written now.
fn begin_anew(shared: &Shared, target: &mut Target, bytes: &mut Vec<u8>, at: usize) -> usize {
    if !target.reopen() {
        return at;
    }
    let at = line_start(bytes, at);
    if !target.is_empty() {
        return at;
    }
    let mut state = shared.lock();
    bytes.splice(..at, state.head.iter().copied());
    state.in_flight = bytes.len();
    0
}

fn write_all(shared: &Shared, target: &mut Target, bytes: &mut Vec<u8>) -> Result<(), Closed> {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let piece = rest.get(..PIECE).unwrap_or(rest);
        match target.file.write(piece) {
            Ok(0) => return Err(Closed::Failed(None)),
            Ok(written) => {
                at += written;
                target.recovered();
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::BrokenPipe => return Err(Closed::BrokenPipe),
                // Somebody else has set the terminal or pipe to non-blocking.
                ErrorKind::WouldBlock => target.wait_writable(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    target.full(&error);
                    let state = shared.lock();
                    let mut state = shared.wait(&shared.work, state, RETRY);
                    if std::mem::take(&mut state.reopen) {
                        drop(state);
                        at = begin_anew(shared, target, bytes, at);
                    }
                }
                _ => {
                    log::error!("the output can't be written: {error}");
                    return Err(Closed::Failed(error.raw_os_error()));
                }
            },
        }
        shared.lock().in_flight = bytes.len() - at;
        shared.progress.notify_all();
        shared.written.notify_one();
    }
    Ok(())
}

/// Where the line that byte `at` belongs to begins.
fn line_start(bytes: &[u8], at: usize) -> usize {
    let before = bytes.get(..at).unwrap_or(bytes);
    before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
}
