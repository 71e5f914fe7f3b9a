//! Where the page goes: a file that is written beside it and takes its place in one step.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use caps::{CapSet, Capability, CapsHashSet};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};
use tempfile::NamedTempFile;

/// A file to be. Removed if it never is.
pub(super) struct Target {
    path: PathBuf,
    file: NamedTempFile,
    needed: CapsHashSet,
}

impl Target {
    /// Makes sure that the page can be written, while there is time to do something about it.
    ///
    /// # Errors
    /// That it can't, and why.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let what = || format!("cannot write the report {}", path.display());
        // Where a link leads is where the page belongs.
        let path = match std::fs::canonicalize(path) {
            Ok(there) => there,
            Err(_) => path.to_owned(),
        };
        let there = std::fs::metadata(&path).ok();
        if let Some(there) = &there
            && !there.is_file()
        {
            let kind = if there.is_dir() { "a directory" } else { "no regular file" };
            return Err(anyhow::anyhow!("it is {kind}: name a file")).with_context(what);
        }
        if path.file_name().is_none() {
            return Err(anyhow::anyhow!("this names no file")).with_context(what);
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        // What the umask leaves of these, as for any other file.
        let anyone = std::fs::Permissions::from_mode(0o666);
        let file = tempfile::Builder::new()
            .prefix(".tracer-report-")
            .suffix(".tmp")
            .permissions(anyone)
            .tempfile_in(&folder)
            .with_context(what)?;
        let needed = needed(&folder, there.as_ref().map(std::fs::Metadata::uid))?;
        Ok(Self { path, file, needed })
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
            .and_then(|()| self.file.as_file().sync_all())
            .with_context(|| what.clone())?;
        match self.file.persist(&self.path) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.error).context(what),
        }
    }
}

/// The capabilities without which nobody could rename a file in `folder`, over one that belongs to
/// `there` if there is one: of all that root has, tracer keeps what it needs.
fn needed(folder: &Path, there: Option<u32>) -> Result<CapsHashSet> {
    let mut needed = CapsHashSet::new();
    if !writable_without(Capability::CAP_DAC_OVERRIDE, folder)? {
        needed.insert(Capability::CAP_DAC_OVERRIDE);
    }
    // Sticky, as /tmp: only whoever owns the file or the directory may take it away (unlink(2)).
    const STICKY: u32 = 0o1000;
    let of_folder = std::fs::metadata(folder)
        .with_context(|| format!("cannot look at the directory {}", folder.display()))?;
    let euid = nix::unistd::geteuid().as_raw();
    if of_folder.mode() & STICKY != 0
        && of_folder.uid() != euid
        && there.is_some_and(|owner| owner != euid)
    {
        needed.insert(Capability::CAP_FOWNER);
    }
    Ok(needed)
}

/// Whether this thread could write to a directory without that capability.
fn writable_without(capability: Capability, folder: &Path) -> Result<bool> {
    let failed = |error: caps::errors::CapsError| {
        anyhow::anyhow!("can't tell what the report needs: {error}")
    };
    let had = caps::has_cap(None, CapSet::Effective, capability).map_err(failed)?;
    if had {
        caps::drop(None, CapSet::Effective, capability).map_err(failed)?;
    }
    let wanted = AccessFlags::W_OK | AccessFlags::X_OK;
    let writable = faccessat(AT_FDCWD, folder, wanted, AtFlags::AT_EACCESS).is_ok();
    if had {
        caps::raise(None, CapSet::Effective, capability).map_err(failed)?;
    }
    Ok(writable)
}
