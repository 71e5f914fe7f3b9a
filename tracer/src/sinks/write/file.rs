//! FILE and FILE.1: what is written goes into FILE; when that has half of the size it becomes FILE.1,
//! in the place of the one before, and a new FILE begins.
//!
//! So what is lost is the oldest, both together never have more than the size, and each is a whole
//! pcapng file at any time: also when tracer is killed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use caps::CapsHashSet;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::capture::pcapng_writer as pcapng;
use crate::sinks::place::{create, is_trusted, kind, needed, place, there};

/// Nobody but the owner: who talks with whom is nobody else's business.
const MODE: u32 = 0o600;

/// See the module.
pub(super) struct Generations {
    path: PathBuf,
    /// The directory itself, not its path: whoever exchanges that during the run gets nothing.
    folder: File,
    name: OsString,
    older: OsString,
    file: File,
    /// Bytes of the file, all of them whole blocks.
    len: u64,
    /// Most bytes of one of the two files.
    most: u64,
    needed: CapsHashSet,
}

impl Generations {
    /// Opens FILE, or goes on with one that an earlier run has left; `size`: bytes of both.
    ///
    /// # Errors
    /// No file can be made there, or what is there is none of tracer's.
    pub(super) fn open(path: &Path, size: u64) -> Result<Self> {
        Self::try_open(path, size)
            .with_context(|| format!("cannot keep packets in {}", path.display()))
    }

    fn try_open(path: &Path, size: u64) -> Result<Self> {
        let (folder, name, current) = place(path)?;
        let mut older = name.clone();
        older.push(".1");
        let most = size / 2;
        let of_folder = fstat(&folder)?;
        let before = there(&folder, &older).with_context(|| in_words(&older))?;
        for (name, there) in [(&name, &current), (&older, &before)] {
            check(&folder, name, there.as_ref(), &of_folder, most)?;
        }
        let mut needed = needed(&folder, &of_folder, current.map(|it| it.st_uid))?;
        needed.extend(self::needed(&folder, &of_folder, before.map(|it| it.st_uid))?);
        let goes_on = current.filter(|it| belongs(it, &of_folder));
        let (file, len) = match goes_on {
            Some(current) => go_on(&folder, &name, &current)?,
            None => (begin(&folder, &name)?, 0),
        };
        Ok(Self { path: path.to_owned(), folder, name, older, file, len, most, needed })
    }

    /// As the user says it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it takes to begin a new file, later.
    pub(super) const fn needed_later(&self) -> &CapsHashSet {
        &self.needed
    }

    /// Bytes that still go into this file.
    pub(super) const fn room(&self) -> u64 {
        self.most.saturating_sub(self.len)
    }

    /// Whether nothing is in this file.
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends whole blocks.
    ///
    /// # Errors
    /// The disk is full, or broken; none of it is in the file then.
    pub(super) fn append(&mut self, blocks: &[u8]) -> io::Result<()> {
        match self.file.write_all(blocks) {
            Ok(()) => {
                self.len += blocks.len() as u64;
                Ok(())
            }
            Err(error) => {
                // No part of a block may stand before what comes later.
                self.file.set_len(self.len)?;
                self.file.seek(SeekFrom::Start(self.len))?;
                Err(error)
            }
        }
    }

    /// Makes FILE the older one and begins a new one. One that was moved away is left where it is.
    ///
    /// # Errors
    /// It can't be made or named.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        if self.is_in_place() {
            renameat(&self.folder, self.name.as_os_str(), &self.folder, self.older.as_os_str())?;
        }
        self.file = begin(&self.folder, &self.name)?;
        self.len = 0;
        Ok(())
    }

    /// Whether the name is still that of the file.
    pub(super) fn is_in_place(&self) -> bool {
        let Ok(ours) = self.file.metadata() else { return false };
        fstatat(&self.folder, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
            .is_ok_and(|it| (it.st_dev, it.st_ino) == (ours.dev(), ours.ino()))
    }

    /// Has it on the disk.
    ///
    /// # Errors
    /// The disk is broken.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// A new, empty file of that name, in the place of what has it now.
fn begin(folder: &File, name: &OsStr) -> io::Result<File> {
    let (temporary, file) = create(folder, ".tracer-write-", MODE)?;
    // A link of that name is replaced, not followed (rename(2)).
    if let Err(error) = renameat(folder, temporary.as_os_str(), folder, name) {
        let _ = unlinkat(folder, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
        return Err(error.into());
    }
    Ok(file)
}

/// Whether a file that has the name may be written to: nobody can have planted it, and it has no
/// other name.
fn belongs(there: &FileStat, of_folder: &FileStat) -> bool {
    kind(there) == SFlag::S_IFREG && there.st_nlink == 1 && is_trusted(there, of_folder)
}

/// Makes sure that a file is one of tracer's, before it is replaced or written to.
fn check(
    folder: &File,
    name: &OsStr,
    there: Option<&FileStat>,
    of_folder: &FileStat,
    most: u64,
) -> Result<()> {
    let Some(there) = there.filter(|there| belongs(there, of_folder)) else { return Ok(()) };
    if there.st_size == 0 {
        return Ok(());
    }
    let mut begin = Vec::new();
    let file = reopen(folder, name, there, OFlag::O_RDONLY).with_context(|| in_words(name))?;
    file.take(64).read_to_end(&mut begin).with_context(|| in_words(name))?;
    ensure!(
        pcapng::is_ours(&begin),
        "{} is there and was not written by --write: move it away, or name another file",
        name.display()
    );
    ensure!(
        there.st_size.unsigned_abs() <= most,
        "{} of an earlier run has {} bytes, and half of --write-size are {most}: move it away, or \
         give a larger --write-size",
        name.display(),
        there.st_size
    );
    Ok(())
}

fn in_words(name: &OsStr) -> String {
    format!("cannot use {}", name.display())
}

/// Opens the file that was looked at.
fn reopen(folder: &File, name: &OsStr, there: &FileStat, how: OFlag) -> Result<File> {
    let flags = how | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = File::from(openat(folder, name, flags, Mode::empty())?);
    let now = fstat(&file)?;
    if (now.st_dev, now.st_ino) != (there.st_dev, there.st_ino) {
        bail!("it was replaced meanwhile");
    }
    Ok(file)
}

/// The file of an earlier run, behind its last whole block.
fn go_on(folder: &File, name: &OsStr, there: &FileStat) -> Result<(File, u64)> {
    let mut file = reopen(folder, name, there, OFlag::O_RDWR)?;
    let len = pcapng::whole_blocks(&mut file)?;
    if len != file.metadata()?.len() {
        log::warn!("{} ended within a packet: that is cut off", name.display());
        file.set_len(len)?;
    }
    file.seek(SeekFrom::Start(len))?;
    Ok((file, len))
}

#[cfg(test)]
mod tests;
