//! `--on-alert` and `--test-alert`, from the command line. That the program has no privileges and
//! how its failures are told is tested where it is started (`app/alert`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::require_root;

const TRACER: &str = env!("CARGO_BIN_EXE_tracer");

fn tracer(args: &[&str]) -> Output {
    Command::new(TRACER).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_sample_reaches_the_output_and_the_program() {
    let output = tracer(&["--test-alert", "--format", "json", "--on-alert", "/bin/cat"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{err}");
    // Data alone on stdout; what the program prints is on stderr.
    assert_eq!(out.lines().count(), 1, "{out}");
    let record: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&record["type"], &record["event"]), (&"flood".into(), &"start".into()));
    assert_eq!(record["evidence"][0]["metric"], "test_alert");
    // As in a flood's own records.
    assert_eq!(record["evidence"][1]["metric"], "uncompleted_syns_per_second");
    assert!(err.lines().any(|line| line == out.trim_end()), "{err}");
    assert!(err.contains("written to stdout"), "{err}");
    assert!(err.contains(", ended with status 0 after "), "{err}");
}

#[test]
fn a_sample_for_people_and_no_program() {
    let output = tracer(&["--test-alert"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains(" FLOOD start 192.0.2.1:443 spoofed confirmed "));
}

#[test]
fn a_program_that_fails_or_is_missing_is_status_1() {
    for (program, why) in [
        ("/bin/false", "ended with status 1"),
        ("/nonexistent/page", "there is no such file"),
        ("/bin", "it is no file"),
    ] {
        let output = tracer(&["--test-alert", "--on-alert", program]);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{program}: {err}");
        assert!(
            err.lines().any(|l| l.starts_with("tracer: --on-alert") && l.contains(why)),
            "{err}"
        );
    }
}

/// tracer on `lo` of a namespace of its own; killed with the test.
struct Traced(Child);

impl Traced {
    fn start(dir: &Path) -> Self {
        let script = "ip link set lo up && exec \"$0\" -i lo --netns self --log-level info \
                      --on-alert /bin/true";
        let log = fs::File::create(dir.join("stderr")).unwrap();
        let child = Command::new("unshare")
            .args(["--net", "sh", "-c", script, TRACER])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let traced = Self(child);
        let said = || fs::read_to_string(dir.join("stderr")).unwrap_or_default();
        wait("tracing to begin", || said().contains("SYNs: "), said);
        traced
    }

    fn pid(&self) -> i32 {
        self.0.id().try_into().unwrap()
    }

    fn helper(&self) -> i32 {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.trim().parse().unwrap_or_else(|_| panic!("children: {children:?}"))
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait(what: &str, until: impl Fn() -> bool, said: impl Fn() -> String) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !until() {
        assert!(Instant::now() < deadline, "waiting for {what}: {}", said());
        thread::sleep(Duration::from_millis(10));
    }
}

fn gone(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    // A zombie waits for init only.
    stat.map_or(true, |stat| stat.contains(") Z "))
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("tracer-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).unwrap();
    dir
}

#[test]
fn the_helper_holds_nothing_of_tracers_and_does_not_outlive_it() {
    require_root();
    let dir = scratch("alert-helper");
    for signal in [nix::sys::signal::Signal::SIGTERM, nix::sys::signal::Signal::SIGKILL] {
        let mut traced = Traced::start(&dir);
        let helper = traced.helper();
        let mut fds: Vec<_> = fs::read_dir(format!("/proc/{helper}/fd"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        fds.sort();
        assert_eq!(fds, ["0", "1", "2", "3"]);
        let status = fs::read_to_string(format!("/proc/{helper}/status")).unwrap();
        for line in [
            "Uid:\t65534\t65534\t65534\t65534",
            "Gid:\t65534\t65534\t65534\t65534",
            "CapInh:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
        ] {
            assert!(status.lines().any(|found| found == line), "{line} in:\n{status}");
        }
        // tracer itself has kept no right to change users or to kill.
        let own = fs::read_to_string(format!("/proc/{}/status", traced.pid())).unwrap();
        let kept = own.lines().find_map(|line| line.strip_prefix("CapPrm:\t")).unwrap();
        let kept = u64::from_str_radix(kept, 16).unwrap();
        // CAP_KILL, CAP_SETGID, CAP_SETUID (include/uapi/linux/capability.h).
        assert_eq!(kept & (1 << 5 | 1 << 6 | 1 << 7), 0, "{own}");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(traced.pid()), signal).unwrap();
        let status = traced.0.wait().unwrap();
        if signal == nix::sys::signal::Signal::SIGTERM {
            assert_eq!(status.code(), Some(0));
        }
        wait("the helper to end", || gone(helper), String::new);
    }
    fs::remove_dir_all(&dir).unwrap();
}
