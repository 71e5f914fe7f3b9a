//! The systemd unit: sound, hardened, and tracer works under it.
//!
//! systemd itself need not run for that: what the unit says is applied by other means. User and
//! capabilities by setpriv, the view of the file system by mounts; the system calls are written down
//! by strace and compared with what the unit's filters let through.

mod file;

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::mount::{MsFlags, mount};

use crate::deb::{Running, connection};
use crate::sandbox::Sandbox;
use file::Unit;

const UNIT: &str = "/usr/lib/systemd/system/tracer.service";
const DROP_IN: &str = "/usr/share/doc/tracer/examples/all-namespaces.conf";

/// Tenths of what `systemd-analyze security` calls exposure (0 to 10). Most of what is left is what
/// a tracer is for: the host's network, CAP_NET_ADMIN, CAP_BPF, CAP_SYS_PTRACE, other processes.
const EXPOSURE: u32 = 28;

#[test]
fn systemd_understands_it() {
    Sandbox::run(|machine| {
        machine.install();
        let verified = machine.fine(machine.command("systemd-analyze").args(["verify", UNIT]));
        let words = String::from_utf8_lossy(&verified.stderr);
        // It may have something to say about the machine's own units.
        assert!(!words.contains("tracer"), "{words}");
    });
}

#[test]
fn it_is_hardened() {
    Sandbox::run(|machine| {
        machine.install();
        let threshold = format!("--threshold={EXPOSURE}");
        let mut analyze = machine.command("systemd-analyze");
        analyze.args(["security", "--offline=true", "--no-pager", &threshold, UNIT]);
        machine.fine(&mut analyze);
    });
}

/// What the unit's restrictions do to the file system, for this thread and its children.
fn restrict_mounts(unit: &Unit) {
    let none = None::<&str>;
    for (key, value) in [
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("ProtectKernelTunables", "yes"),
        ("ProtectControlGroups", "yes"),
    ] {
        // What is applied below is what stands there.
        assert_eq!(unit.last(key), Some(value), "{key}");
    }
    // The devices that PrivateDevices= leaves.
    std::fs::create_dir_all("/run/dev").expect("create a directory");
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let (from, to) = (Path::new("/dev").join(name), Path::new("/run/dev").join(name));
        std::fs::write(&to, "").expect("create a file");
        mount(Some(&from), &to, none, MsFlags::MS_BIND, none).expect("bind a device");
    }
    mount(Some("/run/dev"), "/dev", none, MsFlags::MS_BIND | MsFlags::MS_REC, none).expect("/dev");
    for dir in ["/home", "/root", "/tmp", "/var/tmp", "/usr/lib/modules"] {
        if Path::new(dir).exists() {
            mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), none).expect("hide it");
        }
    }
    mount(Some("/proc/sys"), "/proc/sys", none, MsFlags::MS_BIND, none).expect("/proc/sys");
    // Read-only is all but /proc, in which processes are written to, and the devices.
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    for point in table.lines().filter_map(|line| line.split(' ').nth(4)) {
        let own = ["/proc", "/run"].contains(&point)
            || point.starts_with("/dev/")
            || point.starts_with("/run/");
        let hidden =
            ["/home/", "/root/", "/tmp/", "/var/tmp/"].iter().any(|p| point.starts_with(p));
        if own || hidden {
            continue;
        }
        let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(none, point, none, read_only, none).unwrap_or_else(|e| panic!("{point}: {e}"));
    }
}

/// The unit's command under its user and its capabilities; strace writes into `log`.
fn service(machine: &Sandbox, unit: &Unit, log: &str) -> Command {
    let capabilities = unit.set("CapabilityBoundingSet");
    assert_eq!(capabilities, unit.set("AmbientCapabilities"));
    assert_eq!(unit.last("NoNewPrivileges"), Some("yes"));
    assert_eq!(unit.last("DynamicUser"), Some("yes"));
    let short = |name: &String| name.strip_prefix("CAP_").expect("CAP_").to_lowercase();
    let names: Vec<_> = capabilities.iter().map(|name| format!("+{}", short(name))).collect();
    let set = format!("-all,{}", names.join(","));
    let mut command = machine.command("strace");
    command
        // Strace aside, so that the child is tracer itself.
        .args(["-D", "-f", "-q", "--signal=none", "-o", log])
        // As systemd's dynamic users: an id that nobody has (systemd.exec(5)).
        .args(["setpriv", "--reuid=61500", "--regid=61500", "--clear-groups"])
        .args(["--inh-caps", &set, "--ambient-caps", &set, "--bounding-set", &set])
        .args(["--no-new-privs", "--"])
        .args(unit.command(&[("TRACER_OPTIONS", "--on-alert /usr/bin/true")]));
    command
}

/// Sockets that are open before the tracer starts.
struct Before {
    _listener: TcpListener,
    client: TcpStream,
    _server: TcpStream,
}

impl Before {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let client =
            TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        Self { _listener: listener, client, _server: server }
    }
}

/// Traces as the unit would, and returns what strace wrote down from tracer's start on.
fn trace_as(machine: &Sandbox, unit: &Unit) -> String {
    let before = Before::new();
    let client_port = before.client.local_addr().expect("an address").port();
    // Written by strace, which is not restricted; what is under /run stays writable.
    let log = "/run/over/strace";
    restrict_mounts(unit);
    let mut tracer = Running::start(&mut service(machine, unit, log));
    let start = tracer.wait_for("start record", |record| record["type"] == "start");
    let hooks = start["hooks"].as_array().expect("hooks");
    let attached = |name: &str| hooks.iter().any(|h| h["name"] == name && h["attached"] == true);
    for name in ["inet_sock_set_state", "tcp_send_reset", "tcp_retransmit_synack", "syn"] {
        assert!(attached(name), "{name}: {start}");
    }
    assert!(attached("inet_csk_accept") || attached("sys_exit_accept4"), "{start}");
    let port = connection();
    let server = tracer.wait_for("connection", |record| {
        record["type"] == "connection" && record["local_port"] == port
    });
    assert_eq!(server["pid"], std::process::id(), "{server}");
    assert_eq!(server["handshake_source"], "syn", "{server}");
    assert!(server["cgroup"].is_string(), "{server}");
    // Whose a connection is that was open before takes /proc of others.
    drop(before);
    let old = tracer.wait_for("connection from before", |record| {
        record["type"] == "connection" && record["local_port"] == client_port
    });
    assert_eq!(
        (&old["observed_from"], &old["pid"]),
        (&"middle".into(), &std::process::id().into())
    );
    // Long enough for what is done every second.
    std::thread::sleep(Duration::from_millis(1500));
    let pid = tracer.pid();
    tracer.stop();
    let last = format!("{pid} +++ exited with 0 +++");
    for _ in 0..200 {
        let written = std::fs::read_to_string(log).expect("strace's log");
        if written.lines().any(|line| line.split_whitespace().eq(last.split(' '))) {
            let exec = written.find("execve(\"/usr/bin/tracer\"").expect("tracer's start");
            return written[exec..].to_owned();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("strace has not seen tracer's end");
}

/// Names of the calls in strace's lines `PID name(…) = …`.
fn calls(log: &str) -> BTreeSet<&str> {
    log.lines()
        .filter_map(|line| {
            let rest = line.split_once(char::is_whitespace).map_or(line, |(first, rest)| {
                if first.bytes().all(|b| b.is_ascii_digit()) { rest.trim_start() } else { line }
            });
            let (name, _) = rest.split_once('(')?;
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_').then_some(name)
        })
        .collect()
}

/// The calls that the unit's filters let through.
fn allowed(machine: &Sandbox, unit: &Unit) -> BTreeSet<String> {
    fn expand(machine: &Sandbox, name: &str, into: &mut BTreeSet<String>) {
        if !name.starts_with('@') {
            into.insert(name.to_owned());
            return;
        }
        let listed = machine.sh(&format!("systemd-analyze syscall-filter {name}"));
        let members = listed.lines().filter_map(|line| line.strip_prefix("    "));
        for member in members.filter(|member| !member.starts_with('#')) {
            expand(machine, member.trim(), into);
        }
    }
    let mut all = BTreeSet::new();
    // Always allowed where a filter lists what is (systemd.exec(5)).
    expand(machine, "@default", &mut all);
    for line in unit.all("SystemCallFilter") {
        let (denied, names) = match line.strip_prefix('~') {
            Some(names) => (true, names),
            None => (false, line),
        };
        let mut set = BTreeSet::new();
        names.split_whitespace().for_each(|name| expand(machine, name, &mut set));
        if denied {
            all.retain(|name| !set.contains(name));
        } else {
            all.extend(set);
        }
    }
    all
}

/// Checks what strace wrote down against the unit.
fn check_calls(machine: &Sandbox, unit: &Unit, log: &str) {
    let allowed = allowed(machine, unit);
    let used = calls(log);
    assert!(used.contains("bpf") && used.contains("epoll_wait") | used.contains("epoll_pwait"));
    let denied: Vec<_> = used.iter().filter(|name| !allowed.contains(**name)).collect();
    // The on-alert helper tries to become nobody, and does without where it may not.
    assert!(denied.is_empty(), "the unit's filter would deny {denied:?}");
    let families = unit.set("RestrictAddressFamilies");
    for line in
        log.lines().filter(|line| line.contains(" socket(") || line.contains(" socketpair("))
    {
        let family = line.split(['(', ',']).nth(1).expect("a family");
        assert!(families.contains(family), "{line}");
    }
    assert_eq!(unit.last("MemoryDenyWriteExecute"), Some("yes"));
    for line in log.lines().filter(|line| line.contains("mmap(") || line.contains("mprotect(")) {
        let both = line.contains("PROT_WRITE") && line.contains("PROT_EXEC");
        assert!(!both, "{line}");
        let later = line.contains("mprotect(") && line.contains("PROT_EXEC");
        assert!(!later, "{line}");
    }
}

#[test]
fn tracer_works_with_what_it_leaves() {
    Sandbox::run(|machine| {
        machine.install();
        let unit = Unit::read(&[UNIT]);
        assert_eq!(unit.last("RestrictNamespaces"), Some("yes"));
        // As systemd mounts it when it is first looked at (sys-kernel-tracing.mount); where it is
        // not there, tracer needs more than this unit gives to mount it for itself.
        machine
            .sh("test -e /sys/kernel/tracing/events || mount -t tracefs none /sys/kernel/tracing");
        let log = trace_as(machine, &unit);
        check_calls(machine, &unit, &log);
    });
}

#[test]
fn tracer_works_with_all_namespaces_as_well() {
    Sandbox::run(|machine| {
        machine.install();
        let unit = Unit::read(&[UNIT, DROP_IN]);
        assert!(unit.set("CapabilityBoundingSet").contains("CAP_SYS_ADMIN"));
        let log = trace_as(machine, &unit);
        check_calls(machine, &unit, &log);
        // The machine's other network namespace, at least, was entered.
        let entered = |line: &&str| line.contains("setns(") && line.ends_with("= 0");
        assert!(log.lines().any(|line| entered(&line)), "no setns() in\n{log}");
    });
}
