//! Sockets in every namespace, and their owners.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
use tracer::core::event::ExistingSocket;
use tracer::system::cgroup::Cgroups;
use tracer::system::netns::{self, Snapshot, snapshot_all};
use tracer::system::owners::{self, Sought};
use tracer::system::sock_diag;
use tracer_common::state::TcpState;

use crate::support::{Cgroup, Kept, Netns, cgroup_mount, require_root, run_script, without};

fn own_cgroup() -> u64 {
    let path = fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = path.lines().find_map(|line| line.strip_prefix("0::"));
    let path = format!("{}{}", cgroup_mount(), path.unwrap());
    fs::metadata(path).unwrap().ino()
}

/// SO_COOKIE, the kernel's own word on which socket this is.
fn cookie(socket: &impl AsFd) -> u64 {
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).unwrap();
    // SAFETY: the option's value is 8 bytes, and so long is the variable.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    cookie
}

/// A connection, both ends and the listener it came through.
struct Connected {
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

impl Connected {
    fn over(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let to = listener.local_addr().unwrap();
        Self::to(listener, to)
    }

    fn to(listener: TcpListener, to: SocketAddr) -> Self {
        let client = TcpStream::connect(to).unwrap();
        let (server, _) = listener.accept().unwrap();
        Self { listener, client, server }
    }
}

/// A client socket that has sent a SYN to `port` of 127.0.0.1.
fn send_syn(port: u16) -> OwnedFd {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let client = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    let to = SockaddrIn::new(127, 0, 0, 1, port);
    let started = connect(client.as_raw_fd(), &to);
    assert_eq!(started, Err(nix::errno::Errno::EINPROGRESS));
    client
}

fn by_cookie(snapshot: &Snapshot, cookie: u64) -> Option<&ExistingSocket> {
    let mut found = snapshot.sockets.iter().filter(|one| one.cookie == cookie);
    let first = found.next();
    assert_eq!(found.next(), None, "a socket is listed once");
    first
}

#[test]
fn a_snapshot_shows_own_sockets_exactly_as_they_are() {
    require_root();
    for (address, unspecified) in [("127.0.0.1:0", "0.0.0.0:0"), ("[::1]:0", "[::]:0")] {
        let pair = Connected::over(address);
        let snapshot = snapshot_all(None);
        let own = netns::own_inode().unwrap();
        assert!(snapshot.complete.contains(&own), "{:?}", snapshot.problems);
        let comm = fs::read("/proc/self/comm").unwrap();
        let (client, server) =
            (pair.client.local_addr().unwrap(), pair.server.local_addr().unwrap());
        for (name, cookie, local, remote, state) in [
            (
                "listener",
                cookie(&pair.listener),
                pair.listener.local_addr().unwrap(),
                unspecified.parse().unwrap(),
                TcpState::Listen,
            ),
            ("client", cookie(&pair.client), client, server, TcpState::Established),
            ("server", cookie(&pair.server), server, client, TcpState::Established),
        ] {
            let found = by_cookie(&snapshot, cookie).unwrap_or_else(|| panic!("no {name}"));
            assert_eq!((found.local, found.remote), (local, remote), "{name}");
            assert_eq!((found.state, found.netns), (state, own), "{name}");
            let owner = found.owner.unwrap_or_else(|| panic!("{name} has no owner"));
            assert_eq!(owner.pid, std::process::id(), "{name}");
            assert_eq!(owner.comm.as_bytes(), comm.trim_ascii_end(), "{name}");
            assert_eq!(found.cgroup, own_cgroup(), "{name}");
        }
    }
}

#[test]
fn ipv4_mapped_addresses_are_shown_as_ipv4() {
    let netns = Netns::new();
    netns.within(|| {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        let pair = Connected::to(listener, to);
        let listing = sock_diag::list().unwrap();
        let wanted = cookie(&pair.server);
        let found = listing.sockets.iter().find(|one| one.cookie == wanted).unwrap();
        assert_eq!((found.local, found.remote), (to, pair.client.local_addr().unwrap()));
    });
}

#[test]
fn another_namespace_is_listed_and_can_be_selected() {
    let netns = Netns::new();
    let there = netns.within(|| Connected::over("127.0.0.1:0"));
    let cookies = [cookie(&there.listener), cookie(&there.client), cookie(&there.server)];
    let here = Connected::over("127.0.0.1:0");

    let all = snapshot_all(None);
    let selected = snapshot_all(Some(netns.inode()));
    assert_eq!(selected.problems, Vec::<String>::new());
    assert_eq!(selected.complete, [netns.inode()]);
    for cookie in cookies {
        for snapshot in [&all, &selected] {
            let found = by_cookie(snapshot, cookie).expect("a socket of the other namespace");
            assert_eq!(found.netns, netns.inode());
            assert_eq!(found.owner.map(|owner| owner.pid), Some(std::process::id()));
        }
    }
    assert_eq!(selected.sockets.len(), cookies.len());
    assert!(by_cookie(&all, cookie(&here.client)).is_some());
    assert_ne!(netns.inode(), netns::own_inode().unwrap(), "the caller stays where it was");
}

#[test]
fn a_namespace_that_only_a_process_holds_is_found() {
    require_root();
    let mut child = Kept(
        Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec sleep 60"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut ready = [0; 5];
    child.0.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let inode = fs::metadata(format!("/proc/{}/ns/net", child.0.id())).unwrap().ino();
    let inode = u32::try_from(inode).unwrap();
    let found = netns::list().unwrap();
    assert!(found.list.iter().any(|namespace| namespace.inode == inode));
    assert_eq!(snapshot_all(Some(inode)).complete, [inode]);
}

#[test]
fn neither_requests_nor_timewait_sockets_are_listed() {
    let netns = Netns::new();
    netns.within(|| {
        // A client that closed first and whose peer has not: once its FIN is acknowledged, a
        // timewait socket stands in for FIN_WAIT2.
        let half = Connected::over("127.0.0.1:0");
        let half_client = half.client.local_addr().unwrap();
        drop(half.client);
        // One in TIME_WAIT.
        let whole = Connected::over("127.0.0.1:0");
        let whole_client = whole.client.local_addr().unwrap();
        drop((whole.client, whole.server));
        // A request: a SYN whose SYN-ACK is dropped on its way back.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let rules = format!(
            "add table ip t
             add chain ip t c {{ type filter hook output priority 0; }}
             add rule ip t c tcp sport {port} tcp flags & (syn|ack) == syn|ack drop\n"
        );
        run_script("nft", &["-f", "-"], &rules);
        let client = send_syn(port);

        let deadline = Instant::now() + Duration::from_secs(5);
        let shown = loop {
            let ss = Command::new("ss").args(["-Htan"]).output().unwrap();
            let shown = String::from_utf8(ss.stdout).unwrap();
            let states = ["FIN-WAIT-2", "TIME-WAIT", "SYN-RECV"];
            if states.iter().all(|state| shown.contains(state)) {
                break shown;
            }
            assert!(Instant::now() < deadline, "the sockets are not what they should be:\n{shown}");
            thread::sleep(Duration::from_millis(20));
        };
        let listing = sock_diag::list().unwrap();
        assert_eq!(listing.incomplete, None);
        let mut states: Vec<_> = listing.sockets.iter().map(|one| one.state.name()).collect();
        states.sort_unstable();
        assert_eq!(states, ["CLOSE_WAIT", "LISTEN", "LISTEN", "LISTEN", "SYN_SENT"], "{shown}");
        let gone = [half_client, whole_client];
        assert!(listing.sockets.iter().all(|one| !gone.contains(&one.local)));
        drop((half.server, half.listener, whole.listener, client));
    });
}

#[test]
fn many_sockets_are_listed_without_a_gap() {
    const PAIRS: usize = 300;
    let netns = Netns::new();
    netns.within(|| {
        // Several messages' worth, in both families.
        let pairs: Vec<_> =
            (0..PAIRS).map(|at| Connected::over(["127.0.0.1:0", "[::1]:0"][at % 2])).collect();
        let listing = sock_diag::list().unwrap();
        assert_eq!((listing.sockets.len(), &listing.incomplete), (3 * PAIRS, &None));
        let states = listing.sockets.iter().map(|one| (one.cookie, one.state));
        let states: HashMap<u64, TcpState> = states.collect();
        for pair in &pairs {
            assert_eq!(states.get(&cookie(&pair.listener)), Some(&TcpState::Listen));
            assert_eq!(states.get(&cookie(&pair.client)), Some(&TcpState::Established));
            assert_eq!(states.get(&cookie(&pair.server)), Some(&TcpState::Established));
        }
    });
}

#[test]
fn a_connection_belongs_to_the_child_it_was_handed_to() {
    require_root();
    let pair = Connected::over("127.0.0.1:0");
    let fd = pair.server.as_raw_fd();
    let inode = fs::metadata(format!("/proc/self/fd/{fd}")).unwrap().ino();
    let find = || {
        let owners = owners::find(&HashMap::from([(inode, Sought::Connection)])).unwrap();
        owners.by_inode.get(&inode).map(|owner| owner.pid)
    };
    assert_eq!(find(), Some(std::process::id()));
    // As inetd does. As long as this process holds the connection too, the program, which has
    // another name, is not held to be its owner.
    let child = Kept(
        Command::new("sleep")
            .arg("60")
            .stdin(Stdio::from(OwnedFd::from(pair.server.try_clone().unwrap())))
            .spawn()
            .unwrap(),
    );
    assert_eq!(find(), Some(std::process::id()));
    drop(pair.server);
    assert_eq!(find(), Some(child.0.id()));
}

#[test]
fn a_sockets_cgroup_is_the_one_it_was_made_in() {
    let cgroup = Cgroup::new(&format!("tsys-socket-{}", std::process::id()));
    let netns = Netns::new();
    // A process of its own, since a whole process moves.
    let server = "import socket, time
kept = socket.create_server(('127.0.0.1', 7)); time.sleep(60)";
    let _server = Kept(
        Command::new("nsenter")
            .arg(format!("--net={}", netns.path().display()))
            .args(["sh", "-c", "echo $$ >\"$0/cgroup.procs\" && exec python3 -c \"$1\""])
            .arg(&cgroup.0)
            .arg(server)
            .spawn()
            .unwrap(),
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    let found = loop {
        if let Some(found) = snapshot_all(Some(netns.inode())).sockets.pop() {
            break found;
        }
        assert!(Instant::now() < deadline, "the server did not come up");
        thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(found.cgroup, cgroup.id());
    let named = Cgroups::new().resolve(found.cgroup, Instant::now()).unwrap();
    assert!(named.path.starts_with("/tsys-socket-"), "{named:?}");
    assert!(found.owner.unwrap().comm.as_bytes().starts_with(b"python3"));
}

#[test]
fn without_privileges_a_snapshot_says_what_it_lacks() {
    let netns = Netns::new();
    let there = netns.within(|| Connected::over("127.0.0.1:0"));
    let here = Connected::over("127.0.0.1:0");
    let snapshot = without(&[caps::Capability::CAP_SYS_ADMIN], || snapshot_all(None));
    assert_eq!(by_cookie(&snapshot, cookie(&there.client)), None);
    assert!(!snapshot.complete.contains(&netns.inode()));
    let told = format!("can't enter network namespace {}", netns.inode());
    let problems = &snapshot.problems;
    assert!(
        problems.iter().any(|one| one.contains(&told) && one.contains("CAP_SYS_ADMIN")),
        "{problems:?}"
    );
    assert!(by_cookie(&snapshot, cookie(&here.client)).is_some());
    assert!(snapshot.complete.contains(&netns::own_inode().unwrap()));
}
