//! Whose a connection is, as far as it is known now.

use std::net::SocketAddr;

use super::Core;
use super::event::{MonoNs, Owner};

/// One end of a connection on this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Whose {
    /// Its address and port.
    pub local: SocketAddr,
    /// The other end's.
    pub remote: SocketAddr,
    /// Inode of its network namespace.
    pub netns: u32,
    /// The process that owns it; `None` before anybody has accepted it.
    pub owner: Option<Owner>,
    /// It is asked for, as far as it is known ([`Selection`](super::Selection)).
    pub selected: bool,
    /// When it ended.
    pub ended: Option<MonoNs>,
}

impl Core {
    /// Whose the connection of this socket is; `None` for one that is not followed (any more).
    #[must_use]
    pub fn whose(&self, cookie: u64) -> Option<Whose> {
        let conn = self.table.get(self.table.find(cookie)?)?;
        Some(Whose {
            local: conn.local,
            remote: conn.remote,
            netns: conn.netns,
            owner: conn.owner,
            selected: self.selected(conn),
            ended: conn.ended_at(),
        })
    }
}
