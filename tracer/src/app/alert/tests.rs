//! With real processes. As root the program runs as nobody, else as whoever runs the tests.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::*;
use crate::core::record::{Severity, Verdict};
use crate::report::samples;

/// A directory that anybody may write to, and no longer than the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("tracer-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        Self(dir)
    }

    /// A shell script; `$D` in it is the directory.
    fn script(&self, lines: &str) -> PathBuf {
        self.program("script", &format!("#!/bin/sh\nD={}\n{lines}\n", self.0.display()))
    }

    /// A file of that text that may be executed.
    fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        // Written by another process: a file that is open for writing, by a process forked meanwhile
        // too, can't be executed.
        let made = Command::new("/bin/sh")
            .args(["-c", "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", text])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        path
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const BOUNDS: Bounds =
    Bounds { time: Duration::from_secs(20), waiting: WAITING, patience: Duration::from_secs(20) };

/// Hands lines over and waits for the end.
fn run(program: &Path, bounds: Bounds, lines: &[&[u8]]) -> Outcome {
    let mut runner = AlertRunner::start(program, bounds).unwrap();
    for line in lines {
        runner.hand_over(line);
    }
    end(runner, bounds.patience)
}

/// No more alerts, and what has become of them.
fn end(mut runner: AlertRunner, patience: Duration) -> Outcome {
    runner.close(patience);
    runner.finish()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn every_line_reaches_the_program_whole_and_in_order() {
    let scratch = Scratch::new("whole");
    let program = scratch.script("cat >> $D/seen; echo . >> $D/seen");
    // Larger than a pipe.
    let long = [b'x'; 100 << 10];
    let outcome = run(&program, BOUNDS, &[b"{\"one\":1}\n", &long, b"{\"two\":2}\n"]);
    assert_eq!((outcome.succeeded, outcome.failed, outcome.dropped), (3, 0, 0), "{outcome:?}");
    let long = String::from_utf8(long.to_vec()).unwrap();
    assert_eq!(scratch.read("seen"), format!("{{\"one\":1}}\n.\n{long}.\n{{\"two\":2}}\n.\n"));
}

#[test]
fn the_program_has_no_privileges_and_inherits_nothing() {
    let scratch = Scratch::new("bare");
    let program = scratch.script(
        "id -u > $D/uid; id -g > $D/gid; id -G > $D/groups\n\
         grep -E '^(Cap|NoNewPrivs)' /proc/self/status > $D/status\n\
         env | sort > $D/env; pwd > $D/pwd\n\
         (ls /proc/$$/fd) > $D/fds; (readlink /proc/$$/fd/0) > $D/stdin\n\
         read pid name state ppid pgid session rest < /proc/$$/stat\n\
         echo $pid $pgid $session > $D/session\n\
         cat > /dev/null",
    );
    // Something that must not be inherited, although it is not closed on exec.
    // SAFETY: takes a plain number.
    let leak = unsafe { libc::dup(2) };
    let outcome = run(&program, BOUNDS, &[b"{}\n"]);
    // SAFETY: this test's own descriptor.
    unsafe { libc::close(leak) };
    assert_eq!((outcome.succeeded, outcome.failed), (1, 0), "{outcome:?}");
    if is_root() {
        for name in ["uid", "gid", "groups"] {
            assert_eq!(scratch.read(name), "65534\n", "{name}");
        }
    }
    let status = scratch.read("status");
    let may_drop = caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SETPCAP);
    for (set, empty) in [
        ("CapInh", true),
        ("CapPrm", true),
        ("CapEff", true),
        ("CapBnd", may_drop.unwrap()),
        ("CapAmb", true),
    ] {
        let line = status.lines().find(|line| line.starts_with(set)).unwrap();
        assert_eq!(line.ends_with("\t0000000000000000"), empty, "{line}");
    }
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let env = scratch.read("env");
    let mut names: Vec<_> = env.lines().filter_map(|line| line.split('=').next()).collect();
    // These two are the shell's own.
    names.retain(|name| !matches!(*name, "PWD" | "_" | "OLDPWD" | "SHLVL"));
    assert_eq!(names, ["LANG", "PATH"]);
    assert_eq!(scratch.read("pwd"), "/\n");
    // 10 (dash) or 255 (bash) is the shell's own: the script.
    let fds = scratch.read("fds");
    assert!(matches!(&*fds, "0\n1\n10\n2\n" | "0\n1\n2\n255\n"), "{fds}");
    assert!(scratch.read("stdin").starts_with("pipe:"));
    let session = scratch.read("session");
    let ids: Vec<_> = session.split_whitespace().collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "{session}");
}

#[test]
fn the_programs_stdout_is_not_the_data() {
    let scratch = Scratch::new("stdout");
    let program = scratch.script("(readlink /proc/$$/fd/1) > $D/one; cat > /dev/null");
    run(&program, BOUNDS, &[b"{}\n"]);
    let stderr = fs::read_link("/proc/self/fd/2").unwrap();
    assert_eq!(scratch.read("one").trim_end(), stderr.to_str().unwrap());
}

#[test]
fn a_program_that_hangs_is_killed_with_all_it_started() {
    let scratch = Scratch::new("hang");
    let program = scratch.script("sleep 1000 & echo $! > $D/child\nwait");
    let bounds = Bounds { time: Duration::from_millis(500), ..BOUNDS };
    let outcome = run(&program, bounds, &[b"{}\n"]);
    assert_eq!((outcome.succeeded, outcome.failed), (0, 1), "{outcome:?}");
    assert_eq!(outcome.last_failure, "did not end within 0.5 s and was killed");
    let child = scratch.read("child");
    let stat = format!("/proc/{}/stat", child.trim());
    // Gone, or a zombie until init has looked after it.
    let until = Instant::now() + Duration::from_secs(5);
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < until, "the sleep is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_program_that_does_not_read_holds_up_nobody() {
    let scratch = Scratch::new("deaf");
    let long = [b'x'; 100 << 10];
    // It ends without having read, and the pipe is full.
    let outcome = run(&scratch.script("sleep 0.1"), BOUNDS, &[&long, b"{}\n"]);
    assert_eq!((outcome.succeeded, outcome.failed), (2, 0), "{outcome:?}");
    let began = Instant::now();
    let bounds = Bounds { time: Duration::from_millis(300), ..BOUNDS };
    let outcome = run(&scratch.script("sleep 1000"), bounds, &[&long]);
    assert_eq!(outcome.failed, 1, "{outcome:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn how_it_failed_is_told() {
    let scratch = Scratch::new("fails");
    let failure = |lines: &str| {
        let outcome = run(&scratch.script(lines), BOUNDS, &[b"{}\n"]);
        assert_eq!((outcome.succeeded, outcome.failed), (0, 1), "{lines}: {outcome:?}");
        outcome.last_failure
    };
    assert_eq!(failure("cat > /dev/null; exit 3"), "ended with status 3");
    assert_eq!(failure("kill -9 $$"), "was killed by SIGKILL");
    // Executable at the start, and no more.
    let program = scratch.script("exit 0");
    let mut runner = AlertRunner::start(&program, BOUNDS).unwrap();
    fs::remove_file(&program).unwrap();
    runner.hand_over(b"{}\n");
    let outcome = end(runner, BOUNDS.patience);
    assert!(outcome.last_failure.starts_with("could not be started: No such"), "{outcome:?}");
}

/// As the documentation says; the C library sees to it.
#[test]
fn a_script_that_does_not_say_what_runs_it_is_run_by_sh() {
    let scratch = Scratch::new("plain");
    let program = scratch.program("plain", &format!("cat > {}/told\n", scratch.0.display()));
    let _ = run(&program, BOUNDS, &[b"{}\n"]);
    assert_eq!(scratch.read("told"), "{}\n");
}

#[test]
fn what_can_not_be_run_is_refused_at_the_start_with_a_remedy() {
    let scratch = Scratch::new("refused");
    let refusal = |path: &Path| format!("{:#}", AlertRunner::start(path, BOUNDS).unwrap_err());
    let missing = refusal(&scratch.0.join("missing"));
    assert!(missing.contains("/missing: there is no such file; give the path"), "{missing}");
    assert!(refusal(&scratch.0).ends_with(": it is no file"));
    let program = scratch.script("exit 0");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refusal(&program).contains("chmod o+rx"));
    if is_root() {
        // Root could run these; nobody can't.
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(refusal(&program).contains("executed by nobody (uid 65534)"));
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(refusal(&program).contains("directories above it accessible"));
    }
}

#[test]
fn the_end_of_the_run_waits_briefly_and_no_longer() {
    let scratch = Scratch::new("patience");
    let program = scratch.script("echo $$ > $D/pid; exec sleep 1000");
    let bounds = Bounds { patience: Duration::from_millis(700), ..BOUNDS };
    let began = Instant::now();
    let outcome = run(&program, bounds, &[b"{}\n", b"{}\n", b"{}\n"]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(began.elapsed() >= bounds.patience);
    assert_eq!(outcome.failed, 2, "{outcome:?}");
    assert_eq!(outcome.last_failure, "was not run for 2 more alerts: tracer ended");
    assert!(!Path::new(&format!("/proc/{}", scratch.read("pid").trim())).exists());
}

#[test]
fn the_program_s_time_runs_while_others_are_waited_for() {
    let scratch = Scratch::new("meanwhile");
    let program = scratch.script("exec sleep 1000");
    let bounds = Bounds { patience: Duration::from_millis(700), ..BOUNDS };
    let mut runner = AlertRunner::start(&program, bounds).unwrap();
    runner.hand_over(b"{}\n");
    runner.close(bounds.patience);
    std::thread::sleep(Duration::from_secs(3));
    let began = Instant::now();
    let outcome = runner.finish();
    // What was said in time is heard.
    assert_eq!(outcome.failed, 1, "{outcome:?}");
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

#[test]
fn more_than_may_wait_is_dropped_and_counted() {
    let scratch = Scratch::new("many");
    let program = scratch.script("cat >> $D/seen\nuntil [ -e $D/go ]; do sleep 0.01; done");
    let bounds = Bounds { waiting: 4, ..BOUNDS };
    let mut runner = AlertRunner::start(&program, bounds).unwrap();
    runner.hand_over(b"0\n");
    let until = Instant::now() + Duration::from_secs(10);
    while !scratch.0.join("seen").exists() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
    for line in [b"1\n", b"2\n", b"3\n", b"4\n", b"5\n", b"6\n", b"7\n"] {
        runner.hand_over(line);
    }
    while runner.outcome.dropped < 3 {
        assert!(Instant::now() < until, "{:?}", runner.outcome);
        runner.poll();
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::write(scratch.0.join("go"), "").unwrap();
    let outcome = end(runner, BOUNDS.patience);
    assert_eq!((outcome.succeeded, outcome.failed, outcome.dropped), (5, 0, 3), "{outcome:?}");
    assert_eq!(scratch.read("seen"), "0\n1\n2\n3\n4\n");
}

#[test]
fn a_helper_that_was_killed_is_noticed_and_survived() {
    let scratch = Scratch::new("killed");
    let mut runner = AlertRunner::start(&scratch.script("exit 0"), BOUNDS).unwrap();
    nix::sys::signal::kill(runner.helper, nix::sys::signal::Signal::SIGKILL).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while runner.socket.is_some() {
        assert!(Instant::now() < until);
        runner.poll();
        std::thread::sleep(Duration::from_millis(5));
    }
    runner.hand_over(b"{}\n");
    assert_eq!(end(runner, BOUNDS.patience), Outcome::default());
}

#[test]
fn the_program_is_run_for_what_is_new() {
    let alert = |event, verdict, severity| Alert { event, verdict, severity, ..samples::flood() };
    use AlertEvent::{End, Start, Update};
    let (suspected, confirmed) = (Some(Severity::Suspected), Some(Severity::Confirmed));
    let mut changes = Changes::default();
    for (event, verdict, severity, news) in [
        (Start, Verdict::Spoofed, suspected, true),
        (Update, Verdict::Spoofed, suspected, false),
        (Update, Verdict::Spoofed, confirmed, true),
        (Update, Verdict::Spoofed, confirmed, false),
        (Update, Verdict::Distributed, confirmed, true),
        (End, Verdict::Distributed, confirmed, true),
        (Start, Verdict::Spoofed, suspected, true),
    ] {
        assert_eq!(changes.is_news(&alert(event, verdict, severity)), news, "{event:?}");
    }
    // Two notices without a listener, begun at the same moment.
    let notice = |event, verdict| Alert { event, verdict, ..samples::notice() };
    let mut changes = Changes::default();
    for verdict in [Verdict::PortScan, Verdict::Backscatter] {
        assert!(changes.is_news(&notice(Start, verdict)));
    }
    for verdict in [Verdict::PortScan, Verdict::Backscatter] {
        assert!(!changes.is_news(&notice(Update, verdict)));
    }
    // However many there are, the memory is bounded.
    for n in 0..1000 {
        changes.is_news(&Alert { since: samples::at(n), ..samples::flood() });
    }
    assert_eq!(changes.len(), 256);
}

#[test]
fn an_alert_is_handed_over_as_its_json_line() {
    let scratch = Scratch::new("json");
    let program = scratch.script("cat >> $D/seen");
    let mut runner = AlertRunner::start(&program, BOUNDS).unwrap();
    let flood = samples::flood();
    runner.alert(&flood, &samples::clock());
    runner.alert(&Alert { event: AlertEvent::Update, ..flood.clone() }, &samples::clock());
    runner.alert(&Alert { event: AlertEvent::End, ..flood.clone() }, &samples::clock());
    let outcome = end(runner, BOUNDS.patience);
    assert_eq!((outcome.succeeded, outcome.failed), (2, 0), "{outcome:?}");
    let mut expected = Vec::new();
    let mut json = Json::new(samples::clock());
    for event in [AlertEvent::Start, AlertEvent::End] {
        let alert = Alert { event, ..flood.clone() };
        json.record(&Record::Alert(Box::new(alert)), &mut expected);
    }
    assert_eq!(scratch.read("seen").as_bytes(), &expected[..]);
}
