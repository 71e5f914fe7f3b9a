//! What can go wrong at the start: said in a sentence, with the right exit status, and no panic.

use std::os::unix::process::CommandExt as _;
use std::process::Output;

use crate::support::tracer::{as_nobody, binary, command};
use crate::support::{Check, Lab, Netns, Tracer, Value, pause, scenario};

const CAP_NET_ADMIN: libc::c_ulong = 12;
const CAP_SYS_ADMIN: libc::c_ulong = 21;
const CAP_PERFMON: libc::c_ulong = 38;
const CAP_BPF: libc::c_ulong = 39;

/// Runs it to its end and checks exit status, silence on stdout, and that stderr has all the words
/// and no panic.
#[track_caller]
fn fails(out: &Output, status: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(status), "{stderr}");
    assert!(out.stdout.is_empty(), "{}", String::from_utf8_lossy(&out.stdout));
    for word in words {
        assert!(stderr.contains(word), "no {word:?} in: {stderr}");
    }
    for word in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
        assert!(!stderr.contains(word), "{stderr}");
    }
}

/// Its output, ended after two seconds if it has not ended by itself.
fn output(ns: &Netns, args: &[&str]) -> Output {
    command(ns, &[args, &["--duration", "2"]].concat()).output().expect("start the tracer")
}

#[test]
fn bad_usage() {
    scenario(|lab| {
        for (args, word) in [
            (["--port", "http"], "http"),
            (["--port", "70000"], "70000"),
            (["--port", "9-8"], "9-8"),
            (["--host", "10.0.0.0/33"], "10.0.0.0/33"),
            (["--host", "fd00::/129"], "fd00::/129"),
            (["--host", "localhost"], "localhost"),
            (["--netns", "mine"], "mine"),
            (["--outcome", "good"], "good"),
            (["--role", "peer"], "peer"),
            (["--syn-hook", "tc"], "tc"),
            (["--ring-size", "lots"], "lots"),
            (["--stuck-after", "NOWHERE=3"], "NOWHERE"),
            (["--no-such-option", "1"], "--no-such-option"),
        ] {
            fails(&output(&lab.b, &args), 2, &[word]);
        }
    });
}

#[test]
fn unknown_interface() {
    scenario(|lab| {
        fails(&output(&lab.b, &["--iface", "nosuch0"]), 1, &["nosuch0"]);
    });
}

#[test]
fn unwritable_output_file() {
    scenario(|lab| {
        let path = "/proc/no/such/file";
        fails(&output(&lab.b, &["--output", path]), 1, &[path]);
    });
}

#[test]
fn not_root() {
    scenario(|lab| {
        let out = as_nobody(lab, &["--duration", "2"]);
        fails(&out, 1, &["root", "CAP_BPF"]);
    });
}

/// Starts it as root without these capabilities.
fn without(lab: &Lab, capabilities: &'static [libc::c_ulong]) -> Output {
    let mut command = command(&lab.b, &["--duration", "2"]);
    // SAFETY: prctl(2) is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            for capability in capabilities {
                if libc::prctl(libc::PR_CAPBSET_DROP, *capability, 0, 0, 0) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    command.output().expect("start the tracer")
}

#[test]
fn missing_capabilities_are_named() {
    scenario(|lab| {
        fails(&without(lab, &[CAP_BPF, CAP_SYS_ADMIN]), 1, &["CAP_BPF"]);
        fails(&without(lab, &[CAP_PERFMON, CAP_SYS_ADMIN]), 1, &["CAP_PERFMON"]);
        fails(&without(lab, &[CAP_NET_ADMIN, CAP_SYS_ADMIN]), 1, &["CAP_NET_ADMIN"]);
    });
}

#[test]
fn no_btf() {
    scenario(|lab| {
        let hide = "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" --duration 2";
        let out = lab
            .b
            .command("unshare")
            .args(["--mount", "sh", "-c", hide])
            .arg(binary())
            .output()
            .expect("unshare");
        fails(&out, 1, &["BTF"]);
    });
}

/// The SYN hook that the start record names for a device.
fn syn_hook(start: &Value, device: &str) -> Value {
    let hooks = start["hooks"].as_array().into_iter().flatten();
    let mut found = hooks.filter(|h| h["name"] == "syn" && h["interface"] == device);
    found.next().cloned().unwrap_or_default()
}

#[test]
fn xdp_already_taken() {
    scenario(|lab| {
        let first = Tracer::start_in(&lab.b, &["--syn-hook", "xdp", "--iface", "vb"]);
        let shown = lab.b.sh("ip -d link show vb");
        assert!(shown.contains("xdp"), "{shown}");
        // By name and by force: nothing else is left to do, so it fails and says why.
        fails(&output(&lab.b, &["--syn-hook", "xdp", "--iface", "vb"]), 1, &["vb", "XDP"]);
        // Left to itself it takes what is free, and displaces nobody.
        let second = Tracer::start_in(&lab.b, &["--iface", "vb"]);
        let run = second.stop();
        let _ = Check::of(&syn_hook(run.fine().start(), "vb")).eq("attached", true);
        let still = lab.b.sh("ip -d link show vb");
        assert_eq!(shown, still);
        let _ = first.stop().fine();
    });
}

#[test]
fn an_interface_that_refuses_is_reported_and_the_rest_works() {
    scenario(|lab| {
        let first = Tracer::start_in(&lab.b, &["--syn-hook", "xdp", "--iface", "vb"]);
        let second = Tracer::start_in(&lab.b, &["--syn-hook", "xdp"]);
        pause(50);
        let run = second.stop();
        let refused = syn_hook(run.fine().start(), "vb");
        let _ = Check::of(&refused).eq("attached", false);
        assert!(refused["reason"].is_string(), "{refused}");
        let _ = Check::of(&syn_hook(run.start(), "lo")).eq("attached", true);
        let _ = first.stop().fine();
    });
}

#[test]
fn a_foreign_xdp_program_stays_and_tcx_is_taken_beside_it() {
    scenario(|lab| {
        // Any XDP program that lets packets pass will do; it is attached without the tracer.
        let lender = Tracer::start_in(&lab.a, &["--syn-hook", "xdp", "--iface", "va"]);
        let listed = lab.a.sh("bpftool -j net show dev va");
        let listed: Value = serde_json::from_str(&listed).expect("bpftool's JSON");
        let id = listed[0]["xdp"][0]["id"].as_u64().unwrap_or_else(|| panic!("no id in {listed}"));
        lab.b.sh(&format!("bpftool net attach xdpgeneric id {id} dev vb"));
        let shown = lab.b.sh("ip -d link show vb");
        assert!(shown.contains("xdpgeneric"), "{shown}");
        fails(&output(&lab.b, &["--syn-hook", "xdp", "--iface", "vb"]), 1, &["vb", "XDP"]);
        assert_eq!(shown, lab.b.sh("ip -d link show vb"));
        let run = Tracer::start_in(&lab.b, &["--syn-hook", "tcx", "--iface", "vb"]).stop();
        let _ =
            Check::of(&syn_hook(run.fine().start(), "vb")).eq("attached", true).eq("mode", "tcx");
        assert_eq!(shown, lab.b.sh("ip -d link show vb"));
        let _ = lender.stop().fine();
    });
}
