//! The cgroup v2 hierarchy in the filesystem.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::system::mounts;

/// Directories that one walk looks at, at most.
const WALKED: usize = 50_000;

/// `FILEID_KERNFS` of `include/linux/exportfs.h`: the handle is the 64-bit kernfs node id.
const FILEID_KERNFS: i32 = 0xfe;

/// `struct file_handle` with room for a kernfs id, which is 8 bytes in host order.
#[repr(C)]
struct FileHandle {
    handle_bytes: u32,
    handle_type: i32,
    id: [u8; 8],
}

/// What looking an id up came to.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Lookup {
    /// Path below the root, `/` the root.
    Found(String),
    /// No cgroup has this id.
    Gone,
    /// File handles can't be used here: only a walk can tell.
    WalkNeeded,
}

/// The hierarchy.
#[derive(Debug)]
pub(super) struct Tree {
    root: File,
    point: PathBuf,
    handles: bool,
}

impl Tree {
    /// The mounted cgroup v2 hierarchy.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn find() -> anyhow::Result<Self> {
        let mounts = mounts::mounts().context("can't read /proc/self/mountinfo")?;
        // Several mounts show the same hierarchy; the one of its root shows all of it.
        let mut points: Vec<_> =
            mounts.into_iter().filter(|mount| mount.kind == b"cgroup2").collect();
        points.sort_by_key(|mount| mount.root != b"/");
        let mut last = None;
        for mount in points {
            match File::open(&mount.point) {
                Ok(root) => {
                    return Ok(Self { root, point: mount.point, handles: true });
                }
                Err(error) => last = Some((mount.point, error)),
            }
        }
        match last {
            Some((point, error)) => Err(error).context(format!("can't open {}", point.display())),
            None => anyhow::bail!(
                "no cgroup v2 hierarchy is mounted (`mount -t cgroup2 none /sys/fs/cgroup` makes one)"
            ),
        }
    }

    #[cfg(test)]
    pub(super) fn without_handles(point: PathBuf) -> io::Result<Self> {
        Ok(Self { root: File::open(&point)?, point, handles: false })
    }

    /// Looks `id` up by its file handle.
    pub(super) fn lookup(&mut self, id: u64) -> Lookup {
        if !self.handles {
            return Lookup::WalkNeeded;
        }
        match self.open_handle(id) {
            Ok(fd) => {
                let link = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
                match fs::read_link(link) {
                    Ok(path) => Lookup::Found(self.below_root(&path)),
                    Err(_) => Lookup::Gone,
                }
            }
            Err(error) => match error.raw_os_error() {
                // Without CAP_DAC_READ_SEARCH in the initial user namespace, or on a filesystem or
                // under a seccomp filter that has no handles, this will not change.
                Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL) => {
                    self.handles = false;
                    Lookup::WalkNeeded
                }
                _ => Lookup::Gone,
            },
        }
    }

    fn open_handle(&self, id: u64) -> io::Result<OwnedFd> {
        let mut handle =
            FileHandle { handle_bytes: 8, handle_type: FILEID_KERNFS, id: id.to_ne_bytes() };
        // SAFETY: `handle` has the layout of struct file_handle, and its handle_bytes are there.
        let fd = unsafe {
            libc::open_by_handle_at(
                self.root.as_raw_fd(),
                (&raw mut handle).cast(),
                libc::O_PATH | libc::O_CLOEXEC | libc::O_DIRECTORY,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just opened it, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// The path as seen from the hierarchy's root.
    fn below_root(&self, path: &Path) -> String {
        // A cgroup outside of what is mounted (from within a container) has no path below the
        // mount point; the kernel then gives it from the hierarchy's root.
        let below = path.strip_prefix(&self.point).unwrap_or(path);
        let text = String::from_utf8_lossy(below.as_os_str().as_bytes());
        // Removed between opening and reading the link.
        let text = text.strip_suffix(" (deleted)").unwrap_or(&text);
        format!("/{}", text.trim_start_matches('/'))
    }

    /// Walks the tree and returns up to `most` cgroups with their paths, and the one with id
    /// `sought` in any case, if it is among the first [`WALKED`].
    pub(super) fn walk(&self, sought: u64, most: usize) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        let mut next = vec![self.point.clone()];
        let mut walked = 0_usize;
        while let Some(directory) = next.pop() {
            walked = walked.saturating_add(1);
            if walked > WALKED {
                break;
            }
            let Ok(meta) = fs::symlink_metadata(&directory) else {
                continue;
            };
            if found.len() < most || meta.ino() == sought {
                found.push((meta.ino(), self.below_root(&directory)));
            }
            let Ok(entries) = fs::read_dir(&directory) else {
                continue;
            };
            next.extend(
                entries
                    .flatten()
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.path()),
            );
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_root() {
        let tree = Tree::without_handles(std::env::temp_dir()).unwrap();
        let below = |path: &str| tree.below_root(&std::env::temp_dir().join(path));
        assert_eq!(below(""), "/");
        assert_eq!(below("a/b"), "/a/b");
        assert_eq!(below("a (deleted)"), "/a");
        assert_eq!(tree.below_root(Path::new("/elsewhere/c")), "/elsewhere/c");
    }

    #[test]
    fn a_handle_has_the_kernels_layout() {
        assert_eq!(std::mem::offset_of!(FileHandle, id), 8);
        assert_eq!(size_of::<FileHandle>(), 16);
    }
}
