//! Filters that can be decided here.

use aya_ebpf::{
    macros::map,
    maps::{Array, LpmTrie, lpm_trie::Key},
};
use tracer_common::{
    addr::Addr,
    packet::Segment,
    settings::{filter, port_set},
};

use crate::config::setting;

/// Three sets of 65,536 bits, see [`port_set`].
#[map]
static PORTS: Array<u64> = Array::with_max_entries(port_set::TOTAL, 0);

/// Prefixes of `--host`, IPv4 as IPv4-mapped IPv6.
#[map]
static HOSTS: LpmTrie<[u64; 2], u8> = LpmTrie::with_max_entries(1024, 1);

/// What the filters say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Match,
    NoMatch,
    /// It hangs on the local port, which the kernel has not chosen yet.
    NeedsLocalPort,
}

/// A connection as the filters see it.
#[derive(Clone, Copy)]
pub(crate) struct Subject {
    pub local_addr: Addr,
    pub remote_addr: Addr,
    pub local_port: u16,
    pub remote_port: u16,
    pub netns: u32,
}

impl Subject {
    /// Of a segment that has come in: whoever it goes to is the local end, in the namespace whose
    /// devices carry the hooks for packets.
    #[inline(always)]
    pub(crate) fn received(segment: &Segment) -> Self {
        Self {
            local_addr: segment.dst,
            remote_addr: segment.src,
            local_port: segment.dst_port,
            remote_port: segment.src_port,
            netns: setting!(hook_netns),
        }
    }

    /// The same from the other end.
    #[inline(always)]
    pub(crate) fn reversed(self) -> Self {
        Self {
            local_addr: self.remote_addr,
            remote_addr: self.local_addr,
            local_port: self.remote_port,
            remote_port: self.local_port,
            netns: self.netns,
        }
    }
}

#[inline(always)]
fn in_set(set: u32, port: u16) -> bool {
    PORTS.get(set + (port as u32) / 64).is_some_and(|word| word >> (port % 64) & 1 != 0)
}

#[inline(always)]
fn in_hosts(addr: Addr) -> bool {
    let [first, second] = addr.0;
    in_hosts_apart(first, second)
}

/// A function of its own, so that its key takes no room on the stack of what most packets run through.
#[inline(never)]
fn in_hosts_apart(first: u64, second: u64) -> bool {
    HOSTS.get(Key::new(128, [first, second])).is_some()
}

/// Whether a listener is to be told of. In the namespace where SYNs are held against listeners it is
/// whatever its peers will be: only what is its own counts.
#[inline(always)]
pub(crate) fn listens(subject: &Subject) -> bool {
    if subject.netns != setting!(hook_netns) {
        return verdict(subject) == Verdict::Match;
    }
    let filters = setting!(filters);
    let port = subject.local_port;
    (filters & filter::NETNS == 0 || subject.netns == setting!(netns))
        && (filters & filter::PORT == 0 || in_set(port_set::ANY, port))
        && (filters & filter::LOCAL_PORT == 0 || in_set(port_set::LOCAL, port))
}

/// Whether the connection is to be traced.
#[inline(always)]
pub(crate) fn verdict(subject: &Subject) -> Verdict {
    let filters = setting!(filters);
    if filters == 0 {
        return Verdict::Match;
    }
    if filters & filter::NETNS != 0 && subject.netns != setting!(netns) {
        return Verdict::NoMatch;
    }
    if filters & filter::REMOTE_PORT != 0 && !in_set(port_set::REMOTE, subject.remote_port) {
        return Verdict::NoMatch;
    }
    if filters & (filter::V4 | filter::V6) != 0 {
        // A listener on :: takes both.
        let v4 = subject.local_addr.is_v4();
        if v4 != (filters & filter::V4 != 0) {
            return Verdict::NoMatch;
        }
    }
    let mut needs_local_port = false;
    if filters & filter::PORT != 0
        && !in_set(port_set::ANY, subject.remote_port)
        && !in_set(port_set::ANY, subject.local_port)
    {
        if subject.local_port != 0 {
            return Verdict::NoMatch;
        }
        needs_local_port = true;
    }
    if filters & filter::LOCAL_PORT != 0 && !in_set(port_set::LOCAL, subject.local_port) {
        if subject.local_port != 0 {
            return Verdict::NoMatch;
        }
        needs_local_port = true;
    }
    if filters & filter::HOST != 0
        && !in_hosts(subject.remote_addr)
        && !in_hosts(subject.local_addr)
    {
        return Verdict::NoMatch;
    }
    if needs_local_port { Verdict::NeedsLocalPort } else { Verdict::Match }
}
