//! Whose connection it is: the process that owns the socket, not the one that happened to run.

use std::io::{ErrorKind, Read as _};
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, FromRawFd as _};

use nix::sys::signal::Signal;

use crate::support::child::set_name;
use crate::support::raw::{ACK, FIN, RST};
use crate::support::sock::{Talk as _, accept, connect_here, listen_here, set_option};
use crate::support::{Cgroup, Check, Child, Lab, Raw, Run, Tracer, ms, pause, scenario};

/// A process that accepts one connection on host b, port 8080, hears it out, and closes.
fn server(lab: &Lab, name: &str) -> Child {
    let addr = lab.b4_port(8080);
    let mut child = Child::start(&lab.b, name, move |control| {
        let listener = listen_here(addr, 16, |_| ());
        control.done();
        accept(&listener).hear_end();
    });
    child.wait_done();
    child
}

#[test]
fn both_processes_are_told_apart_on_loopback() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let server = server(lab, "the-server");
        let addr = lab.b4_port(8080);
        // Its own address: over lo, where one softirq serves both ends in either's context.
        let client = Child::start(&lab.b, "the-client", move |_| {
            drop(connect_here(addr, |_| ()).expect("connect()"));
        });
        let pids = (client.pid(), server.pid());
        let run = tracer.stop_after(2);
        client.join();
        server.join();
        let _ =
            Check::conn(run.fine().client()).owner(pids.0, "the-client").eq("outcome", "closed");
        let _ = Check::conn(run.server())
            .owner(pids.1, "the-server")
            .eq("handshake_source", "syn")
            .eq("outcome", "closed");
    });
}

#[test]
fn both_processes_are_told_apart_over_veth() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let server = server(lab, "the-server");
        let addr = lab.b4_port(8080);
        let client = Child::start(&lab.a, "the-client", move |_| {
            drop(connect_here(addr, |_| ()).expect("connect()"));
        });
        let pids = (client.pid(), server.pid());
        let run = tracer.stop_after(2);
        client.join();
        server.join();
        let _ = Check::conn(run.fine().client()).owner(pids.0, "the-client");
        let _ = Check::conn(run.server()).owner(pids.1, "the-server");
    });
}

#[test]
fn workers_that_share_a_listener() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let fd = listener.as_raw_fd();
        let worker = |name| {
            Child::start(&lab.b, name, move |control| {
                control.wait();
                // The old system call: std calls accept4().
                // SAFETY: the listener was inherited; no address is asked for.
                let raw = unsafe { libc::accept(fd, std::ptr::null_mut(), std::ptr::null_mut()) };
                assert!(raw >= 0);
                // SAFETY: just accepted, owned by nobody else.
                let mut stream = unsafe { std::net::TcpStream::from_raw_fd(raw) };
                control.done();
                stream.hear_end();
            })
        };
        let mut workers = [worker("worker-0"), worker("worker-1"), worker("worker-2")];
        let mut ports = Vec::new();
        let mut clients = Vec::new();
        for worker in &mut workers {
            worker.step();
            let client = lab.a.connect(lab.b4_port(8080));
            worker.wait_done();
            ports.push(client.local_addr().expect("an address").port());
            clients.push(client);
        }
        pause(50);
        drop(clients);
        let run = tracer.stop_after(6);
        for (n, port) in ports.into_iter().enumerate() {
            let record = run.fine().conn(|c| c["role"] == "server" && c["remote_port"] == port);
            let _ = Check::conn(record).owner(workers[n].pid(), &format!("worker-{n}"));
        }
    });
}

#[test]
fn servers_that_share_a_port() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let addr = lab.b4_port(8080);
        let start = |name| {
            let mut child = Child::start(&lab.b, name, move |control| {
                let listener =
                    listen_here(addr, 64, |s| s.set_reuse_port(true).expect("SO_REUSEPORT"));
                control.done();
                control.wait();
                // All clients have come and gone: their connections wait in the queues.
                listener.set_nonblocking(true).expect("O_NONBLOCK");
                let mut ports = Vec::new();
                loop {
                    match listener.accept() {
                        Ok((_, from)) => ports.push(from.port()),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => panic!("accept(): {error}"),
                    }
                }
                control.tell(u32::try_from(ports.len()).expect("a count"));
                for port in ports {
                    control.tell(port.into());
                }
            });
            child.wait_done();
            child
        };
        let mut servers = [("server-0", start("server-0")), ("server-1", start("server-1"))];
        for _ in 0..32 {
            drop(lab.a.connect(addr));
        }
        let mut owner_of = Vec::new();
        for (name, server) in &mut servers {
            server.step();
            let count = server.hear();
            assert!(count > 0, "{name} got none of 32 connections");
            for _ in 0..count {
                owner_of.push((server.hear(), server.pid(), *name));
            }
        }
        assert_eq!(owner_of.len(), 32);
        let run = tracer.stop_after(64);
        for (port, pid, name) in owner_of {
            let record = run.fine().conn(|c| c["role"] == "server" && c["remote_port"] == port);
            let _ = Check::conn(record).owner(pid, name);
        }
    });
}

#[test]
fn process_that_exits_before_its_connection_ends() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let raw = Raw::new(lab);
        let addr = lab.raw4_port(7000);
        let client = Child::start(&lab.b, "short-lived", move |_| {
            drop(connect_here(addr, |_| ()).expect("connect()"));
        });
        let pid = client.pid();
        let mut peer = raw.server(7000);
        peer.answer();
        client.join();
        peer.expect_fin();
        pause(100);
        peer.send(FIN | ACK, b"");
        peer.expect_flags(ACK);
        let run = tracer.stop_after(1);
        let _ = Check::conn(run.fine().client())
            .owner(pid, "short-lived")
            .eq("outcome", "closed")
            .eq("close_initiator", "local")
            .lasts("phases_us/fin_wait1", 100)
            .eq("time_wait", true);
    });
}

/// The raw peer connects to a process that accepts and then stands still; `kill` deals with both.
fn killed(lab: &Lab, kill: impl FnOnce(&Child, &mut crate::support::RawConn<'_>)) -> (Run, u32) {
    let tracer = Tracer::start(lab, &[]);
    let addr = lab.b4_port(8080);
    let mut server = Child::start(&lab.b, "victim", move |control| {
        let listener = listen_here(addr, 16, |_| ());
        control.done();
        let _stream = accept(&listener);
        control.done();
        control.wait();
    });
    server.wait_done();
    let raw = Raw::new(lab);
    let mut peer = raw.client(lab.b4_port(8080));
    peer.open(ms(0));
    server.wait_done();
    kill(&server, &mut peer);
    let pid = server.pid();
    let run = tracer.stop_after(1);
    let _ = server.wait_end();
    (run, pid)
}

#[test]
fn killed_process() {
    scenario(|lab| {
        let (run, pid) = killed(lab, |server, peer| {
            server.signal(Signal::SIGKILL);
            peer.expect_fin();
            pause(60);
            peer.send(FIN | ACK, b"");
            peer.expect_flags(ACK);
        });
        let _ = Check::conn(run.fine().server())
            .owner(pid, "victim")
            .eq("outcome", "closed")
            .eq("close_initiator", "local")
            .lasts("close_us", 60)
            .eq("time_wait", true);
    });
}

#[test]
fn killed_process_with_unread_data() {
    scenario(|lab| {
        let (run, pid) = killed(lab, |server, peer| {
            peer.send(ACK, b"never read");
            pause(50);
            server.signal(Signal::SIGKILL);
            peer.expect("RST", |s| s.flags & RST != 0);
        });
        let _ = Check::conn(run.fine().server())
            .owner(pid, "victim")
            .eq("outcome", "reset_by_local")
            .eq("close_initiator", ())
            .eq("bytes_received", 10);
    });
}

#[test]
fn threads_count_as_their_process() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let addr = lab.b4_port(8080);
        let server_fd = listener.as_raw_fd();
        let server = Child::start(&lab.b, "threaded-srv", move |_| {
            let thread = std::thread::spawn(move || {
                set_name("srv-thread");
                // SAFETY: inherited, and nobody else in this process owns it.
                let listener = unsafe { TcpListener::from_raw_fd(server_fd) };
                accept(&listener).hear_end();
            });
            thread.join().expect("the thread");
        });
        let client = Child::start(&lab.a, "threaded-cli", move |_| {
            let thread = std::thread::spawn(move || {
                set_name("cli-thread");
                connect_here(addr, |_| ()).expect("connect()")
            });
            let stream = thread.join().expect("the thread");
            // Another thread closes it.
            drop(stream);
        });
        let pids = (client.pid(), server.pid());
        let run = tracer.stop_after(2);
        client.join();
        server.join();
        let _ = Check::conn(run.fine().client()).owner(pids.0, "threaded-cli");
        let _ = Check::conn(run.server()).owner(pids.1, "threaded-srv");
    });
}

#[test]
fn connection_handed_to_a_forked_child() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let listener = lab.b.listen(lab.b4_port(8080));
        let client = lab.a.connect(lab.b4_port(8080));
        let accepted = accept(&listener);
        let fd = accepted.as_raw_fd();
        let client_fd = client.as_raw_fd();
        let child = Child::start(&lab.b, "session", move |_| {
            // SAFETY: this process's copy of the test's client socket, which it must not hold.
            unsafe { libc::close(client_fd) };
            // SAFETY: inherited, and nobody else in this process owns it.
            let mut stream = unsafe { std::net::TcpStream::from_raw_fd(fd) };
            stream.hear_end();
        });
        pause(50);
        // From here on only the child holds it, as after sshd's fork.
        drop(accepted);
        client.finish();
        let pid = child.pid();
        let run = tracer.stop_after(2);
        child.join();
        let mut client = client;
        let _ = client.read(&mut [0]);
        let _ = Check::conn(run.fine().server()).owner(pid, "session").eq("outcome", "closed");
    });
}

/// Runs a server in a cgroup of this name and returns the records.
fn server_in_cgroup(lab: &Lab, name: &str) -> Run {
    let (tracer, server, _cgroup) = cgroup_connection(lab, name, &[]);
    server.join();
    tracer.stop_after(2)
}

/// One connection to a server in a cgroup of this name, from a client outside.
pub(crate) fn cgroup_connection(lab: &Lab, name: &str, args: &[&str]) -> (Tracer, Child, Cgroup) {
    let cgroup = Cgroup::new(name);
    let tracer = Tracer::start(lab, args);
    let (addr, procs) = (lab.b4_port(8080), cgroup.path().join("cgroup.procs"));
    let mut server = Child::start(&lab.b, "in-a-cgroup", move |control| {
        std::fs::write(procs, "0").expect("join the cgroup");
        let listener = listen_here(addr, 16, |_| ());
        control.done();
        accept(&listener).hear_end();
    });
    server.wait_done();
    drop(lab.a.connect(addr));
    (tracer, server, cgroup)
}

#[test]
fn cgroup_filter() {
    scenario(|lab| {
        let name = format!("tracer-scenario-{}", std::process::id());
        let path = format!("/{name}");
        let (tracer, server, _cgroup) = cgroup_connection(lab, &name, &["--cgroup", &path]);
        server.join();
        tracer.wait_connections(1);
        pause(300);
        let run = tracer.stop();
        assert_eq!(run.fine().connections().len(), 1, "{}", run.dump());
        let _ = Check::conn(run.server()).eq("cgroup", path);
    });
}

#[test]
fn cgroup_of_an_accepted_socket() {
    scenario(|lab| {
        let name = format!("tracer-scenario-{}", std::process::id());
        let run = server_in_cgroup(lab, &name);
        let _ =
            Check::conn(run.fine().server()).eq("cgroup", format!("/{name}")).eq("container", ());
    });
}

#[test]
fn container_id_from_the_cgroup() {
    scenario(|lab| {
        let id = format!("{:064x}", 0xabc0_0000_0000_u64 + u64::from(std::process::id()));
        let name = format!("docker-{id}.scope");
        let run = server_in_cgroup(lab, &name);
        let _ =
            Check::conn(run.fine().server()).eq("cgroup", format!("/{name}")).eq("container", id);
    });
}

#[test]
fn name_with_terminal_codes_is_harmless() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let server = server(lab, "\u{1b}[31m\"x\\\n");
        drop(lab.a.connect(lab.b4_port(8080)));
        let run = tracer.stop_after(2);
        let pid = server.pid();
        server.join();
        // As data it is what it is; no raw control character may be in the line, or it would have
        // been no JSON.
        let _ = Check::conn(run.fine().server()).eq("pid", pid).eq("comm", "\u{1b}[31m\"x\\\n");
    });
}

#[test]
fn name_that_is_no_utf8_is_shown_all_the_same() {
    scenario(|lab| {
        let tracer = Tracer::start(lab, &[]);
        let addr = lab.b4_port(8080);
        let mut server = Child::start(&lab.b, "later", move |control| {
            // SAFETY: NUL-terminated.
            unsafe { libc::prctl(libc::PR_SET_NAME, c"a\xff\xfe".as_ptr()) };
            let listener = listen_here(addr, 16, |s| {
                set_option(s, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
            });
            control.done();
            accept(&listener).hear_end();
        });
        server.wait_done();
        drop(lab.a.connect(addr));
        let run = tracer.stop_after(2);
        let pid = server.pid();
        server.join();
        let record = run.fine().server();
        let _ = Check::conn(record).eq("pid", pid);
        assert!(record["comm"].as_str().is_some_and(|comm| comm.starts_with('a')), "{record}");
    });
}
