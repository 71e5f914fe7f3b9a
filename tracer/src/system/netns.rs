//! The host's network namespaces, and the sockets in all of them.
//!
//! A namespace is found through a process that lives in it or through a mount that keeps it (as
//! `ip netns add` and container engines make them). One that only a file descriptor, a socket or a
//! single thread of a process holds is not found.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sched::{CloneFlags, setns};

use super::owners::{self, Sought};
use super::{mounts, sock_diag};
use crate::core::event::ExistingSocket;

/// Time for the work in one namespace. Listing 100,000 sockets takes a tenth of it.
const PER_NAMESPACE: Duration = Duration::from_secs(5);
/// Time for all namespaces together; what is left then is reported as not listed.
const ALTOGETHER: Duration = Duration::from_secs(15);
/// Ways into a namespace that are remembered: processes end.
const WAYS: usize = 4;
/// Rounds of looking for namespaces: one that came up or lost its last known process meanwhile is
/// found in the next.
const ROUNDS: usize = 3;
/// Why a process can't be looked into.
const PROTECTED: &str = "CAP_SYS_PTRACE is missing, or they are protected from it";
/// Problems that are told one by one.
const PROBLEMS: usize = 8;

/// A network namespace and ways to get into it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// Inode: its number in `ip netns`, `lsns` and the kernel's `ns.inum`.
    pub inode: u32,
    /// Files that stand for it; mounts first.
    paths: Vec<PathBuf>,
}

/// The namespaces found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Namespaces {
    /// By inode.
    pub list: Vec<Namespace>,
    /// Processes whose namespace could not be read (takes CAP_SYS_PTRACE, and some are protected
    /// even then).
    pub unreadable: usize,
}

/// The sockets that exist, over all namespaces asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// In no order.
    pub sockets: Vec<ExistingSocket>,
    /// Inodes of the namespaces that were listed to the end, sorted: only of these can it be said
    /// that a socket does not exist (see the reservation in [`sock_diag`]).
    pub complete: Vec<u32>,
    /// What is missing and why, a sentence each.
    pub problems: Vec<String>,
}

impl Snapshot {
    /// This list and one made after it: what either of them shows, as the later one shows it. What is
    /// missing from both is gone.
    #[must_use]
    pub fn and_then(self, mut later: Self) -> Self {
        let shown: HashSet<u64> = later.sockets.iter().map(|socket| socket.cookie).collect();
        let missed = self.sockets.into_iter().filter(|socket| !shown.contains(&socket.cookie));
        later.sockets.extend(missed);
        later.complete.retain(|netns| self.complete.binary_search(netns).is_ok());
        later
    }
}

/// Inode of the calling thread's network namespace.
///
/// # Errors
/// When /proc is not mounted.
pub fn own_inode() -> io::Result<u32> {
    inode(Path::new("/proc/thread-self/ns/net"))
}

/// Finds the namespaces of the host: all that this mount and pid namespace can see.
///
/// # Errors
/// When /proc can't be listed.
pub fn list() -> io::Result<Namespaces> {
    let mut found: BTreeMap<u32, Vec<PathBuf>> = BTreeMap::new();
    let mut add = |inode, path| {
        let paths = found.entry(inode).or_default();
        if paths.len() < WAYS {
            paths.push(path);
        }
    };
    // /run/netns, /run/docker/netns and any other: whatever is mounted is in mountinfo.
    for mount in mounts::mounts()? {
        if mount.kind == b"nsfs" && mount.root.starts_with(b"net:[") {
            // Something else may be mounted over it: only what the path leads to counts.
            if let Some(inode) = netns_number(&mount.root)
                && self::inode(&mount.point).is_ok_and(|actual| actual == inode)
            {
                add(inode, mount.point);
            }
        }
    }
    let mut unreadable = 0_usize;
    for pid in owners::pids()? {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        match inode(&path) {
            Ok(inode) => add(inode, path),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                unreadable = unreadable.saturating_add(1);
            }
            // Ended meanwhile, or a kernel thread or zombie that has none.
            Err(_) => {}
        }
    }
    Ok(Namespaces {
        list: found.into_iter().map(|(inode, paths)| Namespace { inode, paths }).collect(),
        unreadable,
    })
}

/// Why work could not be done in a namespace.
#[derive(Debug)]
enum Failure {
    /// None of the known ways leads into it any more.
    Gone,
    /// Anything else.
    Error(anyhow::Error),
}

impl Namespace {
    /// Runs `work` in the namespace, on a thread of its own that ends with it, so that the caller's
    /// threads stay where they are.
    ///
    /// Work that outlasts `timeout` is left to itself: the thread ends when the work does.
    ///
    /// # Errors
    /// When the namespace is gone or can't be entered (needs CAP_SYS_ADMIN), or the time is up.
    pub fn run<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        match self.try_run(timeout, work) {
            Ok(value) => Ok(value),
            Err(Failure::Gone) => anyhow::bail!("network namespace {} is gone", self.inode),
            Err(Failure::Error(error)) => Err(error),
        }
    }

    fn try_run<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let file = self.open()?;
        let inode = self.inode;
        let (tx, rx) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("netns".into())
            .spawn(move || {
                let entered = if own_inode().is_ok_and(|own| own == inode) {
                    Ok(())
                } else {
                    setns(&file, CloneFlags::CLONE_NEWNET)
                };
                drop(file);
                // The receiver may have given up waiting.
                let _ = tx.send(entered.map(|()| work()));
            })
            .context("can't start a thread to enter another network namespace")
            .map_err(Failure::Error)?;
        match rx.recv_timeout(timeout) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(errno)) => Err(Failure::Error(anyhow::anyhow!(
                "can't enter network namespace {inode}: {} (needs CAP_SYS_ADMIN)",
                errno.desc()
            ))),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(Failure::Error(anyhow::anyhow!(
                "work in network namespace {inode} took longer than {timeout:?}"
            ))),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(Failure::Error(anyhow::anyhow!(
                "work in network namespace {inode} ended early"
            ))),
        }
    }

    /// The first way in that still leads to this namespace.
    fn open(&self) -> Result<File, Failure> {
        let mut failure = Failure::Gone;
        for path in &self.paths {
            match File::open(path) {
                Ok(file) => match file.metadata() {
                    Ok(meta) if meta.ino() == u64::from(self.inode) => return Ok(file),
                    // The process id has been taken by another process.
                    _ => {}
                },
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    failure = Failure::Error(anyhow::anyhow!(
                        "can't open network namespace {} ({}): {error} (needs CAP_SYS_PTRACE)",
                        self.inode,
                        path.display()
                    ));
                }
                Err(_) => {}
            }
        }
        Err(failure)
    }
}

/// Lists the TCP sockets of all namespaces, or of the one with inode `selection`, with the
/// processes that hold them.
///
/// Blocks for milliseconds on a quiet host and 15 seconds at most (plus one reading of
/// /proc): not for an async task.
#[must_use]
pub fn snapshot_all(selection: Option<u32>) -> Snapshot {
    let deadline = Instant::now() + ALTOGETHER;
    let mut snapshot = Snapshot::default();
    let mut found = Vec::new();
    let mut settled = HashSet::new();
    let mut problems = Vec::new();
    let mut unreadable = 0;
    for _ in 0..ROUNDS {
        let namespaces = match list() {
            Ok(namespaces) => namespaces,
            Err(error) => {
                problems.push(format!("can't look for network namespaces in /proc: {error}"));
                break;
            }
        };
        unreadable = namespaces.unreadable;
        let open: Vec<_> = namespaces
            .list
            .into_iter()
            .filter(|namespace| selection.is_none_or(|inode| inode == namespace.inode))
            .filter(|namespace| !settled.contains(&namespace.inode))
            .collect();
        if open.is_empty() {
            break;
        }
        for namespace in open {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                settled.insert(namespace.inode);
                problems.push(format!(
                    "no time was left to list the open connections of network namespace {}",
                    namespace.inode
                ));
                continue;
            }
            match namespace.try_run(left.min(PER_NAMESPACE), sock_diag::list) {
                Ok(Ok(listing)) => {
                    settled.insert(namespace.inode);
                    match listing.incomplete {
                        None => snapshot.complete.push(namespace.inode),
                        Some(why) => {
                            problems.push(format!("network namespace {}: {why}", namespace.inode));
                        }
                    }
                    found.push((namespace.inode, listing.sockets));
                }
                // Perhaps another process holds it: the next round tells.
                Err(Failure::Gone) => {}
                Ok(Err(error)) | Err(Failure::Error(error)) => {
                    settled.insert(namespace.inode);
                    problems.push(format!("network namespace {}: {error:#}", namespace.inode));
                }
            }
        }
    }
    let found_selected = selection.is_some_and(|inode| settled.contains(&inode));
    if unreadable > 0 && !found_selected {
        problems.push(format!(
            "processes that do not let their network namespace be read: {unreadable} ({PROTECTED}). \
             If it is one of their own, its open connections are missing"
        ));
    }
    if let Some(inode) = selection
        && !found_selected
    {
        problems
            .push(format!("there is no network namespace {inode}: `lsns --type net` lists them"));
    }
    let more = problems.len().saturating_sub(PROBLEMS);
    problems.truncate(PROBLEMS);
    if more > 0 {
        problems.push(format!("{more} more problems of this kind"));
    }
    snapshot.problems = problems;
    snapshot.complete.sort_unstable();
    add_owners(&mut snapshot, found);
    snapshot
}

fn add_owners(snapshot: &mut Snapshot, found: Vec<(u32, Vec<sock_diag::DiagSocket>)>) {
    let sought = found
        .iter()
        .flat_map(|(_, sockets)| sockets)
        .filter(|socket| socket.inode != 0)
        .map(|socket| (u64::from(socket.inode), Sought::of(socket.state)))
        .collect::<HashMap<_, _>>();
    let owners = match owners::find(&sought) {
        Ok(owners) => owners,
        Err(error) => {
            snapshot.problems.push(format!(
                "can't read /proc to find out who owns the open connections: {error}"
            ));
            owners::Owners::default()
        }
    };
    let ownerless = sought.keys().filter(|inode| !owners.by_inode.contains_key(inode)).count();
    if owners.unreadable > 0 && ownerless > 0 {
        snapshot.problems.push(format!(
            "open connections whose owners are not known: {ownerless}; processes that do not let \
             their files be read: {} ({PROTECTED})",
            owners.unreadable
        ));
    }
    for (netns, sockets) in found {
        snapshot.sockets.extend(sockets.into_iter().map(|socket| ExistingSocket {
            cookie: socket.cookie,
            netns,
            local: socket.local,
            remote: socket.remote,
            state: socket.state,
            owner: owners.by_inode.get(&u64::from(socket.inode)).copied(),
            cgroup: socket.cgroup,
        }));
    }
}

fn inode(path: &Path) -> io::Result<u32> {
    // ns_common.inum is 32 bits wide; the same number is the inode (fs/nsfs.c).
    u32::try_from(std::fs::metadata(path)?.ino()).map_err(io::Error::other)
}

/// `net:[4026531840]` → 4026531840.
fn netns_number(link: &[u8]) -> Option<u32> {
    let number = link.strip_prefix(b"net:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use tracer_common::state::TcpState;

    use super::*;

    #[test]
    fn the_own_namespace_is_among_those_found() {
        let own = own_inode().unwrap();
        let namespaces = list().unwrap();
        let found = namespaces.list.iter().find(|namespace| namespace.inode == own);
        assert!(found.is_some_and(|namespace| namespace.paths.len() <= WAYS));
        assert!(namespaces.list.is_sorted_by_key(|namespace| namespace.inode));
    }

    #[test]
    fn two_lists_show_what_one_of_them_missed() {
        let socket = |cookie, state| ExistingSocket {
            cookie,
            netns: 1,
            local: "10.0.0.1:80".parse().unwrap(),
            remote: "10.0.0.2:4000".parse().unwrap(),
            state,
            owner: None,
            cgroup: 0,
        };
        let list = |sockets, complete| Snapshot { sockets, complete, problems: Vec::new() };
        let first = list(
            vec![socket(1, TcpState::Established), socket(2, TcpState::Established)],
            vec![1, 2, 4],
        );
        let second =
            list(vec![socket(2, TcpState::CloseWait), socket(3, TcpState::SynSent)], vec![1, 3, 4]);
        let mut both = first.and_then(second);
        both.sockets.sort_by_key(|socket| socket.cookie);
        let shown: Vec<_> = both.sockets.iter().map(|s| (s.cookie, s.state)).collect();
        let expected =
            [(1, TcpState::Established), (2, TcpState::CloseWait), (3, TcpState::SynSent)];
        assert_eq!(shown, expected);
        assert_eq!(both.complete, [1, 4]);
    }

    #[test]
    fn names_of_namespace_links() {
        assert_eq!(netns_number(b"net:[4026531840]"), Some(4_026_531_840));
        for not in ["net:[]", "net:[99999999999]", "mnt:[4026531840]", "net:[1", "/"] {
            assert_eq!(netns_number(not.as_bytes()), None, "{not}");
        }
    }

    #[test]
    fn work_in_the_own_namespace_needs_no_privilege_and_is_bounded_in_time() {
        let own = own_inode().unwrap();
        let namespace = list().unwrap().list.into_iter().find(|found| found.inode == own).unwrap();
        assert_eq!(namespace.run(PER_NAMESPACE, || own_inode().unwrap()).unwrap(), own);
        let (release, held) = mpsc::channel::<()>();
        let late = namespace.run(Duration::from_millis(20), move || held.recv());
        assert!(format!("{:#}", late.unwrap_err()).contains("took longer"));
        drop(release);
    }

    #[test]
    fn a_namespace_that_is_gone_is_said_to_be() {
        let gone =
            Namespace { inode: 1, paths: vec!["/proc/self/ns/net".into(), "/nonexistent".into()] };
        let error = gone.run(PER_NAMESPACE, || ()).unwrap_err();
        assert_eq!(format!("{error:#}"), "network namespace 1 is gone");
    }

    #[test]
    fn a_selection_that_does_not_exist_is_a_problem() {
        let snapshot = snapshot_all(Some(1));
        assert!(snapshot.sockets.is_empty() && snapshot.complete.is_empty());
        assert!(snapshot.problems.iter().any(|problem| problem.contains("no network namespace 1")));
    }
}
