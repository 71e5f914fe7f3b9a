//! What goes to stderr while the screen is taken: log lines, and what an alert program prints. It
//! is collected, shown in the view, and printed once the screen is given back.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
/// Bytes read at a time.
const PART: usize = 4096;
/// Reads in a round: all that there is room for. Who writes on meanwhile waits for the next one.
const READS: usize = ROOM as usize / PART;
/// Between two rounds if there was more, so that who writes without pause leaves others their turn.
const PAUSE: u16 = 5;
/// How long the thread may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

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
            let deadline = Instant::now() + PATIENCE;
            while !reader.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            // One that does not end is not waited for; it ends with the process.
            if reader.is_finished() {
                let _ = reader.join();
            }
        }
        if let Some(read) = self.read.take() {
            // What is there by now; an alert program may write on for ever.
            let _ = drain(&mut File::from(read), &self.lines, || false);
        }
        let mut lines = locked(&self.lines);
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

/// Reads until `stopped` is closed at its other end, or nobody has the pipe open any more. What is
/// in the pipe then is left there.
fn collect(mut read: File, stopped: &io::PipeReader, lines: &Mutex<Lines>) {
    while !is_stopped(stopped, 0) {
        let mut fds = [
            PollFd::new(read.as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        if poll(&mut fds, PollTimeout::NONE).is_err() {
            continue;
        }
        match drain(&mut read, lines, || is_stopped(stopped, 0)) {
            Drained::Empty => {}
            Drained::More => {
                is_stopped(stopped, PAUSE);
            }
            Drained::Ended => return,
        }
    }
}

/// Whether the thread is to end; waits for that so many milliseconds.
fn is_stopped(stopped: &io::PipeReader, wait: u16) -> bool {
    let mut fds = [PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(wait)).is_ok_and(|ready| ready > 0)
}

/// What is left in the pipe.
#[derive(Debug, PartialEq, Eq)]
enum Drained {
    Empty,
    /// There may be more.
    More,
    /// Nobody can write any more.
    Ended,
}

/// Takes what is there, [`READS`] times at most and not beyond `stop`. The lock is free in between:
/// the thread that has the keyboard needs it as well.
fn drain(read: &mut File, lines: &Mutex<Lines>, mut stop: impl FnMut() -> bool) -> Drained {
    let mut part = [0; PART];
    for _ in 0..READS {
        if stop() {
            break;
        }
        match read.read(&mut part) {
            Ok(0) => return Drained::Ended,
            Ok(n) => locked(lines).take(part.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Drained::Empty,
        }
    }
    Drained::More
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

    /// A pipe as [`Captured::redirect`] makes it, and one who writes into it without pause until
    /// nobody reads any more.
    fn flood() -> (OwnedFd, JoinHandle<()>) {
        let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(ROOM));
        fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let writer = std::thread::spawn(move || {
            let (mut write, lines) = (File::from(write), b"again\n".repeat(1000));
            while write.write_all(&lines).is_ok() {}
        });
        (read, writer)
    }

    #[test]
    fn who_writes_without_pause_keeps_nobody_from_the_lines_nor_from_the_end() {
        let (read, writer) = flood();
        let mut captured =
            Captured { lines: Arc::default(), read: Some(read), stop: None, reader: None };
        let lines = captured.collect().unwrap();
        // Somebody who looks as the screen does.
        let mut version = 0;
        for _ in 0..20 {
            let asked = Instant::now();
            let now = locked(&lines).version;
            assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
            while locked(&lines).version == now {
                assert!(asked.elapsed() < Duration::from_secs(10), "nothing is collected");
                std::thread::sleep(Duration::from_millis(1));
            }
            version = now;
        }
        assert!(version > 0);
        // What its end does, without the printing.
        let (stop, reader) = (captured.stop.take(), captured.reader.take().unwrap());
        let told = Instant::now();
        drop(stop);
        reader.join().unwrap();
        let mut read = File::from(captured.read.take().unwrap());
        assert_ne!(drain(&mut read, &lines, || false), Drained::Ended);
        assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
        drop(read);
        writer.join().unwrap();
        // Nothing to print.
        *locked(&lines) = Lines::default();
    }

    #[test]
    fn a_round_ends_though_there_is_more() {
        let (read, writer) = flood();
        let (mut read, lines) = (File::from(read), Mutex::new(Lines::default()));
        assert_eq!(drain(&mut read, &lines, || true), Drained::More);
        assert_eq!(locked(&lines).version, 0);
        let mut reads = 0;
        let never = || {
            reads += 1;
            assert!(lines.try_lock().is_ok(), "others have their turn between two reads");
            false
        };
        // It ends when it has caught up, or after its reads.
        assert_ne!(drain(&mut read, &lines, never), Drained::Ended);
        assert!((1..=READS).contains(&reads), "{reads}");
        drop(read);
        writer.join().unwrap();
    }

    #[test]
    fn the_thread_ends_when_nobody_can_write_any_more() {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        let (stopped, stop) = io::pipe().unwrap();
        File::from(write).write_all(b"the last\n").unwrap();
        let lines = Mutex::default();
        collect(File::from(read), &stopped, &lines);
        assert_eq!(locked(&lines).shown(), ["the last"]);
        drop(stop);
    }
}
