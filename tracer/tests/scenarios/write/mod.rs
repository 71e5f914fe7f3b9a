//! `--write`: which control segments are kept, held against what tcpdump saw of the same run.

mod file;
mod kept;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use self::kept::{Headers, Kept, expected, read, same};
use crate::support::flood::{Flood, Shape, swallow_answers};
use crate::support::lab::{MAC_A, MAC_B, mac};
use crate::support::raw::{ACK, FIN, RST, SYN, Segment};
use crate::support::sock::{Talk as _, accept};
use crate::support::wire::Tun;
use crate::support::{Capture, Child, Lab, Netns, Raw, Tracer, ms, pause, scenario};

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
