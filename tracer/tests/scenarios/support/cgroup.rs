//! Control groups (v2) of a test's own.

use std::path::{Path, PathBuf};

use super::pause;

/// A cgroup of the test's own, removed at the end.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes it in the root of the cgroup v2 hierarchy.
    pub(crate) fn new(name: impl AsRef<Path>) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("/proc/self/mounts");
        let mount = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields.get(2) == Some(&"cgroup2"))
            .and_then(|fields| fields.get(1).map(PathBuf::from))
            .expect("no cgroup2 is mounted");
        let path = mount.join(name);
        std::fs::create_dir(&path).expect("make a cgroup");
        Self(path)
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            pause(20);
        }
    }
}
