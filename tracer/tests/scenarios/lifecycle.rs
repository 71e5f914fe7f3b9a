//! How the tracer itself ends: nothing of it stays attached, whatever ends it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::sock::{Talk as _, accept};
use crate::support::tracer::command;
use crate::support::{Lab, Tracer, Value, pause, scenario, wait_until};

/// BPF objects that a process holds, as (kind, id), by /proc/PID/fdinfo.
fn held_by(pid: u32) -> BTreeSet<(&'static str, u64)> {
    let mut held = BTreeSet::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("fdinfo").flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let kind = match key {
                "link_id" => "link",
                "prog_id" => "prog",
                "map_id" => "map",
                _ => continue,
            };
            if let Ok(id) = value.trim().parse() {
                held.insert((kind, id));
            }
        }
    }
    held
}

/// All BPF objects of this machine.
fn all_objects(lab: &Lab) -> BTreeSet<(&'static str, u64)> {
    let mut all = BTreeSet::new();
    for kind in ["link", "prog", "map"] {
        let line = format!("bpftool -j {kind} show");
        let mut listed = None;
        // It fails where an object of another test goes away while it lists them.
        wait_until("bpftool lists all", Duration::from_secs(10), || {
            let out = lab.b.try_sh(&line);
            listed = out.status.success().then_some(out.stdout);
            listed.is_some()
        });
        let listed: Value =
            serde_json::from_slice(&listed.unwrap_or_default()).expect("bpftool's JSON");
        let ids = listed.as_array().into_iter().flatten().filter_map(|o| o["id"].as_u64());
        all.extend(ids.map(|id| (kind, id)));
    }
    all
}

/// Checks that a running tracer holds something, ends it, and checks that nothing is left.
fn leaves_nothing(lab: &Lab, args: &[&str], end: impl FnOnce(Tracer)) {
    let tracer = Tracer::start(lab, args);
    let held = held_by(tracer.pid());
    for kind in ["link", "prog", "map"] {
        assert!(held.iter().any(|(k, _)| *k == kind), "no {kind} in {held:?}");
    }
    let there: BTreeSet<_> = all_objects(lab).intersection(&held).copied().collect();
    assert_eq!(there, held, "bpftool does not see what the tracer holds");
    end(tracer);
    // The kernel frees some of it after an RCU grace period.
    wait_until("all is gone", Duration::from_secs(10), || all_objects(lab).is_disjoint(&held));
    for device in ["lo", "vb"] {
        let shown = lab.b.sh(&format!("ip -d link show {device}"));
        assert!(!shown.contains("xdp"), "{shown}");
        let net = lab.b.sh(&format!("bpftool net show dev {device}"));
        assert!(!net.contains("id "), "{net}");
    }
}

fn ends_well(tracer: Tracer, signal: Signal) {
    tracer.signal(signal);
    let run = tracer.finish();
    let _ = run.fine();
    assert_eq!(run.all("end").len(), 1);
}

#[test]
fn sigint() {
    scenario(|lab| leaves_nothing(lab, &[], |tracer| ends_well(tracer, Signal::SIGINT)));
}

#[test]
fn sigterm() {
    scenario(|lab| leaves_nothing(lab, &[], |tracer| ends_well(tracer, Signal::SIGTERM)));
}

#[test]
fn sigterm_with_xdp() {
    scenario(|lab| {
        leaves_nothing(lab, &["--syn-hook", "xdp"], |tracer| ends_well(tracer, Signal::SIGTERM));
    });
}

#[test]
fn sigkill() {
    scenario(|lab| {
        leaves_nothing(lab, &[], |tracer| {
            tracer.signal(Signal::SIGKILL);
            let _ = tracer.finish();
        });
    });
}

#[test]
fn sigkill_with_xdp() {
    scenario(|lab| {
        leaves_nothing(lab, &["--syn-hook", "xdp"], |tracer| {
            tracer.signal(Signal::SIGKILL);
            let _ = tracer.finish();
        });
    });
}

#[test]
fn second_interrupt_while_ending_is_no_error() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        tracer.signal(Signal::SIGINT);
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(tracer.pid()).expect("a pid")),
            Signal::SIGTERM,
        );
        assert!(tracer.finish().status.success());
    });
}

#[test]
fn broken_pipe_is_a_normal_end() {
    scenario(|lab| {
        let prefix = lab.prefix4();
        let mut child = command(&lab.b, &["--format", "json", "--host", &prefix])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the tracer");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the start record");
        assert!(line.contains("\"start\""), "{line}");
        let held = held_by(child.id());
        assert!(!held.is_empty());
        drop(stdout);
        let listener = lab.b.listen(lab.b4_port(8080));
        let mut status = None;
        wait_until("it notices", Duration::from_secs(10), || {
            drop(lab.a.connect(lab.b4_port(8080)));
            accept(&listener).hear_end();
            pause(50);
            status = child.try_wait().expect("wait");
            status.is_some()
        });
        let mut errors = String::new();
        let mut stderr = child.stderr.take().expect("stderr");
        std::io::Read::read_to_string(&mut stderr, &mut errors).expect("its stderr");
        assert_eq!(status.and_then(|s| s.code()), Some(0), "{errors}");
        assert!(!errors.contains("panicked"), "{errors}");
        wait_until("all is gone", Duration::from_secs(10), || all_objects(lab).is_disjoint(&held));
    });
}

/// Nanoseconds on a CPU so far, all threads.
fn cpu_ns(pid: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/task"))
        .expect("its threads")
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()))
        .sum()
}

#[test]
fn idle_it_uses_next_to_nothing() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        pause(1_000);
        let before = cpu_ns(tracer.pid());
        pause(6_000);
        let share = (cpu_ns(tracer.pid()) - before) as f64 / 6e9;
        assert!(share < 0.01, "{:.2}% of a core", share * 100.0);
        let _ = tracer.stop().fine();
    });
}
