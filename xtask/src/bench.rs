//! `cargo xtask bench`: what tracer costs and how right it is, as tables. Nothing is asserted: this
//! is for people, who know whether their machine is quiet.

mod document;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use crate::build::cargo;
use crate::{Consent, build, shell, toolchain, tools, workspace};

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    consent: Consent,
    /// Which tables; without any, all of them
    parts: Vec<Part>,
    /// Put the tables between their marks in this file (docs/benchmarks.md) as well
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Paired rounds of each part: more of them, less noise
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: Option<u16>,
    /// Everything tiny, only to see that the figures come out
    #[arg(long)]
    smoke: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Connections at full speed, beside the peers
    Connections,
    /// Connections at fixed rates, beside the peers
    Rates,
    /// Each program's own time, of ours and the peers'
    Hooks,
    /// The SYN hook against a program that only passes
    SynHook,
    /// Other traffic, by the kind of the SYN hook
    Traffic,
    /// A SYN flood, and honest clients beside one
    Flood,
    /// By live connections, listeners, interfaces and SYN rate
    Scale,
    /// The user side alone: events a second, allocations, memory
    Replay,
    /// Times against a packet capture
    Accuracy,
    /// From the start to the `start` record
    Start,
    /// Reading a capture, beside tshark and tcptrace
    Capture,
}

impl Part {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The benchmark that measures it, and its arguments.
    fn of(self) -> (&'static str, String) {
        match self {
            Self::Replay => ("replay", "--tables".to_owned()),
            _ => ("cost", self.name()),
        }
    }
}

/// A part that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Measures, prints, and writes what was printed into the document.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    toolchain::ensure(options.consent, tools::FOR_BENCH)?;
    // Before anything takes its time.
    let mut document = options.markdown.as_deref().map(read).transpose()?;
    let binary = build::release()?;
    let benchmarks = executables("bench")?;
    let parts = match options.parts.as_slice() {
        [] => Part::value_variants(),
        parts => parts,
    };
    if let Some(text) = &document {
        for part in parts {
            document::check(text, &part.name())?;
        }
    }
    for part in parts {
        let (benchmark, argument) = part.of();
        let found = benchmarks.iter().find(|(name, _)| name == benchmark);
        let (_, path) =
            found.with_context(|| format!("tracer/benches/{benchmark} is not there"))?;
        let mut command = as_root(path, &binary)?;
        command.arg(argument);
        if options.smoke {
            command.arg("--smoke");
        }
        if let Some(rounds) = options.rounds {
            command.arg("--rounds").arg(rounds.to_string());
        }
        println!("## {}\n", part.name());
        let tables = shown(&mut command)?;
        if let (Some(text), Some(path)) = (&mut document, &options.markdown) {
            *text = document::replaced(text, &part.name(), &tables)?;
            // At once: what was measured is kept if a later part fails.
            std::fs::write(path, &*text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A benchmark as root; sudo clears the environment, so what it needs is said again.
pub(crate) fn as_root(path: &Path, tracer: &Path) -> anyhow::Result<Command> {
    let search = std::env::join_paths(shell::search_path())?;
    let mut command = shell::as_root("timeout")?;
    command
        .args(shell::limit_args(LIMIT))
        .arg("env")
        .arg(format!("TRACER_BIN={}", tracer.display()))
        .arg(format!("PATH={}", search.to_string_lossy()))
        .arg(path)
        .current_dir(workspace::root().join("tracer"));
    Ok(command)
}

/// The benchmarks of tracer/benches, built but not run, each with its name: `bench` optimises them,
/// `test` does not.
pub(crate) fn executables(how: &str) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let output = cargo()
        .args([how, "--package", "tracer", "--bench", "*", "--no-run"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the benchmarks do not compile (cargo's {}); the reason is above", output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    Ok(messages
        .lines()
        .filter_map(|message| crate::test::executable_of(message, "bench"))
        .collect())
}

/// Runs a command; what it prints is shown and returned.
fn shown(command: &mut Command) -> anyhow::Result<String> {
    let what = shell::line(command);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {what}"))?;
    let mut text = String::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.with_context(|| format!("cannot read the output of {what}"))?;
            println!("{line}");
            text.push_str(&line);
            text.push('\n');
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for {what}"))?;
    if !status.success() {
        bail!("the benchmark failed ({status}); its reason is above");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_a_place_in_the_document() {
        let text = read(&workspace::root().join("docs/benchmarks.md")).unwrap();
        for part in Part::value_variants() {
            document::check(&text, &part.name()).unwrap();
        }
    }
}
