//! A machine to install on that is gone with the test, however it ends.
//!
//! A thread with a mount and a network namespace of its own, in which /usr, /etc and /var are
//! overlays of the machine's over memory: dpkg finds the real database and the real libraries, and
//! what it writes exists for this thread and its children only. /run is empty, so that the package's
//! scripts reach no systemd; a stand-in writes down what they would have told it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Where the package's files lie.
pub(crate) fn packages() -> PathBuf {
    let dir = std::env::var_os("TRACER_PACKAGES").expect(
        "TRACER_PACKAGES names no directory with packages: run `cargo xtask test --only package`",
    );
    PathBuf::from(dir)
}

/// The one file of the packages whose name ends so.
pub(crate) fn package(end: &str) -> PathBuf {
    let dir = packages();
    let names = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let paths = names.map(|entry| entry.unwrap().path());
    let found: Vec<_> = paths.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    assert_eq!(found.len(), 1, "*{end} in {}: {found:?}", dir.display());
    found.into_iter().next().unwrap()
}

/// What systemd would have been told, a line each.
const TOLD: &str = "/run/told";

/// The calling thread's machine.
pub(crate) struct Sandbox;

impl Sandbox {
    /// Runs `work` on a machine of its own.
    pub(crate) fn run<T: Send>(work: impl FnOnce(&Self) -> T + Send) -> T {
        std::thread::scope(|scope| {
            let machine = scope.spawn(|| {
                Self::enter();
                work(&Self)
            });
            machine.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn enter() {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("unshare() needs root");
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .expect("private mounts");
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).expect("an empty /run");
        for dir in ["usr", "etc", "var"] {
            let (upper, work) = (format!("/run/over/{dir}"), format!("/run/over/{dir}.work"));
            for dir in [&upper, &work] {
                std::fs::create_dir_all(dir).expect("create a directory");
            }
            let options = format!("lowerdir=/{dir},upperdir={upper},workdir={work}");
            let point = Path::new("/").join(dir);
            mount(Some("overlay"), &point, Some("overlay"), MsFlags::empty(), Some(&*options))
                .unwrap_or_else(|e| panic!("an overlay over {}: {e}", point.display()));
        }
        // As if systemd were at work.
        std::fs::create_dir_all("/run/systemd/system").expect("create a directory");
        std::fs::create_dir_all("/run/stand-in").expect("create a directory");
        for name in ["systemctl", "deb-systemd-invoke"] {
            let path = Path::new("/run/stand-in").join(name);
            let script = format!("#!/bin/sh\necho {name} \"$@\" >>{TOLD}\n");
            std::fs::write(&path, script).expect("write a script");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&path, mode).expect("chmod");
        }
        Self.sh("ip link set lo up");
    }

    /// What systemd has been told so far.
    pub(crate) fn told(&self) -> String {
        std::fs::read_to_string(TOLD).unwrap_or_default()
    }

    /// Forgets it.
    pub(crate) fn forget(&self) {
        std::fs::remove_file(TOLD).ok();
    }

    /// A command on this machine.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env(
                "PATH",
                "/run/stand-in:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
            )
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end, which must be a good one.
    #[track_caller]
    pub(crate) fn fine(&self, command: &mut Command) -> Output {
        let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        assert!(
            output.status.success(),
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// What a shell's line prints; it must end well.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        let output = self.fine(self.command("sh").args(["-ec", script]));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Installs the package, the man page and the documentation also where the machine's dpkg leaves
    /// them out; its configuration file as it comes, whatever the machine's looks like.
    #[track_caller]
    pub(crate) fn install(&self) {
        let mut dpkg = self.command("dpkg");
        dpkg.args(["--force-unsafe-io", "--force-confnew", "--force-confmiss"])
            .args(["--path-include=/usr/share/man/*", "--path-include=/usr/share/doc/*"])
            .arg("--install")
            .arg(package(".deb"));
        self.fine(&mut dpkg);
    }
}
