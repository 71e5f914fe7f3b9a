//! Honest connections at a rate: the kernel of host a connects, a thread accepts at the listener.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{SockRef, Socket};

use super::ms;
use super::netns::Netns;
use super::sock::tcp;

/// A thread that accepts and closes at once, until it is dropped.
pub(crate) struct Acceptor {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    /// For this listener, wherever it lives.
    pub(crate) fn new(listener: TcpListener) -> Self {
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        listener.set_nonblocking(true).expect("O_NONBLOCK");
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&accepted));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if listener.accept().is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                } else {
                    std::thread::sleep(Duration::from_micros(500));
                }
            }
        });
        Self { stop, accepted, thread: Some(thread) }
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Who connects, how often and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    to: SocketAddr,
    /// Rates one after the other, connections a second, each for its time.
    steps: Vec<(u32, Duration)>,
    from: Vec<IpAddr>,
    stay: bool,
    fast_open: bool,
    give_up: Duration,
}

/// What became of them.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// connect() called.
    pub(crate) begun: u64,
    /// Connected.
    pub(crate) completed: u64,
    /// Refused, reset or given up.
    pub(crate) failed: u64,
    /// Time it all took.
    pub(crate) took: Duration,
    /// Local address of each that connected, and microseconds from connect() until it was seen to be:
    /// the handshake as the server sees it ends some microseconds later at most.
    pub(crate) times: Vec<(SocketAddr, f64)>,
}

impl Crowd {
    /// `rate` connections a second for so long, each reset as soon as it stands.
    pub(crate) fn new(to: SocketAddr, rate: u32, time: Duration) -> Self {
        Self {
            to,
            steps: vec![(rate, time)],
            from: Vec::new(),
            stay: false,
            fast_open: false,
            give_up: Duration::from_secs(8),
        }
    }

    /// Then another rate.
    pub(crate) fn then(mut self, rate: u32, time: Duration) -> Self {
        self.steps.push((rate, time));
        self
    }

    /// From these local addresses in turn.
    pub(crate) fn from(mut self, addrs: Vec<IpAddr>) -> Self {
        self.from = addrs;
        self
    }

    /// What connects stays until all have been begun.
    pub(crate) fn stay(mut self) -> Self {
        self.stay = true;
        self
    }

    /// With data in the SYN, where both kernels allow it without a cookie (RFC 7413).
    pub(crate) fn fast_open(mut self) -> Self {
        self.fast_open = true;
        self
    }

    /// How long after the last connect() those are waited for that have no answer.
    pub(crate) fn give_up(mut self, after: Duration) -> Self {
        self.give_up = after;
        self
    }

    /// How many are due after this time.
    fn due(&self, mut elapsed: Duration) -> (u64, bool) {
        let mut due = 0.0;
        for &(rate, time) in &self.steps {
            due += f64::from(rate) * elapsed.min(time).as_secs_f64();
            elapsed = elapsed.saturating_sub(time);
        }
        (due as u64, !elapsed.is_zero())
    }

    fn begin(&self, n: u64) -> Option<Socket> {
        let socket = tcp(&self.to);
        socket.set_nonblocking(true).expect("O_NONBLOCK");
        if !self.from.is_empty() {
            let place = usize::try_from(n).expect("a number") % self.from.len();
            SockRef::from(&socket).set_linger(None).expect("SO_LINGER");
            super::sock::set_option(&socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1);
            socket.bind(&SocketAddr::new(self.from[place], 0).into()).expect("bind()");
        }
        if self.fast_open {
            let flags = libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL;
            let sent = socket.send_to_with_flags(b"early", &self.to.into(), flags);
            let begun = sent.is_ok_and(|n| n == 5);
            return begun.then_some(socket);
        }
        match socket.connect(&self.to.into()) {
            Ok(()) => Some(socket),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Some(socket),
            Err(_) => None,
        }
    }

    /// Does it, in `ns`.
    pub(crate) fn run(&self, ns: &Netns) -> Made {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit()");
        setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("setrlimit()");
        ns.run(|| self.run_here())
    }

    fn run_here(&self) -> Made {
        // SAFETY: a plain system call; the descriptor is owned by nobody else.
        let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
        let mut made = Made::default();
        let mut pending: HashMap<u64, (Socket, Instant)> = HashMap::new();
        let mut staying = Vec::new();
        let start = Instant::now();
        let mut over_at: Option<Instant> = None;
        loop {
            let (due, over) = self.due(start.elapsed());
            // At most so many at a time: what came is looked at in between.
            for _ in made.begun..due.min(made.begun + 32) {
                let at = Instant::now();
                match self.begin(made.begun) {
                    Some(socket) => {
                        watch(&epoll, &socket, made.begun);
                        pending.insert(made.begun, (socket, at));
                    }
                    None => made.failed += 1,
                }
                made.begun += 1;
            }
            let behind = made.begun < due;
            for id in ready(&epoll, if behind { 0 } else { 1 }) {
                let Some((socket, at)) = pending.remove(&id) else { continue };
                let connected = socket.take_error().is_ok_and(|error| error.is_none())
                    && socket.peer_addr().is_ok();
                if connected {
                    let from = socket.local_addr().ok().and_then(|a| a.as_socket());
                    let us = at.elapsed().as_secs_f64() * 1e6;
                    made.times.extend(from.map(|addr| (addr, us)));
                    made.completed += 1;
                } else {
                    made.failed += 1;
                }
                if self.stay {
                    staying.push(socket);
                } else {
                    reset(socket);
                }
            }
            if over && !behind {
                let end = *over_at.get_or_insert_with(|| Instant::now() + self.give_up);
                if pending.is_empty() || Instant::now() > end {
                    break;
                }
            }
        }
        made.took = start.elapsed();
        made.failed += pending.len() as u64;
        for (socket, _) in pending.into_values() {
            reset(socket);
        }
        staying.into_iter().for_each(reset);
        made
    }
}

/// close() that leaves no TIME_WAIT, which would use up the ports.
fn reset(socket: Socket) {
    let _ = socket.set_linger(Some(ms(0)));
    drop(socket);
}

fn watch(epoll: &OwnedFd, socket: &Socket, id: u64) {
    let mut event = libc::epoll_event { events: libc::EPOLLOUT as u32, u64: id };
    // SAFETY: both descriptors are open, the event outlives the call.
    let rc = unsafe {
        libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event)
    };
    assert_eq!(rc, 0, "epoll_ctl: {}", std::io::Error::last_os_error());
}

fn ready(epoll: &OwnedFd, limit_ms: i32) -> Vec<u64> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
    // SAFETY: room for 64 events, which outlives the call.
    let n = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), 64, limit_ms) };
    events.iter().take(usize::try_from(n).unwrap_or(0)).map(|event| event.u64).collect()
}
