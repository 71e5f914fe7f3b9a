//! Ends that are no FIN: a RST in every state, from either side, and administrative aborts.

use crate::support::raw::{ACK, FIN, RST, SYN};
use crate::support::sock::{Talk as _, accept};
use crate::support::{Check, Lab, Raw, RawConn, Run, Tracer, ms, pause, scenario};

/// Null after an accepted connection was reset before anyone closed.
const SERVER_CUT: &[&str] = &["container", "close_initiator", "close_us"];
/// Null after an accepted connection was reset while it was closing.
const SERVER_CLOSING: &[&str] = &["container"];
/// Null after a client's connection was reset before anyone closed.
const CLIENT_CUT: &[&str] =
    &["accept_wait_us", "container", "synack_retransmits", "close_initiator", "close_us"];

/// A connection that the raw peer opened to an accepted socket on host b; `end` ends it.
fn accepted(lab: &Lab, end: impl FnOnce(std::net::TcpStream, &mut RawConn<'_>)) -> Run {
    let tracer = Tracer::start(lab, &[]);
    let listener = lab.b.listen(lab.b4_port(8080));
    let raw = Raw::new(lab);
    let mut peer = raw.client(lab.b4_port(8080));
    peer.open(ms(0));
    end(accept(&listener), &mut peer);
    tracer.stop_after(1)
}

/// Checks what holds for every reset of an accepted connection.
fn reset<'a>(run: &'a Run, outcome: &str, initiator: Option<&str>, phases: &[&str]) -> Check<'a> {
    Check::conn(run.fine().server())
        .eq("outcome", outcome)
        .eq("close_initiator", initiator)
        .phases(&[&["syn_recv", "established"], phases].concat())
        .eq("time_wait", false)
        .eq("handshake_source", "syn")
        .owned_here()
}

#[test]
fn rst_in_established() {
    scenario(|lab| {
        let run = accepted(lab, |socket, peer| {
            pause(60);
            peer.reset();
            pause(20);
            drop(socket);
        });
        let _ =
            reset(&run, "reset_by_remote", None, &[]).lasts("established_us", 60).nulls(SERVER_CUT);
    });
}

#[test]
fn rst_in_close_wait() {
    scenario(|lab| {
        let run = accepted(lab, |mut socket, peer| {
            peer.send(FIN | ACK, b"");
            socket.hear_end();
            pause(60);
            peer.reset();
            pause(20);
            drop(socket);
        });
        let _ = reset(&run, "reset_by_remote", Some("remote"), &["close_wait"])
            .lasts("close_us", 60)
            .nulls(SERVER_CLOSING);
    });
}

#[test]
fn rst_in_fin_wait1() {
    scenario(|lab| {
        let run = accepted(lab, |socket, peer| {
            socket.finish();
            peer.expect_fin();
            peer.rcv -= 1;
            pause(60);
            peer.reset();
            pause(20);
            drop(socket);
        });
        let _ = reset(&run, "reset_by_remote", Some("local"), &["fin_wait1"])
            .lasts("close_us", 60)
            .nulls(SERVER_CLOSING);
    });
}

#[test]
fn rst_in_fin_wait1_after_close() {
    scenario(|lab| {
        let run = accepted(lab, |socket, peer| {
            drop(socket);
            peer.expect_fin();
            peer.rcv -= 1;
            pause(60);
            peer.reset();
        });
        let _ = reset(&run, "reset_by_remote", Some("local"), &["fin_wait1"])
            .lasts("close_us", 60)
            .nulls(SERVER_CLOSING);
    });
}

#[test]
fn rst_in_fin_wait2() {
    scenario(|lab| {
        let run = accepted(lab, |socket, peer| {
            socket.finish();
            peer.expect_fin();
            peer.send(ACK, b"");
            pause(60);
            peer.reset();
            pause(20);
            drop(socket);
        });
        let _ = reset(&run, "reset_by_remote", Some("local"), &["fin_wait1", "fin_wait2"])
            .lasts("phases_us/fin_wait2", 60)
            .nulls(SERVER_CLOSING);
    });
}

#[test]
fn rst_in_last_ack() {
    scenario(|lab| {
        let run = accepted(lab, |mut socket, peer| {
            peer.send(FIN | ACK, b"");
            socket.hear_end();
            drop(socket);
            peer.expect_fin();
            peer.rcv -= 1;
            pause(60);
            peer.reset();
        });
        let _ = reset(&run, "reset_by_remote", Some("remote"), &["close_wait", "last_ack"])
            .lasts("phases_us/last_ack", 60)
            .nulls(SERVER_CLOSING);
    });
}

#[test]
fn rst_in_closing() {
    scenario(|lab| {
        let run = accepted(lab, |socket, peer| {
            socket.finish();
            peer.expect_fin();
            peer.rcv -= 1;
            peer.send(FIN | ACK, b"");
            pause(60);
            peer.reset();
            pause(20);
            drop(socket);
        });
        let _ = reset(&run, "reset_by_remote", Some("both"), &["fin_wait1", "closing"])
            .lasts("phases_us/closing", 60)
            .nulls(SERVER_CLOSING);
    });
}

#[test]
fn rst_in_syn_sent_is_refused() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let raw = Raw::new(lab);
        let socket = lab.b.start_connect(lab.raw4_port(7000), |_| ());
        let mut peer = raw.server(7000);
        pause(60);
        peer.send(RST | ACK, b"");
        let run = tracer.stop_after(1);
        drop(socket);
        let _ = Check::conn(run.fine().client())
            .eq("outcome", "refused")
            .lasts("phases_us/syn_sent", 60)
            .phases(&["syn_sent"])
            .eq("syn_retransmits", 0)
            .eq("time_wait", false)
            .eq("remote_addr", lab.raw4().to_string())
            .eq("remote_port", 7000)
            .owned_here()
            .nulls(&[
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
            ]);
    });
}

#[test]
fn rst_in_syn_recv_has_no_record_and_is_counted() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let _listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.send(SYN, b"");
        peer.expect_flags(SYN | ACK);
        pause(50);
        peer.reset();
        pause(300);
        let run = tracer.stop();
        assert_eq!(run.fine().connections().len(), 0, "{}", run.dump());
        let _ = Check::of(run.end()).eq("handshakes_failed", 1).eq("connections", 0);
        let host = run.one("host");
        let _ = Check::of(host)
            .eq("host", lab.raw4().to_string())
            .eq("handshakes_failed", 1)
            .eq("connections", 0)
            .eq("failed", 0);
    });
}

#[test]
fn rst_with_another_number_ends_no_request() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.send(SYN, b"");
        peer.expect_flags(SYN | ACK);
        // Out of the window: the kernel drops it, and so must everybody else (RFC 5961).
        peer.send_at(peer.snd.wrapping_add(1 << 30), RST, b"");
        pause(50);
        peer.send(ACK, b"");
        let server = accept(&listener);
        peer.reset();
        let run = tracer.stop_after(1);
        drop(server);
        let _ = reset(&run, "reset_by_remote", None, &[]).lasts("handshake_us", 50);
        let _ = Check::of(run.end()).eq("handshakes_failed", 0).eq("connections", 1);
    });
}

#[test]
fn request_that_expires_is_counted() {
    scenario(|lab| {
        lab.b.sysctl("ipv4/tcp_synack_retries", 1);
        let tracer = Tracer::start(lab, &[]);
        let _listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.send(SYN, b"");
        peer.expect_flags(SYN | ACK);
        peer.expect("the SYN-ACK again", |s| s.is(SYN | ACK));
        // The kernel gives up 2 s later, and nobody tells: it is missed after twice that.
        pause(5_500);
        let run = tracer.stop();
        assert_eq!(run.fine().connections().len(), 0, "{}", run.dump());
        let _ = Check::of(run.end()).eq("handshakes_failed", 1);
    });
}

#[test]
fn close_with_unread_data_resets() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let mut client = lab.a.connect(lab.b4_port(8080));
        let server = accept(&listener);
        client.say(b"never read");
        crate::support::sock::wait_readable(&server, ms(5_000));
        pause(60);
        drop(server);
        let run = tracer.stop_after(2);
        drop(client);
        let _ = reset(&run, "reset_by_local", None, &[])
            .lasts("established_us", 60)
            .eq("bytes_received", 10)
            .eq("bytes_sent", 0)
            .nulls(SERVER_CUT);
        let _ = Check::conn(run.client())
            .eq("outcome", "reset_by_remote")
            .lasts("established_us", 60)
            .phases(&["syn_sent", "established"])
            .eq("time_wait", false)
            .eq("bytes_sent", 10)
            .nulls(CLIENT_CUT);
    });
}

#[test]
fn close_with_linger_zero_resets() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let client = lab.a.connect(lab.b4_port(8080));
        let server = accept(&listener);
        pause(60);
        client.close_with_reset();
        let run = tracer.stop_after(2);
        drop(server);
        let _ = reset(&run, "reset_by_remote", None, &[]).nulls(SERVER_CUT);
        let _ = Check::conn(run.client())
            .eq("outcome", "reset_by_local")
            .lasts("established_us", 60)
            .phases(&["syn_sent", "established"])
            .eq("time_wait", false)
            .owned_here()
            .nulls(CLIENT_CUT);
    });
}

#[test]
fn linger_zero_in_close_wait() {
    scenario(|lab| {
        let run = accepted(lab, |mut socket, peer| {
            peer.send(FIN | ACK, b"");
            socket.hear_end();
            pause(60);
            socket.close_with_reset();
            peer.expect("RST", |s| s.flags & RST != 0);
        });
        let _ = reset(&run, "reset_by_local", Some("remote"), &["close_wait"])
            .lasts("close_us", 60)
            .nulls(SERVER_CLOSING);
    });
}

#[test]
fn data_after_close_is_answered_with_a_reset_by_this_host() {
    scenario(|lab| {
        let run = accepted(lab, |socket, peer| {
            drop(socket);
            peer.expect_fin();
            // The FIN stays unacknowledged, so the socket is still there when data comes.
            peer.rcv -= 1;
            pause(60);
            peer.send(ACK, b"too late");
            peer.expect("RST", |s| s.flags & RST != 0);
        });
        let _ = reset(&run, "reset_by_local", Some("local"), &["fin_wait1"])
            .lasts("close_us", 60)
            .nulls(SERVER_CLOSING);
    });
}

#[test]
fn ss_kill_aborts() {
    scenario(|lab| {
        let run = accepted(lab, |socket, peer| {
            pause(60);
            let killed = lab.b.sh(&format!("ss -KHtn dport = :{}", peer.port()));
            assert!(
                killed.contains("8080"),
                "`ss -K` killed nothing: this kernel lacks CONFIG_INET_DIAG_DESTROY"
            );
            peer.expect("RST", |s| s.flags & RST != 0);
            drop(socket);
        });
        let _ = reset(&run, "aborted", None, &[]).lasts("established_us", 60).nulls(SERVER_CUT);
    });
}

#[test]
fn ss_kill_in_close_wait() {
    scenario(|lab| {
        let run = accepted(lab, |mut socket, peer| {
            peer.send(FIN | ACK, b"");
            socket.hear_end();
            pause(60);
            let _ = lab.b.sh(&format!("ss -KHtn dport = :{}", peer.port()));
            peer.expect("RST", |s| s.flags & RST != 0);
            drop(socket);
        });
        let _ = reset(&run, "aborted", Some("remote"), &["close_wait"])
            .lasts("close_us", 60)
            .nulls(SERVER_CLOSING);
    });
}
