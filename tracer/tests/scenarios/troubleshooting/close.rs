//! Closes that take long or hang, and who is to blame.

use crate::close::pair;
use crate::support::page::Counts;
use crate::support::raw::{ACK, FIN};
use crate::support::sock::{Talk as _, accept};
use crate::support::{Lab, Raw, Shown, documented, ms, pause};

use super::called;

#[test]
fn close_wait_leak() {
    documented(|lab| {
        called("shop");
        let shown = Shown::start(lab);
        let leak = || {
            let (client, server) = pair(lab);
            drop(client);
            pause(200);
            server
        };
        let leaked = [leak(), leak(), leak()];
        shown.wait(3, "STUCK CLOSE_WAIT");
        shown.interrupt(Counts::Exact);
        drop(leaked);
    });
}

#[test]
fn peer_does_not_close() {
    documented(|lab| {
        called("shop");
        let shown = Shown::start(lab);
        let (client, server) = pair(lab);
        server.finish();
        shown.wait(2, "STUCK FIN_WAIT2");
        drop(client);
        pause(20);
        drop(server);
        shown.wait(1, "closed");
        shown.interrupt(Counts::Exact);
    });
}

#[test]
fn fin_unanswered() {
    documented(|lab| {
        called("shop");
        lab.b.sysctl("ipv4/tcp_orphan_retries", 2);
        let listener = lab.b.listen(lab.b4_port(8080));
        let shown = Shown::start(lab);
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        // The host is gone: nobody acknowledges the FIN.
        drop(accept(&listener));
        shown.wait(1, "timeout");
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        let mut server = accept(&listener);
        peer.send(FIN | ACK, b"");
        server.hear_end();
        drop(server);
        shown.wait(2, "timeout");
        shown.interrupt(Counts::Exact);
    });
}

/// Three slow closes, one after the other: by the application here, by the peer's, by the path.
fn three_slow_closes(lab: &Lab) {
    let (client, mut server) = pair(lab);
    drop(client);
    server.hear_end();
    pause(1_200);
    drop(server);
    pause(100);
    let (mut client, server) = pair(lab);
    server.finish();
    client.hear_end();
    pause(1_200);
    drop(client);
    pause(100);
    drop(server);
    let listener = lab.b.listen(lab.b4_port(8080));
    let raw = Raw::new(lab);
    let mut peer = raw.client(lab.b4_port(8080));
    peer.open(ms(0));
    let server = accept(&listener);
    server.finish();
    peer.expect_fin();
    pause(1_200);
    peer.send(ACK, b"");
    peer.send(FIN | ACK, b"");
    pause(100);
    drop(server);
}

#[test]
fn slow_close() {
    documented(|lab| {
        called("shop");
        let shown = Shown::start(lab);
        three_slow_closes(lab);
        shown.wait(3, "closed");
        shown.interrupt(Counts::Exact);
    });
}

#[test]
fn slow_close_json() {
    documented(|lab| {
        called("shop");
        let shown = Shown::start(lab);
        three_slow_closes(lab);
        shown.finish(Counts::Exact);
    });
}

#[test]
fn who_closes_first() {
    documented(|lab| {
        called("shop");
        let shown = Shown::start(lab);
        // This side first, and it waits for the peer's FIN.
        let (mut client, mut server) = pair(lab);
        server.finish();
        client.hear_end();
        drop(client);
        server.hear_end();
        drop(server);
        pause(100);
        // This side first, by close(), and the peer only after its delayed ACK.
        let (mut client, server) = pair(lab);
        drop(server);
        client.hear_end();
        pause(300);
        drop(client);
        pause(100);
        // The peer first.
        let (client, mut server) = pair(lab);
        drop(client);
        server.hear_end();
        drop(server);
        shown.finish(Counts::Exact);
    });
}
