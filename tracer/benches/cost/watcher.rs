//! Who watches while the load runs: nobody, tracer, or one of its peers.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, setsid};
use tracer::kernel::measure::Yardstick;

use crate::process;
use crate::support::{Netns, Value, pause, tracer::binary, unique, wait_until};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Nobody,
    Tracer,
    TracerJson,
    /// In a session of its own, which with autogroup gets its own share of the CPUs and no more.
    TracerApart,
    /// With a filter that nothing passes: what is left are its hooks.
    TracerFiltered,
    /// The same without the SYN hook.
    TracerFilteredNoSyn,
    /// A program that only reserves records and publishes them, and a thread that drops them.
    Reserve,
    Tcplife,
    Tcpstates,
    Tcpdump,
}

impl Kind {
    pub(crate) const ALL: [Self; 10] = [
        Self::Nobody,
        Self::Tracer,
        Self::TracerJson,
        Self::TracerApart,
        Self::TracerFiltered,
        Self::TracerFilteredNoSyn,
        Self::Reserve,
        Self::Tcplife,
        Self::Tcpstates,
        Self::Tcpdump,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Tracer => "tracer",
            Self::TracerJson => "tracer -f json",
            Self::TracerApart => "tracer -f json, in a session of its own",
            Self::TracerFiltered => "tracer --port 1 (nothing passes)",
            Self::TracerFilteredNoSyn => "tracer --port 1 --syn-hook off",
            Self::Reserve => "a program that only reserves and submits",
            Self::Tcplife => "tcplife",
            Self::Tcpstates => "tcpstates",
            Self::Tcpdump => "tcpdump -w, SYN/FIN/RST",
        }
    }

    fn words(self, file: &Path) -> Vec<String> {
        let tracer = binary().display().to_string();
        let words: Vec<&str> = match self {
            Self::Nobody | Self::Reserve => Vec::new(),
            Self::Tracer => vec![&tracer],
            Self::TracerJson | Self::TracerApart => vec![&tracer, "-f", "json"],
            Self::TracerFiltered => vec![&tracer, "--port", "1"],
            Self::TracerFilteredNoSyn => vec![&tracer, "--port", "1", "--syn-hook", "off"],
            Self::Tcplife => return with_tracefs("tcplife"),
            Self::Tcpstates => return with_tracefs("tcpstates"),
            Self::Tcpdump => {
                let file = file.display().to_string();
                let filter = "tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0";
                return ["tcpdump", "-i", "lo", "-Z", "root", "-w", &file, filter]
                    .map(str::to_owned)
                    .to_vec();
            }
        };
        words.into_iter().map(str::to_owned).collect()
    }
}

/// What was learnt of a watcher at its end.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ended {
    /// CPU time of its own, its start left out.
    pub(crate) cpu: Duration,
    /// Events or packets that it says it lost, where it tells.
    pub(crate) lost: Option<u64>,
    /// Of tracer: records that were not written, because the file was not in time.
    pub(crate) dropped: Option<u64>,
    pub(crate) memory: Option<process::Memory>,
}

/// Watches until it is stopped; what it writes goes to a file.
pub(crate) struct Watcher {
    kind: Kind,
    child: Option<Child>,
    drain: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
    file: PathBuf,
    errors: PathBuf,
    /// CPU time that its start took.
    start: Duration,
}

impl Watcher {
    /// Returns when it is at work.
    pub(crate) fn start(ns: &Netns, kind: Kind) -> Self {
        Self::start_with(ns, kind, &[])
    }

    /// With more arguments.
    pub(crate) fn start_with(ns: &Netns, kind: Kind, more: &[&str]) -> Self {
        let file = std::env::temp_dir().join(format!("tracer-bench-{}", unique()));
        let errors = file.with_extension("stderr");
        let mut watcher =
            Self { kind, child: None, drain: None, file, errors, start: Duration::ZERO };
        match kind {
            Kind::Nobody => {}
            Kind::Reserve => watcher.drain = Some(drain()),
            _ => {
                let child = watcher.spawn(ns, more);
                watcher.child = Some(child);
                watcher.wait_ready();
                watcher.start = process::cpu(watcher.pid());
            }
        }
        watcher
    }

    fn spawn(&self, ns: &Netns, more: &[&str]) -> Child {
        let words = self.kind.words(&self.file);
        let create = |path: &Path| File::create(path).expect("a file");
        let out: Stdio = match self.kind {
            // Writes the file itself.
            Kind::Tcpdump => Stdio::null(),
            _ => create(&self.file).into(),
        };
        let mut command = ns.command(&words[0]);
        command.args(&words[1..]).args(more);
        if self.kind == Kind::TracerApart {
            // SAFETY: one system call.
            unsafe { command.pre_exec(|| setsid().map(drop).map_err(Into::into)) };
        }
        command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(create(&self.errors))
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", words[0]))
    }

    fn wait_ready(&self) {
        let pid = self.pid();
        let said = |path: &Path, what: &str| {
            std::fs::read_to_string(path).is_ok_and(|text| text.contains(what))
        };
        wait_until(self.kind.name(), Duration::from_secs(15), || match self.kind {
            Kind::TracerJson | Kind::TracerApart => said(&self.file, "\"type\":\"start\""),
            Kind::Tracer | Kind::TracerFiltered | Kind::TracerFilteredNoSyn => {
                said(&self.errors, "racing")
            }
            Kind::Tcpdump => said(&self.errors, "listening on"),
            _ => process::has_attached(pid),
        });
        // Whatever else it does first.
        pause(100);
    }

    /// The process that watches: this one, if there is no other.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or_else(std::process::id, Child::id)
    }

    /// Ends it.
    pub(crate) fn stop(mut self) -> Ended {
        if let Some((over, drain)) = self.drain.take() {
            over.store(true, Ordering::Relaxed);
            drain.join().expect("the reader of the ring");
        }
        let Some(mut child) = self.child.take() else { return Ended::default() };
        let errors = || std::fs::read_to_string(&self.errors).unwrap_or_default();
        assert!(child.try_wait().expect("wait").is_none(), "it ended by itself: {}", errors());
        let cpu = process::cpu(child.id()) - self.start;
        let memory = process::memory(child.id());
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        kill(pid, Signal::SIGINT).expect("kill()");
        let deadline = Instant::now() + Duration::from_secs(10);
        while child.try_wait().expect("wait").is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
            }
            pause(10);
        }
        let text = std::fs::read(&self.file).unwrap_or_default();
        let (lost, dropped) = self.losses(&text, &errors());
        Ended { cpu, lost, dropped, memory: Some(memory) }
    }

    /// Lost and dropped.
    fn losses(&self, text: &[u8], errors: &str) -> (Option<u64>, Option<u64>) {
        let last = || {
            let end = String::from_utf8_lossy(text).trim_end().lines().last().map(str::to_owned);
            serde_json::from_str::<Value>(&end.unwrap_or_default()).unwrap_or_default()
        };
        match self.kind {
            Kind::TracerJson | Kind::TracerApart => {
                let end = last();
                (end["events_lost"].as_u64(), end["output_dropped"].as_u64())
            }
            // "LOST n of m events" and "DROPPED n records" in the summary, if any.
            Kind::Tracer | Kind::TracerFiltered | Kind::TracerFilteredNoSyn => {
                let text = String::from_utf8_lossy(text);
                let sum = |word| Some(numbers(&text, |words| words[0] == word).sum());
                (sum("LOST"), sum("DROPPED"))
            }
            // "lost n events on CPU #c!" on stderr.
            Kind::Tcplife | Kind::Tcpstates => {
                (Some(numbers(errors, |words| words[0] == "lost").sum()), None)
            }
            Kind::Tcpdump => {
                let dropped = |line: &&str| line.ends_with("packets dropped by kernel");
                let line = errors.lines().find(dropped).unwrap_or_default();
                (line.split(' ').next().and_then(|n| n.parse().ok()), None)
            }
            Kind::Nobody | Kind::Reserve => (None, None),
        }
    }
}

/// The second words of the lines that `wanted` knows by their words, as numbers.
fn numbers(text: &str, wanted: impl Fn(&[&str]) -> bool) -> impl Iterator<Item = u64> {
    text.lines().filter_map(move |line| {
        let words: Vec<&str> = line.split_whitespace().take(3).collect();
        let number = words.get(1)?.replace(',', "");
        wanted(&words).then(|| number.parse().ok())?
    })
}

/// The yardstick, and a thread that looks at its ring as often as tracer does.
fn drain() -> (Arc<AtomicBool>, JoinHandle<()>) {
    let mut yardstick = Yardstick::attach(8 << 20).expect("the yardstick");
    let over = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&over);
    let thread = std::thread::spawn(move || {
        while !until.load(Ordering::Relaxed) {
            yardstick.drain();
            pause(20);
        }
    });
    (over, thread)
}

/// A tool of libbpf-tools, which need tracefs; mounted where nobody else sees it.
fn with_tracefs(tool: &str) -> Vec<String> {
    let tracefs = "/sys/kernel/tracing";
    let mount = format!("test -d {tracefs}/events || mount -t tracefs none {tracefs}; exec {tool}");
    ["unshare", "--mount", "sh", "-c", &mount].map(Into::into).to_vec()
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some((over, _)) = &self.drain {
            over.store(true, Ordering::Relaxed);
        }
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_file(&self.file);
        let _ = std::fs::remove_file(&self.errors);
    }
}
