//! Connections that nobody answers, and ones that are given up.

use crate::support::raw::{ACK, FIN, SYN};
use crate::support::sock::{Talk as _, accept, set_tcp_option};
use crate::support::{Capture, Check, Raw, Run, Tracer, ms, pause, scenario};

/// Null in the record of a client that was never connected.
const NEVER: &[&str] = &[
    "accept_wait_us",
    "close_initiator",
    "close_us",
    "container",
    "established_us",
    "handshake_source",
    "handshake_us",
    "retransmits",
    "rtt_us",
    "synack_retransmits",
    "synack_rtt_us",
];

fn never<'a>(run: &'a Run, outcome: &str) -> Check<'a> {
    Check::conn(run.fine().client())
        .eq("outcome", outcome)
        .phases(&["syn_sent"])
        .eq("time_wait", false)
        .eq("bytes_sent", 0)
        .eq("bytes_received", 0)
        .owned_here()
        .nulls(NEVER)
}

#[test]
fn refused_by_a_host_where_nobody_listens() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let error = lab.a.try_connect(lab.b4_port(9), |_| ()).expect_err("nobody listens");
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
        let run = tracer.stop_after(1);
        let _ = never(&run, "refused").brief("phases_us/syn_sent").eq("syn_retransmits", 0);
        // The other row is the client's: it sent a SYN to this host.
        let server = lab.b4().to_string();
        let rows = run.all("host");
        let host = rows.iter().find(|row| row["host"] == server.as_str()).expect("a row");
        let _ = Check::of(host).eq("connections", 1).eq("failed", 1).eq("timeouts", 0);
    });
}

#[test]
fn cancelled_by_close_while_connecting() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let _raw = Raw::new(lab);
        let socket = lab.b.start_connect(lab.raw4_port(7000), |_| ());
        pause(80);
        drop(socket);
        let run = tracer.stop_after(1);
        let _ = never(&run, "cancelled").lasts("phases_us/syn_sent", 80).eq("syn_retransmits", 0);
    });
}

#[test]
fn timed_out_while_connecting() {
    scenario(|lab| {
        let capture = Capture::start(&lab.b, "vb");
        let tracer = Tracer::start(lab, &[]);
        let _raw = Raw::new(lab);
        let error = lab
            .b
            .try_connect(lab.raw4_port(7000), |s| set_tcp_option(s, libc::TCP_SYNCNT, 1))
            .expect_err("nobody answers");
        assert_eq!(error.raw_os_error(), Some(libc::ETIMEDOUT));
        let run = tracer.stop_after(1);
        let syns = capture.stop().iter().filter(|s| s.segment.is(SYN)).count();
        let _ = never(&run, "timed_out")
            .within("phases_us/syn_sent", 1.9e6..=9e6)
            .eq("syn_retransmits", syns - 1);
        let host = run.one("host");
        let _ = Check::of(host).eq("connections", 1).eq("failed", 1).eq("timeouts", 1);
    });
}

#[test]
fn unreachable_by_icmp() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let raw = Raw::new(lab);
        let socket = lab.b.start_connect(lab.raw4_port(7000), |_| ());
        let peer = raw.server(7000);
        pause(60);
        peer.unreachable();
        let run = tracer.stop_after(1);
        drop(socket);
        let _ = never(&run, "unreachable").lasts("phases_us/syn_sent", 60).eq("syn_retransmits", 0);
    });
}

#[test]
fn timed_out_with_data_unacknowledged() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        let mut server = accept(&listener);
        set_tcp_option(&server, libc::TCP_USER_TIMEOUT, 700);
        server.say(b"into the void");
        let run = tracer.stop_after(1);
        drop(server);
        let _ = Check::conn(run.fine().server())
            .eq("outcome", "timed_out")
            .within("established_us", 690e3..=3e6)
            .phases(&["syn_recv", "established"])
            .eq("time_wait", false)
            .eq("bytes_sent", 0)
            .within("retransmits", 1.0..=3.0)
            .nulls(&["container", "close_initiator", "close_us"]);
    });
}

#[test]
fn timed_out_by_keepalive() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        let server = accept(&listener);
        set_tcp_option(&server, libc::TCP_KEEPIDLE, 1);
        set_tcp_option(&server, libc::TCP_KEEPINTVL, 1);
        set_tcp_option(&server, libc::TCP_KEEPCNT, 1);
        crate::support::sock::set_option(&server, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
        let run = tracer.stop_after(1);
        drop(server);
        let _ = Check::conn(run.fine().server())
            .eq("outcome", "timed_out")
            .within("established_us", 1.9e6..=4e6)
            .phases(&["syn_recv", "established"])
            .eq("retransmits", 0)
            .nulls(&["container", "close_initiator", "close_us"]);
    });
}

#[test]
fn timed_out_in_fin_wait1() {
    scenario(|lab| {
        lab.b.sysctl("ipv4/tcp_orphan_retries", 1);
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        drop(accept(&listener));
        peer.expect_fin();
        let run = tracer.stop_after(1);
        let _ = Check::conn(run.fine().server())
            .eq("outcome", "timed_out")
            .eq("close_initiator", "local")
            .within("close_us", 390e3..=4e6)
            .phases(&["syn_recv", "established", "fin_wait1"])
            .eq("time_wait", false)
            .within("retransmits", 1.0..=3.0)
            .nulls(&["container"]);
    });
}

#[test]
fn timed_out_in_last_ack() {
    scenario(|lab| {
        lab.b.sysctl("ipv4/tcp_orphan_retries", 1);
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        let mut server = accept(&listener);
        peer.send(FIN | ACK, b"");
        server.hear_end();
        drop(server);
        let run = tracer.stop_after(1);
        let _ = Check::conn(run.fine().server())
            .eq("outcome", "timed_out")
            .eq("close_initiator", "remote")
            .within("phases_us/last_ack", 390e3..=4e6)
            .phases(&["syn_recv", "established", "close_wait", "last_ack"])
            .eq("time_wait", false)
            .within("retransmits", 1.0..=3.0)
            .nulls(&["container"]);
    });
}

#[test]
fn socket_that_connects_again_is_two_connections() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--role", "client"]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let socket = lab.a.run(|| {
            let addr = lab.b4_port(8080);
            let socket = crate::support::sock::tcp(&addr);
            let refused = socket.connect(&lab.b4_port(9).into()).expect_err("nobody listens");
            assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));
            pause(60);
            socket.connect(&addr.into()).expect("connect()");
            socket
        });
        let mut server = accept(&listener);
        drop(socket);
        server.hear_end();
        drop(server);
        let run = tracer.stop_after(2);
        let to = |port: u16| run.fine().conn(move |c| c["remote_port"] == port);
        let _ =
            Check::conn(to(9)).eq("outcome", "refused").brief("phases_us/syn_sent").nulls(NEVER);
        let _ = Check::conn(to(8080))
            .eq("outcome", "closed")
            .eq("handshake_source", "state")
            .brief("handshake_us")
            .phases(&["syn_sent", "established", "fin_wait1", "fin_wait2"]);
    });
}

#[test]
fn disconnected_socket_that_connects_again_is_two_connections() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--role", "client"]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let second = lab.b.listen(lab.b4_port(8081));
        let socket = lab.a.run(|| {
            let socket = crate::support::sock::tcp(&lab.b4_port(8080));
            socket.connect(&lab.b4_port(8080).into()).expect("connect()");
            pause(60);
            let mut nowhere = [0_u8; 16];
            nowhere[..2].copy_from_slice(&(libc::AF_UNSPEC as u16).to_ne_bytes());
            // SAFETY: the address outlives the call and its size is passed along.
            let rc = unsafe {
                libc::connect(std::os::fd::AsRawFd::as_raw_fd(&socket), nowhere.as_ptr().cast(), 16)
            };
            assert_eq!(rc, 0, "{}", std::io::Error::last_os_error());
            socket.connect(&lab.b4_port(8081).into()).expect("connect()");
            socket
        });
        let _reset = accept(&listener);
        let mut server = accept(&second);
        drop(socket);
        server.hear_end();
        drop(server);
        let run = tracer.stop_after(2);
        let to = |port: u16| run.fine().conn(move |c| c["remote_port"] == port);
        let _ = Check::conn(to(8080))
            .eq("outcome", "reset_by_local")
            .lasts("established_us", 60)
            .phases(&["syn_sent", "established"]);
        let _ = Check::conn(to(8081))
            .eq("outcome", "closed")
            .eq("handshake_source", "state")
            .brief("handshake_us")
            .phases(&["syn_sent", "established", "fin_wait1", "fin_wait2"]);
    });
}
