//! The truth about times: what tcpdump saw on the cable.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::netns::Netns;
use super::raw::Segment;
use super::{pause, unique, wait_until};

/// tcpdump on one interface.
pub(crate) struct Capture {
    child: Child,
    file: PathBuf,
}

/// A captured segment and when it passed, nanoseconds.
pub(crate) struct Seen {
    /// Nanoseconds since the epoch.
    pub(crate) at: u64,
    /// What it was.
    pub(crate) segment: Segment,
}

impl Capture {
    /// Starts capturing TCP on an interface; returns when it does.
    pub(crate) fn start(ns: &Netns, device: &str) -> Self {
        Self::of(ns, device, "tcp")
    }

    /// The same with further options of tcpdump.
    pub(crate) fn start_with(ns: &Netns, device: &str, options: &[&str]) -> Self {
        Self::begin(ns, device, options, "tcp")
    }

    /// Starts capturing what matches a filter of tcpdump's.
    pub(crate) fn of(ns: &Netns, device: &str, filter: &str) -> Self {
        Self::begin(ns, device, &[], filter)
    }

    fn begin(ns: &Netns, device: &str, options: &[&str], filter: &str) -> Self {
        let file = std::env::temp_dir().join(format!("tracer-scenario-{}.pcap", unique()));
        let mut child = ns
            .command("tcpdump")
            .args(["-i", device, "--time-stamp-precision", "nano", "--immediate-mode", "-U"])
            // KiB: what comes faster than it is written must not be missing.
            .args(["-B", "32768"])
            .args(options)
            .args(["-Z", "root", "-w"])
            .arg(&file)
            .arg(filter)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump (package tcpdump) is needed");
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr"));
        while !line.contains("listening on") {
            line.clear();
            let n = stderr.read_line(&mut line).expect("tcpdump's stderr");
            assert!(n > 0, "tcpdump ended");
        }
        // Keeps the pipe open: what tcpdump says at its end must not kill it.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Self { child, file }
    }

    /// Bytes written so far.
    #[allow(dead_code, reason = "the benchmark's")]
    pub(crate) fn size(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |file| file.len())
    }

    /// Ends the capture and hands out what was seen.
    #[track_caller]
    pub(crate) fn stop(self) -> Vec<Seen> {
        let bytes = fs::read(&self.keep().0).expect("the capture");
        parse(&bytes)
    }

    /// Ends the capture; the file stays until what is returned is dropped.
    #[track_caller]
    pub(crate) fn keep(mut self) -> Kept {
        pause(100);
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        kill(pid, Signal::SIGINT).expect("kill tcpdump");
        wait_until("tcpdump ends", Duration::from_secs(5), || {
            self.child.try_wait().expect("wait").is_some()
        });
        Kept(std::mem::take(&mut self.file))
    }
}

/// A file with a capture in it.
pub(crate) struct Kept(pub(crate) PathBuf);

impl Kept {
    /// A further file, with these bytes in it.
    pub(crate) fn with(bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("tracer-scenario-{}.pcap", unique()));
        fs::write(&path, bytes).expect("write a capture");
        Self(path)
    }

    /// What is in it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(&self.0).expect("the capture")
    }

    /// Its name, as tracer is told it.
    pub(crate) fn name(&self) -> &str {
        self.0.to_str().expect("a name in ASCII")
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.file);
    }
}

/// Reads a pcap file with nanosecond stamps in this machine's byte order (what `tcpdump -w` makes
/// here) of Ethernet frames.
fn parse(bytes: &[u8]) -> Vec<Seen> {
    const HEADER: usize = 24;
    let word =
        |at: usize| bytes.get(at..at + 4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    assert_eq!(word(0), Some(0xa1b2_3c4d), "not a nanosecond pcap");
    let mut seen = Vec::new();
    let mut at = HEADER;
    while let (Some(sec), Some(nsec), Some(len)) = (word(at), word(at + 4), word(at + 8)) {
        let data = at + 16;
        let end = data + len as usize;
        let Some(frame) = bytes.get(data..end) else { break };
        if let Some(segment) = frame.get(14..).and_then(Segment::parse) {
            seen.push(Seen { at: u64::from(sec) * 1_000_000_000 + u64::from(nsec), segment });
        }
        at = end;
    }
    seen
}

/// Microseconds from the first segment that matches `from` to the first later one that matches
/// `to`.
#[track_caller]
pub(crate) fn span_us(
    seen: &[Seen],
    from: impl Fn(&Segment) -> bool,
    to: impl Fn(&Segment) -> bool,
) -> f64 {
    let start = seen.iter().position(|s| from(&s.segment)).expect("the first segment");
    let end = seen[start + 1..].iter().find(|s| to(&s.segment)).expect("the second segment");
    (end.at - seen[start].at) as f64 / 1e3
}
