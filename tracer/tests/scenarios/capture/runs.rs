//! How a run of `--read` goes: without privileges, over damage, until it is told to stop.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{both_ends, read, recorded};
use crate::close::pair;
use crate::support::capture::Kept;
use crate::support::sock::Talk as _;
use crate::support::tmux::Tmux;
use crate::support::tracer::{as_nobody, binary, command};
use crate::support::{Check, Lab, Tracer, pause, scenario, wait_until};

/// A capture of so many connections that host a opens and closes, one after the other.
fn some(lab: &Lab, n: usize, gap: u64) -> Kept {
    let (_, file) = recorded(lab, ("vb", &[]), &[], 2 * n, || {
        for _ in 0..n {
            let (client, mut server) = pair(lab);
            drop(client);
            server.hear_end();
            drop(server);
            pause(gap);
        }
    });
    file
}

#[test]
fn nobody_needs_privileges_for_it() {
    scenario(|lab| {
        let file = some(lab, 2, 0);
        std::fs::set_permissions(&file.0, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        let of_root = read(lab, &file, &[]);
        let out = as_nobody(lab, &["--read", file.name(), "--format", "json"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(String::from_utf8_lossy(&out.stdout).trim_end(), of_root.lines);
        std::fs::set_permissions(&file.0, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        let out = as_nobody(lab, &["--read", file.name()]);
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1));
        assert!(stderr.contains(file.name()) && stderr.contains("Permission denied"), "{stderr}");
    });
}

#[test]
fn up_to_the_damage_all_is_told() {
    scenario(|lab| {
        let file = some(lab, 2, 0);
        let whole = read(lab, &file, &[]);
        let bytes = file.bytes();
        let cut = read(lab, &Kept::with(&bytes[..bytes.len() - 9]), &[]);
        assert_eq!(cut.status.code(), Some(1), "{}", cut.stderr);
        assert!(cut.stderr.contains("at byte ") && cut.stderr.contains("cut"), "{}", cut.stderr);
        // The last ACK is missing.
        let _ = Check::of(cut.end()).eq("connections", 1).eq("open", 1);
        assert_eq!(cut.all("open")[0]["state"], "LAST_ACK", "{}", cut.dump());
        assert_eq!(cut.end()["events"], whole.fine().end()["events"].as_u64().expect("n") - 1);
        // A length that can't be.
        let mut wrong = bytes.clone();
        let second = 24 + 16 + u32::from_ne_bytes(wrong[32..36].try_into().expect("4")) as usize;
        wrong[second + 8..second + 12].copy_from_slice(&[0xff; 4]);
        let cut = read(lab, &Kept::with(&wrong), &[]);
        assert_eq!(cut.status.code(), Some(1), "{}", cut.stderr);
        assert!(cut.stderr.contains(&format!("at byte {second}")), "{}", cut.stderr);
        assert!(cut.stderr.contains(&format!("reported up to byte {second}")), "{}", cut.stderr);
        assert_eq!(cut.end()["events"], 1, "{}", cut.dump());
        // Something else than TCP comes before it.
        wrong[24 + 16 + 12..][..2].copy_from_slice(&[0x08, 0x06]);
        let cut = read(lab, &Kept::with(&wrong), &[]);
        assert_eq!(cut.status.code(), Some(1), "{}", cut.stderr);
        let _ = Check::of(cut.end()).eq("events", 0).eq("frames/not_tcp", 1);
        // Nothing does.
        wrong[24 + 8..][..4].copy_from_slice(&[0xff; 4]);
        let cut = read(lab, &Kept::with(&wrong), &[]);
        assert_eq!(cut.status.code(), Some(1), "{}", cut.stderr);
        assert!(cut.records.is_empty() && !cut.stderr.contains("reported"), "{}", cut.dump());
    });
}

#[test]
fn what_is_no_capture_is_said() {
    scenario(|lab| {
        let folder = std::env::temp_dir();
        let folder = folder.to_str().expect("a name");
        for (name, words) in
            [("/no/such/file", &["/no/such/file", "No such file"][..]), (folder, &["directory"])]
        {
            let out = command(&lab.b, &["--read", name]).output().expect("start");
            let stderr = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(1), "{stderr}");
            for word in words {
                assert!(stderr.contains(word), "{word}: {stderr}");
            }
        }
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(b"hello, world").expect("gzip");
        let gz = gz.finish().expect("gzip");
        for (bytes, word) in [
            (&b""[..], "nothing in it"),
            (b"<!DOCTYPE html><html>", "web page"),
            (
                b"ten lines of text\n",
                ": it is no pcap or pcapng capture: at byte 0 it has 74656e20",
            ),
            (b"ten lines of text\n", "; it looks like text"),
            (&gz, "; it looks like text"),
            (b"\x7fELF\x02\x01\x01", "program"),
        ] {
            let run = read(lab, &Kept::with(bytes), &[]);
            assert_eq!(run.status.code(), Some(1), "{}", run.stderr);
            assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
            assert!(run.records.is_empty(), "{}", run.dump());
            assert_eq!(run.stderr.trim_end().lines().count(), 1, "{}", run.stderr);
        }
    });
}

#[test]
fn it_never_writes_over_what_it_reads() {
    scenario(|lab| {
        let file = some(lab, 1, 0);
        let before = file.bytes();
        for option in ["--output", "--report"] {
            let run = read(lab, &file, &[option, file.name()]);
            assert_eq!(run.status.code(), Some(1));
            assert!(run.stderr.contains("name another file"), "{}", run.stderr);
        }
        assert_eq!(file.bytes(), before);
    });
}

#[test]
fn an_interrupt_ends_the_reading_with_a_report() {
    scenario(|lab| {
        let file = some(lab, 2, 0);
        let mut command = command(&lab.b, &["--format", "json", "--read", "-"]);
        let (reader, mut writer) = std::io::pipe().expect("pipe()");
        writer.write_all(&file.bytes()).expect("write");
        // Nothing more comes, and it does not end.
        let tracer = Tracer::spawn(command.stdin(reader));
        tracer.wait_for(2, Duration::from_secs(10), |record| record["type"] == "connection");
        tracer.signal(Signal::SIGINT);
        let run = tracer.finish();
        drop(writer);
        let _ = Check::of(run.fine().end()).eq("connections", 2);
        assert!(!run.all("host").is_empty());
    });
}

#[test]
fn sighup_begins_the_output_anew() {
    scenario(|lab| {
        let bytes = some(lab, 2, 400).bytes();
        let folder = TempDir::new().expect("a directory");
        let (file, moved) = (folder.path().join("out.jsonl"), folder.path().join("old.jsonl"));
        let count = |path: &Path, kind: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.matches(&format!("{{\"type\":\"{kind}\"")).count()
        };
        let mut command = command(&lab.b, &["--format", "json", "--read", "-", "--output"]);
        let (reader, mut writer) = std::io::pipe().expect("pipe()");
        let tracer = Tracer::spawn(command.arg(&file).stdin(reader));
        // Of the second connection, so that the first one is told.
        let (first, rest) = bytes.split_at(bytes.len() - 40);
        writer.write_all(first).expect("write");
        wait_until("it is told", Duration::from_secs(10), || count(&file, "connection") == 1);
        std::fs::rename(&file, &moved).expect("rename");
        tracer.signal(Signal::SIGHUP);
        wait_until("a new file", Duration::from_secs(3), || file.exists());
        writer.write_all(rest).expect("write");
        drop(writer);
        let run = tracer.finish();
        assert!(run.status.success() && run.records.is_empty(), "{}", run.dump());
        assert_eq!(["start", "connection", "end"].map(|kind| count(&moved, kind)), [1, 1, 0]);
        assert_eq!(["start", "connection", "end"].map(|kind| count(&file, kind)), [0, 1, 1]);
    });
}

#[test]
fn filters_count_and_duration_work_on_captures() {
    scenario(|lab| {
        let file = some(lab, 3, 400);
        let local = both_ends(lab);
        let kept = |args: &[&str]| {
            let run = read(lab, &file, &[&["--local", &local], args].concat());
            let _ = run.fine();
            run.connections().len()
        };
        assert_eq!(kept(&[]), 6);
        assert_eq!(kept(&["--local-port", "8080"]), 3);
        assert_eq!(kept(&["--remote-port", "8080"]), 3);
        assert_eq!(kept(&["--port", "8081"]), 0);
        assert_eq!(kept(&["--role", "client"]), 3);
        assert_eq!(kept(&["--ipv6"]), 0);
        assert_eq!(kept(&["--host", &lab.a4().to_string()]), 6);
        assert_eq!(kept(&["--failed"]), 0);
        assert_eq!(kept(&["--exclude-port", "8080"]), 0);
        assert_eq!(kept(&["--count", "1"]), 1);
        // Time of the capture.
        assert_eq!(kept(&["--duration", "0.2"]), 2);
        let run = read(lab, &file, &["--interval", "0.3"]);
        let hosts = run.fine().all("host");
        let of_intervals: Vec<_> =
            hosts.iter().filter(|host| host["interval_us"] == 300_000).collect();
        assert!(of_intervals.len() >= 2, "{}", run.dump());
        // They are placed in the capture's time.
        let time = |record: &Value| record["time"].as_str().expect("a time").to_owned();
        for host in of_intervals {
            assert_eq!(host["scope"], "interval", "{}", run.dump());
            assert!(time(run.one("start")) < time(host), "{}", run.dump());
            assert!(time(host) <= time(run.end()), "{}", run.dump());
        }
    });
}

#[test]
fn at_its_own_speed_it_tells_the_same() {
    scenario(|lab| {
        let file = some(lab, 2, 700);
        let fast = read(lab, &file, &["--states"]);
        let begin = std::time::Instant::now();
        let slow = read(lab, &file, &["--states", "--speed", "1"]);
        let took = begin.elapsed();
        assert_eq!(slow.fine().lines, fast.fine().lines);
        assert!(took >= Duration::from_millis(650), "{took:?}");
    });
}

/// What a pcap file holds so many times, two minutes apart: the ports are used again each time.
fn again_and_again(pcap: &[u8], times: u32) -> Vec<u8> {
    let word = |at: usize| u32::from_ne_bytes(pcap[at..at + 4].try_into().expect("4"));
    let mut all = pcap[..24].to_vec();
    for n in 0..times {
        let mut at = 24;
        while at < pcap.len() {
            let next = at + 16 + word(at + 8) as usize;
            all.extend_from_slice(&(word(at) + n * 120).to_ne_bytes());
            all.extend_from_slice(&pcap[at + 4..next]);
            at = next;
        }
    }
    all
}

#[test]
fn a_slow_reader_loses_nothing() {
    scenario(|lab| {
        let file = some(lab, 1, 0);
        const TIMES: u32 = 12_000;
        let file = Kept::with(&again_and_again(&file.bytes(), TIMES));
        let local = both_ends(lab);
        let args = ["--format", "json", "--segments", "--local", &local, "--read", file.name()];
        let mut child = command(&lab.b, &args).stdout(Stdio::piped()).spawn().expect("start");
        pause(1_500);
        let mut text = String::new();
        child.stdout.take().expect("stdout").read_to_string(&mut text).expect("read");
        assert!(child.wait().expect("wait").success());
        assert!(text.len() > 16 << 20, "{} bytes are not more than fit", text.len());
        let last = text.lines().last().expect("lines");
        let end: Value = serde_json::from_str(last).expect("JSON");
        let _ = Check::of(&end).eq("type", "end").eq("output_dropped", 0);
        let connections = text.lines().filter(|line| line.starts_with("{\"type\":\"connection"));
        assert_eq!(Some(connections.count() as u64), end["connections"].as_u64());
        assert!(end["connections"].as_u64() >= Some(TIMES.into()), "{end}");
    });
}

#[test]
fn the_live_view_shows_a_capture() {
    scenario(|lab| {
        let file = some(lab, 4, 500);
        let tmux = Tmux::start(&lab.b, (80, 24));
        tmux.command(&format!(
            "{} --top --read {} --speed 4; echo status $?",
            binary().display(),
            file.name()
        ));
        tmux.wait("the live view", |screen| screen.contains("CONN/s"));
        let ended = |screen: &str, n: usize| screen.contains(&format!("\nended {n} "));
        tmux.wait("all connections", |screen| ended(screen, 4));
        tmux.wait("a word about the end", |screen| screen.contains("1 message"));
        // It stays until the user has seen enough.
        pause(1_000);
        assert!(ended(&tmux.screen(), 4), "{}", tmux.screen());
        tmux.say("q");
        let screen = tmux.wait("the shell", |screen| screen.contains("status 0"));
        assert!(screen.contains("4 connections ended in"), "{screen}");
    });
}
