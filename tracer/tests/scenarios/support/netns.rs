//! A network namespace that lives as long as the value: it is held by a file descriptor and has no
//! name, so nothing is left behind, whatever ends the test.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};

/// A namespace of its own, with `lo` up.
#[derive(Clone)]
pub(crate) struct Netns {
    fd: Arc<OwnedFd>,
    inode: u64,
    _resident: Arc<Resident>,
}

/// A process that lives in the namespace: who looks for namespaces looks at processes. It ends
/// when its stdin does, so with this process at the latest.
struct Resident(Child);

impl Drop for Resident {
    fn drop(&mut self) {
        // Ours, and not waited for before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command_in(ns: &Arc<OwnedFd>, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let fd = Arc::clone(ns);
    // SAFETY: setns(2) is async-signal-safe and touches nothing of the parent's memory.
    unsafe {
        command
            .pre_exec(move || setns(&*fd, CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from));
    }
    command
}

impl Netns {
    /// Makes one.
    pub(crate) fn new() -> Self {
        let file = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("unshare(CLONE_NEWNET) needs root");
            File::open("/proc/thread-self/ns/net").expect("open /proc/thread-self/ns/net")
        })
        .join()
        .expect("make a network namespace");
        let inode = file.metadata().expect("fstat of the namespace").ino();
        let fd = Arc::new(OwnedFd::from(file));
        let resident = command_in(&fd, "cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("start cat");
        let ns = Self { fd, inode, _resident: Arc::new(Resident(resident)) };
        ns.sh("ip link set lo up");
        ns
    }

    /// Its inode: what `--netns` takes and the records name.
    pub(crate) const fn inode(&self) -> u64 {
        self.inode
    }

    /// A path that names it to `ip link ... netns PATH` while this process lives.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }

    /// Runs `work` in a thread inside the namespace. Sockets made there stay there.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&*self.fd, CloneFlags::CLONE_NEWNET).expect("setns");
                work()
            });
            match inside.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A command that will run inside. Unlike `ip netns exec`, /sys stays as it is.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        command_in(&self.fd, program)
    }

    /// Runs a command line (split at blanks) inside and returns its standard output.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub(crate) fn sh(&self, line: &str) -> String {
        let out = self.try_sh(line);
        assert!(out.status.success(), "`{line}` failed: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Like [`Self::sh`], but failing is the caller's business.
    #[track_caller]
    pub(crate) fn try_sh(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        let program = words.next().expect("an empty command line");
        self.command(program)
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("`{line}`: {error}"))
    }

    /// Sets `net.<name>`, `name` with slashes.
    #[track_caller]
    pub(crate) fn sysctl(&self, name: &str, value: impl ToString) {
        let path = format!("/proc/sys/net/{name}");
        let value = value.to_string();
        self.run(|| std::fs::write(&path, &value).unwrap_or_else(|e| panic!("{path}: {e}")));
    }

    /// Loads an nft script.
    #[track_caller]
    pub(crate) fn nft(&self, script: &str) {
        let mut child = self
            .command("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start nft");
        let mut stdin = child.stdin.take().expect("nft's stdin");
        stdin.write_all(script.as_bytes()).expect("write to nft");
        drop(stdin);
        let out = child.wait_with_output().expect("wait for nft");
        assert!(out.status.success(), "nft: {}\n{script}", String::from_utf8_lossy(&out.stderr));
    }

    /// Drops what comes in and matches `rule` (an nft expression), until [`Self::undrop`].
    #[track_caller]
    pub(crate) fn drop_input(&self, rule: &str) {
        self.nft(&format!(
            "table inet scenario {{\nchain input {{\ntype filter hook input priority 0;\n\
             {rule} counter drop\n}}\n}}\n"
        ));
    }

    /// Drops so many percent at random of what matches `rule`, in a hook of netfilter.
    #[track_caller]
    pub(crate) fn lose(&self, hook: &str, rule: &str, percent: u32) {
        self.nft(&format!(
            "table inet loss_{hook} {{\nchain loses {{\ntype filter hook {hook} priority -300;\n\
             {rule} numgen random mod 100 < {percent} counter drop\n}}\n}}\n"
        ));
    }

    /// How many packets the rule of [`Self::drop_input`] dropped.
    #[track_caller]
    pub(crate) fn dropped(&self) -> u64 {
        let rules = self.sh("nft list table inet scenario");
        let mut words = rules.split_whitespace();
        let mut sum = 0;
        while let Some(word) = words.next() {
            if word == "packets" {
                sum += words.next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        sum
    }

    /// Ends the dropping.
    #[track_caller]
    pub(crate) fn undrop(&self) {
        self.nft("delete table inet scenario");
    }
}
