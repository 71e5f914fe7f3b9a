//! `--check` and `--version`: what they say is what tracing then does, and nothing stays behind.

use std::process::Output;

use crate::support::tracer::{as_nobody, binary, command};
use crate::support::{Lab, Tracer, Value, scenario};

/// What it found, and how it ended.
struct Answer {
    check: Value,
    status: Option<i32>,
    stderr: String,
}

impl Answer {
    #[track_caller]
    fn of(output: &Output) -> Self {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(stdout.lines().count(), 1, "{stdout}{stderr}");
        let check: Value = serde_json::from_str(&stdout).expect("JSON");
        assert_eq!(check["type"], "check");
        Self { check, status: output.status.code(), stderr }
    }

    /// Verdict and detail of a finding.
    #[track_caller]
    fn finding(&self, name: &str) -> (&str, &str) {
        let findings = self.check["findings"].as_array().expect("findings");
        let found = findings.iter().find(|finding| finding["name"] == name);
        let found = found.unwrap_or_else(|| panic!("no {name} in {}", self.check));
        (found["verdict"].as_str().expect("text"), found["detail"].as_str().expect("text"))
    }

    #[track_caller]
    fn fails(&self, name: &str) {
        assert_eq!(self.finding(name).0, "fails", "{}", self.check);
        assert_eq!(self.check["works"], false);
        assert_eq!(self.status, Some(1));
        assert!(self.stderr.contains(name) && !self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

fn check(lab: &Lab, args: &[&str]) -> Answer {
    let all = [&["--check", "--format", "json"][..], args].concat();
    Answer::of(&command(&lab.b, &all).output().expect("start the tracer"))
}

#[test]
fn core_check_says_what_a_start_does() {
    scenario(|lab| {
        let answer = check(lab, &["--netns", "self"]);
        assert_eq!(answer.status, Some(0), "{}\n{}", answer.check, answer.stderr);
        assert_eq!(answer.check["works"], true);
        for name in ["CAP_BPF", "CAP_NET_ADMIN", "version", "type information (BTF)", "ring buffer"]
        {
            assert_eq!(answer.finding(name).0, "ok", "{name}: {}", answer.check);
        }
        // Gone with the process.
        assert!(!lab.b.sh("ip -d link show vb").contains("xdp"));
        let run = Tracer::start_in(&lab.b, &["--netns", "self"]).stop();
        let start = run.fine().start();
        let hooks = start["hooks"].as_array().expect("hooks");
        assert!(hooks.len() >= 6, "{start}");
        for hook in hooks {
            let name = hook["interface"].as_str().or(hook["name"].as_str()).expect("a name");
            let (verdict, detail) = answer.finding(name);
            let expected = if hook["attached"] == true { "ok" } else { "missing" };
            assert_eq!(verdict, expected, "{hook} and {}", answer.check);
            let mode = hook["mode"].as_str().expect("a mode");
            assert!(detail.starts_with(&format!("{mode}: ")), "{hook}: {detail}");
        }
        assert_eq!(answer.check["cannot"], start["cannot"]);
    });
}

#[test]
fn native_xdp_is_loaded_and_not_attached() {
    scenario(|lab| {
        let answer = check(lab, &["--syn-hook", "xdp", "--iface", "vb"]);
        let (verdict, detail) = answer.finding("vb");
        assert_eq!(verdict, "ok", "{}", answer.check);
        assert!(detail.starts_with("xdp-native: ") && detail.contains("not attached"), "{detail}");
    });
}

#[test]
fn what_is_in_the_way_is_named() {
    scenario(|lab| {
        let holder = Tracer::start_in(&lab.b, &["--syn-hook", "xdp", "--iface", "vb"]);
        let answer = check(lab, &["--syn-hook", "xdp", "--iface", "vb"]);
        answer.fails("vb");
        assert!(answer.finding("vb").1.contains("another XDP program"), "{}", answer.check);
        let _ = holder.stop().fine();
        check(lab, &["--iface", "nosuch0"]).fails("nosuch0");
        let hide = "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" --check --format json";
        let mut hidden = lab.b.command("unshare");
        hidden.args(["--mount", "sh", "-c", hide]).arg(binary());
        Answer::of(&hidden.output().expect("unshare")).fails("type information (BTF)");
    });
}

#[test]
fn without_root_it_says_what_is_missing() {
    scenario(|lab| {
        let answer = Answer::of(&as_nobody(lab, &["--check", "--format", "json"]));
        for name in ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"] {
            answer.fails(name);
        }
        assert_eq!(answer.finding("CAP_SYS_PTRACE").0, "missing");
        assert_eq!(answer.finding("type information (BTF)").0, "ok");
        for name in ["inet_sock_set_state", "vb"] {
            assert_eq!(answer.finding(name).0, "unknown", "{}", answer.check);
        }
        let version = as_nobody(lab, &["--version"]);
        assert!(version.status.success());
        let text = String::from_utf8_lossy(&version.stdout);
        assert!(text.contains("accept tracepoints  unknown without root"), "{text}");
    });
}

#[test]
fn the_text_is_for_people() {
    scenario(|lab| {
        let output = command(&lab.b, &["--check", "--iface", "lo"]).output().expect("run it");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success(), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for part in ["\nPrivileges\n", "\nKernel\n", "\n  ok      lo ", "\nTracing works here"] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        let file = std::env::temp_dir().join(format!("tracer-check-{}.json", std::process::id()));
        let path = file.to_string_lossy();
        let args = ["--check", "--iface", "lo", "--format", "json", "--output", &path];
        let output = command(&lab.b, &args).output().expect("run it");
        let written = std::fs::read_to_string(&file).expect("read the file");
        std::fs::remove_file(&file).expect("tidy up");
        assert!(output.status.success() && output.stdout.is_empty());
        assert!(written.starts_with("{\"type\":\"check\",\"time\":"), "{written}");
    });
}

#[test]
fn the_version_names_commit_and_kernel() {
    scenario(|lab| {
        let said = |arg: &str| {
            let output = command(&lab.b, &[arg]).output().expect("run it");
            assert!(output.status.success());
            String::from_utf8(output.stdout).expect("UTF-8")
        };
        let (short, long) = (said("-V"), said("--version"));
        assert!(short.starts_with(concat!("tracer ", env!("CARGO_PKG_VERSION"), " (commit ")));
        assert_eq!(short.lines().count(), 1);
        assert!(long.starts_with(&short), "{long}");
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
        for line in [
            format!("  kernel              {}", release.trim_end()),
            "  BTF                 yes".to_owned(),
            "  ring buffer         yes".to_owned(),
        ] {
            assert!(long.lines().any(|other| other == line), "{line:?} is not in\n{long}");
        }
        // Of the commit it may be said.
        assert!(long.lines().skip(1).all(|line| !line.contains("unknown")), "{long}");
    });
}
