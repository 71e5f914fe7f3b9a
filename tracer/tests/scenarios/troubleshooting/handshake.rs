//! Connections that take long to come about, or never do.

use std::time::Duration;

use crate::support::counters::Counters;
use crate::support::crowd::Crowd;
use crate::support::page::Counts;
use crate::support::raw::{ACK, SYN};
use crate::support::sock::{Talk as _, accept, set_tcp_option};
use crate::support::{Lab, Raw, Shown, documented, ms, pause, wait_until};

use super::called;

/// Host b connects to port 5432 of host a, whose packet filter loses the first SYN.
fn first_syn_lost(lab: &Lab) {
    called("shop");
    let addr = std::net::SocketAddr::new(lab.a4(), 5432);
    let listener = lab.a.listen(addr);
    let one = |lose: bool| {
        if lose {
            lab.a.drop_input("tcp flags & (syn | ack) == syn");
        }
        let socket = lab.b.start_connect(addr, |_| ());
        if lose {
            wait_until("the SYN is dropped", ms(3_000), || lab.a.dropped() >= 1);
            lab.a.undrop();
        }
        let mut server = accept(&listener);
        drop(socket);
        server.hear_end();
    };
    one(false);
    one(true);
    one(false);
}

#[test]
fn slow_connect() {
    documented(|lab| {
        let shown = Shown::start(lab);
        first_syn_lost(lab);
        shown.wait(1, "closed");
        shown.interrupt(Counts::Exact);
    });
}

#[test]
fn slow_connect_json() {
    documented(|lab| {
        let shown = Shown::start(lab);
        first_syn_lost(lab);
        shown.finish(Counts::Exact);
    });
}

/// A SYN that host b's own filter drops, a SYN-ACK that gets lost, and a final ACK that is late.
#[test]
fn slow_handshake_here() {
    documented(|lab| {
        called("web");
        let listener = lab.b.listen(lab.b4_port(8080));
        let shown = Shown::start(lab);
        lab.b.drop_input("tcp flags & (syn | ack) == syn");
        let client = lab.a.start_connect(lab.b4_port(8080), |_| ());
        wait_until("the SYN is dropped", ms(3_000), || lab.b.dropped() >= 1);
        lab.b.undrop();
        let mut server = accept(&listener);
        drop(client);
        server.hear_end();
        drop(server);
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.send(SYN, b"");
        peer.expect_flags(SYN | ACK);
        peer.expect("the SYN-ACK again", |s| s.is(SYN | ACK));
        peer.send(ACK, b"");
        let server = accept(&listener);
        peer.reset();
        pause(50);
        drop(server);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(600));
        let server = accept(&listener);
        peer.reset();
        pause(50);
        drop(server);
        shown.finish(Counts::Exact);
    });
}

#[test]
fn listen_queue_full() {
    documented(|lab| {
        called("web");
        // listen(1) holds two.
        let listener = lab.b.listen_with(lab.b4_port(8080), 1, |_| ());
        let shown = Shown::start(lab);
        let first = lab.a.connect(lab.b4_port(8080));
        let second = lab.a.connect(lab.b4_port(8080));
        let third = lab.a.start_connect(lab.b4_port(8080), |_| ());
        wait_until("the queue overflows", ms(3_000), || {
            Counters::read(&lab.b).get("TcpExtListenOverflows") >= 1
        });
        pause(500);
        let mut accepted = vec![accept(&listener), accept(&listener), accept(&listener)];
        let clients: [Box<dyn std::any::Any>; 3] =
            [Box::new(first), Box::new(second), Box::new(third)];
        for (client, mut server) in clients.into_iter().zip(accepted.drain(..)) {
            drop(client);
            server.hear_end();
            drop(server);
            pause(20);
        }
        shown.finish(Counts::Exact);
    });
}

#[test]
fn slow_accept() {
    documented(|lab| {
        called("web");
        let listener = lab.b.listen(lab.b4_port(8080));
        let shown = Shown::start(lab);
        let mut clients = vec![lab.a.connect(lab.b4_port(8080))];
        drop(accept(&listener));
        clients[0].hear_end();
        clients.push(lab.a.connect(lab.b4_port(8080)));
        pause(1_500);
        drop(accept(&listener));
        clients[1].hear_end();
        shown.finish(Counts::Exact);
    });
}

#[test]
fn accept_queue_overload() {
    documented(|lab| {
        called("web");
        let listener = lab.b.listen_with(lab.b4_port(8080), 16, |_| ());
        let shown = Shown::start(lab);
        std::thread::scope(|scope| {
            let crowd = Crowd::new(lab.b4_port(8080), 300, Duration::from_secs(5));
            let crowd = scope.spawn(|| crowd.stay().give_up(ms(200)).run(&lab.a));
            shown.wait(1, "NOTICE start");
            shown.interrupt(Counts::Vary);
            drop(listener);
            crowd.join().expect("the crowd");
        });
    });
}

#[test]
fn refused() {
    documented(|lab| {
        called("shop");
        let shown = Shown::start(lab);
        let addr = std::net::SocketAddr::new(lab.a4(), 5432);
        lab.b.try_connect(addr, |_| ()).expect_err("nobody listens");
        shown.wait(1, "refused");
        shown.interrupt(Counts::Exact);
    });
}

#[test]
fn nobody_answers() {
    documented(|lab| {
        called("shop");
        let shown = Shown::start(lab);
        let _raw = Raw::new(lab);
        lab.b
            .try_connect(lab.raw4_port(5432), |s| set_tcp_option(s, libc::TCP_SYNCNT, 1))
            .expect_err("nobody answers");
        shown.wait(1, "timeout");
        shown.interrupt(Counts::Exact);
    });
}

#[test]
fn filtered_here() {
    documented(|lab| {
        called("web");
        let _listener = lab.b.listen(lab.b4_port(8080));
        lab.b.drop_input("tcp dport 8080");
        let shown = Shown::start(lab);
        let client = lab.a.start_connect(lab.b4_port(8080), |_| ());
        wait_until("a SYN is dropped twice", ms(5_000), || lab.b.dropped() >= 2);
        // A SYN without an answer is taken for a half-open connection for a second.
        pause(1_400);
        shown.interrupt(Counts::Vary);
        drop(client);
    });
}

#[test]
fn unreachable() {
    documented(|lab| {
        called("shop");
        let shown = Shown::start(lab);
        // No route: connect() fails before there is a SYN.
        let nowhere = "198.51.100.1:443".parse().expect("an address");
        let error = lab.b.try_connect(nowhere, |_| ()).expect_err("no route");
        assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH));
        let raw = Raw::new(lab);
        let socket = lab.b.start_connect(lab.raw4_port(5432), |_| ());
        raw.server(5432).unreachable();
        shown.wait(1, "unreach");
        shown.interrupt(Counts::Exact);
        drop(socket);
    });
}
