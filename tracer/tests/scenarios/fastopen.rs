//! TCP Fast Open: data in the SYN, sockets that work before the handshake is over.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;

use crate::support::counters::Counters;
use crate::support::raw::{ACK, FIN, SYN};
use crate::support::sock::{Talk as _, accept, set_tcp_option, tcp};
use crate::support::{Check, Lab, Raw, Tracer, pause, scenario};

/// sendto(MSG_FASTOPEN): connects and sends in one.
fn send_fast(lab: &Lab, addr: SocketAddr, data: &[u8]) -> TcpStream {
    let socket = lab.a.run(|| tcp(&addr));
    let to = socket2::SockAddr::from(addr);
    // SAFETY: data and address outlive the call, their sizes are passed along.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            data.as_ptr().cast(),
            data.len(),
            libc::MSG_FASTOPEN,
            to.as_ptr().cast(),
            to.len(),
        )
    };
    assert_eq!(usize::try_from(sent).ok(), Some(data.len()), "{}", std::io::Error::last_os_error());
    socket.into()
}

/// Clients send data with any SYN (0x5), listeners take it without a cookie (0x602).
fn without_cookie(lab: &Lab) {
    lab.a.sysctl("ipv4/tcp_fastopen", 0x5);
    lab.b.sysctl("ipv4/tcp_fastopen", 0x602);
}

fn listen(lab: &Lab) -> std::net::TcpListener {
    lab.b.listen_with(lab.b4_port(8080), 16, |s| set_tcp_option(s, libc::TCP_FASTOPEN, 16))
}

#[test]
fn data_in_the_syn_with_a_cookie() {
    scenario(|lab| {
        lab.a.sysctl("ipv4/tcp_fastopen", 1);
        lab.b.sysctl("ipv4/tcp_fastopen", 2);
        let tracer = Tracer::start(lab, &[]);
        let listener = listen(lab);
        // The first connection gets the cookie, the second uses it.
        for _ in 0..2 {
            let mut client = send_fast(lab, lab.b4_port(8080), b"fast");
            let mut server = accept(&listener);
            server.hear(4);
            server.say(b"answer");
            client.hear(6);
            client.finish();
            server.hear_end();
            drop(server);
            client.hear_end();
        }
        let run = tracer.stop_after(4);
        let counted = Counters::read(&lab.b).get("TcpExtTCPFastOpenPassive");
        assert_eq!(counted, 1, "the kernel did not use Fast Open");
        for record in run.fine().connections() {
            let client = record["role"] == "client";
            let (source, sent, received) = if client { ("state", 4, 6) } else { ("syn", 6, 4) };
            let _ = Check::conn(record)
                .eq("outcome", "closed")
                .eq("handshake_source", source)
                .brief("handshake_us")
                .eq("bytes_sent", sent)
                .eq("bytes_received", received)
                .eq("syn_retransmits", 0)
                .eq("retransmits", 0)
                .owned_here();
        }
        assert_eq!(run.all("connection").iter().filter(|c| c["role"] == "server").count(), 2);
    });
}

#[test]
fn server_works_and_waits_for_the_final_ack() {
    scenario(|lab| {
        without_cookie(lab);
        let tracer = Tracer::start(lab, &[]);
        let listener = listen(lab);
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.send(SYN, b"early");
        let mut server = accept(&listener);
        server.hear(5);
        peer.expect_flags(SYN | ACK);
        pause(120);
        peer.send(ACK, b"");
        pause(60);
        peer.reset();
        let run = tracer.stop_after(1);
        drop(server);
        let _ = Check::conn(run.fine().server())
            .eq("handshake_source", "syn")
            .lasts("handshake_us", 120)
            .lasts("phases_us/syn_recv", 120)
            .lasts("established_us", 60)
            .eq("bytes_received", 5)
            .eq("outcome", "reset_by_remote")
            .owned_here();
    });
}

#[test]
fn server_closes_before_the_final_ack() {
    scenario(|lab| {
        without_cookie(lab);
        let tracer = Tracer::start(lab, &[]);
        let listener = listen(lab);
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.send(SYN, b"early");
        let mut server = accept(&listener);
        server.hear(5);
        drop(server);
        peer.expect_flags(SYN | ACK);
        peer.expect_fin();
        pause(80);
        peer.send(FIN | ACK, b"");
        peer.expect("the last ACK", |s| s.is(ACK));
        let run = tracer.stop_after(1);
        let _ = Check::conn(run.fine().server())
            .eq("outcome", "closed")
            .eq("close_initiator", "local")
            .lasts("close_us", 80)
            .eq("bytes_received", 5)
            // It never was ESTABLISHED.
            .eq("handshake_us", ())
            .eq("established_us", ())
            .owned_here();
    });
}

#[test]
fn deferred_connect_does_not_count_the_time_before_the_syn() {
    /// linux/tcp.h; libc names it on some targets only.
    const TCP_FASTOPEN_CONNECT: i32 = 30;
    scenario(|lab| {
        without_cookie(lab);
        let tracer = Tracer::start(lab, &[]);
        let listener = listen(lab);
        let mut client = lab
            .a
            .try_connect(lab.b4_port(8080), |s| set_tcp_option(s, TCP_FASTOPEN_CONNECT, 1))
            .expect("connect()");
        // connect() has returned, and no SYN has left.
        pause(300);
        assert_eq!(Counters::read(&lab.b).get("TcpInSegs"), 0);
        client.say(b"now");
        let mut server = accept(&listener);
        server.hear(3);
        drop(server);
        client.hear_end();
        drop(client);
        let run = tracer.stop_after(2);
        let _ = Check::conn(run.fine().client())
            .eq("outcome", "closed")
            .eq("handshake_source", "srtt")
            .brief("handshake_us")
            .eq("bytes_sent", 3)
            .owned_here();
        let _ = Check::conn(run.server())
            .eq("handshake_source", "syn")
            .brief("handshake_us")
            .eq("bytes_received", 3);
    });
}
