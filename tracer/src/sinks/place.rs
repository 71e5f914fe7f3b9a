//! Where files of a whole run are made: a directory that others may write to as well, as /tmp, must
//! not lead root astray.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::Result;
use caps::{CapSet, Capability, CapsHashSet};
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{AccessFlags, faccessat};

/// Sticky, as /tmp: only whoever owns the file or the directory may take it away (unlink(2)).
const STICKY: u32 = 0o1000;

/// The directory a file is to be in, itself and not its path, the file's name there, and what has
/// that name now.
///
/// # Errors
/// There is no such directory, or no file can have that name.
pub(super) fn place(path: &Path) -> Result<(File, OsString, Option<FileStat>)> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The kernel follows a link to the directory, and looks whether it should
    // (fs.protected_symlinks); who reads links by hand goes without that.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let folder = File::from(open(folder, flags, Mode::empty()).map_err(std::io::Error::from)?);
    // `/` and what ends with `..` are directories as well.
    let name = path.file_name().unwrap_or(OsStr::new(".")).to_owned();
    let there = there(&folder, &name)?;
    if path.as_os_str().as_bytes().ends_with(b"/") {
        anyhow::bail!("this names no file");
    }
    Ok((folder, name, there))
}

/// Regular file, directory, link, ...
pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// What has the name now, a link not followed.
///
/// # Errors
/// It is nothing that a file could replace.
pub(super) fn there(folder: &File, name: &OsStr) -> Result<Option<FileStat>> {
    let Ok(there) = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { return Ok(None) };
    let is_link = kind(&there) == SFlag::S_IFLNK;
    // Only to tell what is not meant to be replaced, as /dev/stdout. Nothing is written there.
    let meant = if is_link { fstatat(folder, name, AtFlags::empty()).ok() } else { Some(there) };
    match meant.as_ref().map(kind) {
        Some(SFlag::S_IFDIR) => anyhow::bail!("it is a directory: name a file"),
        None | Some(SFlag::S_IFREG) => {}
        Some(_) => anyhow::bail!("it is no regular file: name a file"),
    }
    let same = |stream: FileStat| {
        meant.is_some_and(|it| (it.st_dev, it.st_ino) == (stream.st_dev, stream.st_ino))
    };
    let streams = [fstat(std::io::stdin()), fstat(std::io::stdout()), fstat(std::io::stderr())];
    anyhow::ensure!(
        !is_link || !streams.into_iter().flatten().any(same),
        "it leads to what is open as stdin, stdout or stderr: name a file"
    );
    Ok(Some(there))
}

/// Whether whoever has the file could not have planted it where others belong: it is the directory
/// owner's, or nobody else can write there, or it is ours.
pub(super) fn is_trusted(old: &FileStat, folder: &FileStat) -> bool {
    old.st_uid == folder.st_uid
        || folder.st_mode & 0o022 == 0
        || old.st_uid == nix::unistd::geteuid().as_raw()
}

/// A new file of a name that nobody has.
pub(super) fn create(folder: &File, prefix: &str, mode: u32) -> std::io::Result<(OsString, File)> {
    let mut name = OsString::new();
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // It makes the names up and tries again; the directory it is made in is ours to say.
    let made = tempfile::Builder::new()
        .prefix(prefix)
        .suffix(".tmp")
        .disable_cleanup(true)
        .make_in("/", |path| {
            name = path.file_name().unwrap_or_default().to_owned();
            let mode = Mode::from_bits_truncate(mode);
            Ok(File::from(openat(folder, name.as_os_str(), flags, mode)?))
        })?;
    Ok((name, made.into_parts().0))
}

/// The capabilities without which nobody could rename a file in `folder`, over one that belongs to
/// `there` if there is one: of all that root has, tracer keeps what it needs.
pub(super) fn needed(
    folder: &File,
    of_folder: &FileStat,
    there: Option<u32>,
) -> Result<CapsHashSet> {
    let mut needed = CapsHashSet::new();
    if !writable_without(Capability::CAP_DAC_OVERRIDE, folder)? {
        needed.insert(Capability::CAP_DAC_OVERRIDE);
    }
    let euid = nix::unistd::geteuid().as_raw();
    if of_folder.st_mode & STICKY != 0
        && of_folder.st_uid != euid
        && there.is_some_and(|owner| owner != euid)
    {
        needed.insert(Capability::CAP_FOWNER);
    }
    Ok(needed)
}

/// Whether this thread could write to a directory without that capability.
fn writable_without(capability: Capability, folder: &File) -> Result<bool> {
    let failed = |error: caps::errors::CapsError| {
        anyhow::anyhow!("can't tell which privileges that takes: {error}")
    };
    let had = caps::has_cap(None, CapSet::Effective, capability).map_err(failed)?;
    if had {
        caps::drop(None, CapSet::Effective, capability).map_err(failed)?;
    }
    let wanted = AccessFlags::W_OK | AccessFlags::X_OK;
    let writable = faccessat(folder, ".", wanted, AtFlags::AT_EACCESS).is_ok();
    if had {
        caps::raise(None, CapSet::Effective, capability).map_err(failed)?;
    }
    Ok(writable)
}
