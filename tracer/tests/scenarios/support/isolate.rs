//! Every scenario runs in a process of its own: a socket of one can't be held open by a process
//! that another forks, and a scenario that hangs is ended.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::lab::Lab;
use super::withheld::Withheld;
use super::{ms, patience};

/// Load tests have the machine for themselves; all others share it.
static MACHINE: RwLock<()> = RwLock::new(());

const INSIDE: &str = "TRACER_SCENARIO";

/// Runs a scenario in a lab of its own, beside others.
#[track_caller]
pub(crate) fn scenario<F: FnOnce(&Lab)>(body: F) {
    if inside() {
        return body(&Lab::new());
    }
    // A scenario that failed left nothing behind that matters to the next.
    let _guard = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    outside(name_of::<F>(), Duration::from_secs(60));
}

/// Runs a scenario in a lab with addresses for documentation, beside others.
#[track_caller]
pub(crate) fn documented<F: FnOnce(&Lab)>(body: F) {
    if inside() {
        return body(&Lab::of_documentation());
    }
    let _guard = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    outside(name_of::<F>(), Duration::from_secs(60));
}

/// The test whose scenario this process runs, as the test harness knows it.
pub(crate) fn this_test() -> String {
    std::env::var(INSIDE).expect("no scenario runs here")
}

/// Runs a scenario that needs the machine's full speed: nothing else of this run beside it.
#[track_caller]
pub(crate) fn alone<F: FnOnce(&Lab)>(body: F) {
    if inside() {
        return body(&Lab::new());
    }
    let _guard = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    outside(name_of::<F>(), Duration::from_secs(180));
}

fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// The test's name as the test harness knows it, from its closure's type
/// (`scenarios::close::active_close::{{closure}}`).
fn name_of<F>() -> &'static str {
    let name = std::any::type_name::<F>();
    let name = name.split_once("::").map_or(name, |(_crate, rest)| rest);
    name.strip_suffix("::{{closure}}").expect("a scenario is a closure in its test")
}

/// Runs the test `name` in a process of its own with an environment variable set, beside others;
/// what it wrote. For tests that need more than one lab.
///
/// # Errors
/// What it wrote, if it failed or took longer than a minute.
pub(crate) fn apart(name: &str, variable: (&str, &str)) -> Result<String, String> {
    let _guard = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    run_test(name, Duration::from_secs(60), Some(variable))
}

#[track_caller]
fn outside(name: &str, limit: Duration) {
    if let Err(output) = run_test(name, limit, None) {
        panic!("{output}");
    }
}

/// Runs a test in a process of its own. One that failed is run again where the kernel kept
/// transitions from every BPF program meanwhile ([`Withheld`]), and only there.
fn run_test(name: &str, limit: Duration, variable: Option<(&str, &str)>) -> Result<String, String> {
    const RUNS: usize = 3;
    let withheld = Withheld::watch();
    let count = || withheld.as_ref().map_or(0, Withheld::count);
    for _ in 1..RUNS {
        let before = count();
        let result = run_once(name, limit, variable);
        let meanwhile = count() - before;
        if result.is_ok() || meanwhile == 0 {
            return result;
        }
        eprintln!(
            "{name} failed while the kernel kept {meanwhile} transitions from BPF; once more\n{}",
            result.unwrap_or_else(|output| output)
        );
    }
    run_once(name, limit, variable)
}

fn run_once(name: &str, limit: Duration, variable: Option<(&str, &str)>) -> Result<String, String> {
    let exe = std::env::current_exe().expect("this program's path");
    let (mut reader, writer) = std::io::pipe().expect("pipe()");
    let mut child = Command::new(exe)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, name)
        .envs(variable)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(writer.try_clone().expect("dup()"))
        .stderr(writer)
        .process_group(0)
        .spawn()
        .expect("start the scenario's process");
    let output = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = reader.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let deadline = Instant::now() + patience(limit);
    let mut overdue = false;
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait()") {
            break status;
        }
        if Instant::now() > deadline {
            overdue = true;
            let _ = child.kill();
        }
        std::thread::sleep(ms(10));
    };
    // Whatever it left running: the group is its own, made above.
    let group = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    let _ = killpg(group, Signal::SIGKILL);
    let output = output.join().expect("the reader");
    if overdue {
        return Err(format!("{name} took longer than {limit:?}\n{output}"));
    }
    if !status.success() || !output.contains("1 passed") {
        return Err(format!("{name}: {status}\n{output}"));
    }
    Ok(output)
}
