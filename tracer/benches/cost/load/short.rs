//! Short connections: connect, the client closes, the server follows. Five transitions at each end.

use std::io::Read as _;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::paired::{quantile, sorted};
use crate::support::sock::{connect_here, listen_here, set_tcp_option};
use crate::support::{Child, Netns};

pub(crate) const PORT: u16 = 8080;
/// Threads of the server, and clients of a closed loop.
const THREADS: usize = 8;
/// Clients of an open loop: so many connections may be late before those after them are.
const OPEN_THREADS: usize = 32;

/// A client that is there has closed long before.
const GHOST: Duration = Duration::from_millis(500);

/// A server that closes so long after its clients do, in a process of its own.
pub(crate) fn server(ns: &Netns, port: u16, after: Duration) -> Child {
    let mut server = Child::start(ns, "load-server", move |control| {
        let listener = listen_here(SocketAddr::from(([0, 0, 0, 0], port)), 4096, |_| ());
        // What is accepted inherits it. With SYN cookies a segment that comes again after all is over
        // makes a connection whose client knows nothing of it: whoever reads from it would wait for ever.
        let socket = TcpStream::from(OwnedFd::from(listener.try_clone().expect("dup()")));
        socket.set_read_timeout(Some(GHOST)).expect("SO_RCVTIMEO");
        for _ in 0..THREADS {
            let listener = listener.try_clone().expect("dup()");
            std::thread::spawn(move || {
                loop {
                    // Under a flood a connection may be gone again when it is accepted.
                    let Ok((mut stream, _)) = listener.accept() else { continue };
                    let _ = stream.read(&mut [0; 64]);
                    if !after.is_zero() {
                        // Its FIN is acknowledged at once, and not together with ours.
                        set_tcp_option(&stream, libc::TCP_QUICKACK, 1);
                        std::thread::sleep(after);
                    }
                }
            });
        }
        control.done();
        control.wait();
    });
    server.wait_done();
    server
}

/// A namespace with a server; clients come over its loopback.
pub(crate) struct Stage {
    pub(crate) ns: Netns,
    _server: Child,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let ns = Netns::new();
        let server = server(&ns, PORT, Duration::ZERO);
        Self { ns, _server: server }
    }

    pub(crate) fn clients(&self) -> Clients<'_> {
        // Addresses in turn, so that no 4-tuple comes again within a minute.
        let targets = (1..=u8::try_from(THREADS).unwrap_or(u8::MAX))
            .map(|host| SocketAddr::from((Ipv4Addr::new(127, 0, 1, host), PORT)));
        Clients::new(&self.ns, targets.collect())
    }
}

/// Those who connect.
pub(crate) struct Clients<'a> {
    ns: &'a Netns,
    targets: Vec<SocketAddr>,
    threads: usize,
}

/// What a load yielded.
#[derive(Default)]
pub(crate) struct Yield {
    /// Connections that were made.
    pub(crate) made: usize,
    /// Those that failed.
    pub(crate) failed: usize,
    /// From the first to the end of the last.
    pub(crate) took: Duration,
    /// Of each, in µs, from when it was to begin until the peer had closed, sorted.
    pub(crate) latency: Vec<f64>,
    /// Of each, in µs, how late it began, sorted; all 0 in a closed loop.
    pub(crate) late: Vec<f64>,
}

impl Yield {
    pub(crate) fn per_second(&self) -> f64 {
        self.made as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn latency_at(&self, part: f64) -> f64 {
        quantile(&self.latency, part)
    }

    pub(crate) fn late_at(&self, part: f64) -> f64 {
        quantile(&self.late, part)
    }
}

/// When the `n`th connection is to begin: `None` when there is none any more.
type Schedule<'a> = dyn Fn(usize, Instant) -> Option<Instant> + Sync + 'a;

impl<'a> Clients<'a> {
    pub(crate) fn new(ns: &'a Netns, targets: Vec<SocketAddr>) -> Self {
        ns.sysctl("ipv4/ip_local_port_range", "1024 65535");
        Self { ns, targets, threads: THREADS }
    }

    /// Another number of clients in a closed loop.
    pub(crate) fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Closed loop: each client makes the next connection when the one before is over.
    pub(crate) fn closed(&self, total: usize) -> Yield {
        self.play(self.threads, &|n, began| (n < total).then_some(began))
    }

    /// The same for so long.
    pub(crate) fn closed_for(&self, time: Duration) -> Yield {
        self.play(self.threads, &|_, began| (began.elapsed() < time).then_some(began))
    }

    /// Open loop: so many a second, whether or not those before are over. What is late is counted
    /// from when it was to begin, so that a stall shows in all that it held up (no "coordinated
    /// omission").
    pub(crate) fn open(&self, total: usize, rate: f64) -> Yield {
        self.play(OPEN_THREADS, &|n, began| {
            (n < total).then(|| began + Duration::from_secs_f64(n as f64 / rate))
        })
    }

    fn play(&self, threads: usize, schedule: &Schedule<'_>) -> Yield {
        let next = AtomicUsize::new(0);
        // Threads start before the clock does.
        let ready = Barrier::new(threads + 1);
        let began = Mutex::new(None);
        let mut all = Yield::default();
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..threads)
                .map(|thread| {
                    let (next, ready, began) = (&next, &ready, &began);
                    scope.spawn(move || {
                        self.ns.run(|| {
                            // Sleeps end when they are to.
                            // SAFETY: changes this thread's timers alone.
                            unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
                            ready.wait();
                            // Whoever comes first starts the clock.
                            let began = *began
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .get_or_insert_with(Instant::now);
                            self.client(thread, next, began, schedule)
                        })
                    })
                })
                .collect();
            ready.wait();
            for client in clients {
                let part = client.join().expect("a client");
                all.made += part.made;
                all.failed += part.failed;
                all.took = all.took.max(part.took);
                all.latency.extend(part.latency);
                all.late.extend(part.late);
            }
        });
        all.latency = sorted(all.latency);
        all.late = sorted(all.late);
        all
    }

    fn client(
        &self,
        thread: usize,
        next: &AtomicUsize,
        began: Instant,
        schedule: &Schedule<'_>,
    ) -> Yield {
        let mut part = Yield::default();
        let to = self.targets[thread % self.targets.len()];
        while let Some(mut due) = schedule(next.fetch_add(1, Ordering::Relaxed), began) {
            let now = Instant::now();
            if due == began {
                due = now;
            }
            match due.checked_duration_since(now) {
                Some(wait) if !wait.is_zero() => std::thread::sleep(wait),
                _ => {}
            }
            part.late.push(due.elapsed().as_nanos() as f64 / 1e3);
            let made = connect_here(to, |_| ()).and_then(|mut stream| {
                stream.shutdown(Shutdown::Write)?;
                stream.read(&mut [0; 1])
            });
            part.latency.push(due.elapsed().as_nanos() as f64 / 1e3);
            match made {
                Ok(_) => part.made += 1,
                Err(_) => part.failed += 1,
            }
        }
        part.took = began.elapsed();
        part
    }
}
