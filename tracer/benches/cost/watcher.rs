//! Who watches while the load runs: nobody, tracer, or one of its peers.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Netns, pause, tracer::binary, unique};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Nobody,
    Tracer,
    TracerJson,
    Tcplife,
    Tcpstates,
    Tcpdump,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Nobody,
        Self::Tracer,
        Self::TracerJson,
        Self::Tcplife,
        Self::Tcpstates,
        Self::Tcpdump,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Tracer => "tracer",
            Self::TracerJson => "tracer -f json",
            Self::Tcplife => "tcplife",
            Self::Tcpstates => "tcpstates",
            Self::Tcpdump => "tcpdump -w, SYN/FIN/RST",
        }
    }
}

/// Watches until it is stopped; what it writes goes to a file.
pub(crate) struct Watcher {
    child: Option<Child>,
    file: PathBuf,
}

impl Watcher {
    pub(crate) fn start(ns: &Netns, kind: Kind) -> Self {
        let file = std::env::temp_dir().join(format!("tracer-bench-{}", unique()));
        let mut words: Vec<String> = match kind {
            Kind::Nobody => return Self { child: None, file },
            Kind::Tracer => vec![binary().display().to_string()],
            Kind::TracerJson => vec![binary().display().to_string(), "-f".into(), "json".into()],
            Kind::Tcplife => with_tracefs("tcplife"),
            Kind::Tcpstates => with_tracefs("tcpstates"),
            Kind::Tcpdump => ["tcpdump", "-i", "lo", "-Z", "root", "-w"].map(Into::into).to_vec(),
        };
        if kind == Kind::Tcpdump {
            words.push(file.display().to_string());
            words.push("tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0".into());
        }
        let out = match kind {
            Kind::Tcpdump => File::open("/dev/null").expect("/dev/null"),
            _ => File::create(&file).expect("a file"),
        };
        let child = ns
            .command(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", words[0]));
        // All of them are at work well before.
        pause(1_500);
        Self { child: Some(child), file }
    }

    /// Ends it; what it wrote last.
    pub(crate) fn stop(mut self) -> String {
        let Some(mut child) = self.child.take() else { return String::new() };
        assert!(child.try_wait().expect("wait").is_none(), "the watcher ended by itself");
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
        let _ = std::fs::remove_file(&self.file);
        String::from_utf8_lossy(&text).lines().last().unwrap_or_default().to_owned()
    }
}

/// A tool of libbpf-tools, which need tracefs; mounted where nobody else sees it.
fn with_tracefs(tool: &str) -> Vec<String> {
    let mount = format!("mount -t tracefs none /sys/kernel/tracing && exec /usr/sbin/{tool}");
    ["unshare", "--mount", "sh", "-c", &mount].map(Into::into).to_vec()
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_file(&self.file);
    }
}
