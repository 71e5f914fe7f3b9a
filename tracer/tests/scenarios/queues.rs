//! Accept queues: waiting to be accepted, overflow, and never being accepted.

use crate::support::counters::Counters;
use crate::support::sock::{Talk as _, accept};
use crate::support::{Check, Tracer, ms, pause, scenario, wait_until};

#[test]
fn waiting_to_be_accepted_is_measured() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let mut client = lab.a.connect(lab.b4_port(8080));
        pause(130);
        drop(accept(&listener));
        client.hear_end();
        drop(client);
        let run = tracer.stop_after(2);
        let _ = Check::conn(run.fine().server())
            .lasts("accept_wait_us", 130)
            .brief("handshake_us")
            .lasts("established_us", 130)
            .owned_here()
            .nulls(&["container"]);
    });
}

#[test]
fn overflow_of_the_accept_queue_shows_as_repeated_syns_on_both_sides() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        // listen(1) holds two.
        let listener = lab.b.listen_with(lab.b4_port(8080), 1, |_| ());
        let first = lab.a.connect(lab.b4_port(8080));
        let second = lab.a.connect(lab.b4_port(8080));
        let third = lab.a.start_connect(lab.b4_port(8080), |_| ());
        wait_until("the queue overflows", ms(3_000), || {
            Counters::read(&lab.b).get("TcpExtListenOverflows") >= 1
        });
        pause(300);
        let accepted = [accept(&listener), accept(&listener), accept(&listener)];
        let third_port = third.local_addr().expect("an address").as_socket().expect("IP").port();
        drop((first, second, third));
        for mut server in accepted {
            server.hear_end();
        }
        let run = tracer.stop_after(6);
        let third = |role: &'static str, field: &'static str| {
            run.conn(|c| c["role"] == role && c[field] == third_port)
        };
        let _ = Check::conn(third("client", "local_port"))
            .lasts("handshake_us", 1_000)
            .eq("syn_retransmits", 1)
            .eq("outcome", "closed");
        let _ = Check::conn(third("server", "remote_port"))
            .eq("handshake_source", "syn")
            .lasts("handshake_us", 1_000)
            .eq("syn_retransmits", 1)
            .brief("accept_wait_us")
            .eq("outcome", "closed");
        for record in run.fine().connections() {
            if record["role"] == "server" && record["remote_port"] != third_port {
                let _ = Check::conn(record)
                    .brief("handshake_us")
                    .eq("syn_retransmits", 0)
                    .within("accept_wait_us", 290e3..=2e6);
            }
        }
    });
}

#[test]
fn never_accepted_and_the_listener_is_closed() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let mut client = lab.a.connect(lab.b4_port(8080));
        client.say(b"hello?");
        client.finish();
        pause(100);
        drop(listener);
        let run = tracer.stop_after(2);
        drop(client);
        let _ = Check::conn(run.fine().server())
            .eq("outcome", "reset_by_local")
            .eq("close_initiator", "remote")
            .lasts("close_us", 100)
            .phases(&["syn_recv", "established", "close_wait"])
            .eq("bytes_received", 6)
            .nulls(&["accept_wait_us", "comm", "container", "pid"]);
        let _ = Check::conn(run.client())
            .eq("outcome", "reset_by_remote")
            .eq("close_initiator", "local")
            .phases(&["syn_sent", "established", "fin_wait1", "fin_wait2"]);
    });
}

#[test]
fn never_accepted_and_the_client_resets() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let client = lab.a.connect(lab.b4_port(8080));
        pause(60);
        client.close_with_reset();
        let run = tracer.stop_after(2);
        drop(listener);
        let _ = Check::conn(run.fine().server())
            .eq("outcome", "reset_by_remote")
            .lasts("established_us", 60)
            .nulls(&["accept_wait_us", "close_initiator", "close_us", "comm", "container", "pid"]);
    });
}
