//! Running other programs: finding them, showing what runs and how long it took, becoming root.
//!
//! Everything xtask itself says goes to stderr: stdout belongs to tracer's records.

use std::ffi::OsStr;
use std::io::{IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Where Debian keeps the administrator's tools; an ordinary user's PATH often lacks them.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// How often it is said that a step goes on: to somebody who watches, and to a log.
const STILL_ON_TERMINAL: Duration = Duration::from_secs(10);
const STILL: Duration = Duration::from_secs(60);

/// How often a step is looked after.
const LOOK: Duration = Duration::from_millis(50);

/// A line of xtask's own.
pub(crate) fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// PATH with the administrator's directories at its end.
pub(crate) fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<_> = std::env::split_paths(&path).collect();
    for dir in SBIN.map(PathBuf::from) {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    dirs
}

/// All executables of this name on the search path, first found first.
pub(crate) fn which_all(name: &str) -> Vec<PathBuf> {
    search_path().iter().map(|dir| dir.join(name)).filter(|path| is_executable(path)).collect()
}

/// The executable of this name.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    search_path().iter().map(|dir| dir.join(name)).find(|path| is_executable(path))
}

/// Whether the path is a file that somebody may execute.
pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether this process is root: /proc/self belongs to the effective user (proc(5)).
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// Whether somebody is there to be asked.
pub(crate) fn on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// A command that runs as root: directly, or through sudo.
///
/// # Errors
///
/// When this is not root and there is no sudo.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> anyhow::Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    let Some(sudo) = which("sudo") else {
        bail!(
            "{} must run as root, and there is no sudo: install sudo or run this as root",
            program.as_ref().display()
        );
    };
    let mut command = Command::new(sudo);
    if !on_terminal() {
        // Nobody could type a password: fail at once instead of waiting for one.
        command.arg("-n");
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// A command that is ended (SIGTERM, then SIGKILL) when it takes longer than `limit`.
pub(crate) fn bounded(limit: Duration, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(limit_args(limit)).arg(program);
    command
}

/// timeout(1)'s arguments. In the foreground, so that Ctrl-C reaches what runs.
pub(crate) fn limit_args(limit: Duration) -> [String; 3] {
    ["--foreground".to_owned(), "--kill-after=10".to_owned(), limit.as_secs().to_string()]
}

/// Runs a command under a headline, its output shown on stderr, and says how long it took.
///
/// # Errors
///
/// When it cannot be started or does not end with status 0.
pub(crate) fn step(title: &str, command: &mut Command) -> anyhow::Result<()> {
    say(title);
    let started = Instant::now();
    let stderr = std::io::stderr().as_fd().try_clone_to_owned().context("cannot copy stderr")?;
    let mut child = command
        .stdout(stderr)
        .spawn()
        .with_context(|| format!("{title}: cannot run {}", line(command)))?;
    // Some are quiet for minutes: a line now and then says that it goes on.
    let every = if std::io::stderr().is_terminal() { STILL_ON_TERMINAL } else { STILL };
    let mut next = every;
    let status = loop {
        let ended = child.try_wait().with_context(|| format!("{title}: cannot wait for it"))?;
        if let Some(status) = ended {
            break status;
        }
        if started.elapsed() >= next {
            say(&format!("{title}: going on, {}", seconds(started.elapsed())));
            next = started.elapsed() + every;
        }
        std::thread::sleep(LOOK);
    };
    let took = seconds(started.elapsed());
    match status.code() {
        Some(0) => {
            say(&format!("{title}: done in {took}"));
            Ok(())
        }
        Some(124) if command.get_program() == "timeout" => {
            bail!("{title}: gave up after {took}: {}", line(command))
        }
        _ => bail!("{title}: failed after {took} ({status}): {}", line(command)),
    }
}

/// Runs a command quietly and returns what it prints on stdout and stderr, whatever its status.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Some(text)
}

/// A duration as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 100.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{}m{:02}s", duration.as_secs() / 60, duration.as_secs() % 60)
    }
}

/// The command as one could type it.
pub(crate) fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| match arg.to_string_lossy() {
        text if text.contains('\n') => "<script>".to_owned(),
        text if text.is_empty() || text.contains(char::is_whitespace) => format!("{text:?}"),
        text => text.into_owned(),
    }));
    words.join(" ")
}

/// Asks for a yes on the terminal; Enter is yes, end of input is no.
pub(crate) fn ask(question: &str) -> anyhow::Result<bool> {
    loop {
        eprint!("{question} [Y/n] ");
        std::io::stderr().flush().ok();
        let mut answer = String::new();
        if std::io::stdin().read_line(&mut answer).context("cannot read the answer")? == 0 {
            return Ok(false);
        }
        match answer.trim().to_ascii_lowercase().as_str() {
            "" | "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2m05s");
    }

    #[test]
    fn a_bounded_command_is_ended_and_named() {
        let error =
            step("sleeping", bounded(Duration::from_secs(1), "sleep").arg("20")).unwrap_err();
        assert!(error.to_string().contains("gave up after"), "{error}");
    }

    #[test]
    fn a_failing_step_names_its_command() {
        let error = step("failing", Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert!(error.to_string().contains("sh -c \"exit 3\""), "{error}");
    }

    #[test]
    fn administrators_tools_are_searched_last() {
        let path = search_path();
        assert!(path.contains(&PathBuf::from("/usr/sbin")));
        assert!(which("sh").is_some());
        assert_eq!(which("no-such-program-anywhere"), None);
    }
}
