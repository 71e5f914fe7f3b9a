//! Where the page goes: a file that is written beside it and takes its place in one step.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use caps::{CapSet, Capability, CapsHashSet};
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{AccessFlags, UnlinkatFlags, faccessat, unlinkat};

/// Sticky, as /tmp: only whoever owns the file or the directory may take it away (unlink(2)).
const STICKY: u32 = 0o1000;

/// A file to be. Removed if it never is.
pub(super) struct Target {
    /// As the user says it.
    path: PathBuf,
    /// The directory itself, not its path: whoever exchanges that during the run gets nothing.
    folder: File,
    name: OsString,
    /// The name until the end; none once it has the other.
    temporary: Option<OsString>,
    file: File,
    needed: CapsHashSet,
}

impl Target {
    /// Makes sure that the page can be written, while there is time to do something about it.
    ///
    /// # Errors
    /// That it can't, and why.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let what = || format!("cannot write the report {}", path.display());
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // The kernel follows a link to the directory, and looks whether it should
        // (fs.protected_symlinks); who reads links by hand goes without that.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = File::from(open(folder, flags, Mode::empty()).with_context(what)?);
        // `/` and what ends with `..` are directories as well.
        let name = path.file_name().unwrap_or(OsStr::new("."));
        let there = there(&folder, name).with_context(what)?;
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return Err(anyhow::anyhow!("this names no file")).with_context(what);
        }
        let old = there.filter(|there| kind(there) == SFlag::S_IFREG);
        let of_folder = fstat(&folder).with_context(what)?;
        let trusted = old.filter(|old| is_trusted(old, &of_folder));
        let mode = match (&old, &trusted) {
            (_, Some(_)) => 0o600,
            (Some(old), None) => 0o666 & old.st_mode,
            // What the umask leaves of these, as for any other file.
            (None, None) => 0o666,
        };
        let (temporary, file) = create(&folder, mode).with_context(what)?;
        let mut target = Self {
            path: path.to_owned(),
            folder,
            name: name.to_owned(),
            temporary: Some(temporary),
            file,
            needed: CapsHashSet::new(),
        };
        if let Some(old) = &trusted {
            resemble(&target.file, old).with_context(what)?;
        }
        target.needed = needed(&target.folder, &of_folder, there.map(|there| there.st_uid))?;
        Ok(target)
    }

    /// What it takes to give the file its name, later.
    pub(super) fn needed_later(&self) -> &CapsHashSet {
        &self.needed
    }

    /// Writes it, and only then gives it its name.
    ///
    /// # Errors
    /// What failed; what stood there before is left alone.
    pub(super) fn write(mut self, page: &str) -> Result<()> {
        let what = format!("cannot write the report {}", self.path.display());
        self.file
            .write_all(page.as_bytes())
            .and_then(|()| self.file.sync_all())
            .with_context(|| what.clone())?;
        if let Some(temporary) = &self.temporary {
            // A link of that name is replaced, not followed (rename(2)).
            renameat(&self.folder, temporary.as_os_str(), &self.folder, self.name.as_os_str())
                .context(what)?;
            self.temporary = None;
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Nobody is left to be told.
            let _ = unlinkat(&self.folder, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// What has the name now, a link not followed.
///
/// # Errors
/// It is nothing that a page could replace.
fn there(folder: &File, name: &OsStr) -> Result<Option<FileStat>> {
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
fn is_trusted(old: &FileStat, folder: &FileStat) -> bool {
    old.st_uid == folder.st_uid
        || folder.st_mode & 0o022 == 0
        || old.st_uid == nix::unistd::geteuid().as_raw()
}

/// A new file of a name that nobody has.
fn create(folder: &File, mode: u32) -> std::io::Result<(OsString, File)> {
    let mut name = OsString::new();
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // It makes the names up and tries again; the directory it is made in is ours to say.
    let made = tempfile::Builder::new()
        .prefix(".tracer-report-")
        .suffix(".tmp")
        .disable_cleanup(true)
        .make_in("/", |path| {
            name = path.file_name().unwrap_or_default().to_owned();
            let mode = Mode::from_bits_truncate(mode);
            Ok(File::from(openat(folder, name.as_os_str(), flags, mode)?))
        })?;
    Ok((name, made.into_parts().0))
}

/// Gives a new, empty file, readable by nobody else, the group, mode and owner of the old one: never
/// does anybody get to read it who could not read the old one. Group and owner as far as allowed.
fn resemble(file: &File, old: &FileStat) -> std::io::Result<()> {
    let now = file.metadata()?;
    let mut mode = old.st_mode & 0o777;
    if now.gid() != old.st_gid && fchown(file, None, Some(old.st_gid)).is_err() {
        // It is another group then, which may do no more than everyone.
        mode &= 0o707 | (mode & 0o007) << 3;
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    if now.uid() != old.st_uid {
        // Last: who has given it away may not change its mode.
        let _ = fchown(file, Some(old.st_uid), None);
    }
    Ok(())
}

/// The capabilities without which nobody could rename a file in `folder`, over one that belongs to
/// `there` if there is one: of all that root has, tracer keeps what it needs.
fn needed(folder: &File, of_folder: &FileStat, there: Option<u32>) -> Result<CapsHashSet> {
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
        anyhow::anyhow!("can't tell what the report needs: {error}")
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
