//! Sockets in LISTEN: they tell servers from clients where a connection's beginning was not seen,
//! and who waits for a request that never became a connection.

use std::net::SocketAddr;

use rustc_hash::{FxHashMap, FxHashSet};

use super::event::{ExistingSocket, MonoNs, Owner, SocketEvent};
use super::record::Role;

/// Most listeners remembered; a host has hundreds.
const MOST: usize = 65_536;

#[derive(Clone, Copy)]
pub(super) struct Listener {
    cookie: u64,
    /// When it was seen to begin, 0 if it was not.
    opened: MonoNs,
    local: SocketAddr,
    pub(super) owner: Option<Owner>,
    pub(super) cgroup: u64,
}

/// Listeners by namespace and port.
#[derive(Default)]
pub(super) struct Listeners {
    by_port: FxHashMap<(u32, u16), Vec<Listener>>,
    count: usize,
}

impl Listeners {
    pub(super) fn opened(&mut self, event: &SocketEvent) {
        self.insert(
            event.netns,
            Listener {
                cookie: event.cookie,
                opened: event.at,
                local: event.local,
                owner: event.owner,
                cgroup: event.cgroup,
            },
        );
    }

    pub(super) fn listed(&mut self, socket: &ExistingSocket) {
        self.insert(
            socket.netns,
            Listener {
                cookie: socket.cookie,
                opened: MonoNs(0),
                local: socket.local,
                owner: socket.owner,
                cgroup: socket.cgroup,
            },
        );
    }

    fn insert(&mut self, netns: u32, listener: Listener) {
        let here = self.by_port.entry((netns, listener.local.port())).or_default();
        match here.iter_mut().find(|old| old.cookie == listener.cookie) {
            Some(old) => {
                *old = Listener {
                    opened: old.opened.max(listener.opened),
                    // A list does not know the owner where /proc does not tell.
                    owner: listener.owner.or(old.owner),
                    ..listener
                };
            }
            None if self.count < MOST => {
                here.push(listener);
                self.count += 1;
            }
            None => {}
        }
    }

    pub(super) fn closed(&mut self, event: &SocketEvent) {
        let key = (event.netns, event.local.port());
        let Some(here) = self.by_port.get_mut(&key) else {
            return;
        };
        let before = here.len();
        here.retain(|listener| listener.cookie != event.cookie);
        self.count -= before - here.len();
        if here.is_empty() {
            self.by_port.remove(&key);
        }
    }

    /// Takes over a list of all listeners of the namespaces `netns`, begun at `asked_at`: those that it
    /// does not show are gone, unless they were opened meanwhile.
    pub(super) fn relist<'a>(
        &mut self,
        netns: &[u32],
        asked_at: MonoNs,
        listed: impl Iterator<Item = &'a ExistingSocket> + Clone,
    ) {
        let shown: FxHashSet<u64> = listed.clone().map(|socket| socket.cookie).collect();
        self.by_port.retain(|(of, _), here| {
            if netns.contains(of) {
                here.retain(|known| known.opened >= asked_at || shown.contains(&known.cookie));
            }
            !here.is_empty()
        });
        self.count = self.by_port.values().map(Vec::len).sum();
        for socket in listed {
            self.listed(socket);
        }
    }

    /// The listener that takes connections to `local`: one on that very address, else one on any
    /// address (an IPv6 socket may take IPv4 connections too).
    pub(super) fn find(&self, netns: u32, local: SocketAddr) -> Option<&Listener> {
        let here = self.by_port.get(&(netns, local.port()))?;
        here.iter()
            .find(|listener| listener.local.ip() == local.ip())
            .or_else(|| here.iter().find(|listener| listener.local.ip().is_unspecified()))
    }

    /// The role of a connection whose beginning was not seen, where the listeners tell.
    ///
    /// A connection on a listener's port is one that it accepted: the kernel gives no port to a
    /// connecting socket that another has bound (`__inet_hash_connect()`). A connection to a
    /// listener on this very host (a loopback address, or one address at both ends) comes from a
    /// client. One without any listener says nothing: its listener may be closed.
    pub(super) fn role(&self, netns: u32, local: SocketAddr, remote: SocketAddr) -> Option<Role> {
        let server = self.find(netns, local).is_some();
        let here = remote.ip().is_loopback() || remote.ip() == local.ip();
        let client = here && self.find(netns, remote).is_some();
        match (server, client) {
            (true, false) => Some(Role::Server),
            (false, true) => Some(Role::Client),
            _ => None,
        }
    }
}
