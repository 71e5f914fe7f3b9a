//! Booting a kernel in qemu's software emulation and listening to its serial console.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::shell;

/// What /init prints, followed by this boot's token and the command's exit status.
const MARKER: &str = "TRACER-VM-END";

/// What to boot, and for how long.
pub(super) struct Boot<'a> {
    pub(super) image: &'a Path,
    pub(super) initramfs: &'a Path,
    /// Everything the console printed goes here.
    pub(super) log: &'a Path,
    pub(super) limit: Duration,
    /// Show the console as it comes.
    pub(super) show: bool,
}

/// How a boot ended.
pub(super) struct Outcome {
    /// The command's exit status.
    pub(super) status: i32,
    /// The console's output, without what boot loaders and /init say for themselves.
    pub(super) output: String,
}

/// Boots and waits for the end marker.
///
/// # Errors
///
/// When qemu cannot be run, ends without the marker (a panic), or takes longer than the limit.
pub(super) fn boot(boot: &Boot<'_>) -> anyhow::Result<Outcome> {
    let token = token();
    let mut command = qemu(boot, &token);
    let mut log =
        File::create(boot.log).with_context(|| format!("cannot create {}", boot.log.display()))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", shell::line(&command)))?;
    let console = child.stdout.take().context("qemu has no stdout")?;
    let (sender, lines) = channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + boot.limit;
    let (mut output, mut status, mut late) = (String::new(), None, false);
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                writeln!(log, "{line}").ok();
                if let Some(code) = marker(&line, &token) {
                    status = Some(code);
                    break;
                }
                if boot.show {
                    println!("{line}");
                }
                output.push_str(&line);
                output.push('\n');
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                late = true;
                break;
            }
        }
    }
    // It has said all it has to say; powering off takes it another second.
    child.kill().ok();
    child.wait().context("cannot wait for qemu")?;
    reader.join().ok();
    match status {
        Some(status) => Ok(Outcome { status, output }),
        None if late => {
            bail!("still running after {}\n{}", shell::seconds(boot.limit), tail(&output))
        }
        None => bail!("ended before the tests did\n{}", tail(&output)),
    }
}

fn qemu(boot: &Boot<'_>, token: &str) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "1G", "-cpu", "max"])
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        .args(["-nic", "none", "-serial", "stdio"])
        .arg("-kernel")
        .arg(boot.image)
        .arg("-initrd")
        .arg(boot.initramfs)
        .arg("-append")
        // A panic ends qemu (-no-reboot) instead of the time limit.
        .arg(format!(
            "console=ttyS0 quiet panic=-1 oops=panic mitigations=off nokaslr rdinit=/init \
             tracer.token={token}"
        ));
    command
}

/// The exit status in an end marker, if the line is this boot's. The kernel's own messages may
/// stand before it on the same line.
fn marker(line: &str, token: &str) -> Option<i32> {
    let (_, rest) = line.split_once(MARKER)?;
    let mut words = rest.split_whitespace();
    (words.next()? == token).then(|| words.next()?.parse().ok())?
}

/// A word that no earlier boot's log and no test's output holds.
fn token() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("{:x}-{:x}", std::process::id(), now.unwrap_or_default().as_nanos())
}

/// The last lines: where the reason usually is.
pub(super) fn tail(output: &str) -> String {
    let lines: Vec<_> = output.lines().collect();
    lines.get(lines.len().saturating_sub(60)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_boots_marker_counts() {
        assert_eq!(marker("TRACER-VM-END 7-ab 101", "7-ab"), Some(101));
        assert_eq!(marker("[    3.1] x TRACER-VM-END 7-ab 0", "7-ab"), Some(0));
        assert_eq!(marker("TRACER-VM-END 7-ac 0", "7-ab"), None);
        assert_eq!(marker("TRACER-VM-END 7-ab", "7-ab"), None);
        assert_eq!(marker("TRACER-VM-END 7-ab x", "7-ab"), None);
        assert_eq!(marker("test core_attach ... ok", "7-ab"), None);
    }

    #[test]
    fn a_tail_is_the_end() {
        let output: String = (0..100).map(|n| format!("{n}\n")).collect();
        assert!(tail(&output).starts_with("40\n") && tail(&output).ends_with("99"));
        assert_eq!(tail("short"), "short");
    }
}
