//! What each step of `cargo xtask test` does.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::CommandFactory as _;

use super::counts::Counts;
use crate::build::cargo;
use crate::readme::{self, Known};
use crate::toolchain::{Toolchain, checkers};
use crate::{Consent, bench, build, dist, shell, vm, workspace};

/// Integration tests wait more than they compute: with twice as many at once as CI has cores, these are busy
/// half of the time. Those that need a core for themselves run alone.
const TEST_THREADS: &str = "--test-threads=4";

/// A whole test binary that takes longer hangs.
const TEST_LIMIT: Duration = Duration::from_secs(25 * 60);

pub(super) fn fmt() -> anyhow::Result<Counts> {
    check(cargo().args(["fmt", "--all", "--check"]), "`cargo fmt --all` puts it right")
}

pub(super) fn clippy(toolchain: &Toolchain) -> anyhow::Result<Counts> {
    let mut counts = check(
        cargo().args(["clippy", "--all-targets", "--", "-D", "warnings"]),
        "clippy's words are above",
    )?;
    let mut kernel_side = checkers::kernel_side_clippy(toolchain)?;
    counts += check(&mut kernel_side, "clippy's words on the kernel side are above")?;
    Ok(counts)
}

pub(super) fn unit() -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    let packages = ["--package", "tracer", "--package", "tracer-common", "--package", "xtask"];
    counts += counted(cargo().arg("test").args(packages).args(["--lib", "--bins"]))?;
    counts += counted(cargo().args(["test", "--doc", "--package", "tracer-common"]))?;
    some(counts)
}

pub(super) fn readme() -> anyhow::Result<Counts> {
    let binary = build::release()?;
    let help = Command::new(&binary)
        .arg("--help")
        .output()
        .with_context(|| format!("cannot run {} --help", binary.display()))?;
    if !help.status.success() {
        bail!("{} --help ends with {}", binary.display(), help.status);
    }
    let known = Known {
        tracer: readme::flags_of_help(&String::from_utf8_lossy(&help.stdout)),
        xtask: readme::xtask_commands(&crate::Cli::command()),
    };
    if known.tracer.is_empty() {
        bail!("{} --help lists no flags", binary.display());
    }
    let path = workspace::root().join("README.md");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let mut docs = Vec::new();
    for entry in std::fs::read_dir(workspace::root().join("docs")).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "md") {
            docs.push(std::fs::read_to_string(entry.path())?);
        }
    }
    let problems = readme::problems(&known, &text, &docs);
    for problem in &problems {
        println!("{problem}");
    }
    Ok(Counts::one(problems.is_empty()))
}

pub(super) fn integration() -> anyhow::Result<Counts> {
    let binary = build::release()?;
    let mut executables = test_executables()?;
    executables.retain(|(name, _)| name != PACKAGE_TESTS);
    if executables.is_empty() {
        bail!("there is nothing in tracer/tests");
    }
    let mut counts = Counts::default();
    for executable in &executables {
        counts += counted(&mut harness(executable, ("TRACER_BIN", &binary))?)?;
        if counts.failed > 0 {
            return Ok(counts);
        }
    }
    counts += benchmarks(&binary)?;
    some(counts)
}

/// The benchmarks with tiny sizes: that every figure comes out.
fn benchmarks(binary: &Path) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    for (name, path) in bench::executables("test")? {
        println!("==> tracer/benches/{name} --smoke");
        let mut command = bench::as_root(&path, binary)?;
        counts += check(command.arg("--smoke"), "its reason is above")?;
    }
    some(counts)
}

/// Packages of the binary that the other tests have built and tried: the one that is optimised as a
/// whole would take minutes more.
pub(super) fn package(consent: Consent) -> anyhow::Result<Counts> {
    dist::prepare(consent)?;
    dist::make(dist::Profile::Release)?;
    let executables = test_executables()?;
    let executable = executables.iter().find(|(name, _)| name == PACKAGE_TESTS);
    let executable = executable.with_context(|| format!("no tracer/tests/{PACKAGE_TESTS}"))?;
    some(counted(&mut harness(executable, ("TRACER_PACKAGES", &dist::out_dir()))?)?)
}

/// The integration tests that need packages.
const PACKAGE_TESTS: &str = "package";

/// A test executable as root, told where what it tests is.
fn harness(
    (name, path): &(String, PathBuf),
    (variable, tested): (&str, &Path),
) -> anyhow::Result<Command> {
    println!("==> tracer/tests/{name}");
    // sudo clears the environment: what the tests need is said again.
    let mut command = shell::as_root("timeout")?;
    command
        .args(shell::limit_args(TEST_LIMIT))
        .arg("env")
        .arg(format!("{variable}={}", tested.display()))
        .arg("RUST_BACKTRACE=1");
    for (name, value) in std::env::vars() {
        if matches!(name.as_str(), "CI" | "RUST_LOG") || name.starts_with("TRACER_TEST_") {
            command.arg(format!("{name}={value}"));
        }
    }
    let path_variable = std::env::join_paths(shell::search_path())?;
    command.arg(format!("PATH={}", path_variable.to_string_lossy()));
    command.arg(path).arg(TEST_THREADS).current_dir(workspace::root().join("tracer"));
    Ok(command)
}

pub(super) fn vm(consent: Consent) -> anyhow::Result<Counts> {
    let counts = vm::test_all(consent)?;
    some(counts)
}

/// The test executables of tracer/tests, built but not run; each with its name.
pub(crate) fn test_executables() -> anyhow::Result<Vec<(String, PathBuf)>> {
    let output = cargo()
        .args(["test", "--package", "tracer", "--test", "*", "--no-run"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the tests do not compile (cargo's {}); the reason is above", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|message| executable_of(message, "test"))
        .collect())
}

/// Name and path of the executable of a target of this kind out of one of cargo's JSON messages.
pub(crate) fn executable_of(message: &str, kind: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let target = message.get("target")?;
    if !target.get("kind")?.as_array()?.iter().any(|its| its == kind) {
        return None;
    }
    let name = target.get("name")?.as_str()?.to_owned();
    Some((name, PathBuf::from(message.get("executable")?.as_str()?)))
}

/// Runs a command that is one check.
fn check(command: &mut Command, hint: &str) -> anyhow::Result<Counts> {
    let status =
        command.status().with_context(|| format!("cannot run {}", shell::line(command)))?;
    if !status.success() {
        bail!("{} failed ({status}): {hint}", shell::line(command));
    }
    Ok(Counts::one(true))
}

/// Runs a test harness, shows what it prints, and counts.
fn counted(command: &mut Command) -> anyhow::Result<Counts> {
    let what = shell::line(command);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {what}"))?;
    let mut counts = Counts::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.with_context(|| format!("cannot read the output of {what}"))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            if let Some(result) = Counts::parse(&line) {
                counts += result;
            }
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for {what}"))?;
    if status.code() == Some(124) {
        bail!("{what}: gave up after {}", shell::seconds(TEST_LIMIT));
    }
    if !status.success() && counts.failed == 0 {
        bail!("{what} failed ({status}); its reason is above");
    }
    Ok(counts)
}

/// A step in which no test ran has tested nothing.
fn some(counts: Counts) -> anyhow::Result<Counts> {
    if counts.passed + counts.failed == 0 {
        bail!("no test ran");
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_executable_is_found_among_cargos_messages() {
        let message = r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"scenarios"},
            "executable":"/t/deps/scenarios-1"}"#;
        let found = executable_of(message, "test").unwrap();
        assert_eq!(found, ("scenarios".to_owned(), PathBuf::from("/t/deps/scenarios-1")));
        assert_eq!(executable_of(message, "bench"), None);
        for other in [
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"tracer"},"executable":"/t/tracer"}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "warning: not JSON",
        ] {
            assert_eq!(executable_of(other, "test"), None);
        }
    }

    #[test]
    fn a_harness_that_dies_is_a_failure() {
        let result = counted(
            Command::new("sh")
                .args(["-c", "echo 'test result: ok. 1 passed; 0 failed; 0 ignored'; exit 101"]),
        );
        assert!(result.is_err());
        assert!(some(Counts::default()).is_err());
    }

    #[test]
    fn failures_are_counted() {
        let counts =
            counted(Command::new("sh").args([
                "-c",
                "echo 'test result: FAILED. 1 passed; 2 failed; 0 ignored'; exit 101",
            ]));
        assert_eq!(counts.unwrap(), Counts { passed: 1, failed: 2, ignored: 0 });
    }
}
