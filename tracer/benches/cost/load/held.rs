//! Connections that stay open.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::support::Netns;
use crate::support::sock::{Talk as _, connect_here, listen_here};

/// The first thread's; those of the others follow.
const PORT: u16 = 9100;
/// Sockets of one thread at most: under what a file table may commonly hold, and both ends' ports
/// suffice with one address.
const EACH: usize = 16_000;

/// Idle connections with both ends in one namespace. They end by RST when this is dropped.
///
/// They belong to threads that have file tables of their own: the limit on open files is each
/// table's, and raising it needs `CAP_SYS_RESOURCE`.
pub(crate) struct Held(Vec<Holder>);

struct Holder {
    /// When it is dropped, the thread ends.
    on: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Held {
    /// Allows this process so many sockets, as far as it may, and what it needs besides.
    pub(crate) fn room_for(sockets: usize) {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit()");
        let wanted = sockets as u64 + 2048;
        if wanted > most && setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_ok() {
            return;
        }
        setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("setrlimit()");
    }

    /// So many sockets, two a connection.
    pub(crate) fn new(ns: &Netns, sockets: usize) -> Self {
        Self::room_for(EACH);
        ns.sysctl("ipv4/ip_local_port_range", "1024 65535");
        let full = (0..sockets / EACH).map(|_| EACH);
        let shares = full.chain(Some(sockets % EACH).filter(|rest| *rest > 0));
        Self(shares.zip(PORT..).map(|(share, port)| Holder::new(ns, share, port)).collect())
    }
}

impl Holder {
    fn new(ns: &Netns, sockets: usize, port: u16) -> Self {
        let (on, ended) = mpsc::channel::<()>();
        let (ready, all) = mpsc::channel();
        let ns = ns.clone();
        let hold = move || {
            unshare(CloneFlags::CLONE_FILES).expect("a file table of its own");
            let streams = connected(port, sockets);
            ready.send(()).expect("who waits for them");
            // Nothing is ever sent: this waits for the end.
            let _ = ended.recv();
            for stream in streams {
                stream.close_with_reset();
            }
        };
        let thread = std::thread::spawn(move || ns.run(hold));
        all.recv().expect("the connections are made");
        Self { on: Some(on), thread: Some(thread) }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.on.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the thread that held connections");
        }
    }
}

/// Both ends of connections, by turns.
fn connected(port: u16, sockets: usize) -> Vec<TcpStream> {
    let listener = listen_here(SocketAddr::from(([0, 0, 0, 0], port)), 4096, |_| ());
    let to = SocketAddr::from((Ipv4Addr::new(127, 0, 2, 1), port));
    let mut held = Vec::with_capacity(sockets);
    for _ in 0..sockets / 2 {
        held.push(connect_here(to, |_| ()).expect("connect()"));
        held.push(listener.accept().expect("accept()").0);
    }
    held
}
