//! What tracer asks the system, asked of the real one. Needs root: makes network namespaces and
//! cgroups of its own, and removes them.

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
use tracer::core::event::ExistingSocket;
use tracer::system::cgroup::Cgroups;
use tracer::system::interfaces::{self, Change, Watch};
use tracer::system::netns::{self, Snapshot, snapshot_all};
use tracer::system::owners::{self, Sought};
use tracer::system::sock_diag;
use tracer_common::packet::Link;
use tracer_common::state::TcpState;

/// A test that can't run must not look like one that passed.
fn require_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test makes network namespaces and cgroups: run it as root (`cargo xtask test` does)"
    );
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs a program that reads what to do from its stdin.
fn run_script(program: &str, args: &[&str], script: &str) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(script.as_bytes()).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success(), "{program} {args:?}");
}

/// A network namespace with a unique name and `lo` up, gone when dropped.
struct Netns(String);

impl Netns {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        require_root();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let netns = Self(format!("tsys-{}-{number}", std::process::id()));
        run("ip", &["netns", "add", &netns.0]);
        netns.ip(&["link", "set", "lo", "up"]);
        netns
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/run/netns/{}", self.0))
    }

    fn inode(&self) -> u32 {
        u32::try_from(fs::metadata(self.path()).unwrap().ino()).unwrap()
    }

    fn ip(&self, args: &[&str]) {
        run("ip", &[&["-n", &self.0][..], args].concat());
    }

    /// Runs `work` on a thread that lives in the namespace.
    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = fs::File::open(self.path()).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// A child process that is ended with the test.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A cgroup below the cgroup v2 mount, gone when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(below: &str) -> Self {
        require_root();
        let path = PathBuf::from(format!("{}/{below}", cgroup_mount()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn id(&self) -> u64 {
        fs::metadata(&self.0).unwrap().ino()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that has just been reaped may still be counted for a moment.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn cgroup_mount() -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        (fields.next()? == "cgroup2").then(|| point.to_owned())
    });
    mount.expect("these tests need a cgroup v2 mount")
}

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
        Self {
            listener,
            client,
            server,
        }
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
        let (client, server) = (
            pair.client.local_addr().unwrap(),
            pair.server.local_addr().unwrap(),
        );
        for (name, cookie, local, remote, state) in [
            (
                "listener",
                cookie(&pair.listener),
                pair.listener.local_addr().unwrap(),
                unspecified.parse().unwrap(),
                TcpState::Listen,
            ),
            (
                "client",
                cookie(&pair.client),
                client,
                server,
                TcpState::Established,
            ),
            (
                "server",
                cookie(&pair.server),
                server,
                client,
                TcpState::Established,
            ),
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
        let found = listing
            .sockets
            .iter()
            .find(|one| one.cookie == wanted)
            .unwrap();
        assert_eq!(
            (found.local, found.remote),
            (to, pair.client.local_addr().unwrap())
        );
    });
}

#[test]
fn another_namespace_is_listed_and_can_be_selected() {
    let netns = Netns::new();
    let there = netns.within(|| Connected::over("127.0.0.1:0"));
    let cookies = [
        cookie(&there.listener),
        cookie(&there.client),
        cookie(&there.server),
    ];
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
    assert_ne!(
        netns.inode(),
        netns::own_inode().unwrap(),
        "the caller stays where it was"
    );
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
    child
        .0
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut ready)
        .unwrap();
    let inode = fs::metadata(format!("/proc/{}/ns/net", child.0.id()))
        .unwrap()
        .ino();
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
            assert!(
                Instant::now() < deadline,
                "the sockets are not what they should be:\n{shown}"
            );
            thread::sleep(Duration::from_millis(20));
        };
        let listing = sock_diag::list().unwrap();
        assert_eq!(listing.incomplete, None);
        let mut states: Vec<_> = listing.sockets.iter().map(|one| one.state.name()).collect();
        states.sort_unstable();
        assert_eq!(
            states,
            ["CLOSE_WAIT", "LISTEN", "LISTEN", "LISTEN", "SYN_SENT"],
            "{shown}"
        );
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
        let pairs: Vec<_> = (0..PAIRS)
            .map(|at| Connected::over(["127.0.0.1:0", "[::1]:0"][at % 2]))
            .collect();
        let listing = sock_diag::list().unwrap();
        assert_eq!(
            (listing.sockets.len(), &listing.incomplete),
            (3 * PAIRS, &None)
        );
        let states = listing.sockets.iter().map(|one| (one.cookie, one.state));
        let states: HashMap<u64, TcpState> = states.collect();
        for pair in &pairs {
            assert_eq!(states.get(&cookie(&pair.listener)), Some(&TcpState::Listen));
            assert_eq!(
                states.get(&cookie(&pair.client)),
                Some(&TcpState::Established)
            );
            assert_eq!(
                states.get(&cookie(&pair.server)),
                Some(&TcpState::Established)
            );
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
fn a_cgroup_is_named_by_its_id_also_after_it_is_gone() {
    let container = "5".repeat(64);
    let name = format!("tsys-{}", std::process::id());
    let outer = Cgroup::new(&name);
    let inner = Cgroup::new(&format!("{name}/docker-{container}.scope"));
    let mut cgroups = Cgroups::new();
    assert_eq!(cgroups.problem(), None);
    let now = Instant::now();
    let named = cgroups.resolve(outer.id(), now).unwrap();
    assert_eq!(
        (&*named.path, &named.container),
        (&*format!("/{name}"), &None)
    );
    let named = cgroups.resolve(inner.id(), now).unwrap();
    assert_eq!(named.path, format!("/{name}/docker-{container}.scope"));
    assert_eq!(named.container, Some(container));
    let root = fs::metadata(cgroup_mount()).unwrap().ino();
    assert_eq!(cgroups.resolve(root, now).unwrap().path, "/");

    let (inner_id, outer_id) = (inner.id(), outer.id());
    drop(inner);
    drop(outer);
    assert_eq!(cgroups.resolve(inner_id, now), Some(named));
    assert_eq!(
        Cgroups::new().resolve(outer_id, now),
        None,
        "asked for too late"
    );
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
            .args([
                "sh",
                "-c",
                "echo $$ >\"$0/cgroup.procs\" && exec python3 -c \"$1\"",
            ])
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
    let named = Cgroups::new()
        .resolve(found.cgroup, Instant::now())
        .unwrap();
    assert!(named.path.starts_with("/tsys-socket-"), "{named:?}");
    assert!(found.owner.unwrap().comm.as_bytes().starts_with(b"python3"));
}

/// Runs a future on a runtime of the calling thread, which may live in another namespace.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

async fn next(watch: &mut Watch) -> Change {
    tokio::time::timeout(Duration::from_secs(10), watch.next())
        .await
        .expect("the kernel told of no change")
        .unwrap()
}

#[test]
fn interfaces_are_listed_with_what_they_are() {
    let netns = Netns::new();
    netns.ip(&[
        "link", "add", "v0", "mtu", "1400", "type", "veth", "peer", "name", "v1",
    ]);
    netns.ip(&["link", "set", "v0", "up"]);
    netns.ip(&["link", "add", "br0", "type", "bridge"]);
    netns.ip(&["tuntap", "add", "tun0", "mode", "tun"]);
    let interfaces = netns.within(|| interfaces::list().unwrap());
    let get = |name: &str| interfaces.iter().find(|one| one.name == name).unwrap();
    let (v0, v1, br0, tun0) = (get("v0"), get("v1"), get("br0"), get("tun0"));
    assert_eq!(
        (v0.kind.as_deref(), v0.driver.as_deref()),
        (Some("veth"), Some("veth"))
    );
    assert_eq!((v0.up, v0.mtu, v0.loopback), (true, 1400, false));
    assert!(!v1.up);
    assert_eq!(
        (br0.kind.as_deref(), br0.driver.as_deref()),
        (Some("bridge"), Some("bridge"))
    );
    assert_eq!(
        (tun0.kind.as_deref(), tun0.link()),
        (Some("tun"), Ok(Link::RawIp))
    );
    assert!(get("lo").loopback && get("lo").up);
    assert!(interfaces.iter().all(|one| one.xdp.is_none()));
}

#[test]
fn the_watch_tells_how_interfaces_come_and_go() {
    let netns = Netns::new();
    netns.within(|| {
        block_on(async {
            let (mut watch, present) = Watch::start().unwrap();
            assert!(present.iter().any(|one| one.name == "lo" && one.up));

            netns.ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
            netns.ip(&["link", "set", "v0", "up"]);
            let Change::Up(v0) = next(&mut watch).await else {
                panic!("not up");
            };
            assert_eq!((&*v0.name, v0.kind.as_deref()), ("v0", Some("veth")));
            assert_eq!(v0.driver.as_deref(), Some("veth"));
            let index = v0.index;

            // A bridge says that its port is gone from it; the interface is not.
            netns.ip(&["link", "add", "br0", "type", "bridge"]);
            netns.ip(&["link", "set", "v0", "master", "br0"]);
            netns.ip(&["link", "set", "v0", "nomaster"]);
            netns.ip(&["link", "set", "v0", "down"]);
            let name = String::from("v0");
            assert_eq!(next(&mut watch).await, Change::Down { index, name });

            netns.ip(&["link", "set", "v0", "name", "lan"]);
            let Change::Renamed { interface, old } = next(&mut watch).await else {
                panic!("not renamed");
            };
            assert_eq!(
                (interface.index, &*interface.name, &*old),
                (index, "lan", "v0")
            );

            netns.ip(&["link", "del", "lan"]);
            let mut gone = Vec::new();
            for _ in 0..2 {
                match next(&mut watch).await {
                    Change::Gone { name, .. } => gone.push(name),
                    other => panic!("{other:?}"),
                }
            }
            gone.sort();
            assert_eq!(gone, ["lan", "v1"]);
            assert_eq!(watch.relisted(), 0);
        });
    });
}

#[test]
fn messages_that_the_kernel_dropped_are_made_up_for() {
    let netns = Netns::new();
    netns.within(|| {
        block_on(async {
            let (mut watch, _) = Watch::start().unwrap();
            // Not read meanwhile, and more than the socket's buffer holds.
            let mut script = "link set lo down\nlink set lo up\n".repeat(1000);
            script.push_str("link add v0 type veth peer name v1\nlink set v0 up\n");
            run_script("ip", &["-n", &netns.0, "-batch", "-"], &script);
            loop {
                if let Change::Up(interface) = next(&mut watch).await
                    && interface.name == "v0"
                {
                    break;
                }
            }
            assert!(
                watch.relisted() > 0,
                "the kernel dropped nothing: nothing was tested"
            );
        });
    });
}
