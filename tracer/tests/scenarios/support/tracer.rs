//! The tracer as a child process, and what it wrote.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::lab::Lab;
use super::netns::Netns;
use super::{ms, patience, unique, wait_until};

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("TRACER_BIN").map_or_else(|| env!("CARGO_BIN_EXE_tracer").into(), Into::into)
}

/// `tracer ARGS`, to run in `ns`.
pub(crate) fn command(ns: &Netns, args: &[&str]) -> Command {
    let mut command = ns.command(binary());
    command.args(args).stdin(Stdio::null());
    command
}

/// The binary where anybody may run it, as nobody.
pub(crate) fn as_nobody(lab: &Lab, args: &[&str]) -> Output {
    let copy = std::env::temp_dir().join(format!("tracer-copy-{}", unique()));
    std::fs::copy(binary(), &copy).expect("copy the binary");
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let mut command = lab.b.command(&copy);
    command.args(args);
    // SAFETY: plain system calls, after the one that enters the namespace.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setgroups(&[])?;
            nix::unistd::setgid(65_534.into())?;
            nix::unistd::setuid(65_534.into())?;
            Ok(())
        });
    }
    let output = command.output().expect("start the tracer");
    std::fs::remove_file(&copy).expect("tidy up");
    output
}

#[derive(Default)]
struct Lines {
    /// Bytes read so far.
    read: u64,
    unfinished: Vec<u8>,
    whole: Vec<String>,
}

/// An empty file that nobody else can find.
fn nameless_file() -> File {
    let path = std::env::temp_dir().join(format!("tracer-scenario-{}", unique()));
    let file = File::options().read(true).append(true).create_new(true).open(&path);
    let file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    std::fs::remove_file(&path).expect("remove its name");
    file
}

/// A line as JSON; text stays text, which [`Run::fine`] finds where JSON was asked for.
fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned()))
}

/// A running tracer that writes JSON Lines.
pub(crate) struct Tracer {
    child: Child,
    /// Its stdout, a file without a name: through a pipe this process, busy with its load, would
    /// be a slow reader.
    stdout: File,
    lines: Mutex<Lines>,
    stderr: Arc<Mutex<String>>,
    stderr_reader: Option<JoinHandle<()>>,
    done: bool,
}

impl Tracer {
    /// Starts it on host b, for this lab's addresses, and waits until it traces.
    #[track_caller]
    pub(crate) fn start(lab: &Lab, args: &[&str]) -> Self {
        let (prefix4, prefix6) = (lab.prefix4(), lab.prefix6());
        let mut all = vec!["--host", &prefix4, "--host", &prefix6];
        all.extend(args);
        Self::start_in(&lab.b, &all)
    }

    /// Starts it in `ns` with exactly these arguments, and waits until it traces.
    #[track_caller]
    pub(crate) fn start_in(ns: &Netns, args: &[&str]) -> Self {
        let mut tracer = Self::spawn(command(ns, &["--format", "json"]).args(args));
        let limit = patience(Duration::from_secs(15));
        let begin = Instant::now();
        while !tracer.seen(|line| line["type"] == "start") {
            if let Some(status) = tracer.child.try_wait().expect("wait") {
                pause_for_stderr();
                panic!("the tracer ended at once ({status}): {}", tracer.stderr());
            }
            assert!(begin.elapsed() < limit, "no start record: {}", tracer.stderr());
            std::thread::sleep(ms(5));
        }
        tracer
    }

    /// Starts a prepared command with both outputs collected.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let stdout = nameless_file();
        let mut child = command
            .stdout(stdout.try_clone().expect("dup()"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary().display()));
        let mut errors = child.stderr.take().expect("stderr");
        let stderr = Arc::new(Mutex::new(String::new()));
        let text = Arc::clone(&stderr);
        let stderr_reader = std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(n @ 1..) = errors.read(&mut part) {
                text.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_str(&String::from_utf8_lossy(&part[..n]));
            }
        });
        Self {
            child,
            stdout,
            lines: Mutex::default(),
            stderr,
            stderr_reader: Some(stderr_reader),
            done: false,
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said on standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whole lines so far.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut part = vec![0; 1 << 16];
        while let Ok(n @ 1..) = self.stdout.read_at(&mut part, lines.read) {
            lines.read += n as u64;
            lines.unfinished.extend_from_slice(&part[..n]);
        }
        let Lines { unfinished, whole, .. } = &mut *lines;
        if let Some(end) = unfinished.iter().rposition(|byte| *byte == b'\n') {
            let rest = unfinished.split_off(end + 1);
            whole.extend(String::from_utf8_lossy(unfinished).lines().map(str::to_owned));
            *unfinished = rest;
        }
        lines
    }

    /// Records so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.records_from(0)
    }

    /// Records so far without the first `n`.
    fn records_from(&self, n: usize) -> Vec<Value> {
        let lines = self.lines().whole[n..].to_vec();
        lines.iter().map(|line| parse(line)).collect()
    }

    fn seen(&self, wanted: impl Fn(&Value) -> bool) -> bool {
        self.records().iter().any(wanted)
    }

    /// Waits until `n` records that match have come.
    #[track_caller]
    pub(crate) fn wait_for(&self, n: usize, limit: Duration, wanted: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + patience(limit);
        let (mut have, mut looked_at) = (0, 0);
        loop {
            let new = self.records_from(looked_at);
            looked_at += new.len();
            have += new.iter().filter(|record| wanted(record)).count();
            if have >= n {
                return;
            }
            if Instant::now() > deadline {
                let all: Vec<String> = self.lines().whole.iter().take(100).cloned().collect();
                panic!("{have} of {n} records came; what there is:\n{}", all.join("\n"));
            }
            std::thread::sleep(ms(5));
        }
    }

    /// Waits until `n` connections have ended.
    #[track_caller]
    pub(crate) fn wait_connections(&self, n: usize) {
        self.wait_for(n, Duration::from_secs(5), |r| r["type"] == "connection");
    }

    /// Waits until there are `n` connection records, or for `limit`; the checks come later.
    pub(crate) fn settle(&self, n: usize, limit: Duration) {
        let deadline = Instant::now() + limit;
        let is_one = |line: &&String| line.starts_with("{\"type\":\"connection\"");
        while self.lines().whole.iter().filter(is_one).count() < n && Instant::now() < deadline {
            std::thread::sleep(ms(50));
        }
    }

    /// Sends a signal.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        kill(pid, signal).expect("kill()");
    }

    /// Ends it with SIGINT and hands out all it wrote.
    #[track_caller]
    pub(crate) fn stop(self) -> Run {
        self.signal(Signal::SIGINT);
        self.finish()
    }

    /// Waits for `n` connections, then as [`Self::stop`].
    #[track_caller]
    pub(crate) fn stop_after(self, n: usize) -> Run {
        self.wait_connections(n);
        self.stop()
    }

    /// Waits until it ends by itself and hands out all it wrote.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Run {
        let mut status = None;
        wait_until("the tracer ends", Duration::from_secs(15), || {
            status = self.child.try_wait().expect("wait");
            status.is_some()
        });
        if let Some(reader) = self.stderr_reader.take() {
            reader.join().expect("the reader of stderr");
        }
        self.done = true;
        let lines = self.lines().whole.join("\n");
        let status = status.expect("a status");
        Run { records: self.records(), lines, stderr: self.stderr(), status }
    }
}

/// What a process said just before its end may still be in the pipe.
fn pause_for_stderr() {
    std::thread::sleep(ms(100));
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // It is ours and has not been waited for, so its pid is its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for record in self.records() {
                eprintln!("{record}");
            }
            eprintln!("tracer's stderr: {}", self.stderr());
        }
    }
}

/// All that a tracer wrote from start to end.
pub(crate) struct Run {
    /// Every record in order.
    pub(crate) records: Vec<Value>,
    /// The same as it was written.
    pub(crate) lines: String,
    /// Notices.
    pub(crate) stderr: String,
    /// How it ended.
    pub(crate) status: ExitStatus,
}

impl Run {
    /// All records of a type.
    pub(crate) fn all(&self, kind: &str) -> Vec<&Value> {
        self.records.iter().filter(|r| r["type"] == kind).collect()
    }

    /// The one record of a type.
    #[track_caller]
    pub(crate) fn one(&self, kind: &str) -> &Value {
        let all = self.all(kind);
        assert_eq!(all.len(), 1, "{kind} records in\n{}", self.dump());
        all[0]
    }

    /// The `start` record.
    #[track_caller]
    pub(crate) fn start(&self) -> &Value {
        self.one("start")
    }

    /// The `end` record.
    #[track_caller]
    pub(crate) fn end(&self) -> &Value {
        self.one("end")
    }

    /// Ended connections.
    pub(crate) fn connections(&self) -> Vec<&Value> {
        self.all("connection")
    }

    /// The one ended connection that matches.
    #[track_caller]
    pub(crate) fn conn(&self, wanted: impl Fn(&Value) -> bool) -> &Value {
        let found: Vec<&Value> = self.connections().into_iter().filter(|c| wanted(c)).collect();
        assert_eq!(found.len(), 1, "matching connections in\n{}", self.dump());
        found[0]
    }

    /// The one connection of which this host was the client.
    #[track_caller]
    pub(crate) fn client(&self) -> &Value {
        self.conn(|c| c["role"] == "client")
    }

    /// The one connection of which this host was the server.
    #[track_caller]
    pub(crate) fn server(&self) -> &Value {
        self.conn(|c| c["role"] == "server")
    }

    /// What was written as text.
    pub(crate) fn text(&self) -> String {
        let lines: Vec<&str> = self.records.iter().filter_map(Value::as_str).collect();
        lines.join("\n")
    }

    /// Everything (of a long run the beginning), for a failure's message.
    pub(crate) fn dump(&self) -> String {
        let lines: Vec<String> = self.records.iter().take(100).map(Value::to_string).collect();
        format!("{}\nstderr: {}", lines.join("\n"), self.stderr)
    }

    /// Checks that it ended in the ordinary way and lost nothing.
    #[track_caller]
    pub(crate) fn fine(&self) -> &Self {
        assert!(self.status.success(), "{}: {}", self.status, self.stderr);
        let end = self.end();
        assert_eq!(end["events_lost"], 0, "{end}");
        assert_eq!(end["output_dropped"], 0, "{end}");
        let not_json: Vec<&Value> = self.records.iter().filter(|r| r.is_string()).collect();
        assert!(not_json.is_empty(), "{not_json:?}");
        self
    }
}
