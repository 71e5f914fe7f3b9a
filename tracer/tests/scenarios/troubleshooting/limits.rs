//! Whose a connection is, and what tracer missed.

use nix::sys::signal::Signal;

use crate::support::page::Counts;
use crate::support::sock::{Talk as _, accept, listen_here};
use crate::support::{Cgroup, Child, Shown, documented, pause};

use super::called;

#[test]
fn owner() {
    documented(|lab| {
        let id = format!("3f2a9c0d1e4b{:052x}", std::process::id());
        let cgroup = Cgroup::new(format!("docker-{id}.scope"));
        let (addr, procs) = (lab.b4_port(8080), cgroup.path().join("cgroup.procs"));
        let mut server = Child::start(&lab.b, "shop", move |control| {
            std::fs::write(procs, "0").expect("join the cgroup");
            let listener = listen_here(addr, 16, |_| ());
            control.done();
            accept(&listener).hear_end();
        });
        server.wait_done();
        let shown = Shown::start(lab);
        drop(lab.a.connect(addr));
        server.join();
        // Never accepted: nobody's.
        let listener = lab.b.listen(lab.b4_port(8081));
        let client = lab.a.connect(lab.b4_port(8081));
        client.close_with_reset();
        pause(50);
        drop(listener);
        shown.finish(Counts::Exact);
    });
}

#[test]
fn events_lost() {
    documented(|lab| {
        called("web");
        let listener = lab.b.listen(lab.b4_port(8080));
        let shown = Shown::start(lab);
        // The ring is not emptied while this many come and go.
        shown.signal(Signal::SIGSTOP);
        for _ in 0..300 {
            drop(lab.a.connect(lab.b4_port(8080)));
            accept(&listener).hear_end();
        }
        shown.signal(Signal::SIGCONT);
        pause(700);
        shown.interrupt(Counts::Vary);
    });
}
