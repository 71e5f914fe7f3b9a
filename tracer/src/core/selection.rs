//! What is counted at all ([`Selection`]) and what is shown of it ([`Shown`]).
//!
//! Filters by port, address, family and namespace are the kernel side's; those here need what only
//! the core knows: who owns a connection, which end of it this is, how it ended.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::event::{CgroupName, Owner};
use super::record::{Connection, Outcome, Role};

/// Filters that limit what is counted (`--role`, `--pid`, `--comm`, `--cgroup`). Kinds that are
/// left empty let everything through; those that are not must all match; within a kind one match
/// is enough.
///
/// They are applied once what they ask for is known: an accepted connection has no owner before
/// its accept().
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// Which end of the connection this host is.
    pub role: Option<Role>,
    /// Process ids (thread groups, as the host sees them).
    pub pids: Vec<u32>,
    /// Names of processes, exact; cut to the kernel's 15 bytes before they are compared.
    pub comms: Vec<Vec<u8>>,
    /// Parts of cgroup paths or container ids; one that begins with `/` is a whole path, and
    /// everything below it.
    pub cgroups: Vec<String>,
}

impl Selection {
    /// Whether it lets everything through.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.role.is_none()
            && self.pids.is_empty()
            && self.comms.is_empty()
            && self.cgroups.is_empty()
    }

    /// Whether a connection of which this is known is asked for.
    #[must_use]
    pub fn matches(
        &self,
        role: Option<Role>,
        owner: Option<&Owner>,
        cgroup: Option<&CgroupName>,
    ) -> bool {
        (self.role.is_none() || self.role == role)
            && (self.pids.is_empty() || owner.is_some_and(|owner| self.pids.contains(&owner.pid)))
            && (self.comms.is_empty() || owner.is_some_and(|owner| self.has_comm(owner)))
            && (self.cgroups.is_empty() || cgroup.is_some_and(|cgroup| self.has_cgroup(cgroup)))
    }

    fn has_comm(&self, owner: &Owner) -> bool {
        self.comms.iter().any(|comm| comm.iter().take(15).eq(owner.comm.as_bytes()))
    }

    fn has_cgroup(&self, cgroup: &CgroupName) -> bool {
        self.cgroups.iter().any(|wanted| {
            if wanted.starts_with('/') {
                cgroup
                    .path
                    .strip_prefix(wanted.trim_end_matches('/'))
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            } else {
                cgroup.path.contains(wanted)
                    || cgroup.container.as_ref().is_some_and(|id| id.contains(wanted))
            }
        })
    }
}

/// Addresses that share their first bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix {
    addr: IpAddr,
    len: u8,
}

impl Prefix {
    /// `addr/len`; `None` if `len` is longer than the address. An IPv4-mapped prefix becomes IPv4
    /// where it is long enough to be one, as addresses are shown. Bits behind the prefix do not
    /// matter.
    #[must_use]
    pub fn new(addr: IpAddr, len: u8) -> Option<Self> {
        let (addr, len) = match addr {
            IpAddr::V4(_) if len > 32 => return None,
            IpAddr::V6(_) if len > 128 => return None,
            IpAddr::V6(v6) if len >= 96 => match v6.to_ipv4_mapped() {
                Some(v4) => (IpAddr::V4(v4), len - 96),
                None => (addr, len),
            },
            other => (other, len),
        };
        Some(Self { addr, len })
    }

    /// Whether an address is in it; never across families.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        let width = |bits: u32| bits - u32::from(self.len).min(bits);
        match (self.addr, addr) {
            (IpAddr::V4(prefix), IpAddr::V4(addr)) => (prefix.to_bits() ^ addr.to_bits())
                .checked_shr(width(32))
                .is_none_or(|differing| differing == 0),
            (IpAddr::V6(prefix), IpAddr::V6(addr)) => (prefix.to_bits() ^ addr.to_bits())
                .checked_shr(width(128))
                .is_none_or(|differing| differing == 0),
            _ => false,
        }
    }
}

/// Which connection records are shown (`--failed`, `--outcome`, `--slower-than`,
/// `--exclude-port`, `--exclude-host`). What is hidden is counted all the same.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shown {
    /// Only those that did not end `closed`.
    pub failed: bool,
    /// Only these outcomes; empty: all.
    pub outcomes: Vec<Outcome>,
    /// Only those whose handshake or close took longer, nanoseconds.
    pub slower_than: Option<u64>,
    /// Not those with one of these ports, local or remote.
    pub exclude_ports: Vec<RangeInclusive<u16>>,
    /// Not those with one of these addresses, local or remote.
    pub exclude_hosts: Vec<Prefix>,
}

impl Shown {
    /// Whether to show a connection. One that is still open has not failed.
    #[must_use]
    pub fn shows(&self, connection: &Connection) -> bool {
        let failed = connection.failed();
        let has_outcome =
            connection.outcome.is_some_and(|outcome| self.outcomes.contains(&outcome));
        let slower = |limit| {
            [connection.handshake, connection.close].into_iter().flatten().any(|took| took > limit)
        };
        (!self.failed || failed)
            && (self.outcomes.is_empty() || has_outcome)
            && self.slower_than.is_none_or(slower)
            && self.shows_open(connection)
    }

    /// Whether to show a connection that is open: only those to leave out are left out.
    #[must_use]
    pub fn shows_open(&self, connection: &Connection) -> bool {
        self.shows_between(connection.local, connection.remote)
    }

    /// Whether to show what happens between these two ends.
    #[must_use]
    pub fn shows_between(&self, a: SocketAddr, b: SocketAddr) -> bool {
        !self.excludes(a) && !self.excludes(b)
    }

    /// Whether connections with that end are to be left out (`--exclude-port`, `--exclude-host`).
    #[must_use]
    pub fn excludes(&self, end: SocketAddr) -> bool {
        self.exclude_ports.iter().any(|ports| ports.contains(&end.port()))
            || self.exclude_hosts.iter().any(|prefix| prefix.contains(end.ip()))
    }
}
