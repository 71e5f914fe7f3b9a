//! The terminal: taken over, written to without waiting for ever, and given back whatever happens.
//!
//! What is needed to give it back is global, so that a panic's hook finds it, on whichever thread.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{FlushArg, SetArg, Termios, cfmakeraw, tcflush, tcgetattr, tcsetattr};

/// Alternate screen, cursor hidden, everything blank.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[0m\x1b[H\x1b[2J";
/// The other way round.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";
/// Ends an escape sequence that was cut (ECMA-48, CAN).
const CANCEL: &[u8] = b"\x18";
/// How long a terminal may take to be left before what waits for it is thrown away.
const PATIENCE: Duration = Duration::from_millis(500);

/// The terminal while it is taken over.
static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);

struct Taken {
    /// How it was.
    before: Termios,
    out: Arc<File>,
}

fn taken() -> MutexGuard<'static, Option<Taken>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens stdout's terminal once more, so that making it non-blocking concerns nobody else: stdin,
/// stdout and the shell's share one open file.
pub(super) fn open() -> io::Result<Arc<File>> {
    let mut options = OpenOptions::new();
    let again = options
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open("/proc/self/fd/1");
    match again {
        Ok(file) => Ok(Arc::new(file)),
        // Another user's terminal, after su: as it is, then.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Ok(Arc::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
        }
        Err(error) => Err(error),
    }
}

/// Takes it over: keys come one by one and unechoed, the alternate screen is shown.
pub(super) fn enter(out: &Arc<File>) -> io::Result<()> {
    let stdin = io::stdin();
    let mut taken = taken();
    // After SIGCONT it is taken already, and yet somebody else has had it meanwhile.
    let before = match taken.take() {
        Some(taken) => taken.before,
        None => tcgetattr(stdin.as_fd())?,
    };
    let mut raw = before.clone();
    cfmakeraw(&mut raw);
    tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &raw)?;
    *taken = Some(Taken { before, out: Arc::clone(out) });
    drop(taken);
    write_for(out, ENTER, PATIENCE);
    Ok(())
}

/// Gives it back, if it is taken. May be called at any time, from any thread.
pub(super) fn leave() {
    let mut guard = taken();
    let Some(Taken { before, out }) = guard.take() else { return };
    if !write_for(&out, LEAVE, PATIENCE) {
        // It does not take anything: what waits is thrown away, the rest of a frame as well.
        let _ = tcflush(&*out, FlushArg::TCOFLUSH);
        let _ = write_for(&out, &[CANCEL, LEAVE].concat(), PATIENCE);
    }
    // Whatever it says: nothing more can be done.
    let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, &before);
}

/// Writes all of it within `limit`; whether it did.
fn write_for(out: &File, bytes: &[u8], limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    write_while(out, bytes, || Instant::now() < deadline).is_ok_and(|whole| whole)
}

/// Writes all of it for as long as `go_on` says; whether it did.
fn write_while(
    mut out: &File,
    mut bytes: &[u8],
    mut go_on: impl FnMut() -> bool,
) -> io::Result<bool> {
    while !bytes.is_empty() {
        let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
        // What a signal interrupts is tried again.
        if poll(&mut fds, PollTimeout::from(50_u16)).unwrap_or(0) == 0 {
            if go_on() {
                continue;
            }
            return Ok(false);
        }
        let piece = bytes.get(..4096).unwrap_or(bytes);
        match out.write(piece) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted | ErrorKind::WouldBlock if go_on() => {}
                ErrorKind::Interrupted | ErrorKind::WouldBlock => return Ok(false),
                _ => return Err(error),
            },
        }
    }
    Ok(true)
}

/// Collects a frame and writes it when it is whole, unless told to stop.
pub(super) struct Frames {
    out: Arc<File>,
    frame: Vec<u8>,
    stop: Arc<AtomicBool>,
}

impl Frames {
    pub(super) fn new(out: Arc<File>, stop: Arc<AtomicBool>) -> Self {
        Self { out, frame: Vec::with_capacity(16 * 1024), stop }
    }
}

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.frame.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let stop = &self.stop;
        let written = match stop.load(Ordering::Relaxed) {
            true => Ok(false),
            false => write_while(&self.out, &self.frame, || !stop.load(Ordering::Relaxed)),
        };
        self.frame.clear();
        written.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::{AsRawFd as _, OwnedFd};

    use super::*;

    /// A pipe whose writing end does not block.
    fn pipe() -> (io::PipeReader, Arc<File>) {
        let (reader, writer) = io::pipe().expect("pipe()");
        let writer = File::from(OwnedFd::from(writer));
        // SAFETY: a plain flag of a descriptor of ours.
        unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        (reader, Arc::new(writer))
    }

    #[test]
    fn a_frame_goes_out_as_a_whole_at_the_flush() {
        let (mut reader, writer) = pipe();
        let stop = Arc::new(AtomicBool::new(false));
        let mut frames = Frames::new(writer, stop);
        frames.write_all(b"abc").expect("collected");
        frames.write_all(&[b'x'; 20_000]).expect("collected");
        frames.flush().expect("written");
        drop(frames);
        let mut all = Vec::new();
        reader.read_to_end(&mut all).expect("read");
        assert_eq!((all.len(), &all[..4]), (20_003, &b"abcx"[..]));
    }

    #[test]
    fn a_terminal_that_takes_nothing_holds_nobody_up_once_told_to_stop() {
        let (_reader, writer) = pipe();
        let stop = Arc::new(AtomicBool::new(false));
        let mut frames = Frames::new(writer, Arc::clone(&stop));
        frames.write_all(&vec![b'x'; 4 << 20]).expect("collected");
        let thread = std::thread::spawn(move || frames.flush());
        std::thread::sleep(Duration::from_millis(100));
        assert!(!thread.is_finished(), "nobody reads");
        stop.store(true, Ordering::Relaxed);
        let begin = Instant::now();
        thread.join().expect("no panic").expect("no error");
        assert!(begin.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_terminal_that_has_gone_is_an_error() {
        let (reader, writer) = pipe();
        drop(reader);
        let mut frames = Frames::new(writer, Arc::default());
        frames.write_all(b"abc").expect("collected");
        assert!(frames.flush().is_err());
    }
}
