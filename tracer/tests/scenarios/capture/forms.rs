//! The same connections in every form that a capture comes in.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{both_ends, read, recorded};
use crate::close::pair;
use crate::support::capture::Kept;
use crate::support::sock::Talk as _;
use crate::support::tracer::command;
use crate::support::{Lab, Run, Tracer, pause, scenario};

/// A connection that host a opens and closes.
fn one(lab: &Lab) {
    let (client, mut server) = pair(lab);
    drop(client);
    server.hear_end();
    pause(300);
}

/// All records but the first, as they were written: what does not depend on the file's name.
fn told(run: &Run) -> Vec<&str> {
    run.fine().lines.lines().skip(1).collect()
}

#[test]
fn packed_or_through_a_pipe_it_tells_the_same() {
    scenario(|lab| {
        let (_, file) = recorded(lab, ("vb", &[]), &[], 2, || one(lab));
        let local = both_ends(lab);
        let args = ["--local", &local, "--segments", "--states"];
        let plain = read(lab, &file, &args);
        assert_eq!(plain.connections().len(), 2, "{}", plain.dump());

        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&file.bytes()).expect("gzip");
        let gz = Kept::with(&gz.finish().expect("gzip"));
        assert_eq!(told(&read(lab, &gz, &args)), told(&plain));

        let zst = Kept::with(&zstd::encode_all(&*file.bytes(), 3).expect("zstd"));
        assert_eq!(told(&read(lab, &zst, &args)), told(&plain));

        for from in [&file, &zst] {
            let mut command = command(&lab.b, &["--format", "json", "--read", "-"]);
            let open = std::fs::File::open(&from.0).expect("open");
            let run = Tracer::spawn(command.args(args).stdin(open)).finish();
            assert_eq!(told(&run), told(&plain));
        }

        let ng = Kept::with(b"");
        let status = Command::new("editcap")
            .args(["-F", "pcapng", file.name(), ng.name()])
            .status()
            .expect("editcap (package wireshark-common, which tshark needs)");
        assert!(status.success());
        assert_eq!(told(&read(lab, &ng, &args)), told(&plain));
    });
}

#[test]
fn on_any_the_direction_tells_whose_view_it_is() {
    scenario(|lab| {
        for (options, link) in [
            (&["-y", "LINUX_SLL"][..], "Linux cooked v1"),
            (&["-y", "LINUX_SLL2"], "Linux cooked v2"),
        ] {
            let (live, file) = recorded(lab, ("any", options), &[], 2, || one(lab));
            let run = read(lab, &file, &[]);
            assert_eq!(run.fine().start()["capture"]["link_types"][0], link);
            // Captured on host b: told from there, and without --local.
            let told = run.one("connection");
            assert_eq!(told["role"], "server", "{told}");
            assert_eq!(told["local_addr"], lab.b4().to_string());
            assert_eq!(told["bytes_received"], live.server()["bytes_received"]);
        }
    });
}

#[test]
fn a_running_tcpdump_is_followed() {
    scenario(|lab| {
        let mut tcpdump = lab
            .b
            .command("tcpdump")
            .args(["-i", "vb", "--immediate-mode", "-U", "-Z", "root", "-w", "-", "tcp"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("tcpdump (package tcpdump) is needed");
        let stdout = tcpdump.stdout.take().expect("stdout");
        let mut command = command(&lab.b, &["--format", "json", "--read", "-", "--states"]);
        let tracer = Tracer::spawn(command.stdin(stdout));
        // It listens a while after it has been started.
        for _ in 0..50 {
            drop(pair(lab));
            pause(100);
            if !tracer.records().is_empty() {
                break;
            }
        }
        // While it goes on: nothing waits for a buffer to be full.
        tracer.wait_for(1, Duration::from_secs(5), |record| record["type"] == "connection");
        assert!(tcpdump.try_wait().expect("wait").is_none());
        tcpdump.kill().expect("kill");
        tcpdump.wait().expect("wait");
        let run = tracer.finish();
        let _ = run.fine();
        assert!(!run.connections().is_empty());
    });
}
