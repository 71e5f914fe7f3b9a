//! What goes to stderr while the screen is taken: log lines, and what an alert program prints. It
//! is collected, shown in the view, and printed once the screen is given back.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

use crate::report::escape::{Blanks, escape};

/// Lines kept; of more, the newest.
const LINES: usize = 500;
/// Bytes kept of a line.
const LINE: usize = 1000;
/// Room for what is said before anybody reads.
const ROOM: i32 = 1 << 20;

/// Where stderr went before; -1: it goes there still. For a panic's hook.
static BEFORE: AtomicI32 = AtomicI32::new(-1);

/// Lines collected.
#[derive(Default)]
pub(super) struct Lines {
    all: VecDeque<Vec<u8>>,
    /// Without its end so far.
    unfinished: Vec<u8>,
    /// Lines that had to go.
    forgotten: u64,
    /// Grows with every line.
    pub(super) version: u64,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.end();
            } else if self.unfinished.len() < LINE {
                self.unfinished.push(*byte);
            }
        }
    }

    fn end(&mut self) {
        self.version += 1;
        self.all.push_back(std::mem::take(&mut self.unfinished));
        if self.all.len() > LINES {
            self.all.pop_front();
            self.forgotten += 1;
        }
    }

    /// For the screen, oldest first, harmless.
    pub(super) fn shown(&self) -> Vec<String> {
        let forgotten = (self.forgotten > 0).then(|| format!("({} lines before)", self.forgotten));
        let lines = self.all.iter().map(|line| {
            let mut out = String::with_capacity(line.len());
            let _ = escape(line, Blanks::Keep, &mut out);
            out
        });
        forgotten.into_iter().chain(lines).collect()
    }
}

/// Stderr while it is collected; dropped, it goes where it went before, and so does what was
/// collected.
pub struct Captured {
    lines: Arc<Mutex<Lines>>,
    read: Option<OwnedFd>,
    /// Closing it tells the thread to end.
    stop: Option<io::PipeWriter>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    /// Redirects stderr, if it is a terminal. Starts no thread: [`Self::collect`] does.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn redirect() -> io::Result<Option<Self>> {
        if !io::stderr().is_terminal() {
            return Ok(None);
        }
        let before = io::stderr().as_fd().try_clone_to_owned()?;
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        // A little less room is no harm: who reads comes soon.
        let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(ROOM));
        fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        redirect_to(write.as_raw_fd())?;
        // Kept open until the end of the process: a panic may need it at any time.
        BEFORE.store(before.into_raw_fd(), Ordering::SeqCst);
        Ok(Some(Self { lines: Arc::default(), read: Some(read), stop: None, reader: None }))
    }

    /// Collects from now on, in a thread of its own.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn collect(&mut self) -> io::Result<Arc<Mutex<Lines>>> {
        if let Some(read) = &self.read {
            let read = File::from(read.try_clone()?);
            let (stopped, stop) = io::pipe()?;
            let lines = Arc::clone(&self.lines);
            let reader = std::thread::Builder::new()
                .name("tracer-stderr".into())
                .spawn(move || collect(read, &stopped, &lines))?;
            self.stop = Some(stop);
            self.reader = Some(reader);
        }
        Ok(Arc::clone(&self.lines))
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        restore();
        self.stop = None;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let mut lines = locked(&self.lines);
        if let Some(read) = self.read.take() {
            drain(&mut File::from(read), &mut lines);
        }
        if !lines.unfinished.is_empty() {
            lines.end();
        }
        let mut stderr = io::stderr().lock();
        if lines.forgotten > 0 {
            let _ = writeln!(stderr, "tracer: ({} lines before are forgotten)", lines.forgotten);
        }
        for line in &lines.all {
            let _ = stderr.write_all(line).and_then(|()| stderr.write_all(b"\n"));
        }
    }
}

/// Lets stderr go where it went before.
pub(super) fn restore() {
    let before = BEFORE.swap(-1, Ordering::SeqCst);
    if before >= 0 {
        let _ = redirect_to(before);
    }
}

fn redirect_to(fd: i32) -> io::Result<()> {
    // SAFETY: plain numbers; stderr stays open all the time.
    match unsafe { libc::dup2(fd, libc::STDERR_FILENO) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn collect(mut read: File, stopped: &io::PipeReader, lines: &Mutex<Lines>) {
    loop {
        let mut fds = [
            PollFd::new(read.as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        if poll(&mut fds, PollTimeout::NONE).is_err() {
            continue;
        }
        let [_, stopped] = fds;
        let stop = stopped.revents().is_some_and(|events| !events.is_empty());
        drain(&mut read, &mut locked(lines));
        if stop {
            return;
        }
    }
}

/// Takes what is there.
fn drain(read: &mut File, lines: &mut Lines) {
    let mut part = [0; 4096];
    while let Ok(n @ 1..) = read.read(&mut part) {
        lines.take(part.get(..n).unwrap_or_default());
    }
}

pub(super) fn locked(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_harmless_and_not_for_ever() {
        let mut lines = Lines::default();
        lines.take(b"tracer: warn: a\nhalf ");
        assert_eq!(lines.shown(), ["tracer: warn: a"]);
        lines.take(b"a line\x1b[31m\xff\n");
        assert_eq!(lines.shown()[1], "half a line\\x1b[31m\\xff");
        lines.take(&[b'x'; 5000]);
        lines.take(b"\n");
        assert_eq!(lines.shown()[2].len(), LINE);
        for _ in 0..LINES {
            lines.take(b"again\n");
        }
        let shown = lines.shown();
        assert_eq!((shown.len(), lines.version), (LINES + 1, LINES as u64 + 3));
        assert_eq!(shown[0], "(3 lines before)");
    }
}
