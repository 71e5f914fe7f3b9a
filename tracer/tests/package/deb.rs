//! The `.deb`, installed.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::sandbox::Sandbox;

/// A tracer that is ended with the test.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// Records seen.
    pub(crate) records: Vec<Value>,
}

impl Running {
    /// Starts it, JSON Lines on its stdout.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdout = BufReader::new(child.stdout.take().expect("stdout"));
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, records: Vec::new() }
    }

    /// Reads on to the first record that matches.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let Ok(line) = self.lines.recv_timeout(Duration::from_secs(20)) else {
                self.child.kill().ok();
                let mut errors = String::new();
                self.child.stderr.take().expect("stderr").read_to_string(&mut errors).ok();
                panic!("no {what}; records: {:#?}\nstderr: {errors}", self.records);
            };
            let record: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            self.records.push(record.clone());
            if wanted(&record) {
                return record;
            }
        }
    }

    /// Ends it as systemd would, and checks that it ends well.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a pid"));
        kill(pid, Signal::SIGTERM).expect("kill()");
        self.wait_for("end record", |record| record["type"] == "end");
        let status = self.child.wait().expect("wait");
        assert!(status.success(), "{status}");
    }

    /// Its process, the child's own where that became another program.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ours, and not waited for before.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A connection on loopback, from its SYN to the end; the server's port.
pub(crate) fn connection() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("an address").port();
    let client = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    drop(client);
    let mut rest = Vec::new();
    (&server).read_to_end(&mut rest).expect("read");
    port
}

#[test]
fn it_installs_what_it_says_starts_nothing_and_goes_without_a_trace() {
    Sandbox::run(|machine| {
        machine.install();
        let listed = machine.sh("dpkg -L tracer");
        let files: Vec<_> = listed.lines().filter(|path| !Path::new(path).is_dir()).collect();
        for path in [
            "/usr/bin/tracer",
            "/usr/share/man/man8/tracer.8.gz",
            "/usr/share/bash-completion/completions/tracer",
            "/usr/share/zsh/vendor-completions/_tracer",
            "/usr/share/fish/vendor_completions.d/tracer.fish",
            "/usr/lib/systemd/system/tracer.service",
            "/etc/default/tracer",
            "/usr/share/doc/tracer/copyright",
            "/usr/share/doc/tracer/README.md",
            "/usr/share/doc/tracer/docs/options.md",
        ] {
            assert!(files.contains(&path), "{path} is not in\n{listed}");
            assert!(Path::new(path).is_file(), "{path} is not there");
        }
        let state = machine.sh("dpkg-query -W -f '${Status} ${Depends} ${Conffiles}' tracer");
        assert!(state.starts_with("install ok installed libc6"), "{state}");
        assert!(state.contains("/etc/default/tracer"), "{state}");
        // Neither started nor enabled.
        let told = machine.told();
        assert!(told.contains("daemon-reload"), "{told}");
        assert!(!told.contains("start") && !told.contains("enable"), "{told}");
        assert_eq!(machine.sh("find /etc/systemd -name 'tracer*'"), "");

        // An upgrade restarts it only if it runs.
        machine.forget();
        machine.install();
        let told = machine.told();
        assert!(told.contains("deb-systemd-invoke try-restart tracer.service"), "{told}");

        machine.forget();
        machine.sh("dpkg --purge tracer");
        assert!(machine.told().contains("deb-systemd-invoke stop tracer.service"));
        for path in files {
            assert!(!Path::new(path).exists(), "{path} is still there");
        }
        let left = "find /etc /usr/lib/systemd /var/lib/dpkg/info /var/lib/systemd -name 'tracer*'";
        assert_eq!(machine.sh(left), "");
    });
}

#[test]
fn its_man_page_renders() {
    Sandbox::run(|machine| {
        machine.install();
        let page = "/usr/share/man/man8/tracer.8.gz";
        let mut man = machine.command("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page]);
        let rendered = machine.fine(&mut man);
        assert_eq!(String::from_utf8_lossy(&rendered.stderr), "");
        let shown = machine.sh("MANWIDTH=80 man -P cat 8 tracer | col -b");
        for word in
            ["NAME", "SYNOPSIS", "--port", "--syn-hook", "SIGNALS", "SIGUSR1", "EXIT STATUS"]
        {
            assert!(shown.contains(word), "{word} is not in\n{shown}");
        }
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        assert!(!shown.contains("--generate"), "{shown}");
    });
}

#[test]
fn its_completions_work_in_the_shells() {
    Sandbox::run(|machine| {
        machine.install();
        let bash = |words: &str| {
            // As readline calls it: the command, the word, the word before it.
            let script = format!(
                "source /usr/share/bash-completion/completions/tracer; COMP_WORDS=(tracer {words}); \
                 COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
                 _tracer tracer \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
                 complete -p tracer >/dev/null && echo \"${{COMPREPLY[*]}}\""
            );
            let output = machine.fine(machine.command("bash").args(["--norc", "-c", &script]));
            assert_eq!(String::from_utf8_lossy(&output.stderr), "");
            String::from_utf8(output.stdout).expect("UTF-8")
        };
        assert_eq!(bash("--syn-h"), "--syn-hook\n");
        assert_eq!(bash("--syn-hook ''"), "auto xdp tcx off\n");
        assert!(!bash("--").contains("--generate"));

        let zsh = "autoload -Uz compinit; compinit -u -D; print $_comps[tracer]; \
                   autoload +X -Uz _tracer && print loaded";
        let output = machine.fine(machine.command("zsh").args(["-f", "-c", zsh]));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "_tracer\nloaded\n");

        let fish = ["-c", "complete -C 'tracer --syn-h'"];
        let output = machine.fine(machine.command("fish").env("HOME", "/run").args(fish));
        let offered = String::from_utf8_lossy(&output.stdout);
        assert!(offered.starts_with("--syn-hook\t"), "{offered}");
    });
}

#[test]
fn what_is_installed_traces() {
    Sandbox::run(|machine| {
        machine.install();
        let version = machine.sh("tracer -V");
        assert!(version.starts_with(concat!("tracer ", env!("CARGO_PKG_VERSION"), " (commit ")));
        let check = machine.sh("tracer --check --iface lo");
        assert!(check.contains("\nTracing works here"), "{check}");
        let args = ["--format", "json", "--iface", "lo", "--netns", "self"];
        let mut tracer = Running::start(machine.command("/usr/bin/tracer").args(args));
        tracer.wait_for("start record", |record| record["type"] == "start");
        let port = connection();
        let server = tracer.wait_for("connection of the server", |record| {
            record["type"] == "connection" && record["local_port"] == port
        });
        assert_eq!(server["role"], "server", "{server}");
        assert_eq!(server["outcome"], "closed", "{server}");
        assert_eq!(server["handshake_source"], "syn", "{server}");
        assert_eq!(server["pid"], std::process::id(), "{server}");
        tracer.stop();
    });
}
