//! Connection by connection: the live record and that of the capture.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use super::{both_ends, read, recorded, same};
use crate::close::pair;
use crate::support::raw::{ACK, FIN};
use crate::support::sock::{Talk as _, accept};
use crate::support::{Check, Lab, Raw, Run, Value, ms, pause, scenario, wait_until};

/// What both can know, and know exactly.
const SAME: &[&str] = &[
    "outcome",
    "close_initiator",
    "syn_retransmits",
    "synack_retransmits",
    "bytes_sent",
    "bytes_received",
    "observed_from",
];

/// How far times may lie apart, microseconds: a socket's moments and those of its packets, on a busy
/// machine.
const APART: f64 = 30e3;

/// Holds each live record against the capture's: all fields that both can know.
#[track_caller]
fn agree(live: &Run, capture: &Run) {
    let connections = live.fine().connections();
    assert!(!connections.is_empty());
    let of_capture = capture.fine().connections();
    assert_eq!(connections.len(), of_capture.len(), "{}\n{}", live.dump(), capture.dump());
    for record in connections {
        let other = same(record, capture);
        let mut check = Check::of(other)
            .eq("netns", ())
            .eq("pid", ())
            .eq("comm", ())
            .eq("accept_wait_us", ())
            .eq("events_lost", false);
        for field in SAME {
            check = check.eq(field, record[field].clone());
        }
        if let Some(us) = record["handshake_us"].as_f64() {
            check = check
                .eq("handshake_source", "capture")
                .within("handshake_us", us - APART..=us + APART);
            if record["syn_retransmits"] == 0 {
                check = check
                    .within("path_rtt_us/syn_to_synack", 0.0..)
                    .within("path_rtt_us/synack_to_ack", 0.0..);
            }
        }
        // FIN_WAIT1 begins at close(), the FIN leaves when what is queued before it has.
        if let (Some(us), false) = (record["close_us"].as_f64(), record["time_wait"].is_null()) {
            check = check.within("close_us", us - APART..=us + APART);
        }
        drop(check);
    }
}

/// Traced live, captured, and held against each other.
#[track_caller]
fn agreed(lab: &Lab, n: usize, traffic: impl FnOnce()) -> (Run, Run) {
    let (live, capture) = agreed_by(lab, &both_ends(lab), n, traffic);
    for count in ["syns", "syns_repeated"] {
        assert_eq!(live.end()[count], capture.end()[count], "{count}: {}", capture.end());
    }
    (live, capture)
}

/// The same, told from these addresses.
#[track_caller]
fn agreed_by(lab: &Lab, local: &str, n: usize, traffic: impl FnOnce()) -> (Run, Run) {
    let (live, file) = recorded(lab, ("vb", &[]), &[], n, traffic);
    let capture = read(lab, &file, &["--local", local, "--segments"]);
    agree(&live, &capture);
    (live, capture)
}

/// The steps that were seen, in order.
fn steps(run: &Run) -> Vec<&str> {
    run.all("segment").iter().filter_map(|row| row["step"].as_str()).collect()
}

const HANDSHAKE: [&str; 3] = ["handshake 1/3", "handshake 2/3", "handshake 3/3"];

#[test]
fn closed_by_the_client() {
    scenario(|lab| {
        let (_, capture) = agreed(lab, 2, || {
            let (client, mut server) = pair(lab);
            pause(50);
            drop(client);
            server.hear_end();
            // Longer than an ACK is ever held back.
            pause(300);
            drop(server);
        });
        let close = ["close 1/4", "close 2/4", "close 3/4", "close 4/4"];
        assert_eq!(steps(&capture), [&HANDSHAKE[..], &close].concat());
        let first = capture.all("segment")[0];
        let _ = Check::of(first)
            .eq("client_addr", lab.a4().to_string())
            .eq("server_addr", lab.b4().to_string())
            .eq("server_port", 8080)
            .eq("from", "client")
            .eq("flags", vec!["SYN"])
            .eq("seq", 0)
            .eq("ack", ())
            .eq("frame", 1)
            .eq("client_state", "SYN_SENT")
            .eq("odd", Vec::<Value>::new());
        let _ = Check::of(capture.client()).eq("time_wait", true);
        let _ = Check::of(capture.start())
            .eq("kernel", ())
            .eq("ring_size", ())
            .eq("hooks", Vec::<Value>::new())
            .eq("capture/link_types", vec!["Ethernet"]);
        let frames = &capture.end()["frames"];
        assert_eq!(frames["read"], frames["tcp"], "{frames}");
        assert_eq!(capture.end()["events"], frames["tcp"]);
    });
}

#[test]
fn closed_by_the_server() {
    scenario(|lab| {
        let _ = agreed(lab, 2, || {
            let (mut client, server) = pair(lab);
            drop(server);
            client.hear_end();
            pause(120);
            drop(client);
        });
    });
}

#[test]
fn three_segments_close() {
    scenario(|lab| {
        // The peer is no kernel's.
        let (_, capture) = agreed_by(lab, &lab.b4().to_string(), 1, || {
            let listener = lab.b.listen(lab.b4_port(8080));
            let raw = Raw::new(lab);
            let mut peer = raw.client(lab.b4_port(8080));
            peer.open(ms(20));
            drop(accept(&listener));
            peer.expect_fin();
            peer.send(FIN | ACK, b"");
            let _ = peer.expect("the last ACK", |segment| segment.is(ACK));
        });
        let close = ["close 1/4", "close 2+3/4", "close 4/4"];
        assert_eq!(steps(&capture), [&HANDSHAKE[..], &close].concat());
        let all = capture.all("segment");
        let combined = all.iter().find(|row| row["step"] == "close 2+3/4").expect("it");
        let _ = Check::of(combined)
            .eq("flags", vec!["FIN", "ACK"])
            .eq("from", "client")
            .eq("odd", vec!["ack_with_fin"]);
    });
}

#[test]
fn half_closed() {
    scenario(|lab| {
        let _ = agreed(lab, 2, || {
            let (mut client, mut server) = pair(lab);
            client.finish();
            server.hear_end();
            server.say(&[7; 3000]);
            client.hear(3000);
            pause(80);
            drop(server);
            client.hear_end();
        });
    });
}

#[test]
fn reset_by_the_client() {
    scenario(|lab| {
        let (_, capture) = agreed(lab, 2, || {
            let (client, server) = pair(lab);
            pause(30);
            client.close_with_reset();
            pause(30);
            drop(server);
        });
        let _ = Check::of(capture.client()).eq("outcome", "reset_by_local");
        let _ = Check::of(capture.server()).eq("outcome", "reset_by_remote");
    });
}

#[test]
fn reset_by_the_server() {
    scenario(|lab| {
        let (_, capture) = agreed(lab, 2, || {
            let (client, server) = pair(lab);
            pause(30);
            server.close_with_reset();
            pause(30);
            drop(client);
        });
        let _ = Check::of(capture.client()).eq("outcome", "reset_by_remote");
    });
}

#[test]
fn refused() {
    scenario(|lab| {
        let (_, capture) = agreed_by(lab, &lab.a4().to_string(), 1, || {
            let error = lab.a.try_connect(lab.b4_port(9), |_| ()).expect_err("nobody listens");
            assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
        });
        let _ = Check::of(capture.client()).eq("outcome", "refused").eq("handshake_us", ());
        assert_eq!(capture.all("segment")[1]["odd"][0], "refused");
    });
}

#[test]
fn lost_syns() {
    scenario(|lab| {
        let (live, capture) = agreed(lab, 2, || {
            let listener = lab.b.listen(lab.b4_port(8080));
            lab.b.drop_input("tcp dport 8080");
            std::thread::scope(|scope| {
                let client = scope.spawn(|| lab.a.connect(lab.b4_port(8080)));
                wait_until("SYNs are lost", Duration::from_secs(10), || lab.b.dropped() >= 1);
                lab.b.undrop();
                let client = client.join().expect("connected");
                let mut server = accept(&listener);
                drop(client);
                server.hear_end();
                pause(300);
            });
        });
        assert!(live.client()["syn_retransmits"].as_u64() >= Some(1), "{}", live.dump());
        let _ = Check::of(capture.end()).within("syns_repeated", 1.0..);
        let _ = Check::of(capture.server()).within("handshake_us", 0.9e6..);
        // Which one was answered nobody knows.
        let _ = Check::of(capture.server()).eq("path_rtt_us/syn_to_synack", ());
    });
}

#[test]
fn over_ipv6() {
    scenario(|lab| {
        let _ = agreed(lab, 2, || {
            let addr = SocketAddr::new(lab.b6(), 8080);
            let listener = lab.b.listen(addr);
            let mut client = lab.a.connect(addr);
            let mut server = accept(&listener);
            client.say(b"ping");
            server.hear(4);
            drop(client);
            server.hear_end();
            pause(300);
            drop(server);
        });
    });
}

#[test]
fn many_at_once() {
    scenario(|lab| {
        let (_, capture) = agreed(lab, 60, || {
            let listener = lab.b.listen(lab.b4_port(8080));
            let pairs: Vec<_> = (0..30_usize)
                .map(|n| {
                    let mut client = lab.a.connect(lab.b4_port(8080));
                    let mut server = accept(&listener);
                    client.write_all(&vec![1; n * 1000]).expect("send()");
                    server.hear(n * 1000);
                    (client, server)
                })
                .collect();
            for (client, mut server) in pairs {
                drop(client);
                server.hear_end();
                drop(server);
            }
        });
        let mut numbers: Vec<_> =
            capture.all("segment").iter().map(|row| row["connection"].as_u64()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 30);
    });
}
