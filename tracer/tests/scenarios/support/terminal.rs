//! Programs whose output is collected byte by byte, on a terminal without a person.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait_until;

/// A program whose output is collected.
pub(crate) struct Program {
    child: Child,
    /// What it writes.
    pub(crate) out: Collected,
    /// What it says on standard error.
    pub(crate) notices: Collected,
    done: bool,
}

impl Program {
    /// Starts it: on a terminal of so many columns, without colours, or with pipes.
    pub(crate) fn start(mut command: Command, columns: Option<u16>) -> Self {
        command.env("NO_COLOR", "1").env("TERM", "xterm").env("TZ", "UTC");
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut spawn = |stdout: Stdio| {
            let child = command.stdout(stdout).spawn();
            child.unwrap_or_else(|error| panic!("{command:?}: {error}"))
        };
        let (mut child, out) = match columns {
            None => {
                let mut child = spawn(Stdio::piped());
                let out = child.stdout.take().expect("stdout");
                (child, Collected::from(out))
            }
            Some(columns) => {
                let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                let pty = openpty(&size, None).expect("openpty()");
                (spawn(pty.slave.into()), Collected::from(File::from(pty.master)))
            }
        };
        let notices = Collected::from(child.stderr.take().expect("stderr"));
        // `command` goes here, and with it this process's hold of the terminal's other end.
        Self { child, out, notices, done: false }
    }

    /// Sends it a signal.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("kill()");
    }

    /// Waits until it has ended and all it wrote has come.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the program ends", Duration::from_secs(20), || {
            status = self.child.try_wait().expect("wait");
            status.is_some()
        });
        self.done = true;
        self.out.join();
        self.notices.join();
        status.expect("a status")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.done {
            // Ours, and not waited for before.
            let _ = self.child.kill();
            let _ = self.child.wait();
            eprintln!("{}\n{}", self.out.text(), self.notices.text());
        }
    }
}

/// What comes out of something, until its other end is closed.
pub(crate) struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Collected {
    /// Begins to read.
    fn from(mut from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut part = [0; 4096];
            // A terminal whose other end is closed gives EIO.
            while let Ok(n @ 1..) = from.read(&mut part) {
                into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&part[..n]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    /// What has come so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same, without the carriage returns that a terminal adds.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).replace("\r\n", "\n")
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader");
        }
    }
}
