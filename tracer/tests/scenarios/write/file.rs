//! The file of `--write`: its size, what becomes of it, and what keeps it from being one.

use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::kept::read;
use super::{older, packet_sockets, talk, target};
use crate::support::flood::{Flood, Sources, swallow_answers};
use crate::support::raw::{ACK, RST, SYN};
use crate::support::sock::Talk as _;
use crate::support::tracer::{binary, command};
use crate::support::{Tracer, pause, scenario, wait_until};

#[test]
fn the_size_is_kept_to_and_the_oldest_goes() {
    scenario(|lab| {
        const SIZE: u64 = 64 << 10;
        let (folder, path, text) = target();
        let args = ["--port", "8080", "--host", "10.0.0.0/8", "--write", &text];
        swallow_answers(lab);
        let _listener = lab.b.listen(lab.b4_port(8080));
        let all = [&args[..], &["--write-size", "64K"]].concat();
        let tracer = Tracer::start_in(&lab.b, &[&["--netns", "self"], &all[..]].concat());
        let flood = Flood::new(lab.b4_port(8080), 4_000, 2_000)
            .from(Sources::RandomIn([10, 200, 0, 0].into(), 16));
        let mut most = 0;
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| flood.run(lab));
            while !flood.is_finished() {
                let sizes: u64 = fs::read_dir(folder.path())
                    .expect("the directory")
                    .filter_map(|entry| entry.ok()?.metadata().ok())
                    .map(|file| file.len())
                    .sum();
                most = sizes.max(most);
                pause(5);
            }
        });
        let before_last = std::time::SystemTime::now();
        // The newest must be there.
        lab.a.connect(lab.b4_port(8080)).close_with_reset();
        pause(1_300);
        tracer.stop().fine();
        let sizes = [&path, &older(&path)].map(|path| fs::metadata(path).expect("a file").len());
        assert!(
            most <= SIZE && sizes.iter().sum::<u64>() <= SIZE,
            "{most} bytes, {sizes:?} at last"
        );
        assert!(sizes[1] > SIZE / 2 - 400, "{sizes:?}");
        let (newer, older) = (read(&path), read(&older(&path)));
        assert!(newer.len() + older.len() < 1000 && !older.is_empty());
        let both = [older, newer].concat();
        assert!(both.is_sorted_by_key(|kept| kept.at));
        let since = before_last.duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
        let last: Vec<u8> = both
            .iter()
            .filter(|kept| {
                u128::from(kept.at) > since.as_nanos() && kept.headers.from.ip() == lab.a4()
            })
            .map(|kept| kept.headers.flags)
            .collect();
        assert_eq!(last, [SYN, ACK, RST | ACK], "{both:?}");
    });
}

#[test]
fn what_was_kept_is_there_after_a_kill() {
    scenario(|lab| {
        let (_folder, path, text) = target();
        let tracer = Tracer::start(lab, &["--port", "8080", "--write", &text]);
        talk(lab, lab.b4_port(8080));
        wait_until("it is in the file", Duration::from_secs(5), || {
            fs::metadata(&path).is_ok_and(|file| file.len() > 6 * 100)
        });
        tracer.signal(Signal::SIGKILL);
        let _ = tracer.finish();
        let first = read(&path);
        assert!(first.len() >= 6, "{first:?}");
        // The next one goes on with it.
        let tracer = Tracer::start(lab, &["--port", "8080", "--write", &text]);
        talk(lab, lab.b4_port(8080));
        pause(100);
        tracer.stop().fine();
        let both = read(&path);
        assert!(both.len() >= first.len() + 6, "{both:?}");
        let out = Command::new("tcpdump").arg("-nr").arg(&path).output().expect("tcpdump");
        assert_eq!(String::from_utf8_lossy(&out.stdout).lines().count(), both.len(), "{out:?}");
    });
}

#[test]
fn a_file_that_was_moved_away_is_begun_anew_on_sighup() {
    scenario(|lab| {
        let (folder, path, text) = target();
        let moved = folder.path().join("moved.pcapng");
        let tracer = Tracer::start(lab, &["--port", "8080", "--write", &text]);
        talk(lab, lab.b4_port(8080));
        wait_until("it is in the file", Duration::from_secs(5), || {
            fs::metadata(&path).is_ok_and(|file| file.len() > 6 * 100)
        });
        // Without effect while it is in its place.
        tracer.signal(Signal::SIGHUP);
        pause(200);
        fs::rename(&path, &moved).expect("rename");
        tracer.signal(Signal::SIGHUP);
        wait_until("a new file", Duration::from_secs(3), || path.exists());
        talk(lab, lab.b4_port(8080));
        pause(100);
        tracer.stop().fine();
        assert!((6..=7).contains(&read(&moved).len()));
        assert!((6..=7).contains(&read(&path).len()));
        assert!(!older(&path).exists());
    });
}

#[test]
fn a_full_disk_is_told_and_ends_nothing() {
    scenario(|lab| {
        let folder = TempDir::new().expect("a directory");
        let disk = folder.path().join("disk");
        fs::create_dir(&disk).expect("mkdir");
        let text = disk.join("kept.pcapng").to_str().expect("UTF-8").to_owned();
        let mut sh = Command::new("mount");
        sh.args(["-t", "tmpfs", "-o", "size=8k", "none"]).arg(&disk);
        assert!(sh.status().expect("mount").success());
        let tracer = Tracer::start(lab, &["--port", "8080", "--write", &text]);
        for _ in 0..30 {
            talk(lab, lab.b4_port(8080));
        }
        tracer.wait_connections(60);
        pause(1_500);
        let run = tracer.stop();
        let kept = read(&disk.join("kept.pcapng"));
        let status = Command::new("umount").arg(&disk).status().expect("umount");
        assert!(status.success());
        assert_eq!(run.status.code(), Some(1), "{}", run.dump());
        assert!(run.stderr.contains("No space left on device"), "{}", run.stderr);
        assert!(run.all("connection").len() == 60 && run.all("end").len() == 1);
        assert!(kept.len() > 10, "{kept:?}");
    });
}

#[test]
fn no_packet_socket_is_open_without_it() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--port", "8080"]);
        assert!(packet_sockets(&lab.b).is_empty());
        tracer.stop().fine();
        let (_folder, path, text) = target();
        let tracer = Tracer::start(lab, &["--port", "8080", "--write", &text]);
        assert_eq!(packet_sockets(&lab.b).len(), 1);
        // Nor does the thread keep what it has no need for.
        let tasks = fs::read_dir(format!("/proc/{}/task", tracer.pid())).expect("its threads");
        let writer = tasks
            .map(|task| task.expect("a thread").path())
            .find(|task| {
                fs::read_to_string(task.join("comm"))
                    .is_ok_and(|comm| comm.trim() == "tracer-write")
            })
            .expect("the thread");
        let status = fs::read_to_string(writer.join("status")).expect("its status");
        assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
        tracer.stop().fine();
        assert!(packet_sockets(&lab.b).is_empty());
        // A file without packets is one all the same.
        assert!(read(&path).is_empty() && fs::metadata(&path).is_ok_and(|file| file.len() > 0));
    });
}

#[test]
fn what_is_missing_or_makes_no_sense_is_said_at_the_start() {
    scenario(|lab| {
        let (folder, path, text) = target();
        let refused = |args: &[&str], why: &str| {
            let out = command(&lab.b, args).output().expect("start the tracer");
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(!out.status.success() && said.contains(why), "{args:?}: {said}");
        };
        refused(&["--write", &text, "--test-alert"], "--test-alert traces nothing");
        refused(&["--write", &text, "--iface", "none"], "use --syn-hook off");
        refused(&["--write", &text, "--read", "x.pcap"], "--write can't be combined with --read");
        refused(&["--write-size", "1M"], "--write <FILE>");
        refused(&["--write", &text, "--write-size", "1K"], "64K to 1024G");
        refused(&["--write", &text, "--netns", "1"], "tracer's own network namespace only");
        refused(&["--write", "/dev/null"], "it is no regular file");
        // Without CAP_NET_RAW.
        let without = |args: &[&str]| {
            let mut all = vec!["--bounding-set", "-net_raw", "--inh-caps", "-net_raw"];
            let binary = binary();
            all.push(binary.to_str().expect("UTF-8"));
            all.extend(args);
            lab.b.command("setpriv").args(all).output().expect("setpriv")
        };
        let out = without(&["--iface", "lo", "--write", &text]);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(said.contains("CAP_NET_RAW to open a packet socket"), "{said}");
        let out = without(&["--iface", "lo", "--check", "--write", &text]);
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(said.contains("CAP_NET_RAW") && !out.status.success(), "{said}");
        let out = without(&["--iface", "lo", "--check"]);
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(!said.contains("CAP_NET_RAW") && out.status.success(), "{said}");
        let out = command(&lab.b, &["--check", "--iface", "lo", "--write", &text]).output();
        let out = out.expect("start the tracer");
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(said.contains("packet filter") && out.status.success(), "{said}");
        assert!(!path.exists() && fs::read_dir(folder.path()).expect("it").next().is_none());
    });
}
