//! Connections that were open before the tracer was, and those that are open when it ends.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::raw::{ACK, FIN, RST};
use crate::support::sock::{Talk as _, accept, connect_here, listen_here};
use crate::support::{Check, Child, Raw, Tracer, ms, pause, scenario};

/// Null at the end of a connection that was open before: the handshake nobody saw.
const UNSEEN: &[&str] = &[
    "accept_wait_us",
    "container",
    "established_us",
    "handshake_source",
    "handshake_us",
    "retransmits",
    "syn_retransmits",
    "synack_retransmits",
    "synack_rtt_us",
];

#[test]
fn open_before_with_owner_and_end() {
    scenario(|lab| {
        let addr = lab.b4_port(8080);
        let mut server = Child::start(&lab.b, "old-server", move |control| {
            let listener = listen_here(addr, 16, |_| ());
            control.done();
            accept(&listener).hear_end();
        });
        server.wait_done();
        let mut client = Child::start(&lab.a, "old-client", move |control| {
            let stream = connect_here(addr, |_| ()).expect("connect()");
            control.done();
            control.wait();
            drop(stream);
        });
        client.wait_done();
        let tracer = Tracer::start(lab, &[]);
        pause(100);
        client.step();
        let run = tracer.stop_after(2);
        let (client_pid, server_pid) = (client.pid(), server.pid());
        client.join();
        server.join();
        let side = |port: &str| run.fine().conn(|c| c[port] == 8080);
        // The listener tells which end is the server's.
        let _ = Check::any_conn(side("local_port"))
            .eq("observed_from", "middle")
            .eq("events_lost", false)
            .eq("role", "server")
            .eq("outcome", "closed")
            .eq("close_initiator", "remote")
            .brief("close_us")
            .phases(&["close_wait", "last_ack"])
            .eq("time_wait", false)
            .owner(server_pid, "old-server")
            .nulls(UNSEEN);
        let _ = Check::any_conn(side("remote_port"))
            .eq("observed_from", "middle")
            .eq("events_lost", false)
            .eq("outcome", "closed")
            .eq("close_initiator", "local")
            .phases(&["fin_wait1", "fin_wait2"])
            .owner(client_pid, "old-client");
    });
}

#[test]
fn owner_of_a_connection_that_is_reset_from_outside_comes_from_proc() {
    scenario(|lab| {
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        let server = accept(&listener);
        let tracer = Tracer::start(lab, &[]);
        pause(50);
        // Only softirq runs from here on.
        peer.send(RST | ACK, b"");
        let run = tracer.stop_after(1);
        drop(server);
        let _ = Check::any_conn(run.fine().conn(|_| true))
            .eq("observed_from", "middle")
            .eq("outcome", "reset_by_remote")
            .eq("role", "server")
            .owned_here();
    });
}

#[test]
fn closing_before_the_start_leaves_the_close_time_unknown() {
    scenario(|lab| {
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        let mut server = accept(&listener);
        peer.send(FIN | ACK, b"");
        server.hear_end();
        let tracer = Tracer::start(lab, &[]);
        drop(server);
        peer.expect_fin();
        pause(70);
        peer.send(ACK, b"");
        let run = tracer.stop_after(1);
        let _ = Check::any_conn(run.fine().conn(|_| true))
            .eq("observed_from", "middle")
            .eq("outcome", "closed")
            .eq("close_initiator", "remote")
            .eq("close_us", ())
            .lasts("phases_us/last_ack", 70)
            .phases(&["last_ack"]);
    });
}

#[test]
fn still_open_at_the_end() {
    scenario(|lab| {
        let listener = lab.b.listen(lab.b4_port(8080));
        let old = lab.a.connect(lab.b4_port(8080));
        let old_accepted = accept(&listener);
        let tracer = Tracer::start(lab, &["--local-port", "8080"]);
        let new = lab.a.connect(lab.b4_port(8080));
        let new_accepted = accept(&listener);
        new.finish();
        pause(150);
        let run = tracer.stop();
        let _ = Check::of(run.fine().end()).eq("open", 2).eq("connections", 0);
        let open = run.all("open");
        assert_eq!(open.len(), 2, "{}", run.dump());
        let by_port = |stream: &std::net::TcpStream| {
            let port = stream.local_addr().expect("an address").port();
            *open.iter().find(|o| o["remote_port"] == port).expect("its record")
        };
        let _ = Check::of(by_port(&old))
            .eq("state", "ESTABLISHED")
            .eq("observed_from", "middle")
            .eq("outcome", ())
            .eq("time_end", ())
            .eq("handshake_us", ())
            .owned_here();
        let _ = Check::of(by_port(&new))
            .eq("state", "CLOSE_WAIT")
            .within("state_us", 100e3..=5e6)
            .eq("observed_from", "start")
            .eq("role", "server")
            .eq("handshake_source", "syn")
            .eq("close_initiator", "remote")
            .eq("outcome", ())
            .owned_here();
        drop((old_accepted, new_accepted));
    });
}

#[test]
fn sigusr1_lists_what_is_open_and_the_hosts_so_far() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--local-port", "8080"]);
        let listener = lab.b.listen(lab.b4_port(8080));
        drop(lab.a.connect(lab.b4_port(8080)));
        accept(&listener).hear_end();
        let client = lab.a.connect(lab.b4_port(8080));
        let mut server = accept(&listener);
        tracer.wait_connections(1);
        tracer.signal(Signal::SIGUSR1);
        tracer.wait_for(1, Duration::from_secs(3), |r| r["type"] == "open");
        tracer.wait_for(1, Duration::from_secs(3), |r| r["type"] == "host");
        let host = tracer.records().into_iter().find(|r| r["type"] == "host").expect("a host");
        let _ = Check::of(&host).eq("host", lab.a4().to_string()).eq("connections", 1);
        // It goes on.
        drop(client);
        server.hear_end();
        drop(server);
        let run = tracer.stop_after(2);
        let _ = Check::of(run.fine().end()).eq("open", 0).eq("connections", 2);
        assert_eq!(run.all("open").len(), 1, "{}", run.dump());
    });
}

#[test]
fn stuck_in_close_wait() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["--stuck-after", "CLOSE_WAIT=1"]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let client = lab.a.connect(lab.b4_port(8080));
        let server = accept(&listener);
        client.finish();
        // Once at 1 s, again when the age has doubled.
        tracer.wait_for(2, Duration::from_secs(6), |r| r["type"] == "stuck");
        drop(server);
        drop(client);
        let run = tracer.stop_after(2);
        let stuck = run.all("stuck");
        assert_eq!(stuck.len(), 2, "{}", run.dump());
        for (record, at_least) in stuck.into_iter().zip([1e6, 2e6]) {
            let _ = Check::of(record)
                .eq("state", "CLOSE_WAIT")
                .within("state_us", at_least..=at_least + 900e3)
                .eq("role", "server")
                .eq("local_port", 8080)
                .eq("close_initiator", "remote")
                .eq("outcome", ())
                .owned_here();
        }
        let _ = Check::conn(run.fine().server())
            .eq("outcome", "closed")
            .within("phases_us/close_wait", 2e6..=5e6);
    });
}

#[test]
fn stuck_in_syn_sent_and_fin_wait1() {
    scenario(|lab| {
        let args = ["--stuck-after", "SYN_SENT=1", "--stuck-after", "FIN_WAIT1=1"];
        let tracer = Tracer::start(lab, &args);
        let raw = Raw::new(lab);
        let connecting = lab.b.start_connect(lab.raw4_port(7000), |_| ());
        let listener = lab.b.listen(lab.b4_port(8080));
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        drop(accept(&listener));
        tracer.wait_for(2, Duration::from_secs(4), |r| r["type"] == "stuck");
        drop(connecting);
        peer.reset();
        let run = tracer.stop_after(2);
        for state in ["SYN_SENT", "FIN_WAIT1"] {
            let found = run.all("stuck").into_iter().filter(|s| s["state"] == state).count();
            assert!(found >= 1, "{state}: {}", run.dump());
        }
    });
}
