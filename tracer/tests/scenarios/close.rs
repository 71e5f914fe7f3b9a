//! Orderly ends: who closed first, where the time went, and whether TIME_WAIT followed.

use crate::support::raw::{ACK, FIN};
use crate::support::sock::{Talk as _, accept};
use crate::support::{Check, Lab, Raw, Tracer, ms, pause, scenario};

/// Null in the record of a client whose connection went well to its end.
const CLIENT: &[&str] = &["accept_wait_us", "container", "synack_retransmits"];
/// Null in the record of an accepted connection that went well to its end.
const SERVER: &[&str] = &["container"];

/// A client on host a and its accepted socket on host b that have exchanged 4 and 6 bytes.
pub(crate) fn pair(lab: &Lab) -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = lab.b.listen(lab.b4_port(8080));
    let mut client = lab.a.connect(lab.b4_port(8080));
    let mut server = accept(&listener);
    client.say(b"ping");
    server.hear(4);
    server.say(b"answer");
    client.hear(6);
    (client, server)
}

#[test]
fn active_close_with_close_and_passive_close() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let (client, mut server) = pair(lab);
        pause(50);
        drop(client);
        server.hear_end();
        pause(150);
        drop(server);
        let run = tracer.stop_after(2);
        // After close() the kernel hands over to a timewait socket at the ACK of our FIN: the
        // peer's FIN is handled out of sight.
        let nulls = [CLIENT, &["time_wait"]].concat();
        let _ = Check::conn(run.fine().client())
            .eq("outcome", "closed")
            .eq("close_initiator", "local")
            .eq("handshake_source", "state")
            .brief("handshake_us")
            .brief("synack_rtt_us")
            .eq("syn_retransmits", 0)
            .lasts("established_us", 50)
            .brief("close_us")
            .phases(&["syn_sent", "established", "fin_wait1", "fin_wait2"])
            .eq("bytes_sent", 4)
            .eq("bytes_received", 6)
            .eq("retransmits", 0)
            .eq("netns", lab.a.inode())
            .eq("local_addr", lab.a4().to_string())
            .eq("remote_addr", lab.b4().to_string())
            .eq("remote_port", 8080)
            .owned_here()
            .nulls(&nulls);
        let _ = Check::conn(run.server())
            .eq("outcome", "closed")
            .eq("close_initiator", "remote")
            .eq("handshake_source", "syn")
            .brief("handshake_us")
            .brief("synack_rtt_us")
            .eq("syn_retransmits", 0)
            .eq("synack_retransmits", 0)
            .brief("accept_wait_us")
            .lasts("established_us", 50)
            .lasts("close_us", 150)
            .lasts("phases_us/close_wait", 150)
            .brief("phases_us/last_ack")
            .phases(&["syn_recv", "established", "close_wait", "last_ack"])
            .eq("time_wait", false)
            .eq("bytes_sent", 6)
            .eq("bytes_received", 4)
            .eq("retransmits", 0)
            .eq("netns", lab.b.inode())
            .eq("local_addr", lab.b4().to_string())
            .eq("local_port", 8080)
            .eq("remote_addr", lab.a4().to_string())
            .eq("remote_port", run.client()["local_port"].clone())
            .owned_here()
            .nulls(SERVER);
    });
}

#[test]
fn active_close_with_shutdown_is_seen_into_time_wait() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let (mut client, mut server) = pair(lab);
        client.finish();
        server.hear_end();
        pause(120);
        drop(server);
        client.hear_end();
        drop(client);
        let run = tracer.stop_after(2);
        let _ = Check::conn(run.fine().client())
            .eq("outcome", "closed")
            .eq("close_initiator", "local")
            .lasts("close_us", 120)
            .phases(&["syn_sent", "established", "fin_wait1", "fin_wait2"])
            .eq("time_wait", true)
            .eq("bytes_sent", 4)
            .eq("bytes_received", 6)
            .nulls(CLIENT);
        let _ = Check::conn(run.server())
            .eq("outcome", "closed")
            .eq("close_initiator", "remote")
            .lasts("close_us", 120)
            .eq("time_wait", false)
            .nulls(SERVER);
    });
}

#[test]
fn half_close_with_data_back() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let (mut client, mut server) = pair(lab);
        client.finish();
        server.hear_end();
        pause(60);
        server.say(&vec![7; 200_000]);
        client.hear(200_000);
        drop(server);
        client.hear_end();
        let run = tracer.stop_after(2);
        let _ = Check::conn(run.fine().client())
            .eq("outcome", "closed")
            .eq("close_initiator", "local")
            .lasts("close_us", 60)
            .phases(&["syn_sent", "established", "fin_wait1", "fin_wait2"])
            .eq("time_wait", true)
            .eq("bytes_sent", 4)
            .eq("bytes_received", 200_006)
            .nulls(CLIENT);
        let _ = Check::conn(run.server())
            .eq("outcome", "closed")
            .eq("close_initiator", "remote")
            .lasts("phases_us/close_wait", 60)
            .phases(&["syn_recv", "established", "close_wait", "last_ack"])
            .eq("time_wait", false)
            .eq("bytes_sent", 200_006)
            .eq("bytes_received", 4)
            .nulls(SERVER);
    });
}

#[test]
fn server_closes_first() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let (mut client, mut server) = pair(lab);
        server.finish();
        client.hear_end();
        pause(100);
        drop(client);
        server.hear_end();
        drop(server);
        let run = tracer.stop_after(2);
        let _ = Check::conn(run.fine().client())
            .eq("outcome", "closed")
            .eq("close_initiator", "remote")
            .lasts("phases_us/close_wait", 100)
            .phases(&["syn_sent", "established", "close_wait", "last_ack"])
            .eq("time_wait", false)
            .nulls(CLIENT);
        let _ = Check::conn(run.server())
            .eq("outcome", "closed")
            .eq("close_initiator", "local")
            .lasts("close_us", 100)
            .phases(&["syn_recv", "established", "fin_wait1", "fin_wait2"])
            .eq("time_wait", true)
            .nulls(SERVER);
    });
}

#[test]
fn simultaneous_close() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        let server = accept(&listener);
        server.finish();
        peer.expect_fin();
        pause(60);
        // Our FIN leaves before theirs has come: it does not acknowledge it.
        peer.rcv -= 1;
        peer.send(FIN | ACK, b"");
        pause(80);
        peer.rcv += 1;
        peer.send(ACK, b"");
        let run = tracer.stop_after(1);
        let _ = Check::conn(run.fine().server())
            .eq("outcome", "closed")
            .eq("close_initiator", "both")
            .lasts("close_us", 140)
            .lasts("phases_us/fin_wait1", 60)
            .lasts("phases_us/closing", 80)
            .phases(&["syn_recv", "established", "fin_wait1", "closing"])
            .eq("time_wait", true)
            .eq("bytes_sent", 0)
            .eq("bytes_received", 0)
            .eq("retransmits", 0)
            .owned_here()
            .nulls(SERVER);
    });
}

#[test]
fn late_acknowledgement_and_late_fin_of_the_peer() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        let server = accept(&listener);
        server.finish();
        peer.expect_fin();
        pause(120);
        peer.send(ACK, b"");
        pause(90);
        peer.send(FIN | ACK, b"");
        peer.expect_flags(ACK);
        let run = tracer.stop_after(1);
        let _ = Check::conn(run.fine().server())
            .eq("outcome", "closed")
            .eq("close_initiator", "local")
            .lasts("phases_us/fin_wait1", 120)
            .lasts("phases_us/fin_wait2", 90)
            .lasts("close_us", 210)
            .phases(&["syn_recv", "established", "fin_wait1", "fin_wait2"])
            .eq("time_wait", true)
            .nulls(SERVER);
    });
}

#[test]
fn fin_that_acknowledges_ours_after_close() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        drop(accept(&listener));
        peer.expect_fin();
        pause(70);
        peer.send(FIN | ACK, b"");
        peer.expect_flags(ACK);
        let run = tracer.stop_after(1);
        let _ = Check::conn(run.fine().server())
            .eq("outcome", "closed")
            .eq("close_initiator", "local")
            .lasts("phases_us/fin_wait1", 70)
            .brief("phases_us/fin_wait2")
            .phases(&["syn_recv", "established", "fin_wait1", "fin_wait2"])
            .eq("time_wait", true)
            .nulls(SERVER);
    });
}

#[test]
fn last_ack_waits_for_the_peer() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        let mut server = accept(&listener);
        peer.send(FIN | ACK, b"");
        server.hear_end();
        pause(60);
        drop(server);
        peer.expect_fin();
        pause(120);
        peer.send(ACK, b"");
        let run = tracer.stop_after(1);
        let _ = Check::conn(run.fine().server())
            .eq("outcome", "closed")
            .eq("close_initiator", "remote")
            .lasts("phases_us/close_wait", 60)
            .lasts("phases_us/last_ack", 120)
            .lasts("close_us", 180)
            .phases(&["syn_recv", "established", "close_wait", "last_ack"])
            .eq("time_wait", false)
            .nulls(SERVER);
    });
}

#[test]
fn data_still_in_flight_counts_into_fin_wait1() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        let mut server = accept(&listener);
        server.say(b"0123456789");
        drop(server);
        peer.expect("the data", |s| s.data.len() == 10);
        peer.expect_fin();
        // Nothing is acknowledged: the kernel sends it again.
        peer.expect("the data again", |s| s.data.len() == 10);
        peer.send(FIN | ACK, b"");
        peer.expect_flags(ACK);
        let run = tracer.stop_after(1);
        let _ = Check::conn(run.fine().server())
            .eq("outcome", "closed")
            .eq("close_initiator", "local")
            .within("phases_us/fin_wait1", 190e3..=800e3)
            .eq("time_wait", true)
            .eq("bytes_sent", 10)
            .eq("retransmits", 1)
            .nulls(SERVER);
    });
}
