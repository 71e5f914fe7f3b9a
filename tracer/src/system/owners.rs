//! Which process holds a socket, found by reading `/proc/PID/fd` of all processes.
//!
//! Several processes hold the same socket after a fork. Which of them is named:
//!
//! - Only processes with the same name as the oldest holder are considered. A program that a server
//!   has started and that inherited a descriptor by mistake thus never takes the server's place.
//! - Of a connection, the youngest of these: a server that forks per connection leaves it to the
//!   child.
//! - Of a listener, the oldest: the master of a prefork server, not one of its workers. Except for
//!   pid 1, which only opens listeners on behalf of others (socket activation).
//!
//! Ties, which need two processes started in the same 10 ms, go to the higher pid of a connection
//! and the lower one of a listener.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tracer_common::state::TcpState;

use crate::core::event::{Comm, Owner};

/// What a socket that an owner is sought for is used for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sought {
    /// It listens.
    Listener,
    /// It is a connection, or is to become one.
    Connection,
}

impl Sought {
    /// By the socket's state.
    #[must_use]
    pub const fn of(state: TcpState) -> Self {
        match state {
            TcpState::Listen => Self::Listener,
            _ => Self::Connection,
        }
    }
}

/// The owners found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Owners {
    /// By the socket's inode. The pid is the one that this /proc shows: the host's, if tracer runs
    /// in the host's pid namespace.
    pub by_inode: HashMap<u64, Owner>,
    /// Processes whose descriptors could not be read (takes CAP_SYS_PTRACE and
    /// CAP_DAC_READ_SEARCH, and some are protected even then).
    pub unreadable: usize,
}

/// A process that holds a sought socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Holder {
    pid: u32,
    /// Clock ticks since boot.
    started: u64,
    comm: Comm,
}

/// Finds the owners of the sockets whose inodes are the keys of `sought`, in one pass over /proc.
///
/// # Errors
/// When /proc can't be listed. Processes that end meanwhile are no error.
pub fn find(sought: &HashMap<u64, Sought>) -> io::Result<Owners> {
    let mut owners = Owners::default();
    if sought.is_empty() {
        return Ok(owners);
    }
    let mut holders: HashMap<u64, Vec<Holder>> = HashMap::new();
    for pid in pids()? {
        let entries = match fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(entries) => entries,
            Err(error) => {
                if error.kind() == io::ErrorKind::PermissionDenied {
                    owners.unreadable = owners.unreadable.saturating_add(1);
                }
                continue;
            }
        };
        // Read at the first socket that is sought: most processes hold none.
        let mut holder: Option<Holder> = None;
        for entry in entries.flatten() {
            let Ok(target) = fs::read_link(entry.path()) else {
                continue;
            };
            let Some(inode) = socket_inode(target.as_os_str().as_bytes()) else {
                continue;
            };
            if !sought.contains_key(&inode) {
                continue;
            }
            if holder.is_none() {
                holder = read_holder(pid);
            }
            let Some(holder) = holder else { break };
            let known = holders.entry(inode).or_default();
            // One process may hold a socket under several descriptors.
            if known.last().is_none_or(|last| last.pid != holder.pid) {
                known.push(holder);
            }
        }
    }
    for (inode, holders) in holders {
        if let Some(kind) = sought.get(&inode)
            && let Some(owner) = choose(*kind, &holders)
        {
            owners.by_inode.insert(inode, owner);
        }
    }
    Ok(owners)
}

/// Inode of the pid namespace of the host (`PROC_PID_INIT_INO` of `linux/proc_ns.h`).
const HOST_PIDS: &str = "pid:[4026531836]";

/// Why no socket can belong to the process `pid`, pid as the host sees it; `None` if one can, or if this /proc
/// does not tell.
#[must_use]
pub fn why_nobody(pid: u32) -> Option<String> {
    if fs::read_link("/proc/self/ns/pid").ok()?.to_str() != Some(HOST_PIDS) {
        return None;
    }
    let status = match fs::read_to_string(format!("/proc/{pid}/status")) {
        Ok(status) => status,
        // A /proc mounted with hidepid hides some that there are.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let gone = kill(Pid::from_raw(pid.cast_signed()), None) == Err(Errno::ESRCH);
            return gone.then(|| format!("there is no process {pid} now"));
        }
        Err(_) => return None,
    };
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim();
    let thread = process.parse() != Ok(pid);
    thread.then(|| format!("{pid} is a thread of process {process}, and sockets are a process's"))
}

/// The processes that /proc shows, in no order.
///
/// # Errors
/// When /proc can't be listed.
pub(super) fn pids() -> io::Result<impl Iterator<Item = u32>> {
    Ok(fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

fn choose(kind: Sought, holders: &[Holder]) -> Option<Owner> {
    let age = |holder: &&Holder| (holder.started, holder.pid);
    let chosen = match kind {
        Sought::Connection => {
            let oldest = holders.iter().min_by_key(age)?;
            holders.iter().filter(|holder| holder.comm == oldest.comm).max_by_key(age)
        }
        Sought::Listener => {
            let others = holders.iter().filter(|holder| holder.pid != 1);
            others.min_by_key(age).or_else(|| holders.first())
        }
    }?;
    Some(Owner { pid: chosen.pid, comm: chosen.comm })
}

/// `None` when the process has ended.
fn read_holder(pid: u32) -> Option<Holder> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let (comm, started) = parse_stat(&stat)?;
    Some(Holder { pid, started, comm })
}

/// `PID (COMM) S …`: COMM may hold anything, parentheses included; after the last one come fields
/// without any. starttime is field 22 (proc_pid_stat(5)), the 20th after COMM.
fn parse_stat(stat: &[u8]) -> Option<(Comm, u64)> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let comm = stat.get(open.checked_add(1)?..close)?;
    let rest = std::str::from_utf8(stat.get(close.checked_add(1)?..)?).ok()?;
    let started = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some((Comm::from_bytes(comm), started))
}

/// `socket:[123]` → 123.
fn socket_inode(target: &[u8]) -> Option<u64> {
    let number = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd as _;

    use super::*;

    fn holder(pid: u32, started: u64, comm: &str) -> Holder {
        Holder { pid, started, comm: Comm::from_bytes(comm.as_bytes()) }
    }

    #[test]
    fn pids_that_can_own_no_socket() {
        assert_eq!(why_nobody(std::process::id()), None);
        if fs::read_link("/proc/self/ns/pid").expect("a link").as_os_str() != HOST_PIDS {
            // Of another namespace's pids nothing is said.
            assert_eq!(why_nobody(4_194_305), None);
            return;
        }
        // Beyond PID_MAX_LIMIT.
        let said = why_nobody(4_194_305);
        assert_eq!(said.as_deref(), Some("there is no process 4194305 now"));
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let pid = nix::unistd::gettid().as_raw().cast_unsigned();
                let process = format!("{pid} is a thread of process {}", std::process::id());
                assert!(why_nobody(pid).is_some_and(|said| said.starts_with(&process)));
            });
            thread.join().expect("a thread");
        });
    }

    #[test]
    fn who_is_named_when_several_hold_the_socket() {
        let alone = [holder(10, 5, "nginx")];
        let prefork = [holder(12, 7, "nginx"), holder(10, 5, "nginx"), holder(11, 7, "nginx")];
        let leaked = [holder(10, 5, "server"), holder(20, 9, "sleep")];
        let activated = [holder(1, 0, "systemd"), holder(30, 9, "sshd"), holder(31, 12, "sshd")];
        let init = [holder(1, 0, "systemd")];
        let wrapped = [holder(40, 3, "sh"), holder(9, 30, "sh")];
        use Sought::{Connection, Listener};
        for (name, kind, holders, expected) in [
            ("one process", Connection, &alone[..], 10),
            ("the youngest worker, the higher pid of two", Connection, &prefork, 12),
            ("the master", Listener, &prefork, 10),
            ("not what inherited it by mistake", Connection, &leaked, 10),
            ("not the service manager", Listener, &activated, 30),
            ("the service manager where it is alone", Listener, &init, 1),
            ("by age, not by pid", Connection, &wrapped, 9),
            ("by age, not by pid", Listener, &wrapped, 40),
        ] {
            assert_eq!(choose(kind, holders).map(|owner| owner.pid), Some(expected), "{name}");
            let mut reversed = holders.to_vec();
            reversed.reverse();
            assert_eq!(choose(kind, &reversed), choose(kind, holders), "{name}, in any order");
        }
        assert_eq!(choose(Connection, &[]), None);
    }

    #[test]
    fn a_stat_line_is_parsed_whatever_the_name() {
        let tail = b" S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 424242 20 21\n";
        for comm in ["nginx", "a b", "a) S 1 (b", "", "(sd-pam)"] {
            let mut line = format!("77 ({comm})").into_bytes();
            line.extend(tail);
            let (parsed, started) = parse_stat(&line).unwrap();
            assert_eq!((parsed.as_bytes(), started), (comm.as_bytes(), 424_242));
        }
        for bad in ["", "77 (x", "77 x) S", "77 (x) S 1 2", "77 )x("] {
            assert_eq!(parse_stat(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn links_of_descriptors() {
        for (target, expected) in [
            ("socket:[123]", Some(123)),
            ("socket:[x]", None),
            ("pipe:[123]", None),
            ("/tmp/socket:[123]", None),
        ] {
            assert_eq!(socket_inode(target.as_bytes()), expected, "{target}");
        }
    }

    #[test]
    fn an_own_socket_is_found_under_the_own_pid() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let copy = listener.try_clone().unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", copy.as_raw_fd())).unwrap();
        let inode = socket_inode(link.as_os_str().as_bytes()).unwrap();
        let owners = find(&HashMap::from([(inode, Sought::Listener)])).unwrap();
        let comm = fs::read("/proc/self/comm").unwrap();
        assert_eq!(
            owners.by_inode.get(&inode),
            Some(&Owner { pid: std::process::id(), comm: Comm::from_bytes(comm.trim_ascii_end()) })
        );
        assert_eq!(find(&HashMap::new()).unwrap(), Owners::default());
    }
}
