//! Names of cgroups by their cgroup v2 id.
//!
//! The id that BPF programs and `sock_diag` give is the cgroup's kernfs node id, and that is also
//! its directory's file handle: opening the handle leads straight to the path. Where that is not
//! allowed, the tree is walked for the directory with that inode number.

mod container;
mod tree;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use container::container_of;
use tree::{Lookup, Tree};

use crate::core::event::CgroupName;

/// Names that are remembered. A host with 250 containers has about 1,000 cgroups.
const CACHED: usize = 8192;
/// How long an id that has no name is not asked for again.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// Time between two walks of the tree.
const WALK_EVERY: Duration = Duration::from_secs(10);

/// Resolves cgroup v2 ids to names, and remembers them.
///
/// A name once found stays true: cgroup v2 can't rename a cgroup, and the kernel does not use an id
/// twice (64 bits wide: inode and generation). So the name of a connection's cgroup survives the
/// cgroup, if it was asked for before that went.
#[derive(Debug)]
pub struct Cgroups {
    tree: Option<Tree>,
    problem: Option<String>,
    names: HashMap<u64, Arc<CgroupName>>,
    unknown: HashMap<u64, Instant>,
    walked: Option<Instant>,
}

impl Cgroups {
    /// Looks for the cgroup v2 hierarchy: mounted alone or beside v1.
    #[must_use]
    pub fn new() -> Self {
        let (tree, problem) = match Tree::find() {
            Ok(tree) => (Some(tree), None),
            Err(error) => (None, Some(format!("cgroups have no names: {error:#}"))),
        };
        Self { tree, problem, names: HashMap::new(), unknown: HashMap::new(), walked: None }
    }

    /// Why no cgroup can be named here; `None` where they can.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The name of cgroup `id`; `None` for 0, a cgroup that no longer exists, and where there is no
    /// cgroup v2.
    ///
    /// Costs a hash lookup or, the first time, three system calls; a walk over the tree at most
    /// every ten seconds, and only where file handles can't be opened (needs CAP_DAC_READ_SEARCH).
    pub fn resolve(&mut self, id: u64, now: Instant) -> Option<Arc<CgroupName>> {
        if id == 0 {
            return None;
        }
        if let Some(name) = self.names.get(&id) {
            return Some(Arc::clone(name));
        }
        if let Some(asked) = self.unknown.get(&id)
            && now.saturating_duration_since(*asked) < UNKNOWN_FOR
        {
            return None;
        }
        let path = match self.tree.as_mut()?.lookup(id) {
            Lookup::Found(path) => Some(path),
            Lookup::Gone => None,
            Lookup::WalkNeeded => self.walk(id, now),
        };
        let Some(path) = path else {
            if self.unknown.len() >= CACHED {
                self.unknown.clear();
            }
            self.unknown.insert(id, now);
            return None;
        };
        self.unknown.remove(&id);
        Some(self.remember(id, path))
    }

    /// Walks the tree unless it was walked just now, and remembers all it finds, so that other ids
    /// need no walk of their own.
    fn walk(&mut self, id: u64, now: Instant) -> Option<String> {
        let since = self.walked.map(|walked| now.saturating_duration_since(walked));
        if since.is_some_and(|since| since < WALK_EVERY) {
            return None;
        }
        self.walked = Some(now);
        let mut found = None;
        // Half of what fits: the walk must not push out everything found before.
        for (seen, path) in self.tree.as_ref()?.walk(id, CACHED / 2) {
            if seen == id {
                found = Some(path);
            } else {
                self.remember(seen, path);
            }
        }
        found
    }

    fn remember(&mut self, id: u64, path: String) -> Arc<CgroupName> {
        if self.names.len() >= CACHED {
            // Reached where cgroups come and go by the thousand. Those in use are found again at
            // three system calls each.
            self.names.clear();
        }
        let container = container_of(&path);
        let name = Arc::new(CgroupName { path, container });
        Arc::clone(self.names.entry(id).or_insert(name))
    }
}

impl Default for Cgroups {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::PathBuf;

    use super::*;

    /// A tree of plain directories with the walk as the only way to find them.
    struct Fake {
        root: PathBuf,
        cgroups: Cgroups,
    }

    impl Fake {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("tracer-{name}-{}", std::process::id()));
            fs::create_dir_all(&root).unwrap();
            let mut cgroups = Cgroups::new();
            cgroups.tree = Some(Tree::without_handles(root.clone()).unwrap());
            Self { root, cgroups }
        }

        fn make(&self, path: &str) -> u64 {
            let path = self.root.join(path);
            fs::create_dir_all(&path).unwrap();
            fs::metadata(path).unwrap().ino()
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    #[test]
    fn without_file_handles_one_walk_names_all() {
        let mut fake = Fake::new("walk");
        let deep = fake.make("system.slice/web.service/worker");
        let other = fake.make("user.slice");
        let root = fs::metadata(&fake.root).unwrap().ino();
        let now = Instant::now();
        let mut path = |id| fake.cgroups.resolve(id, now).map(|name| name.path.clone());
        assert_eq!(path(deep).as_deref(), Some("/system.slice/web.service/worker"));
        // Found by the same walk: another one is not due yet.
        assert_eq!(path(other).as_deref(), Some("/user.slice"));
        assert_eq!(path(root).as_deref(), Some("/"));
        assert_eq!(path(0), None);
    }

    #[test]
    fn unknown_ids_cause_neither_a_walk_each_nor_a_leak() {
        let mut fake = Fake::new("unknown");
        let start = Instant::now();
        assert_eq!(fake.cgroups.resolve(u64::MAX, start), None);
        let late = fake.make("late");
        // A walk has just been made.
        assert_eq!(fake.cgroups.resolve(late, start + WALK_EVERY / 2), None);
        // Due, and the id is no longer held to be unknown.
        let due = start + WALK_EVERY + UNKNOWN_FOR;
        assert_eq!(fake.cgroups.resolve(late, due).unwrap().path, "/late");
        for id in 0..3 * CACHED as u64 {
            fake.cgroups.resolve(u64::MAX / 2 + id, due);
        }
        assert!(fake.cgroups.unknown.len() <= CACHED);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_carries_the_container() {
        let mut fake = Fake::new("bounded");
        for id in 1..=3 * CACHED as u64 {
            fake.cgroups.remember(id, format!("/lxc.payload.c{id}"));
        }
        assert!(fake.cgroups.names.len() <= CACHED);
        let last = 3 * CACHED as u64;
        let name = fake.cgroups.resolve(last, Instant::now()).unwrap();
        assert_eq!(name.container, Some(format!("c{last}")));
    }
}
