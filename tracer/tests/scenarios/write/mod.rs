//! `--write`: control segments are kept, held against what tcpdump saw of the same run.

mod kept;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use self::kept::{Headers, Kept, expected, read, same};
use crate::support::flood::{Flood, Shape, Sources, swallow_answers};
use crate::support::lab::{MAC_A, MAC_B, mac};
use crate::support::raw::{ACK, FIN, RST, SYN, Segment};
use crate::support::sock::{Talk as _, accept};
use crate::support::tracer::{binary, command};
use crate::support::wire::Tun;
use crate::support::{Capture, Child, Lab, Netns, Raw, Tracer, ms, pause, scenario, wait_until};

/// A directory, and a file to be in it.
pub(crate) fn target() -> (TempDir, PathBuf, String) {
    let folder = TempDir::new().expect("a directory");
    let path = folder.path().join("kept.pcapng");
    let text = path.to_str().expect("UTF-8").to_owned();
    (folder, path, text)
}

fn older(path: &Path) -> PathBuf {
    path.with_added_extension("1")
}

/// `comm/pid` of this process, as the comments name it.
fn me() -> String {
    let comm = fs::read_to_string("/proc/self/comm").expect("comm");
    format!("{}/{}", comm.trim(), std::process::id())
}

/// A connection with data both ways, which the client closes.
pub(crate) fn talk(lab: &Lab, to: SocketAddr) {
    let listener = lab.b.listen(to);
    let mut client = lab.a.connect(to);
    let mut server = accept(&listener);
    let data = vec![7; 300_000];
    std::thread::scope(|scope| {
        scope.spawn(|| client.say(&data));
        server.hear(data.len());
    });
    std::thread::scope(|scope| {
        scope.spawn(|| server.say(&data));
        client.hear(data.len());
    });
    drop(client);
    server.hear_end();
    drop(server);
    pause(20);
}

fn on_port(port: u16) -> impl Fn(&Segment) -> bool {
    move |segment| segment.from.port() == port || segment.to.port() == port
}

/// The lines of /proc/net/packet without its head.
fn packet_sockets(ns: &Netns) -> Vec<String> {
    let text = ns.run(|| fs::read_to_string("/proc/thread-self/net/packet")).expect("net/packet");
    text.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn what_tcpdump_saw_is_there_once_and_nothing_else() {
    scenario(|lab| {
        let (_folder, path, text) = target();
        let capture = Capture::start(&lab.b, "vb");
        let tracer = Tracer::start(lab, &["--port", "8080", "--write", &text]);
        talk(lab, lab.b4_port(8080));
        talk(lab, SocketAddr::new(lab.b6(), 8080));
        // Another port.
        talk(lab, lab.b4_port(8081));
        // The server closes first, and the client later.
        let listener = lab.b.listen(lab.b4_port(8080));
        let mut client = lab.a.connect(lab.b4_port(8080));
        let mut server = accept(&listener);
        server.say(b"bye");
        drop(server);
        client.hear(3);
        client.hear_end();
        pause(100);
        drop(client);
        // Reset, by either side.
        for by_client in [true, false] {
            let client = lab.a.connect(lab.b4_port(8080));
            let server = accept(&listener);
            let (first, second) = if by_client { (client, server) } else { (server, client) };
            pause(60);
            first.close_with_reset();
            pause(20);
            drop(second);
        }
        drop(listener);
        // Refused.
        lab.a.try_connect(lab.b4_port(8080), |_| ()).expect_err("nobody listens");
        pause(1500);
        let run = tracer.stop();
        run.fine();
        let seen = capture.stop();
        let expected = expected(&seen, on_port(8080));
        let kept = read(&path);
        same(&kept, &expected);
        assert!(!older(&path).exists());
        assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
        let b = [lab.b4(), lab.b6()];
        for kept in &kept {
            assert_eq!(kept.interface, "vb");
            let out = b.contains(&kept.headers.from.ip());
            assert_eq!(kept.direction, if out { 2 } else { 1 }, "{kept:?}");
            // No payload, whatever there was of it.
            let (bytes, whole) = kept.bytes;
            assert!(bytes + kept.headers.len == whole && bytes <= 94, "{kept:?}");
        }
        // All but the one that nobody accepted belong to this process; that one's client does, too.
        for kept in &kept {
            assert!(kept.comment.contains(&me()), "{kept:?}");
        }
        let fins = kept.iter().filter(|kept| kept.headers.flags & FIN != 0);
        assert!(fins.clone().any(|kept| kept.headers.len > 0 || kept.headers.seq != 0));
        assert!(fins.count() >= 6);
        assert!(kept.iter().any(|kept| kept.headers.flags & RST != 0));
        // tcpdump reads it as well.
        let out = Command::new("tcpdump")
            .args(["-nr"])
            .arg(&path)
            .arg("tcp[tcpflags] & tcp-syn != 0")
            .output()
            .expect("tcpdump");
        let syns = kept.iter().filter(|kept| kept.headers.flags & SYN != 0);
        let v4 = syns.filter(|kept| kept.headers.from.is_ipv4()).count();
        assert_eq!(String::from_utf8_lossy(&out.stdout).lines().count(), v4, "{out:?}");
    });
}

#[test]
fn segments_sent_by_hand_are_answered_or_not() {
    scenario(|lab| {
        let (_folder, path, text) = target();
        let capture = Capture::start(&lab.b, "vb");
        let tracer = Tracer::start(lab, &["--port", "8080", "--write", &text]);
        let raw = Raw::new(lab);
        let listener = lab.b.listen(lab.b4_port(8080));
        // A handshake whose last segment is late: the SYN-ACK is sent again.
        let mut peer = raw.client(lab.b4_port(8080));
        peer.send(SYN, b"");
        peer.expect("SYN-ACK", |s| s.is(SYN | ACK));
        peer.expect("SYN-ACK again", |s| s.is(SYN | ACK));
        peer.send(ACK, b"");
        let server = accept(&listener);
        // Three segments close it: FIN, FIN with ACK, ACK.
        drop(server);
        peer.expect_fin();
        peer.send(FIN | ACK, b"");
        pause(100);
        let run = tracer.stop();
        run.fine();
        let seen = capture.stop();
        let kept = read(&path);
        same(&kept, &expected(&seen, on_port(8080)));
        let flags: Vec<u8> = kept.iter().map(|kept| kept.headers.flags).collect();
        let wanted = [SYN, SYN | ACK, SYN | ACK, ACK, FIN | ACK, FIN | ACK, ACK];
        assert_eq!(flags, wanted, "{kept:?}");
    });
}

#[test]
fn a_challenge_ack_is_an_answer() {
    scenario(|lab| {
        let (_folder, path, text) = target();
        let tracer = Tracer::start(lab, &["--port", "8080", "--write", &text]);
        let raw = Raw::new(lab);
        let listener = lab.b.listen(lab.b4_port(8080));
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        let _server = accept(&listener);
        // A SYN on a connection that is open (RFC 5961, 4.2).
        peer.send_at(1, SYN, b"");
        peer.expect("the challenge", |s| s.is(ACK));
        pause(100);
        tracer.stop().fine();
        let kept = read(&path);
        let flags: Vec<u8> = kept.iter().map(|kept| kept.headers.flags).collect();
        assert_eq!(flags, [SYN, SYN | ACK, ACK, SYN, ACK], "{kept:?}");
    });
}

#[test]
fn on_lo_each_segment_is_kept_once_and_both_ends_are_named() {
    scenario(|lab| {
        let (_folder, path, text) = target();
        let port = 8080;
        let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let capture = Capture::start(&lab.b, "lo");
        let args = ["--port", "8080", "--netns", "self", "--write", &text];
        let tracer = Tracer::start_in(&lab.b, &args);
        let listener = lab.b.listen(at);
        let mut child = Child::start(&lab.b, "a client", |control| {
            let mut client = crate::support::sock::connect_here(at, |_| ()).expect("connect()");
            client.say(b"hello");
            control.wait();
            drop(client);
        });
        let mut server = accept(&listener);
        server.hear(5);
        let client = format!("a client/{}", child.pid());
        child.step();
        server.hear_end();
        child.join();
        drop(server);
        pause(200);
        tracer.stop().fine();
        let seen = capture.stop();
        let kept = read(&path);
        same(&kept, &expected(&seen, on_port(port)));
        for kept in &kept {
            let (from, to) = match kept.headers.to.port() == port {
                true => (client.clone(), me()),
                false => (me(), client.clone()),
            };
            assert_eq!(kept.comment, format!("from {from} to {to}"), "{kept:?}");
            assert_eq!((kept.interface.as_str(), kept.direction), ("lo", 1));
        }
        assert_eq!(kept.len(), 7 - usize::from(three_segments(&kept)), "{kept:?}");
    });
}

/// Whether the second FIN acknowledged the first.
fn three_segments(kept: &[Kept]) -> bool {
    let fins: Vec<&Kept> = kept.iter().filter(|kept| kept.headers.flags & FIN != 0).collect();
    fins.len() == 2 && fins[1].headers.ack == fins[0].headers.seq.wrapping_add(1)
}

#[test]
fn a_packet_on_its_way_through_a_bridge_is_kept_once() {
    scenario(|lab| {
        lab.b.sh("ip link add br0 type bridge");
        lab.b.sh(&format!("ip link set br0 address {}", mac(MAC_B)));
        lab.b.sh("ip addr flush dev vb");
        lab.b.sh("ip link set vb master br0");
        lab.b.sh("ip link set br0 up");
        lab.b.sh(&format!("ip addr add {}/24 dev br0", lab.b4()));
        let to = lab.a4();
        lab.b.sh(&format!("ip neigh replace {to} lladdr {} dev br0 nud permanent", mac(MAC_A)));
        for (ifaces, interface) in [(&[][..], "br0"), (&["--iface", "vb"], "vb")] {
            let (_folder, path, text) = target();
            let capture = Capture::start(&lab.b, "br0");
            let tracer =
                Tracer::start(lab, &[&["--port", "8080", "--write", &text], ifaces].concat());
            talk(lab, lab.b4_port(8080));
            pause(100);
            tracer.stop().fine();
            let seen = capture.stop();
            let kept = read(&path);
            same(&kept, &expected(&seen, on_port(8080)));
            assert!(kept.len() >= 6, "{kept:?}");
            for kept in &kept {
                assert_eq!(kept.interface, interface, "{kept:?}");
                assert!(kept.comment.contains(&me()), "{kept:?}");
            }
        }
    });
}

#[test]
fn tags_options_and_extension_headers() {
    scenario(|lab| {
        const VLAN: u16 = 0x8100;
        const SERVICE_VLAN: u16 = 0x88a8;
        let one = Shape { tags: &[(VLAN, 7)], ..Shape::default() };
        let two = Shape { tags: &[(SERVICE_VLAN, 7), (VLAN, 8)], ..Shape::default() };
        let long = Shape { options: 40, extensions: 2, ..Shape::default() };
        let (_folder, path, text) = target();
        swallow_answers(lab);
        let args = ["--netns", "self", "--iface", "vb", "--port", "8080", "--write", &text];
        let tracer = Tracer::start_in(&lab.b, &args);
        let v6 = SocketAddr::new(lab.b6(), 8080);
        for (n, (to, shape)) in [lab.b4_port(8080), v6]
            .into_iter()
            .flat_map(|to| [one, two, long].map(|shape| (to, shape)))
            .enumerate()
        {
            // IPv4 has the options, IPv6 the extensions.
            let shape = match to.is_ipv4() {
                true => Shape { extensions: 0, ..shape },
                false => Shape { options: 0, ..shape },
            };
            Flood::new(to, 40, 2_000).shape(shape).seed(n as u64 + 1).run(lab);
        }
        pause(200);
        tracer.stop().fine();
        let kept = read(&path);
        for is_v4 in [true, false] {
            for vlans in ["7", "7,8", ""] {
                let syns = kept.iter().filter(|kept| {
                    let Headers { from, flags, .. } = &kept.headers;
                    from.is_ipv4() == is_v4 && *flags == SYN && kept.vlans == vlans
                });
                assert_eq!(syns.count(), 40, "IPv4 {is_v4}, tags {vlans:?}: {kept:?}");
            }
        }
    });
}

#[test]
fn interfaces_without_ethernet_headers() {
    scenario(|lab| {
        let ours = lab.inner4(1);
        let tun = Tun::open(&lab.b, "tun0");
        lab.b.sh(&format!("ip addr add {ours}/24 dev tun0"));
        lab.b.sh("ip link set tun0 up");
        let raw = Raw::on(tun, lab.inner4(2));
        let (_folder, path, text) = target();
        let args = ["--netns", "self", "--port", "8080", "--write", &text];
        let tracer = Tracer::start_in(&lab.b, &args);
        let to = SocketAddr::new(IpAddr::from(ours), 8080);
        let listener = lab.b.listen(to);
        let mut peer = raw.client(to);
        peer.open(ms(0));
        let server = accept(&listener);
        drop(server);
        peer.expect_fin();
        peer.send(FIN | ACK, b"");
        pause(50);
        drop(listener);
        talk(lab, lab.b4_port(8080));
        pause(100);
        tracer.stop().fine();
        let kept = read(&path);
        let of = |interface: &str| -> Vec<u8> {
            let of = kept.iter().filter(|kept| kept.interface == interface);
            of.map(|kept| kept.headers.flags).collect()
        };
        let tun = [SYN, SYN | ACK, ACK, FIN | ACK, FIN | ACK, ACK];
        assert_eq!(of("tun0"), tun, "{kept:?}");
        assert!((6..=7).contains(&of("vb").len()), "{kept:?}");
        // libpcap takes no file whose interfaces differ in their link types.
        let out = Command::new("tcpdump").arg("-nr").arg(&path).output().expect("tcpdump");
        assert!(out.status.success(), "{out:?}");
        assert_eq!(String::from_utf8_lossy(&out.stdout).lines().count(), kept.len());
    });
}

#[test]
fn only_those_of_the_processes_asked_for() {
    scenario(|lab| {
        let (_folder, path, text) = target();
        let args = ["--comm", "wanted", "--write", &text];
        let tracer = Tracer::start(lab, &args);
        let to = lab.a4();
        let listeners = [8080, 8081].map(|port| lab.a.listen(SocketAddr::new(to, port)));
        for (name, listener) in [("wanted", &listeners[0]), ("other", &listeners[1])] {
            let at = listener.local_addr().expect("an address");
            let child = Child::start(&lab.b, name, |_| {
                let mut client = crate::support::sock::connect_here(at, |_| ()).expect("connect()");
                client.hear_end();
            });
            drop(accept(listener));
            child.join();
        }
        tracer.stop_after(1).fine();
        let kept = read(&path);
        let ports: Vec<bool> = kept.iter().map(|kept| on_port(8080)(&segment(kept))).collect();
        assert!(kept.len() >= 6 && ports.iter().all(|on| *on), "{kept:?}");
    });
}

fn segment(kept: &Kept) -> Segment {
    let headers = &kept.headers;
    Segment {
        from: headers.from,
        to: headers.to,
        seq: headers.seq,
        ack: headers.ack,
        flags: headers.flags,
        data: Vec::new(),
    }
}

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
