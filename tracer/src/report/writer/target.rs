//! Where a report goes: stdout, or a file that can be opened anew under its name.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::BOUND;

/// Where it goes.
pub(super) struct Target {
    pub(super) file: File,
    /// Of a file that can be reopened.
    path: Option<PathBuf>,
    /// It has been said that the disk is full.
    complained: bool,
}

impl Target {
    pub(super) fn fd(fd: OwnedFd) -> Self {
        Self { file: fd.into(), path: None, complained: false }
    }

    pub(super) fn file(path: &Path) -> io::Result<Self> {
        Ok(Self { file: open(path)?, path: Some(path.to_owned()), complained: false })
    }

    /// Whether there is a new file now.
    pub(super) fn reopen(&mut self) -> bool {
        let Some(path) = &self.path else {
            return false;
        };
        match open(path) {
            Ok(file) => {
                self.file = file;
                self.complained = false;
                true
            }
            Err(error) => {
                log::error!(
                    "{} can't be reopened, writing goes on to the old file: {error}",
                    path.display()
                );
                false
            }
        }
    }

    /// Whether nothing has been written to the file, by nobody.
    pub(super) fn is_empty(&self) -> bool {
        self.file.metadata().is_ok_and(|file| file.len() == 0)
    }

    pub(super) fn full(&mut self, error: &io::Error) {
        if !self.complained {
            self.complained = true;
            let name = self.path.as_deref().map_or("stdout".into(), Path::to_string_lossy);
            log::error!(
                "{name} can't be written: {error}. Make room: up to {} MiB of records wait, what \
                 comes beyond is dropped and counted",
                BOUND >> 20
            );
        }
    }

    pub(super) fn recovered(&mut self) {
        if self.complained {
            self.complained = false;
            log::warn!("the output is written again");
        }
    }

    pub(super) fn wait_writable(&self) {
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
        // Whatever it says, the next write tells.
        let _ = poll(&mut fds, PollTimeout::from(1_000_u16));
    }

    /// Whether the reading end of a pipe or socket is closed.
    pub(super) fn reader_gone(&self) -> bool {
        gone(self.file.as_fd())
    }
}

fn gone(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::empty())];
    let polled = poll(&mut fds, PollTimeout::ZERO);
    let [fd] = fds;
    // A pipe's writing end says POLLERR, a terminal that hung up and a socket POLLHUP (poll(2)).
    let bad = PollFlags::POLLERR | PollFlags::POLLHUP;
    polled.is_ok_and(|ready| ready > 0) && fd.revents().is_some_and(|e| e.intersects(bad))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
