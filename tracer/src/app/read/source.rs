//! The file of `--read`, or stdin: opened with words for what users get wrong, and read so that what
//! came in is handed on before anybody waits for more.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::capture::file::{CaptureError, Problem};
use crate::cli::Options;

/// A capture that is open and not looked into yet.
pub(super) struct Source {
    /// As the user says it.
    pub(super) name: String,
    file: File,
    /// Bytes of it; `None` for what is no regular file.
    pub(super) size: Option<u64>,
}

impl Source {
    /// Opens it.
    ///
    /// # Errors
    /// It is not there, may not be read, or is nothing that could be a capture; or what is to be
    /// written would go into it.
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self> {
        let name = path.display().to_string();
        let file = if path.as_os_str() == "-" {
            let stdin = io::stdin();
            if stdin.is_terminal() {
                bail!(
                    "--read - reads a capture from stdin, and stdin is a terminal: pipe one into \
                     it, `tcpdump -w - | tracer --read -`"
                );
            }
            File::from(stdin.as_fd().try_clone_to_owned().context("cannot read stdin")?)
        } else {
            File::open(path).with_context(|| format!("cannot open the capture {name}"))?
        };
        let about = file.metadata().with_context(|| format!("cannot read the capture {name}"))?;
        if about.is_dir() {
            bail!("cannot read the capture {name}: it is a directory, name a file in it");
        }
        if about.file_type().is_block_device() {
            bail!("cannot read the capture {name}: it is a block device, name a file");
        }
        for (option, written) in
            [("--output", &options.output.output), ("--report", &options.output.report)]
        {
            let same = |there: std::fs::Metadata| {
                about.is_file() && (there.dev(), there.ino()) == (about.dev(), about.ino())
            };
            let written = written.as_ref().filter(|path| path.metadata().is_ok_and(same));
            if let Some(path) = written {
                bail!(
                    "{option} {} is the capture that is to be read: name another file",
                    path.display()
                );
            }
        }
        Ok(Self { name, file, size: about.is_file().then_some(about.len()) })
    }

    /// A reader that calls `before_wait` whenever there is nothing to read at once, and counts the
    /// bytes of the file in `count`.
    pub(super) fn reader<F>(self, before_wait: F, count: Arc<AtomicU64>) -> Patient<F> {
        let waits = self.size.is_none();
        Patient { file: self.file, waits, before_wait, count }
    }
}

/// See [`Source::reader`].
pub(super) struct Patient<F> {
    file: File,
    /// There may be nothing yet: a pipe, a socket.
    waits: bool,
    before_wait: F,
    count: Arc<AtomicU64>,
}

impl<F: FnMut()> Read for Patient<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.waits && !is_ready(&self.file) {
            (self.before_wait)();
        }
        let read = self.file.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Whether a read would not wait; also where it fails, or the writer has gone.
fn is_ready(file: &File) -> bool {
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).map_or(true, |ready| ready > 0)
}

/// What is wrong with a capture, for the user: with its name, whether what comes before is reported,
/// and what a file that is none looks like.
pub(super) fn described(name: &str, error: CaptureError, reported: bool) -> anyhow::Error {
    let name = if name == "-" { "stdin" } else { name };
    let hint = match &error.problem {
        Problem::NoCapture(magic) => match looks_like(*magic) {
            Some(what) => format!("; it looks like {what}"),
            None => format!("; {CONVERT}"),
        },
        _ => String::new(),
    };
    let upto =
        if reported { format!(", reported up to byte {}", error.offset) } else { String::new() };
    let error = anyhow::Error::new(error).context(format!("the capture {name}{upto}"));
    // What is wrong comes first, what may be meant last.
    if hint.is_empty() { error } else { anyhow!("{error:#}{hint}") }
}

/// What one does with a capture of a format that is not read.
const CONVERT: &str =
    "other formats that Wireshark knows are converted by `editcap -F pcapng IN OUT`";

/// What begins with these bytes.
fn looks_like(magic: [u8; 4]) -> Option<&'static str> {
    Some(match magic {
        [0x7f, b'E', b'L', b'F'] => "a program",
        [b'P', b'K', 3 | 5 | 7, _] => "a zip archive: unpack it first",
        [b'<', b'!' | b'h' | b'H' | b'?', ..] => "a web page, perhaps the answer of a download",
        [b'{', ..] => "JSON, perhaps what tracer itself has written",
        [b's', b'n', b'o', b'o'] => "a snoop capture: `editcap -F pcapng IN OUT` converts it",
        [b'%', b'P', b'D', b'F'] => "a PDF",
        _ if magic.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) => {
            "text"
        }
        _ => return None,
    })
}
