//! Short connections over loopback, both ends on this host: connect, the client closes, the server
//! follows. Ten transitions each.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use crate::support::sock::{connect_here, listen_here};
use crate::support::{Child, Netns};

const PORT: u16 = 8080;
/// Clients and server threads.
pub(crate) const THREADS: usize = 8;

/// A namespace with a server that closes when its clients do.
pub(crate) struct Stage {
    pub(crate) ns: Netns,
    _server: Child,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let ns = Netns::new();
        ns.sysctl("ipv4/ip_local_port_range", "1024 65535");
        let mut server = Child::start(&ns, "load-server", |control| {
            let listener = listen_here(SocketAddr::from(([0, 0, 0, 0], PORT)), 4096, |_| ());
            for _ in 0..THREADS {
                let listener = listener.try_clone().expect("dup()");
                std::thread::spawn(move || {
                    loop {
                        let (mut stream, _) = listener.accept().expect("accept()");
                        let _ = stream.read(&mut [0; 64]);
                    }
                });
            }
            control.done();
            control.wait();
        });
        server.wait_done();
        Self { ns, _server: server }
    }

    /// As many as go, `THREADS` at a time; how long `total` of them took.
    pub(crate) fn full_speed(&self, total: usize) -> Duration {
        self.play(total, |_| ())
    }

    /// So many a second (open loop: one that is late does not put off those after it); how late the
    /// last one was.
    pub(crate) fn at_rate(&self, total: usize, rate: f64) -> Duration {
        let began = Instant::now();
        self.play(total, |n| {
            let due = began + Duration::from_secs_f64(n as f64 / rate);
            if let Some(wait) = due.checked_duration_since(Instant::now()) {
                std::thread::sleep(wait);
            }
        })
    }

    fn play(&self, total: usize, wait: impl Fn(usize) + Sync) -> Duration {
        let next = AtomicUsize::new(0);
        // Threads start before the clock does.
        let ready = Barrier::new(THREADS + 1);
        let mut took = Duration::ZERO;
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (next, ready, wait) = (&next, &ready, &wait);
                    scope.spawn(move || {
                        self.ns.run(|| {
                            // An address each, so that no 4-tuple comes again within a minute.
                            let host = u8::try_from(thread + 1).expect("few threads");
                            let to = SocketAddr::from((Ipv4Addr::new(127, 0, 1, host), PORT));
                            ready.wait();
                            loop {
                                let n = next.fetch_add(1, Ordering::Relaxed);
                                if n >= total {
                                    break;
                                }
                                wait(n);
                                let mut stream = connect_here(to, |_| ()).expect("connect()");
                                stream.shutdown(Shutdown::Write).expect("shutdown()");
                                let _ = stream.read(&mut [0; 1]);
                            }
                        });
                    })
                })
                .collect();
            ready.wait();
            let began = Instant::now();
            for client in clients {
                client.join().expect("a client");
            }
            took = began.elapsed();
        });
        took
    }
}
