//! Connections that stay open.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::support::Netns;
use crate::support::sock::{Talk as _, connect_here, listen_here};

const PORT: u16 = 9100;
/// Connections to one address: its ports are not enough for all.
const EACH: usize = 20_000;

/// Idle connections with both ends in one namespace. They end by RST when this is dropped.
pub(crate) struct Held(Vec<TcpStream>);

impl Held {
    /// Allows this process so many sockets, and what it needs besides.
    pub(crate) fn room_for(sockets: usize) {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit()");
        let wanted = most.max(sockets as u64 + 4096);
        setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).expect("setrlimit()");
    }

    /// So many sockets, two a connection.
    pub(crate) fn new(ns: &Netns, sockets: usize) -> Self {
        Self::room_for(sockets);
        ns.sysctl("ipv4/ip_local_port_range", "1024 65535");
        let held = ns.run(|| {
            let listener = listen_here(SocketAddr::from(([0, 0, 0, 0], PORT)), 4096, |_| ());
            let mut held = Vec::with_capacity(sockets);
            for n in 0..sockets / 2 {
                let host = u8::try_from(1 + n / EACH).expect("few addresses");
                let to = SocketAddr::from((Ipv4Addr::new(127, 0, 2, host), PORT));
                held.push(connect_here(to, |_| ()).expect("connect()"));
                held.push(listener.accept().expect("accept()").0);
            }
            held
        });
        Self(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for stream in self.0.drain(..) {
            stream.close_with_reset();
        }
    }
}
