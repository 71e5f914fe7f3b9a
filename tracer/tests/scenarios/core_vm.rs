//! The core set: also runs in the VM on older kernels, where there is little besides `ip` and
//! everything takes many times longer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::flood::{Flood, dropped_by, swallow_answers};
use crate::support::raw::{ACK, FIN, SYN};
use crate::support::sock::{Talk as _, accept, connect_here, listen_here};
use crate::support::tracer::command;
use crate::support::{Check, Child, Raw, Run, Tracer, Value, load, ms, pause, scenario};
use crate::write::{talk, target};

#[test]
fn core_attach_and_clean_end() {
    scenario(|lab| {
        let run = Tracer::start(lab, &[]).stop();
        let hooks = run.fine().start()["hooks"].as_array().expect("hooks").clone();
        for (name, device) in
            [("inet_sock_set_state", None), ("syn", Some("lo")), ("syn", Some("vb"))]
        {
            let hook = hooks
                .iter()
                .find(|h| h["name"] == name && h["interface"].as_str() == device)
                .unwrap_or_else(|| panic!("{name} {device:?}: {}", run.start()));
            let _ = Check::of(hook).eq("attached", true);
        }
        // The owner of accepted sockets comes from one of two hooks; one must be there.
        let accept = |h: &Value| {
            h["name"].as_str().is_some_and(|name| name.contains("accept")) && h["attached"] == true
        };
        assert!(hooks.iter().any(accept), "{}", run.start());
        assert!(!lab.b.sh("ip -d link show").contains("xdp"));
    });
}

#[test]
fn core_handshake_and_close_of_both_ends() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let mut client = lab.a.connect(lab.b4_port(8080));
        let mut server = accept(&listener);
        client.say(b"ping");
        server.hear(4);
        server.say(b"answer");
        client.hear(6);
        client.finish();
        server.hear_end();
        pause(200);
        drop(server);
        client.hear_end();
        drop(client);
        let run = tracer.stop_after(2);
        let _ = Check::conn(run.fine().client())
            .eq("outcome", "closed")
            .eq("close_initiator", "local")
            .eq("handshake_source", "state")
            .brief("handshake_us")
            .lasts("close_us", 200)
            .phases(&["syn_sent", "established", "fin_wait1", "fin_wait2"])
            .eq("time_wait", true)
            .eq("bytes_sent", 4)
            .eq("bytes_received", 6)
            .eq("netns", lab.a.inode())
            .owned_here()
            .nulls(&["accept_wait_us", "container", "synack_retransmits"]);
        let _ = Check::conn(run.server())
            .eq("outcome", "closed")
            .eq("close_initiator", "remote")
            .eq("handshake_source", "syn")
            .brief("handshake_us")
            .brief("synack_rtt_us")
            .eq("synack_retransmits", 0)
            .brief("accept_wait_us")
            .lasts("phases_us/close_wait", 200)
            .phases(&["syn_recv", "established", "close_wait", "last_ack"])
            .eq("time_wait", false)
            .eq("bytes_sent", 6)
            .eq("bytes_received", 4)
            .eq("local_addr", lab.b4().to_string())
            .eq("local_port", 8080)
            .eq("remote_addr", lab.a4().to_string())
            .eq("remote_port", run.client()["local_port"].clone())
            .eq("netns", lab.b.inode())
            .owned_here()
            .nulls(&["container"]);
    });
}

#[test]
fn core_ipv6() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &["-6"]);
        let addr = SocketAddr::new(lab.b6(), 8080);
        let listener = lab.b.listen(addr);
        drop(lab.a.connect(addr));
        accept(&listener).hear_end();
        let run = tracer.stop_after(2);
        let _ = Check::conn(run.fine().client())
            .eq("local_addr", lab.a6().to_string())
            .eq("outcome", "closed");
        let _ = Check::conn(run.server())
            .eq("local_addr", lab.b6().to_string())
            .eq("remote_addr", lab.a6().to_string())
            .eq("handshake_source", "syn")
            .eq("outcome", "closed");
    });
}

#[test]
fn core_syn_hook_times_the_whole_handshake() {
    scenario(|lab| {
        for (args, source) in [
            (&[] as &[&str], "syn"),
            (&["--syn-hook", "xdp", "--xdp-mode", "generic", "--iface", "vb"], "syn"),
            (&["--syn-hook", "off"], "srtt"),
        ] {
            let tracer = Tracer::start(lab, args);
            let listener = lab.b.listen(lab.b4_port(8080));
            let raw = Raw::new(lab);
            let mut peer = raw.client(lab.b4_port(8080));
            let begin = Instant::now();
            peer.send(SYN, b"");
            let sent = Instant::now();
            peer.expect_flags(SYN | ACK);
            pause(300);
            let least = sent.elapsed();
            peer.send(ACK, b"");
            let server = accept(&listener);
            let most = begin.elapsed();
            peer.reset();
            let run = tracer.stop_after(1);
            drop((server, listener));
            let us = |d: Duration| d.as_secs_f64() * 1e6;
            // srtt begins at the SYN-ACK.
            let least = if source == "syn" { us(least) } else { 300e3 };
            let _ = Check::conn(run.fine().server())
                .eq("handshake_source", source)
                .within("handshake_us", least - 1e3..=us(most))
                .within("synack_rtt_us", 300e3 - 2e3..=us(most))
                .eq("syn_retransmits", if source == "syn" { Some(0) } else { None })
                .eq("outcome", "reset_by_remote");
        }
    });
}

#[test]
fn core_repeated_syn() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.send(SYN, b"");
        peer.expect_flags(SYN | ACK);
        peer.send_at(peer.snd.wrapping_sub(1), SYN, b"");
        pause(100);
        peer.send(ACK, b"");
        let server = accept(&listener);
        peer.reset();
        let run = tracer.stop_after(1);
        drop(server);
        let _ = Check::conn(run.fine().server())
            .eq("handshake_source", "syn")
            .lasts("handshake_us", 100)
            .eq("syn_retransmits", 1);
        let _ = Check::of(run.end()).eq("syns", 2).eq("syns_repeated", 1);
    });
}

#[test]
fn core_refused_and_reset() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        lab.a.try_connect(lab.b4_port(9), |_| ()).expect_err("nobody listens");
        let listener = lab.b.listen(lab.b4_port(8080));
        let client = lab.a.connect(lab.b4_port(8080));
        let server = accept(&listener);
        client.close_with_reset();
        let run = tracer.stop_after(3);
        drop(server);
        let _ = Check::conn(run.fine().conn(|c| c["remote_port"] == 9))
            .eq("role", "client")
            .eq("outcome", "refused")
            .phases(&["syn_sent"])
            .eq("handshake_us", ())
            .owned_here();
        let _ = Check::conn(run.conn(|c| c["remote_port"] == 8080))
            .eq("outcome", "reset_by_local")
            .eq("close_us", ())
            .eq("time_wait", false);
        let _ = Check::conn(run.server())
            .eq("outcome", "reset_by_remote")
            .eq("close_initiator", ())
            .eq("close_us", ())
            .owned_here();
    });
}

#[test]
fn core_simultaneous_close() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let raw = Raw::new(lab);
        let mut peer = raw.client(lab.b4_port(8080));
        peer.open(ms(0));
        let server = accept(&listener);
        server.finish();
        peer.expect_fin();
        peer.rcv -= 1;
        peer.send(FIN | ACK, b"");
        pause(100);
        peer.rcv += 1;
        peer.send(ACK, b"");
        let run = tracer.stop_after(1);
        let _ = Check::conn(run.fine().server())
            .eq("outcome", "closed")
            .eq("close_initiator", "both")
            .lasts("phases_us/closing", 100)
            .phases(&["syn_recv", "established", "fin_wait1", "closing"])
            .eq("time_wait", true);
    });
}

#[test]
fn core_owners_of_both_ends_on_loopback() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let addr = lab.b4_port(8080);
        let mut server = Child::start(&lab.b, "the-server", move |control| {
            let listener = listen_here(addr, 16, |_| ());
            control.done();
            accept(&listener).hear_end();
        });
        server.wait_done();
        let client = Child::start(&lab.b, "the-client", move |_| {
            drop(connect_here(addr, |_| ()).expect("connect()"));
        });
        let pids = (client.pid(), server.pid());
        let run = tracer.stop_after(2);
        client.join();
        server.join();
        let _ = Check::conn(run.fine().client()).owner(pids.0, "the-client");
        let _ = Check::conn(run.server()).owner(pids.1, "the-server").eq("handshake_source", "syn");
    });
}

#[test]
fn core_waiting_to_be_accepted() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let client = lab.a.connect(lab.b4_port(8080));
        pause(300);
        let mut server = accept(&listener);
        drop(client);
        server.hear_end();
        drop(server);
        let run = tracer.stop_after(2);
        let _ = Check::conn(run.fine().server())
            .lasts("accept_wait_us", 300)
            .eq("outcome", "closed")
            .owned_here();
    });
}

#[test]
fn core_open_before() {
    scenario(|lab| {
        let listener = lab.b.listen(lab.b4_port(8080));
        let client = lab.a.connect(lab.b4_port(8080));
        let mut server = accept(&listener);
        let tracer = Tracer::start(lab, &["--local-port", "8080"]);
        drop(client);
        server.hear_end();
        drop(server);
        let run = tracer.stop_after(1);
        let _ = Check::any_conn(run.fine().server())
            .eq("observed_from", "middle")
            .eq("outcome", "closed")
            .eq("close_initiator", "remote")
            .eq("handshake_us", ())
            .owned_here();
    });
}

#[test]
fn core_lost_events_are_counted() {
    const CONNECTIONS: usize = 100;
    scenario(|lab| {
        let mut sent = None;
        for ring in ["4M", "4096"] {
            let tracer = Tracer::start(lab, &["--remote-port", "8080", "--ring-size", ring]);
            // Nobody empties the ring while the connections come and go.
            tracer.signal(Signal::SIGSTOP);
            load::one_by_one(lab, CONNECTIONS);
            tracer.signal(Signal::SIGCONT);
            pause(3_000);
            let run = tracer.stop();
            match sent {
                None => {
                    sent = run.fine().end()["events"].as_u64();
                    assert_eq!(run.connections().len(), CONNECTIONS, "{}", run.dump());
                }
                Some(sent) => load::check_after_loss(&run, sent, CONNECTIONS),
            }
        }
    });
}

#[test]
fn core_a_flood_is_told() {
    const SYNS: u32 = 2_000;
    scenario(|lab| {
        swallow_answers(lab);
        let addr = lab.b4_port(8080);
        let _listener = lab.b.listen(addr);
        let tracer = Tracer::start(lab, &["--local-port", "8080"]);
        pause(500);
        let dropped = dropped_by(&lab.a, "va");
        assert_eq!(Flood::new(addr, SYNS, 400).run(lab).packets, u64::from(SYNS));
        let alert = tracer.alert("flood", "start", Duration::from_secs(5)).expect("an alert");
        let dropped = dropped_by(&lab.a, "va") - dropped;
        let run = tracer.stop();
        let _ = Check::of(&alert)
            .eq("verdict", "spoofed")
            .within("sources_estimate", 0.0..=f64::from(SYNS) * 1.05);
        let _ = Check::of(run.end()).eq("syns", u64::from(SYNS) - dropped);
    });
}

#[test]
fn core_what_was_written_is_read_again() {
    scenario(|lab| {
        let (_folder, _, text) = target();
        let tracer = Tracer::start(lab, &["--port", "8080", "--write", &text]);
        talk(lab, lab.b4_port(8080));
        talk(lab, SocketAddr::new(lab.b6(), 8080));
        // Another port.
        talk(lab, lab.b4_port(8081));
        let listener = lab.b.listen(lab.b4_port(8080));
        let client = lab.a.connect(lab.b4_port(8080));
        let server = accept(&listener);
        pause(60);
        client.close_with_reset();
        pause(20);
        drop((server, listener));
        lab.a.try_connect(lab.b4_port(8080), |_| ()).expect_err("nobody listens");
        let live = tracer.stop_after(7);
        let args = ["--format", "json", "--read", &text];
        let read = Tracer::spawn(&mut command(&lab.b, &args)).finish();
        // As host b has them: what both can know.
        let told = |run: &Run| -> Vec<(String, Vec<Value>)> {
            let b = [lab.b4().to_string(), lab.b6().to_string()];
            let mut told: Vec<_> = run
                .connections()
                .into_iter()
                .filter(|c| b.iter().any(|addr| c["local_addr"] == addr.as_str()))
                .map(|c| {
                    let remote = format!("{} {}", c["remote_addr"], c["remote_port"]);
                    let fields = ["role", "outcome", "close_initiator", "syn_retransmits"];
                    (remote, fields.map(|field| c[field].clone()).to_vec())
                })
                .collect();
            told.sort_by(|a, b| a.0.cmp(&b.0));
            told
        };
        assert_eq!(told(live.fine()).len(), 3, "{}", live.dump());
        assert_eq!(told(read.fine()), told(&live), "{}", read.dump());
        // Two closes of six or seven, a reset of four, a refusal of two, and none of the data.
        let _ = Check::of(&read.end()["frames"]).within("read", 18.0..=20.0).eq("unparsed", 0);
    });
}
