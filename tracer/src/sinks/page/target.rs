//! Where the page goes: a file that is written beside it and takes its place in one step.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use caps::CapsHashSet;
use nix::fcntl::renameat;
use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::sinks::place::{create, is_trusted, kind, needed, place};

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
        let (folder, name, there) = place(path).with_context(what)?;
        let old = there.filter(|there| kind(there) == SFlag::S_IFREG);
        let of_folder = fstat(&folder).map_err(std::io::Error::from).with_context(what)?;
        let trusted = old.filter(|old| is_trusted(old, &of_folder));
        let mode = match (&old, &trusted) {
            (_, Some(_)) => 0o600,
            (Some(old), None) => 0o666 & old.st_mode,
            // What the umask leaves of these, as for any other file.
            (None, None) => 0o666,
        };
        let (temporary, file) = create(&folder, ".tracer-report-", mode).with_context(what)?;
        let mut target = Self {
            path: path.to_owned(),
            folder,
            name,
            temporary: Some(temporary),
            file,
            needed: CapsHashSet::new(),
        };
        if let Some(old) = &trusted {
            resemble(&target.file, old).with_context(what)?;
        }
        target.needed = needed(&target.folder, &of_folder, there.map(|there| there.st_uid))
            .with_context(what)?;
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
                .map_err(std::io::Error::from)
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
