//! Handshakes: how long they took on each side, by whose account, and what was sent again.

use crate::support::capture::span_us;
use crate::support::raw::{ACK, FIN, SYN};
use crate::support::sock::{Talk as _, accept};
use crate::support::{Capture, Check, Lab, Raw, Run, Tracer, ms, pause, scenario, wait_until};

/// Null in the record of a client whose connection went well to its end.
const CLIENT: &[&str] = &["accept_wait_us", "container", "synack_retransmits"];
/// Null in the record of an accepted connection that went well to its end.
const SERVER: &[&str] = &["container"];

/// The raw peer opens a connection to host b with its final ACK late, and both close. Returns the
/// records and the true time from SYN to final ACK on the cable, microseconds.
fn late_final_ack(lab: &Lab, delay: u64, args: &[&str]) -> (Run, f64) {
    let capture = Capture::start(&lab.b, "vb");
    let tracer = Tracer::start(lab, args);
    let listener = lab.b.listen(lab.b4_port(8080));
    let raw = Raw::new(lab);
    let mut peer = raw.client(lab.b4_port(8080));
    peer.open(ms(delay));
    let mut server = accept(&listener);
    peer.send(FIN | ACK, b"");
    server.hear_end();
    drop(server);
    peer.expect_fin();
    peer.send(ACK, b"");
    let run = tracer.stop_after(1);
    let seen = capture.stop();
    let truth = span_us(&seen, |s| s.is(SYN), |s| s.is(ACK) && s.to.port() == 8080);
    (run, truth)
}

#[test]
fn late_final_ack_is_part_of_the_servers_handshake() {
    scenario(|lab| {
        let (run, truth) = late_final_ack(lab, 150, &[]);
        let _ = Check::conn(run.fine().server())
            .eq("handshake_source", "syn")
            .within("handshake_us", truth - 1e3..=truth + 1e3)
            // The socket's own measure begins with its SYN-ACK.
            .within("synack_rtt_us", truth - 2e3..=truth + 2e3)
            .brief("phases_us/syn_recv")
            .eq("syn_retransmits", 0)
            .eq("synack_retransmits", 0)
            .nulls(SERVER);
    });
}

#[test]
fn late_final_ack_without_the_syn_hook_comes_from_srtt() {
    scenario(|lab| {
        let (run, truth) = late_final_ack(lab, 150, &["--syn-hook", "off"]);
        let _ = Check::conn(run.fine().server())
            .eq("handshake_source", "srtt")
            .within("handshake_us", truth - 2e3..=truth + 2e3)
            .within("synack_rtt_us", truth - 2e3..=truth + 2e3)
            .eq("synack_retransmits", 0)
            // Nobody counted the SYNs.
            .nulls(&["container", "syn_retransmits"]);
        let _ = Check::of(run.end()).eq("syns", ()).eq("syns_repeated", ());
    });
}

#[test]
fn late_final_ack_seen_by_xdp_generic() {
    scenario(|lab| {
        let args = ["--syn-hook", "xdp", "--xdp-mode", "generic", "--iface", "vb"];
        let (run, truth) = late_final_ack(lab, 80, &args);
        let _ = Check::conn(run.fine().server())
            .eq("handshake_source", "syn")
            .within("handshake_us", truth - 1e3..=truth + 1e3)
            .nulls(SERVER);
    });
}

#[test]
fn late_final_ack_seen_by_xdp_native() {
    scenario(|lab| {
        let args = ["--syn-hook", "xdp", "--xdp-mode", "native", "--iface", "vb"];
        let (run, truth) = late_final_ack(lab, 80, &args);
        let _ = Check::conn(run.fine().server())
            .eq("handshake_source", "syn")
            .within("handshake_us", truth - 1e3..=truth + 1e3)
            .nulls(SERVER);
    });
}

#[test]
fn syn_cookies_with_the_syn_hook() {
    scenario(|lab| {
        lab.b.sysctl("ipv4/tcp_syncookies", 2);
        let (run, truth) = late_final_ack(lab, 60, &[]);
        let _ = Check::conn(run.fine().server())
            .eq("handshake_source", "syn")
            .within("handshake_us", truth - 1e3..=truth + 1e3)
            .eq("outcome", "closed")
            // A cookie's socket has measured nothing, or what is not true.
            .eq("synack_rtt_us", ())
            .owned_here();
    });
}

#[test]
fn syn_cookies_without_the_syn_hook_measure_nothing() {
    scenario(|lab| {
        lab.b.sysctl("ipv4/tcp_syncookies", 2);
        let tracer = Tracer::start(lab, &["--syn-hook", "off"]);
        let listener = lab.b.listen(lab.b4_port(8080));
        // A kernel as client: with timestamps, which make srtt look measured.
        let mut client = lab.a.connect(lab.b4_port(8080));
        let server = accept(&listener);
        drop(server);
        client.hear_end();
        drop(client);
        let run = tracer.stop_after(2);
        let _ = Check::conn(run.fine().server())
            .eq("handshake_us", ())
            .eq("handshake_source", ())
            .eq("synack_rtt_us", ())
            .eq("outcome", "closed");
    });
}

#[test]
fn syn_retransmits_are_inside_the_handshake_of_both_sides() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        // The hook sits before the filter: it sees the SYN that is dropped here.
        lab.b.drop_input("tcp flags & (syn | ack) == syn");
        let socket = lab.a.start_connect(lab.b4_port(8080), |_| ());
        wait_until("the SYN is dropped", ms(3_000), || lab.b.dropped() >= 1);
        lab.b.undrop();
        let mut server = accept(&listener);
        drop(socket);
        server.hear_end();
        drop(server);
        let run = tracer.stop_after(2);
        let _ = Check::conn(run.fine().client())
            .eq("handshake_source", "state")
            .lasts("handshake_us", 1_000)
            .eq("syn_retransmits", 1)
            .eq("retransmits", 0)
            .eq("outcome", "closed");
        let _ = Check::conn(run.server())
            .eq("handshake_source", "syn")
            .lasts("handshake_us", 1_000)
            .brief("synack_rtt_us")
            .eq("syn_retransmits", 1)
            .eq("synack_retransmits", 0)
            .eq("retransmits", 0)
            .nulls(SERVER);
        let _ = Check::of(run.end()).eq("syns", 2).eq("syns_repeated", 1);
    });
}

#[test]
fn synack_retransmits() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.send(SYN, b"");
        peer.expect_flags(SYN | ACK);
        peer.expect("the SYN-ACK again", |s| s.is(SYN | ACK));
        pause(100);
        peer.send(ACK, b"");
        let server = accept(&listener);
        peer.reset();
        let run = tracer.stop_after(1);
        drop(server);
        let _ = Check::conn(run.fine().server())
            .eq("handshake_source", "syn")
            .lasts("handshake_us", 1_100)
            .eq("syn_retransmits", 0)
            .eq("synack_retransmits", 1)
            .eq("retransmits", 0)
            .eq("outcome", "reset_by_remote")
            // No timestamps, and nobody knows which SYN-ACK was answered (Karn).
            .eq("synack_rtt_us", ());
    });
}

#[test]
fn synack_retransmits_without_the_syn_hook_measure_nothing() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--syn-hook", "off"]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.send(SYN, b"");
        peer.expect_flags(SYN | ACK);
        peer.expect("the SYN-ACK again", |s| s.is(SYN | ACK));
        peer.send(ACK, b"");
        let server = accept(&listener);
        peer.reset();
        let run = tracer.stop_after(1);
        drop(server);
        let _ = Check::conn(run.fine().server()).eq("synack_retransmits", 1).nulls(&[
            "close_initiator",
            "close_us",
            "container",
            "handshake_source",
            "handshake_us",
            "rtt_us",
            "syn_retransmits",
            "synack_rtt_us",
        ]);
    });
}

#[test]
fn repeated_syn_of_the_same_connection_counts_once_in_each_account() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.send(SYN, b"");
        peer.expect_flags(SYN | ACK);
        pause(120);
        let isn = peer.snd.wrapping_sub(1);
        peer.send_at(isn, SYN, b"");
        pause(80);
        peer.send(ACK, b"");
        let server = accept(&listener);
        peer.reset();
        let run = tracer.stop_after(1);
        drop(server);
        let _ = Check::conn(run.fine().server())
            .eq("handshake_source", "syn")
            .lasts("handshake_us", 200)
            .eq("syn_retransmits", 1);
        let _ = Check::of(run.end()).eq("syns", 2).eq("syns_repeated", 1);
    });
}

#[test]
fn ipv6() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let addr = std::net::SocketAddr::new(lab.b6(), 8080);
        let listener = lab.b.listen(addr);
        let mut client = lab.a.connect(addr);
        let mut server = accept(&listener);
        client.say(b"six");
        server.hear(3);
        client.finish();
        server.hear_end();
        pause(60);
        drop(server);
        client.hear_end();
        let run = tracer.stop_after(2);
        let _ = Check::conn(run.fine().client())
            .eq("local_addr", lab.a6().to_string())
            .eq("remote_addr", lab.b6().to_string())
            .eq("remote_port", 8080)
            .eq("handshake_source", "state")
            .brief("handshake_us")
            .lasts("close_us", 60)
            .eq("time_wait", true)
            .eq("bytes_sent", 3)
            .eq("outcome", "closed")
            .owned_here()
            .nulls(CLIENT);
        let _ = Check::conn(run.server())
            .eq("local_addr", lab.b6().to_string())
            .eq("local_port", 8080)
            .eq("remote_addr", lab.a6().to_string())
            .eq("handshake_source", "syn")
            .brief("handshake_us")
            .eq("syn_retransmits", 0)
            .eq("outcome", "closed")
            .owned_here()
            .nulls(SERVER);
    });
}

#[test]
fn ipv4_mapped_addresses_are_shown_as_ipv4() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let any: std::net::SocketAddr = "[::]:8080".parse().expect("an address");
        let listener = lab.b.listen_with(any, 16, |s| s.set_only_v6(false).expect("IPV6_V6ONLY"));
        let std::net::IpAddr::V4(b4) = lab.b4() else { panic!() };
        let mapped = std::net::SocketAddr::new(b4.to_ipv6_mapped().into(), 8080);
        let mut client = lab
            .a
            .try_connect(mapped, |s| s.set_only_v6(false).expect("IPV6_V6ONLY"))
            .expect("connect()");
        let server = accept(&listener);
        drop(server);
        client.hear_end();
        drop(client);
        let run = tracer.stop_after(2);
        let _ = Check::conn(run.fine().client())
            .eq("local_addr", lab.a4().to_string())
            .eq("remote_addr", lab.b4().to_string())
            .eq("outcome", "closed");
        let _ = Check::conn(run.server())
            .eq("local_addr", lab.b4().to_string())
            .eq("remote_addr", lab.a4().to_string())
            .eq("handshake_source", "syn")
            .brief("handshake_us")
            .eq("outcome", "closed");
    });
}

#[test]
fn same_ports_again_are_two_connections_with_their_own_times() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        for delay in [120, 40] {
            let mut peer = raw.client_from(33_333, lab.b4_port(8080));
            // Another connection begins with another sequence number.
            peer.snd = peer.snd.wrapping_add(delay * 100_000);
            peer.open(ms(delay.into()));
            let server = accept(&listener);
            peer.reset();
            pause(20);
            drop(server);
        }
        let run = tracer.stop_after(2);
        let records = run.fine().connections();
        for (record, delay) in records.iter().zip([120, 40]) {
            let _ = Check::conn(record)
                .eq("role", "server")
                .eq("remote_port", 33_333)
                .eq("handshake_source", "syn")
                .within(
                    "handshake_us",
                    f64::from(delay) * 1e3 - 1e3..=f64::from(delay) * 1e3 + 60e3,
                )
                .eq("syn_retransmits", 0)
                .eq("outcome", "reset_by_remote");
        }
    });
}

#[test]
fn syn_with_another_number_is_not_the_one_that_was_answered() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.send(SYN, b"");
        peer.expect_flags(SYN | ACK);
        pause(100);
        // A stray one, far out of the window: the kernel answers with an ACK and waits on.
        peer.send_at(peer.snd.wrapping_add(1 << 30), SYN, b"");
        peer.expect_flags(ACK);
        pause(50);
        peer.send(ACK, b"");
        let server = accept(&listener);
        peer.reset();
        let run = tracer.stop_after(1);
        drop(server);
        // When the true one came is forgotten, and the stray one's time is not taken for it.
        let _ = Check::conn(run.fine().server())
            .eq("handshake_source", "srtt")
            .lasts("handshake_us", 150)
            .eq("outcome", "reset_by_remote");
        let _ = Check::of(run.end()).eq("syns", 2).eq("syns_repeated", 0);
    });
}

#[test]
fn simultaneous_open() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let raw = Raw::new(lab);
        let socket = lab.b.start_connect(lab.raw4_port(7000), |_| ());
        let mut peer = raw.server(7000);
        let theirs = peer.rcv;
        pause(40);
        // Our SYN leaves before theirs has come (RFC 9293, figure 7).
        peer.send(SYN, b"");
        peer.expect("SYN-ACK", |s| s.is(SYN | ACK));
        peer.rcv = theirs;
        pause(60);
        peer.send(ACK, b"");
        pause(50);
        peer.reset();
        let run = tracer.stop_after(1);
        drop(socket);
        let _ = Check::conn(run.fine().conn(|_| true))
            .eq("role", "client")
            .eq("outcome", "reset_by_remote")
            .eq("handshake_source", "state")
            .lasts("handshake_us", 100)
            .lasts("phases_us/syn_sent", 40)
            .lasts("phases_us/syn_recv", 60)
            .lasts("established_us", 50)
            .phases(&["syn_sent", "syn_recv", "established"])
            .owned_here();
    });
}

#[test]
fn socket_connected_to_itself() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let addr = lab.b4_port(7777);
        let mut stream = lab
            .b
            .try_connect(addr, |s| s.bind(&addr.into()).expect("bind()"))
            .expect("a simultaneous open with itself");
        stream.say(b"echo");
        stream.hear(4);
        drop(stream);
        let run = tracer.stop_after(1);
        let _ = Check::conn(run.fine().conn(|_| true))
            .eq("role", "client")
            .eq("local_port", 7777)
            .eq("remote_port", 7777)
            .eq("handshake_source", "state")
            .brief("handshake_us")
            .eq("outcome", "closed")
            .eq("bytes_sent", 4)
            .eq("bytes_received", 4)
            .owned_here();
        let _ = Check::of(run.end()).eq("open", 0);
    });
}
