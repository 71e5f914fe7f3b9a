//! Connections that end by a RST, that get no answer any more, or only slow ones.

use nix::sys::signal::Signal;

use crate::support::counters::Counters;
use crate::support::page::Counts;
use crate::support::raw::ACK;
use crate::support::sock::{Talk as _, accept, listen_here, set_option, set_tcp_option};
use crate::support::{Child, Raw, Shown, documented, ms, pause};

use super::called;

#[test]
fn resets() {
    documented(|lab| {
        called("shop");
        let addr = lab.b4_port(8080);
        let listener = lab.b.listen(addr);
        let shown = Shown::start(lab);
        let before = Counters::read(&lab.b);
        // The peer resets.
        let client = lab.a.connect(addr);
        let server = accept(&listener);
        client.close_with_reset();
        shown.wait(1, "reset");
        drop(server);
        // Closed with unread data.
        let mut client = lab.a.connect(addr);
        let server = accept(&listener);
        client.say(b"never read");
        pause(50);
        drop(server);
        shown.wait(2, "reset");
        // Closed with linger 0.
        let _client = lab.a.connect(addr);
        accept(&listener).close_with_reset();
        shown.wait(3, "reset");
        drop(listener);
        // Killed with unread data.
        let mut worker = Child::start(&lab.b, "jobs", move |control| {
            let listener = listen_here(addr, 16, |_| ());
            control.done();
            let _server = accept(&listener);
            control.done();
            control.wait();
        });
        worker.wait_done();
        let mut client = lab.a.connect(addr);
        client.say(b"never read");
        worker.wait_done();
        pause(50);
        worker.signal(Signal::SIGKILL);
        let _ = worker.wait_end();
        shown.wait(4, "reset");
        // What the page says of the kernel's counters.
        let after = Counters::read(&lab.b);
        let grown = |name| after.get(name) - before.get(name);
        assert_eq!(grown("TcpExtTCPAbortOnClose"), 2, "unread data");
        assert_eq!(grown("TcpExtTCPAbortOnData"), 1, "linger 0");
        shown.interrupt(Counts::Exact);
    });
}

#[test]
fn peer_gone() {
    documented(|lab| {
        called("shop");
        let listener = lab.b.listen(lab.b4_port(8080));
        let shown = Shown::start(lab);
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        let idle = accept(&listener);
        set_tcp_option(&idle, libc::TCP_KEEPIDLE, 1);
        set_tcp_option(&idle, libc::TCP_KEEPINTVL, 1);
        set_tcp_option(&idle, libc::TCP_KEEPCNT, 2);
        set_option(&idle, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
        shown.wait(1, "timeout");
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        let mut busy = accept(&listener);
        set_tcp_option(&busy, libc::TCP_USER_TIMEOUT, 1_500);
        busy.say(b"into the void");
        shown.wait(2, "timeout");
        shown.interrupt(Counts::Exact);
    });
}

#[test]
fn retransmissions() {
    documented(|lab| {
        called("shop");
        let listener = lab.b.listen(lab.b4_port(8080));
        let shown = Shown::start(lab);
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        let mut server = accept(&listener);
        server.say(b"0123456789");
        peer.expect("the data", |s| s.data.len() == 10);
        // The first copy is lost.
        peer.expect("the data again", |s| s.data.len() == 10);
        peer.send(ACK, b"");
        server.finish();
        peer.expect_fin();
        peer.send(ACK | crate::support::raw::FIN, b"");
        server.hear_end();
        drop(server);
        shown.finish(Counts::Exact);
    });
}
